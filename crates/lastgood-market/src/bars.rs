//! Bars that an application brings: checked one by one, and kept apart from the exchange's candles.
//!
//! They lie in a region of their own, [`crate::RegionName::Bars`], under names that the application chooses. Nothing that
//! answers for the exchange reads that region, and nothing that the exchange answers is written there.
//!
//! Writers of one series take turns within a process, so that none loses a bar of another. A series is kept as one value:
//! of two processes that write one series at the very same moment, the later write stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lastgood::store::StoreError;
use lastgood::{
    Answer, Clock, Error, Freshness, KeyedMutex, Loaded, Memoised, Outcome, Reason, Region, Timestamp, Unconfirmed,
    Value, WasThere,
};

use crate::interval;
use crate::venue::Venue;

mod check;
mod list;

pub use self::check::{BarFault, Checked, NotBars, Ohlcv};
use self::list::List;
pub use self::list::Range;

/// The most bars of one series: the oldest make room for newer ones.
pub const MOST_BARS: usize = 5_000;
/// The longest name of a series, in bytes.
const LONGEST_NAME: usize = 64;
const JSON: &str = "application/json";

/// The bars of an application. Clones share everything.
#[derive(Clone, Debug)]
pub struct ApplicationBars {
    region: Region,
    clock: Clock,
    /// Series that are being changed.
    changing: KeyedMutex,
}

/// A series of an application's bars: a name of its own choice, and an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BarSeries {
    name: String,
    interval: String,
}

/// What became of the bars that an application brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BarsSet {
    /// How many are kept, each in place of an earlier one of its time.
    pub stored: usize,
    /// The others, by their place among those that were brought.
    pub refused: Vec<(usize, BarFault)>,
    /// How many earlier bars made room: a series keeps its newest [`MOST_BARS`].
    pub dropped: usize,
}

/// A series as it is kept.
#[derive(Clone, Debug)]
pub struct KeptBars {
    answer: Answer,
    list: Arc<List>,
}

/// Bars as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnBars {
    /// Oldest first.
    pub bars: Vec<Ohlcv>,
    /// How current the series is: past its freshness, what was put last is served as the last good.
    pub outcome: Outcome,
    /// How long ago the series was put.
    pub age: Duration,
}

impl BarSeries {
    /// What a name may be, for who chose another.
    pub const NAMES: &str = "1 to 64 bytes of letters, digits, '_' and '-', in parts with ':' or '.' between them, such as BTCUSDT or my:BTC-PERP";
    /// What an interval may be.
    pub const INTERVALS: &str = "1s, 1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h, 1d, 3d, 1w or 1M";

    /// A series by its name and interval.
    ///
    /// # Errors
    ///
    /// [`Reason::NotFound`] when the name is not one of [`BarSeries::NAMES`] or the interval not one of
    /// [`BarSeries::INTERVALS`].
    pub fn new(name: &str, interval: &str) -> Result<BarSeries, Error> {
        let refuse = |what: &str, allowed: &str| Err(Error::new(Reason::NotFound, format!("{what}: {allowed}")));
        if !BarSeries::is_name(name) {
            return refuse("the name of a series of bars is", BarSeries::NAMES);
        }
        if !BarSeries::is_interval(interval) {
            return refuse("the interval of a series of bars is", BarSeries::INTERVALS);
        }
        Ok(BarSeries { name: name.to_owned(), interval: interval.to_owned() })
    }

    /// Whether a series may have this name.
    pub fn is_name(name: &str) -> bool {
        let is_part =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        name.len() <= LONGEST_NAME && name.split([':', '.']).all(is_part)
    }

    /// Whether a series may have this interval.
    pub(crate) fn is_interval(interval: &str) -> bool {
        interval::is_of_candles(Venue::Spot, interval)
    }

    /// The name of the series.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its interval.
    pub fn interval(&self) -> &str {
        &self.interval
    }

    /// Its key in the region; no name has a slash.
    fn key(&self) -> String {
        format!("{}/{}", self.name, self.interval)
    }

    /// The key of what was put while it was not known what the store holds of the series.
    fn late_key(&self) -> String {
        format!("{}/{}/late", self.name, self.interval)
    }
}

impl KeptBars {
    fn of(answer: Answer) -> Option<KeptBars> {
        let list = answer.memoised(|value| List::read(&value.body).map(Arc::new))?;
        // There is no source to ask: the application may put it again.
        let outcome = match answer.freshness() {
            Freshness::Fresh => answer.outcome(),
            Freshness::Stale => Outcome::Stale,
            Freshness::Kept | Freshness::Gone => Outcome::LastGood(Reason::Abandoned),
        };
        Some(KeptBars { answer: answer.given_as(outcome), list })
    }

