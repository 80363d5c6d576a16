//! What stands outside the tables: where to listen, the store, and what holds for all of it.

use lastgood_market::Preset;

use super::bounds::{MILLISECOND, SECOND};
use super::{Key, field};
use crate::{address, listening, show, store, value};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "listen",
        kind: "address",
        env: &["LASTGOOD_LISTEN"],
        flag: Some("listen"),
        default: "127.0.0.1:8090",
        doc: "where to listen; other than loopback needs admin.token",
        secret: false,
        field: field!(listen, address::parse, show::plain),
    },
    Key {
        name: "hosts",
        kind: "list of host names",
        env: &["LASTGOOD_HOSTS"],
        flag: None,
        default: "",
        doc: "names by which this gateway is reached apart from its address and localhost; requests to the cache's inside \
              that name another host are refused, unless they have the admin token",
        secret: false,
        field: field!(hosts, value::hosts, show::words),
    },
    Key {
        name: "unix_socket",
        kind: "path",
        env: &["LASTGOOD_UNIX_SOCKET"],
        flag: None,
        default: "",
        doc: "a unix socket to listen on as well; who may write to its folder and to it may ask, as from this machine",
        secret: false,
        field: field!(unix_socket, listening::optional_path, show::optional_path),
    },
    Key {
        name: "store",
        kind: "store URL",
        env: &["LASTGOOD_STORE_URL", "REDIS_URL", "UPSTASH_REDIS_URL", "UPSTASH_REDIS_REST_URL", "KV_REST_API_URL"],
        flag: Some("store"),
        default: "embedded:",
        doc: "the store: embedded:[FILE], memory:, redis://, rediss://, unix:SOCKET, redis+sentinel://, redis+cluster:// \
              (rediss+… with TLS) or https:// (Upstash REST), upstash-rest: (the REST side of the database in REDIS_URL); empty is embedded",
        secret: false,
        field: field!(store, store::parse, show::plain),
    },
    Key {
        name: "store_token",
        kind: "secret",
        env: &["UPSTASH_REDIS_REST_TOKEN", "UPSTASH_REDIS_TOKEN"],
        flag: None,
        default: "",
        doc: "token of a store at Upstash over REST: that of the variable that names the store, such as KV_REST_API_TOKEN for KV_REST_API_URL",
        secret: true,
        field: field!(store_token, value::secret, show::secret),
    },
    Key {
        name: "store_price",
        kind: "US dollars",
        env: &["LASTGOOD_STORE_PRICE"],
        flag: None,
        default: "",
        doc: "what 100,000 commands of the store cost, for the cost of a day in the statistics; \
              empty is 0.2 at Upstash, and no cost elsewhere",
        secret: false,
        field: field!(store_price, store::price, show::option),
    },
    Key {
        name: "store_budget",
        kind: "duration",
        env: &["LASTGOOD_STORE_BUDGET"],
        flag: None,
        default: "25ms",
        doc: "what all store work of one request may cost together; more than a round trip to the store takes",
        secret: false,
        field: field!(store_budget, |raw| value::span(raw, MILLISECOND..=SECOND * 10), show::span),
    },
    Key {
        name: "store_leases",
        kind: "true or false",
        env: &["LASTGOOD_STORE_LEASES"],
        flag: None,
        default: "",
        doc: "whether gateways on one store load each key one at a time, for two commands more a load; empty is false at \
              Upstash, where commands are billed, and true elsewhere; a client that polls eight questions of the trading preset \
              sent 1.0 million commands a day without leases, and 1.9 million with them",
        secret: false,
        field: field!(store_leases, value::optional_boolean, show::option),
    },
    Key {
        name: "store_trust_for",
        kind: "duration",
        env: &["LASTGOOD_STORE_TRUST_FOR"],
        flag: None,
        default: "",
        doc: "how long answers in memory are served as fresh while a shared store is silent, so that what other gateways \
              removed is not known; labelled unverified from about half of it on. The store is asked six times in it. \
              Empty is 2s with Redis, and 60s at Upstash, which bills each command",
        secret: false,
        field: field!(store_trust_for, store::trust_for, show::optional_span),
    },
    Key {
        name: "data_dir",
        kind: "path",
        env: &["LASTGOOD_DATA_DIR"],
        flag: Some("data-dir"),
        default: "",
        doc: "embedded store, ban memory and credentials; empty is $XDG_DATA_HOME/lastgood, \
            else ~/.local/share/lastgood, else ./lastgood-data",
        secret: false,
        field: field!(data_dir, value::path, show::path),
    },
    Key {
        name: "preset",
        kind: "trading or dashboard",
        env: &["LASTGOOD_PRESET"],
        flag: Some("preset"),
        default: "trading",
        doc: "which region defaults apply: trading for bots, dashboard for pages",
        secret: false,
        field: field!(preset, |raw| value::one_of(raw, &Preset::ALL), show::preset),
    },
    Key {
        name: "namespace",
        kind: "name",
        env: &["LASTGOOD_NAMESPACE"],
        flag: None,
        default: "lastgood",
        doc: "prefix of every key in the store",
        secret: false,
        field: field!(namespace, value::namespace, show::plain),
    },
    Key {
        name: "enabled",
        kind: "true or false",
        env: &["LASTGOOD_ENABLED", "CACHE_ENABLED", "REDIS_ENABLED"],
        flag: None,
        default: "true",
        doc: "false passes everything through",
        secret: false,
        field: field!(enabled, value::boolean, show::plain),
    },
    Key {
        name: "master_key",
        kind: "secret",
        env: &["LASTGOOD_MASTER_KEY"],
        flag: None,
        default: "",
        doc: "key for credentials at rest: 32 bytes in hexadecimal or base64, or a passphrase of 16 characters",
        secret: true,
        field: field!(master_key, value::master_key, show::secret),
    },
];
