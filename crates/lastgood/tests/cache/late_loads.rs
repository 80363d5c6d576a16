//! Loads of every kind that end after their key was removed, in every way to remove it.

use lastgood::{Keep, Mode, Region, Selector};
use tokio::task::JoinHandle;
use tokio::time::advance;

use crate::support::{HOUR, MINUTE, Source, Stored, a_minute, good, peeked, region, settle, summary};

const NAME: &str = "BTCUSDT";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// A reader waits for it.
    Foreground,
    /// It comes before the freshness ends.
    Early,
    /// Its reader took the last good answer after the soft timeout.
    TimedOut,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Key,
    Tag,
    Region,
    Selector,
    Clear,
}

impl Load {
    async fn begin(self, source: &Source, prices: &Region) -> JoinHandle<()> {
        let (source, prices) = (source.clone(), prices.clone());
        let load = tokio::spawn(async move {
            match self {
                Load::Early => drop(prices.refresh(NAME, HOUR, move || source.load()).await),
                Load::Foreground => drop(source.read(&prices, NAME).await),
                Load::TimedOut => {
                    assert_eq!(summary(source.read(&prices, NAME).await), good("v1", "LAST-GOOD"));
                }
            }
        });
        settle().await;
        load
    }
}

impl Way {
    async fn remove(self, stored: &Stored, prices: &Region) {
        let selector = match self {
            Way::Key => Selector::Key { region: "prices".to_owned(), name: NAME.to_owned() },
            Way::Tag => Selector::Tag("oil".to_owned()),
            Way::Region => Selector::Region("prices".to_owned()),
            Way::Selector => Selector::Text("BTC".to_owned()),
            Way::Clear => {
                prices.clear().await;
                return;
            }
        };
        stored.cache.invalidate(&selector, Some(Mode::Remove)).await.expect("the store answers");
    }
}

#[tokio::test(start_paused = true)]
async fn no_load_in_front_ahead_or_behind_is_kept_after_its_key_tag_region_or_selector_was_removed() {
    for load in [Load::Foreground, Load::Early, Load::TimedOut] {
        for way in [Way::Key, Way::Tag, Way::Region, Way::Selector, Way::Clear] {
            let (stored, source) = (Stored::new(), Source::answering("v1"));
            let prices = region(&stored.cache, a_minute().stale_if_error(Keep::For(HOUR)));
            source.tag("oil");
            if load != Load::Foreground {
                source.read(&prices, NAME).await.expect("it loads");
                stored.flush().await;
            }
            if load == Load::TimedOut {
                advance(2 * MINUTE).await;
            }
            source.pause();
            let begun = load.begin(&source, &prices).await;
            if load == Load::TimedOut {
                begun.await.expect("its reader has the last good answer");
            }
            way.remove(&stored, &prices).await;
            source.set("v2");
            source.resume();
            settle().await;
            stored.flush().await;
            assert_eq!(peeked(&prices, NAME), None, "{load:?} {way:?}");
            assert!(
                !stored.keys().await.iter().any(|key| key.ends_with(NAME)) || matches!(way, Way::Tag),
                "{load:?} {way:?}"
            );
            assert_eq!(summary(source.read(&prices, NAME).await), good("v2", "MISS"), "{load:?} {way:?}");
        }
    }
}
