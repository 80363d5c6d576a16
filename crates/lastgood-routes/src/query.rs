//! The fields of a query, as they were before they were put into the URL.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use percent_encoding::percent_decode_str;

/// Text as it was before it was put into a URL; `None` where that is no text.
pub fn decoded(text: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(text).decode_utf8().ok()
}

/// A value that is no text once it is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotText {
    /// The value as it is written.
    pub written: String,
}

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no text in UTF-8", self.written)
    }
}

impl Error for NotText {}

/// The fields of a query: the name of each as it is written, and its value as it was before it was put into the URL. In a
/// query, unlike in a path, a plus is a blank.
pub fn fields(query: &str) -> impl DoubleEndedIterator<Item = (&str, Result<String, NotText>)> {
    query.split('&').filter(|field| !field.is_empty()).map(|field| {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let value = value.replace('+', " ");
        let decoded = decoded(&value).map(Cow::into_owned);
        (name, decoded.ok_or(NotText { written: value }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_decoded_and_a_plus_is_a_blank() {
        let read: Vec<_> = fields("a=1+2&&b=%C3%BC&c&d=%FF").collect();
        let text = |text: &str| Ok(text.to_owned());
        assert_eq!(
            read,
            [
                ("a", text("1 2")),
                ("b", text("\u{fc}")),
                ("c", text("")),
                ("d", Err(NotText { written: "%FF".to_owned() }))
            ]
        );
    }
}
