//! The one redaction layer: every sink passes its text through [`redact`].
//!
//! It reads text, not types, so it also catches what a dependency logs. Where a secret's end is
//! in doubt it masks more rather than less.

use std::borrow::Cow;
use std::ops::Range;

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// A word that ends with one of these names a secret. Lower case.
const NAMES: [&[u8]; 13] = [
    b"signature",
    b"listenkey",
    b"apikey",
    b"api_key",
    b"api-key",
    b"token",
    b"secret",
    b"secretkey",
    b"secret_key",
    b"password",
    b"passwd",
    b"master_key",
    b"private_key",
];

/// Names whose values hold blanks and reach to the end of their line or text.
const LINE_NAMES: [&[u8]; 2] = [b"authorization", b"cookie"];

/// What stands for credentials in the URLs of our own messages.
const PLACEHOLDERS: [&[u8]; 5] = [b"user", b"user:password", b"[user:password", b"default:TOKEN", b"app:PASSWORD"];
/// What stands for a secret in our own messages, or is no value at all: `bearer token`.
const NO_SECRETS: [&[u8]; 6] = [b"PASSWORD", b"TOKEN", b"Bearer TOKEN", b"DEFAULT", b"token", "…".as_bytes()];
/// What precedes the name of a variable, and the default behind that.
const VARIABLE: &[u8] = b"env:";
const DEFAULT: &[u8] = b":-";

/// Authentication schemes whose parameters stand in quotes.
const QUOTING_SCHEMES: [&[u8]; 4] = [b"digest ", b"oauth ", b"hawk ", b"signature "];

/// Shortest run behind `/ws/` taken for a listen key; stream names such as `btcusdt@kline_1m`
/// are shorter or hold other characters.
const LISTEN_KEY: usize = 40;

/// Masks every secret in `text`: the values of secret parameters, headers and fields, and the
/// credentials in URLs. Applying it again changes nothing.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let secrets = Scanner::new(text.as_bytes()).secrets();
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut masked = String::with_capacity(text.len());
    let mut copied = 0;
    for secret in secrets {
        let quote = text.get(secret.quote).unwrap_or_default();
        masked.push_str(text.get(copied..secret.span.start).unwrap_or_default());
        masked.push_str(quote);
        masked.push_str(MASK);
        masked.push_str(quote);
        copied = secret.span.end;
    }
    masked.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(masked)
}

/// What to mask, and the quote to put around the mask so that JSON stays JSON.
struct Secret {
    span: Range<usize>,
    quote: Range<usize>,
}

/// Works on bytes: every boundary it returns is next to an ASCII byte, hence between characters.
struct Scanner<'a> {
    bytes: &'a [u8],
}

