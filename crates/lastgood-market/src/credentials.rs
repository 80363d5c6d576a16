//! Exchange API keys, encrypted at rest.
//!
//! One file, `credentials` in the data directory, holds every key. Each record is sealed with AES-256-GCM under a key
//! that is derived from the master key; its name, venue, environment and algorithm are authenticated with it, so that
//! no record can pass for another. A record may be of a user of the application behind the gateway; secrets of users may
//! also lie in the application's own database, sealed one by one ([`CredentialStore::seal`], [`open_sealed`]). That the
//! file is the newest one is not authenticated: who may write it may put an older one in its place.

use std::fmt;
use std::path::{Path, PathBuf};

use lastgood::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::venue::Venue;

mod algorithm;
mod cipher;
mod error;
mod file;
mod records;
mod sealed;
mod user;

pub use self::algorithm::{Algorithm, SecretError};
pub use self::cipher::MasterKey;
use self::cipher::SHORTEST_PASSPHRASE;
pub use self::error::CredentialError;
pub(crate) use self::file::FileStamp;
pub use self::records::Records;
pub use self::sealed::open_sealed;
pub use self::user::UserId;

use self::file::Stored;

/// Which of the exchange's worlds a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Environment {
    /// Real money.
    Mainnet,
    /// Play money, on hosts of its own.
    Testnet,
}

impl Environment {
    /// Every environment, by the word for files and the command line.
    pub const ALL: [(&'static str, Environment); 2] =
        [("mainnet", Environment::Mainnet), ("testnet", Environment::Testnet)];

    /// The word for files and the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Environment::Mainnet => "mainnet",
            Environment::Testnet => "testnet",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What of a credential may be shown, and is authenticated with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The operator's name for it.
    pub name: String,
    /// Whose it is; `None` for the gateway's own.
    pub user: Option<UserId>,
    /// The market it is for.
    pub venue: Venue,
    /// Which of the exchange's worlds it opens.
    pub environment: Environment,
    /// How it signs.
    pub algorithm: Algorithm,
    /// When it was added.
    pub added_at: Timestamp,
}

/// An API key and its secret. `Debug` shows neither.
#[derive(Clone, Debug)]
pub struct Credential {
    /// What of it may be shown.
    pub label: Label,
    /// What goes into `X-MBX-APIKEY`.
    pub api_key: SecretString,
    /// What requests are signed with.
    pub secret: SecretString,
}

/// How many characters of an API key are shown to identify it.
const SHOWN: usize = 4;
/// The longest name.
const LONGEST_NAME: usize = 64;
/// The longest API key; the exchange's have 64 characters.
const LONGEST_API_KEY: usize = 256;
/// The longest secret; a private key in PEM has some 120 characters.
const LONGEST_SECRET: usize = 8 << 10;
/// The most records of a file.
const MOST_RECORDS: usize = 10_000;

impl Credential {
    /// The first characters of the API key, as far as it may be shown.
    pub fn api_key_begins(&self) -> String {
        let key = self.api_key.expose_secret();
        // Never a large part of it.
        key.chars().take(SHOWN.min(key.len() / SHOWN)).collect()
    }

    /// Whether it can be used: a sound name, a key that fits a header, a secret that signs.
    ///
    /// # Errors
    ///
    /// [`CredentialError::Unsound`] with the problem, and no part of the key or secret.
    pub fn check(&self) -> Result<(), CredentialError> {
        check_name(&self.label.name)?;
        let key = self.api_key.expose_secret();
        if key.is_empty() || key.len() > LONGEST_API_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let fault = format!("the API key must be 1 to {LONGEST_API_KEY} characters of ASCII without blanks");
            return Err(CredentialError::Unsound(fault));
        }
        if self.secret.expose_secret().len() > LONGEST_SECRET {
            return Err(CredentialError::Unsound(format!("the secret is longer than {LONGEST_SECRET} bytes")));
        }
        self.label.algorithm.check(&self.secret).map_err(|why| CredentialError::Unsound(why.to_string()))
    }
}

/// Whether a name may stand in the file, in a log line and on a command line.
///
/// # Errors
///
/// [`CredentialError::Unsound`] when it is empty, too long or holds anything but letters, digits, `-`, `_` and `.`.
pub fn check_name(name: &str) -> Result<(), CredentialError> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(sound) {
        let fault = format!("the name {name:?} must be 1 to {LONGEST_NAME} of the characters a-z A-Z 0-9 - _ .");
        return Err(CredentialError::Unsound(fault));
    }
    Ok(())
}

/// The file of credentials. Every change is made under a lock, to a new file that then takes the old one's place.
#[derive(Clone, Debug)]
pub struct CredentialStore {
    path: PathBuf,
}

