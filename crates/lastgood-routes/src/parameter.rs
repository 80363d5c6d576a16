//! The parameters of a route: typed, bounded, and brought to one form, so that equal questions have equal keys.

use jiff::civil::Date;
use regex_lite::Regex;
use rust_decimal::Decimal;

use crate::arguments::Argument;
use crate::refusal::Refusal;

/// A declared parameter.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name, as paths, queries and sources have it.
    pub name: String,
    /// What it is, in words.
    pub description: Option<String>,
    /// What values it takes.
    pub kind: Kind,
    /// What stands in where it is not given.
    pub default: Option<Argument>,
    /// Whether it may be absent without a default.
    pub optional: bool,
}

/// What values a parameter takes.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Text without control characters.
    Text {
        /// The most characters.
        max_length: usize,
        /// What it must match.
        pattern: Option<Pattern>,
        /// What its letters become.
        case: Case,
    },
    /// A whole number.
    Integer {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// A number with decimals.
    Decimal {
        /// The least.
        min: Option<Decimal>,
        /// The most.
        max: Option<Decimal>,
    },
    /// True or false.
    Boolean,
    /// A day.
    Date {
        /// The first.
        min: Option<Date>,
        /// The last.
        max: Option<Date>,
    },
    /// One of these, in whatever case.
    Choice(Vec<String>),
}

/// What the letters of a text become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// What they are.
    AsGiven,
    /// Capitals.
    Upper,
    /// Small letters.
    Lower,
}

impl Case {
    /// All, by the words of a configuration.
    pub const ALL: [(&'static str, Case); 3] =
        [("as_given", Case::AsGiven), ("upper", Case::Upper), ("lower", Case::Lower)];
}

/// A regular expression that the whole text must match.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// As it was written.
    pub text: String,
    whole: Regex,
}

impl Pattern {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// Why this is no expression.
    pub fn new(text: &str) -> Result<Self, regex_lite::Error> {
        let whole = regex_lite::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(1 << 18).build();
        // Alone it must make sense, too: `a)|(b` only does within brackets.
        Regex::new(text)?;
        Ok(Pattern { text: text.to_owned(), whole: whole? })
    }
}

impl Parameter {
    /// A parameter that must be given.
    pub fn new(name: impl Into<String>, kind: Kind) -> Parameter {
        Parameter { name: name.into(), description: None, kind, default: None, optional: false }
    }

    /// Whether a request must name it.
    pub fn is_required(&self) -> bool {
        self.default.is_none() && !self.optional
    }

    /// The value of a text, in its one form.
    ///
    /// # Errors
    ///
    /// The parameter, the value and what it may be.
    pub fn read(&self, text: &str) -> Result<Argument, Refusal> {
        self.kind.read(text).ok_or_else(|| self.refusal(text))
    }

    /// The value where none is given.
    ///
    /// # Errors
    ///
    /// When there must be a value.
    pub fn missing(&self) -> Result<Argument, Refusal> {
        match (&self.default, self.optional) {
            (Some(default), _) => Ok(default.clone()),
            (None, true) => Ok(Argument::Absent),
            (None, false) => Err(self.refusal("")),
        }
    }

    fn refusal(&self, value: &str) -> Refusal {
        Refusal::new(&self.name, value, self.kind.allowed())
    }
}

impl Kind {
    fn read(&self, text: &str) -> Option<Argument> {
        match self {
            Kind::Text { max_length, pattern, case } => read_text(text, *max_length, pattern.as_ref(), *case),
            Kind::Integer { min, max } => {
                let number = plain_number(text).then(|| text.parse().ok()).flatten();
                number.filter(|number| (min..=max).contains(&number)).map(Argument::Integer)
            }
            Kind::Decimal { min, max } => read_decimal(text, *min, *max),
            Kind::Boolean => match text {
                "true" | "1" => Some(Argument::Boolean(true)),
                "false" | "0" => Some(Argument::Boolean(false)),
                _ => None,
            },
            Kind::Date { min, max } => {
                let day = read_day(text)?;
                let within = min.is_none_or(|min| min <= day) && max.is_none_or(|max| day <= max);
                within.then_some(Argument::Date(day))
            }
            Kind::Choice(choices) => {
                choices.iter().find(|choice| choice.eq_ignore_ascii_case(text)).cloned().map(Argument::Text)
            }
        }
    }

