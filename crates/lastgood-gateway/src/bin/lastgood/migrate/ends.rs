//! The two stores of a migration.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lastgood::Clock;
use lastgood::migrate::Side;
use lastgood::store::{MemoryStore, Opened, Store, StoreError, Usage};
use lastgood_gateway::{BuildError, open_embedded, open_store};
use lastgood_settings::{FlagValue, Settings, StoreSetting};
use tokio::time::{Instant, sleep, timeout};

use super::Arguments;
use super::report::Note;
use crate::output::{Failure, complain};
use crate::settings::{resolve_with, variable};

/// How long a store gets to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a store that is still connecting is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// The settings with the source as the store, and those with the target.
pub(super) fn settings_of(arguments: &Arguments, file: Option<&Path>) -> Result<(Settings, Settings), Failure> {
    let namespace = arguments.namespace.as_ref();
    let of_source = ("--from", &arguments.from, "LASTGOOD_TOKEN_FROM", ("--namespace", namespace));
    let to_namespace = match &arguments.to_namespace {
        Some(name) => ("--to-namespace", Some(name)),
        None => ("--namespace", namespace),
    };
    let of_target = ("--to", &arguments.to, "LASTGOOD_TOKEN_TO", to_namespace);
    let [from, to] = [of_source, of_target].map(|(flag, url, token, (namespace_flag, namespace))| {
        let token_value = variable(token).filter(|value| !value.trim().is_empty());
        let given = [
            (flag, "store", Some(url.clone())),
            (token, "store_token", token_value),
            (namespace_flag, "namespace", namespace.cloned()),
            ("--data-dir", "data_dir", arguments.data_dir.clone()),
        ];
        let flags = given.into_iter().filter_map(|(flag, key, value)| {
            Some(FlagValue { flag: flag.to_owned(), key: key.to_owned(), value: value? })
        });
        resolve_with(flags.collect(), file)
    });
    let (from, to) = (from?, to?);
    for warning in &from.warnings {
        complain(&format!("warning: {warning}"));
    }
    let (from, to) = (from.settings, to.settings);
    for (flag, settings) in [("--from", &from), ("--to", &to)] {
        if matches!(settings.store, StoreSetting::Memory) {
            return Err(Failure::usage(format!(
                "flag {flag}: memory: is the memory of one process, and ends with it\n    \
                 help: name a store that others can open, such as embedded: or redis://localhost:6379"
            )));
        }
    }
    if place(&from) == place(&to) && from.namespace == to.namespace {
        return Err(Failure::usage(
            "flag --to: source and target are one store and one namespace\n    \
             help: name another store, or another namespace with --to-namespace",
        ));
    }
    if from.embedded_file().is_some() && place(&from) == place(&to) {
        return Err(Failure::usage(
            "flag --to: an embedded store cannot be opened twice\n    \
             help: copy to another file, and from there back to the namespace",
        ));
    }
    Ok((from, to))
}

/// Where a store is, in words that are the same for the same store, for every user.
fn place(settings: &Settings) -> String {
    match (&settings.store, settings.embedded_file()) {
        (_, Some(file)) => real(&file).display().to_string(),
        (StoreSetting::Redis(url), None) => format!("{:?}", url.without_login()),
        (other, None) => other.to_string(),
    }
}

/// The path of a file that may not be there yet, without links.
fn real(file: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let in_real_parent = || Some(absolute.parent()?.canonicalize().ok()?.join(absolute.file_name()?));
    absolute.canonicalize().ok().or_else(in_real_parent).unwrap_or(absolute)
}

pub(super) fn check_hint() -> &'static str {
    "`lastgood check --store URL` finds the problem with a store"
}

/// One of the two stores, open.
pub(super) struct End {
    side: Side,
    settings: Settings,
    store: Arc<dyn Store>,
    /// What it held when it was opened.
    usage: Usage,
}

