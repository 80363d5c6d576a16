//! Numbers, times and durations as a person reads them.

use jiff::Timestamp;

/// A time by UTC: `14:06:49 UTC` on the day of `now`, else with its date.
pub(crate) fn clock(millis: u64, now: u64) -> String {
    let at = |millis: u64| i64::try_from(millis).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    let Some(time) = at(millis) else { return "-".to_owned() };
    let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
    let is_today = at(now).is_some_and(|now| day(now) == day(time));
    time.strftime(if is_today { "%H:%M:%S UTC" } else { "%Y-%m-%d %H:%M:%S UTC" }).to_string()
}

/// A duration in the largest unit that says enough: `25 ms`, `114 s`, `12 min`, `5 h`, `3 d`.
pub(crate) fn span(millis: u64) -> String {
    let seconds = millis / 1_000;
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..10_000 if !millis.is_multiple_of(1_000) => format!("{:.1} s", millis as f64 / 1_000.0),
        1_000..120_000 => format!("{seconds} s"),
        120_000..7_200_000 => format!("{} min", seconds / 60),
        7_200_000..172_800_000 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A number in at most five characters: `99999`, `123k`, `12.3M`.
pub(crate) fn count(number: u64) -> String {
    const UNITS: [(u64, &str); 6] = [
        (1_000_000_000_000_000_000, "E"),
        (1_000_000_000_000_000, "P"),
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
        (1_000, "k"),
    ];
    if number < 100_000 {
        return number.to_string();
    }
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| number >= *unit).unwrap_or((1, ""));
    match number / unit {
        whole @ 100.. => format!("{whole}{name}"),
        whole => format!("{whole}.{}{name}", number % unit * 10 / unit),
    }
}

/// A number of bytes in at most six characters: `999 B`, `12 KiB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "K", "M", "G", "T"];
    let (mut left, mut unit) = (number as f64, 0);
    while left >= 1_000.0 && unit + 1 < UNITS.len() {
        left /= 1_024.0;
        unit += 1;
    }
    match unit > 0 && left < 9.95 {
        true => format!("{left:.1}{}", UNITS[unit]),
        false => format!("{left:.0}{}", UNITS[unit]),
    }
}

/// At most `width` characters of a text; the rest is an ellipsis.
pub(crate) fn within(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// A text in rows of at most `width` characters, broken between words where there are some. What does not fit goes on below,
/// further in.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    const FURTHER_IN: &str = "    ";
    let mut rows = Vec::new();
    let mut left = text.to_owned();
    while left.chars().count() > width.max(FURTHER_IN.len() + 1) {
        let fits = left.char_indices().nth(width.max(FURTHER_IN.len() + 1)).map_or(left.len(), |(at, _)| at);
        // One that begins the row, or a gap before its first word, is no place to break.
        let begins = left.len() - left.trim_start().len();
        let at = left[..fits].rfind(' ').filter(|at| *at > begins).unwrap_or(fits);
        rows.push(left[..at].trim_end().to_owned());
        left = format!("{FURTHER_IN}{}", left[at..].trim_start());
    }
    rows.push(left);
    rows
}

/// A count with its noun: `1 key`, `2 keys`.
pub(crate) fn counted(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        many => format!("{many} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_short_and_true() {
        assert_eq!([0, 99_999, 100_000, 1_234_567, 999_999_999_999].map(count), ["0", "99999", "100k", "1.2M", "999G"]);
        assert_eq!(
            [0, 999, 1_000, 1_536, 123 << 20, 5 << 40].map(bytes),
            ["0B", "999B", "1.0K", "1.5K", "123M", "5.0T"]
        );
        assert_eq!(
            [400, 1_000, 2_500, 114_000, 600_000, 86_400_000, 259_200_000].map(span),
            ["400 ms", "1 s", "2.5 s", "114 s", "10 min", "24 h", "3 d"]
        );
        let noon = 1_764_417_600_000;
        assert_eq!(clock(noon + 7_609_000, noon), "14:06:49 UTC");
        assert_eq!(clock(noon + 86_400_000, noon), "2025-11-30 12:00:00 UTC");
        assert_eq!([0, 1, 2].map(|keys| counted(keys, "key")), ["0 keys", "1 key", "2 keys"]);
        assert_eq!(within("scores_leaderboards", 18), "scores_leaderboar…");
    }

    #[test]
    fn a_long_text_goes_on_below_and_none_of_it_is_lost() {
        let text = "  keys            f fails   s slow   q quits";
        assert_eq!(wrapped(text, 80), [text]);
        assert_eq!(wrapped(text, 26), ["  keys            f fails", "    s slow   q quits"]);
        assert_eq!(wrapped("abcdefghijkl", 8), ["abcdefgh", "    ijkl"]);
        for width in 1..60 {
            let rows = wrapped(text, width);
            assert!(rows.iter().all(|row| row.chars().count() <= width.max(5)), "{width}: {rows:?}");
            assert_eq!(rows.concat().replace(' ', ""), text.replace(' ', ""), "{width}");
        }
    }
}
