//! The order book: it moves in numbered updates, and what lies in it is a function of symbol and update.
//!
//! So the book of any moment can be asked for, and what changed between any two of them: the difference of two books is
//! found by comparing them, and applied to the earlier one it makes the later one, to the last level.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use crate::Venue;
use crate::price::{STEP, price, quantity, text};
use crate::random::fraction;
use crate::rows::array;
use crate::symbols::Symbol;

/// An update happens this often, in ms; the step of prices is a multiple of it.
const EVERY: u64 = 50;
/// Levels are no further apart than this part of the symbol's usual price. A price moves some levels at a step, and a
/// snapshot of a few hundred levels stays good for its top for minutes.
const SPACING: f64 = 1e-4;
/// How many steps of the price a subscriber may be behind: as long as one who does not read is waited for.
const MOST_STEPS: usize = 20;
/// Updates of the futures are numbered across symbols: those of one symbol are this far apart.
const SPARSE: u64 = 7;

/// The order book of a symbol after an update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Book<'a> {
    symbol: &'a Symbol,
    update: u64,
    /// Ticks in one of a price.
    scale: f64,
    /// Ticks between two levels.
    spacing: u64,
    /// The best levels, counted from a price of nothing.
    bid: u64,
    ask: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Bids,
    Asks,
}

/// The number of the last update at a time.
pub(crate) fn update_at(now: u64) -> u64 {
    now / EVERY
}

/// The exchange's number of an update.
pub(crate) fn update_id(venue: Venue, update: u64) -> u64 {
    match venue {
        Venue::Spot => update,
        Venue::UsdM | Venue::CoinM => update * SPARSE,
    }
}

/// The most levels that a book has on a side: as many as can be asked for.
fn most_levels(venue: Venue) -> u64 {
    if venue == Venue::Spot { 5_000 } else { 1_000 }
}

impl<'a> Book<'a> {
    pub(crate) fn at(symbol: &'a Symbol, now: u64) -> Self {
        Book::after(symbol, update_at(now))
    }

    /// The book after an update.
    pub(crate) fn after(symbol: &'a Symbol, update: u64) -> Self {
        let scale = 10f64.powi(symbol.decimals as i32);
        let mut spacing = 1;
        while (spacing * 10) as f64 <= symbol.level * SPACING * scale {
            spacing *= 10;
        }
        let ticks = (price(symbol, crate::market::step(update * EVERY)) * scale).round() as u64;
        // The lowest price there is has bids too.
        let bid = (ticks.saturating_sub(1) / spacing).max(1);
        let ask = (ticks / spacing + 1).max(bid + 1);
        Book { symbol, update, scale, spacing, bid, ask }
    }

    /// The exchange's number of its last update.
    pub(crate) fn id(&self) -> u64 {
        update_id(self.symbol.venue, self.update)
    }

    /// When its last update happened, in ms.
    pub(crate) fn time(&self) -> u64 {
        self.update * EVERY
    }

    /// Price and quantity of the best offer of a side, as they are written.
    pub(crate) fn best(&self, side: Side) -> (String, String) {
        let level = if side == Side::Bids { self.bid } else { self.ask };
        (self.price(level), self.quantity(side, level))
    }

    /// The best `most` levels of a side as rows, the best first.
    pub(crate) fn levels(&self, side: Side, most: usize) -> String {
        let window = self.window(side);
        let row = |out: &mut String, level| self.write(out, level, &self.quantity(side, level));
        match side {
            Side::Bids => array(window.rev().take(most), row),
            Side::Asks => array(window.take(most), row),
        }
    }

