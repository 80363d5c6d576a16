//! What ten thousand keys cost.

use super::*;

#[tokio::test(start_paused = true)]
async fn ten_thousand_unknown_keys_take_no_room() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    let source = Source::failing(Reason::NotFound);
    for number in 0..10_000 {
        assert_eq!(summary(source.read(&prices, &format!("UNKNOWN{number}")).await), Err(Reason::NotFound));
    }
    let status = cache.status();
    assert_eq!((status.memory_bytes, status.loads, source.loads()), (0, 0, 10_000));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_large_answers_stay_within_the_memory_limit() {
    let limit = 16 << 20;
    let builder = Cache::builder().memory_limit(limit).clock(Clock::paused_with_tokio());
    let cache = builder.build().expect("the limit is sound");
    let prices = region(&cache, a_minute());
    let body = "x".repeat(64 << 10);
    for number in 0..10_000 {
        prices.put(&number.to_string(), loaded(&body)).await;
        assert!(cache.status().memory_bytes <= limit);
    }
    assert!(cache.status().memory_bytes > limit / 2, "the room is used");
}
