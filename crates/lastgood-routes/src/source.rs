//! Where the answers of declared routes come from: databases, buckets and HTTP APIs that the configuration names.

mod check;
pub(crate) mod compute;
pub(crate) mod error;
pub(crate) mod object;
pub(crate) mod selector;
pub(crate) mod sql;
pub(crate) mod tls;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lastgood::Error;
use lastgood::proxy::Proxies;
use percent_encoding::percent_decode;

pub(crate) use self::check::CheckError;
use crate::arguments::Arguments;

pub(crate) mod http;

/// One declared question to one declared source: a statement with its pool, an object with its bucket, a path with its
/// API. Made when the gateway starts; asked by the load of a route, never by a caller's task.
#[async_trait]
pub(crate) trait Source: fmt::Debug + fmt::Display + Send + Sync {
    /// Asks, with arguments that were checked already. `held` is what the last good load brought: a source that knows
    /// that nothing changed says so instead of sending it again.
    ///
    /// # Errors
    ///
    /// Why there is no answer. The message is for a client to read: it names no address, statement or secret.
    async fn load(&self, arguments: &Arguments, held: Option<&Held>) -> Result<Loaded, Error>;

    /// Whether the source is there and can do what its routes declare: the statement prepares, the bucket lists, the
    /// API answers. For `lastgood check`.
    ///
    /// # Errors
    ///
    /// The problem and how to fix it; names no secret.
    async fn check(&self) -> Result<(), CheckError>;
}

/// How databases, buckets and APIs are reached, all of them alike.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// For a connection to be made. Defaults to 2 s.
    pub connect_timeout: Duration,
    /// The proxies that lead to buckets and APIs. None by default.
    pub proxies: Proxies,
    /// Requests under way at the same time, per API. Defaults to 64.
    pub max_concurrent: usize,
    /// Size of an API's answer in bytes. Defaults to 64 MiB.
    pub max_answer_bytes: usize,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions {
            connect_timeout: Duration::from_secs(2),
            proxies: Proxies::default(),
            max_concurrent: 64,
            max_answer_bytes: 64 << 20,
        }
    }
}

/// What a source brought.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// An answer.
    Answer(Answer),
    /// The held answer is still the source's.
    Unchanged,
    /// The source says that the question is wrong. Of one that it has answered before that is its own failure.
    Refused(Error),
}

/// An answer of a source.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Whole and of the shape that is wanted.
    pub(crate) body: Bytes,
    /// For example `application/json`.
    pub(crate) content_type: String,
    /// What distinguishes this version from others: an entity tag or a generation, opaque to all but the source.
    pub(crate) validator: Option<String>,
    /// How long it is fresh, where the source says so itself.
    pub(crate) fresh_for: Option<Duration>,
}

/// The kept version of an earlier answer.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) body: Bytes,
    pub(crate) validator: Option<String>,
}

/// How often a value is decoded to see what it may come to mean: servers behind proxies decode twice, and some once more.
const DECODINGS: usize = 4;

/// Whether a value stays one segment of a path to every server, however that decodes it before it looks: it is neither
/// empty nor dots, and holds nothing that separates, ends or leaves a path.
pub(crate) fn stays_one_segment(value: &str) -> bool {
    let mut form = Cow::Borrowed(value);
    for _ in 0..DECODINGS {
        let plain: String = form.chars().map(|c| plain(c).unwrap_or(c)).collect();
        // Some servers drop blanks and dots at the ends of a segment.
        if matches!(plain.trim(), "" | ".") || plain.contains("..") || plain.contains(separates) {
            return false;
        }
        // `%u002f`, as some servers write characters that are no byte.
        let is_wide = |rest: &str| rest.len() >= 5 && rest.bytes().take(5).skip(1).all(|byte| byte.is_ascii_hexdigit());
        if plain.split('%').skip(1).any(|rest| rest.starts_with(['u', 'U']) && is_wide(rest)) {
            return false;
        }
        // Bytes that decode to no text may be anything to a server that reads other bytes.
        let Ok(decoded) = percent_decode(plain.as_bytes()).decode_utf8().map(Cow::into_owned) else { return false };
        if decoded == plain {
            return true;
        }
        form = Cow::Owned(decoded);
    }
    false
}

