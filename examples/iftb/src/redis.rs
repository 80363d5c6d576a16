//! A Redis that goes and comes back, its password, its databases, and what a clearing leaves alone.

use std::sync::Arc;
use std::time::Duration;

use lastgood_example_iftb::{Model, Times, data_layer, hours, look};
use lastgood_market::Market;
use lastgood_market::market::Confirm;
use lastgood_testing::RedisServer;

use crate::promises::Promises;
use crate::{Failure, RedisIs, SYMBOL, series, until_the_store_answers};

pub(crate) const PASSWORD: &str = "bot-secret";

/// The bot's own Redis, behind a password.
pub(crate) fn in_state(state: RedisIs) -> RedisServer {
    let args = ["--requirepass", PASSWORD];
    match state {
        RedisIs::Stopped | RedisIs::Returning => RedisServer::prepare(&args),
        RedisIs::Up | RedisIs::Absent => RedisServer::start_with(&args),
        RedisIs::Frozen => {
            let server = RedisServer::start_with(&args);
            server.stop();
            server
        }
    }
}

/// Redis stops, if it has not, and comes back: everything is answered all the time, and what was put meanwhile is in it.
pub(crate) async fn gone_and_back(
    market: &Market,
    store: &str,
    redis: &mut RedisServer,
    is_there: bool,
    model: &Arc<Model>,
    promises: &mut Promises,
) -> Result<(), Failure> {
    if is_there {
        redis.kill();
    }
    println!("\nRedis {}:", if is_there { "is stopped" } else { "does not answer" });
    let answered = look(market, model, SYMBOL).await;
    promises.hold(
        "without Redis everything is answered",
        answered.is_ok(),
        answered.err().map_or_else(String::new, |why| why.to_string()),
    );
    let (own, late) = (market.own_bars(), hours(3, 777));
    let set = own.set_bars(&series("late")?, &late).await;
    let read = own.get_bars(&series("late")?, 3).await?.map(|read| read.bars);
    promises.hold("and bars are taken and given", set.stored == 3 && read.as_ref() == Some(&late), "they are not");
    let health = market.health().await;
    if let Some(Err(why)) = &health.store {
        println!("  health says: {why}");
    }
    promises.hold("the health check says so", !health.is_well(), "it says that all is well");

    redis.restart();
    let back = until_the_store_answers(market).await;
    println!("Redis is back:");
    promises.hold("the data layer finds it again by itself", back, "it does not");
    // What waits is written as soon as Redis is asked again.
    let mut is_kept = false;
    for _ in 0..200 {
        market.sync(Duration::from_secs(5)).await;
        let other = data_layer(store, None, Times::BOT).await?;
        until_the_store_answers(&other).await;
        // Until Redis answers, it is not known.
        let kept = other.own_bars().get_bars(&series("late")?, 3).await.ok().flatten().map(|read| read.bars);
        is_kept = kept.as_ref() == Some(&late);
        if is_kept {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    promises.hold("what was put meanwhile is in Redis", is_kept, "another process does not find it");
    Ok(())
}

/// A wrong password is reported, and costs no answer.
pub(crate) async fn wrong_password(
    redis: &RedisServer,
    url: &str,
    model: &Arc<Model>,
    promises: &mut Promises,
) -> Result<(), Failure> {
    let wrong = redis.url().replace(PASSWORD, "a-wrong-one").replace("/0", "/5");
    let market = data_layer(&wrong, Some(url), Times::BOT).await?;
    let answered = look(&market, model, SYMBOL).await;
    let mut said = String::new();
    for _ in 0..200 {
        said = market.health().await.store.and_then(Result::err).map(|why| why.to_string()).unwrap_or_default();
        if said.to_lowercase().contains("authentication") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("\nwith a wrong password, health says: {said}");
    promises.hold("a wrong password is reported as one", said.to_lowercase().contains("authentication"), &said);
    promises.hold("without being repeated", !said.contains("a-wrong-one"), &said);
    promises.hold("and the data layer goes on", answered.is_ok(), "it answers nothing");
    Ok(())
}

/// Everything goes, of this namespace and this database only.
pub(crate) async fn clear_all(redis: &RedisServer, store: &str, promises: &mut Promises) -> Result<(), Failure> {
    let script = |text: &str| redis.command(&["EVAL", text, "0"]);
    script("redis.call('SELECT', 0) redis.call('SET', 'another-program', '1') return 1");
    script("redis.call('SELECT', 5) redis.call('SET', 'neighbour:of-the-same-database', '1') return 1");
    let of_bot = "redis.call('SELECT', 5) return #redis.call('KEYS', 'iftb:*')";
    let market = data_layer(store, None, Times::BOT).await?;
    until_the_store_answers(&market).await;
    market.own_bars().set_bars(&series("cleared")?, &hours(3, 300)).await;
    market.sync(Duration::from_secs(5)).await;
    println!("\nclear_all takes Confirm::YesClearEverything, the last good answers go, too");
    println!("  database 5 has {} keys of the bot's", number(&script(of_bot)));
    let cleared = market.clear(Confirm::YesClearEverything).await;
    let left = number(&script(of_bot));
    println!(
        "  {} entries of memory are gone, and {left} keys are left: what tells other processes of it",
        cleared.from_memory
    );
    promises.hold("everything of the bot's is gone", cleared.store_done && left <= 2, format!("{left} keys are left"));
    let is_there = market.own_bars().exists(&series("cleared")?).await;
    promises.hold("its bars, too", is_there != Ok(true), "they are there");
    let others = [
        script("redis.call('SELECT', 0) return redis.call('EXISTS', 'another-program')"),
        script("redis.call('SELECT', 5) return redis.call('EXISTS', 'neighbour:of-the-same-database')"),
    ];
    let untouched = others.iter().all(|reply| number(reply) == 1);
    promises.hold("another database and another namespace are untouched", untouched, "they are not");
    market.close(Duration::from_secs(5)).await;
    Ok(())
}

/// The number that Redis replied.
fn number(reply: &str) -> i64 {
    reply.trim_start_matches(':').trim().parse().unwrap_or(-1)
}
