//! Where a Redis is and how to get in.

use std::fmt;
use std::time::Duration;

use ::redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use ::redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::store::StoreError;

const SCHEMES: [&str; 5] = ["redis:", "rediss:", "unix:", "redis+unix:", "valkey"];

/// Where a Redis is, which of its databases to use, and as whom. Its texts never show the password.
#[derive(Clone)]
pub struct RedisOptions {
    info: ConnectionInfo,
}

impl RedisOptions {
    /// Reads `redis://[[user]:password@]host[:port][/database]`, the same with `rediss://` for TLS, and
    /// `unix:///path/to/socket[?db=n&user=…&pass=…]`. Special characters in user and password are percent-encoded.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], saying what is wrong with the URL without repeating its secrets.
    pub fn parse(url: &str) -> Result<RedisOptions, StoreError> {
        if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
            return Err(unusable("it must begin with redis://, rediss:// or unix:"));
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
            return Err(unusable("#insecure is not supported; let SSL_CERT_FILE name the server's own authority"));
        }
        Ok(RedisOptions { info: info.set_tcp_settings(tcp_settings()) })
    }

    pub(super) fn connection_info(&self) -> ConnectionInfo {
        self.info.clone()
    }

    /// `text` without the password, should a server have repeated it.
    pub(super) fn redact(&self, text: String) -> String {
        match self.info.redis_settings().password() {
            Some(password) if !password.is_empty() => text.replace(password, "***"),
            _ => text,
        }
    }
}

fn unusable(why: &str) -> StoreError {
    StoreError::Unavailable(format!("the Redis URL is unusable: {why}"))
}

fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(3));
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive)
}

impl fmt::Display for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.info.redis_settings().db();
        let bracketed = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => write!(f, "redis://{}:{port}/{database}", bracketed(host)),
            ConnectionAddr::TcpTls { host, port, .. } => write!(f, "rediss://{}:{port}/{database}", bracketed(host)),
            ConnectionAddr::Unix(path) => write!(f, "unix://{}?db={database}", path.display()),
            _ => f.write_str("redis"),
        }
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redis = self.info.redis_settings();
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
        let settings = options.connection_info();
        assert_eq!(settings.redis_settings().username(), Some("us@er"));
        assert_eq!(settings.redis_settings().password(), Some("p@ss:w/#rd"));
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
