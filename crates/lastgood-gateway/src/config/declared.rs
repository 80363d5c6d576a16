//! What the configuration declares besides the exchange: sources, and routes over them.

use secrecy::ExposeSecret;
use toml::de::DeTable;

use super::duration;
use super::problem::Origin;
use super::routes::{RouteSetting, routes};
use super::sources::SourceSettings;
use super::table::{Fields, Report};
use super::user_keys::UserKeysSetting;
use crate::redact::MASK;

/// What the configuration declares besides the exchange.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    pub(crate) sources: SourceSettings,
    pub(crate) routes: Vec<RouteSetting>,
    /// Where the API keys of users are looked up, besides the credentials file.
    pub(crate) user_keys: Option<UserKeysSetting>,
}

impl Declared {
    /// The tables that are read here.
    pub(super) const TABLES: [&str; 5] = ["databases", "buckets", "apis", "routes", "credentials"];

    pub(super) fn read<'a>(root: &'a DeTable<'a>, report: &'a Report<'a>) -> Declared {
        let mut fields = Fields::root(report, root);
        let sources = SourceSettings::read(&mut fields);
        let routes = routes(fields.tables("routes"), &sources);
        let user_keys = fields.table("credentials").and_then(|fields| UserKeysSetting::read(fields, &sources));
        Declared { sources, routes, user_keys }
    }

    /// What is declared, for people: key, value without secrets, and where it was written.
    pub(super) fn rows(&self) -> Vec<(String, String, String)> {
        let mut rows = Vec::new();
        let mut row = |key: String, value: String, origin: &Origin| rows.push((key, value, origin.to_string()));
        let SourceSettings { databases, buckets, apis } = &self.sources;
        for (name, database) in databases {
            let kind = database.url.expose_secret().split(':').next().unwrap_or_default();
            let (most, timeout) = (database.max_connections, duration::format(database.statement_timeout));
            let value = format!("{kind}:{MASK}, {most} connections at most, statements {timeout} at most");
            row(format!("databases.{name}"), value, &database.origin);
        }
        for (name, bucket) in buckets {
            let endpoint = bucket.endpoint.as_ref().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
            let region = bucket.region.as_ref().map(|region| format!(" in {region}")).unwrap_or_default();
            let key = bucket
                .access_key
                .as_ref()
                .or(bucket.service_account.as_ref())
                .map(|_| format!(", key {MASK}"))
                .unwrap_or_default();
            row(format!("buckets.{name}"), format!("{}{endpoint}{region}{key}", bucket.url), &bucket.origin);
        }
        for (name, api) in apis {
            let headers: String = api.headers.iter().map(|(name, _)| format!(", {name} {MASK}")).collect();
            let private = if api.allow_private { ", private addresses too" } else { "" };
            let value = format!("{}, {} at most{private}{headers}", api.url, duration::format(api.timeout));
            row(format!("apis.{name}"), value, &api.origin);
        }
        for route in &self.routes {
            let sources: Vec<String> = route.sources.iter().map(|source| source.question.to_string()).collect();
            let value = format!("region {}, {}", route.region, sources.join(", else "));
            row(format!("routes {}", route.path), value, &route.origin);
        }
        if let Some(UserKeysSetting { origin, database, .. }) = &self.user_keys {
            row("credentials.sql".to_owned(), format!("API keys of users from database {database}"), origin);
        }
        rows
    }
}
