//! The compose file.

use super::*;

#[tokio::test]
async fn the_compose_file_waits_for_a_healthy_redis() {
    let compose = compose().await;
    let services = &compose["services"];
    let waits_for = &services["lastgood"]["depends_on"];
    for service in ["redis", "postgres"] {
        assert_eq!(waits_for[service]["condition"], "service_healthy", "{waits_for}");
        let check = &services[service]["healthcheck"];
        assert!(check["test"].is_array() && check["retries"].as_u64() > Some(0), "{check}");
    }
    assert!(services["redis"]["image"].as_str().unwrap().starts_with("redis:7"), "{services}");
    let volume = services["redis"]["volumes"][0].as_str().unwrap();
    let (name, place) = volume.split_once(':').unwrap();
    assert!(place == "/data" && compose["volumes"].get(name).is_some(), "{compose}");
    // Redis would be open to the network; only the gateway is, and to this machine alone.
    assert!(services["redis"]["ports"].is_null() && services["postgres"]["ports"].is_null());
    // Every volume with a name is declared, and every service has its data in one.
    for (service, place) in [("redis", "/data"), ("postgres", "/var/lib/postgresql/data"), ("lastgood", "/data")] {
        let mounts = services[service]["volumes"].as_array().unwrap().iter().map(|mount| mount.as_str().unwrap());
        let mut named = mounts.filter_map(|mount| mount.split_once(':')).filter(|(source, _)| !source.starts_with('.'));
        let (name, mounted) = named.next().unwrap_or_else(|| panic!("{service} has no volume"));
        assert!(mounted == place && compose["volumes"].get(name).is_some(), "{service}: {name} at {mounted}");
        assert!(services[service]["healthcheck"]["test"].is_array(), "{service}");
    }
    // Longer than the gateway drains (10 s) and closes its store (5 s).
    let grace = services["lastgood"]["stop_grace_period"].as_str().unwrap();
    assert!(grace.trim_end_matches('s').parse::<u64>().unwrap() > 15, "{grace}");
    assert!(services["lastgood"]["ports"][0].as_str().unwrap().starts_with("127.0.0.1:"));
}

/// The health check of the compose file, run as it stands on Redis in each state.
#[tokio::test]
async fn the_health_check_of_redis_tells_a_good_one_from_the_others() {
    let compose = compose().await;
    let check = &compose["services"]["redis"]["healthcheck"]["test"];
    assert_eq!(check[0], "CMD-SHELL");
    for redis in RedisIs::ALL {
        let server = redis.server();
        let command =
            check[1].as_str().unwrap().replace("redis-cli", &format!("timeout 2 redis-cli -p {}", server.port()));
        let done = tokio::process::Command::new("sh").args(["-c", &command]).output().await.expect("sh");
        assert_eq!(done.status.success(), redis == RedisIs::Up, "Redis {redis:?}: {done:?}");
    }
}

/// The settings that the gateway's container is given, read as the gateway reads them.
#[tokio::test]
async fn the_compose_files_settings_are_settings_of_the_gateway() {
    let compose = compose().await;
    let service = &compose["services"]["lastgood"];
    let set = |value: &Value| {
        let text = value.as_str().unwrap();
        let Some((before, (variable, after))) =
            text.split_once("${").map(|(before, rest)| (before, rest.split_once('}').unwrap()))
        else {
            return text.to_owned();
        };
        // `${NAME:-default}`; or `${NAME}` and `${NAME:?why}`, which somebody chose.
        let value = variable.split_once(":-").map_or("chosen", |(_, default)| default);
        format!("{before}{value}{after}")
    };
    let env: Vec<(String, String)> =
        service["environment"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), set(value))).collect();
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let settings = settings("vibeapp", &env, &[]);
    assert_eq!(settings.listen.to_string(), "0.0.0.0:8090");
    assert!(settings.enabled);
    for region in ["stock_list", "scores_leaderboard"] {
        let seconds = if region == "stock_list" { 300 } else { 600 };
        assert_eq!(settings.regions[region].policy.fresh_for, Some(Duration::from_secs(seconds)), "{region}");
    }
    for (name, default) in [("CACHE_TTL_DEFAULT", "300"), ("CACHE_TTL_SCORES", "600"), ("REDIS_ENABLED", "true")] {
        assert!(env.contains(&(name, default)), "{name}");
        assert_eq!(service["environment"][name], format!("${{{name}:-{default}}}"));
    }
    let mounted = service["volumes"][0].as_str().unwrap();
    let config = env.iter().find(|(name, _)| *name == "LASTGOOD_CONFIG").unwrap().1;
    assert_eq!(mounted, format!("./lastgood.toml:{config}:ro"));
    let dockerfile = path("vibeapp", service["build"]["context"].as_str().unwrap()).join("Dockerfile");
    assert!(dockerfile.exists(), "{}", dockerfile.display());
}

/// The compose file, as YAML has it.
async fn compose() -> Value {
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let python = path("vibeapp", "../../target/test-tools/venv/bin/python");
    let mut command = tokio::process::Command::new(python);
    let done = command.args(["-c", script]).arg(path("vibeapp", "compose.yaml")).output().await.expect("python");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}
