//! The prepared list of a market's trading pairs: the listed pairs, in the order people look for them.
//!
//! [`prepare`] makes it of an exchangeInfo and, for the order, of the 24 h tickers. It is kept as the JSON array of its
//! rows next to a short [`Stamp`]; [`Listing`] finds the rows again, and [`Listing::render`] answers a [`Selection`].

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use lastgood::Timestamp;
use ring::digest::{Context, SHA256};
use serde::Deserialize;

use crate::calendar::rfc3339;
use crate::venue::Venue;

mod order;
mod rows;
mod selection;

pub use self::selection::Selection;

/// A prepared list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// The rows, a JSON array.
    pub(crate) rows: Bytes,
    /// How many there are; never none.
    pub(crate) count: usize,
    /// A hash of the rows whatever their order: it changes when a symbol is listed, delisted or changed.
    pub(crate) version: String,
}

/// An exchangeInfo of which no list can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It is no exchangeInfo, or a symbol in it lacks its name, status or assets.
    Malformed,
    /// No symbol in it is trading.
    NoneTrading,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unusable::Malformed => "the exchangeInfo is not of the form that was expected",
            Unusable::NoneTrading => "no symbol in the exchangeInfo is trading",
        })
    }
}

impl std::error::Error for Unusable {}

/// The trading pairs of `exchange_info`: those of `popular` first and in its order, then by the volume of 24 hours in
/// `tickers`, then by name. Tickers that are missing or unreadable cost the order, never the list.
///
/// # Errors
///
/// When the exchangeInfo cannot be read, or none of its symbols is trading.
pub(crate) fn prepare(exchange_info: &[u8], tickers: Option<&[u8]>, popular: &[String]) -> Result<Prepared, Unusable> {
    let mut rows = rows::trading(exchange_info)?;
    let version = rows::version(&mut rows);
    order::sort(&mut rows, tickers.unwrap_or_default(), popular);
    Ok(Prepared { count: rows.len(), rows: rows::to_json(&rows), version })
}

/// Where a list was loaded from: a link of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// The testnet, with the user's own key.
    Testnet,
    /// The exchange, with the user's own key.
    Mainnet,
    /// The exchange, without a key.
    Public,
    /// An exchangeInfo that was kept for the day when none of the others answers.
    LastGood,
}

impl Link {
    /// The links that ask somebody, in the order they are tried.
    pub const CHAIN: [Link; 3] = [Link::Testnet, Link::Mainnet, Link::Public];
    /// Every link.
    pub const ALL: [Link; 4] = [Link::Testnet, Link::Mainnet, Link::Public, Link::LastGood];

    /// The word for answers, labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Link::Testnet => "testnet",
            Link::Mainnet => "mainnet",
            Link::Public => "public",
            Link::LastGood => "last-good",
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The remembered state besides the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The version of the list.
    pub version: String,
    /// The link it came from.
    pub link: Link,
    /// When the exchange was asked for it.
    pub refreshed_at: Timestamp,
}

impl Stamp {
    /// The stamp as text.
    pub(crate) fn to_text(&self) -> String {
        format!("{} {} {}", self.version, self.link, self.refreshed_at.as_millis())
    }

    /// The stamp that `text` is, if it is one.
    pub fn parse(text: &str) -> Option<Stamp> {
        let mut words = text.split(' ');
        let (version, link, millis) = (words.next()?, words.next()?, words.next()?);
        let link = Link::ALL.into_iter().find(|known| known.as_str() == link)?;
        let refreshed_at = Timestamp::from_millis(millis.parse().ok()?);
        words.next().is_none().then(|| Stamp { version: version.to_owned(), link, refreshed_at })
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The JSON.
    pub body: Bytes,
    /// Its entity tag: weak, for it stays the same when nothing but the time of the refresh changed.
    pub etag: String,
}

/// The rows of a prepared list, found again.
#[derive(Debug)]
pub struct Listing {
    rows: Vec<(Box<str>, Bytes)>,
}

impl Listing {
    /// The rows in the array that [`prepare`] made; `None` for anything else.
    pub fn of(rows: &Bytes) -> Option<Listing> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Row {
            quote_asset: Box<str>,
        }
        let found: Vec<&serde_json::value::RawValue> = serde_json::from_slice(rows).ok()?;
        let row = |raw: &serde_json::value::RawValue| {
            let row: Row = serde_json::from_str(raw.get()).ok()?;
            Some((row.quote_asset, rows.slice_ref(raw.get().as_bytes())))
        };
        found.into_iter().map(row).collect::<Option<_>>().map(|rows| Listing { rows })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The answer to `selection`. `last_good` says that the list is served because no link gave a newer one.
    pub fn render(&self, venue: Venue, stamp: &Stamp, last_good: bool, selection: &Selection) -> Rendered {
        let wanted = self.rows.iter().filter(|(quote, _)| selection.takes(quote)).map(|(_, row)| row);
        let wanted: Vec<&Bytes> = wanted.take(selection.limit.unwrap_or(usize::MAX)).collect();
        let source = if last_good { Link::LastGood } else { stamp.link }.as_str();
        let head = format!(
            r#"{{"market":"{venue}","version":"{}","refreshed_at":"{}","source":"{source}","loaded_from":"{}","count":{},"symbols":["#,
            stamp.version,
            rfc3339(stamp.refreshed_at),
            stamp.link,
            wanted.len(),
        );
        let length = head.len() + 2 + wanted.iter().map(|row| row.len() + 1).sum::<usize>();
        let mut answer = BytesMut::with_capacity(length);
        answer.put_slice(head.as_bytes());
        for (position, row) in wanted.into_iter().enumerate() {
            if position > 0 {
                answer.put_u8(b',');
            }
            answer.put_slice(row);
        }
        answer.put_slice(b"]}");
        let mut hashed = Context::new(&SHA256);
        hashed.update(source.as_bytes());
        hashed.update(&answer[head.len()..]);
        Rendered { body: answer.freeze(), etag: format!("W/\"{}\"", rows::short(hashed.finish())) }
    }
}

#[cfg(test)]
mod tests;
