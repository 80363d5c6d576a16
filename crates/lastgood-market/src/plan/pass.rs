//! Why a request is passed on that no line of the endpoint table answers.

use lastgood::BypassReason;

use super::Request;
use crate::venue::ENDPOINTS;

/// Public data that is given only to those who have an API key. Sending it is the client's business, and so what comes
/// back: it is never shared.
const KEYED: [&str; 8] = [
    "/fapi/v1/historicalTrades",
    "/dapi/v1/historicalTrades",
    "/eapi/v1/historicalTrades",
    "/sapi/v1/margin/allAssets",
    "/sapi/v1/margin/allPairs",
    "/sapi/v1/margin/isolated/allPairs",
    "/sapi/v1/margin/priceIndex",
    "/sapi/v1/margin/crossMarginCollateralRatio",
];

/// What paths about an account say somewhere. Asked for without a signature they are refused, and private even so.
const OF_ACCOUNTS: [&str; 28] = [
    "account",
    "accountConfig",
    "adlQuantile",
    "allOrderList",
    "allOrders",
    "apiReferral",
    "apiTradingStatus",
    "asset",
    "balance",
    "capital",
    "commissionRate",
    "forceOrders",
    "income",
    "leverageBracket",
    "listenKey",
    "myAllocations",
    "myFilters",
    "myPreventedMatches",
    "myTrades",
    "openOrder",
    "openOrderList",
    "openOrders",
    "order",
    "orderList",
    "positionRisk",
    "sub-account",
    "userDataStream",
    "userTrades",
];

/// Why a request is passed on, where its path is not one that is answered from here.
pub fn reason_to_pass(request: &Request<'_>) -> BypassReason {
    if !request.is_get || names_signature(request.query) {
        return BypassReason::Private;
    }
    if KEYED.contains(&request.path) || names_credential(request.query) {
        return BypassReason::NeedsKey;
    }
    let mut segments = request.path.split('/').skip(1);
    let is_portfolio = request.path.starts_with("/papi/") && request.path != "/papi/v1/ping";
    match is_portfolio || segments.any(|segment| OF_ACCOUNTS.contains(&segment)) {
        true => BypassReason::Private,
        false => BypassReason::Unlisted,
    }
}

/// Whether a request acts for an account, so that the exchange's pauses and bans do not hold it back: an order may be
/// worth more than an address. It is signed in its query, or it changes something with an API key, as orders that are
/// signed in their bodies and listen keys do. Everything else waits, whatever its method: requests for market data, for
/// unknown paths, and those that the exchange would refuse for want of a signature.
pub fn is_signed(method: &str, path: &str, query: &str, has_key: bool) -> bool {
    let changes = matches!(method, "POST" | "PUT" | "DELETE" | "PATCH");
    names_signature(query) || (changes && has_key && !is_market_data(path))
}

fn is_market_data(path: &str) -> bool {
    KEYED.contains(&path) || ENDPOINTS.iter().any(|endpoint| endpoint.path == path)
}

/// Whether any parameter is named `signature`, however it is written.
pub(super) fn names_signature(query: &str) -> bool {
    names(query).any(|name| name == "signature")
}

/// Whether the name of any parameter speaks of an API key or another secret. No public question has such a one, and what has
/// one must become no key of a cache, which is listed and logged.
pub(super) fn names_credential(query: &str) -> bool {
    const PARTS: [&str; 11] = [
        "apikey",
        "secret",
        "token",
        "listenkey",
        "signature",
        "passw",
        "passphrase",
        "credential",
        "session",
        "bearer",
        "auth",
    ];
    names(query).any(|name| name == "key" || name == "pwd" || PARTS.iter().any(|part| name.contains(part)))
}

/// Names that most questions have, and that speak of no secret: they are passed over as they stand.
const PUBLIC: [&str; 8] = ["symbol", "limit", "interval", "symbols", "startTime", "endTime", "period", "pair"];

/// The names of the parameters as far as they are letters, in small ones: `api_key` and `API-Key` are `apikey`; but for
/// [`PUBLIC`] ones. Some servers separate parameters by `;`, too.
fn names(query: &str) -> impl Iterator<Item = String> + '_ {
    let named = query.split(['&', ';']).map(|field| field.split_once('=').map_or(field, |(name, _)| name));
    named.filter(|name| !PUBLIC.contains(name)).map(|name| {
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        name.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_acts_for_an_account_is_signed() {
        let signed = |method: &str, target: &str, has_key| {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            is_signed(method, path, query, has_key)
        };
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "POST", "PUT", "DELETE", "PATCH", "get", "PURGE"] {
            for has_key in [true, false] {
                assert!(signed(method, "/api/v3/account?timestamp=1&signature=ab", has_key), "{method}");
                assert!(!signed(method, "/api/v3/klines?symbol=X", has_key), "{method}");
                assert!(!signed(method, "/fapi/v1/historicalTrades?symbol=X", has_key), "{method}");
            }
            assert!(!signed(method, "/api/v3/order", false), "{method}: without a key it cannot be signed");
        }
        assert!(signed("POST", "/api/v3/order", true), "signed in its body");
        assert!(signed("PUT", "/api/v3/userDataStream?listenKey=x", true));
        assert!(!signed("GET", "/api/v3/somethingNew", true), "clients send their key with everything");
    }

    #[test]
    fn a_request_is_passed_on_for_its_true_reason() {
        let reason = |is_get, target: &str| {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            reason_to_pass(&Request { is_get, path, query, ..Request::default() })
        };
        for private in [
            "/api/v3/account",
            "/api/v3/myTrades?symbol=X",
            "/fapi/v3/positionRisk",
            "/sapi/v1/capital/config/getall",
            "/papi/v1/um/account",
            "/eapi/v1/depth?symbol=X&Signature=1",
            "/fapi/v1/historicalTrades?signature=1",
            "/api/v3/avgPrice?symbol=X;signature=1",
        ] {
            assert_eq!(reason(true, private), BypassReason::Private, "{private}");
        }
        for keyed in ["/fapi/v1/historicalTrades?symbol=X", "/sapi/v1/margin/allPairs"] {
            assert_eq!(reason(true, keyed), BypassReason::NeedsKey, "{keyed}");
            assert_eq!(reason(false, keyed), BypassReason::Private, "{keyed}");
        }
        for unlisted in
            ["/api/v1/klines?symbol=X&interval=1m", "/api/v9/what", "/eapi/v1/depth?symbol=X", "/papi/v1/ping"]
        {
            assert_eq!(reason(true, unlisted), BypassReason::Unlisted, "{unlisted}");
        }
    }
}
