//! Packed rows, written as text.

use bytes::Buf;

use super::column::{self, Values};
use super::digits::{self, Decimal, Form, REACH, TENS};
use super::{Frame, MOST_COLUMNS, MOST_ROWS, Mark, reader};

/// A column as it is written.
pub(super) struct Column {
    /// What stands before each of its numbers, with the zeros that the number before ends with.
    before: Before,
    numbers: Numbers,
    /// Zeros that its numbers end with and that are written with what comes behind.
    zeros: Zeros,
}

enum Numbers {
    /// All are the same.
    Same { text: [u8; REACH], length: usize, form: u64, digits: u64 },
    /// All have one form.
    Alike { written: Form, form: u64, digits: Vec<u64> },
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
                let digits = digits.checked_mul(scale)?;
                let length = digits::write(&mut text, number_of(form, digits))?;
                Numbers::Same { text, length, form, digits }
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
                Numbers::Alike { written: Form::of(decimals, most), form, digits: std::mem::take(digits) }
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
    #[inline(always)]
    fn write(&self, out: &mut [u8; LINES], at: usize, row: usize) -> Option<usize> {
        *out.get_mut(at..)?.first_chunk_mut()? = self.before.bytes;
        let begin = at + self.before.length;
        let number = out.get_mut(begin..)?.first_chunk_mut::<REACH>()?;
        let written = match &self.numbers {
            Numbers::Alike { written, digits, .. } => written.write(number, *digits.get(row)?)?,
            Numbers::Same { text, length, .. } => {
                *number = *text;
                *length
            }
            Numbers::Each { forms, digits } => digits::write(number, number_of(*forms.get(row)?, *digits.get(row)?))?,
        };
        Some(begin + written)
    }

    /// Whether its numbers are those that were read.
    pub(super) fn is_of(&self, read: &reader::Column, mut numbers: impl Iterator<Item = u64>) -> bool {
        let all_have = |form: u64| read.forms.is_empty() && read.form == form;
        match &self.numbers {
            Numbers::Same { form, digits, .. } => all_have(*form) && numbers.all(|number| number == *digits),
            Numbers::Alike { form, digits, .. } => {
                let Some(scale) = TENS.get(self.zeros.count) else { return false };
                let is_same = |(digits, number): (&u64, u64)| digits.checked_mul(*scale) == Some(number);
                all_have(*form) && digits.iter().zip(numbers).all(is_same)
            }
            Numbers::Each { forms, digits } => {
                let are_same = if read.forms.is_empty() {
                    forms.iter().all(|form| *form == read.form)
                } else {
                    *forms == read.forms
                };
                are_same && digits.iter().copied().eq(numbers)
            }
        }
    }
}

fn multiply(numbers: &mut [u64], scale: u64) {
    numbers.iter_mut().for_each(|number| *number = number.wrapping_mul(scale));
}

/// The most bytes that are touched where a number is written, with what stands before it.
pub(super) const ROOM: usize = 16 + REACH;

/// The most bytes that are touched where a row is written, with the end of a text.
const LINE: usize = MOST_COLUMNS * ROOM + 16;
/// The room that rows are written into before they are given on.
const LINES: usize = 4 * LINE;

/// Rows as they are packed.
pub(super) struct Packed {
    pub(super) rows: usize,
    pub(super) quoted: u32,
    pub(super) columns: Vec<Column>,
    /// What stands before each row but the first.
    between: Before,
    end: Before,
}

impl Packed {
    /// Reads the packed rows of a text of this many bytes; `None` for anything else.
    pub(super) fn read(mut packed: &[u8], length: usize) -> Option<Packed> {
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
        let begin = Before::new(Zeros::default(), frame.begin());
        let between = std::mem::replace(&mut columns[0].before, begin);
        packed.is_empty().then_some(Packed { rows, quoted, columns, between, end: Before::new(last, frame.end()) })
    }

    /// Gives the text to `take`, some rows at a time, until that wants no more. Says whether it took all of it.
    #[inline]
    fn write(mut self, mut take: impl FnMut(&[u8]) -> bool) -> Option<bool> {
        let mut lines = [0; LINES];
        let mut at = 0;
        for row in 0..self.rows {
            at = self.write_row(&mut lines, at, row)?;
            self.columns[0].before = self.between;
            if at > LINES - LINE {
                if !take(&lines[..at]) {
                    return Some(false);
                }
                at = 0;
            }
        }
        at = self.write_end(&mut lines, at)?;
        Some(take(&lines[..at]))
    }

    /// Writes a row with what stands before it, and says where it ends.
    #[inline(always)]
    fn write_row(&self, out: &mut [u8; LINES], mut at: usize, row: usize) -> Option<usize> {
        for column in &self.columns {
            at = column.write(out, at, row)?;
        }
        Some(at)
    }

    fn write_end(&self, out: &mut [u8; LINES], at: usize) -> Option<usize> {
        *out.get_mut(at..)?.first_chunk_mut()? = self.end.bytes;
        Some(at + self.end.length)
    }

    /// Whether some of the rows, and the last, are written as this text has them.
    pub(super) fn samples_are_of(mut self, text: &[u8], samples: &[usize]) -> Option<bool> {
        let mut out = [0; LINES];
        for (sample, begin) in samples.iter().enumerate() {
            let length = self.write_row(&mut out, 0, sample * reader::SAMPLED)?;
            let begin = begin.checked_sub(self.columns[0].before.length)?;
            if text.get(begin..begin + length)? != &out[..length] {
                return Some(false);
            }
            self.columns[0].before = self.between;
        }
        let end = self.write_row(&mut out, 0, self.rows - 1)?;
        let end = self.write_end(&mut out, end)?;
        Some(text.ends_with(out.get(self.between.length..end)?))
    }
}

/// The packed text of this many bytes; `None` for anything else.
pub(in crate::entry) fn unpack(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let packed = Packed::read(packed, length)?;
    let mut text = Vec::with_capacity(length);
    let is_whole = packed.write(|lines| {
        let fits = lines.len() <= length - text.len();
        if fits {
            text.extend_from_slice(lines);
        }
        fits
    });
    (is_whole? && text.len() == length).then_some(text)
}
