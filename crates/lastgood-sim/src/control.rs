//! The switches over HTTP, under `/_sim/`.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::{ClockMode, Fault, FaultKind, Lie, Sim, State};

const HELP: &str = "\
A simulated exchange. Its switches:

  curl http://HOST/_sim/counters                    what it was asked
  curl -X POST http://HOST/_sim/reset               forget that
  curl http://HOST/_sim/faults                      the faults in force
  curl -X DELETE http://HOST/_sim/faults            end them
  curl -X POST http://HOST/_sim/faults -d '{\"kind\":\"status\",\"status\":503}'
  curl -X POST http://HOST/_sim/faults -d '{\"kind\":\"latency\",\"ms\":700,\"path_prefix\":\"/api/v3/klines\",\"times\":3}'
      kinds: latency (ms), hang, reset, status (status), html, truncated, empty, rate_limited, banned_spot,
      banned_futures, key_refused (key), error_in_200, wrong_content_type, garbage, revise_closed_candle, stale_tail;
      well-formed and wrong: lie (lie, seed), lies (one_in, seed: one answer in one_in, in any of the ways);
      each lie: {LIES};
      of streams: stream_refuse, stream_silent, stream_garbage; and at once, of those that are open: stream_drop,
      stream_shutdown
  curl -X POST http://HOST/_sim/clock -d '{\"mode\":\"live\"}'
  curl -X POST http://HOST/_sim/clock -d '{\"mode\":\"frozen\",\"at\":1772600767250}'
  curl -X POST http://HOST/_sim/clock -d '{\"advance_ms\":60000}'
  curl -X POST http://HOST/_sim/limits -d '{\"spot\":600,\"futures\":240}'
";

/// The names of the lies, in lines.
fn lies() -> String {
    let mut lines = vec![String::new()];
    for name in Lie::names().split(", ") {
        match lines.last_mut() {
            Some(line) if line.len() + name.len() < 100 => *line += &format!("{name}, "),
            _ => lines.push(format!("{name}, ")),
        }
    }
    lines.join("\n      ").trim_end_matches(", ").to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockSwitch {
    mode: Option<String>,
    at: Option<u64>,
    advance_ms: Option<u64>,
}

impl ClockSwitch {
    fn apply(&self, sim: &Sim) -> Result<(), serde_json::Error> {
        match (self.mode.as_deref(), self.at, self.advance_ms) {
            (Some("live"), None, None) => sim.set_clock(ClockMode::Live),
            (Some("frozen"), Some(at), None) => sim.set_clock(ClockMode::Frozen(at)),
            (None, None, Some(millis)) => sim.advance(millis),
            _ => {
                use serde::de::Error as _;
                return Err(serde_json::Error::custom("expected mode live, mode frozen with at, or advance_ms"));
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitSwitch {
    spot: Option<u32>,
    futures: Option<u32>,
}

/// A fault as it is written, with nothing that would be passed over in silence.
fn parse_fault(body: &[u8]) -> Result<Fault, serde_json::Error> {
    use serde::de::Error as _;

    let written: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body)?;
    let known = ["kind", "ms", "status", "lie", "one_in", "seed", "key", "path_prefix", "times"];
    if let Some(name) = written.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(serde_json::Error::custom(format!("unknown field `{name}`, expected one of {}", known.join(", "))));
    }
    let fault: Fault = serde_json::from_value(written.into())?;
    match fault.kind {
        FaultKind::Status { status } if !(400..600).contains(&status) => {
            Err(serde_json::Error::custom(format!("status {status} is no error: expected 400 to 599")))
        }
        _ => Ok(fault),
    }
}

/// A status, a content type and a body.
pub(crate) type Controlled = (u16, &'static str, String);

const JSON: &str = "application/json";

/// Answers a request under `/_sim/`.
pub(crate) fn control(sim: &Sim, method: &Method, path: &str, body: &[u8]) -> Controlled {
    let state: &State = &sim.state;
    let done = || (200, JSON, json!({"done": true}).to_string());
    let bad =
        |why: serde_json::Error| (400, JSON, json!({"error": why.to_string(), "hint": "see GET /_sim/"}).to_string());
    match (method, path.strip_prefix("/_sim").unwrap_or(path).trim_matches('/')) {
        (&Method::GET, "") => (200, "text/plain", HELP.replace("{LIES}", &lies())),
        (&Method::GET, "counters") => (200, JSON, json!(sim.counters()).to_string()),
        (&Method::POST, "reset") => {
            sim.reset_counters();
            done()
        }
        (&Method::GET, "faults") => (200, JSON, json!(state.faults.list()).to_string()),
        (&Method::DELETE, "faults") => {
            sim.clear_faults();
            done()
        }
        (&Method::POST, "faults") => match parse_fault(body) {
            Ok(fault) => {
                sim.fault(fault);
                done()
            }
            Err(why) => bad(why),
        },
        (&Method::POST, "clock") => {
            match serde_json::from_slice::<ClockSwitch>(body).and_then(|switch| switch.apply(sim)) {
                Ok(()) => done(),
                Err(why) => bad(why),
            }
        }
        (&Method::POST, "limits") => match serde_json::from_slice(body) {
            Ok(LimitSwitch { spot, futures }) => {
                state.set_limits(spot, futures);
                done()
            }
            Err(why) => bad(why),
        },
        _ => (404, JSON, json!({"error": "no such switch", "hint": "see GET /_sim/"}).to_string()),
    }
}
