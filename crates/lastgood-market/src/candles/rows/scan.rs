//! The text of candle rows, of which no more is read than is asked for.

use memchr::{memchr, memchr2};

/// A row that was just read.
pub(super) struct Row {
    pub(super) begin: u32,
    /// Where the text goes on behind it.
    pub(super) end: usize,
    /// When its candle opens, in ms.
    pub(super) open: u64,
}

/// Items of a row of the exchange's; the twelfth is unused.
const LEAST_ITEMS: u8 = 11;

pub(super) fn skip_blanks(text: &[u8], at: usize) -> usize {
    at + text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// A place in a text, which is never as long as this has no room for.
pub(super) fn place(at: usize) -> Option<u32> {
    u32::try_from(at).ok()
}

/// Where the row that begins at `begin` ends. Its strings are numbers, so that no bracket can stand in them.
pub(super) fn end_of(text: &[u8], begin: usize) -> usize {
    memchr(b']', &text[begin..]).map_or(text.len(), |length| begin + length + 1)
}

/// When the candle opens whose row begins at `begin`.
pub(super) fn open_at(text: &[u8], begin: u32) -> u64 {
    // A row that was read once has an open.
    text.get(begin as usize + 1..).and_then(first_item).map_or(0, |(open, _)| open)
}

/// The time that a row begins with, in ms, and how long its text is.
fn first_item(inside: &[u8]) -> Option<(u64, usize)> {
    let of_thirteen = inside.first_chunk().filter(|_| inside.get(13) == Some(&b',')).and_then(time_of_thirteen);
    of_thirteen.map(|open| (open, 13)).or_else(|| {
        let length = memchr(b',', inside)?;
        Some((time(&inside[..length])?, length))
    })
}

/// The row that begins at `begin`, of which only the end and the first item are looked at.
pub(super) fn kept_row_at(text: &[u8], begin: usize) -> Option<Row> {
    let inside = text.get(begin..)?.strip_prefix(b"[")?;
    let (open, length) = first_item(inside)?;
    let end = begin + 1 + length + memchr(b']', &inside[length..])? + 1;
    place(end)?;
    Some(Row { begin: place(begin)?, end, open })
}

/// The row that begins at `begin`, and when it closes. Its strings are numbers, so that no bracket or quote can stand
/// in them.
pub(super) fn row_at(text: &[u8], begin: usize) -> Option<(Row, u64)> {
    (text.get(begin) == Some(&b'[')).then_some(())?;
    let inner = begin + 1;
    let end = inner + memchr2(b']', b'[', &text[inner..])?;
    (text[end] == b']').then_some(())?;
    let inside = &text[inner..end];
    let (open, length) = first_item(inside)?;
    let sixth = comma(inside, length + 1, 5)?;
    let (close, length) = first_item(&inside[sixth + 1..])?;
    let is_whole = comma(inside, sixth + 1 + length, LEAST_ITEMS - 7).is_some() && close >= open;
    place(end + 1)?;
    is_whole.then_some((Row { begin: place(begin)?, end: end + 1, open }, close))
}

/// Where the comma of this number is, from `at` on: to look for each by itself takes longer than to count them.
fn comma(text: &[u8], mut at: usize, number: u8) -> Option<usize> {
    let mut left = number;
    for bytes in text.get(at..)?.as_chunks::<16>().0 {
        let count: u8 = bytes.iter().map(|byte| u8::from(*byte == b',')).sum();
        if count >= left {
            break;
        }
        left -= count;
        at += bytes.len();
    }
    let mut commas = text[at..].iter().enumerate().filter(|(_, byte)| **byte == b',');
    commas.nth(usize::from(left - 1)).map(|(comma, _)| at + comma)
}

/// A time in ms, as those of this millennium are written.
fn time_of_thirteen(text: &[u8; 13]) -> Option<u64> {
    let (first, last) = (text.first_chunk::<8>()?, text.last_chunk::<8>()?);
    // The three digits that were seen are in the lowest bytes.
    let rest = eight_digits(*last)? & !0xFF_FFFF;
    Some(number(eight_digits(*first)?) * 100_000 + number(rest))
}

/// A time of digits alone, in ms or µs.
fn time(text: &[u8]) -> Option<u64> {
    let time = match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        // As every time of this millennium is: eight digits, and those of the last eight that are not among them.
        (Some(first), Some(last)) if text.len() <= 16 => {
            let seen = 16 - text.len();
            // The digits that were seen are in the lowest bytes.
            let rest = eight_digits(*last)?.checked_shr(8 * seen as u32).unwrap_or(0) << (8 * seen % 64);
            number(eight_digits(*first)?) * 10u64.pow(8 - seen as u32) + number(rest)
        }
        _ if (1..=17).contains(&text.len()) && text.iter().all(u8::is_ascii_digit) => {
            text.iter().fold(0, |time: u64, digit| time * 10 + u64::from(digit - b'0'))
        }
        _ => return None,
    };
    Some(crate::upstream_request::to_millis(time))
}

/// Eight digits as eight small numbers, the first in the lowest byte.
fn eight_digits(text: [u8; 8]) -> Option<u64> {
    let digits = u64::from_le_bytes(text) ^ 0x3030_3030_3030_3030;
    let others = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080;
    (others == 0).then_some(digits)
}

/// The number that eight digits are: neighbours first, then pairs of them, then the two fours.
fn number(digits: u64) -> u64 {
    let pairs = (digits.wrapping_mul(10).wrapping_add(digits >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_FFFF_0000_FFFF;
    (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xFFFF_FFFF
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_comma_is_found_where_it_is(text in "[,\\x00+-l]{0,60}", at in 0usize..70, number in 1u8..9) {
            let text = text.as_bytes();
            let mut commas = (at..text.len()).filter(|at| text[*at] == b',');
            prop_assert_eq!(comma(text, at, number), commas.nth(number as usize - 1));
        }

        #[test]
        fn times_are_read_as_numbers_are(text in "[0-9]{1,18}|[0-9]{12,13}", other in "[^0-9]", at in 0usize..20) {
            let value = text.parse::<u64>().unwrap();
            let expected = (text.len() <= 17).then(|| crate::upstream_request::to_millis(value));
            prop_assert_eq!(time(text.as_bytes()), expected);
            if let Ok(thirteen) = text.as_bytes().try_into() {
                prop_assert_eq!(time_of_thirteen(thirteen), expected);
            }
            let mut broken = text;
            broken.insert_str(at.min(broken.len()), &other);
            prop_assert_eq!(time(broken.as_bytes()), None);
            if let Ok(thirteen) = broken.as_bytes().try_into() {
                prop_assert_eq!(time_of_thirteen(thirteen), None);
            }
        }
    }
}
