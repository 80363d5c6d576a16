//! The file: its format, and how it is replaced.
//!
//! ```json
//! {"format": "lastgood-credentials", "version": 1,
//!  "key": {"by": "pbkdf2-hmac-sha256", "salt": "…", "iterations": 600000},
//!  "check": {"nonce": "…", "sealed": "…"},
//!  "records": [{"name": "main", "venue": "spot", "environment": "testnet", "algorithm": "hmac-sha256",
//!               "added_at": 1499827319559, "nonce": "…", "sealed": "…"}]}
//! ```
//!
//! A record of a user's has `"user": "ID"` as well. A file with such a record has version 2, which earlier programs refuse;
//! without one it has version 1, which they read.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::num::NonZeroU32;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lastgood::Timestamp;
use serde::{Deserialize, Serialize};

use super::cipher::{DataKey, Derivation, HKDF, MasterKey, PBKDF2, Sealed, check_value};
use super::{Algorithm, CredentialError, Environment, Label, MOST_RECORDS, UserId, check_name};
use crate::venue::Venue;

const FORMAT: &str = "lastgood-credentials";
/// Of files with and without records of users.
const VERSION: u64 = 2;
const VERSION_WITHOUT_USERS: u64 = 1;
/// A larger file was not written by this program.
const LARGEST: u64 = 16 << 20;

/// What the file holds.
pub(super) struct Stored {
    pub(super) derivation: Derivation,
    /// Nonce and sealed nothing: opens under the right key only.
    pub(super) check: (Vec<u8>, Vec<u8>),
    pub(super) records: Vec<Sealed>,
}

impl Stored {
    /// A file without records, with a salt of its own.
    pub(super) fn new(master: &MasterKey) -> Result<Stored, CredentialError> {
        let derivation = master.derivation()?;
        let check = check_value(&master.derive(&derivation)?)?;
        Ok(Stored { derivation, check, records: Vec::new() })
    }

    pub(super) fn data_key(&self, master: &MasterKey) -> Result<DataKey, CredentialError> {
        master.derive(&self.derivation)
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u64,
}

#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(flatten)]
    head: Head,
    key: WrittenKey,
    check: WrittenSeal,
    records: Vec<WrittenRecord>,
}

#[derive(Serialize, Deserialize)]
struct WrittenKey {
    by: String,
    salt: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iterations: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct WrittenSeal {
    nonce: String,
    sealed: String,
}

#[derive(Serialize, Deserialize)]
struct WrittenRecord {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    venue: String,
    environment: String,
    algorithm: String,
    added_at: u64,
    #[serde(flatten)]
    seal: WrittenSeal,
}

/// What distinguishes one version of the file from the next, without reading it; `None` without a file. Each version is a file of
/// its own, put in the place of the one before.
pub(super) fn stamp(path: &Path) -> Option<FileStamp> {
    let about = fs::metadata(path).ok()?;
    Some(FileStamp { inode: about.ino(), bytes: about.len(), modified: about.modified().ok() })
}

/// See [`stamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
}

/// What the file holds; `None` without a file.
pub(super) fn read(path: &Path) -> Result<Option<Stored>, CredentialError> {
    let failed = |why| CredentialError::File { doing: "read", path: path.to_owned(), why };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(failed(why)),
    };
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > LARGEST {
        return Err(CredentialError::Damaged(format!("it is larger than {LARGEST} bytes")));
    }
    decode(&text).map(Some)
}

fn decode(text: &[u8]) -> Result<Stored, CredentialError> {
    let damaged = |what: &str| CredentialError::Damaged(what.to_owned());
    let head: Head = serde_json::from_slice(text).map_err(|_| damaged("it is not what lastgood writes"))?;
    if head.format != FORMAT {
        return Err(damaged("it is not what lastgood writes"));
    }
    if !(VERSION_WITHOUT_USERS..=VERSION).contains(&head.version) {
        return Err(CredentialError::Newer(head.version));
    }
    let written: Written = serde_json::from_slice(text).map_err(|why| CredentialError::Damaged(why.to_string()))?;
    let salt = unpack(&written.key.salt)?;
    let derivation = match (written.key.by.as_str(), written.key.iterations) {
        (HKDF, None) => Derivation::Hkdf { salt },
        (PBKDF2, Some(count)) => {
            let iterations = NonZeroU32::new(count).filter(|count| Derivation::takes(*count));
            Derivation::Pbkdf2 { salt, iterations: iterations.ok_or_else(|| damaged("its iterations are unsound"))? }
        }
        _ => return Err(damaged("its key is derived in an unknown way")),
    };
    if written.records.len() > MOST_RECORDS {
        return Err(damaged("it has too many records"));
    }
    Ok(Stored {
        derivation,
        check: (unpack(&written.check.nonce)?, unpack(&written.check.sealed)?),
        records: written.records.into_iter().map(record).collect::<Result<_, _>>()?,
    })
}

