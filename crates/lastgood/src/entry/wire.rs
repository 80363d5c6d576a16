//! Entry format v2, little-endian:
//!
//! ```text
//! magic "LGE" | version u8 = 2 | compression u8 (0 none, 1 zstd, 2 rows) | changes u8 | schema u32
//! fetch_started_at u64 | written_at u64 | fresh_until u64 | stale_until u64 | keep_until u64   (ms since the epoch)
//! meta: u16 length, with 0xFFFF for none | tags: u16 count, each u16 length + UTF-8
//! body length u32 (uncompressed) | payload (to the end less 4) | CRC-32 of the store key and all before, u32
//! ```
//!
//! *Changes* counts how often the times were changed since the entry was written, so that each change makes the bytes
//! others, even one to the same times; it says nothing to a reader.
//!
//! The key is not stored, only checked: the checksum begins with it, so that an entry that was copied to another key, of this
//! region, another one or another namespace, is a miss. Two keys of one length that differ within four bytes never pass for
//! each other; others do with a chance of one in 2^32.
//!
//! Version 1 is the same without the key in the checksum. Its entries do not say which key they are of, so they are a miss;
//! only the marks of tags, which hold nothing but a time, are read in both.
//!
//! Whatever cannot be read is a miss: never an error, never deleted by the reader, because a newer version of this
//! program may be able to read it. Snapshots of every released version stay in `tests/cache/snapshots`.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::codec::{self, Codec};
use super::{Entry, Loaded, Value, columnar};
use crate::clock::Timestamp;
use crate::policy::Times;

const MAGIC: &[u8; 3] = b"LGE";
const VERSION: u8 = 2;
/// The version whose checksum does not cover the key.
const WITHOUT_KEY: u8 = 1;
const FIXED: usize = 3 + 1 + 1 + 1 + 4 + 5 * 8;
const NO_META: u16 = u16::MAX;
const CHECKSUM: usize = 4;
/// How a body is packed.
const UNPACKED: u8 = 0;
const ZSTD: u8 = 1;
const ROWS: u8 = 2;

/// Why stored bytes are a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Not an entry at all, or cut short.
    Foreign,
    /// An entry of version 1, which does not say which key it is of.
    Outdated,
    /// An entry of a version this program does not know.
    Version,
    /// An entry of another schema of the region.
    Schema,
    /// The checksum or the compressed form is wrong, or the entry is of another key.
    Damaged,
    /// Another program packed it by zstd, and this one is built without.
    WithoutZstd,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unreadable::Foreign => "it is no entry",
            Unreadable::Outdated => "it is an entry of an older version, which does not say which key it is of",
            Unreadable::Version => "it is an entry of a version that this program does not know",
            Unreadable::Schema => "it is an entry of another schema of the region",
            Unreadable::Damaged => "it is damaged, or an entry of another key",
            Unreadable::WithoutZstd => {
                "it was packed by zstd, and this program is built without: build lastgood with its feature `zstd`"
            }
        })
    }
}

/// The checksum of an entry under `key`; `covered` is all of it before the checksum.
fn checksum(version: u8, key: &str, covered: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    if version != WITHOUT_KEY {
        hasher.update(key.as_bytes());
    }
    hasher.update(covered);
    hasher.finalize()
}

/// The entry as bytes, to be stored under `key` with the times of a clock that is `ahead` ms. Meta or tags beyond their 16-bit lengths cannot be written: `None`, and it stays in memory.
pub(crate) fn encode(entry: &Entry, key: &str, schema: u32, compress_over: usize, ahead: i64) -> Option<Bytes> {
    let body = &entry.body;
    let packed = if body.len() > compress_over { pack(body, codec::ZSTD) } else { None };
    let (method, payload): (u8, &[u8]) = packed.as_ref().map_or((UNPACKED, body), |(method, packed)| (*method, packed));

    let mut out = BytesMut::with_capacity(FIXED + 64 + payload.len() + CHECKSUM);
    out.put_slice(MAGIC);
    out.put_u8(VERSION);
    out.put_u8(method);
    out.put_u8(0);
    out.put_u32_le(schema);
    for time in [
        entry.fetch_started_at,
        entry.written_at,
        entry.times.fresh_until,
        entry.times.stale_until,
        entry.times.keep_until,
    ] {
        out.put_u64_le(time.shifted(ahead).as_millis());
    }
    match entry.meta() {
        None => out.put_u16_le(NO_META),
        Some(meta) => put_text(&mut out, meta)?,
    }
    out.put_u16_le(u16::try_from(entry.tags().len()).ok()?);
    for tag in entry.tags() {
        put_text(&mut out, tag)?;
    }
    out.put_u32_le(u32::try_from(body.len()).ok()?);
    out.put_slice(payload);
    let checksum = checksum(VERSION, key, &out);
    out.put_u32_le(checksum);
    Some(out.freeze())
}

