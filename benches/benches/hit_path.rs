//! The hit path within a process: `cargo bench -p lastgood-benches --bench hit_path`.
//!
//! Keys are as long and as many as those of a busy gateway, read by a Zipf law, so that a hit pays for its cache misses
//! too. Next to it stand what no cache can do without, hashing with cloning, and two caches as they are: quick_cache, which the
//! memory tier is built on, and moka with a time to live.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use divan::{Bencher, black_box};
use lastgood::{Cache, Loaded, Policy, Region};
use lastgood_benches::poll_once;
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

const KEYS: usize = 100_000;
const READS: usize = 1 << 16;

fn main() {
    divan::main();
}

/// A 100-character name, as long as a klines key.
fn name(number: usize) -> String {
    format!("spot/api/v3/klines?interval=1m&symbol=SYMBOL{number:05}&{:0>width$}", "", width = 49)
}

/// Names by Zipf's law. The popular ones lie anywhere in memory, not side by side.
fn zipf() -> Vec<String> {
    lastgood_benches::zipf(KEYS, READS).into_iter().map(|rank| name(rank * 7_919 % KEYS)).collect()
}

fn filled() -> (Runtime, Region) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let cache = Cache::builder().memory_limit(1 << 30).build().expect("a cache");
    let policy = Policy::fresh_for(Duration::from_secs(86_400));
    let region = cache.region("klines", policy).expect("a region");
    runtime.block_on(async {
        for number in 0..KEYS {
            region.put(&name(number), Loaded::from(Bytes::from(vec![b'x'; 141]))).await;
        }
    });
    (runtime, region)
}

/// A fresh hit with everything that belongs to it: freshness, outcome, age, counters.
#[divan::bench(threads = [1, 2], sample_count = 50, sample_size = 20)]
fn hit(bencher: Bencher<'_, '_>) {
    let (_runtime, region) = filled();
    let names = zipf();
    bencher.counter(divan::counter::ItemsCount::new(1_000usize)).bench(|| {
        let start = fast_random() % (READS - 1_000);
        for name in &names[start..start + 1_000] {
            let answer = poll_once(region.get_or_load(name, || async { Ok(Loaded::from(Bytes::new())) }));
            black_box(answer.expect("a hit"));
        }
    });
}

/// quick_cache with the keys and values of the memory tier, and nothing of freshness, outcome or counters.
#[divan::bench(threads = [1, 2], sample_count = 50, sample_size = 20)]
fn quick_cache_alone(bencher: Bencher<'_, '_>) {
    let cache = quick_cache::sync::Cache::<Arc<str>, Arc<Bytes>>::new(2 * KEYS);
    (0..KEYS).for_each(|number| cache.insert(name(number).into(), Arc::new(Bytes::from(vec![b'x'; 141]))));
    let names = zipf();
    bencher.counter(divan::counter::ItemsCount::new(1_000usize)).bench(|| {
        let start = fast_random() % (READS - 1_000);
        for name in &names[start..start + 1_000] {
            black_box(cache.get(name.as_str()).expect("a hit"));
        }
    });
}

/// moka with the same, and a time to live.
#[divan::bench(threads = [1, 2], sample_count = 50, sample_size = 20)]
fn moka_with_time_to_live(bencher: Bencher<'_, '_>) {
    let cache = moka::sync::Cache::<Arc<str>, Arc<Bytes>>::builder()
        .max_capacity(2 * KEYS as u64)
        .time_to_live(Duration::from_secs(86_400))
        .build();
    (0..KEYS).for_each(|number| cache.insert(name(number).into(), Arc::new(Bytes::from(vec![b'x'; 141]))));
    cache.run_pending_tasks();
    let names = zipf();
    bencher.counter(divan::counter::ItemsCount::new(1_000usize)).bench(|| {
        let start = fast_random() % (READS - 1_000);
        for name in &names[start..start + 1_000] {
            black_box(cache.get(name.as_str()).expect("a hit"));
        }
    });
}

/// The floor: a hash of the key and a clone of the bytes.
#[divan::bench(threads = [1, 2], sample_count = 50, sample_size = 20)]
fn hash_and_clone(bencher: Bencher<'_, '_>) {
    use std::hash::BuildHasher;
    let names = zipf();
    let hasher = std::hash::RandomState::new();
    let body = Arc::new(Bytes::from(vec![b'x'; 141]));
    bencher.counter(divan::counter::ItemsCount::new(1_000usize)).bench(|| {
        let start = fast_random() % (READS - 1_000);
        for name in &names[start..start + 1_000] {
            black_box((hasher.hash_one(name), Arc::clone(&body)));
        }
    });
}

fn fast_random() -> usize {
    use std::cell::Cell;
    thread_local!(static STATE: Cell<u64> = const { Cell::new(0x2545_F491_4F6C_DD1D) });
    STATE.with(|state| {
        let mut next = state.get();
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        state.set(next);
        next as usize
    })
}
