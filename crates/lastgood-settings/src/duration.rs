//! Durations as people write them: `250ms`, `1s`, `1m30s`, `1d`.

use std::fmt;
use std::time::Duration;

use crate::problem::Wrong;

/// Units from the largest down, in milliseconds.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const EXAMPLES: &str = "write for example \"250ms\", \"1s\", \"1m30s\", \"6h\" or \"1d\"";

/// Longest duration accepted: a hundred years.
const LONGEST_MS: u64 = 3_155_760_000_000;

/// Reads one or more number-and-unit pairs, each unit smaller than the one before.
pub(crate) fn parse(text: &str) -> Result<Duration, Wrong> {
    let wrong = |what: String| Err(Wrong::new(what).hint(EXAMPLES));
    let mut rest = text.trim();
    if rest.is_empty() {
        return wrong("an empty text is no duration".to_owned());
    }
    if rest.starts_with('-') {
        return wrong(format!("{text:?} is negative"));
    }
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = split_at_end_of(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split_at_end_of(after.trim_start(), char::is_alphabetic);
        rest = after.trim_start();
        if number.is_empty() {
            return wrong(format!("{text:?} is not a duration"));
        }
        if unit.is_empty() {
            let hint = if number == "0" { "0s".to_owned() } else { format!("{number}s") };
            return Err(Wrong::new(format!("{text:?} has no unit")).hint(format!("did you mean \"{hint}\"?")));
        }
        let Some(size) = unit_size(unit) else {
            return wrong(format!("{unit:?} is no unit of time; the units are ms, s, m, h, d, w"));
        };
        if size >= smallest {
            return wrong(format!("{text:?}: units go from large to small, each once"));
        }
        smallest = size;
        let Some(sum) = milliseconds(number, size).and_then(|ms| total.checked_add(ms)) else {
            return wrong(format!("{text:?} is not a duration of whole milliseconds"));
        };
        total = sum;
    }
    if total > LONGEST_MS {
        return wrong(format!("{text:?} is longer than a hundred years"));
    }
    Ok(Duration::from_millis(total))
}

fn split_at_end_of(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

fn unit_size(unit: &str) -> Option<u64> {
    let unit = match unit {
        "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hr" | "hrs" | "hour" | "hours" => "h",
        "day" | "days" => "d",
        "week" | "weeks" => "w",
        other => other,
    };
    UNITS.iter().find(|(name, _)| *name == unit).map(|(_, size)| *size)
}

/// `1.5` of a unit, without floating point; `None` when it is no whole number of milliseconds.
fn milliseconds(number: &str, size: u64) -> Option<u64> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if number.ends_with('.') || decimals.contains('.') || decimals.len() > 9 {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(size)?;
    if !decimals.is_empty() {
        let scale = 10_u64.checked_pow(u32::try_from(decimals.len()).ok()?)?;
        let part = decimals.parse::<u64>().ok()?.checked_mul(size)?;
        if part % scale != 0 {
            return None;
        }
        total = total.checked_add(part / scale)?;
    }
    Some(total)
}

/// Reads a duration as the configuration does: `250ms`, `1m30s`, `1d`.
///
/// # Errors
/// The problem with it, with an example.
pub fn parse_duration(text: &str) -> Result<Duration, NotDuration> {
    parse(text).map_err(NotDuration)
}

/// A text that is no duration: the problem with it, with a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotDuration(Wrong);

impl fmt::Display for NotDuration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl std::error::Error for NotDuration {}

/// The shortest text that [`parse_duration`] reads back as the same duration, to the millisecond.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    // Weeks are read but not written: "14d" says more than "2w".
    for (name, size) in &UNITS[1..] {
        if rest >= *size {
            text.push_str(&format!("{}{name}", rest / size));
            rest %= size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_write_durations_in_these_ways() {
        let ms = Duration::from_millis;
        for (text, expected) in [
            ("250ms", ms(250)),
            ("1s", ms(1_000)),
            ("0.5s", ms(500)),
            ("5m", ms(300_000)),
            ("1m30s", ms(90_000)),
            ("1h 30m", ms(5_400_000)),
            ("1d", ms(86_400_000)),
            ("2w", ms(1_209_600_000)),
            ("0s", ms(0)),
            ("5 minutes", ms(300_000)),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_wrong_duration_is_refused_with_the_reason() {
        let message = |text: &str| {
            let wrong = parse(text).expect_err(text);
            format!("{} / {}", wrong.what, wrong.hint.unwrap_or_default())
        };
        let examples = format!(" / {EXAMPLES}");
        assert_eq!(message("5"), "\"5\" has no unit / did you mean \"5s\"?");
        assert_eq!(message(""), format!("an empty text is no duration{examples}"));
        assert_eq!(message("-1s"), format!("\"-1s\" is negative{examples}"));
        assert_eq!(message("soon"), format!("\"soon\" is not a duration{examples}"));
        assert_eq!(message("5x"), format!("\"x\" is no unit of time; the units are ms, s, m, h, d, w{examples}"));
        assert_eq!(message("30s1m"), format!("\"30s1m\": units go from large to small, each once{examples}"));
        assert_eq!(message("0.0001s"), format!("\"0.0001s\" is not a duration of whole milliseconds{examples}"));
        for text in ["1.s", "1..5s", "99999999999999999999s", "1000000w", "ｓ1", "1s2"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn written_values_are_read_back(ms in 0..LONGEST_MS) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse(&format_duration(duration)), Ok(duration));
        }
    }
}
