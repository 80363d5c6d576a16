//! Entity tags (RFC 9110, 8.8.3), and the conditions that name them.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::OnceLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use ring::digest::{Context, SHA256};

use super::coding::Coding;

/// The codings that have a tag of their own.
const PACKED: [Coding; 2] = [Coding::Gzip, Coding::Zstd];

/// The tag of a body. A strong one has another form for each packed body, a weak one means all.
#[derive(Clone, Debug)]
pub(crate) struct EntityTag {
    plain: HeaderValue,
    /// Those of the packed bodies, made when they are first sent.
    packed: OnceLock<Box<[HeaderValue; PACKED.len()]>>,
}

/// How tags are compared (RFC 9110, 8.8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Strong,
    /// Weak tags count, too: for readers.
    Weak,
}

impl EntityTag {
    /// The tag of what applications put and write on condition: the same bytes as another type are another value.
    pub(crate) fn of_value(content_type: &HeaderValue, body: &[u8]) -> EntityTag {
        EntityTag::strong(&digest(&[content_type.as_bytes(), b"\0", body]))
    }

    /// The tag of a body that only has to differ from the one before and after it. It is made for each part that is cut
    /// out of an answer, so it must cost next to nothing.
    pub(crate) fn of_answer(body: &[u8]) -> EntityTag {
        EntityTag::of_text(quick(*b"\"0123456789abcdef\"", body))
    }

    /// The same of a body whose source may write the same thing in other bytes.
    pub(crate) fn weak_of(body: &[u8]) -> EntityTag {
        EntityTag::of_text(quick(*b"W/\"0123456789abcdef\"", body))
    }

    fn of_text<const LENGTH: usize>(text: [u8; LENGTH]) -> EntityTag {
        EntityTag::of(HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("\"\"")))
    }

    /// A weak tag as it stands: it means each form of a body.
    pub(crate) fn weak(text: &str) -> EntityTag {
        EntityTag::of(HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("W/\"\"")))
    }

    fn of(plain: HeaderValue) -> EntityTag {
        EntityTag { plain, packed: OnceLock::new() }
    }

    fn strong(opaque: &str) -> EntityTag {
        let mut quoted = String::with_capacity(opaque.len() + 2);
        quoted.extend(["\"", opaque, "\""]);
        EntityTag::of(HeaderValue::try_from(quoted).unwrap_or(HeaderValue::from_static("\"\"")))
    }

    /// As it is sent with a body in this coding.
    pub(crate) fn header(&self, coding: Coding) -> HeaderValue {
        match PACKED.iter().position(|packed| *packed == coding) {
            Some(place) => self.packed()[place].clone(),
            None => self.plain.clone(),
        }
    }

    fn packed(&self) -> &[HeaderValue; PACKED.len()] {
        self.packed.get_or_init(|| Box::new(PACKED.map(|coding| self.of_packed(coding))))
    }

    fn of_packed(&self, coding: Coding) -> HeaderValue {
        let text = self.plain.to_str().unwrap_or_default();
        match text.strip_suffix('"').filter(|_| !text.starts_with("W/")).zip(coding.name()) {
            Some((opened, name)) => {
                HeaderValue::try_from([opened, "-", name, "\""].concat()).unwrap_or(self.plain.clone())
            }
            None => self.plain.clone(),
        }
    }

    /// Whether a header such as `If-Match` names the tag, packed or not.
    pub(crate) fn is_named(&self, asked: &HeaderMap, header: &HeaderName, comparison: Comparison) -> bool {
        let mut lists = asked.get_all(header).iter().filter_map(|value| value.to_str().ok()).peekable();
        if lists.peek().is_none() {
            return false;
        }
        fn opaque(tag: &str, comparison: Comparison) -> &str {
            if comparison == Comparison::Weak { tag.trim_start_matches("W/") } else { tag }
        }
        let is_this = |own: &HeaderValue, tag: &str| {
            opaque(own.to_str().unwrap_or_default(), comparison) == opaque(tag, comparison)
        };
        let is_packed = |tag: &str| self.packed().iter().any(|own| is_this(own, tag));
        let is_meant = |tag: &str| tag == "*" || is_this(&self.plain, tag) || is_packed(tag);
        lists.any(|list| list.split(',').map(str::trim).any(is_meant))
    }
}