/// Declared text as it bears on the values next to it: what separates or is encoded in it is the operator's to say.
pub(crate) fn neutral(declared: &str) -> String {
    let (mut text, mut rest) = (String::new(), declared.chars());
    while let Some(c) = rest.next() {
        let mut behind = rest.clone();
        let is_hex = |c: Option<char>| c.is_some_and(|c| c.is_ascii_hexdigit());
        if c == '%' && is_hex(behind.next()) && is_hex(behind.next()) {
            rest = behind;
            text.push('_');
        } else {
            text.push(if separates(c) && c != '/' { '_' } else { c });
        }
    }
    text
}

fn separates(c: char) -> bool {
    matches!(c, '/' | '\\' | '?' | '#' | ';') || c.is_control()
}

/// The sign of a path that a server takes a character for which normalises text, or looks for the next best in an older
/// encoding.
fn plain(c: char) -> Option<char> {
    Some(match c {
        '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{2571}' | '\u{ff0f}' => '/',
        // Fractions and abbreviations of which a slash is a part.
        '\u{00bc}'..='\u{00be}' | '\u{2150}'..='\u{215f}' | '\u{2189}' => '/',
        '\u{2100}' | '\u{2101}' | '\u{2105}' | '\u{2106}' => '/',
        '\u{2216}' | '\u{29f5}' | '\u{29f9}' | '\u{2572}' | '\u{fe68}' | '\u{ff3c}' => '\\',
        '\u{2047}'..='\u{2049}' | '\u{fe16}' | '\u{fe56}' | '\u{ff1f}' => '?',
        '\u{fe5f}' | '\u{ff03}' => '#',
        '\u{037e}' | '\u{fe14}' | '\u{fe54}' | '\u{ff1b}' => ';',
        '\u{fe6a}' | '\u{ff05}' => '%',
        '\u{2024}' | '\u{fe52}' | '\u{ff0e}' => '.',
        // Two and three dots in one.
        '\u{2025}' | '\u{2026}' | '\u{fe19}' | '\u{fe30}' => '/',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_text_bears_on_values_only_where_an_escape_is_cut() {
        assert_eq!(neutral("/a;v=1/%2Fb%2"), "/a_v=1/_b%2");
        assert_eq!(neutral("100%/é?"), "100%/é_");
    }

    #[test]
    fn a_value_stays_one_segment_however_often_a_server_decodes_it() {
        for good in [
            "BRK.B", "BTC-USDT", "a b", "100%", "50%25", "x@y:1", "é", "1.5", "50%zz", "100%up", "a&b=c", ".hidden",
            "a%2Eb",
        ] {
            assert!(stays_one_segment(good), "{good:?}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a;b",
            "%2F",
            "..%2F",
            "%2f",
            "%5C",
            "%252F",
            "%25252F",
            "%2525252F",
            "%2e%2e",
            "%2e",
            "%3F",
            "%23",
            "%3B",
            "a\0",
            "%00",
            "%0a",
            "%c0%af",
            "\u{fffd}%c0%af",
            "%ff",
            "a..b",
            " ",
            ". ",
            ".%20",
            "\u{ff0f}",
            "%EF%BC%8F",
            "\u{2215}",
            "\u{29f8}",
            "\u{bd}",
            "\u{ff3c}",
            "%EF%BC%BC",
            "\u{2216}",
            "\u{ff1f}",
            "\u{ff03}",
            "\u{37e}",
            "\u{ff05}2f",
            "%EF%BC%852f",
            "\u{ff0e}\u{ff0e}",
            ".\u{2024}",
            "\u{2025}",
            "\u{2026}",
            "%u002f",
            "%U2215",
            "%25u002f",
        ] {
            assert!(!stays_one_segment(bad), "{bad:?}");
        }
    }
}
