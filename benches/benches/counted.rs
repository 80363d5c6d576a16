//! Hits in process, to be counted under callgrind, which counts what this program does in `hits` or in `quick_cache_alone`:
//!
//! ```sh
//! cargo bench -p lastgood-benches --bench counted --no-run
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect=counted::hits target/release/deps/counted-* --bench KEYS BYTES
//! ```
//!
//! The count is of 20,000 hits. Each key was read before, and something is memoised with each value.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lastgood::{Cache, Loaded, Policy, Region};
use lastgood_benches::{poll_once, zipf};
use quick_cache::sync::Cache as QuickCache;

const HITS: usize = 20_000;

/// A 100-character name, as long as a klines key.
fn name(number: usize) -> String {
    format!("spot/api/v3/klines?interval=1m&symbol=SYMBOL{number:05}&{:0>width$}", "", width = 49)
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let (keys, bytes) = (numbers.first().copied().unwrap_or(10), numbers.get(1).copied().unwrap_or(141));
    let value = || Bytes::from(vec![b'x'; bytes]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let cache = Cache::builder().memory_limit(4 << 30).build().expect("a cache");
    let region = cache.region("klines", Policy::fresh_for(Duration::from_secs(86_400))).expect("a region");
    let alone = QuickCache::new(2 * keys.max(1_000));
    runtime.block_on(async {
        for number in 0..keys {
            let name = name(number);
            region.put(&name, Loaded::from(value())).await;
            region.peek(&name).expect("it was put").memoised(|value| value.body.len());
            alone.insert(Arc::from(name.as_str()), Arc::new(value()));
        }
    });
    let names: Vec<String> = zipf(keys, HITS).into_iter().map(|rank| name(rank * 7_919 % keys)).collect();
    hits(&region, &names);
    quick_cache_alone(&alone, &names);
}

#[inline(never)]
fn hits(region: &Region, names: &[String]) {
    for name in names {
        let answer = poll_once(region.get_or_load(name, || async { Ok(Loaded::from(Bytes::new())) }));
        std::hint::black_box(answer.expect("a hit"));
    }
}

#[inline(never)]
fn quick_cache_alone(cache: &QuickCache<Arc<str>, Arc<Bytes>>, names: &[String]) {
    for name in names {
        std::hint::black_box(cache.get(name.as_str()).expect("a hit"));
    }
}
