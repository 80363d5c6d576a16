//! Candle rows: found by scanning, kept as the exchange wrote them.

use std::ops::Range;

use bytes::Bytes;

use self::scan::{end_of, kept_row_at, open_at, place, row_at, skip_blanks};

mod scan;

/// Rows side by side, separated by commas, in the order of their opens. Of each is kept where it begins: its end and its
/// times are in its text.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    text: Bytes,
    begins: Vec<u32>,
    /// When each closes, where that was looked at: settled candles never need it.
    closes: Vec<u64>,
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.begins == other.begins
    }
}

impl Eq for Rows {}

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
        let mut rows = Rows { text: text.clone(), begins: Vec::with_capacity(most), closes: Vec::with_capacity(most) };
        let (mut at, mut before) = (skip_blanks(text, 0), None);
        while at < text.len() {
            let (row, close) = row_at(text, at)?;
            if before >= Some(row.open) {
                return None;
            }
            before = Some(row.open);
            rows.closes.push(close);
            rows.begins.push(row.begin);
            at = skip_blanks(text, row.end);
            if at < text.len() {
                // A comma, and then a row: no list ends in a comma.
                (text[at] == b',').then_some(())?;
                at = skip_blanks(text, at + 1);
                (at < text.len()).then_some(())?;
            }
        }
        rows.begins.shrink_to_fit();
        Some(rows)
    }

    /// The rows of a text that was rows when it was kept. `None` if it is anything else, but their items are not
    /// counted again.
    pub(super) fn of_kept(text: &Bytes) -> Option<Rows> {
        let mut begins = Vec::with_capacity(text.len() / 128);
        let (mut at, mut before) = (0, None);
        while at < text.len() {
            let row = kept_row_at(text, at)?;
            if before >= Some(row.open) {
                return None;
            }
            before = Some(row.open);
            begins.push(row.begin);
            at = row.end + 1;
            // Text between rows that is no single comma is seldom, and looked at with more care.
            if at <= text.len() && (text[at - 1] != b',' || at == text.len()) {
                return Rows::of_text(text);
            }
        }
        begins.shrink_to_fit();
        Some(Rows { text: text.clone(), begins, closes: Vec::new() })
    }

    /// The rows of several lists after each other. `None` if their opens do not ascend.
    pub(super) fn of_parts<'a>(parts: impl IntoIterator<Item = (&'a Rows, Range<usize>)> + Clone) -> Option<Rows> {
        let text = Rows::join(parts.clone().into_iter().map(|(rows, range)| rows.text(range.start, range.end)));
        let count = parts.clone().into_iter().map(|(_, range)| range.len()).sum();
        let (mut begins, mut end, mut before) = (Vec::with_capacity(count), 0, None);
        for (rows, range) in parts {
            let Some(of_part @ [first, ..]) = rows.begins.get(range.clone()) else { continue };
            if before >= Some(rows.open(range.start)?) {
                return None;
            }
            before = rows.open(range.end - 1);
            let begin = end + u32::from(end > 0);
            for at in of_part {
                begins.push((at - first).checked_add(begin)?);
            }
            end = begin.checked_add(place(rows.text(range.start, range.end).len())?)?;
        }
        Some(Rows { text, begins, closes: Vec::new() })
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

    pub(super) fn is_empty(&self) -> bool {
        self.begins.is_empty()
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> usize {
        self.begins.len()
    }

    /// When each candle opens, in ms.
    pub(super) fn opens(&self) -> impl DoubleEndedIterator<Item = u64> + ExactSizeIterator {
        self.begins.iter().map(|begin| open_at(&self.text, *begin))
    }

    /// When a candle opens.
    pub(super) fn open(&self, row: usize) -> Option<u64> {
        self.begins.get(row).map(|begin| open_at(&self.text, *begin))
    }

    /// When the oldest candle opens.
    pub(super) fn first_open(&self) -> Option<u64> {
        self.open(0)
    }

    /// When the newest candle opens.
    pub(super) fn last_open(&self) -> Option<u64> {
        self.opens().next_back()
    }

    /// When a candle closes: the last millisecond that belongs to it.
    pub(super) fn close(&self, row: usize) -> Option<u64> {
        let looked_at = self.closes.get(row).copied();
        looked_at.or_else(|| row_at(&self.text, *self.begins.get(row)? as usize).map(|(_, close)| close))
    }

    /// When the newest candle closes.
    pub(super) fn last_close(&self) -> Option<u64> {
        self.close(self.count().checked_sub(1)?)
    }

    /// How many rows open before `time`.
    pub(super) fn before(&self, time: u64) -> usize {
        self.begins.partition_point(|begin| open_at(&self.text, *begin) < time)
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
        let row = self.begins.binary_search_by_key(&open, |begin| open_at(&self.text, *begin)).ok()?;
        Some(self.text(row, row + 1))
    }

    /// The newest row.
    pub(super) fn last(&self) -> &[u8] {
        let count = self.count();
        self.text(count.saturating_sub(1), count)
    }

    /// The opening price of the newest candle, as it is written, and how many trades it counts; nothing where it does
    /// not say.
    pub(super) fn last_state(&self) -> (Option<&[u8]>, Option<u64>) {
        let mut items = self.last().split(|byte| *byte == b',').skip(1);
        let price = items.next();
        let trades = items.nth(6).and_then(|item| std::str::from_utf8(item).ok()?.trim().parse().ok());
        (price, trades)
    }

    /// The rows numbered `from..to`, as they were written.
    pub(super) fn slice(&self, from: usize, to: usize) -> Bytes {
        self.text.slice(self.range(from, to))
    }

    /// The rows numbered `from..to`, without a claim on the memory they lie in.
    pub(super) fn text(&self, from: usize, to: usize) -> &[u8] {
        &self.text[self.range(from, to)]
    }

    /// Where the rows numbered `from..to` lie.
    fn range(&self, from: usize, to: usize) -> Range<usize> {
        match self.begins.get(from..to) {
            Some([first, .., last] | [first @ last]) => *first as usize..end_of(&self.text, *last as usize),
            _ => 0..0,
        }
    }
}

/// Rows ascend, are found by their opens, and are the same when they are read back, each alone too.
#[cfg(feature = "testing")]
pub(super) fn hold(body: &Bytes) {
    let found = Rows::of_answer(body);
    drop((Rows::of_text(body), Rows::of_kept(body)));
    // Nothing else comes so far: an answer is JSON before its rows are looked for.
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    let Some(rows) = found.filter(|_| is_json) else { return };
    let count = rows.count();
    for (at, open) in rows.opens().enumerate() {
        assert_eq!(rows.at(open), Some(rows.text(at, at + 1)), "a row is found by its open");
        assert!(rows.close(at).is_some(), "a row has a close");
        assert_eq!(rows.before(open), at, "rows ascend");
    }
    if count > 0 {
        let kept = Rows::of_kept(&Bytes::copy_from_slice(rows.text(0, count))).map(|kept| kept.count());
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
        assert_eq!(rows.opens().collect::<Vec<_>>(), [60_000, 120_000, 187_000]);
        assert_eq!((rows.close(0), rows.close(3), rows.last_close()), (Some(119_999), None, Some(246_999)));
        assert_eq!(rows.slice(0, 3), body.slice(1..body.len() - 1));
        assert_eq!(rows.slice(1, 2), row(120_000));
        assert_eq!((rows.slice(3, 3), rows.slice(2, 9)), (Bytes::new(), Bytes::new()));
        assert_eq!(Rows::join([rows.text(0, 1), rows.text(1, 1), rows.text(1, 3)]), rows.slice(0, 3));
        assert_eq!((rows.before(0), rows.before(120_000), rows.before(120_001)), (0, 1, 2));
        assert!(Rows::of_answer(&Bytes::from_static(b" [] ")).unwrap().is_empty());
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
        assert_eq!((rows.open(0).unwrap(), rows.close(0)), (1_700_000_000_000, Some(1_700_000_059_999)));
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
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(prop_oneof![
            any::<u8>(), Just(b'['), Just(b']'), Just(b','), Just(b'"'), Just(b'1'),
        ], 0..80)) {
            let body = Bytes::from(bytes);
            for rows in [Rows::of_answer(&body), Rows::of_kept(&body)].into_iter().flatten() {
                for to in 0..=rows.count() {
                    let _ = (rows.slice(0, to), rows.close(to));
                }
            }
        }
    }
}
