//! Columns of whole numbers in as few bits as their range needs, or that of the steps between them.

use bytes::{Buf, BufMut};

use super::digits::word;

/// The widest values that are read in one step, wherever their first bit lies.
const WIDEST: u32 = 56;
/// The width that stands for whole numbers as they are.
const WHOLE: u32 = 64;
/// Set with the width where steps are written instead of values.
const STEPS: u8 = 0x80;

/// Writes a column: how wide its values are, the least of them, for steps the value before the first, and the values.
///
/// ```text
/// width u8, with 0x80 for steps | least u64 | for steps: begin u64 | values, each `width` bits, lowest bit first
/// ```
pub(super) fn write(out: &mut Vec<u8>, values: &[u64]) {
    let Ranges { least, span, least_step, span_of_steps } = Ranges::of(values);
    let (width, width_of_steps) = (width_of(span), width_of(span_of_steps));
    // The value before the first costs eight bytes.
    if (width_of_steps + 1) as usize * values.len() + 64 < width as usize * values.len() {
        let begin = values[0].wrapping_sub(least_step);
        out.put_u8(width_of_steps as u8 | STEPS);
        out.put_u64_le(least_step);
        out.put_u64_le(begin);
        let mut before = begin;
        let steps = values.iter().map(|value| {
            let step = value.wrapping_sub(std::mem::replace(&mut before, *value));
            step.wrapping_sub(least_step)
        });
        return put_bits(out, steps, width_of_steps);
    }
    out.put_u8(width as u8);
    out.put_u64_le(least);
    put_bits(out, values.iter().map(|value| value.wrapping_sub(least)), width);
}

/// The values of a column.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// All are the same.
    Same(u64),
    Each(Vec<u64>),
}

impl Values {
    pub(super) fn each(&mut self, count: usize) -> Vec<u64> {
        match self {
            Values::Same(value) => vec![*value; count],
            Values::Each(values) => std::mem::take(values),
        }
    }
}

/// Reads a column of `count` values.
pub(super) fn read(packed: &mut &[u8], count: usize) -> Option<Values> {
    let kind = packed.try_get_u8().ok()?;
    let least = packed.try_get_u64_le().ok()?;
    if kind == 0 {
        return Some(Values::Same(least));
    }
    let begin = if kind & STEPS == 0 { None } else { Some(packed.try_get_u64_le().ok()?) };
    let width = u32::from(kind & !STEPS);
    let values = match begin {
        None => get_bits(packed, count, width, |value| least.wrapping_add(value))?,
        Some(mut at) => get_bits(packed, count, width, |step| {
            at = at.wrapping_add(least).wrapping_add(step);
            at
        })?,
    };
    Some(Values::Each(values))
}

/// What values and the steps between them lie in: the least, and how far the most is from it.
struct Ranges {
    least: u64,
    span: u64,
    least_step: u64,
    span_of_steps: u64,
}

impl Ranges {
    fn of(values: &[u64]) -> Ranges {
        let Some((&first, rest)) = values.split_first() else {
            return Ranges { least: 0, span: 0, least_step: 0, span_of_steps: u64::MAX };
        };
        let (mut before, mut least, mut most) = (first, first, first);
        let (mut least_step, mut most_step) = (i64::MAX, i64::MIN);
        for &value in rest {
            let step = value.wrapping_sub(before).cast_signed();
            (least, most) = (least.min(value), most.max(value));
            (least_step, most_step) = (least_step.min(step), most_step.max(step));
            before = value;
        }
        if rest.is_empty() {
            (least_step, most_step) = (0, -1);
        }
        let span_of_steps = most_step.wrapping_sub(least_step).cast_unsigned();
        Ranges { least, span: most - least, least_step: least_step.cast_unsigned(), span_of_steps }
    }
}

fn width_of(span: u64) -> u32 {
    let width = u64::BITS - span.leading_zeros();
    if width > WIDEST { WHOLE } else { width }
}

/// Whole bytes are written; one read may reach seven bytes further, which [`get_bits`] minds.
fn put_bits(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = u64>, width: u32) {
    if width == 0 {
        return;
    }
    if width == WHOLE {
        return values.for_each(|value| out.put_u64_le(value));
    }
    let begin = out.len();
    let length = (values.len() * width as usize).div_ceil(8);
    out.resize(begin + length + 8, 0);
    let mut rest = &mut out[begin..];
    let (mut bits, mut held) = (0u64, 0u32);
    for value in values {
        bits |= value << held;
        held += width;
        if held >= 64 {
            if let Some((word, after)) = std::mem::take(&mut rest).split_first_chunk_mut() {
                *word = bits.to_le_bytes();
                rest = after;
            }
            held -= 64;
            // What did not fit any more; all of the value where it fitted to the bit.
            bits = if held == 0 { 0 } else { value >> (width - held) };
        }
    }
    if let Some(word) = rest.first_chunk_mut() {
        *word = bits.to_le_bytes();
    }
    out.truncate(begin + length);
}

/// Reads `count` values of this width, each as `value` makes it.
#[inline]
fn get_bits(packed: &mut &[u8], count: usize, width: u32, mut value: impl FnMut(u64) -> u64) -> Option<Vec<u64>> {
    if width == 0 {
        return Some((0..count).map(|_| value(0)).collect());
    }
    if width > WIDEST && width != WHOLE {
        return None;
    }
    let length = (count * width as usize).div_ceil(8);
    let bytes = packed.get(..length)?;
    packed.advance(length);
    if width == WHOLE {
        return Some(bytes.as_chunks::<8>().0.iter().map(|bytes| value(u64::from_le_bytes(*bytes))).collect());
    }
    let mask = (1u64 << width) - 1;
    let bits = |index: usize| {
        let bit = index * width as usize;
        (word(bytes, bit / 8) >> (bit % 8)) & mask
    };
    Some((0..count).map(|index| value(bits(index))).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn there_and_back(values: &[u64]) -> usize {
        let mut out = Vec::new();
        write(&mut out, values);
        let length = out.len();
        out.extend_from_slice(b"rest");
        let mut packed = out.as_slice();
        let back = match read(&mut packed, values.len()).unwrap() {
            Values::Same(value) => vec![value; values.len()],
            Values::Each(values) => values,
        };
        assert_eq!((back.as_slice(), packed), (values, b"rest".as_slice()));
        length
    }

    #[test]
    fn a_column_takes_what_its_range_or_its_steps_need() {
        let even: Vec<u64> = (0..256).map(|minute| 1_700_000_000_000 + minute * 60_000).collect();
        assert_eq!(there_and_back(&even), 17);
        assert_eq!(there_and_back(&[5; 256]), 9);
        let rising_and_falling: Vec<u64> = (0..256).map(|row| 1_000_000 - row * 100 + row % 3).collect();
        assert!(there_and_back(&rising_and_falling) < 17 + 256 * 3 / 8 + 1);
        for values in [vec![], vec![3], vec![0, u64::MAX], vec![u64::MAX, 0, 1 << 63]] {
            there_and_back(&values);
        }
    }

    proptest! {
        #[test]
        fn any_column_is_read_as_it_was_written(values in proptest::collection::vec(any::<u64>(), 0..40), shift in 0u32..64) {
            let values: Vec<u64> = values.into_iter().map(|value| value >> shift).collect();
            there_and_back(&values);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), count in 0usize..50) {
            let _ = read(&mut bytes.as_slice(), count);
        }
    }
}
