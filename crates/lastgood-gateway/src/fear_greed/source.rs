//! Where the fear & greed index comes from.

use std::sync::Arc;

use bytes::Bytes;
use lastgood::condition::Condition;
use lastgood::{Answer, Clock, Error, Loaded, Reason, Region, Value};
use lastgood_market::fear_greed::{Form, PATH, key};
use lastgood_market::upstream::{Site, UpstreamError};
use lastgood_market::{Preset, RegionName};

use crate::config::Settings;
use crate::places::Places;

/// Where the index comes from.
pub(crate) struct FearGreed {
    site: Option<Arc<Site>>,
    /// Whether an answer is fresh until the update that it names.
    dates_itself: bool,
}

impl FearGreed {
    /// # Errors
    ///
    /// When the system's certificate authorities cannot be read.
    pub(crate) fn new(settings: &Settings, clock: &Clock) -> Result<FearGreed, UpstreamError> {
        let site = settings.fear_greed.url.clone().map(|base| Site::new(base, &settings.upstreams(), clock));
        let is_configured = settings.region(RegionName::FearGreed.as_str()).fresh_for.is_some();
        let dates_itself = settings.preset == Preset::Trading && !is_configured;
        Ok(FearGreed { site: site.transpose()?.map(Arc::new), dates_itself })
    }

    /// What distinguishes its source from others; `None` where none is configured.
    pub(crate) fn name(&self) -> Option<&str> {
        self.site.as_deref().map(Site::name)
    }

    /// How its source answers.
    pub(crate) fn condition(&self) -> Option<&Condition> {
        self.site.as_deref().map(Site::condition)
    }

    /// What the index answers to a query, from the cache or the index; `None` where no source is configured.
    pub(super) async fn ask(
        &self,
        places: &Places,
        region: &Region,
        query: String,
        form: Form,
    ) -> Option<Result<Answer, Error>> {
        let (site, dates_itself) = (self.site.clone()?, self.dates_itself);
        let (key, target) = (key(site.name(), &query), format!("{PATH}?{query}"));
        let load = move || async move {
            let checked = |body: Bytes| {
                let left = form.check(&body).map_err(|why| Error::new(Reason::Malformed, why.to_string()))?;
                Ok((body, left))
            };
            let (body, left) = site.get(&target, checked).await?;
            let content_type = if form == Form::Table { "text/plain; charset=utf-8" } else { "application/json" };
            let loaded = Loaded::from(Value::new(body).with_meta(content_type));
            Ok(if dates_itself { loaded.fresh_for(left) } else { loaded })
        };
        Some(places.answer(region, &key, region.get_or_load(&key, load)).await)
    }
}
