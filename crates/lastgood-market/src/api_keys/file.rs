//! Keys of users in the credentials file, which may change while the gateway runs.

use std::sync::{Arc, Mutex, PoisonError};

use super::{ApiKey, KeySource, Once};
use crate::credentials::{CredentialStore, Environment, FileStamp, MasterKey, Records, UserId};
use crate::venue::Venue;
use async_trait::async_trait;
use lastgood::{Error, Reason};

/// The keys of users in a credentials file.
#[derive(Clone)]
pub struct FileKeys(Arc<Inner>);

struct Inner {
    store: CredentialStore,
    master: Arc<MasterKey>,
    /// The version of the file that was read last, and its records if it could be.
    read: Mutex<Option<(FileStamp, Option<Arc<Records>>)>>,
    reported: Once,
}

impl FileKeys {
    /// The keys in `store`, opened with `master`.
    pub fn new(store: CredentialStore, master: Arc<MasterKey>) -> FileKeys {
        FileKeys(Arc::new(Inner { store, master, read: Mutex::default(), reported: Once::new() }))
    }
}

impl Inner {
    /// The records of the file as it is now. A file that cannot be opened is reported once a version.
    fn records(&self) -> Option<Arc<Records>> {
        let stamp = self.store.stamp()?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, records)) = read.as_ref().filter(|(known, _)| *known == stamp) {
            return records.clone();
        }
        let records = match self.store.records(&self.master) {
            Ok(records) => Some(Arc::new(records)),
            Err(why) => {
                let path = self.store.path().display().to_string();
                tracing::error!(path, %why, "the credentials cannot be opened: users go on without the keys in them");
                None
            }
        };
        *read = Some((stamp, records.clone()));
        records
    }

    /// The first key that was added for a user, market and environment.
    fn find(&self, user: &UserId, venue: Venue, environment: Environment) -> Option<ApiKey> {
        let credentials = match self.records()?.open_of(Some(user)) {
            Ok(credentials) => credentials,
            Err(why) => {
                if self.reported.is_first(user.to_string()) {
                    tracing::warn!(%user, %why, "a user's API key is not used");
                }
                return None;
            }
        };
        let mut of = credentials.iter().filter(|one| (one.label.venue, one.label.environment) == (venue, environment));
        of.find_map(|one| ApiKey::new(&one.api_key, venue, environment))
    }
}

#[async_trait]
impl KeySource for FileKeys {
    async fn find(&self, user: &UserId, venue: Venue, environment: Environment) -> Result<Option<ApiKey>, Error> {
        let (inner, user) = (Arc::clone(&self.0), user.clone());
        // A file is read, and a passphrase takes a while to become a key.
        let found = tokio::task::spawn_blocking(move || inner.find(&user, venue, environment)).await;
        found.map_err(|why| Error::new(Reason::Panicked, why.to_string()))
    }
}