fn record(written: WrittenRecord) -> Result<Sealed, CredentialError> {
    check_name(&written.name).map_err(|_| CredentialError::Damaged("a record has no sound name".to_owned()))?;
    let unknown = |what: &str| CredentialError::Damaged(format!("the record {} has an unknown {what}", written.name));
    let venue = Venue::ALL.into_iter().find(|venue| venue.as_str() == written.venue);
    let user = written.user.as_deref().map(UserId::parse).transpose().map_err(|_| unknown("user"))?;
    let label = Label {
        user,
        venue: venue.ok_or_else(|| unknown("venue"))?,
        environment: named(&Environment::ALL, &written.environment).ok_or_else(|| unknown("environment"))?,
        algorithm: named(&Algorithm::ALL, &written.algorithm).ok_or_else(|| unknown("algorithm"))?,
        added_at: Timestamp::from_millis(written.added_at),
        name: written.name,
    };
    Ok(Sealed { label, nonce: unpack(&written.seal.nonce)?, sealed: unpack(&written.seal.sealed)? })
}

fn named<T: Copy>(all: &[(&str, T)], word: &str) -> Option<T> {
    all.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}

fn unpack(text: &str) -> Result<Vec<u8>, CredentialError> {
    STANDARD.decode(text).map_err(|_| CredentialError::Damaged("a field is no base64".to_owned()))
}

fn encode(stored: &Stored) -> Result<Vec<u8>, serde_json::Error> {
    let seal =
        |nonce: &[u8], sealed: &[u8]| WrittenSeal { nonce: STANDARD.encode(nonce), sealed: STANDARD.encode(sealed) };
    let salt = STANDARD.encode(stored.derivation.salt());
    let key = match &stored.derivation {
        Derivation::Hkdf { .. } => WrittenKey { by: HKDF.to_owned(), salt, iterations: None },
        Derivation::Pbkdf2 { iterations, .. } => {
            WrittenKey { by: PBKDF2.to_owned(), salt, iterations: Some(iterations.get()) }
        }
    };
    let record = |Sealed { label, nonce, sealed }: &Sealed| WrittenRecord {
        name: label.name.clone(),
        user: label.user.as_ref().map(ToString::to_string),
        venue: label.venue.as_str().to_owned(),
        environment: label.environment.as_str().to_owned(),
        algorithm: label.algorithm.as_str().to_owned(),
        added_at: label.added_at.as_millis(),
        seal: seal(nonce, sealed),
    };
    let version = match stored.records.iter().any(|sealed| sealed.label.user.is_some()) {
        true => VERSION,
        false => VERSION_WITHOUT_USERS,
    };
    let written = Written {
        head: Head { format: FORMAT.to_owned(), version },
        key,
        check: seal(&stored.check.0, &stored.check.1),
        records: stored.records.iter().map(record).collect(),
    };
    let mut text = serde_json::to_vec_pretty(&written)?;
    text.push(b'\n');
    Ok(text)
}

fn sibling(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Keeps other processes from changing the file; ends when it is dropped, or with the process.
pub(super) fn lock(path: &Path) -> Result<File, CredentialError> {
    let lock = sibling(path, ".lock");
    let failed = |why| CredentialError::File { doing: "lock", path: lock.clone(), why };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock).map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

/// Puts a new file in the place of the old one: a process that is killed on the way leaves the old one whole.
pub(super) fn replace(path: &Path, stored: &Stored) -> Result<(), CredentialError> {
    let new = sibling(path, ".new");
    let failed = |why| CredentialError::File { doing: "write", path: new.clone(), why };
    let text = encode(stored).map_err(|why| failed(why.into()))?;
    if text.len() as u64 > LARGEST {
        return Err(CredentialError::Unsound(format!("the file would become larger than {LARGEST} bytes")));
    }
    // Another process may have been killed here before. Under the lock no other is writing it.
    match fs::remove_file(&new) {
        Err(why) if why.kind() != ErrorKind::NotFound => return Err(failed(why)),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new).map_err(failed)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&new, path).map_err(failed)?;
    // So that the name survives a loss of power too; not every file system can.
    if let Some(folder) = path.parent().and_then(|folder| File::open(folder).ok()) {
        let _ = folder.sync_all();
    }
    Ok(())
}
