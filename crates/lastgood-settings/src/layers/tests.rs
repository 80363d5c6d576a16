//! How the layers combine, and which values are refused.

use std::time::Duration;

use lastgood::Keep;
use lastgood_market::Preset;
use proptest::prelude::*;

use super::*;
use crate::{KEYS, render_effective};

mod store;

pub(crate) fn resolve_from(
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
        ("store_budget = 25", "lastgood.toml:1: `store_budget`: \"25\" has no unit\n    help: did you mean \"25s\"?"),
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
            "lastgood.toml:2: `regions.depth.soft_timeout`: the soft timeout is longer than the hard one, 1s\n    \
             help: the soft timeout comes first, the hard one gives up",
        ),
        (
            "[regions.kv]\nsoft_timeout = \"11s\"",
            "lastgood.toml:2: `regions.kv.soft_timeout`: the soft timeout is longer than the hard one, 10s\n    \
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
fn all_problems_are_reported_at_once_in_the_order_of_the_lines() {
    let file = "presett = \"x\"\nnamespace = \"a b\"\nlisten = \"x\"\n";
    let env = [("LASTGOOD_MEMORY_LIMIT", "lots")];
    let flags = [("--set", "regions.klines.fresh_fr", "1s")];
    let problems = resolve_from(file, &env, &flags).expect_err("five problems");
    let places: Vec<_> =
        problems.0.iter().map(|problem| problem.origin.as_ref().map(ToString::to_string).unwrap_or_default()).collect();
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
fn unlikely_settings_are_warned_about() {
    let env =
        [("LASTGOOD_LISTN", "127.0.0.1:1"), ("LASTGOOD_SERVICE_HOST", "10.0.0.1"), ("LASTGOOD_ADMIN_TOKEN", "short")];
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
    let file = "[regions.prices]\n[regions.news]\nfresh_for = \"1m\"";
    let settings = resolve_from(file, &[], &[]).expect("valid").settings;
    let names: Vec<String> = settings.application_regions().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["kv", "routes", "news", "prices"]);
    for name in names {
        let policy = policy(&settings, &name).unwrap_or_else(|| panic!("{name}"));
        let fresh_for = Duration::from_secs(300);
        let keep = Keep::For(Duration::from_secs(86_400));
        assert_eq!(
            (policy.fresh_for, policy.stale_while_revalidate, policy.stale_if_error),
            (fresh_for, fresh_for, keep),
            "{name}"
        );
    }
    assert_eq!(settings.region("news").policy.fresh_for, Some(Duration::from_secs(60)));
    assert!(policy(&settings, "klines").is_none());

    assert!(message("[regions.route]").contains("did you mean `routes`?"));
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
    for key in crate::REGION_KEYS {
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
