//! Settings that change while the gateway runs: which can, and which need a restart.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use lastgood_market::api_keys::AccountKeys;
use lastgood_settings::{KEYS, Settings};
use secrecy::{ExposeSecret, SecretString};

use crate::gateway::Gateway;
use crate::user_keys;

/// Keys that count from a reload on. What the log does is its own: [`crate::logging::Level`].
const AT_RUN_TIME: [&str; 6] = ["enabled", "hosts", "admin.token", "cors.origins", "log.level", "log.access"];
/// Keys whose files are read at every reload.
const FILES: [&str; 2] = ["tls.certificate", "tls.key"];

/// What came of a reload.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The changed keys that count from now on.
    pub in_force: Vec<String>,
    /// The keys that differ from those of the start, and count from the next one on.
    pub need_restart: Vec<String>,
    /// What could not be read again; what was in force there still is.
    pub failed: Vec<String>,
    /// Why nothing at all was taken over.
    pub refused: Option<String>,
}

impl Gateway {
    /// Takes over what can change at run time, and reads certificate and credentials again. `started` are the settings that the
    /// gateway was built from, `before` those that were taken over last.
    pub fn reload<'a>(
        &'a self,
        started: &'a Settings,
        before: &'a Settings,
        now: &'a Settings,
    ) -> BoxFuture<'a, Reloaded> {
        Box::pin(self.take_over(started, before, now))
    }

    async fn take_over(&self, started: &Settings, before: &Settings, now: &Settings) -> Reloaded {
        let app = &self.app;
        let (mut changed, since_the_start) = (changed(before, now), changed(started, now));
        let can_change = |key: &String| AT_RUN_TIME.contains(&key.as_str());
        let is_file = |key: &String| FILES.contains(&key.as_str());
        let mut reloaded = Reloaded::default();
        // First, because a mistake there is one of the whole configuration, of which then nothing counts.
        match self.reconnect(before, now).await {
            Ok(changed) => reloaded.in_force.extend(changed),
            Err(why) => return Reloaded { refused: Some(lastgood::error_chain(&*why)), ..reloaded },
        }
        if changed.iter().any(|key| key == "enabled") {
            app.cache.set_enabled(now.enabled);
        }
        if app.admin.change(now.admin.token.clone(), &now.hosts) {
            changed.retain(|key| key != "admin.token");
            reloaded.need_restart.push("admin.token".to_owned());
        }
        app.cors.change(&now.cors.origins);
        app.access_log.store(now.log.access, Ordering::Relaxed);
        match &self.certificate {
            Some(certificate) if now.tls.certificate.is_some() => match certificate.read_again(&now.tls) {
                Ok(()) => reloaded.in_force.extend(changed.iter().filter(|key| is_file(key)).cloned()),
                Err(why) => reloaded.failed.push(why.to_string()),
            },
            _ => reloaded.need_restart.extend(since_the_start.iter().filter(|key| is_file(key)).cloned()),
        }
        app.engine.symbols.change_keys(AccountKeys::open(now.credentials(), now.master_key.clone()).await);
        reloaded.in_force.extend(changed.into_iter().filter(can_change));
        // Not only the new ones: keys that were named before still wait, and those that were changed back do not.
        reloaded.need_restart.extend(since_the_start.into_iter().filter(|key| !is_file(key) && !can_change(key)));
        reloaded.in_force.sort_unstable();
        reloaded
    }

    /// Asks the declared databases, buckets and APIs by connections of their present declarations, where those have
    /// changed, and reads the files with their credentials again. Says which changed.
    async fn reconnect(&self, before: &Settings, now: &Settings) -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
        let declared = &now.declared;
        let mut connections = self.connections.lock().await;
        let opened = connections.open_again(&declared.sources, &now.connect_options())?;
        let statement = user_keys::sql::statement(now, &opened)?;
        self.app.declared.use_connections(&declared.routes, &opened)?;
        if let (Some(own), Some(statement)) = (&self.user_keys, statement) {
            own.replace(statement);
        }
        *connections = opened;
        let was = &before.declared.sources;
        let names: BTreeSet<String> = was.names().chain(declared.sources.names()).collect();
        Ok(names.into_iter().filter(|name| was.differs(&declared.sources, name)).collect())
    }
}

/// The keys, regions and tables that differ. Secrets are compared and never shown.
fn changed(before: &Settings, now: &Settings) -> Vec<String> {
    let secrets = |settings: &Settings| {
        let exposed = |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        [
            ("admin.token", exposed(&settings.admin.token)),
            ("master_key", exposed(&settings.master_key)),
            ("store_token", exposed(&settings.store_token)),
        ]
    };
    let (secrets_before, secrets_now) = (secrets(before), secrets(now));
    let plain = KEYS.iter().filter(|key| !key.secret && key.show(before) != key.show(now)).map(|key| key.name);
    let secret =
        secrets_before.iter().zip(&secrets_now).filter(|(one, other)| one != other).map(|((name, _), _)| *name);
    let mut changed: Vec<String> = plain.chain(secret).map(str::to_owned).collect();
    let regions = before.regions.keys().chain(now.regions.keys());
    let regions = regions.filter(|name| before.regions.get(*name) != now.regions.get(*name));
    changed.extend(regions.map(|name| format!("regions.{name}")));
    let routes = |settings: &Settings| format!("{:?}", settings.declared.routes);
    if routes(before) != routes(now) {
        changed.push("routes".to_owned());
    }
    changed.sort_unstable();
    changed.dedup();
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use lastgood_settings::{FlagValue, Sources, resolve};

    fn settings(flags: &[(&str, &str)]) -> Settings {
        let flag = |(key, value): &(&str, &str)| FlagValue {
            flag: "--set".to_owned(),
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        let flags = flags.iter().map(flag).collect();
        resolve(&Sources { file: None, env: &|_| None, env_names: Vec::new(), flags }).unwrap().settings
    }

    #[test]
    fn what_differs_is_named_and_no_secret_is_shown() {
        let before = settings(&[("admin.token", "the-first-admin-token"), ("regions.klines.fresh_for", "2s")]);
        let now = settings(&[
            ("admin.token", "the-other-admin-token"),
            ("memory.limit", "1GiB"),
            ("regions.a.fresh_for", "1s"),
        ]);
        let changed = changed(&before, &now);
        assert_eq!(changed, ["admin.token", "memory.limit", "regions.a", "regions.klines"]);
        assert!(super::changed(&now, &now).is_empty());
    }

    #[test]
    fn every_key_that_can_change_is_there() {
        for name in AT_RUN_TIME.iter().chain(&FILES) {
            assert!(KEYS.iter().any(|key| key.name == *name), "{name}");
        }
    }
}
