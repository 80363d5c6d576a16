//! Regions that variables set.

use super::*;

#[test]
fn a_region_is_set_by_its_variables_and_config_says_so() {
    let desk = Desk::with_file("[regions.news]\nfresh_for = \"env:CACHE_TTL_DEFAULT:-300s\"\njitter = 0.2\n");
    let shown = |env: &[(&str, &str)]| {
        let mut command = desk.command(&["config", "--json", "--set", "regions.news.soft_timeout=100ms"]);
        let output = command.envs(env.iter().copied()).output().expect("the program starts");
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
        let rows = json(&output);
        move |key: &str| format!("{} {}", row(&rows, key)["value"], row(&rows, key)["origin"]).replace('"', "")
    };
    let by_file = shown(&[]);
    assert_eq!(by_file("regions.news.fresh_for"), "5m lastgood.toml:2");
    let by_reference = shown(&[("CACHE_TTL_DEFAULT", "60")]);
    assert_eq!(by_reference("regions.news.fresh_for"), "1m lastgood.toml:2 (env CACHE_TTL_DEFAULT)");
    let own = [
        ("LASTGOOD_REGIONS_NEWS_FRESH_FOR", "90"),
        ("LASTGOOD_REGIONS_NEWS_SOFT_TIMEOUT", "1s"),
        ("LASTGOOD_REGIONS_KLINES_STALE_IF_ERROR", "forever"),
        ("LASTGOOD_REGIONS_AGENT_LEADERBOARD_STALE_WHILE_REVALIDATE", "0s"),
        ("LASTGOOD_REGIONS_MY_PRICES_NEGATIVE_FOR", "5s"),
    ];
    let by_variable = shown(&own);
    for (key, expected) in [
        ("news.fresh_for", "1m30s env LASTGOOD_REGIONS_NEWS_FRESH_FOR"),
        ("news.jitter", "0.2 lastgood.toml:3"),
        ("news.soft_timeout", "100ms flag --set"),
        ("klines.stale_if_error", "forever env LASTGOOD_REGIONS_KLINES_STALE_IF_ERROR"),
        (
            "agent_leaderboard.stale_while_revalidate",
            "0s env LASTGOOD_REGIONS_AGENT_LEADERBOARD_STALE_WHILE_REVALIDATE",
        ),
        ("my_prices.negative_for", "5s env LASTGOOD_REGIONS_MY_PRICES_NEGATIVE_FOR"),
    ] {
        assert_eq!(by_variable(&format!("regions.{key}")), expected, "{key}");
    }
}

#[test]
fn a_wrong_variable_of_a_region_stops_every_verb_that_reads_it() {
    let desk = Desk::with_file("[log]\nlevel = \"env:NOT_THERE\"\n");
    for verb in ["serve", "config", "check"] {
        let mut command = desk.command(&[verb, "--listen", "127.0.0.1:0"]);
        command.env("LASTGOOD_REGIONS_KLINE_FRESH_FOR", "1s").env("LASTGOOD_REGIONS_KLINES_KEEP_FOR", "1s");
        let output = command.output().expect("the program starts");
        assert_eq!(output.status.code(), Some(1), "{verb}");
        let text = format!("{}{}", stdout(&output), stderr(&output));
        for part in [
            "lastgood.toml:2",
            "\"NOT_THERE\" is not set",
            "env LASTGOOD_REGIONS_KLINE_FRESH_FOR",
            "did you mean `klines`?",
            "set LASTGOOD_REGIONS_KLINES_STALE_IF_ERROR",
        ] {
            assert!(text.contains(part), "{verb}: {part}: {text}");
        }
    }
}

#[test]
fn every_verb_warns_of_an_unknown_variable() {
    let desk = Desk::new();
    let with_variables = |arguments: &[&str]| {
        let mut command = desk.command(arguments);
        for name in ["SPOT_URL", "FUTURES_URL", "COIN_URL"] {
            command.env(format!("LASTGOOD_BINANCE_{name}"), "http://127.0.0.1:9");
        }
        command.env("LASTGOOD_FEAR_GREED_URL", "http://127.0.0.1:9").env("LASTGOOD_STORE_URL", "memory:");
        command.env("LASTGOOD_LISTEN", "127.0.0.1:0").env("LASTGOOD_BIN", "x");
        command.env("LASTGOOD_REGIONS_KLINES_FRSH_FOR", "1s").env("LASTGOOD_COLOUR", "red");
        command
    };
    let names_all = |text: &str| {
        assert!(text.contains("LASTGOOD_COLOUR"), "{text}");
        assert!(text.contains("did you mean `LASTGOOD_REGIONS_KLINES_FRESH_FOR`?"), "{text}");
        assert_eq!(text.matches("this variable means nothing to lastgood").count(), 2, "{text}");
    };
    let output = with_variables(&["config"]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0));
    names_all(&stderr(&output));
    names_all(&stdout(&with_variables(&["check"]).output().expect("the program starts")));
    let mut serve = with_variables(&["serve"]).stderr(Stdio::piped()).spawn().expect("the program starts");
    names_all(&announced(&mut serve));
    assert!(stop(&mut serve).success());
}
