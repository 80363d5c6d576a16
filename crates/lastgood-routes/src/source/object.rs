//! Answers from objects in S3, in Google Cloud Storage or in a folder: JSON documents, parts of them, and their names.

pub(crate) mod bucket;
pub(crate) mod error;
mod folder;
mod key;
mod service;

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _};
use lastgood::{Error, Reason};
use object_store::path::Path;
use object_store::{Attribute, GetOptions, GetResult};
use tokio::time::timeout;

pub(crate) use self::bucket::Bucket;
use self::error::ObjectError;
use self::key::KeyTemplate;
pub(crate) use super::selector::Selector;
use crate::arguments::Arguments;
use crate::source::{Answer, CheckError, Held, Loaded, Source};

/// A declared object, or the names of all objects in a folder.
#[derive(Clone, Debug)]
pub struct ObjectSpec {
    /// The name of the bucket that it lies in.
    pub bucket: String,
    /// The key below the bucket's prefix, with parameters as `{name}`: `stock-data/daily/{symbol}.json`.
    pub key: String,
    /// What of it is wanted.
    pub want: Want,
    /// Defaults to 64 MiB. A larger object is an error.
    pub max_bytes: usize,
    /// Defaults to 10,000. More objects in the folder of a pattern are an error, never a cut list.
    pub max_names: usize,
}

/// What of the objects is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// A part of one JSON document.
    Document(Selector),
    /// The names of all objects whose keys are like a pattern with one `*` in its last segment, as a sorted JSON array
    /// of what stands for the `*`.
    Names,
}

impl ObjectSpec {
    /// An object with its limits at their defaults.
    pub fn new(bucket: impl Into<String>, key: impl Into<String>, want: Want) -> ObjectSpec {
        ObjectSpec { bucket: bucket.into(), key: key.into(), want, max_bytes: 64 << 20, max_names: 10_000 }
    }
}

/// An object of a bucket, chosen by parameters.
#[derive(Debug)]
pub(crate) struct ObjectTemplate {
    bucket: Bucket,
    key: KeyTemplate,
    want: Want,
    max_bytes: usize,
    max_names: usize,
    /// Distinguishes answers of this selection from those of another that was declared before.
    selection: u64,
}

impl ObjectTemplate {
    /// Reads the key and the selection; the bucket is not asked. `parameters` are the names of all that there may be.
    ///
    /// # Errors
    ///
    /// The problem with them, and how to fix it.
    pub(crate) fn new(bucket: Bucket, spec: &ObjectSpec, parameters: &[String]) -> Result<ObjectTemplate, ObjectError> {
        let key = KeyTemplate::parse(&spec.key, parameters).map_err(ObjectError::Key)?;
        let stars = spec.key.matches('*').count();
        match &spec.want {
            Want::Document(_) if stars > 0 => {
                return Err(ObjectError::StarInKey);
            }
            Want::Document(selector) => selector.validate(parameters)?,
            Want::Names => {
                let last = spec.key.rsplit('/').next().unwrap_or_default();
                if stars != 1 || !last.contains('*') {
                    return Err(ObjectError::NoStar);
                }
            }
        }
        let mut hasher = DefaultHasher::new();
        format!("{:?}", spec.want).hash(&mut hasher);
        let (max_bytes, max_names) = (spec.max_bytes, spec.max_names);
        Ok(ObjectTemplate { bucket, key, want: spec.want.clone(), max_bytes, max_names, selection: hasher.finish() })
    }

    async fn fetch(&self, arguments: &Arguments, held: Option<&Held>) -> Result<Loaded, Error> {
        let key = self.key.fill(arguments).ok_or_else(no_such_object)?;
        match &self.want {
            Want::Document(selector) => self.document(selector, &key, arguments, held).await,
            Want::Names => {
                let names = self.names(&key).await?;
                let body = serde_json::to_vec(&names).unwrap_or_default().into();
                Ok(Loaded::Answer(json(body, None)))
            }
        }
    }

    async fn document(
        &self,
        selector: &Selector,
        key: &str,
        arguments: &Arguments,
        held: Option<&Held>,
    ) -> Result<Loaded, Error> {
        let path = self.bucket.path(key).ok_or_else(no_such_object)?;
        if let Some(folder) = self.bucket.as_folder() {
            folder.confine(&path, self.bucket.name()).await?;
        }
        let mark = format!("{:x} ", self.selection);
        let known = held.and_then(|held| held.validator.as_deref()?.strip_prefix(&mark));
        let options = GetOptions { if_none_match: known.map(str::to_owned), ..GetOptions::default() };
        let got = match self.bucket.store().get_opts(&path, options).await {
            Ok(got) => got,
            Err(object_store::Error::NotModified { .. }) if known.is_some() => return Ok(Loaded::Unchanged),
            Err(why) => return Err(self.bucket.failure(&why)),
        };
        if got.attributes.get(&Attribute::ContentEncoding).is_some_and(|encoding| encoding.as_ref() != "identity") {
            return Err(malformed("the object is stored compressed; store it as plain JSON"));
        }
        let validator = got.meta.e_tag.as_ref().map(|tag| format!("{mark}{tag}"));
        let document = self.read(got).await?;
        let selected = selector.select(document, arguments).await;
        let body = selected.map_err(|why| malformed(format!("the object is not as declared: {why}")))?;
        Ok(Loaded::Answer(json(body, validator)))
    }

