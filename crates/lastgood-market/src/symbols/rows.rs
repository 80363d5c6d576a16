//! From an exchangeInfo to the rows of the list.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Unusable;

/// A trading pair as it is served. Every value is the exchange's own text.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row<'a> {
    pub(super) symbol: Cow<'a, str>,
    base_asset: Cow<'a, str>,
    pub(super) quote_asset: Cow<'a, str>,
    status: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contract_type: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    margin_asset: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tick_size: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_size: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_qty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_notional: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Info<'a> {
    #[serde(borrow)]
    symbols: Vec<Symbol<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Symbol<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    base_asset: Cow<'a, str>,
    #[serde(borrow)]
    quote_asset: Cow<'a, str>,
    #[serde(borrow, default)]
    contract_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    margin_asset: Option<&'a RawValue>,
    #[serde(borrow, default)]
    filters: Vec<Filter<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter<'a> {
    #[serde(borrow)]
    filter_type: Cow<'a, str>,
    #[serde(borrow, default)]
    tick_size: Option<&'a RawValue>,
    #[serde(borrow, default)]
    step_size: Option<&'a RawValue>,
    #[serde(borrow, default)]
    min_qty: Option<&'a RawValue>,
    #[serde(borrow, default)]
    min_notional: Option<&'a RawValue>,
    /// The futures' name for the least notional.
    #[serde(borrow, default)]
    notional: Option<&'a RawValue>,
}

const TRADING: &str = "TRADING";

/// The symbols that are trading, in the exchange's order.
pub(super) fn trading(exchange_info: &[u8]) -> Result<Vec<Row<'_>>, Unusable> {
    let info: Info<'_> = serde_json::from_slice(exchange_info).map_err(|_| Unusable::Malformed)?;
    let rows: Vec<Row<'_>> = info.symbols.into_iter().filter(|symbol| symbol.status == TRADING).map(row).collect();
    if rows.is_empty() { Err(Unusable::NoneTrading) } else { Ok(rows) }
}

fn row(symbol: Symbol<'_>) -> Row<'_> {
    let filter = |name: &str| symbol.filters.iter().find(|filter| filter.filter_type == name);
    let lot = filter("LOT_SIZE");
    let notional = filter("NOTIONAL").or_else(|| filter("MIN_NOTIONAL"));
    Row {
        tick_size: filter("PRICE_FILTER").and_then(|filter| filter.tick_size),
        step_size: lot.and_then(|filter| filter.step_size),
        min_qty: lot.and_then(|filter| filter.min_qty),
        min_notional: notional.and_then(|filter| filter.min_notional.or(filter.notional)),
        symbol: symbol.symbol,
        base_asset: symbol.base_asset,
        quote_asset: symbol.quote_asset,
        status: symbol.status,
        contract_type: symbol.contract_type,
        margin_asset: symbol.margin_asset,
    }
}

/// The hash of the rows, which it leaves sorted by name.
pub(super) fn version(rows: &mut [Row<'_>]) -> String {
    rows.sort_unstable_by(|one, other| one.symbol.cmp(&other.symbol));
    short(ring::digest::digest(&ring::digest::SHA256, &to_json(rows)))
}

/// As much of a hash as tells versions apart.
pub(super) fn short(digest: ring::digest::Digest) -> String {
    digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn to_json(rows: &[Row<'_>]) -> Bytes {
    // Strings and texts that were JSON before: nothing in them can fail to be written.
    serde_json::to_vec(rows).unwrap_or_default().into()
}
