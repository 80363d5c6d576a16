//! What the program takes of the machine's memory, whatever is put into it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::child::Serving;

const MIB: u64 = 1 << 20;

/// The most that the program takes, as docs/operating.md states it.
fn stated(limit: u64) -> u64 {
    limit / 2 * 3 + 64 * MIB
}

/// Puts values over one connection, some at a time, and reads each once, so that all is made of it that is kept with it.
async fn put(serving: &Serving, count: usize, request: impl Fn(usize) -> (String, usize)) {
    const TOGETHER: usize = 32;
    const ANSWERED: &str = "HTTP/1.1 2";
    let host = serving.address;
    let mut stream = TcpStream::connect(host).await.expect("a place");
    let (mut reading, mut writing) = stream.split();
    let mut part = vec![0; 64 << 10];
    for batch in 0..count.div_ceil(TOGETHER) {
        let numbers = batch * TOGETHER..((batch + 1) * TOGETHER).min(count);
        let wanted = 2 * numbers.len();
        let write = async {
            for number in numbers {
                let (key, bytes) = request(number);
                let target = format!("/v1/kv/app/{key} HTTP/1.1\r\nHost: {host}\r\n");
                let head = format!("PUT {target}Content-Length: {bytes}\r\n\r\n");
                let get = format!("GET {target}\r\n");
                writing.write_all(&[head.as_bytes(), &vec![b'x'; bytes], get.as_bytes()].concat()).await?;
            }
            std::io::Result::Ok(())
        };
        let read = async {
            let (mut answered, mut text) = (0, String::new());
            while answered < wanted {
                let read = reading.read(&mut part).await.expect("it answers");
                assert!(read > 0, "the connection is closed after {answered} of {wanted}");
                text.push_str(&String::from_utf8_lossy(&part[..read]));
                assert!(!text.contains("HTTP/1.1 4") && !text.contains("HTTP/1.1 5"), "{text}");
                answered += text.matches(ANSWERED).count();
                // The beginning of the next answer may have come.
                let end = text.rfind(ANSWERED).map_or(0, |at| at + ANSWERED.len());
                text = text[end.max(text.len().saturating_sub(ANSWERED.len() - 1))..].to_owned();
            }
        };
        tokio::join!(write, read).0.expect("it reads");
    }
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
