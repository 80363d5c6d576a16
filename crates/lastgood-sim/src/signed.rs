//! Accounts and orders: everything that needs a key. Signatures are checked over the bytes as they came.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use ring::hmac;
use serde_json::{Value, json};

use crate::Venue;
use crate::catalogue::Catalogue;
use crate::params::{ApiError, Params, find};
use crate::tape::{self, Page};

/// An API key of the simulated exchange. These are the same in every simulator and open nothing anywhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// What goes into `X-MBX-APIKEY`.
    pub key: String,
    /// What requests are signed with.
    pub secret: String,
}

/// The accounts' keys.
pub(crate) fn credentials() -> Vec<Credential> {
    ["one", "two"]
        .map(|name| Credential {
            key: format!("sim-key-of-account-{name}-0001"),
            secret: format!("sim-secret-of-account-{name}-0001"),
        })
        .to_vec()
}

/// Orders beyond this are forgotten, the oldest first.
const MOST_ORDERS: usize = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Accounts {
    orders: Mutex<Orders>,
}

#[derive(Debug, Default)]
struct Orders {
    last_number: u64,
    placed: VecDeque<Order>,
}

#[derive(Debug)]
struct Order {
    account: usize,
    /// Whether it is one of the futures, whose orders are told apart from spot's.
    is_futures: bool,
    told: Value,
}

impl Order {
    fn is_open(&self) -> bool {
        self.told["status"] == "NEW"
    }
}

/// A request to an endpoint that needs a key.
pub(crate) struct SignedRequest<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) body: &'a str,
    pub(crate) key: Option<&'a str>,
    pub(crate) now: u64,
    pub(crate) catalogue: &'a Catalogue,
}

/// The paths that need a key, with methods and weight. `true`: and a signature.
const SIGNED: &[(&str, &str, u32, bool)] = &[
    ("GET", "/api/v3/account", 20, true),
    ("GET POST DELETE", "/api/v3/order", 4, true),
    ("POST", "/api/v3/order/test", 1, true),
    ("GET DELETE", "/api/v3/openOrders", 6, true),
    ("GET", "/api/v3/allOrders", 20, true),
    ("GET", "/api/v3/myTrades", 20, true),
    ("GET", "/sapi/v1/capital/config/getall", 10, true),
    ("GET", "/sapi/v1/account/apiRestrictions", 1, true),
    ("GET", "/sapi/v1/asset/tradeFee", 1, true),
    ("GET", "/sapi/v1/margin/allPairs", 1, false),
    ("POST PUT DELETE", "/api/v3/userDataStream", 2, false),
    ("POST PUT DELETE", "/fapi/v1/listenKey", 1, false),
    ("POST PUT DELETE", "/dapi/v1/listenKey", 1, false),
    ("GET", "/fapi/v1/historicalTrades", 20, false),
    ("GET", "/dapi/v1/historicalTrades", 20, false),
    ("GET", "/fapi/v2/account", 5, true),
    ("GET", "/fapi/v3/account", 5, true),
    ("GET", "/fapi/v2/balance", 5, true),
    ("GET", "/fapi/v3/balance", 5, true),
    ("GET", "/fapi/v2/positionRisk", 5, true),
    ("GET", "/fapi/v3/positionRisk", 5, true),
    ("GET POST DELETE", "/fapi/v1/order", 1, true),
    ("GET", "/fapi/v1/openOrders", 1, true),
    ("GET", "/dapi/v1/account", 5, true),
    ("GET", "/dapi/v1/balance", 1, true),
];

/// The weight of a path that needs a key, if it is one.
pub(crate) fn weight(method: &str, path: &str) -> Option<u32> {
    let known = SIGNED.iter().find(|(methods, known, ..)| *known == path && methods.split(' ').any(|m| m == method));
    known.map(|(_, _, weight, _)| *weight)
}

