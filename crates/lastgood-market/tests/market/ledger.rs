//! The exchange's candles as a list, and the exchange's rules for taking ranges out of it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lastgood::{Clock, Error, Reason, Value};
use lastgood_market::candles::Exchange;
use lastgood_market::interval::candle_at;
use lastgood_market::query::Params;
use lastgood_market::{Priority, Received, UpstreamRequest};

pub(crate) const MINUTE: u64 = 60_000;
/// That of the candle in which a test begins: the next gap and the next candle off the grid are half an hour away or more.
/// A whole number of rounds (120 times 97 places) more, so that no candle since 1970 has a place below zero.
const FIRST_PLACE: u64 = 6_135 + 10_000 * 120 * 97;

/// The candles of an interval, numbered from 1970 on: weeks open on Mondays, months on their first day.
#[derive(Clone, Copy)]
pub(crate) struct Grid<'a> {
    pub(crate) interval: &'a str,
    /// How long a candle is; of months the mean.
    pub(crate) length: u64,
}

impl<'a> Grid<'a> {
    pub(crate) fn of(interval: &'a str) -> Grid<'a> {
        let length = match interval {
            "1M" => 146_097 * 24 * 60 * MINUTE / 4_800,
            interval => lastgood_market::interval::length(interval).unwrap().as_millis() as u64,
        };
        Grid { interval, length }
    }

    /// When the candle that holds `at` opens.
    fn open_at(self, at: u64) -> u64 {
        match self.interval {
            "1w" | "1M" => candle_at(self.interval, at).unwrap().0,
            _ => at - at % self.length,
        }
    }

    /// The number of the candle in which `at` lies.
    pub(crate) fn number(self, at: u64) -> u64 {
        (self.open_at(at) + self.length / 2) / self.length
    }

    /// When the candle of a number opens.
    pub(crate) fn opens(self, number: u64) -> u64 {
        self.open_at(number * self.length + self.length / 2)
    }
}

/// Candles with runs missing, some of them off the grid, the last one forming.
pub(crate) struct Ledger {
    clock: Clock,
    /// When a test began: gaps lie where they lie from there, whatever the time of the day.
    began_at: u64,
    pub(crate) listed_at: u64,
    /// No candle opens from here on.
    pub(crate) halted_at: AtomicU64,
    /// The newest candle that began is not yet there.
    pub(crate) is_late: AtomicBool,
    /// The exchange has fallen behind: it knows nothing of what came after this.
    pub(crate) stuck_at: AtomicU64,
    /// Closed candles are corrected: the next answers have other numbers.
    pub(crate) correction: AtomicU64,
    pub(crate) is_down: AtomicBool,
    /// Nothing may be asked ahead of its readers.
    pub(crate) yields: AtomicBool,
    pub(crate) latency: Mutex<Duration>,
    /// How long a question waits before it is sent.
    pub(crate) held_back: Mutex<Duration>,
    /// What becomes of the next answers before they are given: one is taken for each.
    pub(crate) lies: Mutex<VecDeque<Lie>>,
    /// How often each settled candle was sent.
    pub(crate) sent: Mutex<HashMap<u64, u64>>,
    pub(crate) asked: Mutex<Vec<String>>,
    counts_back: bool,
}

/// Makes something else of the rows of an answer.
pub(crate) type Lie = fn(Vec<String>) -> Vec<String>;

/// What a question asks for, in the exchange's terms.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Range {
    pub(crate) start: Option<u64>,
    pub(crate) end: Option<u64>,
    pub(crate) limit: Option<usize>,
}

impl Range {
    pub(crate) fn query(self, interval: &str) -> String {
        let mut query = format!("symbol=BTCUSDT&interval={interval}");
        let fields =
            [("startTime", self.start), ("endTime", self.end), ("limit", self.limit.map(|limit| limit as u64))];
        for (name, value) in fields {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={value}"));
            }
        }
        query
    }
}

impl Ledger {
    pub(crate) fn new(clock: Clock, listed_at: u64, counts_back: bool) -> Arc<Ledger> {
        let began_at = clock.now().as_millis();
        Arc::new(Ledger {
            clock,
            began_at,
            listed_at,
            halted_at: AtomicU64::new(u64::MAX),
            is_late: AtomicBool::new(false),
            stuck_at: AtomicU64::new(u64::MAX),
            correction: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
            yields: AtomicBool::new(false),
            latency: Mutex::new(Duration::ZERO),
            held_back: Mutex::new(Duration::ZERO),
            lies: Mutex::default(),
            sent: Mutex::default(),
            asked: Mutex::default(),
            counts_back,
        })
    }

