//! The numbers of a text of rows.

use super::digits::{self, BEFORE, Shape};
use super::{Frame, MOST_COLUMNS, MOST_ROWS, Mark, form_of};

/// The numbers of a text.
pub(super) struct Numbers {
    pub(super) rows: usize,
    pub(super) columns: Vec<Column>,
    /// Their digits, row by row.
    pub(super) digits: Vec<u64>,
    /// Where the first number begins of each row whose number is a multiple of [`SAMPLED`].
    pub(super) samples: Vec<usize>,
}

/// One row of this many is written and compared with the text.
pub(super) const SAMPLED: usize = 16;

impl Numbers {
    /// The digits of the numbers of a column.
    #[inline]
    pub(super) fn of_column(&self, index: usize) -> impl Iterator<Item = u64> {
        self.digits.chunks_exact(self.columns.len()).map(move |row| row.get(index).copied().unwrap_or_default())
    }
}

/// What was read of a column besides the digits.
pub(super) struct Column {
    /// What stands behind each number but the last of all.
    after: Mark,
    is_last: bool,
    shape: Shape,
    /// The form of the last number.
    pub(super) form: u64,
    /// The forms of all, unless all have that one.
    pub(super) forms: Vec<u64>,
    /// The last eight bytes of each number, without the bits of zeros, all in one: zeros that all numbers end with are left.
    ends: u64,
}

impl Column {
    fn new(after: Mark) -> Column {
        Column { after, is_last: false, shape: Shape::Any, form: 0, forms: Vec::new(), ends: 0 }
    }

    /// How many zeros each of the numbers ends with, as far as eight bytes tell.
    pub(super) fn zeros(&self) -> u32 {
        self.ends.leading_zeros() / 8
    }

    /// Reads the number at `at` if it looks like the one before and is not the last of all: its digits, and where the next
    /// begins.
    #[inline(always)]
    fn next_alike(&mut self, text: &[u8], at: usize) -> Option<(u64, usize)> {
        let view = text.get(at.wrapping_sub(BEFORE)..)?.first_chunk()?;
        let (digits, length) = self.shape.read(view)?;
        if !self.after.begins(digits::word_at(view, length)) {
            return None;
        }
        self.ends |= digits::last_digits(view, length);
        if !self.forms.is_empty() {
            self.forms.push(self.form);
        }
        Some((digits, at + length + self.after.length))
    }

    /// Reads the number at `at` of a row, whatever it looks like: its digits, and where it ends.
    #[cold]
    fn next(&mut self, text: &[u8], at: usize, row: usize) -> Option<(u64, usize)> {
        let (number, end) = digits::read(text, at)?;
        self.note_form(form_of(number), row);
        self.shape = Shape::of(number, end - at);
        let last = text.get(..end).and_then(<[u8]>::last_chunk::<8>);
        self.ends |= last.map_or(u64::MAX, |last| digits::without_zeros(u64::from_le_bytes(*last)));
        Some((number.digits, end))
    }

    fn note_form(&mut self, form: u64, row: usize) {
        if row > 0 && form != self.form && self.forms.is_empty() {
            self.forms = vec![self.form; row];
        }
        if !self.forms.is_empty() {
            self.forms.push(form);
        }
        self.form = form;
    }
}

/// The numbers of a text of this frame; `None` for a text that has another somewhere.
pub(super) fn read(text: &[u8], frame: &Frame) -> Option<Numbers> {
    let (begin, end) = (frame.begin(), frame.end());
    if !begin.is_at(text, 0) {
        return None;
    }
    let mut marks = frame.marks();
    marks.rotate_left(1);
    let mut columns: Vec<Column> = marks.into_iter().map(Column::new).collect();
    // Rows of a text are much alike.
    let rows_likely = (text.len() / text.iter().position(|byte| *byte == b']')?).min(MOST_ROWS) + 1;
    let mut all = Vec::with_capacity(rows_likely * columns.len());
    let mut row = [0; MOST_COLUMNS];
    let row = row.get_mut(..columns.len())?;
    columns.last_mut()?.is_last = true;
    let (mut at, mut samples) = (begin.length, Vec::with_capacity(rows_likely / SAMPLED + 1));
    for rows in 1..=MOST_ROWS {
        if (rows - 1) % SAMPLED == 0 {
            samples.push(at);
        }
        for (column, value) in columns.iter_mut().zip(row.iter_mut()) {
            if let Some((digits, next)) = column.next_alike(text, at) {
                (*value, at) = (digits, next);
                continue;
            }
            (*value, at) = column.next(text, at, rows - 1)?;
            if column.after.is_at(text, at) {
                at += column.after.length;
            } else if column.is_last && end.is_at(text, at) && at + end.length == text.len() {
                all.extend_from_slice(row);
                return Some(Numbers { rows, columns, digits: all, samples });
            } else {
                return None;
            }
        }
        all.extend_from_slice(row);
    }
    None
}
