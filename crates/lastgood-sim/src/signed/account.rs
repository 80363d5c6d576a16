//! The endpoints that describe accounts, and what they may trade.

use serde_json::{Value, json};

use crate::Venue;
use crate::catalogue::Catalogue;
use crate::params::{ApiError, Params, find};
use crate::symbols::{Contract, Symbol};

pub(super) fn spot_account(uid: usize, now: u64) -> Value {
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

pub(super) fn futures_asset(account: usize) -> Value {
    let balance = format!("{}.00000000", 5_000 * (account + 1));
    json!({
        "accountAlias": format!("account{account}"), "asset": "USDT", "balance": balance, "walletBalance": balance,
        "crossWalletBalance": balance, "crossUnPnl": "0.00000000", "unrealizedProfit": "0.00000000",
        "marginBalance": balance, "maintMargin": "0.00000000", "initialMargin": "0.00000000",
        "positionInitialMargin": "0.00000000", "openOrderInitialMargin": "0.00000000", "availableBalance": balance,
        "maxWithdrawAmount": balance, "marginAvailable": true, "updateTime": 0,
    })
}

pub(super) fn coins(account: usize) -> Value {
    json!([{
        "coin": "BTC", "depositAllEnable": true, "withdrawAllEnable": true, "name": "Bitcoin", "free": format!("{}.1", account + 1),
        "locked": "0", "freeze": "0", "withdrawing": "0", "ipoing": "0", "ipoable": "0", "storage": "0",
        "isLegalMoney": false, "trading": true, "networkList": [],
    }])
}

/// The pairs that can be traded on margin, as all accounts see them.
pub(super) fn margin_pairs(catalogue: &Catalogue, is_isolated: bool) -> Value {
    let pair = |(number, symbol): (usize, &Symbol)| {
        let mut pair = json!({
            "base": symbol.base, "quote": symbol.quote, "symbol": symbol.name,
            "isBuyAllowed": true, "isMarginTrade": true, "isSellAllowed": true,
        });
        if !is_isolated {
            pair["id"] = json!(number + 1);
        }
        pair
    };
    // Every third pair of the exchange can.
    catalogue.trading(Venue::Spot).step_by(3).enumerate().map(pair).collect()
}

/// The fees of one spot symbol or of all.
pub(super) fn trade_fees(catalogue: &Catalogue, params: &Params) -> Result<Value, ApiError> {
    let fee = |symbol: &Symbol| json!({"symbol": symbol.name, "makerCommission": "0.001", "takerCommission": "0.001"});
    match params.get("symbol") {
        Some(name) => Ok(json!([fee(find(catalogue, Venue::Spot, name)?)])),
        None => Ok(catalogue.trading(Venue::Spot).map(fee).collect()),
    }
}

/// The fees of a USD-M symbol.
pub(super) fn commission_rate(catalogue: &Catalogue, params: &Params) -> Result<Value, ApiError> {
    let symbol = find(catalogue, Venue::UsdM, params.mandatory("symbol")?)?;
    Ok(json!({"symbol": symbol.name, "makerCommissionRate": "0.000200", "takerCommissionRate": "0.000500"}))
}

/// How far a USD-M symbol, or every one, may be levered.
pub(super) fn leverage_brackets(catalogue: &Catalogue, params: &Params) -> Result<Value, ApiError> {
    let brackets = |symbol: &Symbol| {
        json!({"symbol": symbol.name, "brackets": [
            {"bracket": 1, "initialLeverage": 75, "notionalCap": 10_000, "notionalFloor": 0, "maintMarginRatio": 0.0065, "cum": 0.0},
            {"bracket": 2, "initialLeverage": 50, "notionalCap": 50_000, "notionalFloor": 10_000, "maintMarginRatio": 0.01, "cum": 35.0},
        ]})
    };
    match params.get("symbol") {
        Some(name) => Ok(brackets(find(catalogue, Venue::UsdM, name)?)),
        None => {
            let perpetual = catalogue.trading(Venue::UsdM).filter(|symbol| symbol.contract == Contract::Perpetual);
            Ok(perpetual.map(brackets).collect())
        }
    }
}

/// How an account trades each USD-M symbol.
pub(super) fn symbol_config(catalogue: &Catalogue, params: &Params) -> Result<Value, ApiError> {
    let config = |symbol: &Symbol| json!({"symbol": symbol.name, "marginType": "CROSSED", "isAutoAddMargin": false, "leverage": 20, "maxNotionalValue": "1000000"});
    match params.get("symbol") {
        Some(name) => Ok(json!([config(find(catalogue, Venue::UsdM, name)?)])),
        None => Ok(catalogue.trading(Venue::UsdM).map(config).collect()),
    }
}
