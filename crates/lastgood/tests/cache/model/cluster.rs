//! Random schedules on three nodes over one store under virtual time, against a model of what may be answered.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::sleep;

use super::schedule::{Schedule, Step};
use super::store::Breach;
use super::world::World;

/// Runs one schedule again and tells its story: `LASTGOOD_SEED=4711 cargo nextest run -p lastgood model::cluster`.
const SEED: &str = "LASTGOOD_SEED";
/// How many schedules run, in each of the tests that share them: `LASTGOOD_SCHEDULES=100000`.
const SCHEDULES: &str = "LASTGOOD_SCHEDULES";
const EACH: u64 = 2_600;

/// What a schedule came to.
#[derive(Default)]
struct Tally {
    schedules: u64,
    judged: u64,
    loads: u64,
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime can be built")
}

/// Runs the steps; says what was violated first.
fn run(schedule: &Schedule, steps: &[Step], breach: Option<Breach>, tally: &mut Tally) -> Option<String> {
    lastgood::testing::wait_evenly();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        runtime().block_on(async {
            let mut world = World::new(schedule, breach).await;
            for step in steps {
                world.take(step).await;
                if world.reference().violation.is_some() {
                    break;
                }
            }
            let is_sound = world.reference().violation.is_none();
            let world = if is_sound { world.converge().await } else { world };
            let (violation, judged, loads) = world.outcome();
            drop(world);
            let left = if violation.is_none() { tasks_left().await } else { 0 };
            let leak = (left > 0).then(|| format!("{left} tasks outlive their cache"));
            (violation.or(leak), judged, loads)
        })
    }));
    match ran {
        Ok((violation, judged, loads)) => {
            tally.schedules += 1;
            tally.judged += judged;
            tally.loads += loads;
            violation
        }
        Err(_) => Some("a panic".to_owned()),
    }
}

/// Tasks that go on although every cache is gone.
async fn tasks_left() -> usize {
    sleep(Duration::from_secs(30)).await;
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// The shortest prefix of the steps, and then as few of them as are needed, that violate a rule.
fn shrunk(schedule: &Schedule, breach: Option<Breach>) -> (Vec<Step>, String) {
    let mut tally = Tally::default();
    let mut violates = |steps: &[Step]| run(schedule, steps, breach, &mut tally);
    let mut steps = schedule.steps.clone();
    for length in 0..steps.len() {
        if violates(&steps[..length]).is_some() {
            steps.truncate(length);
            break;
        }
    }
    let mut at = steps.len();
    while at > 0 {
        at -= 1;
        let mut fewer = steps.clone();
        fewer.remove(at);
        if violates(&fewer).is_some() {
            steps = fewer;
        }
    }
    let violation = violates(&steps).unwrap_or_else(|| "nothing any more".to_owned());
    (steps, violation)
}

fn story(seed: u64, violation: &str, breach: Option<Breach>) -> String {
    let schedule = Schedule::of(seed);
    let (steps, shortest) = shrunk(&schedule, breach);
    let (mood, skews, latencies) = (schedule.mood, schedule.skews, schedule.latencies);
    let steps: Vec<String> = steps.iter().map(|step| format!("  {step:?}")).collect();
    format!(
        "seed {seed} ({mood:?}, clocks {skews:?}, latencies {latencies:?}): {violation}\nshortest: {shortest}\n{}\n\
         {SEED}={seed} runs it again",
        steps.join("\n")
    )
}

#[expect(clippy::print_stdout, reason = "it is what a run with --success-output is made for")]
fn tell(text: &str) {
    println!("{text}");
}

/// Runs schedules of some seeds, all of them sound; or the one that the environment names. Prints what each violated that is
/// not, and then tells the story of the first.
fn hold(seeds: Range<u64>) {
    let seeds = match variable(SEED) {
        Some(seed) => seed..seed + 1,
        None => seeds,
    };
    let mut tally = Tally::default();
    let mut first = None;
    for seed in seeds {
        let schedule = Schedule::of(seed);
        if let Some(violation) = run(&schedule, &schedule.steps, None, &mut tally) {
            tell(&format!("seed {seed}: {violation}"));
            first.get_or_insert((seed, violation));
        }
    }
    if let Some((seed, violation)) = first {
        panic!("{}", story(seed, &violation, None));
    }
    let Tally { schedules, judged, loads } = tally;
    tell(&format!("{schedules} schedules, {judged} answers and {loads} loads judged"));
}

fn part(number: u64) -> Range<u64> {
    let each = variable(SCHEDULES).unwrap_or(EACH);
    number * each..(number + 1) * each
}

#[test]
fn no_schedule_on_three_nodes_brings_back_loses_or_splits_an_entry() {
    hold(part(0));
}

#[test]
fn no_further_schedule_on_three_nodes_does() {
    hold(part(1));
}

#[test]
fn nor_does_a_third_part_of_them() {
    hold(part(2));
}

#[test]
fn nor_does_the_last_part_of_them() {
    hold(part(3));
}

/// The model must notice a store that breaks its contract, in one of the first schedules.
fn is_caught(breach: Breach) {
    is_caught_by(breach, "");
}

/// As [`is_caught`], by the rule that says so.
fn is_caught_by(breach: Breach, rule: &str) {
    let mut tally = Tally::default();
    let caught = (0..4_000).find_map(|seed| {
        let schedule = Schedule::of(seed);
        let violation = run(&schedule, &schedule.steps, Some(breach), &mut tally)?;
        violation.contains(rule).then_some((seed, violation))
    });
    let (seed, violation) = caught.unwrap_or_else(|| panic!("a store of {breach:?} is not noticed"));
    tell(&format!("{breach:?} is caught by seed {seed}: {violation}"));
}

#[test]
fn a_store_that_swaps_whatever_it_holds_is_caught() {
    is_caught(Breach::SwapsAlways);
}

#[test]
fn a_store_that_grants_every_claim_is_caught() {
    is_caught_by(Breach::GrantsEveryClaim, "two valid leases");
}

#[test]
fn a_store_that_forgets_claims_is_caught() {
    is_caught_by(Breach::ForgetsClaims, "although node");
}

#[test]
fn a_store_that_makes_changes_too_late_is_caught() {
    is_caught(Breach::IsNeverLate);
}

#[test]
fn a_store_that_grants_a_process_its_own_lease_again_is_caught() {
    is_caught_by(Breach::GrantsAgain, "times for its lease");
}

#[test]
fn a_store_that_loses_records_of_its_log_is_caught() {
    is_caught(Breach::LosesRecords);
}

#[test]
fn a_store_that_trims_its_log_in_silence_is_caught() {
    is_caught(Breach::TrimsInSilence);
}

#[test]
fn a_store_that_keeps_removed_keys_is_caught() {
    is_caught(Breach::KeepsWhatIsRemoved);
}

#[test]
fn a_store_that_drops_puts_is_caught() {
    is_caught(Breach::DropsWhatIsPut);
}

#[test]
fn a_store_that_reads_what_was_before_is_caught() {
    is_caught(Breach::ReadsBack);
}
