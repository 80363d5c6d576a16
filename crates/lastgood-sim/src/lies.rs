//! Answers that are well-formed and wrong, in the ways that users of exchanges have seen.

use std::sync::atomic::Ordering;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::catalogue::Catalogue;
use crate::content::Content;
use crate::faults::FaultKind;
use crate::interval::Interval;
use crate::params::Params;
use crate::random::{mix, one_in};
use crate::server::{self, Asked};
use crate::{State, Venue};

/// A way in which an answer is wrong. Its status, its content type and its JSON are those of a good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// `[]`.
    EmptyList,
    /// Only the first rows.
    FirstRows,
    /// Only the last rows.
    LastRows,
    /// Rows in the middle are missing.
    Holed,
    /// The list ends after a whole row, at two thirds of its length.
    CutAfterRow,
    /// The first row is missing.
    FirstMissing,
    /// The last row is missing.
    LastMissing,
    /// Some of the last rows are missing.
    TailMissing,
    /// A limit of half of what was asked for.
    LowerCap,
    /// Rows of one interval earlier.
    ShiftedBack,
    /// Rows of one interval later.
    ShiftedForward,
    /// The answer as of some minutes ago.
    Older,
    /// A row twice.
    DuplicatedRow,
    /// Two neighbours in the wrong order.
    UnorderedRows,
    /// One row is another exchange's.
    ForeignRow,
    /// One row is another symbol's.
    OtherSymbolsRow,
    /// All of it is another symbol's.
    OtherSymbol,
    /// A symbol is missing in a list of symbols.
    SymbolMissing,
    /// `{}`.
    EmptyObject,
    /// `[{}]`.
    EmptyRow,
    /// `{"Note":"…"}`.
    Note,
}

impl Lie {
    /// Every way.
    pub const ALL: [Lie; 21] = [
        Lie::EmptyList,
        Lie::FirstRows,
        Lie::LastRows,
        Lie::Holed,
        Lie::CutAfterRow,
        Lie::FirstMissing,
        Lie::LastMissing,
        Lie::TailMissing,
        Lie::LowerCap,
        Lie::ShiftedBack,
        Lie::ShiftedForward,
        Lie::Older,
        Lie::DuplicatedRow,
        Lie::UnorderedRows,
        Lie::ForeignRow,
        Lie::OtherSymbolsRow,
        Lie::OtherSymbol,
        Lie::SymbolMissing,
        Lie::EmptyObject,
        Lie::EmptyRow,
        Lie::Note,
    ];

