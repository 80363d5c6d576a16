//! Candle rows: found by scanning, kept as the exchange wrote them.

use std::ops::Range;

use bytes::Bytes;
use memchr::{memchr, memchr_iter, memchr2};

/// Rows side by side, separated by commas, in the order of their opens, with the times of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    text: Bytes,
    times: Vec<Row>,
    /// When each closes, where that was looked at: settled candles never need it.
    closes: Vec<u64>,
}

/// Where a row lies in the text, and its time in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    begin: u32,
    end: u32,
    /// When its candle opens.
    pub(super) open: u64,
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.times == other.times
    }
}

impl Eq for Rows {}

/// Items of a row of the exchange's; the twelfth is unused.
const LEAST_ITEMS: usize = 11;

impl Rows {
    /// The rows of an exchange's answer `[[…],[…]]`. `None` if it is anything else, or its opens do not ascend.
    pub(super) fn of_answer(body: &Bytes) -> Option<Rows> {
        let blank = |byte: &u8| byte.is_ascii_whitespace();
        let first = body.iter().position(|byte| !blank(byte))?;
        let last = body.iter().rposition(|byte| !blank(byte))?;
        let framed = last > first && body[first] == b'[' && body[last] == b']';
        framed.then(|| Rows::of_text(&body.slice(first + 1..last)))?
    }

    /// The rows of a text of rows.
    pub(super) fn of_text(text: &Bytes) -> Option<Rows> {
        let most = text.len() / 128;
        let mut rows = Rows { text: text.clone(), times: Vec::with_capacity(most), closes: Vec::with_capacity(most) };
        let mut at = skip_blanks(text, 0);
        while at < text.len() {
            let (row, close) = row_at(text, at)?;
            rows.closes.push(close);
            if rows.times.last().is_some_and(|before| before.open >= row.open) {
                return None;
            }
            rows.times.push(row);
            at = skip_blanks(text, row.end as usize);
            if at < text.len() {
                // A comma, and then a row: no list ends in a comma.
                (text[at] == b',').then_some(())?;
                at = skip_blanks(text, at + 1);
                (at < text.len()).then_some(())?;
            }
        }
        Some(rows)
    }

    /// The rows of a text that was rows when it was kept. `None` if it is anything else, but their items are not
    /// counted again.
    pub(super) fn of_kept(text: &Bytes) -> Option<Rows> {
        let mut rows = Rows { text: text.clone(), times: Vec::with_capacity(text.len() / 128), closes: Vec::new() };
        let (mut at, mut before) = (0, None);
        while at < text.len() {
            let row = kept_row_at(text, at)?;
            if before >= Some(row.open) {
                return None;
            }
            before = Some(row.open);
            rows.times.push(row);
            at = row.end as usize + 1;
            // Text between rows that is no single comma is seldom, and looked at with more care.
            if at <= text.len() && (text[at - 1] != b',' || at == text.len()) {
                return Rows::of_text(text);
            }
        }
        Some(rows)
    }

