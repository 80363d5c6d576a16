//! Programs from npm that speak the protocol: one more server, and Upstash's own client.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use lastgood::store::Store;
use lastgood_testing::{Port, RedisServer, UpstashFront};
use tokio::time::sleep;

use super::{HOUR, TOKEN, front, is_unavailable, keys, open, through};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// The server `@humanwhocodes/upstash-redis-server` before a Redis. It takes commands as JSON arrays, one or many, and
/// a bearer token for one. It lacks commands in the path, and so what takes values that are no text; it answers in
/// plain text, never in base64; and it reports what Redis says as an error of its own. So these tests ask it for what
/// needs none of that: numbers, nothing, and refusals. The whole contract is checked before the front of these tests.
struct NpmServer {
    port: Port,
    process: Child,
}

impl NpmServer {
    async fn start(redis: &RedisServer, token: &str) -> NpmServer {
        let port = Port::take();
        let program = "target/test-tools/node/node_modules/@humanwhocodes/upstash-redis-server/dist/server.js";
        let process = Command::new("node")
            .arg(root().join(program))
            .env("URS_TOKEN", token)
            .env("PORT", port.number().to_string())
            .env("REDIS_URL", redis.url())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts; run tests/install-tools.sh");
        let mut server = NpmServer { port, process };
        for _ in 0..1000 {
            if tokio::net::TcpStream::connect(("127.0.0.1", server.port.number())).await.is_ok() {
                return server;
            }
            let ended = server.process.try_wait().expect("a process");
            assert!(ended.is_none(), "the server from npm ended ({ended:?}); run tests/install-tools.sh");
            sleep(Duration::from_millis(20)).await;
        }
        panic!("the server from npm does not listen");
    }
}

impl Drop for NpmServer {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_server_from_npm_understands_the_requests() {
    let redis = RedisServer::start();
    let server = NpmServer::start(&redis, TOKEN).await;
    let store = through(server.port.number());
    assert_eq!(store.get("key").await, Ok(None));
    assert_eq!(store.get_many(&keys(&["key", "other"])).await, Ok(vec![None, None]));
    // The one value that is the same in base64.
    redis.command(&["SET", "key", ""]);
    assert_eq!(store.get("key").await, Ok(Some(Bytes::new())));
    assert_eq!(store.get_many(&keys(&["key", "other"])).await, Ok(vec![Some(Bytes::new()), None]));
    assert_eq!(store.put("other", Bytes::new(), HOUR).await, Ok(()), "a value without bytes goes as JSON");
    assert!(redis.command(&["PTTL", "other"]).starts_with(":3"), "with its time to live");
    let page = store.list("none", None, 10).await.expect("a page");
    assert_eq!((page.keys, page.next), (vec![], None));
    assert_eq!(store.probe().await.map(|usage| usage.keys), Ok(Some(2)));
    assert_eq!(store.remove(&keys(&["key", "missing", "other"])).await, Ok(2));
    let usage = store.probe().await.expect("a probe");
    assert_eq!((usage.keys, usage.bytes), (Some(0), None), "its INFO is no base64");
    assert!(is_unavailable(&store.put("key", "value".into(), HOUR).await), "it knows no command in the path");
}

#[tokio::test]
async fn a_server_from_npm_turns_a_wrong_token_away() {
    let redis = RedisServer::start();
    let server = NpmServer::start(&redis, "another").await;
    let answer = through(server.port.number()).get("key").await;
    let said = format!("{answer:?}");
    assert!(is_unavailable(&answer) && said.contains("does not accept the REST token"), "{said}");
}

#[tokio::test]
async fn upstash_s_own_client_and_the_store_read_what_the_other_wrote() {
    let redis = RedisServer::start();
    let (front, store): (UpstashFront, _) = front(&redis).await;
    let values = ["plain", "{\"a\":[1,2.5,null]}", "比特币 🚀", "a/b?c=d&e#f%2F"];
    for (index, value) in values.iter().enumerate() {
        let key = format!("ours/{index}?{value}");
        store.put(&key, (*value).into(), HOUR).await.expect("stored");
    }
    let output = tokio::process::Command::new("node")
        .arg(root().join("tests/clients/upstash_client.mjs"))
        .env("UPSTASH_REDIS_REST_URL", front.url())
        .env("UPSTASH_REDIS_REST_TOKEN", TOKEN)
        .env("VALUES", serde_json::to_string(&values).expect("JSON"))
        .kill_on_drop(true)
        .output()
        .await
        .expect("node starts; run tests/install-tools.sh");
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complained}\n(tests/install-tools.sh installs what it needs)");
    let theirs: Vec<String> = (0..values.len()).map(|index| format!("theirs/{index}")).collect();
    let read = store.get_many(&theirs).await.expect("read");
    let expected: Vec<Option<Bytes>> = values.iter().map(|value| Some(Bytes::from(*value))).collect();
    assert_eq!(read, expected);
    let listed = store.list("theirs/", None, 100).await.expect("a page");
    assert_eq!(listed.keys.len(), values.len());
    let by_name = open(&front.url().replace("127.0.0.1", "localhost")).get("theirs/0").await;
    assert_eq!(by_name, Ok(Some("plain".into())), "under its name, too");
}
