//! Which database, bucket or API a source is: what one of them answered is never served as another's.

use ring::digest::{SHA256, digest};
use secrecy::ExposeSecret as _;
use url::Url;

use crate::key::hex;
use crate::source::object::bucket::BucketSpec;
use crate::source::sql::DatabaseSpec;
use crate::spec::{Question, SourceSpecs};

/// Parts of a database's URL after the question mark that say which database it is; passwords and options of the
/// connection do not.
const OF_PLACE: [&str; 5] = ["host", "hostaddr", "port", "dbname", "options"];

/// A digest of where a source is, without the credentials that lead there.
pub(crate) fn place(question: &Question, sources: &SourceSpecs) -> String {
    let place = match question {
        Question::Statement(spec) => sources.databases.get(&spec.database).map(database),
        Question::Object(spec) => sources.buckets.get(&spec.bucket).map(bucket),
        Question::Request(spec) => sources.apis.get(&spec.api).map(|api| format!("api {}", api.base())),
    };
    hex(&digest(&SHA256, place.unwrap_or_default().as_bytes()).as_ref()[..8])
}

fn database(spec: &DatabaseSpec) -> String {
    let text = spec.url.expose_secret();
    if let Some(file) = text.strip_prefix("sqlite:") {
        return format!("sqlite {}", file.split('?').next().unwrap_or_default());
    }
    let Ok(url) = Url::parse(text) else {
        // Such as several hosts: what follows on the last @ holds no credentials.
        return format!("postgres {}", text.rsplit('@').next().unwrap_or_default());
    };
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts: Vec<String> = url
        .query_pairs()
        .filter(|(name, _)| OF_PLACE.contains(&&**name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    parts.sort();
    format!("postgres {host}:{} {} {}", url.port().unwrap_or(5_432), url.path(), parts.join("&"))
}

fn bucket(spec: &BucketSpec) -> String {
    let endpoint = spec.endpoint.as_deref().unwrap_or_default();
    format!("bucket {} {endpoint}", spec.url.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> String {
        database(&DatabaseSpec::new(url))
    }

    #[test]
    fn a_database_is_its_host_and_its_name_and_not_its_password() {
        let own = of("postgres://user:secret@db.example/prices");
        for same in [
            "postgres://user:rotated@db.example/prices",
            "postgresql://other@DB.example:5432/prices",
            "postgres://db.example/prices?sslmode=require&password=secret",
        ] {
            assert_eq!(of(same), own, "{same}");
        }
        for other in [
            "postgres://user:secret@staging.example/prices",
            "postgres://user:secret@db.example:5433/prices",
            "postgres://user:secret@db.example/prices_test",
            "postgres://user:secret@db.example/prices?options=-csearch_path%3Dstaging",
            "postgres:///prices?host=/run/postgresql",
            "sqlite:prices.db",
        ] {
            assert_ne!(of(other), own, "{other}");
        }
        assert_eq!(of("sqlite:prices.db?mode=ro"), of("sqlite:prices.db"));
        assert_ne!(of("sqlite:prices.db"), of("sqlite:other.db"));
        assert!(!own.contains("secret") && !of("postgres://u:secret@a,b/x").contains("secret"));
    }
}
