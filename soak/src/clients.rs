//! What clients do: read everything at both gateways, put values in increasing versions, invalidate in every way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{ETAG, HeaderMap, IF_MATCH};
use reqwest::{Client, Method};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::judge::{Act, Read, Said};
use crate::ledger::{Ended, Ledger, PATIENCE, name};
use crate::places::{Kind, Way, invalidation};
use crate::source::stamp_of;
use crate::tally::Violation;
use crate::time::Chance;

/// How often a value is looked for that should be there, and how long apart.
const LAST_TRY: u32 = 6;
const AGAIN_AFTER: Duration = Duration::from_millis(300);

/// How long a connection stays open for the next request.
const IDLE: Duration = Duration::from_secs(3);

/// What all clients share. Clones are the same.
#[derive(Clone)]
pub(crate) struct Clients {
    client: Client,
    urls: Arc<[String; 2]>,
    ledger: Ledger,
    over: Arc<AtomicBool>,
    /// The values, each with one writer at a time, so that their versions have an order.
    values: Arc<Vec<(usize, Mutex<Latest>)>>,
    versions: Arc<AtomicU64>,
}

/// The newest known version of a value.
#[derive(Debug, Default)]
struct Latest {
    /// The ETag of the last acknowledged put, and of the one before it.
    etag: Option<String>,
    before: Option<String>,
    /// When it was put.
    at: u64,
}

