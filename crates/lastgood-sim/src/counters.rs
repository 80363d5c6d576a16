//! What the exchange remembers of its callers.

use std::collections::{BTreeMap, VecDeque};

use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::{Venue, signed};

/// The most requests remembered singly, and the most paths counted singly.
const REMEMBERED: usize = 200;
const MOST_PATHS: usize = 1_000;
/// The most characters remembered of a path or a query.
const LONGEST: usize = 8_192;
const LONGEST_PATH: usize = 256;

/// What an exchange was asked since it began or was last reset. Requests to `/_sim/` are not in it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Requests.
    pub total: u64,
    /// Requests by path.
    pub paths: BTreeMap<String, u64>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Request weight by market.
    pub weight: BTreeMap<Venue, u64>,
    /// Stream connections.
    #[serde(default)]
    pub streams: StreamCounters,
    /// The last requests, the newest last.
    pub log: VecDeque<LoggedRequest>,
}

/// What stream connections did, and what there is of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamCounters {
    /// Connections that are open now.
    pub open: u64,
    /// Streams that are subscribed to now, on all connections.
    pub subscribed: u64,
    /// Connections that were opened.
    pub total: u64,
    /// Events and answers that were sent.
    pub messages: u64,
}

/// A request as the exchange remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedRequest {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The query, without a signature's value.
    pub query: String,
    /// The names of its headers.
    pub headers: Vec<String>,
    /// Which of the simulator's accounts the API key is of, from 0 on; none without a key, or with one that is unknown.
    #[serde(default)]
    pub account: Option<usize>,
}

impl LoggedRequest {
    pub(crate) fn new(method: &Method, path: &str, query: &str, headers: &HeaderMap) -> Self {
        LoggedRequest {
            method: method.to_string(),
            path: path.chars().take(LONGEST_PATH).collect(),
            query: query.split('&').map(without_secret).collect::<Vec<_>>().join("&").chars().take(LONGEST).collect(),
            headers: headers.keys().map(ToString::to_string).collect(),
            account: headers.get("x-mbx-apikey").and_then(|key| signed::account_of(key.as_bytes())),
        }
    }
}

/// A field of a query; of a signature, however its name is written, only the name.
fn without_secret(field: &str) -> String {
    let name = field.split_once('=').map_or(field, |(name, _)| name);
    let decoded = percent_decode_str(name).decode_utf8_lossy();
    let is_secret = ["signature", "listenKey"].iter().any(|secret| decoded.eq_ignore_ascii_case(secret));
    if is_secret { format!("{decoded}=…") } else { field.to_owned() }
}

impl Counters {
    pub(crate) fn remember(&mut self, request: LoggedRequest) {
        self.total += 1;
        if self.paths.len() < MOST_PATHS || self.paths.contains_key(&request.path) {
            *self.paths.entry(request.path.clone()).or_default() += 1;
        }
        if self.log.len() == REMEMBERED {
            self.log.pop_front();
        }
        self.log.push_back(request);
    }

    pub(crate) fn count_weight(&mut self, venue: Venue, weight: u32) {
        *self.weight.entry(venue).or_default() += u64::from(weight);
    }

    pub(crate) fn count_status(&mut self, status: u16) {
        *self.statuses.entry(status).or_default() += 1;
    }
}
