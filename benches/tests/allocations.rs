//! What a hit takes from the allocator. Times differ from machine to machine and from minute to minute; these counts do not.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use lastgood::{Cache, Loaded, Policy};
use lastgood_gateway::Gateway;
use lastgood_settings::{ConfigFile, FlagValue, Sources, resolve};
use lastgood_sim::{Sim, SimConfig};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// One test counts at a time.
static COUNTING: Mutex<()> = Mutex::new(());

/// So often a hit is repeated, so that what tasks in the background take does not show.
const BATCHES: usize = 10;
const HITS: usize = 100;

fn taken() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

#[test]
fn a_hit_in_process_allocates_nothing() {
    let _counting = COUNTING.lock();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let cache = Cache::builder().build().expect("a cache");
        let region = cache.region("prices", Policy::fresh_for(Duration::from_secs(3_600))).expect("a region");
        region.put("BTCUSDT", Loaded::from(Bytes::from_static(b"61000"))).await;
        let mut fewest = usize::MAX;
        for _ in 0..BATCHES {
            let before = taken();
            for _ in 0..HITS {
                let answer = region.get_or_load("BTCUSDT", || async { Ok(Loaded::from(Bytes::new())) }).await;
                assert_eq!(&answer.expect("a hit").body()[..], b"61000");
            }
            fewest = fewest.min(taken() - before);
        }
        assert_eq!(fewest, 0, "in {HITS} hits");
    });
}

const VALUE: &str = "/v1/kv/kv/settings";
const ROUTE: &str = "/v1/quotes/BTCUSDT?days=30";

/// The declared route, over the exchange as over any API.
fn routes(upstream: &str) -> String {
    format!(
        r#"
        apis.quotes.url = "{upstream}"
        regions.quotes.fresh_for = "1h"
        [[routes]]
        path = "/v1/quotes/{{symbol}}"
        region = "quotes"
        parameters.symbol = {{ type = "text", pattern = "[A-Z]{{2,12}}" }}
        parameters.days = {{ type = "integer", default = 30 }}
        sources = [{{ api = "quotes", path = "/api/v3/depth", query = {{ symbol = "{{symbol}}", limit = "10" }} }}]
        "#
    )
}

/// A gateway in front of a simulated exchange whose clock stands still, and a connection to it.
async fn connected() -> TcpStream {
    let listen = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (exchange, front) = (listen().await, listen().await);
    let (upstream, address) = (exchange.local_addr().expect("one"), front.local_addr().expect("one"));
    let sim = Sim::new(SimConfig { seed: 7, symbols: 300, ..SimConfig::default() });
    tokio::spawn(async move { sim.serve(exchange, std::future::pending()).await });
    let data = std::env::temp_dir().join(format!("lastgood-allocations-{}", address.port()));
    let upstream = format!("http://{upstream}");
    let flags = [
        ("binance.spot_url", upstream.as_str()),
        ("binance.futures_url", &upstream),
        ("binance.coin_url", &upstream),
        ("store", "memory:"),
        ("data_dir", &data.to_string_lossy()),
        ("regions.ticker_price.fresh_for", "1h"),
        ("regions.klines.fresh_for", "1h"),
        ("regions.exchange_info.fresh_for", "1h"),
        ("regions.kv.fresh_for", "1h"),
    ]
    .map(|(key, value)| FlagValue { flag: "--set".to_owned(), key: key.to_owned(), value: value.to_owned() });
    let file = Some(ConfigFile { path: "lastgood.toml".to_owned(), text: routes(&upstream) });
    let sources = Sources { file, env: &|_| None, env_names: Vec::new(), flags: flags.into() };
    let settings = resolve(&sources).unwrap_or_else(|problems| panic!("{problems}")).settings;
    let gateway = Gateway::build(&settings).await.expect("a gateway");
    tokio::spawn(async move { gateway.serve(front, std::future::pending()).await });
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let put = format!("PUT {VALUE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200\r\n\r\n{:200}", "a value");
    let mut buffer = [0; 4_096];
    assert!(ask(&mut stream, put.as_bytes(), &mut buffer).await.starts_with("HTTP/1.1 201"));
    stream
}

