//! What connections over TLS trust, and who they say that they are.

use std::path::Path;

use ::redis::{Client, ClientTlsConfig, ConnectionInfo, TlsCertificates};
use ::rustls::crypto::ring;
use ::rustls::pki_types::pem::PemObject;
use ::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ::rustls::sign::CertifiedKey;

use super::certificate_error::CertificateError;
use crate::store::TlsFiles;

/// The files of a private authority and of a client certificate. Each connection reads them again, so that renewed
/// certificates are used without a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store::redis) struct Tls(TlsFiles);

impl Tls {
    /// With these files, which have to be usable.
    pub(super) fn of(files: &TlsFiles) -> Result<Tls, CertificateError> {
        let tls = Tls(files.clone());
        tls.read().map(|_| tls)
    }

    pub(super) fn has_certificate(&self) -> bool {
        self.0.client.is_some()
    }

    /// The files' contents, or the problem with them.
    fn read(&self) -> Result<TlsCertificates, CertificateError> {
        let client_tls = match &self.0.client {
            None => None,
            Some((cert, key)) => {
                let (client_cert, client_key) = (contents(cert)?, contents(key)?);
                certified(cert, &client_cert, key, &client_key)?;
                Some(ClientTlsConfig { client_cert, client_key })
            }
        };
        let root_cert = match &self.0.authority {
            None => None,
            Some(ca) => {
                let pem = contents(ca)?;
                certificates(ca, &pem)?;
                Some(pem)
            }
        };
        Ok(TlsCertificates { client_tls, root_cert })
    }

    /// `info` with what the files hold at this moment. Blocks while it reads them.
    pub(in crate::store::redis) fn applied_to(&self, info: ConnectionInfo) -> Result<ConnectionInfo, CertificateError> {
        if *self == Tls::default() {
            return Ok(info);
        }
        let tcp = info.tcp_settings().clone();
        let client = Client::build_with_tls(info, self.read()?).map_err(CertificateError::Refused)?;
        Ok(client.get_connection_info().clone().set_tcp_settings(tcp))
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|why| CertificateError::Unread(path.to_owned(), why))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(CertificateError::NoCertificate(path.to_owned())),
    }
}

/// Whether a certificate and a key can be used, and belong together.
fn certified(cert: &Path, cert_pem: &[u8], key: &Path, key_pem: &[u8]) -> Result<(), CertificateError> {
    let chain = certificates(cert, cert_pem)?;
    let private = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| CertificateError::NoKey(key.to_owned()))?;
    let (certificate, key) = (cert.to_owned(), key.to_owned());
    CertifiedKey::from_der(chain, private, &ring::default_provider()).map(drop).map_err(|why| match why {
        ::rustls::Error::InconsistentKeys(_) => CertificateError::OtherKey { certificate, key },
        why => CertificateError::Unusable { certificate, key, why },
    })
}
