//! The URL of a Redis: one server, the primary that Sentinels name, or a cluster.

use std::fmt;
use std::path::PathBuf;

pub use self::tls::TlsFiles;
use self::tls::files;
use super::StoreUrlError;
use super::hosts::{Parts, authority, decoded, parameters};

mod tls;

/// Where Sentinels listen by default.
const SENTINEL_PORT: u16 = 26379;

/// Where a Redis listens by default.
const SERVER_PORT: u16 = 6379;

/// A password. `Debug` shows `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The password in plain text.
    pub fn new(text: impl Into<String>) -> Password {
        Password(text.into())
    }

    /// The password itself, for logging in.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How to log in. `Debug` shows neither: a token is easily written where the user belongs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The user; the server's default one where there is none.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Password>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Login::default() { "none" } else { "***" })
    }
}

/// What there is at the addresses of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisPlace {
    /// One server.
    Server {
        /// Its name or address, without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
    /// One server, over a socket in the file system.
    Socket(PathBuf),
    /// Sentinels, which know where the primary of a service is.
    Sentinels {
        /// Hosts and ports of the Sentinels.
        sentinels: Vec<(String, u16)>,
        /// What they call the primary.
        service: String,
        /// How to log in to the Sentinels themselves.
        login: Login,
    },
    /// Some members of a cluster, by host and port.
    Cluster(Vec<(String, u16)>),
}

/// Where a Redis is, which of its databases to use, and as whom. No text that it is shown in holds a password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisUrl {
    /// What there is to connect to.
    pub place: RedisPlace,
    /// The files for TLS; `None` without TLS.
    pub tls: Option<TlsFiles>,
    /// How to log in to the servers.
    pub login: Login,
    /// The number of the database.
    pub database: u32,
    /// Whether RESP3 is spoken in place of RESP2.
    pub is_resp3: bool,
}

/// Whether RedisUrl reads what begins so.
pub(super) fn is_scheme(scheme: &str) -> bool {
    matches!(
        scheme,
        "redis" | "rediss" | "unix" | "redis+sentinel" | "rediss+sentinel" | "redis+cluster" | "rediss+cluster"
    )
}

fn wrong(scheme: &str, why: &str) -> StoreUrlError {
    StoreUrlError::new(format!("the Redis URL is unusable: {why}"), hint(scheme))
}

/// How a URL with this scheme is written.
fn hint(scheme: &str) -> &'static str {
    match scheme {
        "rediss" => {
            "write rediss://[user:password@]host:port[/db][?ca=FILE][&cert=FILE&key=FILE]; percent-encode / ? # @ % in the \
             password"
        }
        "unix" => "write \"unix:/run/redis/redis.sock\"",
        "redis+sentinel" => "write redis+sentinel://[user:password@]host:26379,host:26379/SERVICE[?db=n]",
        "rediss+sentinel" => {
            "write rediss+sentinel://[user:password@]host:26379,host:26379/SERVICE[?db=n][&ca=FILE][&cert=FILE&key=FILE]"
        }
        "redis+cluster" => "write redis+cluster://[user:password@]host:6379,host:6379",
        "rediss+cluster" => "write rediss+cluster://[user:password@]host:6379,host:6379[?ca=FILE][&cert=FILE&key=FILE]",
        _ => "write redis://[user:password@]host:port[/db]; percent-encode / ? # @ % in the password",
    }
}

impl RedisUrl {
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
    /// Names the problem with the URL, without repeating any of it. The files that it names are not looked at.
    pub fn parse(text: &str) -> Result<RedisUrl, StoreUrlError> {
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        let scheme = scheme.to_ascii_lowercase();
        let after_slashes = || rest.strip_prefix("//").ok_or(Why::from("it names no host; // must follow the colon"));
        let read = match scheme.as_str() {
            "redis" | "rediss" => after_slashes().and_then(|rest| server(rest, scheme == "rediss")),
            "unix" => socket(rest),
            "redis+sentinel" | "rediss+sentinel" => {
                after_slashes().and_then(|rest| sentinels(rest, scheme == "rediss+sentinel"))
            }
            "redis+cluster" | "rediss+cluster" => {
                after_slashes().and_then(|rest| cluster(rest, scheme == "rediss+cluster"))
            }
            _ => Err("it must begin with redis://, rediss://, unix:, redis+sentinel://, redis+cluster://, \
                      rediss+sentinel:// or rediss+cluster://"
                .into()),
        };
        read.map_err(|Why(why)| wrong(&scheme, &why))
    }

