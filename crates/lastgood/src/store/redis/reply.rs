//! What Redis answers, in the words of the contract.

use ::redis::{ErrorKind, RedisError};

use super::link::Fault;
use crate::store::StoreError;

/// Error codes of a server that is well but does not take this write.
const REFUSED: [&str; 4] = ["OOM", "READONLY", "MISCONF", "NOREPLICAS"];

/// Parts of `ERR` texts that speak of the one value, not of the server.
const TOO_LARGE: [&str; 2] = ["exceeds maximum allowed size", "max request size exceeded"];

pub(super) fn read_error(fault: &Fault) -> StoreError {
    match fault {
        Fault::Down(why) => StoreError::Unavailable(why.to_string()),
        Fault::Redis(error) => store_error(error),
    }
}

/// A write without permission is refused; an account that may only read is as good as a read-only server.
pub(super) fn write_error(fault: &Fault) -> StoreError {
    match fault {
        Fault::Redis(error) if error.code() == Some("NOPERM") => StoreError::Refused(text(error)),
        _ => read_error(fault),
    }
}

fn store_error(error: &RedisError) -> StoreError {
    let text = text(error);
    match error.code() {
        Some("WRONGTYPE") => StoreError::Corrupt(text),
        Some("MOVED" | "ASK") => {
            StoreError::Unavailable(format!("{text} (this Redis is one of a cluster: write redis+cluster:// for it)"))
        }
        Some(code) if REFUSED.contains(&code) => StoreError::Refused(text),
        Some(_) if TOO_LARGE.iter().any(|part| text.contains(part)) => StoreError::Refused(text),
        Some(_) => StoreError::Unavailable(text),
        None if error.is_timeout() => StoreError::Timeout,
        None if error.kind() == ErrorKind::UnexpectedReturnType => StoreError::Corrupt(text),
        None => StoreError::Unavailable(text),
    }
}

/// An error as the server worded it, its code included.
pub(super) fn text(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("{code} {}", error.detail().unwrap_or_default()),
        None => error.to_string(),
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
}
