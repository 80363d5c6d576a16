//! What servers that speak Redis have in common, whichever protocol carries it.

use std::time::Duration;

use super::StoreError;

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

/// A time to live as `PX` takes it.
pub(super) fn ttl_millis(ttl: Duration) -> u64 {
    ttl.clamp(Duration::from_millis(1), LONGEST_TTL).as_millis() as u64
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

/// The `used_memory` of an `INFO memory`.
pub(super) fn used_memory(info: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix("used_memory:"))?.trim().parse().ok()
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

    #[test]
    fn memory_in_use_is_found_in_the_info_text() {
        let info = "# Memory\r\nused_memory:1048576\r\nused_memory_human:1.00M\r\n";
        assert_eq!(used_memory(info), Some(1_048_576));
        assert_eq!(used_memory("# Memory\r\n"), None);
    }

    #[test]
    fn a_hosted_database_that_is_full_refuses_and_one_that_is_used_up_is_unavailable() {
        let error = |text: &str| error_of("ERR", text.to_owned());
        assert!(matches!(error("ERR DB capacity quota exceeded"), StoreError::Refused(_)));
        assert!(matches!(error("ERR max single record size exceeded"), StoreError::Refused(_)));
        assert!(matches!(error("ERR max requests limit exceeded"), StoreError::Unavailable(_)));
    }
}
