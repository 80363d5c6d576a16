//! An exchange on a free port whose clock stands still, and a client that sends bytes as they are.

use std::collections::HashMap;
use std::net::SocketAddr;

use lastgood_sim::{ClockMode, Fault, Sim, SimConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// 2026-03-04 05:06:07.250 UTC, a Wednesday.
pub(crate) const NOW: u64 = 1_772_600_767_250;
pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

pub(crate) struct Exchange {
    pub(crate) sim: Sim,
    pub(crate) address: SocketAddr,
}

/// An answer, read until the connection ended.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Exchange {
    /// One of a few hundred symbols and of limits that no test reaches by accident.
    pub(crate) async fn start() -> Exchange {
        Exchange::start_with(SimConfig {
            seed: 7,
            symbols: 300,
            weight_limit_spot: 1_000_000,
            weight_limit_futures: 1_000_000,
            ..SimConfig::default()
        })
        .await
    }

    pub(crate) async fn start_with(config: SimConfig) -> Exchange {
        let sim = Sim::new(config);
        sim.set_clock(ClockMode::Frozen(NOW));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = sim.clone();
        tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
        Exchange { sim, address }
    }

    /// What comes back for these bytes, or nothing if the connection ends without a word.
    pub(crate) async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Got> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: exchange\r\nconnection: close\r\ncontent-length: {}\r\n{more}\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        let mut answer = Vec::new();
        // An answer may break off on purpose: what came counts.
        let _ = stream.read_to_end(&mut answer).await;
        parse(&answer)
    }

    pub(crate) async fn get(&self, target: &str) -> Got {
        self.get_with(target, &[]).await
    }

    pub(crate) async fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Got {
        self.send("GET", target, headers, b"").await.unwrap_or_else(|| panic!("no answer to {target}"))
    }

    pub(crate) async fn post(&self, target: &str, body: &str) -> Got {
        self.send("POST", target, &[], body.as_bytes()).await.unwrap_or_else(|| panic!("no answer to {target}"))
    }

    /// A good answer's JSON.
    pub(crate) async fn json(&self, target: &str) -> Value {
        let got = self.get(target).await;
        assert_eq!(got.status, 200, "{target}: {}", got.text());
        got.json()
    }

    pub(crate) async fn rows(&self, target: &str) -> Vec<Value> {
        let Value::Array(rows) = self.json(target).await else { panic!("no array for {target}") };
        rows
    }

    pub(crate) fn fault(&self, fault: Value) {
        self.sim.fault(serde_json::from_value::<Fault>(fault).unwrap());
    }
}

fn parse(answer: &[u8]) -> Option<Got> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let field = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    Some(Got { status, headers: lines.filter_map(field).collect(), body: answer[end + 4..].to_vec() })
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.header(name).parse().unwrap_or_else(|_| panic!("{name} in {:?}", self.headers))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.text()))
    }

    /// Status and code of an error in the exchange's shape.
    pub(crate) fn error(&self) -> (u16, i64) {
        let body = self.json();
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(2), "{body}");
        assert!(body["msg"].is_string(), "{body}");
        (self.status, body["code"].as_i64().unwrap())
    }
}

/// The names as the value of `symbols`.
pub(crate) fn list(names: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    escape(&json!(names).to_string())
}

pub(crate) fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Numbers that are the same in every run.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

/// The time at which a candle opens, and the one at which it closes.
pub(crate) fn open_time(row: &Value) -> u64 {
    row[0].as_u64().unwrap()
}

pub(crate) fn close_time(row: &Value) -> u64 {
    row[6].as_u64().unwrap()
}

pub(crate) fn float(value: &Value) -> f64 {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).parse().unwrap()
}
