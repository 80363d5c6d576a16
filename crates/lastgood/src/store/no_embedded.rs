//! Stands in for the embedded store in a build without the feature `embedded`: no file can be opened.

use std::fmt;
use std::path::Path;

use bytes::Bytes;

use super::StoreError;
use crate::clock::{Clock, Timestamp};

/// The file of [`CacheBuilder::pending_file`](crate::CacheBuilder), of which there is none: that method needs the feature.
pub(crate) enum RowFile {}

/// What keeps such a file from being used, of which there is none.
#[derive(Clone, Debug)]
pub(crate) enum FileTrouble {}

impl fmt::Display for FileTrouble {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for FileTrouble {}

impl RowFile {
    pub(crate) fn open(_: &Path, _: &Clock, _: u64) -> Result<RowFile, StoreError> {
        Err(StoreError::Unavailable("this program is built without the feature `embedded` of lastgood".to_owned()))
    }

    pub(crate) fn was_there(&self) -> bool {
        match *self {}
    }

    pub(crate) fn set_aside(&self) -> Option<&Path> {
        match *self {}
    }

    pub(crate) fn is_read_only(&self) -> bool {
        match *self {}
    }

    pub(crate) fn all(&self) -> Result<Vec<(String, Bytes)>, FileTrouble> {
        match *self {}
    }

    pub(crate) fn write(&self, _: &[(String, Option<Bytes>)], _: Timestamp) -> Result<(), FileTrouble> {
        match *self {}
    }
}
