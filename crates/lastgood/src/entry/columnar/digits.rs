//! Decimal text to numbers and back, eight digits at a step.

/// A number as it is written: its digits without the point, how many of them follow the point, and its sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) digits: u64,
    pub(super) decimals: u32,
    pub(super) is_negative: bool,
}

/// Digits of one number. All numbers of this many digits fit 63 bits.
pub(super) const MOST_DIGITS: usize = 18;
/// The most bytes that [`write`] touches.
pub(super) const REACH: usize = 24;

const ZEROS: u64 = 0x3030_3030_3030_3030;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
const EIGHT_DIGITS: u64 = 100_000_000;

/// The eight bytes at `at`; zeros stand for those beyond the end.
pub(super) fn word(text: &[u8], at: usize) -> u64 {
    if let Some(bytes) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        return u64::from_le_bytes(*bytes);
    }
    let mut bytes = [0; 8];
    let rest = text.get(at..).unwrap_or_default();
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(bytes)
}

/// The high bit of each byte that is no digit's value. Of bytes above the first of them it may say anything.
#[inline]
fn others(digits: u64) -> u64 {
    // What a carry does is above the byte that it comes from.
    (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & HIGH_BITS
}

/// How many digits come first.
#[inline]
fn count_of(digits: u64) -> usize {
    (others(digits).trailing_zeros() / 8) as usize
}

/// The number that eight digits make, the first in the lowest byte.
#[inline]
fn value_of(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let even = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let odd = ((pairs >> 16) & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    even.wrapping_add(odd) >> 32
}

/// The digits at `at`, up to eight of them: their value and how many there are.
#[inline]
fn run(text: &[u8], at: usize) -> (u64, usize) {
    let digits = word(text, at) ^ ZEROS;
    match count_of(digits) {
        0 => (0, 0),
        count => (value_of(digits << (64 - 8 * count)), count),
    }
}

/// All the digits at `at`, appended to `digits`, and how many there are. What more than [`MOST_DIGITS`] make is
/// nonsense.
fn runs(text: &[u8], at: usize, mut digits: u64) -> (u64, usize) {
    let mut count = 0;
    loop {
        let (value, more) = run(text, at + count);
        digits = digits.wrapping_mul(TENS[more]).wrapping_add(value);
        count += more;
        let goes_on = more == 8 && text.get(at + count).is_some_and(u8::is_ascii_digit);
        if !goes_on || count > MOST_DIGITS {
            return (digits, count);
        }
    }
}

pub(super) const TENS: [u64; MOST_DIGITS + 1] = {
    let mut tens = [1; MOST_DIGITS + 1];
    let mut index = 1;
    while index < tens.len() {
        tens[index] = tens[index - 1] * 10;
        index += 1;
    }
    tens
};

/// What the numbers of a column look like, by the one before. The next is likely to look the same, and is read at once then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    /// None of the others.
    #[default]
    Any,
    /// Up to eight digits without a point.
    Short,
    /// Nine to sixteen digits without a point.
    Long(Rest),
    /// Up to eight digits, a point, and one to eight digits.
    Decimals(Rest),
}

/// The one to eight digits that a number ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    length: usize,
    /// The bits of eight bytes that are not of them.
    others: u32,
    /// What the digits before count for.
    scale: u64,
}

impl Rest {
    fn of(length: usize) -> Rest {
        Rest { length, others: 64 - 8 * length as u32, scale: TENS[length] }
    }

    /// The number whose first digits make `first` and whose others begin this word.
    #[inline(always)]
    fn read(self, first: u64, word: u64) -> Option<u64> {
        let digits = (word ^ ZEROS) << (self.others & 63);
        (others(digits) == 0).then(|| first * self.scale + value_of(digits))
    }
}

/// The bytes that a number is read from: the eight before it, and enough from it on.
pub(super) const VIEW: usize = BEFORE + 32;
pub(super) const BEFORE: usize = 8;

