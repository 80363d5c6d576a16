//! Questions of every form.

use lastgood_sim::{Sim, Venue};

use super::exchange::mixed;
use super::{DAY, MINUTE, SECOND};

/// What a schedule asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Group {
    Spot,
    UsdM,
    CoinM,
    Tickers,
    Books,
    Trades,
    Statistics,
}

/// Chance that is the same for a seed.
pub(crate) struct Chance {
    pub(crate) seed: u64,
    pub(crate) drawn: u64,
}

impl Chance {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.drawn += 1;
        mixed(self.seed, self.drawn) % end.max(1)
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

/// A question: its target may depend on the time at which it is asked.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    Fixed(String),
    /// The end is now.
    UntilNow(String),
}

impl Form {
    pub(crate) fn target(&self, now: u64) -> String {
        match self {
            Form::Fixed(target) => target.clone(),
            Form::UntilNow(target) => format!("{target}&endTime={now}"),
        }
    }
}

const INTERVALS: [(&str, u64); 8] = [
    ("1s", SECOND),
    ("1m", MINUTE),
    ("5m", 5 * MINUTE),
    ("1h", 60 * MINUTE),
    ("1d", DAY),
    ("3d", 3 * DAY),
    ("1w", 7 * DAY),
    ("1M", 30 * DAY),
];

/// A series of candles, as a path and a query without bounds, and the length of its interval.
pub(crate) fn series(group: Group, chance: &mut Chance, sim: &Sim) -> (String, u64) {
    let intervals = if let Group::Spot = group { &INTERVALS[..] } else { &INTERVALS[1..] };
    let (interval, length) = *chance.pick(intervals);
    let (venue, prefix) = match group {
        Group::CoinM => (Venue::CoinM, "/dapi/v1"),
        Group::UsdM => (Venue::UsdM, "/fapi/v1"),
        _ => (Venue::Spot, "/api/v3"),
    };
    let symbols = sim.symbols(venue);
    // Half of the time a well-known one, without gaps.
    let symbol = if chance.one_in(2) { &symbols[0] } else { chance.pick(&symbols) };
    let symbol = percent_encoding::utf8_percent_encode(symbol, percent_encoding::NON_ALPHANUMERIC);
    let pair = if let Group::CoinM = group { "BTCUSD" } else { "ETHUSDT" };
    let kind = if let Group::Spot = group { chance.below(2) } else { chance.below(6) };
    let named = match (group, kind) {
        (Group::Spot, 0) => format!("/klines?symbol={symbol}"),
        (Group::Spot, _) => format!("/uiKlines?symbol={symbol}"),
        (_, 0) => format!("/continuousKlines?pair={pair}&contractType=PERPETUAL"),
        (_, 1) => format!("/indexPriceKlines?pair={pair}"),
        (_, 2) => format!("/markPriceKlines?symbol={symbol}"),
        (_, 3) => format!("/premiumIndexKlines?symbol={symbol}"),
        _ => format!("/klines?symbol={symbol}"),
    };
    let zone = match group {
        Group::Spot if chance.one_in(4) => *chance.pick(&["&timeZone=8", "&timeZone=-5:30", "&timeZone=14"]),
        _ => "",
    };
    (format!("{prefix}{named}&interval={interval}{zone}"), length)
}

/// A question for candles of a series.
pub(crate) fn candles(series: &str, length: u64, now: u64, chance: &mut Chance) -> Form {
    let limits: &[u64] = if length > DAY { &[1, 2, 10, 60] } else { &[1, 2, 3, 7, 20, 50, 120, 500, 1_000] };
    let limit = match chance.below(20) {
        0 => String::new(),
        1..=15 => format!("&limit={}", chance.pick(&limits[..4])),
        _ => format!("&limit={}", chance.pick(limits)),
    };
    // Within some blocks of the store, so that questions overlap; off the grid.
    let back = chance.below(600) * length + chance.below(3) * chance.below(length);
    let start = now.saturating_sub(back);
    let span = chance.below(90) * length + chance.below(2) * chance.below(length);
    Form::Fixed(match chance.below(12) {
        0..=2 => format!("{series}{limit}"),
        3 => format!("{series}&startTime={start}{limit}"),
        4 => format!("{series}&endTime={start}{limit}"),
        5..=6 => format!("{series}&startTime={start}&endTime={}{limit}", start + span),
        7 => format!("{series}&startTime=0&limit=1"),
        8 => format!("{series}&startTime=1300000000000&endTime=1400000000000{limit}"),
        9 => format!("{series}&startTime={}{limit}", now + 10 * length),
        10 => format!("{series}&startTime={}&limit=5", 1_577_836_800_000 + chance.below(5) * 256 * length),
        _ => return Form::UntilNow(format!("{series}{limit}")),
    })
}

