//! A generator of requests from PyPI, given the gateway's own description of itself.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::from_env;
use super::scene::{Scene, TOKEN};

/// Requests that are made up for an operation in each phase.
const EXAMPLES: u64 = 15;

#[tokio::test]
async fn schemathesis_finds_every_answer_as_the_gateway_describes_it() {
    let scene = Scene::start(true).await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let tool = root.join("target/test-tools/venv/bin/schemathesis");
    assert!(tool.exists(), "run tests/install-tools.sh first");
    let seed = from_env("LASTGOOD_SEED").unwrap_or(7).to_string();
    let examples = from_env("LASTGOOD_CASES").unwrap_or(EXAMPLES).to_string();
    let folder = tempfile::tempdir().unwrap();
    let run = tokio::process::Command::new(&tool)
        .current_dir(folder.path())
        .arg("--config-file")
        .arg(root.join("tests/clients/schemathesis.toml"))
        .args(["run", &scene.gateway.url("/api/openapi.json"), "--no-color", "--warnings", "off"])
        .args(["--seed", &seed, "--max-examples", &examples, "--continue-on-failure"])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(Duration::from_secs(300), run).await.expect("it ends").unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{said}");
    assert!(said.contains("Tested: "), "{said}");
}
