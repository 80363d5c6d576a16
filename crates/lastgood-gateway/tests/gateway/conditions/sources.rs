//! The same of declared sources: each kind that is dead shows, and nothing that a client asks wrongly.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use lastgood_testing::PostgresServer;

use super::*;
use crate::word::Stub;

#[tokio::test]
async fn a_dead_source_is_logged_once_however_many_ask() {
    let log = Sink::of_the_log("info");
    let file = "[apis.quotes]\nurl = \"http://127.0.0.1:9\"\n\n[[routes]]\npath = \"/v1/quotes/{symbol}\"\n\
                parameters.symbol = { type = \"text\" }\nsources = [{ api = \"quotes\", path = \"/{symbol}\" }]\n";
    let gateway = Running::of_file(file).await;
    let source = async || {
        let sources = health(&gateway).await["sources"].clone();
        let quotes = sources.as_array().unwrap().iter().find(|source| source["name"] == "api quotes").cloned();
        quotes.unwrap_or_else(|| panic!("{sources}"))
    };
    assert_eq!(source().await["state"], "unknown");
    for symbol in 0..60 {
        let failed = get(gateway.url(&format!("/v1/quotes/S{symbol}"))).await;
        assert_eq!((failed.status, failed.cache()), (503, "ERROR"));
    }
    let now = source().await;
    assert_eq!((&now["state"], &now["failures"]), (&json!("failing"), &json!(60)), "{now}");
    let why = "api quotes cannot be reached: the connection is refused";
    assert!(now["reason"].as_str().unwrap().contains(why), "{now}");
    assert!(now["since"].as_u64() > Some(0));
    assert_eq!(health(&gateway).await["status"], "degraded");
    assert_eq!(metric(&gateway, "lastgood_failing{kind=\"source\",name=\"api quotes\"}").await, Some(1.0));
    let text = log.text();
    assert_eq!(lines(&text, "a source fails").len(), 1, "{text}");
    assert!(lines(&text, "a source fails")[0].contains(why), "{text}");
    assert_eq!(lines(&text, " WARN ").len(), 1, "{text}");
}

#[tokio::test]
async fn a_question_that_an_api_refuses_is_the_clients_mistake_unless_it_was_answered_before() {
    let log = Sink::of_the_log("info");
    let refusal = Arc::new(AtomicU16::new(200));
    let shared = Arc::clone(&refusal);
    let api = Stub::start(move |path: &str| match (shared.load(Ordering::Relaxed), path) {
        (200, "/AAPL") => (200, Vec::new(), "{\"close\":1}".to_owned()),
        (200, _) => (400, Vec::new(), "{\"error\":\"unknown symbol\"}".to_owned()),
        (status, _) => (status, Vec::new(), "{\"error\":\"unknown symbol\"}".to_owned()),
    })
    .await;
    let file = format!(
        "[apis.quotes]\nurl = \"{}\"\n[regions.quotes]\nfresh_for = \"1ms\"\nstale_while_revalidate = \"0s\"\n\
         [[routes]]\npath = \"/v1/quotes/{{symbol}}\"\nregion = \"quotes\"\nparameters.symbol = {{ type = \"text\" }}\n\
         sources = [{{ api = \"quotes\", path = \"/{{symbol}}\" }}]\n",
        api.url
    );
    let gateway = Running::of_file(&file).await;
    assert_eq!(get(gateway.url("/v1/quotes/AAPL")).await.status, 200);
    for (status, symbol) in [(200, "NONE"), (400, "NOR"), (422, "NEITHER"), (404, "GONE")] {
        refusal.store(status, Ordering::Relaxed);
        for _ in 0..3 {
            let refused = get(gateway.url(&format!("/v1/quotes/{symbol}"))).await;
            assert_eq!((refused.status, refused.cache()), (404, "ERROR"), "{status}: {}", refused.text());
        }
    }
    let now = health(&gateway).await;
    assert_eq!(now["status"], "ok", "{now}");
    let stats = get(gateway.url("/api/cache/stats")).await.json();
    assert_eq!(
        (&stats["regions"]["quotes"]["errors"], &stats["regions"]["quotes"]["refused"]),
        (&json!(0), &json!(12))
    );
    assert!(lines(&log.text(), " WARN ").is_empty(), "{}", log.text());
    // What it has answered before is no wrong question.
    for status in [400, 422] {
        refusal.store(status, Ordering::Relaxed);
        let kept = get(gateway.url("/v1/quotes/AAPL")).await;
        assert_eq!((kept.status, kept.cache(), kept.text()), (200, "LAST-GOOD", "{\"close\":1}"), "{status}");
        let now = health(&gateway).await;
        assert_eq!(now["status"], "degraded", "{now}");
    }
    assert_eq!(lines(&log.text(), "a source fails").len(), 1, "{}", log.text());
}

