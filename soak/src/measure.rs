//! What a gateway takes, and what it says of itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::ledger::Ledger;
use crate::scene::{Gateway, Scene};

/// How often Redis is asked whether it is there.
const EVERY: Duration = Duration::from_millis(20);
/// How long gateways may take to have their store.
const WELL_WITHIN: Duration = Duration::from_secs(30);

/// What a process takes of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) memory: u64,
    pub(crate) handles: u64,
    pub(crate) threads: u64,
}

impl Taken {
    /// What it takes now; nothing where the system does not tell.
    pub(crate) fn by(gateway: &Gateway) -> Taken {
        let Some(pid) = gateway.pid() else { return Taken::default() };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
        };
        let handles = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |handles| handles.count() as u64);
        Taken { memory: field("VmRSS:") * 1_024, handles, threads: field("Threads:") }
    }

    /// Whether this is more than a gateway that lives long may have grown to from `start`.
    pub(crate) fn has_grown_from(&self, start: Taken) -> bool {
        const MORE_MEMORY: u64 = 128 << 20;
        self.memory > start.memory * 2 + MORE_MEMORY
            || self.handles > start.handles * 2 + 100
            || self.threads > start.threads * 2 + 16
    }
}

/// Asks each gateway every moment whether changes wait there, and tells the ledger when none do.
pub(crate) async fn watch(scene: Arc<Scene>, ledger: Ledger, over: Arc<AtomicBool>) {
    let Ok(client) = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build() else { return };
    while !over.load(Ordering::Relaxed) {
        for (number, gateway) in scene.gateways.iter().enumerate() {
            let asked_at = ledger.clock.now();
            if health(&client, &gateway.url).await.is_some_and(|health| nothing_waits(&health)) {
                ledger.nothing_waits(number, asked_at);
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until each gateway has its store: one that has just started cannot answer for its store yet.
pub(crate) async fn wait_until_well(scene: &Scene) -> reqwest::Result<()> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
    let began = Instant::now();
    for gateway in &scene.gateways {
        while began.elapsed() < WELL_WITHIN
            && !health(&client, &gateway.url).await.is_some_and(|health| nothing_waits(&health))
        {
            sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

/// Asks Redis itself every moment, and notes when that takes so long, or when this process is kept waiting for so long, that a
/// gateway cannot have its answer in its time: a read asks two or three times, one after the other.
pub(crate) async fn watch_redis(port: u16, budget: Duration, ledger: Ledger, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        // A Redis that is not there is not slow.
        drop(ask_redis(port, budget / 4, &ledger, &over).await);
        sleep(Duration::from_millis(100)).await;
    }
}

async fn ask_redis(port: u16, slow: Duration, ledger: &Ledger, over: &AtomicBool) -> io::Result<()> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
    connection.set_nodelay(true)?;
    let mut pong = [0; 7];
    while !over.load(Ordering::Relaxed) {
        let (began, asked_at) = (Instant::now(), ledger.clock.now());
        connection.write_all(b"PING\r\n").await?;
        connection.read_exact(&mut pong).await?;
        sleep(EVERY).await;
        if began.elapsed() > EVERY + slow {
            ledger.faults.paused(asked_at, ledger.clock.now());
        }
    }
    Ok(())
}

async fn health(client: &reqwest::Client, url: &str) -> Option<Value> {
    let response = client.get(format!("{url}/health")).send().await.ok()?;
    serde_json::from_slice(&response.bytes().await.ok()?).ok()
}

/// Whether the gateway has its store and owes it nothing.
fn nothing_waits(health: &Value) -> bool {
    let cache = &health["cache"];
    let counts = ["unconfirmed_removals", "unpublished", "pending", "waiting"];
    cache["status"] == "ok" && counts.iter().all(|name| cache[*name].as_u64().unwrap_or(0) == 0)
}
