//! Which of the commands that the store needs are refused, and the effect of each refusal.

use std::sync::Arc;

use ::redis::{Cmd, RedisError, Value};
use futures_util::future::join_all;

use super::cluster::Cluster;
use super::link::{Fault, Link};
use super::{RedisStore, Servers, reply};
use crate::store::StoreError;

/// Stands for the key among the words of a command.
const KEY: &str = "KEY";

/// A command that is tried, with arguments that change nothing.
struct Need {
    words: &'static [&'static str],
    /// The effect of its refusal.
    lost: &'static str,
    /// Whether what a gateway promises of its own does not hold without it.
    is_vital: bool,
}

const fn need(words: &'static [&'static str], lost: &'static str) -> Need {
    Need { words, lost, is_vital: true }
}

const fn minor(words: &'static [&'static str], lost: &'static str) -> Need {
    Need { words, lost, is_vital: false }
}

const SWAPS: &str = "a stored entry cannot be changed only if it is still the same: loaded answers are not written, \
                     each gateway loads for itself, and soft expiries and writes that waited for the store are lost";
const LOG: &str = "invalidations by other gateways do not arrive: entries they removed are served from memory until \
                   they are no longer fresh";
const NEWS: &str = "this gateway's invalidations do not reach the others: they serve what it removed until it is no \
                    longer fresh";
const TRACKED: &str = "keys that other programs delete or overwrite, or that Redis evicts, are served from memory until they \
                       are no longer fresh";
const BUDGET: &str = "gateways that leave by one address do not know what the others spend of its request weight";
const COUNTS: &str = "hits and misses of all gateways are not added up";

/// Everywhere, in this order: what comes after `SET` finds a string where it wants something else, or arguments that it
/// refuses, so that no key is left without a time to live.
const NEEDS: [Need; 22] = [
    need(&["PING"], "a server that failed once is not used again, and one that is silent is noticed late"),
    need(&["GET", KEY], "no answer is read from the store"),
    need(&["MGET", KEY], "candles and all that has tags are not read from the store"),
    need(&["SCAN", "0", "COUNT", "1"], "removals by pattern, symbol or region miss what only the store holds"),
    need(
        &["EVAL", "return 1", "1", KEY],
        "loaded answers in the store, counters, soft expiries and this gateway's invalidations at the others are lost",
    ),
    need(&["TIME"], "gateways go by their own clocks: they have to agree"),
    minor(&["CLIENT", "TRACKING", "OFF"], TRACKED),
    need(&["EXISTS", KEY], SWAPS),
    need(&["GETRANGE", KEY, "0", "0"], SWAPS),
    need(&["XREVRANGE", KEY, "+", "-", "COUNT", "1"], LOG),
    need(&["XREAD", "COUNT", "1", "STREAMS", KEY, "0-0"], LOG),
    minor(&["HGETALL", KEY], COUNTS),
    minor(&["INFO"], "the memory of the store and its evictions are not shown"),
    minor(&["DBSIZE"], "the number of keys in the store is not shown"),
    need(&["SET", KEY, "", "PX", "5000"], "no answer is written to the store: nothing is shared or survives a restart"),
    need(&["PEXPIRE", KEY, "5000"], NEWS),
    need(&["XADD", KEY, "no-id", "field", "value"], NEWS),
    minor(&["HINCRBY", KEY, "field", "none"], COUNTS),
    need(&["HDEL", KEY, "field"], BUDGET),
    need(&["HSET", KEY, "field", "value"], BUDGET),
    minor(&["HSETNX", KEY, "field", "value"], COUNTS),
    need(&["UNLINK", KEY], "nothing is removed from the store: what was removed comes back from there"),
];

const OF_SENTINEL: [Need; 1] =
    [minor(&["ROLE"], "a primary that was replaced is noticed only when the Sentinels name another one")];

const OF_CLUSTER: [Need; 2] = [
    need(&["CLUSTER", "SLOTS"], "the servers of the cluster are not found"),
    need(&["ASKING"], "keys of a slot that is just moving are neither read nor written"),
];

/// Something that the server does not do for this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It does not run a command.
    Command {
        /// Its name.
        command: &'static str,
        /// The server's words.
        why: String,
        /// The effect of its refusal.
        lost: &'static str,
        /// Whether what a gateway promises does not hold without it; else it is figures that are missing, or what other
        /// programs do that is noticed late.
        is_vital: bool,
    },
    /// It runs commands, but not on the keys of the namespace.
    Keys {
        /// The names of the commands.
        commands: Vec<&'static str>,
        /// The server's words.
        why: String,
    },
    /// It takes no writes: a read-only replica, a full server, or one whose disk fails.
    Writes {
        /// The server's words.
        why: String,
    },
}

impl RedisStore {
    /// Tries each command that the store needs on a key of its own below `namespace`, and says which are refused. In a
    /// cluster each primary is asked.
    ///
    /// # Errors
    ///
    /// As [`Store::get`](crate::store::Store::get).
    pub async fn lacks(&self, namespace: &str) -> Result<Vec<Lack>, StoreError> {
        let key = format!("{namespace}:@check:{}", std::process::id());
        let read_error = |fault: Fault| reply::read_error(&fault);
        let mut lacks = Vec::new();
        match &self.servers {
            Servers::One(node) => {
                let more: &[Need] = if self.reader.is_none() { &OF_SENTINEL } else { &[] };
                of_server(node, &key, more, &mut lacks).await.map_err(read_error)?;
            }
            Servers::Many(cluster) => of_cluster(cluster, &key, &mut lacks).await.map_err(read_error)?,
        }
        lacks.iter_mut().for_each(|lack| self.redact(lack));
        Ok(lacks)
    }

