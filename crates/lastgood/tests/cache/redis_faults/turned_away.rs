//! A server that takes a connection and hangs up.

use std::io::{Read, Write};

use super::*;

/// Waits until the store says why it cannot be used, in these words, and goes on to say so.
async fn says(store: &RedisStore, words: &str) {
    let why = async || store.get("key").await.expect_err("it is turned away").to_string();
    until(why, |why| why.contains(words)).await;
    for _ in 0..20 {
        let why = store.get("key").await.expect_err("it is turned away").to_string();
        assert!(why.contains(words), "{why}");
        assert!(!store.is_connected());
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_redis_without_a_place_is_named_in_its_own_words_whatever_is_asked_first() {
    for password in ["", "right"] {
        let arguments = ["--requirepass", password];
        let server = RedisServer::start_with(if password.is_empty() { &[] } else { &arguments });
        let mut place = std::net::TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
        let mut tell = |command: &str| {
            place.write_all(format!("{command}\r\n").as_bytes()).expect("it is read");
            let mut answer = [0; 64];
            let length = place.read(&mut answer).expect("it is answered");
            assert!(answer[..length].starts_with(b"+OK") || answer[..length].starts_with(b":"), "{command}");
        };
        if !password.is_empty() {
            tell("AUTH right");
        }
        let stores = ["0", "3"].map(|database| open(&format!("{}/{database}", server.url().trim_end_matches("/0"))));
        until_put(&stores[0]).await;
        tell("CONFIG SET maxclients 1");
        tell("CLIENT KILL TYPE normal SKIPME yes");
        for store in &stores {
            says(store, "ERR max number of clients reached").await;
        }
        tell("CONFIG SET maxclients 1000");
        for store in &stores {
            until_put(store).await;
        }
    }
}

/// How a connection is treated before it is closed.
#[derive(Clone, Copy)]
enum First {
    Nothing,
    /// Wait for a command, and leave it unanswered.
    Wait,
    Say(&'static str),
}

/// A port at which something takes connections, and closes each.
async fn port_that_closes(first: First) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it listens").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                match first {
                    First::Nothing => {}
                    First::Wait => drop(tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await),
                    First::Say(text) => {
                        let said = tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await;
                        said.expect("a connection");
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn what_closes_each_connection_says_no_word_and_is_named_all_the_same() {
    let port = port_that_closes(First::Nothing).await;
    says(&open(&format!("redis://127.0.0.1:{port}")), "closes them at once").await;
    // As a port with TLS does after bytes that begin no handshake.
    let port = port_that_closes(First::Wait).await;
    says(&open(&format!("redis://127.0.0.1:{port}")), "write rediss://").await;
    let port = port_that_closes(First::Say("SSH-2.0-server\r\n")).await;
    says(&open(&format!("redis://127.0.0.1:{port}")), "SSH-2.0-server").await;
}
