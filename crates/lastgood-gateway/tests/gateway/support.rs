//! A simulated exchange and a gateway before it, each on a free port.

use std::net::SocketAddr;
use std::time::Duration;

use lastgood_gateway::{Gateway, Traffic};
use lastgood_settings::{ConfigFile, FlagValue, Log, LogFormat, Problems, Settings, Sources, resolve};
use lastgood_sim::{Fault, Sim, SimConfig};
pub(crate) use lastgood_testing::eventually;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Flags with which no list of symbols is fresh.
pub(crate) const EVERY_READ_ASKS_THE_CHAIN: [(&str, &str); 6] = [
    ("regions.symbols.fresh_for", "0s"),
    ("regions.symbols.stale_while_revalidate", "0s"),
    ("regions.symbols.soft_timeout", "3s"),
    ("regions.exchange_info.fresh_for", "0s"),
    ("regions.exchange_info.stale_while_revalidate", "0s"),
    ("regions.exchange_info.soft_timeout", "3s"),
];

/// Half past the current hour: a time to stop the exchange's clock at, so that the hour's candle is still forming for
/// the gateway, whose clock goes on.
pub(crate) fn half_past() -> u64 {
    lastgood::Clock::system().now().as_millis() / 3_600_000 * 3_600_000 + 1_800_000
}

