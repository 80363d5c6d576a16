//! What each failure of docs/operating.md looks like on the page; with PICTURES set, a picture of each.

use std::net::SocketAddr;
use std::time::Duration;

use lastgood_sim::{ClockMode, SimConfig, Venue};
use lastgood_testing::RedisServer;
use serde_json::json;
use tokio::task::JoinSet;

use super::{ASKED, NOWHERE, ask_in_turn, browser_with, traffic};
use crate::support::{Exchange, Running, eventually, get};

/// What a failure looks like.
#[derive(Default)]
struct Looks {
    picture: &'static str,
    /// The panel that shows it; without a name, the top of the page does.
    panel: &'static str,
    /// Stands at the top.
    says: &'static str,
    /// Stands somewhere on the page.
    also: &'static str,
    /// Stands in the corner.
    state: &'static str,
}

impl Looks {
    async fn at(self, gateway: SocketAddr) {
        let Looks { picture, panel, says, also, state } = self;
        let env = [("PICTURE", picture), ("PANEL", panel), ("SAYS", says), ("ALSO", also), ("STATE", state)];
        browser_with("failure", gateway, &env, Duration::from_secs(240)).await;
    }
}

async fn exchange() -> Exchange {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Live);
    exchange
}

/// A gateway that has an answer to everything that is asked of it.
async fn warm(exchange: &Exchange, more: &[(&str, &str)]) -> Running {
    let gateway = Running::start(&exchange.url(), more).await;
    for target in ASKED {
        assert_eq!(get(gateway.url(target)).await.status, 200, "{target}");
    }
    gateway
}

/// The same on a Redis, where it hears of the others.
async fn attached(exchange: &Exchange, redis: &RedisServer) -> Running {
    let gateway = warm(exchange, &[("store", &redis.url()), ("store_trust_for", "1s")]).await;
    let log = async || get(gateway.url("/health")).await.json()["cache"]["log"].clone();
    eventually("it hears the others", async || log().await == "heard").await;
    gateway
}

/// Asks for what was not asked for yet, this many at a time, until it is dropped.
fn cold_traffic(gateway: &Running, exchange: &Exchange, at_once: usize) -> JoinSet<()> {
    let symbols = exchange.sim.symbols(Venue::Spot);
    let mut running = JoinSet::new();
    for first in 0..at_once {
        let own = symbols.iter().skip(first).step_by(at_once);
        let targets: Vec<_> = own.map(|symbol| gateway.url(&format!("/api/v3/avgPrice?symbol={symbol}"))).collect();
        running.spawn(ask_in_turn(targets));
    }
    running
}

#[tokio::test]
async fn an_exchange_that_fails_is_seen_with_the_reason_and_the_substitute() {
    let exchange = exchange().await;
    let gateway = warm(&exchange, &[]).await;
    let _traffic = traffic(&gateway);
    exchange.fault(json!({"kind": "status", "status": 500}));
    let looks = Looks {
        picture: "failure-host",
        panel: "Hosts and sources",
        says: "Last good answers are served from",
        also: "unhealthy",
        state: "degraded",
    };
    looks.at(gateway.address).await;
}

#[tokio::test]
async fn a_ban_is_seen_with_the_time_that_is_left() {
    let exchange = exchange().await;
    let gateway = warm(&exchange, &[]).await;
    let _traffic = traffic(&gateway);
    exchange.fault(json!({"kind": "banned_spot", "path_prefix": "/api/"}));
    let looks = Looks {
        picture: "failure-ban",
        panel: "Budget at the exchange",
        says: "It is asked again at",
        also: "banned, 1 min",
        state: "degraded",
    };
    looks.at(gateway.address).await;
}

#[tokio::test]
async fn a_budget_that_is_nearly_spent_is_marked() {
    let config = SimConfig { seed: 7, symbols: 300, weight_limit_spot: 300, ..SimConfig::default() };
    let exchange = Exchange::start_with(config).await;
    exchange.sim.set_clock(ClockMode::Live);
    let gateway = Running::start(&exchange.url(), &[]).await;
    assert_eq!(get(gateway.url("/api/v3/exchangeInfo")).await.status, 200, "the limit is learnt");
    let _traffic = cold_traffic(&gateway, &exchange, 4);
    let looks =
        Looks { picture: "failure-budget", panel: "Budget at the exchange", also: "nearly spent", ..Looks::default() };
    looks.at(gateway.address).await;
}

