//! The certificate that the listener shows: read at the start, and again when the files may have changed.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use lastgood_settings::Tls;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// A certificate in force, and the configuration that shows it.
pub(crate) struct Certificate {
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

/// A certificate that cannot be used, and the hint.
#[derive(Debug)]
pub struct NoCertificate {
    file: PathBuf,
    why: String,
    hint: &'static str,
}

impl NoCertificate {
    /// How to fix it.
    pub fn hint(&self) -> &'static str {
        self.hint
    }
}

/// What the settings have to name.
const WANTED: &str = "name PEM files of a certificate and its key in tls.certificate and tls.key";

impl fmt::Display for NoCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.why)
    }
}

impl Error for NoCertificate {}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Certificate {
    /// The certificate that the settings name, if they name one.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, holds none, or the key is not the certificate's.
    pub(crate) fn read(settings: &Tls) -> Result<Option<Certificate>, NoCertificate> {
        let Some(certified) = certified(settings)? else { return Ok(None) };
        let current = Arc::new(Current(RwLock::new(Arc::new(certified))));
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config =
            config.map_err(|why| NoCertificate { file: PathBuf::from("TLS"), why: why.to_string(), hint: WANTED })?;
        let mut config = config.with_no_client_auth().with_cert_resolver(Arc::clone(&current) as _);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Certificate { current, config: Arc::new(config) }))
    }

    /// Reads the files again; connections from now on are shown what they hold.
    ///
    /// # Errors
    ///
    /// As [`Certificate::read`]; the certificate in force then stays.
    pub(crate) fn read_again(&self, settings: &Tls) -> Result<(), NoCertificate> {
        if let Some(certified) = certified(settings)? {
            *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
        }
        Ok(())
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// Whether the certificate that the settings name can be used, if they name one.
///
/// # Errors
///
/// When a file cannot be read, holds none, or the key is not the certificate's.
pub fn check_certificate(settings: &Tls) -> Result<bool, NoCertificate> {
    certified(settings).map(|certified| certified.is_some())
}

fn certified(settings: &Tls) -> Result<Option<CertifiedKey>, NoCertificate> {
    let Tls { certificate: Some(certificate), key: Some(key) } = settings else { return Ok(None) };
    let refuse = |file: &Path, why: String| NoCertificate { file: file.to_owned(), why, hint: WANTED };
    let contents = |file: &Path| {
        std::fs::read(file).map_err(|why| NoCertificate {
            file: file.to_owned(),
            hint: match why.kind() {
                io::ErrorKind::NotFound => "there is no such file: correct tls.certificate or tls.key, or make it",
                io::ErrorKind::PermissionDenied => "let the user of lastgood read it, with chmod, chown or a group",
                _ => WANTED,
            },
            why: format!("it cannot be read: {why}"),
        })
    };
    let chain = CertificateDer::pem_slice_iter(&contents(certificate)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|why| refuse(certificate, format!("it is no PEM file of certificates: {why}")))?;
    if chain.is_empty() {
        return Err(refuse(certificate, "there is no certificate in it".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_slice(&contents(key)?)
        .map_err(|_| refuse(key, "there is no private key in it that can be read".to_owned()))?;
    let certified = CertifiedKey::from_der(chain, private, &ring::default_provider());
    certified.map(Some).map_err(|why| match why {
        rustls::Error::InconsistentKeys(_) => NoCertificate {
            hint: "let tls.certificate and tls.key name files that were made together, the server's own certificate first",
            ..refuse(key, "it is the key of another certificate".to_owned())
        },
        why => refuse(key, format!("the key cannot be used: {why}")),
    })
}
