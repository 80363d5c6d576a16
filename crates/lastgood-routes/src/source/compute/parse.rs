//! Texts as expressions: each part of the grammar is a function, and puts the steps of what it reads in their order.

use rust_decimal::Decimal;

use super::{DEEPEST, Expression, ExpressionError, Field, LONGEST, MOST_STEPS, Step, decimal};
use crate::suggest::{did_you_mean, slip_of};

const FUNCTIONS: [&str; 4] = ["round", "abs", "min", "max"];
const PREVIOUS: &str = "previous";
/// The most operands of `min` and `max`.
const MOST_OPERANDS: usize = 8;
/// The most digits to round to.
const MOST_DIGITS: u32 = 28;
/// Names inside each other, and bytes of one.
const MOST_NAMES: usize = 8;
const LONGEST_NAME: usize = 64;

const EXAMPLE: &str = "write for example \"close - previous.close\"";

pub(super) fn parse(text: &str) -> Result<Expression, ExpressionError> {
    if text.len() > LONGEST {
        return Err(wrong(format!("the expression is longer than {LONGEST} bytes"), "compute less in one field"));
    }
    let mut parser = Parser { text, at: 0, depth: 0, steps: Vec::new() };
    parser.expression()?;
    if let Some(found) = parser.peek() {
        return Err(parser.unexpected(found));
    }
    if parser.steps.iter().any(|step| matches!(step, Step::Field(_))) {
        return Ok(Expression { steps: parser.steps });
    }
    Err(wrong("the expression names no field, so it would say the same of every row", EXAMPLE))
}

