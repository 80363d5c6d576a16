//! What the embedded store survives.

#![expect(clippy::print_stdout, reason = "measured times are for the reader of the output")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use lastgood::clock::Clock;
use lastgood::store::{EmbeddedStore, Opened, Store, StoreError};
use lastgood_testing::Disk;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

mod damaged;
mod own;
mod settle;

const HOUR: Duration = Duration::from_secs(3600);
const ROOM: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(20);
/// Tells a test that it runs as the child of another, and where its file is.
const CHILD: &str = "LASTGOOD_TEST_CHILD";

struct Setup {
    directory: TempDir,
}

impl Setup {
    fn new() -> Self {
        Setup { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("cache.redb")
    }

    fn open(&self) -> (EmbeddedStore, Opened) {
        EmbeddedStore::open(self.path(), Clock::system(), ROOM).expect("the file can be opened")
    }

    /// A closed file with a hundred values.
    async fn filled(&self) {
        let (store, _) = self.open();
        for index in 0..100 {
            put(&store, &format!("key:{index}"), &value(index)).await;
        }
        store.close().await.expect("closing succeeds");
    }

    fn set_aside(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("cache.redb.broken-")).collect();
        names.sort();
        names
    }
}

fn value(index: usize) -> Vec<u8> {
    vec![index as u8; 2_000]
}

async fn put(store: &EmbeddedStore, key: &str, value: &[u8]) {
    store.put(key, Bytes::copy_from_slice(value), HOUR).await.expect("a put succeeds");
}