#[tokio::test]
async fn a_statement_that_fails_is_reported_with_the_databases_own_words_in_the_log_alone() {
    let log = Sink::of_the_log("info");
    let desk = tempfile::tempdir().unwrap();
    let path = desk.path().join("stocks.db");
    std::fs::write(&path, []).unwrap();
    let file = format!(
        "[databases.main]\nurl = \"sqlite:{}\"\n\n[[routes]]\npath = \"/v1/stocks\"\n\
         sources = [{{ database = \"main\", sql = \"SELECT symbol FROM no_such_table\", rows = \"list\" }}]\n",
        path.display()
    );
    let gateway = Running::of_file(&file).await;
    for _ in 0..10 {
        assert_eq!(get(gateway.url("/v1/stocks")).await.status, 503);
    }
    let now = health(&gateway).await;
    assert_eq!(now["sources"].as_array().unwrap().len(), 2, "with the fear & greed index: {now}");
    assert!(!now.to_string().contains("no_such_table"), "{now}");
    let text = log.text();
    let line = lines(&text, "a source fails");
    assert_eq!(line.len(), 1, "{text}");
    assert!(line[0].contains("no_such_table") && line[0].contains("database main"), "{text}");
}

/// A route over one source, of which nothing stays fresh.
fn route(head: &str, source: &str) -> String {
    format!(
        "{head}\n[regions.fleeting]\nfresh_for = \"1ms\"\nstale_while_revalidate = \"0s\"\n\
         [[routes]]\npath = \"/v1/stocks/{{symbol}}\"\nregion = \"fleeting\"\n\
         parameters.symbol = {{ type = \"text\" }}\nsources = [{{ {source} }}]\n"
    )
}

/// Sees to it that a source which dies shows everywhere at the next question, and so does its return.
async fn shows(log: &Sink, name: &str, file: &str, mut dies: impl AsyncFnMut(bool)) {
    let before = log.text().len();
    let gateway = Running::of_file(file).await;
    let ask = async || get(gateway.url("/v1/stocks/AAPL")).await;
    let first = ask().await;
    assert_eq!(first.status, 200, "{name}: {}", first.text());
    dies(true).await;
    let of_now = |now: &Value| {
        let source = now["sources"].as_array().unwrap().iter().find(|source| source["name"] == name).cloned();
        source.unwrap_or_else(|| panic!("{name}: {now}"))
    };
    // On a busy machine the source may be slow before it fails, and the last good answer stands in for that.
    eventually("the last good answer stands in, and the source fails", async || {
        let stands_in = ask().await.cache() == "LAST-GOOD";
        stands_in && of_now(&health(&gateway).await)["state"] == "failing"
    })
    .await;
    let now = health(&gateway).await;
    assert_eq!(now["status"], "degraded", "{name}: {now}");
    let source = of_now(&now);
    assert!(source["state"] == "failing" && source["reason"].is_string() && source["since"].is_u64(), "{source}");
    let series = format!("lastgood_failing{{kind=\"source\",name=\"{name}\"}}");
    assert_eq!(metric(&gateway, &series).await, Some(1.0), "{name}");
    // However many ask: each of these is a question of its own.
    let others: Vec<_> = (0..20).map(|number| gateway.url(&format!("/v1/stocks/S{number}"))).collect();
    futures_util::future::join_all(others.iter().map(get)).await;
    let text = log.text()[before..].to_owned();
    let warnings = lines(&text, " WARN lastgood").len();
    assert_eq!((lines(&text, "a source fails").len(), warnings), (1, 1), "{name}: {text}");
    dies(false).await;
    eventually("it is well again", async || {
        ask().await;
        health(&gateway).await["status"] == "ok"
    })
    .await;
    assert_eq!(metric(&gateway, &series).await, Some(0.0), "{name}");
    assert_eq!(lines(&log.text()[before..], "a source works again").len(), 1, "{name}: {}", log.text());
}

