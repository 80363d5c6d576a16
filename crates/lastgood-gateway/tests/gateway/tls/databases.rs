//! PostgreSQL behind TLS.

use lastgood_testing::PostgresServer;
use serde_json::json;

use super::authority::Authority;
use super::{checked, refused};
use crate::support::{Running, get};

/// Databases with a route each, `/v1/NAME`, which says whether its connection is encrypted.
fn file(databases: &[(&str, String)]) -> String {
    let mut file = "[regions.fleeting]\nfresh_for = \"0s\"\nstale_while_revalidate = \"0s\"\n".to_owned();
    for (name, url) in databases {
        file += &format!(
            "[databases.{name}]\nurl = \"{url}\"\n[[routes]]\npath = \"/v1/{name}\"\nregion = \"fleeting\"\n\
             [[routes.sources]]\ndatabase = \"{name}\"\nrows = \"row\"\n\
             sql = \"SELECT ssl AS encrypted FROM pg_stat_ssl WHERE pid = pg_backend_pid()\"\n"
        );
    }
    file
}

fn url(host: &str, server: &PostgresServer, parameters: &str) -> String {
    format!("postgres://postgres@{host}:{}/postgres{parameters}", server.port())
}

fn full(server: &PostgresServer, authority: &Authority) -> String {
    let root = authority.certificate();
    url("localhost", server, &format!("?sslmode=verify-full&sslrootcert={}", root.display()))
}

#[tokio::test]
async fn a_database_behind_tls_is_asked_as_its_sslmode_says() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (certificate, key) = ours.server();
    let server = PostgresServer::start_with_tls(&certificate, &key);
    let open = PostgresServer::start();
    let root = |authority: &Authority| format!("sslrootcert={}", authority.certificate().display());
    let (root, other) = (root(&ours), root(&theirs));
    let there = |parameters: &str| url("localhost", &server, parameters);
    let encrypted = [
        ("full", full(&server, &ours)),
        ("number_ca", url("127.0.0.1", &server, &format!("?sslmode=verify-ca&{root}"))),
        ("trusted", there(&format!("?sslmode=require&{root}"))),
        ("any", there("?sslmode=require")),
        ("unsaid", there("")),
    ];
    let as_sent = [("unsaid_open", url("localhost", &open, ""))];
    let untrusted = [
        ("stranger", full(&server, &theirs)),
        ("stranger_ca", there(&format!("?sslmode=verify-ca&{other}"))),
        ("stranger_root", there(&format!("?sslmode=require&{other}"))),
        ("system", there("?sslmode=verify-full")),
        ("number", url("127.0.0.1", &server, &format!("?sslmode=verify-full&{root}"))),
    ];
    let failing = [
        ("no_tls", url("localhost", &open, "?sslmode=require"), "does not support TLS", "does the server speak TLS?"),
        ("plain", there("?sslmode=disable"), "no encryption", "sslmode=verify-full"),
        ("no_file", there("?sslmode=verify-full&sslrootcert=/nowhere/root.pem"), "No such file", "sslrootcert"),
    ];
    let mut all = [&encrypted[..], &as_sent, &untrusted].concat();
    all.extend(failing.iter().map(|(name, url, ..)| (*name, url.clone())));
    let file = file(&all);
    let (said, gateway) = (checked(&file, &[]), Running::of_file(&file).await);
    let answer = async |name: &str| get(gateway.url(&format!("/v1/{name}"))).await;
    for ((name, _), is_encrypted) in encrypted.iter().zip([true; 5]).chain(as_sent.iter().zip([false])) {
        assert_eq!(said(name)["verdict"], "ok", "{}", said(name));
        let got = answer(name).await;
        assert_eq!((got.status, got.json()), (200, json!({ "encrypted": is_encrypted })), "{name}: {}", got.text());
    }
    for (name, _) in &untrusted {
        let wrong = if *name == "number" { "not valid for name" } else { "UnknownIssuer" };
        refused(&said(name), wrong, "let sslrootcert name the certificate");
        let got = answer(name).await;
        assert_eq!((got.status, got.text().contains("over TLS")), (503, true), "{name}: {}", got.text());
    }
    for (name, _, wrong, hint) in &failing {
        refused(&said(name), wrong, hint);
        assert_eq!(answer(name).await.status, 503, "{name}");
    }
    assert!(answer("plain").await.text().contains("does not let the gateway in"));
}

#[tokio::test]
async fn while_the_certificate_of_a_database_is_not_trusted_its_last_good_answers_are_served() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let ((certificate, key), (other, other_key)) = (ours.server(), theirs.server());
    let mut server = PostgresServer::start_with_tls(&certificate, &key);
    let gateway = Running::of_file(&file(&[("main", full(&server, &ours))])).await;
    let labels = async |server: &mut PostgresServer| {
        server.restart();
        let got = get(gateway.url("/v1/main")).await;
        assert_eq!((got.status, got.json()), (200, json!({ "encrypted": true })), "{}", got.text());
        got.cache().to_owned()
    };
    assert_eq!(labels(&mut server).await, "MISS");
    server.set_certificate(&other, &other_key);
    assert_eq!(labels(&mut server).await, "LAST-GOOD");
    server.set_certificate(&certificate, &key);
    let again = async { while labels(&mut server).await == "LAST-GOOD" {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), again).await.expect("it is asked again");
}
