//! Columnar packing of rows of numbers, `[1,"2.50"],[2,"2.75"]`, as exchanges write candles: two thirds of what a general
//! method leaves, in half of its time. What comes back is the text to the byte; any other text is not packed so.
//!
//! ```text
//! frame u8 (1: all of it in brackets) | columns u8 | quoted u32, a bit for each column | rows u16
//! for each column: the decimals and the sign of its numbers | zeros u8 | their digits without that many zeros at the
//! end
//! ```
//!
//! Each list of numbers as [`column`] has it. Decimals and sign are one number: twice the decimals, and one if it is
//! negative.

use bytes::{Buf, BufMut};

mod column;
mod digits;

use self::column::Values;
use self::digits::{Decimal, Form, MOST_DIGITS, REACH, TENS, word};

/// More than a candle has; and more rows than an answer has.
const MOST_COLUMNS: usize = 32;
const MOST_ROWS: usize = 8_192;

/// What stands around the numbers of a row.
struct Frame {
    is_list: bool,
    columns: usize,
    quoted: u32,
}

/// Up to eight bytes that stand between two numbers.
#[derive(Clone, Copy)]
struct Mark {
    bytes: u64,
    length: usize,
}

impl Mark {
    fn new(parts: [&str; 3]) -> Mark {
        let mut bytes = [0; 8];
        let mut length = 0;
        for byte in parts.iter().flat_map(|part| part.bytes()).take(8) {
            bytes[length] = byte;
            length += 1;
        }
        Mark { bytes: u64::from_le_bytes(bytes), length }
    }

    fn is_at(self, text: &[u8], at: usize) -> bool {
        let others = 64 - 8 * self.length as u32;
        (word(text, at) ^ self.bytes).checked_shl(others) == Some(0) && at + self.length <= text.len()
    }
}

impl Frame {
    /// The frame of a text, recognised by its first row.
    fn of(text: &[u8]) -> Option<Frame> {
        let is_list = text.starts_with(b"[[");
        let row = text.get(usize::from(is_list)..)?.strip_prefix(b"[")?;
        let end = row.iter().take(MOST_COLUMNS * (MOST_DIGITS + 5)).position(|byte| *byte == b']')?;
        let (mut columns, mut quoted) = (0, 0);
        for item in row[..end].split(|byte| *byte == b',') {
            quoted |= u32::from(item.first() == Some(&b'"')).checked_shl(columns as u32)?;
            columns += 1;
        }
        Some(Frame { is_list, columns, quoted })
    }

    fn quote(&self, column: usize) -> &'static str {
        if self.quoted >> column & 1 == 1 { "\"" } else { "" }
    }

    /// What stands before each number of a row: before the first, as in every row but the first of all.
    fn marks(&self) -> Vec<Mark> {
        let last = self.quote(self.columns - 1);
        let between = |column: usize| Mark::new([self.quote(column - 1), ",", self.quote(column)]);
        let first = Mark::new([last, "],[", self.quote(0)]);
        std::iter::once(first).chain((1..self.columns).map(between)).collect()
    }

    fn begin(&self) -> Mark {
        Mark::new([if self.is_list { "[" } else { "" }, "[", self.quote(0)])
    }

    fn end(&self) -> Mark {
        Mark::new([self.quote(self.columns - 1), "]", if self.is_list { "]" } else { "" }])
    }
}

/// What was read of a column.
#[derive(Clone, Default)]
struct Read {
    forms: Vec<u64>,
    digits: Vec<u64>,
    zeros: u32,
    before: Decimal,
    length: usize,
}

impl Read {
    /// Takes the number at `at`, and says where it ends.
    fn take(&mut self, text: &[u8], at: usize) -> Option<usize> {
        let (number, end) = digits::read_like(text, at, self.before, self.length)?;
        self.forms.push(form_of(number));
        self.digits.push(number.digits);
        self.zeros = self.zeros.min(zeros_at_the_end(text, end));
        (self.before, self.length) = (number, end - at);
        Some(end)
    }

    fn write(mut self, out: &mut Vec<u8>) {
        column::write(out, &self.forms);
        out.put_u8(self.zeros as u8);
        divide(&mut self.digits, self.zeros);
        column::write(out, &self.digits);
    }
}

fn form_of(number: Decimal) -> u64 {
    u64::from(number.decimals << 1) | u64::from(number.is_negative)
}

