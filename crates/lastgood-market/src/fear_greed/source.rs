//! Where the fear & greed index comes from.

use std::sync::Arc;

use bytes::Bytes;
use lastgood::condition::Condition;
use lastgood::{Answer, Error, Loaded, Reason, Region, Timestamp, Value};

use super::{Form, PATH, key};
use crate::RegionName;
use crate::trouble::Troubles;
use crate::upstream::SiteClient;

/// The fear & greed index, from the cache or its site.
pub struct FearGreed {
    pub(crate) site: Arc<SiteClient>,
    pub(crate) region: Region,
    /// Whether an answer is fresh until the update that it names.
    pub(crate) dates_itself: bool,
    pub(crate) troubles: Arc<Troubles>,
}

impl FearGreed {
    /// What distinguishes its site from others.
    pub fn name(&self) -> &str {
        self.site.name()
    }

    /// How its site answers.
    pub fn condition(&self) -> &Condition {
        self.site.condition()
    }

    /// Until when we back off from its site, if we do.
    pub fn stopped(&self) -> Option<Timestamp> {
        self.site.stopped()
    }

    /// Where its answers are kept.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The key of the answer to `query`.
    pub fn key(&self, query: &str) -> String {
        key(self.name(), query)
    }

    /// What the index answers to `query`, in this form.
    ///
    /// # Errors
    ///
    /// The index's, where nothing is kept.
    pub async fn answer(&self, query: &str, form: Form) -> Result<Answer, Error> {
        let (site, troubles, dates_itself) = (Arc::clone(&self.site), Arc::clone(&self.troubles), self.dates_itself);
        let target = format!("{PATH}?{query}");
        let load = move || async move {
            let loaded = load(&site, &target, form, dates_itself).await;
            Ok(troubles.note(RegionName::FearGreed, loaded)?)
        };
        self.region.get_or_load(&self.key(query), load).await
    }
}

async fn load(site: &SiteClient, target: &str, form: Form, dates_itself: bool) -> Result<Loaded, Error> {
    let checked = |body: Bytes| {
        let left = form.check(&body).map_err(|why| Error::new(Reason::Malformed, why.to_string()))?;
        Ok((body, left))
    };
    let (body, left) = site.get(target, checked).await?;
    let content_type = if form == Form::Table { "text/plain; charset=utf-8" } else { "application/json" };
    let loaded = Loaded::from(Value::new(body).with_meta(content_type));
    Ok(if dates_itself { loaded.fresh_for(left) } else { loaded })
}
