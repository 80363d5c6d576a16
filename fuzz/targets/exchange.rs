//! What an exchange, or something in its place, may answer: the first byte chooses the question.

use bytes::Bytes;
use lastgood_market::plan::{Request, plan};
use lastgood_market::testing::{hold_answer, hold_message};
use lastgood_market::{Identities, Plan, Venue};

const QUESTIONS: [(Venue, &str, &str); 10] = [
    (Venue::Spot, "/api/v3/exchangeInfo", "symbol=BTCUSDT"),
    (Venue::Spot, "/api/v3/depth", "symbol=BTCUSDT&limit=5"),
    (Venue::Spot, "/api/v3/trades", "symbol=BTCUSDT&limit=2"),
    (Venue::Spot, "/api/v3/ticker/24hr", "symbol=BTCUSDT"),
    (Venue::Spot, "/api/v3/ticker/price", ""),
    (Venue::Spot, "/api/v3/ticker/bookTicker", "symbols=[%22BTCUSDT%22,%22ETHUSDT%22]"),
    (Venue::Spot, "/api/v3/avgPrice", "symbol=BTCUSDT"),
    (Venue::UsdM, "/fapi/v1/premiumIndex", "symbol=BTCUSDT"),
    (Venue::UsdM, "/fapi/v1/depth", "symbol=BTCUSDT&limit=5"),
    (Venue::CoinM, "/dapi/v1/ticker/price", ""),
];

pub(crate) fn run(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let (venue, path, query) = QUESTIONS[usize::from(*choice) % QUESTIONS.len()];
    let request = Request { is_get: true, path, query, time_unit: None, binary: false };
    let body = Bytes::copy_from_slice(body);
    if let Plan::Cached(line) = plan(&Identities::public(), venue, request) {
        let refused = if choice.is_multiple_of(2) { 418 } else { 400 };
        for request in line.candidates() {
            [200, refused].into_iter().for_each(|status| hold_answer(request, status, &body));
        }
    }
    hold_message(venue, &body);
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let of = |choice: u8, body: &str| [&[choice], body.as_bytes()].concat();
    vec![
        of(
            0,
            r#"{"timezone":"UTC","serverTime":1700000000000,"rateLimits":[],"exchangeFilters":[],"symbols":[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","filters":[]}]}"#,
        ),
        of(1, r#"{"lastUpdateId":7,"bids":[["4.00","431.0"],["3.99","1.0"]],"asks":[["4.01","12.0"]]}"#),
        of(
            2,
            r#"[{"id":1,"price":"4.0","qty":"1.0","quoteQty":"4.0","time":1700000000000,"isBuyerMaker":true,"isBestMatch":true}]"#,
        ),
        of(
            3,
            r#"{"symbol":"BTCUSDT","priceChange":"-9.4","lastPrice":"4.0","openTime":1,"closeTime":2,"firstId":1,"lastId":2,"count":2}"#,
        ),
        of(4, r#"[{"symbol":"BTCUSDT","price":"4.0"},{"symbol":"ETHUSDT","price":"0.1"}]"#),
        of(
            5,
            r#"[{"symbol":"BTCUSDT","bidPrice":"4.0","bidQty":"1","askPrice":"4.1","askQty":"9"},{"symbol":"ETHUSDT","bidPrice":"4.0","bidQty":"1","askPrice":"4.1","askQty":"9"}]"#,
        ),
        of(6, r#"{"mins":5,"price":"9.35","closeTime":1694061154503}"#),
        of(
            7,
            r#"{"symbol":"BTCUSDT","markPrice":"1.5","indexPrice":"1.5","lastFundingRate":"0.0001","nextFundingTime":1,"time":2}"#,
        ),
        of(9, r#"{"code":-1121,"msg":"Invalid symbol."}"#),
        of(9, r#"{"code":-1003,"msg":"Way too many requests; IP banned until 1700000099000."}"#),
        of(
            4,
            r#"{"name":"Fear and Greed Index","data":[{"value":"40","value_classification":"Fear","timestamp":"1700000000","time_until_update":"100"}],"metadata":{"error":null}}"#,
        ),
        of(
            1,
            r#"{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1,"s":"BTCUSDT","k":{"t":1700000040000,"T":1700000099999,"s":"BTCUSDT","i":"1m","o":"1","c":"1","h":"1","l":"1","v":"1","n":1,"x":true,"q":"1","V":"1","Q":"1"}}}"#,
        ),
    ]
}
