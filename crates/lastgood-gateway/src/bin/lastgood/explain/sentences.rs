//! The state of a key, in sentences.

use serde_json::Value;

use crate::words::{bytes, clock, span};

/// The sentences, each of them a line, for a gateway whose clock says `now`.
pub(super) fn sentences(known: &Value, now: u64) -> Vec<String> {
    let mut lines = vec![format!("{} {} {}", age(known), kept(known, now), next(known, now)).trim().replace("  ", " ")];
    lines.extend(error(known));
    lines.extend(known["store_error"].as_str().map(|why| format!("The store does not say what it holds: {why}.")));
    lines.extend(held(known));
    let tags: Vec<&str> = known["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !tags.is_empty() {
        lines.push(format!("Tags: {}.", tags.join(", ")));
    }
    lines.push(policy(&known["policy"]));
    lines
}

fn age(known: &Value) -> String {
    let Some(age) = known["age_ms"].as_u64() else {
        return match known["freshness"].as_str() {
            Some("unknown") => "Memory holds nothing, and the store does not say.".to_owned(),
            _ => "Nothing is kept.".to_owned(),
        };
    };
    // An entry may have a freshness of its own; a gateway of before says its region's alone.
    let own = known["freshness_lifetime_ms"].as_u64();
    let fresh_for = own.or(known["policy"]["fresh_for_ms"].as_u64()).unwrap_or_default();
    match (known["freshness"].as_str(), known["fresh_for_ms"].as_u64()) {
        (Some("fresh"), Some(left)) => format!("{} old, fresh for another {}.", span(age), span(left)),
        _ => format!("{} old (fresh for {}).", span(age), span(fresh_for)),
    }
}

/// What an application put is there until it is put again.
const NO_SOURCE: &str = "It has no source: nothing is asked for it.";

fn has_source(known: &Value) -> bool {
    known["origin"] != "application"
}

fn kept(known: &Value, now: u64) -> String {
    let until = |name: &str| known[name].as_u64().map(|at| clock(at, now));
    let served = if has_source(known) { "Served while it is refreshed" } else { "Served as stale" };
    match known["freshness"].as_str() {
        Some("stale") => match until("stale_until") {
            Some(until) => format!("{served}, until {until}."),
            None => format!("{served}."),
        },
        Some("kept") => match until("kept_until") {
            Some(until) => format!("Kept as last good until {until}."),
            None => "Kept as last good for as long as there is room.".to_owned(),
        },
        _ => String::new(),
    }
}

fn next(known: &Value, now: u64) -> String {
    if !has_source(known) {
        return NO_SOURCE.to_owned();
    }
    let next = &known["next_refresh"];
    let at = next["at"].as_u64().map(|at| clock(at, now)).unwrap_or_default();
    match next["when"].as_str() {
        Some("loading") => "It is being loaded now.".to_owned(),
        Some("throttled") => format!("Not asked for again before {at}."),
        Some("warming") => format!("Loaded ahead of its readers at {at}."),
        Some("on the first read after") => format!("Asked again on the first read after {at}."),
        Some("on next read") => "Asked again on the next read.".to_owned(),
        _ => String::new(),
    }
}

fn error(known: &Value) -> Option<String> {
    let error = &known["last_error"];
    let reason = error["reason"].as_str()?;
    let retry = match error["retry_in_ms"].as_u64() {
        Some(0) | None => String::new(),
        Some(left) => format!(", retry in {}", span(left)),
    };
    let times = match error["in_a_row"].as_u64() {
        Some(times) if times > 1 => format!(", {times} times in a row"),
        _ => String::new(),
    };
    let message = error["message"].as_str().filter(|message| !message.is_empty());
    let message = message.map(|message| format!(" ({message})")).unwrap_or_default();
    Some(format!("Last error: {reason}{retry}{times}{message}."))
}

fn held(known: &Value) -> Option<String> {
    let size = bytes(known["bytes"].as_u64()?);
    let place = place(known)?;
    let kind = known["content_type"].as_str().filter(|kind| !kind.is_empty());
    let kind = kind.map(|kind| format!(" of {kind}")).unwrap_or_default();
    Some(format!("{size}{kind}, {place}{}.", by_whom(known)))
}

