//! Patterns such as `klines:*:BTCUSDT:*`.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::iter::once;

use percent_encoding::percent_decode_str;

use super::name::with_upper_escapes;

/// The longest pattern, in bytes.
const LONGEST: usize = 512;

/// A pattern: `*` is any text, `?` any character, `[a-z]` one of some, `[!a-z]` none of them; `\` takes the next
/// character as it is. It is compared with the whole text, once as the key is written and once with the
/// percent-encoding of both undone: keys are encoded, and people type names.
pub(super) struct Glob {
    written: Parts,
    /// `None` where undoing its encoding changes nothing, or gives no text.
    decoded: Option<Parts>,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotPattern {
    /// It is empty or too long.
    Length,
    /// A `[` lacks its `]`.
    Open,
    /// Its last character is a `\`.
    Escape,
}

impl fmt::Display for NotPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => write!(f, "a pattern has 1 to {LONGEST} bytes, such as \"klines:*:BTCUSDT:*\""),
            Self::Open => f.write_str("a [ lacks its ]; write \\[ for the character itself"),
            Self::Escape => f.write_str("it ends with a \\, which takes the next character as it is"),
        }
    }
}

impl Error for NotPattern {}

struct Parts(Vec<Part>);

enum Part {
    Any,
    One,
    Is(char),
    Of { negated: bool, ranges: Vec<(char, char)> },
}

impl Part {
    fn takes(&self, found: char) -> bool {
        match self {
            Part::Any => false,
            Part::One => true,
            Part::Is(wanted) => *wanted == found,
            Part::Of { negated, ranges } => ranges.iter().any(|(from, to)| (*from..=*to).contains(&found)) != *negated,
        }
    }
}

impl Glob {
    /// The pattern of a text, or the problem with it.
    pub(super) fn parse(text: &str) -> Result<Glob, NotPattern> {
        if text.is_empty() || text.len() > LONGEST {
            return Err(NotPattern::Length);
        }
        let written = Parts::parse(&with_upper_escapes(text))?;
        let decoded = percent_decode_str(text).decode_utf8().ok().filter(|decoded| decoded != text);
        // What was encoded stands for itself: %2A is a star of the key's own.
        let decoded = decoded.and_then(|_| Parts::parse(&decoded_pattern(text)?).ok());
        Ok(Glob { written, decoded })
    }

    /// Whether it takes the whole of `region:name`.
    pub(super) fn takes(&self, region: &str, name: &str) -> bool {
        // As escapes are written in keys, and as it is: each of its characters may be behind a backslash.
        if self.written.takes(region, &with_upper_escapes(name)) || self.written.takes(region, name) {
            return true;
        }
        let decoded = percent_decode_str(name).decode_utf8().unwrap_or(Cow::Borrowed(name));
        match &self.decoded {
            Some(pattern) => pattern.takes(region, &decoded),
            None => decoded != name && self.written.takes(region, &decoded),
        }
    }
}

/// A pattern with its escapes `%XX` undone, each character of theirs behind a backslash. `None` if they are no text.
fn decoded_pattern(text: &str) -> Option<String> {
    let (mut decoded, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        let escaped = rest.as_bytes().chunks(3).take_while(|part| is_escape(part)).count() * 3;
        let (run, after) = rest.split_at(escaped);
        if run.is_empty() {
            decoded.push('%');
            rest = &rest[1..];
            continue;
        }
        decoded.extend(percent_decode_str(run).decode_utf8().ok()?.chars().flat_map(|c| ['\\', c]));
        rest = after;
    }
    decoded.push_str(rest);
    Some(decoded)
}

