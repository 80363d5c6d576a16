//! Routes of their settings. Nothing here goes to a network: sources may be absent when the gateway starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use lastgood::Region;

use super::Route;
use super::key::definition;
use super::load::Link;
use crate::config::Settings;
use crate::config::routes::{RouteSetting, SourceQuestion};
use crate::source::Source;
use crate::source::http::{Api, HttpSource};

/// What the sources of all routes share: connections.
pub(super) struct Sources {
    apis: BTreeMap<String, Arc<Api>>,
}

impl Sources {
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let declared = &settings.declared;
        let api =
            |(name, setting)| Ok::<_, String>((String::clone(name), Api::new(name, setting, &settings.upstream)?));
        Ok(Sources { apis: declared.apis.iter().map(api).collect::<Result<_, _>>()? })
    }

    pub(super) fn route(&self, setting: &RouteSetting, regions: &BTreeMap<String, Region>) -> Result<Route, String> {
        let unknown = || format!("route {} names no region", setting.path);
        let region = regions.get(&setting.region).ok_or_else(unknown)?.clone();
        let link = |source: &crate::config::routes::SourceSetting| {
            let made = self.source(&source.question).map_err(|why| format!("route {}: {why}", setting.path));
            Ok::<_, String>(Link { source: made?, next_on_missing: source.next_on_missing })
        };
        let links = setting.sources.iter().map(link).collect::<Result<_, _>>()?;
        let definition = definition(&format!("{:?}", setting.sources));
        Ok(Route { setting: setting.clone(), region, links, definition })
    }

    pub(super) fn source(&self, question: &SourceQuestion) -> Result<Arc<dyn Source>, String> {
        match question {
            SourceQuestion::Api(question) => {
                let api = self.apis.get(&question.api).ok_or_else(|| format!("there is no api {}", question.api))?;
                Ok(Arc::new(HttpSource::new(Arc::clone(api), question.clone())?))
            }
            SourceQuestion::Database(_) | SourceQuestion::Bucket(_) => Err("not yet".to_owned()),
        }
    }
}
