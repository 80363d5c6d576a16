//! A real Redis cluster.

use std::fmt;

use super::redis_server::eventually;
use super::{Authority, Port, RedisServer};

/// How many servers have slots.
const PRIMARIES: usize = 3;

/// How many slots there are.
const SLOTS: usize = 16_384;

/// Three `redis-server`s with a third of the slots each, on request with a replica each. A server that is gone takes
/// only its own slots with it. All of it ends when this is dropped. All methods block, for seconds where the servers
/// have to agree, and panic when that does not happen.
pub struct RedisCluster {
    servers: Vec<RedisServer>,
    buses: Vec<Port>,
}

impl RedisCluster {
    /// Starts three primaries and waits until all know who has which slots.
    ///
    /// # Panics
    ///
    /// When `redis-server` is not installed or does not start.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments for each, as on its command line.
    ///
    /// # Panics
    ///
    /// When `redis-server` is not installed or does not start.
    pub fn start_with(args: &[&str]) -> Self {
        let mut cluster = Self::prepare_with(PRIMARIES, args);
        cluster.start_all();
        cluster
    }

    /// As [`RedisCluster::start`], with a replica of each primary, in the same order after them. One takes over about
    /// three seconds after its primary is gone.
    ///
    /// # Panics
    ///
    /// When `redis-server` is not installed or does not start.
    pub fn start_with_replicas() -> Self {
        let mut cluster = Self::prepare_with(2 * PRIMARIES, &["--cluster-node-timeout", "2000"]);
        cluster.start_all();
        cluster
    }

    /// Finds ports but starts nothing: [`RedisCluster::start_all`] does.
    pub fn prepare() -> Self {
        Self::prepare_with(PRIMARIES, &[])
    }

    /// Three primaries that speak TLS to each other and to clients, and announce themselves by this name or address. The
    /// certificates are issued for `names`, as [`Authority::issue`](super::Authority::issue) takes them.
    ///
    /// # Panics
    ///
    /// When `redis-server` is not installed, lacks TLS or does not start.
    pub fn start_with_tls(authority: &Authority, names: &str, announced: &str) -> Self {
        let tls = authority.redis_arguments(names);
        let mut args: Vec<&str> = tls.iter().map(String::as_str).chain(["--tls-cluster", "yes"]).collect();
        if announced != "127.0.0.1" {
            args.extend(["--cluster-announce-hostname", announced, "--cluster-preferred-endpoint-type", "hostname"]);
        }
        let mut cluster = Self::prepare_with(PRIMARIES, &args);
        cluster.servers = cluster.servers.into_iter().map(RedisServer::with_tls).collect();
        cluster.start_all();
        cluster
    }

    fn prepare_with(servers: usize, more: &[&str]) -> Self {
        let buses: Vec<Port> = (0..servers).map(|_| Port::take()).collect();
        let servers = buses.iter().map(|bus| prepare_member(bus, more)).collect();
        RedisCluster { servers, buses }
    }

