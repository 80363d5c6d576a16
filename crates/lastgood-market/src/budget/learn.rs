//! What the exchange says of its limits.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::venue::Bucket;

#[derive(Deserialize)]
struct Info<'a> {
    #[serde(rename = "rateLimits", default, borrow)]
    limits: Vec<&'a RawValue>,
}

/// More limits than an exchange publishes.
const MOST_LIMITS: usize = 64;

/// The limits of an exchangeInfo: bucket, limit and window in milliseconds. One that cannot be read takes none of the
/// others with it; zero, a negative number or a fraction is no limit.
pub(super) fn stated_limits(exchange_info: &[u8]) -> Vec<(Bucket, u64, u64)> {
    let Ok(info) = serde_json::from_slice::<Info<'_>>(exchange_info) else { return Vec::new() };
    info.limits.iter().take(MOST_LIMITS).filter_map(|limit| understood(limit.get())).collect()
}

fn understood(limit: &str) -> Option<(Bucket, u64, u64)> {
    let limit: Value = serde_json::from_str(limit).ok()?;
    let unit = match limit.get("interval")?.as_str()? {
        "SECOND" => 1_000,
        "MINUTE" => 60_000,
        "HOUR" => 3_600_000,
        "DAY" => 86_400_000,
        _ => return None,
    };
    let length = limit.get("intervalNum")?.as_u64()?.checked_mul(unit)?;
    let bucket = match limit.get("rateLimitType")?.as_str()? {
        // The exchange states use by the minute, even where it limits other windows.
        "REQUEST_WEIGHT" if length == 60_000 => Bucket::Weight,
        "RAW_REQUESTS" => Bucket::Raw,
        _ => return None,
    };
    Some((bucket, limit.get("limit")?.as_u64()?, length))
}

/// The weight limit a minute in the words of a 429: `current limit is 6000 request weight per 1 MINUTE`.
pub(super) fn limit_of_refusal(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once("current limit is ")?;
    let (number, rest) = rest.split_once(' ')?;
    rest.starts_with("request weight per 1 MINUTE").then(|| number.parse().ok()).flatten()
}
