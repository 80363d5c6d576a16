//! The order of the list: popular, then much traded, then by name.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

use super::rows::Row;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ticker<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow, default)]
    last_price: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    quote_volume: Option<Cow<'a, str>>,
}

/// Volumes are compared in this asset: a volume in rupiah cannot be compared with one in bitcoin.
const MEASURE: &str = "USDT";

/// Price and volume of each symbol over 24 hours.
struct Market<'a>(HashMap<Cow<'a, str>, (f64, f64)>);

impl<'a> Market<'a> {
    /// Empty where the tickers cannot be read.
    fn of(tickers: &'a [u8]) -> Self {
        let tickers: Vec<Ticker<'a>> = serde_json::from_slice(tickers).unwrap_or_default();
        let number = |text: &Option<Cow<'_, str>>| {
            let number: Option<f64> = text.as_ref().and_then(|text| text.parse().ok());
            number.filter(|number| number.is_finite() && *number >= 0.0).unwrap_or(0.0)
        };
        let row = |ticker: Ticker<'a>| {
            let values = (number(&ticker.last_price), number(&ticker.quote_volume));
            (ticker.symbol, values)
        };
        Market(tickers.into_iter().map(row).collect())
    }

    fn price(&self, symbol: &str) -> Option<f64> {
        self.0.get(symbol).map(|(price, _)| *price).filter(|price| *price > 0.0)
    }

    /// The price of one `asset` in [`MEASURE`], by the pair of the two, in either direction.
    fn rate(&self, asset: &str) -> Option<f64> {
        if asset == MEASURE {
            return Some(1.0);
        }
        let inverse = || self.price(&format!("{MEASURE}{asset}")).map(|price| 1.0 / price);
        self.price(&format!("{asset}{MEASURE}")).or_else(inverse)
    }
}

pub(super) fn sort(rows: &mut [Row<'_>], tickers: &[u8], popular: &[String]) {
    let market = Market::of(tickers);
    let mut rates: HashMap<&str, Option<f64>> = HashMap::new();
    let places: HashMap<&str, usize> = popular.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let mut ranks: HashMap<String, (usize, f64)> = HashMap::with_capacity(rows.len());
    for row in rows.iter() {
        let rate = *rates.entry(&row.quote_asset).or_insert_with(|| market.rate(&row.quote_asset));
        let volume = market.0.get(&row.symbol).map(|(_, volume)| *volume).zip(rate);
        // What has no volume that can be compared stands behind what has.
        let volume = volume.map_or(-1.0, |(volume, rate)| volume * rate);
        let place = places.get(&*row.symbol).copied().unwrap_or(usize::MAX);
        ranks.insert(row.symbol.clone().into_owned(), (place, volume));
    }
    drop(rates);
    let rank = |row: &Row<'_>| ranks.get(&*row.symbol).copied().unwrap_or((usize::MAX, -1.0));
    rows.sort_unstable_by(|one, other| {
        let ((place, volume), (other_place, other_volume)) = (rank(one), rank(other));
        place.cmp(&other_place).then(other_volume.total_cmp(&volume)).then_with(|| one.symbol.cmp(&other.symbol))
    });
}
