//! What waits for the store outlives the process, where there is a file for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lastgood::store::{MemoryStore, Store, StoreError};
use lastgood::testing::{Fault, FaultyStore};
use lastgood::{Cache, Clock, Matches, Mode, Region, Selector};
use lastgood_testing::{Disk, eventually};
use tempfile::TempDir;

use crate::support::{MINUTE, SECOND, Source, a_minute, good, loaded, peeked, region, settle, summary, text};

mod redis;

/// A cache whose selectors are what names begin with, in capital letters.
pub(crate) fn with_file(store: Arc<dyn Store>, clock: &Clock, namespace: &str, file: &Path) -> Cache {
    let selectors = |selector: &str| {
        let meant = selector.to_owned();
        let matches: Matches = Arc::new(move |_: &str, name: &str| name.starts_with(&meant));
        selector.chars().all(|c| c.is_ascii_uppercase()).then_some(matches)
    };
    let builder = Cache::builder().store(store).clock(clock.clone()).namespace(namespace).pending_file(file);
    builder.selectors(Arc::new(selectors)).build().expect("the defaults are sound")
}

/// A store that several processes share, and the folder of one of them.
struct Machine {
    folder: TempDir,
    store: MemoryStore,
    way: Arc<FaultyStore>,
    clock: Clock,
}

impl Machine {
    fn new() -> Machine {
        let clock = Clock::system();
        let store = MemoryStore::new(clock.clone(), 256 << 20);
        let way = FaultyStore::new(Arc::new(store.clone()));
        Machine { folder: tempfile::tempdir().expect("a temporary folder"), store, way, clock }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("data/pending.redb")
    }

    fn start(&self) -> (Cache, Region) {
        let cache = with_file(Arc::clone(&self.way) as _, &self.clock, "lastgood", &self.file());
        let prices = region(&cache, a_minute());
        (cache, prices)
    }

    /// Another process on the same store, which it reaches always.
    fn other(&self) -> (Cache, Region) {
        let cache = crate::support::over(Arc::new(self.store.clone()), &self.clock);
        let prices = region(&cache, a_minute());
        (cache, prices)
    }