/// Where it is counted how often the times were changed.
const CHANGES_AT: usize = 3 + 1 + 1;
/// Where the five times begin.
const TIMES_AT: usize = 3 + 1 + 1 + 1 + 4;

/// When the load of an entry began, if these bytes are an entry of this version.
pub(crate) fn started_at(bytes: &[u8]) -> Option<Timestamp> {
    let is_entry = bytes.len() >= FIXED + CHECKSUM && bytes.starts_with(MAGIC) && bytes[3] == VERSION;
    is_entry.then(|| time_at(bytes, 0))
}

/// Whether these bytes are an entry that was put, not loaded: a put value is written at the moment at which it begins.
pub(crate) fn is_put(bytes: &[u8]) -> bool {
    started_at(bytes).is_some_and(|started_at| started_at >= time_at(bytes, 1))
}

fn time_at(bytes: &[u8], place: usize) -> Timestamp {
    let mut rest = &bytes[TIMES_AT + 8 * place..];
    Timestamp::from_millis(rest.get_u64_le())
}

/// An entry with other times.
pub(crate) struct Retimed {
    pub(crate) bytes: Bytes,
    pub(crate) started_at: Timestamp,
    pub(crate) keep_until: Timestamp,
}

/// The same entry with other ends of its life, its body as it is packed; `None` where these bytes are no entry of this
/// version, `key` and `schema`.
pub(crate) fn with_times(bytes: &[u8], key: &str, schema: u32, change: impl FnOnce(Times) -> Times) -> Option<Retimed> {
    let started_at = started_at(bytes)?;
    let (covered, mut written) = bytes.split_at(bytes.len() - CHECKSUM);
    let mut stated = &covered[6..];
    if stated.get_u32_le() != schema || checksum(VERSION, key, covered) != written.get_u32_le() {
        return None;
    }
    let times = Times { fresh_until: time_at(bytes, 2), stale_until: time_at(bytes, 3), keep_until: time_at(bytes, 4) };
    let Times { fresh_until, stale_until, keep_until } = change(times);
    let mut out = BytesMut::with_capacity(bytes.len());
    out.put_slice(&covered[..CHANGES_AT]);
    out.put_u8(covered[CHANGES_AT].wrapping_add(1));
    out.put_slice(&covered[CHANGES_AT + 1..TIMES_AT + 16]);
    for time in [fresh_until, stale_until, keep_until] {
        out.put_u64_le(time.as_millis());
    }
    out.put_slice(&covered[FIXED..]);
    let checksum = checksum(VERSION, key, &out);
    out.put_u32_le(checksum);
    Some(Retimed { bytes: out.freeze(), started_at, keep_until })
}

/// What an entry says of itself, whatever its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) started_at: Timestamp,
    pub(crate) fresh_until: Timestamp,
    pub(crate) keep_until: Timestamp,
}

/// The stamp of a whole entry of `key`, of any schema; of version 1 only where `any_version` says so.
pub(crate) fn stamp(bytes: &[u8], key: &str, any_version: bool) -> Result<Stamp, Unreadable> {
    if bytes.len() < FIXED + CHECKSUM || !bytes.starts_with(MAGIC) {
        return Err(Unreadable::Foreign);
    }
    match bytes[3] {
        VERSION => {}
        WITHOUT_KEY if any_version => {}
        WITHOUT_KEY => return Err(Unreadable::Outdated),
        _ => return Err(Unreadable::Version),
    }
    let (covered, mut written) = bytes.split_at(bytes.len() - CHECKSUM);
    if checksum(bytes[3], key, covered) != written.get_u32_le() {
        return Err(Unreadable::Damaged);
    }
    Ok(Stamp { started_at: time_at(bytes, 0), fresh_until: time_at(bytes, 2), keep_until: time_at(bytes, 4) })
}

