//! What the memory limit bounds: all that the process takes, not only what it was given to keep.

use bytes::Bytes;
use lastgood::{Answer, Cache, Loaded, Region, Value};

use crate::support::{a_minute, region};

const LIMIT: u64 = 32 << 20;
/// What the allocator may keep of what was freed in small pieces; and what the test itself takes.
const MARGIN: u64 = LIMIT / 2 + (4 << 20);

/// What this process takes of the machine's memory. Each test has a process of its own.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4_096
}

/// Something as large as what gateways derive of a small value.
fn derive(answer: &Answer) {
    let memoised = answer.memoised(|value| std::sync::Arc::new(([0u8; 200], value.body.len().to_string())));
    assert!(!memoised.1.is_empty());
}

async fn fill(prices: &Region, count: usize, name: impl Fn(usize) -> String, body: impl Fn(usize) -> Loaded) {
    for number in 0..count {
        let name = name(number);
        prices.put(&name, body(number)).await;
        if let Some(answer) = prices.peek(&name) {
            derive(&answer);
        }
    }
}

/// A slice of a larger buffer, as bytes read from a connection are.
fn cut_out(bytes: usize) -> Loaded {
    Loaded::from(
        Value::new(Bytes::from(vec![b'x'; bytes + (4 << 10)]).slice(100..100 + bytes)).with_meta("application/json"),
    )
}

#[tokio::test]
async fn whatever_is_kept_the_process_takes_no_more_than_the_limit_and_a_margin() {
    let cache = Cache::builder().memory_limit(LIMIT).build().expect("the limit is sound");
    let prices = region(&cache, a_minute());
    let before = resident();
    let taken = |what: &str| {
        let taken = resident().saturating_sub(before);
        let counted = cache.status().memory_bytes;
        assert!(taken <= LIMIT + MARGIN, "{what}: {taken} bytes taken, {counted} counted");
        taken
    };
    fill(&prices, 100_000, |number| format!("s{number}"), |_| cut_out(20)).await;
    let small = taken("small values");
    assert!(small > LIMIT / 2, "the room is used: {small}");
    fill(&prices, 40_000, |number| format!("{}{number}", "l".repeat(900)), |_| cut_out(20)).await;
    taken("long names");
    fill(&prices, 60_000, |number| format!("m{number}"), |number| cut_out(number % 3_000)).await;
    taken("values of all sizes");
    let tagged =
        |number: usize| Loaded { tags: (0..8).map(|tag| format!("tag{tag}:{number}")).collect(), ..cut_out(20) };
    fill(&prices, 60_000, |number| format!("t{number}"), tagged).await;
    taken("values with tags");
    fill(&prices, 200, |number| format!("b{number}"), |_| cut_out(1 << 20)).await;
    taken("large values");
    fill(&prices, 100_000, |number| format!("z{number}"), |_| cut_out(20)).await;
    taken("small values after large ones");
}
