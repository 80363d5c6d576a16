//! What a row says: a line of JSON, and behind it an entry's bytes where there is one.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::entry::{Entry, decode, encode};
use crate::policy::{Keep, Policy};
use crate::write_behind::change::{Change, Expiry, Fill, Form, Removal};

/// An owed change. Times are by the clock of the process, in milliseconds since the epoch. Rows outlive the program
/// that wrote them: a field that changes its meaning needs another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record {
    /// The key holds the entry that follows.
    Put { schema: u32, compress_over: u64 },
    /// The same of a tag's mark.
    Mark { schema: u32 },
    /// What the key holds is not fresh any more; how long it may stand in for its source, `None` for ever.
    Expire {
        at: u64,
        schema: u32,
        #[serde(rename = "keep_for")]
        stale_if_error: Option<u64>,
    },
    /// The key holds nothing.
    Remove { at: u64, tell: bool },
    /// Nothing that begins with the key and a colon is there.
    RemovePrefix { at: u64, tell: bool },
    /// The store is to be searched for the keys under `prefix` that `selector` names, to expire or remove them.
    #[serde(rename = "sweep")]
    Bulk { at: u64, prefix: String, selector: String, remove: bool },
    /// Nothing that the store holds from before is believed.
    Distrust { at: u64 },
    /// How far the invalidations of other processes were heard, and when.
    Heard { at: u64, position: Option<String> },
}

impl Record {
    pub(crate) fn encode(&self, body: &[u8]) -> Option<Bytes> {
        let line = serde_json::to_vec(self).ok()?;
        let mut row = BytesMut::with_capacity(line.len() + 1 + body.len());
        row.put_slice(&line);
        row.put_u8(b'\n');
        row.put_slice(body);
        Some(row.freeze())
    }

    /// The record of a row and the bytes behind it; `None` for what another version wrote.
    pub(crate) fn decode(row: &Bytes) -> Option<(Record, Bytes)> {
        let end = row.iter().position(|byte| *byte == b'\n')?;
        Some((serde_json::from_slice(&row[..end]).ok()?, row.slice(end + 1..)))
    }

    /// The row of a change of `key`; `None` where it has no stored form.
    pub(super) fn row_of(key: &str, change: &Change) -> Option<Bytes> {
        let put = |entry: &Entry, form: Form| {
            let body = encode(entry, key, form.schema, form.compress_over, 0)?;
            let compress_over = form.compress_over as u64;
            Record::Put { schema: form.schema, compress_over }.encode(&body)
        };
        match change {
            Change::Put(fill) => put(&fill.entry, fill.form),
            Change::PutHeld(held) => match held.current() {
                Some(entry) => put(&entry, held.form),
                // The value is lost; what it replaced must not come back.
                None => Record::Remove { at: held.fetch_started_at.as_millis(), tell: true }.encode(&[]),
            },
            Change::Mark(fill) => {
                let body = encode(&fill.entry, key, fill.form.schema, usize::MAX, 0)?;
                Record::Mark { schema: fill.form.schema }.encode(&body)
            }
            Change::Expire(Expiry { at, schema, policy }) => {
                let stale_if_error = match policy.stale_if_error {
                    Keep::For(keep) => Some(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)),
                    Keep::Forever => None,
                };
                Record::Expire { at: at.as_millis(), schema: *schema, stale_if_error }.encode(&[])
            }
            Change::Remove(Removal { at, tell, .. }) => Record::Remove { at: at.as_millis(), tell: *tell }.encode(&[]),
            Change::RemovePrefix(Removal { at, tell, .. }) => {
                Record::RemovePrefix { at: at.as_millis(), tell: *tell }.encode(&[])
            }
        }
    }

    /// The change of `key` that a row says, to be made late; `None` for a row that is no change, or cannot be read.
    pub(super) fn change(self, key: &str, body: &Bytes) -> Option<Change> {
        let removal = |at, tell| Removal::at(Timestamp::from_millis(at), tell).late();
        let fill = |schema, compress_over: u64| {
            let entry = Arc::new(decode(body, key, schema).ok()?);
            let failed_at = Some(tokio::time::Instant::now());
            let form = Form { schema, compress_over: usize::try_from(compress_over).unwrap_or(usize::MAX) };
            Some(Fill {
                entry,
                form,
                has_room: false,
                replaces: true,
                is_late: true,
                failed_at,
                expiry: None,
                lease: None,
            })
        };
        match self {
            Record::Put { schema, compress_over } => fill(schema, compress_over).map(Change::Put),
            Record::Mark { schema } => fill(schema, u64::MAX).map(Change::Mark),
            Record::Expire { at, schema, stale_if_error } => {
                let stale_if_error =
                    stale_if_error.map_or(Keep::Forever, |keep| Keep::For(Duration::from_millis(keep)));
                let policy = Arc::new(Policy::fresh_for(Duration::ZERO).stale_if_error(stale_if_error));
                Some(Change::Expire(Expiry { at: Timestamp::from_millis(at), schema, policy }))
            }
            Record::Remove { at, tell } => Some(Change::Remove(removal(at, tell))),
            Record::RemovePrefix { at, tell } => Some(Change::RemovePrefix(removal(at, tell))),
            Record::Bulk { .. } | Record::Distrust { .. } | Record::Heard { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows as released programs write them: a later one must still read them.
    #[test]
    fn the_rows_are_what_they_were() {
        let (selector, prefix) = ("@region prices".to_owned(), "lastgood:".to_owned());
        let rows = [
            (Record::Put { schema: 1, compress_over: 1024 }, r#"{"put":{"schema":1,"compress_over":1024}}"#),
            (Record::Mark { schema: 1 }, r#"{"mark":{"schema":1}}"#),
            (
                Record::Expire { at: 5, schema: 2, stale_if_error: None },
                r#"{"expire":{"at":5,"schema":2,"keep_for":null}}"#,
            ),
            (Record::Remove { at: 5, tell: true }, r#"{"remove":{"at":5,"tell":true}}"#),
            (Record::RemovePrefix { at: 5, tell: false }, r#"{"remove_prefix":{"at":5,"tell":false}}"#),
            (
                Record::Bulk { at: 5, prefix, selector, remove: true },
                r#"{"sweep":{"at":5,"prefix":"lastgood:","selector":"@region prices","remove":true}}"#,
            ),
            (Record::Distrust { at: 5 }, r#"{"distrust":{"at":5}}"#),
            (Record::Heard { at: 5, position: Some("7-0".into()) }, r#"{"heard":{"at":5,"position":"7-0"}}"#),
        ];
        for (record, line) in rows {
            let row = record.encode(b"a\nb").expect("a row");
            assert_eq!(row, [line.as_bytes(), b"\na\nb"].concat(), "{record:?}");
            assert_eq!(Record::decode(&row), Some((record, Bytes::from_static(b"a\nb"))));
        }
        for unknown in [&b""[..], b"{}", b"{}\n", b"{\"moved\":{\"at\":1}}\n", b"\xff\n"] {
            assert_eq!(Record::decode(&Bytes::from_static(unknown)), None, "{unknown:?}");
        }
    }
}
