//! The one seam through which time enters the cache.
//!
//! Everything that judges age asks a [`Clock`]; nothing else in the workspace may read the system clock (clippy's
//! `disallowed-methods` says so). Tests use [`Clock::paused_with_tokio`] and `tokio::time::advance`, so none sleeps.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time: milliseconds since the Unix epoch. Times from the year 10,889 on are [`Timestamp::FOREVER`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Timestamp(
    // Six bytes, the lowest first: an entry in memory has seven times.
    [u8; 6],
);

/// What stands for [`Timestamp::FOREVER`].
const END: u64 = (1 << 48) - 1;

impl Timestamp {
    /// The far end of time: an entry kept until then never expires.
    pub const FOREVER: Timestamp = Timestamp([u8::MAX; 6]);
    /// The Unix epoch; older than every real answer.
    pub const EPOCH: Timestamp = Timestamp([0; 6]);

    /// The point `millis` milliseconds after the Unix epoch.
    #[inline]
    pub const fn from_millis(millis: u64) -> Self {
        let [a, b, c, d, e, f, _, _] = (if millis < END { millis } else { END }).to_le_bytes();
        Timestamp([a, b, c, d, e, f])
    }

    /// Milliseconds since the Unix epoch.
    #[inline]
    pub const fn as_millis(self) -> u64 {
        match self.number() {
            END => u64::MAX,
            millis => millis,
        }
    }

    /// The same, but for the end of time: in the order of time, too.
    #[inline]
    pub(crate) const fn number(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// This point moved later by `by`; stays at [`Timestamp::FOREVER`] rather than wrap.
    pub fn plus(self, by: Duration) -> Self {
        Self::from_millis(self.as_millis().saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This point by a clock that is `by` milliseconds ahead; the beginning and the end of time are the same by every clock.
    #[must_use]
    pub(crate) fn shifted(self, by: i64) -> Self {
        match self.number() {
            0 | END => self,
            millis => Self::from_millis(millis.saturating_add_signed(by).clamp(1, END - 1)),
        }
    }

    /// How long after `earlier` this point lies; zero when it lies before.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.as_millis().saturating_sub(earlier.as_millis()))
    }
}

impl Ord for Timestamp {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number())
    }
}

impl PartialOrd for Timestamp {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timestamp").field(&self.as_millis()).finish()
    }
}

/// Tells the time. Cheap to clone; clones share one state.
#[derive(Clone)]
pub struct Clock(Arc<ClockState>);

struct ClockState {
    started: tokio::time::Instant,
    started_wall: u64,
    /// How far the system clock has run ahead of the monotonic one since the start (suspend, NTP), in ms.
    ahead: AtomicU64,
    /// The latest times at which it did so by more than clocks drift.
    jumps: Mutex<VecDeque<Jump>>,
    /// When to look at the system clock next, in ms of the monotonic one since the start: a look costs as much as the rest of
    /// [`Clock::now`].
    look_at: AtomicU64,
    /// Whether tests govern the time: then the system clock is not looked at, however long that is due.
    is_governed: bool,
    /// What [`noted::millis`] was at the start or a little later.
    noted_start: u64,
    /// The latest time that [`Clock::now`] said, so that [`Clock::lately`] does not go back behind it. Written once a
    /// millisecond at most.
    said: AtomicU64,
}

/// The longest that a jump of the system clock stays unnoticed, in ms.
const LOOK_EVERY: u64 = 50;
/// What drift is not, in ms.
const JUMP: u64 = 200;
/// Jumps that are remembered.
const JUMPS: usize = 8;

/// A moment at which the system clock was set ahead, or its machine was suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Jump {
    /// Times read before the jump are at or before this, times read since are after it.
    pub(crate) until: Timestamp,
    /// In milliseconds.
    pub(crate) by: i64,
}

impl Clock {
    /// The clock of production. It never runs backwards: when the system clock is set back, time goes on from the
    /// monotonic clock, and when the machine was suspended, the lost time is caught up. Both err towards calling an
    /// answer older than it is, never younger.
    pub fn system() -> Self {
        Self::start(system_millis(), false)
    }

    /// A clock that follows `tokio::time` alone, so that `tokio::time::pause` and `advance` govern it. For tests.
    pub fn paused_with_tokio() -> Self {
        Self::start(system_millis(), true)
    }

