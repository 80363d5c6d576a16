//! The keys of the log.

use super::bounds::up_to_a_day;
use super::{Key, field};
use crate::settings::LogFormat;
use crate::{show, value};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "log.level",
        kind: "level or directives",
        env: &["LASTGOOD_LOG"],
        flag: None,
        default: "info",
        doc: "off, error, warn, info, debug, trace, or directives such as info,lastgood=debug",
        secret: false,
        field: field!(log.level, value::log_filter, show::plain),
    },
    Key {
        name: "log.format",
        kind: "text or json",
        env: &["LASTGOOD_LOG_FORMAT"],
        flag: None,
        default: "text",
        doc: "the form of a log line",
        secret: false,
        field: field!(log.format, |raw| value::one_of(raw, &LogFormat::ALL), show::format),
    },
    Key {
        name: "log.access",
        kind: "true or false",
        env: &["LASTGOOD_LOG_ACCESS"],
        flag: None,
        default: "false",
        doc: "whether each request is a line of the log: client, method, path without its query, status, X-Cache, duration",
        secret: false,
        field: field!(log.access, value::boolean, show::plain),
    },
    Key {
        name: "log.stats_every",
        kind: "duration",
        env: &["LASTGOOD_LOG_STATS_EVERY"],
        flag: None,
        default: "5m",
        doc: "how often a line tells the hit rate, if there was traffic; 0s for never",
        secret: false,
        field: field!(log.stats_every, up_to_a_day, show::span),
    },
];