    /// What may be given, for people.
    pub fn allowed(&self) -> String {
        match self {
            Kind::Text { max_length, pattern: None, .. } => {
                format!("1 to {max_length} characters of text, none of them a control character")
            }
            Kind::Text { max_length, pattern: Some(pattern), .. } => {
                format!("1 to {max_length} characters that match {}", pattern.text)
            }
            Kind::Integer { min: i64::MIN, max: i64::MAX } => "a whole number of 64 bits".to_owned(),
            Kind::Integer { min: i64::MIN, max } => format!("a whole number up to {max}"),
            Kind::Integer { min, max: i64::MAX } => format!("a whole number from {min} on"),
            Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Decimal { min, max } => format!("a decimal number{}", range(min.as_ref(), max.as_ref())),
            Kind::Boolean => "true or false".to_owned(),
            Kind::Date { min, max } => format!("a day such as 2025-01-31{}", range(min.as_ref(), max.as_ref())),
            Kind::Choice(choices) => format!("one of {}", choices.join(", ")),
        }
    }
}

fn range<T: std::fmt::Display>(min: Option<&T>, max: Option<&T>) -> String {
    match (min, max) {
        (None, None) => String::new(),
        (Some(min), None) => format!(" from {min}"),
        (None, Some(max)) => format!(" up to {max}"),
        (Some(min), Some(max)) => format!(" from {min} to {max}"),
    }
}

fn read_text(text: &str, max_length: usize, pattern: Option<&Pattern>, case: Case) -> Option<Argument> {
    let text = match case {
        Case::AsGiven => text.to_owned(),
        // The form must be its own form: some letters have none in the other case of equal length.
        Case::Upper => text.to_uppercase(),
        Case::Lower => text.to_lowercase(),
    };
    let within = (1..=max_length).contains(&text.chars().count());
    // What means a folder to a path would be another question than the one that was asked.
    let sound = !text.chars().any(char::is_control) && text != "." && text != "..";
    let matches = pattern.is_none_or(|pattern| pattern.whole.is_match(&text));
    (within && sound && matches).then_some(Argument::Text(text))
}

/// Digits, at most with a minus: what every reader of numbers understands alike.
fn plain_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.len() <= 32 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn read_decimal(text: &str, min: Option<Decimal>, max: Option<Decimal>) -> Option<Argument> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    if !plain_number(whole) || !plain_number(decimals) || decimals.starts_with('-') {
        return None;
    }
    let number: Decimal = Decimal::from_str_exact(text).ok()?.normalize();
    let number = if number.is_zero() { Decimal::ZERO } else { number };
    let within = min.is_none_or(|min| min <= number) && max.is_none_or(|max| number <= max);
    within.then_some(Argument::Decimal(number))
}