    /// The levels of a side that were touched since an earlier book, as rows; nothing lies where one is gone.
    ///
    /// A level that went and came back was touched too: a snapshot from between lacks it.
    pub(crate) fn touched_levels(&self, side: Side, earlier: &Book<'_>) -> String {
        let new = self.window(side);
        let (mut known, mut common) = (earlier.window(side), new.clone());
        for window in earlier.steps_until(self.update).map(|book| book.window(side)).chain([known.clone()]) {
            known = *known.start().min(window.start())..=*known.end().max(window.end());
            common = *common.start().max(window.start())..=*common.end().min(window.end());
        }
        let is_touched = |level: &u64| !common.contains(level) || self.turn(side, *level) != earlier.turn(side, *level);
        let gone = known.filter(|level| !new.contains(level)).map(|level| (level, false));
        let there = new.clone().filter(is_touched).map(|level| (level, true));
        let nothing = quantity(self.symbol, 0.0);
        array(gone.chain(there), |out, (level, is_there)| match is_there {
            true => self.write(out, level, &self.quantity(side, level)),
            false => self.write(out, level, &nothing),
        })
    }

    /// The books after each step of the price up to an update: which levels there are changes with the price alone. After
    /// a jump of the clock the first ones do, for no snapshot was taken during the jump.
    fn steps_until(&self, update: u64) -> impl Iterator<Item = Book<'a>> {
        let (symbol, every) = (self.symbol, STEP / EVERY);
        (self.update / every + 1..=update / every).take(MOST_STEPS).map(move |step| Book::after(symbol, step * every))
    }

    /// The levels of a side.
    fn window(&self, side: Side) -> RangeInclusive<u64> {
        let most = most_levels(self.symbol.venue);
        match side {
            Side::Bids => (self.bid + 1).saturating_sub(most).max(1)..=self.bid,
            Side::Asks => self.ask..=self.ask + most - 1,
        }
    }

    fn price(&self, level: u64) -> String {
        text(self.symbol, (level * self.spacing) as f64 / self.scale)
    }

    fn quantity(&self, side: Side, level: u64) -> String {
        let (every, turn) = self.turn(side, level);
        quantity(self.symbol, fraction(self.salt(side), turn ^ (every << 40), level) * 5.0 + 0.001)
    }

    /// Which of its quantities a level has: it gets another after this many updates. A few levels change all the time.
    fn turn(&self, side: Side, level: u64) -> (u64, u64) {
        // All levels of a book are looked at for each event: a real mix of these numbers would cost most of it.
        let chance = (level ^ self.salt(side)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let every = match chance >> 56 {
            0 => 6,
            1..=8 => 100,
            _ => 2_400,
        };
        (every, (self.update + (chance >> 24) % every) / every)
    }

    fn salt(&self, side: Side) -> u64 {
        self.symbol.salt ^ if side == Side::Bids { 11 } else { 12 }
    }

    fn write(&self, out: &mut String, level: u64, quantity: &str) {
        // Writing into a String cannot fail.
        let _ = write!(out, r#"["{}","{quantity}"]"#, self.price(level));
    }
}

/// The answer to a request for a book of `levels` a side.
pub(crate) fn depth(symbol: &Symbol, levels: usize, now: u64) -> String {
    let book = Book::at(symbol, now);
    let (id, at) = (book.id(), book.time());
    let sides = format!(r#""bids":{},"asks":{}"#, book.levels(Side::Bids, levels), book.levels(Side::Asks, levels));
    match symbol.venue {
        Venue::Spot => format!(r#"{{"lastUpdateId":{id},{sides}}}"#),
        Venue::UsdM => format!(r#"{{"lastUpdateId":{id},"E":{at},"T":{at},{sides}}}"#),
        Venue::CoinM => format!(
            r#"{{"lastUpdateId":{id},"symbol":"{}","pair":"{}","E":{at},"T":{at},{sides}}}"#,
            symbol.name, symbol.pair
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::random::mix;
    use crate::symbols::symbols;

    type Levels = BTreeMap<String, String>;

    fn rows(text: &str) -> Vec<(String, String)> {
        serde_json::from_str(text).unwrap()
    }

    fn apply(levels: &mut Levels, changed: &str) {
        for (price, quantity) in rows(changed) {
            match quantity.parse::<f64>().unwrap() == 0.0 {
                true => drop(levels.remove(&price)),
                false => drop(levels.insert(price, quantity)),
            }
        }
    }

    #[test]
    fn a_book_and_all_changes_after_it_make_any_later_book() {
        let mut chance = 1;
        let mut below = |end: u64| {
            chance = mix(chance, 5, 6);
            chance % end
        };
        for venue in Venue::ALL {
            let symbols = symbols(venue, 300, 7);
            for _ in 0..6 {
                let symbol = &symbols[below(symbols.len() as u64) as usize];
                let mut book = Book::after(symbol, 30_000_000_000 + below(9_000_000_000));
                let most = most_levels(venue) as usize;
                let mut sides =
                    [Side::Bids, Side::Asks].map(|side| rows(&book.levels(side, most)).into_iter().collect::<Levels>());
                // Short ways, and now and then one of days.
                for _ in 0..6 {
                    let far = if below(4) == 0 { 20_000_000 } else { 40 };
                    let later = Book::after(symbol, book.update + below(far));
                    for (side, levels) in [Side::Bids, Side::Asks].into_iter().zip(&mut sides) {
                        apply(levels, &later.touched_levels(side, &book));
                        let expected: Levels = rows(&later.levels(side, most)).into_iter().collect();
                        assert!(*levels == expected, "{} from {} to {}", symbol.name, book.update, later.update);
                    }
                    book = later;
                }
            }
        }
    }

    #[test]
    fn a_snapshot_from_between_two_books_is_brought_up_to_the_later_one() {
        let mut chance = 2;
        let mut below = |end: u64| {
            chance = mix(chance, 5, 6);
            chance % end
        };
        for venue in Venue::ALL {
            let symbols = symbols(venue, 300, 7);
            for _ in 0..8 {
                let symbol = &symbols[below(symbols.len() as u64) as usize];
                let book = Book::after(symbol, 30_000_000_000 + below(9_000_000_000));
                let between = Book::after(symbol, book.update + below(40));
                let later = Book::after(symbol, between.update + below(40));
                for side in [Side::Bids, Side::Asks] {
                    let whole = |book: &Book<'_>| -> Levels {
                        rows(&book.levels(side, most_levels(venue) as usize)).into_iter().collect()
                    };
                    let mut levels = whole(&between);
                    apply(&mut levels, &later.touched_levels(side, &book));
                    assert!(levels == whole(&later), "{} from {book:?} by {between:?}", symbol.name);
                }
            }
        }
    }

    #[test]
    fn a_tenth_of_a_second_changes_a_few_levels_of_a_book() {
        for venue in Venue::ALL {
            let symbol = &symbols(venue, 30, 7)[0];
            for update in (35_000_000_000..35_000_000_040_u64).step_by(2) {
                let (book, later) = (Book::after(symbol, update), Book::after(symbol, update + 2));
                let changed = [Side::Bids, Side::Asks].map(|side| rows(&later.touched_levels(side, &book)).len());
                assert!((1..500).contains(&changed.iter().sum::<usize>()), "{changed:?}");
            }
        }
    }

    #[test]
    fn bids_are_below_the_price_and_asks_above_it() {
        for venue in Venue::ALL {
            for symbol in &symbols(venue, 300, 7) {
                let book = Book::at(symbol, 1_772_600_767_250);
                let [bid, ask] = [Side::Bids, Side::Asks].map(|side| book.best(side).0.parse::<f64>().unwrap());
                let last = price(symbol, crate::market::step(1_772_600_767_250));
                assert!(0.0 < bid && bid <= last && last < ask, "{}: {bid} {last} {ask}", symbol.name);
                let depth: Value = serde_json::from_str(&depth(symbol, 5, 1_772_600_767_250)).unwrap();
                assert_eq!(depth["bids"][0][0], Value::from(book.best(Side::Bids).0));
            }
        }
    }
}
