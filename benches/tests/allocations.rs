//! What a hit takes from the allocator. Times differ from machine to machine and from minute to minute; these counts do not.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use lastgood::{Cache, Loaded, Policy};
use lastgood_gateway::Gateway;
use lastgood_settings::{FlagValue, Sources, resolve};
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
    ]
    .map(|(key, value)| FlagValue { flag: "--set".to_owned(), key: key.to_owned(), value: value.to_owned() });
    let sources = Sources { file: None, env: &|_| None, env_names: Vec::new(), flags: flags.into() };
    let settings = resolve(&sources).unwrap_or_else(|problems| panic!("{problems}")).settings;
    let gateway = Gateway::build(&settings).await.expect("a gateway");
    tokio::spawn(async move { gateway.serve(front, std::future::pending()).await });
    TcpStream::connect(address).await.expect("a connection")
}

/// Sends a request and reads the whole answer into a buffer that is there already.
async fn ask(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> usize {
    stream.write_all(request).await.expect("is taken");
    let (mut filled, mut whole) = (0, usize::MAX);
    while filled < whole {
        filled += stream.read(&mut buffer[filled..]).await.expect("an answer");
        if whole == usize::MAX
            && let Some(head) = buffer[..filled].windows(4).position(|end| end == b"\r\n\r\n")
        {
            let text = std::str::from_utf8(&buffer[..head]).expect("text");
            let named = |line: &str| Some(line.strip_prefix("content-length: ")?.parse::<usize>().expect("a length"));
            whole = head + 4 + text.lines().find_map(named).expect("a length");
        }
    }
    whole
}

/// Allocations of one hit over HTTP, this program's own end of the connection included, which takes none.
fn allocations_of(target: &str, more: &str) -> f64 {
    let _counting = COUNTING.lock();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut stream = connected().await;
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n{more}\r\n");
        let mut buffer = vec![0; 4 << 20];
        for _ in 0..20 {
            let length = ask(&mut stream, request.as_bytes(), &mut buffer).await;
            assert!(buffer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..300]));
        }
        assert!(buffer.windows(12).any(|text| text == b"x-cache: HIT"), "not a hit");
        let mut fewest = usize::MAX;
        for _ in 0..BATCHES {
            let before = taken();
            for _ in 0..HITS {
                ask(&mut stream, request.as_bytes(), &mut buffer).await;
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
    const GZIP: &str = "Accept-Encoding: gzip\r\n";
    let mut wrong = Vec::new();
    for (target, more, most) in [
        ("/api/v3/ticker/price?symbol=BTCUSDT", "", 2.0),
        ("/api/v3/exchangeInfo", "", 2.0),
        ("/api/v3/exchangeInfo", GZIP, 2.0),
        (KLINES, "", 3.0),
        (KLINES, GZIP, 2.0),
    ] {
        let taken = allocations_of(target, more);
        if taken > most || taken < most - 1.0 {
            wrong.push(format!("{target} {more:?}: {taken} allocations, and {most} are allowed"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
