//! Answers a request as the gateway does: planned, from the candles or from the region of its endpoint.

use std::sync::Arc;

use bytes::Bytes;
use lastgood::{Answer, Cache, Clock, Error, Freshness, Loaded, Outcome, Reason, Region};
use lastgood_market::candles::{Candles, Exchange};
use lastgood_market::cut::{Index, cut};
use lastgood_market::{Plan, Preset, Priority, RegionName, Request, Source, Venue, plan};

use super::FORMING_FRESH_FOR;
use super::exchange::Told;

pub(crate) struct Reader {
    pub(crate) cache: Cache,
    regions: Vec<Region>,
    pub(crate) candles: Candles,
    exchange: Arc<Told>,
    clock: Clock,
}

impl Reader {
    pub(crate) fn new(cache: Cache, has_store: bool, exchange: &Arc<Told>) -> Reader {
        let region = |name: RegionName| cache.region(name.as_str(), name.policy(Preset::Trading)).unwrap();
        let regions: Vec<Region> = RegionName::ALL.into_iter().map(region).collect();
        let (clock, exchange) = (exchange.clock.clone(), Arc::clone(exchange));
        let klines = regions[RegionName::Klines as usize].clone();
        let candles = Candles::new(klines, has_store, clock.clone(), Arc::clone(&exchange) as Arc<dyn Exchange>);
        Reader { cache, regions, candles, exchange, clock }
    }

    pub(crate) async fn ask(&self, target: &str) -> Result<(Bytes, Outcome), Error> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let venue = Venue::of(path, query).expect("a path of the exchange's");
        match plan(venue, Request { is_get: true, path, query, ..Request::default() }) {
            Plan::Candles(question) => match self.candles.answer(&question).await {
                Ok(slice) => {
                    let runs: Vec<&str> = slice.runs.iter().map(|run| std::str::from_utf8(run).unwrap()).collect();
                    Ok((format!("[{}]", runs.join(",")).into(), slice.outcome))
                }
                Err(error) if error.reason == Reason::Abandoned => self.cached(&question.direct, None).await,
                Err(error) => Err(error),
            },
            Plan::Cached { reuse, load, direct } => {
                let chosen = reuse.iter().find(|source| self.serves_now(source)).unwrap_or(&load);
                self.cached(chosen, direct.as_ref()).await
            }
            other => panic!("{target}: {other:?}"),
        }
    }

    async fn cached(&self, chosen: &Arc<Source>, direct: Option<&Arc<Source>>) -> Result<(Bytes, Outcome), Error> {
        let answer = self.load(chosen).await?;
        match (part(&answer, chosen), direct) {
            (Some(part), _) => Ok((part, answer.outcome())),
            (None, Some(direct)) => self.load(direct).await.map(|answer| (answer.body().clone(), answer.outcome())),
            (None, None) => Err(Error::new(Reason::Malformed, "the answer lacks what was asked for")),
        }
    }

    fn serves_now(&self, source: &Source) -> bool {
        let held = self.regions[source.region() as usize].peek(&source.key);
        held.is_some_and(|answer| answer.freshness() == Freshness::Fresh && part(&answer, source).is_some())
    }

    async fn load(&self, source: &Arc<Source>) -> Result<Answer, Error> {
        let (exchange, clock, loaded) = (Arc::clone(&self.exchange), self.clock.clone(), Arc::clone(source));
        let load = move || async move {
            let value = exchange.ask(Source::clone(&loaded), Priority::Demand).await?;
            let fresh_for = loaded.fresh_for(&value.body, clock.now(), FORMING_FRESH_FOR);
            Ok(Loaded { fresh_for, ..Loaded::from(value) })
        };
        self.regions[source.region() as usize].get_or_load(&source.key, load).await
    }
}

fn part(answer: &Answer, source: &Source) -> Option<Bytes> {
    cut(answer.body(), &source.cut, Index::of(answer.body()).as_ref())
}