    /// The same, beginning at a time that is the same in every run.
    pub fn paused_at(start: Timestamp) -> Self {
        Self::start(start.as_millis(), true)
    }

    fn start(started_wall: u64, is_governed: bool) -> Self {
        let (started, noted_start) = (tokio::time::Instant::now(), noted::start());
        let (ahead, jumps) = (AtomicU64::new(0), Mutex::default());
        let (look_at, said) = (AtomicU64::new(0), AtomicU64::new(0));
        Clock(Arc::new(ClockState { started, started_wall, ahead, jumps, look_at, is_governed, noted_start, said }))
    }

    /// As if the system clock had been set ahead, or the machine suspended, for so long. For tests.
    #[cfg(feature = "testing")]
    pub fn jump(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0
            .set_ahead(self.0.monotonic_at(tokio::time::Instant::now()), self.0.ahead.load(Relaxed).saturating_add(by));
    }

    /// The jumps since the clock read this time, oldest first.
    pub(crate) fn jumps_since(&self, read_at: Timestamp) -> Vec<Jump> {
        let jumps = self.0.jumps.lock().unwrap_or_else(PoisonError::into_inner);
        jumps.iter().filter(|jump| read_at <= jump.until).copied().collect()
    }

    /// A time that the clock reads now, as it would have read before it jumped: when it read `read_at`.
    pub(crate) fn as_read_at(&self, read_at: Timestamp, time: Timestamp) -> Timestamp {
        let since = self.jumps_since(read_at).into_iter().filter(|jump| jump.until < time);
        time.shifted(-since.map(|jump| jump.by).sum::<i64>())
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.moment().1
    }

    /// The same at a moment that was read already.
    pub(crate) fn at(&self, moment: tokio::time::Instant) -> Timestamp {
        let ahead = self.0.ahead.load(Relaxed);
        Timestamp::from_millis(self.0.monotonic_at(moment).saturating_add(ahead))
    }

    /// The time now, with the reading of the monotonic clock that it is made of.
    pub(crate) fn moment(&self) -> (tokio::time::Instant, Timestamp) {
        let (source, moment) = (&*self.0, tokio::time::Instant::now());
        let monotonic = source.monotonic_at(moment);
        let elapsed = monotonic.saturating_sub(source.started_wall);
        if elapsed >= source.look_at.load(Relaxed) && !source.is_governed {
            source.look_at.store(elapsed.saturating_add(LOOK_EVERY), Relaxed);
            source.set_ahead(monotonic, system_millis().saturating_sub(monotonic));
        }
        let now = monotonic.saturating_add(source.ahead.load(Relaxed));
        if source.said.load(Relaxed) < now {
            source.said.fetch_max(now, Relaxed);
        }
        (moment, Timestamp::from_millis(now))
    }
}

impl Clock {
    /// What [`Clock::now`] would have said a moment ago, at most [`Clock::BEHIND`], in milliseconds, for a sixth of what that
    /// costs; never less than what it did say. `None` where only that knows: nothing is noted, tests govern the time, or it is
    /// due to look at the system clock.
    #[inline]
    pub(crate) fn lately(&self) -> Option<u64> {
        let source = &*self.0;
        // Nothing, as long as the time of before the start is noted.
        let elapsed = noted::millis().saturating_sub(source.noted_start);
        if elapsed >= source.look_at.load(Relaxed) {
            return None;
        }
        let noted = source.started_wall + elapsed + source.ahead.load(Relaxed);
        Some(noted.max(source.said.load(Relaxed)))
    }

    /// How far [`Clock::lately`] may be behind, in milliseconds. Linux notes the time at each tick, which is every 10 ms or more
    /// often, and where a tick is missed, another processor notes it within five.
    pub(crate) const BEHIND: u64 = 100;
}

/// The time as the kernel notes it at each tick: to read that costs a sixth of asking the clock.
#[cfg(target_os = "linux")]
mod noted {
    use rustix::time::{ClockId, Timespec, clock_gettime};

    const MILLIS: u64 = 1_000;
    const NANOS: u64 = 1_000_000;

    #[inline]
    pub(super) fn millis() -> u64 {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::MonotonicCoarse);
        tv_sec as u64 * MILLIS + tv_nsec as u64 / NANOS
    }

    /// The next millisecond, by the clock itself: so that a time measured from it is never ahead.
    pub(super) fn start() -> u64 {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
        tv_sec as u64 * MILLIS + (tv_nsec as u64).div_ceil(NANOS)
    }
}

