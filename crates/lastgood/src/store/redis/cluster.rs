//! Many servers, each with a part of the keys.
//!
//! Only commands of one key each are sent, all for one server together: so no batch can cross slots, and each key of
//! it is redirected on its own while its slot moves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue, RedisError, Value, cmd, from_redis_value};
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::slots::Address;
use self::view::{Member, View};
use super::RedisOptions;
use super::link::{Fault, Link};
use super::node::Node;
use super::options::{Access, Server};
use super::supervisor::Target;
use super::{get, remove_if, reply, set};
use crate::store::{StoreError, Version};

mod discovery;
mod scan;
mod slots;
mod view;

/// How often one command is sent on. Twice is what a moving slot takes; more is a cluster that does not know itself.
const MOST_REDIRECTIONS: usize = 4;

/// The most servers that are kept a connection to. A cluster is not meant to have more.
const MOST_MEMBERS: usize = 1000;

/// A cluster, and the task that keeps up with it.
pub(super) struct Cluster {
    shared: Arc<Shared>,
    discovery: JoinHandle<()>,
}

struct Shared {
    options: RedisOptions,
    seeds: Vec<Server>,
    access: Access,
    view: ArcSwap<View>,
    /// Held while the view is replaced.
    changing: Mutex<()>,
    why_down: ArcSwap<String>,
    /// Wakes the discovery: somebody was redirected, or did not know where to go.
    outdated: Notify,
    asked: AtomicUsize,
}

impl Shared {
    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_asked(&self) -> usize {
        self.asked.fetch_add(1, Ordering::Relaxed)
    }

    fn connect(&self, (host, port): &Address) -> Option<Arc<Node>> {
        let server = self.access.to(host, *port)?;
        let options = RedisOptions::of_server(server.clone());
        Some(Arc::new(Node::connect(options, Target::Member(Box::new(server)))))
    }
}

/// The primaries of a cluster.
pub(super) struct Members(Arc<Shared>);

impl Members {
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        self.0.view.load().primaries().map(|member| member.node.link()).collect()
    }
}

/// One command on its way.
struct Errand {
    /// The place of its key among the keys, and of its answer among the answers.
    place: usize,
    to: Member,
    /// Whether the server must get `ASKING` first.
    asking: bool,
}

impl Cluster {
    pub(super) fn connect(options: RedisOptions, seeds: Vec<Server>, access: Access) -> Cluster {
        let why_down = ArcSwap::from_pointee(format!("not connected to {options} yet"));
        let shared = Arc::new(Shared {
            options,
            seeds,
            access,
            view: ArcSwap::default(),
            changing: Mutex::default(),
            why_down,
            outdated: Notify::new(),
            asked: AtomicUsize::new(0),
        });
        let discovery = tokio::spawn(discovery::keep_current(Arc::clone(&shared)));
        Cluster { shared, discovery }
    }

    pub(super) fn options(&self) -> &RedisOptions {
        &self.shared.options
    }

    /// Whether there is a connection to every primary.
    pub(super) fn is_up(&self) -> bool {
        self.shared.view.load().all_up()
    }

    /// What of the cluster cannot be reached, if anything.
    pub(super) fn trouble(&self) -> Option<StoreError> {
        let view = self.shared.view.load();
        if view.primaries().next().is_none() {
            return Some(StoreError::Unavailable(self.shared.why_down.load().to_string()));
        }
        let why = view.primaries().find_map(|member| member.node.why_down())?;
        Some(StoreError::PartlyUnavailable(why.to_string()))
    }

    /// The primaries of now.
    pub(super) fn members(&self) -> Members {
        Members(Arc::clone(&self.shared))
    }

    /// What one reading command a key gives; nothing where another program keeps a value of another type.
    pub(super) async fn read_each(
        &self,
        keys: &[String],
        command: impl Fn(&str) -> Cmd + Sync,
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let answers = self.ask_each(keys, command).await;
        let values = answers.into_iter().map(|answer| match self.value(answer) {
            Err(StoreError::Corrupt(_)) => Ok(None),
            value => value,
        });
        values.collect()
    }

