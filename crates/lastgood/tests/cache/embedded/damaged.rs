//! Files that are damaged, or are no store at all.

use super::*;

#[tokio::test]
async fn a_file_of_anything_else_is_set_aside_and_the_last_three_are_kept() {
    let setup = Setup::new();
    for round in 0..5 {
        std::fs::write(setup.path(), format!("this is no cache, {round}").repeat(1000)).expect("a file");
        let (store, opened) = setup.open();
        let Opened::SetAside(aside) = opened else { panic!("{opened:?}") };
        let kept = std::fs::read_to_string(&aside).expect("the file is kept");
        assert!(kept.starts_with(&format!("this is no cache, {round}")));
        put(&store, "key", b"value").await;
        assert_eq!(store.get("key").await, Ok(Some("value".into())));
        store.close().await.expect("closing succeeds");
    }
    assert_eq!(setup.set_aside().len(), 3);
}

#[tokio::test]
async fn a_truncated_file_is_set_aside_or_serves_only_true_values() {
    for keep_percent in [0, 1, 30, 60, 90, 99] {
        let setup = Setup::new();
        setup.filled().await;
        let file = std::fs::OpenOptions::new().write(true).open(setup.path()).expect("a file");
        let length = file.metadata().expect("it has a length").len();
        file.set_len(length * keep_percent / 100).expect("it can be cut");
        assert_serves_only_true_values(&setup).await;
    }
}

#[tokio::test]
async fn a_file_with_damaged_pages_is_set_aside_or_serves_only_true_values() {
    for start in (0..10).map(|tenth| tenth as f64 / 10.0) {
        let setup = Setup::new();
        setup.filled().await;
        let file = std::fs::OpenOptions::new().write(true).open(setup.path()).expect("a file");
        let length = file.metadata().expect("it has a length").len();
        let at = (length as f64 * start) as u64;
        file.write_all_at(&vec![0xA5; (length / 10) as usize], at).expect("it can be overwritten");
        assert_serves_only_true_values(&setup).await;
    }
}

#[tokio::test]
async fn a_value_with_a_flipped_byte_is_no_value_and_a_put_mends_it() {
    let setup = Setup::new();
    setup.filled().await;
    let mut bytes = std::fs::read(setup.path()).expect("a file");
    let starts = bytes.windows(2_000).enumerate().filter(|(_, window)| **window == value(77)[..]);
    let starts: Vec<usize> = starts.map(|(start, _)| start).collect();
    assert!(!starts.is_empty(), "the value is in the file as it is");
    for start in starts {
        bytes[start + 1_000] ^= 1;
    }
    std::fs::write(setup.path(), bytes).expect("it can be written");
    let (store, opened) = setup.open();
    assert_eq!(opened, Opened::Existing, "nothing else is wrong with it");
    assert_eq!(store.get("key:77").await, Ok(None));
    assert_eq!(store.get("key:78").await, Ok(Some(value(78).into())));
    put(&store, "key:77", b"new").await;
    store.close().await.expect("closing succeeds");
    assert_eq!(setup.open().0.get("key:77").await, Ok(Some("new".into())));
}

/// Whatever is in the file: it opens, no call panics, what it gives out was once put in, and it takes new values.
async fn assert_serves_only_true_values(setup: &Setup) {
    let (store, opened) = setup.open();
    for index in 0..100 {
        let answer = store.get(&format!("key:{index}")).await;
        let fine = match &answer {
            Ok(Some(found)) => *found == value(index),
            Ok(None) | Err(StoreError::Unavailable(_)) => true,
            Err(_) => false,
        };
        assert!(fine, "{opened:?}: {answer:?}");
    }
    _ = store.list("key:", None, 1000).await;
    until(async || store.put("new", "value".into(), HOUR).await, Result::is_ok).await;
    sleep(Duration::from_millis(300)).await;
    until(async || store.get("new").await, |answer| *answer == Ok(Some("value".into()))).await;
    _ = store.close().await;
}

#[tokio::test]
async fn a_file_damaged_while_it_is_open_costs_values_but_never_the_store() {
    let setup = Setup::new();
    let (store, _) = setup.open();
    // More than redb keeps in memory, else it would not notice.
    let value = |index: usize| vec![index as u8; 400_000];
    for index in 0..100 {
        put(&store, &format!("key:{index}"), &value(index)).await;
    }
    store.close().await.expect("closing succeeds");
    let (store, opened) = setup.open();
    assert_eq!(opened, Opened::Existing);
    let file = std::fs::OpenOptions::new().write(true).open(setup.path()).expect("a file");
    let length = file.metadata().expect("it has a length").len();
    file.write_all_at(&vec![0xA5; length as usize], 0).expect("it can be overwritten");
    for index in 0..100 {
        let answer = timeout(PATIENCE, store.get(&format!("key:{index}"))).await.expect("no call hangs");
        assert!(!matches!(&answer, Ok(Some(found)) if *found != value(index)), "{answer:?}");
    }
    for round in 0..5 {
        let key = format!("new:{round}");
        until(async || store.put(&key, "value".into(), HOUR).await, Result::is_ok).await;
        sleep(Duration::from_millis(200)).await;
        until(async || store.get(&key).await, |answer| *answer == Ok(Some("value".into()))).await;
    }
    assert!(!setup.set_aside().is_empty(), "the damaged file was set aside");
    store.close().await.expect("closing succeeds");
    let (store, opened) = setup.open();
    assert_eq!((opened, store.get("new:4").await), (Opened::Existing, Ok(Some("value".into()))));
}
