//! Declared routes as a Rust program uses them: without a server.

mod order;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use lastgood::{Cache, Clock, Policy, Reason, Region, error_chain};
use lastgood_routes::parameter::{Case, Kind, Parameter};
use lastgood_routes::path::RoutePath;
use lastgood_routes::spec::{BucketSpec, ObjectSpec, Question, RouteSpec, Selector, SourceSpec, SourceSpecs, Want};
use lastgood_routes::{AskError, ConnectOptions, Connections, RouteError, Routes};

const AAPL: &str = r#"{"symbol":"AAPL","close":1.10}"#;

/// A route over an object of the bucket `stocks`.
fn over(path: &str, key: &str) -> RouteSpec {
    let mut route = RouteSpec::new(RoutePath::parse(path).expect("a path"), "stocks");
    if path.contains("{symbol}") {
        let kind = Kind::Text { max_length: 10, pattern: None, case: Case::Upper };
        route.parameters.push(Parameter::new("symbol", kind));
    }
    let object = ObjectSpec::new("stocks", key, Want::Document(Selector::default()));
    route.sources.push(SourceSpec::new(Question::Object(object)));
    route
}

fn region() -> Region {
    let cache = Cache::builder().build().expect("a cache");
    cache.region("stocks", Policy::fresh_for(Duration::from_secs(300))).expect("a region")
}

fn routes(folder: &Path, region: &Region, specs: &[RouteSpec]) -> Result<Routes, RouteError> {
    let stocks = BucketSpec::new(format!("file:{}", folder.display()));
    let sources = SourceSpecs { buckets: BTreeMap::from([("stocks".to_owned(), stocks)]), ..SourceSpecs::default() };
    let connections = Connections::open(&sources, &ConnectOptions::default(), &Clock::system())?;
    Routes::new(specs, &connections, &BTreeMap::from([("stocks".to_owned(), region.clone())]))
}

#[tokio::test]
async fn a_program_asks_its_routes_and_of_a_broken_file_gets_the_last_good_answer() {
    let (folder, region) = (tempfile::tempdir().expect("a folder"), region());
    let file = folder.path().join("AAPL.json");
    fs::write(&file, AAPL).expect("written");
    let routes = routes(folder.path(), &region, &[over("/stocks/{symbol}", "{symbol}.json")]).expect("routes");
    for expected in ["MISS", "HIT"] {
        let answered = routes.ask("/stocks/aapl", "").await.expect("an answer");
        assert_eq!(answered.answer().body(), AAPL);
        assert_eq!((answered.content_type(), answered.answer().outcome().as_x_cache()), ("application/json", expected));
    }
    fs::write(&file, "{").expect("written");
    let route = routes.iter().next().expect("a route");
    let key = route.key(&route.arguments("/stocks/AAPL", "").expect("arguments"));
    region.expire(&key).await;
    let answered = routes.ask("/stocks/AAPL", "").await.expect("the last good answer");
    assert_eq!((answered.answer().body(), answered.answer().outcome().as_x_cache()), (&AAPL.into(), "LAST-GOOD"));
}

#[tokio::test]
async fn what_has_no_answer_says_why() {
    let (folder, region) = (tempfile::tempdir().expect("a folder"), region());
    let routes = routes(folder.path(), &region, &[over("/stocks/{symbol}", "{symbol}.json")]).expect("routes");
    assert!(matches!(routes.ask("/bonds/AAPL", "").await, Err(AskError::NoRoute)));
    let refused = routes.ask("/stocks/AAPL", "days=5").await;
    assert!(matches!(&refused, Err(AskError::Refused(refusal)) if refusal.parameter == "days"));
    let refused = refused.map(drop).expect_err("a refusal");
    assert!(refused.to_string().contains("no parameters in the query"));
    lastgood_testing::says_each_part_once(&refused);
    let missing = routes.ask("/stocks/AAPL", "").await;
    assert!(matches!(missing, Err(AskError::Failed(why)) if why.reason == Reason::NotFound));
}

#[test]
fn why_a_question_has_no_answer_is_said_once_in_each_part() {
    let failed = lastgood::Error::new(Reason::Unreachable, "the bucket cannot be reached");
    let failed = failed.with_source(std::io::Error::other("no route to it"));
    let failed = AskError::from(failed);
    lastgood_testing::says_each_part_once(&failed);
    assert_eq!(error_chain(&failed), "unreachable: the bucket cannot be reached: no route to it");
    lastgood_testing::says_each_part_once(&AskError::NoRoute);
}

#[tokio::test]
async fn the_special_case_of_a_path_goes_before_the_general_one() {
    let (folder, region) = (tempfile::tempdir().expect("a folder"), region());
    fs::write(folder.path().join("top.json"), "[]").expect("written");
    for at_first in [true, false] {
        let mut specs = vec![over("/stocks/{symbol}", "{symbol}.json"), over("/stocks/top", "top.json")];
        if at_first {
            specs.reverse();
        }
        let routes = routes(folder.path(), &region, &specs).expect("routes");
        assert_eq!(routes.ask("/stocks/top", "").await.expect("an answer").answer().body(), "[]");
    }
}

#[tokio::test]
async fn routes_that_cannot_be_served_are_refused_before_anything_is_asked() {
    let (folder, region) = (tempfile::tempdir().expect("a folder"), region());
    let refused =
        |specs: &[RouteSpec]| error_chain(&routes(folder.path(), &region, specs).map(drop).expect_err("a fault"));
    let general = over("/stocks/{symbol}", "{symbol}.json");
    let why = refused(&[general.clone(), general.clone()]);
    assert!(why.contains("match the same paths"), "{why}");
    let why = refused(&[RouteSpec { region: "bonds".to_owned(), ..general.clone() }]);
    assert!(why.contains("names no region"), "{why}");
    let why = refused(&[over("/stocks/{symbol}", "{day}.json")]);
    assert!(why.starts_with("route /stocks/{symbol}: ") && why.contains("{day}"), "{why}");
    let elsewhere = ObjectSpec::new("bonds", "all.json", Want::Document(Selector::default()));
    let why = refused(&[RouteSpec { sources: vec![SourceSpec::new(Question::Object(elsewhere))], ..general }]);
    assert!(why.contains("there is no bucket bonds"), "{why}");
}
