//! The known stretches of time, when the exchange said so, and how long that is believed.

use std::fmt;

use super::statement::{Kind, Statement};

/// A stretch of time, in ms, both ends included, and how it came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) statement: Statement,
}

/// Which stretches to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    /// The belief that holds at this ms.
    At(u64),
    /// All that is kept: for when the exchange fails.
    All,
}

impl Belief {
    pub(super) fn holds(self, statement: Statement) -> bool {
        match self {
            Belief::At(now) => statement.is_believed_at(now),
            Belief::All => true,
        }
    }
}

/// Spans that do not overlap, in order. Two that touch and say the same are one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(Vec<Span>);

/// The form of the text, so that another one is not taken for it.
const FORM: &str = "k2;";

impl Spans {
    /// Replaces the knowledge of `from..=to`.
    pub(super) fn set(&mut self, from: u64, to: u64, statement: Statement) {
        if from > to {
            return;
        }
        self.cut(from, to);
        let place = self.0.partition_point(|span| span.from < from);
        self.0.insert(place, Span { from, to, statement });
        self.join(place + 1);
        self.join(place);
    }

    /// Joins the span of that number with the one before, if they say the same.
    fn join(&mut self, place: usize) {
        let Some(before) = place.checked_sub(1) else { return };
        if let (Some(one), Some(next)) = (self.0.get(before).copied(), self.0.get(place).copied())
            && one.to.checked_add(1) == Some(next.from)
            && one.statement == next.statement
        {
            self.0[before].to = next.to;
            self.0.remove(place);
        }
    }

    /// Forgets `from..=to`.
    pub(super) fn cut(&mut self, from: u64, to: u64) {
        let first = self.0.partition_point(|span| span.to < from);
        let after = self.0.partition_point(|span| span.from <= to);
        let mut kept = Vec::new();
        for span in &self.0[first..after.max(first)] {
            if span.from < from {
                kept.push(Span { to: from - 1, ..*span });
            }
            if span.to > to {
                kept.push(Span { from: to + 1, ..*span });
            }
        }
        self.0.splice(first..after.max(first), kept);
    }

    /// The span that `at` lies in, believed or not.
    pub(super) fn span_at(&self, at: u64) -> Option<Span> {
        let index = self.0.partition_point(|span| span.to < at);
        self.0.get(index).copied().filter(|span| span.from <= at)
    }

    /// The longest stretch around `at` that is believed without a break.
    pub(super) fn at(&self, at: u64, belief: Belief) -> Option<(u64, u64)> {
        let index = self.0.partition_point(|span| span.to < at);
        let span = self.0.get(index).filter(|span| span.from <= at && belief.holds(span.statement))?;
        let (mut from, mut to) = (span.from, span.to);
        for span in self.0[..index].iter().rev() {
            if span.to.checked_add(1) != Some(from) || !belief.holds(span.statement) {
                break;
            }
            from = span.from;
        }
        for span in &self.0[index + 1..] {
            if to.checked_add(1) != Some(span.from) || !belief.holds(span.statement) {
                break;
            }
            to = span.to;
        }
        Some((from, to))
    }

    /// Where the first believed span after `at` begins.
    pub(super) fn next_after(&self, at: u64, belief: Belief) -> Option<u64> {
        let later = &self.0[self.0.partition_point(|span| span.from <= at)..];
        later.iter().find(|span| belief.holds(span.statement)).map(|span| span.from)
    }

    /// Where the last believed span before `at` ends.
    pub(super) fn last_before(&self, at: u64, belief: Belief) -> Option<u64> {
        let earlier = &self.0[..self.0.partition_point(|span| span.to < at)];
        earlier.iter().rev().find(|span| belief.holds(span.statement)).map(|span| span.to)
    }

    /// For how long after `at` the exchange said, and it is believed, that the series has not begun.
    pub(super) fn begin_after(&self, at: u64, belief: Belief) -> u64 {
        let mut next = at.checked_add(1);
        let later = self.0[self.0.partition_point(|span| span.to <= at)..].iter();
        for span in later.take_while(|span| span.statement.kind == Kind::Begin && belief.holds(span.statement)) {
            if next.is_none_or(|next| span.from > next) {
                break;
            }
            next = span.to.checked_add(1);
        }
        next.map_or(u64::MAX, |next| next - at - 1)
    }

    /// For how long up to `at`, itself included, the exchange said, and it is believed, that the series has not begun.
    pub(super) fn begin_until(&self, at: u64, belief: Belief) -> u64 {
        let mut next = at;
        let earlier = self.0[..self.0.partition_point(|span| span.from <= at)].iter().rev();
        for span in earlier.take_while(|span| span.statement.kind == Kind::Begin && belief.holds(span.statement)) {
            if span.to < next {
                break;
            }
            match span.from.checked_sub(1) {
                Some(before) => next = before,
                None => return u64::MAX,
            }
        }
        at - next
    }

