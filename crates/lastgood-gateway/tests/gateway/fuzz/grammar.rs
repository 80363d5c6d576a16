//! Requests: mostly sound ones to every kind of path, each bent in some places.

use super::dice::Dice;
use super::scene::TOKEN;

/// What a request's framing asks of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Where it ends is beyond doubt: it is answered, and so is the next one.
    Clear,
    /// Its head is not HTTP/1.1 in some place: it may be refused by the end of the connection.
    Odd,
    /// Its body's end cannot be known: nothing that follows it may be taken for a request.
    Broken,
    /// The client stops within it and sends no more.
    Cut,
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: Vec<u8>,
    version: &'static str,
    pub(super) headers: Vec<Vec<u8>>,
    /// The headers that say where the body ends.
    framed_by: Vec<Vec<u8>>,
    /// The body as it is on the wire.
    payload: Vec<u8>,
    pub(super) framing: Framing,
    /// Stands in this request alone; empty where it says nothing that could be mixed up.
    pub(super) marker: String,
}

impl Request {
    fn get(target: &str) -> Request {
        Request {
            method: "GET".to_owned(),
            target: target.as_bytes().to_vec(),
            version: "HTTP/1.1",
            headers: vec![b"Host: localhost".to_vec()],
            framed_by: Vec::new(),
            payload: Vec::new(),
            framing: Framing::Clear,
            marker: String::new(),
        }
    }

    /// With the token, and the body that the path takes.
    fn sound(method: &str, target: &str) -> Request {
        let mut request = Request::get(target);
        request.method = method.to_owned();
        request.add(format!("Authorization: Bearer {TOKEN}"));
        if matches!(method, "POST" | "PUT" | "PATCH") {
            let body = fitting(target, method);
            request.framed_by = vec![format!("Content-Length: {}", body.len()).into_bytes()];
            request.payload = body.as_bytes().to_vec();
        }
        // Not every character may stand in a target.
        if method == "CONNECT" || target.bytes().any(|byte| !byte.is_ascii_graphic() || b"\\^`|\"<>{}".contains(&byte))
        {
            request.is_odd();
        }
        request
    }

