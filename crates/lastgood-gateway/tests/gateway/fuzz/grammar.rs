//! Requests: mostly sound ones to every kind of path, each bent in some places.

mod body;
mod vocabulary;

use self::body::with_body;
use self::vocabulary::{EXCHANGE, HEADERS, METHODS, ODD_LINES, OWN, WEIRD, sound};
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
    // Half of the requests are unique.
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
    // Text that is no token, or would end the line early.
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
