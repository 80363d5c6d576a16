//! The verbs of the command.

use std::process::Output;

use super::*;

mod finding;

/// Runs the command without holding up this thread, which the gateway runs on, too.
async fn command(gateway: &Running, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lastgood"));
    command.args(arguments).env_clear().env("LASTGOOD_URL", gateway.url("")).env("LASTGOOD_ADMIN_TOKEN", TOKEN);
    command.output().await.expect("the program starts")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_watch_ends_once_its_reader_has_gone() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[]).await;
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lastgood"));
    command.args(["stats", "--watch", "100ms"]).env_clear().env("LASTGOOD_URL", gateway.url(""));
    let mut watching = command.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut out = watching.stdout.take().unwrap();
    assert!(tokio::io::AsyncReadExt::read(&mut out, &mut [0; 16]).await.unwrap() > 0);
    drop(out);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), watching.wait()).await;
    assert!(ended.expect("it ends").unwrap().success());
}

#[tokio::test]
async fn the_verbs_that_ask_print_tables_and_json_and_bodies_as_they_are() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[("admin.token", TOKEN)]).await;
    fill(&gateway).await;
    let output = command(&gateway, &["stats"]).await;
    let table = out(&output);
    assert!(output.status.success() && table.contains("HIT %") && table.contains("ticker_price"), "{table}");
    assert!(table.contains("TOTAL") && !table.contains("book_ticker"), "{table}");
    assert!(out(&command(&gateway, &["stats", "--all"]).await).contains("book_ticker"));
    let stats: Value = serde_json::from_slice(&command(&gateway, &["stats", "--json"]).await.stdout).unwrap();
    assert_eq!(stats["regions"]["ticker_price"]["misses"], 1);

    let body = get(gateway.url(PRICES)).await.body;
    let output = command(&gateway, &["get", PRICES_KEY]).await;
    assert!(output.status.success() && output.stdout == body, "{}", complaint(&output));
    assert!(complaint(&output).contains("x-cache: HIT"), "{}", complaint(&output));
    let shown: Value = serde_json::from_slice(&command(&gateway, &["get", "--json", PRICES_KEY]).await.stdout).unwrap();
    assert!(shown["body"].is_array() && shown["x_cache"] == "HIT", "{shown}");

    let output = command(&gateway, &["keys", "--pattern", "*symbol=*", "--limit", "1"]).await;
    assert!(
        out(&output).contains("depth:") && complaint(&output).contains("--after"),
        "{} {}",
        out(&output),
        complaint(&output)
    );
    let depths: Value =
        serde_json::from_slice(&command(&gateway, &["keys", "--region", "depth", "--json"]).await.stdout).unwrap();
    let key = depths["keys"][0]["key"].as_str().unwrap();
    let output = command(&gateway, &["explain", key]).await;
    let table = out(&output);
    assert!(output.status.success() && table.contains(" old") && table.contains("fresh for"), "{table}");
    assert!(table.contains("Asked again on the first read after") && table.contains("stale_if_error"), "{table}");
    assert!(table.contains(", in memory, from an answer of the exchange."), "{table}");
    let known: Value = serde_json::from_slice(&command(&gateway, &["explain", key, "--json"]).await.stdout).unwrap();
    assert_eq!(known["key"], key);
    let table = out(&command(&gateway, &["explain", "klines:spot/api/v3/klines:BTCUSDT:1h"]).await);
    let spans: Vec<&str> = table.lines().filter(|line| line.contains(" to ")).collect();
    assert!(spans.len() >= 2 && spans.last().unwrap().contains(" to now  "), "{table}");
    for span in spans {
        assert!(span.ends_with(", in memory, from an answer of the exchange"), "{span}");
    }

    for arguments in [&["get", "depth:nothing"][..], &["explain", "depht:x"]] {
        let output = command(&gateway, arguments).await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(
            complaint(&output).contains("depth") && !complaint(&output).contains("older version"),
            "{}",
            complaint(&output)
        );
    }
    let output = command(&gateway, &["stats", "--token", "a-wrong-token-for-this"]).await;
    assert!(
        output.status.code() == Some(1) && complaint(&output).contains("LASTGOOD_ADMIN_TOKEN"),
        "{}",
        complaint(&output)
    );
}