fn wrong(what: impl Into<String>, hint: impl Into<String>) -> ExpressionError {
    ExpressionError { what: what.into(), hint: hint.into() }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    steps: Vec<Step>,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The next character that is no blank.
    fn peek(&mut self) -> Option<char> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.rest().chars().next()
    }

    fn takes(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn require(&mut self, wanted: char) -> Result<(), ExpressionError> {
        match self.takes(wanted) {
            true => Ok(()),
            false => Err(wrong(format!("a `{wanted}` is missing {}", self.here()), EXAMPLE)),
        }
    }

    /// Where the parser is, for messages.
    fn here(&self) -> String {
        match self.rest().trim_start() {
            "" => "at the end".to_owned(),
            rest => format!("before `{}`", rest.chars().take(16).collect::<String>()),
        }
    }

    fn unexpected(&self, found: char) -> ExpressionError {
        let hint = match found {
            '(' => "a `*` between the two multiplies them".to_owned(),
            '"' | '\'' => "a name stands as it is, or between backticks: `4. close`".to_owned(),
            _ => format!("an expression has fields, numbers, + - * / ( ) and {}", FUNCTIONS.join(", ")),
        };
        wrong(format!("`{found}` does not belong {}", self.here()), hint)
    }

    fn push(&mut self, step: Step) -> Result<(), ExpressionError> {
        if self.steps.len() == MOST_STEPS {
            let what = format!("the expression has more than {MOST_STEPS} fields, numbers and operations");
            return Err(wrong(what, "compute less in one field"));
        }
        self.steps.push(step);
        Ok(())
    }

    /// Reads one level further in.
    fn inside(&mut self, read: impl FnOnce(&mut Self) -> Result<(), ExpressionError>) -> Result<(), ExpressionError> {
        if self.depth == DEEPEST {
            let what = format!("more than {DEEPEST} parentheses, calls or signs are inside each other");
            return Err(wrong(what, "leave out those that change nothing"));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn expression(&mut self) -> Result<(), ExpressionError> {
        self.term()?;
        loop {
            let step = match self.peek() {
                Some('+') => Step::Add,
                Some('-') => Step::Subtract,
                _ => return Ok(()),
            };
            self.at += 1;
            self.term()?;
            self.push(step)?;
        }
    }

    fn term(&mut self) -> Result<(), ExpressionError> {
        self.factor()?;
        loop {
            let step = match self.peek() {
                Some('*') => Step::Multiply,
                Some('/') => Step::Divide,
                _ => return Ok(()),
            };
            self.at += 1;
            let before = self.steps.len();
            self.factor()?;
            let divisor = &self.steps[before..];
            if step == Step::Divide && matches!(divisor, [Step::Number(number)] if number.is_zero()) {
                return Err(wrong("the expression divides by zero", "divide by a field or by another number"));
            }
            self.push(step)?;
        }
    }

    fn factor(&mut self) -> Result<(), ExpressionError> {
        match self.peek() {
            Some('-') => {
                self.at += 1;
                self.inside(Self::factor)?;
                self.push(Step::Negate)
            }
            Some('(') => {
                self.at += 1;
                self.inside(Self::expression)?;
                self.require(')')
            }
            Some(first) if first.is_ascii_digit() => {
                let number = self.number()?;
                self.push(Step::Number(number))
            }
            Some('`') => self.field(),
            Some(first) if is_first_of_name(first) => {
                let start = self.at;
                let name = self.name()?;
                match self.takes('(') {
                    true => self.inside(|parser| parser.function(&name)),
                    false => {
                        self.at = start;
                        self.field()
                    }
                }
            }
            Some(found) => Err(self.unexpected(found)),
            None if self.steps.is_empty() => Err(wrong("the expression is empty", EXAMPLE)),
            None => Err(wrong("a field or a number is missing at the end", EXAMPLE)),
        }
    }

    fn number(&mut self) -> Result<Decimal, ExpressionError> {
        let length =
            self.rest().bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"._".contains(byte)).count();
        let text = &self.rest()[..length];
        let has_exponent = text.contains(['e', 'E']);
        let number = decimal::of_number(text).filter(|_| !has_exponent).ok_or_else(|| {
            let hint = "write it as 100 or 0.25, with up to 28 digits; a name that begins with a digit stands between backticks";
            wrong(format!("`{text}` is no number"), hint)
        })?;
        self.at += length;
        Ok(number)
    }

    fn name(&mut self) -> Result<String, ExpressionError> {
        let bad = |what: String| wrong(what, format!("a name has 1 to {LONGEST_NAME} bytes"));
        let name = match self.peek() {
            Some('`') => {
                let inner = &self.rest()[1..];
                let Some(length) = inner.find('`') else {
                    return Err(wrong("a backtick has no other one to end its name", "write `4. close`"));
                };
                self.at += length + 2;
                &inner[..length]
            }
            Some(first) if is_first_of_name(first) => {
                let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                let length = self.rest().bytes().take_while(is_part).count();
                let name = &self.rest()[..length];
                self.at += length;
                name
            }
            _ => return Err(wrong(format!("a name is missing {}", self.here()), EXAMPLE)),
        };
        match (1..=LONGEST_NAME).contains(&name.len()) {
            true => Ok(name.to_owned()),
            false => {
                Err(bad(format!("the name `{}` is too short or too long", name.chars().take(16).collect::<String>())))
            }
        }
    }

    fn field(&mut self) -> Result<(), ExpressionError> {
        let is_quoted = self.peek() == Some('`');
        let mut path = vec![self.name()?];
        let mut previous_is_quoted = false;
        while self.takes('.') {
            previous_is_quoted |= path.len() == 1 && self.peek() == Some('`');
            path.push(self.name()?);
        }
        let is_previous = !is_quoted && path[0] == PREVIOUS;
        if !is_quoted && !is_previous {
            check_for_slip(&path)?;
        }
        let is_quoted = match is_previous {
            true => {
                path.remove(0);
                previous_is_quoted
            }
            false => is_quoted,
        };
        if path.is_empty() {
            let what = "`previous` is the row before, and does not say which of its fields";
            return Err(wrong(what, "write previous.close; a field of that name stands between backticks"));
        }
        if path.len() > MOST_NAMES {
            let what = format!("more than {MOST_NAMES} names are joined by points");
            return Err(wrong(what, "begin further in, with `path`"));
        }
        self.push(Step::Field(Field { is_previous, is_quoted, path }))
    }

    fn function(&mut self, name: &str) -> Result<(), ExpressionError> {
        let step = match name {
            "round" => return self.round(),
            "abs" => {
                self.expression()?;
                self.require(')')?;
                return self.push(Step::Abs);
            }
            "min" => Step::Min,
            "max" => Step::Max,
            _ => {
                let hint = did_you_mean(name, FUNCTIONS);
                let hint = hint.unwrap_or_else(|| format!("there are {}", FUNCTIONS.join(", ")));
                return Err(wrong(format!("there is no function `{name}`"), hint));
            }
        };
        self.expression()?;
        let mut operands = 1;
        while self.takes(',') {
            self.expression()?;
            self.push(step.clone())?;
            operands += 1;
        }
        self.require(')')?;
        match (2..=MOST_OPERANDS).contains(&operands) {
            true => Ok(()),
            false => Err(wrong(
                format!("`{name}` has {operands} operands"),
                format!("give it 2 to {MOST_OPERANDS}, as in {name}(open, close)"),
            )),
        }
    }

    fn round(&mut self) -> Result<(), ExpressionError> {
        let hint = format!("write round(close, 2), with a whole number from 0 to {MOST_DIGITS}");
        self.expression()?;
        if !self.takes(',') {
            return Err(wrong("`round` does not say to how many digits", hint));
        }
        let length = self.peek().map_or(0, |_| self.rest().find([')', ',', ' ']).unwrap_or(self.rest().len()));
        let text = &self.rest()[..length];
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let Some(digits) = text.parse().ok().filter(|digits| is_plain && *digits <= MOST_DIGITS) else {
            return Err(wrong(format!("`round` cannot round to `{text}` digits"), hint));
        };
        self.at += length;
        self.require(')')?;
        self.push(Step::Round(digits))
    }
}

fn is_first_of_name(first: char) -> bool {
    first.is_ascii_alphabetic() || first == '_'
}

/// Names inside others begin with a field's, which is unknown before there is a row; one that is nearly `previous` is
/// taken for it.
fn check_for_slip(path: &[String]) -> Result<(), ExpressionError> {
    let first = path[0].as_str();
    let is_slip = path.len() > 1 && (first == "prev" || slip_of(first, [PREVIOUS]).is_some());
    match is_slip {
        true => Err(wrong(
            format!("`{first}` is not the row before"),
            format!("did you mean `{PREVIOUS}`? A field of that name stands between backticks"),
        )),
        false => Ok(()),
    }
}
