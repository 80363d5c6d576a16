//! What becomes of writes when the cache, or its runtime, ends.

use super::*;

#[tokio::test(start_paused = true)]
async fn closing_writes_what_waits() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    for number in 0..300 {
        prices.put(&number.to_string(), loaded("v1")).await;
    }
    stored.cache.close(MINUTE).await.expect("the store closes");
    assert_eq!(stored.keys().await.len(), 300);
}

#[test]
fn writes_cut_short_by_the_end_of_a_runtime_are_made_in_the_next() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be built");
    let memory = MemoryStore::new(Clock::system(), 1 << 20);
    let (faulty, cache) = runtime().block_on(async {
        let faulty = FaultyStore::new(Arc::new(memory.clone()));
        let cache = over(Arc::clone(&faulty) as _, &Clock::system());
        (faulty, cache)
    });
    let prices = region(&cache, a_minute());
    for round in 0..8 {
        runtime().block_on(async {
            faulty.set_writes(Fault::Hang);
            prices.put("BTCUSDT", loaded(&format!("v{round}"))).await;
            settle().await;
        });
    }
    runtime().block_on(async {
        faulty.heal();
        prices.put("ETHUSDT", loaded("v1")).await;
        assert!(cache.sync(SECOND).await, "the workers of runtimes that ended do not count");
        let keys = memory.list("", None, 10).await.expect("it answers").keys;
        assert!(keys.contains(&"lastgood:prices:v1:ETHUSDT".to_owned()), "{keys:?}");
    });
    assert_eq!(removals_left(&cache), 0);
}

/// A store whose removals keep the thread until they are let go, and then fail.
#[derive(Debug)]
struct Stuck {
    entered: mpsc::Sender<()>,
    go: Mutex<mpsc::Receiver<()>>,
}

impl std::fmt::Display for Stuck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stuck")
    }
}

#[async_trait::async_trait]
impl Store for Stuck {
    async fn get(&self, _key: &str) -> Result<Option<Bytes>, StoreError> {
        Err(unavailable())
    }

    async fn get_many(&self, _keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        Err(unavailable())
    }

    async fn put(&self, _key: &str, _value: Bytes, _ttl: Duration) -> Result<(), StoreError> {
        Err(unavailable())
    }

    async fn remove(&self, _keys: &[String]) -> Result<u64, StoreError> {
        _ = self.entered.send(());
        // Once its sender is gone it fails at once.
        _ = self.go.lock().expect("no other holds it").recv();
        Err(unavailable())
    }

    async fn list(&self, _prefix: &str, _cursor: Option<Cursor>, _limit: usize) -> Result<Page, StoreError> {
        Err(unavailable())
    }

    async fn probe(&self) -> Result<Usage, StoreError> {
        Err(unavailable())
    }
}

#[test]
fn a_removal_that_fails_while_its_runtime_ends_lets_it_end() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let runtime = runtime.expect("a runtime can be built");
    let ((entered, has_entered), (go, waits)) = (mpsc::channel(), mpsc::channel());
    let store = Arc::new(Stuck { entered, go: Mutex::new(waits) });
    let (alive, ended) = mpsc::channel::<()>();
    let cache = runtime.block_on(async {
        tokio::spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        let cache = over(Arc::clone(&store) as _, &Clock::system());
        region(&cache, a_minute()).remove("BTCUSDT").await;
        cache
    });
    has_entered.recv_timeout(MINUTE).expect("the store is asked");
    runtime.shutdown_background();
    assert_eq!(ended.recv_timeout(MINUTE), Err(RecvTimeoutError::Disconnected), "it takes no more tasks");
    drop((cache, go));
    let start = Instant::now();
    while Arc::strong_count(&store) > 1 {
        assert!(start.elapsed() < 10 * SECOND, "a task of a runtime that ended goes on");
        std::thread::yield_now();
    }
}
