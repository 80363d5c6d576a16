//! Packing of rows of numbers, `[1,"2.50"],[2,"2.75"]`, as exchanges write candles: a third of what a general method
//! leaves, in a fifth of its time. What comes back is the text to the byte; any other text is not packed so.
//!
//! ```text
//! frame u8 (1: all of it in brackets) | columns u8 | quoted u32, a bit for each column | rows u16
//! for each column: the decimals and the sign of its numbers | zeros u8 | their digits less so many zeros at the end
//! ```
//!
//! Each list of numbers as [`column`] has it. Decimals and sign are one number: twice the decimals, and one if it is
//! negative.

use bytes::{Buf, BufMut};

mod column;
mod digits;

use self::digits::{Decimal, MOST_DIGITS, REACH, TENS, word};

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
    /// The frame of a text, told from its first row.
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

/// The rows packed; `None` for a text that is none of such rows.
pub(super) fn pack(text: &[u8]) -> Option<Vec<u8>> {
    let frame = Frame::of(text)?;
    let columns = frame.columns;
    let most_rows = MOST_ROWS.min(text.len() / (2 * columns + 1) + 1);
    let mut forms: Vec<Vec<u64>> = vec![Vec::with_capacity(most_rows.min(64)); columns];
    let mut digits: Vec<Vec<u64>> = vec![Vec::with_capacity(most_rows.min(512)); columns];
    let mut zeros = vec![MOST_DIGITS as u32; columns];
    let (marks, begin, end) = (frame.marks(), frame.begin(), frame.end());
    let (mut at, mut mark, mut rows) = (0, begin, 0);
    loop {
        for column in 0..columns {
            if column > 0 {
                mark = marks[column];
            }
            if !mark.is_at(text, at) {
                return None;
            }
            let (number, after) = digits::read(text, at + mark.length)?;
            at = after;
            forms[column].push(u64::from(number.decimals << 1) | u64::from(number.is_negative));
            digits[column].push(number.digits);
            zeros[column] = zeros[column].min(zeros_at_the_end(text, at));
        }
        rows += 1;
        if at + end.length == text.len() && end.is_at(text, at) {
            break;
        }
        if rows == MOST_ROWS {
            return None;
        }
        mark = marks[0];
    }
    let mut out = Vec::with_capacity(text.len() / 4);
    out.put_u8(u8::from(frame.is_list));
    out.put_u8(columns as u8);
    out.put_u32_le(frame.quoted);
    out.put_u16_le(rows as u16);
    for ((forms, digits), zeros) in forms.iter().zip(&mut digits).zip(zeros) {
        column::write(&mut out, forms);
        out.put_u8(zeros as u8);
        divide(digits, zeros);
        column::write(&mut out, digits);
    }
    Some(out)
}

/// How many zeros a number ends with that ends at `end`, as far as eight bytes tell.
fn zeros_at_the_end(text: &[u8], end: usize) -> u32 {
    match text.get(..end).and_then(<[u8]>::last_chunk::<8>) {
        Some(last) => (u64::from_le_bytes(*last) ^ 0x3030_3030_3030_3030).leading_zeros() / 8,
        None => 0,
    }
}

/// Takes zeros off the end of numbers that all have so many.
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

/// A column as it is read.
struct Column {
    /// What stands before each of its numbers.
    mark: Mark,
    /// The decimals and signs; where all are alike, one.
    forms: Vec<u64>,
    digits: Vec<u64>,
    scale: u64,
    /// Zeros at the end of each number's decimals, which are written behind it.
    zeros: u32,
}

impl Column {
    fn read(packed: &mut &[u8], mark: Mark, rows: usize) -> Option<Column> {
        let (mut forms, mut digits) = (vec![0; rows], vec![0; rows]);
        column::read(packed, &mut forms)?;
        let zeros = u32::from(packed.try_get_u8().ok()?);
        column::read(packed, &mut digits)?;
        let mut scale = *TENS.get(zeros as usize)?;
        // Zeros that all numbers of a form end with are written once for all.
        let alike = forms.iter().all(|form| *form == forms[0]);
        let zeros = if alike && forms[0] >> 1 >= u64::from(zeros) && zeros <= 8 { zeros } else { 0 };
        if alike {
            forms = vec![forms[0].checked_sub(u64::from(zeros) << 1)?];
        }
        if zeros > 0 {
            scale = 1;
        }
        Some(Column { mark, forms, digits, scale, zeros })
    }

    /// Writes what stands before a number, and the number, and says how long they are.
    #[inline]
    fn write(&self, text: &mut [u8], at: usize, row: usize) -> Option<usize> {
        let out = text.get_mut(at..)?.first_chunk_mut::<ROOM>()?;
        let mark = put(out.first_chunk_mut()?, self.mark);
        let mut length = mark + digits::write(out[mark..].first_chunk_mut()?, self.number(row)?)?;
        if self.zeros > 0 {
            let dot = self.forms[0] >> 1 == 0;
            out[length] = b'.';
            length += usize::from(dot);
            *out[length..].first_chunk_mut::<8>()? = *b"00000000";
            length += self.zeros as usize;
        }
        Some(length)
    }

    fn number(&self, row: usize) -> Option<Decimal> {
        let form = if let [form] = self.forms[..] { form } else { *self.forms.get(row)? };
        let digits = self.digits.get(row)?.wrapping_mul(self.scale);
        // What is beyond any number's is refused where it is written.
        Some(Decimal { digits, decimals: (form >> 1).min(63) as u32, is_negative: form & 1 == 1 })
    }
}

/// The text of so many bytes that was packed; `None` for anything else.
pub(super) fn unpack(mut packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let is_list = packed.try_get_u8().ok()? == 1;
    let columns = usize::from(packed.try_get_u8().ok()?);
    let quoted = packed.try_get_u32_le().ok()?;
    let rows = usize::from(packed.try_get_u16_le().ok()?);
    // No number is shorter than a digit and what parts it from the next.
    let is_sound = (1..=MOST_COLUMNS).contains(&columns) && (1..=MOST_ROWS).contains(&rows);
    if !is_sound || rows * columns * 2 > length {
        return None;
    }
    let frame = Frame { is_list, columns, quoted };
    let read = |mark| Column::read(&mut packed, mark, rows);
    let mut columns: Vec<Column> = frame.marks().into_iter().map(read).collect::<Option<_>>()?;
    let mut text = vec![0; length + ROOM];
    let mut mark = std::mem::replace(&mut columns[0].mark, frame.begin());
    let mut at = 0;
    for row in 0..rows {
        for column in &columns {
            at += column.write(&mut text, at, row)?;
        }
        if row == 0 {
            std::mem::swap(&mut columns[0].mark, &mut mark);
        }
    }
    at += put(text.get_mut(at..)?.first_chunk_mut()?, frame.end());
    text.truncate(length);
    (at == length && packed.is_empty()).then_some(text)
}

/// The most bytes that are touched where a number is written, with what stands around it.
const ROOM: usize = 8 + REACH + 8;

fn put(text: &mut [u8; 8], mark: Mark) -> usize {
    *text = mark.bytes.to_le_bytes();
    mark.length
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
        fn what_is_packed_comes_back(
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
