//! Signatures as the exchange wants them: over the raw query, to the byte.
//!
//! A signature covers the text that is sent. Whoever signs must therefore send the text that was signed: nothing may
//! re-encode it afterwards.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lastgood::Timestamp;
use ring::hmac;
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
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A secret that cannot sign. Says nothing of the secret itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningError {
    /// There is no secret.
    Empty,
    /// The secret of an HMAC key holds a blank or a character that no exchange issues.
    NotASecret,
    /// An Ed25519 key that is not PEM, or not a private key in PKCS#8.
    NotAPrivateKey,
}

impl fmt::Display for SigningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SigningError::Empty => "the secret is empty",
            SigningError::NotASecret => "the secret holds a blank or a character outside ASCII",
            SigningError::NotAPrivateKey => {
                "the key is no Ed25519 private key in PKCS#8 PEM (-----BEGIN PRIVATE KEY-----)"
            }
        })
    }
}

impl std::error::Error for SigningError {}

/// Signs queries. Holds the key; prints nothing of it.
pub struct Signer(Key);

enum Key {
    Hmac(hmac::Key),
    // Boxed: it is several times the size of the other.
    Ed25519(Box<Ed25519KeyPair>),
}

/// The longest `recvWindow` that the exchange takes, in ms.
pub const LONGEST_RECV_WINDOW: u32 = 60_000;
/// The `recvWindow` that the exchange assumes, in ms.
pub const DEFAULT_RECV_WINDOW: u32 = 5_000;

impl Signer {
    /// A signer with a secret: the text of an HMAC secret, or the PEM of an Ed25519 key.
    ///
    /// # Errors
    ///
    /// When the secret is none of its algorithm.
    pub fn new(algorithm: Algorithm, secret: &SecretString) -> Result<Signer, SigningError> {
        let secret = secret.expose_secret().trim();
        if secret.is_empty() {
            return Err(SigningError::Empty);
        }
        Ok(Signer(match algorithm {
            Algorithm::HmacSha256 if !secret.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Err(SigningError::NotASecret);
            }
            Algorithm::HmacSha256 => Key::Hmac(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())),
            Algorithm::Ed25519 => {
                let der = der_of(secret).ok_or(SigningError::NotAPrivateKey)?;
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok();
                Key::Ed25519(Box::new(pair.ok_or(SigningError::NotAPrivateKey)?))
            }
        }))
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Key::Hmac(_) => Algorithm::HmacSha256,
            Key::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// The signature of `payload`, before it is encoded for a query: hexadecimal or base64.
    pub fn sign(&self, payload: &str) -> String {
        match &self.0 {
            Key::Hmac(key) => hex(hmac::sign(key, payload.as_bytes()).as_ref()),
            Key::Ed25519(pair) => STANDARD.encode(pair.sign(payload.as_bytes())),
        }
    }

    /// `query` with `recvWindow`, `timestamp` and, last, `signature`: ready to be sent as it is.
    ///
    /// `recv_window` is cut to [`LONGEST_RECV_WINDOW`], and `query` is taken as it stands, without a leading `?`.
    pub fn signed_query(&self, query: &str, recv_window: u32, at: Timestamp) -> String {
        let between = if query.is_empty() { "" } else { "&" };
        let window = recv_window.min(LONGEST_RECV_WINDOW);
        let payload = format!("{query}{between}recvWindow={window}&timestamp={}", at.as_millis());
        let signature = self.sign(&payload);
        let signature = percent_encoding::utf8_percent_encode(&signature, percent_encoding::NON_ALPHANUMERIC);
        format!("{payload}&signature={signature}")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.algorithm())
    }
}

