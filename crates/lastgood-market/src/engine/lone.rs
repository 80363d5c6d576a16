//! Whether a snapshot of all symbols serves one symbol alone. Then that symbol is loaded by itself, for half the weight.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lastgood::{Clock, Timestamp};

use crate::line::Line;

/// For how long no other question may have needed the snapshot.
const ALONE_AFTER: Duration = Duration::from_secs(60);

/// Which question needed each snapshot last. Only loads are noted, so that a hit costs nothing.
pub(super) struct LoneSymbols {
    by_snapshot: Mutex<HashMap<String, Needed>>,
    clock: Clock,
}

struct Needed {
    by: String,
    /// Since when no other question needed it.
    since: Timestamp,
}

impl LoneSymbols {
    pub(super) fn new(clock: Clock) -> LoneSymbols {
        LoneSymbols { by_snapshot: Mutex::default(), clock }
    }

    /// Notes that the answer to a question is to be loaded, and says whether it is best loaded by itself.
    pub(super) fn is_alone(&self, line: &Line) -> bool {
        let (question, snapshot) = (line.question(), line.load());
        let is_of_snapshot = question.key != snapshot.key;
        let mut by_snapshot = self.by_snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        match by_snapshot.get_mut(&snapshot.key) {
            Some(needed) if needed.by == question.key => {
                question.weight < snapshot.weight && now.since(needed.since) >= ALONE_AFTER
            }
            Some(needed) => {
                *needed = Needed { by: question.key.clone(), since: now };
                false
            }
            // There are a few snapshots for each venue, and more questions that are no snapshot's than there is room for.
            None if is_of_snapshot => {
                by_snapshot.insert(snapshot.key.clone(), Needed { by: question.key.clone(), since: now });
                false
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::{Identities, Plan, Request, Venue, plan};

    fn line(path: &str, query: &str) -> Line {
        match plan(&Identities::public(), Venue::Spot, Request { is_get: true, path, query, ..Request::default() }) {
            Plan::Cached(line) => line,
            other => panic!("{path}?{query}: {other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_symbol_is_alone_once_no_other_was_loaded_for_a_while() {
        let lone = LoneSymbols::new(Clock::paused_with_tokio());
        let price = |query: &str| lone.is_alone(&line("/api/v3/ticker/price", query));
        assert!(!price("symbol=BTCUSDT"), "another may follow");
        advance(ALONE_AFTER).await;
        assert!(price("symbol=BTCUSDT") && price("symbol=BTCUSDT"));
        assert!(!lone.is_alone(&line("/api/v3/ticker/bookTicker", "symbol=BTCUSDT")), "another snapshot");
        for other in ["symbol=ETHUSDT", ""] {
            assert!(!price(other), "{other}");
            assert!(!price("symbol=BTCUSDT"), "after {other}");
            advance(ALONE_AFTER - Duration::from_millis(1)).await;
            assert!(!price("symbol=BTCUSDT"), "shortly after {other}");
            advance(Duration::from_millis(1)).await;
            assert!(price("symbol=BTCUSDT"), "long after {other}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_costs_no_less_by_itself_is_never_alone_and_only_snapshots_take_room() {
        let lone = LoneSymbols::new(Clock::paused_with_tokio());
        for (path, query) in [
            ("/api/v3/exchangeInfo", "symbol=BTCUSDT"),
            ("/api/v3/ticker/price", ""),
            ("/api/v3/avgPrice", "symbol=BTCUSDT"),
            ("/api/v3/depth", "symbol=BTCUSDT&limit=5"),
        ] {
            assert!(!lone.is_alone(&line(path, query)));
            advance(2 * ALONE_AFTER).await;
            assert!(!lone.is_alone(&line(path, query)), "{path}");
        }
        let held: Vec<String> = lone.by_snapshot.lock().unwrap().keys().cloned().collect();
        assert_eq!(held, ["spot/api/v3/exchangeInfo?"]);
    }
}
