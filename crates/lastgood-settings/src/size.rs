//! Sizes in bytes as people write them: `64KiB`, `256MiB`, `1GB`.

use lastgood_routes::suggest::did_you_mean;

use crate::problem::Wrong;

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads a whole number with an optional unit; a bare number is bytes.
pub(crate) fn parse(text: &str) -> Result<u64, Wrong> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '_')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim();
    let wrong = || {
        Wrong::new(format!("{text:?} is not a size"))
            .hint("write for example \"64KiB\", \"256MiB\", \"1GiB\" or a number of bytes")
    };
    let number: u64 = number.replace('_', "").parse().map_err(|_| wrong())?;
    let size = if unit.is_empty() {
        1
    } else {
        UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, size)| *size).ok_or_else(|| {
            let names = UNITS.iter().map(|(name, _)| *name);
            let mut wrong = wrong();
            wrong.what = format!("{unit:?} is no unit of size");
            wrong.hint_if(did_you_mean(unit, names))
        })?
    };
    number.checked_mul(size).ok_or_else(wrong)
}

/// The shortest exact text.
pub(crate) fn format(bytes: u64) -> String {
    UNITS
        .iter()
        .find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size))
        .map_or_else(|| "0B".to_owned(), |(name, size)| format!("{}{name}", bytes / size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_write_sizes_in_these_ways() {
        for (text, expected) in [
            ("256MiB", 268_435_456),
            ("256 mib", 268_435_456),
            ("64KiB", 65_536),
            ("1GB", 1_000_000_000),
            ("4096", 4_096),
            ("1_000B", 1_000),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_wrong_size_is_refused_with_the_reason() {
        let wrong = parse("256MiBs").expect_err("a unit with a letter too many");
        assert_eq!(wrong.what, "\"MiBs\" is no unit of size");
        assert_eq!(wrong.hint.as_deref(), Some("did you mean `MiB`?"));
        for text in ["", "lots", "-1", "1.5GiB", "99999999999999999999", "99999999999TiB"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn written_values_are_read_back(bytes: u64) {
            prop_assert_eq!(parse(&format(bytes)), Ok(bytes));
        }
    }
}
