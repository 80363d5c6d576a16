//! Publishes this process's invalidations to the other processes that share the store.
//!
//! A record is published once the store has the change: a process that knew earlier could read the old value once more.

use std::collections::VecDeque;
use std::fmt;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::clock::Timestamp;
use crate::store::{GuardedStore, Log, Store, StoreError};

/// Records that wait to be published; beyond it everything is declared changed.
const MOST_PENDING: usize = 10_000;
/// How long a caller waits for what it has to tell.
const PUBLISHED_WITHIN: Duration = Duration::from_millis(500);

/// What happened to what the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A key holds something else, which others may hold an older form of.
    Changed,
    /// A key holds nothing any more, and its old entry may not be served.
    Removed,
    /// The same of all keys that begin so.
    Cleared,
    /// All that a selector names holds something else. Others may have keys of it that the store does not have.
    ExpiredWhere,
    /// All that a selector names holds nothing any more.
    RemovedWhere,
    /// Single invalidations that waited were dropped: there were too many.
    Everything,
}

/// Keys that one record may name: a bulk invalidation of many keys takes few records, so that it pushes none out of the
/// log that others have yet to read.
const TOGETHER: usize = 64;

impl Kind {
    const ALL: [(Kind, &'static str); 6] = [
        (Kind::Changed, "changed"),
        (Kind::Removed, "removed"),
        (Kind::Cleared, "cleared"),
        (Kind::ExpiredWhere, "expired-where"),
        (Kind::RemovedWhere, "removed-where"),
        (Kind::Everything, "everything"),
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Kind::ALL.iter().find(|(kind, _)| kind == self).map_or(Ok(()), |(_, word)| f.write_str(word))
    }
}

/// One line of the log: what happened, to which key, and who says so. As text: `KIND NODE KEY`, the key without the
/// namespace that the log is of. A removal says when it was asked for: `KIND NODE@MILLIS KEY`. Programs of before take
/// that for the name of another node, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) node: String,
    pub(crate) key: String,
    /// When it was asked for, by the store's clock; by that of this process until it is published. Not known of what a
    /// program of before says.
    pub(crate) at: Option<Timestamp>,
}

impl Record {
    pub(crate) fn encode(&self) -> Bytes {
        format!("{} {}{} {}", self.kind, self.node, times_of(slice::from_ref(self)), self.key).into()
    }

    /// One line for several records of one kind and node: `KIND* NODE LENGTH:KEY LENGTH:KEY …`. Their times are
    /// `NODE@MILLIS` where all have one, and else `NODE@MILLIS,MILLIS,…`.
    fn encode_all(records: &[Record]) -> Bytes {
        let [first, others @ ..] = records else { return Bytes::new() };
        if others.is_empty() {
            return first.encode();
        }
        let keys = records.iter().map(|record| format!(" {}:{}", record.key.len(), record.key));
        format!("{}* {}{}{}", first.kind, first.node, times_of(records), keys.collect::<String>()).into()
    }

    /// The records of a line. `None` for what a later version says and this one does not understand.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<Record>> {
        let mut words = std::str::from_utf8(bytes).ok()?.splitn(3, ' ');
        let (word, node, mut rest) = (words.next()?, words.next()?, words.next()?);
        let several = word.strip_suffix('*');
        let (kind, _) = Kind::ALL.into_iter().find(|(_, known)| *known == several.unwrap_or(word))?;
        let (node, times) = node.split_once('@').unwrap_or((node, ""));
        let mut times = times.split(',').map(|millis| millis.parse().ok().map(Timestamp::from_millis));
        let mut at = times.next().flatten();
        let mut record = |key: &str| {
            let record = Record { kind, node: node.to_owned(), key: key.to_owned(), at };
            at = times.next().unwrap_or(at);
            record
        };
        if several.is_none() {
            return Some(vec![record(rest)]);
        }
        let mut records = Vec::new();
        while !rest.is_empty() {
            let (length, keys) = rest.split_once(':')?;
            let (key, left) = keys.split_at_checked(length.parse().ok()?)?;
            records.push(record(key));
            rest = left.strip_prefix(' ').unwrap_or(left);
        }
        Some(records)
    }
}

/// What follows on the name of the node: the times of the records, if they have any.
fn times_of(records: &[Record]) -> String {
    let Some(first) = records.first().and_then(|record| record.at) else { return String::new() };
    if records.iter().all(|record| record.at == Some(first)) {
        return format!("@{}", first.as_millis());
    }
    let millis = records.iter().map(|record| record.at.map_or_else(String::new, |at| at.as_millis().to_string()));
    format!("@{}", millis.collect::<Vec<String>>().join(","))
}

