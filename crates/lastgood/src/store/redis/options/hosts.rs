//! URLs that name several servers, which no URL library reads.

use std::sync::Arc;

use ::redis::RedisConnectionInfo;

use super::tls::{self, Tls};
use super::{Access, Server, Topology, single, unusable};
use crate::store::StoreError;

/// Where Sentinels listen unless told otherwise.
const SENTINEL_PORT: u16 = 26379;

/// Where a Redis listens unless told otherwise.
const SERVER_PORT: u16 = 6379;

/// The most servers that one URL may name.
const MOST_HOSTS: usize = 32;

/// Reads what follows `redis+sentinel://`, or `rediss+sentinel://`.
pub(super) fn sentinel(rest: &str, is_tls: bool) -> Result<Topology, StoreError> {
    let parts = Parts::of(rest)?;
    let service = match parts.path {
        "" => return Err(unusable("it names no service; write redis+sentinel://host:26379,host:26379/SERVICE")),
        path if path.contains(['/', '%']) => {
            return Err(unusable("its path must be the service's name alone; a database is ?db=1"));
        }
        path => path.to_owned(),
    };
    let tls = parts.tls(is_tls)?;
    let mut login = parts.login()?;
    let (mut user, mut password) = ("", "");
    for (name, value) in parts.parameters() {
        match name {
            "db" => login = login.set_db(database(value)?),
            "sentinel_user" => user = value,
            "sentinel_password" => password = value,
            "cert" | "key" | "ca" => {}
            _ => return Err(unusable("after the ? it takes db, sentinel_user, sentinel_password, cert, key and ca")),
        }
    }
    if [user, password].iter().any(|part| part.contains(['@', '/', ':'])) {
        return Err(unusable("special characters in sentinel_user and sentinel_password must be percent-encoded"));
    }
    let credentials = match (user, password) {
        ("", "") => String::new(),
        _ => format!("{user}:{password}@"),
    };
    let sentinels = parts.servers(&credentials, SENTINEL_PORT, &tls)?;
    Ok(Topology::Sentinel { sentinels, service, access: Access { login, tls } })
}

/// Reads what follows `redis+cluster://`, or `rediss+cluster://`.
pub(super) fn cluster(rest: &str, is_tls: bool) -> Result<Topology, StoreError> {
    let parts = Parts::of(rest)?;
    if !matches!(parts.path, "" | "0") {
        return Err(unusable("a cluster has but database 0, so nothing may follow the addresses"));
    }
    let tls = parts.tls(is_tls)?;
    match parts.parameters().find(|(name, _)| !is_tls || !matches!(*name, "cert" | "key" | "ca")) {
        None => {}
        Some(_) if is_tls => return Err(unusable("after the ? of a cluster it takes cert, key and ca")),
        Some(_) => return Err(unusable("after the addresses of a cluster without TLS there may be no ?")),
    }
    let credentials = match parts.credentials {
        "" => String::new(),
        credentials => format!("{credentials}@"),
    };
    let seeds = parts.servers(&credentials, SERVER_PORT, &tls)?;
    Ok(Topology::Cluster { seeds, access: Access { login: parts.login()?, tls } })
}

fn database(text: &str) -> Result<i64, StoreError> {
    let number: u32 = text.parse().map_err(|_| unusable("db must be a database number, such as ?db=0"))?;
    Ok(number.into())
}

