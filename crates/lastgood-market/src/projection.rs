//! Takes what was asked for out of what was fetched, as the upstream's own bytes.
//!
//! Rows are found by scanning, never by parsing and printing: what a client gets of a row is what the exchange wrote.

use std::collections::HashMap;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use memchr::{memchr2, memrchr};

/// What part of a fetched body answers the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Projection {
    /// All of it.
    Whole,
    /// The row of one symbol, alone.
    Row(String),
    /// An array of the rows of some symbols, in the body's order.
    Rows(Vec<String>),
    /// The whole exchangeInfo, but with these symbols only.
    Symbols(Vec<String>),
    /// An order book of at most this many levels a side.
    Levels(usize),
    /// An array of the last rows, exactly this many.
    Last(usize),
}

impl Projection {
    /// Whether the body's symbols must be indexed for this projection.
    pub fn needs_index(&self) -> bool {
        matches!(self, Projection::Row(_) | Projection::Rows(_) | Projection::Symbols(_))
    }
}

/// Whether `body` holds all of what `projection` asks for, which [`project()`] would find. `index` is of the same body.
pub(crate) fn holds(body: &[u8], projection: &Projection, index: Option<&Index>) -> bool {
    match projection {
        Projection::Whole | Projection::Levels(_) => true,
        Projection::Row(symbol) => index.is_some_and(|index| index.row(symbol).is_some()),
        Projection::Rows(symbols) | Projection::Symbols(symbols) => {
            index.is_some_and(|index| symbols.iter().all(|symbol| index.row(symbol).is_some()))
        }
        Projection::Last(rows) => last(body, *rows).is_some(),
    }
}

/// The part of `body` that `projection` asks for; `None` where the body does not hold all of it. `index` is of the same body.
pub fn project(body: &Bytes, projection: &Projection, index: Option<&Index>) -> Option<Bytes> {
    match projection {
        Projection::Whole => Some(body.clone()),
        Projection::Levels(levels) => shallow(body, *levels),
        Projection::Last(rows) => last_rows(body, *rows),
        Projection::Row(symbol) => Some(body.slice(index?.row(symbol)?)),
        Projection::Rows(symbols) => {
            let index = index?;
            let mut out = BytesMut::new();
            index.gather(body, symbols, &mut out)?;
            Some(out.freeze())
        }
        Projection::Symbols(symbols) => {
            let index = index?;
            let mut out = BytesMut::with_capacity(16 << 10);
            out.put_slice(&body[..index.rows_at.start]);
            index.gather(body, symbols, &mut out)?;
            out.put_slice(&body[index.rows_at.end..]);
            Some(out.freeze())
        }
    }
}

/// Where each symbol's row lies in a body.
#[derive(Debug, Default)]
pub struct Index {
    rows: HashMap<Box<str>, Range<u32>>,
    /// The array that the rows stand in.
    rows_at: Range<usize>,
}

impl Index {
    /// Indexes a body that is an array of rows, or an object whose `symbols` is one; `None` if it is neither.
    pub fn of(body: &[u8]) -> Option<Index> {
        let start = skip_blanks(body, 0);
        let rows_at = match body.get(start)? {
            b'[' => start..skip_value(body, start)?,
            _ => field(body, start, b"symbols")?,
        };
        let mut rows = HashMap::new();
        for row in elements(body, rows_at.start)? {
            let symbol = field(body, row.start, b"symbol")?;
            let symbol: String = serde_json::from_slice(&body[symbol]).ok()?;
            rows.insert(symbol.into_boxed_str(), u32::try_from(row.start).ok()?..u32::try_from(row.end).ok()?);
        }
        Some(Index { rows, rows_at })
    }

    /// Where the row of a symbol lies.
    pub(crate) fn row(&self, symbol: &str) -> Option<Range<usize>> {
        self.rows.get(symbol).map(|row| row.start as usize..row.end as usize)
    }

    /// The symbols of the rows, in no order.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = &str> {
        self.rows.keys().map(|symbol| &**symbol)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn gather(&self, body: &[u8], symbols: &[String], out: &mut BytesMut) -> Option<()> {
        let mut rows = symbols.iter().map(|symbol| self.row(symbol)).collect::<Option<Vec<_>>>()?;
        rows.sort_unstable_by_key(|row| row.start);
        rows.dedup();
        out.put_u8(b'[');
        for (position, row) in rows.into_iter().enumerate() {
            if position > 0 {
                out.put_u8(b',');
            }
            out.put_slice(&body[row]);
        }
        out.put_u8(b']');
        Some(())
    }
}

