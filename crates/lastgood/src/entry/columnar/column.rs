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
    let (least, span) = range(values.iter().copied());
    let steps = || values.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    let (least_step, span_of_steps) = match values {
        [_, _, ..] => signed_range(steps()),
        _ => (0, u64::MAX),
    };
    let (width, width_of_steps) = (width_of(span), width_of(span_of_steps));
    // The value before the first costs eight bytes.
    if (width_of_steps + 1) as usize * values.len() + 64 < width as usize * values.len() {
        let begin = values[0].wrapping_sub(least_step);
        out.put_u8(width_of_steps as u8 | STEPS);
        out.put_u64_le(least_step);
        out.put_u64_le(begin);
        let all = std::iter::once(least_step).chain(steps());
        return put_bits(out, all.map(|step| step.wrapping_sub(least_step)), width_of_steps);
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
    let mut values = vec![0; count];
    get_bits(packed, &mut values, u32::from(kind & !STEPS), least)?;
    if let Some(mut at) = begin {
        for value in &mut values {
            at = at.wrapping_add(*value);
            *value = at;
        }
    }
    Some(Values::Each(values))
}

fn range(values: impl Iterator<Item = u64>) -> (u64, u64) {
    let (least, most) = values.fold((u64::MAX, 0), |(least, most), value| (least.min(value), most.max(value)));
    if least > most { (0, 0) } else { (least, most - least) }
}

fn signed_range(steps: impl Iterator<Item = u64>) -> (u64, u64) {
    let (least, most) = steps.fold((i64::MAX, i64::MIN), |(least, most), step| {
        (least.min(step.cast_signed()), most.max(step.cast_signed()))
    });
    (least.cast_unsigned(), most.wrapping_sub(least).cast_unsigned())
}

fn width_of(span: u64) -> u32 {
    let width = u64::BITS - span.leading_zeros();
    if width > WIDEST { WHOLE } else { width }
}

/// Whole bytes are written; one read may reach seven bytes further, which [`get_bits`] minds.
fn put_bits(out: &mut Vec<u8>, values: impl Iterator<Item = u64>, width: u32) {
    if width == 0 {
        return;
    }
    if width == WHOLE {
        return values.for_each(|value| out.put_u64_le(value));
    }
    let (mut bits, mut held) = (0u64, 0u32);
    for value in values {
        bits |= value << held;
        held += width;
        if held >= 64 {
            out.put_u64_le(bits);
            held -= 64;
            // What did not fit any more; all of the value where it fitted to the bit.
            bits = if held == 0 { 0 } else { value >> (width - held) };
        }
    }
    out.extend_from_slice(&bits.to_le_bytes()[..held.div_ceil(8) as usize]);
}

fn get_bits(packed: &mut &[u8], values: &mut [u64], width: u32, least: u64) -> Option<()> {
    if width == 0 {
        values.fill(least);
        return Some(());
    }
    if width > WIDEST && width != WHOLE {
        return None;
    }
    let length = (values.len() * width as usize).div_ceil(8);
    let bytes = packed.get(..length)?;
    packed.advance(length);
    if width == WHOLE {
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *value = least.wrapping_add(u64::from_le_bytes(*bytes));
        }
        return Some(());
    }
    let mask = (1u64 << width) - 1;
    let mut bit = 0;
    for value in values {
        *value = least.wrapping_add((word(bytes, bit / 8) >> (bit % 8)) & mask);
        bit += width as usize;
    }
    Some(())
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
