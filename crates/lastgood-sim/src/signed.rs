//! Accounts and orders: everything that needs a key. Signatures are checked over the bytes as they came.

mod account;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use ring::hmac;
use serde_json::{Value, json};

use self::account::{
    coins, commission_rate, futures_asset, leverage_brackets, margin_pairs, spot_account, symbol_config, trade_fees,
};
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

/// A listen key or token is good for so long, in ms.
const LISTEN_KEY: u64 = 3_600_000;
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
    /// Whether it is one of the futures, whose orders are kept apart from spot's.
    is_futures: bool,
    report: Value,
}

impl Order {
    fn is_open(&self) -> bool {
        self.report["status"] == "NEW"
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
    ("GET", "/fapi/v1/historicalTrades", 20, false),
    ("GET", "/dapi/v1/historicalTrades", 20, false),
    ("GET", "/sapi/v1/margin/isolated/allPairs", 10, false),
    ("POST PUT DELETE", "/api/v3/userDataStream", 2, false),
    ("POST PUT DELETE", "/sapi/v1/userDataStream", 1, false),
    ("POST PUT DELETE", "/sapi/v1/userDataStream/isolated", 1, false),
    ("POST", "/sapi/v1/userListenToken", 1, false),
    ("POST PUT DELETE", "/fapi/v1/listenKey", 1, false),
    ("POST PUT DELETE", "/dapi/v1/listenKey", 1, false),
    ("GET", "/fapi/v1/accountConfig", 5, true),
    ("GET", "/fapi/v1/commissionRate", 20, true),
    ("GET", "/fapi/v1/leverageBracket", 1, true),
    ("GET", "/fapi/v1/symbolConfig", 5, true),
    ("GET", "/fapi/v1/positionSide/dual", 30, true),
    ("GET", "/fapi/v1/multiAssetsMargin", 30, true),
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
            "/fapi/v1/historicalTrades" => return old_trades(Venue::UsdM, request, &params),
            "/dapi/v1/historicalTrades" => return old_trades(Venue::CoinM, request, &params),
            "/sapi/v1/asset/tradeFee" => trade_fees(request.catalogue, &params)?,
            "/sapi/v1/margin/allPairs" => margin_pairs(request.catalogue, false),
            "/sapi/v1/margin/isolated/allPairs" => margin_pairs(request.catalogue, true),
            "/sapi/v1/userListenToken" => json!({"token": format!("token{uid}thatisasecret"), "expirationTime": request.now + LISTEN_KEY}),
            path if path.ends_with("/listenKey") || path.contains("/userDataStream") => listen_key(request, uid),
            "/fapi/v1/accountConfig" => json!({"feeTier": 0, "canTrade": true, "canDeposit": true, "canWithdraw": true, "dualSidePosition": false, "updateTime": 0, "multiAssetsMargin": false, "tradeGroupId": -1}),
            "/fapi/v1/commissionRate" => commission_rate(request.catalogue, &params)?,
            "/fapi/v1/leverageBracket" => leverage_brackets(request.catalogue, &params)?,
            "/fapi/v1/symbolConfig" => symbol_config(request.catalogue, &params)?,
            "/fapi/v1/positionSide/dual" => json!({"dualSidePosition": false}),
            "/fapi/v1/multiAssetsMargin" => json!({"multiAssetsMargin": false}),
            "/fapi/v2/positionRisk" | "/fapi/v3/positionRisk" => json!([]),
            "/fapi/v2/balance" | "/fapi/v3/balance" | "/dapi/v1/balance" => json!([futures_asset(account)]),
            _ => json!({"uid": uid, "feeTier": 0, "canTrade": true, "canDeposit": true, "canWithdraw": true, "updateTime": 0, "totalWalletBalance": format!("{}.00000000", 5_000 * (account + 1)), "totalInitialMargin": "0.00000000", "totalMaintMargin": "0.00000000", "totalMarginBalance": format!("{}.00000000", 5_000 * (account + 1)), "totalUnrealizedProfit": "0.00000000", "availableBalance": format!("{}.00000000", 5_000 * (account + 1)), "assets": [futures_asset(account)], "positions": []}),
        }
        .to_string())
    }

    fn order(&self, request: &SignedRequest<'_>, params: &Params, account: usize) -> Result<Value, ApiError> {
        let symbol = params.mandatory("symbol")?;
        let is_futures = request.path.starts_with("/fapi/");
        find(request.catalogue, if is_futures { Venue::UsdM } else { Venue::Spot }, symbol)?;
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
                && order.report["symbol"] == symbol
                && number.is_none_or(|number| order.report["orderId"] == number)
                && name.is_none_or(|name| order.report["clientOrderId"] == name)
        };
        let found = orders.placed.iter_mut().rev().find(wanted);
        let order = found.ok_or_else(|| ApiError::new(400, -2013, "Order does not exist."))?;
        if request.method == "DELETE" {
            if !order.is_open() {
                return Err(ApiError::new(400, -2011, "Unknown order sent."));
            }
            order.report["status"] = json!("CANCELED");
        }
        Ok(order.report.clone())
    }

    /// An account's orders: the open ones, which `DELETE` ends, or all.
    fn orders(&self, request: &SignedRequest<'_>, params: &Params, account: usize) -> Vec<Value> {
        let is_futures = request.path.starts_with("/fapi/");
        let (all, symbol) = (request.path.ends_with("allOrders"), params.get("symbol"));
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = orders.placed.iter_mut().filter(|order| {
            (order.account, order.is_futures) == (account, is_futures)
                && symbol.is_none_or(|symbol| order.report["symbol"] == symbol)
                && (all || order.is_open())
        });
        wanted
            .map(|order| {
                if request.method == "DELETE" {
                    order.report["status"] = json!("CANCELED");
                }
                order.report.clone()
            })
            .collect()
    }
}

/// A key of an account's own stream: the same for an hour, and again.
fn listen_key(request: &SignedRequest<'_>, uid: usize) -> Value {
    let is_futures = !request.path.starts_with("/api/") && !request.path.starts_with("/sapi/");
    match request.method {
        "POST" => json!({"listenKey": format!("listen{uid}keythatisasecret")}),
        "PUT" if is_futures => json!({"listenKey": format!("listen{uid}keythatisasecret")}),
        _ => json!({}),
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
        let report = json!({
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
        self.placed.push_back(Order { account, is_futures, report: report.clone() });
        Ok(report)
    }
}

fn account(key: Option<&str>) -> Result<usize, ApiError> {
    let is_key =
        |key: &&str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let Some(key) = key.filter(is_key) else {
        return Err(ApiError::new(401, -2014, "API-key format invalid."));
    };
    account_of(key.as_bytes()).ok_or_else(invalid_key)
}

/// Whose API key it is.
pub(crate) fn account_of(key: &[u8]) -> Option<usize> {
    credentials().iter().position(|credential| credential.key.as_bytes() == key)
}

/// A key that is unknown, or not let in from there or for that.
pub(crate) fn invalid_key() -> ApiError {
    ApiError::new(401, -2015, "Invalid API-key, IP, or permissions for action.")
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
