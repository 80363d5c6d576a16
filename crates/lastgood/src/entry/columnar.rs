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

use bytes::BufMut;

mod column;
mod digits;
mod reader;
mod writer;

use self::digits::{Decimal, MOST_DIGITS, word};
use self::reader::Numbers;
use self::writer::Packed;
pub(super) use self::writer::unpack;

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
    /// Its bits of a word.
    mask: u64,
}

impl Mark {
    fn new(parts: [&str; 3]) -> Mark {
        let mut bytes = [0; 8];
        let mut length = 0;
        for byte in parts.iter().flat_map(|part| part.bytes()).take(8) {
            bytes[length] = byte;
            length += 1;
        }
        Mark { bytes: u64::from_le_bytes(bytes), length, mask: u64::MAX.unbounded_shr(64 - 8 * length as u32) }
    }

    fn is_at(self, text: &[u8], at: usize) -> bool {
        self.begins(word(text, at)) && at + self.length <= text.len()
    }

    /// Whether eight bytes begin with it.
    #[inline]
    fn begins(self, word: u64) -> bool {
        (word ^ self.bytes) & self.mask == 0
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
    let numbers = reader::read(text, &frame)?;
    // Looked at once more: a fault of ours must cost room, not change a price.
    Some(packed(text, &frame, &numbers)).filter(|packed| comes_back(packed, text, &frame, &numbers))
}

fn packed(text: &[u8], frame: &Frame, numbers: &Numbers) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() / 4);
    out.put_u8(u8::from(frame.is_list));
    out.put_u8(frame.columns as u8);
    out.put_u32_le(frame.quoted);
    out.put_u16_le(numbers.rows as u16);
    let mut digits = Vec::with_capacity(numbers.rows);
    for (index, column) in numbers.columns.iter().enumerate() {
        match column.forms.as_slice() {
            [] => column::write(&mut out, &[column.form]),
            forms => column::write(&mut out, forms),
        }
        let zeros = column.zeros();
        out.put_u8(zeros as u8);
        digits.clear();
        let inverse = inverse_of_fives(zeros);
        digits.extend(numbers.of_column(index).map(|number| (number >> zeros).wrapping_mul(inverse)));
        column::write(&mut out, &digits);
    }
    out
}

/// The inverse of five to this power: without a remainder, to divide by that is to multiply by this.
const fn inverse_of_fives(power: u32) -> u64 {
    0xCCCC_CCCC_CCCC_CCCD_u64.wrapping_pow(power)
}