/// What stands between the lines of a `PRIVATE KEY` in PEM.
fn der_of(pem: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (_, rest) = pem.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (body, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let body: Zeroizing<String> = Zeroizing::new(body.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    STANDARD.decode(body.as_bytes()).ok().map(Zeroizing::new)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The exchange's clock, as far as it is known: its offset from ours, measured by one question of `/api/v3/time` or
/// `/fapi/v1/time`, else our own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExchangeClock {
    /// What to add to our clock, in ms.
    offset: Option<i64>,
}

/// What a timestamp was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeBasis {
    /// Our clock plus the offset that was measured.
    Measured,
    /// Our clock alone: the exchange was not asked for its time.
    Local,
}

impl ExchangeClock {
    /// A clock set by the exchange's `server_time` in ms, which came in an answer to a question that was sent and
    /// answered at these times of ours. The exchange is taken to have looked at its clock halfway.
    pub fn measured(sent: Timestamp, answered: Timestamp, server_time: u64) -> Self {
        let halfway = sent.as_millis() + answered.since(sent).as_millis() as u64 / 2;
        ExchangeClock { offset: Some(server_time.cast_signed().saturating_sub(halfway.cast_signed())) }
    }

    /// The time to sign with at `now` of our clock, and what it was taken from.
    pub fn at(self, now: Timestamp) -> (Timestamp, TimeBasis) {
        match self.offset {
            Some(offset) => {
                (Timestamp::from_millis(now.as_millis().saturating_add_signed(offset)), TimeBasis::Measured)
            }
            None => (now, TimeBasis::Local),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::signature::{ED25519, KeyPair, UnparsedPublicKey};

    use super::*;

    /// The example in the exchange's published documentation.
    const SECRET: &str = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
    const QUERY: &str = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1";
    const SIGNATURE: &str = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71";
    /// Test 1 of RFC 8032, 7.1, as PKCS#8: seed, and the signature of the empty message.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    const OF_NOTHING: &str = "5VZDAMNgrHKQhuLMgG6CioSHfx645dl02HPgZSJJAVVfuIIVkKM7rMYeOXAc+bRr0lv18FlbviRlUUFDjnoQCw==";

    fn signer(algorithm: Algorithm, secret: &str) -> Result<Signer, SigningError> {
        Signer::new(algorithm, &SecretString::from(secret))
    }

    #[test]
    fn hmac_signs_the_published_example() {
        let signer = signer(Algorithm::HmacSha256, SECRET).unwrap();
        let at = Timestamp::from_millis(1_499_827_319_559);
        assert_eq!(signer.sign(&format!("{QUERY}&recvWindow=5000&timestamp=1499827319559")), SIGNATURE);
        let signed = signer.signed_query(QUERY, DEFAULT_RECV_WINDOW, at);
        assert_eq!(signed, format!("{QUERY}&recvWindow=5000&timestamp=1499827319559&signature={SIGNATURE}"));
    }

    #[test]
    fn ed25519_signs_the_standards_example() {
        let signer = signer(Algorithm::Ed25519, PEM).unwrap();
        assert_eq!(signer.sign(""), OF_NOTHING);
        assert_eq!(signer.algorithm(), Algorithm::Ed25519);
    }

    #[test]
    fn a_base64_signature_is_encoded_for_the_query() {
        let signed = signer(Algorithm::Ed25519, PEM).unwrap().signed_query("", 90_000, Timestamp::from_millis(7));
        let (payload, signature) = signed.rsplit_once("&signature=").unwrap();
        assert_eq!(payload, "recvWindow=60000&timestamp=7");
        assert!(signature.ends_with("%3D%3D") && !signature.contains(['+', '/', '=']), "{signature}");
    }

    #[test]
    fn what_cannot_sign_is_refused_without_being_shown() {
        for (algorithm, secret, why) in [
            (Algorithm::HmacSha256, " \n", SigningError::Empty),
            (Algorithm::HmacSha256, "two words", SigningError::NotASecret),
            (Algorithm::Ed25519, SECRET, SigningError::NotAPrivateKey),
            (Algorithm::Ed25519, &PEM.replace("MC4C", "MC4D"), SigningError::NotAPrivateKey),
        ] {
            let refused = signer(algorithm, secret).expect_err(secret);
            assert_eq!(refused, why);
            assert!(!format!("{refused} {refused:?}").contains(secret.trim()) || secret.trim().is_empty());
        }
        assert_eq!(format!("{:?}", signer(Algorithm::HmacSha256, SECRET).unwrap()), "Signer(hmac-sha256)");
    }

    #[test]
    fn the_time_is_the_exchanges_once_it_was_measured() {
        let now = Timestamp::from_millis(10_000);
        assert_eq!(ExchangeClock::default().at(now), (now, TimeBasis::Local));
        let ahead = ExchangeClock::measured(Timestamp::from_millis(1_000), Timestamp::from_millis(1_200), 2_100);
        assert_eq!(ahead.at(now), (Timestamp::from_millis(11_000), TimeBasis::Measured));
        let behind = ExchangeClock::measured(Timestamp::from_millis(1_000), Timestamp::from_millis(1_000), 400);
        assert_eq!(behind.at(now).0, Timestamp::from_millis(9_400));
    }

    proptest! {
        #[test]
        fn every_signed_query_verifies_over_what_stands_before_its_signature(
            query in "([a-zA-Z]{1,8}=[ -%'-~]{0,12}(&[a-z]{1,4}=\\PC{0,6})?)?", window: u32, at: u64
        ) {
            for (algorithm, secret) in [(Algorithm::HmacSha256, SECRET), (Algorithm::Ed25519, PEM)] {
                let signer = signer(algorithm, secret).unwrap();
                let signed = signer.signed_query(&query, window, Timestamp::from_millis(at));
                let (payload, signature) = signed.rsplit_once("&signature=").unwrap();
                prop_assert!(payload.starts_with(&query));
                let signature = percent_encoding::percent_decode_str(signature).decode_utf8().unwrap();
                prop_assert_eq!(signature.to_string(), signer.sign(payload));
                if let Key::Ed25519(pair) = &signer.0 {
                    let bytes = STANDARD.decode(signature.as_bytes()).unwrap();
                    let public = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref());
                    prop_assert!(public.verify(payload.as_bytes(), &bytes).is_ok());
                }
            }
        }
    }
}
