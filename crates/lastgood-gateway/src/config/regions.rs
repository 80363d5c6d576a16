//! What may be set for one region.

use lastgood::Keep;
use lastgood_market::RegionName;
use std::time::Duration;

use super::problem::Wrong;
use super::value::{self, Raw};
use super::{duration, size};

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

/// What the configuration says about one region; `None` leaves the preset's value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RegionOverride {
    /// How long an answer is fresh.
    pub fresh_for: Option<Duration>,
    /// How long after that it is served while being refreshed behind.
    pub stale_for: Option<Duration>,
    /// How long it stays as the last good answer.
    pub keep_for: Option<Keep>,
    /// By which share of `fresh_for` its end is spread, 0 to 1.
    pub jitter: Option<f64>,
    /// How long "there is no such thing" is remembered.
    pub negative_for: Option<Duration>,
    /// After how long a load gives way to an older answer and goes on behind.
    pub soft_timeout: Option<Duration>,
    /// After how long a load is given up.
    pub hard_timeout: Option<Duration>,
    /// From which size on a stored value is compressed, in bytes.
    pub compress_over: Option<u64>,
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

macro_rules! region_key {
    ($name:ident, $kind:literal, $doc:literal, $parse:expr, $show:expr) => {
        RegionKey {
            name: stringify!($name),
            kind: $kind,
            doc: $doc,
            set: |region, raw| {
                region.$name = Some($parse(raw)?);
                Ok(())
            },
            show: |region| region.$name.map($show),
        }
    };
}

/// Everything that may be written under `[regions.NAME]`.
pub const REGION_KEYS: &[RegionKey] = &[
    region_key!(fresh_for, "duration", "how long an answer is fresh", any_span, duration::format),
    region_key!(
        stale_for,
        "duration",
        "how long after that it is served while being refreshed",
        any_span,
        duration::format
    ),
    region_key!(keep_for, "duration or forever", "how long it stays as the last good answer", keep, show_keep),
    region_key!(jitter, "0 to 1", "share of fresh_for by which its end is spread", value::fraction, |share: f64| share
        .to_string()),
    region_key!(
        negative_for,
        "duration",
        "how long a missing thing is remembered as missing",
        any_span,
        duration::format
    ),
    region_key!(soft_timeout, "duration", "after this a load gives way to an older answer", timeout, duration::format),
    region_key!(hard_timeout, "duration", "after this a load is given up", timeout, duration::format),
    region_key!(compress_over, "bytes", "stored values larger than this are compressed", any_size, size::format),
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
    match raw {
        Raw::Text(text) if text.trim().eq_ignore_ascii_case("forever") => Ok(Keep::Forever),
        _ => any_span(raw)
            .map(Keep::For)
            .map_err(|wrong| Wrong { hint: wrong.hint.map(|hint| format!("{hint}, or \"forever\"")), ..wrong }),
    }
}

fn show_keep(keep: Keep) -> String {
    match keep {
        Keep::For(span) => duration::format(span),
        Keep::Forever => "forever".to_owned(),
    }
}