/// The eight bytes that begin so far behind the begin of the number in view.
#[inline]
pub(super) fn word_at(view: &[u8; VIEW], at: usize) -> u64 {
    view.get(BEFORE + at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The eight bytes that end so far behind the begin of the number in view, without the bits of zeros.
#[inline]
pub(super) fn last_digits(view: &[u8; VIEW], end: usize) -> u64 {
    view.get(end..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes)) ^ ZEROS
}

/// Eight bytes of which those of zeros are nothing.
pub(super) fn without_zeros(word: u64) -> u64 {
    word ^ ZEROS
}

impl Shape {
    pub(super) fn of(number: Decimal, length: usize) -> Shape {
        match (number.decimals as usize, length) {
            _ if number.is_negative => Shape::Any,
            (0, 1..=8) => Shape::Short,
            (0, 9..=16) => Shape::Long(Rest::of(length - 8)),
            (decimals @ 1..=8, _) if length <= decimals + 9 => Shape::Decimals(Rest::of(decimals)),
            _ => Shape::Any,
        }
    }

    /// The digits of the number in view, if it has this shape, and its length: as [`read`] reads it, if neither a digit nor a
    /// point follows, which the caller has to see.
    #[inline(always)]
    pub(super) fn read(self, view: &[u8; VIEW]) -> Option<(u64, usize)> {
        let first = word_at(view, 0) ^ ZEROS;
        let count = count_of(first);
        // A zero comes first only where it is alone before the point.
        let is_canonical = (count == 1) | ((count > 1) & (first as u8 != 0));
        if !is_canonical {
            return None;
        }
        let value = value_of(first << (64 - 8 * count));
        match self {
            Shape::Any => None,
            Shape::Short => Some((value, count)),
            Shape::Long(rest) if count == 8 => Some((rest.read(value, word_at(view, 8))?, 8 + rest.length.min(8))),
            Shape::Decimals(rest) if view[BEFORE + count] == b'.' => {
                Some((rest.read(value, word_at(view, count + 1))?, count + 1 + rest.length.min(8)))
            }
            Shape::Long(_) | Shape::Decimals(_) => None,
        }
    }
}

/// The number at `at`, and where it ends. `None` for what [`write`] would not write just so.
pub(super) fn read(text: &[u8], at: usize) -> Option<(Decimal, usize)> {
    let first = *text.get(at)?;
    let is_negative = first == b'-';
    let begin = at + usize::from(is_negative);
    let (digits, whole) = runs(text, begin, 0);
    let leads_with_zero = whole > 1 && text[begin] == b'0';
    if whole == 0 || whole > MOST_DIGITS || leads_with_zero {
        return None;
    }
    let end = begin + whole;
    if text.get(end) != Some(&b'.') {
        return Some((Decimal { digits, decimals: 0, is_negative }, end));
    }
    let (digits, decimals) = runs(text, end + 1, digits);
    if decimals == 0 || whole + decimals > MOST_DIGITS {
        return None;
    }
    Some((Decimal { digits, decimals: decimals as u32, is_negative }, end + 1 + decimals))
}

/// The digits of every number of four, the first in the lowest byte. Eight digits take two looks at it; to work them out
/// takes a third of an unpacking longer.
static FOURS: [u32; 10_000] = {
    let mut fours = [0; 10_000];
    let mut index = 0;
    while index < 10_000 {
        let [thousands, hundreds, tens] = [index / 1_000, index / 100 % 10, index / 10 % 10];
        fours[index] = u32::from_le_bytes([thousands as u8, hundreds as u8, tens as u8, (index % 10) as u8]);
        index += 1;
    }
    fours
};

/// Eight digits as text, the first in the lowest byte, without their zeros' bits.
#[inline]
fn spread(value: u32) -> u64 {
    let first = value / 10_000;
    let rest = FOURS[(value - first * 10_000) as usize];
    u64::from(FOURS.get(first as usize).copied().unwrap_or_default()) | u64::from(rest) << 32
}

/// All digits but the last eight, and these. Of more than sixteen the first are lost.
#[inline]
fn halves(digits: u64) -> (u32, u32) {
    let high = digits / EIGHT_DIGITS;
    (high as u32, (digits - high * EIGHT_DIGITS) as u32)
}

/// How the numbers of a column are written, where all are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// At most eight digits without a point.
    Whole,
    /// At most eight digits, and this many of them, less than eight, behind the point.
    Short(usize),
    /// At most sixteen digits, the last eight behind others.
    Long,
    /// At most sixteen digits, the last eight behind the point.
    Eight,
    /// Any other.
    Other(u32),
}

