//! The files that a URL names for TLS.

use std::path::PathBuf;

use super::Why;
use crate::store::url::hosts::decoded;

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

/// The files of a private authority and of a client certificate, in PEM form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The client's certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The authority that is trusted in place of the system's.
    pub authority: Option<PathBuf>,
}

/// What `cert`, `key` and `ca` among the parameters of a URL say. Without TLS there may be none of them.
pub(super) fn files<'a>(
    parameters: impl Iterator<Item = (&'a str, &'a str)>,
    is_tls: bool,
) -> Result<Option<TlsFiles>, Why> {
    let parameters: Vec<(&str, &str)> = parameters.collect();
    for (name, _) in &parameters {
        if let Some((_, ours)) = NAMES_ELSEWHERE.iter().find(|(theirs, _)| name == theirs) {
            return Err(format!("it has {name}=; the parameter is called {ours}=FILE").into());
        }
    }
    let file = |wanted: &str| {
        let mut named = parameters.iter().filter(|(name, _)| *name == wanted).map(|(_, path)| *path);
        match (named.next(), named.next()) {
            (None, _) => Ok(None),
            (Some(_), _) if !is_tls => Err(Why::from(format!(
                "{wanted}= is for TLS; write rediss://, rediss+sentinel:// or rediss+cluster://"
            ))),
            (Some(_), Some(_)) => Err(format!("it has {wanted}= twice").into()),
            (Some(""), None) => Err(format!("{wanted}= names no file").into()),
            (Some(path), None) => match decoded(path) {
                Some(path) => Ok(Some(PathBuf::from(path))),
                None => Err(format!("the path after {wanted}= is no text").into()),
            },
        }
    };
    let client = match (file("cert")?, file("key")?) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => return Err("cert= needs the file of its private key; add key=FILE".into()),
        (None, Some(_)) => return Err("key= needs the file of its certificate; add cert=FILE".into()),
    };
    let files = TlsFiles { client, authority: file("ca")? };
    Ok(is_tls.then_some(files))
}
