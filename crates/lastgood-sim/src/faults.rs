//! Bad moods on demand.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::lies::Lie;

/// A fault for the requests whose path begins with `path_prefix`, the next `times` of them. Faults of requests strike
/// those for stream connections too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// For which paths; all if empty.
    #[serde(default)]
    pub path_prefix: String,
    /// For how many requests; without end if none.
    #[serde(default)]
    pub times: Option<u32>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// The answer comes late, by this many milliseconds.
    Latency {
        /// Milliseconds.
        ms: u64,
    },
    /// No answer ever comes.
    Hang,
    /// The connection is closed without an answer.
    Reset,
    /// An error answer of this status, 400 to 599; any other is 500.
    Status {
        /// The status.
        status: u16,
    },
    /// A page for people instead of an answer: 403 of a firewall.
    Html,
    /// The answer breaks off in its middle.
    Truncated,
    /// 200 and no body.
    Empty,
    /// 401 with −2015 for requests with this API key; with any, if none is named. Requests without a key are not struck.
    KeyRefused {
        /// The API key.
        #[serde(default)]
        key: String,
    },
    /// 429 with `Retry-After`.
    RateLimited,
    /// 418 in spot's wording, two minutes.
    BannedSpot,
    /// 418 in the futures' wording, two minutes.
    BannedFutures,
    /// 200 with an error for a body.
    #[serde(rename = "error_in_200")]
    ErrorIn200,
    /// A good body with the content type of a text.
    WrongContentType,
    /// 200 and a body that is no JSON.
    Garbage,
    /// Closed candles come with other values than before.
    ReviseClosedCandle,
    /// The newest candle is missing.
    StaleTail,
    /// The answer is well-formed and wrong in this way, where that is possible; else it is the real one.
    Lie {
        /// In which way.
        lie: Lie,
        /// Which rows are struck, and the like.
        #[serde(default)]
        seed: u64,
    },
    /// One answer in this many is well-formed and wrong, in any of the ways that are possible.
    Lies {
        /// How seldom; 1 is always.
        one_in: u64,
        /// Which answers, and in which ways.
        #[serde(default)]
        seed: u64,
    },
    /// A request for a stream connection is answered with 503.
    StreamRefuse,
    /// Stream connections stay open, with pings and answers, but their events are lost. `times` counts events.
    StreamSilent,
    /// Events come as a text that is no JSON. `times` counts events.
    StreamGarbage,
    /// The stream connections that are open break at once, without a word; `times` of them, the oldest. New ones are
    /// not struck.
    StreamDrop,
    /// The stream connections that are open get a `serverShutdown`, and end in ten minutes; `times` of them,
    /// the oldest. New ones are not struck.
    StreamShutdown,
}

/// What a fault may strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Request,
    Upgrade,
    Event,
    /// Closes the open connections: it is never in force.
    Open,
}

impl FaultKind {
    fn target(&self) -> Target {
        match self {
            FaultKind::StreamRefuse => Target::Upgrade,
            FaultKind::StreamSilent | FaultKind::StreamGarbage => Target::Event,
            FaultKind::StreamDrop | FaultKind::StreamShutdown => Target::Open,
            _ => Target::Request,
        }
    }
}

/// More faults than this are not kept; the oldest go.
const MOST: usize = 1_000;

/// The faults in force.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() == MOST {
            faults.remove(0);
        }
        faults.push(fault);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn list(&self) -> Vec<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The kinds of fault that strike a request to `path`; counted ones are used up by it.
    pub(crate) fn strike(&self, path: &str) -> Vec<FaultKind> {
        self.strike_target(path, Target::Request)
    }

    /// Whether a request for a stream connection is refused.
    pub(crate) fn strike_upgrade(&self, path: &str) -> bool {
        !self.strike_target(path, Target::Upgrade).is_empty()
    }

    /// What strikes an event on the connection of this path.
    pub(crate) fn strike_event(&self, path: &str) -> Option<FaultKind> {
        self.strike_target(path, Target::Event).into_iter().next()
    }

    fn strike_target(&self, path: &str, target: Target) -> Vec<FaultKind> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kinds = Vec::new();
        let struck = |fault: &&mut Fault| fault.kind.target() == target && path.starts_with(&fault.path_prefix);
        for fault in faults.iter_mut().filter(struck) {
            match &mut fault.times {
                Some(0) => continue,
                Some(left) => *left -= 1,
                None => {}
            }
            kinds.push(fault.kind.clone());
        }
        faults.retain(|fault| fault.times != Some(0));
        kinds
    }
}
