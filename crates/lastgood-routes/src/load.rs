//! A load: the sources in turn, within the time that the region gives to all of them.

use lastgood::{Error, Loaded, Reason, Value};
use tokio::time::{Instant, timeout};

use crate::answer::RouteAnswer;
use crate::arguments::Arguments;
use crate::meta::Meta;
use crate::route::{Asked, Link, Route};
use crate::source::{self, Held};

impl Route {
    /// Asks one source after the other until one answers.
    pub(crate) async fn load(&self, key: &str, arguments: &Arguments) -> Result<Loaded, Error> {
        // The time that is left when the last source is late is for writing its answer.
        let ends = Instant::now() + self.region.policy().hard_timeout.mul_f64(0.95);
        let (mut failure, mut missing) = (None, None);
        for (at, link) in self.links.iter().enumerate() {
            let left = ends.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(self.links.len() - at).unwrap_or(1);
            let (asked, held) = (link.asked(), self.held(key, at));
            let asking = self.ask_one(link, &asked, (key, arguments), held.as_ref());
            let answered = timeout(share, asking).await.unwrap_or_else(|_| {
                let message = format!("source {} did not answer within {} ms", at + 1, share.as_millis());
                Err(Error::new(Reason::TimedOut, message))
            });
            match answered {
                Ok(source::Loaded::Refused(error)) => missing = Some(error.with_reason(Reason::NotFound)),
                Ok(loaded) => return Ok(self.loaded((at, &asked), loaded, held, arguments)),
                Err(error) if error.reason == Reason::NotFound => {
                    missing = Some(error);
                    if !link.next_on_missing {
                        break;
                    }
                }
                Err(error) => {
                    let path = &self.spec.path;
                    tracing::debug!(%path, source = %asked.source, why = %error, "a source gave no answer");
                    self.failed(link, &error);
                    failure.get_or_insert(error);
                }
            }
        }
        // Of what a source that failed may have had, the others cannot say that there is no such thing.
        let nothing = || Error::new(Reason::Abandoned, "there is no source to ask");
        Err(failure.or(missing).unwrap_or_else(nothing))
    }

    /// Asks one source, and notes for its condition how that ends, or that it takes longer than readers wait.
    async fn ask_one(
        &self,
        link: &Link,
        asked: &Asked,
        (key, arguments): (&str, &Arguments),
        held: Option<&Held>,
    ) -> Result<source::Loaded, Error> {
        let path = self.spec.path.to_string();
        let load = link.condition.begin(&path);
        let patience = self.region.policy().soft_timeout;
        let mut answer = asked.source.load(arguments, held);
        let answered = match timeout(patience, &mut answer).await {
            Ok(answered) => answered,
            Err(_) => {
                let what = format!("no answer for {} ms yet", patience.as_millis());
                load.is_slow(&Error::new(Reason::Slow, what));
                answer.await
            }
        };
        let answered = match answered {
            // It has been answered before: something is wrong with the source, and the last good answer stands in.
            Ok(source::Loaded::Refused(error)) if self.region.peek(key).is_some() => Err(error),
            answered => answered,
        };
        load.ended(&answered);
        answered
    }

    /// The kept version of an earlier answer of a source.
    fn held(&self, key: &str, at: usize) -> Option<Held> {
        let kept = RouteAnswer::of(self.region.peek(key)?);
        let meta = kept.meta();
        if meta.definition.as_ref() != Some(&self.definition) {
            return None;
        }
        let (source, validator) = meta.validator.as_ref()?;
        (*source == at).then(|| Held { body: kept.answer().body().clone(), validator: Some(validator.clone()) })
    }

    fn loaded(
        &self,
        (at, asked): (usize, &Asked),
        loaded: source::Loaded,
        held: Option<Held>,
        arguments: &Arguments,
    ) -> Loaded {
        let (answer, fresh_for) = match (loaded, held) {
            (source::Loaded::Answer(mut answer), _) => {
                let fresh_for = answer.fresh_for.take();
                (answer, fresh_for)
            }
            (source::Loaded::Unchanged | source::Loaded::Refused(_), held) => {
                // A source says so only of what it was given.
                let Held { body, validator } = held.unwrap_or(Held { body: bytes::Bytes::new(), validator: None });
                let content_type = "application/json".to_owned();
                (source::Answer { body, content_type, validator, fresh_for: None }, None)
            }
        };
        // A source may know better than the route.
        let fresh_for = fresh_for.or(self.spec.fresh_for);
        let meta = Meta {
            content_type: answer.content_type,
            validator: answer.validator.map(|validator| (at, validator)),
            definition: Some(self.definition.clone()),
            place: Some(asked.place.to_string()),
        };
        let value = Value::new(answer.body).with_meta(meta.write());
        Loaded { fresh_for, tags: self.tags(arguments), ..Loaded::from(value) }
    }
}
