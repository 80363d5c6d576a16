//! Streams: entries in use are kept fresh by the exchange's own pushes, at no request weight.
//!
//! Each venue with a host of streams has one task. It subscribes to what was asked for lately, hands what comes to the
//! cache, and lets go of what no reader asks for any more. Streams are an addition: whatever becomes of them, readers load
//! stale entries, as without them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lastgood::proxy::Proxies;
use lastgood::{Clock, Loaded, Persist, Timestamp, Value};

use self::connection::Connector;
use crate::candles::{Candles, Fed, Series, StreamedCandle};
use crate::line::is_outdated;
use crate::regions::Regions;
use crate::stream::{self, Message, Misplaced, Order, STREAMS_A_CONNECTION, Stamp, candle_stream, ticker_stream};
use crate::validate::check_answer;
use crate::{RegionName, UpstreamRequest, Venue};

mod connection;
mod error;
mod session;
#[cfg(test)]
mod tests;
mod venue;

pub(crate) use self::venue::keep;

/// What no reader asked for in so long is not streamed any more.
const IN_USE_FOR: Duration = Duration::from_secs(300);
/// A streamed ticker is believed so long without another word.
const TICKER_FRESH_FOR: Duration = Duration::from_secs(3);
/// The store has a streamed ticker at most once in so long.
const TICKER_STORED_EVERY: Duration = Duration::from_secs(10);
/// Messages that are dropped are logged at most once in so long.
const DROPS_REPORTED_EVERY: Duration = Duration::from_secs(60);
/// More tickers than a connection has streams.
const MOST_TICKERS: usize = 2_000;

/// How the streams of a venue do.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that were made.
    pub connections: AtomicU64,
    /// Streams that are subscribed to.
    pub subscribed: AtomicU64,
    /// Messages that were taken.
    pub taken: AtomicU64,
    /// Candles that did not follow on what was known, so that the exchange is asked for the end of their series.
    pub behind: AtomicU64,
    /// Messages that could not be read, or have not the content of an answer.
    pub unreadable: AtomicU64,
    /// Messages under the name of a stream that they are not of.
    pub mislabelled: AtomicU64,
    /// Messages that are older than the kept entry, or come twice.
    pub outdated: AtomicU64,
    /// Messages that say they are of a time that is still to come.
    pub ahead: AtomicU64,
    /// Dropped messages that are not logged yet, and when the log last had them, in ms.
    unlogged: AtomicU64,
    reported_at: AtomicU64,
    /// Whether a connection is up: 1 or 0.
    pub connected: AtomicU64,
    /// Since when that is so, in ms; 0 before the first try.
    since: AtomicU64,
    /// Why none is up, if one should be.
    why: Mutex<Option<String>>,
}

impl Counters {
    /// Since when a connection is up, or none is; `None` before the first try.
    pub fn since(&self) -> Option<Timestamp> {
        let since = self.since.load(Ordering::Relaxed);
        (since > 0).then(|| Timestamp::from_millis(since))
    }

    /// Why no connection is up, although something is to be streamed.
    pub fn why(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes whether a connection is up, and why not.
    fn turn(&self, is_up: bool, why: Option<String>, now: Timestamp) {
        let was_up = self.connected.swap(u64::from(is_up), Ordering::Relaxed) == 1;
        if was_up != is_up || self.since.load(Ordering::Relaxed) == 0 {
            self.since.store(now.as_millis(), Ordering::Relaxed);
        }
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    fn dropped(&self, why: Dropped) -> &AtomicU64 {
        match why {
            Dropped::Unreadable => &self.unreadable,
            Dropped::Mislabelled => &self.mislabelled,
            Dropped::Misplaced(Misplaced::Outdated) => &self.outdated,
            Dropped::Misplaced(Misplaced::Ahead) => &self.ahead,
        }
    }
}

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dropped {
    Unreadable,
    Mislabelled,
    Misplaced(Misplaced),
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dropped::Unreadable => "it is no message of this stream's kind",
            Dropped::Mislabelled => "it is of another stream than it says",
            Dropped::Misplaced(Misplaced::Outdated) => "it is older than the kept entry",
            Dropped::Misplaced(Misplaced::Ahead) => "it is of a time that is still to come",
        })
    }
}

/// What a stream keeps fresh.
#[derive(Clone)]
enum Target {
    Candles(Arc<Series>),
    Ticker(Arc<UpstreamRequest>),
}

/// The streams of a venue that are wanted, by name.
type Wanted = BTreeMap<String, Target>;