impl<'a> Scanner<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    fn secrets(&self) -> Vec<Secret> {
        let mut secrets = Vec::new();
        let mut at = 0;
        // Up to here no URL has credentials, so that nested schemes cost no second look.
        let mut without_userinfo = 0;
        while at < self.bytes.len() {
            let word_end = self.while_from(at, is_word);
            let found = if word_end > at {
                self.after_word(at..word_end)
            } else if self.has(at, b"://") && at >= without_userinfo {
                let (end, userinfo) = self.userinfo(at);
                without_userinfo = end;
                userinfo.map(Secret::bare)
            } else if self.has(at, b"/ws/") {
                self.listen_key(at + 4).map(Secret::bare)
            } else {
                None
            };
            at = match found {
                Some(secret) => {
                    let end = secret.span.end.max(word_end);
                    secrets.push(secret);
                    end
                }
                None => word_end.max(at + 1),
            };
        }
        secrets
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    fn has(&self, at: usize, prefix: &[u8]) -> bool {
        self.bytes.get(at..at + prefix.len()).is_some_and(|found| found.eq_ignore_ascii_case(prefix))
    }

    fn while_from(&self, start: usize, belongs: impl Fn(u8) -> bool) -> usize {
        let rest = self.bytes.get(start..).unwrap_or_default();
        start + rest.iter().take_while(|byte| belongs(**byte)).count()
    }

    /// Past blanks and terminal colours, which a text log puts around field names.
    fn skip_blanks(&self, mut at: usize) -> usize {
        loop {
            let next = self.while_from(at, |byte| matches!(byte, b' ' | b'\t'));
            let next = match self.has(next, b"\x1b[") {
                true => 1 + self.while_from(next + 2, |byte| matches!(byte, b'0'..=b'9' | b';')),
                false => next,
            };
            if next == at || next >= self.bytes.len() {
                return next.min(self.bytes.len());
            }
            at = next;
        }
    }

    /// The quote at a place, with the backslashes that escape it; empty if there is none.
    fn quote(&self, at: usize) -> Range<usize> {
        let mark = self.while_from(at, |byte| byte == b'\\');
        match self.byte(mark) {
            Some(b'"' | b'\'') => at..mark + 1,
            _ => at..at,
        }
    }

    /// Where the text that this quote opened ends; the end of everything if it never does.
    fn closing(&self, quote: &Range<usize>) -> usize {
        let mark = self.byte(quote.end - 1);
        let escapes = quote.len() - 1;
        let level = 2 * (escapes + 1);
        let mut run = 0;
        for at in quote.end..self.bytes.len() {
            match self.byte(at) {
                Some(b'\\') => run += 1,
                found if found == mark && run % level == escapes => return at - escapes,
                _ => run = 0,
            }
        }
        self.bytes.len()
    }

    fn after_word(&self, word: Range<usize>) -> Option<Secret> {
        let text = &self.bytes[word.clone()];
        if self.bytes[..word.start].ends_with(VARIABLE) {
            let start = word.end + DEFAULT.len();
            let is_given = self.has(word.end, DEFAULT) && !self.is_no_secret(start);
            let end = self.unquoted_end(start, false);
            return (is_given && end > start).then(|| Secret::bare(start..end));
        }
        let ends_with = |names: &[&[u8]]| {
            names
                .iter()
                .any(|name| text.len() >= name.len() && text[text.len() - name.len()..].eq_ignore_ascii_case(name))
        };
        if ends_with(&LINE_NAMES) {
            self.value(word.end, true)
        } else if ends_with(&NAMES) {
            self.value(word.end, false)
        } else if text.eq_ignore_ascii_case(b"bearer") {
            let start = self.while_from(word.end, |byte| byte == b' ');
            let end = self.unquoted_end(start, false);
            (start > word.end && end > start && !self.is_no_secret(start)).then(|| Secret::bare(start..end))
        } else {
            None
        }
    }

    /// The value that belongs to the name ending at `name_end`, if a value follows at all.
    fn value(&self, name_end: usize, whole_line: bool) -> Option<Secret> {
        let mut name_quote = self.quote(name_end);
        let mut at = name_quote.end;
        if self.has(at, b"%22") {
            at += 3;
        }
        at = self.skip_blanks(at);
        at = match self.byte(at)? {
            b'=' => self.while_from(at, |byte| matches!(byte, b'=' | b'>')),
            b':' if self.byte(at + 1) != Some(b':') => at + 1,
            b'%' if self.has(at, b"%3D") || self.has(at, b"%3A") => at + 3,
            b',' if !name_quote.is_empty() => self.skip_value_label(at + 1),
            b'(' if at == name_end => at,
            _ => return None,
        };
        at = self.skip_blanks(at);
        if self.has(at, b"b\"") {
            at += 1;
        }
        if self.has(at, b"%22") {
            at += 3;
        }
        let quote = self.quote(at);
        if self.is_no_secret(quote.end) {
            return None;
        }
        if !quote.is_empty() {
            return Some(Secret::bare(quote.end..self.closing(&quote)));
        }
        let in_json = !name_quote.is_empty();
        let end = match whole_line {
            true => self.line_end(at),
            false => self.unquoted_end(at, in_json),
        };
        if !in_json {
            name_quote = 0..0;
        }
        (end > at).then_some(Secret { span: at..end, quote: name_quote })
    }

    /// Whether what stands there is a placeholder of ours or a variable's name, and nothing follows it.
    fn is_no_secret(&self, at: usize) -> bool {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let ends = |rest: &[u8]| match rest {
            [] | [b'`' | b'"' | b'\'' | b'\n', ..] => true,
            [b'.' | b',' | b';' | b')', rest @ ..] => {
                rest.first().is_none_or(|next| matches!(next, b' ' | b'\n' | b'"'))
            }
            [b' ', rest @ ..] => !rest.starts_with(b"="),
            _ => false,
        };
        // A command in a shell's line, which makes it.
        if rest.starts_with(b"$(") {
            return true;
        }
        if let Some(name) = rest.strip_prefix(VARIABLE) {
            return ends(&name[name.iter().take_while(|byte| is_word(**byte)).count()..]);
        }
        NO_SECRETS.iter().any(|known| rest.strip_prefix(*known).is_some_and(ends))
    }

    /// Headers in debug form: `"name", "value"` and `name: "name", value: "value"`.
    fn skip_value_label(&self, at: usize) -> usize {
        let at = self.skip_blanks(at);
        match self.has(at, b"value:") {
            true => at + 6,
            false => at,
        }
    }

    /// The end of a value without quotes; brackets are taken with all they hold.
    fn unquoted_end(&self, mut at: usize, in_json: bool) -> usize {
        while let Some(byte) = self.byte(at) {
            at = match byte {
                b'(' | b'[' | b'{' => self.bracket_end(at),
                b',' | b';' if in_json => return at,
                b',' | b';' => match self.byte(at + 1) {
                    None | Some(b' ' | b'\t' | b'\r' | b'\n') => return at,
                    Some(_) => at + 1,
                },
                b'%' if self.has(at, b"%26") || self.has(at, b"%22") => return at,
                b'"' | b'\'' | b'`' | b'&' | b'#' | b'<' | b'>' | b')' | b']' | b'}' | b'\\' => {
                    return at;
                }
                0..=b' ' | 0x7f => return at,
                _ => at + 1,
            };
        }
        self.bytes.len()
    }

    /// Past the bracket that closes the one at `at`, or the end of the line.
    fn bracket_end(&self, mut at: usize) -> usize {
        let mut depth = 0_usize;
        while let Some(byte) = self.byte(at) {
            match byte {
                b'\n' => return at,
                b'"' => {
                    let quote = at..at + 1;
                    at = self.closing(&quote);
                }
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return at + 1;
                    }
                }
                _ => {}
            }
            at += 1;
        }
        self.bytes.len()
    }

    /// The end of the line, or of the quoted text around it. The quoted parameters of a scheme that
    /// has them belong to the value.
    fn line_end(&self, mut at: usize) -> usize {
        let quotes_belong = QUOTING_SCHEMES.iter().any(|scheme| self.has(at, scheme));
        while let Some(byte) = self.byte(at) {
            let quote = self.quote(at);
            if byte == b'\n' {
                return at;
            } else if matches!(byte, b'(' | b'[' | b'{') {
                at = self.bracket_end(at);
            } else if quote.is_empty() {
                // A run of backslashes is passed at once: looking at each would cost its square.
                at = self.while_from(at, |byte| byte == b'\\').max(at + 1);
            } else if quotes_belong && at > 0 && self.byte(at - 1) == Some(b'=') {
                at = self.closing(&quote) + quote.len();
            } else {
                return at;
            }
        }
        self.bytes.len()
    }

    /// The credentials of the URL whose `://` is at `at`, and how far was looked for them.
    fn userinfo(&self, at: usize) -> (usize, Option<Range<usize>>) {
        let start = at + 3;
        let far =
            self.while_from(start, |byte| byte > b' ' && !matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | 0x7f));
        let near = self.while_from(start, |byte| !matches!(byte, b'/' | b'?' | b'#' | b'\\')).min(far);
        // Behind other schemes than HTTP's a raw `/` or `?` is a password badly written.
        let end = match self.is_http(at) && self.has_plain_port(start..near) {
            true => near,
            false => far,
        };
        let last_at = self.bytes[start..end].iter().rposition(|byte| *byte == b'@');
        let userinfo = last_at.map(|offset| start..start + offset);
        (end, userinfo.filter(|found| !PLACEHOLDERS.contains(&&self.bytes[found.clone()])))
    }

    fn is_http(&self, scheme_end: usize) -> bool {
        let before = &self.bytes[..scheme_end];
        let schemes: [&[u8]; 4] = [b"http", b"https", b"ws", b"wss"];
        schemes.iter().any(|scheme| {
            before.len() >= scheme.len() && before[before.len() - scheme.len()..].eq_ignore_ascii_case(scheme)
        })
    }

    /// Whether an authority is a host with at most a port, or holds its `@` itself.
    fn has_plain_port(&self, authority: Range<usize>) -> bool {
        let text = &self.bytes[authority];
        let port = text.rsplit(|byte| *byte == b':').next().unwrap_or_default();
        text.contains(&b'@') || !text.contains(&b':') || text.ends_with(b"]") || port.iter().all(u8::is_ascii_digit)
    }

    fn listen_key(&self, start: usize) -> Option<Range<usize>> {
        let end = self.while_from(start, |byte| byte.is_ascii_alphanumeric());
        (end - start >= LISTEN_KEY).then_some(start..end)
    }
}

