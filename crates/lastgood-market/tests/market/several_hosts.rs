//! A venue of several hosts, of which the first lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lastgood::Reason;
use lastgood_market::upstream::BaseUrl;
use lastgood_market::{Priority, Venue};
use lastgood_sim::{Sim, SimConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::answers::{exchange_at, host, request};

/// A host that says the same to everything, and how often it was asked.
async fn saying(answer: String) -> (BaseUrl, Arc<AtomicUsize>) {
    let (listener, url) = host().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 4_096]).await;
            count.fetch_add(1, Ordering::Relaxed);
            let _ = connection.write_all(answer.as_bytes()).await;
        }
    });
    (url, asked)
}

fn http(status: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// A host of several may lie, whatever it says of its health otherwise: the next is asked, and the operator sees it.
#[tokio::test]
async fn where_a_host_gives_no_answer_to_the_question_the_next_one_is_asked_and_the_first_is_soon_passed_over() {
    const JSON: &str = "application/json";
    const PRICE: &str = "/api/v3/ticker/price?symbol=BTCUSDT";
    let code = |code: i32| http("400 Bad Request", JSON, &format!("{{\"code\":{code},\"msg\":\"x\"}}"));
    let lies = [
        http("200 OK", JSON, ""),
        http("200 OK", JSON, "[{\"symbol\":\"BTCUSDT\",\"pri"),
        http("200 OK", JSON, "[{\"symbol\":\"ETHUSDT\",\"price\":\"1.0\"}]").replace("[{", "{").replace("}]", "}"),
        http("200 OK", JSON, "[]"),
        http("200 OK", JSON, "{\"code\":-1000,\"msg\":\"x\"}"),
        http("200 OK", "application/octet-stream", "[{\"symbol\":\"BTCUSDT\",\"price\":\"1.0\"}]"),
        http("200 OK", "text/html", "<html></html>"),
        http("200 OK\r\nContent-Encoding: br", JSON, "xx"),
        http("204 No Content", JSON, ""),
        http("302 Found\r\nLocation: /elsewhere", JSON, ""),
        http("404 Not Found", JSON, "{}"),
        http("405 Method Not Allowed", JSON, "{}"),
        http("503 Service Unavailable", JSON, "{}"),
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n[".to_owned(),
        code(-1006),
        code(-1016),
        code(-1021),
        code(-2015),
    ];
    let (listener, well) = host().await;
    let sim = Sim::new(SimConfig { seed: 7, symbols: 40, ..SimConfig::default() });
    tokio::spawn(async move { sim.serve(listener, std::future::pending()).await });
    let request = request(PRICE);
    for lie in lies {
        let (liar, asked) = saying(lie.clone()).await;
        let upstreams = exchange_at(vec![liar, well.clone()]);
        for _ in 0..5 {
            let received = upstreams.load(&request, Priority::Demand).await;
            assert!(received.is_ok(), "{lie}: {received:?}");
        }
        let first = &upstreams.venue(Venue::Spot).hosts[0];
        assert!(!first.is_healthy() && asked.load(Ordering::Relaxed) == 3, "{lie}: asked {asked:?} times");
        assert!(first.condition.report().is_failing(), "{lie}");
    }
}

/// What the exchange says of the question is so on each of its hosts.
#[tokio::test]
async fn a_verdict_on_the_question_is_asked_for_once() {
    for code in [-1121, -1100, -1130] {
        let body = format!("{{\"code\":{code},\"msg\":\"x\"}}");
        let (first, _) = saying(http("400 Bad Request", "application/json", &body)).await;
        let (second, asked) = saying(http("400 Bad Request", "application/json", &body)).await;
        let error =
            exchange_at(vec![first, second]).load(&request("/api/v3/avgPrice?symbol=X"), Priority::Demand).await;
        assert_eq!(error.map(|_| ()).unwrap_err().reason, Reason::NotFound, "{code}");
        assert_eq!(asked.load(Ordering::Relaxed), 0, "{code}");
    }
}