/// A whole entry, to be stored under another key.
pub(crate) fn under_key(bytes: Bytes, key: &str) -> Bytes {
    let Some(&version) = bytes.get(3).filter(|version| **version != WITHOUT_KEY) else { return bytes };
    let covered = &bytes[..bytes.len().saturating_sub(CHECKSUM)];
    let mut out = BytesMut::with_capacity(bytes.len());
    out.put_slice(covered);
    out.put_u32_le(checksum(version, key, covered));
    out.freeze()
}

/// The body packed, and how; `None` where that makes it no smaller, or it is no rows and there is no zstd.
fn pack(body: &[u8], zstd: Option<Codec>) -> Option<(u8, Vec<u8>)> {
    let of_rows = columnar::pack(body).map(|packed| (ROWS, packed));
    let packed = of_rows.or_else(|| Some((ZSTD, (zstd?.pack)(body)?)));
    packed.filter(|(_, packed)| packed.len() < body.len())
}

fn put_text(out: &mut BytesMut, text: &str) -> Option<()> {
    let length = u16::try_from(text.len()).ok().filter(|&length| length != NO_META)?;
    out.put_u16_le(length);
    out.put_slice(text.as_bytes());
    Some(())
}

/// The entry behind `bytes`, if they are one of this `key` and `schema`. Its body is in an allocation of
/// its own size: a part of theirs would keep all of them in memory.
pub(crate) fn decode(bytes: &Bytes, key: &str, schema: u32) -> Result<Entry, Unreadable> {
    match bytes.get(3) {
        Some(&WITHOUT_KEY) if bytes.starts_with(MAGIC) => Err(Unreadable::Outdated),
        _ => decode_any_version(bytes, key, schema),
    }
}

/// As [`decode`], but entries of version 1, too, which do not say which key they are of.
pub(crate) fn decode_any_version(bytes: &Bytes, key: &str, schema: u32) -> Result<Entry, Unreadable> {
    if bytes.len() < FIXED + CHECKSUM || &bytes[..3] != MAGIC {
        return Err(Unreadable::Foreign);
    }
    let version = bytes[3];
    if !matches!(version, WITHOUT_KEY | VERSION) {
        return Err(Unreadable::Version);
    }
    let (covered, mut written) = bytes.split_at(bytes.len() - CHECKSUM);
    if checksum(version, key, covered) != written.get_u32_le() {
        return Err(Unreadable::Damaged);
    }
    let mut rest = &covered[4..];
    let method = rest.get_u8();
    if method > ROWS {
        return Err(Unreadable::Version);
    }
    rest.advance(1);
    if rest.get_u32_le() != schema {
        return Err(Unreadable::Schema);
    }
    let mut time = || Timestamp::from_millis(rest.get_u64_le());
    let (fetch_started_at, written_at) = (time(), time());
    let times = Times { fresh_until: time(), stale_until: time(), keep_until: time() };

    let meta = match get_u16(&mut rest)? {
        NO_META => None,
        length => Some(get_text(&mut rest, length)?.into()),
    };
    let count = get_u16(&mut rest)?;
    let mut tags = Vec::with_capacity(usize::from(count).min(64));
    for _ in 0..count {
        let length = get_u16(&mut rest)?;
        tags.push(get_text(&mut rest, length)?.to_owned());
    }
    if rest.remaining() < 4 {
        return Err(Unreadable::Damaged);
    }
    let length = rest.get_u32_le() as usize;
    let body = match method {
        UNPACKED => Bytes::copy_from_slice(rest),
        _ => unpack(method, rest, length, codec::ZSTD)?,
    };
    if body.len() != length {
        return Err(Unreadable::Damaged);
    }
    let loaded = Loaded { tags, ..Loaded::from(Value { body, meta }) };
    Ok(Entry::new(loaded, fetch_started_at, written_at, times))
}

/// The most a packed body may claim to become, so that bytes of strangers cannot exhaust memory.
const MAX_UNPACKED: usize = 256 << 20;

