//! Ten minutes with a tenth of the budget that the readers would need, on the real cache, before a model of the
//! exchange that counts by the minute and bans those who go on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lastgood::{Cache, Clock, Error, Loaded, Policy, Reason, Region};

use super::{Ask, Bucket, Budget, Frequency, Priority};
use crate::Venue;

const LIMIT: u32 = 600;
/// Requests over the limit until the exchange bans.
const PATIENCE: u32 = 10;
const WEIGHT: u32 = 2;
const FRESH_FOR: Duration = Duration::from_secs(4);
/// Keys, and requests for each in a second.
const CLASSES: [(usize, usize); 3] = [(20, 16), (60, 4), (120, 1)];
const MINUTES: usize = 10;

/// Counts weight by the minute of its own clock.
struct Exchange {
    clock: Clock,
    counted: Mutex<(u64, u32, u32)>,
    most: AtomicU64,
    refused: AtomicU64,
    bans: AtomicU64,
}

impl Exchange {
    /// The status and the used weight.
    async fn call(&self, weight: u32) -> (u16, u32) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let minute = self.clock.now().as_millis() / 60_000;
        let (status, used) = {
            let mut counted = self.counted.lock().unwrap();
            if counted.0 != minute {
                *counted = (minute, 0, 0);
            }
            counted.1 += weight;
            self.most.fetch_max(u64::from(counted.1), Ordering::Relaxed);
            let over = counted.1 > LIMIT;
            counted.2 += u32::from(over);
            self.refused.fetch_add(u64::from(over), Ordering::Relaxed);
            self.bans.fetch_add(u64::from(counted.2 > PATIENCE), Ordering::Relaxed);
            (if over { 429 } else { 200 }, counted.1)
        };
        tokio::time::sleep(Duration::from_millis(10)).await;
        (status, used)
    }
}

struct Gateway {
    exchange: Exchange,
    budget: Budget,
    frequency: Frequency,
    clock: Clock,
}

impl Gateway {
    async fn load(&self, key: &str, priority: Priority) -> Result<Loaded, Error> {
        let ask = Ask {
            bucket: Bucket::Weight,
            weight: WEIGHT,
            priority,
            frequency: self.frequency.of_at(self.frequency.slot(key)),
        };
        let spent = self.budget.spend(ask)?;
        self.frequency.reset_at(self.frequency.slot(key));
        let (status, used) = self.exchange.call(WEIGHT).await;
        spent.learn_used(used);
        if status != 200 {
            let rest = Duration::from_millis(60_000 - self.clock.now().as_millis() % 60_000);
            self.budget.stop(Reason::RateLimited, rest);
            return Err(Error::new(Reason::RateLimited, "429").with_retry_after(rest));
        }
        Ok(Loaded::from(Bytes::from_static(b"[]")))
    }

    /// An order, a look at the account: sent whatever the budget says.
    async fn signed(&self) -> u16 {
        let passing = self.budget.pass();
        let (status, used) = self.exchange.call(1).await;
        passing.learn_used(used);
        status
    }
}

async fn read(gateway: &Arc<Gateway>, region: &Region, key: &str) -> Result<Duration, Error> {
    gateway.frequency.count(key);
    let (loading, held, name) = (Arc::clone(gateway), region.clone(), key.to_owned());
    let load = move || async move {
        let priority = if held.peek(&name).is_some() { Priority::Refresh } else { Priority::Demand };
        Ok(loading.load(&name, priority).await?)
    };
    region.get_or_load(key, load).await.map(|answer| answer.age())
}

#[tokio::test(start_paused = true)]
async fn at_a_tenth_of_the_budget_there_is_no_ban_every_reader_is_served_and_hot_keys_stay_freshest() {
    let clock = Clock::paused_with_tokio();
    tokio::time::advance(Duration::from_millis(60_000 - clock.now().as_millis() % 60_000)).await;
    let exchange = Exchange {
        clock: clock.clone(),
        counted: Mutex::default(),
        most: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        bans: AtomicU64::new(0),
    };
    let budget = Budget::new("model", Venue::Spot, clock.clone());
    budget.learn_limits(
        br#"{"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":600}]}"#,
    );
    let gateway = Arc::new(Gateway { exchange, budget, frequency: Frequency::new(), clock: clock.clone() });
    let cache = Cache::builder().clock(clock.clone()).build().unwrap();
    let region = cache.region("prices", Policy::fresh_for(FRESH_FOR).stale_while_revalidate(FRESH_FOR)).unwrap();
    let keys = CLASSES.iter().map(|(keys, _)| keys).sum::<usize>() as u32;
    let needed = keys * WEIGHT * (60_000 / FRESH_FOR.as_millis() as u32);
    assert_eq!(needed, LIMIT * 10);

    let mut ages = [(Duration::ZERO, Duration::ZERO, 0u32); 3];
    let (mut signed, mut warmed) = (0, [0u32; MINUTES]);
    for second in 0..MINUTES * 60 {
        for quarter in 0..4 {
            for (class, (keys, rate)) in CLASSES.into_iter().enumerate() {
                // A key that is asked for once a second is asked for in one of its quarters.
                for (key, _) in (0..keys).map(|key| (key, 0)).filter(|(key, _)| rate >= 4 || key % 4 == quarter) {
                    for _ in 0..rate.div_ceil(4) {
                        let age = read(&gateway, &region, &format!("{class}/{key}")).await.expect("an answer");
                        // In the first minute most of the budget goes to keys that are not kept yet.
                        if second < 60 {
                            continue;
                        }
                        let (sum, worst, count) = &mut ages[class];
                        (*sum, *worst, *count) = (*sum + age, (*worst).max(age), *count + 1);
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        if gateway.load("unread", Priority::Warm).await.is_ok() {
            warmed[second / 60] += 1;
        }
        signed += u32::from(gateway.signed().await != 200);
    }

    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let exchange = &gateway.exchange;
    let mean = ages.map(|(sum, _, count)| sum / count);
    let worst = ages.map(|(_, worst, _)| worst);
    println!("mean age {mean:?}, worst {worst:?}, most used {}, warmed {warmed:?}", count(&exchange.most));
    assert_eq!((count(&exchange.bans), signed), (0, 0), "bans, and signed calls refused");
    assert!(count(&exchange.refused) <= 1, "{} calls over the limit", count(&exchange.refused));
    assert!(count(&exchange.most) > u64::from(LIMIT) / 2, "most of the budget is used: {}", count(&exchange.most));
    assert!(mean.is_sorted_by(|hotter, colder| *hotter * 3 < *colder * 2), "{mean:?}");
    assert!(worst[2] < Duration::from_secs(480), "no key is forgotten: {worst:?}");
    assert_eq!(warmed[1..].iter().sum::<u32>(), 0, "warming yields");
}
