//! The gateway is as strict as the exchange, whatever is asked and whatever is warm.

use super::*;

/// Questions as programs write them and as programs get them wrong, each asked of the exchange and of the gateway.
struct Questions(u64);

impl Questions {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from[usize::try_from(self.0 >> 33).unwrap() % from.len()]
    }

    fn next(&mut self) -> String {
        let path = self.pick(PATHS);
        let is_coin = path.starts_with("/dapi");
        let mut fields = Vec::new();
        // Most are nearly right, so that they come past the first look.
        if self.pick(&["y", "y", "y", "n"]) == "y" {
            let symbol = match self.pick(&["y", "y", "n"]) {
                "y" if is_coin => "BTCUSD_PERP",
                "y" => "BTCUSDT",
                _ => self.pick(SYMBOLS),
            };
            fields.push(format!("symbol={symbol}"));
        }
        let rarely = ["y", "n", "n", "n", "n"];
        for (name, values, often) in [
            ("symbols", LISTS, &rarely[..]),
            ("limit", LIMITS, &["y", "n"][..]),
            ("type", &["FULL", "MINI", "mini", ""][..], &rarely[..]),
            ("symbolStatus", &["TRADING", "BREAK", "HALT", "OTHER", ""][..], &rarely[..]),
            ("pair", &["BTCUSD", "NOSUCH", ""][..], &rarely[..]),
            ("symbol", SYMBOLS, &["y", "n", "n", "n", "n", "n", "n", "n"][..]),
            ("Symbol", &["BTCUSDT"][..], &["y", "n", "n", "n", "n", "n", "n", "n", "n", "n"][..]),
            ("unknown", &["1", ""][..], &["y", "n", "n", "n", "n", "n", "n", "n"][..]),
        ] {
            if self.pick(often) == "y" {
                fields.push(format!("{name}={}", self.pick(values)));
            }
        }
        let between = self.pick(&["&", "&", "&", "&&"]);
        match fields.is_empty() {
            true => path.to_owned(),
            false => format!("{path}?{}", fields.join(between)),
        }
    }
}

const PATHS: &[&str] = &[
    "/api/v3/ping",
    "/api/v3/exchangeInfo",
    "/api/v3/depth",
    "/api/v3/trades",
    "/api/v3/aggTrades",
    "/api/v3/historicalTrades",
    "/api/v3/avgPrice",
    "/api/v3/ticker/24hr",
    "/api/v3/ticker/price",
    "/api/v3/ticker/bookTicker",
    "/api/v3/ticker",
    "/fapi/v1/ping",
    "/fapi/v1/depth",
    "/fapi/v1/trades",
    "/fapi/v1/ticker/24hr",
    "/fapi/v1/ticker/price",
    "/fapi/v2/ticker/price",
    "/fapi/v1/ticker/bookTicker",
    "/fapi/v1/premiumIndex",
    "/fapi/v1/openInterest",
    "/dapi/v1/depth",
    "/dapi/v1/ticker/24hr",
    "/dapi/v1/ticker/price",
    "/dapi/v1/ticker/bookTicker",
    "/dapi/v1/premiumIndex",
];
const SYMBOLS: &[&str] = &[
    "BTCUSDT",
    "ETHUSDT",
    "BTCUSD_PERP",
    "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT",
    "NOSUCHCOIN",
    "btcusdt",
    "",
    "%20",
    "BTCUSDT%20",
    "BTC+USDT",
    "BTC%00USDT",
    "%FF",
    "%22BTCUSDT%22",
    "ABCDEFGHIJKLMNOPQRSTU",
    "[%22BTCUSDT%22]",
];
const LISTS: &[&str] = &[
    "[%22BTCUSDT%22]",
    "[%22ETHUSDT%22,%22BTCUSDT%22]",
    "%5B%22BTCUSDT%22%2C%22ETHUSDT%22%5D",
    "[%22BTCUSDT%22,%20%22ETHUSDT%22]",
    "%20[%22BTCUSDT%22]",
    "[%22BTCUSDT%22,%22BTCUSDT%22]",
    "[%22BTCUSDT%22,%22NOSUCHCOIN%22]",
    "[%22%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT%22,%22BTCUSDT%22]",
    "[%22\\u0042TCUSDT%22]",
    "[%22btcusdt%22]",
    "[%22%22]",
    "[]",
    "[1]",
    "[[%22BTCUSDT%22]]",
    "[%22BTCUSDT%22,]",
    "BTCUSDT,ETHUSDT",
    "",
    "null",
];
const LIMITS: &[&str] = &[
    "1",
    "5",
    "7",
    "100",
    "101",
    "500",
    "1000",
    "1001",
    "5000",
    "5001",
    "99999",
    "2147483648",
    "99999999999999999999999",
    "0",
    "-1",
    "05",
    "+5",
    "%2B5",
    "5.0",
    "5e2",
    "%205",
    "abc",
    "",
];

/// The compared part: the whole of an answer, and the code and the words of a refusal.
fn essence(got: &Got) -> (u16, String) {
    (got.status, String::from_utf8_lossy(&got.body).into_owned())
}

#[tokio::test]
async fn whatever_is_asked_and_whatever_is_warm_the_gateway_is_as_strict_as_the_exchange() {
    let seed = 0x5EED_0009_u64;
    let config = SimConfig {
        seed: 7,
        symbols: 60,
        weight_limit_spot: 9_000_000,
        weight_limit_futures: 9_000_000,
        ..SimConfig::default()
    };
    let exchange = Exchange::start_with(config).await;
    exchange.sim.set_clock(ClockMode::Frozen(half_past()));
    let (cold, warm) = (gateway(&exchange, "1h").await, gateway(&exchange, "1h").await);
    for gateway in [&cold, &warm] {
        // Which tell the budget how much may be asked.
        for path in ["/api/v3/exchangeInfo", "/fapi/v1/exchangeInfo", "/dapi/v1/exchangeInfo"] {
            assert_eq!(get(gateway.url(path)).await.status, 200);
        }
    }
    for (kept, _) in KEPT {
        assert_eq!(get(warm.url(kept)).await.status, 200, "{kept}");
    }
    let mut questions = Questions(seed);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..600 {
        let question = questions.next();
        let direct = essence(&get(exchange.url() + &question).await);
        let state = if direct.0 == 200 { &mut good } else { &mut bad };
        *state += 1;
        assert_eq!(essence(&get(warm.url(&question)).await), direct, "warm, {question} (seed {seed:#x})");
        assert_eq!(essence(&get(cold.url(&question)).await), direct, "cold, {question} (seed {seed:#x})");
        cold.gateway.cache().clear().await;
    }
    assert!(good > 100 && bad > 100, "{good} good, {bad} bad");
}
