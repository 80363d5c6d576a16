//! The verbs of the command.

use std::process::Output;

use super::*;

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

#[tokio::test]
async fn the_verbs_find_the_gateway_of_their_own_environment() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[("admin.token", TOKEN)]).await;
    let port = gateway.address.port();
    let desk = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lastgood"));
        command.args(arguments).current_dir(desk.path()).env_clear().envs(environment.iter().copied());
        command.output().await.expect("the program starts")
    };
    let stats = ["stats"];
    let (here, everywhere) = (format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"));
    let token = ("LASTGOOD_ADMIN_TOKEN", TOKEN);
    for listen in [&here, &everywhere] {
        let output = run(&stats, &[("LASTGOOD_LISTEN", listen), token]).await;
        assert!(output.status.success(), "{listen}: {}", complaint(&output));
        let output = run(&["check", "--live"], &[("LASTGOOD_LISTEN", listen)]).await;
        assert!(output.status.success(), "{listen}: {}", complaint(&output));
    }
    // The flag wins over the variable of the address, that over where it listens.
    let (url, nowhere) = (gateway.url(""), ("LASTGOOD_URL", "http://127.0.0.1:9"));
    let output = run(&["stats", "--url", &url], &[nowhere, ("LASTGOOD_LISTEN", "127.0.0.1:9"), token]).await;
    assert!(output.status.success(), "{}", complaint(&output));
    let output = run(&stats, &[("LASTGOOD_URL", &url), ("LASTGOOD_LISTEN", "127.0.0.1:9"), token]).await;
    assert!(output.status.success(), "{}", complaint(&output));
    let output = run(&stats, &[nowhere, ("LASTGOOD_LISTEN", &here), token]).await;
    assert!(!output.status.success() && complaint(&output).contains("127.0.0.1:9"), "{}", complaint(&output));

    // A file says both, whatever else a client lacks of what it wants.
    let text = format!("listen = \"0.0.0.0:{port}\"\nmaster_key = \"${{NOT_HERE}}\"\n[admin]\ntoken = \"{TOKEN}\"\n");
    std::fs::write(desk.path().join("other.toml"), &text).unwrap();
    for arguments in [&["stats", "--config", "other.toml"][..], &["stats", "--config", "other.toml", "--url", &url]] {
        let output = run(arguments, &[]).await;
        assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
    }
    assert!(run(&stats, &[("LASTGOOD_CONFIG", "other.toml")]).await.status.success());
    std::fs::write(desk.path().join("lastgood.toml"), &text).unwrap();
    assert!(run(&stats, &[]).await.status.success());
    let output = run(&["stats", "--token", "a-wrong-token-for-this"], &[]).await;
    assert!(complaint(&output).contains("401"), "{}", complaint(&output));
    // The variable beats the file.
    let output = run(&stats, &[("LASTGOOD_LISTEN", "127.0.0.1:9")]).await;
    assert!(complaint(&output).contains("http://127.0.0.1:9"), "{}", complaint(&output));

    let output = run(&["stats", "--config", "nope.toml", "--url", &url], &[token]).await;
    assert!(output.status.code() != Some(0) && complaint(&output).contains("nope.toml"), "{}", complaint(&output));
    let output = run(&stats, &[("LASTGOOD_LISTEN", "nowhere"), token]).await;
    assert!(
        output.status.code() != Some(0) && complaint(&output).contains("LASTGOOD_LISTEN"),
        "{}",
        complaint(&output)
    );
}

/// Every verb that asks a gateway, with what it needs to be one.
const ASKING: [&[&str]; 12] = [
    &["stats"],
    &["get", PRICES_KEY],
    &["keys"],
    &["explain", PRICES_KEY],
    &["expire", "--key", PRICES_KEY],
    &["remove", "--tag", "none"],
    &["clear", "--symbol", "NONE"],
    &["clear", "--region", "kv", "--yes"],
    &["clear", "--all", "--dry-run"],
    &["flush", "--dry-run"],
    &["warm", "--dry-run"],
    &["check", "--live"],
];

/// The program in a folder of its own, without any variable but these.
async fn in_folder(folder: &std::path::Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lastgood"));
    command.args(arguments).current_dir(folder).env_clear().envs(environment.iter().copied());
    command.output().await.expect("the program starts")
}

#[tokio::test]
async fn a_gateway_that_is_not_the_one_of_the_configuration_is_never_asked() {
    let exchange = exchange().await;
    // One that answers on the port of LASTGOOD_LISTEN, and the one that the file is about.
    let (other, own) = (start(&exchange, &[]).await, start(&exchange, &[("admin.token", TOKEN)]).await);
    fill(&own).await;
    let desk = tempfile::tempdir().unwrap();
    let write = |listen: &str| {
        let text = format!("listen = \"{listen}\"\n[admin]\ntoken = \"{TOKEN}\"\n");
        std::fs::write(desk.path().join("lastgood.toml"), text).unwrap();
    };
    let port = own.address.port();
    let asked = other.totals().requests;
    for listen in [format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"), format!("[::ffff:0.0.0.0]:{port}")] {
        write(&listen);
        for arguments in ASKING {
            let output = in_folder(desk.path(), arguments, &[]).await;
            assert!(output.status.success(), "{listen} {arguments:?}: {}", complaint(&output));
            fill(&own).await;
        }
    }
    // The variable wins over the file, the flag of `check` over both.
    let elsewhere = [("LASTGOOD_LISTEN", "127.0.0.1:9")];
    let here = format!("127.0.0.1:{port}");
    for flags in [["--listen".to_owned(), here.clone()], ["--set".to_owned(), format!("listen={here}")]] {
        let output = in_folder(desk.path(), &["check", "--live", &flags[0], &flags[1]], &elsewhere).await;
        assert!(output.status.success(), "{flags:?}: {}", complaint(&output));
    }
    // No server is there: no verb turns to another, and each says who names the address.
    for (listen, environment) in [("127.0.0.1:9", &[][..]), ("[::1]:9", &[]), ("0.0.0.0:1234", &elsewhere[..])] {
        write(listen);
        for arguments in ASKING {
            let output = in_folder(desk.path(), arguments, environment).await;
            let said = complaint(&output);
            let origin = if environment.is_empty() { "lastgood.toml:1" } else { "env LASTGOOD_LISTEN" };
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
            assert!(said.contains(":9 (listen: ") && said.contains(origin) && said.contains("help:"), "{said}");
        }
    }
    write("127.0.0.1:0");
    let output = in_folder(desk.path(), &["stats"], &[]).await;
    assert!(output.status.code() == Some(1) && complaint(&output).contains("--url"), "{}", complaint(&output));
    assert_eq!(other.totals().requests, asked);
}

