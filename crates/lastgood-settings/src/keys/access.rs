//! Which proxy leads out, and which token gets in.

use super::{Key, field};
use crate::{proxy, show, value};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "proxy",
        kind: "proxy URL",
        env: &["LASTGOOD_PROXY"],
        flag: Some("proxy"),
        default: "",
        doc: "the proxy that leads to upstreams, buckets and APIs: http://, https:// or socks5:// with a host and port, or \
              off; empty leaves it to HTTPS_PROXY, HTTP_PROXY and ALL_PROXY; NO_PROXY always counts",
        secret: false,
        field: field!(proxy, proxy::parse, proxy::show),
    },
    Key {
        name: "admin.token",
        kind: "secret",
        env: &["LASTGOOD_ADMIN_TOKEN"],
        flag: None,
        default: "",
        doc: "bearer token of the admin API; needed to listen beyond loopback",
        secret: true,
        field: field!(admin.token, value::secret, show::secret),
    },
];
