//! What stands outside the tables: where to listen, the store, and what holds for all of it.

use lastgood_market::Preset;

use super::bounds::{MILLISECOND, SECOND};
use super::{Key, put};
use crate::{address, listening, show, store, value};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "listen",
        kind: "address",
        env: &["LASTGOOD_LISTEN"],
        flag: Some("listen"),
        doc: "where to listen; other than loopback needs admin.token",
        secret: false,
        set: |settings, raw| put(&mut settings.listen, address::parse(raw)),
        show: |settings| show::plain(&settings.listen),
    },
    Key {
        name: "hosts",
        kind: "list of host names",
        env: &["LASTGOOD_HOSTS"],
        flag: None,
        doc: "names by which this gateway is reached apart from its address and localhost; requests to the cache's inside \
              that name another host are refused, unless they have the admin token",
        secret: false,
        set: |settings, raw| put(&mut settings.hosts, value::hosts(raw)),
        show: |settings| show::words(&settings.hosts),
    },
    Key {
        name: "unix_socket",
        kind: "path",
        env: &["LASTGOOD_UNIX_SOCKET"],
        flag: None,
        doc: "a unix socket to listen on as well; who may write to its folder and to it may ask, as from this machine",
        secret: false,
        set: |settings, raw| put(&mut settings.unix_socket, listening::optional_path(raw)),
        show: |settings| show::optional_path(&settings.unix_socket),
    },
    Key {
        name: "store",
        kind: "store URL",
        env: &["LASTGOOD_STORE_URL", "REDIS_URL", "UPSTASH_REDIS_URL", "UPSTASH_REDIS_REST_URL", "KV_REST_API_URL"],
        flag: Some("store"),
        doc: "the store: embedded:[FILE], memory:, redis://, rediss://, unix:SOCKET, redis+sentinel://, redis+cluster:// \
              (rediss+… with TLS) or https:// (Upstash REST), upstash-rest: (the REST side of the database in REDIS_URL); empty is embedded",
        secret: false,
        set: |settings, raw| put(&mut settings.store, store::parse(raw)),
        show: |settings| show::plain(&settings.store),
    },
    Key {
        name: "store_token",
        kind: "secret",
        env: &["UPSTASH_REDIS_REST_TOKEN", "UPSTASH_REDIS_TOKEN"],
        flag: None,
        doc: "token of a store at Upstash over REST: that of the variable that names the store, such as KV_REST_API_TOKEN for KV_REST_API_URL",
        secret: true,
        set: |settings, raw| put(&mut settings.store_token, value::secret(raw)),
        show: |settings| show::secret(&settings.store_token),
    },
    Key {
        name: "store_price",
        kind: "US dollars",
        env: &["LASTGOOD_STORE_PRICE"],
        flag: None,
        doc: "what 100,000 commands of the store cost, for the cost of a day in the statistics; \
              empty is 0.2 at Upstash, and no cost elsewhere",
        secret: false,
        set: |settings, raw| put(&mut settings.store_price, store::price(raw)),
        show: |settings| show::option(&settings.store_price),
    },
    Key {
        name: "store_budget",
        kind: "duration",
        env: &["LASTGOOD_STORE_BUDGET"],
        flag: None,
        doc: "what all store work of one request may cost together; more than a round trip to the store takes",
        secret: false,
        set: |settings, raw| put(&mut settings.store_budget, value::span(raw, MILLISECOND..=SECOND * 10)),
        show: |settings| show::span(&settings.store_budget),
    },
    Key {
        name: "store_leases",
        kind: "true or false",
        env: &["LASTGOOD_STORE_LEASES"],
        flag: None,
        doc: "whether gateways on one store load each key one at a time, for two commands more a load; empty is false at \
              Upstash, where commands are billed, and true elsewhere; a client that polls eight questions of the trading preset \
              sent 1.0 million commands a day without leases, and 1.9 million with them",
        secret: false,
        set: |settings, raw| put(&mut settings.store_leases, value::optional_boolean(raw)),
        show: |settings| show::option(&settings.store_leases),
    },
    Key {
        name: "store_trust_for",
        kind: "duration",
        env: &["LASTGOOD_STORE_TRUST_FOR"],
        flag: None,
        doc: "how long answers in memory are served as fresh while a shared store is silent, so that what other gateways \
              removed is not known; labelled unverified from about half of it on. The store is asked six times in it. \
              Empty is 2s with Redis, and 60s at Upstash, which bills each command",
        secret: false,
        set: |settings, raw| put(&mut settings.store_trust_for, store::trust_for(raw)),
        show: |settings| show::optional_span(&settings.store_trust_for),
    },
    Key {
        name: "data_dir",
        kind: "path",
        env: &["LASTGOOD_DATA_DIR"],
        flag: Some("data-dir"),
        doc: "embedded store, ban memory and credentials; empty is $XDG_DATA_HOME/lastgood, \
            else ~/.local/share/lastgood, else ./lastgood-data",
        secret: false,
        set: |settings, raw| put(&mut settings.data_dir, value::path(raw)),
        show: |settings| show::path(&settings.data_dir),
    },
    Key {
        name: "preset",
        kind: "trading or dashboard",
        env: &["LASTGOOD_PRESET"],
        flag: Some("preset"),
        doc: "which region defaults apply: trading for bots, dashboard for pages",
        secret: false,
        set: |settings, raw| put(&mut settings.preset, value::one_of(raw, &Preset::ALL)),
        show: |settings| show::preset(&settings.preset),
    },
    Key {
        name: "namespace",
        kind: "name",
        env: &["LASTGOOD_NAMESPACE"],
        flag: None,
        doc: "prefix of every key in the store",
        secret: false,
        set: |settings, raw| put(&mut settings.namespace, value::namespace(raw)),
        show: |settings| show::plain(&settings.namespace),
    },
    Key {
        name: "enabled",
        kind: "true or false",
        env: &["LASTGOOD_ENABLED", "CACHE_ENABLED", "REDIS_ENABLED"],
        flag: None,
        doc: "false passes everything through",
        secret: false,
        set: |settings, raw| put(&mut settings.enabled, value::boolean(raw)),
        show: |settings| show::plain(&settings.enabled),
    },
    Key {
        name: "master_key",
        kind: "secret",
        env: &["LASTGOOD_MASTER_KEY"],
        flag: None,
        doc: "key for credentials at rest: 32 bytes in hexadecimal or base64, or a passphrase of 16 characters",
        secret: true,
        set: |settings, raw| put(&mut settings.master_key, value::master_key(raw)),
        show: |settings| show::secret(&settings.master_key),
    },
];