#[tokio::test]
async fn a_gateway_on_ipv6_is_found_at_its_address_or_at_loopback() {
    let exchange = exchange().await;
    let desk = tempfile::tempdir().unwrap();
    for listen in ["[::1]", "[::]"] {
        let port = std::net::TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap().port();
        let variables = [("LASTGOOD_LISTEN", format!("{listen}:{port}")), ("LASTGOOD_ADMIN_TOKEN", TOKEN.to_owned())];
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lastgood"));
        command.args(["serve", "--store", "memory:"]).current_dir(desk.path()).env_clear().envs(variables.clone());
        command.env("LASTGOOD_BINANCE_SPOT_URL", exchange.url()).kill_on_drop(true);
        let mut gateway = command.stderr(std::process::Stdio::null()).spawn().expect("the program starts");
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for arguments in [&["check", "--live"][..], &["stats"]] {
            crate::support::eventually("it is found", async || {
                in_folder(desk.path(), arguments, &variables).await.status.success()
            })
            .await;
        }
        gateway.kill().await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_configuration_file_stops_every_verb_and_says_how_to_correct_it() {
    let desk = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(desk.path().join(name), text).unwrap();
    write("unknown.toml", b"lisen = \"127.0.0.1:8092\"\n");
    write("value.toml", b"preset = \"tradng\"\n");
    write("broken.toml", b"listen = \n[admin\n");
    write("bytes.toml", b"\xff\xfe");
    write("right.toml", b"preset = \"trading\"\n");
    std::os::unix::fs::symlink("nowhere.toml", desk.path().join("link.toml")).unwrap();
    let others: [&[&str]; 3] = [&["config"], &["serve", "--listen", "127.0.0.1:0"], &["credentials", "list"]];
    for file in ["nope.toml", "unknown.toml", "value.toml", "broken.toml", "bytes.toml", "link.toml", ".", "/dev/zero"]
    {
        for arguments in ASKING.iter().chain(&others) {
            let arguments: Vec<&str> = arguments.iter().copied().chain(["--config", file]).collect();
            let output = in_folder(desk.path(), &arguments, &[("LASTGOOD_URL", "http://127.0.0.1:9")]).await;
            let said = complaint(&output);
            assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {said}");
            assert!(said.contains("help:") && !said.contains("failed to ask"), "{arguments:?}: {said}");
            assert!(said.contains(file) || said.contains("--config"), "{arguments:?}: {said}");
        }
    }
    // Verbs that read none do not take one as if they did.
    for verb in [&["demo", "--for", "1s"][..], &["sim", "--listen", "127.0.0.1:0"], &["completions", "bash"]] {
        for file in ["nope.toml", "right.toml"] {
            let arguments: Vec<&str> = verb.iter().copied().chain(["--config", file]).collect();
            let output = in_folder(desk.path(), &arguments, &[]).await;
            let said = complaint(&output);
            assert!(output.status.code() == Some(2) && said.contains(file) && said.contains("help:"), "{said}");
        }
    }
    // A link that leads nowhere is not the same as no file.
    std::fs::rename(desk.path().join("link.toml"), desk.path().join("lastgood.toml")).unwrap();
    let output = in_folder(desk.path(), &["stats"], &[]).await;
    assert!(complaint(&output).contains("lastgood.toml cannot be read"), "{}", complaint(&output));
}

#[tokio::test]
async fn a_client_without_the_gateways_variables_finds_it_all_the_same() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[]).await;
    let desk = tempfile::tempdir().unwrap();
    let text = format!(
        "listen = \"{}\"\nstore = \"env:STORE\"\nmaster_key = \"env:KEY\"\n[databases.main]\nurl = \"env:DATABASE\"\n\
         [regions.news]\nfresh_for = \"env:FRESH\"\n[[routes]]\npath = \"/v1/news\"\nregion = \"news\"\n\
         [[routes.sources]]\ndatabase = \"main\"\nsql = \"SELECT 1 AS one\"\nrows = \"list\"\n",
        gateway.address
    );
    std::fs::write(desk.path().join("lastgood.toml"), &text).unwrap();
    let output = in_folder(desk.path(), &["stats"], &[]).await;
    assert!(output.status.success(), "{}", complaint(&output));
    std::fs::write(desk.path().join("lastgood.toml"), text.replace("fresh_for", "frsh_for")).unwrap();
    let output = in_folder(desk.path(), &["stats"], &[]).await;
    assert!(complaint(&output).contains("did you mean `fresh_for`?"), "{}", complaint(&output));
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
