//! Reads from Redis next to redis-benchmark, in turns: `cargo bench -p lastgood-benches --bench redis`.
//!
//! lastgood's reads go through its guard (budget, breaker, checksum) and are decoded to entries; redis-benchmark's are thrown away. *redis*
//! is the client that lastgood is built on, alone: one connection, a command a read.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that times and prints"
)]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lastgood::store::{Guard, RedisOptions, RedisStore, Store};
use lastgood::{Cache, Loaded, Policy, Region};
use lastgood_testing::RedisServer;
use redis::aio::MultiplexedConnection;

const ROUNDS: usize = 5;
const KEYS: usize = 1_000;
const READS: usize = 200_000;
const TASKS: usize = 64;

#[tokio::main]
async fn main() {
    // `cargo test` runs benches too, to see that they work; it passes no `--bench`.
    if std::env::args().any(|argument| argument == "--bench") {
        tokio::spawn(print()).await.unwrap();
    }
}

async fn print() {
    let server = RedisServer::start();
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(RedisOptions::parse(&server.url()).unwrap()));
    while store.probe().await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let patient = Guard { budget: Duration::from_secs(1), ..Guard::default() };
    let cache = Cache::builder().store(store).guard(patient).build().unwrap();
    let region = cache.region("prices", Policy::fresh_for(Duration::from_secs(3_600))).unwrap();
    for number in 0..KEYS {
        region.put(&number.to_string(), Loaded::from(Bytes::from(vec![b'x'; 150]))).await;
    }
    assert!(cache.sync(Duration::from_secs(10)).await);
    server.command(&["SET", "bare", &"x".repeat(150)]);
    let port = server.url().rsplit(':').next().unwrap().trim_matches('/').to_owned();

    let (mut tasks, mut batches, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    let (mut plain, mut piped) = (Vec::new(), Vec::new());
    let (mut bare, mut bare_waits) = (Vec::new(), Vec::new());
    let client = redis::Client::open(server.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    for _ in 0..ROUNDS {
        tasks.push(by_tasks(&region).await);
        piped.push(benchmark(&port, 16));
        batches.push(by_hundreds(&region).await);
        plain.push(benchmark(&port, 1));
        waits.push(one_by_one(&region).await);
        bare.push(bare_by_tasks(&connection).await);
        bare_waits.push(bare_one_by_one(&connection).await);
    }
    println!("medians of {ROUNDS} rounds in turns; values of 150 bytes\n");
    let ratios = |mine: &[f64], theirs: &[f64]| mine.iter().zip(theirs).map(|(mine, theirs)| mine / theirs).collect();
    let line = |what: &str, value: Vec<f64>| println!("{what:<52} {:>12.2}", median(value));
    line("redis-benchmark -P 1, 50 clients, reads/s", plain.clone());
    line("redis-benchmark -P 16, 50 clients, reads/s", piped.clone());
    line("lastgood, 64 tasks, reads/s", tasks.clone());
    line("  of redis-benchmark -P 16", ratios(&tasks, &piped));
    line("  of redis-benchmark -P 1", ratios(&tasks, &plain));
    line("redis, 64 tasks, reads/s", bare.clone());
    line("  lastgood of it", ratios(&tasks, &bare));
    line("lastgood, 100 keys in one read, keys/s", batches);
    line("lastgood, one after the other, µs", waits.clone());
    line("redis, one after the other, µs", bare_waits.clone());
    line("  lastgood by it", ratios(&waits, &bare_waits));
}

/// Reads a second of many tasks over one connection.
async fn by_tasks(region: &Region) -> f64 {
    let began = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let region = region.clone();
            tokio::spawn(async move {
                for read in 0..READS / TASKS {
                    let name = ((task + read * TASKS) % KEYS).to_string();
                    assert!(region.try_stored(&name).await.unwrap().is_some());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    READS as f64 / began.elapsed().as_secs_f64()
}

/// As [`by_tasks`], by the client alone.
async fn bare_by_tasks(connection: &MultiplexedConnection) -> f64 {
    let began = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let mut connection = connection.clone();
            tokio::spawn(async move {
                for _ in 0..READS / TASKS {
                    let value: Bytes = redis::cmd("GET").arg("bare").query_async(&mut connection).await.unwrap();
                    assert_eq!(value.len(), 150);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    READS as f64 / began.elapsed().as_secs_f64()
}

async fn bare_one_by_one(connection: &MultiplexedConnection) -> f64 {
    let (mut took, mut connection) = (Vec::with_capacity(5_000), connection.clone());
    for _ in 0..5_000 {
        let began = Instant::now();
        let value: Bytes = redis::cmd("GET").arg("bare").query_async(&mut connection).await.unwrap();
        assert_eq!(value.len(), 150);
        took.push(began.elapsed().as_nanos() as f64 / 1_000.0);
    }
    median(took)
}

async fn by_hundreds(region: &Region) -> f64 {
    let names: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let began = Instant::now();
    for _ in 0..READS / 1_000 {
        assert!(region.stored(&names).await.iter().all(|read| matches!(read, Ok(Some(_)))));
    }
    (READS / 10) as f64 / began.elapsed().as_secs_f64()
}

/// The median of single reads, in µs.
async fn one_by_one(region: &Region) -> f64 {
    let mut took = Vec::with_capacity(5_000);
    for read in 0..5_000 {
        let name = (read % KEYS).to_string();
        let began = Instant::now();
        assert!(region.try_stored(&name).await.unwrap().is_some());
        took.push(began.elapsed().as_nanos() as f64 / 1_000.0);
    }
    median(took)
}

fn benchmark(port: &str, pipeline: usize) -> f64 {
    let reads = if pipeline == 1 { READS / 2 } else { READS * 5 };
    let arguments = ["-p", port, "-n", &reads.to_string(), "-P", &pipeline.to_string(), "--csv", "GET", "bare"];
    let output = Command::new("redis-benchmark").args(arguments).output().expect("redis-benchmark is installed");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().last().expect("a line");
    line.split(',').nth(1).unwrap().trim_matches('"').parse().unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
