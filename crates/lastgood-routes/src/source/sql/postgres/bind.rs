//! Arguments in the binary form of the types that PostgreSQL wants them in.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, PgTypeKind};
use sqlx::{Postgres, Type, TypeInfo};

use crate::arguments::Argument;
use crate::source::sql::ParameterType;
use crate::source::sql::error::AnswerError;

/// PostgreSQL's `unknown`: a parameter of this type gets the one that its place in the statement asks for.
const INFERRED: PgTypeInfo = PgTypeInfo::with_oid(Oid(705));

/// How the types of parameters are sent to PostgreSQL, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hints {
    /// Texts as their place asks, so that they also compare with uuids and enums; all else as declared, so that an
    /// integer column compares with 1.5.
    Natural,
    /// All as declared: for `:name IS NULL OR …`, from which PostgreSQL cannot infer a type.
    Declared,
    /// All as their place asks: for functions that take an `int` where `bigint` is declared.
    Inferred,
}

impl Hints {
    pub(super) const ALL: [Hints; 3] = [Hints::Natural, Hints::Declared, Hints::Inferred];

    pub(super) fn of(self, declared: ParameterType) -> PgTypeInfo {
        let oid = match declared {
            _ if self == Hints::Inferred => return INFERRED,
            ParameterType::Text if self == Hints::Natural => return INFERRED,
            ParameterType::Text => 25,
            ParameterType::Integer => 20,
            ParameterType::Decimal => 1700,
            ParameterType::Boolean => 16,
            ParameterType::Date => 1082,
        };
        PgTypeInfo::with_oid(Oid(oid))
    }
}

/// What a type takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Boolean,
    Small,
    Integer,
    Big,
    Single,
    Double,
    Numeric,
    Text,
    Json,
    JsonBinary,
    Uuid,
    Date,
    Timestamp,
}

impl Target {
    fn of(kind: &PgTypeInfo) -> Option<Target> {
        Some(match kind.name() {
            "BOOL" => Target::Boolean,
            "INT2" => Target::Small,
            "INT4" => Target::Integer,
            "INT8" => Target::Big,
            "FLOAT4" => Target::Single,
            "FLOAT8" => Target::Double,
            "NUMERIC" => Target::Numeric,
            "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" | "citext" => Target::Text,
            "JSON" => Target::Json,
            "JSONB" => Target::JsonBinary,
            "UUID" => Target::Uuid,
            "DATE" => Target::Date,
            "TIMESTAMP" | "TIMESTAMPTZ" => Target::Timestamp,
            _ => match kind.kind() {
                PgTypeKind::Enum(_) => Target::Text,
                PgTypeKind::Domain(of) => return Target::of(of),
                _ => return None,
            },
        })
    }

    fn takes(self, declared: ParameterType) -> bool {
        let number = matches!(
            self,
            Target::Small | Target::Integer | Target::Big | Target::Single | Target::Double | Target::Numeric
        );
        match declared {
            ParameterType::Text => matches!(self, Target::Text | Target::Json | Target::JsonBinary | Target::Uuid),
            ParameterType::Integer | ParameterType::Decimal => number || self == Target::Text,
            ParameterType::Boolean => matches!(self, Target::Boolean | Target::Text),
            ParameterType::Date => matches!(self, Target::Date | Target::Timestamp | Target::Text),
        }
    }
}

/// Whether every value of a declared type can be given to what the statement wants.
///
/// # Errors
///
/// What does not fit, and how to fix it.
pub(super) fn fits(name: &str, declared: ParameterType, wanted: &PgTypeInfo) -> Result<(), AnswerError> {
    if Target::of(wanted).is_some_and(|target| target.takes(declared)) {
        return Ok(());
    }
    Err(AnswerError::Misfit { name: name.to_owned(), declared, wanted: wanted.name().to_lowercase() })
}

/// A value in the form of a type, to be bound.
#[derive(Debug)]
pub(super) struct Bound {
    bytes: Option<Vec<u8>>,
    kind: PgTypeInfo,
}

impl Bound {
    /// `None` where no value of the type is this one: 3,000,000,000 as an `int`, a uuid that is none.
    pub(super) fn new(argument: &Argument, kind: &PgTypeInfo) -> Option<Bound> {
        let bytes = match argument {
            Argument::Absent => None,
            _ => Some(encode(argument, Target::of(kind)?)?),
        };
        Some(Bound { bytes, kind: kind.clone() })
    }
}

impl Type<Postgres> for Bound {
    fn type_info() -> PgTypeInfo {
        INFERRED
    }
}

impl Encode<'_, Postgres> for Bound {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Some(bytes) = &self.bytes else { return Ok(IsNull::Yes) };
        buffer.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.kind.clone())
    }
}

fn encode(argument: &Argument, target: Target) -> Option<Vec<u8>> {
    match (target, argument) {
        (Target::Text, _) => Some(argument.to_string().into_bytes()),
        (Target::Boolean, Argument::Boolean(truth)) => Some(vec![u8::from(*truth)]),
        (_, Argument::Integer(number)) => self::number(Decimal::from(*number), target),
        (_, Argument::Decimal(number)) => self::number(*number, target),
        (Target::Json, Argument::Text(text)) => Some(text.clone().into_bytes()),
        (Target::JsonBinary, Argument::Text(text)) => Some([&[1], text.as_bytes()].concat()),
        (Target::Uuid, Argument::Text(text)) => uuid(text),
        (Target::Date, Argument::Date(day)) => Some(days(*day)?.to_be_bytes().to_vec()),
        (Target::Timestamp, Argument::Date(day)) => {
            Some((i64::from(days(*day)?) * 86_400_000_000).to_be_bytes().to_vec())
        }
        _ => None,
    }
}

fn number(number: Decimal, target: Target) -> Option<Vec<u8>> {
    let whole = number.is_integer();
    Some(match target {
        Target::Small => number.to_i16().filter(|_| whole)?.to_be_bytes().to_vec(),
        Target::Integer => number.to_i32().filter(|_| whole)?.to_be_bytes().to_vec(),
        Target::Big => number.to_i64().filter(|_| whole)?.to_be_bytes().to_vec(),
        // From the digits: the nearest float, as PostgreSQL itself reads them.
        Target::Single => number.to_string().parse::<f32>().ok()?.to_be_bytes().to_vec(),
        Target::Double => number.to_string().parse::<f64>().ok()?.to_be_bytes().to_vec(),
        Target::Numeric => {
            let mut buffer = PgArgumentBuffer::default();
            _ = <Decimal as Encode<Postgres>>::encode_by_ref(&number, &mut buffer).ok()?;
            buffer.to_vec()
        }
        _ => return None,
    })
}

fn days(day: jiff::civil::Date) -> Option<i32> {
    let since = day.since((jiff::Unit::Day, jiff::civil::date(2000, 1, 1))).ok()?;
    Some(since.get_days())
}

/// Thirty-two hexadecimal digits, grouped or not.
fn uuid(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    let fits = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(u128::from_str_radix(digits.get(..32).filter(|_| fits)?, 16).ok()?.to_be_bytes().to_vec())
}
