//! A fault every few seconds: one series strikes Redis, the ways to it and the gateways, another the source.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lastgood_testing::Chaos;
use tokio::time::sleep;

use crate::faultlog::Struck;
use crate::ledger::{Ledger, name};
use crate::scene::Scene;
use crate::source::Health;
use crate::time::Chance;

/// Groups of faults that may be chosen on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Group {
    /// Redis is stopped, killed, full, read-only
    Redis,
    /// Connections to Redis are reset, refused, slow, swallowed
    Network,
    /// A gateway is stopped or killed
    Gateway,
    /// The source is ill
    Upstream,
}

/// A fault of the store or of a gateway.
#[derive(Clone, Copy, Debug)]
enum Fault {
    RedisStopped,
    RedisKilled,
    RedisFull,
    RedisTakesNoWrites,
    RedisIsReplica,
    Way(Chaos, &'static str),
    /// Both ways at once.
    Ways(Chaos, &'static str),
    GatewayStopped,
    GatewayKilled,
}

fn delay(millis: u64) -> Chaos {
    Chaos::Delay(Duration::from_millis(millis))
}

/// The faults of these groups.
fn of_groups(groups: &[Group]) -> Vec<Fault> {
    let redis =
        [Fault::RedisStopped, Fault::RedisKilled, Fault::RedisFull, Fault::RedisTakesNoWrites, Fault::RedisIsReplica];
    let network = [
        Fault::Way(Chaos::Reset, "connections are reset"),
        Fault::Way(Chaos::Refuse, "connections are refused"),
        Fault::Way(Chaos::BlackHole, "a black hole"),
        Fault::Way(delay(8), "8 ms late"),
        Fault::Way(delay(150), "150 ms late"),
        Fault::Way(Chaos::Truncate(200), "replies are cut"),
        Fault::Ways(Chaos::BlackHole, "a black hole"),
        Fault::Ways(Chaos::Reset, "connections are reset"),
    ];
    let gateway = [Fault::GatewayStopped, Fault::GatewayKilled];
    let mut faults = Vec::new();
    for group in groups {
        match group {
            Group::Redis => faults.extend(redis),
            Group::Network => faults.extend(network),
            Group::Gateway => (0..2).for_each(|_| faults.extend(gateway)),
            Group::Upstream => {}
        }
    }
    faults
}

/// How the source is ill: what it answers, what becomes of connections to it, and the name of that.
type Illness = (Health, Chaos, &'static str);

fn ways_to_be_ill() -> Vec<Illness> {
    let answers = [
        (Health::Hang, "the source hangs"),
        (Health::Status(500), "the source answers 500"),
        (Health::Status(503), "the source answers 503"),
        (Health::TooMany, "the source answers 429"),
        (Health::Html, "the source answers a page"),
        (Health::Truncated, "the source's answers are cut"),
        (Health::ErrorIn200, "the source answers 200 with an error"),
        (Health::Empty, "the source answers nothing"),
        (Health::Slow(Duration::from_millis(900)), "the source is slow"),
    ];
    let connections = [
        (Chaos::Refuse, "the source refuses connections"),
        (Chaos::Reset, "the source resets connections"),
        (Chaos::BlackHole, "the source is in a black hole"),
    ];
    let answers = answers.into_iter().map(|(health, name)| (health, Chaos::Pass, name));
    answers.chain(connections.into_iter().map(|(chaos, name)| (Health::Well, chaos, name))).collect()
}

/// Plays the faults of these groups until `over`; the one under way then ends first.
pub(crate) async fn play(scene: Arc<Scene>, ledger: Ledger, groups: Vec<Group>, seed: u64, over: Arc<AtomicBool>) {
    let faults = of_groups(&groups);
    let ways = if groups.contains(&Group::Upstream) { ways_to_be_ill() } else { Vec::new() };
    let is_over = || over.load(Ordering::Relaxed);
    let of_store = async {
        let mut chance = Chance::of(seed, 1);
        while !faults.is_empty() {
            // Now and then it is quiet for long enough that everything has to be well again.
            let pause = if chance.one_in(5) { chance.millis(12_000, 16_000) } else { chance.millis(2_000, 6_000) };
            if wait(pause, is_over).await {
                return;
            }
            if let Some(fault) = chance.pick(&faults).copied() {
                strike(&scene, &ledger, fault, &mut chance).await;
            }
        }
    };
    let of_source = async {
        let mut chance = Chance::of(seed, 2);
        while !ways.is_empty() {
            let pause = chance.millis(6_000, 24_000);
            if wait(pause, is_over).await {
                return;
            }
            if let Some(way) = chance.pick(&ways).copied() {
                sicken(&scene, &ledger, way, &mut chance).await;
            }
        }
    };
    tokio::join!(of_store, of_source);
}

/// Waits, and says whether the run is over meanwhile.
async fn wait(pause: Duration, is_over: impl Fn() -> bool) -> bool {
    let mut left = pause;
    while !left.is_zero() && !is_over() {
        let step = left.min(Duration::from_millis(100));
        sleep(step).await;
        left -= step;
    }
    is_over()
}

async fn sicken(scene: &Scene, ledger: &Ledger, (health, way, name): Illness, chance: &mut Chance) {
    let lasts = chance.millis(500, 5_000);
    let number = ledger.faults.begin(name, Struck::Upstream, ledger.clock.now());
    scene.source.set(health);
    scene.way_to_source.set(way);
    sleep(lasts).await;
    scene.source.set(Health::Well);
    if health == Health::Hang {
        // The connections on which no answer comes are closed, as by a server that starts again.
        scene.way_to_source.set(Chaos::Reset);
        sleep(Duration::from_millis(20)).await;
    }
    scene.way_to_source.set(Chaos::Pass);
    ledger.faults.end(number, ledger.clock.now());
}

async fn strike(scene: &Scene, ledger: &Ledger, fault: Fault, chance: &mut Chance) {
    // Most are short; some last longer than any gateway believes what it holds.
    let lasts = if chance.one_in(6) { chance.millis(8_000, 16_000) } else { chance.millis(300, 5_000) };
    // Gateway a lives as long as the run, so that its memory and handles can be compared.
    let gateway = if matches!(fault, Fault::GatewayKilled) { 1 } else { chance.below(2) };
    let name = name(gateway);
    let (sentence, struck) = match fault {
        Fault::RedisStopped => ("Redis is stopped".to_owned(), Struck::Store),
        Fault::RedisKilled => ("Redis is killed".to_owned(), Struck::Store),
        Fault::RedisFull => ("Redis is full".to_owned(), Struck::Store),
        Fault::RedisTakesNoWrites => ("Redis lacks replicas to write".to_owned(), Struck::Store),
        Fault::RedisIsReplica => ("Redis is a replica".to_owned(), Struck::Store),
        Fault::Way(_, how) => (format!("from {name} to Redis {how}"), Struck::Store),
        Fault::Ways(_, how) => (format!("from both to Redis {how}"), Struck::Store),
        Fault::GatewayStopped => (format!("gateway {name} is stopped"), Struck::Gateway(gateway)),
        Fault::GatewayKilled => (format!("gateway {name} is killed"), Struck::Gateway(gateway)),
    };
    let number = ledger.faults.begin(&sentence, struck, ledger.clock.now());
    begin(scene, ledger, fault, gateway).await;
    sleep(lasts).await;
    end(scene, fault, gateway).await;
    ledger.faults.end(number, ledger.clock.now());
}

async fn begin(scene: &Scene, ledger: &Ledger, fault: Fault, gateway: usize) {
    match fault {
        Fault::RedisStopped => scene.to_redis(|redis| redis.stop()).await,
        Fault::RedisKilled => scene.to_redis(|redis| redis.kill()).await,
        Fault::RedisFull => configure(scene, &["CONFIG", "SET", "maxmemory", "1mb"]).await,
        Fault::RedisTakesNoWrites => configure(scene, &["CONFIG", "SET", "min-replicas-to-write", "1"]).await,
        // Of a primary that does not exist, so that nothing is replaced.
        Fault::RedisIsReplica => configure(scene, &["REPLICAOF", "127.0.0.1", "1"]).await,
        Fault::Way(chaos, _) => scene.ways[gateway].set(chaos),
        Fault::Ways(chaos, _) => scene.ways.iter().for_each(|way| way.set(chaos)),
        Fault::GatewayStopped => scene.gateways[gateway].stop(true),
        Fault::GatewayKilled => {
            scene.gateways[gateway].kill().await;
            ledger.killed(gateway);
        }
    }
}

async fn end(scene: &Scene, fault: Fault, gateway: usize) {
    match fault {
        Fault::RedisStopped => scene.to_redis(|redis| redis.cont()).await,
        Fault::RedisKilled => scene.to_redis(|redis| redis.restart()).await,
        Fault::RedisFull => configure(scene, &["CONFIG", "SET", "maxmemory", "0"]).await,
        Fault::RedisTakesNoWrites => configure(scene, &["CONFIG", "SET", "min-replicas-to-write", "0"]).await,
        Fault::RedisIsReplica => configure(scene, &["REPLICAOF", "NO", "ONE"]).await,
        Fault::Way(..) | Fault::Ways(..) => scene.ways.iter().for_each(|way| way.set(Chaos::Pass)),
        Fault::GatewayStopped => scene.gateways[gateway].stop(false),
        Fault::GatewayKilled => {
            if let Err(why) = scene.gateways[gateway].start().await {
                crate::complain(&format!("a gateway did not start again: {why}"));
            }
        }
    }
}

async fn configure(scene: &Scene, words: &'static [&'static str]) {
    scene.to_redis(|redis| drop(redis.command(words))).await;
}