/// The entries in use that can be streamed, and how that goes.
pub struct Streams {
    /// Venues with a host of streams, by [`Venue`].
    enabled: [bool; 3],
    tickers: Mutex<HashMap<String, (Arc<UpstreamRequest>, Timestamp)>>,
    counters: [Counters; 3],
    /// What was last taken, by venue. It outlives the connections.
    orders: [Mutex<Order>; 3],
    candles: Candles,
    regions: Regions,
    clock: Clock,
    connector: Connector,
}

impl Streams {
    /// What comes goes to the candles and the tickers of these regions.
    pub(crate) fn new(
        with_streams: &[Venue],
        proxies: &Proxies,
        candles: &Candles,
        regions: &Regions,
        clock: &Clock,
    ) -> Streams {
        Streams {
            enabled: Venue::ALL.map(|venue| with_streams.contains(&venue)),
            tickers: Mutex::default(),
            counters: Default::default(),
            orders: Default::default(),
            candles: candles.clone(),
            regions: regions.clone(),
            clock: clock.clone(),
            connector: Connector::new(proxies),
        }
    }

    /// Whether a venue has streams.
    pub fn is_enabled(&self, venue: Venue) -> bool {
        self.enabled[venue as usize]
    }

    /// How the streams of a venue do.
    pub fn counters(&self, venue: Venue) -> &Counters {
        &self.counters[venue as usize]
    }

    /// Notes that a ticker is asked for, so that it is streamed; does nothing for other questions. A note that comes while others are noted may be missed; it will come again.
    pub fn note(&self, request: &Arc<UpstreamRequest>) {
        if !is_ticker(request) || !self.is_enabled(request.endpoint.venue) {
            return;
        }
        let (Ok(mut tickers), Some(stream)) = (self.tickers.try_lock(), ticker_stream(request)) else {
            return;
        };
        let now = self.clock.now();
        if tickers.len() >= MOST_TICKERS {
            tickers.retain(|_, (_, at)| now.since(*at) <= IN_USE_FOR);
        }
        if tickers.len() < MOST_TICKERS {
            tickers.insert(stream, (Arc::clone(request), now));
        }
    }

    /// When a stream last changed the end of the series whose keys begin with `prefix`; `None` if it did not of late.
    pub fn end_taken_at(&self, prefix: &str) -> Option<Timestamp> {
        let series = self.candles.in_use(IN_USE_FOR).into_iter().find(|series| series.prefix() == prefix)?;
        self.order(series.endpoint.venue).taken_at(&candle_stream(&series)?)
    }

    /// When a stream last brought the ticker that is kept under `key`; `None` if it did not of late.
    pub fn ticker_taken_at(&self, key: &str) -> Option<Timestamp> {
        let (stream, venue) = {
            let tickers = self.tickers.lock().unwrap_or_else(PoisonError::into_inner);
            let (stream, (request, _)) = tickers.iter().find(|(_, (request, _))| request.key == key)?;
            (stream.clone(), request.endpoint.venue)
        };
        self.order(venue).taken_at(&stream)
    }

    fn tickers_in_use(&self, venue: Venue) -> Vec<(String, Arc<UpstreamRequest>)> {
        let now = self.clock.now();
        let Ok(mut tickers) = self.tickers.lock() else { return Vec::new() };
        tickers.retain(|_, (_, at)| now.since(*at) <= IN_USE_FOR);
        let of_venue = tickers.iter().filter(|(_, (request, _))| request.endpoint.venue == venue);
        of_venue.map(|(stream, (request, _))| (stream.clone(), Arc::clone(request))).collect()
    }

    /// The streams of a venue that are wanted.
    fn wanted(&self, venue: Venue) -> Wanted {
        let series = self.candles.in_use(IN_USE_FOR).into_iter().filter(|series| series.endpoint.venue == venue);
        let candles = series.filter_map(|series| Some((candle_stream(&series)?, Target::Candles(series))));
        let tickers = self.tickers_in_use(venue);
        let tickers = tickers.into_iter().map(|(stream, request)| (stream, Target::Ticker(request)));
        // The series that were asked for last come first.
        candles.chain(tickers).take(STREAMS_A_CONNECTION).collect()
    }

