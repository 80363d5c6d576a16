//! What servers that speak Redis have in common, over any protocol.

use std::time::Duration;

use bytes::Bytes;

use super::{StoreError, Usage};
use crate::clock::Timestamp;

mod counters;
mod fields;
pub(super) mod stream;
pub(super) mod swap;

/// Redis counts a time to live in milliseconds and adds it to the time of day; ten years never overflow.
const LONGEST_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Error codes of a server that is well but does not take this write.
const REFUSED: [&str; 4] = ["OOM", "READONLY", "MISCONF", "NOREPLICAS"];

/// Parts of `ERR` texts that speak of the one value or of the room for it, not of the server.
const NO_ROOM: [&str; 5] = [
    "exceeds maximum allowed size",
    "max request size exceeded",
    "max single record size exceeded",
    "max key size exceeded",
    "DB capacity quota exceeded",
];

/// What `TIME` answers: seconds and microseconds.
pub(super) fn time(parts: &[Bytes]) -> Result<Timestamp, StoreError> {
    let number = |part: &Bytes| std::str::from_utf8(part).ok()?.parse::<u64>().ok();
    let odd = || StoreError::Corrupt("the server does not tell the time".to_owned());
    let [seconds, micros] = parts else { return Err(odd()) };
    let (seconds, micros) = number(seconds).zip(number(micros)).ok_or_else(odd)?;
    Ok(Timestamp::from_millis(seconds.saturating_mul(1_000).saturating_add(micros / 1_000)))
}

/// A time to live as `PX` takes it.
pub(super) fn ttl_millis(ttl: Duration) -> u64 {
    ttl.clamp(Duration::from_millis(1), LONGEST_TTL).as_millis() as u64
}

/// An error in the server's words, without what it adds for the author of a script: `OOM command not allowed … script:
/// 8b9a…, on @user_script:1.`
#[cfg(feature = "redis")]
pub(super) fn plain(code: &str, detail: &str) -> String {
    let detail = detail.split_once(" script: ").map_or(detail, |(detail, _)| detail);
    let detail = detail.split_once(", on @user_script:").map_or(detail, |(detail, _)| detail).trim();
    match (detail.is_empty(), code) {
        (false, _) => format!("{code} {detail}"),
        (true, "NOPERM") => "NOPERM: this user may not do that".to_owned(),
        (true, _) => code.to_owned(),
    }
}

/// An error that the server worded itself: its code, and the whole text.
pub(super) fn error_of(code: &str, text: String) -> StoreError {
    match code {
        "WRONGTYPE" => StoreError::Corrupt(text),
        code if REFUSED.contains(&code) => StoreError::Refused(text),
        _ if NO_ROOM.iter().any(|part| text.contains(part)) => StoreError::Refused(text),
        _ => StoreError::Unavailable(text),
    }
}

/// The same as the answer to a write. Without permission it is refused; an account that may only read is as good as a
/// read-only server.
pub(super) fn write_error_of(code: &str, text: String) -> StoreError {
    match code {
        "NOPERM" => StoreError::Refused(text),
        code => error_of(code, text),
    }
}

/// The longest text of an `INFO` that is passed on.
const LONGEST_FIGURE: usize = 32;

/// What an `INFO` says of the server's memory, and how many keys there are.
pub(super) fn usage(info: Option<&str>, keys: Option<u64>) -> Usage {
    let figure = |name: &str| {
        let line = info?.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.trim();
        let is_plain = !line.is_empty() && line.len() <= LONGEST_FIGURE && line.chars().all(|c| c.is_ascii_graphic());
        is_plain.then_some(line)
    };
    let number = |name: &str| figure(name)?.parse().ok();
    Usage {
        keys,
        bytes: number("used_memory"),
        bytes_human: figure("used_memory_human").map(str::to_owned),
        limit: number("maxmemory").filter(|limit| *limit > 0),
        evicted_keys: number("evicted_keys"),
        file_bytes: None,
    }
}

/// The error of a script. A server without scripts, or an account that may not run them, is well.
pub(super) fn script_error_of(code: &str, text: String) -> StoreError {
    match write_error_of(code, text) {
        StoreError::Unavailable(_) if code == "LATE" => StoreError::Late,
        StoreError::Unavailable(text) if code == "ERR" => StoreError::Refused(text),
        error => error,
    }
}

/// A pattern for `MATCH` that takes `prefix` literally.
pub(super) fn glob_of_prefix(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 8);
    for character in prefix.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('*');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_escaped_into_a_pattern() {
        assert_eq!(glob_of_prefix("a:*b?[c]\\"), "a:\\*b\\?\\[c\\]\\\\*");
        assert_eq!(glob_of_prefix(""), "*");
    }

    #[cfg(feature = "redis")]
    #[test]
    fn an_error_is_shown_without_the_place_in_a_script_and_never_cut_off() {
        let full = "command not allowed when used memory > 'maxmemory'. script: 8b9a668c, on @user_script:1.";
        assert_eq!(plain("OOM", full), "OOM command not allowed when used memory > 'maxmemory'.");
        assert_eq!(plain("ERR", "wrong, on @user_script:7."), "ERR wrong");
        assert_eq!(plain("NOPERM", "this user has no permissions"), "NOPERM this user has no permissions");
        assert_eq!(plain("NOPERM", ""), "NOPERM: this user may not do that");
        assert_eq!(plain("BUSY", " "), "BUSY");
    }

    #[test]
    fn memory_its_limit_and_evictions_are_found_in_the_info_text() {
        let info = "# Memory\r\nused_memory:1048576\r\nused_memory_human:1.00M\r\nmaxmemory:2097152\r\n\
                    # Stats\r\nevicted_keys:7\r\n";
        let expected = Usage {
            keys: Some(3),
            bytes: Some(1_048_576),
            bytes_human: Some("1.00M".to_owned()),
            limit: Some(2_097_152),
            evicted_keys: Some(7),
            file_bytes: None,
        };
        assert_eq!(usage(Some(info), Some(3)), expected);
        assert_eq!(usage(Some("maxmemory:0\r\n"), None), Usage::default(), "zero is no limit");
        for odd in ["# Memory\r\n", "used_memory:-1", "used_memory_human:1.00M\u{1b}[31m", "used_memory:"] {
            assert_eq!(usage(Some(odd), None), Usage::default(), "{odd:?}");
        }
        let long = format!("used_memory_human:{}", "9".repeat(1_000));
        assert_eq!(usage(Some(&long), None), Usage::default());
    }

    #[test]
    fn a_server_without_scripts_refuses_and_is_well() {
        assert!(matches!(script_error_of("ERR", "ERR unknown command 'EVAL'".into()), StoreError::Refused(_)));
        assert!(matches!(script_error_of("NOPERM", "NOPERM no".into()), StoreError::Refused(_)));
        assert!(matches!(script_error_of("LOADING", "LOADING".into()), StoreError::Unavailable(_)));
    }

    #[test]
    fn a_hosted_database_that_is_full_refuses_and_one_that_is_used_up_is_unavailable() {
        let error = |text: &str| error_of("ERR", text.to_owned());
        assert!(matches!(error("ERR DB capacity quota exceeded"), StoreError::Refused(_)));
        assert!(matches!(error("ERR max single record size exceeded"), StoreError::Refused(_)));
        assert!(matches!(error("ERR max requests limit exceeded"), StoreError::Unavailable(_)));
    }
}
