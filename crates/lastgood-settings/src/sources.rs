//! The databases, buckets and APIs that declared routes may ask. Nothing else is ever asked.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use lastgood_routes::spec::{ApiSpec, BucketSpec, Credentials, DatabaseSpec, SourceSpecs};
use lastgood_routes::template::is_name;
use secrecy::{ExposeSecret, SecretString};

use crate::fields::{Fields, text};
use crate::problem::{Origins, Wrong};
use crate::upstream::any;
use crate::value::{self, Raw};

/// Headers that the connection itself needs.
const OWN_HEADERS: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "accept-encoding", "if-none-match", "upgrade"];
const MOST_OF_A_KIND: usize = 64;
const SECOND: Duration = Duration::from_secs(1);

/// Reads them from the tables of the file, and notes where each was written.
pub(crate) fn sources(fields: &mut Fields<'_>, origins: &mut Origins) -> SourceSpecs {
    SourceSpecs {
        databases: fields.table("databases").map(|table| named(table, origins, database)).unwrap_or_default(),
        buckets: fields.table("buckets").map(|table| named(table, origins, bucket)).unwrap_or_default(),
        apis: fields.table("apis").map(|table| named(table, origins, api)).unwrap_or_default(),
    }
}

fn database(fields: &mut Fields<'_>) -> Option<DatabaseSpec> {
    let url = fields.required("url", "\"env:DATABASE_URL\"", database_url);
    let max_connections = fields.read("max_connections", |raw| value::count(raw, 1..=1_000));
    let statement_timeout = fields.read("statement_timeout", timeout);
    let mut spec = DatabaseSpec::new(url?);
    spec.max_connections = max_connections.unwrap_or(spec.max_connections);
    spec.statement_timeout = statement_timeout.unwrap_or(spec.statement_timeout);
    Some(spec)
}

fn bucket(fields: &mut Fields<'_>) -> Option<BucketSpec> {
    let url = fields.required("url", "\"gs://my-bucket\"", bucket_url);
    let endpoint = fields.read("endpoint", any);
    let region = fields.read("region", text("eu-central-1"));
    let credentials = credentials(fields);
    let endpoint = endpoint.map(|endpoint| endpoint.as_str().to_owned());
    Some(BucketSpec { endpoint, region, credentials, ..BucketSpec::new(url?) })
}

fn credentials(fields: &mut Fields<'_>) -> Credentials {
    let access_key = fields.read("access_key", secret("env:AWS_ACCESS_KEY_ID"));
    let secret_key = fields.read("secret_key", secret("env:AWS_SECRET_ACCESS_KEY"));
    let service_account = fields.read("service_account", secret("env:GCS_SERVICE_ACCOUNT"));
    for (one, other) in [("access_key", "secret_key"), ("secret_key", "access_key")] {
        if fields.has(one) && !fields.has(other) {
            let wrong = Wrong::new(format!("`{other}` is missing")).hint(format!("set {other}, too"));
            fields.refuse(one, wrong);
        }
    }
    match (access_key, secret_key, service_account) {
        (Some(id), Some(secret), _) => Credentials::AccessKey { id, secret, session_token: None },
        // Its JSON, or the file with it.
        (_, _, Some(account)) if account.expose_secret().trim_start().starts_with('{') => {
            Credentials::ServiceAccount(account)
        }
        (_, _, Some(file)) => Credentials::ServiceAccountFile(file.expose_secret().into()),
        _ => Credentials::Anonymous,
    }
}

fn api(fields: &mut Fields<'_>) -> Option<ApiSpec> {
    let url = fields.required("url", "\"https://www.example.com/v2\"", any);
    let headers = fields.table("headers").map(headers).unwrap_or_default();
    let timeout = fields.read("timeout", timeout);
    let allow_private = fields.read("allow_private", value::boolean).unwrap_or(false);
    let spec = ApiSpec::new(url?.url().clone());
    Some(ApiSpec { headers, timeout: timeout.unwrap_or(spec.timeout), allow_private, ..spec })
}

