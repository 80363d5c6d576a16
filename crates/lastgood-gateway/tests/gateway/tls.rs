//! Sources behind TLS: whose certificates are trusted, and what is said when they are not.

mod authority;
mod databases;

use std::process::Command;

use serde_json::Value;

/// What `lastgood check` says of the source of each route, `/v1/NAME`, with more variables in its environment.
fn checked(file: &str, variables: &[(&str, &str)]) -> impl Fn(&str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lastgood.toml"), file).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lastgood"));
    command.args(["check", "--json", "--listen", "127.0.0.1:0", "--store", "memory:"]);
    command.current_dir(folder.path()).env_clear().env("HOME", folder.path()).envs(variables.iter().copied());
    for name in ["BINANCE_SPOT_URL", "BINANCE_FUTURES_URL", "BINANCE_COIN_URL", "FEAR_GREED_URL"] {
        command.env(format!("LASTGOOD_{name}"), "http://127.0.0.1:9");
    }
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(&output.stderr)));
    move |name| {
        let checks = report["checks"].as_array().unwrap().iter();
        let route = format!("(/v1/{name})");
        let mut of_route = checks.filter(|check| check["target"].as_str().is_some_and(|text| text.contains(&route)));
        of_route.next().unwrap_or_else(|| panic!("{route} in {report}")).clone()
    }
}

/// A check that failed, for this reason and with this mend.
fn refused(check: &Value, wrong: &str, mend: &str) {
    let has = |key: &str, part: &str| check[key].as_str().is_some_and(|text| text.contains(part));
    assert!(check["verdict"] == "failed" && has("detail", wrong) && has("mend", mend), "{wrong}, {mend}: {check}");
}