    /// The connections to the primaries.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.shared.view.load().primaries().map(|member| Arc::clone(&member.node)).collect()
    }

    pub(super) fn close(&self) {
        self.discovery.abort();
        let why = format!("not connected to {}: the store was closed", self.shared.options);
        self.shared.why_down.store(Arc::new(why));
        let _changing = self.shared.changing();
        let view = self.shared.view.swap(Arc::default());
        view.members.values().for_each(|member| member.node.close());
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let answer = self.ask_each(&[key], get).await.pop().unwrap_or_else(|| Err(self.nowhere()));
        self.value(answer)
    }

    pub(super) async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.read_each(keys, get).await
    }

    pub(super) async fn put(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), StoreError> {
        let answers = self.ask_each(&[key], |key| set(key, value, ttl)).await;
        answers.into_iter().try_for_each(|answer| self.written::<()>(answer))
    }

    pub(super) async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        let answers = self.ask_each(keys, |key| cmd("UNLINK").arg(key).take()).await;
        answers.into_iter().map(|answer| self.written::<u64>(answer)).sum()
    }

    /// The answer to one command about one key.
    pub(super) async fn ask_one<T: FromRedisValue>(&self, key: &str, command: Cmd) -> Result<T, StoreError> {
        let answer = self.ask_each(&[key], |_| command.clone()).await.pop().unwrap_or_else(|| Err(self.nowhere()));
        decoded(answer).map_err(|fault| self.partly(&fault, reply::read_error(&fault)))
    }

    /// As [`Cluster::ask_one`], for a command that writes.
    pub(super) async fn tell_one<T: FromRedisValue>(&self, key: &str, command: Cmd) -> Result<T, StoreError> {
        let answer = self.ask_each(&[key], |_| command.clone()).await.pop().unwrap_or_else(|| Err(self.nowhere()));
        self.written(answer)
    }

    /// As [`Cluster::tell_one`], for a script.
    /// A script for each key, since a script of several may not span slots; those of one server go to it together.
    pub(super) async fn remove_if(&self, removals: &[(String, Version)]) -> Result<u64, StoreError> {
        let by_key: HashMap<&str, &(String, Version)> =
            removals.iter().map(|removal| (removal.0.as_str(), removal)).collect();
        let keys: Vec<&str> = removals.iter().map(|(key, _)| key.as_str()).collect();
        let script =
            |key: &str| by_key.get(key).map_or_else(Cmd::new, |removal| remove_if(std::slice::from_ref(*removal)));
        let answers = self.ask_each(&keys, script).await;
        let removed = |answer| decoded::<u64>(answer).map_err(|fault| self.partly(&fault, reply::script_error(&fault)));
        answers.into_iter().map(removed).sum()
    }

    pub(super) async fn run<T: FromRedisValue>(&self, key: &str, script: Cmd) -> Result<T, StoreError> {
        let answer = self.ask_each(&[key], |_| script.clone()).await.pop().unwrap_or_else(|| Err(self.nowhere()));
        decoded(answer).map_err(|fault| self.partly(&fault, reply::script_error(&fault)))
    }

    fn value(&self, answer: Result<Value, Fault>) -> Result<Option<Bytes>, StoreError> {
        decoded(answer).map_err(|fault| self.partly(&fault, reply::read_error(&fault)))
    }

    fn written<T: FromRedisValue>(&self, answer: Result<Value, Fault>) -> Result<T, StoreError> {
        decoded(answer).map_err(|fault| self.partly(&fault, reply::write_error(&fault)))
    }

    /// The answers to one command a key, in the order of the keys. One round trip where no slot is moving.
    async fn ask_each<K: AsRef<str> + Sync>(
        &self,
        keys: &[K],
        command: impl Fn(&str) -> Cmd + Sync,
    ) -> Vec<Result<Value, Fault>> {
        let mut answers: Vec<Option<Result<Value, Fault>>> = keys.iter().map(|_| None).collect();
        let mut errands = Vec::with_capacity(keys.len());
        let view = self.shared.view.load_full();
        for (place, key) in keys.iter().enumerate() {
            match view.member_of(key.as_ref()) {
                Some(member) => errands.push(Errand { place, to: member.clone(), asking: false }),
                None => self.shared.outdated.notify_one(),
            }
        }
        for _ in 0..=MOST_REDIRECTIONS {
            if errands.is_empty() {
                break;
            }
            let sent = join_all(by_server(errands).into_iter().map(|errands| async {
                let answers = send(&errands, keys, &command).await;
                errands.into_iter().zip(answers)
            }));
            let mut redirected = Vec::new();
            for (errand, answer) in sent.await.into_iter().flatten() {
                redirected.extend(self.redirect(&errand, &answer));
                answers[errand.place] = Some(answer);
            }
            errands = redirected;
        }
        let answers = answers.into_iter().map(|answer| match answer {
            Some(Err(Fault::Redis(error))) if error.redirect_node().is_some() => {
                let why = format!("the servers of {} send this key to one another", self.shared.options);
                Err(Fault::Down(Arc::new(why)))
            }
            Some(answer) => answer,
            None => Err(self.nowhere()),
        });
        answers.collect()
    }

    /// The same errand to another server, if that is what the answer says.
    fn redirect(&self, errand: &Errand, answer: &Result<Value, Fault>) -> Option<Errand> {
        let Err(Fault::Redis(error)) = answer else { return None };
        let (address, _) = error.redirect_node()?;
        let address = slots::redirected(address, &errand.to.address.0)?;
        let asking = error.code() == Some("ASK");
        if !asking {
            self.shared.outdated.notify_one();
        }
        let known = self.shared.view.load().members.get(&address).cloned();
        let to = known.or_else(|| self.shared.stray(&address))?;
        Some(Errand { place: errand.place, to, asking })
    }

    pub(super) fn nowhere(&self) -> Fault {
        let view = self.shared.view.load();
        Fault::Down(match view.ranges.is_empty() {
            true => self.shared.why_down.load_full(),
            false => Arc::new(format!("no server of {} has the slot of this key", self.shared.options)),
        })
    }

    /// `error`, but as that of a part of the store while other parts are reachable.
    fn partly(&self, fault: &Fault, error: StoreError) -> StoreError {
        let StoreError::Unavailable(why) = error else { return error };
        let needed = match fault {
            Fault::Down(_) | Fault::Late => 1,
            Fault::Redis(error) => match error.code() {
                None => 1,
                // This one is connected, too.
                Some("LOADING" | "BUSY" | "MASTERDOWN") => 2,
                Some("CLUSTERDOWN") if error.detail().is_some_and(|detail| detail.contains("not served")) => 2,
                Some(_) => usize::MAX,
            },
        };
        match self.shared.view.load().up() >= needed {
            true => StoreError::PartlyUnavailable(why),
            false => StoreError::Unavailable(why),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.discovery.abort();
    }
}

