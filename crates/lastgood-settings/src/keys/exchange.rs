//! The exchange, the fear & greed index, and the lists of symbols.

use lastgood_market::upstream::{COIN_BASES, FUTURES_BASES, SPOT_BASES};

use super::bounds::{http, http_if_any, streams};
use super::{Key, field};
use crate::{show, upstream, value};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "binance",
        kind: "on or off",
        env: &["LASTGOOD_BINANCE"],
        flag: None,
        default: "on",
        doc: "off is a gateway without an exchange: no paths of it, nothing asked of it; the site of the fear & greed index \
              then has to be named, too",
        secret: false,
        field: field!(binance.enabled, upstream::switch, show::on_or_off),
    },
    Key {
        name: "binance.spot_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_SPOT_URL"],
        flag: None,
        default: SPOT_BASES,
        doc: "bases of /api and /sapi, tried in order",
        secret: false,
        field: field!(binance.spot_url, http, show::bases),
    },
    Key {
        name: "binance.futures_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_FUTURES_URL"],
        flag: None,
        default: FUTURES_BASES,
        doc: "bases of /fapi and /futures/data, tried in order",
        secret: false,
        field: field!(binance.futures_url, http, show::bases),
    },
    Key {
        name: "binance.coin_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_COIN_URL"],
        flag: None,
        default: COIN_BASES,
        doc: "bases of /dapi, tried in order",
        secret: false,
        field: field!(binance.coin_url, http, show::bases),
    },
    Key {
        name: "binance.options_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_OPTIONS_URL"],
        flag: None,
        default: "",
        doc: "bases that /eapi (European options) is passed to, tried in order; left out: https://eapi.binance.com, but \
            only while spot_url, futures_url and coin_url all name the exchange's own hosts, so that no testnet is mixed \
            with the real exchange",
        secret: false,
        field: field!(binance.options_url, http_if_any, show::bases),
    },
    Key {
        name: "binance.portfolio_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_PORTFOLIO_URL"],
        flag: None,
        default: "",
        doc: "bases that /papi (portfolio margin) is passed to; left out: https://papi.binance.com, as for options_url",
        secret: false,
        field: field!(binance.portfolio_url, http_if_any, show::bases),
    },
    Key {
        name: "binance.testnet_spot_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_TESTNET_SPOT_URL"],
        flag: None,
        default: "https://testnet.binance.vision",
        doc: "bases of the spot testnet, asked for symbols with a testnet key of the user's",
        secret: false,
        field: field!(binance.testnet_spot_url, http, show::bases),
    },
    Key {
        name: "binance.testnet_futures_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_TESTNET_FUTURES_URL"],
        flag: None,
        default: "https://testnet.binancefuture.com",
        doc: "bases of the futures testnet, asked for symbols with a testnet key of the user's",
        secret: false,
        field: field!(binance.testnet_futures_url, http, show::bases),
    },
    Key {
        name: "binance.ws_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_WS_URL"],
        flag: None,
        default: "",
        doc: "bases of the spot market streams, tried in order, such as wss://stream.binance.com:9443; \
            with the trading preset candles and tickers in use are then kept fresh by them",
        secret: false,
        field: field!(binance.ws_url, streams, show::bases),
    },
    Key {
        name: "binance.futures_ws_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_FUTURES_WS_URL"],
        flag: None,
        default: "",
        doc: "bases of the USD-M futures streams, such as wss://fstream.binance.com",
        secret: false,
        field: field!(binance.futures_ws_url, streams, show::bases),
    },
    Key {
        name: "fear_greed.url",
        kind: "URL",
        env: &["LASTGOOD_FEAR_GREED_URL"],
        flag: None,
        default: "https://api.alternative.me",
        doc: "base of the fear & greed API",
        secret: false,
        field: field!(fear_greed.url, |raw| upstream::single(raw).map(Some), show::option),
    },
    Key {
        name: "symbols.popular",
        kind: "list of symbols",
        env: &["LASTGOOD_SYMBOLS_POPULAR"],
        flag: None,
        default: "BTCUSDT,ETHUSDT,BNBUSDT,SOLUSDT,XRPUSDT,DOGEUSDT,ADAUSDT,TRXUSDT,AVAXUSDT,LINKUSDT,DOTUSDT,LTCUSDT",
        doc: "the pairs that /v1/symbols lists first, in this order",
        secret: false,
        field: field!(symbols.popular, value::symbols, show::words),
    },
];
