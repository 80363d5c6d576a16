//! What a bar must be to be kept.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use lastgood::Timestamp;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::MOST_BARS;
use crate::interval;

/// The longest text of one bar.
const LONGEST_BAR: usize = 512;
/// The longest text of one number; none of at most 28 digits needs more.
const LONGEST_NUMBER: usize = 64;

/// A bar of an application as numbers, exact to the last zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ohlcv {
    /// When it opens.
    pub open_time: Timestamp,
    /// The first price.
    pub open: Decimal,
    /// The highest price.
    pub high: Decimal,
    /// The lowest price.
    pub low: Decimal,
    /// The last price.
    pub close: Decimal,
    /// The amount traded.
    pub volume: Decimal,
}

/// Why a bar is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BarFault {
    /// It is neither a row nor an object of a bar; the text names the missing part.
    Unreadable(String),
    /// It has more than 512 bytes.
    TooLarge,
    /// This field is no decimal number that can be read exactly.
    NoNumber(&'static str),
    /// This price is not above zero.
    NotPositive(&'static str),
    /// The volume is below zero.
    NegativeVolume,
    /// The high is below another of its prices.
    High,
    /// The low is above another of its prices.
    Low,
    /// It opens where no bar of its interval does; the one that holds that time opens then.
    NotAligned(u64),
    /// It names a close time that is not the last millisecond of its interval, which is this.
    CloseTime(u64),
    /// It opens in the future.
    NotYet,
    /// The bar at this place of the same request opens at the same time and is another.
    Contradicts(usize),
    /// The series is full of newer ones.
    TooOld,
}

impl fmt::Display for BarFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BarFault::Unreadable(why) => write!(
                f,
                "it is neither a row [open_time, open, high, low, close, volume, …] nor an object with these names: {why}"
            ),
            BarFault::TooLarge => write!(f, "it has more than {LONGEST_BAR} bytes"),
            BarFault::NoNumber("open_time") => {
                f.write_str("its open_time is no whole number of milliseconds since 1970")
            }
            BarFault::NoNumber("close_time") => {
                f.write_str("its close_time is no whole number of milliseconds since 1970")
            }
            BarFault::NoNumber(field) => write!(f, "its {field} is no decimal number of at most 28 digits"),
            BarFault::NotPositive(field) => write!(f, "its {field} is not above zero"),
            BarFault::NegativeVolume => f.write_str("its volume is below zero"),
            BarFault::High => f.write_str("its high is below its open, its close or its low"),
            BarFault::Low => f.write_str("its low is above its open, its close or its high"),
            BarFault::NotAligned(opens) => {
                write!(f, "no bar of this interval opens at its open_time; the one that holds it opens at {opens}")
            }
            BarFault::CloseTime(closes) => {
                write!(f, "its close_time is not the last millisecond of its interval, {closes}")
            }
            BarFault::NotYet => f.write_str("it opens in the future"),
            BarFault::Contradicts(place) => {
                write!(f, "bar {place} of the same request opens at the same time and is another")
            }
            BarFault::TooOld => write!(f, "the series has {MOST_BARS} newer bars, and keeps no more"),
        }
    }
}

/// Why a text is no list of bars.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotBars {
    /// It is no JSON list; the text says where it ends to be one.
    Unreadable(String),
    /// It is an empty list.
    None,
    /// The number of bars, more than a series keeps.
    TooMany(usize),
}

impl fmt::Display for NotBars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotBars::Unreadable(why) => write!(f, "no JSON list of bars: {why}"),
            NotBars::None => f.write_str("a list without bars"),
            NotBars::TooMany(count) => write!(f, "{count} bars, where a series keeps {MOST_BARS}"),
        }
    }
}

/// Bars that were checked.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// The sound ones by when they open: their place among those that were brought, and their text.
    pub(super) bars: BTreeMap<u64, (usize, String)>,
    pub(super) refused: Vec<(usize, BarFault)>,
}