/// What this process has to tell the others. One at a time tells, in order.
pub(crate) struct Publisher {
    /// The log's key in the store, and the prefix of each published key.
    pub(crate) name: String,
    prefix: String,
    /// Distinguishes this process from the others; its own words are not news to it.
    pub(crate) node: String,
    pending: Mutex<VecDeque<Record>>,
    publishing: AtomicBool,
    /// Something was published.
    published: Notify,
    /// Why the store did not take the last record.
    refused: Mutex<Option<StoreError>>,
}

impl Publisher {
    pub(crate) fn new(namespace: &str, node: u64) -> Publisher {
        Publisher {
            name: format!("{namespace}:@log"),
            prefix: format!("{namespace}:"),
            node: format!("{node:016x}"),
            pending: Mutex::default(),
            publishing: AtomicBool::new(false),
            published: Notify::new(),
            refused: Mutex::default(),
        }
    }

    /// Why the pending records cannot be published, if they wait because of that.
    pub(crate) fn refused(&self) -> Option<StoreError> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        refused.filter(|_| self.pending() > 0)
    }

    /// How many records are pending.
    pub(crate) fn pending(&self) -> usize {
        self.queue().len()
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Record>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes that these keys changed, which the store has done already, and when it was asked for, by the
    /// clock of this process.
    pub(crate) async fn publish(
        &self,
        store: &GuardedStore,
        kind: Kind,
        keys: impl Iterator<Item = (&str, Option<Timestamp>)>,
    ) {
        if store.log().is_none() {
            return;
        }
        for (key, at) in keys {
            let key = key.strip_prefix(&self.prefix).unwrap_or(key).to_owned();
            self.admit(Record { kind, node: self.node.clone(), key, at });
        }
        self.publish_pending(store).await;
    }

    /// Publishes an invalidation of all that a selector names, and waits for that a while. Other callers with much to
    /// publish do not keep this one from going on.
    pub(crate) async fn announce(
        self: &Arc<Self>,
        store: &Arc<GuardedStore>,
        kind: Kind,
        selector: &str,
        at: Option<Timestamp>,
    ) {
        if store.log().is_none() {
            return;
        }
        let record = Record { kind, node: self.node.clone(), key: selector.to_owned(), at };
        self.admit(record.clone());
        let (publisher, store) = (Arc::clone(self), Arc::clone(store));
        tokio::spawn(async move { publisher.publish_pending(&store).await });
        let published = async {
            loop {
                let published = self.published.notified();
                if !self.queue().contains(&record) {
                    return;
                }
                published.await;
            }
        };
        let _ = timeout(PUBLISHED_WITHIN, published).await;
    }

    /// The next records to publish, in one line.
    fn next(&self) -> Vec<Record> {
        let pending = self.queue();
        let Some(first) = pending.front() else { return Vec::new() };
        // One without a time would hide the times of the others.
        let alike = |record: &&Record| {
            let may_share = matches!(record.kind, Kind::Changed | Kind::Removed);
            record.kind == first.kind && record.at.is_some() == first.at.is_some() && may_share
        };
        let together = pending.iter().take(TOGETHER).take_while(alike).count().max(1);
        pending.iter().take(together).cloned().collect()
    }

    fn admit(&self, record: Record) {
        let mut pending = self.queue();
        if pending.len() >= MOST_PENDING {
            pending.clear();
            pending.push_back(Record { kind: Kind::Everything, node: self.node.clone(), key: String::new(), at: None });
        } else {
            pending.push_back(record);
        }
    }

    /// Appends a line with the times of the store's clock: what that says is known at the latest when the log can be written.
    async fn append(&self, store: &GuardedStore, log: &dyn Log, next: &[Record]) -> Result<(), StoreError> {
        let ahead = store.ahead().await?;
        let by_store = |record: &Record| Record { at: record.at.map(|at| ahead.stored(at)), ..record.clone() };
        let records: Vec<Record> = next.iter().map(by_store).collect();
        log.append(&self.name, Record::encode_all(&records)).await
    }

    /// Publishes the pending records, unless another caller is at it. What fails is published later: by the next
    /// caller, or once the log can be read.
    pub(crate) async fn publish_pending(&self, store: &GuardedStore) {
        let Some(log) = store.log() else { return };
        while !self.queue().is_empty() && !self.publishing.swap(true, Ordering::Acquire) {
            let turn = Turn(&self.publishing);
            loop {
                let next = self.next();
                if next.is_empty() {
                    break;
                }
                if let Err(why) = self.append(store, log, &next).await {
                    tracing::debug!(%why, "an invalidation could not be published to the other processes yet");
                    *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                    return;
                }
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
                let mut pending = self.queue();
                // Too many may have been declared as everything meanwhile.
                if pending.iter().take(next.len()).eq(&next) {
                    pending.drain(..next.len());
                }
                drop(pending);
                self.published.notify_waiters();
            }
            // What was admitted since is this one's, too, unless another takes the turn.
            drop(turn);
        }
    }
}

