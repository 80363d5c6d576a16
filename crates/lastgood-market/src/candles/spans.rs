//! Spans of time about which everything is known.

use std::fmt;

/// Inclusive spans of milliseconds, apart from each other and in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(Vec<(u64, u64)>);

impl Spans {
    /// Adds a span, joining it with those it touches.
    pub(super) fn add(&mut self, mut from: u64, mut to: u64) {
        if from > to {
            return;
        }
        let first = self.0.partition_point(|(_, end)| end.saturating_add(1) < from);
        let after = self.0.partition_point(|(begin, _)| *begin <= to.saturating_add(1));
        if first < after {
            (from, to) = (from.min(self.0[first].0), to.max(self.0[after - 1].1));
        }
        self.0.splice(first..after, [(from, to)]);
    }

    /// The span that `at` lies in.
    pub(super) fn at(&self, at: u64) -> Option<(u64, u64)> {
        let index = self.0.partition_point(|(_, end)| *end < at);
        self.0.get(index).copied().filter(|(from, _)| *from <= at)
    }

    /// The begin of the first span after `at`.
    pub(super) fn next_after(&self, at: u64) -> Option<u64> {
        self.0.get(self.0.partition_point(|(from, _)| *from <= at)).map(|(from, _)| *from)
    }

    /// The end of the last span before `at`.
    pub(super) fn last_before(&self, at: u64) -> Option<u64> {
        let index = self.0.partition_point(|(_, end)| *end < at);
        self.0.get(index.checked_sub(1)?).map(|(_, end)| *end)
    }

    /// Whether every span of `other` lies within these.
    pub(super) fn hold(&self, other: &Spans) -> bool {
        other.0.iter().all(|(from, to)| self.at(*from).is_some_and(|(_, end)| end >= *to))
    }

    /// Each span.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// The newest of them alone.
    pub(super) fn keep_newest(&mut self, count: usize) {
        self.0.drain(..self.0.len().saturating_sub(count));
    }

    /// The spans, as `from-to,from-to`.
    pub(super) fn parse(text: &str) -> Option<Spans> {
        let mut spans = Spans::default();
        for span in text.split(',').filter(|span| !span.is_empty()) {
            let (from, to) = span.split_once('-')?;
            spans.add(from.parse().ok()?, to.parse().ok()?);
        }
        Some(spans)
    }
}

impl fmt::Display for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (from, to)) in self.0.iter().enumerate() {
            write!(f, "{}{from}-{to}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn of(from: u64, to: u64) -> Spans {
        let mut spans = Spans::default();
        spans.add(from, to);
        spans
    }

    proptest! {
        #[test]
        fn spans_hold_what_a_set_of_moments_holds(adds in proptest::collection::vec((0u64..60, 0u64..12), 0..20), at in 0u64..75) {
            let (mut spans, mut set) = (Spans::default(), BTreeSet::new());
            for (from, length) in adds {
                spans.add(from, from + length);
                set.extend(from..=from + length);
            }
            let span = spans.at(at);
            prop_assert_eq!(span.is_some(), set.contains(&at));
            if let Some((from, to)) = span {
                prop_assert!((from..=to).all(|moment| set.contains(&moment)));
                prop_assert!(!set.contains(&(to + 1)) && (from == 0 || !set.contains(&(from - 1))));
            }
            let begins = |moment: &u64| set.contains(moment) && (*moment == 0 || !set.contains(&(moment - 1)));
            prop_assert_eq!(spans.next_after(at), (at + 1..90).find(begins));
            let ends = |moment: &u64| set.contains(moment) && !set.contains(&(moment + 1));
            prop_assert_eq!(spans.last_before(at), (0..at).rev().find(ends));
            prop_assert_eq!(Spans::parse(&spans.to_string()), Some(spans.clone()));
            prop_assert!(spans.hold(&spans));
        }
    }

    #[test]
    fn nonsense_is_no_span() {
        assert_eq!(of(5, 4), Spans::default());
        for text in ["1", "a-b", "1-2,x"] {
            assert_eq!(Spans::parse(text), None, "{text}");
        }
        let mut spans = Spans::parse("1-2,4-5,9-9").unwrap();
        spans.keep_newest(1);
        assert_eq!(spans, of(9, 9));
        assert!(!of(1, 3).hold(&of(2, 4)));
        let mut most = of(0, u64::MAX);
        most.add(3, u64::MAX);
        assert_eq!(most, of(0, u64::MAX));
    }
}
