//! What variables set, and the warnings about those that set nothing.

use std::time::Duration;

use lastgood::Keep;
use proptest::prelude::*;
use proptest::sample::select;
use secrecy::ExposeSecret;

use super::*;
use crate::layers::tests::resolve_from;
use crate::variable::expand;
use crate::{Resolved, Settings, render_effective};

fn said(resolved: &Resolved, key: &str) -> (String, String) {
    let rows = render_effective(resolved);
    let row = rows.into_iter().find(|row| row.key == key).unwrap_or_else(|| panic!("{key} is shown"));
    (row.value, row.origin)
}

fn refused(file: &str, env: &[(&str, &str)]) -> String {
    resolve_from(file, env, &[]).map(|_| ()).expect_err(file).to_string()
}

/// Built in, declared, too like one that is built in, and reserved.
fn regions_of_all_kinds() -> Vec<&'static str> {
    regions::built_in().chain(["prices", "my_own_jitter", "kline", "nodes"]).collect()
}

const VALUES: [&str; 12] = ["2s", "0s", "1m30s", "forever", "0.25", "16KiB", "4096", "300", "soon", "10", "90d", "1ms"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_variable_the_file_and_a_flag_set_a_field_of_a_region_alike(
        region in select(regions_of_all_kinds()),
        key in select(REGION_KEYS.iter().map(|key| key.name).collect::<Vec<_>>()),
        value in select(&VALUES[..]),
    ) {
        let (name, variable) = (format!("regions.{region}.{key}"), variable_of(region, key));
        let by_file = resolve_from(&format!("[regions.{region}]\n{key} = \"{value}\"\n"), &[], &[]);
        let by_flag = resolve_from("", &[], &[("--set", &name, value)]);
        let by_variable = resolve_from("", &[(&variable, value)], &[]);
        let is_span = !matches!(key, "jitter" | "compress_over");
        match (by_file, by_flag, by_variable) {
            (Ok(file), Ok(flag), Ok(by_variable)) => {
                prop_assert_eq!(&file.settings.regions, &flag.settings.regions);
                prop_assert_eq!(&file.settings.regions, &by_variable.settings.regions);
                prop_assert_eq!(said(&by_variable, &name).1, format!("env {variable}"));
                prop_assert!(by_variable.warnings.iter().all(|warning| warning.key.is_some()));
                // Digits alone are seconds in a variable.
                if let Some(number) = value.strip_suffix('s').filter(|number| number.parse::<u64>().is_ok()) {
                    let by_number = resolve_from("", &[(&variable, number)], &[]).unwrap();
                    prop_assert_eq!(&file.settings.regions, &by_number.settings.regions);
                }
            }
            (Err(file), Err(flag), Ok(_)) => {
                prop_assert!(is_span && value.parse::<u64>().is_ok(), "{file} {flag}");
            }
            (file, flag, by_variable) => {
                let whats = [file, flag, by_variable].map(|one| one.map(|_| ()).unwrap_err().0[0].what.clone());
                prop_assert_eq!(&whats[0], &whats[1]);
                // Of a bare number a variable does not lack the unit, but it may be out of range, or longer than another time.
                let is_number = is_span && value.parse::<u64>().is_ok() && whats[0].ends_with("has no unit");
                let is_refused = whats[2].ends_with("out of range") || whats[2].contains("longer than the hard one");
                prop_assert!(whats[0] == whats[2] || is_number && is_refused, "{whats:?}");
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_name_and_no_value_of_a_variable_panics(name in "LASTGOOD_(REGIONS_)?\\PC{0,30}(_FRESH_FOR)?", value in "\\PC*") {
        let _ = resolve_from("", &[(&name, &value)], &[]);
    }

    #[test]
    fn no_reference_panics(text in "(env:)?\\PC{0,20}(:-)?\\PC*") {
        let _ = expand(&text, &|_| None);
        let _ = expand(&text, &|_| Some(String::new()));
    }
}

#[test]
fn every_key_may_be_taken_from_a_variable_that_the_file_names() {
    for key in KEYS {
        let (table, last) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        let value = match key.name {
            "admin.token" | "store_token" | "master_key" => "0123456789abcdef".to_owned(),
            "data_dir" => "/somewhere".to_owned(),
            "store" => "memory:".to_owned(),
            _ => key.show(&Settings::default()),
        };
        let value = value.as_str();
        let head = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
        let written = resolve_from("", &[], &[("--set", key.name, value)]).expect(key.name);
        for (file, env) in [
            (format!("{head}{last} = \"env:X\"\n"), &[("X", value)][..]),
            (format!("{head}{last} = \"env:X:-{value}\"\n"), &[]),
            (format!("{head}{last} = \"env:X:-{value}\"\n"), &[("X", "  ")]),
        ] {
            if value.is_empty() && env.len() == 1 {
                continue;
            }
            let by_variable = resolve_from(&file, env, &[]).unwrap_or_else(|wrong| panic!("{file}: {wrong}"));
            assert_eq!(said(&by_variable, key.name).0, said(&written, key.name).0, "{file}");
        }
        let missing = refused(&format!("{head}{last} = \"env:NOT_THERE\"\n"), &[]);
        let line = if table.is_empty() { 1 } else { 2 };
        let expected =
            format!("lastgood.toml:{line}: `{}`: the environment variable \"NOT_THERE\" is not set", key.name);
        assert!(missing.starts_with(&expected), "{missing}");
    }
}

#[test]
fn a_token_that_the_file_takes_from_a_variable_is_the_variables_value_and_never_shown() {
    let file = "[admin]\ntoken = \" env:GATE \"\n";
    let resolved = resolve_from(file, &[("GATE", "hunter2-hunter2-hunter2")], &[]).expect("valid");
    let token = |resolved: &Resolved| {
        resolved.settings.admin.token.as_ref().map(|token| token.expose_secret().to_owned()).unwrap_or_default()
    };
    assert_eq!(token(&resolved), "hunter2-hunter2-hunter2");
    assert_eq!(said(&resolved, "admin.token"), ("***".to_owned(), "lastgood.toml:2 (env GATE)".to_owned()));
    assert!(!format!("{resolved:?}").contains("hunter2"));
    assert_eq!(token(&resolve_from("[admin]\ntoken = \"env:GATE:-\"\n", &[], &[]).expect("none")), "");
    let flags = [("--set", "admin.token", "env:GATE")];
    let resolved = resolve_from("", &[("GATE", "hunter2-hunter2-hunter2")], &flags).expect("valid");
    assert_eq!(token(&resolved), "hunter2-hunter2-hunter2");
    // No way leads to the reference itself as the password.
    for (file, env) in [
        ("[admin]\ntoken = \"env:\"", &[][..]),
        ("[admin]\ntoken = \"env:hunter2 hunter2\"", &[]),
        ("[admin]\ntoken = \"env:hunter2-hunter2\"", &[]),
        ("[admin]\ntoken = \"env:GATE:hunter2\"", &[]),
        ("[admin]\ntoken = \"env:GATE\"", &[("GATE", " ")]),
        ("[admin]\ntoken = \"env:GATE\"", &[("GATE", "env:OTHER"), ("OTHER", "hunter2-hunter2")]),
        ("[admin]\ntoken = \"env:GATE:-hunter2 hunter2\"", &[]),
        ("", &[("LASTGOOD_ADMIN_TOKEN", "env:GATE"), ("GATE", "hunter2-hunter2")]),
        ("", &[("LASTGOOD_MASTER_KEY", "env:GATE_OF_GATES_AND_MORE"), ("GATE", "hunter2-hunter2")]),
    ] {
        let message = refused(file, env);
        assert!(!message.contains("hunter2") && message.contains("help: "), "{message}");
    }
}

#[test]
fn a_value_from_a_variable_that_is_wrong_names_the_line_and_the_variable() {
    let file = "[regions.analytics]\nfresh_for = \"env:CACHE_TTL_DEFAULT:-300s\"\n[databases.main]\nurl = \"sqlite:x\"\n\
                statement_timeout = \"env:PATIENCE:-5\"\n";
    let spans = |env: &[(&str, &str)]| {
        let settings = resolve_from(file, env, &[]).expect("valid").settings;
        let timeout = settings.declared.sources.databases["main"].statement_timeout;
        (settings.region("analytics").policy.fresh_for.unwrap().as_secs(), timeout.as_secs())
    };
    assert_eq!(spans(&[]), (300, 5));
    assert_eq!(spans(&[("CACHE_TTL_DEFAULT", "60"), ("PATIENCE", "7s")]), (60, 7));
    assert_eq!(
        refused(file, &[("CACHE_TTL_DEFAULT", "soon"), ("PATIENCE", "0")]),
        "lastgood.toml:2 (env CACHE_TTL_DEFAULT): `regions.analytics.fresh_for`: \"soon\" is not a duration\n    \
         help: write for example \"250ms\", \"1s\", \"1m30s\", \"6h\" or \"1d\"\n\
         lastgood.toml:5 (env PATIENCE): `databases.main.statement_timeout`: 0 is out of range\n    \
         help: choose between 10ms and 10m"
    );
    for file in ["[regions.analytics]\nfresh_for = 300", "[regions.analytics]\nfresh_for = \"300\""] {
        assert!(refused(file, &[]).contains("did you mean \"300s\"?"), "{file}");
    }
}

#[test]
fn texts_in_lists_and_in_routes_may_be_taken_from_variables() {
    let file = r#"
        [binance]
        spot_url = ["env:FIRST", "https://second.example"]
        [apis.quotes]
        url = "env:QUOTES_URL"
        timeout = "env:TIMEOUT"
        [[routes]]
        path = "env:ROUTE"
        tags = "env:TAGS"
        warm = [{ symbol = "env:POPULAR:-AAPL" }]
        [routes.parameters.symbol]
        type = "choice"
        choices = ["env:ONE", "MSFT"]
        [[routes.sources]]
        api = "quotes"
        path = "/daily/{symbol}"
        query = { apikey = "env:KEY" }
    "#;
    let env = [
        ("FIRST", "https://first.example"),
        ("QUOTES_URL", "https://quotes.example"),
        ("TIMEOUT", "3"),
        ("ROUTE", "/v1/stocks/{symbol}"),
        ("TAGS", "stocks, symbol:{symbol}"),
        ("ONE", "AAPL"),
        ("KEY", "hunter2"),
    ];
    let resolved = resolve_from(file, &env, &[]).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(said(&resolved, "binance.spot_url").0, "https://first.example,https://second.example");
    let declared = &resolved.settings.declared;
    assert_eq!(declared.sources.apis["quotes"].timeout, Duration::from_secs(3));
    let route = &declared.routes[0];
    assert_eq!((route.path.to_string().as_str(), route.tags.len(), route.warm.len()), ("/v1/stocks/{symbol}", 2, 1));
    assert!(!format!("{resolved:?} {:?}", render_effective(&resolved)).contains("hunter2"));
    let missing = refused(file, &env[1..]);
    assert!(
        missing.starts_with("lastgood.toml:3: `binance.spot_url`: the environment variable \"FIRST\""),
        "{missing}"
    );
}

#[test]
fn a_variable_makes_a_region_by_the_rules_of_the_file() {
    let resolved = resolve_from("", &[("LASTGOOD_REGIONS_MY_OWN_JITTER_FRESH_FOR", "60")], &[]).expect("valid");
    let regions = resolved.settings.application_regions();
    assert!(regions.iter().any(|(name, _)| name == "my_own_jitter"), "{regions:?}");
    let env = [("LASTGOOD_REGIONS_NEWS_STALE_IF_ERROR", "forever"), ("LASTGOOD_REGIONS_NEWS_FRESH_FOR", "")];
    let news = resolve_from("", &env, &[]).expect("an empty variable is unset").settings.region("news");
    assert_eq!((news.policy.stale_if_error, news.policy.fresh_for), (Some(Keep::Forever), None));
    for (variable, part) in [
        ("LASTGOOD_REGIONS_KLINE_FRESH_FOR", "did you mean `klines`?"),
        ("LASTGOOD_REGIONS_NODES_FRESH_FOR", "the gateway's own"),
        ("LASTGOOD_REGIONS_9TH_FRESH_FOR", "no name for a region"),
        ("LASTGOOD_REGIONS_DEPTH_WARM_EVERY", "exchange_info, symbols, ticker_24hr, klines can"),
        ("LASTGOOD_REGIONS_KLINES_STALE_FOR", "set LASTGOOD_REGIONS_KLINES_STALE_WHILE_REVALIDATE"),
        ("LASTGOOD_REGIONS_KLINES_KEEP_FOR", "set LASTGOOD_REGIONS_KLINES_STALE_IF_ERROR"),
    ] {
        let message = refused("", &[(variable, "1s")]);
        assert!(message.starts_with(&format!("env {variable}: `regions.")) && message.contains(part), "{message}");
    }
}

#[test]
fn former_names_are_refused_with_those_of_the_rfc() {
    for (old, new) in [("stale_for", "stale_while_revalidate"), ("keep_for", "stale_if_error")] {
        let expected = format!("`regions.news.{old}`: this key has another name now\n    help: write {new}");
        let message = refused(&format!("[regions.news]\n{old} = \"1s\""), &[]);
        assert_eq!(message, format!("lastgood.toml:2: {expected}"));
        let flags = [("--set", format!("regions.news.{old}"))];
        let message = resolve_from("", &[], &[(flags[0].0, &flags[0].1, "1s")]).map(|_| ()).unwrap_err().to_string();
        assert_eq!(message, format!("flag --set: {expected}"));
    }
}

#[test]
fn every_unknown_variable_is_warned_of_and_no_known_one_is() {
    let file = "[admin]\ntoken = \"env:LASTGOOD_OWN_TOKEN\"\n[regions.news]\nfresh_for = \"env:LASTGOOD_TTL:-5m\"\n";
    let known = [
        ("LASTGOOD_OWN_TOKEN", "0123456789abcdef"),
        ("LASTGOOD_TTL", "300"),
        ("LASTGOOD_CONFIG", "x"),
        ("LASTGOOD_URL", "x"),
        ("LASTGOOD_BIN", "x"),
        ("LASTGOOD_TOKEN_FROM", "x"),
        ("LASTGOOD_TOKEN_TO", "x"),
        ("LASTGOOD_PRESET", ""),
        ("LASTGOOD_REGIONS_NEWS_FRESH_FOR", ""),
        ("OTHER", "x"),
    ];
    let warnings = |env: &[(&str, &str)]| {
        let resolved = resolve_from(file, &[&known[..], env].concat(), &[]).unwrap_or_else(|wrong| panic!("{wrong}"));
        resolved.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(warnings(&[]), [""; 0]);
    for (variable, hint) in [
        ("LASTGOOD_LISTN", "did you mean `LASTGOOD_LISTEN`?"),
        ("LASTGOOD_TOKEN", "did you mean `LASTGOOD_ADMIN_TOKEN`?"),
        ("LASTGOOD_REGIONS_KLINES_FRSH_FOR", "did you mean `LASTGOOD_REGIONS_KLINES_FRESH_FOR`?"),
        ("LASTGOOD_REGIONS_klines_FRESH_FOR", "did you mean `LASTGOOD_REGIONS_KLINES_FRESH_FOR`?"),
        ("LASTGOOD_KLINES_FRESH_FOR", "did you mean `LASTGOOD_REGIONS_KLINES_FRESH_FOR`?"),
        ("LASTGOOD_REGIONS__FRESH_FOR", "did you mean `LASTGOOD_REGIONS_"),
        ("LASTGOOD_REGIONS_KLINES", "lastgood.example.toml names every variable"),
        ("LASTGOOD_COLOUR", "lastgood.example.toml names every variable"),
        ("LASTGOOD_", "lastgood.example.toml names every variable"),
        ("LASTGOOD_PORT_8090_TCP", "enableServiceLinks"),
        ("LASTGOOD_PORT", "LASTGOOD_LISTEN"),
    ] {
        let message = warnings(&[(variable, "x")]);
        assert_eq!(message.len(), 1, "{variable}: {message:?}");
        assert!(
            message[0].starts_with(&format!("env {variable}: this variable means nothing to lastgood")),
            "{message:?}"
        );
        assert!(message[0].contains(hint), "{message:?}");
    }
}

#[test]
fn a_schedule_of_a_region_is_that_of_its_routes_unless_the_file_gives_them_their_own() {
    let routes = |region: &str| {
        let route = |path: &str, more: &str| {
            format!(
                "[[routes]]\npath = \"/v1/{path}\"\nregion = \"analytics\"\n{more}\n[[routes.sources]]\n\
                 database = \"main\"\nsql = \"SELECT 1\"\n"
            )
        };
        let (own, of_region) = (route("own", "warm_every = \"45s\""), route("region", "warm = [{}]"));
        format!(
            "[regions.analytics]\n{region}\n[databases.main]\nurl = \"sqlite:x\"\n{own}{of_region}{}",
            route("cold", "")
        )
    };
    let every = |file: &str, env: &[(&str, &str)], flags: &[(&str, &str, &str)]| {
        let settings = resolve_from(file, env, flags).unwrap_or_else(|wrong| panic!("{wrong}")).settings;
        let routes = settings.declared.routes;
        assert!(routes[2].warm.is_empty());
        [0, 1].map(|at| routes[at].warm_every.map(|every| every.as_secs()))
    };
    assert_eq!(every(&routes(""), &[], &[]), [Some(45), None]);
    let in_file = routes("warm_every = \"30s\"");
    assert_eq!(every(&in_file, &[], &[]), [Some(45), Some(30)]);
    let variable = [("LASTGOOD_REGIONS_ANALYTICS_WARM_EVERY", "20")];
    assert_eq!(every(&in_file, &variable, &[]), [Some(20), Some(20)]);
    let flag = [("--set", "regions.analytics.warm_every", "10s")];
    assert_eq!(every(&in_file, &variable, &flag), [Some(10), Some(10)]);
}

#[test]
fn a_schedule_of_a_region_in_which_nothing_is_kept_warm_is_warned_of() {
    let warned = |file: &str| {
        let resolved = resolve_from(file, &[], &[]).unwrap_or_else(|wrong| panic!("{wrong}"));
        resolved.warnings.iter().map(ToString::to_string).collect::<String>()
    };
    for (file, hint) in [
        ("[regions.klines]\nwarm_every = \"1m\"", "warm.markets"),
        ("[warm]\nmarkets = [\"spot\"]\n[regions.klines]\nwarm_every = \"1m\"", "warm.intervals"),
        ("[regions.analytics]\nwarm_every = \"1m\"", "a route of the region"),
    ] {
        let message = warned(file);
        assert!(
            message.contains("warm_every`: nothing in this region is kept warm") && message.contains(hint),
            "{message}"
        );
    }
    assert_eq!(warned("[warm]\nmarkets = [\"spot\"]\n[regions.ticker_24hr]\nwarm_every = \"1m\""), "");
    assert_eq!(warned("preset = \"dashboard\"\n[regions.symbols]\nwarm_every = \"1m\""), "");
}
