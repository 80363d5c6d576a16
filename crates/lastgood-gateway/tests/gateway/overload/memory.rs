//! What the program takes of the machine's memory, whatever is put into it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::child::Serving;
use crate::word::Stub;

const MIB: u64 = 1 << 20;

/// The most that the program takes, as docs/operating.md states it.
fn stated(limit: u64) -> u64 {
    limit / 2 * 3 + 64 * MIB
}

/// A request: its method and target, and its body.
type Asked = (String, String);

/// Sends requests over one connection, some at a time. Each is answered, and none with a status that is not `expected`.
async fn send(serving: &Serving, count: usize, expected: &[&str], asked: impl Fn(usize) -> Vec<Asked>) {
    const TOGETHER: usize = 32;
    const ANSWERED: &str = "HTTP/1.1 ";
    let host = serving.address;
    let mut stream = TcpStream::connect(host).await.expect("a place");
    let (mut reading, mut writing) = stream.split();
    let mut part = vec![0; 64 << 10];
    for batch in 0..count.div_ceil(TOGETHER) {
        let numbers = batch * TOGETHER..((batch + 1) * TOGETHER).min(count);
        let requests: Vec<Asked> = numbers.flat_map(&asked).collect();
        let write = async {
            for (line, body) in &requests {
                let length = if line.starts_with("GET ") {
                    String::new()
                } else {
                    format!("Content-Length: {}\r\n", body.len())
                };
                let head = format!("{line} {}\r\nHost: {host}\r\n{length}\r\n", ANSWERED.trim_end());
                writing.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
            }
            std::io::Result::Ok(())
        };
        let read = async {
            let (mut answered, mut text) = (0, String::new());
            while answered < requests.len() {
                let read = reading.read(&mut part).await.expect("it answers");
                assert!(read > 0, "the connection is closed after {answered} of {}", requests.len());
                text.push_str(&String::from_utf8_lossy(&part[..read]));
                while let Some((_, after)) = text.split_once(ANSWERED) {
                    // The status may not have come yet.
                    let Some(status) = after.get(..3) else { break };
                    assert!(expected.contains(&status), "{after}");
                    answered += 1;
                    text = after[3..].to_owned();
                }
                let from = text.len().saturating_sub(ANSWERED.len() + 2);
                text = text.get(text.find(ANSWERED).unwrap_or(from)..).unwrap_or_default().to_owned();
            }
        };
        tokio::join!(write, read).0.expect("it reads");
    }
}

/// Puts values and reads each once, so that all is made of it that is kept with it.
async fn put(serving: &Serving, count: usize, value: impl Fn(usize) -> (String, usize)) {
    let asked = |number| {
        let (key, bytes) = value(number);
        let target = format!("/v1/kv/app/{key}");
        vec![(format!("PUT {target}"), "x".repeat(bytes)), (format!("GET {target}"), String::new())]
    };
    send(serving, count, &["200", "201", "204"], asked).await;
}

/// `own` is what the program may take beyond the limit and its margin, once it has begun to work.
async fn takes_no_more_than_the_limit_and_a_margin(store: &str, limit: u64, own: u64) {
    let written = limit.to_string();
    let serving = Serving::start(
        "http://127.0.0.1:9",
        "-n 1024",
        store,
        &[("memory.limit", &written), ("regions.app.fresh_for", "1h")],
    );
    put(&serving, 32, |number| (format!("first{number}"), 20)).await;
    let quiet = serving.resident();
    let scale = usize::try_from(limit >> 20).expect("a small limit");
    let taken = |what: &str| {
        let taken = serving.resident();
        assert!(taken <= stated(limit), "{what}: {taken} bytes with a limit of {limit}");
        assert!(
            taken <= quiet + limit / 2 * 3 + own,
            "{what}: {taken} bytes with a limit of {limit}, {quiet} when quiet"
        );
    };
    put(&serving, scale * 1_000, |number| (format!("small{number}"), 20)).await;
    taken("small values");
    put(&serving, scale * 300, |number| (format!("{}{number}", "long".repeat(100)), 20)).await;
    taken("long keys");
    put(&serving, scale * 150, |number| (format!("mixed{number}"), number * 37 % 6_000)).await;
    taken("values of all sizes");
    put(&serving, scale * 3, |number| (format!("large{number}"), 1 << 20)).await;
    taken("large values");
    put(&serving, scale * 300, |number| (format!("more{number}"), 20)).await;
    taken("small values after large ones");
}

#[tokio::test]
async fn whatever_is_put_the_program_takes_no_more_than_its_limit_and_the_stated_margin() {
    // Of large values that were on their way the C library keeps some room, how much differs from run to run: 1 to 7 MiB here.
    takes_no_more_than_the_limit_and_a_margin("memory:", 8 * MIB, 10 * MIB).await;
}

