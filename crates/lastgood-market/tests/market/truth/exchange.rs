//! The simulated exchange as the library asks it, with lies on demand and a record of all its answers.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lastgood::{Clock, Error};
use lastgood_market::candles::Exchange;
use lastgood_market::query::Params;
use lastgood_market::validate::Fetched;
use lastgood_market::{Priority, Received, UpstreamRequest};
use lastgood_sim::{Lie, Sim, SimAnswer, SimConfig, SimRequest};

use super::judge::{opens, pieces};
use super::{FORMING_FRESH_FOR, INDEPENDENT_AFTER};

/// The exchange.
pub(crate) struct Recorded {
    pub(crate) clock: Clock,
    pub(crate) sim: Sim,
    /// Its data ends here: all pairs were delisted.
    halted_at: Arc<AtomicU64>,
    mood: Mutex<Mood>,
    /// The answers, the newest last.
    pub(crate) log: Mutex<Vec<Answered>>,
    /// Whether answers are kept in the log.
    pub(crate) remembers: AtomicBool,
    /// Whether faults of the simulator count, which are not among the lies.
    has_faults: AtomicBool,
    /// How long an answer takes.
    pub(crate) latency_ms: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) weight: AtomicU64,
    /// The wrong answers, and when first: by series, open time, and content.
    claims: Mutex<HashMap<u64, u64>>,
}

/// How it answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mood {
    /// The lies that it tells; none while it is well.
    pub(crate) lies: Vec<Lie>,
    /// It lies once in this many answers.
    pub(crate) one_in: u64,
    /// It lies so often at most.
    pub(crate) left: u64,
    pub(crate) seed: u64,
    /// It never sends more rows than this, whatever is asked for.
    pub(crate) cap: Option<u64>,
}

/// A question of the library's, and what it was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) at: u64,
    pub(crate) path: &'static str,
    pub(crate) query: String,
    /// What names the series: the query without bounds.
    pub(crate) series: String,
    pub(crate) given: Bytes,
    pub(crate) lie: Option<Lie>,
    /// The rows of both, where they are candles: by open time.
    pub(crate) true_rows: HashMap<u64, String>,
    pub(crate) answered_rows: HashMap<u64, String>,
    /// The other answers, in parts that may come again in another.
    pieces: OnceLock<Vec<String>>,
}

impl Answered {
    pub(crate) fn pieces(&self) -> &[String] {
        self.pieces.get_or_init(|| pieces(&self.given))
    }

    pub(crate) fn line(&self) -> String {
        let lie = self.lie.map(|lie| format!(" {lie:?}")).unwrap_or_default();
        format!("{} {}?{} → {} rows{lie}", self.at, self.path, self.query, self.pieces().len())
    }
}

/// A mixed number of a seed and another.
pub(crate) fn mixed(seed: u64, number: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, number).hash(&mut hasher);
    hasher.finish()
}

impl Recorded {
    pub(crate) fn new(clock: &Clock) -> Arc<Recorded> {
        let config = SimConfig {
            seed: 7,
            symbols: 60,
            weight_limit_spot: u32::MAX,
            weight_limit_futures: u32::MAX,
            ..SimConfig::default()
        };
        let sim = Sim::new(config);
        let halted_at = Arc::new(AtomicU64::new(u64::MAX));
        let (time, halted) = (clock.clone(), Arc::clone(&halted_at));
        sim.follow_clock(move || time.now().as_millis().min(halted.load(Ordering::SeqCst)));
        Arc::new(Recorded {
            clock: clock.clone(),
            sim,
            halted_at,
            mood: Mutex::default(),
            log: Mutex::default(),
            remembers: AtomicBool::new(true),
            has_faults: AtomicBool::new(false),
            latency_ms: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            weight: AtomicU64::new(0),
            claims: Mutex::default(),
        })
    }

    pub(crate) fn mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn be_well(&self) {
        self.mood(Mood::default());
    }

    /// From now on the simulator's faults strike.
    pub(crate) fn answers_with_faults(&self) {
        self.has_faults.store(true, Ordering::SeqCst);
    }

    /// How many requests came since this was last asked, and their weight.
    pub(crate) fn asked(&self) -> (u64, u64) {
        (self.requests.swap(0, Ordering::SeqCst), self.weight.swap(0, Ordering::SeqCst))
    }

    /// No candle opens from now on, and the last one is closed.
    pub(crate) fn halt(&self, at: u64) {
        self.halted_at.store(at, Ordering::SeqCst);
    }

    /// The true answer as of `now`.
    pub(crate) fn honest_at(&self, request: SimRequest<'_>, now: u64) -> SimAnswer {
        self.sim.honest_at(request, now.min(self.halted_at.load(Ordering::SeqCst)))
    }