impl Accounts {
    pub(crate) fn answer(&self, request: &SignedRequest<'_>) -> Result<String, ApiError> {
        let needs_signature = SIGNED.iter().any(|(_, path, _, signed)| *path == request.path && *signed);
        let account = account(request.key)?;
        let params = Params::parse(&[request.query, request.body].join("&"))?;
        if needs_signature {
            check_signature(request, &params, &credentials()[account])?;
        }
        let uid = 1_000 + account;
        Ok(match request.path {
            "/api/v3/order" | "/fapi/v1/order" => self.order(request, &params, account)?,
            "/api/v3/order/test" => {
                find(request.catalogue, Venue::Spot, params.mandatory("symbol")?)?;
                json!({})
            }
            "/api/v3/openOrders" | "/fapi/v1/openOrders" | "/api/v3/allOrders" => json!(self.orders(request, &params, account)),
            "/api/v3/myTrades" => json!([]),
            "/api/v3/account" => spot_account(uid, request.now),
            "/sapi/v1/capital/config/getall" => coins(account),
            "/sapi/v1/account/apiRestrictions" => json!({"ipRestrict": false, "createTime": 1_600_000_000_000_u64, "enableReading": true}),
            "/fapi/v1/historicalTrades" => return old_trades(Venue::Futures, request, &params),
            "/dapi/v1/historicalTrades" => return old_trades(Venue::Coin, request, &params),
            "/sapi/v1/margin/allPairs" => margin_pairs(request.catalogue),
            "/sapi/v1/asset/tradeFee" => trade_fees(request.catalogue, &params)?,
            "/api/v3/userDataStream" | "/fapi/v1/listenKey" | "/dapi/v1/listenKey" if request.method != "POST" => json!({}),
            "/api/v3/userDataStream" | "/fapi/v1/listenKey" | "/dapi/v1/listenKey" => json!({"listenKey": format!("listen{uid}keythatisasecret")}),
            "/fapi/v2/positionRisk" | "/fapi/v3/positionRisk" => json!([]),
            "/fapi/v2/balance" | "/fapi/v3/balance" | "/dapi/v1/balance" => json!([futures_asset(account)]),
            _ => json!({"uid": uid, "feeTier": 0, "canTrade": true, "canDeposit": true, "canWithdraw": true, "updateTime": 0, "totalWalletBalance": format!("{}.00000000", 5_000 * (account + 1)), "totalInitialMargin": "0.00000000", "totalMaintMargin": "0.00000000", "totalMarginBalance": format!("{}.00000000", 5_000 * (account + 1)), "totalUnrealizedProfit": "0.00000000", "availableBalance": format!("{}.00000000", 5_000 * (account + 1)), "assets": [futures_asset(account)], "positions": []}),
        }
        .to_string())
    }

    fn order(&self, request: &SignedRequest<'_>, params: &Params, account: usize) -> Result<Value, ApiError> {
        let symbol = params.mandatory("symbol")?;
        let is_futures = request.path.starts_with("/fapi/");
        find(request.catalogue, if is_futures { Venue::Futures } else { Venue::Spot }, symbol)?;
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if request.method == "POST" {
            return orders.place(request, params, symbol, (account, is_futures));
        }
        let (number, name) = (params.number("orderId")?, params.get("origClientOrderId"));
        if number.is_none() && name.is_none() {
            params.mandatory("orderId")?;
        }
        let wanted = |order: &&mut Order| {
            (order.account, order.is_futures) == (account, is_futures)
                && order.told["symbol"] == symbol
                && number.is_none_or(|number| order.told["orderId"] == number)
                && name.is_none_or(|name| order.told["clientOrderId"] == name)
        };
        let found = orders.placed.iter_mut().rev().find(wanted);
        let order = found.ok_or_else(|| ApiError::new(400, -2013, "Order does not exist."))?;
        if request.method == "DELETE" {
            if !order.is_open() {
                return Err(ApiError::new(400, -2011, "Unknown order sent."));
            }
            order.told["status"] = json!("CANCELED");
        }
        Ok(order.told.clone())
    }

    /// An account's orders: the open ones, which `DELETE` ends, or all.
    fn orders(&self, request: &SignedRequest<'_>, params: &Params, account: usize) -> Vec<Value> {
        let is_futures = request.path.starts_with("/fapi/");
        let (all, symbol) = (request.path.ends_with("allOrders"), params.get("symbol"));
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = orders.placed.iter_mut().filter(|order| {
            (order.account, order.is_futures) == (account, is_futures)
                && symbol.is_none_or(|symbol| order.told["symbol"] == symbol)
                && (all || order.is_open())
        });
        wanted
            .map(|order| {
                if request.method == "DELETE" {
                    order.told["status"] = json!("CANCELED");
                }
                order.told.clone()
            })
            .collect()
    }
}

impl Orders {
    fn place(
        &mut self,
        request: &SignedRequest<'_>,
        params: &Params,
        symbol: &str,
        (account, is_futures): (usize, bool),
    ) -> Result<Value, ApiError> {
        let text = |name: &str, default: &str| params.get(name).unwrap_or(default).to_owned();
        let (kind, side) = (params.mandatory("type")?, params.mandatory("side")?);
        self.last_number += 1;
        let number = self.last_number;
        let told = json!({
            "symbol": symbol, "orderId": number, "orderListId": -1,
            "clientOrderId": text("newClientOrderId", &format!("generated{number}")),
            "transactTime": request.now, "updateTime": request.now,
            "price": text("price", "0.00000000"), "origQty": text("quantity", "0.00000000"), "executedQty": "0.00000000",
            "cummulativeQuoteQty": "0.00000000", "cumQuote": "0", "avgPrice": "0.00", "status": "NEW",
            "timeInForce": text("timeInForce", "GTC"), "type": kind, "side": side,
            "time": request.now, "workingTime": request.now, "fills": [], "selfTradePreventionMode": "EXPIRE_MAKER",
        });
        if self.placed.len() == MOST_ORDERS {
            self.placed.pop_front();
        }
        self.placed.push_back(Order { account, is_futures, told: told.clone() });
        Ok(told)
    }
}

fn account(key: Option<&str>) -> Result<usize, ApiError> {
    let is_key =
        |key: &&str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let Some(key) = key.filter(is_key) else {
        return Err(ApiError::new(401, -2014, "API-key format invalid."));
    };
    let known = credentials().iter().position(|credential| credential.key == key);
    known.ok_or_else(|| ApiError::new(401, -2015, "Invalid API-key, IP, or permissions for action."))
}

