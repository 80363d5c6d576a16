//! The regions, and what may be set for each.

use std::collections::BTreeMap;
use std::time::Duration;

use lastgood::{Keep, Policy};
use lastgood_market::RegionName;
use lastgood_market::region::PolicyOverride;
use lastgood_market::warm::WARMED;
use lastgood_routes::suggest::slip_of;

use crate::duration::format_duration;
use crate::problem::Wrong;
use crate::value::{self, Raw, put};
use crate::{size, warm};

/// The regions of the drop-in exchange API, by the name used in `[regions.NAME]`.
pub const REGION_NAMES: [&str; RegionName::ALL.len()] = {
    let mut names = [""; RegionName::ALL.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = RegionName::ALL[index].as_str();
        index += 1;
    }
    names
};

/// The regions of applications that are there undeclared: for values, and for routes that name no region.
const APPLICATION_REGIONS: [&str; 2] = ["kv", "routes"];
/// Freshness in a region of applications, unless the configuration says otherwise.
const APPLICATION_FRESHNESS: Duration = Duration::from_secs(300);
/// Each region has counters, and a place in every report.
const MOST_DECLARED: usize = 64;
const LONGEST_NAME: usize = 40;
/// Names that the gateway keeps for regions of its own.
const RESERVED: [&str; 3] = ["nodes", "llm", "fear_greed"];

/// A region of applications' own data, before the overrides of its fields.
fn application_policy() -> Policy {
    let fresh_for = APPLICATION_FRESHNESS;
    Policy::fresh_for(fresh_for).stale_while_revalidate(fresh_for).stale_if_error(Keep::For(DAY))
}

/// The regions for data of applications: those that are always there, and those that the configuration makes by naming
/// them.
pub(crate) fn of_applications(declared: &BTreeMap<String, RegionOverride>) -> Vec<(String, Policy)> {
    let always = APPLICATION_REGIONS.map(str::to_owned);
    let declared = declared.keys().filter(|name| !is_built_in(name)).cloned();
    always.into_iter().chain(declared).map(|name| (name, application_policy())).collect()
}

/// A policy in one line. What it leaves out is the same everywhere, unless the configuration says otherwise.
pub(crate) fn show_policy(policy: &Policy) -> String {
    let parts = [
        ("fresh_for", format_duration(policy.fresh_for)),
        ("stale_while_revalidate", format_duration(policy.stale_while_revalidate)),
        ("stale_if_error", show_keep(policy.stale_if_error)),
        ("soft_timeout", format_duration(policy.soft_timeout)),
        ("hard_timeout", format_duration(policy.hard_timeout)),
    ];
    parts.map(|(name, value)| format!("{name} {value}")).join("; ")
}

/// The regions that are there without being declared.
pub(crate) fn built_in() -> impl Iterator<Item = &'static str> {
    REGION_NAMES.into_iter().chain(APPLICATION_REGIONS)
}

fn is_built_in(name: &str) -> bool {
    built_in().any(|known| known == name)
}

/// Whether `[regions.NAME]` may stand: a region that is there, or a new one.
pub(crate) fn check_name(name: &str) -> Result<(), Wrong> {
    if is_built_in(name) {
        return Ok(());
    }
    if let Some(meant) = slip_of(name, built_in()) {
        return Err(Wrong::new("unknown region, and too like one that is there to be a new one")
            .hint(format!("did you mean `{meant}`?")));
    }
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins || name.len() > LONGEST_NAME || !name.chars().all(sound) {
        return Err(Wrong::new("no name for a region")
            .hint(format!("a new region is named with a-z, 0-9 and _, a letter first, {LONGEST_NAME} at most")));
    }
    if RESERVED.contains(&name) {
        return Err(Wrong::new("this name is the gateway's own").hint("choose another name"));
    }
    Ok(())
}

/// Former names of keys, and the names of RFC 5861 that replaced them.
pub(crate) const OLD_NAMES: [(&str, &str); 2] =
    [("stale_for", "stale_while_revalidate"), ("keep_for", "stale_if_error")];
/// Why a former name is refused.
pub(crate) const RENAMED: &str = "this key has another name now";

/// What a former name of a key is called now.
pub(crate) fn renamed(key: &str) -> Option<&'static str> {
    OLD_NAMES.iter().find(|(old, _)| *old == key).map(|(_, new)| *new)
}

/// Why a key of a region is refused in a route: routes that share a region share its times.
pub(crate) fn in_a_route(key: &str) -> Option<Wrong> {
    let hint = |name: &str| format!("write {name} in the route's region, [regions.NAME]");
    match renamed(key) {
        Some(new) => Some(Wrong::new(RENAMED).hint(hint(new))),
        None if REGION_KEYS.iter().any(|known| known.name == key) => {
            Some(Wrong::new("this is a key of a region, not of a route").hint(hint(key)))
        }
        None => None,
    }
}

/// Whether a region has the key: few of the exchange's can be kept warm.
pub(crate) fn check_key(region: &str, key: &RegionKey) -> Result<(), Wrong> {
    let is_warmed = |name: &RegionName| name.as_str() == region;
    if key.name != "warm_every" || !REGION_NAMES.contains(&region) || WARMED.iter().any(is_warmed) {
        return Ok(());
    }
    Err(Wrong::new("this region of the exchange cannot be kept warm")
        .hint(format!("of the exchange's, {} can", WARMED.map(RegionName::as_str).join(", "))))
}

