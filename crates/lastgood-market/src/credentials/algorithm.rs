//! How an API key signs, and whether a secret can be one of its kind.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::Ed25519KeyPair;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC-SHA256 with a shared secret; the signature is hexadecimal.
    HmacSha256,
    /// Ed25519 with a private key in PKCS#8 PEM; the signature is base64.
    Ed25519,
}

impl Algorithm {
    /// Every algorithm, by the word for files and the command line.
    pub const ALL: [(&'static str, Algorithm); 2] =
        [("hmac-sha256", Algorithm::HmacSha256), ("ed25519", Algorithm::Ed25519)];

    /// The word for files and the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::HmacSha256 => "hmac-sha256",
            Algorithm::Ed25519 => "ed25519",
        }
    }

    /// Whether `secret` can sign: the text of an HMAC secret, or the PEM of an Ed25519 key.
    ///
    /// # Errors
    ///
    /// When the secret is none of this algorithm.
    pub fn check(self, secret: &SecretString) -> Result<(), SecretError> {
        let secret = secret.expose_secret().trim();
        if secret.is_empty() {
            return Err(SecretError::Empty);
        }
        match self {
            Algorithm::HmacSha256 if secret.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(()),
            Algorithm::HmacSha256 => Err(SecretError::NotASecret),
            Algorithm::Ed25519 => der_of(secret)
                .and_then(|der| Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok())
                .map(drop)
                .ok_or(SecretError::NotAPrivateKey),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A secret that cannot sign. Says nothing of the secret itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// There is no secret.
    Empty,
    /// The secret of an HMAC key holds a blank or a character that no exchange issues.
    NotASecret,
    /// An Ed25519 key that is not PEM, or not a private key in PKCS#8.
    NotAPrivateKey,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SecretError::Empty => "the secret is empty",
            SecretError::NotASecret => "the secret holds a blank or a character outside ASCII",
            SecretError::NotAPrivateKey => {
                "the key is no Ed25519 private key in PKCS#8 PEM (-----BEGIN PRIVATE KEY-----)"
            }
        })
    }
}

impl std::error::Error for SecretError {}

/// What stands between the lines of a `PRIVATE KEY` in PEM.
fn der_of(pem: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (_, rest) = pem.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (body, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let body: Zeroizing<String> = Zeroizing::new(body.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    STANDARD.decode(body.as_bytes()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the exchange's published documentation.
    const SECRET: &str = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
    /// The key of test 1 of RFC 8032, 7.1, as PKCS#8.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";

    #[test]
    fn what_can_sign_is_taken() {
        for (algorithm, secret) in [(Algorithm::HmacSha256, SECRET), (Algorithm::Ed25519, PEM)] {
            assert_eq!(algorithm.check(&SecretString::from(secret)), Ok(()), "{algorithm}");
        }
    }

    #[test]
    fn what_cannot_sign_is_refused_without_being_shown() {
        for (algorithm, secret, why) in [
            (Algorithm::HmacSha256, " \n", SecretError::Empty),
            (Algorithm::HmacSha256, "two words", SecretError::NotASecret),
            (Algorithm::Ed25519, SECRET, SecretError::NotAPrivateKey),
            (Algorithm::Ed25519, &PEM.replace("MC4C", "MC4D"), SecretError::NotAPrivateKey),
        ] {
            let refused = algorithm.check(&SecretString::from(secret)).expect_err(secret);
            assert_eq!(refused, why);
            assert!(!format!("{refused} {refused:?}").contains(secret.trim()) || secret.trim().is_empty());
        }
    }
}
