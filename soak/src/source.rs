//! The source of the cached answers: a small HTTP server whose every answer carries the time at which the question
//! arrived, and that is ill on command.
//!
//! The time is taken before any delay: an answer that was on its way while something was invalidated looks as old as it
//! is.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::time::Clock;

const MINUTE: u64 = 60_000;

/// How the source answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Health {
    #[default]
    Well,
    /// Right answers, late.
    Slow(Duration),
    /// No answer.
    Hang,
    Status(u16),
    /// 429 with `Retry-After: 1`.
    TooMany,
    /// 200 and a page for people.
    Html,
    /// The answer ends in its middle.
    Truncated,
    /// 200 and an error.
    ErrorIn200,
    /// 200 and nothing.
    Empty,
}

/// The source. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct FaultySource {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct State {
    health: Health,
    /// When each path was asked for while the source was well.
    asked: HashMap<String, Vec<u64>>,
}

/// A prepared reply: status, more header lines, body, how many bytes of it are sent.
struct Reply {
    status: u16,
    headers: &'static str,
    body: String,
    cut: usize,
}

impl Reply {
    fn of(status: u16, headers: &'static str, body: String) -> Reply {
        Reply { status, headers, cut: body.len(), body }
    }
}

const JSON: &str = "content-type: application/json\r\n";

impl FaultySource {
    /// Starts it on a free port.
    pub(crate) async fn start(clock: Clock) -> io::Result<(FaultySource, SocketAddr)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let source = FaultySource { state: Arc::default(), clock };
        let serving = source.clone();
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((connection, _)) => drop(tokio::spawn(serving.clone().serve(connection))),
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
        Ok((source, address))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, health: Health) {
        self.state().health = health;
    }

    /// When each path was asked for while the source was well, in milliseconds since the epoch.
    pub(crate) fn asked(&self) -> HashMap<String, Vec<u64>> {
        self.state().asked.clone()
    }

    async fn serve(self, connection: TcpStream) -> io::Result<()> {
        connection.set_nodelay(true)?;
        let mut connection = BufReader::new(connection);
        let mut line = String::new();
        loop {
            line.clear();
            if connection.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let target = line.split(' ').nth(1).unwrap_or("/").to_owned();
            while connection.read_line(&mut line).await? > 2 {
                if line.len() > 64 * 1024 {
                    return Ok(());
                }
            }
            let arrived = self.clock.now();
            let health = self.note(&target, arrived);
            match health {
                Health::Hang => std::future::pending::<()>().await,
                Health::Slow(delay) => tokio::time::sleep(delay).await,
                _ => {}
            }
            let Reply { status, headers, body, cut } = reply(&target, health, arrived);
            let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
            connection.write_all(head.as_bytes()).await?;
            connection.write_all(&body.as_bytes()[..cut]).await?;
            connection.flush().await?;
            if cut < body.len() {
                return Ok(());
            }
        }
    }

    fn note(&self, target: &str, at: u64) -> Health {
        let mut state = self.state();
        let path = target.split('?').next().unwrap_or_default();
        if matches!(state.health, Health::Well | Health::Slow(_)) {
            state.asked.entry(path.to_owned()).or_default().push(at);
        }
        state.health
    }
}

fn reply(target: &str, health: Health, at: u64) -> Reply {
    let good = good(target, at);
    match health {
        Health::Well | Health::Slow(_) | Health::Hang => match good {
            Some(body) => Reply::of(200, JSON, body.to_string()),
            None => Reply::of(404, JSON, json!({ "code": -1_000, "msg": "no such path" }).to_string()),
        },
        Health::Status(status) => Reply::of(status, JSON, json!({ "code": -1_000, "msg": "ill" }).to_string()),
        Health::TooMany => Reply::of(
            429,
            "content-type: application/json\r\nretry-after: 1\r\n",
            json!({ "code": -1_003, "msg": "Too many requests." }).to_string(),
        ),
        Health::Html => {
            Reply::of(200, "content-type: text/html\r\n", "<html><body>Maintenance</body></html>".to_owned())
        }
        Health::Truncated => {
            let body = good.unwrap_or_default().to_string();
            Reply { cut: body.len() / 2, ..Reply::of(200, JSON, body) }
        }
        Health::ErrorIn200 => Reply::of(200, JSON, json!({ "code": -1_001, "msg": "Internal error." }).to_string()),
        Health::Empty => Reply::of(200, JSON, String::new()),
    }
}

/// The right answer to a question that arrived at `at`.
fn good(target: &str, at: u64) -> Option<Value> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let symbol = query.split('&').find_map(|field| field.strip_prefix("symbol=")).unwrap_or_default();
    Some(match path {
        "/api/v3/ping" => json!({}),
        "/api/v3/time" => json!({ "serverTime": at }),
        "/api/v3/ticker/price" => json!({ "symbol": symbol, "price": format!("{at}.00000000") }),
        "/api/v3/klines" => klines(query, at),
        _ => {
            let symbol = path.strip_prefix("/quote/").or_else(|| path.strip_prefix("/steady/"))?;
            json!({ "symbol": symbol, "stamp": at })
        }
    })
}

/// Candles of a minute in which as much is traded as milliseconds have passed. Closed ones never change.
fn klines(query: &str, at: u64) -> Value {
    let number = |name: &str| {
        query.split('&').find_map(|field| field.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok())
    };
    let limit = number("limit").unwrap_or(500).clamp(1, 1_000);
    let newest = number("endTime").unwrap_or(at).min(at) / MINUTE;
    let oldest = match number("startTime") {
        Some(start) => start.div_ceil(MINUTE),
        None => (newest + 1).saturating_sub(limit),
    };
    let rows = (oldest..=newest).take(limit as usize).map(|minute| {
        let open = minute * MINUTE;
        let volume = (at - open).min(MINUTE);
        let (volume, half) = (format!("{volume}.00000000"), format!("{}.00000000", volume / 2));
        let price = "1.00000000";
        json!([open, price, price, price, price, volume, open + MINUTE - 1, volume, 100, half, half, "0"])
    });
    rows.collect()
}

/// The time that an answer of the source carries; `None` where it has none.
pub(crate) fn stamp_of(path: &str, body: &[u8]) -> Option<u64> {
    let body: Value = serde_json::from_slice(body).ok()?;
    if path.starts_with("/api/v3/klines") {
        let last = body.as_array()?.last()?;
        let volume = last.get(5)?.as_str()?.split('.').next()?.parse::<u64>().ok()?;
        // A candle that has closed does not tell when it was asked for.
        return (volume < MINUTE).then_some(last.get(0)?.as_u64()? + volume);
    }
    match body.get("price") {
        Some(price) => price.as_str()?.split('.').next()?.parse().ok(),
        None => body.get("stamp")?.as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_tells_when_its_question_arrived() {
        let at = 1_790_000_012_345;
        for target in ["/api/v3/ticker/price?symbol=BTCUSDT", "/api/v3/klines?symbol=BTCUSDT&limit=3", "/quote/BTCUSDT"]
        {
            let body = reply(target, Health::Well, at).body;
            assert_eq!(stamp_of(target, body.as_bytes()), Some(at), "{target}: {body}");
        }
    }
}