impl Checked {
    pub(super) fn of_json(json: &[u8], interval: &str, now: u64) -> Result<Checked, NotBars> {
        let unreadable = |why: &dyn fmt::Display| NotBars::Unreadable(why.to_string());
        let text = std::str::from_utf8(json).map_err(|why| unreadable(&why))?;
        let rows: Vec<&RawValue> = serde_json::from_str(text).map_err(|why| unreadable(&why))?;
        match rows.len() {
            0 => return Err(NotBars::None),
            count if count > MOST_BARS => return Err(NotBars::TooMany(count)),
            _ => {}
        }
        Ok(Checked::of(rows.iter().map(|row| Cow::Borrowed(row.get())), interval, now))
    }

    pub(super) fn of_numbers(bars: &[Ohlcv], interval: &str, now: u64) -> Checked {
        Checked::of(bars.iter().map(|bar| Cow::Owned(row(bar))), interval, now)
    }

    fn of<'a>(texts: impl Iterator<Item = Cow<'a, str>>, interval: &str, now: u64) -> Checked {
        let mut checked = Checked::default();
        for (place, text) in texts.enumerate() {
            let fault = match opens_at(&text, interval, now) {
                Err(fault) => fault,
                Ok(opens) => match checked.bars.entry(opens) {
                    Entry::Vacant(vacant) => {
                        vacant.insert((place, text.into_owned()));
                        continue;
                    }
                    Entry::Occupied(same) if same.get().1 == text => continue,
                    Entry::Occupied(other) => BarFault::Contradicts(other.get().0),
                },
            };
            checked.refused.push((place, fault));
        }
        checked
    }
}

/// When a bar opens, if all of it is sound.
fn opens_at(text: &str, interval: &str, now: u64) -> Result<u64, BarFault> {
    if text.len() > LONGEST_BAR {
        return Err(BarFault::TooLarge);
    }
    let fields = Fields::read(text)?;
    let bar = fields.numbers()?;
    for (field, price) in [("open", bar.open), ("high", bar.high), ("low", bar.low), ("close", bar.close)] {
        if price <= Decimal::ZERO {
            return Err(BarFault::NotPositive(field));
        }
    }
    if bar.volume < Decimal::ZERO {
        return Err(BarFault::NegativeVolume);
    }
    if bar.high < bar.open.max(bar.close).max(bar.low) {
        return Err(BarFault::High);
    }
    if bar.low > bar.open.min(bar.close) {
        return Err(BarFault::Low);
    }
    let opens = bar.open_time.as_millis();
    let Some((expected, next)) = interval::candle_at(interval, opens) else { return Err(BarFault::NotYet) };
    if opens > now {
        return Err(BarFault::NotYet);
    }
    if opens != expected {
        return Err(BarFault::NotAligned(expected));
    }
    match fields.close_time.map(|time| millis(time, "close_time")).transpose()? {
        Some(closes) if closes + 1 != next => Err(BarFault::CloseTime(next - 1)),
        _ => Ok(opens),
    }
}

/// The texts of a bar's fields.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, alias = "time")]
    open_time: &'a RawValue,
    #[serde(borrow)]
    open: &'a RawValue,
    #[serde(borrow)]
    high: &'a RawValue,
    #[serde(borrow)]
    low: &'a RawValue,
    #[serde(borrow)]
    close: &'a RawValue,
    #[serde(borrow)]
    volume: &'a RawValue,
    #[serde(borrow, default)]
    close_time: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Fields<'a>, BarFault> {
        let unreadable = |why: serde_json::Error| BarFault::Unreadable(why.to_string());
        if !text.starts_with('[') {
            return serde_json::from_str(text).map_err(unreadable);
        }
        let row: Vec<&'a RawValue> = serde_json::from_str(text).map_err(unreadable)?;
        match row[..] {
            [open_time, open, high, low, close, volume, ref more @ ..] => {
                Ok(Fields { open_time, open, high, low, close, volume, close_time: more.first().copied() })
            }
            _ => Err(BarFault::Unreadable(format!("a row has at least 6 columns, and this one {}", row.len()))),
        }
    }

    fn numbers(&self) -> Result<Ohlcv, BarFault> {
        Ok(Ohlcv {
            open_time: Timestamp::from_millis(millis(self.open_time, "open_time")?),
            open: decimal(self.open, "open")?,
            high: decimal(self.high, "high")?,
            low: decimal(self.low, "low")?,
            close: decimal(self.close, "close")?,
            volume: decimal(self.volume, "volume")?,
        })
    }
}