/// A day as `2025-01-31`, and in no other form.
pub fn read_day(text: &str) -> Option<Date> {
    let shaped = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    shaped.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(kind: Kind) -> Parameter {
        Parameter::new("p", kind)
    }

    fn text(pattern: Option<&str>, case: Case) -> Parameter {
        let pattern = pattern.map(|pattern| Pattern::new(pattern).unwrap());
        of(Kind::Text { max_length: 8, pattern, case })
    }

    #[test]
    fn every_type_has_one_form_of_a_value() {
        let decimal = of(Kind::Decimal { min: Some(Decimal::ZERO), max: None });
        let day = of(Kind::Date { min: Some("2000-01-01".parse().unwrap()), max: None });
        let choice = of(Kind::Choice(vec!["gain".to_owned(), "Loss".to_owned()]));
        for (parameter, given, form) in [
            (text(Some("[A-Z.]{1,5}"), Case::Upper), "brk.b", "BRK.B"),
            (text(None, Case::Lower), "ÄBC", "äbc"),
            (of(Kind::Integer { min: -5, max: 365 }), "007", "7"),
            (of(Kind::Integer { min: -5, max: 365 }), "-0", "0"),
            (decimal.clone(), "1.500", "1.5"),
            (decimal.clone(), "-0.0", "0"),
            (of(Kind::Boolean), "1", "true"),
            (day.clone(), "2025-01-31", "2025-01-31"),
            (choice.clone(), "LOSS", "Loss"),
        ] {
            assert_eq!(parameter.read(given).map(|value| value.to_string()), Ok(form.to_owned()), "{given}");
        }
        for (parameter, given, allowed) in [
            (text(Some("[A-Z.]{1,5}"), Case::Upper), "AAPL;", "1 to 8 characters that match [A-Z.]{1,5}"),
            (text(None, Case::AsGiven), "123456789", "1 to 8 characters of text, none of them a control character"),
            (text(None, Case::AsGiven), "", "1 to 8 characters of text, none of them a control character"),
            (text(None, Case::AsGiven), "..", "1 to 8 characters of text, none of them a control character"),
            (text(None, Case::AsGiven), "a\nb", "1 to 8 characters of text, none of them a control character"),
            (of(Kind::Integer { min: i64::MIN, max: i64::MAX }), "x", "a whole number of 64 bits"),
            (of(Kind::Integer { min: 3, max: i64::MAX }), "2", "a whole number from 3 on"),
            (of(Kind::Integer { min: i64::MIN, max: 3 }), "4", "a whole number up to 3"),
            (of(Kind::Integer { min: 1, max: 365 }), "366", "a whole number from 1 to 365"),
            (of(Kind::Integer { min: 1, max: 365 }), "+5", "a whole number from 1 to 365"),
            (of(Kind::Integer { min: 1, max: 365 }), "5.0", "a whole number from 1 to 365"),
            (of(Kind::Integer { min: 1, max: 365 }), "99999999999999999999", "a whole number from 1 to 365"),
            (decimal.clone(), "-1", "a decimal number from 0"),
            (decimal.clone(), "1e5", "a decimal number from 0"),
            (decimal, "1.", "a decimal number from 0"),
            (of(Kind::Boolean), "yes", "true or false"),
            (day.clone(), "1999-12-31", "a day such as 2025-01-31 from 2000-01-01"),
            (day.clone(), "2025-02-30", "a day such as 2025-01-31 from 2000-01-01"),
            (day, "20250131", "a day such as 2025-01-31 from 2000-01-01"),
            (choice, "both", "one of gain, Loss"),
        ] {
            let refused = parameter.read(given).expect_err(given);
            let expected = Refusal { parameter: "p".to_owned(), value: given.to_owned(), allowed: allowed.to_owned() };
            assert_eq!(refused, expected, "{given}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_each_form_is_its_own_form(given in "\\PC{0,20}|[0-9.\\-]{0,40}") {
            let kinds = [
                Kind::Text { max_length: 20, pattern: None, case: Case::Upper },
                Kind::Text { max_length: 20, pattern: None, case: Case::Lower },
                Kind::Integer { min: i64::MIN, max: i64::MAX },
                Kind::Decimal { min: None, max: None },
                Kind::Boolean,
                Kind::Date { min: None, max: None },
                Kind::Choice(vec!["a".to_owned()]),
            ];
            for parameter in kinds.map(of) {
                if let Ok(value) = parameter.read(&given) {
                    let again = parameter.read(&value.to_string());
                    prop_assert!(again == Ok(value.clone()) || value.to_string().chars().count() > 20, "{value:?} {again:?}");
                }
            }
        }
    }
}
