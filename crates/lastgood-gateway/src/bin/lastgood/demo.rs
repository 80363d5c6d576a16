//! `lastgood demo`: the whole thing in one process, offline.

mod faults;
mod keys;
mod open;
mod screen;
mod traffic;
mod view;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lastgood_gateway::{Demonstration as _, Gateway, listen};
use lastgood_settings::{FlagValue, Settings, Sources, parse_duration, resolve};
use lastgood_sim::{Sim, SimConfig};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::output::{Failure, can_colour, can_redraw, complain, is_unread, say, say_json};
use crate::serve::bind;
use crate::settings::scratch_directory;
use crate::shutdown;
use faults::Faults;
use keys::{Key, Keys};
use screen::Screen;
use traffic::Seen;
use view::Snapshot;

/// Where the gateway listens if that is free.
const PREFERRED: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8090);

/// How long the servers get to answer the requests under way at the end.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood demo
  lastgood demo --open
  lastgood demo --bots 100 --for 30s
  lastgood demo --for 10s --json

Needs nothing but this program: no network, no Redis, no files. At a terminal: f fail, b ban, s slow, h heal, \
o open the page, q quit.")]
pub(crate) struct Arguments {
    /// Where the gateway listens [default: 127.0.0.1:8090, or a free port if that is taken]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Stop after this time, for example 30s; without it on Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// How many bots poll, twice a second each
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=2000))]
    bots: u32,
    /// Open the page in a browser
    #[arg(long)]
    open: bool,
    /// Print nothing but a summary at the end, as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    lastgood_gateway::raise_open_files();
    let (stop, stopping) = watch::channel(());
    let simulator_listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "demo")?;
    let simulator = address_of(&simulator_listener)?;
    let sim = Sim::new(SimConfig::default());
    let faults = Arc::new(faults::Faults::of(sim.clone()));
    let sim_task = tokio::spawn({
        let stopped = stopped(stopping.clone());
        async move { sim.serve(simulator_listener, stopped).await }
    });

    let listener = listener(arguments.listen)?;
    let address = address_of(&listener)?;
    let gateway = Gateway::build(&settings(simulator)?)
        .await
        .map_err(|error| Failure::failed(format!("failed to build the gateway: {error}")))?;
    gateway.demonstrate(Arc::clone(&faults) as _);
    let gateway = Arc::new(gateway);
    let gateway_task = tokio::spawn({
        let (gateway, stopped) = (Arc::clone(&gateway), stopped(stopping));
        async move { gateway.serve(listener, stopped).await }
    });

    let seen = Arc::new(Seen::default());
    let bots = traffic::start(address, arguments.bots, &seen)
        .map_err(|error| Failure::failed(format!("failed to start the bots: {error}")))?;
    if !arguments.json {
        say(introduction(address, simulator, can_redraw()));
    }
    let mut snapshot = empty(&arguments, address, simulator);
    if arguments.open && !open::in_browser(&snapshot.gateway) {
        complain(&format!("no browser could be started; the page is at {}", snapshot.gateway));
    }
    watch_it(&arguments, &gateway, &faults, &seen, &mut snapshot).await;

    drop(bots);
    drop(stop);
    let _ = timeout(GRACE, async { tokio::join!(gateway_task, sim_task) }).await;
    let _ = std::fs::remove_dir_all(scratch_directory());
    match arguments.json {
        true => say_json(&snapshot),
        false => {
            say(format!("\n{}", snapshot.line().trim_start()));
            Ok(())
        }
    }
}

