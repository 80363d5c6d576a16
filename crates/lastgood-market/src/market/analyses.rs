//! Analyses by a language model, by what they are of.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use lastgood::store::StoreError;
use lastgood::{Error, Freshness, LoadError, Reason, Region, TypedAnswer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::RegionName;
use crate::llm;
use crate::trouble::Troubles;

/// Analyses of one kind. The same input is the same analysis, however it is written; see [`llm::key`].
pub struct Analyses<T> {
    kind: String,
    region: Region,
    troubles: Arc<Troubles>,
    of: PhantomData<fn() -> T>,
}

/// The remembered state of an analysis that is not computed.
#[derive(Debug)]
pub enum Found<T> {
    /// A fresh one is kept.
    Kept(TypedAnswer<T>),
    /// No fresh one is kept.
    Absent,
    /// Memory holds no fresh one, and the store, where another program may have put one, did not say.
    Unknown(StoreError),
}

impl<T> Found<T> {
    /// The analysis, for a caller who computes it in any other case.
    pub fn kept(self) -> Option<TypedAnswer<T>> {
        match self {
            Found::Kept(answer) => Some(answer),
            Found::Absent | Found::Unknown(_) => None,
        }
    }
}

impl<T> Analyses<T> {
    pub(super) fn new(kind: &str, region: &Region, troubles: &Arc<Troubles>) -> Result<Self, Error> {
        llm::key(kind, &serde_json::Value::Null).map_err(|why| Error::new(Reason::NotFound, why.to_string()))?;
        Ok(Analyses { kind: kind.to_owned(), region: region.clone(), troubles: Arc::clone(troubles), of: PhantomData })
    }

    fn key(&self, input: &impl Serialize) -> Result<String, Error> {
        let input = serde_json::to_value(input)
            .map_err(|why| Error::new(Reason::Malformed, format!("the input has no JSON form: {why}")))?;
        llm::key(&self.kind, &input).map_err(|why| Error::new(Reason::Malformed, why.to_string()))
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Analyses<T> {
    /// The analysis of `input`, where there is a fresh one. That there is none, and that the store does not say, are two
    /// answers.
    ///
    /// # Errors
    ///
    /// Only for an input that has no JSON form, or one that is too deep or too large.
    pub async fn get(&self, input: &impl Serialize) -> Result<Found<T>, Error> {
        let key = self.key(input)?;
        let region = &self.region;
        let is_fresh = |answer: &lastgood::Answer| answer.freshness() == Freshness::Fresh;
        let held = match region.peek(&key).filter(is_fresh) {
            Some(held) => Some(held),
            None => match region.try_stored(&key).await {
                Ok(stored) => stored.filter(is_fresh),
                Err(why) => return Ok(Found::Unknown(why)),
            },
        };
        let Some(answer) = held else { return Ok(Found::Absent) };
        let value: Option<Arc<T>> = answer.memoised(|value| serde_json::from_slice(&value.body).ok().map(Arc::new));
        let Some(value) = value else { return Ok(Found::Absent) };
        region.composite().count(answer.outcome());
        Ok(Found::Kept(TypedAnswer { value, outcome: answer.outcome(), age: answer.age() }))
    }

    /// Keeps an analysis of `input`.
    ///
    /// # Errors
    ///
    /// When input or analysis have no JSON form, or the input is too deep or too large.
    pub async fn put(&self, input: &impl Serialize, analysis: &T) -> Result<(), Error> {
        self.region.typed().put(&self.key(input)?, analysis).await
    }

    /// The analysis of `input`, computed where there is none. However many ask at once, it is computed once; and where
    /// the computation fails, the last analysis is given and says so.
    ///
    /// # Errors
    ///
    /// Those of [`Analyses::put`], and the computation's where nothing is kept.
    pub async fn get_or_compute<F, C>(&self, input: &impl Serialize, compute: F) -> Result<TypedAnswer<T>, Error>
    where
        F: FnOnce() -> C + Send + 'static,
        C: Future<Output = Result<T, LoadError>> + Send + 'static,
    {
        let troubles = Arc::clone(&self.troubles);
        let compute =
            move || async move { Ok(troubles.note(RegionName::Llm, compute().await.map_err(LoadError::into_error))?) };
        self.region.typed().get_or_load(&self.key(input)?, compute).await
    }
}

impl<T> Clone for Analyses<T> {
    fn clone(&self) -> Self {
        Analyses {
            kind: self.kind.clone(),
            region: self.region.clone(),
            troubles: Arc::clone(&self.troubles),
            of: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Analyses<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Analyses({})", self.kind)
    }
}
