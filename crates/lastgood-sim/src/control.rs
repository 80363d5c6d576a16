//! The switches over HTTP, under `/_sim/`.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::{ClockMode, Fault, Sim, State};

const HELP: &str = "\
A simulated exchange. Its switches:

  curl http://HOST/_sim/counters                    what it was asked
  curl -X POST http://HOST/_sim/reset               forget that
  curl http://HOST/_sim/faults                      the faults in force
  curl -X DELETE http://HOST/_sim/faults            end them
  curl -X POST http://HOST/_sim/faults -d '{\"kind\":\"status\",\"status\":503}'
  curl -X POST http://HOST/_sim/faults -d '{\"kind\":\"latency\",\"ms\":700,\"path_prefix\":\"/api/v3/klines\",\"times\":3}'
      kinds: latency (ms), hang, reset, status (status), html, truncated, empty, rate_limited, banned_spot,
      banned_futures, error_in_200, wrong_content_type, garbage, revise_closed_candle, stale_tail
  curl -X POST http://HOST/_sim/clock -d '{\"mode\":\"live\"}'
  curl -X POST http://HOST/_sim/clock -d '{\"mode\":\"frozen\",\"at\":1772600767250}'
  curl -X POST http://HOST/_sim/clock -d '{\"advance_ms\":60000}'
  curl -X POST http://HOST/_sim/limits -d '{\"spot\":600,\"futures\":240}'
";

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum ClockSwitch {
    Advance { advance_ms: u64 },
    Mode(ClockMode),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitSwitch {
    spot: Option<u32>,
    futures: Option<u32>,
}

/// A status, a content type and a body.
pub(crate) type Controlled = (u16, &'static str, String);

const JSON: &str = "application/json";

/// Answers a request under `/_sim/`.
pub(crate) fn control(sim: &Sim, method: &Method, path: &str, body: &[u8]) -> Controlled {
    let state: &State = &sim.state;
    let done = || (200, JSON, json!({"done": true}).to_string());
    let bad =
        |why: serde_json::Error| (400, JSON, json!({"error": why.to_string(), "mend": "see GET /_sim/"}).to_string());
    match (method, path.trim_start_matches("/_sim").trim_matches('/')) {
        (&Method::GET, "") => (200, "text/plain", HELP.to_owned()),
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
        (&Method::POST, "faults") => match serde_json::from_slice::<Fault>(body) {
            Ok(fault) => {
                sim.fault(fault);
                done()
            }
            Err(why) => bad(why),
        },
        (&Method::POST, "clock") => match serde_json::from_slice(body) {
            Ok(ClockSwitch::Advance { advance_ms }) => {
                sim.advance(advance_ms);
                done()
            }
            Ok(ClockSwitch::Mode(mode)) => {
                sim.set_clock(mode);
                done()
            }
            Err(why) => bad(why),
        },
        (&Method::POST, "limits") => match serde_json::from_slice(body) {
            Ok(LimitSwitch { spot, futures }) => {
                state.set_limits(spot, futures);
                done()
            }
            Err(why) => bad(why),
        },
        _ => (404, JSON, json!({"error": "no such switch", "mend": "see GET /_sim/"}).to_string()),
    }
}
