//! SIGHUP: what of the configuration, the certificate and the credentials can change while the gateway runs.

use std::convert::Infallible;
use std::path::PathBuf;

use lastgood_gateway::logging::Level;
use lastgood_gateway::{Gateway, Reloaded};
use lastgood_settings::Settings;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::settings::SettingsArguments;

/// What a reload starts from: where the settings come from, those of the start, and those that were taken over last.
pub(crate) struct Reloads {
    arguments: SettingsArguments,
    file: Option<PathBuf>,
    /// The file that was read at the start.
    read: Option<String>,
    started: Settings,
    settings: Settings,
    level: Level,
}

/// Listens for SIGHUP from now on, which no longer ends the process.
pub(crate) fn requested() -> Option<Signal> {
    signal(SignalKind::hangup()).ok()
}

impl Reloads {
    pub(crate) fn new(
        arguments: SettingsArguments,
        file: Option<PathBuf>,
        read: Option<String>,
        settings: Settings,
        level: Level,
    ) -> Reloads {
        Reloads { arguments, file, read, started: settings.clone(), settings, level }
    }

    /// Reloads at each signal; never ends.
    pub(crate) async fn keep(mut self, gateway: &Gateway, requested: Option<Signal>) -> Infallible {
        let Some(mut requested) = requested else { return std::future::pending().await };
        while requested.recv().await.is_some() {
            self.reload(gateway).await;
        }
        std::future::pending().await
    }

    async fn reload(&mut self, gateway: &Gateway) {
        let resolved = match self.arguments.resolve(self.file.as_deref()) {
            Ok(Ok(resolved)) => resolved,
            Ok(Err(problems)) => {
                for problem in &problems.0 {
                    tracing::error!(problem = problem.on_one_line(), "wrong in the configuration");
                }
                return tracing::error!("SIGHUP: the configuration is wrong, so nothing of it was reloaded");
            }
            Err(why) => return tracing::error!(%why, "SIGHUP: nothing was reloaded"),
        };
        // Without it nearly everything would be as by default, the admin token and the allowed origins included.
        if let (Some(file), None) = (&self.read, &resolved.file) {
            return tracing::error!(file, "SIGHUP: the configuration file is gone, so nothing of it was reloaded");
        }
        for warning in &resolved.warnings {
            tracing::warn!(warning = warning.on_one_line(), "worth knowing of the configuration");
        }
        let now = resolved.settings;
        let reloaded = gateway.reload(&self.started, &self.settings, &now).await;
        let Reloaded { in_force, need_restart, failed, refused } = reloaded;
        if let Some(why) = refused {
            return tracing::error!(why, "SIGHUP: the configuration is wrong, so nothing of it was reloaded");
        }
        if let Err(why) = self.level.change(&now.log.level) {
            tracing::error!(%why, "the level of the log stays as it is");
        }
        for why in &failed {
            tracing::error!(why, "not reloaded; what was in force there still is");
        }
        if !need_restart.is_empty() {
            tracing::warn!(keys = need_restart.join(", "), "these changes need a restart");
        }
        let changed = in_force.join(", ");
        match failed.is_empty() {
            true => tracing::info!(changed, "SIGHUP: configuration, certificate and credentials were reloaded"),
            false => tracing::warn!(changed, "SIGHUP: only the rest was reloaded"),
        }
        self.settings = now;
    }
}
