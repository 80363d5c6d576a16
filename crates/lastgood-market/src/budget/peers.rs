//! The gateways that leave by one address: what each says of its spending, and what the others make of it.
//!
//! Each gateway publishes what it sent in the current windows, the exchange's highest word for them, its pauses and the
//! limits that it learnt. A gateway counts as used the larger of two: the exchange's word to anyone with what it sent
//! itself since, or the sum of what all say they sent. Neither counts anything twice.
//!
//! Between two words, of the exchange or of the store, no gateway knows what the others are sending. So each has no more
//! under way than a part of the rest: with N gateways the 2N-th, since another may begin a second part before it
//! hears of the first.

use std::collections::BTreeMap;
use std::time::Duration;

use lastgood::{Error, Reason, Timestamp};
use serde::{Deserialize, Serialize};

use super::ask::costs;
use super::window::Window;
use super::{Ask, Budget, State, Stop};
use crate::venue::Bucket;

/// For how long a word on what all have used is as good as new.
const FRESH_FOR: Duration = Duration::from_millis(100);
/// How long a call that must hear of the others first waits before it is tried again.
const AGAIN_IN: Duration = Duration::from_millis(250);
/// A stop that ends this soon, or this little later than the known one, is not worth following.
const STOP_SLACK: Duration = Duration::from_millis(500);
/// Which of two limits that were stated this close to each other came first is not known: the lower one holds.
const LIMIT_SLACK: Duration = Duration::from_millis(20);
/// The others count for the exchange's word only from here into the window: until then clocks may differ.
const SETTLED_AFTER: u64 = 5_000;
/// What the others must have spent for a word that leaves it out to mean something.
const WORTH_NOTING: u32 = 20;
/// After this many windows in a row in which the exchange counted less than all say they sent, they leave by other
/// addresses.
const CONTRADICTIONS: u32 = 3;
/// The key of an account's bucket is one of these words; there are no more.
const MOST_BUCKETS: usize = 16;

/// What a gateway says of one exchange's budget. Times are the store's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Account {
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<PublishedStop>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    buckets: BTreeMap<String, BucketAccount>,
}

/// The same of one bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct BucketAccount {
    /// The length of the window in ms, and its number since the epoch by the exchange's clock.
    window: u64,
    index: u64,
    /// Sent in it.
    sent: u32,
    /// The highest use that the exchange reported for it.
    word: u32,
    /// What the exchange allows in a window, and when it said so; absent where it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<(u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<PublishedStop>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct PublishedStop {
    reason: String,
    /// In milliseconds since the epoch.
    until: u64,
}

impl PublishedStop {
    fn of(stop: Stop, ahead: i64) -> PublishedStop {
        let until = stop.until.as_millis().saturating_add_signed(ahead);
        PublishedStop { reason: stop.reason.as_str().to_owned(), until }
    }

    fn to_stop(&self, ahead: i64) -> Stop {
        let known = [Reason::Banned, Reason::Firewall].into_iter().find(|known| known.as_str() == self.reason);
        let until = Timestamp::from_millis(self.until.saturating_add_signed(ahead.saturating_neg()));
        Stop { reason: known.unwrap_or(Reason::RateLimited), until }
    }
}

/// The gateways that spend from the same limits.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// This one included; `None` while the store does not say.
    gateways: Option<u32>,
    /// The same by the store's last word: gateways are not gone because it is away.
    last_known: u32,
    /// Windows in a row in which the exchange counted less than they say they sent, and the last of them.
    contradictions: u32,
    contradicted_in: u64,
}

/// What the exchange says that all have used, on one answer.
pub(super) struct Word {
    pub(super) used: u32,
    /// What was sent from here and has no answer: the word may not count it yet.
    pub(super) under_way: u32,
    /// The places of the call and of this word in the order of what was sent and heard.
    pub(super) sent: u64,
    pub(super) heard: u64,
    pub(super) now: Timestamp,
    /// The same by the exchange's clock.
    pub(super) at: Timestamp,
}

/// What a process had not yet sent to the others when it last published.
#[derive(Clone, Debug, Default)]
pub(crate) struct Publication([(u64, u32); 5]);

impl Peers {
    /// How many gateways spend together; `None` where the store does not say, or they leave by other addresses.
    pub(super) fn count(&self) -> Option<u32> {
        self.gateways.filter(|_| !self.are_elsewhere())
    }

    /// How many may be spending, whether or not the store says so at the moment.
    pub(super) fn presumed(&self) -> u32 {
        if self.are_elsewhere() { 1 } else { self.last_known.max(1) }
    }

    /// Whether the exchange's word shows that they leave by other addresses.
    fn are_elsewhere(&self) -> bool {
        self.contradictions >= CONTRADICTIONS
    }

