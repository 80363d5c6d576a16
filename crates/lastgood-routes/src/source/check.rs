//! Why a source is not there, or cannot do what its routes declare.

use std::error::Error;
use std::fmt;

use super::object::bucket;
use super::sql::StatementError;

/// Why a source is not there, or cannot do what its routes declare. Displayed, it names no secret, and says after a
/// semicolon or in a question how to fix it.
#[derive(Debug)]
pub(crate) enum CheckError {
    /// An API does not answer as it must.
    Api {
        why: Box<lastgood::Error>,
        /// What TLS or the proxy says, where that failed.
        said: Option<String>,
        /// How to fix it.
        hint: &'static str,
    },
    /// An API answers with an error of its own.
    ApiStatus {
        /// As it is declared.
        api: String,
        status: u16,
    },
    /// The key of an object is no path.
    NotPath,
    /// The driver of a bucket reports an error.
    Bucket {
        /// As it is declared.
        bucket: String,
        /// What the driver says.
        why: object_store::Error,
    },
    /// An object may not be read.
    Object {
        /// The bucket, as it is declared.
        bucket: String,
        why: Box<lastgood::Error>,
    },
    /// A bucket has nothing at the places that are declared.
    NothingThere {
        /// The bucket, as it is declared.
        bucket: String,
        /// The key, as it is declared.
        key: String,
    },
    /// An object lacks a field that is computed with, but has one with nearly that name.
    NoField {
        path: String,
        /// The field, as it is declared.
        name: String,
        /// The field that it has.
        meant: String,
    },
    /// A bucket does not answer in time.
    BucketLate(String),
    /// A database does not take a statement.
    Database {
        /// As it is declared.
        database: String,
        why: StatementError,
    },
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api { said: Some(said), hint, .. } => write!(f, "{said}; {hint}"),
            Self::Api { why, hint, .. } => write!(f, "{}; {hint}", why.message),
            Self::ApiStatus { api, status } => {
                write!(f, "api {api} answers with the error {status}; is its url right?")
            }
            Self::NotPath => f.write_str("the key is no path"),
            Self::Bucket { bucket, why } => write!(f, "{bucket}: {}", bucket::of_check(why)),
            Self::Object { bucket, why } => write!(f, "{bucket}: {}", why.message),
            Self::NothingThere { bucket, key } => {
                write!(f, "{bucket}: nothing lies under {key}; is the key right?")
            }
            Self::NoField { path, name, meant } => {
                write!(f, "{path} has no field `{name}`, which `fields` names; did you mean `{meant}`?")
            }
            Self::BucketLate(bucket) => {
                write!(f, "{bucket}: it did not answer in time; is it reachable from here?")
            }
            Self::Database { database, why } => write!(f, "{database}: {why}"),
        }
    }
}

impl Error for CheckError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // Displayed, it says what these say.
            Self::Api { why, said: None, .. } | Self::Object { why, .. } => why.source(),
            Self::Database { why, .. } => why.source(),
            Self::Api { .. } | Self::Bucket { .. } => None,
            Self::ApiStatus { .. } | Self::NotPath | Self::NothingThere { .. } | Self::NoField { .. } => None,
            Self::BucketLate(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use lastgood::Reason;
    use lastgood_testing::says_each_part_once;

    use super::*;
    use crate::source::sql::error::AnswerError;

    #[test]
    fn each_says_each_part_once() {
        let name = || "main".to_owned();
        let refused = || {
            lastgood::Error::new(Reason::Unreachable, "no one is there").with_source(io::Error::other("(os error 111)"))
        };
        let driver = || object_store::Error::NotSupported { source: "no such thing".into() };
        let of_database = |why| CheckError::Database { database: name(), why };
        for error in [
            CheckError::Api { why: Box::new(refused()), said: None, hint: "look" },
            CheckError::Api {
                why: Box::new(refused()),
                said: Some("TLS failed: (os error 111)".to_owned()),
                hint: "look",
            },
            CheckError::Bucket { bucket: name(), why: driver() },
            CheckError::Object { bucket: name(), why: Box::new(refused()) },
            CheckError::NotPath,
            of_database(StatementError::Refused(Box::new(refused()))),
            of_database(StatementError::Declared(AnswerError::File(io::Error::other("no such file")))),
            of_database(StatementError::Driver(sqlx::Error::Io(io::Error::other("no such disk")))),
            of_database(StatementError::Late),
        ] {
            says_each_part_once(&error);
        }
    }
}