fn decoded<T: FromRedisValue>(answer: Result<Value, Fault>) -> Result<T, Fault> {
    from_redis_value(answer?).map_err(|error| Fault::Redis(RedisError::from(error)))
}

/// Errands in groups to one server each.
fn by_server(mut errands: Vec<Errand>) -> Vec<Vec<Errand>> {
    errands.sort_by(|a, b| a.to.address.cmp(&b.to.address));
    let mut groups: Vec<Vec<Errand>> = Vec::new();
    for errand in errands {
        match groups.last_mut() {
            Some(group) if group[0].to.address == errand.to.address => group.push(errand),
            _ => groups.push(vec![errand]),
        }
    }
    groups
}

/// Sends errands to their one server, in one round trip. One answer each.
async fn send<K: AsRef<str>>(
    errands: &[Errand],
    keys: &[K],
    command: impl Fn(&str) -> Cmd,
) -> Vec<Result<Value, Fault>> {
    let mut pipeline = ::redis::pipe();
    for errand in errands {
        if errand.asking {
            pipeline.add_command(cmd("ASKING"));
        }
        pipeline.add_command(command(keys[errand.place].as_ref()));
    }
    let mut values = match errands[0].to.node.query_all(&pipeline).await {
        Ok(values) => values.into_iter(),
        Err(fault) => return errands.iter().map(|_| Err(fault.clone())).collect(),
    };
    let answers = errands.iter().map(|errand| {
        let value = if errand.asking { values.nth(1) } else { values.next() };
        let missing = || Fault::Down(Arc::new("fewer answers than commands".to_owned()));
        value.ok_or_else(missing)?.extract_error().map_err(Fault::Redis)
    });
    answers.collect()
}
