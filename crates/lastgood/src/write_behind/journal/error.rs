//! Why what waits for the store is not on disk.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use crate::store::{FileTrouble, StoreError};

/// Why the file of waiting changes cannot be read or written.
#[derive(Clone, Debug)]
pub(crate) enum JournalError {
    /// It cannot be opened: another process has it, or the disk is in trouble.
    Unopened(StoreError),
    /// Its rows cannot be read or written.
    Rows(FileTrouble),
    /// It can only be read.
    ReadOnly(PathBuf),
    /// It was not opened yet, or was left to another process.
    Closed,
    /// The task that was to write ended, with these words.
    Ended(String),
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JournalError::Unopened(why) => why.fmt(f),
            JournalError::Rows(why) => why.fmt(f),
            JournalError::ReadOnly(path) => write!(f, "{} cannot be written", path.display()),
            JournalError::Closed => f.write_str("the file is not open"),
            JournalError::Ended(why) => f.write_str(why),
        }
    }
}

impl Error for JournalError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // Displayed, it says what these say.
            JournalError::Unopened(why) => why.source(),
            JournalError::Rows(why) => why.source(),
            JournalError::ReadOnly(_) | JournalError::Closed | JournalError::Ended(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use lastgood_testing::says_each_part_once;

    use super::*;

    #[test]
    fn each_says_each_part_once() {
        for error in [
            JournalError::Unopened(StoreError::Unavailable("another process has it".to_owned())),
            JournalError::ReadOnly("waiting.redb".into()),
            JournalError::Closed,
            JournalError::Ended("it panicked".to_owned()),
        ] {
            says_each_part_once(&error);
        }
    }
}
