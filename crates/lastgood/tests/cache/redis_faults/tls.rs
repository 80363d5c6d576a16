//! Redis over TLS.

use lastgood_testing::Port;

use super::*;

const TLS_CHILD: &str = "LASTGOOD_TEST_TLS_URL";

#[tokio::test]
async fn a_redis_behind_tls_is_used_when_its_certificate_is_trusted_and_only_then() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (key, certificate) = (file("key.pem"), file("certificate.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &key, "-out", &certificate])
        .output();
    assert!(made.is_ok_and(|made| made.status.success()), "this test needs `openssl` (Debian: openssl)");
    let port = Port::take();
    let tls = ["--tls-port", &port.number().to_string(), "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let tls = [&tls[..], &["--tls-ca-cert-file", &certificate, "--tls-auth-clients", "no"]].concat();
    let _server = RedisServer::start_with(&tls);
    let url = format!("rediss://localhost:{}/0", port.number());

    let store = open(&url);
    let answer = async || store.get("key").await.expect_err("not trusted").to_string();
    until(answer, |text| text.contains("certificate")).await;

    // Which certificates are trusted is read from the environment of the process.
    let child = std::process::Command::new(std::env::current_exe().expect("a test binary"))
        .args(["--exact", "redis_faults::tls::child_that_trusts_the_certificate", "--ignored"])
        .env(TLS_CHILD, &url)
        .env("SSL_CERT_FILE", &certificate)
        .output()
        .expect("the test binary starts");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "a part of the test before, which runs it in a process of its own"]
async fn child_that_trusts_the_certificate() {
    let url = std::env::var(TLS_CHILD).expect("the test before names the server");
    let store = open(&url);
    until_put(&store).await;
    until_read(&store).await;
}
