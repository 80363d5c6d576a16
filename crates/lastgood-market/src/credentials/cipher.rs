//! From the master key to sealed records and back.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hkdf, pbkdf2};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Credential, CredentialError, Label};

/// A shorter text is no passphrase.
pub(super) const SHORTEST_PASSPHRASE: usize = 16;

const KEY_BYTES: usize = 32;
/// Keeps the keys of this file apart from any other use of the same master key.
const PURPOSE: &[u8] = b"lastgood credentials 1";
/// How a key is derived, as files and sealed texts name it.
pub(super) const HKDF: &str = "hkdf-sha256";
pub(super) const PBKDF2: &str = "pbkdf2-hmac-sha256";
/// The most slow derivations remembered: the file has one salt, and sealed texts have that of the file they were made
/// by.
const MOST_DERIVED: usize = 8;
/// What the check value is authenticated with.
const CHECK: &[u8] = b"lastgood credentials 1 check";

type KeyBytes = Zeroizing<[u8; KEY_BYTES]>;

/// How the key of the records follows from the master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Derivation {
    /// From 32 random bytes.
    Hkdf { salt: Vec<u8> },
    /// From a passphrase, slowly.
    Pbkdf2 { salt: Vec<u8>, iterations: NonZeroU32 },
}

impl Derivation {
    /// What makes guessing a passphrase slow.
    pub(super) const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");
    /// A file that asks for more would only keep the program busy.
    pub(super) const MOST_ITERATIONS: u32 = 10_000_000;

    /// Whether a passphrase may be stretched this many times. Fewer would make a stolen file easier to guess, which is
    /// why somebody might have written fewer.
    pub(super) fn takes(iterations: NonZeroU32) -> bool {
        (Derivation::ITERATIONS.get()..=Derivation::MOST_ITERATIONS).contains(&iterations.get())
    }

    pub(super) fn salt(&self) -> &[u8] {
        match self {
            Derivation::Hkdf { salt } | Derivation::Pbkdf2 { salt, .. } => salt,
        }
    }
}

/// One credential, sealed.
pub(super) struct Sealed {
    pub(super) label: Label,
    pub(super) nonce: Vec<u8>,
    pub(super) sealed: Vec<u8>,
}

/// The key that everything is encrypted under: 32 bytes in hexadecimal or base64, or a passphrase. Of a passphrase
/// the slow derivation is done once for a salt, and remembered as long as this lives, for a few salts.
pub struct MasterKey {
    secret: Secret,
    derived: Mutex<Vec<(Derivation, KeyBytes)>>,
}

enum Secret {
    Bytes(KeyBytes),
    Passphrase(SecretString),
}

impl MasterKey {
    /// The master key that `text` is.
    ///
    /// # Errors
    ///
    /// [`CredentialError::BadMasterKey`] when it is neither 32 bytes nor a passphrase of 16
    /// characters.
    pub fn parse(text: &SecretString) -> Result<MasterKey, CredentialError> {
        let text = text.expose_secret().trim();
        let secret = match bytes_of(text) {
            Some(bytes) => Secret::Bytes(bytes),
            None if text.chars().count() >= SHORTEST_PASSPHRASE => Secret::Passphrase(SecretString::from(text)),
            None => return Err(CredentialError::BadMasterKey),
        };
        Ok(MasterKey { secret, derived: Mutex::default() })
    }

    /// Whether its keys follow from it slowly, so that few salts should be used with it.
    pub(super) fn is_passphrase(&self) -> bool {
        matches!(self.secret, Secret::Passphrase(_))
    }

    /// How a new file is to derive its key: with a salt of its own.
    pub(super) fn derivation(&self) -> Result<Derivation, CredentialError> {
        let salt = random::<16>()?.to_vec();
        Ok(match self.secret {
            Secret::Bytes(_) => Derivation::Hkdf { salt },
            Secret::Passphrase(_) => Derivation::Pbkdf2 { salt, iterations: Derivation::ITERATIONS },
        })
    }

    /// The key of a file's records.
    pub(super) fn derive(&self, by: &Derivation) -> Result<DataKey, CredentialError> {
        let master = match (&self.secret, by) {
            (Secret::Bytes(bytes), Derivation::Hkdf { .. }) => bytes.clone(),
            (Secret::Passphrase(passphrase), Derivation::Pbkdf2 { salt, iterations }) => {
                self.stretched(passphrase, by, salt, *iterations)
            }
            // Written under a key of the other kind.
            _ => return Err(CredentialError::WrongMasterKey),
        };
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, by.salt()).extract(master.as_slice());
        let filled = secret.expand(&[PURPOSE], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(key.as_mut_slice()));
        let unbound = filled.and_then(|()| UnboundKey::new(&AES_256_GCM, key.as_slice()));
        // Both lengths are those of the algorithms.
        unbound.map(|key| DataKey(LessSafeKey::new(key))).map_err(|_| CredentialError::WrongMasterKey)
    }

    fn stretched(&self, passphrase: &SecretString, by: &Derivation, salt: &[u8], iterations: NonZeroU32) -> KeyBytes {
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = derived.iter().find(|(known, _)| known == by) {
            return key.clone();
        }
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let passphrase = passphrase.expose_secret().as_bytes();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, passphrase, key.as_mut_slice());
        if derived.len() == MOST_DERIVED {
            derived.remove(0);
        }
        derived.push((by.clone(), key.clone()));
        key
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

