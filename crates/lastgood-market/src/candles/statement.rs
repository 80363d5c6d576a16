//! What one answer says about a stretch of time, and how long that is believed.
//!
//! An answer may be well-formed and wrong: empty, with a hole, cut short, of another symbol. So nothing is believed for
//! good because one answer said it. It is believed for a while, and asked for again when a reader needs it
//! after that. When an independent later answer says the same, rows are confirmed and absence is believed longer.

use std::fmt;

use super::rows::Rows;
use super::series::{Fetch, Series};

/// What the exchange said of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The rows of it are all there are: two answers, [`CONFIRMS_AFTER`] apart, said so.
    Confirmed,
    /// The rows of it are all there are.
    Rows,
    /// Its rows came from a stream, each seen to form and to close.
    Streamed,
    /// Nothing is between two rows of one answer.
    Gap,
    /// Nothing is between a row and the bound that was asked for, or an answer was empty.
    Edge,
    /// Nothing is before a row, however far back: the series begins there.
    Begin,
    /// It was said, but is not believed any longer.
    Doubted,
}

/// What the exchange said of a stretch, when first and when last; both in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) kind: Kind,
    pub(super) first: u64,
    pub(super) last: u64,
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// An answer confirms one this much earlier, and a single answer is believed for this long.
pub(super) const CONFIRMS_AFTER: u64 = 2 * MINUTE;
/// An empty answer, or an edge without candles, is believed for a moment only: the other end of it was not seen.
pub(super) const EDGE_FOR: u64 = 10 * SECOND;
/// Rows of a stream are loaded again after so long, in case the stream was wrong.
const STREAMED_FOR: u64 = HOUR;
/// Absence that has been said for the first of these is believed for the second.
const STEPS: [(u64, u64); 3] = [(DAY, 30 * DAY), (HOUR, DAY), (CONFIRMS_AFTER, HOUR)];
/// That something was said again is noted at most so often.
const NOTED_EVERY: u64 = 30 * SECOND;

impl Statement {
    pub(super) const CONFIRMED: Statement = Statement { kind: Kind::Confirmed, first: 0, last: 0 };
    pub(super) const DOUBTED: Statement = Statement { kind: Kind::Doubted, first: 0, last: 0 };

    /// First said at `at`.
    pub(super) fn once(kind: Kind, at: u64) -> Statement {
        match kind {
            Kind::Confirmed => Statement::CONFIRMED,
            Kind::Doubted => Statement::DOUBTED,
            _ => Statement { kind, first: at, last: at },
        }
    }

    /// Until when it is believed.
    pub(super) fn believed_until(self) -> u64 {
        let age = self.last.saturating_sub(self.first);
        let absent_for = |at_first: u64| STEPS.iter().find(|(since, _)| age >= *since).map_or(at_first, |step| step.1);
        let wait = match self.kind {
            Kind::Confirmed => return u64::MAX,
            Kind::Doubted => return 0,
            Kind::Rows => CONFIRMS_AFTER,
            Kind::Streamed => STREAMED_FOR,
            Kind::Gap => absent_for(CONFIRMS_AFTER),
            Kind::Edge | Kind::Begin => absent_for(EDGE_FOR),
        };
        self.last.saturating_add(wait)
    }

    pub(super) fn is_believed_at(self, now: u64) -> bool {
        now < self.believed_until()
    }

    /// Whether an independent answer has confirmed it.
    pub(super) fn is_confirmed(self) -> bool {
        match self.kind {
            Kind::Confirmed => true,
            Kind::Gap | Kind::Edge | Kind::Begin => self.last.saturating_sub(self.first) >= CONFIRMS_AFTER,
            Kind::Rows | Kind::Streamed | Kind::Doubted => false,
        }
    }

