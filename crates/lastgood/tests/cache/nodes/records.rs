//! A program from before removals said when they were asked for, and programs of today, with one log on a real Redis:
//! `KIND NODE KEY` and `KIND NODE@MILLIS KEY` in one stream.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use lastgood::store::{RedisOptions, RedisStore, Store};
use lastgood::{Freshness, Loaded, Mode, Region, Selector, Value};
use lastgood_testing::{RedisServer, eventually};

use super::redis::on_redis;
use crate::support::{MINUTE, peeked};

const LOG: &str = "lastgood:@log";
/// The name of the earlier program's process.
const EARLIER: &str = "00000000c0ffee00";

/// A process of the earlier program, as far as its log goes: the lines that it wrote, and what it made of a line.
struct Earlier {
    store: RedisStore,
    /// The keys that its memory holds fresh.
    held: BTreeSet<String>,
    /// How many lines the log had when it began to listen.
    begins_at: usize,
    /// Lines that it could not read, on which it believed nothing of its memory any more.
    unreadable: Vec<Bytes>,
}

impl Earlier {
    async fn start(server: &RedisServer, held: &[&str]) -> Earlier {
        let store = RedisStore::connect(RedisOptions::parse(&server.url()).expect("a good URL"));
        eventually("attached", async || store.probe().await.is_ok()).await;
        let held = held.iter().map(|name| format!("prices:v1:{name}")).collect();
        let mut earlier = Earlier { store, held, begins_at: 0, unreadable: Vec::new() };
        earlier.begins_at = earlier.lines().await.len();
        earlier
    }

    async fn says(&self, line: &str) {
        let log = self.store.log().expect("Redis has a log");
        log.append(LOG, Bytes::from(line.to_owned())).await.expect("Redis answers");
    }

    /// The lines of the log since it began to listen.
    async fn lines(&self) -> Vec<Bytes> {
        let (log, mut lines, mut after) = (self.store.log().expect("Redis has a log"), Vec::new(), None);
        loop {
            let tail = log.read(LOG, after.as_ref(), Duration::ZERO).await.expect("Redis answers");
            assert!(tail.is_complete);
            if tail.records.is_empty() {
                return lines.split_off(self.begins_at);
            }
            lines.extend(tail.records);
            after = tail.end;
        }
    }

    /// Reads the log as that program did: it applied what other nodes said, and passed over its own.
    async fn hears(&mut self) {
        for line in self.lines().await {
            match keys_of(&line) {
                Some((_, node, _)) if node == EARLIER => {}
                Some((kind, _, keys)) => keys.iter().for_each(|key| self.apply(&kind, key)),
                None => {
                    self.held.clear();
                    self.unreadable.push(line);
                }
            }
        }
    }

    fn apply(&mut self, kind: &str, key: &str) {
        match kind {
            "changed" | "removed" => _ = self.held.remove(key),
            "cleared" => self.held.retain(|held| !held.starts_with(key)),
            "expired-where" | "removed-where" => {
                let region = key.strip_prefix("@region ").expect("the only selector of these tests");
                self.held.retain(|held| !held.starts_with(&format!("{region}:")));
            }
            _ => self.held.clear(),
        }
    }
}

/// What the earlier program read in a line: the kind, the node, and the keys. It knew of no time in the node's name.
fn keys_of(line: &[u8]) -> Option<(String, String, Vec<String>)> {
    let mut words = std::str::from_utf8(line).ok()?.splitn(3, ' ');
    let (word, node, mut rest) = (words.next()?, words.next()?, words.next()?);
    let kind = word.trim_end_matches('*');
    let known = ["changed", "removed", "cleared", "expired-where", "removed-where", "everything"];
    if !known.contains(&kind) {
        return None;
    }
    let mut keys = Vec::new();
    if !word.ends_with('*') {
        keys.push(rest.to_owned());
        rest = "";
    }
    while !rest.is_empty() {
        let (length, left) = rest.split_once(':')?;
        let (key, left) = left.split_at_checked(length.parse().ok()?)?;
        keys.push(key.to_owned());
        rest = left.strip_prefix(' ').unwrap_or(left);
    }
    Some((kind.to_owned(), node.to_owned(), keys))
}

/// Has a process hold these names, as they are in Redis.
async fn hold(prices: &Region, names: &[&str]) {
    for name in names {
        eventually("it is found in Redis", async || {
            let nothing = || async { Err(lastgood::Error::new(lastgood::Reason::Yielded, "Redis has it").into()) };
            prices.get_or_load(name, nothing).await.is_ok_and(|answer| answer.freshness() == Freshness::Fresh)
        })
        .await;
    }
}