    /// How a URL of this kind is written, for messages about what it leads to, such as its files.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        hint(self.scheme())
    }

    /// Logs in with a token as the password, as the user `default` if no other is named, unless there is a password already.
    pub fn log_in_with(&mut self, token: &str) {
        if self.login.password.is_none() {
            self.login.password = Some(Password::new(token));
            self.login.user.get_or_insert_with(|| "default".to_owned());
        }
    }

    /// The same place for everyone: without users and passwords, to be compared.
    #[must_use]
    pub fn without_login(&self) -> RedisUrl {
        let mut url = RedisUrl { login: Login::default(), ..self.clone() };
        if let RedisPlace::Sentinels { login, .. } = &mut url.place {
            *login = Login::default();
        }
        url
    }

    fn scheme(&self) -> &'static str {
        match (&self.place, self.tls.is_some()) {
            (RedisPlace::Server { .. }, false) => "redis",
            (RedisPlace::Server { .. }, true) => "rediss",
            (RedisPlace::Socket(_), _) => "unix",
            (RedisPlace::Sentinels { .. }, false) => "redis+sentinel",
            (RedisPlace::Sentinels { .. }, true) => "rediss+sentinel",
            (RedisPlace::Cluster(_), false) => "redis+cluster",
            (RedisPlace::Cluster(_), true) => "rediss+cluster",
        }
    }
}

/// The problem with a URL, as a part of a sentence.
pub(super) struct Why(String);

impl From<&str> for Why {
    fn from(why: &str) -> Why {
        Why(why.to_owned())
    }
}

impl From<String> for Why {
    fn from(why: String) -> Why {
        Why(why)
    }
}

fn server(rest: &str, is_tls: bool) -> Result<RedisUrl, Why> {
    let parts = Parts::of(rest)?;
    let [(host, port)] = parts
        .addresses(SERVER_PORT)?
        .try_into()
        .map_err(|_| "it names several servers; write redis+sentinel:// or redis+cluster:// for them")?;
    let database = match parts.path.trim_matches('/') {
        "" => 0,
        path => path.parse().map_err(|_| "its path is no database number, such as /0")?,
    };
    let is_resp3 = is_resp3(parts.parameters())?;
    let tls = files(parts.parameters(), is_tls)?;
    let login = login(parts.credentials)?;
    Ok(RedisUrl { place: RedisPlace::Server { host, port }, tls, login, database, is_resp3 })
}

