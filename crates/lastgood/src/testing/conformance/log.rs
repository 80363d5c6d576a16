//! The contract of [`Log`].

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join, join_all};

use crate::store::{KEPT_RECORDS, Log, Position, Store, Tail};

const NAME: &str = "conformance:log";
/// Longer than any store needs to answer.
const WAIT: Duration = Duration::from_secs(20);

/// Runs every clause of the contract of logs but that of their length against the log of `store`.
///
/// # Panics
///
/// When the store has no log, or breaks a clause; the message says which.
pub async fn run_log(store: &dyn Store) {
    let log = store.log().expect("the store has a log");
    the_time_is_answered_and_goes_on(store).await;
    an_empty_log_has_no_end_and_nothing_to_read(log).await;
    records_are_read_in_order_and_once(log).await;
    every_reader_has_a_place_of_its_own(log).await;
    a_reader_who_waits_is_answered_by_the_next_record(log).await;
    the_end_is_known_while_a_reader_waits(log).await;
    what_many_append_at_once_is_all_there(log).await;
    a_reader_that_missed_a_whole_log_finds_out(store, log).await;
    logs_of_other_names_are_others(log).await;
}

async fn the_time_is_answered_and_goes_on(store: &dyn Store) {
    let now = async || store.now().await.expect("the time").expect("those who share a store share a clock");
    let before = now().await;
    assert!(now().await >= before, "it never runs backwards");
}

/// Runs the clause of their length: some 15,000 calls.
///
/// # Panics
///
/// As [`run_log`].
pub async fn run_long_log(store: &dyn Store) {
    let log = store.log().expect("the store has a log");
    append(log, "the first").await;
    a_reader_that_missed_trimmed_records_finds_out(log).await;
    store.remove(&[NAME.to_owned()]).await.expect("a log is removed like a key");
}

async fn append(log: &dyn Log, record: &str) {
    log.append(NAME, Bytes::copy_from_slice(record.as_bytes())).await.expect("a record is taken");
}

async fn end(log: &dyn Log) -> Option<Position> {
    log.end(NAME).await.expect("the end is known")
}

async fn tail(log: &dyn Log, after: Option<&Position>) -> Tail {
    log.read(NAME, after, Duration::ZERO).await.expect("the log is read")
}

/// All records after a place, page by page.
async fn all(log: &dyn Log, after: Option<&Position>) -> (Vec<String>, Option<Position>) {
    let (mut records, mut place) = (Vec::new(), after.cloned());
    loop {
        let page = tail(log, place.as_ref()).await;
        assert!(page.is_complete, "nothing is missing after {after:?}");
        if page.records.is_empty() {
            return (records, place);
        }
        records.extend(page.records.iter().map(|record| String::from_utf8_lossy(record).into_owned()));
        place = page.end;
    }
}

async fn an_empty_log_has_no_end_and_nothing_to_read(log: &dyn Log) {
    assert_eq!(end(log).await, None, "an empty log has no last record");
    assert_eq!(tail(log, None).await, Tail { records: Vec::new(), end: None, is_complete: true });
}

async fn records_are_read_in_order_and_once(log: &dyn Log) {
    let odd = "spaces, \r\n, \u{0} and 币安人生";
    for record in ["first", odd, "", "last"] {
        append(log, record).await;
    }
    let (records, place) = all(log, None).await;
    assert_eq!(records, ["first", odd, "", "last"]);
    assert_eq!(place, end(log).await, "after the last record is the end");
    assert_eq!(all(log, place.as_ref()).await.0, [""; 0], "each is read once");
}

async fn every_reader_has_a_place_of_its_own(log: &dyn Log) {
    let early = end(log).await;
    append(log, "one").await;
    let late = end(log).await;
    append(log, "two").await;
    assert_eq!(all(log, early.as_ref()).await.0, ["one", "two"]);
    assert_eq!(all(log, late.as_ref()).await.0, ["two"]);
}

async fn a_reader_who_waits_is_answered_by_the_next_record(log: &dyn Log) {
    let place = end(log).await;
    let (tail, ()) = join(log.read(NAME, place.as_ref(), WAIT), append(log, "awaited")).await;
    let tail = tail.expect("the log is read");
    assert_eq!((tail.records, tail.is_complete), (vec![Bytes::from_static(b"awaited")], true));
    let waited = log.read(NAME, tail.end.as_ref(), Duration::from_millis(30)).await.expect("waiting is no error");
    assert_eq!(
        waited,
        Tail { records: Vec::new(), end: tail.end, is_complete: true },
        "nothing came, and no place is lost"
    );
}

async fn the_end_is_known_while_a_reader_waits(log: &dyn Log) {
    let place = end(log).await;
    let end_then_appended = async {
        let known = end(log).await;
        append(log, "awaited").await;
        known
    };
    let (tail, known) = join(log.read(NAME, place.as_ref(), WAIT), end_then_appended).await;
    assert_eq!(known, place);
    assert_eq!(tail.expect("the log is read").records, ["awaited"], "the end was known before the reader gave up");
}

async fn what_many_append_at_once_is_all_there(log: &dyn Log) {
    let place = end(log).await;
    let numbers: Vec<String> = (0..100).map(|number| format!("{number:03}")).collect();
    join_all(numbers.iter().map(|number| append(log, number))).await;
    let (mut records, _) = all(log, place.as_ref()).await;
    records.sort_unstable();
    assert_eq!(records, numbers);
}

async fn a_reader_that_missed_trimmed_records_finds_out(log: &dyn Log) {
    let early = end(log).await;
    // Half as many again, and some: a store may trim by the hundred.
    for _ in 0..KEPT_RECORDS * 3 / 2 / 500 {
        join_all((0..500).map(|_| append(log, "another"))).await;
    }
    assert!(!tail(log, early.as_ref()).await.is_complete, "a reader from before the trimmed records finds out");
    let mut kept = 0;
    let mut page = tail(log, None).await;
    while !page.records.is_empty() {
        kept += page.records.len();
        page = tail(log, page.end.as_ref()).await;
        assert!(page.is_complete, "only the first page has a gap before it");
    }
    assert!(kept >= KEPT_RECORDS, "{kept} records are kept");
    assert!(kept < KEPT_RECORDS * 3 / 2, "a log is bounded: {kept} records");
}

async fn a_reader_that_missed_a_whole_log_finds_out(store: &dyn Store, log: &dyn Log) {
    let remove = async || store.remove(&[NAME.to_owned()]).await.expect("a log is removed like a key");
    let place = end(log).await;
    assert_eq!(remove().await, 1);
    let gone = tail(log, place.as_ref()).await;
    assert_eq!(gone, Tail { records: Vec::new(), end: None, is_complete: false }, "the whole log is gone");
    append(log, "again").await;
    assert!(!tail(log, place.as_ref()).await.is_complete, "another log of the same name is no continuation");
    assert_eq!(all(log, None).await.0, ["again"]);
    remove().await;
}

async fn logs_of_other_names_are_others(log: &dyn Log) {
    append(log, "here").await;
    let elsewhere = log.read("conformance:another log", None, Duration::ZERO).await.expect("the log is read");
    assert_eq!(elsewhere.records, Vec::<Bytes>::new());
}
