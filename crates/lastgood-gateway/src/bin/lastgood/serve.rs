//! `lastgood serve`: the gateway.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;

use lastgood_gateway::config::{BaseUrl, Settings};
use lastgood_gateway::{Gateway, logging};
use tokio::net::TcpListener;

use crate::output::Failure;
use crate::settings::SettingsArguments;
use crate::shutdown;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood serve
  lastgood serve --listen 127.0.0.1:9000 --preset dashboard
  lastgood serve --store redis://localhost:6379 --set memory.limit=512MiB
  LASTGOOD_ADMIN_TOKEN=$(openssl rand -hex 32) lastgood serve --listen 0.0.0.0:8090

Then point an exchange client at it, or try:
  curl -i 'http://127.0.0.1:8090/api/v3/ticker/price?symbol=BTCUSDT'

It stops on SIGINT and SIGTERM once the requests under way are answered.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
}

pub(crate) async fn run(arguments: Arguments, file: Option<PathBuf>) -> Result<(), Failure> {
    let resolved = arguments.settings.load(file.as_deref())?;
    let settings = resolved.settings;
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    logging::init(&settings.log, colours)
        .map_err(|error| Failure::failed(format!("failed to start logging: {error}")))?;
    lastgood_gateway::raise_open_files();
    let listener = bind(settings.listen, "serve").await?;
    let gateway = Gateway::build(&settings)
        .await
        .map_err(|error| Failure::failed(format!("failed to build the gateway: {error}")))?;
    let shutdown = shutdown::requested();
    announce(&settings, listener.local_addr().unwrap_or(settings.listen));
    gateway.serve(listener, shutdown).await.map_err(|error| Failure::failed(format!("failed to serve: {error}")))?;
    tracing::info!("stopped");
    Ok(())
}

fn announce(settings: &Settings, address: SocketAddr) {
    let join = |bases: &[BaseUrl]| bases.iter().map(BaseUrl::as_str).collect::<Vec<_>>().join(",");
    tracing::info!(
        listen = %format!("http://{address}"),
        store = %settings.store,
        preset = settings.preset.as_str(),
        enabled = settings.enabled,
        spot = join(&settings.binance.spot_url),
        futures = join(&settings.binance.futures_url),
        coin = join(&settings.binance.coin_url),
        "lastgood is listening"
    );
}

/// Binds an address, or says who is in the way and what to do.
pub(crate) async fn bind(address: SocketAddr, verb: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| Failure::failed(cannot_listen(address, verb, &error)))
}

/// Why an address cannot be listened on, and how to fix it.
pub(crate) fn cannot_listen(address: SocketAddr, verb: &str, error: &io::Error) -> String {
    let other = SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(0));
    let (what, hint) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            "another program listens there already".to_owned(),
            format!("stop it, or choose another port: lastgood {verb} --listen {other}"),
        ),
        io::ErrorKind::AddrNotAvailable => (
            "this machine does not have that address".to_owned(),
            format!("choose one it has: lastgood {verb} --listen 127.0.0.1:{}", address.port()),
        ),
        io::ErrorKind::PermissionDenied => (
            "ports below 1024 need a privilege".to_owned(),
            format!("choose a higher port: lastgood {verb} --listen {}", SocketAddr::new(address.ip(), 8090)),
        ),
        _ => (error.to_string(), "choose another address with --listen".to_owned()),
    };
    format!("failed to listen on {address}: {what}\n    help: {hint}")
}
