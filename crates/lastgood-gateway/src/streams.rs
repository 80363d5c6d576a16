//! Streams: what is in use is kept fresh by the exchange's own pushes, at no request weight.
//!
//! Each venue with a stream base has one task. It subscribes to what was asked for lately, hands what comes to the
//! cache, and lets go of what nobody asks for any more. Streams are an addition: whatever becomes of them, readers load
//! what is not fresh, as without them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastgood::{Clock, Loaded, Persist, Timestamp, Value};
use lastgood_market::Source;
use lastgood_market::candles::{Candles, Fed, Series};
use lastgood_market::line::is_outdated;
use lastgood_market::stream::{self, Message, STREAMS_A_CONNECTION, candle_stream, ticker_stream};
use lastgood_market::{RegionName, Venue};

use crate::regions::Regions;

mod connection;
mod session;
pub(crate) mod venue;

/// What nobody asked for in so long is not streamed any more.
const IN_USE_FOR: Duration = Duration::from_secs(300);
/// A streamed ticker is believed so long without another word.
const TICKER_FRESH_FOR: Duration = Duration::from_secs(3);
/// The store has a streamed ticker at most once in so long.
const TICKER_STORED_EVERY: Duration = Duration::from_secs(10);
/// More tickers than a connection has streams.
const MOST_TICKERS: usize = 2_000;

/// How the streams of a venue do.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Connections that were made.
    pub(crate) connections: AtomicU64,
    /// Streams that are subscribed to.
    pub(crate) subscribed: AtomicU64,
    /// Messages that were taken.
    pub(crate) taken: AtomicU64,
    /// Candles that did not follow on what was known, so that the exchange is asked for the end of their series.
    pub(crate) behind: AtomicU64,
    /// Messages that could not be read.
    pub(crate) unreadable: AtomicU64,
    /// Whether a connection is up: 1 or 0.
    pub(crate) connected: AtomicU64,
}

/// What a stream keeps fresh.
#[derive(Clone)]
pub(crate) enum Target {
    Candles(Arc<Series>),
    Ticker(Arc<Source>),
}

/// The streams of a venue that are wanted, by name.
type Wanted = BTreeMap<String, Target>;

/// What is in use and can be streamed, and how that goes.
pub(crate) struct Streams {
    /// Venues with a stream base, by [`Venue`].
    enabled: [bool; 3],
    tickers: Mutex<HashMap<String, (Arc<Source>, Timestamp)>>,
    counters: [Counters; 3],
    candles: Candles,
    regions: Regions,
    clock: Clock,
}

impl Streams {
    /// What comes goes to the candles and the tickers of these regions.
    pub(crate) fn new(with_streams: &[Venue], candles: &Candles, regions: &Regions, clock: &Clock) -> Streams {
        Streams {
            enabled: Venue::ALL.map(|venue| with_streams.contains(&venue)),
            tickers: Mutex::default(),
            counters: Default::default(),
            candles: candles.clone(),
            regions: regions.clone(),
            clock: clock.clone(),
        }
    }

    pub(crate) fn is_enabled(&self, venue: Venue) -> bool {
        self.enabled[venue as usize]
    }

    pub(crate) fn counters(&self, venue: Venue) -> &Counters {
        &self.counters[venue as usize]
    }

    /// Notes that a ticker is asked for. One that comes while others are noted may be missed; it will come again.
    pub(crate) fn note(&self, source: &Arc<Source>) {
        if !self.is_enabled(source.endpoint.venue) {
            return;
        }
        let (Ok(mut tickers), Some(stream)) = (self.tickers.try_lock(), ticker_stream(source)) else {
            return;
        };
        let now = self.clock.now();
        if tickers.len() >= MOST_TICKERS {
            tickers.retain(|_, (_, at)| now.since(*at) <= IN_USE_FOR);
        }
        if tickers.len() < MOST_TICKERS {
            tickers.insert(stream, (Arc::clone(source), now));
        }
    }

    fn tickers_in_use(&self, venue: Venue) -> Vec<(String, Arc<Source>)> {
        let now = self.clock.now();
        let Ok(mut tickers) = self.tickers.lock() else { return Vec::new() };
        tickers.retain(|_, (_, at)| now.since(*at) <= IN_USE_FOR);
        let of_venue = tickers.iter().filter(|(_, (source, _))| source.endpoint.venue == venue);
        of_venue.map(|(stream, (source, _))| (stream.clone(), Arc::clone(source))).collect()
    }

    /// The streams of a venue that are wanted.
    fn wanted(&self, venue: Venue) -> Wanted {
        let series = self.candles.in_use(IN_USE_FOR).into_iter().filter(|series| series.endpoint.venue == venue);
        let candles = series.filter_map(|series| Some((candle_stream(&series)?, Target::Candles(series))));
        let tickers = self.tickers_in_use(venue);
        let tickers = tickers.into_iter().map(|(stream, source)| (stream, Target::Ticker(source)));
        // The series that were asked for last come first.
        candles.chain(tickers).take(STREAMS_A_CONNECTION).collect()
    }

    /// Hands what a stream says to the cache.
    async fn take(&self, venue: Venue, wanted: &Wanted, latest: &mut HashMap<String, u64>, message: Message) {
        let counters = self.counters(venue);
        let (stream, at) = match &message {
            Message::Candle { stream, at, .. } | Message::Ticker { stream, at, .. } => (stream, *at),
            Message::Shutdown | Message::Reply(_) | Message::Other => return,
        };
        // What comes late must not undo what came in time.
        if latest.get(stream).is_some_and(|latest| at < *latest) {
            return;
        }
        latest.insert(stream.clone(), at);
        match (wanted.get(stream), message) {
            (Some(Target::Candles(series)), Message::Candle { candle, .. }) => {
                let counter = match self.candles.feed(series, &candle).await {
                    Fed::Taken => &counters.taken,
                    Fed::Behind => &counters.behind,
                    Fed::Unreadable => &counters.unreadable,
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }
            (Some(Target::Ticker(source)), Message::Ticker { body, .. }) => {
                // A stream may be behind what the exchange answered since.
                if is_outdated(self.regions.of(source.region()), source, body.as_bytes()) {
                    return;
                }
                let value = Value::new(body).with_meta("application/json;charset=UTF-8");
                let persist = Persist::Every(TICKER_STORED_EVERY);
                let loaded = Loaded { fresh_for: Some(TICKER_FRESH_FOR), persist, ..Loaded::from(value) };
                self.regions.of(source.region()).put(&source.key, loaded).await;
                counters.taken.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Reads a message; what cannot be read is counted.
    fn read(&self, venue: Venue, text: &str) -> Option<Message> {
        let message = stream::read(venue, text);
        if message.is_none() {
            self.counters(venue).unreadable.fetch_add(1, Ordering::Relaxed);
        }
        message
    }
}

/// Whether a source is a ticker that a stream can keep fresh.
pub(crate) fn is_ticker(source: &Source) -> bool {
    matches!(source.region(), RegionName::Ticker24hr | RegionName::BookTicker)
}