impl Secret {
    fn bare(span: Range<usize>) -> Self {
        Self { span, quote: 0..0 }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

#[cfg(test)]
mod own_words;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secrets_are_masked_in_every_form_they_are_written_in() {
        for (text, expected) in [
            ("GET /api/v3/order?symbol=X&signature=SECRET&a=1", "GET /api/v3/order?symbol=X&signature=***&a=1"),
            ("?listenKey=SECRET", "?listenKey=***"),
            ("?apiKey=SECRET#x", "?apiKey=***#x"),
            ("?_token=SECRET token=SECRET", "?_token=*** token=***"),
            ("signature%3DSECRET%26a%3D1", "signature%3D***%26a%3D1"),
            ("X-MBX-APIKEY: SECRET", "X-MBX-APIKEY: ***"),
            ("x-mbx-apikey:SECRET\r\nhost: h", "x-mbx-apikey:***\r\nhost: h"),
            ("Authorization: Bearer SECRET\nhost: h", "Authorization: ***\nhost: h"),
            ("Authorization: Digest user=\"SECRET\", response=\"SECRET\"", "Authorization: ***"),
            ("-H 'Authorization: Basic SECRET=='", "-H 'Authorization: ***'"),
            (
                "{\"authorization\": \"Bearer SECRET\", \"host\": \"h\"}",
                "{\"authorization\": \"***\", \"host\": \"h\"}",
            ),
            ("[(\"x-mbx-apikey\", \"SECRET\"), (\"a\", \"b\")]", "[(\"x-mbx-apikey\", \"***\"), (\"a\", \"b\")]"),
            (
                "Header { name: \"Authorization\", value: \"SECRET\" }",
                "Header { name: \"Authorization\", value: \"***\" }",
            ),
            ("token: Some(\"SECRET\"), a: 1", "token: ***, a: 1"),
            ("authorization: Some(\"Bearer SECRET\"), a: 1", "authorization: ***"),
            ("Authorization(Bearer(\"SECRET\"))", "Authorization***"),
            ("sent Bearer SECRET here", "sent Bearer *** here"),
            ("{\"listenKey\":\"SECRET\",\"a\":1}", "{\"listenKey\":\"***\",\"a\":1}"),
            ("{\\\"token\\\":\\\"SEC\\\\\\\"RET\\\",\\\"a\\\":1}", "{\\\"token\\\":\\\"***\\\",\\\"a\\\":1}"),
            ("{\"token\":12345,\"a\":1}", "{\"token\":\"***\",\"a\":1}"),
            ("{\"token\":[\"SECRET\"],\"a\":1}", "{\"token\":\"***\",\"a\":1}"),
            ("\x1b[3mtoken\x1b[0m\x1b[2m=\x1b[0m\"SECRET\"", "\x1b[3mtoken\x1b[0m\x1b[2m=\x1b[0m\"***\""),
            ("redis://user:SECRET@h:1/0", "redis://***@h:1/0"),
            ("redis://:SEC/RE?T@h:1", "redis://***@h:1"),
            ("https://SECRET:SECRET@h/p", "https://***@h/p"),
            ("https://u:SEC/RET@h/p", "https://***@h/p"),
            ("wss://h/ws/aaaaaaaaaabbbbbbbbbbccccccccccddddddddddSECRET", "wss://h/ws/***"),
            ("ключ_token=SECRETключ конец", "ключ_token=*** конец"),
            ("admin_token=SECRET, next", "admin_token=***, next"),
            ("Bearer TOKENSECRET and Bearer TOKEN=SECRET", "Bearer *** and Bearer ***"),
            ("Authorization: Bearer TOKEN-SECRET", "Authorization: ***"),
            ("env:ADMIN_TOKEN:-SECRET, token=env:SECRET:SECRET", "env:ADMIN_TOKEN:-***, token=***"),
            ("token=\"SECRET that never ends", "token=\"***"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(expected), expected, "a second time");
        }
    }

    #[test]
    fn text_that_is_no_secret_stays() {
        for text in [
            "",
            "GET /api/v3/klines?symbol=BTCUSDT&interval=1m",
            "https://api.binance.com/api/v3/ping?email=a@b",
            "http://[::1]:8090/",
            "write redis://[user:password@]host:port[/db], or postgres://user:password@host/name",
            "wss://h/ws/btcusdt@kline_1m",
            "Signature for this request is not valid.",
            "token::parse and max_tokens=5",
            "the key is btcusdt, 14 tokens",
            "sent as `Authorization: Bearer TOKEN`, with the bearer token of the gateway",
            "in place of \"env:GATE_TOKEN\", or a default: \"env:GATE_TOKEN:-DEFAULT\"",
            "token = \"env:LASTGOOD_ADMIN_TOKEN\"",
            "set LASTGOOD_ADMIN_TOKEN (make one with: openssl rand -hex 32), or listen elsewhere",
        ] {
            assert!(matches!(redact(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    /// How long the quickest of some runs takes.
    fn quickest(line: &str) -> std::time::Duration {
        let run = |_| {
            let begun = tokio::time::Instant::now();
            std::hint::black_box(redact(std::hint::black_box(line)));
            begun.elapsed()
        };
        (0..20).map(run).min().unwrap()
    }

    #[test]
    fn a_hostile_line_that_is_eight_times_as_long_takes_eight_times_as_long_and_not_sixty_four() {
        for pattern in ["redis://", "token=", "\"", "\\", "token=(", "authorization: =\"", "://@"] {
            for before in ["", "authorization: "] {
                let line = |bytes: usize| format!("{before}{}", pattern.repeat(bytes / pattern.len()));
                let (short, long) = (quickest(&line(8_000)), quickest(&line(64_000)));
                assert!(long < short * 24, "{before}{pattern}: {short:?}, then {long:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_twice_is_once(text in "(\\PC|token|=|:|\"|\\\\|://|@|[({\\[\\]})]|%3D|\x1b\\[|\n|authorization|,){0,60}") {
            let once = redact(&text).into_owned();
            let twice = redact(&once).into_owned();
            prop_assert_eq!(redact(&twice).into_owned(), twice);
        }

        #[test]
        fn no_named_value_survives(
            before in "[a-z &?]{0,9}",
            name in prop::sample::select(vec!["signature", "listenKey", "apiKey", "_token", "token", "X-MBX-APIKEY", "Authorization"]),
            separator in prop::sample::select(vec!["=", ": ", "\": \"", "=\"", " = ", "%3D", "\",\"", ": Some(\"", "([\""]),
            secret in "[A-Z0-9]{12,40}",
            after in "[a-z &,;\"]{0,9}",
        ) {
            let text = format!("{before}{name}{separator}{secret}{after}");
            prop_assert!(!redact(&text).contains(&secret), "{}", redact(&text));
        }
    }
}
