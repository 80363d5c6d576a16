//! What must hold of any stored bytes, for fuzzers: the one place that knows, for those on nightly and for the tests.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Entry, Loaded, Value, columnar, decode, decode_any_version, encode, stamp, started_at, under_key, with_times,
};
use crate::clock::Timestamp;
use crate::policy::{Policy, Times};

const KEY: &str = "lastgood:prices:v7:BTCUSDT";
const SCHEMA: u32 = 7;

/// Bytes of a store are an entry or a miss; an entry comes back as it is written again, and its times can be changed.
pub(crate) fn entry(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    judge(&bytes);
    // With a checksum that is right: fuzzers do not come to what it protects otherwise.
    judge(&under_key(bytes, KEY));
}

fn judge(bytes: &Bytes) {
    drop((started_at(bytes), stamp(bytes, KEY, true), decode_any_version(bytes, KEY, SCHEMA)));
    let ended =
        with_times(bytes, KEY, SCHEMA, |times| times.ended(Timestamp::EPOCH, &Policy::fresh_for(Duration::ZERO)));
    let Ok(entry) = decode(bytes, KEY, SCHEMA) else { return };
    let said = stamp(bytes, KEY, false).expect("an entry has a stamp");
    assert_eq!(said.started_at, entry.fetch_started_at, "the stamp is the entry's");
    let ended = ended.expect("the times of an entry can be changed");
    let ended = decode(&ended.bytes, KEY, SCHEMA).expect("and it is an entry still");
    assert_eq!(ended.body, entry.body, "its body is the same");
    let Some(again) = encode(&entry, KEY, SCHEMA, 0, 0) else { return };
    let again = decode(&again, KEY, SCHEMA).expect("written bytes are readable");
    assert!(again.value() == entry.value() && again.tags() == entry.tags(), "to the letter");
}

/// A text of rows comes back from its packing as it was; a packing that is none is nothing.
pub(crate) fn of_rows(text: &[u8]) {
    if let Some(packed) = columnar::pack(text) {
        assert_eq!(columnar::unpack(&packed, text.len()).as_deref(), Some(text), "rows come back to the letter");
    }
    let length = text.len().saturating_mul(8).min(1 << 16);
    [length, text.len(), 2].into_iter().for_each(|length| drop(columnar::unpack(text, length)));
}

/// Entries to begin with.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let row = "[1700000000000,\"42000.10000000\",\"1.50000000\",\"0.1\"]";
    let of_rows = format!("[{}]", vec![row; 40].join(","));
    let bodies = ["{\"price\":\"1.5\"}", &of_rows, &"text ".repeat(400), ""];
    let at = Timestamp::from_millis(1_700_000_000_000);
    let times = Times { fresh_until: at, stale_until: at, keep_until: Timestamp::FOREVER };
    let entry = |body: &str| {
        let value = Value::new(body.as_bytes().to_vec()).with_meta("application/json");
        Entry::new(Loaded { tags: vec!["metal".to_owned()], ..Loaded::from(value) }, at, at, times)
    };
    let encoded = |body: &&str| encode(&entry(body), KEY, SCHEMA, 64, 0).map(|bytes| bytes.to_vec());
    bodies.iter().filter_map(encoded).collect()
}
