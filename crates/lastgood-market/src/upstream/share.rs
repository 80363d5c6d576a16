//! Gateways that share a store and leave by one public address spend one budget together.
//!
//! Each keeps one field of a small map in the store: what it sent in the current windows, its pauses and the limits that
//! it learnt. It writes the field when that has changed, and reads all of them in the same round trip. No request waits
//! for any of it. While the store is away each goes by the exchange's word, in steps that leave room for the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lastgood::store::{FieldUpdate, Fields, Store, StoreError};
use lastgood::{Clock, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep_until, timeout};

use super::Upstreams;
use crate::budget::peers::{Account, Publication};

/// The longest that one call of the store may take.
const STORE_PATIENCE: Duration = Duration::from_millis(500);
/// How often a gateway writes its field although nothing has changed, so that the others know that it is up.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// A gateway that has written nothing for so long has ended.
const ENDED_AFTER: Duration = Duration::from_secs(90);
/// What it sent is remembered for longer than any window.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(360);
/// How long a start waits for the store, so that the first call already knows what others spent.
const FIRST_WITHIN: Duration = Duration::from_millis(500);
const FIRST_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// More gateways than share a store, and a longer field than any of them writes.
const MOST_GATEWAYS: usize = 1_000;
const LONGEST_FIELD: usize = 64 << 10;

/// How often the store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharePace {
    /// While this gateway spends.
    pub busy: Duration,
    /// While it does not.
    pub idle: Duration,
    /// At the earliest, where a call waits for what others spend, or a pause has just begun.
    pub urgent: Duration,
}

impl SharePace {
    /// A store that costs nothing to ask: what one gateway spends the others know within a second, of one turn each, and a
    /// pause that it learns sooner.
    pub const FREE: SharePace = SharePace {
        busy: Duration::from_millis(450),
        idle: Duration::from_millis(450),
        urgent: Duration::from_millis(50),
    };
    /// A store that is billed by the command.
    pub const BILLED: SharePace =
        SharePace { busy: Duration::from_secs(10), idle: Duration::from_secs(30), urgent: Duration::from_secs(1) };
}

/// This gateway's part in the budget that several spend together.
pub(crate) struct BudgetShare {
    upstreams: Arc<Upstreams>,
    store: Arc<dyn Store>,
    key: String,
    /// What distinguishes this gateway from the others.
    node: String,
    pace: SharePace,
    clock: Clock,
    urgent: Arc<Notify>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// How far the store's clock is ahead of this process's, in ms; none until the store has said.
    ahead: Option<i64>,
    /// What the store has taken last, and when.
    written: Option<(BTreeMap<String, Account>, Instant)>,
    /// Fields of gateways that ended long ago.
    forgotten: Vec<String>,
}

/// The field of one gateway.
#[derive(Serialize, Deserialize)]
struct Field {
    /// When it was written, by the store's clock in milliseconds since the epoch.
    at: u64,
    /// Whether its gateway was about to end.
    #[serde(default)]
    has_left: bool,
    /// By the name of each budget that it spends from.
    budgets: BTreeMap<String, Account>,
}

impl BudgetShare {
    /// A part in the budgets of `upstreams`, published under one key of `store`. `node` identifies this gateway.
    pub(crate) fn new(
        upstreams: Arc<Upstreams>,
        store: Arc<dyn Store>,
        namespace: &str,
        node: &str,
        pace: SharePace,
        clock: Clock,
    ) -> BudgetShare {
        let urgent = Arc::new(Notify::new());
        upstreams.every_budget().for_each(|budget| budget.notify_when_urgent(&urgent));
        BudgetShare {
            upstreams,
            store,
            key: format!("{namespace}:@budget:v1"),
            node: node.to_owned(),
            pace,
            clock,
            urgent,
            known: Mutex::default(),
        }
    }

    /// Hears what the others spent and tells them of this gateway, if the store answers soon. Comes before the first call.
    pub(crate) async fn begin(&self) {
        let heard = async {
            while self.exchange(false).await.is_err() {
                tokio::time::sleep(FIRST_AGAIN_AFTER).await;
            }
        };
        if timeout(FIRST_WITHIN, heard).await.is_err() {
            tracing::info!("the store does not answer yet; what other gateways spend is known when it does");
        } else if let Err(why) = self.exchange(false).await {
            tracing::debug!(%why, "the other gateways do not know of this one yet");
        }
    }

