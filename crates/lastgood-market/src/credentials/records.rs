//! A file that was read: its records lie sealed until they are needed.

use std::collections::HashMap;

use super::cipher::{self, DataKey, MasterKey, Sealed};
use super::file::Stored;
use super::{Credential, CredentialError, UserId};

/// The records of a credentials file, and the key that opens them.
#[derive(Default)]
pub struct Records {
    key: Option<DataKey>,
    records: Vec<Sealed>,
    /// Where each user's are; the gateway's own under `None`.
    of: HashMap<Option<UserId>, Vec<usize>>,
}

impl Records {
    pub(super) fn of(stored: Stored, master: &MasterKey) -> Result<Records, CredentialError> {
        let key = Records::check(&stored, master)?;
        let mut of: HashMap<_, Vec<usize>> = HashMap::new();
        for (position, sealed) in stored.records.iter().enumerate() {
            of.entry(sealed.label.user.clone()).or_default().push(position);
        }
        Ok(Records { key: Some(key), records: stored.records, of })
    }

    /// The key of the records, if the master key is the right one.
    pub(super) fn check(stored: &Stored, master: &MasterKey) -> Result<DataKey, CredentialError> {
        let key = stored.data_key(master)?;
        match cipher::fits(&key, &stored.check) {
            true => Ok(key),
            false => Err(CredentialError::WrongMasterKey),
        }
    }

    /// How many there are, of all users and of none.
    pub fn count(&self) -> usize {
        self.records.len()
    }

    /// Those of a user, or the gateway's own, in the order they were added.
    ///
    /// # Errors
    ///
    /// [`CredentialError::Damaged`] when one of them does not open.
    pub fn open_of(&self, user: Option<&UserId>) -> Result<Vec<Credential>, CredentialError> {
        let positions = self.of.get(&user.cloned()).map(Vec::as_slice).unwrap_or_default();
        self.open(positions.iter().filter_map(|position| self.records.get(*position)))
    }

    /// All of them, in the order they were added.
    ///
    /// # Errors
    ///
    /// [`CredentialError::Damaged`] when one of them does not open.
    pub(crate) fn open_all(&self) -> Result<Vec<Credential>, CredentialError> {
        self.open(self.records.iter())
    }

    fn open<'a>(&self, records: impl Iterator<Item = &'a Sealed>) -> Result<Vec<Credential>, CredentialError> {
        let Some(key) = &self.key else { return Ok(Vec::new()) };
        records.map(|sealed| cipher::open(key, sealed)).collect()
    }
}
