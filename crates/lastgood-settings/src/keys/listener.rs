//! The listener's certificate, and whose pages may read its answers.

use super::{Key, put};
use crate::{listening, show};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "tls.certificate",
        kind: "path",
        env: &["LASTGOOD_TLS_CERTIFICATE"],
        flag: None,
        doc: "PEM file of the certificate that the listener shows, with those of its authorities after it; with tls.key it \
              speaks HTTPS; read again at SIGHUP",
        secret: false,
        set: |settings, raw| put(&mut settings.tls.certificate, listening::optional_path(raw)),
        show: |settings| show::optional_path(&settings.tls.certificate),
    },
    Key {
        name: "tls.key",
        kind: "path",
        env: &["LASTGOOD_TLS_KEY"],
        flag: None,
        doc: "PEM file of its private key",
        secret: false,
        set: |settings, raw| put(&mut settings.tls.key, listening::optional_path(raw)),
        show: |settings| show::optional_path(&settings.tls.key),
    },
    Key {
        name: "cors.origins",
        kind: "list of origins",
        env: &["LASTGOOD_CORS_ORIGINS"],
        flag: None,
        doc: "origins whose pages may read market data, declared routes and health in a browser, such as \
              https://app.example, or * for every page; never the cache's inside",
        secret: false,
        set: |settings, raw| put(&mut settings.cors.origins, listening::origins(raw)),
        show: |settings| show::words(&settings.cors.origins),
    },
];