    /// The parts of the spans that lie within `from..=to`.
    pub(super) fn within(&self, from: u64, to: u64) -> impl Iterator<Item = Span> + '_ {
        let first = self.0.partition_point(|span| span.to < from);
        let touching = self.0[first..].iter().take_while(move |span| span.from <= to);
        touching.map(move |span| Span { from: span.from.max(from), to: span.to.min(to), statement: span.statement })
    }

    /// Whether all that `other` says is said by these, as well or better.
    pub(super) fn hold(&self, other: &Spans) -> bool {
        other.0.iter().all(|wanted| {
            let mut next = Some(wanted.from);
            for span in self.within(wanted.from, wanted.to) {
                if Some(span.from) != next || !span.statement.is_as_good_as(wanted.statement) {
                    return false;
                }
                next = span.to.checked_add(1);
            }
            next.is_none_or(|next| next > wanted.to)
        })
    }

    /// Until when all of it is believed that is believed now, in ms.
    pub(super) fn believed_until(&self, belief: Belief) -> u64 {
        let believed = self.0.iter().filter(|span| belief.holds(span.statement));
        believed.map(|span| span.statement.believed_until()).min().unwrap_or(u64::MAX)
    }

    /// Whether an independent answer has confirmed all of them.
    pub(super) fn are_confirmed(&self) -> bool {
        self.0.iter().all(|span| span.statement.is_confirmed())
    }

    /// The same stretches, none of them believed any longer.
    pub(super) fn doubted(&self) -> Spans {
        let mut spans = Spans::default();
        for span in &self.0 {
            spans.set(span.from, span.to, Statement::DOUBTED);
        }
        spans
    }

    /// Each span.
    pub(super) fn iter(&self) -> impl Iterator<Item = Span> + '_ {
        self.0.iter().copied()
    }

    /// The first of them, before which nothing is, and the newest: `count` in all.
    pub(super) fn keep_newest(&mut self, count: usize) {
        let surplus = self.0.len().saturating_sub(count.max(1));
        if surplus > 0 {
            self.0.drain(1..=surplus);
        }
    }

    /// The spans that a text of theirs is; see its `Display`.
    pub(super) fn parse(text: &str) -> Option<Spans> {
        let mut spans: Vec<Span> = Vec::new();
        for span in text.strip_prefix(FORM)?.split(',').filter(|span| !span.is_empty()) {
            let (from, rest) = span.split_once('-')?;
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (from, to) = (from.parse().ok()?, rest[..digits].parse().ok()?);
            let statement = Statement::parse(&rest[digits..])?;
            let follows = spans.last().is_none_or(|before| before.to < from);
            (from <= to && follows).then(|| spans.push(Span { from, to, statement }))?;
        }
        Some(Spans(spans))
    }
}

impl fmt::Display for Spans {
    /// `k2;from-toSTATEMENT,from-toSTATEMENT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORM)?;
        for (index, span) in self.0.iter().enumerate() {
            write!(f, "{}{}-{}{}", if index > 0 { "," } else { "" }, span.from, span.to, span.statement)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const NOW: Belief = Belief::At(1_000_000_000);

    fn statement(kind: u8) -> Statement {
        match kind {
            0 => Statement::CONFIRMED,
            1 => Statement::once(Kind::Rows, 1_000_000_000),
            2 => Statement::once(Kind::Gap, 7),
            _ => Statement::DOUBTED,
        }
    }

    proptest! {
        #[test]
        fn spans_say_of_each_moment_what_was_said_last(
            sets in proptest::collection::vec((0u64..60, 0u64..12, 0u8..5), 0..20), at in 0u64..75,
        ) {
            let (mut spans, mut map) = (Spans::default(), BTreeMap::new());
            for (from, length, kind) in sets {
                match kind {
                    4 => {
                        spans.cut(from, from + length);
                        map.retain(|moment, _| !(from..=from + length).contains(moment));
                    }
                    kind => {
                        spans.set(from, from + length, statement(kind));
                        map.extend((from..=from + length).map(|moment| (moment, statement(kind))));
                    }
                }
            }
            prop_assert_eq!(spans.span_at(at).map(|span| span.statement), map.get(&at).copied());
            let believed = |moment: u64| map.get(&moment).is_some_and(|statement| statement.is_believed_at(1_000_000_000));
            let span = spans.at(at, NOW);
            prop_assert_eq!(span.is_some(), believed(at));
            if let Some((from, to)) = span {
                prop_assert!((from..=to).all(believed) && !believed(to + 1) && (from == 0 || !believed(from - 1)));
            }
            let begins = |moment: &u64| {
                spans.span_at(*moment).is_some_and(|span| span.from == *moment && span.statement.is_believed_at(1_000_000_000))
            };
            prop_assert_eq!(spans.next_after(at, NOW), (at + 1..90).find(begins));
            let covered: u64 = spans.within(10, 40).map(|span| span.to - span.from + 1).sum();
            prop_assert_eq!(covered, map.range(10..=40).count() as u64);
            prop_assert_eq!(Spans::parse(&spans.to_string()), Some(spans.clone()));
            prop_assert!(spans.hold(&spans));
            let in_order = |(one, next): (Span, Span)| {
                one.to < next.from && (one.to + 1 < next.from || one.statement != next.statement)
            };
            prop_assert!(spans.iter().zip(spans.iter().skip(1)).all(in_order));
        }
    }

    #[test]
    fn nonsense_is_no_span() {
        for text in ["1-2", "k2;1", "k2;a-b", "k2;1-2,x", "k2;5-4", "k2;1-3,2-4", "k2;1-2z9:9", "k2;1-2r9"] {
            assert_eq!(Spans::parse(text), None, "{text}");
        }
        let mut spans = Spans::parse("k2;1-2,4-5,9-9").unwrap();
        spans.keep_newest(3);
        assert_eq!(spans.to_string(), "k2;1-2,4-5,9-9");
        spans.keep_newest(2);
        assert_eq!(spans.to_string(), "k2;1-2,9-9");
        let mut most = Spans::default();
        most.set(0, u64::MAX, Statement::CONFIRMED);
        most.set(3, u64::MAX, Statement::CONFIRMED);
        assert_eq!(most.to_string(), format!("k2;0-{}", u64::MAX));
        assert_eq!(most.at(5, NOW), Some((0, u64::MAX)));
    }
}