/// When a bar that was kept opens.
pub(super) fn open_time(text: &str) -> Option<u64> {
    let opens = match text.strip_prefix('[') {
        // The first column is a number, so it ends at the first comma.
        Some(rest) => rest.split([',', ']']).next()?.trim().parse().ok()?,
        None => millis(Fields::read(text).ok()?.open_time, "open_time").ok()?,
    };
    Some(opens)
}

/// A bar that was kept, as numbers.
pub(super) fn ohlcv(text: &[u8]) -> Option<Ohlcv> {
    Fields::read(std::str::from_utf8(text).ok()?).ok()?.numbers().ok()
}

fn row(bar: &Ohlcv) -> String {
    let Ohlcv { open_time, open, high, low, close, volume } = bar;
    format!(r#"[{},"{open}","{high}","{low}","{close}","{volume}"]"#, open_time.as_millis())
}

fn millis(text: &RawValue, field: &'static str) -> Result<u64, BarFault> {
    // Beyond 15 digits they are microseconds, or nothing.
    let text = Some(text.get()).filter(|text| text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or(BarFault::NoNumber(field))
}

/// A decimal, as a JSON number or a string of one, with no digit lost.
fn decimal(text: &RawValue, field: &'static str) -> Result<Decimal, BarFault> {
    let text = text.get();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    exact(text).ok_or(BarFault::NoNumber(field))
}

fn exact(text: &str) -> Option<Decimal> {
    if text.len() > LONGEST_NUMBER {
        return None;
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let value = Decimal::from_str_exact(mantissa).ok()?;
    let Some(exponent) = exponent else { return Some(value) };
    if !are_digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)) {
        return None;
    }
    // A zero may have any exponent.
    if value.is_zero() { Some(Decimal::ZERO) } else { Decimal::from_scientific(text).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const NOW: u64 = 473_000 * HOUR + 1_234;

    fn faults(json: &str) -> Vec<(usize, BarFault)> {
        Checked::of_json(json.as_bytes(), "1h", NOW).unwrap().refused
    }

    fn fault(bar: &str) -> Option<BarFault> {
        faults(&format!("[{bar}]")).pop().map(|(_, fault)| fault)
    }

    fn prices(open: &str, high: &str, low: &str, close: &str, volume: &str) -> Option<BarFault> {
        fault(&format!("[{},{open},{high},{low},{close},{volume}]", NOW / HOUR * HOUR))
    }

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        for (text, value) in [
            ("1.10", "1.10"),
            ("0.00000001", "0.00000001"),
            ("1e-7", "0.0000001"),
            ("1.5E+3", "1500"),
            ("0e99", "0"),
            ("7922816251426433759354395033", "7922816251426433759354395033"),
            ("-1", "-1"),
        ] {
            assert_eq!(exact(text).unwrap().to_string(), value, "{text}");
        }
        for text in [
            "",
            "NaN",
            "Infinity",
            "-Infinity",
            "1_000",
            "1,5",
            ".5",
            "5.",
            "+1",
            "--1",
            "0x10",
            "1e",
            "1e5.5",
            "1e-29",
            "1e99",
            "1e4294967296",
            "1 ",
            "½",
            "null",
            "true",
            "0.12345678901234567890123456789",
            "79228162514264337593543950336",
            "1e-99999999999999999999",
            &"9".repeat(65),
        ] {
            assert_eq!(exact(text), None, "{text}");
        }
    }

    #[test]
    fn prices_must_fit_each_other() {
        assert_eq!(prices("1", "2", "0.5", "1.5", "0"), None);
        assert_eq!(prices(r#""1.00""#, r#""1.0""#, "1", "1e0", "0.0"), None, "equal however they are written");
        assert_eq!(prices("1", "1.4", "0.5", "1.5", "0"), Some(BarFault::High));
        assert_eq!(prices("1.5", "1.4", "0.5", "1", "0"), Some(BarFault::High));
        assert_eq!(prices("1", "2", "1.1", "1.5", "0"), Some(BarFault::Low));
        assert_eq!(prices("1.5", "2", "1.1", "1", "0"), Some(BarFault::Low));
        assert_eq!(prices("0", "2", "0", "1", "0"), Some(BarFault::NotPositive("open")));
        assert_eq!(prices("1", "2", "-1", "1", "0"), Some(BarFault::NotPositive("low")));
        assert_eq!(prices("1", "2", "1", "1", "-0.1"), Some(BarFault::NegativeVolume));
        assert_eq!(prices("1", r#""NaN""#, "1", "1", "0"), Some(BarFault::NoNumber("high")));
        assert_eq!(prices("1", "null", "1", "1", "0"), Some(BarFault::NoNumber("high")));
        assert_eq!(prices("1", "1", "1", "1", r#""\u0031""#), Some(BarFault::NoNumber("volume")));
        assert_eq!(prices("1", "1", "1", "1", r#"[1]"#), Some(BarFault::NoNumber("volume")));
    }

    #[test]
    fn times_must_be_those_of_the_interval() {
        let opens = NOW / HOUR * HOUR;
        let at = |time: String| fault(&format!("[{time},1,1,1,1,1]"));
        assert_eq!(at(opens.to_string()), None, "the one that forms");
        assert_eq!(at((opens + HOUR).to_string()), Some(BarFault::NotYet));
        assert_eq!(at((opens - 1).to_string()), Some(BarFault::NotAligned(opens - HOUR)));
        assert_eq!(at((opens * 1_000).to_string()), Some(BarFault::NoNumber("open_time")), "microseconds");
        for wrong in ["-1", "1.5", "1e12", "\"5\"", "null", "18446744073709551616"] {
            assert_eq!(at(wrong.to_owned()), Some(BarFault::NoNumber("open_time")), "{wrong}");
        }
        let closing = |time: u64| fault(&format!("[{opens},1,1,1,1,1,{time},9]"));
        assert_eq!(closing(opens + HOUR - 1), None);
        assert_eq!(closing(opens + HOUR), Some(BarFault::CloseTime(opens + HOUR - 1)));
    }

    #[test]
    fn rows_and_objects_are_bars_and_nothing_else() {
        let opens = NOW / HOUR * HOUR;
        let object =
            |name: &str| format!(r#"{{"{name}":{opens},"open":1,"high":1,"low":1,"close":1,"volume":1,"x":[2]}}"#);
        assert_eq!(fault(&object("time")), None);
        assert_eq!(fault(&object("open_time")), None);
        let both = format!(r#"{{"time":{opens},{}"#, &object("open_time")[1..]);
        for wrong in [&both, &object("opened"), "[]", "[1,2,3,4,5]", "7", "null", "\"x\"", "{}", "true"] {
            assert!(matches!(fault(wrong), Some(BarFault::Unreadable(_))), "{wrong}");
        }
        assert_eq!(fault(&format!("[{opens},1,1,1,1,1,\"{}\"]", "x".repeat(600))), Some(BarFault::TooLarge));
        for wrong in ["", "{}", "7", "[1", "[[1]] x", "\u{0}"] {
            let read = Checked::of_json(wrong.as_bytes(), "1h", NOW);
            assert!(matches!(read, Err(NotBars::Unreadable(_))), "{wrong}");
        }
        assert_eq!(Checked::of_json(b"[]", "1h", NOW).unwrap_err(), NotBars::None);
        assert!(matches!(Checked::of_json(b"[\xff]", "1h", NOW), Err(NotBars::Unreadable(_))));
        let many = format!("[{}]", vec!["1"; MOST_BARS + 1].join(","));
        assert_eq!(Checked::of_json(many.as_bytes(), "1h", NOW).unwrap_err(), NotBars::TooMany(MOST_BARS + 1));
        let deep = format!("[{}]", "[".repeat(200_000));
        assert!(Checked::of_json(deep.as_bytes(), "1h", NOW).is_err());
    }

    #[test]
    fn of_two_bars_of_one_time_the_first_stands_unless_they_are_the_same() {
        let opens = NOW / HOUR * HOUR;
        let bar = |close: u64| format!("[{opens},1,9,1,{close},1]");
        let json = format!("[7,{},{},{}]", bar(2), bar(3), bar(2));
        let checked = Checked::of_json(json.as_bytes(), "1h", NOW).unwrap();
        assert_eq!(checked.bars[&opens], (1, bar(2)));
        assert_eq!(checked.refused.len(), 2);
        assert_eq!(checked.refused[1], (2, BarFault::Contradicts(1)));
    }
}