/// Whether a text begins as such rows do.
pub(super) fn are_likely(text: &[u8]) -> bool {
    Frame::of(text).is_some_and(|frame| {
        let begin = frame.begin();
        begin.is_at(text, 0) && digits::read(text, begin.length).is_some()
    })
}

/// The rows packed; `None` for a text that is none of such rows.
pub(super) fn pack(text: &[u8]) -> Option<Vec<u8>> {
    let frame = Frame::of(text)?;
    // Rows of a text are much alike.
    let rows_likely = (text.len() / text.iter().position(|byte| *byte == b']')?).min(MOST_ROWS) + 1;
    let column = || Read {
        forms: Vec::with_capacity(rows_likely),
        digits: Vec::with_capacity(rows_likely),
        zeros: MOST_DIGITS as u32,
        ..Read::default()
    };
    let mut columns: Vec<Read> = (0..frame.columns).map(|_| column()).collect();
    let (mut marks, end) = (frame.marks(), frame.end());
    let between = std::mem::replace(&mut marks[0], frame.begin());
    let (mut at, mut rows) = (0, 0);
    loop {
        for (column, mark) in columns.iter_mut().zip(&marks) {
            if !mark.is_at(text, at) {
                return None;
            }
            at = column.take(text, at + mark.length)?;
        }
        rows += 1;
        if at + end.length == text.len() && end.is_at(text, at) {
            break;
        }
        if rows == MOST_ROWS {
            return None;
        }
        marks[0] = between;
    }
    let mut out = Vec::with_capacity(text.len() / 4);
    out.put_u8(u8::from(frame.is_list));
    out.put_u8(frame.columns as u8);
    out.put_u32_le(frame.quoted);
    out.put_u16_le(rows as u16);
    columns.into_iter().for_each(|column| column.write(&mut out));
    Some(out)
}

/// How many zeros a number ends with that ends at `end`, as far as eight bytes tell.
fn zeros_at_the_end(text: &[u8], end: usize) -> u32 {
    match text.get(..end).and_then(<[u8]>::last_chunk::<8>) {
        Some(last) => (u64::from_le_bytes(*last) ^ 0x3030_3030_3030_3030).leading_zeros() / 8,
        None => 0,
    }
}

/// Takes zeros off the end of numbers that all have that many.
fn divide(numbers: &mut [u64], zeros: u32) {
    if zeros > 0 {
        // Without a remainder, to divide by five to a power is to multiply by its inverse.
        let inverse = inverse_of_five().wrapping_pow(zeros);
        numbers.iter_mut().for_each(|number| *number = (*number >> zeros).wrapping_mul(inverse));
    }
}

const fn inverse_of_five() -> u64 {
    0xCCCC_CCCC_CCCC_CCCD
}

/// A column as it is written.
struct Column {
    /// What stands before each of its numbers, with the zeros that the number before ends with.
    before: Before,
    numbers: Numbers,
    /// Zeros that its numbers end with and that are written with what comes behind.
    zeros: Zeros,
}

enum Numbers {
    /// All are the same.
    Same { text: [u8; REACH], length: usize },
    /// All have one form.
    Alike { form: Form, digits: Vec<u64> },
    /// The decimals and the sign of each, and its digits.
    Each { forms: Vec<u64>, digits: Vec<u64> },
}

/// Up to sixteen bytes between two numbers.
#[derive(Clone, Copy)]
struct Before {
    bytes: [u8; 16],
    length: usize,
}

/// This many zeros at the end of a number whose point may stand before them.
#[derive(Clone, Copy, Default)]
struct Zeros {
    has_point: bool,
    count: usize,
}

impl Before {
    fn new(zeros: Zeros, mark: Mark) -> Before {
        let mut bytes = [b'0'; 16];
        bytes[0] = if zeros.has_point { b'.' } else { b'0' };
        let begin = usize::from(zeros.has_point) + zeros.count;
        bytes[begin..][..mark.length].copy_from_slice(&mark.bytes.to_le_bytes()[..mark.length]);
        Before { bytes, length: begin + mark.length }
    }
}

fn number_of(form: u64, digits: u64) -> Decimal {
    // What no number has is refused where it is written.
    Decimal { digits, decimals: (form >> 1).min(63) as u32, is_negative: form & 1 == 1 }
}

