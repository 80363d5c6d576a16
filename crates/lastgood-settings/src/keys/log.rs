//! The keys of the log.

use super::bounds::up_to_a_day;
use super::{Key, put};
use crate::settings::LogFormat;
use crate::{show, value};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "log.level",
        kind: "level or directives",
        env: &["LASTGOOD_LOG"],
        flag: None,
        doc: "off, error, warn, info, debug, trace, or directives such as info,lastgood=debug",
        secret: false,
        set: |settings, raw| put(&mut settings.log.level, value::log_filter(raw)),
        show: |settings| show::plain(&settings.log.level),
    },
    Key {
        name: "log.format",
        kind: "text or json",
        env: &["LASTGOOD_LOG_FORMAT"],
        flag: None,
        doc: "the form of a log line",
        secret: false,
        set: |settings, raw| put(&mut settings.log.format, value::one_of(raw, &LogFormat::ALL)),
        show: |settings| show::format(&settings.log.format),
    },
    Key {
        name: "log.access",
        kind: "true or false",
        env: &["LASTGOOD_LOG_ACCESS"],
        flag: None,
        doc: "whether each request is a line of the log: client, method, path without its query, status, X-Cache, duration",
        secret: false,
        set: |settings, raw| put(&mut settings.log.access, value::boolean(raw)),
        show: |settings| show::plain(&settings.log.access),
    },
    Key {
        name: "log.stats_every",
        kind: "duration",
        env: &["LASTGOOD_LOG_STATS_EVERY"],
        flag: None,
        doc: "how often a line tells the hit rate, if there was traffic; 0s for never",
        secret: false,
        set: |settings, raw| put(&mut settings.log.stats_every, up_to_a_day(raw)),
        show: |settings| show::span(&settings.log.stats_every),
    },
];
