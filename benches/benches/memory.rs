//! What an entry in memory takes of the process over its key and its value, and how many reads are hits where a tenth of all entries
//! finds room, next to other caches: `cargo bench -p lastgood-benches --bench memory`.

#![expect(clippy::print_stdout, reason = "a program that counts and prints")]

use std::time::Duration;

use bytes::Bytes;
use lastgood::{Cache, Loaded, Policy};
use lastgood_benches::{resident, zipf};

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
    let each = (cache.status().memory_bytes - charged_before) / there as u64;
    drop((cache, region));
    hit_ratios(there.min(100_000), each).await;
}

/// Reads by Zipf's law, each of which puts what it does not find; `each` is what memory charges for an entry. Entries get three
/// quarters of lastgood's limit.
async fn hit_ratios(keys: usize, each: u64) {
    let reads = zipf(keys, 20 * keys);
    let tenth = keys / 10;
    println!("\nhits of {} reads by Zipf's law of {keys} keys, with room for {tenth}", reads.len());
    let line = |what: &str, hits: usize| println!("{what:<40} {:>6.1} %", 100.0 * hits as f64 / reads.len() as f64);

    let room = each * tenth as u64;
    line("lastgood", hits_of_lastgood(&reads, room / 3 * 4).await);
    line("lastgood, of whose limit a quarter is kept", hits_of_lastgood(&reads, room).await);

    let quick = quick_cache::sync::Cache::<usize, ()>::new(tenth);
    let is_hit = |read: &&usize| {
        quick.get(*read).is_some() || {
            quick.insert(**read, ());
            false
        }
    };
    line("quick_cache", reads.iter().filter(is_hit).count());

    let moka = moka::sync::Cache::<usize, ()>::new(tenth as u64);
    let is_hit = |read: &&usize| {
        moka.get(*read).is_some() || {
            moka.insert(**read, ());
            false
        }
    };
    line("moka", reads.iter().filter(is_hit).count());
}

async fn hits_of_lastgood(reads: &[usize], limit: u64) -> usize {
    let cache = Cache::builder().memory_limit(limit).build().expect("a cache");
    let region = cache.region("tickers", Policy::fresh_for(Duration::from_secs(86_400))).expect("a region");
    let mut hits = 0;
    for read in reads {
        match region.peek(&name(*read)) {
            Some(_) => hits += 1,
            None => region.put(&name(*read), Loaded::from(Bytes::from(vec![b'x'; VALUE]))).await,
        }
    }
    hits
}