/// 32 bytes, if that is what the text is in hexadecimal or any usual base64.
fn bytes_of(text: &str) -> Option<KeyBytes> {
    if text.len() == 2 * KEY_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())?;
        }
        return Some(key);
    }
    let decoded = [&STANDARD, &URL_SAFE, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD]
        .into_iter()
        .find_map(|engine| engine.decode(text).ok().map(Zeroizing::new))?;
    <[u8; KEY_BYTES]>::try_from(decoded.as_slice()).ok().map(Zeroizing::new)
}

/// The key of a file's records.
pub(super) struct DataKey(LessSafeKey);

fn random<const N: usize>() -> Result<[u8; N], CredentialError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| CredentialError::NoRandomness)?;
    Ok(bytes)
}

/// What a record holds once it is opened.
#[derive(Serialize, Deserialize)]
struct Secrets {
    api_key: String,
    secret: String,
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.api_key.zeroize();
        self.secret.zeroize();
    }
}

/// A value that shows whether a key is the right one.
pub(super) fn check_value(key: &DataKey) -> Result<(Vec<u8>, Vec<u8>), CredentialError> {
    seal_bytes(key, CHECK, Zeroizing::new(Vec::new()))
}

pub(super) fn fits(key: &DataKey, (nonce, sealed): &(Vec<u8>, Vec<u8>)) -> bool {
    open_bytes(key, CHECK, nonce, sealed).is_some()
}

/// A credential as a record.
pub(super) fn seal(key: &DataKey, credential: &Credential) -> Result<Sealed, CredentialError> {
    let secrets = Secrets {
        api_key: credential.api_key.expose_secret().to_owned(),
        secret: credential.secret.expose_secret().to_owned(),
    };
    // With room for the text and the tag: a buffer that grows leaves a copy behind.
    let room = 2 * (secrets.api_key.len() + secrets.secret.len()) + 128;
    let mut plain = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *plain, &secrets).map_err(|why| CredentialError::Unsound(why.to_string()))?;
    let label = credential.label.clone();
    let (nonce, sealed) = seal_bytes(key, &authenticated(&label), plain)?;
    Ok(Sealed { label, nonce, sealed })
}

/// The credential of a record.
pub(super) fn open(key: &DataKey, record: &Sealed) -> Result<Credential, CredentialError> {
    let damaged = || CredentialError::Damaged(format!("the record {} cannot be opened", record.label.name));
    let plain = open_bytes(key, &authenticated(&record.label), &record.nonce, &record.sealed).ok_or_else(damaged)?;
    let secrets: Secrets = serde_json::from_slice(&plain).map_err(|_| damaged())?;
    Ok(Credential {
        label: record.label.clone(),
        api_key: SecretString::from(secrets.api_key.as_str()),
        secret: SecretString::from(secrets.secret.as_str()),
    })
}

/// The associated data authenticated with a record. No part of it can hold the blank that separates them.
fn authenticated(label: &Label) -> Vec<u8> {
    let Label { name, user, venue, environment, algorithm, added_at } = label;
    let described = format!("{name} {venue} {environment} {algorithm} {}", added_at.as_millis());
    match user {
        None => format!("lastgood credentials 1 {described}"),
        Some(user) => format!("lastgood credentials 2 {described} {user}"),
    }
    .into_bytes()
}

pub(super) fn seal_bytes(
    key: &DataKey,
    with: &[u8],
    mut plain: Zeroizing<Vec<u8>>,
) -> Result<(Vec<u8>, Vec<u8>), CredentialError> {
    let nonce = random::<NONCE_LEN>()?;
    let tag = key.0.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(with), plain.as_mut());
    let tag = tag.map_err(|_| CredentialError::Unsound("the credential is too long".to_owned()))?;
    Ok((nonce.to_vec(), [plain.as_slice(), tag.as_ref()].concat()))
}

pub(super) fn open_bytes(key: &DataKey, with: &[u8], nonce: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let length = key.0.open_in_place(nonce, Aad::from(with), buffer.as_mut_slice()).ok()?.len();
    buffer.truncate(length);
    Some(buffer)
}