    /// A sound request whose answer tells that it is its own.
    pub(super) fn probe(marker: &str) -> Request {
        Request { marker: marker.to_owned(), ..Request::get(&format!("/nothing/{marker}")) }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in [self.method.as_bytes(), b" ", &self.target, b" ", self.version.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
        for line in self.headers.iter().chain(&self.framed_by) {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    pub(super) fn has_body(&self) -> bool {
        !self.framed_by.is_empty()
    }

    /// Whether its answer may show names that other requests brought.
    pub(super) fn may_list(&self) -> bool {
        let target = String::from_utf8_lossy(&self.target).to_lowercase();
        target.contains("cache") || target.contains("metrics") || target.contains('%')
    }

    fn add(&mut self, header: impl Into<Vec<u8>>) {
        self.headers.push(header.into());
    }

    fn is_odd(&mut self) {
        if self.framing == Framing::Clear {
            self.framing = Framing::Odd;
        }
    }
}

/// Paths of the exchange, with what their parameters are drawn from in braces.
const EXCHANGE: &[&str] = &[
    "/api/v3/ping",
    "/api/v3/time",
    "/api/v3/exchangeInfo?symbol={symbol}",
    "/api/v3/exchangeInfo?symbols={symbols}",
    "/api/v3/exchangeInfo?permissions={text}&symbolStatus={status}&showPermissionSets={flag}",
    "/api/v3/depth?symbol={symbol}&limit={limit}",
    "/api/v3/trades?symbol={symbol}&limit={limit}",
    "/api/v3/historicalTrades?symbol={symbol}&limit={limit}&fromId={limit}",
    "/api/v3/aggTrades?symbol={symbol}&fromId={limit}&startTime={time}&endTime={time}&limit={limit}",
    "/api/v3/aggTrades?symbol={symbol}&startTime={time}&endTime={time}",
    "/api/v3/klines?symbol={symbol}&interval={interval}&limit={limit}",
    "/api/v3/klines?symbol={symbol}&interval={interval}&startTime={time}&endTime={time}&limit={limit}",
    "/api/v3/klines?symbol={symbol}&interval={interval}&endTime={time}&timeZone={zone}",
    "/api/v3/uiKlines?symbol={symbol}&interval={interval}&startTime={time}&timeZone={zone}",
    "/api/v3/avgPrice?symbol={symbol}",
    "/api/v3/ticker/24hr?symbol={symbol}&type={text}",
    "/api/v3/ticker/24hr?symbols={symbols}&symbolStatus={status}",
    "/api/v3/ticker/price?symbol={symbol}",
    "/api/v3/ticker/price?symbols={symbols}",
    "/api/v3/ticker/price",
    "/api/v3/ticker/bookTicker?symbols={symbols}",
    "/api/v3/ticker/tradingDay?symbol={symbol}&timeZone={zone}",
    "/api/v3/ticker?symbols={symbols}&windowSize={interval}",
    "/api/v3/account?timestamp={time}&recvWindow={limit}&signature={text}",
    "/api/v3/order?symbol={symbol}&side=BUY&quantity={limit}&timestamp={time}&signature={text}",
    "/api/v3/userDataStream?listenKey={text}",
    "/api/v1/depth?symbol={symbol}",
    "/api/v3/{text}/{text}?symbol={symbol}",
    "/sapi/v1/{text}?timestamp={time}",
    "/fapi/v1/exchangeInfo",
    "/fapi/v1/depth?symbol={symbol}&limit={limit}",
    "/fapi/v1/aggTrades?symbol={symbol}&startTime={time}&endTime={time}",
    "/fapi/v1/klines?symbol={symbol}&interval={interval}&startTime={time}&endTime={time}&limit={limit}",
    "/fapi/v1/continuousKlines?pair={symbol}&contractType=PERPETUAL&interval={interval}&limit={limit}",
    "/fapi/v1/indexPriceKlines?pair={symbol}&interval={interval}&limit={limit}",
    "/fapi/v1/markPriceKlines?symbol={symbol}&interval={interval}&endTime={time}",
    "/fapi/v1/premiumIndexKlines?symbol={symbol}&interval={interval}&startTime={time}",
    "/fapi/v1/premiumIndex?symbol={symbol}",
    "/fapi/v1/fundingRate?symbol={symbol}&startTime={time}&endTime={time}&limit={limit}",
    "/fapi/v1/fundingInfo",
    "/fapi/v1/openInterest?symbol={symbol}",
    "/fapi/v1/ticker/24hr?symbol={symbol}",
    "/fapi/v2/ticker/price?symbol={symbol}",
    "/fapi/v1/ticker/bookTicker?symbol={symbol}",
    "/fapi/v1/order?symbol={symbol}&timestamp={time}&signature={text}",
    "/futures/data/openInterestHist?symbol={symbol}&period={interval}&limit={limit}&startTime={time}&endTime={time}",
    "/futures/data/basis?pair={symbol}&contractType=PERPETUAL&period={interval}",
    "/dapi/v1/exchangeInfo",
    "/dapi/v1/klines?symbol={coin}&interval={interval}&startTime={time}&endTime={time}&limit={limit}",
    "/dapi/v1/premiumIndex?symbol={coin}&pair={symbol}",
    "/dapi/v1/ticker/price?symbol={coin}",
    "/dapi/v1/openInterest?symbol={coin}",
    "/eapi/v1/depth?symbol={text}",
    "/papi/v1/account?timestamp={time}",
];

/// The gateway's own paths, with the methods that they take.
const OWN: &[(&str, &str)] = &[
    ("GET", "/"),
    ("GET", "/health"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/api/openapi.json"),
    ("GET", "/v1/symbols/{market}?quote={asset}&limit={limit}"),
    ("GET", "/v1/fear-greed?limit={limit}&format={format}"),
    ("GET", "/fng/?limit={limit}&format={format}&date_format={text}"),
    ("GET", "/fng?limit={limit}"),
    ("GET", "/v1/kv/notes/{key}"),
    ("PUT", "/v1/kv/notes/{key}?fresh_for={span}&ttl={span}&tags={tags}"),
    ("PUT", "/v1/kv/{text}/{key}"),
    ("DELETE", "/v1/kv/notes/{key}"),
    ("GET", "/v1/bars/{series}/{interval}?start={time}&end={time}&limit={limit}"),
    ("GET", "/v1/bars/{series}/{interval}/latest"),
    ("PUT", "/v1/bars/{series}/{interval}?fresh_for={span}"),
    ("DELETE", "/v1/bars/{series}/{interval}"),
    ("POST", "/v1/llm/{kind}"),
    ("POST", "/v1/llm/{kind}?claim={span}&wait={span}&last_good={flag}"),
    ("PUT", "/v1/llm/{kind}?fresh_for={span}&ttl={span}&tags={tags}"),
    ("DELETE", "/v1/llm/{kind}?claim={text}"),
    ("GET", "/api/cache/status"),
    ("GET", "/api/cache/stats"),
    ("GET", "/cache/stats"),
    ("GET", "/api/cache/keys?pattern={pattern}&region={region}&limit={limit}&after={kept}"),
    ("GET", "/api/cache/explain/{kept}"),
    ("GET", "/api/cache/key/{kept}"),
    ("DELETE", "/api/cache/key/{kept}"),
    ("POST", "/api/cache/invalidate"),
    ("POST", "/api/cache/clear/{symbol}"),
    ("POST", "/api/cache/warm"),
    ("POST", "/api/cache/flush"),
    ("POST", "/api/cache/enable"),
    ("GET", "/v1/stocks/{stock}?days={limit}&above={decimal}"),
    ("GET", "/v1/search/{order}?name={text}&active={flag}&since={day}"),
    ("GET", "/api/objects/{stock}/recent?days={limit}"),
    ("GET", "/api/objects/"),
    ("GET", "/api/objects"),
    ("GET", "/api/caches/{text}"),
    ("GET", "/{text}/{text}?{text}={text}"),
];

/// What a placeholder stands for: sound values, most of them.
fn sound(name: &str) -> &'static [&'static str] {
    match name {
        "symbol" => &["BTCUSDT", "ETHUSDT", "BNBUSDT", "btcusdt", "NOSUCH", "BTC%55SDT"],
        "coin" => &["BTCUSD_PERP", "ETHUSD_PERP", "BTCUSD"],
        "symbols" => &[
            "[\"BTCUSDT\",\"ETHUSDT\"]",
            "%5B%22BTCUSDT%22,%22ETHUSDT%22%5D",
            "[\"BTCUSDT\"]",
            "[%22BTCUSDT%22%2C%22BTCUSDT%22]",
            "[]",
            "[\"BTCUSDT\"",
            "[[\"BTCUSDT\"]]",
            "[null]",
            "[\"\"]",
            "{}",
            "[\"BTCUSDT\",]",
            "[\"\\u0042TCUSDT\"]",
            "[\"\\ud800\"]",
        ],
        "status" => &["TRADING", "HALT", "BREAK", "trading", "NONE"],
        "interval" => &["1m", "5m", "1h", "1d", "1w", "1M", "1s", "3d", "7m", "1H", "0m", "61m"],
        "limit" => &["1", "2", "5", "10", "100", "500", "1000", "1500", "5000", "0"],
        "time" => &["1700000000000", "1735689600000", "0", "1", "1700000000000000", "1764000000000", "4102444800000"],
        "zone" => &["0", "8", "-1:00", "05:45", "+14:00", "-12:00", "15", "%2B1"],
        "flag" => &["true", "false", "1", "0", "yes"],
        "market" => &["spot", "futures", "coin", "margin"],
        "asset" => &["USDT", "BTC", "usdt", "NONE"],
        "format" => &["json", "csv", "xml"],
        "key" => &["a", "b/c", "b%2Fc", "%C3%A4", "d.e-f_g", "a%20b", ".", "..%2Fx", "a?b", "x//y"],
        "span" => &["10m", "60s", "1ms", "1s", "365d", "366d", "0s", "-1s", "1h30m", "5"],
        "tags" => &["a", "a,b,c", ",,", "a%2Cb", "a%0Ab", "a%00"],
        "series" => &["my:BTC-PERP", "a", "a.b:c", "BTCUSDT", ":", "a..b"],
        "kind" => &["mood", "a.b-c_d", "%6Dood", "a%2Fb"],
        "pattern" => &["*", "klines:*", "not*s:?", "[a-z]*", "\\*", "**", "[", "{a,b}", "notes:{a,b{c,d}}*"],
        "region" => &["notes", "klines", "ticker_price", "nope", ""],
        "kept" => &[
            "notes:a",
            "notes:b%2Fc",
            "klines:spot/api/v3/klines",
            "exchange_info:spot/api/v3/exchangeInfo?",
            "ticker_price:spot/api/v3/ticker/price%3F",
            "spot/api/v3/ticker/price?symbol=BTCUSDT",
            "/api/v3/klines?symbol=BTCUSDT&interval=1m",
            "nope:x",
            ":",
            "notes:",
            "lastgood:x",
        ],
        "stock" => &["AAPL", "msft", "NONE", "A.B", "%2e%2e%2fx", "A%00", "..", "a%5Cb"],
        "order" => &["up", "DOWN", "sideways"],
        "decimal" => {
            &["1.5", "0", "-0.0", "1e3", "79228162514264337593543950335", "0.00000000000000000000000000000001"]
        }
        "day" => &["2025-01-31", "1999-12-31", "2025-02-30", "9999-12-31", "-2025-01-01"],
        _ => &["x", "SPOT", "MINI", "FULL", "abc", "margin", "%41"],
    }
}

/// What stands in any place once in a while.
const WEIRD: &[&str] = &[
    "",
    "%00",
    "%",
    "%2",
    "%zz",
    "%ff%fe",
    "%C0%AF",
    "%25%32%66",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..",
    "-1",
    "+1",
    "1e3",
    "0x10",
    "01",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999",
    "1.0",
    "NaN",
    "%D9%A1%D9%A2%D9%A3",
    "%EF%BC%91",
    "%F0%9F%92%A9",
    "%E2%80%AE",
    "null",
    "[]",
    "%5B",
    "'%20OR%201=1%20--",
    "<script>",
    "a%0d%0aX-Injected:%201",
    "a+b",
    "a%2Bb",
    "*",
    "~",
    "{x}",
    "$ne",
    "\\",
    "|",
    "^",
    "`",
    "a;b",
    "%3F",
    "%23",
    "%26a=b",
];

/// Puts values in the place of the names in braces; of a calm request only sound ones, and few of them, so that requests
/// meet each other's entries.
fn fill(template: &str, calm: bool, dice: &mut Dice) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap();
        filled.push_str(before);
        match dice.below(24) {
            _ if calm => filled.push_str(dice.pick(&sound(name)[..2])),
            0..2 => filled.push_str(dice.pick(WEIRD)),
            2 => filled.push_str(&"9".repeat(dice.below(40))),
            3 if dice.one_in(8) => filled.push_str(&dice.pick(WEIRD).repeat(dice.below(400))),
            _ => filled.push_str(dice.pick(sound(name))),
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// Leaves out, doubles, empties, swaps and adds parameters.
fn bend_query(target: &str, dice: &mut Dice) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let mut fields: Vec<String> = query.split('&').map(str::to_owned).collect();
    for _ in 0..dice.below(3) {
        let at = dice.below(fields.len().max(1));
        match dice.below(8) {
            0..3 if !fields.is_empty() => drop(fields.remove(at)),
            3 if !fields.is_empty() => fields.push(fields[at].clone()),
            4 if !fields.is_empty() => {
                let name = fields[at].split('=').next().unwrap().to_owned();
                fields[at] = [format!("{name}="), name.clone(), format!("={name}"), format!("{name}=a=b")]
                    [dice.below(4)]
                .clone();
            }
            5 if !fields.is_empty() => fields.swap(0, at),
            6 => fields.push(String::new()),
            _ => fields.push(format!("{}={}", dice.pick(WEIRD), dice.pick(WEIRD))),
        }
    }
    match fields.is_empty() && dice.one_in(2) {
        true => path.to_owned(),
        false => format!("{path}?{}", fields.join("&")),
    }
}

/// Writes characters of a path in other ways.
fn bend_path(target: &str, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = target.as_bytes().to_vec();
    let at = dice.below(bytes.len().max(1));
    let put = |bytes: &mut Vec<u8>, what: &[u8]| drop(bytes.splice(at..at, what.iter().copied()));
    match dice.below(10) {
        0 if !bytes.is_empty() => {
            let coded = format!("%{:02X}", bytes[at]);
            bytes.splice(at..=at, coded.into_bytes());
        }
        1 => put(&mut bytes, b"//"),
        2 => put(&mut bytes, b"/./"),
        3 => put(&mut bytes, b"/../"),
        4 => put(&mut bytes, dice.pick(WEIRD).as_bytes()),
        5 => put(&mut bytes, "\u{e4}\u{1F600}".as_bytes()),
        6 => put(&mut bytes, &dice.bytes(3)),
        7 => put(&mut bytes, b"#x"),
        8 => bytes.truncate(at),
        _ => put(&mut bytes, "a/".repeat(dice.below(4_000)).as_bytes()),
    }
    bytes
}

fn in_other_form(target: &[u8], dice: &mut Dice) -> Vec<u8> {
    let prefix = dice.pick(&[
        "http://localhost",
        "http://evil.example",
        "https://localhost:1",
        "ftp://x",
        "http://u:p@localhost",
        "http://[::1]",
        "http://",
        "//localhost",
        "localhost:80",
        "http:",
    ]);
    match dice.below(5) {
        0 => b"*".to_vec(),
        1 => b"localhost:443".to_vec(),
        _ => [prefix.as_bytes(), target].concat(),
    }
}

const METHODS: &[&str] = &[
    "GET", "GET", "HEAD", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get",
    "M-SEARCH", "X",
];

/// Header lines that HTTP allows.
const HEADERS: &[&str] = &[
    "Accept-Encoding: gzip",
    "Accept-Encoding: gzip;q=0, *",
    "Accept-Encoding: gzip;q=abc, ;;,,=",
    "Accept-Encoding: gzip;q=1e999;q=-1",
    "Accept-Encoding:",
    "If-None-Match: *",
    "If-None-Match: \"x\", W/\"y\",,\"",
    "If-None-Match: W/",
    "If-Match: *",
    "If-Match: \"0\"",
    "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
    "If-Modified-Since: not a date",
    "If-Unmodified-Since: Sat, 31 Feb 99999 25:61:61 GMT",
    "Range: bytes=0-0",
    "Range: bytes=-1, 5-3, 99999999999999999999-",
    "If-Range: \"x\"",
    "Expect: 100-continue",
    "Expect: something-else",
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    "Connection: keep-alive, X-MBX-APIKEY, Host",
    "Connection: ,,",
    "Connection: close",
    "Keep-Alive: timeout=0, max=0",
    "TE: trailers, deflate;q=0.5",
    "Trailer: Content-Length",
    "Content-Type: application/json",
    "Content-Type: text/html; charset=\"",
    "Content-Type: /",
    "Content-Encoding: gzip",
    "X-MBX-TIME-UNIT: MICROSECOND",
    "X-MBX-TIME-UNIT: \u{e9}",
    "X-MBX-SBE: 1:0",
    "X-MBX-APIKEY: k",
    "X-MBX-APIKEY:",
    "Authorization: Bearer 0123456789abcdef",
    "Authorization: Bearer wrong",
    "Authorization: Bearer",
    "Authorization: Basic \u{ff}",
    "Authorization: Bearer \u{e9}\u{e9}",
    "Origin: http://evil.example",
    "Origin: null",
    "Sec-Fetch-Site: cross-site",
    "X-Forwarded-For: 1.2.3.4",
    "Forwarded: for=x",
    "X-Lastgood-User: ana",
    "X-Lastgood-User: \u{e9}",
    "Host: evil.example",
    "Host:",
    "Host: [::1",
    "Host: a, b",
    "Cookie: a=b; c",
    "Accept: text/html;q=x",
    "Cache-Control: no-cache, max-age=-1, only-if-cached",
    "Pragma: no-cache",
    "Date: yesterday",
    "lastgood-proxied: 1",
    "X:\t tabs \t",
];

/// Header lines that HTTP forbids.
const ODD_LINES: &[&[u8]] = &[
    b"No-Colon",
    b": no name",
    b"Sp ace: 1",
    b"Space-Before : 1",
    b" Folded: 1",
    b"A: b\r\n folded",
    b"Nul: \0",
    b"Cr: a\rb",
    b"Lf: a\nB: c",
    b"\xff\xfe: 1",
    b"Del: \x7f",
    b"\0",
];

/// Bodies that JSON readers trip over.
fn json(dice: &mut Dice) -> Vec<u8> {
    let bar = r#"[1735689600000,"94000.1","94100","93900.5","94050","12.5"]"#;
    match dice.below(26) {
        0..3 => r#"{"input":{"symbol":"BTCUSDT"}}"#.into(),
        3..6 => r#"{"input":{"symbol":"BTCUSDT"},"analysis":{"mood":"calm"}}"#.into(),
        6..9 => format!("[{bar}]").into(),
        9 => r#"[{"time":1,"open":"1","high":"2","low":"1","close":"1","volume":"0"}]"#.into(),
        10 => format!("[{}]", vec![bar; 5_001].join(",")).into(),
        11 => format!("[{}]", [r#"[1e400,"-",null,{},[],true]"#; 3].join(",")).into(),
        12 => r#"{"pattern":"notes:*","dry_run":true}"#.into(),
        13 => r#"{"region":"notes","hard":true}"#.into(),
        14 => r#"{"key":"notes:a","tag":"a"}"#.into(),
        15 => r#"{"symbol":"BTCUSDT","dry_run":true}"#.into(),
        16 => r#"{"confirm":true,"dry_run":true}"#.into(),
        17 => format!("{{\"input\":{}1{}}}", "[".repeat(3_000), "]".repeat(3_000)).into(),
        18 => format!("{{\"input\":\"{}\"}}", "x".repeat(200_000)).into(),
        19 => r#"{"input":1e999,"analysis":-0}"#.into(),
        20 => r#"{"input":"\ud800","analysis":"\u0000"}"#.into(),
        21 => br#"{"input":"\xff"}"#.to_vec(),
        22 => b"\xef\xbb\xbf{}".to_vec(),
        23 => r#"{"a":1,"a":2}"#.into(),
        24 => dice.bytes(300),
        _ => dice.pick(WEIRD).as_bytes().to_vec(),
    }
}

fn chunked(body: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(1 + dice.below(rest.len()));
        let extension = dice.pick(&["", "", ";a", ";a=b", ";a=\"b;c\"", " ", ";"]);
        let size = match dice.below(3) {
            0 => format!("{:x}", chunk.len()),
            1 => format!("{:X}", chunk.len()),
            _ => format!("{:05x}", chunk.len()),
        };
        wire.extend(format!("{size}{extension}\r\n").into_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
        rest = after;
    }
    let trailers = dice.pick(&["", "", "X-Trailer: 1\r\n", "Content-Length: 99\r\nTransfer-Encoding: chunked\r\n"]);
    wire.extend(format!("0\r\n{trailers}\r\n").into_bytes());
    wire
}

/// Gives a request a body, framed in one of many ways.
fn with_body(request: &mut Request, dice: &mut Dice) {
    let body = json(dice);
    let length = body.len();
    let lines = |lines: &[String]| lines.iter().map(|line| line.clone().into_bytes()).collect();
    let chunks = "Transfer-Encoding: chunked".to_owned();
    let (framed_by, payload, framing): (Vec<Vec<u8>>, Vec<u8>, Framing) = match dice.below(24) {
        0..11 => (lines(&[format!("Content-Length: {length}")]), body, Framing::Clear),
        11..15 => (lines(&[chunks]), chunked(&body, dice), Framing::Clear),
        15 => {
            let same = format!("Content-Length: {length}");
            (lines(&[same.clone(), same]), body, Framing::Odd)
        }
        16 => {
            let two = [format!("Content-Length: {length}"), format!("Content-Length: {}", length + 1)];
            (lines(&two), body, Framing::Broken)
        }
        17 => {
            let value = dice.pick(&["-1", "+5", "0x5", "5,6", "5 5", "", "99999999999999999999", "five", "1e1"]);
            (lines(&[format!("Content-Length: {value}")]), body, Framing::Broken)
        }
        18 => {
            let coding = dice.pick(&["identity", "gzip", "xchunked", "chunked, gzip", "chunked-not", "\u{b}chunked"]);
            (lines(&[format!("Transfer-Encoding: {coding}")]), body, Framing::Broken)
        }
        19 => {
            let size = dice.pick(&["zz", "-1", "", "0x5", "+5", "5g", ";", "10000000000000000", "\u{e9}"]);
            let wire = format!("{size}\r\nhello\r\n0\r\n\r\n").into_bytes();
            (lines(&[chunks]), wire, Framing::Broken)
        }
        20 => (lines(&[chunks]), b"5\r\nhello!!\r\n0\r\n\r\n".to_vec(), Framing::Broken),
        21 => {
            let both = [format!("Content-Length: {length}"), chunks];
            (lines(&both), chunked(&body, dice), Framing::Odd)
        }
        22 => {
            let most = body.len() / 2;
            let sent = body[..most].to_vec();
            (lines(&[format!("Content-Length: {}", length + 1)]), sent, Framing::Cut)
        }
        _ => {
            let mut wire = chunked(&body, dice);
            wire.truncate(wire.len().saturating_sub(1 + dice.below(8)));
            (lines(&[chunks]), wire, Framing::Cut)
        }
    };
    if request.framing == Framing::Clear || framing != Framing::Clear {
        request.framing = framing;
    }
    (request.framed_by, request.payload) = (framed_by, payload);
}

/// A request that follows from the dice.
pub(super) fn request(dice: &mut Dice, marker: &str) -> Request {
    let (method, template) = match dice.one_in(2) {
        true => ("GET", dice.pick(EXCHANGE)),
        false => dice.pick(OWN),
    };
    let calm = dice.below(5) < 2;
    let mut target = fill(template, calm, dice);
    let mut request = Request::get("/");
    request.method = method.to_owned();
    if !calm && dice.one_in(2) {
        target = bend_query(&target, dice);
    }
    // Half of the requests say something that nobody else says.
    match dice.below(if calm { 24 } else { 6 }) {
        0 => target = target.replacen("BTCUSDT", marker, 1),
        1 => target.push_str(&format!("{}x={marker}", if target.contains('?') { "&" } else { "?" })),
        2 => target = format!("/{marker}{target}"),
        3 => {
            let (path, query) = target.split_once('?').map_or((target.as_str(), ""), |(path, query)| (path, query));
            target = format!("{path}{marker}?{query}");
        }
        _ => {}
    }
    if target.contains(marker) {
        request.marker = marker.to_owned();
    }
    request.target = target.clone().into_bytes();
    if !calm && dice.one_in(6) {
        request.target = bend_path(&target, dice);
        request.is_odd();
    }
    if !calm && dice.one_in(20) {
        request.target = in_other_form(&request.target, dice);
        request.is_odd();
    }
    // What is no token, or would end the line early.
    if request.target.iter().any(|byte| !byte.is_ascii_graphic()) || request.target.is_empty() {
        request.is_odd();
    }
    if !calm {
        if dice.one_in(6) {
            request.method = dice.pick(METHODS).to_owned();
        }
        bend_head(&mut request, dice);
    }
    if calm && dice.one_in(6) {
        request.add("If-None-Match: *");
    }
    if calm || dice.one_in(3) {
        request.add(format!("Authorization: Bearer {TOKEN}"));
    }
    let wants_body = matches!(request.method.as_str(), "POST" | "PUT" | "PATCH");
    match wants_body {
        true if calm => {
            let body = fitting(&target, method);
            request.framed_by = vec![format!("Content-Length: {}", body.len()).into_bytes()];
            request.payload = body.as_bytes().to_vec();
        }
        true if !dice.one_in(8) => with_body(&mut request, dice),
        false if !calm && dice.one_in(12) => with_body(&mut request, dice),
        _ => {}
    }
    request
}

/// The body that a path takes.
fn fitting(target: &str, method: &str) -> &'static str {
    let is_in = |part: &str| target.contains(part);
    match method {
        "PUT" if is_in("/v1/llm/") => r#"{"input":{"symbol":"ETHUSDT"},"analysis":{"mood":"calm"}}"#,
        "POST" if is_in("/v1/llm/") => r#"{"input":{"symbol":"ETHUSDT"}}"#,
        _ if is_in("/v1/bars/") => r#"[[1735689600000,"94000.1","94100","93900.5","94050","12.5"]]"#,
        _ if is_in("invalidate") => r#"{"region":"notes"}"#,
        _ if is_in("flush") => r#"{"confirm":true}"#,
        _ => "{}",
    }
}

/// A request to every path with every value in every place, the others being sound, and with every method.
pub(super) fn sweep() -> Vec<Request> {
    let of_exchange = EXCHANGE.iter().map(|template| ("GET", *template));
    let mut requests = Vec::new();
    for (method, template) in of_exchange.chain(OWN.iter().copied()) {
        // Text and names in braces, in turn.
        let parts: Vec<&str> = template.split(['{', '}']).collect();
        let with = |place: usize, value: &str| -> String {
            let part = |(at, part): (usize, &&str)| match at % 2 {
                0 => (*part).to_owned(),
                _ if at == place => value.to_owned(),
                _ => sound(part)[0].to_owned(),
            };
            parts.iter().enumerate().map(part).collect()
        };
        for place in (1..parts.len()).step_by(2) {
            let values = sound(parts[place]).iter().chain(WEIRD);
            requests.extend(values.map(|value| Request::sound(method, &with(place, value))));
        }
        let plain = with(0, "");
        requests.extend(METHODS.iter().map(|method| Request::sound(method, &plain)));
    }
    requests
}

fn bend_head(request: &mut Request, dice: &mut Dice) {
    for _ in 0..dice.below(4) {
        request.add(dice.pick(HEADERS));
    }
    match dice.below(60) {
        0 => {
            request.version = dice.pick(&["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 ", ""]);
            request.is_odd();
        }
        1 => {
            request.method = dice.pick(&["G@T", "", "GET GET", "G\u{e9}T", "(", &"A".repeat(300)]).to_owned();
            request.is_odd();
        }
        2 | 3 => {
            request.add(dice.pick(ODD_LINES));
            request.is_odd();
        }
        4 => {
            (0..dice.below(200)).for_each(|at| request.add(format!("X-Many-{at}: {at}")));
            request.is_odd();
        }
        5 => {
            request.add(format!("X-Long: {}", "x".repeat(dice.below(100_000))));
            request.is_odd();
        }
        6 => {
            request.headers.clear();
            request.is_odd();
        }
        _ => {}
    }
}
