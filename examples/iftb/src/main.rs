//! Shows the data layer at work: what a miss and a hit cost, and what is left when Redis and the exchange are gone.

#![expect(clippy::print_stdout, reason = "it shows something")]

use std::future::Future;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Parser;
use lastgood::testing::RedisServer;
use lastgood::{Error, Outcome};
use lastgood_example_iftb::{Input, Model, Times, analyse, data_layer, look};
use lastgood_market::market::Confirm;
use lastgood_market::{Market, RegionName, Venue};
use lastgood_sim::{Fault, FaultKind, Sim, SimConfig};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// A trading bot's data layer on the lastgood library.
#[derive(Parser)]
struct Args {
    /// redis://host:6379/5, embedded:FILE or memory:. By default a Redis of its own, or a file where there is none.
    #[arg(long)]
    store: Option<String>,
    /// An exchange, or a gateway. By default a simulated exchange of its own.
    #[arg(long)]
    url: Option<String>,
}

const SYMBOL: &str = "BTCUSDT";
type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let sim = Sim::new(SimConfig::default());
    let url = match args.url.clone() {
        Some(url) => url,
        None => start(&sim).await?,
    };
    let folder = tempfile::tempdir()?;
    let has_redis = Command::new("redis-server").arg("--version").output().is_ok();
    let mut redis = (args.store.is_none() && has_redis).then(RedisServer::start);
    let store = match (&args.store, &redis) {
        (Some(store), _) => store.clone(),
        // A database of the bot's own: others of the same Redis are untouched.
        (None, Some(redis)) => redis.url().replace("/0", "/5"),
        (None, None) => format!("embedded:{}", folder.path().join("iftb.redb").display()),
    };
    let model = Arc::new(Model::default());

    let market = data_layer(&store, Some(&url), Times::BOT).await?;
    println!("store {}, exchange {url}\n", name(&market));
    costs(&market, &model).await?;
    many_callers(&market, &model).await?;
    market.flush(Duration::from_secs(5)).await;

    if args.url.is_none() {
        sim.fault(Fault { kind: FaultKind::Status { status: 503 }, path_prefix: String::new(), times: None });
        println!("\nThe exchange fails, and the bot is restarted:");
        market.close(Duration::from_secs(5)).await;
        drop(market);
        let market = data_layer(&store, Some(&url), Times::BOT).await?;
        show(&market, &model).await?;
        market.close(Duration::from_secs(5)).await;
        drop(market);
        sim.clear_faults();
        ruin(&sim, &mut redis, &store, &url, &model).await?;
    }
    Ok(())
}

/// Everything gone at once. The answers of this data layer age in a second, so that nobody waits five minutes.
async fn ruin(
    sim: &Sim,
    redis: &mut Option<RedisServer>,
    store: &str,
    url: &str,
    model: &Arc<Model>,
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
        None => "The exchange breaks every connection, the model fails",
    };
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    println!("\n{gone}:");
    show(&market, model).await?;
    let health = market.health().await;
    println!("\nhealth: {}", if health.is_well() { "well" } else { "degraded" });
    if let Some(Err(why)) = &health.store {
        println!("  store: {why}");
    }
    for trouble in &health.last_errors {
        println!("  {}: {}: {}", trouble.region, trouble.reason, trouble.message);
    }
    if let Some(redis) = redis {
        redis.restart();
    }
    sim.clear_faults();
    model.is_down.store(false, Ordering::Relaxed);
    let cleared = market.clear(Confirm::YesClearEverything).await;
    println!(
        "\ncleared its own namespace: {} entries of memory, store done: {}",
        cleared.from_memory, cleared.store_done
    );
    Ok(())
}

/// What a miss and a hit of each kind take, and how often the source is asked.
async fn costs(market: &Market, model: &Arc<Model>) -> Result<(), Failure> {
    println!("{:<22}{:>10}{:>7}{:>12}{:>7}   outcome", "", "miss", "calls", "hit", "calls");
    let bars = || async { Ok(market.get_bars(Venue::Spot, SYMBOL, "1h", 100).await?.outcome) };
    row("candles 1h x 100", market, RegionName::Klines, bars).await?;
    let ticker = || async { Ok(market.ticker(Venue::Spot, SYMBOL).await?.outcome) };
    row("ticker, 10 s", market, RegionName::Ticker24hr, ticker).await?;
    let funding = || async { Ok(market.funding(Venue::Futures, SYMBOL).await?.outcome) };
    row("funding, 60 s", market, RegionName::PremiumIndex, funding).await?;
    let mood = || async { Ok(market.fear_greed(7).await?.outcome) };
    row("fear & greed, 300 s", market, RegionName::FearGreed, mood).await?;
    let analysis = || async { Ok(look(market, model, SYMBOL).await?.analysis.outcome) };
    row("analysis, 300 s", market, RegionName::Llm, analysis).await
}

async fn row<F>(kind: &str, market: &Market, region: RegionName, read: impl Fn() -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<Outcome, Error>>,
{
    let calls = || market.stats(region).loads;
    let (before, began) = (calls(), Instant::now());
    read().await?;
    let (miss, missed) = (began.elapsed(), calls() - before);
    let (before, began) = (calls(), Instant::now());
    let outcome = read().await?;
    let (hit, hits) = (began.elapsed(), calls() - before);
    println!(
        "{kind:<22}{:>7.1} ms{missed:>7}{:>9.0} us{hits:>7}   {outcome}",
        miss.as_secs_f64() * 1e3,
        hit.as_secs_f64() * 1e6
    );
    Ok(())
}

/// Fifty callers of one analysis: the model is asked once.
async fn many_callers(market: &Market, model: &Arc<Model>) -> Result<(), Failure> {
    let before = model.calls.load(Ordering::Relaxed);
    let input = Input { symbol: "ETHUSDT".to_owned(), closes: Vec::new(), funding_rate: None, fear_greed: None };
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (market, model, input) = (market.clone(), Arc::clone(model), input.clone());
            tokio::spawn(async move { analyse(&market, &model, input).await })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    println!("\n50 callers of one analysis asked the model {} time", model.calls.load(Ordering::Relaxed) - before);
    Ok(())
}

/// Everything the bot knows, with where it came from and how old it is.
async fn show(market: &Market, model: &Arc<Model>) -> Result<(), Failure> {
    let picture = look(market, model, SYMBOL).await?;
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
    Ok(())
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
