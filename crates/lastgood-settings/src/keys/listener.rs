//! The listener's certificate, and whose pages may read its answers.

use super::{Key, field};
use crate::{listening, show};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "tls.certificate",
        kind: "path",
        env: &["LASTGOOD_TLS_CERTIFICATE"],
        flag: None,
        default: "",
        doc: "PEM file of the certificate that the listener shows, with those of its authorities after it; with tls.key it \
              speaks HTTPS; read again at SIGHUP",
        secret: false,
        field: field!(tls.certificate, listening::optional_path, show::optional_path),
    },
    Key {
        name: "tls.key",
        kind: "path",
        env: &["LASTGOOD_TLS_KEY"],
        flag: None,
        default: "",
        doc: "PEM file of its private key",
        secret: false,
        field: field!(tls.key, listening::optional_path, show::optional_path),
    },
    Key {
        name: "cors.origins",
        kind: "list of origins",
        env: &["LASTGOOD_CORS_ORIGINS"],
        flag: None,
        default: "",
        doc: "origins whose pages may read market data, declared routes and health in a browser, such as \
              https://app.example, or * for every page; never the cache's inside",
        secret: false,
        field: field!(cors.origins, listening::origins, show::words),
    },
];
