//! Where a Redis is and how to get in.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use ::redis::{ConnectionAddr, ProtocolVersion, RedisConnectionInfo};

pub(super) use self::certificate_error::CertificateError;
pub(super) use self::server::{Access, Server};
use self::tls::Tls;
pub(super) use crate::store::url::hosts::authority;
use crate::store::{Login, RedisPlace, RedisUrl, StoreError};

mod certificate_error;
mod server;
mod tls;

/// The domain of a provider that bills each command.
const BILLED: &str = "upstash.io";

/// Where a Redis is, which of its databases to use, and as whom. Its texts never show a password.
#[derive(Clone)]
pub struct RedisOptions {
    topology: Topology,
}

/// What there is at the addresses of a URL.
#[derive(Clone)]
pub(super) enum Topology {
    /// One server.
    Single(Server),
    /// Sentinels, which know where the primary of `service` is, and how to get into that one.
    Sentinel { sentinels: Vec<Server>, service: String, access: Access },
    /// Some members of a cluster, and how to get into all of them.
    Cluster { seeds: Vec<Server>, access: Access },
}

impl RedisOptions {
    /// What a URL says, with the files that it names.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], naming the problem with the files.
    pub fn new(url: &RedisUrl) -> Result<RedisOptions, StoreError> {
        let tls = url.tls.as_ref().map(Tls::of).transpose().map_err(|why| unusable(&why.to_string()))?.map(Arc::new);
        let access = Access { login: login(&url.login, url), tls };
        let to = |addresses: &[(String, u16)], access: &Access| -> Vec<Server> {
            addresses.iter().filter_map(|(host, port)| access.to(host, *port)).collect()
        };
        let topology = match &url.place {
            RedisPlace::Server { host, port } => {
                let server = access.to(host, *port).ok_or_else(|| unusable("its host cannot be used"))?;
                Topology::Single(server)
            }
            RedisPlace::Socket(path) => Topology::Single(access.over(path)?),
            RedisPlace::Sentinels { sentinels, service, login: of_sentinels } => {
                let of_sentinels = Access { login: login(of_sentinels, url).set_db(0), tls: access.tls.clone() };
                Topology::Sentinel { sentinels: to(sentinels, &of_sentinels), service: service.clone(), access }
            }
            RedisPlace::Cluster(members) => Topology::Cluster { seeds: to(members, &access), access },
        };
        Ok(RedisOptions { topology })
    }

    /// Reads a URL as [`RedisUrl::parse`] does, and the files that it names.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], naming the problem with the URL, or with the files, without repeating its secrets.
    pub fn parse(url: &str) -> Result<RedisOptions, StoreError> {
        let url = RedisUrl::parse(url).map_err(|why| StoreError::Unavailable(why.to_string()))?;
        RedisOptions::new(&url)
    }

    /// Whether it is a database whose provider bills each command.
    pub(super) fn is_billed(&self) -> bool {
        match &self.topology {
            Topology::Single(server) => server.host() == BILLED || server.host().ends_with(&format!(".{BILLED}")),
            Topology::Sentinel { .. } | Topology::Cluster { .. } => false,
        }
    }

    /// One server of several.
    pub(super) fn of_server(server: Server) -> RedisOptions {
        RedisOptions { topology: Topology::Single(server) }
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// `text` without the passwords, should a server have repeated one.
    pub(super) fn redact(&self, text: String) -> String {
        let logins: Vec<&RedisConnectionInfo> = match &self.topology {
            Topology::Single(info) => vec![info.redis_settings()],
            Topology::Sentinel { sentinels, access, .. } => {
                sentinels.iter().map(|sentinel| sentinel.redis_settings()).chain([&access.login]).collect()
            }
            Topology::Cluster { access, .. } => vec![&access.login],
        };
        let passwords = logins.into_iter().filter_map(RedisConnectionInfo::password);
        passwords.filter(|password| !password.is_empty()).fold(text, |text, password| text.replace(password, "***"))
    }
}

/// How to log in, and what with. CLIENT SETINFO would be one more command that an account needs, for a name that is not read.
fn login(login: &Login, url: &RedisUrl) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default().set_db(url.database.into()).set_skip_set_lib_name();
    if url.is_resp3 {
        info = info.set_protocol(ProtocolVersion::RESP3);
    }
    if let Some(user) = &login.user {
        info = info.set_username(user);
    }
    match &login.password {
        Some(password) => info.set_password(password.expose()),
        None => info,
    }
}

fn unusable(why: &str) -> StoreError {
    StoreError::Unavailable(format!("the Redis URL is unusable: {why}"))
}

fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(3));
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive)
}

/// `host:port` of several servers, with commas between.
fn authorities(servers: &[Server]) -> String {
    let shown = servers.iter().map(|info| match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => authority(host, *port),
        other => other.to_string(),
    });
    shown.collect::<Vec<_>>().join(",")
}

impl fmt::Display for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = match &self.topology {
            Topology::Single(info) => info,
            Topology::Sentinel { sentinels, service, access } => {
                write!(f, "{}+sentinel://{}/{service}", access.scheme(), authorities(sentinels))?;
                return if access.login.db() == 0 { Ok(()) } else { write!(f, "?db={}", access.login.db()) };
            }
            Topology::Cluster { seeds, access } => {
                return write!(f, "{}+cluster://{}", access.scheme(), authorities(seeds));
            }
        };
        let database = info.redis_settings().db();
        match info.addr() {
            ConnectionAddr::Tcp(host, port) => write!(f, "redis://{}/{database}", authority(host, *port)),
            ConnectionAddr::TcpTls { host, port, .. } => write!(f, "rediss://{}/{database}", authority(host, *port)),
            ConnectionAddr::Unix(path) => write!(f, "unix://{}?db={database}", path.display()),
            _ => f.write_str("redis"),
        }
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redis = match &self.topology {
            Topology::Single(info) => info.redis_settings(),
            Topology::Sentinel { access, .. } | Topology::Cluster { access, .. } => &access.login,
        };
        f.debug_struct("RedisOptions")
            .field("at", &self.to_string())
            .field("user", &redis.username())
            .field("password", &redis.password().map(|_| "***"))
            .finish()
    }
}

#[cfg(test)]
mod tests;