    /// The series as the cache gave it: its outcome, age and freshness.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    /// How many bars there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bars of a range, oldest first, as a JSON list of the texts that were put.
    pub fn in_range(&self, range: &Range) -> Bytes {
        self.list.json(self.list.in_range(range))
    }

    /// The text of the newest bar.
    pub fn latest(&self) -> Option<Bytes> {
        self.list.text(self.len().checked_sub(1)?)
    }

    fn newest(&self, limit: usize) -> OwnBars {
        let range = Range { limit, ..Range::default() };
        let texts = self.list.in_range(&range).filter_map(|place| self.list.text(place));
        let bars = texts.filter_map(|text| check::ohlcv(&text)).collect();
        OwnBars { bars, outcome: self.answer.outcome(), age: self.answer.age() }
    }
}

impl ApplicationBars {
    /// Bars in `region`, which holds nothing else.
    pub fn new(region: Region, clock: Clock) -> ApplicationBars {
        ApplicationBars { region, clock, changing: KeyedMutex::default() }
    }

    /// Checks bars as JSON: a list of rows as the exchange writes its candles, or of objects. It takes some milliseconds
    /// for thousands of them, and waits for nothing.
    ///
    /// # Errors
    ///
    /// When the text is no list, or one of no bars or of more than [`MOST_BARS`].
    pub fn check(&self, series: &BarSeries, json: &[u8]) -> Result<Checked, NotBars> {
        Checked::of_json(json, &series.interval, self.clock.now().as_millis())
    }

    /// Keeps bars that were checked. The newest of one open time stands; those of other times stay.
    pub async fn put(&self, series: &BarSeries, checked: Checked, fresh_for: Option<Duration>) -> BarsSet {
        let Checked { bars, mut refused } = checked;
        if bars.is_empty() {
            return BarsSet { refused, ..BarsSet::default() };
        }
        let _held = self.changing.lock(&series.key()).await;
        let (base, late) = self.both(series).await;
        let (is_known, late) = (base.is_ok(), late.unwrap_or_default());
        let is_late = late.is_some();
        let earlier = newer_last(base.unwrap_or_default(), late);
        let mut all: BTreeMap<u64, &str> = BTreeMap::new();
        for kept in &earlier {
            all.extend(kept.list.texts());
        }
        all.extend(bars.iter().map(|(opens, (_, text))| (*opens, text.as_str())));
        let (mut stored, mut dropped) = (bars.len(), 0);
        while all.len() > MOST_BARS
            && let Some((opens, _)) = all.pop_first()
        {
            match bars.get(&opens) {
                Some((place, _)) => {
                    refused.push((*place, BarFault::TooOld));
                    stored -= 1;
                }
                None => dropped += 1,
            }
        }
        refused.sort_by_key(|(place, _)| *place);
        if stored > 0 {
            let key = if is_known { series.key() } else { series.late_key() };
            self.region.put(&key, self.loaded(series, List::write(&all), fresh_for)).await;
            if is_known && is_late {
                self.region.remove(&series.late_key()).await;
            }
        }
        BarsSet { stored, refused, dropped }
    }

    /// Keeps bars that are numbers already.
    pub async fn set_bars(&self, series: &BarSeries, bars: &[Ohlcv]) -> BarsSet {
        let checked = Checked::of_numbers(bars, &series.interval, self.clock.now().as_millis());
        self.put(series, checked, None).await
    }

    /// A series as it is kept, however old, or as far as this process knows it while the store does not answer. Counted as
    /// a read of the region.
    ///
    /// # Errors
    ///
    /// When the store does not answer, and this process knows nothing of the series: it is not known whether it exists.
    pub async fn find(&self, series: &BarSeries) -> Result<Option<KeptBars>, StoreError> {
        let kept = self.look(series).await;
        let outcome = kept.as_ref().ok().and_then(Option::as_ref).map(|kept| kept.answer.outcome());
        self.region.composite().count(outcome.unwrap_or(Outcome::Miss));
        kept
    }

    /// The newest `limit` bars of a series; `Ok(None)` where there is no such series.
    ///
    /// # Errors
    ///
    /// As [`ApplicationBars::find`].
    pub async fn get_bars(&self, series: &BarSeries, limit: usize) -> Result<Option<OwnBars>, StoreError> {
        Ok(self.find(series).await?.map(|kept| kept.newest(limit)))
    }

