//! What the store does not have of a change, and why.

use std::time::Duration;

use lastgood::Unconfirmed;
use lastgood::store::StoreError;
use serde_json::{Value, json};

use crate::app::App;

/// How long an answer waits for the store to confirm a change: as long as one write to it may take, and a little more.
pub(crate) const CONFIRM_WITHIN: Duration = Duration::from_millis(1_500);

/// A change that the store does not have, or a count that it had no part in.
pub(crate) struct Pending {
    store: String,
    /// Why the store was not reached; `None` while it takes what waits, one after the other.
    why: Option<StoreError>,
    waiting: usize,
    /// Whether what waits outlives the gateway.
    is_on_disk: bool,
    /// The note about keys that only the store holds.
    rest: &'static str,
    dry_run: bool,
}

impl Pending {
    /// Waits until the store has the changes made so far. `None` if it has them all, and was searched as well.
    pub(crate) async fn of(app: &App, unreached: Option<StoreError>, rest: &'static str) -> Option<Pending> {
        Pending::among(app, app.cache.confirmed(CONFIRM_WITHIN).await, unreached, rest)
    }

    /// What the store does not have of the changes that `unconfirmed` is about.
    pub(crate) fn among(
        app: &App,
        unconfirmed: Option<Unconfirmed>,
        unreached: Option<StoreError>,
        rest: &'static str,
    ) -> Option<Pending> {
        if unconfirmed.is_none() && unreached.is_none() {
            return None;
        }
        let store = app.cache.status().store?.name;
        let waiting = unconfirmed.as_ref().map_or(0, |changes| changes.waiting);
        let is_on_disk = unconfirmed.as_ref().is_some_and(|changes| changes.is_on_disk);
        let why = unreached.or_else(|| unconfirmed.and_then(|changes| changes.why));
        let is_pending = why.is_some() || waiting > 0;
        is_pending.then_some(Pending { store, why, waiting, is_on_disk, rest, dry_run: false })
    }

    /// The same for a dry run, which changes nothing.
    pub(crate) fn of_count(app: &App, unreached: Option<StoreError>) -> Option<Pending> {
        let (store, why) = (app.cache.status().store?.name, unreached?);
        let rest = "Keys that only the store holds are not counted.";
        Some(Pending { store, why: Some(why), waiting: 0, is_on_disk: false, rest, dry_run: true })
    }

    /// One line for the operator, however many regions the change was about.
    pub(crate) fn warn(&self, what: &str, scope: &str, matched: u64) {
        if let Some(why) = &self.why {
            let (store, waiting) = (&self.store, self.waiting);
            tracing::warn!(
                store,
                why = &*why.cause(),
                what,
                scope,
                matched,
                waiting,
                "a change of the cache did not reach the store"
            );
        }
    }

    /// What happened, in sentences.
    fn detail(&self) -> String {
        let Pending { store, why, waiting, is_on_disk, rest, dry_run } = self;
        let Some(why) = why else {
            return format!("The store {store} is still writing: {}.", changes(*waiting));
        };
        let reached = match why {
            StoreError::Refused(_) => format!("The store {store} does not take the change: {}.", reason(why)),
            _ => format!("The store {store} was not reached: {}.", reason(why)),
        };
        match (dry_run, waiting) {
            (true, _) => format!("{reached} {rest}"),
            (false, 0) => format!("{reached} Memory is changed; nothing waits for the store. {rest}"),
            (false, waiting) => {
                let otherwise = match is_on_disk {
                    true => "kept on its disk, so that a restart loses nothing",
                    false => "and would be lost if the gateway ended before that",
                };
                let changes = changes(*waiting);
                format!(
                    "{reached} Memory is changed; {changes} in the gateway until the store takes them, {otherwise}. {rest}"
                )
            }
        }
    }

    pub(crate) fn add_to(&self, report: &mut Value) {
        if !self.dry_run {
            report["pending"] = (self.waiting > 0).into();
        }
        let mut store = json!({ "name": self.store, "reached": self.is_reached(), "waiting": self.waiting });
        if self.is_accepted_only() {
            store["on_disk"] = self.is_on_disk.into();
        }
        if let Some(why) = &self.why {
            store["reason"] = reason(why).into();
        }
        report["store"] = store;
        report["detail"] = self.detail().into();
    }

    fn is_reached(&self) -> bool {
        matches!(self.why, None | Some(StoreError::Refused(_)))
    }

    /// Whether something waits to be done.
    pub(crate) fn is_accepted_only(&self) -> bool {
        !self.dry_run && self.waiting > 0
    }
}

/// Why, without what the sentence around it says already.
fn reason(why: &StoreError) -> String {
    match why {
        // Redis ends its own sentences.
        StoreError::Unavailable(why) | StoreError::Refused(why) => why.trim_end_matches('.').to_owned(),
        StoreError::Timeout => "it did not answer in time".to_owned(),
        why => why.to_string(),
    }
}

fn changes(waiting: usize) -> String {
    match waiting {
        1 => "1 change waits".to_owned(),
        many => format!("{many} changes wait"),
    }
}