/// Whether [`unpack`] makes this text, which has these numbers, of what was packed.
///
/// A number has one spelling in a form, and no other is read: so numbers and forms are compared, which takes a third of what
/// it takes to write the text. Some rows are written all the same, as is the last.
fn comes_back(packed: &[u8], text: &[u8], frame: &Frame, numbers: &Numbers) -> bool {
    let Some(packed) = Packed::read(packed, text.len()) else { return false };
    let mut columns = packed.columns.iter().zip(&numbers.columns).enumerate();
    let is_alike =
        packed.rows == numbers.rows && packed.columns.len() == frame.columns && packed.quoted == frame.quoted;
    is_alike
        && columns.all(|(index, (column, read))| column.is_of(read, numbers.of_column(index)))
        && packed.samples_are_of(text, &numbers.samples) == Some(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::writer::ROOM;
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
            "[-226237881922253],[6736413405083280],[6736413405083281]",
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

    /// What these rows are packed as, and whether other bytes are taken for that.
    fn judged(text: &str) -> (Vec<u8>, impl Fn(&[u8]) -> bool) {
        let frame = Frame::of(text.as_bytes()).unwrap();
        let numbers = reader::read(text.as_bytes(), &frame).unwrap();
        let packed = packed(text.as_bytes(), &frame, &numbers);
        (packed, move |bytes: &[u8]| comes_back(bytes, text.as_bytes(), &frame, &numbers))
    }

    #[test]
    fn a_fault_in_any_packed_bit_is_seen() {
        let rows: Vec<String> = (0..40).map(candle).collect();
        let of_many_forms = r#"["1.5",3],["-1.50",3],["150",4],["0",10],["0.00",20],["12.0",4]"#;
        for text in [rows.join(","), format!("[{}]", rows[0]), of_many_forms.to_owned(), "[7]".to_owned()] {
            let (packed, comes_back) = judged(&text);
            assert!(comes_back(&packed));
            for bit in 0..8 * packed.len() {
                let mut other = packed.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                let is_text = unpack(&other, text.len()).is_some_and(|back| back == text.as_bytes());
                assert!(!comes_back(&other) || is_text, "bit {bit} of {text}");
            }
        }
    }

    const REFUSED: &[&str] = &[
        "",
        "-",
        "--1",
        "+1",
        "+1.5",
        "00",
        "00.5",
        "01",
        "01.5",
        "-01",
        ".5",
        "-.5",
        "5.",
        "1.2.3",
        "1..2",
        "1e5",
        "1E5",
        "1.5e3",
        "1e-3",
        " 1",
        "1 ",
        "1 5",
        "1_0",
        "0x1",
        "NaN",
        "null",
        "true",
        "1,",
        ",1",
        "\"1\"",
        "[1]",
        "1;",
        "1:",
        "1/",
        "12345678901234567890",
        "1234567890123456789",
        "0.123456789012345678",
        "12345678901.12345678901",
        "000000000",
        "0123456789012",
        "017000000000",
        "1.00000000.",
        "1.0000000a",
        "a.00000000",
        "1.0000000/",
        "1.0000000:",
        "0x.10000000",
    ];

    /// In any row, also in one that follows rows which are read at once.
    #[test]
    fn a_spelling_that_would_not_come_back_is_refused() {
        for before in [0, 1, 12] {
            for after in [0, 3] {
                for number in ["1", "8.25", "97123.45000000", "1700000000000", "12345"] {
                    let rows = |odd: &str| {
                        let row = |number: &str| format!(r#"[1700000000000,"{number}",{number},"1.5"]"#);
                        let [first, last] = [before, after].map(|count| vec![row(number); count]);
                        [first, vec![odd.to_owned()], last].concat().join(",")
                    };
                    for odd in REFUSED {
                        for row in [
                            format!(r#"[1700000000000,"{odd}",1,"1.5"]"#),
                            format!(r#"[1700000000000,"1",{odd},"1.5"]"#),
                        ] {
                            // A row of its own makes a frame of its own.
                            if before + after > 0 || !(odd.contains(['"', ',', '['])) {
                                assert_eq!(pack(rows(&row).as_bytes()), None, "{}", rows(&row));
                            }
                        }
                    }
                    for odd in [
                        "-0",
                        "-0.00",
                        "0",
                        "0.0",
                        "3.14159",
                        "123456789012345678",
                        "97123.5",
                        "-1.5",
                        "5000",
                        "100000000",
                    ] {
                        for row in
                            [format!(r#"[1700000000000,"{odd}",1,"1.5"]"#), format!(r#"[{odd},"1",{odd},"1.5"]"#)]
                        {
                            assert!(there_and_back(&rows(&row)).is_some(), "{}", rows(&row));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_that_is_put_together_otherwise_is_refused() {
        let row = r#"[1700000000000,"8.25",7,"1.5"]"#;
        for odd in [
            r#"["8.25",1700000000000,7,"1.5"]"#,
            r#"[1700000000000,8.25,7,"1.5"]"#,
            r#"["1700000000000","8.25",7,"1.5"]"#,
            r#"[1700000000000,"8.25",7]"#,
            r#"[1700000000000,"8.25",7,"1.5","2"]"#,
            r#"[1700000000000, "8.25",7,"1.5"]"#,
            r#"[1700000000000,"8.25",7,"1.5" ]"#,
            r#" [1700000000000,"8.25",7,"1.5"]"#,
            r#"[1700000000000,"8.25",7,"1.5"] "#,
            r#"[1700000000000,"8.25",7,"1.5"],"#,
            r#"[1700000000000,"8.25",7,"1.5"]]"#,
            r#"[1700000000000,"8.25",7,'1.5']"#,
            "[]",
            "",
        ] {
            for rows in [[odd, row, row, row], [row, odd, row, row], [row, row, row, odd]] {
                let text = rows.join(",");
                assert_eq!(pack(text.as_bytes()), None, "{text}");
                assert_eq!(pack(format!("[{text}]").as_bytes()), None, "[{text}]");
            }
        }
    }

    proptest! {
        #[test]
        fn bytes_that_are_taken_for_packed_rows_are_unpacked_as_they_were(
            rows in proptest::collection::vec(("-?[1-9][0-9]{0,5}\\.[0-9]{0,2}0{1,8}", "[1-9][0-9]{0,12}"), 1..20),
            faults in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0u8..4), 1..3),
        ) {
            let text = rows.iter().map(|(one, two)| format!(r#"["{one}",{two}]"#)).collect::<Vec<_>>().join(",");
            let (mut bytes, comes_back) = judged(&text);
            prop_assert!(comes_back(&bytes));
            for (index, byte, kind) in faults {
                let at = index.index(bytes.len());
                match kind {
                    0 => bytes[at] = byte,
                    1 => bytes[at] = bytes[at].wrapping_add(byte % 3).wrapping_sub(1),
                    2 => bytes.insert(at, byte),
                    _ => bytes.truncate(at + 1),
                }
            }
            if comes_back(&bytes) {
                prop_assert_eq!(unpack(&bytes, text.len()), Some(text.clone().into_bytes()));
            }
        }

        #[test]
        fn candles_with_a_fault_come_back_or_are_refused(
            count in 1u64..20,
            faults in proptest::collection::vec((any::<proptest::sample::Index>(), "[-+0-9.,eE \"\\[\\]]{0,3}", 0usize..4), 1..4),
        ) {
            let mut text = (0..count).map(candle).collect::<Vec<_>>().join(",");
            for (index, fault, length) in faults {
                let at = index.index(text.len());
                text.replace_range(at..text.len().min(at + length), &fault);
            }
            there_and_back(&text);
        }

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
