//! Warming: loads ahead of their readers.

use std::process::Output;
use std::time::Duration;

use lastgood_sim::SimConfig;
use lastgood_testing::RedisServer;
use serde_json::{Value, json};

use crate::support::{Exchange, Got, Running, Sink, client, eventually, get, half_past, read};

const TICKERS: &str = "/api/v3/ticker/24hr";

/// Rounds that come only when they are asked for, but for the first.
const DECLARED: [(&str, &str); 8] = [
    ("warm.markets", "spot"),
    ("warm.symbols", "XRPUSDT,BTCUSDT"),
    ("warm.popular", "3"),
    ("warm.intervals", "1h,1d"),
    ("warm.candles", "50"),
    ("warm.every", "1d"),
    ("regions.klines.fresh_for", "10m"),
    ("regions.ticker_24hr.fresh_for", "10m"),
];

/// An exchange whose candles form on while the gateway's clock goes.
async fn exchange() -> Exchange {
    let exchange = Exchange::start_with(SimConfig { seed: 7, symbols: 100, ..SimConfig::default() }).await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(half_past()));
    exchange
}

async fn warming(gateway: &Running) -> Value {
    get(gateway.url("/health")).await.json()["warming"].clone()
}

async fn after_the_first_round(gateway: &Running) -> Value {
    eventually("a round ends", async || warming(gateway).await["rounds"] != 0).await;
    warming(gateway).await
}

async fn warm(gateway: &Running, body: &str) -> Got {
    read(client().post(gateway.url("/api/cache/warm")).body(body.to_owned()).send().await.unwrap()).await
}

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let others = DECLARED.into_iter().filter(|(key, _)| more.iter().all(|(other, _)| key != other));
    others.chain(more.iter().copied()).collect()
}

