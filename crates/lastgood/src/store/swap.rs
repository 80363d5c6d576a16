//! Changes of a key that take place only if it holds what is expected.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use super::{Store, StoreError, dialect};

/// How much of a value's beginning and end tells it from others: entries begin with their times, and end with a checksum
/// of all that they hold.
const HEAD: usize = 50;
const TAIL: usize = 4;

/// Tells what a key holds from what it held before and after.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(String);

impl Version {
    /// The version of a value.
    pub fn of(value: &[u8]) -> Version {
        let head = &value[..value.len().min(HEAD)];
        let tail = &value[value.len().saturating_sub(TAIL)..];
        // In hexadecimal, because a request over REST is text.
        let mut version = String::with_capacity(2 * (HEAD + TAIL));
        for byte in head.iter().chain(tail) {
            _ = write!(version, "{byte:02x}");
        }
        Version(version)
    }
}

/// A change of a key that takes place only if the key holds what is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// The key.
    pub key: String,
    /// What it must hold; `None` where it must hold nothing.
    pub expected: Option<Version>,
    /// What it holds from then on, and for how long; `None` where it is to hold nothing.
    pub to: Option<(Bytes, Duration)>,
}

impl Swap {
    /// The words of the command that swaps in Redis, but for the last, which is the value; it answers 1 where it did.
    pub(super) fn command(&self) -> [String; 6] {
        const SCRIPT: &str = "\
            if ARGV[1] == '' then if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end \
            else local held = redis.call('GETRANGE', KEYS[1], 0, 49)..redis.call('GETRANGE', KEYS[1], -4, -1) \
            held = string.gsub(held, '.', function(c) return string.format('%02x', string.byte(c)) end) \
            if held ~= ARGV[1] then return 0 end end \
            if ARGV[2] == '0' then redis.call('UNLINK', KEYS[1]) \
            else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2]) end \
            return 1";
        let millis = self.to.as_ref().map_or(0, |(_, ttl)| dialect::ttl_millis(*ttl));
        let expected = self.expected.as_ref().map(|version| version.0.clone()).unwrap_or_default();
        let words = ["EVAL", SCRIPT, "1"].map(str::to_owned);
        let [eval, script, keys] = words;
        [eval, script, keys, self.key.clone(), expected, millis.to_string()]
    }

    /// The value that it writes, if any.
    pub(super) fn value(&self) -> Bytes {
        self.to.as_ref().map(|(value, _)| value.clone()).unwrap_or_default()
    }

    /// Whether a key that holds `value` may be changed.
    pub(super) fn is_expected(&self, value: Option<&[u8]>) -> bool {
        self.expected == value.map(Version::of)
    }
}

/// Swaps where no other process changes the key meanwhile.
pub(super) async fn swap_alone<S: Store + ?Sized>(store: &S, swap: &Swap) -> Result<bool, StoreError> {
    let held = store.get(&swap.key).await?;
    if !swap.is_expected(held.as_deref()) {
        return Ok(false);
    }
    match &swap.to {
        Some((value, ttl)) => store.put(&swap.key, value.clone(), *ttl).await?,
        None => drop(store.remove(std::slice::from_ref(&swap.key)).await?),
    }
    Ok(true)
}
