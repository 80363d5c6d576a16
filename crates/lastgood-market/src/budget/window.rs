//! One thing that the exchange counts, in fixed windows of its clock.

use std::time::Duration;

use lastgood::Timestamp;

use super::{BucketStanding, Priority, RESERVE, Stop, bounds};
use crate::venue::Bucket;

/// The part of the available weight that refreshes may use: the rest is for callers that have nothing to serve.
const REFRESHES: f64 = 0.95;
/// How far behind the hottest key's refresh the coldest one's must stay, as a part of the available weight.
const FREQUENCY_SPREAD: f64 = 0.2;
/// A key this hot (requests for each unit of weight, as a power of two) may use all that a refresh may.
const HOTTEST: f64 = 10.0;
/// What may be used as soon as a window begins: half after a calm window, because at a candle's close everybody asks
/// at once; little after one in which more was asked than there was, so that what there is lasts.
const CALM_START: f64 = 0.5;
const PRESSED_START: f64 = 0.1;
/// After a window in which more was asked than there was, demands leave this part to refreshes: a crawl of keys that
/// no reader ever had must not make every other key go stale.
const GUARANTEED: f64 = 0.25;
/// A refused refresh comes again soon, because it grows hotter while it waits; and not at once.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A limit below this part of the usual one is doubted: the exchange is asked again when it holds a call back.
const DOUBTED_BELOW: u32 = 2;
/// How old the exchange's last word must be for that: said once, and said again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);
const ASK_AGAIN_LATER: Duration = Duration::from_secs(600);
/// By how much a better knowledge of the exchange's clock may set it back without a window beginning twice, in ms.
pub(super) const CLOCK_SLACK: u64 = 5_000;
/// Two words this far apart are of two answers, and confirm each other.
const APART: Duration = Duration::from_secs(30);

/// A count with its limit.
#[derive(Debug)]
pub(super) struct Window {
    bucket: Bucket,
    /// Limit and length until the exchange states its own.
    usual: (u32, u64),
    pub(super) limit: u32,
    pub(super) length: u64,
    /// When the exchange last stated the limit, and whether an earlier answer said the same.
    pub(super) stated: Option<(Timestamp, bool)>,
    pub(super) index: u64,
    /// How often a new window began. The exchange's word on a call is about the window that the call was sent in.
    pub(super) turn: u64,
    pub(super) used: u32,
    /// What was sent from here in this window.
    pub(super) sent: u32,
    /// The highest use that the exchange reported for this window; zero before the first.
    pub(super) word: u32,
    /// The place of that word in the order of what was sent and heard.
    pub(super) word_heard: u64,
    /// What the other gateways sent in this window, and in the next where their clocks are a little ahead.
    pub(super) others: u32,
    pub(super) others_next: u32,
    /// Spent here since the exchange or the store last said what all have used, and when that was.
    pub(super) unconfirmed: u32,
    pub(super) heard_at: Option<Timestamp>,
    /// What refreshes used of it.
    refreshed: u32,
    /// What was asked for in this window, whether it was spent or not.
    asked: u64,
    /// Whether more was asked for in the last window than there was.
    pressed: bool,
    spent: u64,
    pub(super) stop: Option<Stop>,
}

impl Window {
    pub(super) fn new(bucket: Bucket, usual: (u32, u64)) -> Self {
        Window {
            bucket,
            usual,
            limit: usual.0,
            length: usual.1,
            stated: None,
            index: 0,
            turn: 0,
            used: 0,
            sent: 0,
            word: 0,
            word_heard: 0,
            others: 0,
            others_next: 0,
            unconfirmed: 0,
            heard_at: None,
            refreshed: 0,
            asked: 0,
            pressed: false,
            spent: 0,
            stop: None,
        }
    }

    /// Begins a new window when the time has come; `at` is the exchange's time.
    pub(super) fn roll(&mut self, now: Timestamp, at: Timestamp) {
        let index = at.as_millis() / self.length;
        // The estimate of the exchange's clock may be corrected by a little.
        let is_set_back = index + 1 == self.index && self.length - at.as_millis() % self.length < CLOCK_SLACK;
        if self.index != index && !is_set_back {
            let follows = self.index.checked_add(1) == Some(index);
            self.pressed = follows && self.asked as f64 > self.available();
            self.others = if follows { self.others_next } else { 0 };
            (self.index, self.used, self.sent, self.refreshed, self.asked) = (index, self.others, 0, 0, 0);
            (self.word, self.others_next, self.unconfirmed, self.turn) = (0, 0, 0, self.turn + 1);
        }
        self.stop = self.stop.filter(|stop| stop.is_in_force(now));
    }

    /// The exchange's time is another than was thought: the window is, too, and all that was counted in it stays.
    pub(super) fn is_at(&mut self, at: Timestamp) {
        self.index = at.as_millis() / self.length;
    }

    pub(super) fn reserve(&self) -> f64 {
        (f64::from(self.limit) * RESERVE).ceil()
    }

