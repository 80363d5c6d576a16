//! The fear & greed index, which another site publishes and no limit of the exchange's counts.

use serde_json::{Value, json};

use crate::random::fraction;

/// Where it is asked for.
pub(crate) const PATHS: [&str; 2] = ["/fng/", "/fng"];

const DAY: u64 = 86_400;
/// 1 February 2018, in days since the epoch.
const FIRST_DAY: u64 = 17_563;

/// The newest days that a query asks for; `now` is in ms.
pub(crate) fn answer(query: &str, seed: u64, now: u64) -> String {
    let limit = query.split('&').find_map(|field| field.strip_prefix("limit="));
    let limit = limit.and_then(|limit| limit.parse::<u64>().ok()).unwrap_or(1);
    let (today, second) = (now / 1_000 / DAY, now / 1_000 % DAY);
    let days = (FIRST_DAY..=today).rev();
    // As the API does: none is all.
    let days = days.take(usize::try_from(limit).ok().filter(|&limit| limit > 0).unwrap_or(usize::MAX));
    let row = |day: u64| {
        let value = value(seed, day);
        json!({
            "value": value.to_string(),
            "value_classification": classification(value),
            "timestamp": (day * DAY).to_string(),
        })
    };
    let mut rows: Vec<Value> = days.map(row).collect();
    if let Some(newest) = rows.first_mut() {
        newest["time_until_update"] = json!((DAY - second).to_string());
    }
    json!({ "name": "Fear and Greed Index", "data": rows, "metadata": { "error": null } }).to_string()
}

/// Moods change slowly: each day shares most of its chance with the one before.
fn value(seed: u64, day: u64) -> u32 {
    let chance = (0..5).map(|back| fraction(seed, 41, day - back)).sum::<f64>() / 5.0;
    // Means crowd about the middle.
    (((chance - 0.5) * 2.0 + 0.5).clamp(0.0, 1.0) * 100.0).round() as u32
}

fn classification(value: u32) -> &'static str {
    match value {
        0..=24 => "Extreme Fear",
        25..=45 => "Fear",
        46..=54 => "Neutral",
        55..=74 => "Greed",
        _ => "Extreme Greed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(query: &str, now: u64) -> Vec<Value> {
        let answer: Value = serde_json::from_str(&answer(query, 1, now)).unwrap();
        answer["data"].as_array().unwrap().clone()
    }

    #[test]
    fn a_day_keeps_its_value_and_the_newest_tells_when_it_ends() {
        let noon = 1_772_625_600_000;
        let today = rows("limit=3&format=json", noon);
        assert_eq!(today.len(), 3);
        assert_eq!(today[0]["timestamp"], "1772582400");
        assert_eq!(today[0]["time_until_update"], "43200");
        assert_eq!(today[1].get("time_until_update"), None);
        let tomorrow = rows("limit=2", noon + 86_400_000);
        assert_eq!(tomorrow[1]["value"], today[0]["value"]);
        assert_eq!(rows("", noon).len(), 1);
        assert_eq!(rows("limit=0", noon).len(), 2_954);
    }
}
