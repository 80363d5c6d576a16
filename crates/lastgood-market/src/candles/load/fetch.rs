//! Asks the exchange for candles, and once more where it contradicts the kept candles.

use lastgood::{Error, Reason, Timestamp};

use super::super::keep::{Draft, RECALL};
use super::super::resolve::Known;
use super::super::rows::Rows;
use super::super::series::{COIN_SPAN, Fetch};
use super::super::statement::Kind;
use super::PAST_GAPS;
use super::doubt::OtherRow;
use crate::venue::Venue;

/// An answer of the exchange, and what was asked.
pub(super) struct Reply {
    pub(super) rows: Rows,
    /// By the clock that candles open and close by, in ms.
    pub(super) asked_at: u64,
    /// The same by this machine's.
    pub(super) as_of: Timestamp,
    pub(super) fetch: Fetch,
}

impl Draft<'_> {
    /// Asks the exchange, and once more where its answer contradicts the kept candles: if a second answer agrees with
    /// them, the first was wrong and is asked for again; if it agrees with the first, the exchange has changed
    /// its history, or lags behind what it said before.
    pub(super) async fn fetch(&mut self, fetch: Fetch, witness: Option<u64>) -> Result<Reply, Error> {
        for _ in 0..2 {
            let reply = self.fetch_rows(fetch).await?;
            let Some(open) = self.contradiction(&reply, witness) else { return Ok(reply) };
            let (kept, other) = (self.row(open), self.other_answer_before(open).await);
            let near = other.as_ref().filter(|other| other.is_near).map(|other| other.open);
            let second = self.fetch_rows(self.second_question(open, near)).await?;
            let row = second.rows.at(open);
            let agrees_with_kept = if kept.is_some() { row == kept.as_deref() } else { row.is_some() };
            if agrees_with_kept || row != reply.rows.at(open) {
                continue;
            }
            // It had not settled, so that nothing else is in doubt.
            if kept.is_none() && !second.rows.is_empty() {
                return Ok(reply);
            }
            // One answer alone gave it, and what another gave before it stands: that one answer was wrong.
            if let Some(other) = other
                && self.still_stands(&other, &second.rows).await?
                && self.doubt_from(open).await
            {
                return Ok(reply);
            }
            // That a candle was taken away is believed only of an answer that gives one after it.
            match second.rows.is_empty() {
                false => {
                    self.candles.void(self.series, open, self.is_of_the_end).await;
                    self.forget();
                    return Ok(reply);
                }
                // Candles missing at the end may not exist yet.
                true if self.is_of_the_end && !self.refuses_older() => return Ok(reply),
                true => return Err(older()),
            }
        }
        Err(Error::new(Reason::Malformed, "the exchange contradicts what it said of settled candles"))
    }

    /// Asks for a candle in another way than before, for the one after it, and for those from `earlier` on.
    fn second_question(&self, open: u64, earlier: Option<u64>) -> Fetch {
        let start = earlier.unwrap_or(open);
        // Of some months there are more in a span than of the longest.
        let before = self.series.candles_in(start, open);
        let limit = before + before / 8 + 1;
        let end = open.saturating_add((PAST_GAPS * self.series.length).min(COIN_SPAN / 2));
        match self.series.endpoint.venue {
            // COIN-M counts back from an end.
            Venue::CoinM => Fetch { start: Some(start), end: Some(end), limit: self.series.candles_in(start, end) + 1 },
            _ => Fetch { start: Some(start), end: None, limit },
        }
    }

    /// Whether the exchange gives another answer's row as before: in `second`, or, where that is too far on, when it is asked.
    async fn still_stands(&self, other: &OtherRow, second: &Rows) -> Result<bool, Error> {
        if other.is_near {
            return Ok(second.at(other.open) == Some(&other.text));
        }
        let alone = Fetch { start: Some(other.open), end: Some(other.open), limit: 1 };
        Ok(self.fetch_rows(alone).await?.rows.at(other.open) == Some(&other.text))
    }

    /// The row that an answer contradicts: a kept one that it lacks or gives otherwise, or one of the kept end of the series, or of
    /// the last answer that was passed on, that it lacks.
    fn contradiction(&self, reply: &Reply, witness: Option<u64>) -> Option<u64> {
        let (rows, Fetch { start, end, limit }) = (&reply.rows, reply.fetch);
        let is_forward = start.is_some() && (end.is_none() || self.series.endpoint.venue != Venue::CoinM);
        match (rows.first_open().zip(rows.last_open()), witness) {
            (None, Some(witness)) => Some(witness),
            // The oldest from there on, and there are some.
            (None, None) if is_forward => self.kept_after(start?, end),
            (None, None) => None,
            (Some((first, last)), _) => {
                let from = start.filter(|_| is_forward || rows.count() < limit).unwrap_or(first).min(first);
                let to = end.filter(|_| !is_forward).unwrap_or(last).max(last);
                self.contradicted_by(rows, from, to)
                    .or_else(|| self.lacks_of_the_end(rows, from, last))
                    .or_else(|| self.lacks_of_what_was_passed_on(rows, from, to))
            }
        }
    }

    /// A kept row among the newest that opens in a range.
    fn kept_after(&self, start: u64, end: Option<u64>) -> Option<u64> {
        let end = end.unwrap_or(u64::MAX).min(self.candles.now());
        let last = self.series.block_at(end);
        let first = self.series.block_at(start).max(last.saturating_sub(RECALL));
        let blocks = (first..=last).rev().filter_map(|index| self.block(index));
        let mut rows = blocks.filter_map(|block| {
            let last = block.rows.before(end.saturating_add(1)).checked_sub(1)?;
            let open = block.rows.open(last)?;
            let statement = block.known.span_at(open)?.statement;
            (open >= start && statement.kind != Kind::Doubted).then_some(open)
        });
        rows.next()
    }

    async fn fetch_rows(&self, fetch: Fetch) -> Result<Reply, Error> {
        let ahead = self.candles.exchange.clock_skew();
        let received = self.candles.exchange.receive(self.series.request(fetch), self.priority).await?;
        let (value, as_of) = (received.value, received.asked_at);
        let asked_at = as_of.as_millis().saturating_add_signed(ahead);
        let rows = Rows::of_answer(&value.body).filter(|rows| rows.count() <= fetch.limit);
        let rows = rows.filter(|rows| is_within(rows, fetch)).ok_or_else(unreadable)?;
        Ok(Reply { rows, asked_at, as_of, fetch })
    }
}

/// Whether an answer keeps to the bounds that it was asked for.
fn is_within(rows: &Rows, fetch: Fetch) -> bool {
    rows.first_open().is_none_or(|first| fetch.start.is_none_or(|start| first >= start))
        && rows.last_open().is_none_or(|last| fetch.end.is_none_or(|end| last <= end))
}

pub(super) fn older() -> Error {
    Error::new(Reason::Malformed, "the exchange's answer is older than one before it")
}

pub(in crate::candles) fn unreadable() -> Error {
    Error::new(Reason::Malformed, "the exchange's answer is no list of candles in order")
}

#[cfg(test)]
mod tests {
    use super::super::super::rows::tests::answer;
    use super::*;

    #[test]
    fn bounds_are_kept_to() {
        let rows = Rows::of_answer(&answer([60_000, 120_000])).unwrap();
        let fetch = |start, end| Fetch { start, end, limit: 9 };
        assert!(is_within(&rows, fetch(Some(60_000), Some(120_000))) && is_within(&rows, fetch(None, None)));
        assert!(!is_within(&rows, fetch(Some(60_001), None)) && !is_within(&rows, fetch(None, Some(119_999))));
    }
}
