//! What the engine answers through a face that has no room for another request that waits.

use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::task::Poll;

use lastgood::{Answer, Cache, Clock, Region};
use lastgood_market::candles::Question;
use lastgood_market::engine::{Answered, Asked, EngineOptions, Face};
use lastgood_market::line::{Keeper, Loader};
use lastgood_market::projection::Index;
use lastgood_market::region::PolicyOverride;
use lastgood_market::upstream::{BaseUrl, Options};
use lastgood_market::{Engine, UpstreamRequest};

use super::*;

pub(super) struct Desk {
    pub(super) engine: Engine,
    is_full: AtomicBool,
}

impl Keeper for Desk {
    fn region(&self, source: &UpstreamRequest) -> &Region {
        self.engine.region(source.region())
    }

    fn with_index<R>(&self, answer: &Answer, with: impl FnOnce(Option<&Index>) -> R) -> R {
        with(Index::of(answer.body()).as_ref())
    }

    fn loader(&self) -> Arc<dyn Loader> {
        self.engine.loader()
    }
}

impl Face for Desk {
    async fn wait<F>(&self, mut work: Pin<&mut F>) -> Result<F::Output, Error>
    where
        F: Future + Send,
        F::Output: Send,
    {
        if !self.is_full.load(Ordering::SeqCst) {
            return Ok(work.await);
        }
        match std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
            Poll::Ready(output) => Ok(output),
            Poll::Pending => Err(Error::new(Reason::Overloaded, "too many wait already")),
        }
    }
}

impl Desk {
    /// Over an exchange, with candles that are never fresh for long.
    async fn open(exchange: &Exchange) -> Desk {
        let upstream = Options { spot: vec![BaseUrl::parse(&exchange.url).unwrap()], ..Options::default() };
        let briefly = PolicyOverride { fresh_for: Some(Duration::from_millis(1)), ..PolicyOverride::default() };
        let overrides = [(RegionName::Klines, briefly)].into();
        let options = EngineOptions { upstream, overrides, ..EngineOptions::default() };
        let cache = Cache::builder().build().unwrap();
        let engine = Engine::build(cache, Clock::system(), options).await.unwrap();
        Desk::over(engine)
    }

    pub(super) fn over(engine: Engine) -> Desk {
        Desk { engine, is_full: AtomicBool::new(false) }
    }

    fn question(&self, query: &str) -> Arc<Question> {
        let request = Request { is_get: true, path: "/api/v3/klines", query, ..Request::default() };
        match plan(self.engine.identities(), Venue::Spot, request) {
            Plan::Candles(question) => question,
            other => panic!("{other:?}"),
        }
    }

    async fn ask(&self, question: &Arc<Question>) -> (String, Outcome) {
        match self.engine.ask(Asked::Candles(question), self).await.unwrap() {
            Answered::Entry(entry) => {
                (String::from_utf8(entry.answer.body().to_vec()).unwrap(), entry.answer.outcome())
            }
            Answered::Candles(slice) => {
                let runs: Vec<&str> = slice.runs.iter().map(|run| std::str::from_utf8(run).unwrap()).collect();
                (format!("[{}]", runs.join(",")), slice.outcome)
            }
        }
    }
}

#[tokio::test]
async fn with_no_room_to_wait_a_question_is_not_answered_with_an_end_from_before_its_own_last_answer() {
    let exchange = Exchange::start().await;
    let desk = Desk::open(&exchange).await;
    let (ten, five) =
        (desk.question("symbol=BTCUSDT&interval=1h&limit=10"), desk.question("symbol=BTCUSDT&interval=1h&limit=5"));
    let (before, _) = desk.ask(&ten).await;
    // Later by the clock.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let own = before.replacen("[[", "[[ ", 1);
    let klines = desk.engine.region(RegionName::Klines);
    klines.put(&ten.direct.key, Loaded::from(lastgood::Value::new(own.clone())).fresh_for(Duration::ZERO)).await;
    exchange.break_down(FaultKind::Hang);
    desk.is_full.store(true, Ordering::SeqCst);
    let last_good = Outcome::LastGood(Reason::Overloaded);
    assert_eq!(desk.ask(&ten).await, (own, last_good), "its own answer is the later one");
    let (kept, outcome) = desk.ask(&five).await;
    assert_eq!((before.ends_with(&kept[1..]), outcome), (true, last_good), "another question has none");
}
