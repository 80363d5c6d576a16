//! What several keys have in common: units, and kinds of values.

use std::time::Duration;

use lastgood_market::upstream::BaseUrl;

use crate::problem::Wrong;
use crate::upstream::{self, Protocol};
use crate::value::{self, Raw};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
pub(super) const TIB: u64 = 1 << 40;

pub(super) fn timeout(raw: &Raw) -> Result<Duration, Wrong> {
    value::span(raw, MILLISECOND..=SECOND * 600)
}

/// Zero is for never.
pub(super) fn up_to_a_day(raw: &Raw) -> Result<Duration, Wrong> {
    value::span(raw, Duration::ZERO..=SECOND * 86_400)
}

/// Unlike what answers requests, streams can be left out.
pub(super) fn streams(raw: &Raw) -> Result<Vec<BaseUrl>, Wrong> {
    if raw.as_list()?.is_empty() { Ok(Vec::new()) } else { upstream::list(raw, Protocol::WebSocket) }
}

/// As [`http`], but may be left out.
pub(super) fn http_if_any(raw: &Raw) -> Result<Vec<BaseUrl>, Wrong> {
    if raw.as_list()?.is_empty() { Ok(Vec::new()) } else { http(raw) }
}

pub(super) fn http(raw: &Raw) -> Result<Vec<BaseUrl>, Wrong> {
    upstream::list(raw, Protocol::Http)
}