struct Got {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Clients {
    pub(crate) fn new(urls: [String; 2], ledger: Ledger, over: Arc<AtomicBool>) -> reqwest::Result<Clients> {
        // A gateway closes connections that are idle for long, perhaps while a request is on its way to it.
        let builder = Client::builder().no_proxy().pool_max_idle_per_host(64).pool_idle_timeout(IDLE);
        let client = builder.timeout(Duration::from_millis(PATIENCE)).build()?;
        let places = ledger.places.iter().enumerate().filter(|(_, place)| place.kind == Kind::Value);
        let values = Arc::new(places.map(|(index, _)| (index, Mutex::default())).collect());
        Ok(Clients { client, urls: Arc::new(urls), ledger, over, values, versions: Arc::default() })
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    async fn send(
        &self,
        method: Method,
        gateway: usize,
        target: &str,
        headers: HeaderMap,
        body: String,
    ) -> Option<Got> {
        let url = format!("{}{target}", self.urls.get(gateway)?);
        let response = self.client.request(method, url).headers(headers).body(body).send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Some(Got { status, headers, body: response.bytes().await.ok()?.to_vec() })
    }

    /// Reads, this many times a second altogether, until the run is over.
    pub(crate) async fn read(self, mut chance: Chance, pause: Duration) {
        while !self.is_over() {
            let (place, gateway) = (chance.below(self.ledger.places.len()), chance.below(2));
            self.read_one(place, gateway).await;
            let pause = pause.as_micros() as usize;
            sleep(Duration::from_micros((pause / 2 + chance.below(pause)) as u64)).await;
        }
    }

    /// Reads one place at one gateway and has the answer judged. A value that seems to be lost is asked for again once the
    /// store is there: a gateway that cannot ask the store finds nothing.
    pub(crate) async fn read_one(&self, place: usize, gateway: usize) {
        let mut tries = 0;
        let mut last = None;
        while self.read_once(place, gateway, last.as_deref()).await && tries < LAST_TRY {
            sleep(AGAIN_AFTER).await;
            tries += u32::from(!self.ledger.is_store_away(gateway));
            if tries == LAST_TRY {
                last = Some(self.explained(place).await);
            }
        }
    }

    /// What both gateways say about a key, for people.
    async fn explained(&self, place: usize) -> String {
        let Some(asked) = self.ledger.places.get(place) else { return String::new() };
        let mut said = String::new();
        for gateway in 0..2 {
            let target = format!("/api/cache/explain/{}", asked.key);
            let got = self.send(Method::GET, gateway, &target, HeaderMap::new(), String::new()).await;
            let body = got.map(|got| String::from_utf8_lossy(&got.body).into_owned()).unwrap_or_default();
            said += &format!("\n    gateway {} explains: {body}", name(gateway));
        }
        said
    }

    /// Whether a value seems to be lost.
    async fn read_once(&self, place: usize, gateway: usize, last: Option<&str>) -> bool {
        let Some(asked) = self.ledger.places.get(place) else { return false };
        let began = self.ledger.clock.now();
        let got = self.send(Method::GET, gateway, &asked.target, HeaderMap::new(), String::new()).await;
        let ended = self.ledger.clock.now();
        let (said, version) = match &got {
            None => (Said::default(), None),
            Some(got) => {
                let text = |name: &str| {
                    got.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
                };
                let (cache, cache_status) = (text("x-cache"), text("cache-status"));
                let said = Said { status: got.status, cache, cache_status, age: text("age").parse().ok() };
                let version = match asked.kind {
                    _ if got.status != 200 => None,
                    Kind::Value => std::str::from_utf8(&got.body).ok().and_then(|body| body.parse().ok()),
                    _ => stamp_of(&asked.target, &got.body),
                };
                (said, version)
            }
        };
        self.ledger.read(place, gateway, &Read { began, ended, version, said }, last)
    }

    /// Puts values, now and then on a condition, until the run is over.
    pub(crate) async fn write(self, mut chance: Chance, pause: Duration) {
        while !self.is_over() {
            let gateway = chance.below(2);
            if let Some((place, latest)) = chance.pick(&self.values) {
                let mut latest = latest.lock().await;
                match chance.below(6) {
                    0 => self.put_on_condition(*place, gateway, &mut latest, true).await,
                    1 => self.put_on_condition(*place, gateway, &mut latest, false).await,
                    2 if chance.one_in(3) => self.delete(*place, gateway).await,
                    _ => {
                        self.put(*place, gateway, &mut latest, None).await;
                    }
                }
            }
            sleep(chance.millis(1, pause.as_millis() as u64 * 2)).await;
        }
    }

    async fn put(
        &self,
        place: usize,
        gateway: usize,
        latest: &mut Latest,
        condition: Option<&str>,
    ) -> Option<(u16, String)> {
        let asked = self.ledger.places.get(place)?;
        let version = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
        let target = format!("{}?fresh_for=1h&tags=all-kv,symbol:{}", asked.target, asked.symbol);
        let mut headers = HeaderMap::new();
        if let Some(etag) = condition.and_then(|etag| etag.parse().ok()) {
            headers.insert(IF_MATCH, etag);
        }
        let name = name(gateway);
        let on = if condition.is_some() { " with If-Match" } else { "" };
        let change = format!("PUT of version {version} to {} at gateway {name}{on}", asked.target);
        let began = self.ledger.clock.now();
        let id = self.ledger.begin(&[place], gateway, Act::Put(version), &change);
        let got = self.send(Method::PUT, gateway, &target, headers, version.to_string()).await;
        let ended = match ended(got.as_ref()) {
            // The store did not say in time whether it took it.
            Ended::Refused if condition.is_some() && got.as_ref().is_some_and(|got| got.status == 503) => {
                Ended::Unknown
            }
            ended => ended,
        };
        self.ledger.end(id, gateway, ended);
        let etag = got.as_ref().and_then(|got| got.headers.get(ETAG)?.to_str().ok().map(str::to_owned));
        match ended {
            Ended::Acknowledged => {
                latest.before = latest.etag.take();
                (latest.etag, latest.at) = (etag, self.ledger.clock.now());
            }
            // The current value is not known.
            Ended::Pending { .. } | Ended::Unknown => *latest = Latest::default(),
            Ended::Refused => self.refused(&change, condition.is_some(), gateway, began, got.as_ref()),
        }
        got.map(|got| (got.status, String::from_utf8_lossy(&got.body).into_owned()))
    }

    /// No change is refused but on a condition that does not hold.
    fn refused(&self, change: &str, is_conditional: bool, gateway: usize, began: u64, got: Option<&Got>) {
        let Some(got) = got else { return };
        if is_conditional && got.status == 412 {
            return;
        }
        let now = self.ledger.clock.now();
        let is_down = |struck| struck == crate::faultlog::Struck::Gateway(gateway);
        if !self.ledger.faults.any(began.saturating_sub(1_000), now, is_down) {
            let body = String::from_utf8_lossy(&got.body).into_owned();
            self.ledger.note(Violation::CacheError, format!("{change} was answered {}: {body}", got.status));
        }
    }

    /// Replaces a value on the condition that it is the one put last, or, which must fail, the one before that.
    async fn put_on_condition(&self, place: usize, gateway: usize, latest: &mut Latest, holds: bool) {
        let etag = if holds { latest.etag.clone() } else { latest.before.clone() };
        let Some(etag) = etag else {
            self.put(place, gateway, latest, None).await;
            return;
        };
        let at = latest.at;
        let (status, said) = self.put(place, gateway, latest, Some(&etag)).await.unwrap_or_default();
        let target = &self.ledger.places[place].target;
        let changes = || self.ledger.history(place);
        if !holds && matches!(status, 200 | 201 | 204) {
            let what =
                format!("{target} was replaced at gateway {} although If-Match named an older version", name(gateway));
            self.ledger.note(Violation::Condition, format!("{what}; changes:{}", changes()));
        }
        if holds && status == 412 && !self.ledger.is_removed_since(place, at) {
            let what = format!(
                "{target} was not replaced at gateway {} although If-Match named the current version",
                name(gateway)
            );
            self.ledger.note(Violation::Condition, format!("{what}: {said}; changes:{}", changes()));
        }
    }

    async fn delete(&self, place: usize, gateway: usize) {
        let target = &self.ledger.places[place].target;
        let change = format!("DELETE of {target} at gateway {}", name(gateway));
        let id = self.ledger.begin(&[place], gateway, Act::Hard, &change);
        let got = self.send(Method::DELETE, gateway, target, HeaderMap::new(), String::new()).await;
        // There was nothing there, or what there was is gone.
        let ended =
            if got.as_ref().is_some_and(|got| got.status == 404) { Ended::Unknown } else { ended(got.as_ref()) };
        self.ledger.end(id, gateway, ended);
    }

    /// Invalidates in every way until the run is over.
    pub(crate) async fn invalidate(self, mut chance: Chance, pause: Duration) {
        while !self.is_over() {
            let way = if chance.one_in(150) { Some(&Way::Flush) } else { chance.pick(&Way::OFTEN) };
            let (place, is_hard, gateway) = (chance.below(self.ledger.places.len()), chance.one_in(2), chance.below(2));
            let is_steady = self.ledger.places.get(place).is_none_or(|place| place.kind == Kind::Steady);
            let meant = way.filter(|_| !is_steady);
            let meant = meant.and_then(|way| invalidation(&self.ledger.places, place, *way, is_hard));
            if let Some(meant) = meant {
                let act = if meant.is_hard { Act::Hard } else { Act::Soft };
                let change = format!("POST {} {} at gateway {}", meant.path, meant.body, name(gateway));
                let began = self.ledger.clock.now();
                let id = self.ledger.begin(&meant.places, gateway, act, &change);
                let got = self.send(Method::POST, gateway, &meant.path, HeaderMap::new(), meant.body.to_string()).await;
                let ended = ended(got.as_ref());
                self.ledger.end(id, gateway, ended);
                if ended == Ended::Refused {
                    self.refused(&change, false, gateway, began, got.as_ref());
                }
            }
            sleep(chance.millis(1, pause.as_millis() as u64 * 2)).await;
        }
    }
}

/// What the answer to a change says.
fn ended(got: Option<&Got>) -> Ended {
    let Some(got) = got else { return Ended::Unknown };
    let body = String::from_utf8_lossy(&got.body);
    match got.status {
        202 => Ended::Pending { outlives: body.contains("\"on_disk\":true") },
        // Memory is changed, and what the store holds is not known.
        200 if body.contains("\"reached\":false") => Ended::Unknown,
        200 | 201 | 204 => Ended::Acknowledged,
        500 | 502 | 504 => Ended::Unknown,
        _ => Ended::Refused,
    }
}