fn is_believed(prices: &Region, name: &str) -> bool {
    prices.peek(name).is_some_and(|held| held.freshness() == Freshness::Fresh && !held.may_be_replaced())
}

#[tokio::test]
async fn a_program_from_before_times_and_programs_of_today_hear_each_others_removals_on_one_redis() {
    let names = ["old:one", "old:a b", "old:币安", "old:changed", "group:1", "group:2", "new:one", "new:two", "kept"];
    let server = RedisServer::start();
    let ((one, of_one), (_other, of_other)) = (on_redis(&server).await, on_redis(&server).await);
    for name in names {
        of_one.put(name, Loaded::from(Value::new("v1"))).await;
    }
    assert!(one.sync(MINUTE).await);
    hold(&of_other, &names).await;
    let mut earlier = Earlier::start(&server, &names).await;

    // Lines of both forms by turns. The earlier program's name no key that Redis loses: only the log can tell of them.
    earlier.says(&format!("removed {EARLIER} prices:v1:old:one")).await;
    of_one.remove("new:one").await;
    assert!(one.sync(MINUTE).await);
    earlier.says(&format!("removed* {EARLIER} 17:prices:v1:old:a b 20:prices:v1:old:币安")).await;
    earlier.says(&format!("changed {EARLIER} prices:v1:old:changed")).await;
    of_one.remove("new:two").await;
    assert!(one.sync(MINUTE).await);
    earlier.says(&format!("cleared {EARLIER} prices:v1:group:")).await;

    for prices in [&of_one, &of_other] {
        eventually("all is heard", async || {
            let removed = ["old:one", "old:a b", "old:币安", "group:1", "group:2", "new:one", "new:two"];
            removed.iter().all(|name| peeked(prices, name).is_none()) && !is_believed(prices, "old:changed")
        })
        .await;
        assert!(is_believed(prices, "kept"), "no line was taken for one that cannot be read");
    }

    // What programs of today wrote means the same to the earlier one; its own lines are no news to it.
    let lines = earlier.lines().await;
    assert!(lines.iter().any(|line| line.starts_with(b"removed ") && line.contains(&b'@')), "{lines:?}");
    earlier.hears().await;
    assert_eq!(earlier.unreadable, Vec::<Bytes>::new());
    let gone: Vec<&str> =
        names.into_iter().filter(|name| !earlier.held.contains(&format!("prices:v1:{name}"))).collect();
    assert_eq!(gone, ["new:one", "new:two"]);
}

#[tokio::test]
async fn a_program_from_before_times_reads_every_line_that_programs_of_today_write_on_redis() {
    let many: Vec<String> = (0..150).map(|number| format!("many:{number} 币")).collect();
    let others = ["removed", "expired", "put", "group:1", "kept"];
    let names: Vec<&str> = others.into_iter().chain(many.iter().map(String::as_str)).collect();
    let server = RedisServer::start();
    let (one, of_one) = on_redis(&server).await;
    for name in &names {
        of_one.put(name, Loaded::from(Value::new("v1"))).await;
    }
    assert!(one.sync(MINUTE).await);
    let mut earlier = Earlier::start(&server, &names).await;

    of_one.remove("removed").await;
    of_one.expire("expired").await;
    of_one.put("put", Loaded::from(Value::new("v2"))).await;
    of_one.remove_prefix("group:").await;
    let is_of_many = |_: &str, name: &str| name.starts_with("many:");
    one.invalidate(&Selector::Matching(std::sync::Arc::new(is_of_many)), Some(Mode::Remove))
        .await
        .expect("Redis answers");
    assert!(one.sync(MINUTE).await);
    let lines = earlier.lines().await;
    for line in &lines {
        let (_, node, keys) = keys_of(line).unwrap_or_else(|| panic!("{line:?} cannot be read"));
        assert!(node != EARLIER && !keys.is_empty(), "{line:?}");
    }
    earlier.hears().await;
    let kept = BTreeSet::from(["prices:v1:kept".to_owned()]);
    assert_eq!((&earlier.held, &earlier.unreadable), (&kept, &Vec::new()));
    assert!(lines.iter().any(|line| line.starts_with(b"removed* ") && line.contains(&b'@')), "{lines:?}");

    let everything = Selector::Region("prices".to_owned());
    one.invalidate(&everything, Some(Mode::Remove)).await.expect("Redis answers");
    earlier.held = BTreeSet::from(["prices:v1:known to it alone".to_owned(), "other:v1:kept".to_owned()]);
    earlier.hears().await;
    assert_eq!((earlier.held, earlier.unreadable), (BTreeSet::from(["other:v1:kept".to_owned()]), Vec::new()));
}
