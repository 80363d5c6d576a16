//! `lastgood serve`: the gateway.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use lastgood_gateway::logging::Level;
use lastgood_gateway::{BuildError, Gateway, listen, logging};
use lastgood_settings::{BaseUrl, Log, LogFormat, Problems, Resolved, Settings};
use tokio::net::TcpListener;

use crate::output::Failure;
use crate::reload::{self, Reloads};
use crate::settings::SettingsArguments;
use crate::shutdown;
use crate::words::counted;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood serve
  lastgood serve --listen 127.0.0.1:9000 --preset dashboard
  lastgood serve --store redis://localhost:6379 --set memory.limit=512MiB
  LASTGOOD_ADMIN_TOKEN=$(openssl rand -hex 32) lastgood serve --listen 0.0.0.0:8090

Then point an exchange client at it, or try:
  curl -i 'http://127.0.0.1:8090/api/v3/ticker/price?symbol=BTCUSDT'

It stops on SIGINT and SIGTERM once the requests under way are answered. SIGHUP reloads what of the configuration can change while \
it runs, the certificate and the credentials; the log says what needs a restart.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
}

pub(crate) async fn run(arguments: Arguments, file: Option<PathBuf>) -> Result<(), Failure> {
    let Arguments { settings: arguments } = arguments;
    let resolved = match arguments.resolve(file.as_deref())? {
        Ok(resolved) => resolved,
        Err(problems) if arguments.wants_json_log(file.as_deref()) => return Err(refused_as_json(problems)),
        Err(problems) => return Err(problems.into()),
    };
    let Resolved { settings, warnings, file: read, .. } = resolved;
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let is_json = settings.log.format == LogFormat::Json;
    let level = logging::init(&settings.log, colours)
        .map_err(|error| Failure::failed(format!("failed to start logging: {error}")))?;
    // Not before there is a log: who collects it as JSON gets every line so.
    for warning in &warnings {
        tracing::warn!("{}", warning.on_one_line());
    }
    let ended = serve(arguments, file, settings, read, level).await;
    if let Err(why) = &ended
        && is_json
    {
        tracing::error!(%why, "the gateway ended");
        return Err(Failure::silent());
    }
    ended
}

/// Logs the problems with the configuration as JSON; the failure keeps the exit code and says nothing more.
fn refused_as_json(problems: Problems) -> Failure {
    let log = Log { format: LogFormat::Json, ..Settings::default().log };
    if logging::init(&log, false).is_err() {
        return problems.into();
    }
    for problem in &problems.0 {
        tracing::error!(problem = problem.on_one_line(), "wrong in the configuration");
    }
    Failure::from(problems).silenced()
}

async fn serve(
    arguments: SettingsArguments,
    file: Option<PathBuf>,
    settings: Settings,
    read: Option<String>,
    level: Level,
) -> Result<(), Failure> {
    lastgood_gateway::raise_open_files();
    let listener = bind(settings.listen, "serve")?;
    let gateway = Gateway::build(&settings).await.map_err(|error| Failure::failed(cannot_build(&error)))?;
    let address = listener.local_addr().unwrap_or(settings.listen);
    let socket = settings.unix_socket.clone();
    let listening = gateway.listen(listener).map_err(|error| Failure::failed(no_socket(socket.as_deref(), &error)))?;
    let (shutdown, reload) = (shutdown::requested(), reload::requested());
    announce(&settings, address, read.as_deref());
    let reloads = Reloads::new(arguments, file, read, settings, level);
    let served = tokio::select! {
        served = gateway.serve_on(listening, Box::pin(shutdown)) => served,
        never = reloads.keep(&gateway, reload) => match never {},
    };
    served.map_err(|error| Failure::failed(format!("failed to serve: {error}")))?;
    let lost = gateway.lost_changes();
    if lost > 0 {
        let changes = counted(lost as u64, "change");
        return Err(Failure::failed(format!("{changes} could not be written to the store and cannot be brought back")));
    }
    tracing::info!("stopped");
    Ok(())
}

fn announce(settings: &Settings, address: SocketAddr, file: Option<&str>) {
    let join = |hosts: &[BaseUrl]| match hosts {
        [] => "none".to_owned(),
        hosts => hosts.iter().map(BaseUrl::as_str).collect::<Vec<_>>().join(","),
    };
    let scheme = if settings.tls.certificate.is_some() { "https" } else { "http" };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        file = file.unwrap_or("none"),
        listen = %format!("{scheme}://{address}"),
        unix_socket = settings.unix_socket.as_deref().map(|path| path.display().to_string()),
        store = %settings.store,
        preset = settings.preset.as_str(),
        enabled = settings.enabled,
        spot = join(&settings.binance.spot_url),
        futures = join(&settings.binance.futures_url),
        coin = join(&settings.binance.coin_url),
        "lastgood is listening"
    );
}

/// Why there is no gateway, and how to fix it where that is known.
fn cannot_build(error: &BuildError) -> String {
    let hint = error.hint().map(|hint| format!("\n    help: {hint}")).unwrap_or_default();
    format!("failed to build the gateway: {error}{hint}")
}

/// Why the unix socket cannot be listened on, and how to fix it.
fn no_socket(path: Option<&Path>, error: &io::Error) -> String {
    let folder = path.and_then(Path::parent).map(|folder| folder.display().to_string()).unwrap_or_default();
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "stop the program that listens there, or set unix_socket to another path".to_owned()
        }
        io::ErrorKind::NotFound => {
            format!("make the folder {folder}, or set unix_socket to a path in one that is there")
        }
        io::ErrorKind::PermissionDenied => {
            format!("let the user of lastgood write to {folder}, or set unix_socket to another path")
        }
        _ => "set unix_socket to another path".to_owned(),
    };
    format!("failed to listen: {error}\n    help: {hint}")
}

/// Binds an address, or says who is in the way and what to do.
pub(crate) fn bind(address: SocketAddr, verb: &str) -> Result<TcpListener, Failure> {
    listen(address).map_err(|error| Failure::failed(cannot_listen(address, verb, &error)))
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