impl End {
    pub(super) async fn open_source(settings: Settings, clock: &Clock) -> Result<End, Failure> {
        if let Some(file) = settings.embedded_file().filter(|file| !file.exists()) {
            let file = file.display();
            return Err(Failure::failed(format!(
                "the source: there is no file {file}\n    \
                 help: name it with --from embedded:FILE, or its directory with --data-dir"
            )));
        }
        End::open(Side::Source, settings, clock).await
    }

    pub(super) async fn open_target(settings: Settings, clock: &Clock, dry_run: bool) -> Result<End, Failure> {
        if dry_run && settings.embedded_file().is_some_and(|file| !file.exists()) {
            // An empty store is all that is needed; no file is made.
            let store = Arc::new(MemoryStore::new(clock.clone(), 0));
            return Ok(End { side: Side::Target, settings, store, usage: Usage::default() });
        }
        End::open(Side::Target, settings, clock).await
    }

    async fn open(side: Side, settings: Settings, clock: &Clock) -> Result<End, Failure> {
        let failed = |why: BuildError| Failure::failed(format!("the {side}, {}: {why}", settings.store));
        let store: Arc<dyn Store> = match settings.embedded_file() {
            Some(_) => {
                let (store, opened) = open_embedded(&settings, clock).await.map_err(failed)?;
                if let Opened::SetAside(path) = opened {
                    let message =
                        format!("the {side}, {}: the file is damaged, and is now {}", settings.store, path.display());
                    return Err(Failure::failed(message));
                }
                Arc::new(store)
            }
            None => open_store(&settings, clock).await.map_err(failed)?.ok_or_else(Failure::silent)?,
        };
        let mut end = End { side, settings, store, usage: Usage::default() };
        end.usage = end.first_answer().await?;
        Ok(end)
    }

    /// Waits until the store answers.
    async fn first_answer(&self) -> Result<Usage, Failure> {
        let started = Instant::now();
        loop {
            let error = match timeout(PATIENCE, self.store.probe()).await {
                Ok(Ok(usage)) => return Ok(usage),
                // What takes no writes can be read.
                Ok(Err(StoreError::Refused(_))) if self.side == Side::Source => return Ok(Usage::default()),
                Ok(Err(error @ StoreError::Refused(_))) => error,
                Ok(Err(_)) if started.elapsed() < PATIENCE => {
                    sleep(PAUSE).await;
                    continue;
                }
                Ok(Err(error)) => error,
                Err(_) => StoreError::Timeout,
            };
            let (side, store) = (self.side, &self.settings.store);
            return Err(Failure::failed(format!("the {side}, {store}: {error}\n    help: {}", check_hint())));
        }
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    pub(super) fn namespace(&self) -> &str {
        &self.settings.namespace
    }

    /// About how many keys it holds, those of others included.
    pub(super) fn keys(&self) -> Option<u64> {
        self.usage.keys
    }

    /// Syncs the target to disk, and says whether the store may have dropped entries for lack of room.
    pub(super) async fn close(&self) -> Vec<Note> {
        let usage = timeout(PATIENCE, self.store.probe()).await.ok().and_then(Result::ok).unwrap_or_default();
        let mut notes = Vec::new();
        if usage.evicted_keys.zip(self.usage.evicted_keys).is_some_and(|(now, before)| now > before) {
            notes.push(Note::failure(format!(
                "the {} evicted keys meanwhile, for lack of memory; --dry-run finds the missing ones",
                self.side
            )));
        }
        let is_full = usage.file_bytes.is_some()
            && usage.bytes.zip(usage.limit).is_some_and(|(bytes, limit)| bytes > limit / 100 * 95);
        if is_full {
            notes.push(Note::failure(format!(
                "the {} is full and dropped the entries closest to their end; --dry-run finds the missing ones",
                self.side
            )));
        }
        if let Err(why) = self.store.close().await
            && self.side == Side::Target
        {
            notes.push(Note::failure(format!("the target did not write everything to its disk: {why}")));
        }
        notes
    }
}
