//! From the command line and the environment to settings.

use std::env;
use std::path::{Path, PathBuf};

use lastgood_settings::{ConfigFile, FlagValue, Problems, Reached, Resolved, Sources, resolve, resolve_reached};

use crate::output::{Failure, complain};

/// The flags of every verb that reads the configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct SettingsArguments {
    /// Where to listen, for example 127.0.0.1:8090
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// embedded: or embedded:FILE, memory:, redis://…, rediss://…, unix:SOCKET, redis+sentinel://…, redis+cluster://… or
    /// https://… (Upstash REST)
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Where the embedded store, the ban memory and the credentials live
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// The proxy that leads out, http://… or socks5://…, or off; without it HTTPS_PROXY and the like count
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Which region defaults apply: trading or dashboard
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Any other key, such as regions.klines.fresh_for=2s; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    other: Vec<String>,
}

impl SettingsArguments {
    /// The values that the flags give.
    pub(crate) fn flags(&self) -> Result<Vec<FlagValue>, Failure> {
        let mut flags = Vec::new();
        for one in &self.other {
            let Some((key, value)) = one.split_once('=') else {
                return Err(Failure::usage(
                    "flag --set: expected KEY=VALUE\n    help: write for example --set memory.limit=512MiB",
                ));
            };
            flags.push(FlagValue { flag: "--set".to_owned(), key: key.trim().to_owned(), value: value.to_owned() });
        }
        let own = [
            ("--listen", "listen", &self.listen),
            ("--store", "store", &self.store),
            ("--data-dir", "data_dir", &self.data_dir),
            ("--proxy", "proxy", &self.proxy),
            ("--preset", "preset", &self.preset),
        ];
        for (flag, key, value) in own {
            if let Some(value) = value {
                flags.push(FlagValue { flag: flag.to_owned(), key: key.to_owned(), value: value.clone() });
            }
        }
        Ok(flags)
    }

    /// The settings in force, or the problems with them.
    pub(crate) fn resolve(&self, file: Option<&Path>) -> Result<Result<Resolved, Problems>, Failure> {
        Ok(resolve_with(self.flags()?, file))
    }

    /// Whether the log is to be JSON. The configuration may have a mistake, so each layer is only looked at for this key.
    pub(crate) fn wants_json_log(&self, file: Option<&Path>) -> bool {
        let is_json = |value: &str| value.trim().eq_ignore_ascii_case("json");
        let mut by_flag =
            self.other.iter().filter_map(|one| one.split_once('=')).filter(|(key, _)| key.trim() == "log.format");
        let by_file = || {
            let found = ConfigFile::find(file, &variable, Path::new("")).ok().flatten()?;
            let table: toml::Table = found.text.parse().ok()?;
            table.get("log")?.get("format")?.as_str().map(str::to_owned)
        };
        let said = by_flag.next_back().map(|(_, value)| value.to_owned());
        said.or_else(|| variable("LASTGOOD_LOG_FORMAT")).or_else(by_file).is_some_and(|value| is_json(&value))
    }

    /// The settings in force; warnings go to standard error.
    pub(crate) fn load(&self, file: Option<&Path>) -> Result<Resolved, Failure> {
        let resolved = self.resolve(file)??;
        for warning in &resolved.warnings {
            complain(&format!("warning: {warning}"));
        }
        Ok(resolved)
    }
}

/// The settings of these flags, the environment and the configuration file.
pub(crate) fn resolve_with(flags: Vec<FlagValue>, file: Option<&Path>) -> Result<Resolved, Problems> {
    let file = ConfigFile::find(file, &variable, Path::new(""))?;
    let env_names = env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    resolve(&Sources { file, env: &variable, env_names, flags })
}

/// What the environment and the configuration file say of the gateway, for its clients.
pub(crate) struct Configured {
    pub(crate) reached: Reached,
    /// Whether the file was named, and does not just lie in the working directory.
    pub(crate) is_named: bool,
}

/// The gateway of this configuration file, environment and flags.
pub(crate) fn reached(file: Option<&Path>, flags: Vec<FlagValue>) -> Result<Configured, Failure> {
    let is_named = file.is_some() || variable("LASTGOOD_CONFIG").is_some_and(|path| !path.trim().is_empty());
    let file = ConfigFile::find(file, &variable, Path::new(""))?;
    let sources = Sources { file, env: &variable, env_names: Vec::new(), flags };
    Ok(Configured { reached: resolve_reached(&sources)?, is_named })
}

/// Refuses `--config` for a verb that reads no configuration: nothing that the file says would count.
pub(crate) fn refuse_file(verb: &str, file: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = file else { return Ok(()) };
    ConfigFile::find(file, &variable, Path::new(""))?;
    let path = path.display();
    Err(Failure::usage(format!(
        "flag --config: lastgood {verb} reads no configuration file, so that nothing in {path} would count\n    \
         help: leave --config out"
    )))
}

/// A variable of the environment.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// A directory of this process alone, for verbs that leave nothing behind.
pub(crate) fn scratch_directory() -> PathBuf {
    env::temp_dir().join(format!("lastgood-{}", std::process::id()))
}