/// Whether one more region may be declared besides those that are.
pub(crate) fn check_count(regions: &BTreeMap<String, RegionOverride>, name: &str) -> Result<(), Wrong> {
    let declared = regions.keys().filter(|known| !is_built_in(known)).count();
    if is_built_in(name) || regions.contains_key(name) || declared < MOST_DECLARED {
        return Ok(());
    }
    Err(Wrong::new(format!("more than {MOST_DECLARED} regions are declared")).hint("let routes share regions"))
}

/// What the configuration says about one region.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RegionOverride {
    /// How its answers are kept.
    pub policy: PolicyOverride,
    /// How often the warm entries of the region are loaded.
    pub warm_every: Option<Duration>,
}

/// One row of what may be written under `[regions.NAME]`.
#[derive(Debug)]
pub struct RegionKey {
    /// The key within the region.
    pub name: &'static str,
    /// Its type in words.
    pub kind: &'static str,
    /// What it does.
    pub doc: &'static str,
    pub(crate) set: fn(&mut RegionOverride, &Raw) -> Result<(), Wrong>,
    pub(crate) show: fn(&RegionOverride) -> Option<String>,
}

/// Everything that may be written under `[regions.NAME]`.
pub const REGION_KEYS: &[RegionKey] = &[
    RegionKey {
        name: "fresh_for",
        kind: "duration",
        doc: "how long an answer is fresh",
        set: |region, raw| put(&mut region.policy.fresh_for, any_span(raw).map(Some)),
        show: |region| region.policy.fresh_for.map(format_duration),
    },
    RegionKey {
        name: "stale_while_revalidate",
        kind: "duration",
        doc: "how long after that it is served while being refreshed in the background",
        set: |region, raw| put(&mut region.policy.stale_while_revalidate, any_span(raw).map(Some)),
        show: |region| region.policy.stale_while_revalidate.map(format_duration),
    },
    RegionKey {
        name: "stale_if_error",
        kind: "duration or forever",
        doc: "how long after its freshness it stays as the last good answer",
        set: |region, raw| put(&mut region.policy.stale_if_error, keep(raw).map(Some)),
        show: |region| region.policy.stale_if_error.map(show_keep),
    },
    RegionKey {
        name: "jitter",
        kind: "0 to 1",
        doc: "share of fresh_for by which its end is spread",
        set: |region, raw| put(&mut region.policy.jitter, value::fraction(raw).map(Some)),
        show: |region| region.policy.jitter.map(|share| share.to_string()),
    },
    RegionKey {
        name: "negative_for",
        kind: "duration",
        doc: "how long a missing thing is remembered as missing",
        set: |region, raw| put(&mut region.policy.negative_for, any_span(raw).map(Some)),
        show: |region| region.policy.negative_for.map(format_duration),
    },
    RegionKey {
        name: "soft_timeout",
        kind: "duration",
        doc: "after this a load gives way to an older answer",
        set: |region, raw| put(&mut region.policy.soft_timeout, timeout(raw).map(Some)),
        show: |region| region.policy.soft_timeout.map(format_duration),
    },
    RegionKey {
        name: "hard_timeout",
        kind: "duration",
        doc: "after this a load is given up",
        set: |region, raw| put(&mut region.policy.hard_timeout, timeout(raw).map(Some)),
        show: |region| region.policy.hard_timeout.map(format_duration),
    },
    RegionKey {
        name: "compress_over",
        kind: "bytes",
        doc: "stored values larger than this are compressed",
        set: |region, raw| put(&mut region.policy.compress_over, any_size(raw).map(Some)),
        show: |region| region.policy.compress_over.map(size::format),
    },
    RegionKey {
        name: "warm_every",
        kind: "duration",
        doc: "how often the warm entries of the region are loaded",
        set: |region, raw| put(&mut region.warm_every, warm::schedule(raw).map(Some)),
        show: |region| region.warm_every.map(format_duration),
    },
];

const DAY: Duration = Duration::from_secs(86_400);

fn any_span(raw: &Raw) -> Result<Duration, Wrong> {
    value::span(raw, Duration::ZERO..=DAY * 36_500)
}

fn timeout(raw: &Raw) -> Result<Duration, Wrong> {
    value::span(raw, Duration::from_millis(1)..=Duration::from_secs(600))
}

fn any_size(raw: &Raw) -> Result<u64, Wrong> {
    value::bytes(raw, 0..=u64::MAX)
}

fn keep(raw: &Raw) -> Result<Keep, Wrong> {
    match raw.string() {
        Some(text) if text.trim().eq_ignore_ascii_case("forever") => Ok(Keep::Forever),
        _ => any_span(raw)
            .map(Keep::For)
            .map_err(|wrong| Wrong { hint: wrong.hint.map(|hint| format!("{hint}, or \"forever\"")), ..wrong }),
    }
}

fn show_keep(keep: Keep) -> String {
    match keep {
        Keep::For(span) => format_duration(span),
        Keep::Forever => "forever".to_owned(),
    }
}
