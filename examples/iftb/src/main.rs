//! Shows the data layer at work: what it costs without a cache, at first and then, and what remains when Redis and the
//! exchange are gone. Ends with how many of its promises held.

#![expect(clippy::print_stdout, reason = "it shows something")]

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use lastgood::{Outcome, Tier};
use lastgood_example_iftb::{Model, Picture, Times, data_layer, look};
use lastgood_market::Market;
use lastgood_market::bars::BarSeries;
use lastgood_market::market::Confirm;
use lastgood_sim::{Fault, FaultKind, Sim, SimConfig};
use lastgood_testing::RedisServer;
use tokio::net::TcpListener;
use tokio::time::Instant;

mod bars;
mod costs;
mod promises;
mod redis;

use self::promises::Promises;

/// A trading bot's data layer on the lastgood library.
#[derive(Parser)]
struct Args {
    /// redis://:password@host:6379/5, embedded:FILE or memory:. By default a Redis of its own, or a file where there is
    /// none.
    #[arg(long, conflicts_with = "redis")]
    store: Option<String>,
    /// The state of its own Redis at the start.
    #[arg(long, value_enum, default_value = "up")]
    redis: RedisIs,
    /// An exchange, or a gateway. By default a simulated exchange of its own.
    #[arg(long)]
    url: Option<String>,
    /// Writes what was measured to this file.
    #[arg(long)]
    rows: Option<PathBuf>,
}

/// What a Redis may be like. In no state may the bot notice but by its health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RedisIs {
    /// It answers.
    Up,
    /// It takes connections and answers nothing.
    Frozen,
    /// No server listens.
    Stopped,
    /// None is configured: a file takes its place.
    Absent,
    /// Stopped at the start, and there once the first table is printed.
    Returning,
}