    /// Rows of several, each part's after those of the part before. `None` if they do not ascend.
    pub(super) fn of_parts<'a>(parts: impl IntoIterator<Item = (&'a Rows, Range<usize>)> + Clone) -> Option<Rows> {
        let text = Rows::join(parts.clone().into_iter().map(|(rows, range)| rows.text(range.start, range.end)));
        let count = parts.clone().into_iter().map(|(_, range)| range.len()).sum();
        let mut times: Vec<Row> = Vec::with_capacity(count);
        let mut end = 0;
        for (rows, range) in parts {
            let Some([first, ..]) = rows.times.get(range.clone()) else { continue };
            if times.last().is_some_and(|before| before.open >= first.open) {
                return None;
            }
            let begin = end + u32::from(end > 0);
            let shifted = |at: u32| (at - first.begin).checked_add(begin);
            for row in &rows.times[range] {
                times.push(Row { begin: shifted(row.begin)?, end: shifted(row.end)?, ..*row });
            }
            end = times.last()?.end;
        }
        Some(Rows { text, times, closes: Vec::new() })
    }

    /// The text of rows that follow each other, each with a comma before it but the first.
    pub(super) fn join<'a>(runs: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
        let mut text = Vec::new();
        for run in runs.into_iter().filter(|run| !run.is_empty()) {
            if !text.is_empty() {
                text.push(b',');
            }
            text.extend_from_slice(run);
        }
        text.shrink_to_fit();
        text.into()
    }

    /// Each row's place and times.
    pub(super) fn times(&self) -> &[Row] {
        &self.times
    }

    /// When a candle closes: the last millisecond that belongs to it.
    pub(super) fn close(&self, row: usize) -> Option<u64> {
        let looked_at = self.closes.get(row).copied();
        looked_at.or_else(|| row_at(&self.text, self.times.get(row)?.begin as usize).map(|(_, close)| close))
    }

    /// When the newest candle closes.
    pub(super) fn last_close(&self) -> Option<u64> {
        self.close(self.times.len().checked_sub(1)?)
    }

    /// How many rows open before `time`.
    pub(super) fn before(&self, time: u64) -> usize {
        self.times.partition_point(|row| row.open < time)
    }

    /// Whether the rows that open in `from..=to` are the same here and in `other`, to the letter.
    pub(super) fn are_same(&self, other: &Rows, from: u64, to: u64) -> bool {
        let within = |rows: &Rows| (rows.before(from), rows.before(to.saturating_add(1)));
        let ((first, after), (other_first, other_after)) = (within(self), within(other));
        after - first == other_after - other_first
            && (first..after)
                .zip(other_first..other_after)
                .all(|(row, other_row)| self.text(row, row + 1) == other.text(other_row, other_row + 1))
    }

    /// The row that opens at `open`.
    pub(super) fn at(&self, open: u64) -> Option<&[u8]> {
        let row = self.times.binary_search_by_key(&open, |row| row.open).ok()?;
        Some(self.text(row, row + 1))
    }

    /// The opening price of the newest candle, as it is written, and how many trades it counts; nothing where it does
    /// not say.
    pub(super) fn last_state(&self) -> (Option<&[u8]>, Option<u64>) {
        let Some(last) = self.times.len().checked_sub(1) else { return (None, None) };
        let mut items = self.text(last, last + 1).split(|byte| *byte == b',').skip(1);
        let price = items.next();
        let trades = items.nth(6).and_then(|item| std::str::from_utf8(item).ok()?.trim().parse().ok());
        (price, trades)
    }

    /// The rows numbered `from..to`, as they were written.
    pub(super) fn slice(&self, from: usize, to: usize) -> Bytes {
        match self.times.get(from..to) {
            Some([first, .., last]) => self.text.slice(first.begin as usize..last.end as usize),
            Some([only]) => self.text.slice(only.begin as usize..only.end as usize),
            _ => Bytes::new(),
        }
    }

    /// The rows numbered `from..to`, without a claim on the memory they lie in.
    pub(super) fn text(&self, from: usize, to: usize) -> &[u8] {
        match self.times.get(from..to) {
            Some([first, .., last]) => &self.text[first.begin as usize..last.end as usize],
            Some([only]) => &self.text[only.begin as usize..only.end as usize],
            _ => &[],
        }
    }
}