/// The right to speak, given back however the speaker ends.
struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines as released programs write them: a later one must still understand them.
    #[test]
    fn several_keys_are_published_in_one_line() {
        let keys = ["prices:v1:a", "prices:v1:with 3:blanks and\nbreaks", "prices:v1:币安"];
        let record =
            |key: &str| Record { kind: Kind::Removed, node: "00c0ffee".to_owned(), key: key.to_owned(), at: None };
        let records: Vec<Record> = keys.into_iter().map(record).collect();
        let line = Record::encode_all(&records[..1]);
        assert_eq!(line, "removed 00c0ffee prices:v1:a");
        let line = Record::encode_all(&records);
        assert!(line.starts_with(b"removed* 00c0ffee 11:prices:v1:a 34:"), "{line:?}");
        assert_eq!(Record::decode(&line), Some(records));
        for unknown in [&b"removed* 00c0ffee 99:short"[..], b"removed* 00c0ffee x:y", b"cleared?* 00c0ffee 1:a"] {
            assert_eq!(Record::decode(unknown), None, "{unknown:?}");
        }
    }

    /// Times came later: a program of before takes `NODE@MILLIS` for a node, and reads the rest as it was.
    #[test]
    fn a_line_says_when_its_removals_were_asked_for() {
        let record = |key: &str, at: Option<u64>| Record {
            kind: Kind::Removed,
            node: "00c0ffee".to_owned(),
            key: key.to_owned(),
            at: at.map(Timestamp::from_millis),
        };
        let lines = [
            (vec![record("a:v1:b c", Some(1_800_000_000_000))], "removed 00c0ffee@1800000000000 a:v1:b c"),
            (vec![record("a:v1:b", Some(7)), record("a:v1:c", Some(7))], "removed* 00c0ffee@7 6:a:v1:b 6:a:v1:c"),
            (vec![record("a:v1:b", Some(7)), record("a:v1:c", Some(9))], "removed* 00c0ffee@7,9 6:a:v1:b 6:a:v1:c"),
        ];
        for (records, line) in lines {
            assert_eq!(Record::encode_all(&records), line);
            assert_eq!(Record::decode(line.as_bytes()), Some(records), "{line}");
        }
        for odd in ["removed 00c0ffee@ a", "removed 00c0ffee@x a", "removed 00c0ffee@99999999999999999999999 a"] {
            assert_eq!(Record::decode(odd.as_bytes()), Some(vec![record("a", None)]), "{odd}");
        }
    }

    #[test]
    fn the_lines_of_the_log_are_what_they_were() {
        let lines = [
            (Kind::Changed, "prices:v1:BTC USDT", "changed 00c0ffee prices:v1:BTC USDT"),
            (Kind::Removed, "prices:v12:a:b", "removed 00c0ffee prices:v12:a:b"),
            (Kind::Cleared, "prices:v1:", "cleared 00c0ffee prices:v1:"),
            (Kind::Changed, "@tags:expired:a b:c", "changed 00c0ffee @tags:expired:a b:c"),
            (Kind::Everything, "", "everything 00c0ffee "),
        ];
        for (kind, key, line) in lines {
            let record = Record { kind, node: "00c0ffee".to_owned(), key: key.to_owned(), at: None };
            assert_eq!(record.encode(), line);
            assert_eq!(Record::decode(line.as_bytes()), Some(vec![record]));
        }
        for unknown in [&b""[..], b"removed", b"removed node", b"renamed 00c0ffee prices:v1:a", b"\xff x y"] {
            assert_eq!(Record::decode(unknown), None, "{unknown:?}");
        }
    }
}
