//! What the store says of itself, what it costs, and the counters that outlive every gateway: read and written in the
//! background, so that no request waits for any of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lastgood::Cache;
use lastgood::store::{BreakerState, StoreError, Usage};
use serde::Serialize;
use tokio::time::{Instant, sleep};

pub(crate) use self::commands::{Commands, StoreCommands};
pub(crate) use self::lifetime::{Lasting, Lifetime};

mod commands;
mod lifetime;

/// How often counts are added and memory is read.
const EVERY: Duration = Duration::from_secs(10);
/// The same while the store does not answer, so that its return is seen soon. With the breaker open it costs nothing.
const EVERY_WHILE_AWAY: Duration = Duration::from_secs(1);
/// The same where each command is billed.
const EVERY_WHERE_BILLED: Duration = Duration::from_secs(60);
const MEMORY_EVERY_WHERE_BILLED: Duration = Duration::from_secs(300);

/// The figures of one gateway's store.
pub(crate) struct Figures {
    pub(crate) lifetime: Lifetime,
    pub(crate) commands: Commands,
    is_billed: bool,
    usage: Mutex<Option<Usage>>,
    is_answering: AtomicBool,
}

/// The memory of the store, as the store reports it.
#[derive(Serialize)]
pub(crate) struct StoreMemory {
    used: u64,
    /// In the server's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_human: Option<String>,
    /// The most it may use; absent where there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// Keys that were evicted to stay within the limit, since the server's start.
    #[serde(skip_serializing_if = "Option::is_none")]
    evicted_keys: Option<u64>,
    /// The size of the embedded store's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<u64>,
}

impl Figures {
    /// `writer` distinguishes this process from the others. A store is billed where a price is given.
    pub(crate) fn new(writer: &str, price: Option<f64>) -> Figures {
        Figures {
            lifetime: Lifetime::new(writer),
            commands: Commands::new(price, Instant::now()),
            is_billed: price.is_some(),
            usage: Mutex::default(),
            is_answering: AtomicBool::new(false),
        }
    }

    /// What the store holds, as of some seconds ago; nothing while it does not answer.
    pub(crate) fn usage(&self, cache: &Cache) -> Option<Usage> {
        if !self.is_connected(cache) {
            return None;
        }
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its memory, likewise.
    pub(crate) fn memory(&self, cache: &Cache) -> Option<StoreMemory> {
        let Usage { bytes, bytes_human, limit, evicted_keys, file_bytes, .. } = self.usage(cache)?;
        Some(StoreMemory { used: bytes?, used_human: bytes_human, limit, evicted_keys, file: file_bytes })
    }

    /// Whether there is a store, and it answers as far as is known.
    pub(crate) fn is_connected(&self, cache: &Cache) -> bool {
        let closed = cache.status().store.is_some_and(|store| store.breaker == BreakerState::Closed);
        closed && self.is_answering.load(Ordering::Relaxed)
    }

    /// One round; says how long to wait for the next. `read_at` is when the memory was read.
    async fn round(&self, cache: &Cache, read_at: &mut Option<Instant>) -> Duration {
        let Some(added) = self.lifetime.add(cache).await else { return EVERY };
        let mut answers = is_answer(&added);
        let patience = if self.is_billed { MEMORY_EVERY_WHERE_BILLED } else { EVERY };
        let is_due = read_at.is_none_or(|at| at.elapsed() >= patience);
        if answers && is_due {
            let probed = cache.probe_store().await.unwrap_or_else(|| Ok(Usage::default()));
            answers = is_answer(&probed);
            *read_at = probed.is_ok().then(Instant::now);
            self.set_usage(probed.ok());
        } else if !answers {
            *read_at = None;
            self.set_usage(None);
        }
        self.is_answering.store(answers, Ordering::Relaxed);
        if let Some(sent) = cache.store_commands() {
            self.commands.note(sent, Instant::now());
        }
        match (answers, self.is_billed) {
            (false, _) => EVERY_WHILE_AWAY,
            (true, true) => EVERY_WHERE_BILLED,
            (true, false) => EVERY,
        }
    }

    fn set_usage(&self, usage: Option<Usage>) {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = usage;
    }
}

/// Whether the store did answer, be it with a refusal.
fn is_answer<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Ok(_) | Err(StoreError::Refused(_) | StoreError::Corrupt(_) | StoreError::Busy))
}

/// Keeps the figures, until the task is dropped.
pub(crate) async fn keep(figures: Arc<Figures>, cache: Cache) {
    let mut read_at = None;
    loop {
        let pause = figures.round(&cache, &mut read_at).await;
        sleep(pause).await;
    }
}
