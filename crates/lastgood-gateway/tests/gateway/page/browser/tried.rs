//! The page when things go other than they should: the tests of `tests/browser/tried.mjs`.

use std::time::Duration;

use super::{ASKED, TOKEN, browser, browser_with};
use crate::support::{Exchange, Running, client, get, settings_of};

async fn exchange() -> Exchange {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Live);
    exchange
}

/// Puts a value of an application's.
async fn put(gateway: &Running, target: &str, body: &'static str) {
    let put = client().put(gateway.url(target)).bearer_auth(TOKEN).body(body).send().await.expect("it is taken");
    assert_eq!(put.status(), 201, "{target}");
}

#[tokio::test]
async fn a_view_opened_by_its_address_asks_nothing_before_the_token_and_all_of_it_afterwards() {
    let exchange = exchange().await;
    let gateway = Running::start(&exchange.url(), &[("admin.token", TOKEN)]).await;
    put(&gateway, "/v1/kv/kv/a", "one").await;
    browser("late-token", &gateway).await;
}

#[tokio::test]
async fn each_view_says_in_words_that_the_gateway_is_away_and_recovers_when_it_is_back() {
    let exchange = exchange().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    put(&gateway, "/v1/kv/kv/a", "one").await;
    browser("back", &gateway).await;
}

#[tokio::test]
async fn the_keys_listed_of_a_symbol_are_those_that_a_change_of_it_matches() {
    let exchange = exchange().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    for target in ASKED.into_iter().chain(["/api/v3/ticker/price", "/api/v3/klines?symbol=SOLUSDT&interval=1m"]) {
        assert_eq!(get(gateway.url(target)).await.status, 200, "{target}");
    }
    put(&gateway, "/v1/kv/kv/mood?tags=symbol:SOL", "good").await;
    browser("symbol", &gateway).await;
}

#[tokio::test]
async fn each_line_of_the_price_axis_has_its_price_and_the_read_out_the_exchanges_own_text() {
    let exchange = exchange().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    browser("prices", &gateway).await;
}

#[tokio::test]
async fn times_are_by_utc_and_say_so_wherever_the_browser_is() {
    let exchange = exchange().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    browser("zone", &gateway).await;
}

#[tokio::test]
async fn a_value_of_an_application_shows_its_own_freshness() {
    let exchange = exchange().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    put(&gateway, "/v1/kv/kv/a?fresh_for=1s", "one").await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    browser("own", &gateway).await;
}

#[tokio::test]
async fn the_first_state_of_a_series_includes_the_candles_just_loaded() {
    let exchange = exchange().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    browser("first", &gateway).await;
}

#[tokio::test]
async fn on_a_phone_the_details_of_a_key_come_into_view_and_its_name_turns_nothing() {
    let exchange = exchange().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    put(&gateway, "/v1/kv/kv/a%E2%80%AEb", "one").await;
    browser("phone", &gateway).await;
}

#[tokio::test]
async fn without_an_exchange_the_market_says_why_there_is_nothing() {
    let data = tempfile::tempdir().expect("a folder");
    let mut settings = settings_of("binance = \"off\"\nstore = \"memory:\"", &[]).expect("settings");
    settings.data_dir = data.path().to_owned();
    let gateway = Running::serve(&settings, data).await;
    let refused = get(gateway.url("/api/v3/depth?symbol=BTCUSDT")).await;
    let detail = refused.json()["detail"].as_str().expect("it says why").to_owned();
    browser_with("nothing", gateway.address, &[("SAYS", &detail)], Duration::from_secs(240)).await;
}

#[tokio::test]
async fn the_page_has_words_for_each_reason_of_a_last_good_answer() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let got = get(gateway.url("/page/overview.js")).await;
    let script = got.text();
    for reason in lastgood::Reason::ALL {
        let word = reason.as_str();
        let has = [format!("'{word}': '"), format!("{word}: '")].iter().any(|entry| script.contains(entry));
        assert!(has, "{word}");
    }
}
