//! Which proxy leads out, and which token gets in.

use super::{Key, put};
use crate::{proxy, show, value};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "proxy",
        kind: "proxy URL",
        env: &["LASTGOOD_PROXY"],
        flag: Some("proxy"),
        doc: "the proxy that leads to upstreams, buckets and APIs: http://, https:// or socks5:// with a host and port, or \
              off; empty leaves it to HTTPS_PROXY, HTTP_PROXY and ALL_PROXY; NO_PROXY always counts",
        secret: false,
        set: |settings, raw| put(&mut settings.proxy, proxy::parse(raw)),
        show: |settings| proxy::show(&settings.proxy),
    },
    Key {
        name: "admin.token",
        kind: "secret",
        env: &["LASTGOOD_ADMIN_TOKEN"],
        flag: None,
        doc: "bearer token of the admin API; needed to listen beyond loopback",
        secret: true,
        set: |settings, raw| put(&mut settings.admin.token, value::secret(raw)),
        show: |settings| show::secret(&settings.admin.token),
    },
];
