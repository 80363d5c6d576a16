//! `lastgood migrate`: copies a cache from one store to another.

mod ends;
mod report;

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use lastgood::Clock;
use lastgood::migrate::{Migration, Progress};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use self::ends::End;
use self::report::{Ended, Reporter};
use crate::output::Failure;
use crate::shutdown;

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood migrate --from embedded: --to redis://localhost:6379
  lastgood migrate --from redis://old:6379 --to redis+cluster://a:6379,b:6379 --dry-run
  lastgood migrate --from rediss://default:TOKEN@NAME.upstash.io:6379 --to embedded:/var/lib/lastgood/lastgood.redb
  lastgood migrate --from redis://h --to redis://h --to-namespace staging
  LASTGOOD_TOKEN_TO=TOKEN lastgood migrate --from redis://h --to https://NAME.upstash.io --rate 200

Entries are copied byte for byte, with the rest of their time to live, and read back. An entry of which the target has \
a later one is left alone, and so is what the target has and this version cannot read. The source is not changed.

Run it again to go on after a stop: entries that the target has already are skipped. Afterwards --dry-run lists the missing ones.

Copy before gateways use the target. Where gateways change the source meanwhile, what they remove there may have been \
copied before; it says so, and the same keys are then to be removed at the target.

Not copied: the log of invalidations, the counters and the leases, which belong to the gateways that use the source, and \
entries of wire version 1, which do not say which key they are of and are served by no gateway of this version.

A store is named as with `lastgood serve --store`; an embedded one must be no running gateway's. The token of an https:// \
store is LASTGOOD_TOKEN_FROM or LASTGOOD_TOKEN_TO, else the one that the configuration has. The namespace, the data directory \
and the proxy are those of the configuration.

Exit code 1 if an entry could not be copied, or it stopped early.")]
pub(crate) struct Arguments {
    /// The store to read
    #[arg(long, value_name = "URL")]
    from: String,
    /// The store to write
    #[arg(long, value_name = "URL")]
    to: String,
    /// The namespace to copy; without it the configured one
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// The namespace at the target; without it the same
    #[arg(long, value_name = "NAME")]
    to_namespace: Option<String>,
    /// The most keys to copy in a second; without it as fast as the stores answer
    #[arg(long, value_name = "KEYS_PER_SECOND")]
    rate: Option<NonZeroU32>,
    /// Where the embedded stores live that are named without a file
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// Write nothing; say how many entries would be copied
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: {complete, dry_run, read, copied, already_there, newer_at_target, expired, old_version, unreadable,
    /// occupied_at_target, failed, bytes, changed_at_source, failures, notes, last_key}
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments, file: Option<&Path>) -> Result<(), Failure> {
    let stop = shutdown::requested();
    let clock = Clock::system();
    let (from, to) = ends::settings_of(&arguments, file)?;
    let from = End::open_source(from, &clock).await?;
    let to = End::open_target(to, &clock, arguments.dry_run).await?;
    let migration = Migration {
        from: from.store(),
        to: to.store(),
        namespace: from.namespace().to_owned(),
        to_namespace: to.namespace().to_owned(),
        rate: arguments.rate,
        dry_run: arguments.dry_run,
        clock,
    };
    let (progress, watched) = watch::channel(Progress::default());
    let mut reporter = Reporter::new(watched.clone(), from.keys());
    let ended = copy(&migration, &progress, &mut reporter, stop).await;
    let mut notes = to.close().await;
    from.close().await;
    reporter.end();
    let progress = watched.borrow().clone();
    notes.extend(report::notes(&progress, &ended));
    report::print(&progress, &ended, &notes, &arguments)?;
    match ended {
        Ended::Stopped(why) => Err(Failure::failed(format!(
            "stopped early: {why}\n    help: {}; then run the same command again, it skips copied entries",
            ends::check_hint(),
        ))),
        Ended::Interrupted => Err(Failure::failed("interrupted; run the same command again, it skips copied entries")),
        Ended::Complete if progress.counts.failed > 0 || notes.iter().any(|note| note.is_failure) => {
            Err(Failure::silent())
        }
        Ended::Complete => Ok(()),
    }
}

async fn copy(
    migration: &Migration,
    progress: &watch::Sender<Progress>,
    reporter: &mut Reporter,
    stop: impl Future<Output = ()>,
) -> Ended {
    let mut ticks = interval(SHOW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    let mut run = std::pin::pin!(migration.run(progress));
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            ended = &mut run => return ended.map_or_else(Ended::Stopped, |()| Ended::Complete),
            () = &mut stop => return Ended::Interrupted,
            _ = ticks.tick() => reporter.report(),
        }
    }
}