#[tokio::test]
async fn a_declared_source_that_fails_is_seen_with_the_reason() {
    let gateway = Running::of_file(NOWHERE).await;
    assert_eq!(get(gateway.url("/v1/stocks")).await.status, 503);
    let looks = Looks {
        picture: "failure-source",
        panel: "Hosts and sources",
        says: "source database main",
        also: "failing",
        state: "degraded",
    };
    looks.at(gateway.address).await;
}

#[tokio::test]
async fn a_redis_that_is_away_is_seen_with_the_reason() {
    let mut redis = RedisServer::start();
    let exchange = exchange().await;
    let gateway = warm(&exchange, &[("store", &redis.url())]).await;
    let _traffic = traffic(&gateway);
    redis.kill();
    let (says, also) = ("store redis", "open");
    let looks = Looks { picture: "failure-redis", panel: "Store", says, also, state: "degraded" };
    looks.at(gateway.address).await;
}

#[tokio::test]
async fn a_redis_that_is_full_is_seen_in_its_own_words() {
    let redis = RedisServer::start();
    let exchange = exchange().await;
    let gateway = attached(&exchange, &redis).await;
    let _traffic = traffic(&gateway);
    assert!(redis.command(&["CONFIG", "SET", "maxmemory", "1mb"]).starts_with("+OK"));
    let (says, also) = ("writes: refused: OOM command not allowed", "OOM");
    let looks = Looks { picture: "failure-full", panel: "Store", says, also, ..Looks::default() };
    looks.at(gateway.address).await;
}

#[tokio::test]
async fn a_gateway_that_does_not_hear_the_others_is_seen_to_be_cut_off() {
    let redis = RedisServer::start();
    let exchange = exchange().await;
    let gateway = attached(&exchange, &redis).await;
    let _traffic = traffic(&gateway);
    assert!(redis.command(&["ACL", "SETUSER", "default", "-xread"]).starts_with("+OK"));
    let (says, also) = ("invalidation log: NOPERM this user has no permissions to run the 'xread' command", "cut off");
    let looks = Looks { picture: "failure-cut-off", panel: "Store", says, also, state: "degraded" };
    looks.at(gateway.address).await;
}

#[tokio::test]
async fn requests_that_wait_are_counted() {
    let exchange = exchange().await;
    let gateway = warm(&exchange, &[("limits.max_concurrent_requests", "20")]).await;
    exchange.fault(json!({"kind": "latency", "ms": 4_000}));
    let _traffic = (traffic(&gateway), cold_traffic(&gateway, &exchange, 40));
    let looks = Looks { picture: "failure-busy", panel: "Requests", also: "20 wait", ..Looks::default() };
    looks.at(gateway.address).await;
}

#[tokio::test]
async fn a_clock_that_is_off_is_seen() {
    let exchange = exchange().await;
    exchange.sim.advance(90_000);
    let gateway = warm(&exchange, &[]).await;
    let _traffic = traffic(&gateway);
    let also = "ahead of this machine's";
    let looks = Looks { picture: "failure-clock", panel: "Budget at the exchange", also, ..Looks::default() };
    looks.at(gateway.address).await;
}

/// The page, its files, its stream and the minutes before, which it asks for once it has its first event.
const ASKED_BY_THE_PAGE: u64 = 13;

#[tokio::test]
async fn a_page_that_is_open_says_that_the_gateway_is_gone() {
    let exchange = exchange().await;
    let gateway = warm(&exchange, &[]).await;
    let (address, before) = (gateway.address, gateway.traffic().requests);
    let looks = Looks {
        picture: "failure-gone",
        says: "The gateway does not answer",
        state: "not connected",
        ..Looks::default()
    };
    let stop = async {
        while gateway.traffic().requests < before + ASKED_BY_THE_PAGE {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        gateway.stop().await;
    };
    tokio::join!(looks.at(address), stop);
}
