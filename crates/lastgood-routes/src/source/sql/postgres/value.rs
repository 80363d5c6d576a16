//! PostgreSQL's values as JSON, from the binary form in which they come, to the last digit.

use jiff::civil::{Date, DateTime, Time};
use jiff::{SignedDuration, Timestamp};
use sqlx::TypeInfo;
use sqlx::postgres::{PgTypeInfo, PgTypeKind};

use crate::source::sql::error::AnswerError;
use crate::source::sql::rows::{push_float, push_text};

/// A moment in microseconds, and a day, before and after all others.
const ENDS: (i64, i64) = (i64::MIN, i64::MAX);
const DAY_ENDS: (i32, i32) = (i32::MIN, i32::MAX);
/// 2000-01-01, from which PostgreSQL counts, in microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;
const FIRST_DAY: Date = jiff::civil::date(2000, 1, 1);

/// The types that have one form in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Boolean,
    Integer,
    Float,
    Numeric,
    Text,
    Json,
    JsonBinary,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Uuid,
    Array(Box<Form>),
}

impl Form {
    /// The form of a type.
    ///
    /// # Errors
    ///
    /// When it has none; says how to fix it.
    pub(super) fn of(column: &str, kind: &PgTypeInfo) -> Result<Form, AnswerError> {
        Form::known(kind)
            .ok_or_else(|| AnswerError::NoForm { column: column.to_owned(), kind: kind.name().to_lowercase() })
    }

    fn known(kind: &PgTypeInfo) -> Option<Form> {
        let simple = match kind.name() {
            "BOOL" => Form::Boolean,
            "INT2" | "INT4" | "INT8" => Form::Integer,
            "FLOAT4" | "FLOAT8" => Form::Float,
            "NUMERIC" => Form::Numeric,
            "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" | "citext" => Form::Text,
            "JSON" => Form::Json,
            "JSONB" => Form::JsonBinary,
            "DATE" => Form::Date,
            "TIME" => Form::Time,
            "TIMESTAMP" => Form::Timestamp,
            "TIMESTAMPTZ" => Form::TimestampTz,
            "UUID" => Form::Uuid,
            _ => {
                return match kind.kind() {
                    PgTypeKind::Enum(_) => Some(Form::Text),
                    PgTypeKind::Domain(of) => Form::known(of),
                    PgTypeKind::Array(of) => {
                        Form::known(of).filter(|of| !matches!(of, Form::Array(_))).map(|of| Form::Array(Box::new(of)))
                    }
                    _ => None,
                };
            }
        };
        Some(simple)
    }

    /// Writes a value.
    ///
    /// # Errors
    ///
    /// When it is not of this form, or JSON and its readers have no way to write it.
    pub(super) fn push(&self, out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), &'static str> {
        match self {
            Form::Boolean => {
                let [truth] = fixed(bytes)?;
                out.extend_from_slice(if truth == 0 { b"false" } else { b"true" });
            }
            Form::Integer => out.extend_from_slice(integer(bytes)?.to_string().as_bytes()),
            Form::Float if bytes.len() == 4 => {
                let number = f32::from_be_bytes(fixed(bytes)?);
                // As itself: widened, 0.1 would become 0.10000000149011612.
                _ = serde_json::to_writer(out, &number);
            }
            Form::Float => push_float(out, f64::from_be_bytes(fixed(bytes)?)),
            Form::Numeric => numeric(out, bytes)?,
            Form::Text => push_text(out, utf8(bytes)?),
            Form::Json => out.extend_from_slice(utf8(bytes)?.trim().as_bytes()),
            Form::JsonBinary => {
                let text = bytes.strip_prefix(&[1]).ok_or("a jsonb value is of an unknown version")?;
                out.extend_from_slice(utf8(text)?.as_bytes());
            }
            Form::Date => day(out, i32::from_be_bytes(fixed(bytes)?))?,
            Form::Time => {
                let since = SignedDuration::from_micros(i64::from_be_bytes(fixed(bytes)?));
                let time = Time::midnight().checked_add(since).map_err(|_| "a time of day is out of range")?;
                push_text(out, &time.to_string());
            }
            Form::Timestamp | Form::TimestampTz => self.moment(out, i64::from_be_bytes(fixed(bytes)?))?,
            Form::Uuid => push_text(out, &uuid(u128::from_be_bytes(fixed(bytes)?))),
            Form::Array(of) => array(out, bytes, of)?,
        }
        Ok(())
    }

    fn moment(&self, out: &mut Vec<u8>, micros: i64) -> Result<(), &'static str> {
        if micros == ENDS.0 || micros == ENDS.1 {
            push_text(out, if micros < 0 { "-infinity" } else { "infinity" });
            return Ok(());
        }
        let range = "a timestamp is out of range (years -9999 to 9999)";
        if *self == Form::TimestampTz {
            let since = micros.checked_add(EPOCH).ok_or(range)?;
            push_text(out, &Timestamp::from_microsecond(since).map_err(|_| range)?.to_string());
            return Ok(());
        }
        let midnight = FIRST_DAY.to_datetime(Time::midnight());
        let moment: DateTime = midnight.checked_add(SignedDuration::from_micros(micros)).map_err(|_| range)?;
        push_text(out, &moment.to_string());
        Ok(())
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], &'static str> {
    bytes.try_into().map_err(|_| "a value has not the length of its type")
}

