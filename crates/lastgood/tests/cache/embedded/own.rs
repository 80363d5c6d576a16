//! What an answer of before a start is worth after it.

use std::sync::Arc;

use lastgood::{Cache, Outcome, Tier};

use super::*;
use crate::support::{Source, a_minute, over, region};

fn cache_over(setup: &Setup) -> Cache {
    over(Arc::new(setup.open().0), &Clock::system())
}

#[tokio::test]
async fn an_answer_of_before_a_start_is_found_in_the_file() {
    let (setup, source) = (Setup::new(), Source::answering("1"));
    let cache = cache_over(&setup);
    source.read(&region(&cache, a_minute()), "BTCUSDT").await.expect("it loads");
    assert!(cache.sync(PATIENCE).await);
    cache.close(PATIENCE).await.expect("closing succeeds");
    drop(cache);
    let cache = cache_over(&setup);
    let found = source.read(&region(&cache, a_minute()), "BTCUSDT").await.expect("the file has it");
    assert_eq!((found.outcome(), source.loads()), (Outcome::Hit(Tier::Store), 1));
}
