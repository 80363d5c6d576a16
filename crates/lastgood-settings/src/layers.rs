//! Combining the layers: defaults, then the file, then the environment, then flags.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lastgood::store::RedisPlace;

use crate::defaults::DATA_DIR_WITHOUT_HOME;
use crate::environment;
use crate::file::{self, ConfigFile, Target};
use crate::problem::{Origin, Origins, Problem, Problems, Wrong};
use crate::regions;
use crate::settings::Settings;
use crate::store::{self, StoreSetting, UpstashAddress};
use crate::value::Raw;
use crate::variable::Lookup;
use crate::worth_knowing::worth_knowing;

mod check;
mod schedules;

/// Variables that name a store at Upstash, each with the one that has its token.
const STORE_TOKENS: [(&str, &str); 2] =
    [("UPSTASH_REDIS_URL", "UPSTASH_REDIS_TOKEN"), ("KV_REST_API_URL", "KV_REST_API_TOKEN")];

/// The variables from which a REST address may be derived, the first that is set.
const REDIS_URLS: [&str; 2] = ["REDIS_URL", "UPSTASH_REDIS_URL"];

/// A value given on the command line.
#[derive(Debug, Clone)]
pub struct FlagValue {
    /// The flag as it was written, with dashes: `--listen`, `--set`.
    pub flag: String,
    /// The dotted key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// The layers above the defaults.
pub struct Sources<'a> {
    /// The configuration file, if there is one.
    pub file: Option<ConfigFile>,
    /// Looks a variable of the environment up.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The names of all variables: they set regions, and unknown ones are warned of. May be empty.
    pub env_names: Vec<String>,
    /// Flags, the later ones winning.
    pub flags: Vec<FlagValue>,
}

/// The outcome: settings in force, and where each came from.
#[derive(Debug)]
pub struct Resolved {
    /// The settings in force.
    pub settings: Settings,
    /// Settings that are allowed but probably not meant.
    pub warnings: Vec<Problem>,
    /// The configuration file that was read, if there is one.
    pub file: Option<String>,
    origins: Origins,
}

impl Resolved {
    /// Where the value of a dotted key came from.
    #[must_use]
    pub fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).cloned().unwrap_or(Origin::Default)
    }
}

/// Combines the layers and checks everything.
///
/// # Errors
/// All that is wrong, not only the first of it.
pub fn resolve(sources: &Sources<'_>) -> Result<Resolved, Problems> {
    let named = RefCell::new(BTreeSet::new());
    let naming = |name: &str| {
        named.borrow_mut().insert(name.to_owned());
        (sources.env)(name)
    };
    let mut layers = Layers::combine(sources, &naming);
    layers.data_dir(sources.env);
    layers.proxies(sources.env);
    layers.rest_of_redis_url(sources.env);
    layers.store_token(sources.env);
    layers.check_exposure();
    layers.check_certificate();
    let unused = layers.switch_off();
    layers.check_exchanges();
    layers.check_timeouts();
    layers.check_regions_of_routes();
    schedules::schedule_routes(&mut layers.settings, &layers.origins);
    if !layers.problems.is_empty() {
        return Err(Problems(layers.problems));
    }
    let mut warnings = environment::unknown(&sources.env_names, &named.borrow());
    warnings.extend(layers.weak_token());
    warnings.extend(unused);
    warnings.extend(worth_knowing(&layers.settings.declared));
    warnings.extend(schedules::nothing_warmed(&layers.settings, &layers.origins));
    warnings.extend(schedules::nothing_scheduled(&layers.settings, &layers.origins));
    let file = sources.file.as_ref().map(|file| file.path.clone());
    Ok(Resolved { settings: layers.settings, warnings, file, origins: layers.origins })
}

pub(crate) struct Layers {
    pub(crate) settings: Settings,
    pub(crate) origins: Origins,
    pub(crate) problems: Vec<Problem>,
}

impl Layers {
    /// One layer after the other. `naming` looks up the variables that the file and the flags name.
    pub(crate) fn combine(sources: &Sources<'_>, naming: Lookup<'_>) -> Self {
        let mut layers = Self { settings: Settings::default(), origins: Origins::new(), problems: Vec::new() };
        layers.file(sources.file.as_ref(), naming);
        layers.environment(sources.env, &sources.env_names);
        layers.flags(&sources.flags, naming);
        layers
    }

    fn apply(&mut self, target: Target, name: &str, origin: Origin, raw: &Raw) {
        let applied = match target {
            Target::Key(key) => key.apply(&mut self.settings, raw),
            Target::Region(region, key) => regions::check_count(&self.settings.regions, &region)
                .and_then(|()| (key.set)(self.settings.regions.entry(region).or_default(), raw)),
            Target::Declared(region) => regions::check_count(&self.settings.regions, &region).map(|()| {
                self.settings.regions.entry(region).or_default();
            }),
        };
        match applied {
            Ok(()) => {
                self.origins.insert(name.to_owned(), origin);
            }
            Err(wrong) => self.refuse(origin, name, wrong),
        }
    }

    fn refuse(&mut self, origin: Origin, name: &str, wrong: Wrong) {
        self.problems.push(Problem::new(Some(origin), Some(name), wrong));
    }