/// `credentials@host,host/path?query`.
struct Parts<'a> {
    credentials: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Parts<'a>, StoreError> {
        if rest.contains('#') {
            return Err(unusable("it has a fragment (is the # in the password written as %23?)"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains('@') {
            return Err(unusable("the / in its password must be written as %2F"));
        }
        let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let hosts: Vec<&str> = hosts.split(',').collect();
        if hosts.len() > MOST_HOSTS {
            return Err(unusable("it names more than 32 servers; a few of them are enough"));
        }
        if hosts.contains(&"") {
            return Err(unusable("it names no host, or there is nothing between two commas"));
        }
        Ok(Parts { credentials, hosts, path, query })
    }

    fn parameters(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.query.split('&').filter(|part| !part.is_empty()).map(|part| part.split_once('=').unwrap_or((part, "")))
    }

    /// How all of the servers are reached; nothing where it is without TLS.
    fn tls(&self, is_tls: bool) -> Result<Option<Arc<Tls>>, StoreError> {
        let tls = Tls::of(&tls::parameters(self.query), is_tls)?;
        Ok(is_tls.then(|| Arc::new(tls)))
    }

    /// User and password, decoded as those of a single server are.
    fn login(&self) -> Result<RedisConnectionInfo, StoreError> {
        let url = match self.credentials {
            "" => "redis://host".to_owned(),
            credentials => format!("redis://{credentials}@host"),
        };
        single(&url).map(|info| info.redis_settings().clone())
    }

    /// The servers, each with these credentials, which end with an `@` unless there are none.
    fn servers(&self, credentials: &str, port: u16, tls: &Option<Arc<Tls>>) -> Result<Vec<Server>, StoreError> {
        let scheme = if tls.is_some() { "rediss" } else { "redis" };
        let servers = self.hosts.iter().map(|host| {
            // The colons inside the brackets of an IPv6 address are not those before a port.
            let after_address = host.rsplit_once(']').map_or(*host, |(_, after)| after);
            let server = match after_address.contains(':') {
                true => single(&format!("{scheme}://{credentials}{host}"))?,
                false => single(&format!("{scheme}://{credentials}{host}:{port}"))?,
            };
            Ok(Server { tls: tls.clone().unwrap_or_default(), ..server })
        });
        servers.collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::store::RedisOptions;
    use crate::store::redis::options::Topology;

    #[test]
    fn sentinels_service_database_and_both_logins_are_read() {
        let url = "redis+sentinel://us%40er:p%40ss@a,[::1]:7000,c:26380/main?db=2&sentinel_password=s%2Fcret";
        let options = RedisOptions::parse(url).expect("a good URL");
        assert_eq!(options.to_string(), "redis+sentinel://a:26379,[::1]:7000,c:26380/main?db=2");
        let Topology::Sentinel { sentinels, service, access } = options.topology() else { panic!("sentinels") };
        let login = &access.login;
        assert_eq!((login.username(), login.password(), login.db()), (Some("us@er"), Some("p@ss"), 2));
        assert_eq!(service, "main");
        for sentinel in sentinels {
            let settings = sentinel.redis_settings();
            assert_eq!((settings.username(), settings.password(), settings.db()), (None, Some("s/cret"), 0));
        }
        assert_eq!(options.redact("p@ss and s/cret".into()), "*** and ***");
        let shown = format!("{options:?}");
        assert!(!shown.contains("p@ss") && !shown.contains("cret"), "{shown}");
        let plain = RedisOptions::parse("redis+sentinel://a/main").expect("a good URL");
        assert_eq!(plain.to_string(), "redis+sentinel://a:26379/main");
    }

    #[test]
    fn members_and_login_of_a_cluster_are_read() {
        let options = RedisOptions::parse("redis+cluster://us%40er:p%40ss@a,[::1]:7000").expect("a good URL");
        assert_eq!(options.to_string(), "redis+cluster://a:6379,[::1]:7000");
        let Topology::Cluster { seeds, access } = options.topology() else { panic!("a cluster") };
        let login = &access.login;
        assert_eq!((login.username(), login.password()), (Some("us@er"), Some("p@ss")));
        assert!(seeds.iter().all(|seed| seed.redis_settings().password() == Some("p@ss")));
        assert_eq!(options.redact("p@ss".into()), "***");
        assert!(!format!("{options:?}").contains("p@ss"));
    }

    #[test]
    fn an_unusable_url_of_several_servers_is_explained_without_its_secrets() {
        for (url, part) in [
            ("redis+sentinel://:s3cret@a:1,b:2", "names no service"),
            ("redis+sentinel://:s3cret@a:1,b:2/", "names no service"),
            ("redis+sentinel://:s3cret@a:1/main/2", "?db=1"),
            ("redis+sentinel://:s3cret@a:1/main?db=x", "database number"),
            ("redis+sentinel://:s3cret@a:1/main?password=s3cret", "sentinel_password"),
            ("redis+sentinel://:s3cret@a:1,,b/main", "between two commas"),
            ("redis+sentinel://:s3cret@/main", "names no host"),
            ("redis+sentinel://:s3/cret@a:1/main", "%2F"),
            ("redis+sentinel://:s3#cret@a:1/main", "%23"),
            ("redis+sentinel://:s3cret@a:port/main", "percent-encoded"),
            ("redis+sentinel://a:1/main?sentinel_password=s3cret@x", "percent-encoded"),
            ("redis+sentinel://a:1/main?sentinel_password=s3cret/x", "percent-encoded"),
            ("redis+sentinel://:s3?cret@a:1/main", "names no"),
            ("redis+cluster://:s3?cret@a:1", "there may be no ?"),
            ("rediss+sentinel://:s3cret@a:1", "names no service"),
            ("rediss+cluster://:s3cret@a:1?db=1", "takes cert, key and ca"),
            ("rediss+cluster://:s3?cret@a:1", "takes cert, key and ca"),
            ("redis+cluster://:s3cret@a:1/1", "database 0"),
            ("redis+cluster://:s3cret@a:1?db=1", "there may be no ?"),
            ("redis+cluster://:s3cret@", "names no host"),
            ("redis+cluster://:s3/cret@a:1", "%2F"),
        ] {
            let error = RedisOptions::parse(url).map(|_| url).expect_err("a bad URL").to_string();
            assert!(error.contains("the Redis URL is unusable: ") && error.contains(part), "{url}: {error}");
            assert!(!error.contains("cret"), "{error}");
        }
    }
}