    /// The same rows, or the same absence, said once more.
    pub(super) fn again(self, newer: Statement) -> Statement {
        let (first, last) = (self.first.min(newer.first), self.last.max(newer.last));
        let both = |kind| Statement { kind, first, last };
        let statement = match (self.kind, newer.kind) {
            (Kind::Confirmed, Kind::Rows | Kind::Streamed | Kind::Confirmed) | (_, Kind::Confirmed) => {
                Statement::CONFIRMED
            }
            (kind, Kind::Doubted) if kind != Kind::Doubted => return self,
            (Kind::Rows | Kind::Streamed, Kind::Rows) if last - first >= CONFIRMS_AFTER => Statement::CONFIRMED,
            (Kind::Rows, Kind::Rows | Kind::Streamed) => both(Kind::Rows),
            (Kind::Streamed, Kind::Rows | Kind::Streamed) => both(Kind::Streamed),
            // That nothing comes before says more than that nothing is here; a row further down says less.
            (Kind::Gap, Kind::Gap | Kind::Edge | Kind::Begin) | (Kind::Edge | Kind::Begin, Kind::Gap) => {
                both(Kind::Gap)
            }
            (Kind::Edge, Kind::Edge) => both(Kind::Edge),
            (Kind::Begin, Kind::Edge | Kind::Begin) | (Kind::Edge, Kind::Begin) => both(Kind::Begin),
            _ => newer,
        };
        // An edge is believed so shortly that each time counts.
        let is_news = statement.is_confirmed() != self.is_confirmed()
            || statement.kind != self.kind
            || matches!(self.kind, Kind::Edge | Kind::Begin);
        match is_news || statement.last.saturating_sub(self.last) >= NOTED_EVERY {
            true => statement,
            false => self,
        }
    }

    /// Whether it says no less than `other`, of the same stretch.
    pub(super) fn is_as_good_as(self, other: Statement) -> bool {
        self.kind == Kind::Confirmed
            || other.kind == Kind::Doubted
            || (self.kind == other.kind && self.last >= other.last)
    }

    /// The word for people and scripts.
    pub(super) fn word(self) -> &'static str {
        match self.kind {
            Kind::Confirmed | Kind::Rows => "candles",
            Kind::Streamed => "streamed candles",
            Kind::Gap => "gap",
            Kind::Edge => "nothing found",
            Kind::Begin => "before the first",
            Kind::Doubted => "doubted",
        }
    }

    /// The word for who said it; `None` where it is not believed any longer.
    pub(super) fn origin(self) -> Option<&'static str> {
        match self.kind {
            Kind::Streamed => Some("stream"),
            Kind::Confirmed | Kind::Rows | Kind::Gap | Kind::Edge | Kind::Begin => Some("exchange"),
            Kind::Doubted => None,
        }
    }

    pub(super) fn parse(text: &str) -> Option<Statement> {
        let Some((kind, times)) = text.split_at_checked(1) else { return Some(Statement::CONFIRMED) };
        let kind = match kind {
            "r" => Kind::Rows,
            "s" => Kind::Streamed,
            "g" => Kind::Gap,
            "e" => Kind::Edge,
            "b" => Kind::Begin,
            "d" => return times.is_empty().then_some(Statement::DOUBTED),
            _ => return None,
        };
        let (first, last) = times.split_once(':')?;
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some(Statement { kind, first, last })
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Confirmed => return Ok(()),
            Kind::Doubted => return f.write_str("d"),
            Kind::Rows => 'r',
            Kind::Streamed => 's',
            Kind::Gap => 'g',
            Kind::Edge => 'e',
            Kind::Begin => 'b',
        };
        write!(f, "{kind}{}:{}", self.first, self.last)
    }
}

/// A stretch that an answer speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) kind: Kind,
}

/// What an answer speaks of.
pub(super) struct Answered<'a> {
    pub(super) series: &'a Series,
    pub(super) rows: &'a Rows,
    /// How many of the rows will not change any more.
    pub(super) settled: usize,
    pub(super) fetch: Fetch,
    /// Whether the newest before the end were asked for, not the oldest from the start on.
    pub(super) is_backward: bool,
    /// The known row that was asked for again.
    pub(super) witness: Option<u64>,
    /// The last ms whose absence can be known: a newer candle is known, and whatever opened by then has settled.
    pub(super) horizon: Option<u64>,
}

