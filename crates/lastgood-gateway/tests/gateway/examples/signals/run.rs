//! The example's own command, to its end, and the files that go with it.

use super::*;

/// Runs it, and looks at what it says.
async fn keeps_its_promises(more: &[&str]) -> String {
    let run = Command::new(path("signals", "run"))
        .args(["--once", "--signals", "20000"])
        .args(more)
        .env("LASTGOOD_BIN", env!("CARGO_BIN_EXE_lastgood"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(300), run).await.expect("it ends").expect("it starts");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
    for target in declared() {
        assert!(said.contains(&format!("\n{target} ")), "{target}: {said}");
    }
    let end = said.rfind("signals: ").map(|at| &said[at..]).expect("how many promises held");
    let (held, all) = (number_after(end, "signals: "), number_after(end, " of "));
    assert!(held == all && held > 30.0, "{end}");
    assert!(!said.contains("{\"") && !said.contains("{'"), "words and tables, no raw data: {said}");
    said.into_owned()
}

// They ask for quiet (`.config/nextest.toml`): they measure the gateway, not the tests that run with it.

#[tokio::test]
async fn the_run_command_keeps_its_promises_on_upstash() {
    let said = keeps_its_promises(&[]).await;
    assert!(said.contains("the store: rediss://localhost:"), "{said}");
    assert!(said.contains("in its own words") && said.contains("commands this gateway sent to Upstash"), "{said}");
    for timeframe in ["15m", "1h", "4h", "1d", "1w"] {
        assert!(said.contains(&format!("candles of {timeframe} are fresh for ")), "{timeframe}: {said}");
    }
    let load = &said[said.find("load: ").expect("a load")..];
    assert!(number_after(load, "hit rate ") > 80.0, "{load}");
    assert!(number_after(load, ", p99 ") < 50.0, "{load}");
}

#[tokio::test]
async fn the_run_command_keeps_its_promises_over_rest() {
    let said = keeps_its_promises(&["--over", "rest"]).await;
    assert!(said.contains("the store: http://127.0.0.1:") && said.contains("USD"), "{said}");
}

#[tokio::test]
async fn the_run_command_keeps_its_promises_with_redis_frozen() {
    keeps_its_promises(&["--redis", "frozen"]).await;
}

#[tokio::test]
async fn the_run_command_keeps_its_promises_with_redis_stopped() {
    keeps_its_promises(&["--redis", "stopped"]).await;
}

#[tokio::test]
async fn the_run_command_keeps_its_promises_without_redis() {
    keeps_its_promises(&["--redis", "absent"]).await;
}

#[tokio::test]
async fn the_run_command_keeps_its_promises_with_redis_returning() {
    keeps_its_promises(&["--redis", "returning"]).await;
}

#[tokio::test]
async fn the_run_command_keeps_its_promises_over_rest_with_redis_stopped() {
    keeps_its_promises(&["--over", "rest", "--redis", "stopped"]).await;
}

#[tokio::test]
async fn the_run_command_keeps_its_promises_over_rest_with_redis_returning() {
    keeps_its_promises(&["--over", "rest", "--redis", "returning"]).await;
}

#[test]
fn the_fly_configuration_names_what_there_is() {
    let text = std::fs::read_to_string(path("signals", "fly.toml")).unwrap();
    let fly: toml::Table = text.parse().expect("TOML");
    let of = |table: &str, key: &str| fly[table].get(key).unwrap_or_else(|| panic!("{table}.{key}")).clone();
    // Every variable is a setting that the gateway knows, and the port is where it then listens.
    let env = fly["env"].as_table().expect("variables");
    let known: Vec<&str> =
        lastgood_settings::KEYS.iter().flat_map(|key| key.env).copied().chain(["LASTGOOD_CONFIG"]).collect();
    for (name, value) in env {
        assert!(known.contains(&name.as_str()) && value.is_str(), "{name} = {value}");
    }
    let mut variables: Vec<(&str, &str)> = env.iter().map(|(name, value)| (&**name, value.as_str().unwrap())).collect();
    variables.push(("DATABASE_URL", "postgres://127.0.0.1/none"));
    variables.push(("REDIS_URL", "rediss://default:t@eu1-x.upstash.io:6379"));
    variables.push(("LASTGOOD_ADMIN_TOKEN", "a-token-of-this-test"));
    let said = settings("signals", &variables, &[]);
    assert_eq!(of("http_service", "internal_port").as_integer(), Some(i64::from(said.listen.port())));
    assert_eq!(of("mounts", "destination").as_str(), said.data_dir.to_str());
    assert!(said.store.is_at_upstash());
    // The configuration file comes from where it is, and goes to where it is looked for.
    let file = fly["files"][0].as_table().expect("a file");
    assert_eq!(file["guest_path"].as_str(), env["LASTGOOD_CONFIG"].as_str());
    let root = path("signals", "../..");
    assert!(
        root.join(file["local_path"].as_str().unwrap()).canonicalize().unwrap() == path("signals", "lastgood.toml")
    );
    assert!(root.join("Dockerfile").is_file(), "Fly builds the folder that is deployed");
    // The queue is written before it is killed: the gateway takes up to ten seconds for its clients and five for that.
    assert_eq!(fly["kill_signal"].as_str(), Some("SIGTERM"));
    assert!(fly["kill_timeout"].as_integer() >= Some(20));
    for name in ["REDIS_URL", "DATABASE_URL", "LASTGOOD_ADMIN_TOKEN"] {
        assert!(text.contains(&format!("{name}=")) && !env.contains_key(name), "{name} is a secret");
    }
}

#[tokio::test]
async fn the_health_check_of_the_fly_configuration_is_answered() {
    let fly: toml::Table = std::fs::read_to_string(path("signals", "fly.toml")).unwrap().parse().expect("TOML");
    let check = fly["http_service"]["checks"][0].as_table().expect("a check");
    assert_eq!(check["method"].as_str(), Some("GET"));
    let platform = Platform::start().await;
    let gateway = platform.gateway(None).await;
    ok(&gateway, check["path"].as_str().expect("a path")).await;
}
