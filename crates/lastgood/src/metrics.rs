//! What a region counts. Plain atomics; an exporter reads a [`RegionStats`].

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::error::{Error, Reason};
use crate::outcome::{Outcome, Tier};

mod striped;

use self::striped::Striped;

/// Upper bounds of the load latency buckets, in milliseconds; above the last is the rest.
pub const LATENCY_BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000];

/// How often the log tells of values that cannot be read: another program may write many.
const LOG_UNREADABLE_EVERY: Duration = Duration::from_secs(60);

/// The time that an answer takes, of one in 256 of a thread: to take each would cost as much as a hit does.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Option<Instant>);

impl Stopwatch {
    #[inline]
    pub(crate) fn start() -> Stopwatch {
        thread_local!(static READS: Cell<u8> = const { Cell::new(0) });
        let reads = READS.with(|reads| reads.replace(reads.get().wrapping_add(1)));
        Stopwatch((reads == 0).then(Instant::now))
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    hits_memory: Striped,
    hits_store: AtomicU64,
    stale: AtomicU64,
    last_good: AtomicU64,
    misses: AtomicU64,
    joined: AtomicU64,
    bypassed: AtomicU64,
    errors: AtomicU64,
    refused: AtomicU64,
    /// When the last good answer stood in for the source last, and the place of the reason in [`Reason::ALL`], below.
    last_good_at: AtomicU64,
    /// The age of the oldest that did in the last minute, in seconds, above the second at which it did.
    oldest_last_good: AtomicU64,
    pub(crate) loads: AtomicU64,
    load_failures: AtomicU64,
    refused_loads: AtomicU64,
    pub(crate) dropped_fills: AtomicU64,
    unreadable: AtomicU64,
    /// When the log last had a line on them, in milliseconds.
    unreadable_logged_at: AtomicU64,
    last_refresh: AtomicU64,
    load_buckets: [AtomicU64; LATENCY_BOUNDS_MS.len() + 1],
    load_micros: AtomicU64,
    memory_hits: TimeSpent,
    store_finds: TimeSpent,
}

#[derive(Default)]
struct TimeSpent {
    times: AtomicU64,
    nanos: AtomicU64,
}

impl TimeSpent {
    fn add(&self, took: Duration) {
        add(&self.times);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(0), Ordering::Relaxed);
    }

    fn read(&self) -> Timed {
        let time = Duration::from_nanos(self.nanos.load(Ordering::Relaxed));
        Timed { times: self.times.load(Ordering::Relaxed), time }
    }
}

/// Whether what was noted was so more than a minute before this second.
fn is_past_a_minute(noted: u64, seconds: u64) -> bool {
    (seconds as u32).wrapping_sub(noted as u32) > 60
}

impl Counters {
    /// Counts an answer, and the time that it took where that was taken and memory gave it.
    pub(crate) fn count_timed(&self, outcome: Outcome, stopwatch: Stopwatch) {
        match outcome {
            Outcome::Hit(Tier::Memory) => self.count_hit(stopwatch),
            _ => self.count(outcome),
        }
    }

    /// The same of an answer that memory gave.
    #[inline]
    pub(crate) fn count_hit(&self, stopwatch: Stopwatch) {
        self.hits_memory.add();
        if let Some(started) = stopwatch.0 {
            self.memory_hits.add(started.elapsed());
        }
    }

    /// Notes a read of the store that found something.
    pub(crate) fn found_in_store(&self, took: Duration) {
        self.store_finds.add(took);
    }

