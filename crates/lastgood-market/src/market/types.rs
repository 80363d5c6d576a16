//! The exchange's answers as numbers. Amounts are exact: what the exchange wrote, not what a float makes of it.

use lastgood::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};

/// An answer about one symbol: COIN-M writes it as a list of one.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Whole<T> {
    One(T),
    Listed(Vec<T>),
}

impl<T> Whole<T> {
    pub(super) fn one(self) -> Option<T> {
        match self {
            Whole::One(one) => Some(one),
            Whole::Listed(mut list) => list.pop().filter(|_| list.is_empty()),
        }
    }
}

/// The last price of a symbol, and its statistics of 24 hours.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticker {
    /// The symbol.
    pub symbol: String,
    /// The last price.
    pub last_price: Decimal,
    /// The amount last traded.
    pub last_qty: Decimal,
    /// By how much the price changed.
    pub price_change: Decimal,
    /// The same in percent.
    pub price_change_percent: Decimal,
    /// The mean price, weighted by what was traded.
    pub weighted_avg_price: Decimal,
    /// The first price.
    pub open_price: Decimal,
    /// The highest price.
    pub high_price: Decimal,
    /// The lowest price.
    pub low_price: Decimal,
    /// The amount traded: in the base asset, but of COIN-M in contracts.
    pub volume: Decimal,
    /// The amount traded, in the quote asset; COIN-M does not send it.
    #[serde(default)]
    pub quote_volume: Option<Decimal>,
    /// The best bid; sent by spot.
    #[serde(default)]
    pub bid_price: Option<Decimal>,
    /// The best ask; sent by spot.
    #[serde(default)]
    pub ask_price: Option<Decimal>,
    /// When the statistics begin.
    #[serde(deserialize_with = "time")]
    pub open_time: Timestamp,
    /// When they end.
    #[serde(deserialize_with = "time")]
    pub close_time: Timestamp,
    /// How many trades there were.
    pub count: u64,
}

/// A trading pair that is listed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Symbol {
    /// Its name, such as `BTCUSDT`.
    pub symbol: String,
    /// The asset that is traded.
    pub base_asset: String,
    /// What it is paid in.
    pub quote_asset: String,
    /// `TRADING`.
    pub status: String,
    /// The kind of contract, such as `PERPETUAL`; none on spot.
    #[serde(default)]
    pub contract_type: Option<String>,
    /// The asset of the margin; none on spot.
    #[serde(default)]
    pub margin_asset: Option<String>,
    /// Prices are multiples of this.
    #[serde(default)]
    pub tick_size: Option<Decimal>,
    /// Amounts are multiples of this.
    #[serde(default)]
    pub step_size: Option<Decimal>,
    /// The least amount of an order.
    #[serde(default)]
    pub min_qty: Option<Decimal>,
    /// The least value of an order.
    #[serde(default)]
    pub min_notional: Option<Decimal>,
}

/// The mark price of a contract, and its funding.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Funding {
    /// The symbol.
    pub symbol: String,
    /// The mark price.
    pub mark_price: Decimal,
    /// The index price.
    pub index_price: Decimal,
    /// The last funding rate; none for contracts that are delivered.
    #[serde(default, deserialize_with = "amount_if_any")]
    pub last_funding_rate: Option<Decimal>,
    /// When funding is exchanged next; none for contracts that are delivered.
    #[serde(default, deserialize_with = "time_if_any")]
    pub next_funding_time: Option<Timestamp>,
    /// When the exchange wrote this.
    #[serde(deserialize_with = "time")]
    pub time: Timestamp,
}

/// A funding rate of the past.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FundingRate {
    /// The symbol.
    pub symbol: String,
    /// The rate.
    pub funding_rate: Decimal,
    /// When it was exchanged.
    #[serde(deserialize_with = "time")]
    pub funding_time: Timestamp,
    /// The mark price then, where the exchange sends it.
    #[serde(default, deserialize_with = "amount_if_any")]
    pub mark_price: Option<Decimal>,
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    u64::deserialize(deserializer).map(Timestamp::from_millis)
}

/// Zero stands for no time.
fn time_if_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let time: Option<u64> = Option::deserialize(deserializer)?;
    Ok(time.filter(|&time| time > 0).map(Timestamp::from_millis))
}

/// An empty text stands for no amount.
fn amount_if_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
        serde_json::from_str::<Whole<T>>(text).ok()?.one()
    }

    const DELIVERED: &str = r#"{"symbol":"BTCUSD_260327","pair":"BTCUSD","markPrice":"100.50000000","indexPrice":"100.1",
        "estimatedSettlePrice":"1","lastFundingRate":"","interestRate":"","nextFundingTime":0,"time":7}"#;

    #[test]
    fn delivery_contracts_have_no_funding() {
        let funding: Funding = one(DELIVERED).unwrap();
        assert_eq!((funding.last_funding_rate, funding.next_funding_time), (None, None));
        assert_eq!(funding.mark_price.to_string(), "100.50000000");
    }

    #[test]
    fn a_list_is_taken_for_an_answer_only_if_it_is_of_one() {
        assert!(one::<Funding>(&format!("[{DELIVERED}]")).is_some());
        assert!(one::<Funding>(&format!("[{DELIVERED},{DELIVERED}]")).is_none());
        assert!(one::<Funding>("[]").is_none());
        assert!(one::<Funding>(&DELIVERED.replace("\"100.1\"", "\"none\"")).is_none());
    }
}
