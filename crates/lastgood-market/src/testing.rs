//! What must hold of whatever comes from outside, for the fuzz targets. Each function panics where it does not hold.

use bytes::Bytes;
use lastgood::Timestamp;

use crate::projection::{Index, count_and_last, holds, project};
use crate::query::{Params, is_symbol, symbol_list};
use crate::validate::{Fetched, check_answer};
use crate::{UpstreamRequest, Venue, candles, fear_greed, stream, symbols};

/// Bytes in the place of candles.
pub fn hold_rows(body: &Bytes) {
    candles::hold_rows(body);
}

/// The query of a client.
pub fn hold_query(query: &str) {
    if let Some(params) = Params::parse(query) {
        let written = params.to_query();
        let again = Params::parse(&written).expect("a query that is written can be read");
        assert_eq!(again.to_query(), written, "a query has one form");
    }
    drop((symbol_list(query), is_symbol(query)));
}

/// Bytes in the place of an answer to `request`, with this status.
pub fn hold_answer(request: &UpstreamRequest, status: u16, body: &Bytes) {
    let content_type = "application/json".to_owned();
    let fetched = Fetched { status, content_type, retry_after: None, body: body.clone() };
    if let Ok(value) = fetched.into_value(request, Timestamp::from_millis(1_700_000_000_000)) {
        assert_eq!(value.body, *body, "an answer is taken to the letter");
        let text = std::str::from_utf8(body).expect("an answer that is taken is text");
        assert!(check_answer(text, request).is_ok(), "an answer is judged alike on every way");
    }
    let index = Index::of(body);
    let found = project(body, &request.projection, index.as_ref());
    let is_held = holds(body, &request.projection, index.as_ref());
    assert!(found.is_none() || is_held, "the part cut out was there");
}

/// Bytes in the place of anything else that an exchange or a site sends: a stream's message, lists for symbols, the index.
pub fn hold_message(venue: Venue, body: &Bytes) {
    if let Ok(text) = std::str::from_utf8(body) {
        drop(stream::read(venue, text));
    }
    if let Ok(prepared) = symbols::prepare(body, Some(body), &["BTC".to_owned()]) {
        drop(prepared);
    }
    drop(symbols::Listing::of(body));
    drop((fear_greed::check(body), fear_greed::readings(body), count_and_last(body)));
}