    /// The newest bar of a series.
    ///
    /// # Errors
    ///
    /// As [`ApplicationBars::find`].
    pub async fn latest_bar(&self, series: &BarSeries) -> Result<Option<Ohlcv>, StoreError> {
        Ok(self.get_bars(series, 1).await?.and_then(|mut newest| newest.bars.pop()))
    }

    /// Whether anything is kept of a series.
    ///
    /// # Errors
    ///
    /// As [`ApplicationBars::find`].
    pub async fn exists(&self, series: &BarSeries) -> Result<bool, StoreError> {
        Ok(self.find(series).await?.is_some())
    }

    /// Removes a series from every tier. Says whether there was one.
    pub async fn invalidate(&self, series: &BarSeries) -> WasThere {
        let _held = self.changing.lock(&series.key()).await;
        let (base, late) = self.both(series).await;
        for key in [series.key(), series.late_key()] {
            self.region.remove(&key).await;
        }
        match (base, late) {
            (Ok(Some(_)), _) | (_, Ok(Some(_))) => WasThere::Yes,
            (Err(why), _) | (_, Err(why)) => WasThere::Unknown(why),
            (Ok(None), Ok(None)) => WasThere::No,
        }
    }

    /// Waits until the store has the changes of a series made so far; see [`Region::confirmed`].
    pub async fn confirmed(&self, series: &BarSeries, within: Duration) -> Option<Unconfirmed> {
        self.region.confirmed(&[&series.key(), &series.late_key()], within).await
    }

    async fn look(&self, series: &BarSeries) -> Result<Option<KeptBars>, StoreError> {
        if !self.region.is_enabled() {
            return Ok(None);
        }
        let held = self.region.peek(&series.key()).filter(|held| held.freshness() == Freshness::Fresh);
        if let Some(held) = held
            && self.region.peek(&series.late_key()).is_none()
        {
            return Ok(KeptBars::of(held));
        }
        match self.both(series).await {
            (Ok(None), Err(why)) | (Err(why), Ok(None) | Err(_)) => Err(why),
            (Ok(base), Ok(None) | Err(_)) => Ok(base),
            (Ok(_), Ok(Some(_))) => Ok(self.unite(series).await),
            (Err(_), Ok(late)) => Ok(late),
        }
    }

    /// Adds what was put late to what the store turned out to hold.
    async fn unite(&self, series: &BarSeries) -> Option<KeptBars> {
        let _held = self.changing.lock(&series.key()).await;
        let (base, late) = match self.both(series).await {
            (Ok(base), Ok(Some(late))) => (base, late),
            (base, late) => return late.ok().flatten().or(base.ok().flatten()),
        };
        let both = newer_last(base, Some(late));
        let newest = both.last().map(|kept| kept.answer.clone())?;
        let mut all: BTreeMap<u64, &str> = both.iter().flat_map(|kept| kept.list.texts()).collect();
        while all.len() > MOST_BARS {
            all.pop_first();
        }
        let fresh_for = Some(newest.age() + newest.fresh_for());
        let loaded = self.loaded(series, List::write(&all), fresh_for);
        self.region.put(&series.key(), Loaded { as_of: Some(newest.source_time()), ..loaded }).await;
        self.region.remove(&series.late_key()).await;
        self.region.newest(&series.key()).await.ok().flatten().and_then(KeptBars::of)
    }

    /// The kept series, unless the store cannot say, and the bars that were put while it could not.
    async fn both(&self, series: &BarSeries) -> (Kept, Kept) {
        let (key, late_key) = (series.key(), series.late_key());
        let (base, late) = tokio::join!(self.region.newest(&key), self.region.newest(&late_key));
        let read = |answer: Option<Answer>| answer.and_then(KeptBars::of);
        (base.map(read), late.map(read))
    }

    fn loaded(&self, series: &BarSeries, list: List, fresh_for: Option<Duration>) -> Loaded {
        let value = Value::new(list.body().clone()).with_meta(JSON);
        Loaded {
            fresh_for,
            tags: vec![format!("symbol:{}", series.name)],
            memoised: Memoised::new(Some(Arc::new(list))),
            ..Loaded::from(value)
        }
    }
}

/// The value kept under a key, or that it is not known.
type Kept = Result<Option<KeptBars>, StoreError>;

/// Those of the two that exist, the one that was put last at the end.
fn newer_last(base: Option<KeptBars>, late: Option<KeptBars>) -> Vec<KeptBars> {
    let put_at = |kept: &KeptBars| -> Timestamp { kept.answer.source_time() };
    let mut both: Vec<KeptBars> = base.into_iter().chain(late).collect();
    both.sort_by_key(put_at);
    both
}
