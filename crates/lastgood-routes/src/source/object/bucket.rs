//! Where objects lie, and how to get at them: with the credentials that are declared, and never with others.

use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lastgood::http_client::{HttpClient, HttpOptions};
use lastgood::proxy::ProxyFailure;
use lastgood::{Error, Reason};
use object_store::aws::AmazonS3Builder;
use object_store::client::{HttpError, HttpErrorKind};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, RetryConfig, StaticCredentialProvider};
use secrecy::{ExposeSecret, SecretString};

use super::error::ObjectError;
use super::folder::Folder;
use super::service::Connector;
use crate::source::{ConnectOptions, tls};

/// A declared bucket or folder.
#[derive(Clone, Debug)]
pub struct BucketSpec {
    /// `s3://bucket/prefix`, `gs://bucket/prefix` or `file:./folder`.
    pub url: String,
    /// Who asks. Defaults to [`Credentials::Anonymous`].
    pub credentials: Credentials,
    /// S3 only. Defaults to `us-east-1`.
    pub region: Option<String>,
    /// Where the service is, if not at its own address: `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// Defaults to 10 s, for all of a load.
    pub timeout: Duration,
}

impl BucketSpec {
    /// A bucket with all at its default, for anyone to read.
    pub fn new(url: impl Into<String>) -> BucketSpec {
        BucketSpec {
            url: url.into(),
            credentials: Credentials::Anonymous,
            region: None,
            endpoint: None,
            timeout: Duration::from_secs(10),
        }
    }
}

/// Who asks. Nothing is looked for elsewhere: not in the environment, not at a cloud's metadata address.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// None: the bucket is public, or a folder.
    Anonymous,
    /// For S3.
    AccessKey {
        /// Its name.
        id: SecretString,
        /// The key itself.
        secret: SecretString,
        /// Of temporary keys.
        session_token: Option<SecretString>,
    },
    /// For Google Cloud Storage: the JSON of a service account's key.
    ServiceAccount(SecretString),
    /// For Google Cloud Storage: the file with that JSON.
    ServiceAccountFile(PathBuf),
}

/// A place of objects. Clones share its connections.
#[derive(Clone)]
pub(crate) struct Bucket(Arc<Inner>);

struct Inner {
    name: String,
    url: String,
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    folder: Option<Folder>,
    timeout: Duration,
}

impl Bucket {
    /// Reads the address and the credentials; nothing is asked yet. A folder must be there. `name` is what it is called in
    /// the log.
    ///
    /// # Errors
    ///
    /// The problem with them, and how to fix it. Names no secret.
    pub(crate) fn open(name: &str, spec: &BucketSpec, connect: &ConnectOptions) -> Result<Bucket, ObjectError> {
        if let Some(folder) = spec.url.strip_prefix("file:") {
            return Bucket::folder_at(name, folder.strip_prefix("//").unwrap_or(folder), spec);
        }
        let (scheme, place) = spec.url.split_once("://").ok_or(ObjectError::UnknownKind)?;
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() || bucket.contains('@') {
            return Err(ObjectError::NoBucket);
        }
        let store: Arc<dyn ObjectStore> = match scheme {
            "s3" => s3(bucket, spec, connect)?,
            "gs" => gcs(bucket, spec, connect)?,
            _ => return Err(ObjectError::UnknownKind),
        };
        let prefix = Path::parse(prefix).map_err(|_| ObjectError::Prefix)?;
        Ok(Bucket::with(name, spec, store, prefix, None))
    }

    fn folder_at(name: &str, folder: &str, spec: &BucketSpec) -> Result<Bucket, ObjectError> {
        if !matches!(spec.credentials, Credentials::Anonymous) || spec.endpoint.is_some() {
            return Err(ObjectError::FolderWithCredentials);
        }
        let (folder, prefix) = Folder::at(folder)?;
        Ok(Bucket::with(name, spec, folder.store(), prefix, Some(folder)))
    }

    fn with(
        name: &str,
        spec: &BucketSpec,
        store: Arc<dyn ObjectStore>,
        prefix: Path,
        folder: Option<Folder>,
    ) -> Bucket {
        let (name, url, timeout) = (name.to_owned(), spec.url.clone(), spec.timeout);
        Bucket(Arc::new(Inner { name, url, store, prefix, folder, timeout }))
    }

    /// Whether both have the same connections.
    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Bucket) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn store(&self) -> &dyn ObjectStore {
        &*self.0.store
    }

    pub(super) fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// The path of a key. `None` if it leads nowhere, or out of the prefix.
    pub(super) fn path(&self, key: &str) -> Option<Path> {
        // The store's own rules once more: no empty, `.` or `..` segments, no control characters.
        let key = Path::parse(key).ok().filter(|parsed| parsed.as_ref() == key)?;
        Some(Path::from_iter(self.0.prefix.parts().chain(key.parts())))
            .filter(|path| path.prefix_matches(&self.0.prefix))
    }

    /// The path of a folder, where there is one: that of the whole bucket has none.
    pub(super) fn folder(&self, folder: &str) -> Option<Option<Path>> {
        let path = if folder.is_empty() { self.0.prefix.clone() } else { self.path(folder)? };
        Some(Some(path).filter(|path| *path != Path::ROOT))
    }

    /// Where it is a folder, and not a store elsewhere.
    pub(super) fn as_folder(&self) -> Option<&Folder> {
        self.0.folder.as_ref()
    }

    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// The error of a load; what the store says is logged, not shown: it names addresses.
    pub(super) fn failure(&self, why: &object_store::Error) -> Error {
        let (reason, message) = reason(why);
        Error::new(reason, message).with_detail(why.to_string())
    }
}

