//! Combining the layers: defaults, then the file, then the environment, then flags.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lastgood::store::RedisPlace;
use lastgood_market::upstream::mixed;
use lastgood_routes::suggest::did_you_mean;
use secrecy::ExposeSecret;

use super::declared::region_of;
use super::environment::{self, Lookup};
use super::file::{self, ConfigFile, Target};
use super::problem::{Origin, Problem, Problems, Wrong};
use super::routes::worth_knowing;
use super::value::Raw;
use super::{REGION_NAMES, Settings, StoreSetting, UpstashAddress, address, listening, regions, store, upstream, warm};

pub(super) const DATA_DIR_WITHOUT_HOME: &str = "lastgood-data";

/// Variables that name a store at Upstash, each with the one that has its token.
const STORE_TOKENS: [(&str, &str); 2] =
    [("UPSTASH_REDIS_URL", "UPSTASH_REDIS_TOKEN"), ("KV_REST_API_URL", "KV_REST_API_TOKEN")];

/// The variables from which a REST address may be derived, the first that is set.
const REDIS_URLS: [&str; 2] = ["REDIS_URL", "UPSTASH_REDIS_URL"];

/// Below this an admin token can be guessed.
const SHORTEST_TOKEN: usize = 16;

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
    /// What is allowed but probably not meant.
    pub warnings: Vec<Problem>,
    /// The configuration file that was read, if there is one.
    pub file: Option<String>,
    origins: BTreeMap<String, Origin>,
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
    warm::schedule_routes(&mut layers.settings, &layers.origins);
    if !layers.problems.is_empty() {
        return Err(Problems(layers.problems));
    }
    let mut warnings = environment::unknown(&sources.env_names, &named.borrow());
    warnings.extend(layers.weak_token());
    warnings.extend(unused);
    warnings.extend(worth_knowing(&layers.settings.declared));
    warnings.extend(warm::nothing_warmed(&layers.settings, &layers.origins));
    warnings.extend(warm::nothing_scheduled(&layers.settings, &layers.origins));
    let file = sources.file.as_ref().map(|file| file.path.clone());
    Ok(Resolved { settings: layers.settings, warnings, file, origins: layers.origins })
}

pub(super) struct Layers {
    pub(super) settings: Settings,
    pub(super) origins: BTreeMap<String, Origin>,
    pub(super) problems: Vec<Problem>,
}

impl Layers {
    /// One layer after the other. `naming` looks up the variables that the file and the flags name.
    pub(super) fn combine(sources: &Sources<'_>, naming: Lookup<'_>) -> Self {
        let mut layers = Self { settings: Settings::default(), origins: BTreeMap::new(), problems: Vec::new() };
        layers.file(sources.file.as_ref(), naming);
        layers.environment(sources.env, &sources.env_names);
        layers.flags(&sources.flags, naming);
        layers
    }

