//! What was settled outlives the process.

use super::*;
use lastgood::store::Settle;

fn settling(store: &EmbeddedStore) -> &dyn Settle {
    store.settling().expect("it gathers writes")
}

#[tokio::test]
async fn what_was_settled_is_on_disk_and_that_takes_no_longer_than_a_commit() {
    let setup = Setup::new();
    let (store, _) = setup.open();
    put(&store, "removed", b"value").await;
    settling(&store).settle().await.expect("there is room");
    let mut took = Vec::new();
    for index in 0..20 {
        let began = Instant::now();
        put(&store, &format!("key:{index}"), &value(index)).await;
        store.remove(&["removed".into()]).await.expect("a remove succeeds");
        settling(&store).settle().await.expect("there is room");
        took.push(began.elapsed());
        let copy = setup.directory.path().join(format!("copy{index}.redb"));
        std::fs::copy(setup.path(), &copy).expect("a copy");
        let (copy, _) = EmbeddedStore::open(copy, Clock::system(), ROOM).expect("as after a crash");
        assert_eq!(copy.get(&format!("key:{index}")).await, Ok(Some(value(index).into())));
        assert_eq!(copy.get("removed").await, Ok(None));
    }
    // Gathered, each would take longer.
    assert!(took.iter().min() < Some(&Duration::from_millis(150)), "{took:?}");
}

#[tokio::test]
async fn what_does_not_fit_is_not_settled_until_there_is_room() {
    let disk = Disk::new("8m");
    if !disk.is_small() {
        return;
    }
    let path = disk.path().join("cache.redb");
    let (store, _) = EmbeddedStore::open(&path, Clock::system(), 1 << 30).expect("a new file");
    put(&store, "early", b"value").await;
    settling(&store).settle().await.expect("there is room");
    let ballast = disk.path().join("ballast");
    assert!(std::fs::write(&ballast, vec![1; 8 << 20]).is_err(), "the disk is small");
    put(&store, "late", &vec![7; 1 << 20]).await;
    store.remove(&["early".into()]).await.expect("it is taken note of");
    let settled = settling(&store).settle().await;
    assert!(matches!(settled, Err(StoreError::Refused(_))), "{settled:?}");
    std::fs::remove_file(&ballast).expect("it is there");
    let settles = async {
        while settling(&store).settle().await.is_err() {
            sleep(Duration::from_millis(10)).await
        }
    };
    timeout(Duration::from_secs(20), settles).await.expect("the disk is tried again");
    let copy = disk.path().join("copy.redb");
    std::fs::copy(&path, &copy).expect("a copy");
    let (copy, _) = EmbeddedStore::open(copy, Clock::system(), 1 << 30).expect("as after a crash");
    assert_eq!(copy.get("early").await, Ok(None));
    assert_eq!(copy.get("late").await.map(|value| value.map(|value| value.len())), Ok(Some(1 << 20)));
}
