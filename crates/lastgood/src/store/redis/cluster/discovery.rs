//! Learning which servers a cluster has, off every caller's path.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, Value, cmd};
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::slots::{self, Range};
use super::view::Member;
use crate::store::jitter::jittered;
use crate::store::redis::connect::{Failure, connect};
use crate::store::redis::options::{Server, authority};
use crate::store::redis::reply;

/// The longest that one server may take to be connected to and to answer, before the next one is asked.
const ASK_WITHIN: Duration = Duration::from_millis(500);

/// How often the cluster is asked who has which slot while all is well; redirections tell of most changes.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// The same while a primary cannot be reached: a replica may have taken its place.
const CHECK_EVERY_WHEN_DOWN: Duration = Duration::from_millis(500);

/// The same after a refused login, which no second try repairs and every try of which the server logs.
const CHECK_EVERY_WHEN_REFUSED: Duration = Duration::from_secs(5);

/// The least time between two questions that redirections ask for.
const CHECK_APART: Duration = Duration::from_millis(100);

/// How long a server without slots is kept that calls were redirected to.
const STRAYS_KEPT: Duration = Duration::from_secs(60);

/// Keeps the view of the cluster current until it is aborted.
pub(super) async fn keep_current(shared: Arc<Shared>) {
    let mut logged = None;
    loop {
        let mut wait = CHECK_EVERY;
        match shared.refresh().await {
            Ok(()) => {
                logged = None;
                if !shared.view.load().all_up() {
                    wait = jittered(CHECK_EVERY_WHEN_DOWN);
                }
            }
            Err(Failure { why, login }) => {
                wait = jittered(if login { CHECK_EVERY_WHEN_REFUSED } else { CHECK_EVERY_WHEN_DOWN });
                let why = shared.options.redact(why);
                // Once a reason, not once an attempt.
                if logged.as_ref() != Some(&why) {
                    tracing::debug!(store = %shared.options, why, "cannot ask the cluster, trying on");
                    logged = Some(why.clone());
                }
                shared.why_down.store(Arc::new(format!("not connected to {}: {why}", shared.options)));
            }
        }
        _ = timeout(wait, shared.outdated.notified()).await;
        sleep(CHECK_APART).await;
    }
}

fn question() -> Cmd {
    cmd("CLUSTER").arg("SLOTS").take()
}

impl Shared {
    /// Asks the first server that answers: one that there is a connection to, else one that the URL names.
    pub(super) async fn refresh(&self) -> Result<(), Failure> {
        let view = self.view.load_full();
        let mut connected: Vec<&Member> = view.members.values().filter(|member| member.node.is_up()).collect();
        if !connected.is_empty() {
            // Not always the same one: it may be the one that is cut off from the others, or silent.
            let first = self.next_asked() % connected.len();
            connected.rotate_left(first);
        }
        for member in connected {
            let answer = timeout(ASK_WITHIN, member.node.query::<Value>(&question())).await;
            if let Ok(Ok(reply)) = answer
                && let Ok(ranges) = slots::read(reply, &member.address.0)
                && !ranges.is_empty()
            {
                self.adopt(ranges);
                return Ok(());
            }
        }
        let mut whys = Vec::new();
        let mut login = false;
        for seed in &self.seeds {
            let failure = match timeout(ASK_WITHIN, ask_seed(seed)).await {
                Ok(Ok(ranges)) => {
                    self.adopt(ranges);
                    return Ok(());
                }
                Ok(Err(failure)) => failure,
                Err(_) => format!("no answer within {} ms", ASK_WITHIN.as_millis()).into(),
            };
            login |= failure.login;
            whys.push(format!("{}: {}", seed.addr(), failure.why));
        }
        Err(Failure { why: format!("no server of the cluster could be asked ({})", whys.join(", ")), login })
    }

    /// Takes over a new distribution of the slots. Servers that are in it already keep their connections.
    fn adopt(&self, ranges: Vec<Range>) {
        let _changing = self.changing();
        let old = self.view.load_full();
        let same = old.ranges == ranges;
        let mut view = (*old).clone();
        view.members.retain(|_, member| member.stray_since.is_some_and(|since| since.elapsed() < STRAYS_KEPT));
        for Range { primary, .. } in &ranges {
            if !view.members.contains_key(primary)
                || view.members.get(primary).is_some_and(|member| member.stray_since.is_some())
            {
                let node = old.members.get(primary).map(|member| Arc::clone(&member.node));
                let Some(node) = node.or_else(|| self.connect(primary)) else { continue };
                let member = Member { address: primary.clone(), node, stray_since: None };
                view.members.insert(primary.clone(), member);
            }
        }
        view.ranges = ranges;
        if !same {
            let primaries: Vec<String> =
                view.primaries().map(|member| authority(&member.address.0, member.address.1)).collect();
            tracing::info!(store = %self.options, primaries = primaries.join(","), "learnt who has which slots");
        }
        self.view.store(Arc::new(view));
    }

    /// A server that a redirection named, if there is room for one more.
    pub(super) fn stray(&self, address: &slots::Address) -> Option<Member> {
        let _changing = self.changing();
        let old = self.view.load_full();
        if let Some(known) = old.members.get(address) {
            return Some(known.clone());
        }
        if old.members.len() >= super::MOST_MEMBERS {
            return None;
        }
        let node = self.connect(address)?;
        let member = Member { address: address.clone(), node, stray_since: Some(Instant::now()) };
        let mut view = (*old).clone();
        view.members.insert(address.clone(), member.clone());
        self.view.store(Arc::new(view));
        Some(member)
    }
}

async fn ask_seed(seed: &Server) -> Result<Vec<Range>, Failure> {
    let mut connection = connect(seed.clone()).await?;
    let reply = question().query_async::<Value>(&mut connection).await;
    match reply.and_then(|reply| slots::read(reply, seed.host())) {
        Ok(ranges) if ranges.is_empty() => Err("no slots are assigned to anybody yet".to_owned().into()),
        Ok(ranges) => Ok(ranges),
        Err(error) if error.detail().is_some_and(|detail| detail.contains("cluster support disabled")) => {
            Err(format!("it is no member of a cluster ({}); write redis:// for a single server", reply::text(&error))
                .into())
        }
        Err(error) => Err(error.into()),
    }
}
