//! Single secrets of users, sealed as a text that an application keeps in a table of its own.
//!
//! ```text
//! lastgood-sealed-1:hkdf-sha256:SALT:NONCE:SEALED
//! lastgood-sealed-1:pbkdf2-hmac-sha256.600000:SALT:NONCE:SEALED
//! ```
//!
//! The cipher and the two derivations are those of the credentials file; the last three parts are base64. The user ID is
//! authenticated with the secret, so that the text of one user does not open as another's.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::cipher::{self, Derivation, MasterKey};
use super::{CredentialError, LONGEST_SECRET, UserId};

const FORMAT: &str = "lastgood-sealed-1";
/// A longer text was not made here.
const LONGEST_TEXT: usize = 2 * LONGEST_SECRET;

/// Seals a secret of a user's under the master key.
///
/// # Errors
///
/// When the secret is empty or too long, or there are no random bytes.
pub(super) fn seal(
    master: &MasterKey,
    by: &Derivation,
    user: &UserId,
    secret: &SecretString,
) -> Result<String, CredentialError> {
    let secret = secret.expose_secret();
    if secret.is_empty() || secret.len() > LONGEST_SECRET {
        return Err(CredentialError::Unsound(format!("the secret must be 1 to {LONGEST_SECRET} bytes long")));
    }
    // With room for the tag: a buffer that grows leaves a copy behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(secret.len() + 32));
    plain.extend_from_slice(secret.as_bytes());
    let (nonce, sealed) = cipher::seal_bytes(&master.derive(by)?, &authenticated(user), plain)?;
    let how = match by {
        Derivation::Hkdf { .. } => cipher::HKDF.to_owned(),
        Derivation::Pbkdf2 { iterations, .. } => format!("{}.{iterations}", cipher::PBKDF2),
    };
    let [salt, nonce, sealed] = [by.salt(), &nonce, &sealed].map(|bytes| STANDARD_NO_PAD.encode(bytes));
    Ok(format!("{FORMAT}:{how}:{salt}:{nonce}:{sealed}"))
}

/// Opens what [`CredentialStore::seal`](super::CredentialStore::seal) made for this user. Of a passphrase it takes a while
/// the first time that a salt is seen.
///
/// # Errors
///
/// [`CredentialError::NotSealed`] for any other text, [`CredentialError::NotOpened`] under another master key or for another
/// user.
pub fn open_sealed(master: &MasterKey, user: &UserId, text: &str) -> Result<SecretString, CredentialError> {
    let (by, nonce, sealed) = parse(text.trim()).ok_or(CredentialError::NotSealed)?;
    // Written under a master key of the other kind.
    let key = master.derive(&by).map_err(|_| CredentialError::NotOpened)?;
    let plain = cipher::open_bytes(&key, &authenticated(user), &nonce, &sealed).ok_or(CredentialError::NotOpened)?;
    let secret = std::str::from_utf8(&plain).map_err(|_| CredentialError::NotOpened)?;
    Ok(SecretString::from(secret))
}

fn parse(text: &str) -> Option<(Derivation, Vec<u8>, Vec<u8>)> {
    if text.len() > LONGEST_TEXT {
        return None;
    }
    let mut parts = text.split(':');
    let (format, how) = (parts.next()?, parts.next()?);
    let mut bytes = || STANDARD_NO_PAD.decode(parts.next()?.trim_end_matches('=')).ok();
    let (salt, nonce, sealed) = (bytes()?, bytes()?, bytes()?);
    if format != FORMAT || parts.next().is_some() {
        return None;
    }
    let by = match how.split_once('.') {
        None if how == cipher::HKDF => Derivation::Hkdf { salt },
        Some((name, iterations)) if name == cipher::PBKDF2 => {
            let iterations = NonZeroU32::new(iterations.parse().ok()?).filter(|count| Derivation::takes(*count))?;
            Derivation::Pbkdf2 { salt, iterations }
        }
        _ => return None,
    };
    Some((by, nonce, sealed))
}

/// The associated data authenticated with a secret. No user ID holds a blank.
fn authenticated(user: &UserId) -> Vec<u8> {
    format!("lastgood sealed 1 {user}").into_bytes()
}
