//! `[routes.parameters.NAME]`: the type and the bounds of a parameter.

use std::str::FromStr;

use lastgood_routes::parameter::{Case, Kind, Parameter, Pattern, read_day};
use lastgood_routes::template::is_name;
use rust_decimal::Decimal;

use crate::fields::{Fields, text};
use crate::problem::Wrong;
use crate::value::{self, Raw};

/// The longest text that a parameter takes unless it says otherwise.
const TEXT_LENGTH: usize = 64;
const LONGEST_TEXT: usize = 1_000;
const MOST_CHOICES: usize = 200;

#[derive(Clone, Copy)]
enum Type {
    Text,
    Integer,
    Decimal,
    Boolean,
    Date,
    Choice,
}

const TYPES: [(&str, Type); 6] = [
    ("text", Type::Text),
    ("integer", Type::Integer),
    ("decimal", Type::Decimal),
    ("boolean", Type::Boolean),
    ("date", Type::Date),
    ("choice", Type::Choice),
];

pub(super) fn parameter(name: String, mut fields: Fields<'_>) -> Option<Parameter> {
    if !is_name(&name) || name == "sha256" {
        let wrong = Wrong::new("no name of a parameter").hint("use a-z, 0-9 and _, a letter first, 40 at most");
        fields.report.refuse(&fields.origin, &fields.path, wrong);
    }
    let kind = fields.required("type", "\"text\"", |raw| value::one_of(raw, &TYPES)).and_then(|kind| match kind {
        Type::Text => text_kind(&mut fields),
        Type::Integer => integer(&mut fields),
        Type::Decimal => decimal(&mut fields),
        Type::Boolean => Some(Kind::Boolean),
        Type::Date => date(&mut fields),
        Type::Choice => choice(&mut fields),
    });
    let description = fields.read("description", text("what it is"));
    let optional = fields.read("optional", value::boolean).unwrap_or(false);
    let Some(kind) = kind else {
        // The keys of an unknown type are unknown, too.
        return None;
    };
    let mut parameter = Parameter { name, description, kind, default: None, optional };
    parameter.default = fields.read("default", |raw| {
        let text = plain(raw)?;
        parameter.read(text).map_err(|refusal| {
            Wrong::new(format!("the default {text:?} is no value of the parameter"))
                .hint(format!("give {}", refusal.allowed))
        })
    });
    if optional && parameter.default.is_some() {
        fields
            .refuse("optional", Wrong::new("a parameter with a default is never absent").hint("leave one of them out"));
    }
    let is_good = parameter.default.is_some() || !fields.has("default");
    fields.finish();
    is_good.then_some(parameter)
}

/// A parameter in a path that is not declared: a text.
pub(super) fn text_of_a_path(name: &str) -> Parameter {
    let kind = Kind::Text { max_length: TEXT_LENGTH, pattern: None, case: Case::AsGiven };
    Parameter { name: name.to_owned(), description: None, kind, default: None, optional: false }
}

/// The text of a value, in quotes or bare.
fn plain(raw: &Raw) -> Result<&str, Wrong> {
    match raw {
        Raw::Text(text) | Raw::Variable { text, .. } | Raw::Bare { text, .. } => Ok(text),
        Raw::List(_) => Err(Wrong::new("expected one value, found a list").hint("write it without brackets")),
    }
}

fn text_kind(fields: &mut Fields<'_>) -> Option<Kind> {
    let max_length = fields.read("max_length", |raw| value::count(raw, 1..=LONGEST_TEXT)).unwrap_or(TEXT_LENGTH);
    let case = fields.read("case", |raw| value::one_of(raw, &Case::ALL)).unwrap_or(Case::AsGiven);
    let pattern = fields.read("pattern", |raw| {
        let text = text("[A-Z.]{1,10}")(raw)?;
        Pattern::new(&text).map_err(|why| {
            Wrong::new(format!("this is no regular expression: {why}")).hint("write for example \"[A-Z.]{1,10}\"")
        })
    });
    if fields.has("pattern") && pattern.is_none() {
        return None;
    }
    Some(Kind::Text { max_length, pattern, case })
}

fn integer(fields: &mut Fields<'_>) -> Option<Kind> {
    let number = |raw: &Raw| number::<i64>(raw, "a whole number");
    let (min, max) = (fields.read("min", number), fields.read("max", number));
    let (min, max) = (min.unwrap_or(i64::MIN), max.unwrap_or(i64::MAX));
    in_order(fields, min, max)?;
    Some(Kind::Integer { min, max })
}

fn decimal(fields: &mut Fields<'_>) -> Option<Kind> {
    let number = |raw: &Raw| number::<Decimal>(raw, "a number");
    let (min, max) = (fields.read("min", number), fields.read("max", number));
    if let (Some(min), Some(max)) = (min, max) {
        in_order(fields, min, max)?;
    }
    Some(Kind::Decimal { min, max })
}

fn date(fields: &mut Fields<'_>) -> Option<Kind> {
    let day = |raw: &Raw| {
        let text = plain(raw)?;
        read_day(text).ok_or_else(|| Wrong::new(format!("{text:?} is no day")).hint("write for example \"2025-01-31\""))
    };
    let (min, max) = (fields.read("min", day), fields.read("max", day));
    if let (Some(min), Some(max)) = (min, max) {
        in_order(fields, min, max)?;
    }
    Some(Kind::Date { min, max })
}

fn choice(fields: &mut Fields<'_>) -> Option<Kind> {
    let choices = fields.required("choices", "[\"gainers\", \"losers\"]", |raw| {
        let Some(items) = raw.items() else {
            return Err(Wrong::new("expected a list").hint("write [\"gainers\", \"losers\"]"));
        };
        let sound =
            |text: &String| !text.is_empty() && text.len() <= TEXT_LENGTH && !text.chars().any(char::is_control);
        let twice = |(at, item): (usize, &String)| items[..at].iter().any(|other| other.eq_ignore_ascii_case(item));
        if items.is_empty() || items.len() > MOST_CHOICES || !items.iter().all(sound) {
            return Err(Wrong::new("these are no choices")
                .hint(format!("give 1 to {MOST_CHOICES} texts of 1 to {TEXT_LENGTH} characters")));
        }
        match items.iter().enumerate().any(twice) {
            true => Err(Wrong::new("a choice is listed twice").hint("capitals make no difference")),
            false => Ok(items),
        }
    })?;
    Some(Kind::Choice(choices))
}

fn number<T: FromStr>(raw: &Raw, expected: &str) -> Result<T, Wrong> {
    let text = plain(raw)?;
    text.parse().map_err(|_| Wrong::new(format!("{text:?} is not {expected}")).hint(format!("write {expected}")))
}

fn in_order<T: PartialOrd>(fields: &Fields<'_>, min: T, max: T) -> Option<()> {
    if min > max {
        fields.refuse("min", Wrong::new("min is larger than max").hint("exchange them"));
        return None;
    }
    Some(())
}