    /// What time it is for the exchange's data.
    fn now(&self) -> u64 {
        self.clock.now().as_millis().min(self.stuck_at.load(Ordering::SeqCst))
    }

    /// The place of the candle in which `at` lies. Every 120 places have a gap of twelve, and every 97th is off the grid.
    pub(crate) fn place(&self, at: u64, grid: Grid<'_>) -> u64 {
        grid.number(at) + FIRST_PLACE - grid.number(self.began_at)
    }

    /// When the candle of that number opens, unless it is missing.
    fn open(&self, number: u64, grid: Grid<'_>, now: u64) -> Option<u64> {
        let place = number + FIRST_PLACE - grid.number(self.began_at);
        let gap = place / 40 % 3 == 1 && (7..19).contains(&(place % 40));
        let is_off_the_grid = place.is_multiple_of(97) && grid.length > 7_000;
        let open = grid.opens(number) + if is_off_the_grid { 7_000 } else { 0 };
        let late = self.is_late.load(Ordering::SeqCst) && grid.opens(number + 1) > now;
        let halted = open >= self.halted_at.load(Ordering::SeqCst);
        (!gap && !late && !halted && open >= self.listed_at && open <= now).then_some(open)
    }

    pub(crate) fn row(&self, open: u64, grid: Grid<'_>, now: u64) -> String {
        let close = grid.opens(grid.number(open) + 1) - 1;
        let part = if close < now { 1_000 } else { (now - open) / 60 };
        let correction = if close < now { self.correction.load(Ordering::SeqCst) } else { 0 };
        format!(r#"[{open},"1.00","2.00","0.50","{part}.{correction}0","10",{close},"15.00",{part},"5","7.50","0"]"#)
    }

    /// What the exchange answers.
    pub(crate) fn answer(&self, range: Range, grid: Grid<'_>) -> String {
        format!("[{}]", self.rows_of(range, grid).join(","))
    }

    fn rows_of(&self, range: Range, grid: Grid<'_>) -> Vec<String> {
        let now = self.now();
        self.opens(range, grid).into_iter().map(|open| self.row(open, grid, now)).collect()
    }

    fn opens(&self, range: Range, grid: Grid<'_>) -> Vec<u64> {
        let now = self.now();
        let limit = range.limit.unwrap_or(500);
        let (from, to) = (range.start.unwrap_or(0), range.end.unwrap_or(u64::MAX).min(now));
        let within = |open: &u64| (from..=to).contains(open);
        let (first, last) = (grid.number(from.max(self.listed_at)), grid.number(to));
        let numbers = first..=last;
        let newest_first = range.start.is_none() || (self.counts_back && range.end.is_some());
        if newest_first {
            let found = numbers.rev().filter_map(|number| self.open(number, grid, now)).filter(within);
            let mut opens: Vec<u64> = found.take(limit).collect();
            opens.reverse();
            return opens;
        }
        numbers.filter_map(|number| self.open(number, grid, now)).filter(within).take(limit).collect()
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

#[async_trait]
impl Exchange for Ledger {
    async fn receive(&self, request: UpstreamRequest, priority: Priority) -> Result<Received, Error> {
        let held_back = *self.held_back.lock().unwrap();
        if !held_back.is_zero() {
            tokio::time::sleep(held_back).await;
        }
        let asked_at = self.clock.now();
        if priority == Priority::Warm && self.yields.load(Ordering::SeqCst) {
            return Err(Error::new(Reason::Yielded, "the budget is for others"));
        }
        self.asked.lock().unwrap().push(request.query.clone());
        let latency = *self.latency.lock().unwrap();
        tokio::time::sleep(latency).await;
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Error::new(Reason::Unreachable, "down"));
        }
        let params = Params::parse(&request.query).expect("a query of ours");
        let limit = params.number("limit").map(|limit| limit as usize);
        let range = Range { start: params.number("startTime"), end: params.number("endTime"), limit };
        let now = self.clock.now().as_millis();
        let grid = Grid::of(params.get("interval").unwrap());
        let newest = self.opens(Range { limit: Some(1), ..Range::default() }, grid);
        let settled = |open: &u64| open + 2 * grid.length + 15_000 < now && Some(open) != newest.first();
        for open in self.opens(range, grid).into_iter().filter(settled) {
            *self.sent.lock().unwrap().entry(open).or_default() += 1;
        }
        let rows = self.rows_of(range, grid);
        let rows = match self.lies.lock().unwrap().pop_front() {
            Some(lie) => lie(rows),
            None => rows,
        };
        Ok(Received { value: Value::new(format!("[{}]", rows.join(","))), asked_at })
    }

    fn forming_fresh_for(&self, _: &str) -> Duration {
        Duration::from_secs(2)
    }
}