    /// The limit without the reserve.
    pub(super) fn available(&self) -> f64 {
        f64::from(self.limit) - self.reserve()
    }

    pub(super) fn asked(&mut self, cost: u32) {
        self.asked += u64::from(cost);
    }

    pub(super) fn spend(&mut self, cost: u32, priority: Priority) {
        self.used = self.used.saturating_add(cost);
        self.sent = self.sent.saturating_add(cost);
        self.unconfirmed = self.unconfirmed.saturating_add(cost);
        if priority == Priority::Refresh {
            self.refreshed = self.refreshed.saturating_add(cost);
        }
        self.spent += u64::from(cost);
    }

    /// Takes the exchange's word for the limit if that can be one. Says whether it is believed. A window of another
    /// length begins again.
    pub(super) fn learn(&mut self, limit: u64, length: u64, now: Timestamp) -> bool {
        let Some(stated) = bounds::believed_limit(self.bucket, self.usual, limit, length) else { return false };
        let is_same = self.limit == stated && self.length == length;
        let is_confirmed = is_same && self.stated.is_some_and(|(at, confirmed)| confirmed || now.since(at) >= APART);
        self.stated = Some((now, is_confirmed));
        if self.length != length {
            (self.length, self.index) = (length, u64::MAX - 1);
            (self.others, self.others_next) = (0, 0);
        }
        self.limit = stated;
        true
    }

    /// Forgets a limit above the usual one: the exchange has just refused what it allowed.
    pub(super) fn disbelieve_more(&mut self, now: Timestamp) {
        if self.length == self.usual.1 && self.limit > self.usual.0 {
            self.limit = self.usual.0;
            self.stated = Some((now, false));
        }
    }

    /// Whether the exchange is to be asked for its limit again: it is far below the usual one, and may have been stated
    /// by mistake.
    pub(super) fn is_doubtful(&self, now: Timestamp) -> bool {
        let Some((at, is_confirmed)) = self.stated else { return false };
        let wait = if is_confirmed { ASK_AGAIN_LATER } else { ASK_AGAIN_AFTER };
        let stated = u128::from(self.limit) * u128::from(self.usual.1) * u128::from(DOUBTED_BELOW);
        stated < u128::from(self.usual.0) * u128::from(self.length) && now.since(at) >= wait
    }

    /// How long a call that costs `cost` has to wait; `None` if it may be made now.
    ///
    /// A demand may use all that is available, but a part for refreshes once it was scarce. A refresh may use a part that grows with the window, so that refreshes
    /// last to its end, and that is larger the more often its key was asked for since its last load, for each unit of
    /// weight. So scarcity stretches refreshes in proportion to what they are worth: a key that is asked for ten
    /// times as often is refreshed about ten times as often, and one that is hardly asked for grows hot in the end
    /// too, so that none is forgotten. Warming may use half of what the coldest refresh may.
    pub(super) fn refuses(&self, cost: u32, priority: Priority, frequency: u32, now: Timestamp) -> Option<Duration> {
        let (available, wanted) = (self.available(), f64::from(self.used.saturating_add(cost)));
        let into = now.as_millis() % self.length;
        let rest = Duration::from_millis(self.length - into);
        // A request that costs more than the whole budget may go out once nothing else was sent.
        let fits = wanted <= available || (self.used == 0 && cost <= self.limit);
        if priority == Priority::Demand {
            let guaranteed = if self.pressed { GUARANTEED * available } else { 0.0 };
            let left_to_refreshes = (guaranteed - f64::from(self.refreshed)).max(0.0);
            let fits = fits && (wanted <= available - left_to_refreshes || self.used == 0);
            return (!fits).then_some(rest);
        }
        let start = if self.pressed { PRESSED_START } else { CALM_START };
        let line = REFRESHES * (start + (1.0 - start) * into as f64 / self.length as f64);
        let worth = f64::from(frequency) / f64::from(cost);
        let level = ((1.0 + worth).log2() / HOTTEST).min(1.0);
        let part = match priority {
            Priority::Warm => (line - FREQUENCY_SPREAD) / 2.0,
            _ => line - FREQUENCY_SPREAD * (1.0 - level),
        };
        let refreshed = f64::from(self.refreshed.saturating_add(cost));
        let is_guaranteed = self.pressed && priority == Priority::Refresh && refreshed <= part * GUARANTEED * available;
        if fits && (wanted <= part * available || is_guaranteed) {
            return None;
        }
        let slope = REFRESHES * (1.0 - start) * available / self.length as f64;
        let until_allowed = Duration::from_millis(((wanted - part * available) / slope).max(0.0) as u64);
        Some(until_allowed.min(rest).clamp(SHORTEST_WAIT, LONGEST_WAIT))
    }

    pub(super) fn standing(&self, bucket: Bucket) -> BucketStanding {
        BucketStanding {
            bucket,
            limit: self.limit,
            reserve: self.reserve() as u32,
            window: Duration::from_millis(self.length),
            used: self.used,
            own: self.sent,
            others: self.others,
            spent: self.spent,
            stop: self.stop,
        }
    }
}