impl Column {
    fn read(packed: &mut &[u8], rows: usize) -> Option<Column> {
        let forms = column::read(packed, rows)?;
        let at_the_end = u32::from(packed.try_get_u8().ok()?);
        let scale = *TENS.get(at_the_end as usize)?;
        let mut digits = column::read(packed, rows)?;
        let mut zeros = Zeros::default();
        let numbers = match (forms, &mut digits) {
            (Values::Same(form), Values::Same(digits)) => {
                let mut text = [0; REACH];
                let length = digits::write(&mut text, number_of(form, digits.checked_mul(scale)?))?;
                Numbers::Same { text, length }
            }
            (Values::Same(form), Values::Each(digits)) if form & 1 == 0 && form < 64 => {
                let mut decimals = (form >> 1) as u32;
                if (1..=8.min(decimals)).contains(&at_the_end) {
                    decimals -= at_the_end;
                    zeros = Zeros { has_point: decimals == 0, count: at_the_end as usize };
                } else if at_the_end > 0 {
                    multiply(digits, scale);
                }
                let most = digits.iter().copied().max()?;
                Numbers::Alike { form: Form::of(decimals, most), digits: std::mem::take(digits) }
            }
            (mut forms, digits) => {
                let mut digits = digits.each(rows);
                multiply(&mut digits, scale);
                Numbers::Each { forms: forms.each(rows), digits }
            }
        };
        Some(Column { before: Before { bytes: [0; 16], length: 0 }, numbers, zeros })
    }

    /// Writes what stands before a number, and the number, and says how long they are.
    #[inline]
    fn write(&self, text: &mut [u8], at: usize, row: usize) -> Option<usize> {
        let out = text.get_mut(at..)?.first_chunk_mut::<ROOM>()?;
        out[..16].copy_from_slice(&self.before.bytes);
        let length = self.before.length;
        let number = out.get_mut(length..)?.first_chunk_mut::<REACH>()?;
        let written = match &self.numbers {
            Numbers::Alike { form, digits } => form.write(number, *digits.get(row)?)?,
            Numbers::Same { text, length } => {
                *number = *text;
                *length
            }
            Numbers::Each { forms, digits } => digits::write(number, number_of(*forms.get(row)?, *digits.get(row)?))?,
        };
        Some(length + written)
    }
}

fn multiply(numbers: &mut [u64], scale: u64) {
    numbers.iter_mut().for_each(|number| *number = number.wrapping_mul(scale));
}

/// The most bytes that are touched where a number is written, with what stands before it.
const ROOM: usize = 16 + REACH;

