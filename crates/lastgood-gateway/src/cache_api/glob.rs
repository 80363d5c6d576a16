//! Patterns such as `klines:*:BTCUSDT:*`.

use std::iter::once;

/// The longest pattern, in bytes.
const LONGEST: usize = 512;

/// A pattern: `*` is any text, `?` any character, `[a-z]` one of some, `[!a-z]` none of them; `\` takes the next
/// character as it is. It is compared with the whole text.
pub(super) struct Glob(Vec<Part>);

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
    /// The pattern of a text, or what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Glob, String> {
        if text.is_empty() || text.len() > LONGEST {
            return Err(format!("a pattern has 1 to {LONGEST} bytes, such as \"klines:*:BTCUSDT:*\""));
        }
        let (mut parts, mut rest) = (Vec::new(), text.chars());
        while let Some(c) = rest.next() {
            parts.push(match c {
                '*' if matches!(parts.last(), Some(Part::Any)) => continue,
                '*' => Part::Any,
                '?' => Part::One,
                '[' => class(&mut rest).ok_or("a [ lacks its ]; write \\[ for the character itself")?,
                '\\' => Part::Is(rest.next().ok_or("it ends with a \\, which takes the next character as it is")?),
                c => Part::Is(c),
            });
        }
        Ok(Glob(parts))
    }

    /// Whether it takes the whole of `region:name`. Takes at most as many steps as the product of both lengths: only
    /// the last `*` is ever tried again.
    pub(super) fn takes(&self, region: &str, name: &str) -> bool {
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
    fn what_is_no_pattern_is_refused() {
        for wrong in ["", "[", "[a", "a\\", "[]", "x".repeat(513).as_str()] {
            assert!(Glob::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_their_product() {
        let pattern = format!("*{}", "a*".repeat(200)) + "b";
        assert!(!takes(&pattern, &format!("k:{}", "a".repeat(1_000))));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_fail(pattern in "[ab*?\\[\\]\\\\!^-]{0,12}", name in "[ab]{0,12}") {
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