/// Sends a request and reads the whole answer into a buffer that is there already; gives its head.
async fn ask<'a>(stream: &mut TcpStream, request: &[u8], buffer: &'a mut [u8]) -> &'a str {
    stream.write_all(request).await.expect("is taken");
    let (mut filled, mut whole, mut head) = (0, usize::MAX, 0);
    while filled < whole {
        filled += stream.read(&mut buffer[filled..]).await.expect("an answer");
        if whole == usize::MAX
            && let Some(end) = buffer[..filled].windows(4).position(|end| end == b"\r\n\r\n")
        {
            let text = std::str::from_utf8(&buffer[..end]).expect("text");
            let named = |line: &str| Some(line.strip_prefix("content-length: ")?.parse::<usize>().expect("a length"));
            (head, whole) = (end, end + 4 + text.lines().find_map(named).unwrap_or_default());
        }
    }
    std::str::from_utf8(&buffer[..head]).expect("text")
}

/// Allocations of one hit over HTTP, this program's own end of the connection included, which takes none. `ETAG` in `more` is the
/// tag of the answer.
fn allocations_of(target: &str, more: &str) -> f64 {
    let _counting = COUNTING.lock();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut stream = connected().await;
        let mut buffer = vec![0; 4 << 20];
        let plain = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let _ = ask(&mut stream, plain.as_bytes(), &mut buffer).await;
        let head = ask(&mut stream, plain.as_bytes(), &mut buffer).await;
        let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap_or_default();
        let (more, status) = (more.replace("ETAG", tag), if more.contains("ETAG") { "304" } else { "200" });
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n{more}\r\n");
        for _ in 0..20 {
            let head = ask(&mut stream, request.as_bytes(), &mut buffer).await;
            assert_eq!(head.split(' ').nth(1), Some(status), "{head}");
        }
        let head = ask(&mut stream, request.as_bytes(), &mut buffer).await;
        assert!(head.contains("x-cache: HIT"), "not a hit: {head}");
        let mut fewest = usize::MAX;
        for _ in 0..BATCHES {
            let before = taken();
            for _ in 0..HITS {
                let _ = ask(&mut stream, request.as_bytes(), &mut buffer).await;
            }
            fewest = fewest.min(taken() - before);
        }
        fewest as f64 / HITS as f64
    })
}

/// A ceiling is what was counted, and follows it down. Raise one only for something that is worth it.
#[test]
fn a_hit_over_http_allocates_little() {
    const KLINES: &str = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000";
    const TICKER: &str = "/api/v3/ticker/price?symbol=BTCUSDT";
    const GZIP: &str = "Accept-Encoding: gzip\r\n";
    const ZSTD: &str = "Accept-Encoding: gzip, deflate, br, zstd\r\n";
    const KNOWN: &str = "If-None-Match: ETAG\r\n";
    let mut wrong = Vec::new();
    for (target, more, most) in [
        (TICKER, "", 2.0),
        (TICKER, KNOWN, 2.0),
        ("/api/v3/exchangeInfo", "", 2.0),
        ("/api/v3/exchangeInfo", GZIP, 2.0),
        ("/api/v3/exchangeInfo", ZSTD, 2.0),
        (KLINES, "", 3.0),
        (KLINES, GZIP, 2.0),
        (KLINES, ZSTD, 2.0),
        (VALUE, "", 2.0),
        (VALUE, KNOWN, 2.0),
        (ROUTE, "", 2.0),
        (ROUTE, KNOWN, 2.0),
    ] {
        let taken = allocations_of(target, more);
        if taken > most || taken < most - 1.0 {
            wrong.push(format!("{target} {more:?}: {taken} allocations, and {most} are allowed"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