#[tokio::test]
async fn the_verbs_that_change_do_it_and_ask_before_they_remove_much() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[("admin.token", TOKEN)]).await;
    fill(&gateway).await;
    let run = async |arguments: &[&str]| {
        let output = command(&gateway, arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", complaint(&output));
        out(&output)
    };
    let json_of = async |arguments: &[&str]| -> Value { serde_json::from_str(&run(arguments).await).unwrap() };
    let table = run(&["expire", "--region", "depth", "--dry-run"]).await;
    assert!(table.contains("MATCHED") && table.contains("dry run"), "{table}");
    assert_eq!(get(gateway.url(&depth("BTCUSDT"))).await.cache(), "HIT");
    let done = json_of(&["expire", "--region", "depth", "--json"]).await;
    assert_eq!(done, json!({ "matched": 2, "expired": 2, "dry_run": false }));
    let done = json_of(&["expire", "--key", PRICES_KEY, "--hard", "--json"]).await;
    assert_eq!(done, json!({ "matched": 1, "removed": 1, "dry_run": false }));
    let done = json_of(&["remove", "--pattern", "depth:*", "--json"]).await;
    assert_eq!(done, json!({ "matched": 2, "removed": 2, "dry_run": false }));
    let done = json_of(&["remove", "--symbol", "btcusdt", "--json"]).await;
    assert!(done["removed"].as_u64() >= Some(2), "{done}");
    assert_eq!(json_of(&["remove", "--tag", "none", "--json"]).await["matched"], 0);
    fill(&gateway).await;
    let done = json_of(&["clear", "--symbol", "ETHUSDT", "--json"]).await;
    assert!(done["removed"].as_u64() >= Some(3) && done["expired"].as_u64() >= Some(1), "{done}");
    for refused in [
        &["clear", "--region", "depth"][..],
        &["clear", "--all"],
        &["flush"],
        &["clear"],
        &["expire"],
        &["remove", "--tag", "x", "--region", "depth"],
        &["keys", "--limit", "0"],
        &["get"],
    ] {
        let output = command(&gateway, refused).await;
        assert_eq!(output.status.code(), Some(2), "{refused:?}: {}", complaint(&output));
    }
    assert_eq!(get(gateway.url(&depth("BTCUSDT"))).await.cache(), "HIT");
    assert_eq!(json_of(&["clear", "--region", "depth", "--yes", "--json"]).await["removed"], 1);
    assert!(json_of(&["flush", "--dry-run", "--json"]).await["matched"].as_u64() > Some(0));
    assert!(run(&["flush", "--yes"]).await.contains("REMOVED"));
    assert_eq!(get(gateway.url(PRICES)).await.cache(), "MISS");
    run(&["clear", "--all", "--yes"]).await;
    assert_eq!(get(gateway.url(PRICES)).await.cache(), "MISS");
    let output = command(&gateway, &["remove", "--key", "depht:x"]).await;
    assert!(output.status.code() == Some(1) && complaint(&output).contains("depth"), "{}", complaint(&output));
}

#[tokio::test]
async fn names_outside_ascii_are_found_as_they_are_typed_and_as_keys_write_them() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[]).await;
    let encoded = "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT";
    let fill = async || {
        for target in
            [&depth(encoded), "/api/v3/klines?symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT&interval=1h&limit=2"]
        {
            let got = get(gateway.url(target)).await;
            assert_eq!(got.status, 200, "{}", got.text());
        }
    };
    fill().await;
    let listed = async |pattern: &str| -> usize {
        let output = command(&gateway, &["keys", "--pattern", pattern, "--json"]).await;
        let keys: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", complaint(&output)));
        keys["keys"].as_array().unwrap().len()
    };
    let all = listed(&format!("*{encoded}*")).await;
    assert!(all >= 2, "{all}");
    for pattern in ["*币安人生USDT*", "*币安*", "*%e5%B8%81安人生*", "*:*=????USDT", "*:*/klines:????USDT:*"] {
        let expected = if pattern.starts_with("*:*") { 1 } else { all };
        assert!(listed(pattern).await >= expected, "{pattern}");
    }
    assert_eq!(listed("*币安人死USDT*").await, 0);
    let output = command(&gateway, &["keys", "--region", "depth", "--json"]).await;
    let depths: Value = serde_json::from_slice(&output.stdout).unwrap();
    let key = depths["keys"][0]["key"].as_str().unwrap().to_owned();
    assert!(key.contains(encoded), "{key}");
    for typed in [&key, &key.replace(encoded, "币安人生USDT"), &key.replace("%E5", "%e5")] {
        for verb in ["explain", "get"] {
            let output = command(&gateway, &[verb, typed, "--json"]).await;
            let shown: Value =
                serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", complaint(&output)));
            assert!(output.status.success(), "{verb} {typed}: {}", complaint(&output));
            assert!(verb == "get" || shown["key"] == key, "{verb} {typed}: {}", shown["key"]);
        }
        let output = command(&gateway, &["expire", "--key", typed, "--json"]).await;
        assert!(
            out(&output).contains(r#""matched":1"#) || out(&output).contains(r#""matched": 1"#),
            "{}",
            out(&output)
        );
    }
    for (what, typed) in [("--pattern", "*币安*"), ("--symbol", "币安人生usdt"), ("--symbol", encoded)] {
        fill().await;
        let output = command(&gateway, &["remove", what, typed, "--json"]).await;
        let done: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", complaint(&output)));
        assert!(done["removed"].as_u64() >= Some(2), "{what} {typed}: {done}");
        assert_eq!(listed("*币安*").await, 0, "{what} {typed}");
    }
    let output = command(&gateway, &["clear", "--symbol", encoded, "--json"]).await;
    assert!(output.status.success(), "{}", complaint(&output));
}

/// Runs the verb on a terminal, where a user types `answer`.
async fn on_a_terminal(gateway: &Running, arguments: &str, answer: &str) -> (bool, String) {
    let verb = format!("{} {arguments} --url {}", env!("CARGO_BIN_EXE_lastgood"), gateway.url(""));
    let shell = format!("printf '{answer}\\n' | script --quiet --return --command '{verb}' /dev/null");
    let output = tokio::process::Command::new("sh").args(["-c", &shell]).output().await.unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_terminal_clearing_everything_asks_with_what_would_be_lost() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[]).await;
    fill(&gateway).await;
    for (verb, answer) in
        [("clear --all", ""), ("clear --all", "n"), ("flush", "what?"), ("clear --region depth", "no")]
    {
        let (done, said) = on_a_terminal(&gateway, verb, answer).await;
        assert!(!done && said.contains("nothing was removed"), "{verb} {answer}: {said}");
        assert!(said.contains(" keys). Go on? [y/N]") || said.contains("(1 key)"), "{verb}: {said}");
        assert!(said.contains("last good answers included"), "{verb}: {said}");
    }
    assert_eq!(get(gateway.url(PRICES)).await.cache(), "HIT");
    let (done, said) = on_a_terminal(&gateway, "clear --all", "y").await;
    assert!(done && said.contains("REMOVED"), "{said}");
    assert_eq!(get(gateway.url(PRICES)).await.cache(), "MISS");
}
