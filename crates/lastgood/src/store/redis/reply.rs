//! What Redis answers, in the words of the contract.

use ::redis::{ErrorKind, RedisError};

use super::link::{Fault, single};
use crate::store::{StoreError, dialect};

pub(super) fn read_error(fault: &Fault) -> StoreError {
    match fault {
        Fault::Down(why) => StoreError::Unavailable(why.to_string()),
        Fault::Late => StoreError::Timeout,
        Fault::Redis(error) => store_error(error),
    }
}

pub(super) fn write_error(fault: &Fault) -> StoreError {
    match fault {
        Fault::Redis(error) if error.code().is_some() => {
            dialect::write_error_of(error.code().unwrap_or_default(), text(error))
        }
        _ => read_error(fault),
    }
}

pub(super) fn script_error(fault: &Fault) -> StoreError {
    match fault {
        Fault::Redis(error) if error.code().is_some() => {
            dialect::script_error_of(error.code().unwrap_or_default(), text(error))
        }
        _ => read_error(fault),
    }
}

fn store_error(error: &RedisError) -> StoreError {
    let text = text(error);
    match error.code() {
        Some("MOVED" | "ASK") => {
            StoreError::Unavailable(format!("{text} (this Redis is one of a cluster: write redis+cluster:// for it)"))
        }
        Some(code) => dialect::error_of(code, text),
        None if error.is_timeout() => StoreError::Timeout,
        None if error.kind() == ErrorKind::UnexpectedReturnType => StoreError::Corrupt(text),
        None => StoreError::Unavailable(text),
    }
}

/// An error as the server worded it, its code included.
pub(super) fn text(error: &RedisError) -> String {
    let error = single(error.clone());
    match error.code() {
        Some(code) => dialect::plain(code, error.detail().unwrap_or_default()),
        None => error.to_string(),
    }
}
