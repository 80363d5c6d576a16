//! exchangeInfo, in size and in what clients read of it like the real one.

use serde_json::{Value, json};

use crate::rows::array;
use crate::symbols::{Contract, Symbol};
use crate::{SimConfig, Venue};

/// What changes with time and configuration, up to where [`tail`] goes on.
pub(crate) fn head(config: &SimConfig, venue: Venue, server_time: u64) -> String {
    let limits = rate_limits(config, venue);
    let kind = if venue == Venue::UsdM { r#""futuresType":"U_MARGINED","# } else { "" };
    format!(r#"{{"timezone":"UTC","serverTime":{server_time},{kind}"rateLimits":{limits},"#)
}

/// The rest of a venue's document, with those of its `symbols` that `wanted` takes, in the exchange's order.
pub(crate) fn tail(
    symbols: &[Symbol],
    venue: Venue,
    wanted: impl Fn(&Symbol) -> bool,
    permission_sets: bool,
) -> String {
    let symbols = symbols.iter().filter(|symbol| wanted(symbol));
    let symbols = array(symbols, |out, symbol| {
        out.push_str(&match venue {
            Venue::Spot => spot_symbol(symbol, permission_sets),
            _ => contract(symbol),
        });
    });
    let assets = if venue == Venue::UsdM { ASSETS } else { "" };
    format!(r#""exchangeFilters":[],{assets}"symbols":{symbols}}}"#)
}

const ASSETS: &str = r#""assets":[{"asset":"USDT","marginAvailable":true,"autoAssetExchange":"-10000"},{"asset":"BTC","marginAvailable":true,"autoAssetExchange":"-0.00100000"}],"#;

fn rate_limits(config: &SimConfig, venue: Venue) -> Value {
    let limit = |kind: &str, interval: &str, number: u32, limit: u32| json!({"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit});
    match venue {
        Venue::Spot => json!([
            limit("REQUEST_WEIGHT", "MINUTE", 1, config.weight_limit_spot),
            limit("ORDERS", "SECOND", 10, 100),
            limit("ORDERS", "DAY", 1, 200_000),
            limit("RAW_REQUESTS", "MINUTE", 5, 300_000),
        ]),
        _ => json!([
            limit("REQUEST_WEIGHT", "MINUTE", 1, config.weight_limit_futures),
            limit("ORDERS", "MINUTE", 1, 1_200),
            limit("ORDERS", "SECOND", 10, 300),
        ]),
    }
}

/// The smallest step of a price, as text.
fn tick(decimals: usize) -> String {
    match decimals {
        0 => "1".to_owned(),
        _ => format!("0.{:0>width$}", 1, width = decimals),
    }
}

fn spot_symbol(symbol: &Symbol, permission_sets: bool) -> String {
    let Symbol { name, base, quote, .. } = symbol;
    let status = if symbol.trading { "TRADING" } else { "BREAK" };
    let tick = format!("{:0<10}", tick(symbol.decimals));
    let sets = if permission_sets { r#"[["SPOT","MARGIN","TRD_GRP_004","TRD_GRP_005"]]"# } else { "[]" };
    format!(
        concat!(
            r#"{{"symbol":"{name}","status":"{status}","baseAsset":"{base}","baseAssetPrecision":8,"quoteAsset":"{quote}","#,
            r#""quotePrecision":8,"quoteAssetPrecision":8,"baseCommissionPrecision":8,"quoteCommissionPrecision":8,"#,
            r#""orderTypes":["LIMIT","LIMIT_MAKER","MARKET","STOP_LOSS_LIMIT"],"icebergAllowed":true,"ocoAllowed":true,"#,
            r#""quoteOrderQtyMarketAllowed":true,"allowTrailingStop":true,"cancelReplaceAllowed":true,"#,
            r#""isSpotTradingAllowed":true,"isMarginTradingAllowed":true,"filters":["#,
            r#"{{"filterType":"PRICE_FILTER","minPrice":"{tick}","maxPrice":"1000000.00000000","tickSize":"{tick}"}},"#,
            r#"{{"filterType":"LOT_SIZE","minQty":"0.00001000","maxQty":"9000.00000000","stepSize":"0.00001000"}},"#,
            r#"{{"filterType":"MARKET_LOT_SIZE","minQty":"0.00000000","maxQty":"98.42710245","stepSize":"0.00000000"}},"#,
            r#"{{"filterType":"NOTIONAL","minNotional":"5.00000000","applyMinToMarket":true,"maxNotional":"9000000.00000000"}}"#,
            r#"],"permissions":[],"permissionSets":{sets},"defaultSelfTradePreventionMode":"EXPIRE_MAKER"}}"#,
        ),
        name = name,
        status = status,
        base = base,
        quote = quote,
        tick = tick,
        sets = sets,
    )
}

fn contract(symbol: &Symbol) -> String {
    let is_coin = symbol.venue == Venue::CoinM;
    let delivery = match symbol.contract {
        Contract::Quarter(at) => at,
        _ => 4_133_404_800_000,
    };
    let status = if symbol.trading { "TRADING" } else { "SETTLING" };
    let tick = tick(symbol.decimals);
    let filters = json!([
        {"filterType": "PRICE_FILTER", "maxPrice": "809484", "minPrice": tick, "tickSize": tick},
        {"filterType": "LOT_SIZE", "maxQty": "1000", "minQty": "0.001", "stepSize": "0.001"},
        {"filterType": "MARKET_LOT_SIZE", "maxQty": "120", "minQty": "0.001", "stepSize": "0.001"},
        {"filterType": "MAX_NUM_ORDERS", "limit": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
        {"filterType": "MIN_NOTIONAL", "notional": "5"},
        {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500", "multiplierDecimal": "4"},
    ]);
    let mut made = json!({
        "symbol": symbol.name, "pair": symbol.pair, "contractType": symbol.contract.as_str(), "deliveryDate": delivery,
        "onboardDate": symbol.listed_at, "maintMarginPercent": "2.5000", "requiredMarginPercent": "5.0000",
        "baseAsset": symbol.base, "quoteAsset": symbol.quote,
        "marginAsset": if is_coin { &symbol.base } else { &symbol.quote },
        "pricePrecision": symbol.decimals, "quantityPrecision": 3, "baseAssetPrecision": 8, "quotePrecision": 8,
        "underlyingType": "COIN", "underlyingSubType": ["PoW"], "triggerProtect": "0.0500", "liquidationFee": "0.012500",
        "marketTakeBound": "0.05", "maxMoveOrderLimit": 10_000, "filters": filters,
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    });
    if let Some(fields) = made.as_object_mut() {
        match is_coin {
            true => {
                fields.insert("contractStatus".to_owned(), json!(status));
                fields.insert("contractSize".to_owned(), json!(if symbol.base == "BTC" { 100 } else { 10 }));
                fields.insert("equalQtyPrecision".to_owned(), json!(4));
            }
            false => {
                fields.insert("status".to_owned(), json!(status));
            }
        }
    }
    made.to_string()
}
