//! What connections over TLS trust, and who they say that they are.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use ::redis::{Client, ClientTlsConfig, ConnectionInfo, TlsCertificates};
use ::rustls::crypto::ring;
use ::rustls::pki_types::pem::PemObject;
use ::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ::rustls::sign::CertifiedKey;

use super::unusable;
use crate::store::StoreError;

/// What other programs call the parameters. To ignore them would be to connect otherwise than the URL says.
const NAMES_ELSEWHERE: [(&str, &str); 14] = [
    ("certificate", "cert"),
    ("tls_cert", "cert"),
    ("sslcert", "cert"),
    ("ssl_cert", "cert"),
    ("ssl_certfile", "cert"),
    ("tls_key", "key"),
    ("sslkey", "key"),
    ("ssl_key", "key"),
    ("ssl_keyfile", "key"),
    ("cacert", "ca"),
    ("tls_ca", "ca"),
    ("sslrootcert", "ca"),
    ("ssl_ca_certs", "ca"),
    ("ssl_cafile", "ca"),
];

/// The files of a private authority and of a client certificate. Each connection reads them again, so that renewed
/// certificates are used without a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store::redis) struct Tls {
    /// The client's certificate and its key.
    client: Option<(PathBuf, PathBuf)>,
    /// The authority that is trusted in place of the system's.
    ca: Option<PathBuf>,
}

impl Tls {
    /// What `cert`, `key` and `ca` among the parameters of a URL say. Without TLS there may be none of them.
    pub(super) fn of(parameters: &[(String, String)], is_tls: bool) -> Result<Tls, StoreError> {
        for (name, _) in parameters {
            if let Some((_, ours)) = NAMES_ELSEWHERE.iter().find(|(theirs, _)| name == theirs) {
                return Err(unusable(&format!("it has {name}=; the parameter is called {ours}=FILE")));
            }
        }
        let file = |wanted: &str| {
            let mut named = parameters.iter().filter(|(name, _)| name == wanted).map(|(_, path)| path);
            match (named.next(), named.next()) {
                (None, _) => Ok(None),
                (Some(_), _) if !is_tls => Err(unusable(&format!(
                    "{wanted}= is for TLS; write rediss://, rediss+sentinel:// or rediss+cluster://"
                ))),
                (Some(_), Some(_)) => Err(unusable(&format!("it has {wanted}= twice"))),
                (Some(path), None) if path.is_empty() => Err(unusable(&format!("{wanted}= names no file"))),
                (Some(path), None) => Ok(Some(PathBuf::from(path))),
            }
        };
        let client = match (file("cert")?, file("key")?) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => return Err(unusable("cert= needs the file of its private key; add key=FILE")),
            (None, Some(_)) => return Err(unusable("key= needs the file of its certificate; add cert=FILE")),
        };
        let tls = Tls { client, ca: file("ca")? };
        tls.read().map_err(|why| unusable(&why))?;
        Ok(tls)
    }

    pub(super) fn has_certificate(&self) -> bool {
        self.client.is_some()
    }

    /// The files' contents, or what is wrong with them.
    fn read(&self) -> Result<TlsCertificates, String> {
        let client_tls = match &self.client {
            None => None,
            Some((cert, key)) => {
                let (client_cert, client_key) = (contents(cert)?, contents(key)?);
                certified(cert, &client_cert, key, &client_key)?;
                Some(ClientTlsConfig { client_cert, client_key })
            }
        };
        let root_cert = match &self.ca {
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
    pub(in crate::store::redis) fn applied_to(&self, info: ConnectionInfo) -> Result<ConnectionInfo, String> {
        if *self == Tls::default() {
            return Ok(info);
        }
        let tcp = info.tcp_settings().clone();
        let client = Client::build_with_tls(info, self.read()?).map_err(|error| error.to_string())?;
        Ok(client.get_connection_info().clone().set_tcp_settings(tcp))
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|why| format!("{} cannot be read: {why}", path.display()))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{} holds no certificate in PEM form", path.display())),
    }
}

/// Whether a certificate and a key can be used, and belong together.
fn certified(cert: &Path, cert_pem: &[u8], key: &Path, key_pem: &[u8]) -> Result<(), String> {
    let chain = certificates(cert, cert_pem)?;
    let private = PrivateKeyDer::from_pem_slice(key_pem)
        .map_err(|_| format!("{} holds no private key in PEM form without a password", key.display()))?;
    CertifiedKey::from_der(chain, private, &ring::default_provider()).map(drop).map_err(|why| match why {
        ::rustls::Error::InconsistentKeys(_) => {
            format!("the key in {} is not that of the certificate in {}", key.display(), cert.display())
        }
        why => format!("{} and {} cannot be used: {why}", cert.display(), key.display()),
    })
}

/// What stands after the `?`, decoded. A plus is a plus: paths have some.
pub(super) fn parameters(query: &str) -> Vec<(String, String)> {
    let url = ::redis::parse_redis_url(&format!("redis://host?{}", query.replace('+', "%2B")));
    let pairs = url.iter().flat_map(|url| url.query_pairs());
    pairs.map(|(name, value)| (Cow::into_owned(name), Cow::into_owned(value))).collect()
}