    fn apply(&mut self, target: Target, name: &str, origin: Origin, raw: &Raw) {
        let applied = match target {
            Target::Key(key) => key.apply(&mut self.settings, raw),
            Target::Region(region, key) => regions::check_count(&self.settings, &region)
                .and_then(|()| (key.set)(self.settings.regions.entry(region).or_default(), raw)),
            Target::Declared(region) => regions::check_count(&self.settings, &region).map(|()| {
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

    /// Other machines get in with a token or not at all.
    fn check_exposure(&mut self) {
        let listen = self.settings.listen;
        let open = !address::is_loopback(listen) && self.settings.admin.token.is_none();
        if open && !self.is_refused("listen") && !self.is_refused("admin.token") {
            let origin = self.origins.get("listen").cloned().unwrap_or(Origin::Default);
            let wrong = Wrong::new(format!("{listen} can be reached from other machines, and no admin token is set"))
                .hint(format!(
                    "set LASTGOOD_ADMIN_TOKEN (make one with: openssl rand -hex 32), \
                 or listen on 127.0.0.1:{}",
                    listen.port()
                ));
            self.refuse(origin, "listen", wrong);
        }
    }

    fn check_certificate(&mut self) {
        if let Some((name, wrong)) = listening::check_pair(&self.settings.tls) {
            let origin = self.origins.get(name).cloned().unwrap_or(Origin::Default);
            self.refuse(origin, name, wrong);
        }
    }

    /// Takes the exchange out where it is off; what is set of it all the same is warned of.
    fn switch_off(&mut self) -> Vec<Problem> {
        upstream::switch_off(&mut self.settings, self.origins.contains_key("fear_greed.url"));
        let is_unused = |name: &str| name.starts_with("binance.") || name == "warm.markets";
        let set = self.origins.iter().filter(|(name, _)| !self.settings.binance.enabled && is_unused(name));
        let warning = |(name, origin): (&String, &Origin)| {
            let wrong = Wrong::new("not used: binance is off").hint("leave it out, or set binance = \"on\"");
            Problem::new(Some(origin.clone()), Some(name), wrong)
        };
        set.map(warning).collect()
    }

    /// The bases of one list are one exchange, and the streams of a market are its exchange's.
    fn check_exchanges(&mut self) {
        let of = self.settings.binance.clone();
        let lists = [
            ("binance.spot_url", &of.spot_url, &of.spot_url),
            ("binance.futures_url", &of.futures_url, &of.futures_url),
            ("binance.coin_url", &of.coin_url, &of.coin_url),
            ("binance.testnet_spot_url", &of.testnet_spot_url, &of.testnet_spot_url),
            ("binance.testnet_futures_url", &of.testnet_futures_url, &of.testnet_futures_url),
            ("binance.ws_url", &of.ws_url, &of.ws_url),
            ("binance.futures_ws_url", &of.futures_ws_url, &of.futures_ws_url),
            ("binance.ws_url", &of.ws_url, &of.spot_url),
            ("binance.futures_ws_url", &of.futures_ws_url, &of.futures_url),
        ];
        for (name, bases, others) in lists {
            let Some(mixed) = mixed(bases, others).filter(|_| !self.is_refused(name)) else { continue };
            let origin = self.origins.get(name).cloned().unwrap_or(Origin::Default);
            let hint = match name.ends_with("ws_url") {
                true => "set the streams of the exchange that binance.spot_url and binance.futures_url name, or none",
                false => "name the bases of one exchange; run a gateway for each",
            };
            self.refuse(origin, name, Wrong::new(mixed.to_string()).hint(hint));
        }
    }

    fn check_timeouts(&mut self) {
        for (region, set) in self.settings.regions.clone() {
            if let (Some(soft), Some(hard)) = (set.policy.soft_timeout, set.policy.hard_timeout)
                && soft > hard
            {
                let name = format!("regions.{region}.soft_timeout");
                let origin = self.origins.get(&name).cloned().unwrap_or(Origin::Default);
                let wrong = Wrong::new("the soft timeout is longer than the hard one")
                    .hint("the soft timeout comes first, the hard one gives up");
                self.refuse(origin, &name, wrong);
            }
        }
    }

    /// Flags may declare a region, too, so that only now they are all known.
    fn check_regions_of_routes(&mut self) {
        let regions: Vec<String> = self.settings.application_regions().into_iter().map(|(name, _)| name).collect();
        for route in self.settings.declared.routes.clone() {
            if !regions.contains(&route.region) {
                let hint = did_you_mean(&route.region, regions.iter().map(String::as_str));
                let hint = hint.unwrap_or_else(|| match REGION_NAMES.contains(&route.region.as_str()) {
                    true => "this region is the exchange's; declare another in [regions.NAME]".to_owned(),
                    false => format!("declare it with [regions.{}]", route.region),
                });
                let wrong = Wrong::new(format!("there is no region {:?} for routes", route.region)).hint(hint);
                let origin = self.settings.declared.origin(&region_of(&route.path));
                self.refuse(origin, "routes.region", wrong);
            }
        }
    }

    fn weak_token(&self) -> Option<Problem> {
        let token = self.settings.admin.token.as_ref()?;
        let origin = self.origins.get("admin.token").cloned();
        (token.expose_secret().len() < SHORTEST_TOKEN).then(|| {
            let wrong =
                Wrong::new(format!("the admin token is shorter than {SHORTEST_TOKEN} characters and can be guessed"))
                    .hint("make one with: openssl rand -hex 32");
            Problem::new(origin, Some("admin.token"), wrong)
        })
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
pub(super) mod tests {
    use super::super::{KEYS, Preset, render_effective};
    use super::*;
    use lastgood::Keep;
    use proptest::prelude::*;
    use std::time::Duration;

    pub(in super::super) fn resolve_from(
        file: &str,
        env: &[(&str, &str)],
        flags: &[(&str, &str, &str)],
    ) -> Result<Resolved, Problems> {
        let lookup = |name: &str| {
            let found = env.iter().find(|(known, _)| *known == name)?;
            Some(found.1.to_owned())
        };
        resolve(&Sources {
            file: Some(ConfigFile { path: "lastgood.toml".to_owned(), text: file.to_owned() }),
            env: &lookup,
            env_names: env.iter().map(|(name, _)| (*name).to_owned()).collect(),
            flags: flags
                .iter()
                .map(|(flag, key, value)| FlagValue {
                    flag: (*flag).to_owned(),
                    key: (*key).to_owned(),
                    value: (*value).to_owned(),
                })
                .collect(),
        })
    }

    /// What may be said of databases, buckets, APIs and routes.
    const DECLARED_KEYS: &str = "url max_connections statement_timeout endpoint region access_key secret_key service_account headers \
        timeout allow_private path description tags hash_parameters warm warm_every type max_length pattern case min max default \
        optional choices bucket object select take keep next_on_missing database sql rows count api query expect is fields \
        not_fields refuse fresh_for_field";

    fn message(file: &str) -> String {
        resolve_from(file, &[], &[]).expect_err(file).to_string()
    }

    #[test]
    fn exchanges_that_are_known_to_differ_are_not_mixed() {
        for (env, key) in [
            (
                [("LASTGOOD_BINANCE_SPOT_URL", "https://api.binance.com,https://testnet.binance.vision")].as_slice(),
                "binance.spot_url",
            ),
            (
                &[
                    ("LASTGOOD_BINANCE_SPOT_URL", "https://testnet.binance.vision"),
                    ("LASTGOOD_BINANCE_WS_URL", "wss://stream.binance.com:9443"),
                ],
                "binance.ws_url",
            ),
            (&[("LASTGOOD_BINANCE_FUTURES_WS_URL", "wss://stream.binancefuture.com")], "binance.futures_ws_url"),
            (&[("LASTGOOD_BINANCE_WS_URL", "wss://stream.binance.us:9443")], "binance.ws_url"),
        ] {
            let refused = resolve_from("", env, &[]).expect_err(key).to_string();
            assert!(refused.contains(&format!("`{key}`")) && refused.contains("of different exchanges"), "{refused}");
        }
        for env in [
            [("LASTGOOD_BINANCE_SPOT_URL", "https://testnet.binance.vision")].as_slice(),
            &[("LASTGOOD_BINANCE_SPOT_URL", "http://127.0.0.1:9,https://api.binance.com")],
            &[("LASTGOOD_BINANCE_WS_URL", "wss://stream.binance.com:9443")],
            &[("LASTGOOD_BINANCE_SPOT_URL", "http://127.0.0.1:9"), ("LASTGOOD_BINANCE_WS_URL", "ws://127.0.0.1:9")],
        ] {
            assert!(resolve_from("", env, &[]).is_ok(), "{env:?}");
        }
    }

    #[test]
    fn flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults() {
        let file = "namespace = \"f\"\npreset = \"dashboard\"\nlisten = \"127.0.0.1:1\"\n";
        let env = [("LASTGOOD_PRESET", "trading"), ("LASTGOOD_LISTEN", "127.0.0.1:2")];
        let flags = [("--listen", "listen", "127.0.0.1:3")];
        let resolved = resolve_from(file, &env, &flags).expect("all valid");
        assert_eq!(resolved.settings.listen.port(), 3);
        assert_eq!(resolved.settings.preset, Preset::Trading);
        assert_eq!(resolved.settings.namespace, "f");
        let origins = ["listen", "preset", "namespace", "memory.limit"].map(|key| resolved.origin(key).to_string());
        assert_eq!(origins, ["flag --listen", "env LASTGOOD_PRESET", "lastgood.toml:1", "default"]);
    }

    #[test]
    fn the_store_comes_from_its_first_variable_and_empty_means_embedded() {
        let store = |env: &[(&str, &str)]| {
            let resolved = resolve_from("", env, &[]).expect("valid");
            (resolved.settings.store.to_string(), resolved.origin("store").to_string())
        };
        let both = [("REDIS_URL", "redis://b"), ("LASTGOOD_STORE_URL", "redis://a")];
        assert_eq!(store(&both), ("redis://a:6379".to_owned(), "env LASTGOOD_STORE_URL".to_owned()));
        assert_eq!(store(&both[..1]).1, "env REDIS_URL");
        let emptied = [("REDIS_URL", "redis://b"), ("LASTGOOD_STORE_URL", "")];
        assert_eq!(store(&emptied).0, "embedded:");
        assert_eq!(store(&[]), ("embedded:".to_owned(), "default".to_owned()));
        assert_eq!(
            store(&[("UPSTASH_REDIS_URL", "rediss://default:t@h"), ("UPSTASH_REDIS_REST_URL", "https://h")]).0,
            "rediss://***@h:6379"
        );
    }

    #[test]
    fn a_store_at_upstash_takes_the_token_that_belongs_to_its_address() {
        let store = |env: &[(&str, &str)], flags: &[(&str, &str, &str)]| {
            let resolved = resolve_from("", env, flags).unwrap_or_else(|problems| panic!("{problems}"));
            let token = resolved.settings.store_token.as_ref().map(|token| token.expose_secret().to_owned());
            let shown = format!("{:?}", render_effective(&resolved));
            assert!(!shown.contains("of-rest") && !shown.contains("of-kv"), "{shown}");
            (resolved.settings.store.to_string(), token.unwrap_or_default(), resolved.origin("store_token").to_string())
        };
        let rest = [("UPSTASH_REDIS_REST_URL", "https://rest"), ("UPSTASH_REDIS_REST_TOKEN", "of-rest")];
        let kv = [("KV_REST_API_URL", "https://kv"), ("KV_REST_API_TOKEN", "of-kv")];
        let plain = [("UPSTASH_REDIS_URL", "https://plain"), ("UPSTASH_REDIS_TOKEN", "of-plain")];
        let said = |store: &str, token: &str, origin: &str| (store.to_owned(), token.to_owned(), origin.to_owned());
        let of_rest = "env UPSTASH_REDIS_REST_TOKEN";
        assert_eq!(store(&rest, &[]), said("https://rest", "of-rest", of_rest));
        assert_eq!(store(&kv, &[]), said("https://kv", "of-kv", "env KV_REST_API_TOKEN"));
        assert_eq!(store(&[rest, kv].concat(), &[]), said("https://rest", "of-rest", of_rest));
        assert_eq!(store(&[&rest[1..], &kv].concat(), &[]), said("https://kv", "of-kv", "env KV_REST_API_TOKEN"));
        assert_eq!(store(&plain, &[]), said("https://plain", "of-plain", "env UPSTASH_REDIS_TOKEN"));
        let all = [plain, rest, kv].concat();
        assert_eq!(store(&all, &[]), said("https://plain", "of-plain", "env UPSTASH_REDIS_TOKEN"));
        let mixed = [plain[0], rest[1]];
        assert_eq!(store(&mixed, &[]), said("https://plain", "of-rest", of_rest));
        let mixed = [rest[0], plain[1]];
        assert_eq!(store(&mixed, &[]), said("https://rest", "of-plain", "env UPSTASH_REDIS_TOKEN"));
        let flag = [("--store", "store", "https://flag")];
        assert_eq!(store(&[rest, kv].concat(), &flag), said("https://flag", "of-rest", of_rest));
        let redis = [("REDIS_URL", "redis://h")];
        assert_eq!(store(&[&redis[..], &rest].concat(), &[]).0, "redis://h:6379", "REDIS_URL comes first");
    }

    #[test]
    fn the_token_of_upstash_is_the_password_where_its_address_has_none_and_goes_nowhere_else() {
        let login = |env: &[(&str, &str)]| {
            let resolved = resolve_from("", env, &[]).unwrap_or_else(|problems| panic!("{problems}"));
            let shown = format!("{:?} {}", render_effective(&resolved), resolved.settings.store);
            assert!(!shown.contains("t=k/n") && !shown.contains("t%3Dk") && !shown.contains("own"), "{shown}");
            let StoreSetting::Redis(url) = resolved.settings.store else { panic!("{shown}") };
            (url.login.user, url.login.password.map(|password| password.expose().to_owned()), url.database)
        };
        let said = |user: &str, password: &str, database| {
            let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            (text(user), text(password), database)
        };
        let token = ("UPSTASH_REDIS_TOKEN", " t=k/n ");
        for (address, expected) in [
            ("rediss://h.upstash.io:6379", said("default", "t=k/n", 0)),
            ("rediss://default@h:1/2", said("default", "t=k/n", 2)),
            ("rediss://someone@h:1", said("someone", "t=k/n", 0)),
            ("redis://h", said("default", "t=k/n", 0)),
            ("rediss://default:own@h:1", said("default", "own", 0)),
            ("rediss://:own@h:1", said("", "own", 0)),
        ] {
            assert_eq!(login(&[("UPSTASH_REDIS_URL", address), token]), expected);
        }
        for name in ["REDIS_URL", "LASTGOOD_STORE_URL"] {
            assert_eq!(login(&[(name, "redis://h:1"), token]), said("", "", 0), "it is another database's, by {name}");
        }
        assert_eq!(login(&[("UPSTASH_REDIS_URL", "redis://h:1"), ("UPSTASH_REDIS_TOKEN", " ")]), said("", "", 0));
    }

    #[test]
    fn rest_address_and_token_come_from_redis_url_alone() {
        let redis_url = ("REDIS_URL", "rediss://default:of-redis@eu1-x.upstash.io:6379");
        let store = |file: &str, env: &[(&str, &str)], flags: &[(&str, &str, &str)]| {
            let resolved = resolve_from(file, env, flags).unwrap_or_else(|problems| panic!("{problems}"));
            let token = resolved.settings.store_token.as_ref().map(|token| token.expose_secret().to_owned());
            let shown = format!("{:?} {:?}", render_effective(&resolved), resolved.settings);
            assert!(!shown.contains("of-redis"), "{shown}");
            (resolved.settings.store.to_string(), token.unwrap_or_default())
        };
        let rest = ("https://eu1-x.upstash.io".to_owned(), "of-redis".to_owned());
        let wish = ("LASTGOOD_STORE_URL", "upstash-rest:");
        assert_eq!(store("", &[wish, redis_url], &[]), rest);
        assert_eq!(store("", &[redis_url], &[("--store", "store", "upstash-rest:")]), rest);
        assert_eq!(store("store = \"upstash-rest:\"", &[redis_url], &[]), rest);
        assert_eq!(store("", &[wish, ("UPSTASH_REDIS_URL", redis_url.1)], &[]), rest);
        let other = ("UPSTASH_REDIS_REST_TOKEN", "another-database-s");
        assert_eq!(store("", &[wish, redis_url, other], &[]), rest, "address and token belong together");
        assert_eq!(store("", &[redis_url], &[]).0, "rediss://***@eu1-x.upstash.io:6379", "over Redis' own protocol");
        for (env, part) in [
            (vec![wish], "is not set"),
            (vec![wish, ("REDIS_URL", "redis://:of-redis@h")], "none of Upstash's"),
            (vec![wish, ("REDIS_URL", "rediss://eu1-x.upstash.io")], "no password"),
        ] {
            let problems = resolve_from("", &env, &[]).expect_err("refused").to_string();
            assert!(problems.contains(part) && problems.contains("help: write REDIS_URL as Upstash"), "{problems}");
            assert!(!problems.contains("of-redis") && !problems.contains("there is no token"), "{problems}");
        }
    }

    #[test]
    fn a_store_at_upstash_without_its_token_is_refused_with_a_hint() {
        let refused = |env: &[(&str, &str)], flags: &[(&str, &str, &str)]| {
            let problems = resolve_from("", env, flags).expect_err("refused").to_string();
            assert!(problems.contains("`store`: this is an Upstash REST address, and there is no token"), "{problems}");
            assert!(problems.contains("help: set UPSTASH_REDIS_REST_TOKEN"), "{problems}");
            problems
        };
        let said = refused(&[("UPSTASH_REDIS_REST_URL", "https://h"), ("UPSTASH_REDIS_REST_TOKEN", " ")], &[]);
        assert!(said.contains("env UPSTASH_REDIS_REST_URL"), "{said}");
        // Another database's token goes nowhere but to that database.
        let kv = [("KV_REST_API_URL", "https://kv"), ("KV_REST_API_TOKEN", "of-kv")];
        refused(&kv, &[("--store", "store", "https://h")]);
        let broken = [("UPSTASH_REDIS_REST_URL", "https://h"), ("UPSTASH_REDIS_REST_TOKEN", "hunter 2")];
        let said = resolve_from("", &broken, &[]).expect_err("refused").to_string();
        assert!(said.contains("`store_token`") && !said.contains("hunter"), "{said}");
    }

    #[test]
    fn a_wrong_key_or_value_names_file_line_key_and_hint() {
        for (file, expected) in [
            (
                "\nstore_budgt = \"5ms\"",
                "lastgood.toml:2: `store_budgt`: unknown key\n    help: did you mean `store_budget`?",
            ),
            (
                "spot_url = \"https://h\"",
                "lastgood.toml:1: `spot_url`: unknown key\n    help: did you mean `binance.spot_url`?",
            ),
            (
                "[binanc]\nspot_url = \"https://h\"",
                "lastgood.toml:1: `binanc`: unknown table\n    help: did you mean `binance`?",
            ),
            (
                "[memory]\nlimits = \"1MiB\"",
                "lastgood.toml:2: `memory.limits`: unknown key\n    help: did you mean `memory.limit`?",
            ),
            ("memory = \"1MiB\"", "lastgood.toml:1: `memory`: this is a table, not a value\n    help: it has limit"),
            (
                "listen = 8090",
                "lastgood.toml:1: `listen`: expected a string, found the integer 8090\n    \
                 help: write \"127.0.0.1:8090\"",
            ),
            (
                "preset = \"tradng\"",
                "lastgood.toml:1: `preset`: \"tradng\" is not one of trading, dashboard\n    \
                 help: did you mean `trading`?",
            ),
            (
                "store_budget = 25",
                "lastgood.toml:1: `store_budget`: \"25\" has no unit\n    help: did you mean \"25s\"?",
            ),
            (
                "store_budget = \"1m\"",
                "lastgood.toml:1: `store_budget`: 1m is out of range\n    help: choose between 1ms and 10s",
            ),
            (
                "[log]\nlevel = \"inof\"",
                "lastgood.toml:2: `log.level`: \"inof\" is no log level; the levels are off, error, warn, info, \
                 debug, trace\n    help: did you mean `info`?",
            ),
            (
                "[regions.kline]\nfresh_for = \"1s\"",
                "lastgood.toml:1: `regions.kline`: unknown region, and too like one that is there to be a new one\n    \
                 help: did you mean `klines`?",
            ),
            (
                "[regions.klines]\nfresh = \"1s\"",
                "lastgood.toml:2: `regions.klines.fresh`: unknown key of a region\n    \
                 help: a region has fresh_for, stale_while_revalidate, stale_if_error, jitter, negative_for, \
                 soft_timeout, hard_timeout, compress_over, warm_every",
            ),
            (
                "[regions.klines]\njitter = 10",
                "lastgood.toml:2: `regions.klines.jitter`: 10 is out of range\n    \
                 help: choose between 0 and 1; 10 % is 0.1",
            ),
            (
                "[regions.klines]\nstale_if_error = \"for ever\"",
                "lastgood.toml:2: `regions.klines.stale_if_error`: \"for ever\" is not a duration\n    \
                 help: write for example \"250ms\", \"1s\", \"1m30s\", \"6h\" or \"1d\", or \"forever\"",
            ),
            (
                "[regions.depth]\nsoft_timeout = \"2s\"\nhard_timeout = \"1s\"",
                "lastgood.toml:2: `regions.depth.soft_timeout`: the soft timeout is longer than the hard one\n    \
                 help: the soft timeout comes first, the hard one gives up",
            ),
            (
                "[binance]\nspot_url = [\"https://h\", 5]",
                "lastgood.toml:2: `binance.spot_url`: expected a list of strings, found a list with a value of \
                 type integer\n    help: put every item in quotes",
            ),
            (
                "preset = trading",
                "lastgood.toml:1: not valid TOML: invalid boolean, expected `true`\n    \
                 help: texts need quotes, tables need [brackets], keys are set once",
            ),
        ] {
            assert_eq!(message(file), expected, "{file}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_in_the_order_of_the_lines() {
        let file = "presett = \"x\"\nnamespace = \"a b\"\nlisten = \"x\"\n";
        let env = [("LASTGOOD_MEMORY_LIMIT", "lots")];
        let flags = [("--set", "regions.klines.fresh_fr", "1s")];
        let problems = resolve_from(file, &env, &flags).expect_err("five problems");
        let places: Vec<_> = problems
            .0
            .iter()
            .map(|problem| problem.origin.as_ref().map(ToString::to_string).unwrap_or_default())
            .collect();
        assert_eq!(
            places,
            ["lastgood.toml:1", "lastgood.toml:2", "lastgood.toml:3", "env LASTGOOD_MEMORY_LIMIT", "flag --set"]
        );
        assert!(problems.from_flags());
    }

    #[test]
    fn other_machines_need_a_token() {
        let refused = resolve_from("", &[], &[("--listen", "listen", "0.0.0.0:8090")]);
        assert_eq!(
            refused.expect_err("no token").to_string(),
            "flag --listen: `listen`: 0.0.0.0:8090 can be reached from other machines, and no admin token is set\n    \
             help: set LASTGOOD_ADMIN_TOKEN (make one with: openssl rand -hex 32), or listen on 127.0.0.1:8090"
        );
        let env = [("LASTGOOD_ADMIN_TOKEN", "0123456789abcdef"), ("LASTGOOD_LISTEN", "0.0.0.0:8090")];
        let accepted = resolve_from("", &env, &[]).expect("a token is set");
        assert!(accepted.warnings.is_empty());
        assert!(resolve_from("", &[("LASTGOOD_LISTEN", "[::1]:1")], &[]).is_ok());
    }

    #[test]
    fn what_is_probably_not_meant_is_warned_of() {
        let env = [
            ("LASTGOOD_LISTN", "127.0.0.1:1"),
            ("LASTGOOD_SERVICE_HOST", "10.0.0.1"),
            ("LASTGOOD_ADMIN_TOKEN", "short"),
        ];
        let warnings = resolve_from("", &env, &[]).expect("only warnings").warnings;
        let texts: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(texts[0].starts_with("env LASTGOOD_LISTN: this variable means nothing"), "{}", texts[0]);
        assert!(texts[1].starts_with("env LASTGOOD_SERVICE_HOST: this variable means nothing"), "{}", texts[1]);
        assert!(texts[2].starts_with("env LASTGOOD_ADMIN_TOKEN: `admin.token`: "), "{}", texts[2]);
    }

    #[test]
    fn the_data_directory_follows_the_home() {
        let data_dir = |env: &[(&str, &str)]| {
            let resolved = resolve_from("", env, &[]).expect("valid");
            resolved.settings.data_dir.display().to_string()
        };
        assert_eq!(data_dir(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")]), "/x/lastgood");
        assert_eq!(data_dir(&[("XDG_DATA_HOME", "x"), ("HOME", "/h")]), "/h/.local/share/lastgood");
        assert_eq!(data_dir(&[]), "lastgood-data");
        assert_eq!(data_dir(&[("LASTGOOD_DATA_DIR", "/d"), ("HOME", "/h")]), "/d");
    }

    #[test]
    fn regions_are_read_whole() {
        let file = "[regions.klines]\nfresh_for = \"2s\"\nstale_while_revalidate = \"1m\"\nstale_if_error = \"forever\"\njitter = 0.1\n\
                    negative_for = \"5s\"\nsoft_timeout = \"300ms\"\nhard_timeout = \"3s\"\ncompress_over = \"4KiB\"\n";
        let resolved = resolve_from(file, &[], &[]).expect("valid");
        let klines = resolved.settings.region("klines");
        assert_eq!(klines.policy.fresh_for, Some(Duration::from_secs(2)));
        assert_eq!(klines.policy.stale_if_error, Some(Keep::Forever));
        assert_eq!(klines.policy.jitter, Some(0.1));
        assert_eq!(klines.policy.compress_over, Some(4096));
        assert_eq!(resolved.settings.region("depth"), Default::default());
        let rows = render_effective(&resolved);
        let row = rows.iter().find(|row| row.key == "regions.klines.jitter").expect("shown");
        assert_eq!((row.value.as_str(), row.origin.as_str()), ("0.1", "lastgood.toml:5"));
    }

    #[test]
    fn regions_for_applications_are_there_and_more_can_be_declared() {
        let policy = |settings: &Settings, name: &str| {
            settings.application_regions().into_iter().find(|(known, _)| known == name).map(|(_, policy)| policy)
        };
        let file = "[regions.prices]\n[regions.news]\nfresh_for = \"1m\"\n[regions.analytics]\nfresh_for = \"1m\"";
        let settings = resolve_from(file, &[], &[]).expect("valid").settings;
        for (name, seconds, keep) in [
            ("stock_latest", 300, Keep::Forever),
            ("stock_recent", 3_600, Keep::Forever),
            ("stock_symbols", 21_600, Keep::Forever),
            ("analytics", 120, Keep::For(Duration::from_secs(86_400))),
            ("agent_leaderboard", 60, Keep::For(Duration::from_secs(86_400))),
            ("scores_leaderboard", 600, Keep::For(Duration::from_secs(86_400))),
            ("kv", 300, Keep::For(Duration::from_secs(86_400))),
            ("prices", 300, Keep::For(Duration::from_secs(86_400))),
            ("news", 300, Keep::For(Duration::from_secs(86_400))),
        ] {
            let policy = policy(&settings, name).unwrap_or_else(|| panic!("{name}"));
            let fresh_for = Duration::from_secs(seconds);
            assert_eq!(
                (policy.fresh_for, policy.stale_while_revalidate, policy.stale_if_error),
                (fresh_for, fresh_for, keep),
                "{name}"
            );
        }
        assert_eq!(settings.region("analytics").policy.fresh_for, Some(Duration::from_secs(60)));
        assert_eq!(settings.region("news").policy.fresh_for, Some(Duration::from_secs(60)));
        assert!(policy(&settings, "klines").is_none());

        assert!(message("[regions.analytic]").contains("did you mean `analytics`?"));
        assert!(message("[regions.\"my news\"]").contains("a-z, 0-9 and _"));
        assert!(message("[regions.nodes]").contains("the gateway's own"));
        let many: String = (0..65).map(|n| format!("[regions.made_up_region_{n}]\n")).collect();
        assert!(message(&many).contains("more than 64 regions"));
    }

    #[test]
    fn no_secret_is_shown_or_complained_about() {
        let file =
            "store = \"redis://u:hunter2@h\"\nmaster_key = \"hunter2hunter2hunter2\"\n[admin]\ntoken = \"hunter2\"\n";
        let resolved = resolve_from(file, &[], &[]).expect("valid");
        let shown = format!("{:?} {:?}", render_effective(&resolved), resolved);
        assert!(!shown.contains("hunter2"), "{shown}");
        for wrong in [
            "master_key = \"hunter2 hunter2\"",
            "[admin]\ntoken = [\"hunter2\"]",
            "store = \"rdis://u:hunter2@h\"",
            "[binance]\nspot_url = \"https://u:hunter2@h\"",
            "[binance]\nspot_url = \"u:hunter2@h\"",
        ] {
            assert!(!message(wrong).contains("hunter2"), "{}", message(wrong));
        }
    }

    #[test]
    fn candles_that_are_declared_in_part_are_warned_of() {
        let warned = |text: &str| {
            let resolved = resolve_from(text, &[], &[]).expect("only warnings");
            resolved.warnings.iter().map(ToString::to_string).collect::<String>()
        };
        for (text, lacks) in [
            ("[warm]\nsymbols = [\"BTCUSDT\"]\nintervals = [\"1h\"]", "warm.markets"),
            ("[warm]\nmarkets = [\"spot\"]\npopular = 5", "warm.intervals"),
            ("[warm]\nmarkets = [\"spot\"]\nintervals = [\"1h\"]", "warm.popular"),
        ] {
            assert!(warned(text).contains(lacks), "{text}: {}", warned(text));
        }
        assert_eq!(warned("[warm]\nmarkets = [\"spot\"]\nintervals = [\"1h\"]\npopular = 5"), "");
        assert_eq!(warned("[warm]\nmarkets = [\"spot\"]"), "");
    }

    #[test]
    fn the_example_is_valid_as_it_is_and_with_every_key_in_force() {
        let text = include_str!("../../../../lastgood.example.toml");
        assert!(resolve_from(text, &[], &[]).is_ok());
        let uncommented: Vec<&str> = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') || rest.starts_with("  ") => rest,
                _ => line,
            })
            .collect();
        let env = [
            ("DATABASE_URL", "postgres://h/d"),
            ("AWS_ACCESS_KEY_ID", "k"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("GCS_SERVICE_ACCOUNT", "{}"),
            ("QUOTES_TOKEN", "t"),
            ("QUOTES_KEY", "k"),
        ];
        let resolved = resolve_from(&uncommented.join("\n"), &env, &[]).unwrap_or_else(|wrong| panic!("{wrong}"));
        let declared = &resolved.settings.declared;
        let route = declared.routes.first().expect("a route");
        let sources = &declared.sources;
        assert_eq!((sources.databases.len(), sources.buckets.len(), sources.apis.len()), (1, 1, 1));
        assert_eq!((route.parameters.len(), route.sources.len(), route.tags.len(), route.warm.len()), (4, 4, 2, 2));
        for key in DECLARED_KEYS.split_whitespace() {
            assert!(uncommented.iter().any(|line| line.contains(&format!("{key} = "))), "{key} is missing");
        }
        let defaults = Settings::default();
        for key in KEYS {
            let written = matches!(resolved.origin(key.name), Origin::File { .. });
            // A table [binance] and a value of that name cannot stand in one file.
            assert!(written || ["data_dir", "binance"].contains(&key.name), "{} is missing from the example", key.name);
            if !key.secret && key.name != "data_dir" {
                assert_eq!(key.show(&resolved.settings), key.show(&defaults), "{}", key.name);
            }
        }
        for key in super::super::REGION_KEYS {
            let name = format!("regions.klines.{}", key.name);
            assert_ne!(resolved.origin(&name), Origin::Default, "{name} is missing from the example");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|\n|\\[|\\]|=|\"|regions|klines|store|listen|\\.){0,80}") {
            let _ = resolve_from(&text, &[], &[]);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = resolve_from(&String::from_utf8_lossy(&bytes), &[], &[]);
        }

        #[test]
        fn no_value_of_any_key_panics(index in 0..KEYS.len(), value in "\\PC*") {
            let _ = resolve_from("", &[], &[("--set", KEYS[index].name, &value)]);
            let _ = resolve_from("", &[(KEYS[index].env[0], &value)], &[]);
        }
    }
}