fn reason(why: &object_store::Error) -> (Reason, &'static str) {
    match why {
        // A bucket that is gone is no missing object.
        object_store::Error::NotFound { source, .. } if !source.to_string().contains("NoSuchBucket") => {
            return (Reason::NotFound, "there is no such object");
        }
        object_store::Error::InvalidPath { .. } => return (Reason::NotFound, "there is no such object"),
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            return (Reason::Upstream, "the bucket refuses its credentials");
        }
        _ => {}
    }
    let mut cause = why.source();
    while let Some(inner) = cause {
        if let Some(http) = inner.downcast_ref::<HttpError>() {
            return match http.kind() {
                _ if tls::failure(http).is_some() => (Reason::Unreachable, "the bucket cannot be reached over TLS"),
                HttpErrorKind::Timeout => (Reason::TimedOut, "the bucket did not answer in time"),
                HttpErrorKind::Decode => (Reason::Malformed, "the bucket's answer could not be read"),
                _ => (Reason::Unreachable, "the bucket cannot be reached"),
            };
        }
        cause = inner.source();
    }
    match why.to_string() {
        said if said.contains("429 Too Many Requests") || said.contains("SlowDown") => {
            (Reason::RateLimited, "the bucket asks to wait")
        }
        _ => (Reason::Upstream, "the bucket answered with an error"),
    }
}

pub(crate) fn of_check(why: &object_store::Error) -> String {
    if let Some(refused) = tls::failure(why) {
        return format!("{refused}; {}", tls::HINT);
    }
    if let Some(failure) = ProxyFailure::among_causes_of(why) {
        return format!("{failure}; {}", failure.hint());
    }
    match reason(why) {
        (Reason::NotFound, _) => "there is no such object; is the key right?".to_owned(),
        (Reason::Unreachable, _) => format!("it cannot be reached; is the endpoint right? ({why})"),
        (Reason::Upstream, said) => format!("{said}; are the bucket, the region and the credentials right? ({why})"),
        (_, said) => format!("{said} ({why})"),
    }
}

fn s3(bucket: &str, spec: &BucketSpec, connect: &ConnectOptions) -> Result<Arc<dyn ObjectStore>, ObjectError> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(spec.region.as_deref().unwrap_or("us-east-1"))
        .with_http_connector(Connector(client(connect)?))
        .with_retry(retry(spec));
    builder = match &spec.credentials {
        Credentials::Anonymous => builder.with_skip_signature(true).with_access_key_id("").with_secret_access_key(""),
        Credentials::AccessKey { id, secret, session_token } => {
            let builder = builder.with_access_key_id(id.expose_secret()).with_secret_access_key(secret.expose_secret());
            match session_token {
                Some(token) => builder.with_token(token.expose_secret()),
                None => builder,
            }
        }
        _ => return Err(ObjectError::ServiceAccountForS3),
    };
    if let Some(endpoint) = &spec.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    Ok(Arc::new(builder.build().map_err(|_| ObjectError::S3Address)?))
}

fn gcs(bucket: &str, spec: &BucketSpec, connect: &ConnectOptions) -> Result<Arc<dyn ObjectStore>, ObjectError> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_http_connector(Connector(client(connect)?))
        .with_retry(retry(spec));
    builder = match &spec.credentials {
        Credentials::Anonymous => {
            // With credentials given, empty though they be, none are looked for elsewhere.
            let anonymous = StaticCredentialProvider::new(GcpCredential { bearer: String::new() });
            builder.with_credentials(Arc::new(anonymous)).with_skip_signature(true)
        }
        Credentials::ServiceAccount(key) => builder.with_service_account_key(key.expose_secret()),
        Credentials::ServiceAccountFile(path) => builder.with_service_account_path(path.to_string_lossy()),
        Credentials::AccessKey { .. } => {
            return Err(ObjectError::AccessKeyForGcs);
        }
    };
    if let Some(endpoint) = &spec.endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    // What it says may hold parts of the key.
    let built = builder.build().map_err(|_| ObjectError::ServiceAccountKey)?;
    Ok(Arc::new(built))
}

fn retry(spec: &BucketSpec) -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: 1, retry_timeout: spec.timeout }
}

/// One client for all requests: to the service and nowhere else, taking bodies as they are.
fn client(connect: &ConnectOptions) -> Result<HttpClient, ObjectError> {
    let options = HttpOptions { proxies: connect.proxies.clone(), ..HttpOptions::new(connect.connect_timeout) };
    HttpClient::new(&options).map_err(ObjectError::Client)
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.name, self.0.url)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({self})")
    }
}
