//! The requests that both paths are asked.

pub(super) const TARGETS: &[&str] = &[
    "/api/v3/ticker/price?symbol=BTCUSDT",
    "/api/v3/ticker/price?symbol=ETHUSDT",
    "/api/v3/ticker/price?symbols=[%22ETHUSDT%22,%22BTCUSDT%22]",
    "/api/v3/ticker/price",
    "/api/v3/ticker/24hr?symbol=BTCUSDT",
    "/api/v3/ticker/bookTicker?symbol=ETHUSDT",
    "/api/v3/exchangeInfo",
    "/api/v3/exchangeInfo?symbol=BTCUSDT",
    "/api/v3/exchangeInfo?symbols=[%22ETHUSDT%22,%22BTCUSDT%22]",
    "/api/v3/depth?symbol=BTCUSDT&limit=100",
    "/api/v3/depth?symbol=BTCUSDT&limit=7",
    "/api/v3/depth?symbol=BTCUSDT&limit=1000",
    "/api/v3/trades?symbol=BTCUSDT&limit=9",
    "/api/v3/avgPrice?symbol=BTCUSDT",
    "/api/v3/klines?symbol=BTCUSDT&interval=1h",
    "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000",
    "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1",
    "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=3&endTime=1700000000000",
    "/api/v3/klines?symbol=ETHUSDT&interval=1d&startTime=1690000000000&limit=400",
    "/api/v3/uiKlines?symbol=ETHUSDT&interval=15m&limit=300",
    "/api/v3/klines?symbol=NONE&interval=1h",
    "/api/v3/ping",
    "/api/v3/time",
    "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=500",
    "/fapi/v1/premiumIndex?symbol=BTCUSDT",
    "/fapi/v1/exchangeInfo",
    "/dapi/v1/ticker/price?symbol=BTCUSD_PERP",
    VALUE,
    LONG_VALUE,
    "/v1/kv/kv/absent",
    "/v1/kv/kv/a/b",
    "/v1/kv/kv/",
    "/v1/kv/kv",
    "/v1/kv//a",
    "/v1/kv/klines/a",
    "/v1/kv/none/a",
];
pub(super) const VALUE: &str = "/v1/kv/kv/a";
pub(super) const LONG_VALUE: &str = "/v1/kv/kv/long%20one";

/// What requests say besides their target; `ETAG` stands for the tag that the answer had last.
pub(super) const SAID: &[&[&str]] = &[
    &[],
    &["accept-encoding: gzip"],
    &["accept-encoding: gzip, deflate, br", "accept: */*", "user-agent: x"],
    &["accept-encoding: gzip;q=0"],
    &["accept-encoding: br, zstd"],
    &["accept-encoding: gzip, deflate, br, zstd"],
    &["if-none-match: ETAG", "accept-encoding: zstd"],
    &["accept-encoding: gzip", "accept-encoding: zstd;q=0.5"],
    &["accept-encoding: br", "accept-encoding: gzip"],
    &["if-none-match: ETAG"],
    &["if-none-match: ETAG", "accept-encoding: gzip"],
    &["if-none-match: W/ETAG"],
    &["if-none-match: \"other\", ETAG"],
    &["if-none-match: \"other\"", "if-none-match: ETAG"],
    &["if-none-match: *", "accept-encoding: gzip"],
    &["if-none-match: \"other\""],
    &["if-match: \"other\"", "if-modified-since: Sat, 29 Oct 2039 19:43:31 GMT"],
    &["cache-control: no-cache", "pragma: no-cache"],
    &["range: bytes=0-9"],
    &["cookie: a=b", "cookie: c=d"],
    &["authorization: Bearer x", "x-mbx-apikey: y", "x-lastgood-user: z"],
    &["authorization: Bearer the-right-admin-token", "origin: https://evil.example"],
    &["x-mbx-time-unit: MICROSECOND"],
    &["x-mbx-sbe: 1:0"],
    &["origin: https://app.example"],
    &["origin: https://evil.example", "sec-fetch-site: cross-site"],
    &["host: evil.example"],
    &["host: localhost", "host: localhost"],
    &["x-forwarded-for: 10.0.0.1", "via: 1.1 x"],
    &["expect: 100-continue"],
    &["connection: close, te", "te: trailers"],
];

pub(super) fn said(of: &[&str], etag: &str) -> Vec<String> {
    of.iter().map(|field| field.replace("ETAG", etag)).collect()
}

/// The target, or one that means the same or nearly so.
pub(super) fn written(target: &str, how: usize) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let fields: Vec<&str> = query.split('&').collect();
    match how {
        0 => format!("{path}?{query}&x=1"),
        1 => format!("{path}?{query}&{}", fields[0]),
        2 => {
            let (kept, last) = target.split_at(target.len() - 1);
            format!("{kept}%{:02X}", last.as_bytes()[0])
        }
        3 => format!("{path}?{}", fields.iter().rev().copied().collect::<Vec<_>>().join("&")),
        4 => format!("{path}/?{query}"),
        5 => format!("/{target}"),
        6 => format!("{path}?{}", query.to_lowercase()),
        7 => format!("{path}?{query}&"),
        8 => format!("http://localhost{target}"),
        9 => format!("{path}?&{query}"),
        _ => target.to_owned(),
    }
}
