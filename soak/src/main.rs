//! `make soak`: two gateways on one Redis before one source, clients of every kind, a fault every few seconds, and a ledger
//! that judges every answer. It fails if any promise is broken.

mod clients;
mod faultlog;
mod faults;
mod judge;
mod ledger;
mod measure;
mod places;
mod scene;
mod source;
mod table;
mod tally;
mod time;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::clients::Clients;
use crate::faultlog::FaultLog;
use crate::faults::Group;
use crate::judge::Bounds;
use crate::ledger::Ledger;
use crate::measure::Taken;
use crate::places::Kind;
use crate::scene::{Scene, Settings};
use crate::table::{Loads, Outcome};
use crate::tally::Violation;
use crate::time::{Chance, Clock};

const READERS: u64 = 24;
const WRITERS: u64 = 3;
const INVALIDATORS: u64 = 2;
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// How long after the last fault everything has to be well again.
const WELL_WITHIN: Duration = Duration::from_secs(30);
/// More loads than this of a key in a window, on average, are not one a gateway.
const MOST_LOADS: f64 = 2.2;

/// Runs two gateways on one Redis, breaks something every few seconds, and judges every answer.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  SOAK=20m make soak
  SOAK=60s SEED=17 make soak
  PROFILE=dev SOAK=2m SOAK_FLAGS='--faults network,upstream' make soak

It needs redis-server. Progress goes to standard error, the table to standard output, the logs of
the gateways to a folder that the first line names.
Exit codes: 0 nothing is wrong, 1 promises were broken or a part did not start, 2 wrong usage.")]
struct Arguments {
    /// How long to run
    #[arg(long = "for", env = "SOAK", default_value = "20m", value_parser = time::parse)]
    duration: Duration,
    /// Makes the same choices again, though not at the same moments
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    /// The parts to break: groups with commas between them, or none
    #[arg(long, value_delimiter = ',', default_value = "redis,network,gateway,upstream")]
    faults: Vec<String>,
    /// How long after an acknowledgement another gateway may answer with what was there before
    #[arg(long, default_value = "2s", value_parser = time::parse)]
    bound: Duration,
    /// The same for answers labelled unverified
    #[arg(long, default_value = "5s", value_parser = time::parse)]
    unverified_bound: Duration,
    /// Reads a second
    #[arg(long, default_value_t = 300)]
    rate: u64,
    /// As store_budget of the gateways: what a busy machine takes longer for is a fault of the store
    #[arg(long, default_value = "25ms", value_parser = time::parse)]
    store_budget: Duration,
    /// What the gateways log, as in log.level
    #[arg(long, default_value = "info")]
    log: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The program `lastgood`; by default the one next to this one
    #[arg(long)]
    program: Option<PathBuf>,
}

impl Arguments {
    fn groups(&self) -> Result<Vec<Group>, String> {
        let named = self.faults.iter().filter(|name| name.as_str() != "none" && !name.is_empty());
        named.map(|name| <Group as clap::ValueEnum>::from_str(name, true)).collect()
    }

    fn program(&self) -> Result<PathBuf, String> {
        let next = || std::env::current_exe().ok().map(|this| this.with_file_name("lastgood"));
        let program = self.program.clone().or_else(next).unwrap_or_default();
        if program.is_file() {
            return Ok(program);
        }
        let hint = "build it with cargo build -p lastgood-gateway, or name it with --program";
        Err(format!("there is no program {}: {hint}", program.display()))
    }
}