fn unpack(method: u8, payload: &[u8], length: usize, zstd: Option<Codec>) -> Result<Bytes, Unreadable> {
    if length > MAX_UNPACKED {
        return Err(Unreadable::Damaged);
    }
    let body = match (method, zstd) {
        (ROWS, _) => columnar::unpack(payload, length),
        (_, Some(zstd)) => (zstd.unpack)(payload, length),
        (_, None) => return Err(Unreadable::WithoutZstd),
    };
    body.map(|body| Bytes::from(body.into_boxed_slice())).ok_or(Unreadable::Damaged)
}

fn get_u16(rest: &mut &[u8]) -> Result<u16, Unreadable> {
    if rest.len() < 2 {
        return Err(Unreadable::Damaged);
    }
    Ok(rest.get_u16_le())
}

fn get_text<'a>(rest: &mut &'a [u8], length: u16) -> Result<&'a str, Unreadable> {
    let (text, after) = rest.split_at_checked(usize::from(length)).ok_or(Unreadable::Damaged)?;
    *rest = after;
    std::str::from_utf8(text).map_err(|_| Unreadable::Damaged)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn encode(entry: &Entry, key: &str, schema: u32, compress_over: usize) -> Option<Bytes> {
        super::encode(entry, key, schema, compress_over, 0)
    }

    /// The key that entries of these tests, and those of the snapshots, are stored under.
    const KEY: &str = "lastgood:prices:v7:BTCUSDT";

    fn entry(body: &[u8], meta: Option<&str>, tags: Vec<String>) -> Entry {
        let value = Value { body: Bytes::copy_from_slice(body), meta: meta.map(Into::into) };
        let at = Timestamp::from_millis(1_700_000_000_000);
        let times = Times {
            fresh_until: at.plus(Duration::from_secs(1)),
            stale_until: at.plus(Duration::from_secs(2)),
            keep_until: Timestamp::FOREVER,
        };
        Entry::new(Loaded { tags, ..Loaded::from(value) }, at, at, times)
    }

    /// Makes the checksum right again after a change.
    fn seal(bytes: &mut [u8]) {
        let end = bytes.len() - CHECKSUM;
        let checksum = checksum(bytes[3], KEY, &bytes[..end]);
        bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    }

    fn same(left: &Entry, right: &Entry) -> bool {
        left.value() == right.value()
            && left.tags() == right.tags()
            && left.times == right.times
            && left.fetch_started_at == right.fetch_started_at
            && left.written_at == right.written_at
    }

    proptest! {
        #[test]
        fn written_bytes_are_read(
            body in proptest::collection::vec(any::<u8>(), 0..4000),
            meta in proptest::option::of(".{0,40}"),
            tags in proptest::collection::vec(".{0,20}", 0..5),
            compress_over in 0usize..5000,
        ) {
            let written = entry(&body, meta.as_deref(), tags);
            let bytes = encode(&written, KEY, 7, compress_over).expect("it can be written");
            prop_assert!(same(&decode(&bytes, KEY, 7).expect("it was just written"), &written));
            prop_assert!(matches!(decode(&bytes, KEY, 8), Err(Unreadable::Schema)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), sound in any::<bool>()) {
            if bytes.len() > 60 && sound {
                bytes[..4].copy_from_slice(b"LGE\x02");
                seal(&mut bytes);
            }
            let bytes = Bytes::from(bytes);
            let _ = (stamp(&bytes, KEY, true), under_key(bytes.clone(), "another"), decode(&bytes, KEY, 0));
        }

        #[test]
        fn one_flipped_bit_is_noticed(position in 0usize..200, bit in 0u8..8) {
            let mut bytes = encode(&entry(&[7; 300], Some("text"), vec![]), KEY, 1, usize::MAX).expect("it can be written").to_vec();
            bytes[position] ^= 1 << bit;
            prop_assert!(decode(&Bytes::from(bytes), KEY, 1).is_err());
        }
    }

    #[test]
    fn a_large_body_is_packed() {
        let bytes = encode(&entry(&[b'0'; 100_000], None, vec![]), KEY, 1, 1024).expect("it can be written");
        assert!(bytes.len() < 1_000);
        assert_eq!(decode(&bytes, KEY, 1).expect("it was just written").body.len(), 100_000);
    }

    #[test]
    fn without_zstd_rows_are_packed_other_bodies_are_stored_as_they_are_and_what_it_packed_is_refused_with_a_hint() {
        assert_eq!(pack(&long_body(), None), None);
        let (method, packed) = pack(&body_of_rows(), None).expect("rows need no zstd");
        assert_eq!(method, ROWS);
        assert_eq!(unpack(ROWS, &packed, body_of_rows().len(), None).as_deref(), Ok(&*body_of_rows()));
        let (_, packed) = pack(&long_body(), codec::ZSTD).expect("tests have zstd");
        let refused = unpack(ZSTD, &packed, long_body().len(), None).expect_err("there is no zstd");
        assert_eq!(refused, Unreadable::WithoutZstd);
        assert!(refused.to_string().contains("build lastgood with its feature `zstd`"), "{refused}");
    }

    #[test]
    fn an_unwritable_meta_is_refused() {
        let meta = "m".repeat(70_000);
        assert!(encode(&entry(b"x", Some(&meta), vec![]), KEY, 1, 1024).is_none());
    }

    const UNCOMPRESSED: &[u8] = include_bytes!("../../tests/cache/snapshots/entry-v2.bin");
    const COMPRESSED: &[u8] = include_bytes!("../../tests/cache/snapshots/entry-v2-zstd.bin");
    const OF_ROWS: &[u8] = include_bytes!("../../tests/cache/snapshots/entry-v2-rows.bin");
    const VERSION_1: [&[u8]; 3] = [
        include_bytes!("../../tests/cache/snapshots/entry-v1.bin"),
        include_bytes!("../../tests/cache/snapshots/entry-v1-zstd.bin"),
        include_bytes!("../../tests/cache/snapshots/entry-v1-rows.bin"),
    ];

    /// What the snapshots hold: every field has a value of its own.
    fn snapshot(body: &[u8]) -> Entry {
        let value = Value { body: Bytes::copy_from_slice(body), meta: Some("application/json".into()) };
        let at = Timestamp::from_millis(1_700_000_000_123);
        let times = Times {
            fresh_until: at.plus(Duration::from_secs(60)),
            stale_until: at.plus(Duration::from_secs(300)),
            keep_until: Timestamp::FOREVER,
        };
        let tags = vec!["symbol:BTCUSDT".to_owned(), "币安".to_owned()];
        let written_at = at.plus(Duration::from_millis(45));
        Entry::new(Loaded { tags, ..Loaded::from(value) }, at, written_at, times)
    }

    fn short_body() -> Vec<u8> {
        br#"{"symbol":"BTCUSDT","price":"67012.50000000"}"#.to_vec()
    }

    fn long_body() -> Vec<u8> {
        short_body().repeat(100)
    }

    fn body_of_rows() -> Vec<u8> {
        let row = |minute: u64| {
            let (open, price) = (1_700_000_040_000 + minute * 60_000, 67_012 + minute * 37 % 90);
            let (amount, shift) = (minute * 104_729 % 40_000, minute % 3);
            format!(
                r#"[{open},"{price}.50000000","{}.01000000","-0.00{minute}","{price}.{:08}","{amount}.5",{},"{amount}.12345678",{amount},"0"]"#,
                price + 3,
                minute * 7_919,
                open + 59_999 + shift,
            )
        };
        (0..40).map(row).collect::<Vec<_>>().join(",").into_bytes()
    }

    #[test]
    fn entries_of_version_1_are_a_miss_on_purpose_because_they_do_not_say_which_key_they_are_of() {
        for bytes in VERSION_1 {
            let bytes = Bytes::from_static(bytes);
            assert!(matches!(decode(&bytes, KEY, 7), Err(Unreadable::Outdated)));
            assert!(decode_any_version(&bytes, KEY, 7).is_ok(), "they are sound; marks of tags are read");
            assert_eq!(stamp(&bytes, KEY, false), Err(Unreadable::Outdated));
            assert!(stamp(&bytes, KEY, true).is_ok());
            assert_eq!(under_key(bytes.clone(), "another"), bytes, "they are of no key");
        }
    }

    #[test]
    fn an_entry_is_readable_under_its_own_key_only() {
        let bytes = encode(&snapshot(&short_body()), KEY, 7, 1024).expect("it can be written");
        assert!(decode(&bytes, KEY, 7).is_ok());
        for other in [
            "lastgood:prices:v7:ETHUSDT",
            "lastgood:prices:v7:BTCUSDT2",
            "lastgood:prices:v7:BTCUSD",
            "lastgood:prices:v7:TBCUSDT",
            "lastgood:price2:v7:BTCUSDT",
            "testnet1:prices:v7:BTCUSDT",
            "",
        ] {
            assert!(matches!(decode(&bytes, other, 7), Err(Unreadable::Damaged)), "{other}");
            assert!(decode_any_version(&bytes, other, 7).is_err(), "{other}");
        }
    }

    #[test]
    fn an_entry_can_be_put_under_another_key_without_being_unpacked() {
        let bytes = encode(&snapshot(&long_body()), KEY, 7, 1024).expect("it can be written");
        let moved = under_key(bytes.clone(), "mine:prices:v7:BTCUSDT");
        assert!(same(&decode(&moved, "mine:prices:v7:BTCUSDT", 7).expect("it is whole"), &snapshot(&long_body())));
        assert!(decode(&moved, KEY, 7).is_err());
        assert_eq!(under_key(moved, KEY), bytes);
    }

    #[test]
    fn a_stamp_is_read_whatever_the_schema_and_of_whole_entries_of_this_key_only() {
        let bytes = encode(&snapshot(&short_body()), KEY, 9, 1024).expect("it can be written");
        let read = stamp(&bytes, KEY, false).expect("it is whole");
        let entry = snapshot(&short_body());
        let expected = (entry.fetch_started_at, entry.times.fresh_until, entry.times.keep_until);
        assert_eq!((read.started_at, read.fresh_until, read.keep_until), expected);
        assert_eq!(stamp(&bytes, "another", false), Err(Unreadable::Damaged));
        assert_eq!(stamp(&bytes[..40], KEY, false), Err(Unreadable::Foreign));
        let mut later = bytes.to_vec();
        later[3] = VERSION + 1;
        assert_eq!(stamp(&later, KEY, true), Err(Unreadable::Version));
    }

    #[test]
    fn entries_of_version_2_are_read_for_ever() {
        for (bytes, body) in [(UNCOMPRESSED, short_body()), (COMPRESSED, long_body()), (OF_ROWS, body_of_rows())] {
            let entry = decode(&Bytes::from_static(bytes), KEY, 7).expect("version 2 is known");
            assert!(same(&entry, &snapshot(&body)), "{entry:?}");
        }
    }

    #[test]
    fn an_uncompressed_entry_is_written_as_it_always_was() {
        assert_eq!(encode(&snapshot(&short_body()), KEY, 7, 1024).as_deref(), Some(UNCOMPRESSED));
    }

    #[test]
    fn rows_are_packed_as_they_always_were_and_only_where_packing_is_wanted() {
        let entry = snapshot(&body_of_rows());
        assert_eq!(encode(&entry, KEY, 7, 1024).as_deref(), Some(OF_ROWS));
        let unpacked = encode(&entry, KEY, 7, usize::MAX).expect("it can be written");
        assert_eq!((OF_ROWS[4], unpacked[4]), (ROWS, UNPACKED));
        assert!(OF_ROWS.len() < unpacked.len() / 3, "{} of {}", OF_ROWS.len(), unpacked.len());
        assert!(
            encode(&snapshot(b"[1],[2]"), KEY, 7, 0).is_some_and(|bytes| bytes[4] == UNPACKED),
            "packed it is longer"
        );
    }

    #[test]
    fn a_method_of_a_later_version_is_not_taken_for_damage() {
        let mut bytes = OF_ROWS.to_vec();
        bytes[4] = ROWS + 1;
        seal(&mut bytes);
        assert!(matches!(decode(&Bytes::from(bytes), KEY, 7), Err(Unreadable::Version)));
    }

    #[test]
    #[ignore = "writes the snapshots; only for a new version of the format"]
    fn write_snapshots() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cache/snapshots");
        let bodies =
            [("entry-v2.bin", short_body()), ("entry-v2-zstd.bin", long_body()), ("entry-v2-rows.bin", body_of_rows())];
        for (name, body) in bodies {
            let bytes = encode(&snapshot(&body), KEY, 7, 1024).expect("it can be written");
            std::fs::write(format!("{folder}/{name}"), bytes).expect("the folder is there");
        }
    }
}
