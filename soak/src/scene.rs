//! The parts: Redis with persistence, a proxy before it for each gateway, the source behind a proxy, two gateways.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lastgood_testing::{ChaosProxy, Port, RedisServer};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::places::Kind;
use crate::source::FaultySource;
use crate::time::Clock;

/// How long a gateway may take to answer after its start.
const START_WITHIN: Duration = Duration::from_secs(30);

/// What the gateways are started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) program: &'a Path,
    /// The folder for their logs.
    pub(crate) logs: &'a Path,
    /// As `log.level`.
    pub(crate) level: &'a str,
    /// As `store_budget`, in milliseconds.
    pub(crate) store_budget: u64,
}

/// Everything that runs.
pub(crate) struct Scene {
    pub(crate) redis: Arc<Mutex<RedisServer>>,
    /// Between each gateway and Redis.
    pub(crate) ways: [ChaosProxy; 2],
    /// Between the gateways and the source.
    pub(crate) way_to_source: ChaosProxy,
    pub(crate) source: FaultySource,
    pub(crate) gateways: [Gateway; 2],
    /// Removed with the scene.
    _directory: TempDir,
}

/// A `lastgood serve` that can be stopped, killed and started again.
pub(crate) struct Gateway {
    program: PathBuf,
    configuration: PathBuf,
    log: PathBuf,
    pub(crate) url: String,
    port: Port,
    process: Mutex<Option<Child>>,
}

impl Scene {
    /// Starts them.
    pub(crate) async fn start(settings: Settings<'_>, clock: Clock) -> io::Result<Scene> {
        let (directory, logs) = (tempfile::tempdir()?, settings.logs);
        std::fs::create_dir_all(logs)?;
        let redis = tokio::task::spawn_blocking(|| {
            // What Redis has confirmed is on its disk.
            RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
        });
        let redis = redis.await.map_err(io::Error::other)?;
        let upstream = format!("127.0.0.1:{}", redis.port());
        let ways = [ChaosProxy::start(upstream.clone()).await, ChaosProxy::start(upstream).await];
        let (source, address) = FaultySource::start(clock).await?;
        let way_to_source = ChaosProxy::start(address.to_string()).await;
        let gateway = |name: &str, way: &ChaosProxy| -> io::Result<Gateway> {
            let port = Port::take();
            let configuration = directory.path().join(format!("{name}.toml"));
            let data = directory.path().join(name);
            let text = configured(port.number(), way.port(), way_to_source.address(), &data, settings);
            std::fs::write(&configuration, text)?;
            let log = logs.join(format!("gateway-{name}.log"));
            File::create(&log)?;
            let (program, url) = (settings.program.to_owned(), format!("http://127.0.0.1:{}", port.number()));
            Ok(Gateway { program, configuration, log, url, port, process: Mutex::default() })
        };
        let gateways = [gateway("a", &ways[0])?, gateway("b", &ways[1])?];
        for gateway in &gateways {
            gateway.start().await?;
        }
        let redis = Arc::new(Mutex::new(redis));
        Ok(Scene { redis, ways, way_to_source, source, gateways, _directory: directory })
    }

    pub(crate) fn redis_port(&self) -> u16 {
        self.redis.lock().unwrap_or_else(PoisonError::into_inner).port()
    }

    /// Does something to Redis that may block for a while.
    pub(crate) async fn to_redis(&self, what: impl FnOnce(&mut RedisServer) + Send + 'static) {
        let redis = Arc::clone(&self.redis);
        let work = move || what(&mut redis.lock().unwrap_or_else(PoisonError::into_inner));
        drop(tokio::task::spawn_blocking(work).await);
    }
}

fn configured(port: u16, redis: u16, source: SocketAddr, data: &Path, settings: Settings<'_>) -> String {
    let Settings { level, store_budget, .. } = settings;
    let region = |kind: Kind| {
        let (fresh, stale) = kind.freshness();
        format!("[regions.{}]\nfresh_for = \"{fresh}ms\"\nstale_while_revalidate = \"{stale}ms\"\n", kind.region())
    };
    let regions = [Kind::Price, Kind::Quote, Kind::Candles, Kind::Steady].map(region).concat();
    let route = |region: &str, path: &str| {
        format!(
            r#"
[[routes]]
path = "/v1/{region}/{{symbol}}"
region = "{region}"
tags = ["all-{region}", "symbol:{{symbol}}"]
[routes.parameters.symbol]
type = "text"
[[routes.sources]]
api = "source"
path = "/{path}/{{symbol}}"
expect = {{ is = "object", fields = ["stamp"] }}
"#
        )
    };
    format!(
        r#"listen = "127.0.0.1:{port}"
store = "redis://127.0.0.1:{redis}/0"
store_budget = "{store_budget}ms"
data_dir = {data:?}

[log]
level = {level:?}

[binance]
spot_url = "http://{source}"
futures_url = "http://{source}"
coin_url = "http://{source}"

[apis.source]
url = "http://{source}"

{regions}{}{}"#,
        route("quotes", "quote"),
        route("steady", "steady"),
    )
}

impl Gateway {
    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it and waits until it answers.
    pub(crate) async fn start(&self) -> io::Result<()> {
        let log = File::options().append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(&self.configuration);
        // Nothing of the caller's environment configures it.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        *self.process() = Some(command.spawn()?);
        let waiting = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", self.port.number())).await.is_err() {
                let exited = self.process().as_mut().and_then(|process| process.try_wait().ok().flatten());
                if let Some(status) = exited {
                    let why = format!("lastgood serve ended ({status}); see {}", self.log.display());
                    return Err(io::Error::other(why));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        let late = || io::Error::other(format!("lastgood serve does not answer; see {}", self.log.display()));
        tokio::time::timeout(START_WITHIN, waiting).await.map_err(|_| late())?
    }

    /// Kills it with SIGKILL and waits for its end.
    pub(crate) async fn kill(&self) {
        let process = self.process().take();
        if let Some(mut process) = process {
            drop(process.kill().await);
        }
    }

    /// Stops it with SIGSTOP, or lets it go on.
    pub(crate) fn stop(&self, is_to_stop: bool) {
        if let Some(pid) = self.pid().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)) {
            // A process that is gone needs no signal.
            let _ = kill_process(pid, if is_to_stop { Signal::STOP } else { Signal::CONT });
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.process().as_ref().and_then(Child::id)
    }
}