fn utf8(bytes: &[u8]) -> Result<&str, &'static str> {
    std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8")
}

fn integer(bytes: &[u8]) -> Result<i64, &'static str> {
    Ok(match bytes.len() {
        2 => i16::from_be_bytes(fixed(bytes)?).into(),
        4 => i32::from_be_bytes(fixed(bytes)?).into(),
        _ => i64::from_be_bytes(fixed(bytes)?),
    })
}

fn day(out: &mut Vec<u8>, days: i32) -> Result<(), &'static str> {
    if days == DAY_ENDS.0 || days == DAY_ENDS.1 {
        push_text(out, if days < 0 { "-infinity" } else { "infinity" });
        return Ok(());
    }
    let since = SignedDuration::from_hours(i64::from(days) * 24);
    let date = FIRST_DAY.checked_add(since).map_err(|_| "a date is out of range (years -9999 to 9999)")?;
    push_text(out, &date.to_string());
    Ok(())
}

fn uuid(number: u128) -> String {
    let digits = format!("{number:032x}");
    let part = |range| digits.get::<std::ops::Range<usize>>(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

/// Digits in groups of four, the weight of the first, a sign, and how many decimals to show.
fn numeric(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), &'static str> {
    let mut words = bytes.chunks(2).map(|pair| fixed(pair).map(i16::from_be_bytes));
    let mut word = || words.next().unwrap_or(Err("a numeric value is cut off"));
    let (groups, weight, sign, scale) = (word()?, word()?, word()?.cast_unsigned(), word()?);
    match sign {
        0x0000 => {}
        0x4000 => out.push(b'-'),
        // Not a number, and the infinities.
        _ => {
            out.extend_from_slice(b"null");
            return Ok(());
        }
    }
    let digits = (0..groups).map(|_| word()).collect::<Result<Vec<i16>, _>>()?;
    let group = |position: i32| {
        let index = usize::try_from(i32::from(weight) - position).ok();
        index.and_then(|index| digits.get(index)).copied().unwrap_or(0)
    };
    out.extend_from_slice(group(i32::from(weight).max(0)).to_string().as_bytes());
    for position in (0..i32::from(weight)).rev() {
        out.extend_from_slice(format!("{:04}", group(position)).as_bytes());
    }
    let scale = usize::try_from(scale).map_err(|_| "a numeric value has a negative scale")?;
    if scale > 0 {
        out.push(b'.');
        let end = out.len() + scale;
        let mut position = -1;
        while out.len() < end {
            out.extend_from_slice(format!("{:04}", group(position)).as_bytes());
            position -= 1;
        }
        out.truncate(end);
    }
    Ok(())
}

/// One dimension: dimensions, flags, the elements' type, their number, the first's index, then each with its length.
fn array(out: &mut Vec<u8>, bytes: &[u8], of: &Form) -> Result<(), &'static str> {
    const CUT: &str = "an array is cut off";
    let mut rest = bytes;
    let mut number = || -> Result<i32, &'static str> {
        let (head, tail) = rest.split_at_checked(4).ok_or(CUT)?;
        rest = tail;
        Ok(i32::from_be_bytes(fixed(head)?))
    };
    let dimensions = number()?;
    number()?;
    number()?;
    if dimensions == 0 {
        out.extend_from_slice(b"[]");
        return Ok(());
    }
    if dimensions != 1 {
        return Err("an array has more than one dimension; select to_jsonb(…) of it");
    }
    let length = number()?;
    number()?;
    out.push(b'[');
    for index in 0..length {
        if index > 0 {
            out.push(b',');
        }
        let (head, tail) = rest.split_at_checked(4).ok_or(CUT)?;
        rest = tail;
        let Ok(size) = usize::try_from(i32::from_be_bytes(fixed(head)?)) else {
            out.extend_from_slice(b"null");
            continue;
        };
        let (value, tail) = rest.split_at_checked(size).ok_or(CUT)?;
        rest = tail;
        of.push(out, value)?;
    }
    out.push(b']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: &Form, bytes: &[u8]) -> Result<String, &'static str> {
        let mut out = Vec::new();
        form.push(&mut out, bytes)?;
        Ok(String::from_utf8(out).unwrap())
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_a_value_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            for form in [Form::Boolean, Form::Integer, Form::Float, Form::Numeric, Form::JsonBinary, Form::Date, Form::Time,
                Form::Timestamp, Form::TimestampTz, Form::Uuid, Form::Array(Box::new(Form::Numeric))] {
                _ = written(&form, &bytes);
            }
        }
    }
}
