//! What the configuration declares besides the exchange: sources, and routes over them.

use lastgood_routes::spec::{Credentials, RouteSpec, SourceSpecs};
use secrecy::ExposeSecret;
use toml::de::DeTable;

use crate::duration::format_duration;
use crate::fields::{Fields, Report};
use crate::problem::{Origin, Origins};
use crate::redact::MASK;
use crate::routes::{Shared, routes};
use crate::sources::sources;
use crate::user_keys::UserKeysSetting;

/// What the configuration declares besides the exchange.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// Databases, buckets and APIs.
    pub sources: SourceSpecs,
    /// Routes over them.
    pub routes: Vec<RouteSpec>,
    /// The parameters that routes may share: the name, what it takes, and whether a route uses it.
    parameters: Vec<(String, String, bool)>,
    /// Where the API keys of users are looked up, besides the credentials file.
    pub user_keys: Option<UserKeysSetting>,
    /// Where each was written, by its name.
    origins: Origins,
}

impl Declared {
    /// The tables that are read here.
    pub(crate) const TABLES: [&str; 6] = ["databases", "buckets", "apis", "parameters", "routes", "credentials"];

    pub(crate) fn read<'a>(root: &'a DeTable<'a>, report: &'a Report<'a>) -> Declared {
        let mut fields = Fields::root(report, root);
        let mut origins = Origins::new();
        let sources = sources(&mut fields, &mut origins);
        let shared = fields.table("parameters").map(|table| Shared::read(table, &mut origins)).unwrap_or_default();
        let routes = routes(fields.tables("routes"), &sources, &shared, &mut origins);
        let user_keys = fields.table("credentials").and_then(|fields| UserKeysSetting::read(fields, &sources));
        Declared { sources, routes, parameters: shared.into_rows(), user_keys, origins }
    }

    /// The shared parameters that no route uses.
    pub(crate) fn unused_parameters(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().filter(|(.., is_used)| !is_used).map(|(name, ..)| name.as_str())
    }

    /// Where something was written.
    pub(crate) fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).cloned().unwrap_or(Origin::Default)
    }

    /// The declarations, for people: key, value without secrets, and where it was written.
    pub(crate) fn rows(&self) -> Vec<(String, String, String)> {
        let mut rows = Vec::new();
        let mut row = |key: String, value: String| {
            let origin = self.origin(&key).to_string();
            rows.push((key, value, origin));
        };
        let SourceSpecs { databases, buckets, apis } = &self.sources;
        for (name, database) in databases {
            let place = shown(database.url.expose_secret());
            let (most, timeout) = (database.max_connections, format_duration(database.statement_timeout));
            let value = format!("{place}, {most} connections at most, statements {timeout} at most");
            row(format!("databases.{name}"), value);
        }
        for (name, bucket) in buckets {
            let endpoint = bucket.endpoint.as_ref().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
            let region = bucket.region.as_ref().map(|region| format!(" in {region}")).unwrap_or_default();
            let key = match bucket.credentials {
                Credentials::Anonymous => String::new(),
                _ => format!(", key {MASK}"),
            };
            row(format!("buckets.{name}"), format!("{}{endpoint}{region}{key}", bucket.url));
        }
        for (name, api) in apis {
            let headers: String = api.headers.iter().map(|(name, _)| format!(", {name} {MASK}")).collect();
            let private = if api.allow_private { ", private addresses too" } else { "" };
            let value = format!("{}, {} at most{private}{headers}", api.base(), format_duration(api.timeout));
            row(format!("apis.{name}"), value);
        }
        for (name, allowed, _) in &self.parameters {
            row(format!("parameters.{name}"), allowed.clone());
        }
        for route in &self.routes {
            let sources: Vec<String> = route.sources.iter().map(|source| source.question.to_string()).collect();
            let fresh_for = route.fresh_for.map(|span| format!(", fresh_for {}", format_duration(span)));
            let value =
                format!("region {}{}, {}", route.region, fresh_for.unwrap_or_default(), sources.join(", else "));
            row(format!("routes {}", route.path), value);
        }
        if let Some(UserKeysSetting { origin, statement }) = &self.user_keys {
            let value = format!("API keys of users from database {}", statement.database);
            rows.push(("credentials.sql".to_owned(), value, origin.to_string()));
        }
        rows
    }
}

/// A database's URL without login and options, which may hold secrets; its kind alone where it is not clear what they are.
fn shown(url: &str) -> String {
    let (kind, rest) = url.split_once(':').unwrap_or((url, ""));
    let before_options = rest.split('?').next().unwrap_or_default();
    match before_options.rsplit_once('@') {
        Some((_, place)) => format!("{kind}://{place}"),
        None if rest.contains('@') || rest.is_empty() => format!("{kind}:{MASK}"),
        None => format!("{kind}:{before_options}"),
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_database_is_shown_by_its_place_and_no_part_of_a_password() {
        for (url, expected) in [
            ("sqlite:stocks.db?mode=ro", "sqlite:stocks.db"),
            ("sqlite:///var/lib/stocks.db", "sqlite:///var/lib/stocks.db"),
            ("postgres://db.example/prices", "postgres://db.example/prices"),
            ("postgres://app:hunter2@db.example:5433/prices?sslmode=require", "postgres://db.example:5433/prices"),
            ("postgres://app:hun@ter2@a,b:2/prices", "postgres://a,b:2/prices"),
            ("postgres://app:hun?ter2@db.example/prices", "postgres:***"),
            ("postgres://db.example/prices?password=hun@ter2", "postgres:***"),
            ("postgres://db.example/prices?password=hunter2", "postgres://db.example/prices"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