#[cfg(not(target_os = "linux"))]
mod noted {
    /// Long after all that is due.
    pub(super) fn millis() -> u64 {
        u64::MAX
    }

    pub(super) fn start() -> u64 {
        0
    }
}

impl ClockState {
    fn monotonic_at(&self, moment: tokio::time::Instant) -> u64 {
        let elapsed = moment.saturating_duration_since(self.started);
        let millis = elapsed.as_secs().saturating_mul(1_000).saturating_add(u64::from(elapsed.subsec_millis()));
        self.started_wall.saturating_add(millis)
    }

    /// The system clock is so far ahead of `monotonic`: never back.
    fn set_ahead(&self, monotonic: u64, ahead: u64) {
        let before = self.ahead.load(Relaxed);
        if ahead < before.saturating_add(JUMP) {
            self.ahead.fetch_max(ahead, Relaxed);
            return;
        }
        let mut jumps = self.jumps.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.ahead.load(Relaxed);
        let by = ahead.saturating_sub(before);
        if by >= JUMP {
            // In the middle: another thread may be about to tell a time from before it.
            let until = Timestamp::from_millis(monotonic.saturating_add(before).saturating_add(by / 2));
            jumps.push_back(Jump { until, by: i64::try_from(by).unwrap_or(i64::MAX) });
            if jumps.len() > JUMPS {
                jumps.pop_front();
            }
        }
        self.ahead.fetch_max(ahead, Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
fn system_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Default for Clock {
    fn default() -> Self {
        Clock::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now().as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_moves_only_with_tokio() {
        let clock = Clock::paused_with_tokio();
        let start = clock.now();
        assert_eq!(clock.now(), start);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now().since(start), Duration::from_secs(90));
        #[cfg(feature = "testing")]
        {
            let before = clock.now();
            clock.jump(Duration::from_secs(5));
            assert_eq!(clock.now().since(start), Duration::from_secs(95));
            assert_eq!(clock.jumps_since(before).iter().map(|jump| jump.by).sum::<i64>(), 5_000);
            assert_eq!(clock.jumps_since(clock.now()), []);
            assert_eq!(clock.as_read_at(before, clock.now()), before);
            assert_eq!(clock.as_read_at(clock.now(), clock.now()), clock.now());
        }
        assert_eq!(Clock::paused_at(Timestamp::from_millis(7)).now(), Timestamp::from_millis(7));
    }

    #[tokio::test]
    async fn what_the_clock_said_lately_is_not_ahead_of_it_not_far_behind_and_never_goes_back() {
        let clock = Clock::system();
        assert_eq!(clock.lately(), None, "the system clock was not looked at yet");
        let mut given = 0;
        for _ in 0..200 {
            let before = clock.now().as_millis();
            let Some(lately) = clock.lately() else { continue };
            let after = clock.now().as_millis();
            assert!((before..=after).contains(&lately), "{before} {lately} {after}");
            std::thread::sleep(Duration::from_micros(500));
            let later = clock.lately().unwrap_or(after);
            let after = clock.now().as_millis();
            assert!(lately <= later && later <= after && after <= later + Clock::BEHIND, "{lately} {later} {after}");
            given += 1;
        }
        assert_eq!(given > 0, cfg!(target_os = "linux"));
        let governed = Clock::paused_with_tokio();
        let _ = governed.now();
        assert_eq!(governed.lately(), None);
    }

    #[test]
    fn times_are_exact_to_the_millisecond_in_the_order_of_time() {
        let millis = [0, 1, 255, 256, 65_535, 65_536, 1_700_000_000_123, END - 2, END - 1];
        let times = millis.map(Timestamp::from_millis);
        assert_eq!(times.map(Timestamp::as_millis), millis);
        assert!(times.is_sorted() && times.iter().all(|time| *time < Timestamp::FOREVER));
        assert_eq!([END, END + 1, u64::MAX].map(Timestamp::from_millis), [Timestamp::FOREVER; 3]);
        assert_eq!(Timestamp::FOREVER.as_millis(), u64::MAX);
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Timestamp::FOREVER.plus(Duration::from_secs(1)), Timestamp::FOREVER);
        assert_eq!(Timestamp::EPOCH.since(Timestamp::from_millis(5)), Duration::ZERO);
    }
}
