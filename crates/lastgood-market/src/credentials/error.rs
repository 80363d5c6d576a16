//! What can go wrong with credentials, each with how to fix it.

use std::fmt;
use std::path::PathBuf;

/// The problem. No message holds a key, a secret or a master key.
#[derive(Debug)]
#[non_exhaustive]
pub enum CredentialError {
    /// The master key is neither 32 bytes nor a passphrase.
    BadMasterKey,
    /// The file was written under another master key.
    WrongMasterKey,
    /// The file is not what was written; the text says where.
    Damaged(String),
    /// The file is of a later version.
    Newer(u64),
    /// The given value cannot be used; the text says why.
    Unsound(String),
    /// There is a credential of that name.
    Taken(String),
    /// There is no credential of that name.
    Unknown(String),
    /// A text is none that was sealed here.
    NotSealed,
    /// A sealed text does not open.
    NotOpened,
    /// There is no file.
    Empty,
    /// The operating system gave no random bytes.
    NoRandomness,
    /// A file could not be read or written.
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        why: std::io::Error,
    },
}

impl CredentialError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            CredentialError::BadMasterKey => {
                Some("make one with: openssl rand -hex 32, or choose a passphrase of 16 characters or more")
            }
            CredentialError::WrongMasterKey => Some(
                "set LASTGOOD_MASTER_KEY to the key the file was written with; if that is lost, \
                 delete the file and add the credentials again",
            ),
            CredentialError::Damaged(_) => {
                Some("restore the file from a backup, or delete it and add the credentials again")
            }
            CredentialError::Newer(_) => Some("use the version of lastgood that wrote it, or a later one"),
            CredentialError::Taken(_) => Some("remove the other first: lastgood credentials remove NAME"),
            CredentialError::Unknown(_) => Some("see what there is: lastgood credentials list"),
            CredentialError::NotSealed => Some("seal it: lastgood credentials seal --user ID"),
            CredentialError::NotOpened => Some(
                "it was sealed for another user, under another master key, or was changed; seal the secret again: \
                 lastgood credentials seal --user ID",
            ),
            CredentialError::Empty => Some("add one: lastgood credentials add NAME"),
            CredentialError::File { .. } => Some("see that the user of lastgood may read and write the data directory"),
            CredentialError::Unsound(_) | CredentialError::NoRandomness => None,
        }
    }
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CredentialError::BadMasterKey => write!(
                f,
                "the master key is neither 32 bytes in hexadecimal or base64, nor a passphrase of {} characters",
                super::SHORTEST_PASSPHRASE
            ),
            CredentialError::WrongMasterKey => f.write_str("the master key does not fit the credentials file"),
            CredentialError::Damaged(what) => write!(f, "the credentials file is damaged: {what}"),
            CredentialError::Newer(version) => {
                write!(f, "the credentials file has version {version}, which this lastgood does not know")
            }
            CredentialError::Unsound(what) => f.write_str(what),
            CredentialError::Taken(name) => write!(f, "there is a credential named {name} already"),
            CredentialError::Unknown(name) => write!(f, "there is no credential named {name:?}"),
            CredentialError::NotSealed => f.write_str("this is no text that lastgood credentials seal made"),
            CredentialError::NotOpened => f.write_str("the sealed text does not open for this user and master key"),
            CredentialError::Empty => f.write_str("there are no credentials"),
            CredentialError::NoRandomness => f.write_str("the operating system gave no random bytes"),
            CredentialError::File { doing, path, why } => write!(f, "failed to {doing} {}: {why}", path.display()),
        }
    }
}

impl std::error::Error for CredentialError {}
