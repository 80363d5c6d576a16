//! What the pages under `docs/` name exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lastgood::{Keep, Policy, Reason};
use lastgood_market::{Preset, RegionName};
use lastgood_settings::{KEYS, REGION_KEYS};

use crate::support::{Exchange, Running, get};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// What stands between backticks.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The words in `text` that begin like this, as far as they are made of `a-z`, `A-Z`, digits and `_`.
fn words_beginning<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let parts = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    parts.filter(|word| word.starts_with(prefix) && word.len() > prefix.len()).collect()
}

#[tokio::test]
async fn the_metrics_that_the_page_on_troubles_names_are_exported() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("store", "embedded:")]).await;
    get(gateway.url("/api/v3/ticker/price?symbol=BTCUSDT")).await;
    let exported = get(gateway.url("/metrics")).await;
    let page = page("troubleshooting.md");
    let named = words_beginning(&page, "lastgood_");
    assert!(named.len() > 5, "{named:?}");
    for name in named {
        // A counter's name ends in its samples alone.
        let described = name.trim_end_matches("_total");
        assert!(exported.text().contains(&format!("# TYPE {described} ")), "{name}");
    }
}

#[test]
fn the_settings_variables_and_commands_that_the_page_on_troubles_names_are_there() {
    let page = page("troubleshooting.md");
    let known: BTreeSet<&str> = KEYS.iter().flat_map(|key| key.env.iter().copied()).collect();
    for variable in words_beginning(&page, "LASTGOOD_") {
        let is_of_region = variable.starts_with("LASTGOOD_REGIONS_");
        assert!(is_of_region || known.contains(variable), "{variable}");
    }
    let region_keys: BTreeSet<&str> = REGION_KEYS.iter().map(|key| key.name).collect();
    for key in ["stale_if_error", "stale_while_revalidate", "soft_timeout"] {
        assert!(region_keys.contains(key) && page.contains(key), "{key}");
    }
    for key in ["memory.limit", "log.stats_every", "store_budget", "warm.markets", "preset"] {
        assert!(KEYS.iter().any(|known| known.name == key) && page.contains(key), "{key}");
    }
    let verbs: BTreeSet<&str> =
        page.split("lastgood ").skip(1).filter_map(|rest| rest.split([' ', '`', '\n']).next()).collect();
    let verbs =
        ["check", "stats", "explain", "keys", "config", "warm", "expire", "remove"].into_iter().inspect(|verb| {
            assert!(verbs.contains(verb), "{verb} is not on the page");
        });
    for verb in verbs {
        let done = Command::new(env!("CARGO_BIN_EXE_lastgood")).args([verb, "--help"]).output().unwrap();
        assert!(done.status.success(), "{verb}");
    }
}

#[test]
fn the_reasons_that_the_page_on_troubles_explains_are_those_that_answers_give() {
    let page = page("troubleshooting.md");
    let table = page.split("| `detail=last-good:` |").nth(1).unwrap().split("\n\n").next().unwrap();
    let first_column = table.lines().skip(2).filter_map(|row| row.split('|').nth(1));
    let explained: Vec<&str> = first_column.flat_map(code).collect();
    assert!(explained.len() >= 10, "{explained:?}");
    for reason in explained {
        assert!(Reason::ALL.iter().any(|known| known.as_str() == reason), "{reason}");
    }
}

#[test]
fn the_page_on_operating_names_the_alerts_that_there_are() {
    let alerts = std::fs::read_to_string(root().join("ops/prometheus/alerts.yml")).unwrap();
    let there: BTreeSet<&str> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert:")).map(str::trim).collect();
    assert!(there.len() >= 10, "{there:?}");
    let page = page("operating.md");
    let table = page.split("| failure |").nth(1).unwrap().split("\n\n").next().unwrap();
    assert_eq!(words_beginning(table, "Lastgood"), there);
    assert!(words_beginning(&page, "Lastgood").is_subset(&there), "{:?}", words_beginning(&page, "Lastgood"));
}