/// `newer`, a list of symbols, with the rows that only `older` has, in the order of `older`; `None` where there are none.
pub(crate) fn united(newer: &[u8], older: &[u8]) -> Option<Bytes> {
    let (new, old) = (Index::of(newer)?, Index::of(older)?);
    let in_order = |index: &Index| {
        let mut rows: Vec<_> =
            index.symbols().map(str::to_owned).filter_map(|symbol| Some((index.row(&symbol)?, symbol))).collect();
        rows.sort_unstable_by_key(|(row, _)| row.start);
        rows
    };
    let newest =
        |(row, symbol): &(Range<usize>, String)| new.row(symbol).map_or(&older[row.clone()], |row| &newer[row]);
    let (older_rows, newer_rows) = (in_order(&old), in_order(&new));
    older_rows.iter().any(|(_, symbol)| new.row(symbol).is_none()).then_some(())?;
    let added = newer_rows.iter().filter(|(_, symbol)| old.row(symbol).is_none());
    let rows: Vec<&[u8]> = older_rows.iter().chain(added).map(newest).collect();
    Some([&newer[..new.rows_at.start], b"[", &rows.join(&b","[..]), b"]", &newer[new.rows_at.end..]].concat().into())
}

/// The order book of `body` with at most `levels` a side. Both sides are cut where they stand; all else is kept.
fn shallow(body: &Bytes, levels: usize) -> Option<Bytes> {
    let start = skip_blanks(body, 0);
    let mut sides = [field(body, start, b"bids")?, field(body, start, b"asks")?];
    sides.sort_unstable_by_key(|side| side.start);
    let mut cuts = Vec::with_capacity(2);
    for side in sides {
        if let Some(last) = elements(body, side.start)?.nth(levels.checked_sub(1)?) {
            // From behind the last level wanted to before the closing bracket.
            cuts.push(last.end..side.end - 1);
        }
    }
    if cuts.iter().all(Range::is_empty) {
        return Some(body.clone());
    }
    let mut out = BytesMut::with_capacity(body.len());
    let mut kept_to = 0;
    for cut in cuts {
        out.put_slice(&body[kept_to..cut.start]);
        kept_to = cut.end;
    }
    out.put_slice(&body[kept_to..]);
    Some(out.freeze())
}

/// The array of the last `count` rows of `body`; `None` where there are fewer.
fn last_rows(body: &Bytes, count: usize) -> Option<Bytes> {
    let rows = last(body, count)?;
    let mut out = BytesMut::with_capacity(rows.len() + 2);
    out.put_u8(b'[');
    out.put_slice(&body[rows]);
    out.put_u8(b']');
    Some(out.freeze())
}

/// Where the last `count` rows of a list of flat objects lie. They are looked for from behind, because the list may be
/// two hundred times as long; the rows found are then read from the front, so that nothing else passes for rows.
fn last(body: &[u8], count: usize) -> Option<Range<usize>> {
    let mut start = body.len();
    for _ in 0..count {
        start = memrchr(b'{', &body[..start])?;
    }
    let before = body[..start].iter().rev().find(|byte| !byte.is_ascii_whitespace())?;
    let mut found = 0;
    let mut end = start;
    for row in rows_from(body, start) {
        found += 1;
        end = row.end;
    }
    let is_whole = matches!(before, b'[' | b',') && body.get(skip_blanks(body, end)) == Some(&b']');
    (count > 0 && found == count && is_whole).then_some(start..end)
}

/// The number that stands under `name` in the object that `body` is.
pub(crate) fn number(body: &[u8], name: &[u8]) -> Option<u64> {
    let value = field(body, skip_blanks(body, 0), name)?;
    std::str::from_utf8(&body[value]).ok()?.parse().ok()
}

/// The number that stands under `name` in the last of a list of flat objects.
pub(crate) fn last_number(body: &[u8], name: &[u8]) -> Option<u64> {
    number(&body[last(body, 1)?], name)
}

/// The largest number that stands under `name` in the objects of the array that `body` is.
pub(crate) fn largest(body: &[u8], name: &[u8]) -> Option<u64> {
    elements(body, skip_blanks(body, 0))?.filter_map(|row| number(&body[row], name)).max()
}

