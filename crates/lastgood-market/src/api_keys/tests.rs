use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lastgood::Reason;

use super::*;

/// A source that a test changes.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    rows: BTreeMap<(&'static str, &'static str), &'static str>,
    is_down: bool,
    asked: usize,
}

impl Table {
    fn with(rows: &[(&'static str, &'static str, &'static str)]) -> Table {
        let table = Table::default();
        let rows = rows.iter().map(|(user, environment, key)| ((*user, *environment), *key));
        table.0.lock().unwrap().rows = rows.collect();
        table
    }

    fn asked(&self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }
}

#[async_trait]
impl KeySource for Table {
    async fn find(&self, user: &UserId, venue: Venue, environment: Environment) -> Result<Option<ApiKey>, Error> {
        tokio::task::yield_now().await;
        let mut state = self.0.lock().unwrap();
        state.asked += 1;
        if state.is_down {
            return Err(Error::new(Reason::Unreachable, "down"));
        }
        let key = state.rows.iter().find(|((of, at), _)| (*of, *at) == (user.as_str(), environment.as_str()));
        Ok(key.and_then(|(_, key)| ApiKey::new(&SecretString::from(*key), venue, environment)))
    }
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn over(tables: &[&Table]) -> UserKeys {
    UserKeys::new(tables.iter().map(|table| Box::new(Table::clone(table)) as Box<dyn KeySource>).collect())
}

async fn there(keys: &UserKeys, id: &str) -> [bool; 2] {
    keys.of(&user(id), Venue::Spot).await.there()
}

async fn seconds(count: u64) {
    tokio::time::advance(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn each_user_has_their_own_keys_and_the_first_source_counts() {
    let file = Table::with(&[("alice", "testnet", "a-file")]);
    let table = Table::with(&[("alice", "testnet", "a-sql"), ("alice", "mainnet", "a-main"), ("bob", "mainnet", "b")]);
    let keys = over(&[&file, &table]);
    let alices = keys.of(&user("alice"), Venue::Spot).await;
    assert_eq!(alices.get(Environment::Testnet).unwrap().header(), "a-file");
    assert_eq!(alices.get(Environment::Mainnet).unwrap().header(), "a-main");
    assert_eq!(there(&keys, "bob").await, [false, true]);
    assert_eq!(there(&keys, "carol").await, [false, false]);
    let shown = format!("{:?}", alices.get(Environment::Mainnet).unwrap().header());
    assert!(!shown.contains("a-main"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_requests_of_a_user_make_one_lookup() {
    let table = Table::with(&[("alice", "testnet", "a")]);
    let keys = over(&[&table]);
    let alice = user("alice");
    futures_util::future::join_all((0..100).map(|_| keys.of(&alice, Venue::Spot))).await;
    assert_eq!(table.asked(), 2, "one for each environment");
    there(&keys, "unknown").await;
    there(&keys, "unknown").await;
    assert_eq!(table.asked(), 2, "that there is none is remembered, too");
}

#[tokio::test(start_paused = true)]
async fn a_changed_or_removed_key_is_used_no_longer_than_a_minute() {
    let table = Table::with(&[("alice", "testnet", "old")]);
    let keys = over(&[&table]);
    assert_eq!(there(&keys, "alice").await, [true, false]);
    table.0.lock().unwrap().rows = BTreeMap::from([(("alice", "mainnet"), "new")]);
    seconds(29).await;
    assert_eq!(there(&keys, "alice").await, [true, false]);
    seconds(1).await;
    assert_eq!(there(&keys, "alice").await, [false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_down_for_less_than_a_minute_ends_nothing() {
    let table = Table::with(&[("alice", "testnet", "a")]);
    let keys = over(&[&table]);
    there(&keys, "alice").await;
    table.0.lock().unwrap().is_down = true;
    for _ in 0..59 {
        seconds(1).await;
        assert_eq!(there(&keys, "alice").await, [true, false]);
    }
    assert!((2..=16).contains(&table.asked()), "it is asked every few seconds");
    seconds(1).await;
    assert_eq!(there(&keys, "alice").await, [false, false], "its key may have been removed since");
    table.0.lock().unwrap().is_down = false;
    seconds(5).await;
    assert_eq!(there(&keys, "alice").await, [true, false]);
}

#[tokio::test(start_paused = true)]
async fn what_the_first_source_has_is_used_while_the_second_is_down() {
    let file = Table::with(&[("bob", "mainnet", "b")]);
    let table = Table::default();
    table.0.lock().unwrap().is_down = true;
    assert_eq!(there(&over(&[&file, &table]), "bob").await, [false, true]);
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_users_has_a_limit() {
    let keys = over(&[&Table::default()]);
    for number in 0..MOST_KEYS {
        there(&keys, &number.to_string()).await;
    }
    assert!(keys.found.len() <= MOST_KEYS, "{}", keys.found.len());
}
