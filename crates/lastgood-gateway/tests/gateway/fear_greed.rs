//! The fear & greed index before a simulated one, and before one that fails in every way.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::response::IntoResponse as _;
use tokio::net::TcpListener;

use crate::support::{Exchange, Running, get};

/// An index with scripted answers.
struct Index {
    url: String,
    reply: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicU64>,
}

const GOOD: &str = r#"{ "name":"Fear and Greed Index", "data":[{"value":"39","value_classification":"Fear","timestamp":"1746148800","time_until_update":"3599"}],"metadata":{"error":null}}"#;

impl Index {
    async fn start() -> Index {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let reply = Arc::new(Mutex::new((200, GOOD.to_owned())));
        let asked = Arc::new(AtomicU64::new(0));
        let (said, counted) = (Arc::clone(&reply), Arc::clone(&asked));
        let answer = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let (status, body) = said.lock().unwrap().clone();
            let status = axum::http::StatusCode::from_u16(status).unwrap();
            async move { (status, [("retry-after", "77"), ("location", "http://127.0.0.1:9/")], body).into_response() }
        };
        let router = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Index { url, reply, asked }
    }

    fn answers(&self, status: u16, body: &str) {
        *self.reply.lock().unwrap() = (status, body.to_owned());
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn before(url: &str, more: &[(&str, &str)]) -> Running {
    let mut settings = vec![("fear_greed.url", url)];
    settings.extend(more);
    Running::start("http://127.0.0.1:9", &settings).await
}

#[tokio::test]
async fn both_paths_give_the_index_s_own_bytes_and_ask_once() {
    let exchange = Exchange::start().await;
    let gateway = before(&exchange.url(), &[]).await;
    let direct = get(format!("{}/fng/?limit=3&format=json", exchange.url())).await;
    let first = get(gateway.url("/v1/fear-greed?limit=3")).await;
    assert_eq!((first.status, first.cache(), &first.body), (200, "MISS", &direct.body), "{}", first.text());
    for path in ["/fng/?limit=3", "/fng?limit=3&format=json", "/v1/fear-greed?limit=3"] {
        let got = get(gateway.url(path)).await;
        assert_eq!((got.cache(), &got.body), ("HIT", &direct.body), "{path}");
    }
    assert_eq!(get(gateway.url("/fng/")).await.json()["data"].as_array().unwrap().len(), 1);
    assert!(get(gateway.url("/fng/?limit=0")).await.json()["data"].as_array().unwrap().len() > 1_000, "none is all");
}

#[tokio::test]
async fn trading_takes_the_time_that_the_index_names_and_dashboard_five_minutes() {
    let index = Index::start().await;
    for (preset, least, most) in [("trading", 3_590, 3_599), ("dashboard", 200, 300)] {
        let gateway = before(&index.url, &[("preset", preset)]).await;
        let got = get(gateway.url("/v1/fear-greed")).await;
        assert_eq!(got.text(), GOOD);
        let status = got.header("cache-status");
        let ttl: u64 =
            status.split("ttl=").nth(1).and_then(|ttl| ttl.parse().ok()).unwrap_or_else(|| panic!("{status}"));
        assert!((least..=most).contains(&ttl), "{preset}: {status}");
    }
}

#[tokio::test]
async fn whatever_is_no_index_is_refused_and_the_last_good_one_served() {
    let index = Index::start().await;
    for (status, body) in [
        (200, r#"{"name":"x","data":[],"metadata":{"error":"limit exceeded"}}"#),
        (200, "<html>busy</html>"),
        (200, r#"{"Information":"25 requests per day"}"#),
        (200, ""),
        (200, &GOOD[..100]),
        (302, GOOD),
        (500, GOOD),
        (429, "wait"),
    ] {
        index.answers(200, GOOD);
        let gateway = before(
            &index.url,
            &[("regions.fear_greed.fresh_for", "1ms"), ("regions.fear_greed.stale_while_revalidate", "0s")],
        )
        .await;
        assert_eq!(get(gateway.url("/fng/?limit=1")).await.status, 200);
        index.answers(status, body);
        let got = get(gateway.url("/fng/?limit=1")).await;
        assert_eq!((got.status, got.cache(), got.text()), (200, "LAST-GOOD", GOOD), "{status} {body}");
        let cold = get(gateway.url("/fng/?limit=2")).await;
        assert_eq!((cold.status, cold.header("content-type")), (503, "application/problem+json"), "{}", cold.text());
        assert!(!cold.text().contains("html"));
    }
}

#[tokio::test]
async fn it_is_left_alone_as_long_as_it_asks() {
    let index = Index::start().await;
    index.answers(429, "wait");
    let gateway = before(&index.url, &[]).await;
    for limit in 1..10 {
        let got = get(gateway.url(&format!("/v1/fear-greed?limit={limit}"))).await;
        assert_eq!(got.status, 503);
        let wait: u64 = got.header("retry-after").parse().unwrap();
        assert!((70..=77).contains(&wait), "{wait}");
    }
    assert_eq!(index.asked(), 1);
}

#[tokio::test]
async fn what_the_gateways_own_path_does_not_know_is_refused() {
    let index = Index::start().await;
    let gateway = before(&index.url, &[]).await;
    for (query, parameter) in [
        ("limit=-1", "limit"),
        ("limit=10001", "limit"),
        ("limit=1e3", "limit"),
        ("limit=1&limit=2", "limit"),
        ("format=csv", "format"),
        ("date_format=us", "date_format"),
        ("url=http://127.0.0.1:9", "url"),
    ] {
        let got = get(gateway.url(&format!("/v1/fear-greed?{query}"))).await;
        assert_eq!((got.status, got.header("content-type")), (400, "application/problem+json"), "{query}");
        let problem = got.json();
        assert_eq!(problem["parameter"], parameter, "{query}");
        assert!(problem["allowed"].is_string() && problem["value"].is_string());
    }
    assert_eq!(index.asked(), 0);
}

#[tokio::test]
async fn the_indexs_own_clients_get_what_the_index_answers() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(crate::support::half_past()));
    let gateway = before(&exchange.url(), &[]).await;
    for query in [
        "",
        "?limit=",
        "?limit=2",
        "?limit=2&format=json",
        "?limit=3&date_format=us",
        "?limit=3&date_format=cn",
        "?date_format=kr",
        "?limit=2&format=json&date_format=world",
        "?date_format=",
        "?date_format=martian",
        "?format=",
        "?format=csv",
        "?limit=5&format=csv",
        "?limit=5&format=csv&date_format=us",
        "?limit=0",
        "?limit=100000",
        "?limit=7&api_key=x&utm_source=%C3%A9",
    ] {
        let direct = get(format!("{}/fng/{query}", exchange.url())).await;
        for path in ["/fng/", "/fng"] {
            let got = get(gateway.url(&format!("{path}{query}"))).await;
            assert_eq!((got.status, got.text()), (200, direct.text()), "{path}{query}");
        }
    }
    // What says the same is one entry.
    exchange.sim.reset_counters();
    for query in ["?limit=2&x=1", "?format=json&limit=2", "?limit=9&limit=2", "?date_format=&limit=02"] {
        assert_eq!(get(gateway.url(&format!("/fng/{query}"))).await.cache(), "HIT", "{query}");
    }
    assert_eq!(exchange.asked(), 0);
    assert_eq!(get(gateway.url("/fng/?limit=5&format=csv")).await.header("content-type"), "text/plain; charset=utf-8");
}

#[tokio::test]
async fn an_odd_number_of_days_is_for_the_index_to_judge() {
    let index = Index::start().await;
    let gateway = before(&index.url, &[]).await;
    assert_eq!(get(gateway.url("/fng/?limit=-1")).await.text(), GOOD);
    assert_eq!(index.asked(), 1);
    index.answers(200, r#"{"name":"x","data":[],"metadata":{"error":"limit is no number"}}"#);
    assert_eq!(get(gateway.url("/fng/?limit=many")).await.status, 503);
    assert_eq!(get(gateway.url(&format!("/fng/?limit={}", "x".repeat(100)))).await.status, 400);
    assert_eq!(index.asked(), 2);
}

#[tokio::test]
async fn a_bad_table_or_date_leaves_the_last_good_one() {
    let index = Index::start().await;
    let quick = [("regions.fear_greed.fresh_for", "1ms"), ("regions.fear_greed.stale_while_revalidate", "0s")];
    let gateway = before(&index.url, &quick).await;
    let table =
        "{\"name\": \"Fear and Greed Index\",\n\"data\": [\nfng_value,fng_classification,date\n02-05-2025,39,Fear\n]}";
    let dated = GOOD.replace("1746148800", "05-02-2025");
    for (query, good) in [("format=csv", table), ("date_format=us", dated.as_str())] {
        index.answers(200, good);
        assert_eq!(get(gateway.url(&format!("/fng/?{query}"))).await.text(), good);
        for bad in ["", "<html>busy</html>", "{}", r#"{"data":[],"metadata":{"error":"limit exceeded"}}"#] {
            index.answers(200, bad);
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
            let kept = get(gateway.url(&format!("/fng/?{query}"))).await;
            assert_eq!((kept.cache(), kept.text()), ("LAST-GOOD", good), "{query} {bad}");
        }
    }
}