/// The elements of the array that `body` is; `None` if it is no array.
pub(crate) fn rows(body: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    Some(elements(body, skip_blanks(body, 0))?.map(|row| &body[row]))
}

/// How many elements the array that is `body` has, and the last one; `None` if it is no array.
pub(crate) fn count_and_last(body: &[u8]) -> Option<(usize, Option<&[u8]>)> {
    let mut count = 0;
    let mut last = None;
    for row in elements(body, skip_blanks(body, 0))? {
        count += 1;
        last = Some(row);
    }
    Some((count, last.map(|row| &body[row])))
}

/// The elements of the array that begins at `start`.
fn elements(json: &[u8], start: usize) -> Option<impl Iterator<Item = Range<usize>> + '_> {
    (json.get(start) == Some(&b'[')).then(|| rows_from(json, start + 1))
}

/// The elements of an array from the one that begins at or after `at`.
fn rows_from(json: &[u8], at: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = skip_blanks(json, at);
    std::iter::from_fn(move || {
        if matches!(json.get(at), None | Some(b']')) {
            return None;
        }
        let element = at..skip_value(json, at)?;
        at = skip_blanks(json, element.end);
        if json.get(at) == Some(&b',') {
            at = skip_blanks(json, at + 1);
        }
        Some(element)
    })
}

/// Where the value of `name` lies in the object that begins at `start`.
fn field(json: &[u8], start: usize, name: &[u8]) -> Option<Range<usize>> {
    (json.get(start) == Some(&b'{')).then_some(())?;
    let mut at = skip_blanks(json, start + 1);
    while json.get(at) == Some(&b'"') {
        let name_end = skip_value(json, at)?;
        let found = &json[at + 1..name_end - 1] == name;
        at = skip_blanks(json, name_end);
        (json.get(at) == Some(&b':')).then_some(())?;
        at = skip_blanks(json, at + 1);
        let value = at..skip_value(json, at)?;
        if found {
            return Some(value);
        }
        at = skip_blanks(json, value.end);
        if json.get(at) == Some(&b',') {
            at = skip_blanks(json, at + 1);
        }
    }
    None
}