/// The packed text of this many bytes; `None` for anything else.
pub(super) fn unpack(mut packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let is_list = packed.try_get_u8().ok()? == 1;
    let columns = usize::from(packed.try_get_u8().ok()?);
    let quoted = packed.try_get_u32_le().ok()?;
    let rows = usize::from(packed.try_get_u16_le().ok()?);
    // No number is shorter than a digit and what parts it from the next, and none longer than there is room for.
    let is_sound = (1..=MOST_COLUMNS).contains(&columns) && (1..=MOST_ROWS).contains(&rows);
    if !is_sound || rows * columns * 2 > length || rows * columns * ROOM < length {
        return None;
    }
    let frame = Frame { is_list, columns, quoted };
    let read = |_| Column::read(&mut packed, rows);
    let mut columns: Vec<Column> = (0..columns).map(read).collect::<Option<_>>()?;
    let last = columns.last()?.zeros;
    let mut zeros = last;
    for (column, mark) in columns.iter_mut().zip(frame.marks()) {
        column.before = Before::new(zeros, mark);
        zeros = column.zeros;
    }
    let between = std::mem::replace(&mut columns[0].before, Before::new(Zeros::default(), frame.begin()));
    let mut text = vec![0; length + ROOM];
    let mut at = 0;
    for row in 0..rows {
        for column in &columns {
            at += column.write(&mut text, at, row)?;
        }
        columns[0].before = between;
    }
    let end = Before::new(last, frame.end());
    *text.get_mut(at..)?.first_chunk_mut::<16>()? = end.bytes;
    text.truncate(length);
    (at + end.length == length && packed.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn there_and_back(text: &str) -> Option<usize> {
        let packed = pack(text.as_bytes())?;
        let back = unpack(&packed, text.len()).map(String::from_utf8);
        assert_eq!(back, Some(Ok(text.to_owned())));
        assert_eq!(unpack(&packed, text.len() + 1), None);
        assert_eq!(unpack(&packed, text.len() - 1), None);
        Some(packed.len())
    }

    fn candle(minute: u64) -> String {
        let (open, price) = (1_700_000_000_000 + minute * 60_000, 67_000 + minute * 7 % 90);
        format!(
            r#"[{open},"{price}.10000000","{price}.{:02}000000","0.00000001","{price}.00000000","12.{minute:08}",{},"15.00000000",{},"5.1","-7.5","0"]"#,
            minute % 100,
            open + 59_999,
            minute * 31 % 1_000,
        )
    }

    #[test]
    fn candles_come_back_to_the_byte_and_take_a_fifth() {
        let rows: Vec<String> = (0..256).map(candle).collect();
        let text = rows.join(",");
        assert!(there_and_back(&text).unwrap() < text.len() / 5);
        assert!(there_and_back(&format!("[{text}]")).unwrap() < text.len() / 5);
        assert!(there_and_back(&rows[0]).is_some());
    }

    #[test]
    fn no_more_memory_is_taken_than_the_rows_can_fill() {
        let packed = pack(b"[1],[2]").unwrap();
        assert_eq!((unpack(&packed, 2 * ROOM + 1), unpack(&packed, usize::MAX)), (None, None));
        let all_alike = pack(vec!["[1]"; MOST_ROWS].join(",").as_bytes()).unwrap();
        assert!(all_alike.len() < 64);
        assert_eq!(unpack(&all_alike, 256 << 20), None);
    }

    #[test]
    fn rows_are_known_by_their_first_number() {
        let candles = [candle(1), candle(2)].join(",");
        for (text, likely) in
            [(candles.as_str(), true), ("[[1],[2]]", true), ("[]", false), ("[{\"a\":1}]", false), ("{}", false)]
        {
            assert_eq!(are_likely(text.as_bytes()), likely, "{text}");
        }
    }

    #[test]
    fn numbers_of_other_forms_in_one_column_come_back_too() {
        for text in [
            "[1]",
            "[[1]]",
            r#"["1.5"],["-1.50"],["150"],["0"],["0.00"]"#,
            "[[0,1],[999999999999999999,2],[5,0.000]]",
            r#"[["0.12345678901234567","1"],["123456789012345678","1"]]"#,
        ] {
            assert!(there_and_back(text).is_some(), "{text}");
        }
    }

    #[test]
    fn other_texts_are_left_to_others() {
        for text in [
            "",
            "[",
            "[]",
            "[[]]",
            "[1",
            "[[1]",
            "[1]]",
            "[1],",
            "[1],[]",
            "[1], [2]",
            "[1,2],[3]",
            "[1],[2,3]",
            "[1],[\"2\"]",
            "[\"1\"],[2]",
            "[\"1],[\"2\"]",
            "[01]",
            "[1e5]",
            "[null]",
            "[1.],[2]",
            "{\"a\":[1]}",
            "[1234567890123456789]",
        ] {
            assert_eq!(pack(text.as_bytes()), None, "{text}");
        }
        let wide = format!("[{}]", vec!["1"; MOST_COLUMNS + 1].join(","));
        let long = vec!["[1]"; MOST_ROWS + 1].join(",");
        assert_eq!((pack(wide.as_bytes()), pack(long.as_bytes())), (None, None));
        assert!(there_and_back(&wide.replacen("1,", "", 1)).is_some());
        assert!(there_and_back(&long.replacen("[1],", "", 1)).is_some());
    }

    proptest! {
        #[test]
        fn packed_bytes_come_back(
            rows in proptest::collection::vec(
                ("(0|[1-9][0-9]{0,12})", "-?(0|[1-9][0-9]{0,5})\\.[0-9]{1,8}", "(0|[1-9][0-9]{0,5})\\.[0-9]{0,2}0{1,6}"), 1..40),
            is_list: bool,
        ) {
            let rows: Vec<String> = rows.iter().map(|(one, two, three)| format!(r#"[{one},"{two}",{three}]"#)).collect();
            let text = rows.join(",");
            let text = if is_list { format!("[{text}]") } else { text };
            prop_assert!(there_and_back(&text).is_some());
        }

        #[test]
        fn no_text_makes_it_panic_or_lie(text in "[\\[\\],\"019.-]{0,60}") {
            there_and_back(&text);
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), columns in 0u8..4, rows in 0u8..4, length in 0usize..400) {
            if let [_, second, _, _, _, _, low, high, ..] = bytes.as_mut_slice() {
                (*second, *low, *high) = (columns, rows, 0);
            }
            let _ = unpack(&bytes, length);
        }
    }
}