const SYMBOL: &str = "BTCUSDT";
type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let args = Args::parse();
    let sim = Sim::new(SimConfig::default());
    let url = match args.url.clone() {
        Some(url) => url,
        None => start(&sim).await?,
    };
    let folder = tempfile::tempdir()?;
    let has_redis = Command::new("redis-server").arg("--version").output().is_ok();
    let is_own = args.store.is_none() && has_redis && args.redis != RedisIs::Absent;
    let mut redis = is_own.then(|| redis::in_state(args.redis));
    let store = match (&args.store, &redis) {
        (Some(store), _) => store.clone(),
        // A database of the bot's own, behind a password: others of the same Redis are untouched.
        (None, Some(redis)) => redis.url().replace("/0", "/5"),
        (None, None) => format!("embedded:{}", folder.path().join("iftb.redb").display()),
    };
    let (model, mut promises) = (Arc::new(Model::default()), Promises::default());

    let market = data_layer(&store, Some(&url), Times::BOT).await?;
    let is_there = !is_own || args.redis == RedisIs::Up;
    if is_there {
        until_the_store_answers(&market).await;
    }
    println!("store {}, exchange {url}", name(&market));
    costs::table(&market, &url, &model, &mut promises, args.rows.as_deref()).await?;
    costs::many_callers(&market, &model, &mut promises).await?;
    bars::show(&market, &mut promises).await?;
    if let Some(redis) = &mut redis {
        redis::gone_and_back(&market, &store, redis, is_there, &model, &mut promises).await?;
    }
    market.sync(Duration::from_secs(5)).await;
    market.close(Duration::from_secs(5)).await;
    drop(market);
    if args.url.is_none() {
        restarted(&sim, &store, &url, &model, &mut promises).await?;
    }
    if store != "memory:" {
        bars::evict(&store, &mut promises).await?;
    }
    if let Some(redis) = &redis {
        redis::wrong_password(redis, &url, &model, &mut promises).await?;
        redis::clear_all(redis, &store, &mut promises).await?;
    }
    if args.url.is_none() {
        ruin(&sim, &mut redis, &store, &url, &model, &mut promises).await?;
    }
    Ok(if promises.end() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Another process, with the exchange failing: all is in the store.
async fn restarted(
    sim: &Sim,
    store: &str,
    url: &str,
    model: &Arc<Model>,
    promises: &mut Promises,
) -> Result<(), Failure> {
    // What was asked first is short-lived: all of it once more, and then the restart.
    let market = data_layer(store, Some(url), Times::all(Duration::from_secs(3_600))).await?;
    until_the_store_answers(&market).await;
    market.clear(Confirm::YesClearEverything).await;
    look(&market, model, SYMBOL).await?;
    market.sync(Duration::from_secs(5)).await;
    market.close(Duration::from_secs(5)).await;
    drop(market);
    sim.fault(Fault { kind: FaultKind::Status { status: 503 }, path_prefix: String::new(), times: None });
    println!("\nthe bot is restarted, and the exchange fails:");
    let market = data_layer(store, Some(url), Times::all(Duration::from_secs(3_600))).await?;
    until_the_store_answers(&market).await;
    let picture = look(&market, model, SYMBOL).await?;
    show(&picture);
    let from_store = outcomes(&picture)[1..].iter().all(|outcome| *outcome == Outcome::Hit(Tier::Store));
    promises.hold(
        "after a restart everything comes from the store",
        from_store || store == "memory:",
        "not everything did",
    );
    market.close(Duration::from_secs(5)).await;
    sim.clear_faults();
    Ok(())
}

/// Everything gone at once. The answers of this data layer age in a second, so that no run waits five minutes.
async fn ruin(
    sim: &Sim,
    redis: &mut Option<RedisServer>,
    store: &str,
    url: &str,
    model: &Arc<Model>,
    promises: &mut Promises,
) -> Result<(), Failure> {
    let market = data_layer(store, Some(url), Times::all(Duration::from_secs(1))).await?;
    market.clear(Confirm::YesClearEverything).await;
    look(&market, model, SYMBOL).await?;
    sim.fault(Fault { kind: FaultKind::Reset, path_prefix: String::new(), times: None });
    model.is_down.store(true, Ordering::Relaxed);
    let gone = match redis {
        Some(redis) => {
            redis.kill();
            "Redis is killed, the exchange breaks every connection, the model fails"
        }
        None => "the exchange breaks every connection, the model fails",
    };
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    println!("\n{gone}:");
    let picture = look(&market, model, SYMBOL).await?;
    show(&picture);
    let all_old = outcomes(&picture).iter().all(|outcome| matches!(outcome, Outcome::LastGood(_)));
    promises.hold("everything is the last good, and says so", all_old, "not everything is");
    let health = market.health().await;
    println!("health: {}", if health.is_well() { "well" } else { "degraded" });
    if let Some(Err(why)) = &health.store {
        println!("  store: {why}");
    }
    for trouble in &health.last_errors {
        println!("  {}: {}: {}", trouble.region, trouble.reason, trouble.message);
    }
    promises.hold("the health check names what fails", !health.last_errors.is_empty(), "it names nothing");
    Ok(())
}

fn outcomes(picture: &Picture) -> [Outcome; 5] {
    let Picture { bars, ticker, funding, mood, analysis } = picture;
    [bars.outcome, ticker.outcome, funding.outcome, mood.outcome, analysis.outcome]
}

/// Everything the bot knows, with where it came from and how old it is.
fn show(picture: &Picture) {
    let line = |kind: &str, what: String, outcome: Outcome, age: Duration| {
        println!("  {kind:<14}{what:<34}{:<26}{:>6.1} s old", outcome.to_string(), age.as_secs_f64());
    };
    let bars = &picture.bars;
    let last = bars.bars.last().map(|bar| bar.close.to_string()).unwrap_or_default();
    line("candles", format!("{}, last close {last}", bars.bars.len()), bars.outcome, bars.age);
    let ticker = &picture.ticker;
    line("ticker", ticker.value.last_price.to_string(), ticker.outcome, ticker.age);
    let funding = &picture.funding;
    let rate = funding.value.last_funding_rate.unwrap_or_default();
    line("funding", rate.to_string(), funding.outcome, funding.age);
    let mood = &picture.mood;
    let today = mood.value.first().map(|today| format!("{} {}", today.value, today.classification));
    line("fear & greed", today.unwrap_or_default(), mood.outcome, mood.age);
    let analysis = &picture.analysis;
    line("analysis", analysis.value.sentiment.clone(), analysis.outcome, analysis.age);
}

/// Waits until the store answers, at most some seconds.
async fn until_the_store_answers(market: &Market) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        let health = market.health().await;
        if !matches!(health.store, Some(Err(_))) && health.is_well() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

fn series(name: &str) -> Result<BarSeries, Failure> {
    Ok(BarSeries::new(name, "1h")?)
}

fn name(market: &Market) -> String {
    market.status().store.map_or_else(|| "memory".to_owned(), |store| store.name)
}

async fn start(sim: &Sim) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let sim = sim.clone();
    tokio::spawn(async move { sim.serve(listener, std::future::pending()).await });
    Ok(url)
}