impl Answered<'_> {
    /// The stretches that it speaks of, in order.
    ///
    /// Between its first and its last row it says which candles there are. Beyond them it says something only where it
    /// brought nothing but the row that was known already: then there is nothing between that row and the bound, as
    /// far as `limit` candles reach. An answer that is merely short says nothing of the kind; exchanges lower their
    /// limits without notice.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let Fetch { start, end, limit } = self.fetch;
        let Some(first_open) = self.rows.first_open() else {
            return self.of_nothing().into_iter().collect();
        };
        let mut pieces = between(self.series, self.rows, self.settled);
        let is_short = self.rows.count() < limit;
        if let Some(start) = start.filter(|start| *start < first_open) {
            let (has_room, until) = (self.series.has_room(start, first_open - 1), first_open - 1);
            match pieces.first_mut().filter(|_| !has_room) {
                // No candle fits between: what precedes the first row belongs to it.
                Some(first) if !self.is_backward || is_short => first.from = start,
                None if !self.is_backward => {
                    let kind = if has_room { Kind::Edge } else { Kind::Rows };
                    pieces.insert(0, Piece { from: start, to: until, kind });
                }
                _ => {}
            }
        }
        if self.is_backward && is_short && self.witness == Some(first_open) && !pieces.is_empty() {
            let reach = first_open.saturating_sub(self.reach(limit - 1));
            let from = start.unwrap_or(0).max(reach);
            if from < first_open && self.series.has_room(from, first_open - 1) {
                pieces.insert(0, Piece { from, to: first_open - 1, kind: Kind::Begin });
            }
        }
        if let (Some(end), true) = (end, self.settled == self.rows.count()) {
            pieces.extend(self.after_the_last(end, is_short));
            self.lengthen(&mut pieces, end, is_short);
        }
        pieces
    }

    /// The time that this many candles take.
    fn reach(&self, candles: usize) -> u64 {
        self.series.length.saturating_mul(candles as u64)
    }

    /// What an empty answer says: nothing is there now, as far as the limit reaches.
    fn of_nothing(&self) -> Option<Piece> {
        let (horizon, reach) = (self.horizon?, self.reach(self.fetch.limit));
        let (from, to, kind) = match (self.is_backward, self.fetch.start, self.fetch.end) {
            (false, Some(start), end) => {
                (start, end.unwrap_or(u64::MAX).min(start.saturating_add(reach - 1)), Kind::Edge)
            }
            (true, start, Some(end)) => (start.unwrap_or(0).max((end + 1).saturating_sub(reach)), end, Kind::Begin),
            _ => return None,
        };
        (from <= to.min(horizon)).then_some(Piece { from, to: to.min(horizon), kind })
    }

    /// The stretch between the last row and the end that was asked for, if the answer says that nothing is there.
    fn after_the_last(&self, end: u64, is_short: bool) -> Option<Piece> {
        let last = self.rows.last_open()?;
        let from = self.rows.last_close()?.checked_add(1)?;
        // The newest before an end are asked for: nothing comes between the last and that end.
        let is_known = self.is_backward || (is_short && self.witness == Some(last));
        let reach = if self.is_backward { u64::MAX } else { last.saturating_add(self.reach(self.fetch.limit)) };
        let to = end.min(self.horizon?).min(reach);
        (is_known && from <= to && self.series.has_room(from, to)).then_some(Piece { from, to, kind: Kind::Edge })
    }

    /// Where no candle fits between the last row and the end, the time left belongs to the row.
    fn lengthen(&self, pieces: &mut [Piece], end: u64, is_short: bool) {
        let (Some(last), Some(close), Some(horizon)) = (pieces.last_mut(), self.rows.last_close(), self.horizon) else {
            return;
        };
        let fits = (close + 1..=horizon).contains(&end) && !self.series.has_room(close + 1, end);
        if fits && last.to == close && (self.is_backward || is_short) {
            last.to = end;
        }
    }
}

/// What the first `count` of `rows` say of the time from the first of them on: candles, and gaps between them.
pub(super) fn between(series: &Series, rows: &Rows, count: usize) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (place, open) in rows.opens().enumerate().take(count) {
        let close = rows.close(place).unwrap_or(open);
        match pieces.last_mut() {
            Some(run) if !series.has_room(run.to.saturating_add(1), open.saturating_sub(1)) => {
                run.to = close.max(run.to);
            }
            Some(run) => {
                let gap = Piece { from: run.to + 1, to: open - 1, kind: Kind::Gap };
                pieces.extend([gap, Piece { from: open, to: close, kind: Kind::Rows }]);
            }
            None => pieces.push(Piece { from: open, to: close, kind: Kind::Rows }),
        }
    }
    // That a later candle is there tells that nothing comes before it, also if it may still change.
    if let (Some(run), Some(next)) = (pieces.last_mut(), rows.open(count)) {
        match series.has_room(run.to.saturating_add(1), next.saturating_sub(1)) {
            false => run.to = run.to.max(next.saturating_sub(1)),
            true => {
                let gap = Piece { from: run.to + 1, to: next - 1, kind: Kind::Gap };
                pieces.push(gap);
            }
        }
    }
    pieces
}
