use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn symbol(name: &str, base: &str, quote: &str, status: &str) -> Value {
    json!({"symbol": name, "status": status, "baseAsset": base, "quoteAsset": quote, "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "tickSize": "0.01000000"},
        {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000", "stepSize": "0.00001000"},
        {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": true},
    ]})
}

fn info() -> Value {
    json!({"timezone": "UTC", "symbols": [
        symbol("AAAUSDT", "AAA", "USDT", "TRADING"),
        symbol("ZZZUSDT", "ZZZ", "USDT", "TRADING"),
        symbol("币安人生USDT", "币安人生", "USDT", "TRADING"),
        symbol("OLDUSDT", "OLD", "USDT", "BREAK"),
        symbol("ETHBTC", "ETH", "BTC", "TRADING"),
        symbol("USDTIDR", "USDT", "IDR", "TRADING"),
        symbol("BTCUSDT", "BTC", "USDT", "TRADING"),
        symbol("XXXYYY", "XXX", "YYY", "TRADING"),
    ]})
}

fn tickers() -> Value {
    json!([
        {"symbol": "AAAUSDT", "lastPrice": "1.0", "quoteVolume": "500.0"},
        {"symbol": "ZZZUSDT", "lastPrice": "1.0", "quoteVolume": "900.0"},
        {"symbol": "BTCUSDT", "lastPrice": "60000.0", "quoteVolume": "10.0"},
        {"symbol": "ETHBTC", "lastPrice": "0.05", "quoteVolume": "1.0"},
        {"symbol": "USDTIDR", "lastPrice": "16000.0", "quoteVolume": "1600000.0"},
        {"symbol": "XXXYYY", "lastPrice": "1.0", "quoteVolume": "99999999.0"},
    ])
}

fn made(info: &Value, tickers: Option<&Value>, popular: &[&str]) -> Result<Prepared, Unusable> {
    let popular: Vec<String> = popular.iter().map(ToString::to_string).collect();
    let tickers = tickers.map(|tickers| tickers.to_string().into_bytes());
    prepare(info.to_string().as_bytes(), tickers.as_deref(), &popular)
}

fn names(rows: &[u8]) -> Vec<String> {
    let rows: Vec<Value> = serde_json::from_slice(rows).unwrap();
    rows.iter().map(|row| row["symbol"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn popular_pairs_come_first_then_the_most_traded_then_names() {
    let prepared = made(&info(), Some(&tickers()), &["BTCUSDT", "NOSUCH", "AAAUSDT"]).unwrap();
    // ETHBTC's one bitcoin is 60,000; USDTIDR's 1.6 million rupiah are 100; the worth of YYY is unknown.
    let expected = ["BTCUSDT", "AAAUSDT", "ETHBTC", "ZZZUSDT", "USDTIDR", "XXXYYY", "币安人生USDT"];
    assert_eq!(names(&prepared.rows), expected);
    assert_eq!(prepared.count, 7);
}

#[test]
fn without_tickers_the_list_is_whole_and_sorted_by_name() {
    let expected = ["ZZZUSDT", "AAAUSDT", "BTCUSDT", "ETHBTC", "USDTIDR", "XXXYYY", "币安人生USDT"];
    for tickers in [None, Some(json!({"code": -1003})), Some(json!([{"symbol": 3}]))] {
        assert_eq!(names(&made(&info(), tickers.as_ref(), &["ZZZUSDT"]).unwrap().rows), expected);
    }
}

#[test]
fn a_row_holds_the_exchanges_own_values() {
    let rows: Vec<Value> = serde_json::from_slice(&made(&info(), None, &["BTCUSDT"]).unwrap().rows).unwrap();
    let expected = json!({
        "symbol": "BTCUSDT", "baseAsset": "BTC", "quoteAsset": "USDT", "status": "TRADING", "tickSize": "0.01000000",
        "stepSize": "0.00001000", "minQty": "0.00001000", "minNotional": "5.00000000",
    });
    assert_eq!(rows[0], expected);
    let contract = json!({"symbols": [{
        "symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT", "marginAsset": "USDT",
        "contractType": "PERPETUAL", "filters": [{"filterType": "MIN_NOTIONAL", "notional": "5"}],
    }]});
    let rows: Vec<Value> = serde_json::from_slice(&made(&contract, None, &[]).unwrap().rows).unwrap();
    assert_eq!((&rows[0]["contractType"], &rows[0]["minNotional"]), (&json!("PERPETUAL"), &json!("5")));
    assert!(rows[0].get("tickSize").is_none(), "nothing is invented");
}

#[test]
fn the_version_changes_with_the_content_and_not_with_the_order() {
    let version = |info: &Value, tickers: Option<&Value>| made(info, tickers, &[]).unwrap().version;
    let first = version(&info(), None);
    assert_eq!(first, version(&info(), Some(&tickers())));
    let mut shuffled = info();
    shuffled["symbols"].as_array_mut().unwrap().reverse();
    assert_eq!(first, version(&shuffled, None));
    let mut delisted = info();
    delisted["symbols"][0]["status"] = json!("HALT");
    assert_ne!(first, version(&delisted, None));
    let mut finer = info();
    finer["symbols"][0]["filters"][0]["tickSize"] = json!("0.00100000");
    assert_ne!(first, version(&finer, None));
}

#[test]
fn anything_but_a_list_is_refused() {
    assert_eq!(prepare(b"", None, &[]), Err(Unusable::Malformed));
    assert_eq!(made(&json!({"symbols": [{"symbol": "A"}]}), None, &[]), Err(Unusable::Malformed));
    assert_eq!(made(&json!({"symbols": []}), None, &[]), Err(Unusable::NoneTrading));
    let none = json!({"symbols": [symbol("A", "A", "B", "BREAK")]});
    assert_eq!(made(&none, None, &[]), Err(Unusable::NoneTrading));
}

fn rendered(last_good: bool, selection: &Selection) -> Value {
    let prepared = made(&info(), Some(&tickers()), &["BTCUSDT"]).unwrap();
    let stamp = Stamp { version: prepared.version, link: Link::Testnet, refreshed_at: Timestamp::from_millis(0) };
    let listing = Listing::of(&prepared.rows).unwrap();
    serde_json::from_slice(&listing.render(Venue::Spot, &stamp, last_good, selection).body).unwrap()
}

#[test]
fn an_answer_names_its_source_and_holds_what_was_asked_for() {
    let all = rendered(false, &Selection::default());
    assert_eq!((&all["market"], &all["source"], &all["count"]), (&json!("spot"), &json!("testnet"), &json!(7)));
    assert_eq!(all["refreshed_at"], "1970-01-01T00:00:00.000Z");
    let kept = rendered(true, &Selection { quote: Some("USDT".to_owned()), limit: Some(2) });
    assert_eq!((&kept["source"], &kept["loaded_from"]), (&json!("last-good"), &json!("testnet")));
    let names: Vec<&str> =
        kept["symbols"].as_array().unwrap().iter().filter_map(|row| row["symbol"].as_str()).collect();
    assert_eq!((names, &kept["count"]), (vec!["BTCUSDT", "ZZZUSDT"], &json!(2)));
    let none = rendered(false, &Selection { quote: Some("EUR".to_owned()), limit: None });
    assert_eq!(none["symbols"], json!([]));
}

#[test]
fn the_tag_changes_with_rows_order_and_source_but_not_with_time() {
    let tag = |tickers: Option<&Value>, millis, last_good, limit: Option<usize>| {
        let prepared = made(&info(), tickers, &[]).unwrap();
        let refreshed_at = Timestamp::from_millis(millis);
        let stamp = Stamp { version: prepared.version, link: Link::Public, refreshed_at };
        let selection = Selection { quote: None, limit };
        Listing::of(&prepared.rows).unwrap().render(Venue::Spot, &stamp, last_good, &selection).etag
    };
    let first = tag(None, 0, false, None);
    assert_eq!(first, tag(None, 60_000, false, None));
    for other in [tag(Some(&tickers()), 0, false, None), tag(None, 0, true, None), tag(None, 0, false, Some(1))] {
        assert_ne!(first, other);
    }
}

#[test]
fn stamps_are_read_as_they_were_written() {
    for link in Link::ALL {
        let stamp = Stamp { version: "ab12".to_owned(), link, refreshed_at: Timestamp::from_millis(5) };
        assert_eq!(Stamp::parse(&stamp.to_text()), Some(stamp));
    }
    for text in ["", "v public", "v nowhere 5", "v public x", "v public 5 more"] {
        assert_eq!(Stamp::parse(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = prepare(&bytes, Some(&bytes), &[]);
        let _ = Listing::of(&Bytes::from(bytes));
    }
}