    fn redact(&self, lack: &mut Lack) {
        let (Lack::Command { why, .. } | Lack::Keys { why, .. } | Lack::Writes { why }) = lack;
        *why = self.options().redact(std::mem::take(why));
    }
}

async fn of_cluster(cluster: &Cluster, key: &str, lacks: &mut Vec<Lack>) -> Result<(), Fault> {
    let nodes = cluster.nodes();
    if nodes.is_empty() {
        return Err(cluster.nowhere());
    }
    let asked = nodes.iter().map(async |node| {
        let mut lacks = Vec::new();
        of_server(node, key, &OF_CLUSTER, &mut lacks).await.map(|()| lacks)
    });
    for found in join_all(asked).await {
        for lack in found? {
            let is_known = |known: &Lack| match (known, &lack) {
                (Lack::Command { command, .. }, Lack::Command { command: other, .. }) => command == other,
                (known, other) => std::mem::discriminant(known) == std::mem::discriminant(other),
            };
            if !lacks.iter().any(is_known) {
                lacks.push(lack);
            }
        }
    }
    Ok(())
}

async fn of_server(link: &Link, key: &str, more: &'static [Need], lacks: &mut Vec<Lack>) -> Result<(), Fault> {
    let (first, last) = NEEDS.split_at(NEEDS.len() - 3);
    let answers = answers(link, key, first.iter().chain(more)).await?;
    // On no key it would make one without a time to live.
    let is_set = answers.iter().any(|(need, answer)| need.words[0] == "SET" && answer.is_ok());
    let last = last.iter().filter(|need| !matches!(need.words[0], "HSET" | "HSETNX") || is_set);
    let answers = answers.into_iter().chain(self::answers(link, key, last).await?);
    for (need, answer) in answers {
        if let Err(error) = answer {
            note(need, &error, lacks);
        }
    }
    Ok(())
}

/// The answer to each command, in as many round trips as one.
async fn answers<'a>(
    link: &Link,
    key: &str,
    needs: impl Iterator<Item = &'a Need>,
) -> Result<Vec<(&'a Need, Result<Value, RedisError>)>, Fault> {
    let needs: Vec<&Need> = needs.collect();
    let mut pipeline = ::redis::pipe();
    for need in &needs {
        let mut command = Cmd::new();
        for word in need.words {
            command.arg(if *word == KEY { key } else { word });
        }
        pipeline.add_command(command);
    }
    let values = link.query_all(&pipeline).await?;
    if values.len() != needs.len() {
        return Err(Fault::Down(Arc::new("fewer answers than commands".to_owned())));
    }
    Ok(needs.into_iter().zip(values.into_iter().map(Value::extract_error)).collect())
}

/// Notes what an error says about the user's rights or the server's state. Others are about the arguments.
fn note(need: &'static Need, error: &RedisError, lacks: &mut Vec<Lack>) {
    let (command, why) = (need.words[0], reply::text(error));
    let detail = error.detail().unwrap_or_default();
    match error.code() {
        Some("NOPERM") if detail.contains("access") && detail.contains("key") => {
            let known = lacks.iter_mut().find_map(|lack| match lack {
                Lack::Keys { commands, .. } => Some(commands),
                _ => None,
            });
            match known {
                Some(commands) => commands.push(command),
                None => lacks.push(Lack::Keys { commands: vec![command], why }),
            }
        }
        Some("READONLY" | "OOM" | "MISCONF" | "NOREPLICAS") => {
            let is_listed = lacks.iter().any(|lack| matches!(lack, Lack::Writes { .. }));
            lacks.extend((!is_listed).then_some(Lack::Writes { why }));
        }
        Some("NOPERM") => lacks.push(Lack::Command { command, why, lost: need.lost, is_vital: need.is_vital }),
        // Renamed away, or left out by a hosted service.
        _ if ["unknown command", "nknown subcommand"].iter().any(|words| detail.contains(words)) => {
            lacks.push(Lack::Command { command, why, lost: need.lost, is_vital: need.is_vital });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The commands that the sources of the store send or that their scripts call.
    fn sent(directory: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                sent(&entry, found);
            } else if !entry.ends_with("redis/permissions.rs") {
                let source = std::fs::read_to_string(&entry).expect("a source");
                for before in ["redis.call('", "redis.pcall('", "cmd(\""] {
                    let after = source.split(before).skip(1);
                    let names = after.filter_map(|rest| rest.split(['\'', '"']).next());
                    found.extend(names.filter(|name| name.chars().all(|c| c.is_ascii_uppercase())).map(str::to_owned));
                }
            }
        }
    }

    #[test]
    fn every_command_that_is_sent_is_tried() {
        let mut found = BTreeSet::new();
        sent(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store"), &mut found);
        // Of the Sentinels, whom no right but their password is asked for.
        found.remove("SENTINEL");
        found.remove("");
        let needs = NEEDS.iter().chain(&OF_SENTINEL).chain(&OF_CLUSTER);
        let tried: BTreeSet<String> = needs.map(|need| need.words[0].to_owned()).collect();
        assert!(found.contains("XADD") && found.contains("MGET"), "{found:?}");
        let missing: Vec<&String> = found.difference(&tried).collect();
        assert!(missing.is_empty(), "not tried: {missing:?}; add them here and to docs/redis.md");
    }
}