    async fn read(&self, got: GetResult) -> Result<Bytes, Error> {
        let size = usize::try_from(got.meta.size).unwrap_or(usize::MAX);
        if size > self.max_bytes {
            return Err(self.too_large());
        }
        let mut body = BytesMut::with_capacity(size);
        let mut stream = got.into_stream();
        while let Some(part) = stream.try_next().await.map_err(|why| self.bucket.failure(&why))? {
            if body.len() + part.len() > self.max_bytes {
                return Err(self.too_large());
            }
            body.extend_from_slice(&part);
        }
        match body.len() == size {
            true => Ok(body.freeze()),
            false => Err(malformed("the object broke off")),
        }
    }

    fn too_large(&self) -> Error {
        malformed(format!("the object is larger than {} bytes; raise `max_bytes`", self.max_bytes))
    }

    async fn names(&self, pattern: &str) -> Result<Vec<String>, Error> {
        let (folder, last) = pattern.rsplit_once('/').unwrap_or(("", pattern));
        let (start, end) = last.split_once('*').unwrap_or((last, ""));
        let folder = self.bucket.folder(folder).ok_or_else(no_such_object)?;
        let mut names = Vec::new();
        let mut seen = 0usize;
        let mut take = |name: &str| {
            let name = name.strip_prefix(start).and_then(|name| name.strip_suffix(end));
            names.extend(name.filter(|name| !name.is_empty()).map(str::to_owned));
            seen += 1;
            let limit = self.max_names;
            let too_many = || malformed(format!("more than {limit} objects lie there; raise `max_names`"));
            if seen > limit { Err(too_many()) } else { Ok(()) }
        };
        if let Some(own) = self.bucket.as_folder() {
            let within = folder.unwrap_or(Path::ROOT);
            let listed = own.file_names(&within, self.max_names, self.bucket.name()).await?;
            listed.iter().try_for_each(|name| take(name))?;
        } else {
            let mut listing = self.bucket.store().list(folder.as_ref());
            let inside = folder.as_ref().map_or(0, |folder| folder.parts().count()) + 1;
            while let Some(object) = listing.try_next().await.map_err(|why| self.bucket.failure(&why))? {
                // Deeper folders are listed too; their objects' names have more parts.
                let is_inside = object.location.parts().count() == inside;
                take(object.location.filename().filter(|_| is_inside).unwrap_or_default())?;
            }
        }
        if seen == 0 {
            return Err(no_such_object());
        }
        names.sort_unstable();
        Ok(names)
    }

    async fn probe(&self) -> Result<(), CheckError> {
        let bucket = || self.bucket.to_string();
        let failed = |why| CheckError::Bucket { bucket: bucket(), why };
        if matches!(self.want, Want::Document(_)) && !self.key.has_parameters() {
            let path = self.bucket.path(&self.key.to_string()).ok_or(CheckError::NotPath)?;
            if let Some(folder) = self.bucket.as_folder() {
                let confined = folder.confine(&path, self.bucket.name()).await;
                confined.map_err(|why| CheckError::Object { bucket: bucket(), why: Box::new(why) })?;
            }
            let options = GetOptions { head: true, ..GetOptions::default() };
            self.bucket.store().get_opts(&path, options).await.map_err(failed)?;
            return self.probe_fields(&path).await;
        }
        let folder = self.bucket.folder(self.key.fixed_folder()).ok_or(CheckError::NotPath)?;
        let nothing = || CheckError::NothingThere { bucket: bucket(), key: self.key.to_string() };
        if let Some(own) = self.bucket.as_folder() {
            return own.is_filled(&folder.unwrap_or(Path::ROOT)).await.then_some(()).ok_or_else(nothing);
        }
        match self.bucket.store().list(folder.as_ref()).next().await {
            Some(Ok(object)) => self.probe_fields(&object.location).await,
            Some(Err(why)) => Err(failed(why)),
            None => Err(nothing()),
        }
    }
}

impl ObjectTemplate {
    /// Whether an object has the fields that are computed with, as far as a misspelt one can be distinguished from one that is absent.
    async fn probe_fields(&self, path: &Path) -> Result<(), CheckError> {
        let Want::Document(selector) = &self.want else { return Ok(()) };
        if selector.fields.is_empty() {
            return Ok(());
        }
        let Ok(got) = self.bucket.store().get_opts(path, GetOptions::default()).await else { return Ok(()) };
        let Ok(document) = self.read(got).await else { return Ok(()) };
        match selector.misspelt(&document) {
            Some((name, meant)) => Err(CheckError::NoField { path: path.to_string(), name, meant }),
            None => Ok(()),
        }
    }
}

fn json(body: Bytes, validator: Option<String>) -> Answer {
    Answer { body, content_type: "application/json".to_owned(), validator, fresh_for: None }
}

fn no_such_object() -> Error {
    Error::new(Reason::NotFound, "there is no such object")
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(Reason::Malformed, message)
}

#[async_trait]
impl Source for ObjectTemplate {
    async fn load(&self, arguments: &Arguments, held: Option<&Held>) -> Result<Loaded, Error> {
        let asked = timeout(self.bucket.timeout(), self.fetch(arguments, held)).await;
        asked.unwrap_or_else(|_| Err(Error::new(Reason::TimedOut, "the bucket did not answer in time")))
    }

    async fn check(&self) -> Result<(), CheckError> {
        let probed = timeout(self.bucket.timeout(), self.probe()).await;
        probed.unwrap_or_else(|_| Err(CheckError::BucketLate(self.bucket.to_string())))
    }
}

impl fmt::Display for ObjectTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.key, self.bucket)
    }
}

#[cfg(test)]
mod tests;
