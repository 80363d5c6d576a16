//! Bots that poll the gateway as trading bots do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use lastgood::http_client::{HttpClient, HttpOptions, NoTls, Trust, body};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Two requests a second and bot, on average.
const PAUSE: Duration = Duration::from_millis(500);

/// For a whole answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What bots ask, and how often in a hundred.
const QUESTIONS: [(&str, u64); 8] = [
    ("/api/v3/ticker/price?symbol=BTCUSDT", 25),
    ("/api/v3/ticker/24hr?symbol=ETHUSDT", 10),
    ("/api/v3/ticker/bookTicker?symbol=BTCUSDT", 15),
    ("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=100", 20),
    ("/api/v3/klines?symbol=ETHUSDT&interval=1h&limit=500", 10),
    ("/api/v3/depth?symbol=BTCUSDT&limit=100", 10),
    ("/api/v3/depth?symbol=ETHUSDT&limit=100", 5),
    ("/api/v3/exchangeInfo", 5),
];

/// What the bots saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Answers other than 200, and none at all.
    failures: AtomicU64,
    /// Of the answers since last asked.
    latencies: Mutex<Vec<Duration>>,
}

impl Seen {
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// The median latency since the last call.
    pub(super) async fn median(&self) -> Option<Duration> {
        let mut latencies = std::mem::take(&mut *self.latencies.lock().await);
        latencies.sort_unstable();
        latencies.get(latencies.len() / 2).copied()
    }
}

/// Sends `bots` off to poll the gateway; they stop when the set is dropped.
pub(super) fn start(gateway: SocketAddr, bots: u32, seen: &Arc<Seen>) -> Result<JoinSet<()>, NoTls> {
    // Proxies are for the world outside; the gateway is on this machine.
    let client = HttpClient::new(&HttpOptions { trust: Trust::Nothing, ..HttpOptions::new(PATIENCE) })?;
    let mut running = JoinSet::new();
    for bot in 0..bots {
        let (client, seen) = (client.clone(), Arc::clone(seen));
        running.spawn(async move { poll(client, gateway, u64::from(bot), &seen).await });
    }
    Ok(running)
}

async fn poll(client: HttpClient, gateway: SocketAddr, bot: u64, seen: &Seen) {
    let mut dice = Dice(bot + 1);
    sleep(PAUSE.mul_f64(dice.roll(100) as f64 / 100.0)).await;
    loop {
        let path = question(dice.roll(100));
        let started = Instant::now();
        let request = Request::get(format!("http://{gateway}{path}"))
            .header(header::ACCEPT, "*/*")
            .header(header::ACCEPT_ENCODING, "gzip")
            .body(body(Bytes::new()));
        let succeeded = match request {
            Ok(request) => {
                let answer = client.fetch(request, usize::MAX, PATIENCE).await;
                answer.is_ok_and(|answer| answer.status().is_success())
            }
            Err(_) => false,
        };
        match succeeded {
            true => seen.latencies.lock().await.push(started.elapsed()),
            false => {
                seen.failures.fetch_add(1, Relaxed);
            }
        }
        sleep(PAUSE.mul_f64(0.5 + dice.roll(100) as f64 / 100.0)).await;
    }
}

fn question(mut roll: u64) -> &'static str {
    for (path, share) in QUESTIONS {
        match roll.checked_sub(share) {
            Some(rest) => roll = rest,
            None => return path,
        }
    }
    QUESTIONS[0].0
}

/// The same rolls in every run, different ones for every bot.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_make_a_hundred() {
        assert_eq!(QUESTIONS.iter().map(|(_, share)| share).sum::<u64>(), 100);
        let mut dice = Dice(1);
        let mut asked: Vec<_> = (0..10_000).map(|_| question(dice.roll(100))).collect();
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(asked.len(), QUESTIONS.len());
    }
}
