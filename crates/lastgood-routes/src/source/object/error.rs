//! The problems of a bucket or an object, as they are declared.

use std::error::Error;
use std::fmt;
use std::io;

use lastgood::http_client::NoTls;

use crate::source::selector::SelectError;

/// Why a bucket or an object cannot be made of its settings.
#[derive(Debug)]
pub(crate) enum ObjectError {
    /// The bucket's URL is of another kind.
    UnknownKind,
    /// The bucket's URL names no bucket, or credentials as well.
    NoBucket,
    /// What follows the bucket in its URL is no path.
    Prefix,
    /// A folder is declared with credentials or an endpoint.
    FolderWithCredentials,
    /// The folder is not there, or not for us.
    NoFolder {
        /// As it is declared.
        folder: String,
        /// What the system says.
        why: io::Error,
    },
    /// The folder cannot be used as a bucket.
    Folder {
        /// As it is declared.
        folder: String,
        /// What the driver says.
        why: object_store::Error,
    },
    /// A service account is declared for S3.
    ServiceAccountForS3,
    /// An access key is declared for Google Cloud Storage.
    AccessKeyForGcs,
    /// The driver does not take the endpoint or the region.
    S3Address,
    /// The driver does not take the service account's key. What it says may hold parts of the key.
    ServiceAccountKey,
    /// No connections can be made.
    Client(NoTls),
    /// The object's key has a fault.
    Key(KeyError),
    /// One object is wanted, and the key has a `*`.
    StarInKey,
    /// Names are wanted, and the key has no `*` where one is needed.
    NoStar,
    /// The selection from the object has a fault.
    Select(SelectError),
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind => f.write_str(
                "the URL is of no known kind; write s3://bucket/prefix, gs://bucket/prefix or file:./folder",
            ),
            Self::NoBucket => {
                f.write_str("the URL names no bucket; write it as s3://bucket/prefix, and credentials by themselves")
            }
            Self::Prefix => f.write_str("the prefix is no path; write folder/folder"),
            Self::FolderWithCredentials => {
                f.write_str("a folder takes neither credentials nor an endpoint; leave them out")
            }
            Self::NoFolder { folder, why } => {
                write!(f, "the folder {folder} cannot be used: {why}; make it, or name another")
            }
            Self::Folder { folder, why } => write!(f, "the folder {folder}: {why}"),
            Self::ServiceAccountForS3 => f.write_str("S3 takes an access key and its secret, not a service account"),
            Self::AccessKeyForGcs => f.write_str("Google Cloud Storage takes a service account, not an access key"),
            Self::S3Address => f.write_str("the S3 bucket's address or region cannot be used; see `endpoint`"),
            Self::ServiceAccountKey => {
                f.write_str("the service account's key cannot be read; give the JSON as downloaded")
            }
            Self::Client(why) => why.fmt(f),
            Self::Key(_) => f.write_str("the key"),
            Self::StarInKey => f.write_str("the key has a `*`, which only a list of names may; name one object"),
            Self::NoStar => f.write_str("a list of names needs one `*` in the key's last segment, as in daily/*.json"),
            Self::Select(why) => why.fmt(f),
        }
    }
}

impl Error for ObjectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Key(why) => Some(why),
            // Displayed, it says what these say.
            Self::NoFolder { why, .. } => why.source(),
            Self::Client(why) => why.source(),
            Self::Select(why) => why.source(),
            _ => None,
        }
    }
}

impl From<SelectError> for ObjectError {
    fn from(why: SelectError) -> Self {
        Self::Select(why)
    }
}

/// The problem with the key of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyError {
    /// A `{` has no `}`.
    NotClosed,
    /// A `}` has no `{`.
    NotOpened,
    /// A parameter is none of the route's.
    Undeclared(String),
    /// A segment of the key is empty or dots.
    Segment,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotClosed => f.write_str("a `{` has no `}`; write {name}"),
            Self::NotOpened => f.write_str("a `}` has no `{`; write {name}"),
            Self::Undeclared(name) => write!(f, "it uses {{{name}}}, which is not declared; declare it"),
            Self::Segment => f.write_str("it has an empty segment, or `.` or `..`; write it as folder/{name}.json"),
        }
    }
}

impl Error for KeyError {}