impl CredentialStore {
    /// The store of a data directory. Nothing is read or made yet.
    pub fn in_directory(data_dir: &Path) -> Self {
        CredentialStore { path: data_dir.join("credentials") }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a file. What cannot be looked at is taken to be there, so that reading it says why.
    pub fn exists(&self) -> bool {
        self.path.try_exists().unwrap_or(true)
    }

    /// What distinguishes one version of the file from the next, without opening it; `None` without a file.
    pub(crate) fn stamp(&self) -> Option<FileStamp> {
        file::stamp(&self.path)
    }

    /// The records of the file, each to be opened by itself; none without a file.
    ///
    /// # Errors
    ///
    /// As [`CredentialStore::open`]; a record that is damaged is found when it is opened.
    pub fn records(&self, master: &MasterKey) -> Result<Records, CredentialError> {
        match file::read(&self.path)? {
            Some(stored) => Records::of(stored, master),
            None => Ok(Records::default()),
        }
    }

    /// Seals a secret of a user's as a text for a table of the application's own; see [`open_sealed`]. With a passphrase
    /// for a master key the text takes the salt of this file, which is made if there is none: what was sealed here is then
    /// opened with one slow derivation.
    ///
    /// # Errors
    ///
    /// When the secret is empty or too long, or the file is needed and cannot be read, opened with this key, or written.
    pub fn seal(&self, master: &MasterKey, user: &UserId, secret: &SecretString) -> Result<String, CredentialError> {
        let by = match master.is_passphrase() {
            false => master.derivation()?,
            true => self.change(|stored| {
                let stored = match stored {
                    Some(stored) => stored,
                    None => Stored::new(master)?,
                };
                Records::check(&stored, master)?;
                let by = stored.derivation.clone();
                Ok((stored, by))
            })?,
        };
        sealed::seal(master, &by, user, secret)
    }

    /// Every credential, in the order they were added; none without a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is damaged, is of a later version, or the master key does not fit it.
    pub fn open(&self, master: &MasterKey) -> Result<Vec<Credential>, CredentialError> {
        self.records(master)?.open_all()
    }

    /// Adds a credential. The first one makes the file.
    ///
    /// # Errors
    ///
    /// When it is unsound, its user has one of its name, or the file cannot be read, opened with this key, or written.
    pub fn add(&self, master: &MasterKey, credential: &Credential) -> Result<(), CredentialError> {
        credential.check()?;
        self.change(|stored| {
            let mut stored = match stored {
                Some(stored) => stored,
                None => Stored::new(master)?,
            };
            // Nothing is added under another key than the rest.
            open_all(&stored, master)?;
            let Label { name, user, .. } = &credential.label;
            if position(&stored, name, user.as_ref()).is_some() {
                return Err(CredentialError::Taken(name.clone()));
            }
            if stored.records.len() >= MOST_RECORDS {
                return Err(CredentialError::Unsound(format!("there are {MOST_RECORDS} credentials already")));
            }
            stored.records.push(cipher::seal(&stored.data_key(master)?, credential)?);
            Ok((stored, ()))
        })
    }

    /// Removes the credential of a name, of this user or of the gateway's own. Needs no master key, so that what can no
    /// longer be opened can be removed.
    ///
    /// # Errors
    ///
    /// When there is none of the name, or the file cannot be read or written.
    pub fn remove(&self, name: &str, user: Option<&UserId>) -> Result<Label, CredentialError> {
        self.change(|stored| {
            let mut stored = stored.ok_or_else(|| CredentialError::Unknown(name.to_owned()))?;
            let found = position(&stored, name, user);
            let removed = stored.records.remove(found.ok_or_else(|| CredentialError::Unknown(name.to_owned()))?);
            Ok((stored, removed.label))
        })
    }

    /// Encrypts everything again, under another master key, and says how many records there are.
    ///
    /// # Errors
    ///
    /// When there is no file, the old key does not fit it, or it cannot be read or written; the file is then as it was.
    pub fn rotate(&self, old: &MasterKey, new: &MasterKey) -> Result<usize, CredentialError> {
        self.change(|stored| {
            let stored = stored.ok_or(CredentialError::Empty)?;
            let mut renewed = Stored::new(new)?;
            let key = renewed.data_key(new)?;
            let credentials = open_all(&stored, old)?;
            renewed.records = credentials.iter().map(|one| cipher::seal(&key, one)).collect::<Result<_, _>>()?;
            let count = renewed.records.len();
            Ok((renewed, count))
        })
    }

    fn change<T>(
        &self,
        change: impl FnOnce(Option<Stored>) -> Result<(Stored, T), CredentialError>,
    ) -> Result<T, CredentialError> {
        let _lock = file::lock(&self.path)?;
        let (stored, value) = change(file::read(&self.path)?)?;
        file::replace(&self.path, &stored)?;
        Ok(value)
    }
}

fn position(stored: &Stored, name: &str, user: Option<&UserId>) -> Option<usize> {
    stored.records.iter().position(|sealed| sealed.label.name == name && sealed.label.user.as_ref() == user)
}

fn open_all(stored: &Stored, master: &MasterKey) -> Result<Vec<Credential>, CredentialError> {
    let key = Records::check(stored, master)?;
    stored.records.iter().map(|sealed| cipher::open(&key, sealed)).collect()
}

#[cfg(test)]
mod tests;