fn is_escape(part: &[u8]) -> bool {
    matches!(part, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

impl Parts {
    fn parse(text: &str) -> Result<Parts, NotPattern> {
        let (mut parts, mut rest) = (Vec::new(), text.chars());
        while let Some(c) = rest.next() {
            parts.push(match c {
                '*' if matches!(parts.last(), Some(Part::Any)) => continue,
                '*' => Part::Any,
                '?' => Part::One,
                '[' => class(&mut rest).ok_or(NotPattern::Open)?,
                '\\' => Part::Is(rest.next().ok_or(NotPattern::Escape)?),
                c => Part::Is(c),
            });
        }
        Ok(Parts(parts))
    }

    /// Takes at most as many steps as the product of both lengths: only the last `*` is ever tried again.
    fn takes(&self, region: &str, name: &str) -> bool {
        let mut text = region.chars().chain(once(':')).chain(name.chars());
        let (mut at, mut last_star) = (0, None);
        loop {
            if let Some(Part::Any) = self.0.get(at) {
                at += 1;
                last_star = Some((at, text.clone()));
                continue;
            }
            let Some(found) = text.next() else {
                return at == self.0.len();
            };
            if self.0.get(at).is_some_and(|part| part.takes(found)) {
                at += 1;
                continue;
            }
            let Some((after_star, from)) = &mut last_star else { return false };
            // The star takes one character more.
            from.next();
            (at, text) = (*after_star, from.clone());
        }
    }
}

/// A class, its `[` read already.
fn class(rest: &mut std::str::Chars<'_>) -> Option<Part> {
    let negated = rest.as_str().starts_with(['!', '^']);
    if negated {
        rest.next();
    }
    let mut ranges: Vec<(char, char)> = Vec::new();
    loop {
        let from = match rest.next()? {
            ']' if !ranges.is_empty() => return Some(Part::Of { negated, ranges }),
            '\\' => rest.next()?,
            c => c,
        };
        let to = match rest.as_str().strip_prefix('-') {
            Some(more) if !more.starts_with(']') => {
                rest.next();
                rest.next()?
            }
            _ => from,
        };
        ranges.push((from, to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(pattern: &str, key: &str) -> bool {
        let (region, name) = key.split_once(':').unwrap();
        Glob::parse(pattern).unwrap().takes(region, name)
    }

    #[test]
    fn stars_marks_and_classes_take_what_they_say() {
        let key = "ticker_price:spot/api/v3/ticker/price?symbol=BTCUSDT";
        for yes in
            ["*", "ticker_*", "*BTCUSDT", "*:spot/*", "t*r*e:*?symbol=*", "ticker_price:spot/api/v3/*price\\?*", key]
        {
            assert!(takes(yes, key), "{yes}");
        }
        for no in ["ticker_price", "*BTC", "klines:*", "ticker_price:", "*\\*"] {
            assert!(!takes(no, key), "{no}");
        }
        for (pattern, yes, no) in [
            ("k:[a-c]1", "k:b1", "k:d1"),
            ("k:[!a-c]1", "k:d1", "k:b1"),
            ("k:[]x]", "k:]", "k:y"),
            ("k:[a-]", "k:-", "k:b"),
            ("k:\\[a]", "k:[a]", "k:a"),
            ("k:?", "k:币", "k:"),
            ("*:*a*b", "k:xaxbxb", "k:xbxa"),
        ] {
            assert!(takes(pattern, yes) && !takes(pattern, no), "{pattern}");
        }
    }

    #[test]
    fn anything_but_a_pattern_is_refused() {
        for wrong in ["", "[", "[a", "a\\", "[]", "x".repeat(513).as_str()] {
            assert!(Glob::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_their_product() {
        let pattern = format!("*{}", "a*".repeat(200)) + "b";
        assert!(!takes(&pattern, &format!("k:{}", "a".repeat(1_000))));
    }

    #[test]
    fn names_match_as_people_type_them_and_as_keys_write_them() {
        let key = "ticker_price:spot/api/v3/ticker/price?symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT";
        for yes in [
            "*币安人生USDT*",
            "*币安*",
            "*=????USDT",
            "*[币]安*",
            "*%E5%B8%81%E5%AE%89*",
            "*%e5%b8%81%E5%ae%89*",
            "*%E5%B8%81安*",
            "*symbol=%E5*",
            "*\\币安*",
            key,
        ] {
            assert!(takes(yes, key), "{yes}");
        }
        for no in ["*币安生*", "*%E5%B8%82*", "*?????USDT2"] {
            assert!(!takes(no, key), "{no}");
        }
        for (pattern, yes, no) in [
            (r#"k:*"BTCUSDT"*"#, "k:symbols=%5B%22BTCUSDT%22%5D", "k:symbols=%5B%22ETHUSDT%22%5D"),
            (r#"k:*\["BTCUSDT"\]"#, "k:symbols=%5B%22BTCUSDT%22%5D", "k:BTCUSDT"),
            ("k:a b", "k:a%20b", "k:ab"),
            ("k:a%20b", "k:a b", "k:ab"),
            ("k:a%2Ab", "k:a*b", "k:axb"),
            ("k:a%2ab", "k:a%2Ab", "k:axb"),
            ("k:100%", "k:100%", "k:100"),
            ("k:%zz%41", "k:%zzA", "k:A"),
            ("k:%FF*", "k:%ffx", "k:x"),
            ("k:[%41]", "k:%41", "k:x"),
        ] {
            assert!(takes(pattern, yes) && !takes(pattern, no), "{pattern}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_found_as_typed_and_as_encoded(name in "\\PC{1,20}") {
            let encoded = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC).to_string();
            let typed: String = name.chars().flat_map(|c| ['\\', c]).collect();
            // As it is, where it has no signs of patterns and no escapes of its own.
            let plain = !name.contains(['*', '?', '[', '\\', '%']);
            for pattern in [Some(typed), Some(encoded.clone()), Some(encoded.to_lowercase()), plain.then(|| name.clone())] {
                let Some(pattern) = pattern else { continue };
                // Lower case is another name, but for escapes.
                let same = !encoded.bytes().any(|byte| byte.is_ascii_uppercase()) || pattern != encoded.to_lowercase();
                let glob = Glob::parse(&format!("k:*{pattern}*")).unwrap();
                proptest::prop_assert!(!same || glob.takes("k", &format!("s?symbol={encoded}&limit=5")), "{pattern}");
            }
        }

        #[test]
        fn no_text_makes_it_fail(pattern in "[ab%4*?\\[\\]\\\\!^-]{0,12}", name in "[ab%4]{0,12}") {
            if let Ok(glob) = Glob::parse(&pattern) {
                glob.takes("k", &name);
            }
        }

        #[test]
        fn every_text_is_its_own_pattern(name in "\\PC{1,40}") {
            let escaped = name.chars().flat_map(|c| ['\\', c]);
            let pattern: String = "k:".chars().chain(escaped).collect();
            proptest::prop_assert!(Glob::parse(&pattern).is_ok_and(|glob| glob.takes("k", &name)));
        }
    }
}
