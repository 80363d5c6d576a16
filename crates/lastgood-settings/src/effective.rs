//! The configuration in force, for people to read.

use serde::Serialize;

use crate::keys::KEYS;
use crate::layers::Resolved;
use crate::problem::Origin;
use crate::redact::redact;
use crate::regions::{REGION_KEYS, REGION_NAMES, show_policy};

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

/// Every key with its value and origin, then each region with its policy and what of it is overridden, then the declarations
/// for routes.
#[must_use]
pub fn render_effective(resolved: &Resolved) -> Vec<Row> {
    let row = |key: String, value: String| Row {
        origin: resolved.origin(&key).to_string(),
        value: redact(&value).into_owned(),
        key,
    };
    let keys = KEYS.iter().map(|key| row(key.name.to_owned(), key.show(&resolved.settings)));
    let settings = &resolved.settings;
    let regions = settings.policies().flat_map(|(region, policy)| {
        let origin = match REGION_NAMES.contains(&region.as_str()) {
            true => format!("preset {}", settings.preset.as_str()),
            false => Origin::Default.to_string(),
        };
        let whole = Row { key: format!("regions.{region}"), value: show_policy(&policy), origin };
        let set = settings.regions.get(&region).cloned().unwrap_or_default();
        let overridden = REGION_KEYS.iter().filter_map(move |key| {
            let value = (key.show)(&set)?;
            Some(row(format!("regions.{region}.{}", key.name), value))
        });
        std::iter::once(whole).chain(overridden)
    });
    let declared = settings.declared.rows().into_iter();
    let declared = declared.map(|(key, value, origin)| Row { value: redact(&value).into_owned(), key, origin });
    keys.chain(regions).chain(declared).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::tests::resolve_from;

    #[test]
    fn every_region_is_there_with_its_policy_and_what_of_it_is_configured() {
        let file = "[regions.klines]\nfresh_for = \"7s\"\n[regions.mine]\n";
        let rows = render_effective(&resolve_from(file, &[], &[]).expect("valid"));
        let row = |key: &str| rows.iter().find(|row| row.key == key).unwrap_or_else(|| panic!("{key}: {rows:?}"));
        assert_eq!(
            (row("regions.ticker_price").value.as_str(), row("regions.ticker_price").origin.as_str()),
            (
                "fresh_for 1s; stale_while_revalidate 1s; stale_if_error 1h; soft_timeout 400ms; hard_timeout 10s",
                "preset trading"
            )
        );
        assert!(row("regions.klines").value.starts_with("fresh_for 7s; "), "{}", row("regions.klines").value);
        assert_eq!(row("regions.klines.fresh_for").origin, "lastgood.toml:2");
        assert_eq!(row("regions.mine").origin, "default");
        for name in REGION_NAMES {
            assert!(!row(&format!("regions.{name}")).value.is_empty());
        }
        let without = render_effective(&resolve_from("binance = \"off\"", &[], &[]).expect("valid"));
        assert!(!without.iter().any(|row| row.key == "regions.klines"), "there is no exchange");
    }
}