fn named<T>(
    fields: Fields<'_>,
    origins: &mut Origins,
    read: impl Fn(&mut Fields<'_>) -> Option<T>,
) -> BTreeMap<String, T> {
    let (report, origin, path) = (fields.report, fields.origin.clone(), fields.path.clone());
    let mut found = BTreeMap::new();
    let entries = fields.entries();
    if entries.len() > MOST_OF_A_KIND {
        let wrong = Wrong::new(format!("there are {} of them", entries.len()));
        report.refuse(&origin, &path, wrong.hint(format!("declare at most {MOST_OF_A_KIND}")));
    }
    for (name, mut entry) in entries {
        if !is_name(&name) {
            let wrong = Wrong::new("no name").hint("use a-z, 0-9 and _, a letter first, 40 at most");
            report.refuse(&entry.origin, &entry.path, wrong);
        }
        if let Some(spec) = read(&mut entry) {
            origins.insert(entry.path.clone(), entry.origin.clone());
            found.insert(name, spec);
        }
        entry.finish();
    }
    found
}

fn timeout(raw: &Raw) -> Result<Duration, Wrong> {
    value::span(raw, Duration::from_millis(10)..=SECOND * 600)
}

/// A text that is not shown.
fn secret(example: &'static str) -> impl Fn(&Raw) -> Result<SecretString, Wrong> {
    move |raw| text(example)(raw).map(SecretString::from)
}

/// Checked without being shown: it may hold a password.
fn database_url(raw: &Raw) -> Result<SecretString, Wrong> {
    let text = raw.string().ok_or_else(|| Wrong::new("expected a string").hint("write \"env:DATABASE_URL\""))?;
    let url = SecretString::from(text.trim());
    let known = ["postgres://", "postgresql://", "sqlite:"];
    let names_no_file = |url: &str| {
        let file = url.strip_prefix("sqlite:").map(|rest| rest.split('?').next().unwrap_or_default());
        file.is_some_and(|file| matches!(file.trim_start_matches('/'), "" | ":memory:"))
    };
    if names_no_file(url.expose_secret()) {
        return Err(Wrong::new("a SQLite URL names a file").hint("write for example \"sqlite:data/prices.db\""));
    }
    match known.iter().any(|scheme| url.expose_secret().starts_with(scheme)) {
        true => Ok(url),
        false => Err(Wrong::new("this is no database URL")
            .hint("it begins with postgres:// or sqlite:, as in \"postgres://user:password@host/name\"")),
    }
}

fn bucket_url(raw: &Raw) -> Result<String, Wrong> {
    let url = raw.as_text("gs://my-bucket")?.to_owned();
    let known =
        ["gs://", "s3://", "file:"].iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    match known && !url.contains('@') {
        true => Ok(url),
        false => Err(Wrong::new("this is no bucket").hint("write \"gs://name\", \"s3://name\" or \"file:./folder\"")),
    }
}

fn headers(fields: Fields<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let report = fields.report;
    let mut headers = Vec::new();
    for (name, origin, path, raw) in fields.values() {
        match header(&name, &raw) {
            Ok(header) => headers.push(header),
            Err(wrong) => report.refuse(&origin, &path, wrong),
        }
    }
    headers
}

fn header(name: &str, raw: &Raw) -> Result<(HeaderName, HeaderValue), Wrong> {
    let named = HeaderName::try_from(name)
        .map_err(|_| Wrong::new("this is no name of a header").hint("write for example Authorization"))?;
    if OWN_HEADERS.contains(&named.as_str()) {
        return Err(Wrong::new("this header is set by the connection itself").hint("leave it out"));
    }
    let text = raw
        .string()
        .ok_or_else(|| Wrong::new("expected a string").hint("write \"env:NAME\" or the value in quotes"))?;
    let mut value = HeaderValue::from_str(text.trim())
        .map_err(|_| Wrong::new("the value holds a character that no header can carry").hint("use visible ASCII"))?;
    value.set_sensitive(true);
    Ok((named, value))
}
