//! JSON numbers as decimals, digit by digit.

use rust_decimal::Decimal;

/// The most digits behind the point that a decimal has.
const MOST_PLACES: i64 = 28;
/// Longer numbers are none: no price has that many digits.
const LONGEST: usize = 64;

/// The number that a JSON value is, as a number or as a number in quotes. `None` for all else, and for a number that a
/// decimal cannot hold digit by digit.
pub(super) fn of_json(text: &str) -> Option<Decimal> {
    match text.strip_prefix('"').map(|text| text.strip_suffix('"')) {
        Some(quoted) => of_number(quoted?),
        None => of_number(text),
    }
}

/// The number of a text that has the form of a JSON number.
pub(super) fn of_number(text: &str) -> Option<Decimal> {
    if text.len() > LONGEST {
        return None;
    }
    let (is_negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (plain, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((plain, exponent)) => (plain, of_exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match plain.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (plain, ""),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let has_odd_zero = whole.len() > 1 && whole.starts_with('0');
    if whole.is_empty() || has_odd_zero || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let digits = [whole, fraction].concat();
    let places = i64::try_from(fraction.len()).ok()? - exponent;
    // Zeros at the end are places without a use, and might be more than there are.
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(Decimal::ZERO);
    }
    let mut mantissa: i128 = significant.parse().ok()?;
    let mut places = places - i64::try_from(digits.len() - significant.len()).ok()?;
    if places < 0 {
        mantissa = mantissa.checked_mul(10i128.checked_pow(u32::try_from(-places).ok()?)?)?;
        places = 0;
    }
    if places > MOST_PLACES {
        return None;
    }
    let signed = if is_negative { -mantissa } else { mantissa };
    Decimal::try_from_i128_with_scale(signed, u32::try_from(places).ok()?).ok()
}

fn of_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sound = !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let exponent: i64 = digits.parse().ok().filter(|_| sound)?;
    Some(if text.starts_with('-') { -exponent } else { exponent })
}
