//! The fear & greed index, which another site publishes and no limit of the exchange's counts.

use serde_json::{Value, json};

use crate::random::fraction;

/// Where it is asked for.
pub(crate) const PATHS: [&str; 2] = ["/fng/", "/fng"];

const DAY: u64 = 86_400;
/// 1 February 2018, in days since the epoch.
const FIRST_DAY: u64 = 17_563;

/// The newest days that a query asks for; `now` is in ms. Parameters that it does not know are not looked at.
pub(crate) fn answer(query: &str, seed: u64, now: u64) -> String {
    let parameter = |name: &str| {
        query
            .split('&')
            .filter_map(|field| field.split_once('='))
            .find_map(|(known, value)| (known == name).then_some(value))
    };
    let limit = parameter("limit").and_then(|limit| limit.parse::<u64>().ok()).unwrap_or(1);
    let (today, second) = (now / 1_000 / DAY, now / 1_000 % DAY);
    // As the API does: none is all.
    let days =
        (FIRST_DAY..=today).rev().take(usize::try_from(limit).ok().filter(|&limit| limit > 0).unwrap_or(usize::MAX));
    let dates = parameter("date_format");
    if parameter("format") == Some("csv") {
        let line = |day: u64| {
            format!(
                "{},{},{}\n",
                written(day, dates.or(Some("world"))),
                value(seed, day),
                classification(value(seed, day))
            )
        };
        let lines: String = days.map(line).collect();
        return format!(
            "{{\n\t\"name\": \"Fear and Greed Index\",\n\t\"data\": [\nfng_value,fng_classification,date\n{lines}\t],\n\t\"metadata\": {{\n\t\t\"error\": null\n\t}}\n}}"
        );
    }
    let row = |day: u64| {
        let value = value(seed, day);
        json!({
            "value": value.to_string(),
            "value_classification": classification(value),
            "timestamp": written(day, dates),
        })
    };
    let mut rows: Vec<Value> = days.map(row).collect();
    if let Some(newest) = rows.first_mut() {
        newest["time_until_update"] = json!((DAY - second).to_string());
    }
    json!({ "name": "Fear and Greed Index", "data": rows, "metadata": { "error": null } }).to_string()
}

/// A day as the parameter `date_format` wants it; without one that is known, in seconds.
fn written(day: u64, format: Option<&str>) -> String {
    // The day of the civil calendar, counted from 1 March 0000 in eras of 400 years.
    let days = day + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (date, month) = (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    match format {
        Some("us") => format!("{month:02}-{date:02}-{year}"),
        Some("cn" | "kr") => format!("{year}-{month:02}-{date:02}"),
        Some("world") => format!("{date:02}-{month:02}-{year}"),
        _ => (day * DAY).to_string(),
    }
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
        assert_eq!(rows("limit=1&date_format=us", noon)[0]["timestamp"], "03-04-2026");
        assert_eq!(rows("date_format=kr&anything=1", noon)[0]["timestamp"], "2026-03-04");
        assert_eq!(rows("date_format=", noon)[0]["timestamp"], "1772582400");
        assert!(answer("limit=2&format=csv", 1, noon).contains("\n04-03-2026,"));
    }
}
