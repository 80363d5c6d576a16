//! Fields that are computed from the rows of a document: `round((close - previous.close) / previous.close * 100, 2)`.
//!
//! ```text
//! expression = term { ("+" | "-") term }
//! term       = factor { ("*" | "/") factor }
//! factor     = "-" factor | number | field | function | "(" expression ")"
//! field      = [ "previous" "." ] name { "." name }
//! name       = a letter or "_", then letters, digits and "_"; any other name stands between backticks
//! function   = round(x, digits) | abs(x) | min(x, y, …) | max(x, y, …)
//! ```
//!
//! An expression that is one field and nothing else copies it: the document's own text, whatever its type. All else is
//! decimal arithmetic, never binary floating point. There is nothing that loops or calls itself: an expression is read
//! when the gateway starts, into steps that run once from the first to the last.
//!
//! `null` comes out wherever there is no number to compute with: a field that is missing, `null` or no number, the first
//! row's `previous`, a division by zero, an operand that has more than 28 digits, a result that is larger than a decimal can
//! be (7.9 × 10^28). A number in quotes, as exchanges send them, counts as a number. Sums, differences and products are exact
//! as far as 28 digits reach; a quotient, and what would be longer, is rounded at the 28th. A result is written without
//! zeros at its end.

mod decimal;
mod parse;

use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy};

use crate::suggest::slip_of;

/// The longest expression, in bytes.
pub(crate) const LONGEST: usize = 500;
/// Parentheses, calls and signs inside each other.
pub(crate) const DEEPEST: usize = 16;
/// Fields, numbers and operations of one expression.
pub(crate) const MOST_STEPS: usize = 100;
/// Names that are shorter differ by a letter and are two fields: bid and bids.
const SHORTEST_TO_SLIP: usize = 4;

/// An expression over a row and the row before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// In the order in which they run: operands before their operation.
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Number(Decimal),
    Field(Field),
    Negate,
    Add,
    Subtract,
    Multiply,
    Divide,
    Round(u32),
    Abs,
    Min,
    Max,
}

/// A field of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Whether it is the row before that has it.
    pub(crate) is_previous: bool,
    /// Whether the first name stands between backticks: it is meant as it is written.
    pub(crate) is_quoted: bool,
    /// Names from the outermost inwards; at least one.
    pub(crate) path: Vec<String>,
}

/// Why a text is no expression.
#[derive(Debug, PartialEq, Eq)]
pub struct ExpressionError {
    /// The problem with it.
    pub what: String,
    /// What to write instead.
    pub hint: String,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.hint)
    }
}

impl std::error::Error for ExpressionError {}

impl Expression {
    /// Reads and checks an expression.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, and a hint.
    pub fn parse(text: &str) -> Result<Expression, ExpressionError> {
        parse::parse(text)
    }

    /// The fields that it needs, in the order in which it names them.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        self.steps.iter().filter_map(|step| match step {
            Step::Field(field) => Some(field),
            _ => None,
        })
    }

    /// Whether it is a field and nothing else.
    fn is_copy(&self) -> bool {
        matches!(self.steps.as_slice(), [Step::Field(_)])
    }

    /// Its value as JSON. `text` gives a field's own JSON text, or nothing where there is no such field.
    ///
    /// # Errors
    ///
    /// The first error of `text`.
    pub(crate) fn evaluate<'a, E>(&self, text: impl Fn(&Field) -> Result<Option<&'a str>, E>) -> Result<String, E> {
        let null = || "null".to_owned();
        if let [Step::Field(field)] = self.steps.as_slice() {
            return Ok(text(field)?.map_or_else(null, str::to_owned));
        }
        let mut stack: Vec<Option<Decimal>> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let value = match step {
                Step::Number(number) => Some(*number),
                Step::Field(field) => text(field)?.and_then(decimal::of_json),
                Step::Negate | Step::Round(_) | Step::Abs => {
                    let operand = stack.pop().flatten();
                    operand.map(|operand| unary(step, operand))
                }
                Step::Add | Step::Subtract | Step::Multiply | Step::Divide | Step::Min | Step::Max => {
                    let (right, left) = (stack.pop().flatten(), stack.pop().flatten());
                    left.zip(right).and_then(|(left, right)| binary(step, left, right))
                }
            };
            stack.push(value);
        }
        Ok(stack.pop().flatten().map_or_else(null, |number| number.normalize().to_string()))
    }
}

/// A name that looks like a slip of another one: which of the expressions has it, the name, and what it may be meant to be.
/// The fields of a row are unknown before there is one; but two names of a letter's difference are hardly two fields.
pub fn slip(expressions: &[&Expression]) -> Option<(usize, String, String)> {
    let fields = |at: usize| expressions[at].fields().map(move |field| (at, field));
    let all: Vec<(usize, &Field)> = (0..expressions.len()).flat_map(fields).collect();
    let is_copied = |name: &str| all.iter().any(|(at, field)| field.path[0] == name && expressions[*at].is_copy());
    let uses = |name: &str| all.iter().filter(|(_, field)| field.path[0] == name).count();
    all.iter().find_map(|(at, field)| {
        let name = field.path[0].as_str();
        if field.is_quoted || name.len() < SHORTEST_TO_SLIP || is_copied(name) {
            return None;
        }
        let others = all.iter().map(|(_, other)| other.path[0].as_str()).filter(|other| {
            // Averages of 20 and of 50 days are two fields.
            let without_digits = |name: &str| name.replace(|c: char| c.is_ascii_digit(), "");
            *other != name
                && other.len() >= SHORTEST_TO_SLIP
                && without_digits(other) != without_digits(name)
                && (is_copied(other) || uses(other) >= uses(name))
        });
        slip_of(name, others).map(|meant| (*at, name.to_owned(), meant.to_owned()))
    })
}

fn unary(step: &Step, operand: Decimal) -> Decimal {
    match step {
        Step::Negate => -operand,
        // As people round prices: 2.5 to 3, and -2.5 to -3.
        Step::Round(digits) => operand.round_dp_with_strategy(*digits, RoundingStrategy::MidpointAwayFromZero),
        _ => operand.abs(),
    }
}

/// `None` where the result is no number, or one that is too large.
fn binary(step: &Step, left: Decimal, right: Decimal) -> Option<Decimal> {
    match step {
        Step::Add => left.checked_add(right),
        Step::Subtract => left.checked_sub(right),
        Step::Multiply => left.checked_mul(right),
        Step::Divide => left.checked_div(right),
        Step::Min => Some(left.min(right)),
        _ => Some(left.max(right)),
    }
}

#[cfg(test)]
mod tests;
