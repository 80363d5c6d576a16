//! Messages of the command line about faults, and parameters that it passes on.

use super::*;
use crate::support::{Exchange, Running, get};

#[test]
fn serve_says_how_to_fix_a_certificate_that_it_cannot_use() {
    let desk = Desk::with_file("tls.certificate = \"cert.pem\"\ntls.key = \"key.pem\"\n");
    let said = |what: &str| {
        let output = desk.run(&["serve", "--listen", "127.0.0.1:0", "--store", "memory:"]);
        assert_eq!(output.status.code(), Some(1), "{what}");
        stderr(&output)
    };
    let missing = said("no file");
    assert!(
        missing.contains("cert.pem: it cannot be read") && missing.contains("help: there is no such file"),
        "{missing}"
    );
    std::fs::write(desk.path().join("cert.pem"), "no certificate").expect("a writable directory");
    let empty = said("no certificate in it");
    assert!(empty.contains("cert.pem") && empty.contains("help: name PEM files"), "{empty}");
}

#[test]
fn serve_says_that_it_listens_only_where_it_does() {
    let desk = Desk::new();
    let taken = desk.path().join("taken.sock");
    let listener = std::os::unix::net::UnixListener::bind(&taken).expect("a writable directory");
    for (socket, hint) in [("no/such/folder.sock", "help: make the folder"), ("taken.sock", "help: stop the program")] {
        let socket = format!("unix_socket={}", desk.path().join(socket).display());
        let output = desk.run(&["serve", "--listen", "127.0.0.1:0", "--store", "memory:", "--set", &socket]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("failed to listen: the unix socket") && text.contains(hint), "{text}");
        assert!(!text.contains("is listening"), "{text}");
    }
    drop(listener);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_symbol_are_those_that_the_gateway_lists_for_it() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    for symbol in ["BTCUSDT", "ETHUSDT"] {
        assert_eq!(get(gateway.url(&format!("/api/v3/klines?symbol={symbol}&interval=1h&limit=5"))).await.status, 200);
    }
    let url = gateway.url("");
    let listed = tokio::task::spawn_blocking(move || {
        let output = Desk::new().run(&["keys", "--symbol", "btcusdt", "--url", url.trim_end_matches('/'), "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        json(&output)
    });
    let listed = listed.await.expect("it ran");
    let keys: Vec<&str> = listed["keys"].as_array().unwrap().iter().filter_map(|row| row["key"].as_str()).collect();
    assert!(keys.iter().any(|key| key.contains("BTCUSDT")), "{keys:?}");
    assert!(!keys.iter().any(|key| key.contains("ETHUSDT")), "{keys:?}");
}
