//! A real primary with replicas, watched by real Sentinels.

use std::fmt;

use super::redis_server::eventually;
use super::{Authority, RedisServer};

/// The name of the one service.
const SERVICE: &str = "main";

/// Three `redis-server`s, of which one is the primary, and three Sentinels that watch them as the service `main` and
/// agree by two. They hold a server for dead after a second. All of it ends when this is dropped. All methods block, for
/// seconds where an election is waited for, and panic when what they wait for does not happen.
pub struct RedisSentinels {
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
    password: Option<String>,
}

impl RedisSentinels {
    /// Starts all, and waits until every Sentinel knows the other two and both replicas.
    ///
    /// # Panics
    ///
    /// When `redis-server` is not installed or does not start.
    pub fn start() -> Self {
        let mut all = Self::prepare();
        all.start_all();
        all
    }

    /// The same with one password for the servers and another for the Sentinels, as [`RedisSentinels::url`] has them.
    ///
    /// # Panics
    ///
    /// When `redis-server` is not installed or does not start.
    pub fn start_with_passwords(servers: &str, sentinels: &str) -> Self {
        let mut all = Self::prepare_with(Some((servers, sentinels)), None);
        all.start_all();
        all
    }

    /// The same with TLS between all of them and to clients, where all are announced as `localhost`, which is what the
    /// certificates are for.
    ///
    /// # Panics
    ///
    /// When `redis-server` is not installed, lacks TLS or does not start.
    pub fn start_with_tls(authority: &Authority) -> Self {
        let mut all = Self::prepare_with(None, Some(&authority.redis_arguments("DNS:localhost")));
        all.start_all();
        all
    }

    /// Finds ports but starts nothing: [`RedisSentinels::start_all`] does.
    pub fn prepare() -> Self {
        Self::prepare_with(None, None)
    }

    fn prepare_with(passwords: Option<(&str, &str)>, tls: Option<&[String]>) -> Self {
        let tls_args: Vec<&str> = tls.unwrap_or_default().iter().map(String::as_str).collect();
        let prepared = |server: RedisServer| if tls.is_some() { server.with_tls() } else { server };
        let host = if tls.is_some() { "localhost" } else { "127.0.0.1" };
        // Without the delay a replica would wait five seconds for others to join it.
        let mut args = vec!["--repl-diskless-sync-delay", "0"];
        if let Some((password, _)) = passwords {
            args.extend(["--requirepass", password, "--masterauth", password]);
        }
        if tls.is_some() {
            args.extend([&tls_args[..], &["--tls-replication", "yes", "--replica-announce-ip", host]].concat());
        }
        let primary = prepared(RedisServer::prepare(&args));
        let port = primary.announced_port().to_string();
        let replica_args = [&args[..], &["--replicaof", host, &port]].concat();
        let replica = || prepared(RedisServer::prepare(&replica_args));
        let servers = vec![primary, replica(), replica()];
        let names = if tls.is_some() { "yes" } else { "no" };
        let mut configuration = format!(
            "sentinel resolve-hostnames {names}\n\
             sentinel announce-hostnames {names}\n\
             sentinel monitor {SERVICE} {host} {port} 2\n\
             sentinel down-after-milliseconds {SERVICE} 1000\n\
             sentinel failover-timeout {SERVICE} 5000\n"
        );
        if let Some((password, _)) = passwords {
            configuration.push_str(&format!("sentinel auth-pass {SERVICE} {password}\n"));
        }
        let mut args = passwords.map_or(vec![], |(_, password)| vec!["--requirepass", password]);
        if tls.is_some() {
            args.extend([&tls_args[..], &["--tls-replication", "yes"]].concat());
        }
        let sentinels = (0..3).map(|_| prepared(RedisServer::prepare_sentinel(&configuration, &args))).collect();
        let password = passwords.map(|(password, _)| password.to_owned());
        RedisSentinels { servers, sentinels, password }
    }

    /// Starts what was prepared, and waits as [`RedisSentinels::start`] does.
    ///
    /// # Panics
    ///
    /// When something does not start.
    pub fn start_all(&mut self) {
        self.servers.iter_mut().for_each(RedisServer::restart);
        // A Sentinel that first sees the primary before its replicas takes ten seconds to learn of them.
        eventually("two replicas", || self.servers[0].command(&["INFO", "replication"]).contains("connected_slaves:2"));
        for sentinel in &mut self.sentinels {
            sentinel.restart();
            sentinel.command(&[
                "SENTINEL",
                "DEBUG",
                "info-period",
                "200",
                "publish-period",
                "200",
                // A machine that stands still for two seconds would else take the Sentinel out of service for thirty.
                "tilt-trigger",
                "30000",
            ]);
        }
        eventually("Sentinels that know all", || {
            self.sentinels.iter().all(|sentinel| {
                let known = sentinel.command(&["SENTINEL", "MASTER", SERVICE]);
                field(&known, "num-slaves") == Some("2") && field(&known, "num-other-sentinels") == Some("2")
            })
        });
    }

    /// `redis+sentinel://127.0.0.1:port,…/main`, with the passwords if there are any.
    pub fn url(&self) -> String {
        let hosts: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        let (login, query) = match &self.password {
            None => (String::new(), String::new()),
            Some(password) => {
                let url = self.sentinels[0].url();
                let own = url.split_once("//:").and_then(|(_, rest)| rest.split_once('@')).map_or("", |(own, _)| own);
                (format!(":{password}@"), format!("?sentinel_password={own}"))
            }
        };
        format!("redis+sentinel://{login}{}/{SERVICE}{query}", hosts.join(","))
    }

    /// The three servers; the first was the primary at the start.
    pub fn servers(&mut self) -> &mut [RedisServer] {
        &mut self.servers
    }

    /// The three Sentinels.
    pub fn sentinels(&mut self) -> &mut [RedisServer] {
        &mut self.sentinels
    }

    /// The place among [`RedisSentinels::servers`] of the one that all running Sentinels name.
    ///
    /// # Panics
    ///
    /// When they do not agree.
    pub fn primary(&self) -> usize {
        let mut named = None;
        eventually("Sentinels that agree", || {
            let ports: Vec<Option<u16>> = self
                .sentinels
                .iter()
                .filter_map(|sentinel| sentinel.answer(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]))
                .map(|address| address.lines().last().and_then(|port| port.parse().ok()))
                .collect();
            named = ports.first().copied().flatten();
            named.is_some() && ports.iter().all(|port| *port == named)
        });
        self.servers
            .iter()
            .position(|server| Some(server.announced_port()) == named)
            .expect("one of ours is the primary")
    }

    /// Tells the Sentinels to make another server the primary, and returns at once.
    ///
    /// # Panics
    ///
    /// When they cannot.
    pub fn fail_over(&self) {
        eventually("a failover", || self.sentinels[0].command(&["SENTINEL", "FAILOVER", SERVICE]).starts_with("+OK"));
    }

    /// Waits until the Sentinels name another primary than this one, and says which.
    ///
    /// # Panics
    ///
    /// When they do not.
    pub fn primary_after(&self, before: usize) -> usize {
        let mut now = before;
        eventually("a new primary", || {
            now = self.primary();
            now != before
        });
        now
    }
}

/// The value after a name in a reply of names and values, each after a line with its length.
fn field<'a>(reply: &'a str, name: &str) -> Option<&'a str> {
    reply.lines().skip_while(|line| *line != name).nth(2)
}

impl fmt::Debug for RedisSentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSentinels").field("servers", &self.servers).field("sentinels", &self.sentinels).finish()
    }
}
