//! Regions of Rust values: a thin layer of JSON over the bytes.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Answer, Region};
use crate::entry::{Loaded, Value};
use crate::error::{Error, LoadError, Reason};
use crate::outcome::Outcome;
use crate::store::StoreError;

/// A region whose values are `T`, kept as JSON. Raise the region's schema when `T` changes its form.
///
/// Decoding happens once per entry, not once per read: hits share one `T`.
///
/// ```
/// # use std::time::Duration;
/// # use lastgood::{Cache, Policy};
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let cache = Cache::builder().build()?;
/// let scores = cache.region("scores", Policy::fresh_for(Duration::from_secs(60)))?.typed::<Vec<u32>>();
/// let answer = scores.get_or_load("week-9", || async { Ok(vec![3, 1, 2]) }).await?;
/// assert_eq!(*answer.value, [3, 1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct TypedRegion<T> {
    region: Region,
    of: PhantomData<fn() -> T>,
}

/// An [`Answer`], decoded.
#[derive(Debug)]
pub struct TypedAnswer<T> {
    /// The value, shared with other readers.
    pub value: Arc<T>,
    /// How the answer came about.
    pub outcome: Outcome,
    /// How long ago the load that brought it began.
    pub age: Duration,
}

impl Region {
    /// This region, of values that are `T`.
    pub fn typed<T>(&self) -> TypedRegion<T> {
        TypedRegion { region: self.clone(), of: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> TypedRegion<T> {
    /// As [`Region::get_or_load`]. A cached value that is no JSON of a `T` is removed and loaded again.
    ///
    /// # Errors
    ///
    /// The loader's error when nothing good is kept; [`Reason::Malformed`] when a `T` cannot be read from its own JSON.
    pub async fn get_or_load<F, L>(&self, name: &str, load: F) -> Result<TypedAnswer<T>, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<T, LoadError>> + Send + 'static,
    {
        let load = Arc::new(Mutex::new(Some(load)));
        let answer = self.read(name, &load).await?;
        if let Some(typed) = from_answer(&answer) {
            return Ok(typed);
        }
        let is_unused = load.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if is_unused {
            // Only the first of many readers removes it: otherwise each would detach the load of the one before.
            if self.region.held(name).is_some_and(|held| Arc::ptr_eq(&held, &answer.entry)) {
                self.region.remove(name).await;
            }
            if let Some(typed) = from_answer(&self.read(name, &load).await?) {
                return Ok(typed);
            }
        }
        Err(Error::new(Reason::Malformed, "what the cache holds is no JSON of the region's type"))
    }

    async fn read<F, L>(&self, name: &str, load: &Arc<Mutex<Option<F>>>) -> Result<Answer, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<T, LoadError>> + Send + 'static,
    {
        let load = Arc::clone(load);
        let load = move || {
            let load = load.lock().unwrap_or_else(PoisonError::into_inner).take();
            async move {
                match load {
                    Some(load) => Ok(to_loaded(&load().await?)?),
                    None => Err(Error::new(Reason::Malformed, "the loader has answered already").into()),
                }
            }
        };
        self.region.get_or_load(name, load).await
    }

    /// As [`Region::get`]. A value that is no JSON of a `T` counts as absent.
    ///
    /// # Errors
    ///
    /// As [`Region::get`].
    pub async fn get(&self, name: &str) -> Result<Option<TypedAnswer<T>>, StoreError> {
        Ok(self.region.get(name).await?.as_ref().and_then(from_answer))
    }

    /// As [`Region::put`].
    ///
    /// # Errors
    ///
    /// [`Reason::Malformed`] when the value has no JSON form, as with a map whose keys are no text.
    pub async fn put(&self, name: &str, value: &T) -> Result<(), Error> {
        self.region.put(name, to_loaded(value)?).await;
        Ok(())
    }

    /// The region of bytes beneath.
    pub fn bytes(&self) -> &Region {
        &self.region
    }
}

fn to_loaded<T: Serialize>(value: &T) -> Result<Loaded, Error> {
    match serde_json::to_vec(value) {
        Ok(json) => Ok(Value::new(json).into()),
        Err(why) => Err(Error::new(Reason::Malformed, format!("the value has no JSON form: {why}"))),
    }
}

fn from_answer<T: DeserializeOwned + Send + Sync + 'static>(answer: &Answer) -> Option<TypedAnswer<T>> {
    let decoded: Option<Arc<T>> = answer.memoised(|value| serde_json::from_slice(&value.body).ok().map(Arc::new));
    Some(TypedAnswer { value: decoded?, outcome: answer.outcome(), age: answer.age() })
}
