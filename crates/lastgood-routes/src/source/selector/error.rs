//! The problems of a selection, or of a document that it is taken of.

use std::error::Error;
use std::fmt;

/// Why nothing can be selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectError {
    /// Fields are to be kept next to the whole document.
    KeepWithoutPath,
    /// The field that is taken is to be kept as well.
    KeepsTaken(String),
    /// The number of items is a parameter that the route does not have.
    UndeclaredCount(String),
    /// The document is not JSON.
    NotJson,
    /// Reading the document ended early.
    Unread,
    /// Items are to be taken, of something else than an array.
    NotArray,
    /// The last item is to be taken of an array without items.
    EmptyArray,
    /// The field of an item that names its day does not.
    NoDay(String),
    /// Fields are named, of something else than an object.
    NotObject,
    /// The document lacks a field.
    NoField(String),
    /// The document has a field twice.
    FieldTwice(String),
    /// An item has none of the fields that are computed with.
    NoFields,
}

impl fmt::Display for SelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepWithoutPath => {
                f.write_str("`keep` needs a field to keep others next to; name one, or take the whole")
            }
            Self::KeepsTaken(name) => {
                write!(f, "`keep` names `{name}`, which is the field that is taken; leave it out")
            }
            Self::UndeclaredCount(name) => {
                write!(f, "the number of items is `{name}`, which is not declared; declare it")
            }
            Self::NotJson => f.write_str("it is not JSON"),
            Self::Unread => f.write_str("it could not be read"),
            Self::NotArray => f.write_str("the value to take rows of is no array"),
            Self::EmptyArray => f.write_str("the array is empty"),
            Self::NoDay(field) => write!(f, "an item's `{field}` begins with no day"),
            Self::NotObject => f.write_str("what should hold fields is no object"),
            Self::NoField(name) => write!(f, "it has no field `{name}`"),
            Self::FieldTwice(name) => write!(f, "it has two fields `{name}`"),
            Self::NoFields => f.write_str("an item has none of the fields that `fields` names"),
        }
    }
}

impl Error for SelectError {}
