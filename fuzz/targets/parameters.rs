//! What a client may write after the question mark, of every endpoint: the first byte chooses it.

use lastgood_market::plan::{Request, plan};
use lastgood_market::testing::hold_query;
use lastgood_market::venue::ENDPOINTS;
use lastgood_market::{Identities, Plan};

pub(crate) fn run(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let Ok(query) = std::str::from_utf8(rest) else { return };
    let endpoint = &ENDPOINTS[usize::from(*choice) % ENDPOINTS.len()];
    let ask = |query: &str| {
        let request = Request { is_get: true, path: endpoint.path, query, time_unit: None, binary: false };
        plan(&Identities::public(), endpoint.venue, request)
    };
    if let Plan::Cached(line) = ask(query) {
        for request in line.candidates() {
            assert!(!request.key.is_empty(), "an answer lies under a name");
        }
    }
    hold_query(query);
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let queries = [
        "symbol=BTCUSDT&interval=1h&limit=5&startTime=1700000000000&endTime=1700003600000",
        "symbols=[%22BTCUSDT%22,%22ETHUSDT%22]&type=MINI",
        "pair=BTCUSDT&contractType=PERPETUAL&interval=1m&timeZone=+5:30",
        "symbol=BTCUSDT&limit=5000&fromId=18446744073709551615",
        "limit=10&quote=USDT",
        "symbol=%E5%B8%81%E5%AE%89&symbol=&&=&",
        "",
    ];
    (0..ENDPOINTS.len()).map(|at| [&[at as u8], queries[at % queries.len()].as_bytes()].concat()).collect()
}