impl Form {
    /// The form of numbers with this many decimals, none with more digits than `most`.
    pub(super) fn of(decimals: u32, most: u64) -> Form {
        match decimals {
            0 if most < EIGHT_DIGITS => Form::Whole,
            1..8 if most < EIGHT_DIGITS => Form::Short(decimals as usize),
            0 if most < EIGHT_DIGITS * EIGHT_DIGITS => Form::Long,
            8 if most < EIGHT_DIGITS * EIGHT_DIGITS => Form::Eight,
            _ => Form::Other(decimals),
        }
    }

    /// Writes a number of at most [`MOST_DIGITS`] digits, decimals included, into the begin of `out` and says how long
    /// it is. The bytes behind it are overwritten.
    #[inline(always)]
    pub(super) fn write(self, out: &mut [u8; REACH], digits: u64) -> Option<usize> {
        match self {
            Form::Whole => Some(write_whole(out, digits as u32)),
            Form::Short(decimals) => Some(write_short(out, digits as u32, decimals)),
            Form::Long if digits < EIGHT_DIGITS => Some(write_whole(out, digits as u32)),
            Form::Long => Some(write_with_eight(out, digits, false)),
            Form::Eight => Some(write_with_eight(out, digits, true)),
            Form::Other(decimals) => write_other(out, digits, decimals as usize),
        }
    }
}

/// Writes any number as [`Form::write`] does.
pub(super) fn write(out: &mut [u8; REACH], number: Decimal) -> Option<usize> {
    let Decimal { digits, decimals, is_negative } = number;
    let mut text = [0; REACH];
    let length = Form::of(decimals, digits).write(&mut text, digits)?;
    let sign = usize::from(is_negative);
    out[0] = b'-';
    out[sign..].copy_from_slice(&text[..REACH - sign]);
    Some(sign + length)
}

/// Eight digits, and how many of them there are without zeros at the begin.
#[inline]
fn text_of(value: u32) -> (u64, u32) {
    let spread = spread(value);
    (spread | ZEROS, 8 - spread.trailing_zeros() / 8)
}

#[inline]
fn write_whole(out: &mut [u8; REACH], digits: u32) -> usize {
    let (text, significant) = text_of(digits);
    let count = significant.max(1);
    out[..8].copy_from_slice(&(text >> (64 - 8 * count)).to_le_bytes());
    count as usize
}

/// At most eight digits with their point.
#[inline]
fn write_short(out: &mut [u8; REACH], digits: u32, decimals: usize) -> usize {
    let (text, significant) = text_of(digits);
    let whole = (significant as usize).saturating_sub(decimals).max(1);
    let text = text >> (64 - 8 * (whole + decimals));
    let after = (text >> (8 * whole)) << 8 | u64::from(b'.');
    out[..8].copy_from_slice(&text.to_le_bytes());
    // Eight digits and a point are nine bytes, but before the point is one at least.
    out[whole..whole + 8].copy_from_slice(&after.to_le_bytes());
    whole + 1 + decimals
}

/// Digits of which the last eight are written whole: behind a point, or after others.
#[inline]
fn write_with_eight(out: &mut [u8; REACH], digits: u64, is_after_point: bool) -> usize {
    let (high, low) = halves(digits);
    let mut length = write_whole(out, high);
    out[length] = b'.';
    length += usize::from(is_after_point);
    out[length..length + 8].copy_from_slice(&(spread(low) | ZEROS).to_le_bytes());
    length + 8
}