fn skip_blanks(text: &[u8], at: usize) -> usize {
    at + text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// The row that begins at `begin`, of which only the end and the first item are looked at.
fn kept_row_at(text: &[u8], begin: usize) -> Option<Row> {
    let inside = text.get(begin..)?.strip_prefix(b"[")?;
    // Times of this millennium have thirteen digits.
    let of_thirteen = inside.get(..13).filter(|_| inside.get(13) == Some(&b',')).and_then(time);
    let (open, length) = match of_thirteen {
        Some(open) => (open, 13),
        None => {
            let length = memchr(b',', inside)?;
            (time(&inside[..length])?, length)
        }
    };
    let end = begin + 1 + length + memchr(b']', &inside[length..])? + 1;
    let place = |at: usize| u32::try_from(at).ok();
    Some(Row { begin: place(begin)?, end: place(end)?, open })
}

/// The row that begins at `begin`, and when it closes. Its strings are numbers, so that no bracket or quote can stand
/// in them.
fn row_at(text: &[u8], begin: usize) -> Option<(Row, u64)> {
    (text.get(begin) == Some(&b'[')).then_some(())?;
    let inner = begin + 1;
    let end = inner + memchr2(b']', b'[', &text[inner..])?;
    (text[end] == b']').then_some(())?;
    let inside = &text[inner..end];
    let mut commas = memchr_iter(b',', inside);
    let open = time(&inside[..commas.next()?])?;
    let (sixth, seventh) = (commas.nth(4)?, commas.next()?);
    let close = time(&inside[sixth + 1..seventh])?;
    let is_whole = commas.count() + 8 >= LEAST_ITEMS && close >= open;
    let place = |at: usize| u32::try_from(at).ok();
    is_whole.then_some((Row { begin: place(begin)?, end: place(end + 1)?, open }, close))
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

/// Rows ascend, are found by their opens, and are the same when they are read back, each alone too.
#[cfg(feature = "testing")]
pub(super) fn hold(body: &Bytes) {
    let found = Rows::of_answer(body);
    drop((Rows::of_text(body), Rows::of_kept(body)));
    // Nothing else comes so far: an answer is JSON before its rows are looked for.
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    let Some(rows) = found.filter(|_| is_json) else { return };
    let count = rows.times().len();
    for (at, row) in rows.times().iter().enumerate() {
        assert_eq!(rows.at(row.open), Some(rows.text(at, at + 1)), "a row is found by its open");
        assert!(rows.close(at).is_some(), "a row has a close");
        assert_eq!(rows.before(row.open), at, "rows ascend");
    }
    if count > 0 {
        let kept = Rows::of_kept(&Bytes::copy_from_slice(rows.text(0, count))).map(|kept| kept.times().len());
        assert_eq!(kept, Some(count), "the kept rows are read back");
        let halves = [(&rows, 0..count / 2), (&rows, count / 2..count)];
        let joined = Rows::of_parts(halves).map(|joined| joined.are_same(&rows, 0, u64::MAX));
        assert_eq!(joined, Some(true), "parts make the whole");
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A row of a candle of a minute.
    pub(crate) fn row(open: u64) -> String {
        format!(r#"[{open},"1.0","2.0","0.5","1.5","10",{},"15.00",7,"5","7.5","0"]"#, open + 59_999)
    }

    pub(crate) fn answer(opens: impl IntoIterator<Item = u64>) -> Bytes {
        format!("[{}]", opens.into_iter().map(row).collect::<Vec<_>>().join(",")).into()
    }

    #[test]
    fn rows_are_found_and_given_back_as_they_were() {
        let body = answer([60_000, 120_000, 187_000]);
        let rows = Rows::of_answer(&body).unwrap();
        assert_eq!(rows.times().iter().map(|row| row.open).collect::<Vec<_>>(), [60_000, 120_000, 187_000]);
        assert_eq!((rows.close(0), rows.close(3), rows.last_close()), (Some(119_999), None, Some(246_999)));
        assert_eq!(rows.slice(0, 3), body.slice(1..body.len() - 1));
        assert_eq!(rows.slice(1, 2), row(120_000));
        assert_eq!((rows.slice(3, 3), rows.slice(2, 9)), (Bytes::new(), Bytes::new()));
        assert_eq!(Rows::join([rows.text(0, 1), rows.text(1, 1), rows.text(1, 3)]), rows.slice(0, 3));
        assert_eq!((rows.before(0), rows.before(120_000), rows.before(120_001)), (0, 1, 2));
        assert!(Rows::of_answer(&Bytes::from_static(b" [] ")).unwrap().times().is_empty());
    }

    #[test]
    fn anything_but_a_list_of_ascending_candles_is_refused() {
        let bad = ["", "[", "{}", "[1]", "[[1,2]]", r#"{"code":-1,"msg":"[]"}"#, "[[]]"];
        for text in bad.map(str::to_owned).into_iter().chain([
            format!("[{},]", row(1)),
            format!("[{}{}]", row(1), row(2)),
            format!("[{},{}]", row(2), row(2)),
            format!("[{},{}]", row(2), row(1)),
            format!("[{}", row(1)),
            format!("[{}]", row(1).replace("60000", "x")),
            format!("[{}]", row(60_001).replace(",120000", ",1")),
        ]) {
            assert_eq!(Rows::of_answer(&Bytes::from(text.clone())), None, "{text}");
        }
    }

    #[test]
    fn microseconds_are_understood() {
        let body =
            Bytes::from_static(br#"[[1700000000000000,"1","1","1","1","1",1700000059999999,"1",1,"1","1","0"]]"#);
        let rows = Rows::of_answer(&body).unwrap();
        assert_eq!((rows.times()[0].open, rows.close(0)), (1_700_000_000_000, Some(1_700_000_059_999)));
    }

    #[test]
    fn kept_rows_are_found_as_those_of_an_answer_are() {
        let body = answer([60_000, 120_000, 1_700_000_000_000]);
        let rows = Rows::of_answer(&body).unwrap();
        for text in [rows.slice(0, 3), Bytes::from([row(1).as_str(), " , ", &row(2)].concat()), Bytes::new()] {
            let kept = Rows::of_kept(&text).unwrap();
            assert_eq!(kept, Rows::of_text(&text).unwrap());
            assert_eq!(kept.last_close(), Rows::of_text(&text).unwrap().last_close());
        }
        for text in [
            "x".to_owned(),
            "[1]".to_owned(),
            format!("{},", row(1)),
            format!("{}{}", row(1), row(2)),
            format!("{},{}", row(2), row(2)),
            format!("{},{}", row(2), row(1)),
            format!("{},x", row(1)),
            row(1).replace(']', ""),
        ] {
            assert_eq!(Rows::of_kept(&Bytes::from(text.clone())), None, "{text}");
        }
    }

    #[test]
    fn rows_of_several_are_as_if_read_from_their_text() {
        let one = Rows::of_answer(&answer([60_000, 120_000, 180_000])).unwrap();
        let two = Rows::of_answer(&answer([120_000, 240_000])).unwrap();
        let parts = [(&one, 0..1), (&two, 0..0), (&two, 0..1), (&one, 2..3), (&two, 1..2)];
        let joined = Rows::of_parts(parts).unwrap();
        assert_eq!(Some(joined.clone()), Rows::of_answer(&answer([60_000, 120_000, 180_000, 240_000])));
        assert_eq!(Some(joined), Rows::of_text(&Rows::join([one.text(0, 3), two.text(1, 2)])));
        assert_eq!(Rows::of_parts([(&one, 0..2), (&two, 0..1)]), None);
        assert_eq!(Rows::of_parts([(&one, 1..1)]), Some(Rows::default()));
    }

    proptest! {
        #[test]
        fn times_are_read_as_numbers_are(text in "[0-9]{1,18}", other in "[^0-9]", at in 0usize..20) {
            let value = text.parse::<u64>().unwrap();
            let expected = (text.len() <= 17).then(|| crate::upstream_request::to_millis(value));
            prop_assert_eq!(time(text.as_bytes()), expected);
            let mut broken = text;
            broken.insert_str(at.min(broken.len()), &other);
            prop_assert_eq!(time(broken.as_bytes()), None);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(prop_oneof![
            any::<u8>(), Just(b'['), Just(b']'), Just(b','), Just(b'"'), Just(b'1'),
        ], 0..80)) {
            let body = Bytes::from(bytes);
            for rows in [Rows::of_answer(&body), Rows::of_kept(&body)].into_iter().flatten() {
                for to in 0..=rows.times().len() {
                    let _ = (rows.slice(0, to), rows.close(to));
                }
            }
        }
    }
}