    /// The lie for a request, if it is to be lied to.
    fn lie(&self, request: SimRequest<'_>, series: &str, honest: &Bytes, number: u64) -> Option<(Lie, Bytes)> {
        let mut mood = self.mood.lock().unwrap();
        if mood.lies.is_empty() || mood.left == 0 || !mixed(mood.seed, number).is_multiple_of(mood.one_in.max(1)) {
            return None;
        }
        let first = mixed(mood.seed, number + 1_000_000) as usize % mood.lies.len();
        let order = mood.lies[first..].iter().chain(&mood.lies[..first]).copied();
        let lied = order.into_iter().find_map(|lie| {
            let body = self.sim.lie(lie, mixed(mood.seed, number), request)?;
            self.is_new(series, honest, &body).then_some((lie, body))
        })?;
        mood.left -= 1;
        Some(lied)
    }

    /// Whether no independent answer said before what a lie says: two that agree are believed, whatever they say, and
    /// no cache can know better.
    fn is_new(&self, series: &str, honest: &Bytes, lied: &Bytes) -> bool {
        let now = self.clock.now().as_millis();
        let true_rows: HashMap<u64, &str> = opens(honest).into_iter().collect();
        let answered_rows: HashMap<u64, &str> = opens(lied).into_iter().collect();
        let absent = true_rows.keys().filter(|open| !answered_rows.contains_key(open)).map(|open| (*open, ""));
        let wrong = answered_rows
            .iter()
            .filter(|(open, row)| true_rows.get(open) != Some(row))
            .map(|(open, row)| (*open, *row));
        let mut claims = self.claims.lock().unwrap();
        let given: Vec<u64> = absent
            .chain(wrong)
            .map(|claim| {
                let mut hasher = DefaultHasher::new();
                (series, claim).hash(&mut hasher);
                hasher.finish()
            })
            .collect();
        let long_ago = now.saturating_sub(INDEPENDENT_AFTER.as_millis() as u64);
        if given.iter().any(|claim| claims.get(claim).is_some_and(|first| *first <= long_ago)) {
            return false;
        }
        for claim in given {
            claims.entry(claim).or_insert(now);
        }
        true
    }
}

async fn sleep(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// A query with at most this limit.
fn with_limit(query: &str, most: u64) -> String {
    let mut params = Params::parse(query).expect("a query of ours");
    let limit = params.number("limit").unwrap_or(500).min(most);
    params.set("limit", Some(limit.to_string()));
    params.to_query()
}

/// What names the series of a query.
pub(crate) fn series_of(path: &str, query: &str) -> String {
    let params = Params::parse(query).expect("a query of ours");
    let names = ["symbol", "pair", "contractType", "timeZone", "interval"];
    let values = names.iter().map(|name| params.get(name).filter(|value| *value != "0").unwrap_or(""));
    format!("{path} {}", values.collect::<Vec<_>>().join(" "))
}

#[async_trait]
impl Exchange for Recorded {
    async fn receive(&self, source: UpstreamRequest, _: Priority) -> Result<Received, Error> {
        let asked_at = self.clock.now();
        let path = source.endpoint.path;
        let request = SimRequest { path, query: &source.query, micros: source.micros };
        let on_the_way = Duration::from_millis(self.latency_ms.load(Ordering::SeqCst)) / 2;
        sleep(on_the_way).await;
        let now = self.clock.now();
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        self.weight.fetch_add(u64::from(source.weight), Ordering::SeqCst);
        let cap = self.mood.lock().unwrap().cap;
        let capped = cap.map(|cap| with_limit(&source.query, cap));
        let request = SimRequest { query: capped.as_deref().unwrap_or(request.query), ..request };
        let honest = match self.has_faults.load(Ordering::SeqCst) {
            true => self.sim.answer(request),
            false => self.honest_at(request, now.as_millis()),
        };
        let series = series_of(path, &source.query);
        let lied = match honest.status {
            200 => self.lie(request, &series, &honest.body, mixed(number, now.as_millis())),
            _ => None,
        };
        let (lie, given) = lied.map_or((None, honest.body.clone()), |(lie, body)| (Some(lie), body));
        if self.remembers.load(Ordering::SeqCst) {
            let rows = |body: &Bytes| opens(body).into_iter().map(|(open, row)| (open, row.to_owned())).collect();
            let (true_rows, answered_rows) = (rows(&honest.body), rows(&given));
            self.log.lock().unwrap().push(Answered {
                at: now.as_millis(),
                path,
                query: source.query.clone(),
                series,
                given: given.clone(),
                lie,
                true_rows,
                answered_rows,
                pieces: OnceLock::new(),
            });
        }
        sleep(on_the_way).await;
        let retry_after = honest.retry_after.map(Duration::from_secs);
        let content_type = honest.content_type.to_owned();
        let fetched = Fetched { status: honest.status, content_type, retry_after, body: given };
        Ok(Received { value: fetched.into_value(&source, self.clock.now())?, asked_at })
    }

    fn forming_fresh_for(&self, _: &str) -> Duration {
        FORMING_FRESH_FOR
    }
}
