//! The program's own API keys, opened once at the start.

use secrecy::SecretString;

use super::{ApiKey, Keys};
use crate::credentials::{Credential, CredentialError, CredentialStore, Environment, MasterKey};
use crate::venue::Venue;

/// One API key for each venue and environment that has any: the first that was added. Prints none of them.
#[derive(Default)]
pub struct AccountKeys(Vec<(Venue, Environment, ApiKey)>);

impl AccountKeys {
    /// The keys in `store`. A store that does not open is logged and does not stop the start, because public data needs
    /// no key; `lastgood check` fails on it.
    pub async fn open(store: CredentialStore, master: Option<SecretString>) -> AccountKeys {
        if !store.exists() {
            return AccountKeys::default();
        }
        let path = store.path().display().to_string();
        let Some(master) = master else {
            tracing::warn!(
                path,
                "there are credentials and no master key: going on without them; set LASTGOOD_MASTER_KEY"
            );
            return AccountKeys::default();
        };
        // A passphrase takes a while to become a key.
        let opened = tokio::task::spawn_blocking(move || opened(&store, &master)).await;
        match opened {
            Ok(Ok(credentials)) => AccountKeys::opened(&credentials),
            Ok(Err(why)) => {
                let hint = why.hint().unwrap_or_default();
                tracing::error!(path, %why, hint, "the credentials cannot be opened: going on without them");
                AccountKeys::default()
            }
            Err(why) => {
                tracing::error!(path, %why, "the credentials were not opened: going on without them");
                AccountKeys::default()
            }
        }
    }

    fn opened(credentials: &[Credential]) -> AccountKeys {
        let mut keys = AccountKeys::default();
        for Credential { label, api_key, .. } in credentials {
            let Some(key) = ApiKey::new(api_key, label.venue, label.environment) else { continue };
            if keys.get(label.venue, label.environment).is_some() {
                tracing::info!(name = label.name, venue = %label.venue, environment = %label.environment,
                    "not used: an earlier credential is for the same");
                continue;
            }
            tracing::info!(name = label.name, venue = %label.venue, environment = %label.environment, "credential");
            keys.0.push((label.venue, label.environment, key));
        }
        keys
    }

    /// The key for a venue in an environment.
    fn get(&self, venue: Venue, environment: Environment) -> Option<&ApiKey> {
        self.0.iter().find(|(for_venue, of, _)| (*for_venue, *of) == (venue, environment)).map(|(_, _, key)| key)
    }

    /// The keys for a venue.
    pub(crate) fn of(&self, venue: Venue) -> Keys {
        let key = |environment| self.get(venue, environment).cloned();
        Keys { user: None, testnet: key(Environment::Testnet), mainnet: key(Environment::Mainnet) }
    }

    /// Whether there is any key for an environment.
    pub fn any(&self, environment: Environment) -> bool {
        self.0.iter().any(|(_, of, _)| *of == environment)
    }
}

fn opened(store: &CredentialStore, master: &SecretString) -> Result<Vec<Credential>, CredentialError> {
    store.records(&MasterKey::parse(master)?)?.open_of(None)
}

#[cfg(test)]
mod tests {
    use crate::credentials::Algorithm;
    use crate::credentials::Label;

    use super::*;

    #[test]
    fn the_first_credential_of_a_market_and_environment_is_used_and_never_shown() {
        let credential = |name: &str, venue, environment| Credential {
            label: Label {
                name: name.to_owned(),
                user: None,
                venue,
                environment,
                algorithm: Algorithm::HmacSha256,
                added_at: lastgood::Timestamp::EPOCH,
            },
            api_key: SecretString::from(format!("key-{name}")),
            secret: SecretString::from("secret"),
        };
        let keys = AccountKeys::opened(&[
            credential("first", Venue::Spot, Environment::Testnet),
            credential("second", Venue::Spot, Environment::Testnet),
            credential("other", Venue::UsdM, Environment::Testnet),
        ]);
        let spot = keys.of(Venue::Spot).testnet.unwrap().header().clone();
        assert_eq!(spot, "key-first");
        assert!(!format!("{spot:?}").contains("key-first"));
        assert_eq!(keys.0.len(), 2);
        assert!(keys.any(Environment::Testnet) && !keys.any(Environment::Mainnet));
        assert!(keys.get(Venue::Spot, Environment::Mainnet).is_none());
    }
}