/// The signature covers the query and the body as they were sent, without itself, joined by nothing.
fn check_signature(request: &SignedRequest<'_>, params: &Params, credential: &Credential) -> Result<(), ApiError> {
    let timestamp = params.number("timestamp")?.ok_or_else(|| {
        ApiError::new(400, -1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed.")
    })?;
    let timestamp = if timestamp > 100_000_000_000_000 { timestamp / 1_000 } else { timestamp };
    let window = params.number("recvWindow")?.unwrap_or(5_000);
    if window > 60_000 {
        return Err(ApiError::new(400, -1131, "recvWindow must be less than 60000."));
    }
    if timestamp > request.now + 1_000 {
        return Err(ApiError::new(400, -1021, "Timestamp for this request was 1000ms ahead of the server's time."));
    }
    if request.now.saturating_sub(timestamp) > window {
        return Err(ApiError::new(400, -1021, "Timestamp for this request is outside of the recvWindow."));
    }
    let signature = params.mandatory("signature")?;
    let payload = [without_signature(request.query), without_signature(request.body)].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, credential.secret.as_bytes());
    let signed = unhex(signature).is_some_and(|tag| hmac::verify(&key, payload.as_bytes(), &tag).is_ok());
    signed.then_some(()).ok_or_else(|| ApiError::new(400, -1022, "Signature for this request is not valid."))
}

fn without_signature(raw: &str) -> String {
    raw.split('&').filter(|field| !field.starts_with("signature=")).collect::<Vec<_>>().join("&")
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    (digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit)).then_some(())?;
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Trades of a futures market from a number on: public, but for those with a key.
fn old_trades(venue: Venue, request: &SignedRequest<'_>, params: &Params) -> Result<String, ApiError> {
    let symbol = params.symbol(request.catalogue, venue)?;
    let (from, limit) = (params.number("fromId")?, params.limit(venue, 500, 1_000)?);
    Ok(tape::trades(symbol, &Page { from, start: None, end: None, limit, micros: false }, request.now))
}

/// Every third spot pair is traded on margin.
fn margin_pairs(catalogue: &Catalogue) -> Value {
    let pairs = catalogue.trading(Venue::Spot).step_by(3).enumerate().map(|(number, symbol)| {
        json!({
            "base": symbol.base, "id": 351_637_150_141_315_861_u64 + number as u64, "isBuyAllowed": true,
            "isMarginTrade": true, "isSellAllowed": true, "quote": symbol.quote, "symbol": symbol.name,
        })
    });
    pairs.collect()
}

fn trade_fees(catalogue: &Catalogue, params: &Params) -> Result<Value, ApiError> {
    let symbols: Vec<_> = match params.get("symbol") {
        Some(name) => vec![find(catalogue, Venue::Spot, name)?],
        None => catalogue.trading(Venue::Spot).collect(),
    };
    let fee = |symbol: &crate::symbols::Symbol| json!({"symbol": symbol.name, "makerCommission": "0.001", "takerCommission": "0.001"});
    Ok(symbols.into_iter().map(fee).collect())
}

fn spot_account(uid: usize, now: u64) -> Value {
    json!({
        "makerCommission": 10, "takerCommission": 10, "buyerCommission": 0, "sellerCommission": 0,
        "commissionRates": {"maker": "0.00100000", "taker": "0.00100000", "buyer": "0.00000000", "seller": "0.00000000"},
        "canTrade": true, "canWithdraw": true, "canDeposit": true, "brokered": false, "requireSelfTradePrevention": false,
        "preventSor": false, "updateTime": now, "accountType": "SPOT",
        "balances": [
            {"asset": "BTC", "free": format!("{}.10000000", uid), "locked": "0.00000000"},
            {"asset": "USDT", "free": format!("{}.00000000", uid * 100), "locked": "0.00000000"},
        ],
        "permissions": ["SPOT"], "uid": uid,
    })
}

fn futures_asset(account: usize) -> Value {
    let balance = format!("{}.00000000", 5_000 * (account + 1));
    json!({
        "accountAlias": format!("account{account}"), "asset": "USDT", "balance": balance, "walletBalance": balance,
        "crossWalletBalance": balance, "crossUnPnl": "0.00000000", "unrealizedProfit": "0.00000000",
        "marginBalance": balance, "maintMargin": "0.00000000", "initialMargin": "0.00000000",
        "positionInitialMargin": "0.00000000", "openOrderInitialMargin": "0.00000000", "availableBalance": balance,
        "maxWithdrawAmount": balance, "marginAvailable": true, "updateTime": 0,
    })
}

fn coins(account: usize) -> Value {
    json!([{
        "coin": "BTC", "depositAllEnable": true, "withdrawAllEnable": true, "name": "Bitcoin", "free": format!("{}.1", account + 1),
        "locked": "0", "freeze": "0", "withdrawing": "0", "ipoing": "0", "ipoable": "0", "storage": "0",
        "isLegalMoney": false, "trading": true, "networkList": [],
    }])
}
