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

/// A sequence of keys by Zipf's law with exponent 0.99, from a fixed seed.
fn zipf() -> Vec<String> {
    let weights: Vec<f64> = (1..=KEYS).map(|rank| 1.0 / (rank as f64).powf(0.99)).collect();
    let total: f64 = weights.iter().sum();
    let mut cumulated = 0.0;
    let bounds: Vec<f64> = weights
        .iter()
        .map(|weight| {
            cumulated += weight / total;
            cumulated
        })
        .collect();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let pick = |at: f64| bounds.partition_point(|bound| *bound < at).min(KEYS - 1);
    // The popular keys lie anywhere in memory, not side by side.
    (0..READS).map(|_| name(pick(random()) * 7_919 % KEYS)).collect()
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

/// A hit is ready at its first poll, so no runtime is in the way of the measurement.
fn poll_once<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("a hit had to wait"),
    }
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