/// Questions of a group that is none of candles, for a symbol and a limit of chance.
pub(crate) fn others(group: Group, now: u64, chance: &mut Chance) -> Vec<String> {
    let spot = *chance.pick(&["BTCUSDT", "ETHUSDT"]);
    let coin = *chance.pick(&["BTCUSD_PERP", "ETHUSD_PERP"]);
    let (some, few) = ("symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D", *chance.pick(&[5, 10, 20, 100]));
    let symbol = format!("symbol={spot}");
    let recent = now - chance.below(50) * MINUTE;
    match group {
        Group::Tickers => vec![
            format!("/api/v3/ticker/price?{symbol}"),
            "/api/v3/ticker/price".to_owned(),
            format!("/api/v3/ticker/price?{some}"),
            format!("/api/v3/ticker/bookTicker?{symbol}"),
            "/api/v3/ticker/bookTicker".to_owned(),
            format!("/api/v3/ticker/24hr?{symbol}"),
            format!("/api/v3/ticker/24hr?{some}"),
            "/api/v3/ticker/24hr".to_owned(),
            format!("/api/v3/ticker/24hr?{symbol}&type=MINI"),
            format!("/api/v3/ticker?{symbol}&windowSize=1h"),
            format!("/api/v3/ticker/tradingDay?{symbol}"),
            format!("/api/v3/avgPrice?{symbol}"),
            format!("/fapi/v1/ticker/price?{symbol}"),
            "/fapi/v1/ticker/price".to_owned(),
            format!("/fapi/v2/ticker/price?{symbol}"),
            format!("/fapi/v1/ticker/24hr?{symbol}"),
            "/fapi/v1/ticker/bookTicker".to_owned(),
            format!("/fapi/v1/ticker/bookTicker?{symbol}"),
            format!("/dapi/v1/ticker/price?symbol={coin}"),
            format!("/dapi/v1/ticker/24hr?symbol={coin}"),
            "/dapi/v1/ticker/bookTicker".to_owned(),
        ],
        Group::Books => vec![
            format!("/api/v3/depth?{symbol}&limit={few}"),
            format!("/api/v3/depth?{symbol}&limit=1000"),
            format!("/api/v3/depth?{symbol}"),
            format!("/fapi/v1/depth?{symbol}&limit={few}"),
            format!("/fapi/v1/depth?{symbol}"),
            format!("/dapi/v1/depth?symbol={coin}&limit={few}"),
            format!("/dapi/v1/depth?symbol={coin}&limit=1000"),
        ],
        Group::Trades => vec![
            format!("/api/v3/trades?{symbol}&limit={few}"),
            format!("/api/v3/aggTrades?{symbol}&limit={few}"),
            format!("/api/v3/aggTrades?{symbol}&startTime={recent}&limit={few}"),
            format!("/api/v3/aggTrades?{symbol}&startTime={recent}&endTime={}", recent + 20 * SECOND),
            format!("/api/v3/aggTrades?{symbol}&fromId=1000&limit={few}"),
            format!("/api/v3/historicalTrades?{symbol}&fromId=5000&limit={few}"),
            format!("/fapi/v1/trades?{symbol}&limit={few}"),
            format!("/fapi/v1/aggTrades?{symbol}&limit={few}"),
            format!("/dapi/v1/trades?symbol={coin}&limit={few}"),
        ],
        _ => vec![
            format!("/fapi/v1/premiumIndex?{symbol}"),
            "/fapi/v1/premiumIndex".to_owned(),
            format!("/fapi/v1/openInterest?{symbol}"),
            format!("/fapi/v1/fundingRate?{symbol}&limit={few}"),
            format!("/fapi/v1/fundingRate?{symbol}&startTime={}&limit=3", now - 40 * DAY),
            format!("/fapi/v1/fundingRate?{symbol}&endTime={}&limit=4", now - 3 * DAY),
            "/fapi/v1/fundingInfo".to_owned(),
            format!("/futures/data/openInterestHist?{symbol}&period=5m"),
            format!("/futures/data/globalLongShortAccountRatio?{symbol}&period=1h&limit={few}"),
            "/futures/data/basis?pair=BTCUSD&contractType=PERPETUAL&period=5m".to_owned(),
            format!("/dapi/v1/premiumIndex?symbol={coin}"),
            format!("/dapi/v1/openInterest?symbol={coin}"),
            "/api/v3/exchangeInfo".to_owned(),
            format!("/api/v3/exchangeInfo?{symbol}"),
            "/fapi/v1/exchangeInfo".to_owned(),
        ],
    }
}