    fn file(&mut self, file: Option<&ConfigFile>, env: Lookup<'_>) {
        let Some(file) = file else { return };
        let mut said = file::read(file, env);
        for one in said.assignments {
            self.apply(one.target, &one.name, one.origin, &one.raw);
        }
        self.problems.append(&mut said.problems);
        self.settings.declared = said.declared;
        self.problems.sort_by_key(|problem| match problem.origin {
            Some(Origin::File { line, .. }) => line,
            _ => 0,
        });
    }

    fn environment(&mut self, env: Lookup<'_>, names: &[String]) {
        let (assignments, mut problems) = environment::read(env, names);
        // Where the file has the REST address derived from it, a Redis URL does not stand for the store.
        let is_source = |origin: &Origin| matches!(origin, Origin::Env(name) if REDIS_URLS.contains(&name.as_str()));
        for one in assignments {
            if one.name == "store" && is_source(&one.origin) && self.is_rest_of_redis_url() {
                continue;
            }
            self.apply(one.target, &one.name, one.origin, &one.raw);
        }
        self.problems.append(&mut problems);
    }

    fn flags(&mut self, flags: &[FlagValue], env: Lookup<'_>) {
        for one in flags {
            let origin = Origin::Flag(one.flag.clone());
            let read = Target::named(&one.key).and_then(|target| Ok((target, Raw::written(&one.value, env)?)));
            match read {
                Ok((target, raw)) => self.apply(target, &one.key, origin, &raw),
                Err(wrong) => self.refuse(origin, &one.key, wrong),
            }
        }
    }

    fn proxies(&mut self, env: Lookup<'_>) {
        if let Err(wrong) = self.settings.proxy.complete(env) {
            self.problems.push(Problem::new(None, None, wrong));
        }
    }

    fn data_dir(&mut self, env: Lookup<'_>) {
        let chosen = self.origins.contains_key("data_dir") && !self.settings.data_dir.as_os_str().is_empty();
        if !chosen {
            self.settings.data_dir = default_data_dir(env);
            self.origins.remove("data_dir");
        }
    }

    fn is_rest_of_redis_url(&self) -> bool {
        matches!(&self.settings.store, StoreSetting::Upstash(address) if address.is_of_redis_url())
    }

    /// Where the store is the REST side of the database that a Redis URL names, the URL has address and token.
    fn rest_of_redis_url(&mut self, env: Lookup<'_>) {
        if !self.is_rest_of_redis_url() {
            return;
        }
        let set = |name: &&'static str| env(name).filter(|url| !url.trim().is_empty()).map(|url| (*name, url));
        let Some((name, url)) = REDIS_URLS.iter().find_map(set) else {
            let origin = self.origins.get("store").cloned().unwrap_or(Origin::Default);
            return self.refuse(origin, "store", store::without_redis_url());
        };
        let origin = Origin::Env(name.to_owned());
        match UpstashAddress::derived(&url) {
            Ok((address, token)) => {
                self.settings.store = StoreSetting::Upstash(address);
                self.settings.store_token = Some(token);
                self.origins.insert("store_token".to_owned(), origin);
            }
            Err(wrong) => self.refuse(origin, "store", wrong),
        }
    }

    /// The token of a database at Upstash comes from where its address does. Over REST it has to be there; over Redis'
    /// protocol it is the password, where the address has none.
    fn store_token(&mut self, env: Lookup<'_>) {
        let origin = self.origins.get("store").cloned().unwrap_or(Origin::Default);
        let of_address = STORE_TOKENS.iter().find(|(url, _)| matches!(&origin, Origin::Env(name) if name == url));
        let of_address = of_address.and_then(|(_, name)| Some((*name, env(name)?)));
        let of_address = of_address.filter(|(_, token)| !token.trim().is_empty());
        if let StoreSetting::Redis(url) = &mut self.settings.store
            && matches!(url.place, RedisPlace::Server { .. })
            && let Some((_, token)) = &of_address
        {
            url.log_in_with(token.trim());
        }
        if !matches!(self.settings.store, StoreSetting::Upstash(_)) {
            return;
        }
        let written = self.origins.get("store_token").is_some_and(|origin| !matches!(origin, Origin::Env(_)));
        if let Some((name, token)) = of_address.filter(|_| !written)
            && let Ok(target) = Target::named("store_token")
        {
            self.apply(target, "store_token", Origin::Env(name.to_owned()), &Raw::Text(token));
        }
        let refused = self.is_refused("store") || self.is_refused("store_token");
        if self.settings.store_token.is_none() && !refused {
            self.refuse(origin, "store", store::without_token());
        }
    }

    fn is_refused(&self, name: &str) -> bool {
        self.problems.iter().any(|problem| problem.key.as_deref() == Some(name))
    }
}

fn default_data_dir(env: Lookup<'_>) -> PathBuf {
    // The XDG specification has relative paths ignored.
    let absolute = |name: &str| env(name).filter(|path| Path::new(path).is_absolute());
    if let Some(data) = absolute("XDG_DATA_HOME") {
        return Path::new(&data).join("lastgood");
    }
    match absolute("HOME") {
        Some(home) => Path::new(&home).join(".local/share/lastgood"),
        None => PathBuf::from(DATA_DIR_WITHOUT_HOME),
    }
}

#[cfg(test)]
pub(crate) mod tests;