/// Prints a line for people next to the output.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let prepared = arguments.groups().and_then(|groups| Ok((groups, arguments.program()?)));
    let (groups, program) = match prepared {
        Ok(prepared) => prepared,
        Err(why) => {
            complain(&format!("error: {why}"));
            return ExitCode::from(2);
        }
    };
    // Nothing is asked over TLS, but the client wants a provider.
    drop(rustls::crypto::ring::default_provider().install_default());
    match soak(&arguments, groups, &program).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            complain(&format!("error: {why}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs it and prints what came of it; says how many violations there were.
async fn soak(arguments: &Arguments, groups: Vec<Group>, program: &Path) -> Result<u64, Box<dyn std::error::Error>> {
    let clock = Clock::start();
    let seed = arguments.seed.unwrap_or_else(|| clock.now() % 1_000_000);
    let logs = program.with_file_name("soak-logs");
    let millis = |duration: Duration| duration.as_millis() as u64;
    let store_budget = millis(arguments.store_budget);
    let settings = Settings { program, logs: &logs, level: &arguments.log, store_budget };
    let bounds = Bounds {
        heard: millis(arguments.bound),
        unverified: millis(arguments.unverified_bound),
        // Each gateway knows the store's clock to half of a round trip, which takes no longer than the budget, and a millisecond.
        apart: millis(arguments.store_budget) + 2,
    };
    let ledger = Ledger::new(places::all(), FaultLog::default(), clock, bounds);
    complain(&format!("seed {seed}, for {} s; logs in {}", arguments.duration.as_secs(), logs.display()));
    let scene = Arc::new(Scene::start(settings, clock).await?);
    let (over, settled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let urls = [scene.gateways[0].url.clone(), scene.gateways[1].url.clone()];
    let clients = Clients::new(urls, ledger.clone(), Arc::clone(&over))?;
    measure::wait_until_well(&scene).await?;
    let mut watching = JoinSet::new();
    let redis = scene.redis_port();
    watching.spawn(measure::watch_redis(redis, arguments.store_budget, ledger.clone(), Arc::clone(&settled)));
    watching.spawn(measure::watch(Arc::clone(&scene), ledger.clone(), Arc::clone(&settled)));
    let mut tasks = start_clients(&clients, seed, arguments.rate);
    tasks.spawn(faults::play(Arc::clone(&scene), ledger.clone(), groups, seed, Arc::clone(&over)));

    let began = clock.elapsed();
    let taken = watch_progress(arguments.duration, &ledger, &scene).await;
    over.store(true, Ordering::Relaxed);
    let took = clock.elapsed() - began;
    while tasks.join_next().await.is_some() {}
    settle(&ledger, &clients, &scene).await?;
    settled.store(true, Ordering::Relaxed);
    while watching.join_next().await.is_some() {}

    let loads = count_loads(&ledger, &scene, took);
    let taken = [taken[0], taken[1], Taken::by(&scene.gateways[0])];
    judge_totals(&ledger, loads, &taken);
    let (faults, paused) = (ledger.faults.count(), Duration::from_millis(ledger.faults.paused_for()));
    let outcome = Outcome { seed, took, faults, paused, tally: ledger.tally(), loads, taken };
    let text = match arguments.json {
        true => outcome.json(&ledger).to_string(),
        false => outcome.report(&ledger),
    };
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(outcome.violations())
}

fn start_clients(clients: &Clients, seed: u64, rate: u64) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let pause = Duration::from_micros(READERS * 1_000_000 / rate.max(1));
    for number in 0..READERS {
        tasks.spawn(clients.clone().read(Chance::of(seed, 100 + number), pause));
    }
    for number in 0..WRITERS {
        tasks.spawn(clients.clone().write(Chance::of(seed, 200 + number), Duration::from_millis(150)));
    }
    for number in 0..INVALIDATORS {
        tasks.spawn(clients.clone().invalidate(Chance::of(seed, 300 + number), Duration::from_millis(400)));
    }
    tasks
}

/// Says every some seconds how far it is; measures gateway a near the start and in the middle.
async fn watch_progress(duration: Duration, ledger: &Ledger, scene: &Scene) -> [Taken; 2] {
    let began = ledger.clock.elapsed();
    let (mut first, mut middle, mut shown) = (None, None, Duration::ZERO);
    loop {
        sleep(Duration::from_millis(250)).await;
        let elapsed = ledger.clock.elapsed() - began;
        if elapsed >= duration.mul_f64(0.1).min(Duration::from_secs(60)) {
            first.get_or_insert_with(|| Taken::by(&scene.gateways[0]));
        }
        if elapsed >= duration / 2 {
            middle.get_or_insert_with(|| Taken::by(&scene.gateways[0]));
        }
        if elapsed >= duration {
            return [first.unwrap_or_default(), middle.unwrap_or_default()];
        }
        if elapsed >= shown + PROGRESS_EVERY {
            shown = elapsed;
            let tally = ledger.tally();
            let (now, violations) = (ledger.clock.now(), tally.violations.values().sum::<u64>());
            complain(&format!(
                "{:>5} s of {}: {} reads, {} changes, {} waiting, {} faults, {violations} violations; {}",
                elapsed.as_secs(),
                duration.as_secs(),
                tally.reads,
                tally.changes,
                ledger.waiting(),
                ledger.faults.count(),
                ledger.faults.between(now, now),
            ));
        }
    }
}

/// After the last fault all that waits is written; then both gateways are started again, and what was put is still there.
async fn settle(ledger: &Ledger, clients: &Clients, scene: &Scene) -> std::io::Result<()> {
    complain("the faults are over: everything has to be well again");
    let began = ledger.clock.elapsed();
    while ledger.waiting() > 0 && ledger.clock.elapsed() - began < WELL_WITHIN {
        sleep(Duration::from_millis(100)).await;
    }
    if ledger.waiting() > 0 {
        let what = format!("{} changes wait {} s after the last fault", ledger.waiting(), WELL_WITHIN.as_secs());
        ledger.note(Violation::NeverWritten, what);
    }
    // What a fault explains is explained no longer.
    let quiet = Duration::from_secs(if ledger.faults.count() > 0 { 11 } else { 2 });
    sleep(quiet).await;
    read_everything(ledger, clients).await;
    scene.gateways[1].kill().await;
    ledger.killed(1);
    scene.gateways[1].start().await?;
    read_everything(ledger, clients).await;
    Ok(())
}

async fn read_everything(ledger: &Ledger, clients: &Clients) {
    for place in 0..ledger.places.len() {
        for gateway in 0..2 {
            clients.read_one(place, gateway).await;
        }
    }
}

fn count_loads(ledger: &Ledger, scene: &Scene, took: Duration) -> Loads {
    let asked = scene.source.asked();
    let steady = ledger.places.iter().filter(|place| place.kind == Kind::Steady);
    let times = steady.map(|place| asked.get(&format!("/steady/{}", place.symbol)).cloned().unwrap_or_default());
    Loads::of(times, took, Kind::Steady.freshness().0)
}

fn judge_totals(ledger: &Ledger, loads: Loads, taken: &[Taken; 3]) {
    if loads.a_window > MOST_LOADS {
        let what = format!("{:.2} loads of a key in a window, on average, at two gateways", loads.a_window);
        ledger.note(Violation::Loads, what);
    }
    if taken[2].has_grown_from(taken[0]) {
        ledger.note(
            Violation::Growth,
            format!("gateway a took {:?} near the start and {:?} at the end", taken[0], taken[2]),
        );
    }
}