    /// Notes whether the exchange counted less than all say they sent.
    fn note(&mut self, contradicts: bool, turn: u64) {
        if !contradicts {
            self.contradictions = 0;
        } else if self.contradictions == 0 || self.contradicted_in != turn {
            self.contradictions = self.contradictions.saturating_add(1);
            self.contradicted_in = turn;
            if self.contradictions == CONTRADICTIONS {
                tracing::warn!(
                    "the exchange counts less than the gateways on this store spend together: they leave by other \
                     addresses; set upstream.share_budget = false on gateways with an address of their own"
                );
            }
        }
    }
}

impl State {
    /// Whether a call must wait until more is known of what the other gateways spend.
    pub(super) fn must_hear_others(&self, ask: Ask, now: Timestamp) -> bool {
        let (gateways, store_says) = (self.peers.presumed(), self.peers.gateways.is_some());
        let must = |window: &Window, cost| window.must_hear_others(cost, gateways, store_says, now);
        gateways > 1 && costs(ask).into_iter().any(|(bucket, cost)| must(&self.windows[bucket as usize], cost))
    }
}

impl Window {
    /// A new window began while calls were under way: the exchange may count them there.
    pub(super) fn carry(&mut self, under_way: u32) {
        self.unconfirmed = under_way;
        self.sent = self.sent.saturating_add(under_way);
        self.used = self.used.saturating_add(under_way);
    }

    /// While the store does not say what the others spend, the exchange's answers do.
    fn must_hear_others(&self, cost: u32, gateways: u32, store_says: bool, now: Timestamp) -> bool {
        if cost == 0 {
            return false;
        }
        let gateways = f64::from(gateways);
        let left = (self.available() - f64::from(self.used.saturating_sub(self.unconfirmed))).max(0.0);
        // The exchange's word alone is as old as its way here, and is none of what others sent meanwhile.
        let is_fresh = store_says && self.heard_at.is_some_and(|at| now.since(at) < FRESH_FOR);
        // Without a fresh word the reserve alone covers what all send at once.
        let slack = self.reserve() / gateways;
        let share = if is_fresh { slack.max(left / gateways / 2.0) } else { slack };
        // A dear call goes alone, if two as dear ones of all others would fit, or if nothing at all was sent. While the store is away
        // no word would ever be fresh enough for it.
        let all_fit = f64::from(cost) * gateways * 2.0 <= left + self.reserve();
        let may_go_alone = (is_fresh || !store_says) && self.unconfirmed == 0 && (all_fit || self.used == 0);
        !may_go_alone && f64::from(self.unconfirmed.saturating_add(cost)) > share
    }

    /// Takes the use that the exchange reports.
    pub(super) fn learn_used(&mut self, word: &Word, peers: &mut Peers) {
        let Word { under_way, now, at, .. } = *word;
        let is_overtaken = word.sent < self.word_heard && word.used < self.word;
        let used = if is_overtaken { self.word } else { word.used };
        let sent = self.sent.saturating_sub(under_way);
        let of_all = sent.saturating_add(self.others);
        if self.others >= WORTH_NOTING && at.as_millis() % self.length >= SETTLED_AFTER {
            // Calls of others may be on their way still.
            peers.note(used < of_all / 4 * 3, self.turn);
        }
        self.used = used.max(sent / 2).saturating_add(under_way);
        if peers.count().is_some() && self.others > 0 {
            // Calls of others that are on their way are not in the exchange's word.
            self.used = self.used.max(self.sent.saturating_add(self.others));
        }
        if !is_overtaken {
            (self.word, self.word_heard) = (used, word.heard);
        }
        (self.unconfirmed, self.heard_at) = (self.unconfirmed.min(under_way), Some(now));
    }

    /// What this gateway says of the bucket; nothing where there is nothing to say.
    fn account(&self, ahead: i64) -> Option<BucketAccount> {
        let stated = self.stated.map(|(at, _)| at.as_millis().saturating_add_signed(ahead));
        let account = BucketAccount {
            window: self.length,
            index: self.index,
            sent: self.sent,
            word: self.word,
            limit: stated.map(|at| (u64::from(self.limit), at)),
            stop: self.stop.map(|stop| PublishedStop::of(stop, ahead)),
        };
        let says_something = account.sent > 0 || account.word > 0 || account.limit.is_some() || account.stop.is_some();
        says_something.then_some(account)
    }