    pub(crate) fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Hit(Tier::Memory) => return self.hits_memory.add(),
            Outcome::Hit(Tier::Store) => &self.hits_store,
            Outcome::Stale => &self.stale,
            Outcome::LastGood(_) => &self.last_good,
            Outcome::Miss => &self.misses,
            Outcome::Joined => &self.joined,
            Outcome::Bypass(_) => &self.bypassed,
        };
        add(counter);
    }

    /// Counts a read that got an error.
    pub(crate) fn count_error(&self, error: &Error) {
        add(if error.reason == Reason::NotFound { &self.refused } else { &self.errors });
    }

    /// Counts a load that gave no answer. A question that the source refused is no failure of the source's.
    pub(crate) fn count_failed_load(&self, error: &Error) {
        add(if error.reason == Reason::NotFound { &self.refused_loads } else { &self.load_failures });
    }

    /// Notes when a last good answer stood in for the source, and why.
    pub(crate) fn note_last_good(&self, reason: Reason, now: Timestamp) {
        let place = Reason::ALL.iter().position(|known| *known == reason).unwrap_or_default() as u64;
        self.last_good_at.store((now.as_millis() << 8) | place, Ordering::Relaxed);
    }

    /// Counts a stored value that cannot be read. The count, where it is time for a line in the log: at the first, and then once a
    /// minute at most.
    pub(crate) fn note_unreadable(&self, now: Timestamp) -> Option<u64> {
        let count = self.unreadable.fetch_add(1, Ordering::Relaxed) + 1;
        let logged_at = self.unreadable_logged_at.load(Ordering::Relaxed);
        let is_due = logged_at == 0 || now.since(Timestamp::from_millis(logged_at)) >= LOG_UNREADABLE_EVERY;
        let exchange = |to| {
            self.unreadable_logged_at.compare_exchange(logged_at, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        (is_due && exchange(now.as_millis().max(1))).then_some(count)
    }

    /// Notes how old a last good answer is that stands in for the source.
    pub(crate) fn note_age(&self, age: Duration, now: Timestamp) {
        let seconds = now.as_millis() / 1_000;
        let noted = (age.as_secs().min(u64::from(u32::MAX)) << 32) | (seconds & u64::from(u32::MAX));
        let _ = self.oldest_last_good.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
            let is_over = is_past_a_minute(before, seconds);
            (is_over || before >> 32 <= noted >> 32).then_some(noted)
        });
    }

    /// The age of the oldest that stood in for the source in the last minute.
    pub(crate) fn oldest_last_good(&self, now: Timestamp) -> Option<Duration> {
        let noted = self.oldest_last_good.load(Ordering::Relaxed);
        (noted > 0 && !is_past_a_minute(noted, now.as_millis() / 1_000)).then(|| Duration::from_secs(noted >> 32))
    }

    /// When a last good answer stood in for the source last, and why.
    pub(crate) fn last_good_served(&self) -> Option<(Timestamp, Reason)> {
        let noted = self.last_good_at.load(Ordering::Relaxed);
        let reason = Reason::ALL.get((noted & 0xff) as usize)?;
        (noted > 0).then(|| (Timestamp::from_millis(noted >> 8), *reason))
    }

    pub(crate) fn loaded(&self, took: Duration, now: Timestamp) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_MS.iter().position(|&bound| millis <= bound).unwrap_or(LATENCY_BOUNDS_MS.len());
        add(&self.load_buckets[bucket]);
        self.load_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(0), Ordering::Relaxed);
        self.last_refresh.store(now.as_millis(), Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self, keys: u64, bytes: u64) -> RegionStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refreshed = read(&self.last_refresh);
        RegionStats {
            hits_memory: self.hits_memory.read(),
            hits_store: read(&self.hits_store),
            stale: read(&self.stale),
            last_good: read(&self.last_good),
            misses: read(&self.misses),
            joined: read(&self.joined),
            bypassed: read(&self.bypassed),
            errors: read(&self.errors),
            refused: read(&self.refused),
            loads: read(&self.loads),
            load_failures: read(&self.load_failures),
            refused_loads: read(&self.refused_loads),
            dropped_fills: read(&self.dropped_fills),
            unreadable: read(&self.unreadable),
            load_buckets: std::array::from_fn(|index| read(&self.load_buckets[index])),
            load_time: Duration::from_micros(read(&self.load_micros)),
            memory_hits: self.memory_hits.read(),
            store_finds: self.store_finds.read(),
            last_refresh: (refreshed > 0).then(|| Timestamp::from_millis(refreshed)),
            keys,
            bytes,
        }
    }
}

pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// How often the time of something was taken, and all those times together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timed {
    /// How often.
    pub times: u64,
    /// Together.
    pub time: Duration,
}

impl Timed {
    /// The mean; `None` before the first.
    pub fn mean(&self) -> Option<Duration> {
        let times = u32::try_from(self.times).unwrap_or(u32::MAX);
        (times > 0).then(|| self.time / times)
    }
}

/// A region's counters since the cache was built, and what it holds in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegionStats {
    /// Reads answered fresh from memory.
    pub hits_memory: u64,
    /// Reads answered fresh from the store.
    pub hits_store: u64,
    /// Reads answered stale, with a refresh behind.
    pub stale: u64,
    /// Reads answered with the last good value because the source gave none.
    pub last_good: u64,
    /// Reads that began a load and were answered by it.
    pub misses: u64,
    /// Reads answered by a load that another read had begun.
    pub joined: u64,
    /// Reads that went by the cache.
    pub bypassed: u64,
    /// Reads that got an error, but for those that the source refused.
    pub errors: u64,
    /// Reads of what the source says there is not, or refuses as a wrong question: the reader's mistake, remembered or new.
    pub refused: u64,
    /// Times the source was asked, refreshes behind included.
    pub loads: u64,
    /// Times the source gave no usable answer.
    pub load_failures: u64,
    /// Times the source said that there is no such thing, or that the question is wrong.
    pub refused_loads: u64,
    /// Loads whose result was not kept because an invalidation came meanwhile.
    pub dropped_fills: u64,
    /// Stored values that could not be read and counted as missing.
    pub unreadable: u64,
    /// Good loads by latency; bucket `i` counts those up to `LATENCY_BOUNDS_MS[i]`, the last the rest.
    pub load_buckets: [u64; LATENCY_BOUNDS_MS.len() + 1],
    /// Time spent in good loads altogether.
    pub load_time: Duration,
    /// The time that hits in memory took, of the one in 256 whose time was taken.
    pub memory_hits: Timed,
    /// The time that each read of the store took that found something, decoding included.
    pub store_finds: Timed,
    /// When the last good load ended.
    pub last_refresh: Option<Timestamp>,
    /// Keys in memory.
    pub keys: u64,
    /// Bytes in memory.
    pub bytes: u64,
}

impl RegionStats {
    /// The mean time of a good load; `None` before the first.
    pub fn mean_load(&self) -> Option<Duration> {
        let loads = u32::try_from(self.load_buckets.iter().sum::<u64>()).unwrap_or(u32::MAX);
        (loads > 0).then(|| self.load_time / loads)
    }

    /// Reads answered fresh or stale without waiting for the source, as a fraction of all reads; 0 when there were none.
    /// A last good answer is no hit, for the source failed. What the source refused is not counted: there is nothing to
    /// hit.
    pub fn hit_rate(&self) -> f64 {
        let hits = self.hits_memory + self.hits_store + self.stale;
        let all = hits + self.last_good + self.misses + self.joined + self.errors;
        if all == 0 { 0.0 } else { hits as f64 / all as f64 }
    }
}