/// Everything written to it, shared: where a log goes that a test reads.
#[derive(Clone, Default)]
pub(crate) struct Sink(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Sink {
    /// The log from now on. For the whole process: nextest gives each test its own.
    pub(crate) fn of_the_log(level: &str) -> Sink {
        let sink = Sink::default();
        let out = sink.clone();
        let log = Log { level: level.to_owned(), format: LogFormat::Text, ..Settings::default().log };
        let subscriber = lastgood_gateway::logging::subscriber(&log, false, move || out.clone()).expect("a filter");
        tracing::subscriber::set_global_default(subscriber).expect("the only subscriber");
        sink
    }

    /// What was written so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A running exchange.
pub(crate) struct Exchange {
    pub(crate) sim: Sim,
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
}

impl Exchange {
    /// An exchange of a few hundred symbols whose clock stands still.
    pub(crate) async fn start() -> Exchange {
        Exchange::start_with(SimConfig { seed: 7, symbols: 300, ..SimConfig::default() }).await
    }

    pub(crate) async fn start_with(config: SimConfig) -> Exchange {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sim = Sim::new(config);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = sim.clone();
        tokio::spawn(async move { serving.serve(listener, async { drop(stopped.await) }).await });
        Exchange { sim, address, stop: Some(stop) }
    }

    /// The exchange is gone: its port refuses.
    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        let gone = async {
            while tokio::net::TcpStream::connect(self.address).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), gone).await.expect("the exchange stops");
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cacheable requests that reached it since the last reset.
    pub(crate) fn asked(&self) -> u64 {
        self.sim.counters().total
    }

    pub(crate) fn fault(&self, json: serde_json::Value) {
        let fault: Fault = serde_json::from_value(json).expect("a fault");
        self.sim.fault(fault);
    }
}

/// A running gateway.
pub(crate) struct Running {
    pub(crate) gateway: std::sync::Arc<Gateway>,
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
    _data: tempfile::TempDir,
}

/// What a store may take for a request in tests that do not say it themselves. Of the default, 25 ms, a Redis is short on
/// a machine that is busy with other tests, and the test would see what a slow store costs.
pub(crate) const STORE_BUDGET: &str = "200ms";

/// Settings of a gateway before `upstream`, with more flags such as `("regions.klines.fresh_for", "5m")`.
pub(crate) fn settings(upstream: &str, more: &[(&str, &str)]) -> Settings {
    let mut flags: Vec<(String, String)> = vec![
        ("binance.spot_url".to_owned(), upstream.to_owned()),
        ("binance.futures_url".to_owned(), upstream.to_owned()),
        ("binance.coin_url".to_owned(), upstream.to_owned()),
        ("store".to_owned(), "memory:".to_owned()),
    ];
    if more.iter().all(|(key, _)| *key != "store_budget") {
        flags.push(("store_budget".to_owned(), STORE_BUDGET.to_owned()));
    }
    flags.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let flag = |(key, value)| FlagValue { flag: "--set".to_owned(), key, value };
    let flags = flags.into_iter().map(flag).collect();
    let sources = Sources { file: None, env: &|_| None, env_names: Vec::new(), flags };
    resolve(&sources).unwrap_or_else(|problems| panic!("{problems}")).settings
}

/// Settings of a configuration file that is read where `env` are the variables.
pub(crate) fn settings_of(file: &str, env: &[(&str, &str)]) -> Result<Settings, Problems> {
    let file = Some(ConfigFile { path: "lastgood.toml".to_owned(), text: file.to_owned() });
    let look_up = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    resolve(&Sources { file, env: &look_up, env_names: Vec::new(), flags: Vec::new() })
        .map(|resolved| resolved.settings)
}

impl Running {
    pub(crate) async fn start(upstream: &str, more: &[(&str, &str)]) -> Running {
        let data = tempfile::tempdir().expect("a folder");
        let mut settings = settings(upstream, more);
        if more.iter().all(|(key, _)| *key != "data_dir") {
            settings.data_dir = data.path().to_owned();
        }
        Running::serve(&settings, data).await
    }

    /// A gateway of a configuration file, whose exchange is nowhere.
    pub(crate) async fn of_file(file: &str) -> Running {
        let data = tempfile::tempdir().expect("a folder");
        let mut settings = settings_of(file, &[]).unwrap_or_else(|problems| panic!("{problems}"));
        settings.data_dir = data.path().to_owned();
        settings.binance = self::settings("http://127.0.0.1:9", &[]).binance;
        settings.store = lastgood_settings::StoreSetting::Memory;
        Running::serve(&settings, data).await
    }

    /// The same with a data directory that outlives it, and a store there.
    pub(crate) async fn of_file_in(file: &str, data_dir: &std::path::Path) -> Running {
        let mut settings = settings_of(file, &[]).unwrap_or_else(|problems| panic!("{problems}"));
        settings.data_dir = data_dir.to_owned();
        settings.binance = self::settings("http://127.0.0.1:9", &[]).binance;
        Running::serve(&settings, tempfile::tempdir().expect("a folder")).await
    }

    /// A gateway of these settings; `data` lives as long as it does.
    pub(crate) async fn serve(settings: &Settings, data: tempfile::TempDir) -> Running {
        let gateway = Gateway::build(settings).await.expect("a gateway");
        let gateway = std::sync::Arc::new(gateway);
        let listener = lastgood_gateway::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = std::sync::Arc::clone(&gateway);
        let served = tokio::spawn(async move {
            serving.serve(listener, async { drop(stopped.await) }).await.expect("serves");
        });
        Running { gateway, address, stop: Some(stop), served, _data: data }
    }

    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.gateway.traffic()
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.served.await.expect("the gateway stops");
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: bytes::Bytes,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    pub(crate) fn cache(&self) -> &str {
        self.header("x-cache")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.text()))
    }
}

/// A client that neither packs nor follows. One a thread, as each test has its own: making one takes long.
pub(crate) fn client() -> reqwest::Client {
    thread_local!(static CLIENT: reqwest::Client = {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder().gzip(false).redirect(reqwest::redirect::Policy::none()).build().expect("a client")
    });
    CLIENT.with(Clone::clone)
}

pub(crate) async fn read(response: reqwest::Response) -> Got {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Got { status, headers, body: response.bytes().await.expect("a whole body") }
}

pub(crate) async fn get(url: impl AsRef<str>) -> Got {
    read(client().get(url.as_ref()).send().await.expect("an answer")).await
}
