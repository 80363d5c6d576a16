//! Changes on a condition: the store decides, and memory never holds what the store has not.

use lastgood::store::{Store, StoreError};
use lastgood::testing::Fault;
use lastgood::{Answer, Cache, Conditional, Policy};

use super::{Node, Nodes, unavailable};
use crate::support::{HOUR, MINUTE, loaded, peeked, settle};

const NAME: &str = "BTCUSDT";

/// Whether the current body is this.
fn is(text: Option<&'static str>) -> impl Fn(Option<&Answer>) -> bool + Send + Sync + 'static {
    move |there| there.map(|there| &there.body()[..]) == text.map(str::as_bytes)
}

fn seen(changed: Result<Conditional, StoreError>) -> Result<String, StoreError> {
    changed.map(|changed| match changed {
        Conditional::Made { was_there } => format!("made, was there: {was_there}"),
        Conditional::Unmet(there) => {
            format!("unmet: {:?}", there.map(|there| String::from_utf8_lossy(there.body()).into_owned()))
        }
    })
}

impl Node {
    async fn put_if(&self, expected: Option<&'static str>, text: &'static str) -> Result<String, StoreError> {
        seen(self.prices.put_if(NAME, loaded(text).fresh_for(HOUR), is(expected)).await)
    }

    async fn newest(&self) -> Option<String> {
        settle().await;
        let newest = self.prices.newest(NAME).await.expect("the store answers");
        newest.map(|answer| String::from_utf8_lossy(answer.body()).into_owned())
    }
}

fn made(was_there: bool) -> Result<String, StoreError> {
    Ok(format!("made, was there: {was_there}"))
}

#[tokio::test(start_paused = true)]
async fn of_two_processes_the_one_whose_condition_the_store_confirms_has_its_way() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    assert_eq!(one.put_if(None, "v1").await, made(false));
    assert_eq!(other.put_if(None, "v2").await, Ok(r#"unmet: Some("v1")"#.to_owned()));
    assert_eq!(other.put_if(Some("v1"), "v2").await, made(true));
    assert_eq!(one.put_if(Some("v1"), "v3").await, Ok(r#"unmet: Some("v2")"#.to_owned()));
    assert_eq!((one.newest().await.as_deref(), other.newest().await.as_deref()), (Some("v2"), Some("v2")));
    assert_eq!(seen(one.prices.remove_if(NAME, is(Some("v1"))).await), Ok(r#"unmet: Some("v2")"#.to_owned()));
    assert_eq!(seen(one.prices.remove_if(NAME, is(Some("v2"))).await), made(true));
    assert_eq!((one.newest().await, other.newest().await), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_answer_was_lost_is_known_to_be_made() {
    let nodes = Nodes::new();
    let node = nodes.start().await;
    assert_eq!(node.put_if(None, "v1").await, made(false));
    node.way.set_writes(Fault::FailAfter(StoreError::Timeout));
    assert_eq!(node.put_if(Some("v1"), "v2").await, made(true));
    assert_eq!(node.newest().await.as_deref(), Some("v2"));
    assert_eq!(seen(node.prices.remove_if(NAME, is(Some("v2"))).await), made(true));
    assert_eq!(node.put_if(None, "v3").await, made(false), "it was not there before");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_decide_changes_nothing() {
    let nodes = Nodes::new();
    let node = nodes.start().await;
    assert_eq!(node.put_if(None, "v1").await, made(false));
    for fault in [unavailable(), Fault::Fail(StoreError::Refused("no scripts".to_owned()))] {
        node.way.set_writes(fault);
        assert!(node.put_if(Some("v1"), "v2").await.is_err());
        node.way.set_writes(Fault::Pass);
        tokio::time::sleep(MINUTE).await;
        assert_eq!(node.newest().await.as_deref(), Some("v1"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_here_meanwhile_comes_after() {
    let nodes = Nodes::new();
    let (node, other) = (nodes.start().await, nodes.start().await);
    node.put_if(None, "v1").await.expect("it is made");
    node.way.set_writes(Fault::Hold);
    let (region, loaded_later) = (node.prices.clone(), loaded("v2").fresh_for(HOUR));
    let changing = tokio::spawn(async move { seen(region.put_if(NAME, loaded_later, is(Some("v1"))).await) });
    settle().await;
    node.prices.put(NAME, loaded("v3").fresh_for(HOUR)).await;
    node.way.set_writes(Fault::Pass);
    assert_eq!(changing.await.unwrap(), made(true));
    assert_eq!(peeked(&node.prices, NAME).as_deref(), Some("v3"));
    node.flush().await;
    assert_eq!((node.newest().await.as_deref(), other.newest().await.as_deref()), (Some("v3"), Some("v3")));
}

#[tokio::test(start_paused = true)]
async fn what_another_process_changes_meanwhile_is_not_hidden_by_memory() {
    let nodes = Nodes::new();
    let (node, other) = (nodes.start().await, nodes.start().await);
    node.put_if(None, "v1").await.expect("it is made");
    node.way.set_writes(Fault::Hold);
    let region = node.prices.clone();
    let whatever = |_: Option<&Answer>| true;
    let changing = tokio::spawn(async move { seen(region.put_if(NAME, loaded("v2").fresh_for(HOUR), whatever).await) });
    settle().await;
    other.prices.remove(NAME).await;
    other.flush().await;
    node.way.set_writes(Fault::Pass);
    assert_eq!(changing.await.unwrap(), made(false), "the store held nothing by then");
    assert_eq!(peeked(&node.prices, NAME), None, "only the store knows which came last");
    assert_eq!((node.newest().await.as_deref(), other.newest().await.as_deref()), (Some("v2"), Some("v2")));
}

#[tokio::test(start_paused = true)]
async fn a_clear_that_comes_meanwhile_leaves_the_key_empty_everywhere() {
    let nodes = Nodes::new();
    let (node, other) = (nodes.start().await, nodes.start().await);
    node.way.set_writes(Fault::Hold);
    let region = node.prices.clone();
    let changing = tokio::spawn(async move { region.put_if(NAME, loaded("v1").fresh_for(HOUR), is(None)).await });
    settle().await;
    node.prices.clear().await;
    node.way.set_writes(Fault::Pass);
    assert!(changing.await.unwrap().is_ok());
    node.flush().await;
    assert_eq!((node.newest().await, other.newest().await), (None, None));
    assert_eq!(nodes.store.get("lastgood:prices:v1:BTCUSDT").await, Ok(None));
}

#[tokio::test]
async fn without_a_store_the_process_decides_itself() {
    let cache = Cache::builder().build().expect("it is sound");
    let prices = cache.region("prices", Policy::fresh_for(HOUR)).expect("it is sound");
    let writers = (0..50).map(|_| {
        let prices = prices.clone();
        tokio::spawn(async move { seen(prices.put_if(NAME, loaded("v1"), is(None)).await) })
    });
    let mut won = 0;
    for writer in writers.collect::<Vec<_>>() {
        won += usize::from(writer.await.unwrap() == made(false));
    }
    assert_eq!(won, 1);
    assert_eq!(seen(prices.remove_if(NAME, is(Some("v1"))).await), made(true));
    assert_eq!(peeked(&prices, NAME), None);
}