    /// All names, as they are written in faults.
    pub(crate) fn names() -> String {
        let name = |lie: &Lie| serde_json::to_string(lie).unwrap_or_default().trim_matches('"').to_owned();
        Lie::ALL.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

/// An older snapshot is at most this many minutes old.
const OLDEST: u64 = 30;
const MINUTE: u64 = 60_000;

/// The answer, or what the lies in force make of it.
pub(crate) fn spoiled(state: &State, faults: &[FaultKind], asked: &Asked<'_>, honest: Content) -> Content {
    let lied = faults.iter().find_map(|fault| match fault {
        FaultKind::Lie { lie, seed } => changed(state, *lie, *seed, asked),
        FaultKind::Lies { one_in: seldom, seed } => {
            let number = state.lied.fetch_add(1, Ordering::Relaxed);
            one_in((*seldom).max(1), *seed, number, 0).then(|| any(state, mix(*seed, number, 1), asked))?
        }
        _ => None,
    });
    lied.map_or(honest, Content::from)
}

/// A lie of any kind, the first that applies, in an order of chance.
fn any(state: &State, seed: u64, asked: &Asked<'_>) -> Option<String> {
    let mut lies = Lie::ALL;
    lies.sort_by_key(|lie| mix(seed, *lie as u64, 2));
    lies.into_iter().find_map(|lie| changed(state, lie, seed, asked))
}

/// What `lie` makes of the answer of this moment; nothing where that is not possible, or makes no difference.
pub(crate) fn changed(state: &State, lie: Lie, seed: u64, asked: &Asked<'_>) -> Option<String> {
    let now = state.clock.now();
    let mut liar =
        Liar { state, asked, venue: server::venue_of(asked.path, asked.query), seed, now, honest: String::new() };
    liar.honest = liar.truth_of(&state.catalogue, asked.query, now)?;
    liar.tell(lie).filter(|lied| *lied != liar.honest)
}

struct Liar<'a> {
    state: &'a State,
    asked: &'a Asked<'a>,
    venue: Venue,
    seed: u64,
    now: u64,
    /// The true answer.
    honest: String,
}

impl Liar<'_> {
    fn tell(&self, lie: Lie) -> Option<String> {
        let count = || self.rows().map(|rows| rows.len());
        let longer_than = |least: usize| count().filter(|count| *count > least);
        match lie {
            Lie::EmptyList => count().map(|_| "[]".to_owned()),
            Lie::FirstRows => longer_than(1).and_then(|count| self.part(0, 1 + self.pick(1, count - 1))),
            Lie::LastRows => longer_than(1).and_then(|count| self.part(1 + self.pick(1, count - 1), count)),
            Lie::Holed => longer_than(2).and_then(|count| {
                let begin = 1 + self.pick(1, count - 2);
                let end = begin + 1 + self.pick(2, count - 1 - begin);
                let rows = self.rows()?;
                Some(list([&rows[..begin], &rows[end..]].concat()))
            }),
            Lie::CutAfterRow => longer_than(1).and_then(|count| self.part(0, (count * 2 / 3).max(1))),
            Lie::FirstMissing => longer_than(1).and_then(|count| self.part(1, count)),
            Lie::LastMissing => longer_than(1).and_then(|count| self.part(0, count - 1)),
            Lie::TailMissing => longer_than(2).and_then(|count| self.part(0, count - 2 - self.pick(1, count / 2 - 1))),
            Lie::LowerCap => self.lower_cap(),
            Lie::ShiftedBack => self.shifted(-1),
            Lie::ShiftedForward => self.shifted(1),
            Lie::Older => {
                let then = self.now.saturating_sub((1 + self.pick(1, OLDEST as usize) as u64) * MINUTE);
                self.truth_of(&self.state.catalogue, self.asked.query, then)
            }
            Lie::DuplicatedRow => longer_than(0).and_then(|count| {
                let mut rows = self.rows()?;
                let twice = self.pick(1, count);
                rows.insert(twice, rows[twice]);
                Some(list(rows))
            }),
            Lie::UnorderedRows => longer_than(1).and_then(|count| {
                let mut rows = self.rows()?;
                let first = self.pick(1, count - 1);
                rows.swap(first, first + 1);
                Some(list(rows))
            }),
            Lie::ForeignRow => self.with_a_row_of(&self.truth_of(self.state.foreign(), self.asked.query, self.now)?),
            Lie::OtherSymbolsRow => self.with_a_row_of(&self.of_another_symbol()?),
            Lie::OtherSymbol => self.of_another_symbol(),
            Lie::SymbolMissing => self.without_a_symbol(),
            Lie::EmptyObject => self.honest.starts_with('{').then(|| "{}".to_owned()),
            Lie::EmptyRow => self.honest.starts_with('[').then(|| "[{}]".to_owned()),
            Lie::Note => {
                Some(r#"{"Note":"Thank you for using our API! Please consider a plan with more requests."}"#.to_owned())
            }
        }
    }

    /// A number below `end` that follows from the seed; zero where there is no other.
    fn pick(&self, salt: u64, end: usize) -> usize {
        (mix(self.seed, salt, 70) % end.max(1) as u64) as usize
    }

    /// The true answer to another query, of another time or another exchange.
    fn truth_of(&self, catalogue: &Catalogue, query: &str, now: u64) -> Option<String> {
        server::public(self.state, catalogue, &Asked { query, ..*self.asked }, now, &[]).ok().map(Content::text)
    }

    fn rows(&self) -> Option<Vec<&RawValue>> {
        serde_json::from_str(&self.honest).ok()
    }

    fn part(&self, from: usize, to: usize) -> Option<String> {
        self.rows()?.get(from..to).map(|rows| list(rows.iter().copied()))
    }

    fn lower_cap(&self) -> Option<String> {
        let name = self.asked.path.rsplit('/').next()?;
        let default = match (name, self.venue) {
            ("depth", Venue::Spot) | ("fundingRate", _) => 100,
            _ if self.asked.path.starts_with("/futures/data/") => 30,
            ("klines" | "uiKlines" | "trades" | "historicalTrades" | "aggTrades" | "depth", _) => 500,
            _ if name.ends_with("Klines") => 500,
            _ => return None,
        };
        let limit = Params::parse(self.asked.query).ok()?.number("limit").ok()?.unwrap_or(default);
        let lower = match (name, self.venue) {
            // The futures' books have these sizes only.
            ("depth", Venue::UsdM | Venue::CoinM) => {
                [500, 100, 50, 20, 10, 5].into_iter().find(|lower| *lower < limit)?
            }
            _ => (limit / 2).max(1),
        };
        self.truth_of(&self.state.catalogue, &with(self.asked.query, "limit", &lower.to_string()), self.now)
    }

    /// Candles or statistics of one interval before (−1) or after (1) those that are asked for.
    fn shifted(&self, by: i64) -> Option<String> {
        let params = Params::parse(self.asked.query).ok()?;
        let length = Interval::parse(params.get("interval").or(params.get("period"))?)?.length();
        let moved = |time: u64| time.saturating_add_signed(by * i64::try_from(length).unwrap_or(i64::MAX)).to_string();
        let (start, end) = (params.time("startTime").ok()?, params.time("endTime").ok()?);
        let mut query = self.asked.query.to_owned();
        for (name, bound) in [("startTime", start), ("endTime", end)] {
            query = bound.map_or(query.clone(), |bound| with(&query, name, &moved(bound)));
        }
        match (start, end) {
            // The newest rows have nothing after them.
            (None, None) if by > 0 => return self.part(1, self.rows()?.len()),
            (None, None) => query = with(&query, "endTime", &moved(self.now)),
            _ => {}
        }
        self.truth_of(&self.state.catalogue, &query, self.now)
    }

    fn of_another_symbol(&self) -> Option<String> {
        let params = Params::parse(self.asked.query).ok()?;
        let (name, asked) = ["symbol", "pair"].iter().find_map(|name| Some((*name, params.get(name)?)))?;
        let named = self.state.catalogue.trading(self.venue).filter_map(|symbol| match name {
            "pair" if symbol.pair != asked => Some(&symbol.pair),
            "symbol" if symbol.name != asked => Some(&symbol.name),
            _ => None,
        });
        // The first are the well-known ones, which have the longest histories.
        let others: Vec<&String> = named.take(12).collect();
        let other = utf8_percent_encode(others.get(self.pick(3, others.len()))?, NON_ALPHANUMERIC).to_string();
        self.truth_of(&self.state.catalogue, &with(self.asked.query, name, &other), self.now)
    }

    /// One row taken from `others`: of the same candle, or at the same place.
    fn with_a_row_of(&self, others: &str) -> Option<String> {
        let mut rows = self.rows()?;
        let others: Vec<&RawValue> = serde_json::from_str(others).ok()?;
        let opens =
            |row: &RawValue| row.get().strip_prefix('[').and_then(|row| row.split(',').next().map(str::to_owned));
        let first = self.pick(4, rows.len());
        let (place, other) = (0..rows.len()).map(|step| (first + step) % rows.len()).find_map(|place| {
            let other = match opens(rows[place]) {
                Some(open) => others.iter().find(|other| opens(other).as_ref() == Some(&open)),
                None => others.get(place).filter(|_| others.len() == rows.len()),
            };
            Some((place, *other.filter(|other| other.get() != rows[place].get())?))
        })?;
        rows[place] = other;
        Some(list(rows))
    }

    fn without_a_symbol(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Info<'a> {
            #[serde(borrow)]
            symbols: &'a RawValue,
        }
        #[derive(Deserialize)]
        struct Named {
            symbol: String,
        }
        let symbols = match serde_json::from_str::<Info<'_>>(&self.honest) {
            Ok(info) => info.symbols.get(),
            Err(_) => &self.honest,
        };
        let mut rows: Vec<&RawValue> = serde_json::from_str(symbols).ok()?;
        let name = |row: &RawValue| serde_json::from_str::<Named>(row.get()).ok().map(|named| named.symbol);
        // Several rows of one symbol are its history.
        (rows.len() > 1 && name(rows[0])? != name(rows[1])?).then_some(())?;
        rows.remove(self.pick(5, rows.len()));
        Some(self.honest.replacen(symbols, &list(rows), 1))
    }
}

fn list<'a>(rows: impl IntoIterator<Item = &'a RawValue>) -> String {
    crate::rows::array(rows, |out, row| out.push_str(row.get()))
}

/// `query` with one field set.
fn with(query: &str, name: &str, value: &str) -> String {
    let is_other = |field: &&str| field.split_once('=').map_or(*field, |(known, _)| known) != name;
    let others = query.split('&').filter(|field| !field.is_empty()).filter(is_other);
    let field = format!("{name}={value}");
    others.chain([field.as_str()]).collect::<Vec<_>>().join("&")
}
