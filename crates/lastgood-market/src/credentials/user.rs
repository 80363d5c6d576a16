//! Whose credential it is, where it is not the gateway's own.

use std::fmt;
use std::sync::Arc;

use super::CredentialError;

/// The longest ID; those of identity providers have some 60 characters.
const LONGEST: usize = 128;

/// The ID of a user of the application behind the gateway, as the application's backend names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// The ID that `text` is. It fits into a header, a log line and the data that is authenticated with a sealed secret.
    ///
    /// # Errors
    ///
    /// [`CredentialError::Unsound`] when it is empty, longer than 128 characters, or holds anything but ASCII letters,
    /// digits and `- _ . : @ + | / =`.
    pub fn parse(text: &str) -> Result<UserId, CredentialError> {
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@+|/=".contains(&byte);
        if text.is_empty() || text.len() > LONGEST || !text.bytes().all(sound) {
            let allowed = format!("1 to {LONGEST} of the characters a-z A-Z 0-9 - _ . : @ + | / =");
            return Err(CredentialError::Unsound(format!("the user ID must be {allowed}")));
        }
        Ok(UserId(text.into()))
    }

    /// The ID.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
