//! The page in a real Chromium, driven by `tests/browser/page.mjs`.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lastgood_gateway::Demonstration as _;
use tokio::process::Command;

use super::{Switch, TOKEN};
use crate::clients::hint;
use crate::support::{Exchange, Running, client, get};

/// Lets a browser try something at a gateway.
async fn browser(what: &str, gateway: &Running) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/browser/page.mjs");
    let mut command = Command::new("node");
    command
        .arg(script.canonicalize().expect("the script"))
        .arg(what)
        .env("GATEWAY_URL", format!("http://{}", gateway.address))
        .env("TOKEN", TOKEN)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(240), command.output())
        .await
        .unwrap_or_else(|_| panic!("{what} does not end"))
        .unwrap_or_else(|why| panic!("{what}: {why}; run tests/install-tools.sh"));
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {complained}{}", hint(&complained));
}

/// Asks for a price again and again, until it is dropped.
fn traffic(gateway: &Running) -> tokio::task::JoinSet<()> {
    let target = gateway.url("/api/v3/ticker/price?symbol=BTCUSDT");
    let mut running = tokio::task::JoinSet::new();
    running.spawn(async move {
        loop {
            get(&target).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    running
}

#[tokio::test]
async fn every_view_shows_light_dark_and_on_a_phone_without_an_error_or_a_serious_barrier() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Live);
    let gateway = Running::start(&exchange.url(), &[]).await;
    gateway.gateway.demonstrate(Arc::new(Switch::default()));
    let _traffic = traffic(&gateway);
    browser("views", &gateway).await;
}

#[tokio::test]
async fn a_fault_of_the_exchange_is_switched_on_seen_and_switched_off_with_the_keyboard() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    gateway.gateway.demonstrate(Arc::new(Switch::of(&exchange)));
    let _traffic = traffic(&gateway);
    browser("fault", &gateway).await;
}

#[tokio::test]
async fn a_key_of_a_hostile_name_and_value_is_text_and_is_expired_and_removed_once_confirmed() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let url = gateway.url("/v1/kv/kv/%3Cimg%20src=x%20onerror=alert(1)%3E");
    let put = client()
        .put(format!("{url}?tags=%3Cimg%3E"))
        .header("content-type", "text/html")
        .body("<script>alert(1)</script><img src=x>");
    assert_eq!(put.send().await.unwrap().status(), 201);
    browser("keys", &gateway).await;
    assert_eq!(get(&url).await.status, 404, "removed in the end");
}

#[tokio::test]
async fn the_page_asks_for_the_token_refuses_a_wrong_one_and_keeps_the_right_one_nowhere() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("admin.token", TOKEN)]).await;
    browser("token", &gateway).await;
}

#[tokio::test]
async fn a_page_of_somebody_else_in_the_same_browser_reads_nothing_and_changes_nothing() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let switch = Arc::new(Switch::default());
    gateway.gateway.demonstrate(Arc::clone(&switch) as _);
    browser("hostile", &gateway).await;
    assert_eq!(switch.in_force(), "none");
    assert_eq!(get(gateway.url("/api/cache/status")).await.json()["enabled"], true);
}
