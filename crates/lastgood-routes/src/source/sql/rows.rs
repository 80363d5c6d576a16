//! Rows as JSON, within bounds.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use lastgood::{Error, Reason};
use sqlx::Either;

use super::Fault;
use super::error::AnswerError;

/// Writes rows as JSON objects into one text, and stops at its limits.
#[derive(Debug)]
pub(super) struct Rows {
    names: Vec<Vec<u8>>,
    text: Vec<u8>,
    count: usize,
    limits: Limits,
}

/// How much one answer may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Rows {
    pub(super) fn new(limits: Limits) -> Rows {
        Rows { names: Vec::new(), text: Vec::new(), count: 0, limits }
    }

    /// Begins a row. `names` are its columns'; they are asked for once.
    pub(super) fn begin<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Result<(), Error> {
        if self.names.is_empty() {
            self.names = names.map(|name| serde_json::to_vec(name).unwrap_or_default()).collect();
        }
        if self.count == self.limits.rows {
            let limit = self.limits.rows;
            return Err(Error::new(
                Reason::Malformed,
                format!("the answer has more than {limit} rows; add a LIMIT to the statement, or raise `max_rows`"),
            ));
        }
        if self.count > 0 {
            self.text.push(b',');
        }
        self.count += 1;
        self.text.push(b'{');
        Ok(())
    }

    /// Begins a column, and lends the text to write its value to.
    pub(super) fn column(&mut self, index: usize) -> Result<&mut Vec<u8>, Error> {
        self.within()?;
        if index > 0 {
            self.text.push(b',');
        }
        if let Some(name) = self.names.get(index) {
            self.text.extend_from_slice(name);
        }
        self.text.push(b':');
        Ok(&mut self.text)
    }

    /// Ends a row.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        self.text.push(b'}');
        self.within()
    }

    fn within(&self) -> Result<(), Error> {
        if self.text.len() <= self.limits.bytes {
            return Ok(());
        }
        let limit = self.limits.bytes;
        Err(Error::new(
            Reason::Malformed,
            format!("the answer is larger than {limit} bytes; select less, or raise `max_bytes`"),
        ))
    }

    /// The only row there may be.
    pub(super) fn one(self) -> Result<Bytes, Error> {
        match self.count {
            0 => Err(Error::new(Reason::NotFound, "there is no such row")),
            _ => Ok(self.text.into()),
        }
    }

    /// All rows, in an array.
    pub(super) fn list(self) -> Bytes {
        let mut text = Vec::with_capacity(self.text.len() + 2);
        text.push(b'[');
        text.extend_from_slice(&self.text);
        text.push(b']');
        text.into()
    }

    /// All rows with the number of those there are without a limit.
    pub(super) fn page(self, total: u64) -> Bytes {
        let mut text = Vec::with_capacity(self.text.len() + 40);
        text.extend_from_slice(b"{\"items\":[");
        text.extend_from_slice(&self.text);
        text.extend_from_slice(format!("],\"total\":{total}}}").as_bytes());
        text.into()
    }
}

/// Takes in rows up to the end that the database states. A connection, or a driver's worker, that dies in the middle may
/// say nothing more: that is no end.
pub(super) async fn to_the_end<R, D>(
    mut answer: impl Stream<Item = Result<Either<D, R>, sqlx::Error>> + Unpin,
    mut push: impl FnMut(&R) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut has_ended = false;
    while let Some(next) = answer.try_next().await? {
        has_ended = match next {
            Either::Left(_) => true,
            Either::Right(row) => {
                push(&row)?;
                false
            }
        };
    }
    match has_ended {
        true => Ok(()),
        false => Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer broke off")).into()),
    }
}

/// Refuses a name that two columns share: a JSON object holds each once.
pub(super) fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), AnswerError> {
    let mut seen = Vec::new();
    for name in names {
        if seen.contains(&name) {
            return Err(AnswerError::ColumnTwice(name.to_owned()));
        }
        seen.push(name);
    }
    match seen.is_empty() {
        true => Err(AnswerError::NoColumns),
        false => Ok(()),
    }
}

/// A text as a JSON string.
pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    // Writing to memory does not fail.
    _ = serde_json::to_writer(out, text);
}

/// A float as the shortest number that reads back the same; NaN and infinities are `null`, JSON having no word for it.
pub(super) fn push_float(out: &mut Vec<u8>, number: f64) {
    _ = serde_json::to_writer(out, &number);
}