#[tokio::test]
async fn with_a_store_on_disk_too_the_program_takes_no_more_than_its_limit_and_the_stated_margin() {
    // Large values are written out in one commit.
    takes_no_more_than_the_limit_and_a_margin("embedded:", 8 * MIB, 24 * MIB).await;
}

/// A source that answers anything: with a value, with nothing, or wrongly.
async fn source() -> Stub {
    let answer = |path: &str| match path.split('/').nth(2).unwrap_or_default() {
        "avgPrice" | "v3" => (200, Vec::new(), r#"{"mins":5,"price":"9.35","closeTime":1700000000000}"#.to_owned()),
        name if name.starts_with("none") => (404, Vec::new(), "{}".to_owned()),
        name if name.starts_with("wrong") => (500, Vec::new(), "{}".to_owned()),
        _ => (200, Vec::new(), r#"{"close":1.5}"#.to_owned()),
    };
    Stub::start(answer).await
}

#[tokio::test]
async fn whatever_is_asked_the_program_takes_no_more_than_its_limit_and_the_stated_margin() {
    let source = source().await;
    let file = format!(
        "[apis.main]\nurl = \"{}\"\n[[routes]]\npath = \"/v1/q/{{symbol}}\"\ntags = [\"q:{{symbol}}\"]\n\
         parameters.symbol = {{ type = \"text\", max_length = 200 }}\n\
         sources = [{{ api = \"main\", path = \"/q/{{symbol}}\" }}]\n",
        source.url
    );
    let limit = 4 * MIB;
    let more = ["avg_price", "app"].map(|region| (format!("regions.{region}.fresh_for"), "1h".to_owned()));
    let more = [("memory.limit".to_owned(), limit.to_string())].into_iter().chain(more).collect::<Vec<_>>();
    let more: Vec<(&str, &str)> = more.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let serving = Serving::of_file(&source.url, "-n 1024", "memory:", &more, &file);
    let get = |target: String| vec![(format!("GET {target}"), String::new())];
    let taken = |what: &str| {
        let taken = serving.resident();
        assert!(taken <= stated(limit), "{what}: {taken} bytes with a limit of {limit}");
    };
    let (found, any) = (["200", "201", "204"], ["200", "201", "204", "404", "429", "503"]);
    send(&serving, 4_000, &found, |number| get(format!("/v1/q/s{number}"))).await;
    taken("answers of a declared route");
    send(&serving, 1_500, &found, |number| get(format!("/v1/q/{}{number}", "l".repeat(180)))).await;
    taken("answers with long keys");
    send(&serving, 2_000, &any, |number| get(format!("/v1/q/{}{number}", ["none", "wrong"][number % 2]))).await;
    taken("answers that are none, and failures");
    send(&serving, 1_000, &any, |number| get(format!("/api/v3/avgPrice?symbol=X{number}"))).await;
    taken("answers of the exchange");
    send(&serving, 5_000, &any, |number| get(format!("/api/v3/avgPrice?symbol=X{}&x{number}=1", number % 100))).await;
    taken("one question in many forms");
    let tagged = |number: usize| {
        let put = (format!("PUT /v1/kv/app/t{number}?tags=t{number},o{number}"), "x".repeat(20));
        let tag = format!(r#"{{"tag":"t{number}"}}"#);
        // All of memory is looked through for each.
        let invalidate = number.is_multiple_of(16).then(|| ("POST /api/cache/invalidate".to_owned(), tag));
        [put].into_iter().chain(invalidate).collect()
    };
    send(&serving, 4_000, &found, tagged).await;
    taken("values with tags, and the marks of the tags");
    let analysis = |number: usize| {
        let body = format!(r#"{{"input":{{"n":{number}}},"analysis":{{"m":{number}}}}}"#);
        let asked = format!(r#"{{"input":{{"claimed":{number}}}}}"#);
        vec![("PUT /v1/llm/mood".to_owned(), body), ("POST /v1/llm/mood?claim=600s&wait=0s".to_owned(), asked)]
    };
    send(&serving, 3_000, &any, analysis).await;
    taken("analyses, and claims of analyses");
    let bar = |number: usize| {
        let row = r#"[[1735689600000,"1.1","2","0.5","1.5","12"]]"#.to_owned();
        vec![(format!("PUT /v1/bars/my:S{number}/1h"), row)]
    };
    send(&serving, 2_000, &found, bar).await;
    taken("bars");
    send(&serving, 2_000, &any, |number| get(format!("/nothing/{number}"))).await;
    taken("paths that are none");
}