/// The rows of the tables of a page, and whether each test that they name is in `folders`.
fn rows_of_tests(page: &str, folders: &[&str], least: usize) -> Vec<String> {
    let mut sources = String::new();
    for folder in folders {
        crate::examples::test_sources(&root().join(folder), &mut sources);
    }
    let page = std::fs::read_to_string(root().join(page)).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |")).collect();
    let table = rows.join("\n");
    let named: BTreeSet<&str> = code(&table).into_iter().filter(|word| word.matches('_').count() > 2).collect();
    assert!(named.len() > least, "{}", named.len());
    for test in named {
        let is_there = sources.contains(&format!("fn {test}(")) || sources.contains(&format!("{test}: \""));
        assert!(is_there, "{test}");
    }
    rows.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_test_that_the_page_on_reliability_names_is_there() {
    let folders = ["crates/lastgood-gateway", "crates/lastgood-market", "crates/lastgood", "soak"];
    let rows = rows_of_tests("RELIABILITY.md", &folders, 70);
    let numbers = rows.iter().filter_map(|row| row.split('|').nth(1)?.trim().parse::<usize>().ok());
    assert!(numbers.eq(1..=54), "each failure has its row, in order");
}

#[test]
fn every_test_that_the_page_on_security_names_is_there() {
    let crates = ["lastgood-gateway", "lastgood-routes", "lastgood-settings", "lastgood-market", "lastgood"];
    let folders = crates.map(|name| format!("crates/{name}"));
    let rows = rows_of_tests("SECURITY.md", &folders.each_ref().map(String::as_str), 70);
    let promises = rows.iter().skip_while(|row| !row.starts_with("| it says how it is |"));
    let without = promises.filter(|row| !row.ends_with("| shown by |") && !row.contains('`'));
    let without: Vec<&String> = without.collect();
    assert!(without.is_empty(), "no test shows {without:?}");
}

/// How old an answer may be, as the page says it: a row a region.
fn freshness() -> String {
    let time = |span: Duration| match span {
        Duration::ZERO => "–".to_owned(),
        span if span.as_millis() % 1_000 > 0 => format!("{} ms", span.as_millis()),
        span if span.as_secs() % 3_600 == 0 => format!("{} h", span.as_secs() / 3_600),
        span if span.as_secs() % 60 == 0 => format!("{} min", span.as_secs() / 60),
        span => format!("{} s", span.as_secs()),
    };
    let row = |region: RegionName| {
        let [trading, dashboard] = [Preset::Trading, Preset::Dashboard].map(|preset| region.policy(preset));
        let of = |policy: &Policy| format!("{} + {}", time(policy.fresh_for), time(policy.stale_while_revalidate));
        let kept = match trading.stale_if_error {
            Keep::Forever => "for ever".to_owned(),
            Keep::For(span) => time(span),
        };
        format!("| `{region}` | {} | {} | {kept} |\n", of(&trading), of(&dashboard))
    };
    RegionName::ALL.into_iter().map(row).collect()
}

/// `LASTGOOD_WRITE=1` writes the table again.
#[test]
fn the_page_on_freshness_says_how_old_an_answer_may_be_by_the_code() {
    let path = root().join("docs/freshness.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once("|---|---|---|---|\n").unwrap();
    let end = rest.find("\n\n").map_or(rest.len(), |at| at + 1);
    let wanted = freshness();
    if std::env::var_os("LASTGOOD_WRITE").is_some() {
        std::fs::write(&path, format!("{head}|---|---|---|---|\n{wanted}{}", &rest[end..])).unwrap();
    } else {
        assert_eq!(&rest[..end], wanted);
    }
}

/// The scripts of the clients that the tests run set what the page says, part by part.
#[test]
fn the_settings_of_clients_on_the_page_are_those_that_the_tests_of_clients_use() {
    let page = page("clients.md").replace('\'', "\"");
    let script = |name: &str| std::fs::read_to_string(root().join("tests/clients").join(name)).unwrap();
    let attributes = |text: &str| -> BTreeSet<String> {
        let set = text.split("Client.").skip(1).filter_map(|rest| rest.split_once(" = "));
        set.map(|(name, value)| {
            let path = value.lines().next().unwrap().trim_matches(['"', 'f', '{']);
            let path = path.strip_prefix("http://127.0.0.1:8090").or_else(|| path.strip_prefix("base}")).unwrap();
            format!("{name} {path}")
        })
        .collect()
    };
    let set = attributes(&script("python_binance_client.py"));
    assert_eq!((set.len(), &set), (5, &attributes(&page)));
    for (script_of, settings) in [
        ("ccxt_client.py", &["for name, url in api.items():", r#"re.sub(r"^https://[^/]+", "#][..]),
        ("binance_connector_client.py", &["base_url="]),
        ("binance_sdk_spot_client.py", &["base_path="]),
        ("connector_client.mjs", &["new Spot(KEY, SECRET, { baseURL: "]),
        ("binance_npm_client.mjs", &["baseUrl: "]),
        ("api_node_client.mjs", &["httpBase", "httpFutures", "httpDelivery"]),
        ("node_binance_books.mjs", &["urls: { base: "]),
    ] {
        for setting in settings {
            assert!(page.contains(setting) && script(script_of).contains(setting), "{script_of}: {setting}");
        }
    }
}

/// Each link of the pages leads to a file of the repository.
#[test]
fn no_link_of_a_page_leads_nowhere() {
    let pages = std::fs::read_dir(root().join("docs")).unwrap().chain(std::fs::read_dir(root()).unwrap());
    let pages = pages.map(|page| page.unwrap().path()).filter(|path| path.extension().is_some_and(|ext| ext == "md"));
    let mut links = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !link.is_empty() && !link.contains("://") {
                links += 1;
                let target = page.parent().unwrap().join(link);
                assert!(target.exists(), "{} links to {link}", page.display());
            }
        }
    }
    assert!(links > 40, "{links}");
}
