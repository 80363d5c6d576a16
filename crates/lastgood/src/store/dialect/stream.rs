//! A log as a Redis Stream, over any protocol.
//!
//! Each entry names the one before it. So a reader that goes on from an entry sees whether any between was trimmed,
//! deleted or lost with a failed server, whatever the clocks of server and readers say.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::store::{KEPT_RECORDS, Position, StoreError, Tail};

/// Appends a record with the identifier of the entry before it: at most this many are kept, for this many milliseconds.
const APPEND: &str = "\
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local before = last[1] and last[1][1] or '0-0'
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'before', before, 'record', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1";

const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many entries one read brings.
pub(in crate::store) const PAGE: usize = 1_000;
/// Before the first entry of any stream.
const BEGINNING: &str = "0-0";

/// One entry: its identifier, its fields and their values in turns.
pub(in crate::store) type Entry = (Bytes, Vec<Bytes>);

/// The words of the command that appends.
pub(in crate::store) fn append<'a>(name: &'a [u8], record: &'a [u8]) -> [Vec<u8>; 7] {
    let number = |number: u64| number.to_string().into_bytes();
    let (kept, kept_for) = (number(KEPT_RECORDS as u64), number(KEPT_FOR.as_millis() as u64));
    ["EVAL".into(), APPEND.into(), "1".into(), name.to_vec(), kept, record.to_vec(), kept_for]
}

/// What a command reads on from.
pub(in crate::store) fn after(position: Option<&Position>) -> &str {
    position.map_or(BEGINNING, |Position(id)| id)
}

/// What a page of entries after a place says; `None` if there is none.
pub(in crate::store) fn page(entries: &[Entry], place: Option<&Position>) -> Option<Tail> {
    let (last, _) = entries.last()?;
    let end = Some(position(last));
    let is_complete = field(&entries[0].1, b"before").is_some_and(|before| before == after(place).as_bytes());
    let records = entries.iter().filter_map(|(_, fields)| field(fields, b"record").cloned()).collect();
    Some(Tail { records, end, is_complete })
}

/// What it means that nothing follows on a place, where the log has this end.
pub(in crate::store) fn nothing(end: Option<&Position>, place: Option<&Position>) -> Tail {
    // What came since the question is the next one's answer.
    let is_complete = order(end) >= order(place);
    Tail { records: Vec::new(), end: place.filter(|_| is_complete).cloned(), is_complete }
}

pub(in crate::store) fn position(id: &Bytes) -> Position {
    Position(String::from_utf8_lossy(id).into_owned())
}

/// A stream that is looked at, where nothing can wait for it.
#[async_trait]
pub(in crate::store) trait PolledStream: Sync {
    /// The identifier of the last entry.
    async fn newest(&self, name: &str) -> Result<Option<Position>, StoreError>;

    /// A page of what follows on an identifier.
    async fn entries(&self, name: &str, after: &str) -> Result<Vec<Entry>, StoreError>;
}

/// Looks every so often whether something follows on a place, at most for `wait`.
pub(in crate::store) async fn poll(
    source: &dyn PolledStream,
    name: &str,
    place: Option<&Position>,
    wait: Duration,
    every: Duration,
) -> Result<Tail, StoreError> {
    let deadline = Instant::now() + wait;
    loop {
        let next_look = Instant::now() + every;
        // One small question where nothing is new.
        let end = source.newest(name).await?;
        if end.as_ref() != place {
            let entries = source.entries(name, after(place)).await?;
            return Ok(page(&entries, place).unwrap_or_else(|| nothing(end.as_ref(), place)));
        }
        if next_look >= deadline {
            sleep_until(deadline).await;
            return Ok(nothing(end.as_ref(), place));
        }
        sleep_until(next_look).await;
    }
}

fn field<'a>(fields: &'a [Bytes], name: &[u8]) -> Option<&'a Bytes> {
    fields.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| &pair[1])
}

/// A place in the order of its stream: milliseconds, then a number.
fn order(place: Option<&Position>) -> (u64, u64) {
    let (millis, number) = after(place).split_once('-').unwrap_or_default();
    (millis.parse().unwrap_or(0), number.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, before: &str) -> Entry {
        let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        (text(id), vec![text("before"), text(before), text("record"), text(id)])
    }

    fn at(id: &str) -> Position {
        Position(id.to_owned())
    }

    #[test]
    fn a_page_is_complete_if_its_first_entry_follows_on_the_place() {
        let entries = [entry("5-0", "4-7"), entry("5-1", "5-0")];
        let is_complete = |place: Option<&Position>| page(&entries, place).map(|tail| tail.is_complete);
        assert_eq!(is_complete(Some(&at("4-7"))), Some(true));
        assert_eq!(is_complete(Some(&at("4-6"))), Some(false), "one between is gone");
        assert_eq!(is_complete(None), Some(false), "it is not the beginning");
        assert_eq!(page(&[entry("1-0", "0-0")], None).map(|tail| tail.is_complete), Some(true));
        assert_eq!(page(&[(Bytes::from_static(b"5-0"), Vec::new())], None).map(|tail| tail.is_complete), Some(false));
        assert_eq!(page(&[], None), None);
    }

    #[test]
    fn a_log_that_ends_before_the_place_is_another() {
        let (nine, ten) = (at("9-9"), at("10-0"));
        assert!(nothing(Some(&ten), Some(&ten)).is_complete);
        assert!(nothing(Some(&ten), Some(&nine)).is_complete, "it came since");
        assert_eq!(nothing(Some(&nine), Some(&ten)), Tail { records: Vec::new(), end: None, is_complete: false });
        assert_eq!(nothing(None, Some(&ten)), Tail { records: Vec::new(), end: None, is_complete: false });
        assert!(nothing(None, None).is_complete);
    }
}