fn socket(rest: &str) -> Result<RedisUrl, Why> {
    if rest.contains('#') {
        return Err("it has a fragment (is the # in the password written as %23?)".into());
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path == "/" {
        return Err("the path of its socket is not absolute".into());
    }
    let path = decoded(path).ok_or("the path of its socket is no text")?;
    files(parameters(query), false)?;
    let (mut login, mut database) = (Login::default(), 0);
    for (name, value) in parameters(query) {
        let value = decoded(value).ok_or("what follows its ? is no text")?;
        match name {
            "db" => database = database_of(&value)?,
            "user" => login.user = Some(value),
            "pass" => login.password = Some(Password(value)),
            _ => {}
        }
    }
    let is_resp3 = is_resp3(parameters(query))?;
    Ok(RedisUrl { place: RedisPlace::Socket(path.into()), tls: None, login, database, is_resp3 })
}

fn sentinels(rest: &str, is_tls: bool) -> Result<RedisUrl, Why> {
    let parts = Parts::of(rest)?;
    let service = match parts.path {
        "" => return Err("it names no service; write redis+sentinel://host:26379,host:26379/SERVICE".into()),
        path if path.contains(['/', '%']) => {
            return Err("its path must be the service's name alone; a database is ?db=1".into());
        }
        path => path.to_owned(),
    };
    let tls = files(parts.parameters(), is_tls)?;
    let (mut user, mut password, mut database) = ("", "", 0);
    for (name, value) in parts.parameters() {
        match name {
            "db" => database = database_of(value)?,
            "sentinel_user" => user = value,
            "sentinel_password" => password = value,
            "cert" | "key" | "ca" => {}
            _ => return Err("after the ? it takes db, sentinel_user, sentinel_password, cert, key and ca".into()),
        }
    }
    if [user, password].iter().any(|part| part.contains(['@', '/', ':'])) {
        return Err("special characters in sentinel_user and sentinel_password must be percent-encoded".into());
    }
    let place =
        RedisPlace::Sentinels { sentinels: parts.addresses(SENTINEL_PORT)?, service, login: login_of(user, password)? };
    Ok(RedisUrl { place, tls, login: login(parts.credentials)?, database, is_resp3: false })
}

fn cluster(rest: &str, is_tls: bool) -> Result<RedisUrl, Why> {
    let parts = Parts::of(rest)?;
    if !matches!(parts.path, "" | "0") {
        return Err("a cluster has but database 0, so nothing may follow the addresses".into());
    }
    let tls = files(parts.parameters(), is_tls)?;
    match parts.parameters().find(|(name, _)| !is_tls || !matches!(*name, "cert" | "key" | "ca")) {
        None => {}
        Some(_) if is_tls => return Err("after the ? of a cluster it takes cert, key and ca".into()),
        Some(_) => return Err("after the addresses of a cluster without TLS there may be no ?".into()),
    }
    let place = RedisPlace::Cluster(parts.addresses(SERVER_PORT)?);
    Ok(RedisUrl { place, tls, login: login(parts.credentials)?, database: 0, is_resp3: false })
}

fn database_of(text: &str) -> Result<u32, Why> {
    text.parse().map_err(|_| "db must be a database number, such as ?db=0".into())
}

fn is_resp3<'a>(mut parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Result<bool, Why> {
    match parameters.find(|(name, _)| *name == "protocol") {
        None | Some((_, "2" | "resp2")) => Ok(false),
        Some((_, "3" | "resp3")) => Ok(true),
        Some(_) => Err("protocol must be 2 or 3".into()),
    }
}

/// `user:password`, still encoded.
fn login(credentials: &str) -> Result<Login, Why> {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    login_of(user, password)
}

fn login_of(user: &str, password: &str) -> Result<Login, Why> {
    let text = |part: &str| match part {
        "" => Ok(None),
        part => decoded(part).map(Some).ok_or("its user or password is no text"),
    };
    Ok(Login { user: text(user)?, password: text(password)?.map(Password) })
}

impl fmt::Display for RedisUrl {
    /// The URL without users and passwords; `***@` stands where there are some of the servers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let RedisPlace::Socket(path) = &self.place {
            return write!(f, "unix:{}", path.display());
        }
        let has_login = self.login != Login::default();
        write!(f, "{}://{}", self.scheme(), if has_login { "***@" } else { "" })?;
        let several = |addresses: &[(String, u16)]| {
            addresses.iter().map(|(host, port)| authority(host, *port)).collect::<Vec<_>>().join(",")
        };
        match &self.place {
            RedisPlace::Server { host, port } if self.database == 0 => f.write_str(&authority(host, *port)),
            RedisPlace::Server { host, port } => write!(f, "{}/{}", authority(host, *port), self.database),
            RedisPlace::Sentinels { sentinels, service, .. } => {
                write!(f, "{}/{service}", several(sentinels))?;
                if self.database == 0 { Ok(()) } else { write!(f, "?db={}", self.database) }
            }
            RedisPlace::Cluster(members) => f.write_str(&several(members)),
            RedisPlace::Socket(_) => Ok(()),
        }
    }
}
