//! The end of a schedule: nothing fails any more, and everything must come to the same end, everywhere.

use std::time::Duration;

use lastgood::{Outcome, Reason};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::reference::LISTENS_WITHIN;
use super::schedule::{KEYS, Response};
use super::world::{World, version_of};

/// The longest that a node may take to be as well as the store and the source are.
const CONVERGED_AFTER: Duration = Duration::from_secs(45);

impl World {
    /// A node whose log can be read reads it.
    pub(super) fn check_that_all_listen(&self) {
        for process in &self.processes {
            let state = process.way.state();
            let is_deaf = state.cut_at.is_some() && state.can_hear() && state.healed_at.elapsed() > LISTENS_WITHIN;
            drop(state);
            if is_deaf {
                self.reference().violated(format!("node {} does not listen again", process.node));
            }
        }
    }

    /// Ends all faults, and checks that everything comes to the same end, everywhere.
    pub(super) async fn converge(mut self) -> World {
        self.processes.iter().for_each(|process| process.way.heal());
        *self.source.lock().expect("no test panics with this lock") = [Response::Answers(0); KEYS.len()];
        sleep(CONVERGED_AFTER).await;
        self.check_that_all_listen();
        self.check_that_nothing_waits();
        for key in 0..KEYS.len() {
            self.check_kept(key).await;
            self.check_that_all_agree(key).await;
        }
        self.check_that_nothing_waits();
        let ended = |tasks: &mut JoinSet<()>| {
            while tasks.try_join_next().is_some() {}
            tasks.len()
        };
        let left: usize = self.tasks.iter_mut().map(ended).sum();
        if left > 0 {
            self.reference().violated(format!("{left} calls never ended"));
        }
        self
    }

    fn check_that_nothing_waits(&self) {
        let mut reference = self.reference();
        let (unacknowledged, running) = (reference.unacknowledged(), reference.running());
        if unacknowledged + running > 0 {
            reference.violated(format!("{unacknowledged} changes are not acknowledged, {running} loads run for ever"));
        }
        for process in &self.processes {
            let status = process.cache.status();
            let store = status.store.expect("there is a store");
            let waiting = (status.loads, store.unconfirmed_removals, store.unpublished);
            let is_well = waiting == (0, 0, 0) && store.hears_others == Some(true) && status.memory_bytes < 1 << 20;
            if !is_well {
                let node = process.node;
                reference.violated(format!("node {node} is not at rest: {waiting:?}, {:?}", store.hears_others));
            }
        }
    }

    /// What an application finds that has no source.
    async fn check_kept(&self, key: usize) {
        for process in &self.processes {
            let standing = process.standing();
            let found = process.region(key).newest(KEYS[key].name).await.expect("the store answers");
            let mut reference = self.reference();
            let version = found.as_ref().map(version_of);
            if let Some(kept) = reference.kept(key)
                && version.is_none_or(|version| version < kept)
            {
                reference.violated(format!("key {key} at node {}: {version:?} in place of v{kept}", process.node));
            }
            if let Some(answer) = found {
                let reason = Outcome::LastGood(Reason::Unreachable);
                let found = Ok((version_of(&answer), answer.given_as(reason)));
                reference.judge(key, &standing, &found, |_| true);
            }
        }
    }

    async fn check_that_all_agree(&self, key: usize) {
        let mut versions = Vec::new();
        for process in &self.processes {
            let (standing, load) = (process.standing(), self.load(process, key, true));
            let answer = process.region(key).get_or_load(KEYS[key].name, load).await;
            let answer = answer.map(|answer| (version_of(&answer), answer)).map_err(|error| error.reason);
            self.reference().judge(key, &standing, &answer, |_| true);
            versions.push(answer.map(|(version, _)| version));
            process.cache.sync(Duration::from_secs(5)).await;
            sleep(Duration::from_millis(5)).await;
        }
        if versions.iter().any(|version| *version != versions[0] || version.is_err()) {
            self.reference().violated(format!("key {key}: the nodes do not agree: {versions:?}"));
        }
    }
}