    fn order(&self, venue: Venue) -> MutexGuard<'_, Order> {
        self.orders[venue as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the order of streams that are not wanted any more.
    fn keep_order_of(&self, venue: Venue, wanted: &Wanted) {
        self.order(venue).keep(|stream| wanted.contains_key(stream));
    }

    /// Hands a stream's message to the cache, if it is valid and newer than the kept entry. Says whether it shows
    /// that the stream delivers.
    async fn take(&self, venue: Venue, wanted: &Wanted, message: Message) -> bool {
        let taken = match message {
            Message::Candle { stream, at, candle } => match wanted.get(&stream) {
                Some(Target::Candles(series)) => {
                    self.take_candle(venue, &stream, Stamp { at, number: None }, series, &candle).await
                }
                _ => return false,
            },
            Message::Ticker { stream, at, number, body } => match wanted.get(&stream) {
                Some(Target::Ticker(request)) => {
                    self.take_ticker(venue, &stream, Stamp { at, number }, request, body).await
                }
                _ => return false,
            },
            Message::Mislabelled => Err(Dropped::Mislabelled),
            Message::Shutdown | Message::Reply(_) | Message::Other => return false,
        };
        match taken {
            Ok(()) => true,
            Err(why) => {
                self.drop_one(venue, why);
                why == Dropped::Misplaced(Misplaced::Outdated)
            }
        }
    }

    async fn take_candle(
        &self,
        venue: Venue,
        stream: &str,
        stamp: Stamp,
        series: &Series,
        candle: &StreamedCandle,
    ) -> Result<(), Dropped> {
        self.check_place(venue, stream, stamp, self.candles.end_loaded_at(series))?;
        let counters = self.counters(venue);
        match self.candles.feed(series, candle).await {
            Fed::Taken => {
                counters.taken.fetch_add(1, Ordering::Relaxed);
                self.order(venue).took(stream, stamp, self.clock.now());
            }
            Fed::Behind => {
                counters.behind.fetch_add(1, Ordering::Relaxed);
            }
            Fed::Outdated => return Err(Dropped::Misplaced(Misplaced::Outdated)),
            Fed::Unreadable => return Err(Dropped::Unreadable),
        }
        Ok(())
    }

    async fn take_ticker(
        &self,
        venue: Venue,
        stream: &str,
        stamp: Stamp,
        request: &UpstreamRequest,
        body: String,
    ) -> Result<(), Dropped> {
        check_answer(&body, request).map_err(|_| Dropped::Unreadable)?;
        let region = self.regions.of(request.region());
        let kept = region.peek(&request.key).map(|kept| kept.source_time());
        self.check_place(venue, stream, stamp, kept)?;
        // A stream may be behind what the exchange answered since.
        if is_outdated(region, request, body.as_bytes()) {
            return Err(Dropped::Misplaced(Misplaced::Outdated));
        }
        let value = Value::new(body).with_meta("application/json;charset=UTF-8");
        let persist = Persist::Every(TICKER_STORED_EVERY);
        let loaded = Loaded { fresh_for: Some(TICKER_FRESH_FOR), persist, ..Loaded::from(value) };
        region.put(&request.key, loaded).await;
        self.order(venue).took(stream, stamp, self.clock.now());
        self.counters(venue).taken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn check_place(&self, venue: Venue, stream: &str, stamp: Stamp, kept: Option<Timestamp>) -> Result<(), Dropped> {
        let (now, offset) = (self.clock.now(), self.candles.clock_skew());
        self.order(venue).check(stream, stamp, kept, now, offset).map_err(Dropped::Misplaced)
    }

    /// Counts a message that is not taken. They are logged once a minute.
    fn drop_one(&self, venue: Venue, why: Dropped) {
        let counters = self.counters(venue);
        counters.dropped(why).fetch_add(1, Ordering::Relaxed);
        let (dropped, now) = (counters.unlogged.fetch_add(1, Ordering::Relaxed) + 1, self.clock.now());
        let reported_at = counters.reported_at.load(Ordering::Relaxed);
        if now.since(Timestamp::from_millis(reported_at)) >= DROPS_REPORTED_EVERY {
            counters.reported_at.store(now.as_millis(), Ordering::Relaxed);
            counters.unlogged.store(0, Ordering::Relaxed);
            tracing::warn!(%venue, dropped, last = %why, "stream messages are dropped: they are not what they should be");
        }
    }

    /// Reads a message; what cannot be read is counted.
    fn read(&self, venue: Venue, text: &str) -> Option<Message> {
        let message = stream::read(venue, text);
        if message.is_none() {
            self.drop_one(venue, Dropped::Unreadable);
        }
        message
    }
}

/// Whether a request is a ticker that a stream can keep fresh.
fn is_ticker(request: &UpstreamRequest) -> bool {
    matches!(request.region(), RegionName::Ticker24hr | RegionName::BookTicker)
}