    /// Tells the others and hears them, until the task is dropped.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut calls_before = 0;
        let mut asked_at: Option<Instant> = None;
        loop {
            let calls = self.upstreams.every_budget().map(|budget| budget.standing().calls).sum();
            let pace = if calls == calls_before { self.pace.idle } else { self.pace.busy };
            let now = Instant::now();
            if asked_at.is_none_or(|at| now >= at + pace) {
                (calls_before, asked_at) = (calls, Some(now));
                if let Err(why) = self.exchange(false).await {
                    tracing::debug!(%why, "what other gateways spend is not known");
                }
            }
            let asked_at = asked_at.get_or_insert(now);
            tokio::select! {
                () = sleep_until((*asked_at + pace).min(now + self.pace.busy)) => {}
                () = self.urgent.notified() => {
                    sleep_until(*asked_at + self.pace.urgent).await;
                    // Due now, whatever the pace.
                    *asked_at = now.checked_sub(self.pace.idle).unwrap_or(*asked_at);
                }
            }
        }
    }

    /// Tells the others that this gateway ends. What it sent counts to the end of the window.
    pub(crate) async fn leave(&self) {
        if let Err(why) = self.exchange(true).await {
            tracing::debug!(%why, "the other gateways do not know that this one ends");
        }
    }

    /// One round trip: writes this gateway's news, and reads the others'.
    async fn exchange(&self, leaves: bool) -> Result<(), StoreError> {
        let mut known = self.known.lock().await;
        let (mut accounts, mut written) = (BTreeMap::new(), BTreeMap::new());
        for budget in self.upstreams.every_budget() {
            let (account, publication) = budget.account(known.ahead.unwrap_or(0));
            accounts.insert(budget.name().to_owned(), account);
            written.insert(budget.name().to_owned(), publication);
        }
        let is_written =
            known.written.as_ref().is_some_and(|(written, at)| *written == accounts && at.elapsed() < HEARTBEAT);
        let set = match known.ahead {
            Some(ahead) if leaves || !is_written => {
                let at = self.clock.now().as_millis().saturating_add_signed(ahead);
                let field = Field { at, has_left: leaves, budgets: accounts.clone() };
                let text = serde_json::to_string(&field).map_err(|why| StoreError::Corrupt(why.to_string()))?;
                Some((self.node.clone(), text))
            }
            _ => None,
        };
        let is_set = set.is_some();
        let remove = std::mem::take(&mut known.forgotten);
        let update = FieldUpdate { key: self.key.clone(), set, ttl: FORGOTTEN_AFTER, remove };
        let sent = self.clock.now();
        let updated = timeout(STORE_PATIENCE, self.store.update_fields(&update)).await;
        let fields = match updated.unwrap_or(Err(StoreError::Timeout)) {
            Ok(fields) => fields,
            Err(why) => {
                self.upstreams.loses_others();
                // The server that answers next may be another, without what was written to this one.
                known.written = None;
                return Err(why);
            }
        };
        if is_set {
            known.written = Some((accounts, Instant::now()));
        }
        let written = known.ahead.is_some().then_some(written);
        self.hear(&mut known, &fields, written.as_ref(), sent);
        Ok(())
    }

    /// Takes in what the others wrote. `sent` is when the store was asked.
    fn hear(
        &self,
        known: &mut Known,
        fields: &Fields,
        written: Option<&BTreeMap<String, Publication>>,
        sent: Timestamp,
    ) {
        let now = self.clock.now();
        let middle = sent.plus(now.since(sent) / 2).as_millis();
        let store_now = fields.now.map_or(middle, Timestamp::as_millis);
        let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
        let ahead = signed(store_now).saturating_sub(signed(middle));
        known.ahead = Some(ahead);
        self.upstreams.store_is_ahead(ahead);
        let mut others = Vec::new();
        for (name, text) in fields.texts.iter().filter(|(name, _)| **name != self.node).take(MOST_GATEWAYS) {
            // What cannot be read is a later version's.
            let field = Some(text).filter(|text| text.len() <= LONGEST_FIELD);
            let Some(field) = field.and_then(|text| serde_json::from_str::<Field>(text).ok()) else { continue };
            let age = Duration::from_millis(store_now.saturating_sub(field.at));
            if age > FORGOTTEN_AFTER {
                known.forgotten.push(name.clone());
            } else {
                others.push((age <= ENDED_AFTER && !field.has_left, field.budgets));
            }
        }
        for budget in self.upstreams.every_budget() {
            let accounts: Vec<_> =
                others.iter().filter_map(|(is_up, budgets)| Some((*is_up, budgets.get(budget.name())?))).collect();
            let up = accounts.iter().filter(|(is_up, _)| *is_up).count();
            let gateways = u32::try_from(up).unwrap_or(u32::MAX).saturating_add(1);
            let accounts: Vec<_> = accounts.into_iter().map(|(_, account)| account).collect();
            budget.hear(&accounts, written.and_then(|written| written.get(budget.name())), gateways, ahead);
        }
    }
}
