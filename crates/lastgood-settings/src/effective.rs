//! The configuration in force, for people to read.

use serde::Serialize;

use crate::keys::KEYS;
use crate::layers::Resolved;
use crate::redact::redact;
use crate::regions::REGION_KEYS;

/// One key in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The dotted key.
    pub key: String,
    /// Its value, secrets masked; empty when nothing is set.
    pub value: String,
    /// Where the value came from.
    pub origin: String,
}

/// Every key with its value and origin, then the regions that are overridden, then the declarations for routes.
#[must_use]
pub fn render_effective(resolved: &Resolved) -> Vec<Row> {
    let row = |key: String, value: String| Row {
        origin: resolved.origin(&key).to_string(),
        value: redact(&value).into_owned(),
        key,
    };
    let keys = KEYS.iter().map(|key| row(key.name.to_owned(), key.show(&resolved.settings)));
    let regions = resolved.settings.regions.iter().flat_map(|(region, set)| {
        REGION_KEYS.iter().filter_map(move |key| {
            let value = (key.show)(set)?;
            Some(row(format!("regions.{region}.{}", key.name), value))
        })
    });
    let declared = resolved.settings.declared.rows().into_iter();
    let declared = declared.map(|(key, value, origin)| Row { value: redact(&value).into_owned(), key, origin });
    keys.chain(regions).chain(declared).collect()
}
