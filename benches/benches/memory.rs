//! What an entry in memory takes of the process over its key and its value: `cargo bench -p lastgood-benches --bench memory`.

#![expect(clippy::print_stdout, reason = "a program that counts and prints")]

use std::time::Duration;

use bytes::Bytes;
use lastgood::{Cache, Loaded, Policy};
use lastgood_benches::resident;

const VALUE: usize = 141;

/// As long as the key of a ticker.
fn name(number: usize) -> String {
    format!("spot/api/v3/ticker/price?symbol=SYMBOL{number:07}")
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo test` runs benches too, to see that they work; it passes no `--bench`.
    let counts: &[usize] =
        if std::env::args().any(|argument| argument == "--bench") { &[1_000, 100_000, 1_000_000] } else { &[10] };
    let cache = Cache::builder().memory_limit(4 << 30).build().expect("a cache");
    let region = cache.region("tickers", Policy::fresh_for(Duration::from_secs(86_400))).expect("a region");
    let (before, charged_before) = (resident(), cache.status().memory_bytes);
    let own = name(0).len() + VALUE;
    println!("values of {VALUE} bytes, keys of {}; bytes over both\n", name(0).len());
    println!("{:>10} {:>14} {:>22}", "entries", "an entry takes", "memory.limit counts it");
    let mut there = 0;
    for &count in counts {
        for number in there..count {
            region.put(&name(number), Loaded::from(Bytes::from(vec![b'x'; VALUE]))).await;
        }
        there = count;
        let over = |bytes: u64| bytes as f64 / count as f64 - own as f64;
        let (taken, charged) = (resident() - before, cache.status().memory_bytes - charged_before);
        println!("{count:>10} {:>14.0} {:>22.0}", over(taken), over(charged));
    }
}