async fn until<T: std::fmt::Debug>(mut ask: impl AsyncFnMut() -> T, wanted: impl Fn(&T) -> bool) {
    let start = Instant::now();
    loop {
        let answer = ask().await;
        if wanted(&answer) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "still {answer:?} after {PATIENCE:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Runs the test `name` of this binary as a child process under `shell`, which ends in `"$0" "$@"`.
fn spawn_child(shell: &str, name: &str, path: &Path) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new("sh")
        .args(["-c", shell])
        .arg(std::env::current_exe().expect("a test binary"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test binary starts");
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    (child, output)
}

fn wait_for_line(output: &mut impl BufRead, wanted: &str) {
    let mut lines = String::new();
    while !lines.contains(wanted) {
        let read = output.read_line(&mut lines).expect("the child prints text");
        assert!(read > 0, "the child ended before it printed {wanted:?}:\n{lines}");
    }
}

fn say(line: &str) {
    println!("\n{line}");
    std::io::stdout().flush().expect("stdout is there");
}

#[tokio::test]
async fn a_closed_file_is_found_again_with_all_that_it_held() {
    let setup = Setup::new();
    let (store, opened) = setup.open();
    assert_eq!(opened, Opened::New);
    assert_eq!(store.to_string(), format!("embedded:{}", setup.path().display()));
    drop(store);
    let setup = Setup::new();
    setup.filled().await;
    let (store, opened) = setup.open();
    assert_eq!(opened, Opened::Existing);
    for index in 0..100 {
        assert_eq!(store.get(&format!("key:{index}")).await, Ok(Some(value(index).into())));
    }
    store.remove(&["key:0".into()]).await.expect("a remove succeeds");
    store.close().await.expect("closing succeeds");
    assert_eq!(setup.open().0.get("key:0").await, Ok(None), "a remove is kept as well");
}

#[tokio::test]
async fn a_write_is_on_disk_soon_and_stays_readable_from_there() {
    let setup = Setup::new();
    let (store, _) = setup.open();
    put(&store, "key", b"first").await;
    sleep(Duration::from_millis(400)).await;
    assert_eq!(store.get("key").await, Ok(Some("first".into())));
    put(&store, "key", b"second").await;
    assert_eq!(store.get("key").await, Ok(Some("second".into())), "the pending write is the newer");
    assert_eq!(store.remove(&["key".into()]).await, Ok(1));
    assert_eq!(store.get("key").await, Ok(None));
}

#[tokio::test]
async fn a_count_of_removed_values_is_right_in_the_moment_of_the_commit() {
    let setup = Setup::new();
    let (store, _) = setup.open();
    for round in 0..20 {
        put(&store, "key", b"value").await;
        sleep(Duration::from_millis(140 + round % 20)).await;
        assert_eq!(store.remove(&["key".into(), "key".into()]).await, Ok(1), "round {round}");
        assert_eq!(store.get("key").await, Ok(None));
    }
}

#[tokio::test]
async fn a_file_in_use_is_unavailable_and_says_what_to_do() {
    let setup = Setup::new();
    let (store, _) = setup.open();
    put(&store, "key", b"value").await;
    let second = EmbeddedStore::open(setup.path(), Clock::system(), ROOM).map(|_| ()).expect_err("it is locked");
    assert!(matches!(&second, StoreError::Unavailable(why) if why.contains("another process")), "{second}");
    assert_eq!(store.get("key").await, Ok(Some("value".into())), "the first goes on");
    store.close().await.expect("closing succeeds");
    assert_eq!(setup.open().1, Opened::Existing, "and nothing was set aside");
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_unavailable_and_says_so() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    std::fs::write(&file, "not a directory").expect("a file");
    let below_a_file = EmbeddedStore::open(file.join("cache.redb"), Clock::system(), ROOM).map(|_| ());
    let read_only = directory.path().join("read-only");
    std::fs::create_dir(&read_only).expect("a directory");
    std::fs::set_permissions(&read_only, PermissionsExt::from_mode(0o555)).expect("it can be protected");
    let mut answers = vec![below_a_file];
    // The superuser may write there all the same.
    if std::fs::write(read_only.join("probe"), "").is_err() {
        answers.push(EmbeddedStore::open(read_only.join("cache.redb"), Clock::system(), ROOM).map(|_| ()));
    }
    for answer in answers {
        assert!(matches!(&answer, Err(StoreError::Unavailable(why)) if why.contains("cannot open")), "{answer:?}");
    }
}

#[tokio::test]
async fn a_full_store_gives_up_what_expires_first_and_stays_within_its_bound() {
    let setup = Setup::new();
    let most = 1_000_000;
    let (store, _) = EmbeddedStore::open(setup.path(), Clock::system(), most).expect("a new file");
    for index in 0..300_u64 {
        let ttl = HOUR + Duration::from_secs(index);
        store.put(&format!("key:{index:03}"), vec![1; 10_000].into(), ttl).await.expect("a put succeeds");
    }
    until(async || store.probe().await.expect("it answers").bytes, |bytes| bytes.is_some_and(|it| it <= most)).await;
    let keys = store.list("key:", None, 1000).await.expect("a listing succeeds").keys;
    assert!((80..100).contains(&keys.len()), "{} are left", keys.len());
    assert!(keys.iter().all(|key| key.as_str() >= "key:200"), "the last to expire are left: {keys:?}");
    let refused = store.put("large", vec![0; 1_000_001].into(), HOUR).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn expired_values_are_swept_from_the_file() {
    let setup = Setup::new();
    let (store, _) = setup.open();
    for index in 0..500 {
        let ttl = Duration::from_millis(300);
        store.put(&format!("key:{index}"), vec![1; 1_000].into(), ttl).await.expect("a put succeeds");
    }
    sleep(Duration::from_millis(600)).await;
    // The next commits remove expired rows, a bounded number of rows each.
    let removed = async || {
        put(&store, "other", b"value").await;
        store.probe().await.expect("it answers").bytes
    };
    until(removed, |bytes| bytes.is_some_and(|bytes| bytes < 10_000)).await;
}

#[tokio::test]
async fn many_large_writes_at_once_wait_for_the_disk_and_all_arrive() {
    let setup = Setup::new();
    let (store, _) = EmbeddedStore::open(setup.path(), Clock::system(), 1 << 30).expect("a new file");
    let value = Bytes::from(vec![7; 8 << 20]);
    for index in 0..16 {
        let key = format!("key:{index}");
        until(async || store.put(&key, value.clone(), HOUR).await, Result::is_ok).await;
    }
    for index in 0..16 {
        let read = store.get(&format!("key:{index}")).await.expect("it answers");
        assert!(read.as_ref() == Some(&value), "value {index} is there");
    }
    store.close().await.expect("closing succeeds");
}

#[tokio::test]
async fn a_kill_in_the_midst_of_writing_loses_at_most_the_last_batch() {
    let setup = Setup::new();
    let (mut child, mut output) =
        spawn_child(r#"exec "$0" "$@""#, "embedded::child_that_writes_until_it_is_killed", &setup.path());
    wait_for_line(&mut output, "settled");
    wait_for_line(&mut output, "written 300");
    child.kill().expect("it can be killed");
    child.wait().expect("it was there");
    let (store, opened) = setup.open();
    assert_eq!(opened, Opened::Existing);
    let mut later = Vec::new();
    for index in 0..100 {
        assert_eq!(store.get(&format!("settled:{index}")).await, Ok(Some(value(index).into())));
    }
    for index in 0..300 {
        let answer = store.get(&format!("later:{index}")).await.expect("it answers");
        assert!(answer.as_ref().is_none_or(|found| *found == value(index)), "whole or not at all");
        later.push(answer.is_some());
    }
    assert!(later.is_sorted_by(|before, after| before >= after), "nothing is there without what came before it");
    println!("{} of 300 writes in flight were kept", later.iter().filter(|there| **there).count());
    put(&store, "new", b"value").await;
    store.close().await.expect("closing succeeds");
}

#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let (store, _) = EmbeddedStore::open(path, Clock::system(), ROOM).expect("a new file");
    for index in 0..100 {
        put(&store, &format!("settled:{index}"), &value(index)).await;
    }
    sleep(Duration::from_millis(800)).await;
    say("settled");
    for index in 0.. {
        put(&store, &format!("later:{index}"), &value(index)).await;
        if index == 300 {
            say("written 300");
        }
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_serves_reads_and_is_written_again_when_there_is_room() {
    let setup = Setup::new();
    let limited = r#"trap "" XFSZ; ulimit -S -f 8000; exec "$0" "$@""#;
    let (mut child, mut output) = spawn_child(limited, "embedded::child_on_a_full_disk", &setup.path());
    wait_for_line(&mut output, "refused");
    let freed = Command::new("prlimit").args(["--pid", &child.id().to_string(), "--fsize=unlimited"]).status();
    assert!(freed.is_ok_and(|status| status.success()), "this test needs `prlimit` (Debian: util-linux)");
    wait_for_line(&mut output, "written again");
    assert!(child.wait().expect("it was there").success());
    let (store, opened) = setup.open();
    assert_eq!((opened, store.get("again").await), (Opened::Existing, Ok(Some("value".into()))));
}

#[tokio::test]
async fn child_on_a_full_disk() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let (store, _) = EmbeddedStore::open(path, Clock::system(), 1 << 30).expect("a new file");
    put(&store, "early", b"value").await;
    sleep(Duration::from_millis(400)).await;
    for index in 0.. {
        match store.put(&format!("key:{index}"), vec![index as u8; 100_000].into(), HOUR).await {
            Ok(()) => sleep(Duration::from_millis(10)).await,
            Err(StoreError::Refused(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    for _ in 0..100 {
        let early = store.get("early").await;
        assert_eq!(early, Ok(Some("value".into())), "reads go on");
        let put = store.put("refused", "value".into(), HOUR).await;
        assert!(matches!(put, Err(StoreError::Refused(_))), "{put:?}");
        assert!(matches!(store.trouble(), Some(StoreError::Refused(_))) && store.probe().await.is_err());
        sleep(Duration::from_millis(20)).await;
    }
    say("refused");
    until(async || store.put("again", "value".into(), HOUR).await, Result::is_ok).await;
    assert!(store.trouble().is_none() && store.probe().await.is_ok());
    store.close().await.expect("closing succeeds");
    say("written again");
}

#[tokio::test]
async fn the_file_of_a_read_only_disk_is_read_and_is_written_again_when_it_can_be() {
    let disk = Disk::new("32m");
    let path = disk.path().join("data/cache.redb");
    let (store, _) = EmbeddedStore::open(&path, Clock::system(), ROOM).expect("a new file");
    for index in 0..10 {
        put(&store, &format!("key:{index}"), &value(index)).await;
    }
    store.close().await.expect("closing succeeds");
    drop(store);
    disk.set_read_only(true);
    let (store, opened) = EmbeddedStore::open(&path, Clock::system(), ROOM).expect("it can be read");
    assert_eq!(opened, Opened::ReadOnly);
    for _ in 0..3 {
        assert_eq!(store.get("key:3").await, Ok(Some(value(3).into())));
        assert_eq!(store.list("key:", None, 100).await.expect("a list").keys.len(), 10);
        let refused = store.put("new", "value".into(), HOUR).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
        assert!(store.trouble().is_some() && store.probe().await.is_err());
        sleep(Duration::from_millis(600)).await;
    }
    disk.set_read_only(false);
    until(async || store.put("new", "value".into(), HOUR).await, Result::is_ok).await;
    assert_eq!((store.trouble(), store.get("key:3").await), (None, Ok(Some(value(3).into()))));
    store.close().await.expect("closing succeeds");
    drop(store);
    let (store, opened) = EmbeddedStore::open(&path, Clock::system(), ROOM).expect("the file is whole");
    assert_eq!((opened, store.get("new").await), (Opened::Existing, Ok(Some("value".into()))));
}

#[tokio::test]
async fn a_small_disk_that_is_full_is_trouble_and_serves_what_it_has() {
    let disk = Disk::new("3m");
    if !disk.is_small() {
        // Another user's disk is filled by a limit on files: `a_full_disk_refuses_writes…`.
        return;
    }
    let path = disk.path().join("cache.redb");
    let (store, _) = EmbeddedStore::open(&path, Clock::system(), 1 << 30).expect("a new file");
    put(&store, "early", b"value").await;
    sleep(Duration::from_millis(400)).await;
    let fill = async || store.put("large", vec![7; 4 << 20].into(), HOUR).await;
    until(fill, |answer| matches!(answer, Err(StoreError::Refused(_)))).await;
    assert!(matches!(store.trouble(), Some(StoreError::Refused(_))), "{:?}", store.trouble());
    until(async || store.get("early").await, |answer| *answer == Ok(Some("value".into()))).await;
}

#[tokio::test]
async fn the_file_and_its_directory_are_their_owner_s_alone() {
    let setup = Setup::new();
    let path = setup.directory.path().join("new/deep/cache.redb");
    let (store, _) = EmbeddedStore::open(&path, Clock::system(), ROOM).expect("a new file");
    put(&store, "key", b"value").await;
    store.close().await.expect("closing succeeds");
    let rights = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let directory = path.parent().expect("a directory");
    assert_eq!((rights(&path), rights(directory), rights(directory.parent().expect("another"))), (0o600, 0o700, 0o700));
}
