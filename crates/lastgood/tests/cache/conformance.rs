//! Every store, bare and wrapped, against the whole contract.

use std::sync::Arc;
use std::time::Duration;

use lastgood::clock::Clock;
use lastgood::store::{EmbeddedStore, Guard, GuardedStore, MemoryStore, RedisOptions, RedisStore, Store};
use lastgood::testing::conformance::{self, Capabilities};
use lastgood::testing::{FaultyStore, RedisServer};

const ROOM: u64 = 64 << 20;

/// A guard that does not mind a noisy machine: here the contract is the subject, not the budget.
fn patient() -> Guard {
    Guard { budget: Duration::from_secs(30), write_budget: Duration::from_secs(30), ..Guard::default() }
}

fn guarded(store: impl Store) -> Arc<GuardedStore> {
    GuardedStore::new(Arc::new(store), patient())
}

async fn check_with_paused_time(store: &dyn Store) {
    conformance::run(store, Capabilities::default(), tokio::time::advance).await;
}

fn memory() -> MemoryStore {
    MemoryStore::new(Clock::paused_with_tokio(), ROOM)
}

#[tokio::test(start_paused = true)]
async fn the_memory_store_keeps_the_contract() {
    check_with_paused_time(&memory()).await;
}

#[tokio::test(start_paused = true)]
async fn the_guarded_memory_store_keeps_the_contract() {
    check_with_paused_time(&*guarded(memory())).await;
}

#[tokio::test(start_paused = true)]
async fn the_faulty_store_keeps_the_contract_while_it_passes_on() {
    check_with_paused_time(&*FaultyStore::new(Arc::new(memory()))).await;
}

async fn redis(server: &RedisServer) -> RedisStore {
    let store = RedisStore::connect(RedisOptions::parse(&server.url()).expect("a good URL"));
    while !store.is_connected() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    store
}

async fn check_with_real_time(store: &dyn Store) {
    conformance::run(store, Capabilities::default(), tokio::time::sleep).await;
}

#[tokio::test]
async fn the_redis_store_keeps_the_contract() {
    let server = RedisServer::start();
    check_with_real_time(&redis(&server).await).await;
}

#[tokio::test]
async fn the_guarded_redis_store_keeps_the_contract() {
    let server = RedisServer::start();
    check_with_real_time(&*guarded(redis(&server).await)).await;
}

fn embedded(directory: &tempfile::TempDir) -> EmbeddedStore {
    let path = directory.path().join("cache.redb");
    EmbeddedStore::open(path, Clock::paused_with_tokio(), ROOM).expect("a new file can be opened").0
}

#[tokio::test(start_paused = true)]
async fn the_embedded_store_keeps_the_contract() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    check_with_paused_time(&embedded(&directory)).await;
}

#[tokio::test(start_paused = true)]
async fn the_guarded_embedded_store_keeps_the_contract() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    check_with_paused_time(&*guarded(embedded(&directory))).await;
}