    /// Takes in what the other gateways say of the bucket.
    fn hear(&mut self, accounts: &[&BucketAccount], ahead: i64, now: Timestamp, are_elsewhere: bool) {
        for account in accounts {
            let Some((limit, at)) = account.limit else { continue };
            let at = Timestamp::from_millis(at.saturating_add_signed(ahead.saturating_neg())).min(now);
            let is_newer = self.stated.is_none_or(|(own, _)| own.plus(LIMIT_SLACK) < at);
            let is_as_new = self.stated.is_some_and(|(own, _)| own < at.plus(LIMIT_SLACK));
            let is_lower = limit < u64::from(self.limit) && self.length == account.window;
            let is_other = u64::from(self.limit) != limit || self.length != account.window;
            if (is_newer && is_other) || (is_as_new && is_lower) {
                self.learn(limit, account.window, at);
            }
        }
        let mut word = 0;
        (self.others, self.others_next) = (0, 0);
        for account in accounts.iter().filter(|account| account.window == self.length) {
            if account.index == self.index {
                self.others = self.others.saturating_add(account.sent);
                word = word.max(account.word);
            } else if self.index.checked_add(1) == Some(account.index) {
                self.others_next = self.others_next.saturating_add(account.sent);
            }
        }
        if !are_elsewhere && self.others > 0 {
            self.used = self.used.max(self.sent.saturating_add(self.others));
        }
        if !are_elsewhere {
            self.used = self.used.max(word);
        }
    }
}

impl Budget {
    /// Has `urgent` notified whenever this gateway should publish to the others, or read from them, at once.
    pub(crate) fn notify_when_urgent(&self, urgent: &std::sync::Arc<tokio::sync::Notify>) {
        let _ = self.urgent.set(std::sync::Arc::clone(urgent));
    }

    pub(super) fn is_urgent(&self) {
        if let Some(urgent) = self.urgent.get() {
            urgent.notify_one();
        }
    }

    /// What to tell the others, for whom the store's clock is `ahead` ms ahead of this process's.
    pub(crate) fn account(&self, ahead: i64) -> (Account, Publication) {
        let state = self.state(self.clock.now());
        let bucket = |bucket: Bucket| {
            state.windows[bucket as usize].account(ahead).map(|account| (bucket.as_str().to_owned(), account))
        };
        let account = Account {
            stop: state.stop.map(|stop| PublishedStop::of(stop, ahead)),
            buckets: Bucket::ALL.into_iter().filter_map(bucket).collect(),
        };
        let unpublished = Bucket::ALL.map(|bucket| {
            let window = &state.windows[bucket as usize];
            (window.turn, window.unconfirmed)
        });
        (account, Publication(unpublished))
    }

    /// Takes in what the others say; `gateways` counts them and this one. `taken` is the part of this one's own message
    /// that the store has taken meanwhile.
    pub(crate) fn hear(&self, others: &[&Account], taken: Option<&Publication>, gateways: u32, ahead: i64) {
        let now = self.clock.now();
        let mut state = self.state(now);
        (state.peers.gateways, state.peers.last_known) = (Some(gateways), gateways);
        let are_elsewhere = state.peers.are_elsewhere();
        for bucket in Bucket::ALL {
            let name = bucket.as_str();
            let accounts = others.iter().filter(|account| account.buckets.len() <= MOST_BUCKETS);
            let accounts: Vec<_> = accounts.filter_map(|account| account.buckets.get(name)).collect();
            let window = &mut state.windows[bucket as usize];
            if let Some((_, unpublished)) =
                taken.map(|taken| taken.0[bucket as usize]).filter(|taken| taken.0 == window.turn)
            {
                window.unconfirmed = window.unconfirmed.saturating_sub(unpublished);
            }
            window.hear(&accounts, ahead, now, are_elsewhere);
            window.heard_at = Some(now);
            for stop in accounts.iter().filter_map(|account| account.stop.as_ref()) {
                self.follow_in_bucket(window, bucket, stop.to_stop(ahead), now);
            }
        }
        for stop in others.iter().filter_map(|account| account.stop.as_ref()) {
            let stop = stop.to_stop(ahead);
            let is_longer = state.stop.is_none_or(|known| known.until.plus(STOP_SLACK) < stop.until);
            if stop.is_in_force(now) && stop.until.since(now) >= STOP_SLACK && is_longer {
                self.apply_stop(&mut state, stop.at_most(now), "the exchange stopped another gateway");
            }
        }
        self.publish(&state);
    }

    fn follow_in_bucket(&self, window: &mut Window, bucket: Bucket, stop: Stop, now: Timestamp) {
        let is_longer = window.stop.is_none_or(|known| known.until.plus(STOP_SLACK) < stop.until);
        if stop.is_in_force(now) && stop.until.since(now) >= STOP_SLACK && is_longer {
            let seconds = stop.until.since(now).as_secs();
            tracing::warn!(exchange = %self.name, %bucket, seconds, "another gateway pauses by the exchange's word");
            window.stop = Some(stop.at_most(now));
        }
    }

    /// The store does not say what the others spend: each gateway goes by the exchange's word, and leaves the others as much
    /// of the rest as before.
    pub(crate) fn loses_others(&self) {
        self.state(self.clock.now()).peers.gateways = None;
    }
}

/// The refusal of a call that must hear of the others first.
pub(super) fn not_yet(name: &str) -> Error {
    let message = format!("what the other gateways spend of the budget of {name} is not known yet");
    Error::new(Reason::RateLimited, message).with_retry_after(AGAIN_IN)
}

#[cfg(test)]
mod tests;