/// `text` with a hash of `body` in place of the digits that precede its closing quote.
fn quick<const LENGTH: usize>(mut text: [u8; LENGTH], body: &[u8]) -> [u8; LENGTH] {
    let mut hash = DefaultHasher::new();
    hash.write(body);
    let digits = text.iter_mut().rev().skip(1);
    let halves = (0..u64::BITS).step_by(4).map(|place| digit((hash.finish() >> place) as u8 & 0xf));
    digits.zip(halves).for_each(|(place, half)| *place = half);
    text
}

/// The first half of a SHA-256, in hexadecimal digits.
fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Context::new(&SHA256);
    parts.iter().for_each(|part| hash.update(part));
    hexadecimal(&hash.finish().as_ref()[..16])
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).map(char::from).collect()
}

fn digit(number: u8) -> u8 {
    b"0123456789abcdef"[usize::from(number)]
}

#[cfg(test)]
mod tests {
    use http::header::{IF_MATCH, IF_NONE_MATCH};

    use super::*;

    fn asking(header: HeaderName, tags: &str) -> HeaderMap {
        HeaderMap::from_iter([(header, HeaderValue::from_str(tags).expect("a header"))])
    }

    #[test]
    fn a_condition_names_a_tag_packed_or_not_and_a_weak_one_only_for_readers() {
        let tag = EntityTag::of_value(&HeaderValue::from_static("text/plain"), b"one");
        let text = |coding| tag.header(coding).to_str().expect("text").to_owned();
        let all = [Coding::Identity, Coding::Gzip, Coding::Zstd].map(text);
        assert!(all[0] != all[1] && all[1] != all[2] && all[1].ends_with("-gzip\"") && all[2].ends_with("-zstd\""));
        for tags in all.into_iter().chain([format!("\"x\", {}", text(Coding::Identity)), "*".to_owned()]) {
            assert!(tag.is_named(&asking(IF_MATCH, &tags), &IF_MATCH, Comparison::Strong), "{tags}");
            assert!(tag.is_named(&asking(IF_NONE_MATCH, &tags), &IF_NONE_MATCH, Comparison::Weak), "{tags}");
        }
        let weak = format!("W/{}", text(Coding::Identity));
        assert!(tag.is_named(&asking(IF_NONE_MATCH, &weak), &IF_NONE_MATCH, Comparison::Weak));
        assert!(!tag.is_named(&asking(IF_MATCH, &weak), &IF_MATCH, Comparison::Strong));
        assert!(!tag.is_named(&asking(IF_MATCH, "\"x\""), &IF_MATCH, Comparison::Strong));
        assert!(!tag.is_named(&HeaderMap::new(), &IF_MATCH, Comparison::Strong));
        let weak = EntityTag::weak_of(b"one");
        let named = weak.header(Coding::Gzip);
        assert!(weak.is_named(&asking(IF_NONE_MATCH, named.to_str().unwrap()), &IF_NONE_MATCH, Comparison::Weak));
        assert_ne!(weak.header(Coding::Identity), EntityTag::weak_of(b"two").header(Coding::Identity));
    }

    #[test]
    fn the_same_bytes_have_the_same_tag_and_other_bytes_or_types_another() {
        let [text, json] = ["text/plain", "application/json"].map(HeaderValue::from_static);
        let tag = |kind, body: &str| EntityTag::of_value(kind, body.as_bytes()).header(Coding::Identity);
        assert_eq!(tag(&text, "one"), tag(&text, "one"));
        assert_ne!(tag(&text, "one"), tag(&json, "one"));
        assert_ne!(tag(&text, "one"), tag(&text, "two"));
        let of_answer = |body: &str| EntityTag::of_answer(body.as_bytes()).header(Coding::Identity);
        assert!(of_answer("one") == of_answer("one") && of_answer("one") != of_answer("two"));
    }
}
