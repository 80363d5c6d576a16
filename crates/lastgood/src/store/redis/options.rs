//! Where a Redis is and how to get in.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use ::redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

pub(super) use self::server::{Access, Server};
use self::tls::Tls;
use crate::store::StoreError;

mod hosts;
mod server;
mod tls;

/// The domain of a provider that bills each command.
const BILLED: &str = "upstash.io";

const SCHEMES: [&str; 5] = ["redis:", "rediss:", "unix:", "redis+unix:", "valkey"];

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
    /// Reads one of
    ///
    /// * `redis://[[user]:password@]host[:port][/database]`, the same with `rediss://` for TLS;
    /// * `unix:///path/to/socket[?db=n&user=…&pass=…]`;
    /// * `redis+sentinel://[[user]:password@]host[:port][,host[:port]…]/service[?db=n]`: the primary that the Sentinels
    ///   at these addresses (port 26379 unless given) name for `service`. User and password are the primary's; where the
    ///   Sentinels want one, too, it is `sentinel_password=…`, with `sentinel_user=…` if need be, after the `?`;
    /// * `redis+cluster://[[user]:password@]host[:port][,host[:port]…]`: the cluster of which these are members;
    /// * `rediss+sentinel://…` and `rediss+cluster://…`: the same with TLS to every server, each of which is checked by
    ///   the name or address that the Sentinels or the cluster announce for it.
    ///
    /// Each kind with TLS takes `cert=FILE&key=FILE`, a client certificate, and `ca=FILE`, the authority to trust in
    /// place of the system's, after the `?`. Special characters in users, passwords and paths are percent-encoded.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], saying what is wrong with the URL, or with the files that it names, without repeating
    /// its secrets.
    pub fn parse(url: &str) -> Result<RedisOptions, StoreError> {
        let topology = match url.split_once("://") {
            Some(("redis+sentinel", rest)) => hosts::sentinel(rest, false)?,
            Some(("rediss+sentinel", rest)) => hosts::sentinel(rest, true)?,
            Some(("redis+cluster", rest)) => hosts::cluster(rest, false)?,
            Some(("rediss+cluster", rest)) => hosts::cluster(rest, true)?,
            _ => Topology::Single(single(url)?),
        };
        Ok(RedisOptions { topology })
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

/// The address and login of one server.
fn single(url: &str) -> Result<Server, StoreError> {
    if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        return Err(unusable(
            "it must begin with redis://, rediss://, unix:, redis+sentinel://, redis+cluster://, rediss+sentinel:// or \
             rediss+cluster://",
        ));
    }
    let info = url.into_connection_info().map_err(|error| {
        // The error's own words may repeat parts of the URL.
        unusable(match error.to_string() {
            text if text.contains("database number") => "its path must be a database number, such as /0",
            text if text.contains("hostname") => "it names no host (is the password percent-encoded?)",
            text if text.contains("wildcard") => "0.0.0.0 and :: are no address to connect to",
            text if text.contains("protocol") => "protocol must be 2 or 3",
            text if text.contains("fragment") => "it has a fragment (is the # in the password written as %23?)",
            _ => "it cannot be read as a URL (are special characters in the password percent-encoded?)",
        })
    })?;
    if info.redis_settings().db() < 0 {
        return Err(unusable("its path must be a database number, such as /0"));
    }
    if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
        return Err(unusable("#insecure is not supported; add ?ca=FILE with the server's own authority"));
    }
    let (_, query) = url.split_once('?').unwrap_or_default();
    // What else is there is other programs' business.
    let tls = Tls::of(&tls::parameters(query), matches!(info.addr(), ConnectionAddr::TcpTls { .. }))?;
    // CLIENT SETINFO would be one more command that an account needs, for a name that nobody reads.
    let login = info.redis_settings().clone().set_skip_set_lib_name();
    Ok(Server { info: info.set_redis_settings(login).set_tcp_settings(tcp_settings()), tls: Arc::new(tls) })
}

fn unusable(why: &str) -> StoreError {
    StoreError::Unavailable(format!("the Redis URL is unusable: {why}"))
}

fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(3));
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive)
}

/// `host:port` as it stands in a URL.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The same of several servers, with commas between.
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
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        RedisOptions::parse(url).expect("a good URL").to_string()
    }

    #[test]
    fn every_kind_of_url_is_read_and_shown_without_its_secrets() {
        assert_eq!(shown("redis://localhost"), "redis://localhost:6379/0");
        assert_eq!(shown("redis://:s3cret@10.0.0.1:7000/3"), "redis://10.0.0.1:7000/3");
        assert_eq!(shown("rediss://default:s3cret@eu.example.com:6380"), "rediss://eu.example.com:6380/0");
        assert_eq!(shown("redis://[::1]:7000/1"), "redis://[::1]:7000/1");
        assert_eq!(shown("unix:///run/redis.sock?db=2&pass=s3cret"), "unix:///run/redis.sock?db=2");
    }

    #[test]
    fn user_and_password_are_percent_decoded_and_never_shown() {
        let options = RedisOptions::parse("redis://us%40er:p%40ss%3Aw%2F%23rd@host/1").expect("a good URL");
        let Topology::Single(info) = options.topology() else { panic!("one server") };
        assert_eq!(info.redis_settings().username(), Some("us@er"));
        assert_eq!(info.redis_settings().password(), Some("p@ss:w/#rd"));
        let shown = format!("{options} {options:?}");
        assert!(!shown.contains("p@ss") && !shown.contains("p%40ss"), "{shown}");
        assert_eq!(options.redact("AUTH p@ss:w/#rd failed".into()), "AUTH *** failed");
    }

    #[test]
    fn an_unusable_url_is_explained_without_its_secrets() {
        let urls = [
            "http://:s3cret@host",
            "redis://:s3cret@",
            "redis://:s3cret@host/zero",
            "redis://:s3cret@host/-1",
            "redis://:s3cret@host:port",
            "redis://:s3cret@0.0.0.0",
            "redis://:s3#cret@host",
            "redis://:s3cret@host?protocol=9",
            "rediss://:s3cret@host#insecure",
            "s3cret",
            "",
        ];
        for url in urls {
            let error = RedisOptions::parse(url).map(|_| url).expect_err("a bad URL").to_string();
            assert!(error.contains("the Redis URL is unusable: "), "{error}");
            assert!(!error.contains("s3cret") && !error.contains("cret@"), "{error}");
        }
    }
}