/// Draws the table once a second until the time is over or someone stops it.
async fn watch_it(arguments: &Arguments, gateway: &Gateway, faults: &Faults, seen: &Seen, snapshot: &mut Snapshot) {
    let mut screen = (!arguments.json && can_redraw()).then(|| Screen::new(can_colour()));
    let mut keys = screen.is_some().then(Keys::listen).flatten();
    let started = Instant::now();
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    tick.tick().await;
    let over = async {
        match arguments.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let end = async {
        tokio::select! {
            () = over => {}
            () = shutdown::requested() => {}
        }
    };
    tokio::pin!(end);
    let (mut in_force, mut since, mut at_last_tick) = (faults.now(), started, 0);
    loop {
        let (mut ended, mut is_tick) = (false, false);
        tokio::select! {
            () = &mut end => ended = true,
            _ = tick.tick() => is_tick = true,
            key = typed(keys.as_mut()) => match key {
                Key::Quit => ended = true,
                Key::Fault(name) => drop(faults.switch(name)),
                Key::Open => drop(open::in_browser(&snapshot.gateway)),
            },
        }
        snapshot.fill(started.elapsed(), &gateway.traffic(), seen);
        snapshot.paused_for = gateway.paused_for();
        if ended {
            snapshot.median = seen.median().await.or(snapshot.median);
            return;
        }
        if is_tick {
            snapshot.median = seen.median().await.or(snapshot.median);
            snapshot.per_second = snapshot.requests.saturating_sub(at_last_tick);
            at_last_tick = snapshot.requests;
        }
        if faults.now().name != in_force.name {
            (in_force, since) = (faults.now(), Instant::now());
        }
        match &mut screen {
            _ if arguments.json => {}
            Some(screen) => screen.draw(&snapshot.lines(in_force, since.elapsed())),
            None => say(snapshot.line()),
        }
        if is_unread() {
            return;
        }
    }
}

/// The next key; none ever without a terminal.
async fn typed(keys: Option<&mut Keys>) -> Key {
    match keys {
        Some(keys) => keys.next().await,
        None => std::future::pending().await,
    }
}

async fn stopped(mut stopping: watch::Receiver<()>) {
    // Nothing is ever sent: the channel closes when the demonstration ends.
    let _ = stopping.changed().await;
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::failed(format!("failed to learn the port: {error}")))
}

fn listener(wanted: Option<SocketAddr>) -> Result<TcpListener, Failure> {
    match wanted {
        Some(address) if !address.ip().is_loopback() => {
            Err(Failure::usage("flag --listen: the demonstration listens on loopback only\n    help: 127.0.0.1:8090"))
        }
        Some(address) => bind(address, "demo"),
        None => match listen(PREFERRED) {
            Ok(listener) => Ok(listener),
            Err(_) => bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "demo"),
        },
    }
}

/// Defaults, with every upstream replaced by the simulator; file and environment have no say.
fn settings(simulator: SocketAddr) -> Result<Settings, Failure> {
    let url = format!("http://{simulator}");
    let directory = scratch_directory().display().to_string();
    // The simulated exchange has its streams on the same port.
    let streams = url.replacen("http", "ws", 1);
    let own = [
        ("store", "memory:"),
        ("data_dir", directory.as_str()),
        ("binance.spot_url", url.as_str()),
        ("binance.futures_url", url.as_str()),
        ("binance.coin_url", url.as_str()),
        ("binance.ws_url", streams.as_str()),
        ("binance.futures_ws_url", streams.as_str()),
        ("fear_greed.url", url.as_str()),
    ];
    let flag = |(key, value): (&str, &str)| FlagValue {
        flag: "demo".to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let sources = Sources { file: None, env: &|_| None, env_names: Vec::new(), flags: own.map(flag).into() };
    Ok(resolve(&sources)?.settings)
}

fn introduction(gateway: SocketAddr, simulator: SocketAddr, has_keys: bool) -> String {
    // With the table below it, it fits a terminal of 24 rows and 80 columns: the page's address stays in sight.
    let faults = match has_keys {
        true => {
            "Let the exchange fail, by a key or on the page, and see the bots get the\nLAST-GOOD answer.\n".to_owned()
        }
        false => format!(
            "Let the exchange fail, its streams too, and see the bots get the LAST-GOOD\nanswer; ban, slow, hang and garbage \
             are other faults, none ends them:\n  curl -X POST http://{gateway}/page/faults/fail\n"
        ),
    };
    format!(
        "\
page       http://{gateway}/   see it, and break the exchange there
simulator  http://{simulator}

Try in another terminal; watch the X-Cache header:
  curl -i 'http://{gateway}/api/v3/ticker/price?symbol=BTCUSDT'
  curl -i 'http://{gateway}/api/v3/avgPrice?symbol=ETHUSDT'
  curl http://{gateway}/health

{faults}"
    )
}

fn empty(arguments: &Arguments, gateway: SocketAddr, simulator: SocketAddr) -> Snapshot {
    let [gateway, simulator] = [gateway, simulator].map(|address| format!("http://{address}"));
    Snapshot { gateway, simulator, bots: arguments.bots, ..Snapshot::default() }
}
