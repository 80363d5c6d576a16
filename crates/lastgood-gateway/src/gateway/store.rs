//! The store that the settings name, opened.

use std::sync::Arc;
use std::time::Duration;

use lastgood::Clock;
use lastgood::store::{EmbeddedStore, Guard, Opened, RedisOptions, RedisStore, Store, StoreError, UpstashStore};
use lastgood_settings::{Settings, StoreSetting};

use super::BuildError;
use super::unopened::UnopenedStore;

/// The embedded store keeps at most this much; the oldest by expiry go first.
const EMBEDDED_MAX_BYTES: u64 = 4 << 30;
/// A store that is billed by the request is asked less often whether it is well again.
const ASK_BILLED_EVERY: Duration = Duration::from_secs(5);

/// How the store is guarded: what its work may cost a request.
pub(super) fn guard(settings: &Settings) -> Guard {
    let guard = Guard { budget: settings.store_budget, ..Guard::default() };
    match &settings.store {
        StoreSetting::Upstash(_) => Guard { open_for_at_most: ASK_BILLED_EVERY, ..guard },
        _ => guard,
    }
}

/// The store that the settings name. An embedded file that is unusable is no reason not to serve: it is tried again, and
/// until then the store is in trouble.
pub(super) async fn store_of(settings: &Settings, clock: &Clock) -> Result<Option<Arc<dyn Store>>, BuildError> {
    let Some(path) = settings.embedded_file() else { return open_store(settings, clock).await };
    match open_embedded(settings, clock).await {
        Ok((store, opened)) => {
            tracing::info!(path = %path.display(), %opened, "embedded store opened");
            Ok(Some(Arc::new(store)))
        }
        Err(why) => {
            tracing::error!(
                path = %path.display(), %why,
                "the embedded store cannot be used: serving from memory, keeping nothing, and trying again every few \
                 seconds; choose another --data-dir, or --store memory: to say so on purpose"
            );
            let (settings, clock) = (settings.clone(), clock.clone());
            let again = move || {
                let (settings, clock) = (settings.clone(), clock.clone());
                async move { open_embedded(&settings, &clock).await.map(|(store, _)| store) }
            };
            Ok(Some(UnopenedStore::new(&path, why.to_string(), again)))
        }
    }
}

/// Opens the store that the settings name; `None` is the memory of one process. A Redis connects in the background.
///
/// # Errors
///
/// When the address is wrong or the embedded file cannot be used.
pub async fn open_store(settings: &Settings, clock: &Clock) -> Result<Option<Arc<dyn Store>>, BuildError> {
    let refuse = |why: StoreError| BuildError::new(why);
    match &settings.store {
        StoreSetting::Memory => Ok(None),
        StoreSetting::Redis(url) => {
            let options = RedisOptions::new(url).map_err(refuse)?;
            Ok(Some(Arc::new(RedisStore::connect(options))))
        }
        StoreSetting::Upstash(address) => {
            let options = address.options(settings.store_token.as_ref()).map_err(refuse)?;
            let options = options.with_proxies(settings.proxy.proxies().clone());
            Ok(Some(Arc::new(UpstashStore::new(options).map_err(refuse)?)))
        }
        StoreSetting::Embedded { .. } => Ok(Some(Arc::new(open_embedded(settings, clock).await?.0))),
    }
}

/// Opens the embedded file that the settings name, and says what it found there.
///
/// # Errors
///
/// When the settings name another store, or the file cannot be used.
pub async fn open_embedded(settings: &Settings, clock: &Clock) -> Result<(EmbeddedStore, Opened), BuildError> {
    let file = settings.embedded_file().ok_or_else(|| BuildError::new("the store is not embedded"))?;
    let (clock, memory) = (clock.clone(), settings.memory.limit / 8);
    let opened =
        tokio::task::spawn_blocking(move || EmbeddedStore::open_within(&file, clock, EMBEDDED_MAX_BYTES, memory));
    opened.await.map_err(BuildError::new)?.map_err(BuildError::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lastgood_settings::{FlagValue, Sources, resolve};

    #[test]
    fn a_database_that_is_billed_by_the_request_is_probed_seldom_while_it_is_down() {
        let guard_of = |store: &str| {
            let flag =
                |key: &str, value: &str| FlagValue { flag: "--set".into(), key: key.into(), value: value.into() };
            let flags = vec![flag("store", store), flag("store_token", "t"), flag("store_budget", "90ms")];
            let sources = Sources { file: None, env: &|_| None, env_names: Vec::new(), flags };
            guard(&resolve(&sources).expect("valid").settings)
        };
        let (redis, upstash) = (guard_of("redis://h"), guard_of("https://h"));
        assert_eq!((redis.budget, redis.open_for_at_most), (upstash.budget, Guard::default().open_for_at_most));
        assert_eq!((upstash.budget, upstash.open_for_at_most), (Duration::from_millis(90), Duration::from_secs(5)));
    }
}