fn skip_blanks(json: &[u8], mut at: usize) -> usize {
    while matches!(json.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// Where the value that begins at `at` ends. Bodies were validated when they were fetched; on others it only promises
/// to end.
fn skip_value(json: &[u8], at: usize) -> Option<usize> {
    match json.get(at)? {
        b'"' => skip_string(json, at),
        b'{' | b'[' => {
            let (mut depth, mut at) = (0usize, at);
            loop {
                match json.get(at)? {
                    b'"' => {
                        at = skip_string(json, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let rest = &json[at..];
            let end = rest.iter().position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t'));
            Some(at + end.unwrap_or(rest.len())).filter(|end| *end > at)
        }
    }
}

fn skip_string(json: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr2(b'"', b'\\', json.get(at..)?)?;
        if json[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PRICES: &str = r#"[{"symbol":"BTCUSDT","price":"61000.10"},{"symbol":"币安人生USDT","price":"0.50"},{"symbol":"A\"]","price":"1.00"}]"#;

    fn projected(body: &str, want: Projection) -> Option<String> {
        let body = Bytes::from(body.to_owned());
        let index = Index::of(&body);
        project(&body, &want, index.as_ref()).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn a_row_is_the_upstreams_bytes() {
        let row = |symbol: &str| projected(PRICES, Projection::Row(symbol.to_owned()));
        assert_eq!(row("BTCUSDT").unwrap(), r#"{"symbol":"BTCUSDT","price":"61000.10"}"#);
        assert_eq!(row("币安人生USDT").unwrap(), r#"{"symbol":"币安人生USDT","price":"0.50"}"#);
        assert_eq!(row("A\"]").unwrap(), r#"{"symbol":"A\"]","price":"1.00"}"#);
        assert_eq!(row("NONE"), None);
    }

    #[test]
    fn rows_come_in_the_bodys_order_and_all_or_not_at_all() {
        let rows =
            |symbols: &[&str]| projected(PRICES, Projection::Rows(symbols.iter().map(ToString::to_string).collect()));
        let both = r#"[{"symbol":"BTCUSDT","price":"61000.10"},{"symbol":"币安人生USDT","price":"0.50"}]"#;
        assert_eq!(rows(&["币安人生USDT", "BTCUSDT"]).unwrap(), both);
        assert_eq!(rows(&["BTCUSDT", "NONE"]), None);
    }

    #[test]
    fn exchange_info_keeps_all_but_the_other_symbols() {
        let info = r#"{"timezone":"UTC","symbols":[{"symbol":"A","x":[1,{}]},{"symbol":"B"}],"sors":[]}"#;
        let one = projected(info, Projection::Symbols(vec!["A".to_owned()])).unwrap();
        assert_eq!(one, r#"{"timezone":"UTC","symbols":[{"symbol":"A","x":[1,{}]}],"sors":[]}"#);
    }

    #[test]
    fn a_deep_book_serves_a_shallow_one() {
        let book = r#"{"lastUpdateId":7,"bids":[["2.0","1"],["1.9","1"]],"asks":[["2.1","3"]]}"#;
        let levels = |levels| projected(book, Projection::Levels(levels)).unwrap();
        assert_eq!(levels(1), r#"{"lastUpdateId":7,"bids":[["2.0","1"]],"asks":[["2.1","3"]]}"#);
        assert_eq!(levels(2), book);
        assert_eq!(levels(50), book);
    }

    #[test]
    fn the_last_rows_are_those_that_a_smaller_limit_gives() {
        let trades = r#"[{"id":1},{"id":2,"x":[1,2]},{"id":3}]"#;
        let last = |count| projected(trades, Projection::Last(count));
        assert_eq!(last(2).unwrap(), r#"[{"id":2,"x":[1,2]},{"id":3}]"#);
        assert_eq!(last(3).unwrap(), trades);
        assert_eq!([last(4), last(0)], [None, None], "fewer rows may be all, or not");
        assert_eq!(
            projected(r#"[{"id":1},{"id":2,"x":{"y":1}}]"#, Projection::Last(1)),
            None,
            "not flat, so not certain"
        );
        assert_eq!(projected(r#"[{"id":1},{"id":"{"}]"#, Projection::Last(1)), None);
        assert_eq!(last_number(trades.as_bytes(), b"id"), Some(3));
        assert_eq!(projected("[]", Projection::Last(1)), None);
    }

    #[test]
    fn numbers_are_found_by_name() {
        assert_eq!(number(br#"{"lastUpdateId":7,"bids":[]}"#, b"lastUpdateId"), Some(7));
        assert_eq!(number(br#"{"time":"7"}"#, b"time"), None);
        assert_eq!(largest(br#"[{"time":7},{"x":1},{"time":9},{"time":8}]"#, b"time"), Some(9));
        assert_eq!(largest(b"[]", b"time"), None);
    }

    #[test]
    fn rows_are_counted() {
        assert_eq!(count_and_last(b"[]"), Some((0, None)));
        assert_eq!(count_and_last(b" [[1,\"a\"] , [2] ]"), Some((2, Some(&b"[2]"[..]))));
        assert_eq!(count_and_last(b"{}"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_hang(bytes in proptest::collection::vec(prop_oneof![
            any::<u8>(), Just(b'['), Just(b']'), Just(b'{'), Just(b'}'), Just(b'"'), Just(b','), Just(b':'), Just(b'\\'),
        ], 0..80)) {
            let body = Bytes::from(bytes);
            let index = Index::of(&body);
            let _ = project(&body, &Projection::Symbols(vec!["A".to_owned()]), index.as_ref());
            let _ = project(&body, &Projection::Levels(2), None);
            let _ = project(&body, &Projection::Last(2), None);
            let _ = largest(&body, b"a");
            let _ = count_and_last(&body);
        }

        #[test]
        fn cutting_levels_equals_parsing_and_truncating(bids in 0usize..30, asks in 0usize..30, levels in 1usize..40) {
            let side = |count: usize| (0..count).map(|n| (format!("{n}.10"), "1.0")).collect::<Vec<_>>();
            let book = |bids: usize, asks: usize| {
                serde_json::json!({"lastUpdateId": 1, "bids": side(bids), "asks": side(asks)}).to_string()
            };
            let cut = projected(&book(bids, asks), Projection::Levels(levels)).unwrap();
            prop_assert_eq!(cut, book(bids.min(levels), asks.min(levels)));
        }
    }
}
