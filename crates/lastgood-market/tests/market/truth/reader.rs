//! Answers a request as the gateway does: planned, from the candles or from the line of keys that may hold its answer.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use lastgood::{Answer, Cache, Clock, Error, Loaded, Outcome, Reason, Region};
use lastgood_market::candles::{Candles, Exchange, Slice};
use lastgood_market::line::{Doubts, Keeper, Line, Loader};
use lastgood_market::projection::{Index, project};
use lastgood_market::{
    Identities, Plan, Preset, Priority, Received, RegionName, Request, UpstreamRequest, Venue, plan,
};

use super::FORMING_FRESH_FOR;
use super::exchange::Recorded;

pub(crate) struct Reader {
    pub(crate) cache: Cache,
    regions: Vec<Region>,
    pub(crate) candles: Candles,
    loading: Arc<Loading>,
}

struct Loading {
    exchange: Arc<Recorded>,
    clock: Clock,
    doubts: Doubts,
}

impl Reader {
    pub(crate) fn new(cache: Cache, has_store: bool, exchange: &Arc<Recorded>) -> Reader {
        let region = |name: RegionName| cache.region(name.as_str(), name.policy(Preset::Trading)).unwrap();
        let regions: Vec<Region> = RegionName::ALL.into_iter().map(region).collect();
        let (clock, exchange) = (exchange.clock.clone(), Arc::clone(exchange));
        let klines = regions[RegionName::Klines as usize].clone();
        let candles = Candles::new(klines, has_store, clock.clone(), Arc::clone(&exchange) as Arc<dyn Exchange>);
        Reader { cache, regions, candles, loading: Arc::new(Loading { exchange, clock, doubts: Doubts::default() }) }
    }

    pub(crate) async fn ask(&self, target: &str) -> Result<(Bytes, Outcome), Error> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let venue = Venue::of(path, query).expect("a path of the exchange's");
        let request = Request { is_get: true, path, query, ..Request::default() };
        match plan(&Identities::public(), venue, request) {
            Plan::Candles(question) => match self.candles.answer(&question).await {
                Ok(slice) => Ok(put_together(&slice)),
                Err(error) if error.reason == Reason::Abandoned => {
                    match self.cached(&Line::only(question.direct.clone())).await {
                        Err(error) if error.reason != Reason::NotFound => {
                            let slice = self.candles.last_good(&question, error.clone()).await.map_err(|_| error)?;
                            Ok(put_together(&slice))
                        }
                        answered => answered,
                    }
                }
                Err(error) => Err(error),
            },
            Plan::Cached(line) => self.cached(&line).await,
            other => panic!("{target}: {other:?}"),
        }
    }

    async fn cached(&self, line: &Line) -> Result<(Bytes, Outcome), Error> {
        let answered = line.answer(self).await?;
        let body = answered.answer.body();
        let part = project(body, &answered.request.projection, Index::of(body).as_ref());
        let part = part.ok_or_else(|| Error::new(Reason::Malformed, "the answer lacks what was asked for"))?;
        Ok((part, answered.answer.outcome()))
    }
}

fn put_together(slice: &Slice) -> (Bytes, Outcome) {
    let runs: Vec<&str> = slice.runs.iter().map(|run| std::str::from_utf8(run).unwrap()).collect();
    (format!("[{}]", runs.join(",")).into(), slice.outcome)
}

impl Keeper for Reader {
    fn region(&self, request: &UpstreamRequest) -> &Region {
        &self.regions[request.region() as usize]
    }

    fn with_index<R>(&self, answer: &Answer, with: impl FnOnce(Option<&Index>) -> R) -> R {
        with(Index::of(answer.body()).as_ref())
    }

    fn loader(&self) -> Arc<dyn Loader> {
        Arc::clone(&self.loading) as _
    }
}

#[async_trait]
impl Loader for Loading {
    async fn load_request(&self, request: &UpstreamRequest, priority: Priority) -> Result<Loaded, Error> {
        let Received { value, asked_at } = self.exchange.receive(request.clone(), priority).await?;
        let fresh_for = request.fresh_for(&value.body, self.clock.now(), FORMING_FRESH_FOR);
        Ok(Loaded { fresh_for, asked_at: Some(asked_at), ..Loaded::from(value) })
    }

    fn doubts(&self) -> &Doubts {
        &self.doubts
    }
}