fn counted(metrics: &str, line: &str) -> f64 {
    let found = metrics.lines().find(|found| found.starts_with(line)).unwrap_or_else(|| panic!("{line}: {metrics}"));
    found.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn after_a_round_readers_hit_and_the_exchange_is_asked_no_more() {
    let exchange = exchange().await;
    let gateway = Running::start(&exchange.url(), &DECLARED).await;
    let round = after_the_first_round(&gateway).await;
    // exchangeInfo, list, tickers, and four symbols: one of the three popular ones is declared, too.
    // The list was made with the tickers.
    assert_eq!((&round["of"], &round["loaded"], &round["fresh"]), (&json!(11), &json!(10), &json!(1)), "{round}");
    let asked = exchange.asked();
    let popular = get(gateway.url("/v1/symbols/spot?limit=3")).await.json();
    let mut targets = vec!["/api/v3/exchangeInfo".to_owned(), TICKERS.to_owned()];
    for row in popular["symbols"].as_array().unwrap() {
        for interval in ["1h", "1d"] {
            let symbol = row["symbol"].as_str().unwrap();
            targets.push(format!("/api/v3/klines?symbol={symbol}&interval={interval}&limit=50"));
        }
    }
    targets.push("/api/v3/klines?symbol=XRPUSDT&interval=1h&limit=20".to_owned());
    for target in targets {
        let got = get(gateway.url(&target)).await;
        assert_eq!((got.status, got.cache()), (200, "HIT"), "{target}");
    }
    assert_eq!(exchange.asked(), asked);
    // The declared ones come first, in their order.
    let log = exchange.sim.counters().log;
    let klines: Vec<String> =
        log.iter().filter(|asked| asked.path.ends_with("/klines")).map(|asked| asked.query.clone()).collect();
    assert!(klines[..4].iter().filter(|query| query.contains("XRPUSDT")).count() == 2, "{klines:?}");
    let metrics = get(gateway.url("/metrics")).await;
    assert_eq!(counted(metrics.text(), "lastgood_warm_items_total{state=\"loaded\"}"), 10.0);
    assert!(counted(metrics.text(), "lastgood_warm_last_finished_timestamp ") > 1.0e9);
    assert!(counted(metrics.text(), "lastgood_warm_round_seconds ") > 0.0);
    // Warming is no reading.
    assert!(metrics.text().contains("lastgood_reads_total{region=\"klines\",outcome=\"miss\"} 0"));
}

#[tokio::test]
async fn what_would_end_before_the_next_round_is_loaded_before_it_ends() {
    let exchange = exchange().await;
    let more = with(&[
        ("warm.every", "1s"),
        ("warm.intervals", ""),
        ("regions.exchange_info.fresh_for", "2s"),
        ("regions.symbols.fresh_for", "2s"),
        ("regions.ticker_24hr.fresh_for", "1h"),
    ]);
    let gateway = Running::start(&exchange.url(), &more).await;
    after_the_first_round(&gateway).await;
    let info = || exchange.sim.counters().paths["/api/v3/exchangeInfo"];
    let readers = async {
        loop {
            for target in ["/api/v3/exchangeInfo", "/v1/symbols/spot"] {
                assert_eq!(get(gateway.url(target)).await.cache(), "HIT", "{target}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = readers => {}
        () = eventually("four loads", async || info() >= 4) => {}
    }
    assert_eq!(exchange.sim.counters().paths[TICKERS], 1, "tickers last");
}

#[tokio::test]
async fn a_region_with_a_schedule_of_its_own_is_warmed_at_its_own_pace() {
    let exchange = exchange().await;
    let quick = [("regions.ticker_24hr.warm_every", "1s"), ("regions.ticker_24hr.fresh_for", "2s")];
    let gateway = Running::start(&exchange.url(), &with(&quick)).await;
    let asked = |path: &str| exchange.sim.counters().paths.get(path).copied().unwrap_or_default();
    eventually("four rounds of tickers", async || asked(TICKERS) >= 4).await;
    assert_eq!(asked("/api/v3/exchangeInfo"), 1);
    // Two intervals of the declared symbols and of the popular ones, one of which is declared, too.
    assert_eq!(asked("/api/v3/klines"), 8, "candles are due in a day");
    assert_eq!(get(gateway.url(TICKERS)).await.cache(), "HIT");
    // A round on demand takes in all regions.
    let all = warm(&gateway, "").await.json();
    assert_eq!(all["matched"], 11, "{all}");
}

/// What came of the items of a round.
const STATES: [&str; 4] = ["loaded", "fresh", "refused", "failed"];

/// How many items have come to an end, and how many there are.
fn done(round: &Value, states: [&str; 4]) -> (u64, u64) {
    let count = |name: &str| round[name].as_u64().unwrap_or_default();
    (states.iter().map(|name| count(name)).sum(), count(if states == STATES { "of" } else { "matched" }))
}

#[tokio::test]
async fn whatever_is_kept_warm_each_item_is_counted_once_at_every_moment() {
    let many = "1m,3m,5m,15m,30m,1h,2h,4h,6h,8h,12h,1d,3d,1w,1M";
    let shapes: [&[(&str, &str)]; 6] = [
        &[("warm.markets", "spot,futures"), ("warm.popular", "0"), ("warm.symbols", "BTCUSDT,NOSUCH")],
        &[("warm.markets", "spot,futures"), ("warm.popular", "8"), ("warm.intervals", many)],
        &[("warm.markets", "futures"), ("warm.symbols", ""), ("warm.popular", "40"), ("warm.intervals", "1M,1w")],
        &[("warm.intervals", ""), ("warm.tickers", "false")],
        &[
            ("regions.klines.warm_every", "2s"),
            ("regions.symbols.warm_every", "1s"),
            ("regions.klines.fresh_for", "1s"),
        ],
        &[("warm.markets", "spot"), ("warm.popular", "60"), ("warm.intervals", many), ("warm.every", "1s")],
    ];
    for (at, shape) in shapes.into_iter().enumerate() {
        let weight_limit_spot = if at == 5 { 300 } else { 100_000 };
        let config = SimConfig { seed: 7, symbols: 100, weight_limit_spot, ..SimConfig::default() };
        let exchange = Exchange::start_with(config).await;
        exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(half_past()));
        let gateway = Running::start(&exchange.url(), &with(shape)).await;
        let looked = async {
            loop {
                let round = warming(&gateway).await;
                let (done, of) = done(&round, STATES);
                assert!(done <= of, "{done} of {of}: {shape:?} {round}");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let asked = async {
            after_the_first_round(&gateway).await;
            for body in ["", r#"{"region": "klines"}"#, r#"{"symbol": "ETHUSDT"}"#, r#"{"region": "symbols"}"#] {
                let warmed = warm(&gateway, body).await.json();
                let (done, of) = done(&warmed, ["warmed", "fresh", "refused", "failed"]);
                assert_eq!(done, of, "{shape:?} {body} {warmed}");
            }
            let round = warming(&gateway).await;
            let (done, of) = done(&round, STATES);
            assert!(round["running"] == true || done == of, "{shape:?} {round}");
        };
        let both = async {
            tokio::select! { () = looked => {}, () = asked => {} }
        };
        // A round that the budget holds up waits for minutes.
        let within = Duration::from_secs(if at == 5 { 5 } else { 100 });
        let ended = tokio::time::timeout(within, both).await;
        assert!(ended.is_ok() || at == 5, "{shape:?}");
    }
}

#[tokio::test]
async fn candles_are_warmed_by_popularity_although_memory_has_lost_the_list() {
    let exchange = exchange().await;
    let gateway = Running::start(&exchange.url(), &DECLARED).await;
    after_the_first_round(&gateway).await;
    gateway.gateway.cache().clear().await;
    let got = warm(&gateway, r#"{"region": "klines"}"#).await.json();
    assert_eq!((&got["matched"], &got["failed"]), (&json!(9), &json!(0)), "the list, and four symbols: {got}");
}

#[tokio::test]
async fn with_little_budget_warming_is_refused_and_a_demand_is_answered() {
    let config = SimConfig { seed: 7, symbols: 100, weight_limit_spot: 300, ..SimConfig::default() };
    let exchange = Exchange::start_with(config).await;
    let gateway = Running::start(&exchange.url(), &with(&[("warm.tickers", "false"), ("warm.popular", "50")])).await;
    assert_eq!(get(gateway.url("/api/v3/exchangeInfo")).await.status, 200, "the limit is learnt");
    let refused = async || {
        let metrics = get(gateway.url("/metrics")).await;
        let of_warming = |line: &&str| line.contains("budget_refused") && line.contains("priority=\"warm\"");
        metrics.text().lines().filter(of_warming).any(|line| !line.ends_with(" 0"))
    };
    eventually("warming is refused", refused).await;
    // Its own question, and one that warming waits to ask.
    for symbol in exchange.sim.symbols(lastgood_sim::Venue::Spot).into_iter().take(50) {
        let got = get(gateway.url(&format!("/api/v3/klines?symbol={symbol}&interval=1d&limit=50"))).await;
        assert_eq!(got.status, 200, "{}", got.text());
    }
    let statuses = exchange.sim.counters().statuses;
    assert_eq!((statuses.get(&429), statuses.get(&418)), (None, None), "{statuses:?}");
}

#[tokio::test]
async fn with_the_exchange_down_the_gateway_is_ready_and_warms_when_it_is_back() {
    let mut exchange = exchange().await;
    exchange.stop().await;
    let gateway = Running::start(&exchange.url(), &DECLARED).await;
    assert_eq!(get(gateway.url("/readyz")).await.status, 200);
    let round = after_the_first_round(&gateway).await;
    assert_eq!((&round["loaded"], round["failed"].as_u64() > Some(0)), (&json!(0), true), "{round}");
    let listener = tokio::net::TcpListener::bind(exchange.address).await.expect("the port is free again");
    let sim = exchange.sim.clone();
    tokio::spawn(async move { sim.serve(listener, std::future::pending()).await });
    eventually("all is warm", async || warming(&gateway).await["loaded"] == 10).await;
}

#[tokio::test]
async fn of_two_gateways_on_one_redis_one_warms() {
    let log = Sink::of_the_log("lastgood_market::warm=debug");
    let redis = RedisServer::start();
    let exchange = exchange().await;
    let (url, upstream, more) = (redis.url(), exchange.url(), with(&[]));
    let more: Vec<_> = more.into_iter().chain([("store", url.as_str())]).collect();
    let (one, other) = tokio::join!(Running::start(&upstream, &more), Running::start(&upstream, &more));
    let rounds = async || (warming(&one).await["rounds"].as_u64(), warming(&other).await["rounds"].as_u64());
    eventually("one warms", async || rounds().await != (Some(0), Some(0))).await;
    let asked = exchange.asked();
    eventually("the other has looked", async || log.text().contains("another node keeps this warm")).await;
    let (by_one, by_other) = rounds().await;
    assert_eq!(by_one.unwrap() + by_other.unwrap(), 1);
    let (warmer, idle) = if by_one == Some(1) { (&one, &other) } else { (&other, &one) };
    assert!(warmer.gateway.cache().sync(Duration::from_secs(5)).await);
    let got = get(idle.url("/api/v3/klines?symbol=XRPUSDT&interval=1h&limit=50")).await;
    assert_eq!((got.cache(), exchange.asked()), ("HIT", asked), "{}", got.header("cache-status"));
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let exchange = exchange().await;
    let gateway = Running::start(&exchange.url(), &DECLARED).await;
    after_the_first_round(&gateway).await;
    gateway.gateway.cache().clear().await;
    let asked = exchange.asked();
    let got = warm(&gateway, r#"{"dry_run": true}"#).await.json();
    assert_eq!((&got["warmed"], &got["dry_run"]), (&got["matched"], &json!(true)), "{got}");
    assert_eq!((exchange.asked(), warming(&gateway).await["rounds"].as_u64()), (asked, Some(1)));
}

#[tokio::test]
async fn a_round_on_demand_warms_its_questions_and_reports_wrong_ones() {
    let exchange = exchange().await;
    let gateway = Running::start(&exchange.url(), &DECLARED).await;
    after_the_first_round(&gateway).await;
    let all = warm(&gateway, "").await.json();
    assert_eq!((&all["matched"], &all["warmed"], &all["fresh"]), (&json!(11), &json!(0), &json!(11)), "{all}");
    let one = warm(&gateway, r#"{"symbol": "ltcusdt"}"#).await.json();
    assert_eq!((&one["matched"], &one["warmed"], &one["dry_run"]), (&json!(2), &json!(2), &json!(false)), "{one}");
    let got = get(gateway.url("/api/v3/klines?symbol=LTCUSDT&interval=1d&limit=50")).await;
    assert_eq!(got.cache(), "HIT");
    let lists = warm(&gateway, r#"{"region": "symbols"}"#).await.json();
    assert_eq!(lists["matched"], 1, "{lists}");
    for (body, word) in [
        (r#"{"symbol": "BTC/USDT"}"#, "symbol"),
        (r#"{"region": "kline"}"#, "klines"),
        (r#"{"simbol": "BTCUSDT"}"#, "simbol"),
        ("warm!", "no JSON"),
        ("[]", "no JSON object"),
    ] {
        let got = warm(&gateway, body).await;
        assert_eq!((got.status, got.header("content-type")), (400, "application/problem+json"), "{body}");
        assert!(got.json()["detail"].as_str().unwrap().contains(word), "{}", got.text());
    }
    let got = get(gateway.url("/api/cache/warm")).await;
    assert_eq!((got.status, got.header("allow")), (405, "POST"), "{}", got.text());
}

#[tokio::test]
async fn undeclared_regions_and_symbols_are_not_warmed_and_the_answer_names_the_reason() {
    let exchange = exchange().await;
    let none = Running::start(&exchange.url(), &[]).await;
    let lists = Running::start(&exchange.url(), &with(&[("warm.intervals", ""), ("warm.tickers", "false")])).await;
    let no_symbol = [("warm.symbols", ""), ("warm.popular", "0")];
    let no_symbol = Running::start(&exchange.url(), &with(&no_symbol)).await;
    let all = Running::start(&exchange.url(), &DECLARED).await;
    for gateway in [&lists, &no_symbol, &all] {
        after_the_first_round(gateway).await;
    }
    let both = r#"{"symbol": "BTCUSDT", "region": "symbols"}"#;
    for (gateway, body, why) in [
        (&none, "", "no market is declared: set warm.markets, or preset = \"dashboard\""),
        (&none, r#"{"region": "klines"}"#, "no market is declared: set warm.markets, or preset = \"dashboard\""),
        (&lists, r#"{"region": "klines"}"#, "no interval of candles is declared: set warm.intervals"),
        (&lists, r#"{"symbol": "BTCUSDT"}"#, "no interval of candles is declared: set warm.intervals"),
        (&lists, r#"{"region": "ticker_24hr"}"#, "the tickers are not kept warm: set warm.tickers"),
        (&no_symbol, r#"{"region": "klines"}"#, "no symbol is declared: set warm.symbols or warm.popular"),
        (&all, r#"{"symbol": "NOSUCH"}"#, "no market of warm.markets has NOSUCH in its list of symbols"),
        (&all, both, "of BTCUSDT the candles alone can be kept warm: name klines"),
        (
            &all,
            r#"{"region": "depth"}"#,
            "depth is no region of the exchange that can be kept warm; those are exchange_info, symbols, ticker_24hr, klines",
        ),
    ] {
        let rounds = warming(gateway).await["rounds"].clone();
        let got = warm(gateway, body).await.json();
        assert_eq!((&got["matched"], &got["warmed"], &got["why"]), (&json!(0), &json!(0), &json!(why)), "{body}");
        assert_eq!(warming(gateway).await["rounds"], rounds, "{body}: there is no round");
    }
    let url = lists.url("");
    for (more, code, said) in
        [(&[][..], 1, "nothing was warmed: "), (&["--dry-run"][..], 0, "nothing would be warmed: ")]
    {
        let arguments: Vec<&str> =
            ["warm", "--url", &url, "--region", "klines"].into_iter().chain(more.iter().copied()).collect();
        let output = command(&arguments, None).await;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{output:?}");
        let said = format!("{said}no interval of candles is declared: set warm.intervals\n");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), said);
    }
}

#[tokio::test]
async fn without_the_token_nothing_is_warmed() {
    let exchange = exchange().await;
    let gateway = Running::start(&exchange.url(), &[("admin.token", "correct-horse-battery")]).await;
    for token in [None, Some("correct-horse-batter"), Some("")] {
        let mut request = client().post(gateway.url("/api/cache/warm"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let got = read(request.send().await.unwrap()).await;
        assert_eq!((got.status, got.header("www-authenticate")), (401, "Bearer realm=\"lastgood\""), "{token:?}");
        assert!(!got.text().contains("horse"), "{}", got.text());
    }
    let right = client().post(gateway.url("/api/cache/warm")).bearer_auth("correct-horse-battery");
    let got = read(right.send().await.unwrap()).await;
    assert_eq!((got.status, got.json()["matched"].as_u64()), (200, Some(0)));
}

/// Runs the command without holding up this thread, which the gateway runs on, too.
async fn command(arguments: &[&str], token: Option<&str>) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lastgood"));
    command.args(arguments).env_clear();
    if let Some(token) = token {
        command.env("LASTGOOD_ADMIN_TOKEN", token);
    }
    command.output().await.expect("the program starts")
}

#[tokio::test]
async fn the_verb_warms_a_running_gateway_and_reports_problems() {
    let exchange = exchange().await;
    let gateway = Running::start(&exchange.url(), &with(&[("admin.token", "correct-horse-battery")])).await;
    let url = gateway.url("");
    let right = Some("correct-horse-battery");
    after_the_first_round(&gateway).await;
    let output = command(&["warm", "--url", &url, "--symbol", "LTCUSDT", "--json"], right).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let warmed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&warmed["matched"], &warmed["warmed"]), (&json!(2), &json!(2)), "{warmed}");
    let output = command(&["warm", "--url", &url, "--dry-run"], right).await;
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && table.contains("WOULD LOAD") && table.contains("11"), "{table}");

    let output = command(&["warm", "--url", &url, "--token", "another"], None).await;
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && message.contains("401") && message.contains("LASTGOOD_ADMIN_TOKEN"),
        "{message}"
    );
    let output = command(&["warm", "--url", "nowhere"], None).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    gateway.stop().await;
    let output = command(&["warm", "--url", &url], right).await;
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && message.contains("lastgood serve"), "{message}");
}
