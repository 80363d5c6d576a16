//! How TLS is spoken with servers.

use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt as _;
use rustls::{ClientConfig, RootCertStore};

use super::NoTls;

/// The certificate authorities that are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those of the system, which take long to read: `SSL_CERT_FILE` and `SSL_CERT_DIR`, where they are set.
    System,
    /// None: TLS is not spoken.
    Nothing,
}

/// How TLS is spoken with servers.
///
/// # Errors
///
/// When the system's authorities are to be trusted and cannot be read.
pub fn tls(trust: Trust) -> Result<ClientConfig, NoTls> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.map_err(NoTls::Settings)?;
    let tls = match trust {
        Trust::System => tls.with_native_roots().map_err(NoTls::Authorities)?,
        Trust::Nothing => tls.with_root_certificates(RootCertStore::empty()),
    };
    Ok(tls.with_no_client_auth())
}