    /// Starts what was prepared, and waits as [`RedisCluster::start`] does.
    ///
    /// # Panics
    ///
    /// When something does not start.
    pub fn start_all(&mut self) {
        self.servers.iter_mut().for_each(RedisServer::restart);
        for (number, server) in self.servers.iter().enumerate() {
            let done = server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            assert!(done.starts_with("+OK"), "{done}");
        }
        for (number, server) in self.servers[..PRIMARIES].iter().enumerate() {
            let (first, end) = (number * SLOTS / PRIMARIES, (number + 1) * SLOTS / PRIMARIES);
            let done = server.command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &(end - 1).to_string()]);
            assert!(done.starts_with("+OK"), "{done}");
        }
        (1..self.servers.len()).for_each(|place| self.introduce(place));
        self.know_each_other();
        for (replica, primary) in self.servers[PRIMARIES..].iter().zip(&self.servers) {
            let done = replica.command(&["CLUSTER", "REPLICATE", &id_of(primary)]);
            assert!(done.starts_with("+OK"), "{done}");
        }
        eventually("replicas", || {
            self.servers[PRIMARIES..]
                .iter()
                .all(|replica| replica.command(&["INFO", "replication"]).contains("master_link_status:up"))
        });
    }

    /// Starts one more primary, without slots, and gives its place among [`RedisCluster::servers`].
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn join(&mut self) -> usize {
        let bus = Port::take();
        let mut server = prepare_member(&bus, &[]);
        server.restart();
        self.servers.push(server);
        self.buses.push(bus);
        let place = self.servers.len() - 1;
        self.introduce(place);
        self.know_each_other();
        place
    }

    fn introduce(&self, place: usize) {
        let (port, bus) = (self.servers[place].announced_port().to_string(), self.buses[place].number().to_string());
        let done = self.servers[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        assert!(done.starts_with("+OK"), "{done}");
    }

    fn know_each_other(&self) {
        let known = format!("cluster_known_nodes:{}\r", self.servers.len());
        eventually("cluster that knows itself", || {
            self.servers.iter().all(|server| {
                let info = server.command(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_size:3") && info.contains(&known)
            })
        });
    }

    /// `redis+cluster://127.0.0.1:port,…`, with the password if there is one.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
        let url = self.servers[0].url();
        let login = url.strip_prefix("redis://").and_then(|rest| rest.split_once('@')).map(|(login, _)| login);
        let login = login.map(|login| format!("{login}@")).unwrap_or_default();
        format!("redis+cluster://{login}{}", hosts.join(","))
    }

    /// The servers: the three that were primaries at the start, then their replicas if there are any.
    pub fn servers(&mut self) -> &mut [RedisServer] {
        &mut self.servers
    }

    /// The slot of a key.
    ///
    /// # Panics
    ///
    /// When no server answers.
    pub fn slot_of(&self, key: &str) -> u16 {
        let answer = self.servers.iter().find_map(|server| server.answer(&["CLUSTER", "KEYSLOT", key]));
        let slot = answer.as_deref().and_then(|slot| slot.trim().strip_prefix(':')?.parse().ok());
        slot.unwrap_or_else(|| panic!("a slot, not {answer:?}"))
    }

    /// The place among [`RedisCluster::servers`] of the one that has the slot by its own account.
    ///
    /// # Panics
    ///
    /// When none has it.
    pub fn owner_of(&self, slot: u16) -> usize {
        let own = |server: &RedisServer| {
            let nodes = server.answer(&["CLUSTER", "NODES"]).unwrap_or_default();
            nodes.lines().any(|line| line.contains("myself,master") && has(line, slot))
        };
        self.servers.iter().position(own).expect("somebody has the slot")
    }

    /// Begins to move a slot: from now on its owner sends on those who ask for keys that it does not have.
    ///
    /// # Panics
    ///
    /// When the servers refuse.
    pub fn begin_move(&self, slot: u16, to: usize) {
        // A new owner that does not know yet how high the others bid would be outbid, and lose the keys again.
        eventually("agreement on the epoch", || {
            let epoch = |server: &RedisServer| {
                let info = server.command(&["CLUSTER", "INFO"]);
                info.lines().find(|line| line.starts_with("cluster_current_epoch:")).map(str::to_owned)
            };
            let epochs: Vec<Option<String>> = self.servers.iter().map(epoch).collect();
            epochs.iter().all(|epoch| epoch.is_some() && *epoch == epochs[0])
        });
        let from = &self.servers[self.owner_of(slot)];
        let (to, number) = (&self.servers[to], slot.to_string());
        for (server, state, other) in [(to, "IMPORTING", from), (from, "MIGRATING", to)] {
            let done = server.command(&["CLUSTER", "SETSLOT", &number, state, &id_of(other)]);
            assert!(done.starts_with("+OK"), "{done}");
        }
    }

    /// Moves the keys of a slot whose move was begun, then the slot, and waits until all servers agree.
    ///
    /// # Panics
    ///
    /// When the servers refuse.
    pub fn finish_move(&self, slot: u16, to: usize) {
        let from = &self.servers[self.owner_of(slot)];
        let (to, number) = (&self.servers[to], slot.to_string());
        let port = to.port().to_string();
        loop {
            let reply = from.command(&["CLUSTER", "GETKEYSINSLOT", &number, "10"]);
            let keys: Vec<&str> = reply.lines().filter(|line| !line.starts_with(['*', '$'])).collect();
            if keys.is_empty() {
                break;
            }
            let done = from.command(&[&["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"], &keys[..]].concat());
            // Somebody may have removed them meanwhile.
            assert!(done.starts_with("+OK") || done.starts_with("+NOKEY"), "{done}");
        }
        let id = id_of(to);
        for server in [to, from] {
            let done = server.command(&["CLUSTER", "SETSLOT", &number, "NODE", &id]);
            assert!(done.starts_with("+OK"), "{done}");
        }
        // Where moves follow each other quickly, the new owner may not know yet how high it has to bid.
        eventually("agreement on who has the slot", || {
            let agreed = self.servers.iter().all(|server| {
                let nodes = server.command(&["CLUSTER", "NODES"]);
                nodes.lines().any(|line| line.starts_with(&id) && has(line, slot))
            });
            if !agreed {
                to.command(&["CLUSTER", "BUMPEPOCH"]);
                to.command(&["CLUSTER", "SETSLOT", &number, "NODE", &id]);
            }
            agreed
        });
    }
}

/// Whether a line of `CLUSTER NODES` gives the slot to its server.
fn has(line: &str, slot: u16) -> bool {
    line.split_whitespace().skip(8).filter(|range| !range.starts_with('[')).any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let bounds: Option<(u16, u16)> = first.parse().ok().zip(last.parse().ok());
        bounds.is_some_and(|(first, last)| (first..=last).contains(&slot))
    })
}

fn prepare_member(bus: &Port, more: &[&str]) -> RedisServer {
    let bus = bus.number().to_string();
    let args = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-require-full-coverage", "no"];
    // Without the delay a replica would wait five seconds for others to join it.
    RedisServer::prepare(&[&args[..], &["--repl-diskless-sync-delay", "0"], more].concat())
}

fn id_of(server: &RedisServer) -> String {
    let reply = server.command(&["CLUSTER", "MYID"]);
    reply.lines().nth(1).unwrap_or_else(|| panic!("an id, not {reply:?}")).to_owned()
}

impl fmt::Debug for RedisCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCluster").field("servers", &self.servers).finish_non_exhaustive()
    }
}
