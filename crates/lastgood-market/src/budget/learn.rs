//! What the exchange says of its limits.

use serde::Deserialize;

use crate::venue::Bucket;

#[derive(Deserialize)]
struct Info {
    #[serde(rename = "rateLimits", default)]
    limits: Vec<Limit>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limit {
    rate_limit_type: String,
    interval: String,
    interval_num: u64,
    limit: u32,
}

/// The limits of an exchangeInfo: bucket, limit and window in milliseconds.
pub(super) fn stated_limits(exchange_info: &[u8]) -> Vec<(Bucket, u32, u64)> {
    let Ok(info) = serde_json::from_slice::<Info>(exchange_info) else { return Vec::new() };
    let understood = |limit: &Limit| {
        let unit = match limit.interval.as_str() {
            "SECOND" => 1_000,
            "MINUTE" => 60_000,
            "HOUR" => 3_600_000,
            "DAY" => 86_400_000,
            _ => return None,
        };
        let length = limit.interval_num.checked_mul(unit).filter(|&length| length > 0 && limit.limit > 0)?;
        let bucket = match limit.rate_limit_type.as_str() {
            // What is used is stated by the minute, whatever else is limited.
            "REQUEST_WEIGHT" if length == 60_000 => Bucket::Weight,
            "RAW_REQUESTS" => Bucket::Raw,
            _ => return None,
        };
        Some((bucket, limit.limit, length))
    };
    info.limits.iter().filter_map(understood).collect()
}

/// The weight limit a minute in the words of a 429: `current limit is 6000 request weight per 1 MINUTE`.
pub(super) fn limit_of_refusal(message: &str) -> Option<u32> {
    let (_, rest) = message.split_once("current limit is ")?;
    let (number, rest) = rest.split_once(' ')?;
    rest.starts_with("request weight per 1 MINUTE").then(|| number.parse().ok()).flatten().filter(|&limit| limit > 0)
}