    /// Ends a process as a kill does: nothing more is written, here or there.
    async fn kill(&self, cache: Cache, prices: Region) {
        drop((cache, prices));
        // Its tasks end on their own.
        eventually("the file is free", async || {
            settle().await;
            let opened = lastgood::store::EmbeddedStore::open(self.file(), self.clock.clone(), 1 << 20);
            match opened {
                Ok((store, _)) => store.close().await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
    }

    fn fail(&self) {
        self.way.set(Fault::Fail(StoreError::Unavailable("injected".to_owned())));
    }

    async fn stored(&self, name: &str) -> Option<String> {
        let (_cache, prices) = self.other();
        let mut stored = prices.stored(&[name.to_owned()]).await;
        stored.pop().expect("one was asked for").expect("the store answers").as_ref().map(text)
    }
}

fn waiting(cache: &Cache) -> usize {
    cache.status().store.expect("there is a store").unconfirmed_removals
}

/// What the cache has for the name, or the store gives it; no source has anything.
async fn read(prices: &Region, name: &str) -> Option<String> {
    prices.newest(name).await.ok().flatten().as_ref().map(text)
}

#[tokio::test]
async fn what_waits_for_the_store_outlives_the_process_and_is_written_when_the_store_is_back() {
    let machine = Machine::new();
    let (cache, prices) = machine.start();
    let cleared = cache.region("cleared", a_minute()).expect("a sound policy");
    for name in ["removed", "expired", "SWEPT1", "tagged"] {
        let tags = if name == "tagged" { vec!["oil".to_owned()] } else { Vec::new() };
        prices.put(name, lastgood::Loaded { tags, ..loaded("v1") }).await;
    }
    cleared.put("any", loaded("v1")).await;
    assert!(cache.sync(MINUTE).await);
    let names = |data: &Path| std::fs::read_dir(data).expect("a folder").count();
    assert_eq!(names(machine.file().parent().expect("a folder")), 1);
    // What another process has put, this one does not know of.
    let (other, of_other) = machine.other();
    of_other.put("SWEPT2", loaded("v1")).await;
    assert!(other.sync(MINUTE).await);
    machine.fail();
    prices.put("put", loaded("v2")).await;
    prices.remove("removed").await;
    prices.expire("expired").await;
    cleared.clear().await;
    cache.invalidate(&Selector::Tag("oil".to_owned()), Some(Mode::Remove)).await.expect("a change never fails");
    cache.invalidate(&Selector::Text("SWEPT".to_owned()), Some(Mode::Remove)).await.expect("a change never fails");
    let left = cache.confirmed(SECOND).await.expect("the store is away");
    assert!(left.is_on_disk && left.waiting >= 6, "{left:?}");
    drop(cleared);
    machine.kill(cache, prices).await;

    // The store is still away.
    let (cache, prices) = machine.start();
    let cleared = cache.region("cleared", a_minute()).expect("a sound policy");
    assert!(waiting(&cache) >= 6, "{}", waiting(&cache));
    assert_eq!(read(&prices, "put").await.as_deref(), Some("v2"));
    assert_eq!(read(&prices, "removed").await, None);
    let source = Source::answering("v3");
    assert_eq!(read_of(&source, &prices, "put").await, good("v2", "HIT"));
    // It answers again, but was not given anything yet.
    machine.way.heal();
    for name in ["removed", "SWEPT1", "SWEPT2", "tagged"] {
        assert_eq!(read(&prices, name).await, None, "{name}");
    }
    assert_eq!(read(&cleared, "any").await, None);
    let expired = prices.try_stored("expired").await.expect("the store answers");
    assert!(expired.is_none_or(|answer| answer.freshness() == lastgood::Freshness::Kept));

    eventually("all is written", async || waiting(&cache) == 0).await;
    assert_eq!(machine.stored("put").await.as_deref(), Some("v2"));
    for name in ["removed", "SWEPT1", "SWEPT2", "tagged"] {
        assert_eq!(machine.stored(name).await, None, "{name}");
    }
    let (_third, of_third) = machine.other();
    let expired = of_third.try_stored("expired").await.expect("the store answers").expect("it is last good");
    assert_eq!((text(&expired).as_str(), expired.freshness()), ("v1", lastgood::Freshness::Kept));
    let left = machine.store.list("lastgood:cleared:", None, 10).await.expect("it answers").keys;
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(cache.confirmed(SECOND).await, None);
    drop(cleared);
    machine.kill(cache, prices).await;
    let (cache, _prices) = machine.start();
    assert_eq!(waiting(&cache), 0, "nothing is left on disk");
}

async fn read_of(source: &Source, prices: &Region, name: &str) -> Result<(String, &'static str), lastgood::Reason> {
    summary(source.read(prices, name).await)
}

#[tokio::test]
async fn puts_after_a_waiting_sweep_and_entries_it_does_not_name_stay() {
    let machine = Machine::new();
    let (cache, prices) = machine.start();
    for name in ["SWEPT", "SWEPTAGAIN", "other"] {
        prices.put(name, loaded("v1")).await;
    }
    assert!(cache.sync(MINUTE).await);
    machine.fail();
    prices.put("early", loaded("v1")).await;
    // The next process measures the store's clock again: on a busy machine the two may differ by so much.
    let apart = Duration::from_millis(100);
    tokio::time::sleep(apart).await;
    cache.invalidate(&Selector::Text("SWEPT".to_owned()), Some(Mode::Remove)).await.expect("a change never fails");
    tokio::time::sleep(apart).await;
    prices.put("SWEPTAGAIN", loaded("v2")).await;
    assert!(cache.confirmed(SECOND).await.expect("the store is away").is_on_disk);
    machine.kill(cache, prices).await;
    let (cache, prices) = machine.start();
    let expected = [("SWEPT", None), ("SWEPTAGAIN", Some("v2")), ("other", Some("v1")), ("early", Some("v1"))];
    machine.way.heal();
    for (name, body) in expected {
        assert_eq!(read(&prices, name).await.as_deref(), body, "{name}");
    }
    eventually("all is written", async || waiting(&cache) == 0).await;
    for (name, body) in expected {
        assert_eq!(read(&prices, name).await.as_deref(), body, "{name}");
        assert_eq!(machine.stored(name).await.as_deref(), body, "{name}");
    }
}

#[tokio::test]
async fn what_others_changed_while_a_process_was_away_stays() {
    let machine = Machine::new();
    let (cache, prices) = machine.start();
    for name in ["removed", "expired"] {
        prices.put(name, loaded("v1")).await;
    }
    assert!(cache.sync(MINUTE).await);
    machine.fail();
    for name in ["put", "put-and-removed-elsewhere"] {
        prices.put(name, loaded("v2")).await;
    }
    prices.remove("removed").await;
    prices.expire("expired").await;
    assert!(cache.confirmed(SECOND).await.expect("the store is away").is_on_disk);
    machine.kill(cache, prices).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let (other, of_other) = machine.other();
    for name in ["put", "removed", "expired"] {
        of_other.put(name, loaded("v3")).await;
    }
    assert!(other.sync(MINUTE).await);
    let (cache, prices) = machine.start();
    assert_eq!(peeked(&prices, "put"), None, "memory is empty");
    machine.way.heal();
    eventually("all is done", async || waiting(&cache) == 0).await;
    for name in ["put", "removed", "expired"] {
        assert_eq!(machine.stored(name).await.as_deref(), Some("v3"), "{name}");
        eventually("it is served, too", async || read(&prices, name).await.as_deref() == Some("v3")).await;
    }
    let of_other = of_other.try_stored("expired").await.expect("the store answers").expect("it is there");
    assert_eq!(of_other.freshness(), lastgood::Freshness::Fresh);
}

#[tokio::test]
async fn changes_of_another_store_or_namespace_stay_aside_and_are_made_when_it_is_configured_again() {
    let machine = Machine::new();
    let (cache, prices) = machine.start();
    machine.fail();
    prices.put("put", loaded("v1")).await;
    assert!(cache.confirmed(SECOND).await.expect("the store is away").is_on_disk);
    machine.kill(cache, prices).await;
    machine.way.heal();
    // Another namespace of the same store, and another store, which is called something else.
    let folder = machine.folder.path().join("other.redb");
    let (embedded, _) = lastgood::store::EmbeddedStore::open(folder, machine.clock.clone(), 1 << 20).expect("a file");
    let others: [(Arc<dyn Store>, &str); 2] =
        [(Arc::clone(&machine.way) as _, "elsewhere"), (Arc::new(embedded), "lastgood")];
    for (store, namespace) in others {
        let cache = with_file(Arc::clone(&store), &machine.clock, namespace, &machine.file());
        let prices = region(&cache, a_minute());
        assert_eq!((waiting(&cache), read(&prices, "put").await), (0, None), "{store}");
        assert!(store.list("", None, 10).await.expect("it answers").keys.is_empty());
        machine.kill(cache, prices).await;
    }
    let (cache, _prices) = machine.start();
    eventually("it is written", async || waiting(&cache) == 0).await;
    assert_eq!(machine.stored("put").await.as_deref(), Some("v1"));
}

#[tokio::test]
async fn a_change_after_the_store_is_back_never_meets_the_one_that_waited() {
    let machine = Machine::new();
    let (cache, prices) = machine.start();
    machine.fail();
    prices.put("put", loaded("v1")).await;
    assert!(cache.confirmed(SECOND).await.expect("the store is away").is_on_disk);
    machine.way.heal();
    eventually("it is written", async || prices.confirmed(&["put"], SECOND).await.is_none()).await;
    prices.remove("put").await;
    assert_eq!(prices.confirmed(&["put"], SECOND).await, None);
    machine.kill(cache, prices).await;
    let (cache, prices) = machine.start();
    assert_eq!((waiting(&cache), read(&prices, "put").await), (0, None));
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_another_process_s_is_waited_for() {
    let machine = Machine::new();
    std::fs::create_dir_all(machine.file().parent().expect("a folder")).expect("a folder");
    std::fs::write(machine.file(), b"nothing that anybody wrote".repeat(1_000)).expect("a file");
    machine.fail();
    let (first, of_first) = machine.start();
    of_first.put("put", loaded("v1")).await;
    assert!(first.confirmed(SECOND).await.expect("the store is away").is_on_disk);
    let folder = std::fs::read_dir(machine.file().parent().expect("a folder")).expect("a folder");
    let aside = folder.flatten().filter(|file| file.file_name().to_string_lossy().contains(".broken-"));
    assert_eq!(aside.count(), 1);

    let trouble = |cache: &Cache| cache.status().store.expect("there is one").pending_trouble;
    let (second, of_second) = machine.start();
    assert!(trouble(&second).is_some_and(|why| why.contains("another process has it open")), "{:?}", trouble(&second));
    of_second.put("other", loaded("v1")).await;
    let left = second.confirmed(SECOND).await.expect("the store is away");
    assert!(!left.is_on_disk && left.waiting == 1, "{left:?}");
    // Its successor takes up what the first left.
    drop((first, of_first));
    eventually("the file is free", async || trouble(&second).is_none()).await;
    assert_eq!(read(&of_second, "put").await.as_deref(), Some("v1"));
    eventually("its own is on disk", async || second.confirmed(SECOND).await.is_some_and(|left| left.is_on_disk)).await;
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_reported_and_used_again_when_it_does() {
    let disk = Disk::new("16m");
    let machine = Machine::new();
    let file = disk.path().join("pending.redb");
    let cache = with_file(Arc::clone(&machine.way) as _, &machine.clock, "lastgood", &file);
    let prices = region(&cache, lastgood::Policy { compress_over: usize::MAX, ..a_minute() });
    if !disk.is_small() {
        return;
    }
    machine.fail();
    prices.put("small", loaded("v1")).await;
    assert!(prices.confirmed(&["small"], SECOND).await.expect("the store is away").is_on_disk);
    let filler = disk.path().join("filler");
    let mut file = std::fs::File::create(&filler).expect("a file");
    while std::io::Write::write_all(&mut file, &[0; 64 << 10]).is_ok() {}
    drop(file);
    prices.put("large", loaded(&"x".repeat(4 << 20))).await;
    let left = prices.confirmed(&["large"], SECOND).await.expect("the store is away");
    assert!(!left.is_on_disk, "{left:?}");
    assert!(cache.status().store.expect("there is one").pending_trouble.is_some());
    assert_eq!(read(&prices, "large").await.map(|body| body.len()), Some(4 << 20), "it waits in memory");
    std::fs::remove_file(filler).expect("a file");
    eventually("there is room", async || {
        prices.confirmed(&["small", "large"], SECOND).await.is_some_and(|left| left.is_on_disk)
    })
    .await;
    assert_eq!(cache.status().store.expect("there is one").pending_trouble, None);
}

#[tokio::test]
async fn a_store_that_refuses_a_put_is_given_it_when_it_takes_it() {
    let machine = Machine::new();
    let (cache, prices) = machine.start();
    prices.put("put", loaded("v1")).await;
    assert!(cache.sync(MINUTE).await);
    machine.way.set_writes(Fault::Fail(StoreError::Refused("OOM".to_owned())));
    prices.put("put", loaded("v2")).await;
    for _ in 0..3 {
        let left = prices.confirmed(&["put"], SECOND).await.expect("the store refuses");
        assert!(left.is_on_disk && left.why == Some(StoreError::Refused("OOM".to_owned())), "{left:?}");
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    machine.kill(cache, prices).await;
    let (cache, prices) = machine.start();
    assert_eq!(read(&prices, "put").await.as_deref(), Some("v2"));
    machine.way.heal();
    eventually("it is written", async || waiting(&cache) == 0).await;
    assert_eq!(machine.stored("put").await.as_deref(), Some("v2"));
}