/// Where an entry, or a span of candles, lies.
pub(super) fn place(known: &Value) -> Option<&'static str> {
    match known["tier"].as_str() {
        Some("both") => Some("in memory and in the store"),
        Some("memory") => Some("in memory"),
        Some("store") => Some("in the store"),
        _ => None,
    }
}

/// Who brought an entry, or a span of candles, as the end of a sentence; nothing where it is not known.
pub(super) fn by_whom(known: &Value) -> &'static str {
    match known["origin"].as_str() {
        Some("exchange") => ", from an answer of the exchange",
        Some("stream") => ", from a stream of the exchange",
        Some("source") => ", from its source",
        Some("application") => ", put by an application",
        _ => "",
    }
}

fn policy(policy: &Value) -> String {
    let time = |name: &str| span(policy[name].as_u64().unwrap_or_default());
    let kept = match policy["stale_if_error_ms"].as_u64() {
        Some(kept) => span(kept),
        None => "as long as there is room".to_owned(),
    };
    format!(
        "Its region: fresh_for {}, stale_while_revalidate {}, stale_if_error {kept}, soft_timeout {}, hard_timeout {}.",
        time("fresh_for_ms"),
        time("stale_while_revalidate_ms"),
        time("soft_timeout_ms"),
        time("hard_timeout_ms"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOON: u64 = 1_764_417_600_000;

    #[test]
    fn a_kept_answer_of_a_banned_exchange_is_explained_in_plain_words() {
        let known = json!({
            "freshness": "kept", "tier": "memory", "age_ms": 25_000, "fresh_for_ms": 0, "kept_until": NOON + 7_609_000,
            "bytes": 1_234, "content_type": "application/json", "tags": ["symbol:BTCUSDT"], "origin": "stream",
            "last_error": {"reason": "banned", "message": "", "in_a_row": 1, "retry_in_ms": 114_000},
            "next_refresh": {"when": "on next read", "at": null},
            "policy": {"fresh_for_ms": 1_000, "stale_while_revalidate_ms": 1_000, "stale_if_error_ms": 3_600_000,
                "soft_timeout_ms": 300, "hard_timeout_ms": 10_000},
        });
        assert_eq!(
            sentences(&known, NOON),
            [
                "25 s old (fresh for 1 s). Kept as last good until 14:06:49 UTC. Asked again on the next read.",
                "Last error: banned, retry in 114 s.",
                "1.2K of application/json, in memory, from a stream of the exchange.",
                "Tags: symbol:BTCUSDT.",
                "Its region: fresh_for 1 s, stale_while_revalidate 1 s, stale_if_error 60 min, soft_timeout 300 ms, \
                 hard_timeout 10 s.",
            ]
        );
    }

    #[test]
    fn every_state_is_a_sentence() {
        let first = |known: Value| sentences(&known, NOON).remove(0);
        let policy = json!({"fresh_for_ms": 2_000});
        assert_eq!(
            first(json!({"freshness": "fresh", "age_ms": 400, "fresh_for_ms": 1_600, "policy": policy,
                "next_refresh": {"when": "on the first read after", "at": NOON}})),
            "400 ms old, fresh for another 1.6 s. Asked again on the first read after 12:00:00 UTC."
        );
        assert_eq!(
            first(json!({"freshness": "stale", "age_ms": 3_000, "stale_until": NOON, "policy": policy,
                "next_refresh": {"when": "loading", "at": null}})),
            "3 s old (fresh for 2 s). Served while it is refreshed, until 12:00:00 UTC. It is being loaded now."
        );
        assert_eq!(
            first(json!({"freshness": "stale", "age_ms": 3_000, "freshness_lifetime_ms": 1_000, "stale_until": NOON,
                "origin": "application", "policy": policy, "next_refresh": {"when": "never", "at": null}})),
            "3 s old (fresh for 1 s). Served as stale, until 12:00:00 UTC. It has no source: nothing is asked for it."
        );
        assert_eq!(
            first(json!({"freshness": "gone", "policy": policy, "next_refresh": {"when": "throttled", "at": NOON}})),
            "Nothing is kept. Not asked for again before 12:00:00 UTC."
        );
        assert!(first(json!({"freshness": "unknown"})).starts_with("Memory holds nothing"));
    }
}