#[tokio::test]
async fn a_dead_api_shows_in_health_metrics_and_log() {
    let (log, status) = (Sink::of_the_log("info"), Arc::new(AtomicU16::new(200)));
    let shared = Arc::clone(&status);
    let answer = move |_: &str| (shared.load(Ordering::Relaxed), Vec::new(), "{\"close\":1}".to_owned());
    let api = Stub::start(answer).await;
    let head = format!("[apis.main]\nurl = \"{}\"", api.url);
    for bad in [401, 403, 429, 500, 302] {
        let set = async |dead| status.store(if dead { bad } else { 200 }, Ordering::Relaxed);
        shows(&log, "api main", &route(&head, "api = \"main\", path = \"/{symbol}\""), set).await;
    }
}

#[tokio::test]
async fn a_dead_postgresql_shows_in_health_metrics_and_log() {
    let (log, mut server) = (Sink::of_the_log("info"), PostgresServer::start());
    let head = format!("[databases.main]\nurl = \"{}\"", server.url("postgres"));
    let die = async |dead| if dead { server.kill() } else { server.restart() };
    shows(&log, "database main", &route(&head, "database = \"main\", sql = \"SELECT 1 AS close\""), die).await;
}

#[tokio::test]
async fn a_dead_sqlite_file_shows_in_health_metrics_and_log() {
    let log = Sink::of_the_log("info");
    let folder = tempfile::tempdir().unwrap();
    let (path, aside) = (folder.path().join("main.db"), folder.path().join("aside.db"));
    std::fs::write(&path, []).unwrap();
    let head = format!("[databases.main]\nurl = \"sqlite:{}\"", path.display());
    let die = async |dead| match dead {
        true => std::fs::rename(&path, &aside).unwrap(),
        false => std::fs::rename(&aside, &path).unwrap(),
    };
    shows(&log, "database main", &route(&head, "database = \"main\", sql = \"SELECT 1 AS close\""), die).await;
}

#[tokio::test]
async fn a_dead_folder_shows_in_health_metrics_and_log_also_where_its_names_are_listed() {
    let log = Sink::of_the_log("info");
    let folder = tempfile::tempdir().unwrap();
    let (path, aside) = (folder.path().join("main"), folder.path().join("aside"));
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("AAPL.json"), "{\"close\":1}").unwrap();
    let head = format!("[buckets.main]\nurl = \"file:{}\"", path.display());
    let move_aside = || std::fs::rename(&path, &aside).unwrap();
    let move_back = || std::fs::rename(&aside, &path).unwrap();
    for source in ["bucket = \"main\", object = \"{symbol}.json\"", "bucket = \"main\", list = \"*.json\""] {
        let die = async |dead| if dead { move_aside() } else { move_back() };
        shows(&log, "bucket main", &route(&head, source), die).await;
    }
}

#[tokio::test]
async fn a_folder_whose_link_is_switched_to_another_is_followed_there() {
    let folder = tempfile::tempdir().unwrap();
    let current = folder.path().join("current");
    let switch_to = |version: &str| {
        let place = folder.path().join(version);
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("AAPL.json"), format!("\"{version}\"")).unwrap();
        std::fs::write(place.join(format!("{version}.json")), "1").unwrap();
        let next = folder.path().join("next");
        std::os::unix::fs::symlink(version, &next).unwrap();
        std::fs::rename(&next, &current).unwrap();
    };
    let gateway = |source: &str| {
        let file = route(&format!("[buckets.main]\nurl = \"file:{}\"", current.display()), source);
        async move { Running::of_file(&file).await }
    };
    switch_to("first");
    let (one, names) = (
        gateway("bucket = \"main\", object = \"{symbol}.json\"").await,
        gateway("bucket = \"main\", list = \"*.json\"").await,
    );
    for version in ["first", "second", "third"] {
        if version != "first" {
            switch_to(version);
        }
        let got = get(one.url("/v1/stocks/AAPL")).await;
        assert_eq!((got.cache(), got.json()), ("MISS", json!(version)), "{}", got.text());
        let got = get(names.url("/v1/stocks/AAPL")).await;
        assert_eq!((got.cache(), got.json()), ("MISS", json!(["AAPL", version])), "{}", got.text());
    }
    // A link in it still leads nowhere else.
    let outside = folder.path().join("first/AAPL.json");
    std::os::unix::fs::symlink(outside, current.join("LEAK.json")).unwrap();
    assert_eq!(get(one.url("/v1/stocks/LEAK")).await.status, 404);
    assert!(!Path::new(&current).join("next").exists());
}