#[cold]
fn write_other(out: &mut [u8; REACH], digits: u64, decimals: usize) -> Option<usize> {
    let (high, middle) = (digits / EIGHT_DIGITS / EIGHT_DIGITS, digits / EIGHT_DIGITS % EIGHT_DIGITS);
    let mut text = [b'0'; 24];
    for (to, value) in text.as_chunks_mut::<8>().0.iter_mut().zip([high, middle, digits % EIGHT_DIGITS]) {
        *to = (spread(value as u32) | ZEROS).to_le_bytes();
    }
    let significant = text.len() - text.iter().take_while(|digit| **digit == b'0').count();
    let count = significant.max(decimals + 1);
    if count > MOST_DIGITS {
        return None;
    }
    let (whole, after) = text[text.len() - count..].split_at(count - decimals);
    out[..whole.len()].copy_from_slice(whole);
    if after.is_empty() {
        return Some(whole.len());
    }
    out[whole.len()] = b'.';
    out[whole.len() + 1..][..after.len()].copy_from_slice(after);
    Some(count + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(number: Decimal) -> String {
        let mut out = [b'#'; REACH];
        let length = write(&mut out, number).unwrap();
        String::from_utf8(out[..length].to_vec()).unwrap()
    }

    fn number(text: &str) -> Option<Decimal> {
        read(text.as_bytes(), 0).filter(|(_, end)| *end == text.len()).map(|(number, _)| number)
    }

    #[test]
    fn numbers_are_written_as_they_were_read() {
        for text in [
            "0",
            "7",
            "-1",
            "0.0",
            "-0.00",
            "10",
            "97123.45000000",
            "0.00000001",
            "1700000000000",
            "1700000000000000",
            "99999999",
            "100000000",
            "9999999999999999",
            "10000000000000000",
            "999999999999999999",
            "1234567890.12345678",
            "0.12345678901234567",
            "-12345678.9",
            "0.0000000000000000",
        ] {
            assert_eq!(number(text).map(written).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_would_be_written_otherwise_is_refused() {
        for text in ["", "-", ".5", "5.", "00", "01.5", "+1", "1e5", "1234567890123456789", "0.123456789012345678", "x"]
        {
            assert_eq!(number(text), None, "{text}");
        }
    }

    fn shapes() -> impl Iterator<Item = Shape> {
        let rests = (1..=8).map(Rest::of);
        [Shape::Any, Shape::Short].into_iter().chain(rests.flat_map(|rest| [Shape::Long(rest), Shape::Decimals(rest)]))
    }

    /// The number that a text begins with, read as one of this shape, where that is for the shape to say.
    fn in_shape(shape: Shape, text: &str) -> Option<(Decimal, usize)> {
        let bytes = [&[b'7'; BEFORE], text.as_bytes(), &[b'#'; VIEW]].concat();
        let (digits, length) = shape.read(bytes.first_chunk().unwrap())?;
        assert_eq!(last_digits(bytes.first_chunk().unwrap(), length), without_zeros(word(&bytes, length)));
        let goes_on = matches!(bytes[BEFORE + length], b'0'..=b'9' | b'.');
        let decimals = if let Shape::Decimals(rest) = shape { rest.length as u32 } else { 0 };
        (!goes_on).then_some((Decimal { digits, decimals, is_negative: false }, length))
    }

    #[test]
    fn eight_digits_are_written_and_read_as_they_are() {
        for index in 0..10_000 {
            for number in [index * 10_000 + 9_999 - index, index * 10_001, index] {
                let text = (spread(number) | ZEROS).to_le_bytes();
                assert_eq!(std::str::from_utf8(&text), Ok(format!("{number:08}").as_str()));
                assert_eq!(value_of(spread(number)), u64::from(number));
            }
        }
    }

    proptest! {
        #[test]
        fn no_shape_reads_another_number_than_is_there(text in "[-+0-9.,eE \"]{0,24}|[0-9]{0,10}[0-9.:/]{0,12}") {
            let read = read(text.as_bytes(), 0);
            for shape in shapes() {
                let in_shape = in_shape(shape, &text);
                prop_assert!(in_shape.is_none() || in_shape == read, "{:?} {:?} {:?}", shape, in_shape, read);
            }
        }

        #[test]
        fn any_number_is_written_as_it_was_read(text in "-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,9})?", rest in "[^0-9.]{0,9}") {
            let whole = [text.as_str(), &rest].concat();
            let (number, end) = read(whole.as_bytes(), 0).unwrap();
            for shape in shapes() {
                prop_assert_eq!(in_shape(shape, &whole).unwrap_or((number, end)), (number, end));
            }
            let own = Shape::of(number, end);
            prop_assert_eq!(in_shape(own, &whole), (own != Shape::Any).then_some((number, end)));
            prop_assert_eq!(end, text.len());
            prop_assert_eq!(written(number), text);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), digits: u64, decimals in 0u32..64, is_negative: bool) {
            let _ = read(&bytes, 0);
            let mut out = [0; REACH];
            let _ = write(&mut out, Decimal { digits, decimals, is_negative });
        }
    }
}
