//! Valid declarations, and the errors for invalid ones.

use super::api::{Api, Reply};
use crate::support::{Running, get, settings_of};

const GOOD: &str = r#"[databases.main]
url = "postgres://u:hunter2@h/d"

[buckets.stocks]
url = "gs://my-bucket"

[apis.quotes]
url = "https://www.example.com/v2"
headers = { Authorization = "env:TOKEN" }

[[routes]]
path = "/v1/stocks/{symbol}"
region = "stock_latest"
tags = ["stocks", "symbol:{symbol}"]
warm = [{ symbol = "AAPL" }]

[routes.parameters.symbol]
type = "text"
pattern = "[A-Z.]{1,10}"

[routes.parameters.days]
type = "integer"
min = 1
max = 365
default = 30

[[routes.sources]]
api = "quotes"
path = "/daily/{symbol}"
query = { days = "{days}" }

[regions.stock_latest]
"#;

fn mistakes(file: &str) -> String {
    match settings_of(file, &[("TOKEN", "hunter2")]) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn a_mistake_names_file_line_key_and_hint() {
    assert_eq!(mistakes(GOOD), "");
    for (from, to, expected) in [
        (
            "[databases.main]",
            "[database.main]",
            "lastgood.toml:1: `database`: unknown table\n    help: did you mean `databases`?",
        ),
        (
            "url = \"postgres://u:hunter2@h/d\"",
            "",
            "lastgood.toml:1: `databases.main`: `url` is missing\n    help: write for example url = \"env:DATABASE_URL\"",
        ),
        (
            "postgres://u:hunter2@h/d",
            "mysql://u:hunter2@h/d",
            "lastgood.toml:2: `databases.main.url`: this is no database URL\n    help: it begins with postgres:// or sqlite:, as in \"postgres://user:password@host/name\"",
        ),
        (
            "url = \"postgres://u:hunter2@h/d\"",
            "url = \"sqlite:x.db\"\nmax_conections = 8",
            "lastgood.toml:3: `databases.main.max_conections`: unknown key\n    help: did you mean `max_connections`?",
        ),
        (
            "url = \"postgres://u:hunter2@h/d\"",
            "url = \"sqlite:x.db\"\nstatement_timeout = 5",
            "lastgood.toml:3: `databases.main.statement_timeout`: \"5\" has no unit\n    help: did you mean \"5s\"?",
        ),
        (
            "gs://my-bucket",
            "https://my-bucket",
            "lastgood.toml:5: `buckets.stocks.url`: this is no bucket\n    help: write \"gs://name\", \"s3://name\" or \"file:./folder\"",
        ),
        (
            "url = \"gs://my-bucket\"",
            "url = \"s3://b\"\naccess_key = \"k\"",
            "lastgood.toml:6: `buckets.stocks.access_key`: `secret_key` is missing\n    help: set secret_key, too",
        ),
        (
            "https://www.example.com/v2",
            "www.example.com",
            "lastgood.toml:8: `apis.quotes.url`: \"www.example.com\" is not a URL\n    help: did you mean \"https://www.example.com\"?",
        ),
        (
            "https://www.example.com/v2",
            "https://u:hunter2@example.com",
            "lastgood.toml:8: `apis.quotes.url`: an upstream URL must not hold a user or password\n    help: write https://example.com alone",
        ),
        (
            "query = { days = \"{days}\" }",
            "expect = { refuse = \"(\" }",
            "lastgood.toml:30: `routes.sources.expect.refuse`: \"(\" is no pattern: ",
        ),
        (
            "query = { days = \"{days}\" }",
            "expect = { refuse = \"(Note)?\" }",
            "lastgood.toml:30: `routes.sources.expect.refuse`: \"(Note)?\" is found in every answer, so that all are refused\n    help: write a regular expression, for example \"Thank you for using|call frequency\"",
        ),
        (
            "env:TOKEN",
            "env:TOKN",
            "lastgood.toml:9: `apis.quotes.headers.Authorization`: the environment variable \"TOKN\" is not set\n    help: set it, or write the value in place of \"env:TOKN\"",
        ),
        (
            "Authorization =",
            "Host =",
            "lastgood.toml:9: `apis.quotes.headers.Host`: this header is set by the connection itself\n    help: leave it out",
        ),
        (
            "\"/v1/stocks/{symbol}\"",
            "\"/api/v3/{symbol}\"",
            "lastgood.toml:12: `routes.path`: \"/api/v3/{symbol}\" is not free for a route\n    help: /api/v3 belongs to the gateway or the exchange; choose another word",
        ),
        (
            "\"/v1/stocks/{symbol}\"",
            "\"/v1/stocks/{symbl}\"",
            "lastgood.toml:12: `routes.path`: {symbl} is no parameter of the route\n    help: did you mean `symbol`?",
        ),
        (
            "region = \"stock_latest\"",
            "region = \"stock_lates\"",
            "lastgood.toml:13: `routes.region`: there is no region \"stock_lates\" for routes\n    help: did you mean `stock_latest`?",
        ),
        (
            "region = \"stock_latest\"",
            "region = \"klines\"",
            "lastgood.toml:13: `routes.region`: there is no region \"klines\" for routes\n    help: this region is the exchange's; declare another in [regions.NAME]",
        ),
        (
            "region = \"stock_latest\"",
            "regoin = \"x\"",
            "lastgood.toml:13: `routes.regoin`: unknown key\n    help: did you mean `region`?",
        ),
        (
            "region = \"stock_latest\"",
            "stale_for = \"1m\"",
            "lastgood.toml:13: `routes.stale_for`: this key has another name now\n    help: write stale_while_revalidate in the route's region, [regions.NAME]",
        ),
        (
            "region = \"stock_latest\"",
            "keep_for = \"1m\"",
            "lastgood.toml:13: `routes.keep_for`: this key has another name now\n    help: write stale_if_error in the route's region, [regions.NAME]",
        ),
        (
            "region = \"stock_latest\"",
            "stale_if_error = \"1m\"",
            "lastgood.toml:13: `routes.stale_if_error`: this is a key of a region, not of a route\n    help: write stale_if_error in the route's region, [regions.NAME]",
        ),
        (
            "\"symbol:{symbol}\"",
            "\"symbol:{sybol}\"",
            "lastgood.toml:14: `routes.tags`: {sybol} is no parameter of the route\n    help: did you mean `symbol`?",
        ),
        (
            "warm = [{ symbol = \"AAPL\" }]",
            "warm = [{ symbol = \"aapl\" }]",
            "lastgood.toml:15: `routes.warm`: symbol is \"aapl\"\n    help: give 1 to 64 characters that match [A-Z.]{1,10}",
        ),
        (
            "warm = [{ symbol = \"AAPL\" }]",
            "warm_every = \"5m\"",
            "lastgood.toml:15: `routes.warm_every`: it does not say for which symbol\n    help: write warm = [{ symbol = \"…\" }]",
        ),
        (
            "type = \"text\"",
            "type = \"txt\"",
            "lastgood.toml:18: `routes.parameters.symbol.type`: \"txt\" is not one of text, integer, decimal, boolean, date, choice\n    help: did you mean `text`?",
        ),
        (
            "[A-Z.]{1,10}",
            "[A-Z.{1,10}",
            "lastgood.toml:19: `routes.parameters.symbol.pattern`: this is no regular expression",
        ),
        (
            "type = \"integer\"",
            "type = \"decimal\"\nmaximum = 3",
            "lastgood.toml:23: `routes.parameters.days.maximum`: unknown key\n    help: `routes.parameters.days` has type, min, max, description, optional, default",
        ),
        (
            "min = 1\n",
            "min = 1000\n",
            "lastgood.toml:23: `routes.parameters.days.min`: min is larger than max\n    help: exchange them",
        ),
        (
            "default = 30",
            "default = 0",
            "lastgood.toml:25: `routes.parameters.days.default`: the default \"0\" is no value of the parameter\n    help: give a whole number from 1 to 365",
        ),
        (
            "default = 30",
            "default = 30\noptional = true",
            "lastgood.toml:26: `routes.parameters.days.optional`: a parameter with a default is never absent\n    help: leave one of them out",
        ),
        (
            "api = \"quotes\"",
            "api = \"qoutes\"",
            "lastgood.toml:28: `routes.sources.api`: there is no api \"qoutes\"\n    help: did you mean `quotes`?",
        ),
        (
            "api = \"quotes\"",
            "api = \"quotes\"\ndatabase = \"main\"",
            "lastgood.toml:27: `routes.sources`: the source names database and api at once\n    help: name one of database, bucket and api",
        ),
        (
            "path = \"/daily/{symbol}\"",
            "path = \"//evil.example/{symbol}\"",
            "lastgood.toml:29: `routes.sources.path`: \"//evil.example/{symbol}\" is no path below the API's URL\n    help: write \"/quotes/{symbol}\"; what follows a ? goes into query = { … }",
        ),
        (
            "path = \"/daily/{symbol}\"",
            "path = \"/daily/{symbol}?x=1\"",
            "lastgood.toml:29: `routes.sources.path`: \"/daily/{symbol}?x=1\" is no path below the API's URL\n    help: write \"/quotes/{symbol}\"; what follows a ? goes into query = { … }",
        ),
        (
            "query = { days = \"{days}\" }",
            "query = { days = \"{day}\" }",
            "lastgood.toml:30: `routes.sources.query.days`: {day} is no parameter of the route\n    help: did you mean `days`?",
        ),
        (
            "query = { days = \"{days}\" }",
            "expect = { is = \"list\" }",
            "lastgood.toml:30: `routes.sources.expect.is`: \"list\" is not one of object, array",
        ),
        (
            "api = \"quotes\"\npath = \"/daily/{symbol}\"\nquery = { days = \"{days}\" }",
            "database = \"main\"",
            "lastgood.toml:27: `routes.sources`: `sql` is missing\n    help: write for example sql = \"SELECT … WHERE symbol = :symbol\"",
        ),
        (
            "api = \"quotes\"\npath = \"/daily/{symbol}\"\nquery = { days = \"{days}\" }",
            "database = \"main\"\nsql = \"SELECT 1\"\nrows = \"page\"",
            "lastgood.toml:27: `routes.sources`: `count` is missing\n    help: write for example count = \"SELECT count(*) FROM …\"",
        ),
        (
            "api = \"quotes\"\npath = \"/daily/{symbol}\"\nquery = { days = \"{days}\" }",
            "bucket = \"stocks\"\nobject = \"a\"\nselect = { take = \"some\" }",
            "lastgood.toml:30: `routes.sources.select.take`: \"some\" does not say which elements\n    help: write \"all\", \"last\", \"last 5\", \"last {days}\" or \"last {days} days by date\"",
        ),
        (
            "api = \"quotes\"\npath = \"/daily/{symbol}\"\nquery = { days = \"{days}\" }",
            "bucket = \"stocks\"\nobject = \"a\"\n[routes.sources.select]\ntake = \"last\"\n[routes.sources.select.fields]\nclose = \"close\"\nchange = \"close - previos.close\"",
            "lastgood.toml:34: `routes.sources.select.fields.change`: `previos` is not the row before\n    help: did you mean `previous`?",
        ),
        (
            "api = \"quotes\"\npath = \"/daily/{symbol}\"\nquery = { days = \"{days}\" }",
            "bucket = \"stocks\"\nobject = \"a\"\n[routes.sources.select]\ntake = \"last\"\n[routes.sources.select.fields]\nclose = \"close\"\nchange = \"roud(close, 2)\"",
            "lastgood.toml:34: `routes.sources.select.fields.change`: there is no function `roud`\n    help: did you mean `round`?",
        ),
        (
            "api = \"quotes\"\npath = \"/daily/{symbol}\"\nquery = { days = \"{days}\" }",
            "bucket = \"stocks\"\nobject = \"a\"\n[routes.sources.select]\ntake = \"last\"\n[routes.sources.select.fields]\nclose = \"close\"\nchange = \"close -\"",
            "lastgood.toml:34: `routes.sources.select.fields.change`: a field or a number is missing at the end\n    help: write for example \"close - previous.close\"",
        ),
        (
            "api = \"quotes\"\npath = \"/daily/{symbol}\"\nquery = { days = \"{days}\" }",
            "bucket = \"stocks\"\nobject = \"a\"\n[routes.sources.select]\ntake = \"last\"\n[routes.sources.select.fields]\nclose = \"close\"\nchange = \"close / 0\"",
            "lastgood.toml:34: `routes.sources.select.fields.change`: the expression divides by zero\n    help: divide by a field or by another number",
        ),
        (
            "api = \"quotes\"\npath = \"/daily/{symbol}\"\nquery = { days = \"{days}\" }",
            "bucket = \"stocks\"\nobject = \"a\"\n[routes.sources.select]\ntake = \"last\"\n[routes.sources.select.fields]\nclose = \"close\"\nchange = \"100\"",
            "lastgood.toml:34: `routes.sources.select.fields.change`: the expression names no field, so it would say the same of every row",
        ),
        (
            "api = \"quotes\"\npath = \"/daily/{symbol}\"\nquery = { days = \"{days}\" }",
            "bucket = \"stocks\"\nobject = \"a\"\n[routes.sources.select]\ntake = \"last\"\n[routes.sources.select.fields]\nclose = \"close\"\nchange = \"clsoe - previous.close\"",
            "lastgood.toml:34: `routes.sources.select.fields.change`: `clsoe` is but one letter away from `close`, which stands here too\n    help: did you mean `close`? If not, put the name between backticks: `clsoe`",
        ),
        (
            "api = \"quotes\"\npath = \"/daily/{symbol}\"\nquery = { days = \"{days}\" }",
            "bucket = \"stocks\"\nobject = \"a\"\n[routes.sources.select]\ntake = \"last\"\n[routes.sources.select.fields]\nclose = \"close\"\nchange = 100",
            "lastgood.toml:34: `routes.sources.select.fields.change`: expected a string, found the integer 100\n    help: write \"close - previous.close\"",
        ),
        (
            "api = \"quotes\"\npath = \"/daily/{symbol}\"\nquery = { days = \"{days}\" }",
            "bucket = \"stocks\"\nobject = \"a\"\nselect = { fields = {} }",
            "lastgood.toml:30: `routes.sources.select.fields`: there are 0 fields\n    help: name 1 to 32",
        ),
        (
            "api = \"quotes\"\npath = \"/daily/{symbol}\"\nquery = { days = \"{days}\" }",
            "bucket = \"stocks\"\nobject = \"a\"\nselect = { feilds = { a = \"b\" } }",
            "lastgood.toml:30: `routes.sources.select.feilds`: unknown key\n    help: did you mean `fields`?",
        ),
        (
            "api = \"quotes\"\npath = \"/daily/{symbol}\"\nquery = { days = \"{days}\" }",
            "bucket = \"stocks\"\nlist = \"a/*.json\"\nselect = { take = \"last\" }",
            "lastgood.toml:30: `routes.sources.select`: a list of names has no parts to select\n    help: leave it out",
        ),
        (
            "api = \"quotes\"\npath = \"/daily/{symbol}\"\nquery = { days = \"{days}\" }",
            "api = \"quotes\"\npath = \"/daily\"\nselect = { keep = [\"a\"] }",
            "lastgood.toml:30: `routes.sources.select`: `keep` needs a field to keep others next to; name one, or take the whole",
        ),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let said = mistakes(&GOOD.replacen(from, to, 1));
        assert!(said.starts_with(expected), "{to}\nsaid:     {said}\nexpected: {expected}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn two_routes_that_match_the_same_are_refused() {
    let route = |path: &str| {
        format!(
            "[[routes]]\npath = \"{path}\"\nparameters.x = {{ type = \"text\" }}\nsources = [{{ api = \"quotes\", path = \"/\" }}]\n"
        )
    };
    let said = mistakes(&format!("{GOOD}{}", route("/v1/stocks/{x}")));
    assert!(said.contains("/v1/stocks/{x} and /v1/stocks/{symbol} match the same paths"), "{said}");
    assert!(said.starts_with("lastgood.toml:34: `routes.path`"), "{said}");
    let special = route("/v1/stocks/top").replace("parameters.x = { type = \"text\" }\n", "");
    assert_eq!(mistakes(&format!("{GOOD}{special}{}", route("/v1/stocks/{x}/news"))), "");
}

#[tokio::test]
async fn a_gateway_starts_without_its_sources_and_says_which_is_missing() {
    let text = GOOD.replace("https://www.example.com/v2", "http://127.0.0.1:9").replace("env:TOKEN", "s3cret");
    let text = text.replace("warm = [{ symbol = \"AAPL\" }]", "");
    let gateway = Running::of_file(&text).await;
    let got = get(gateway.url("/v1/stocks/AAPL")).await;
    assert_eq!((got.status, got.cache()), (503, "ERROR"), "{}", got.text());
    let text = got.text();
    assert!(text.contains("api quotes cannot be reached") && !text.contains("s3cret") && !text.contains("127.0.0.1"));
}

async fn lastgood(verb: &[&str], file: &str) -> (Option<i32>, String) {
    let desk = tempfile::tempdir().unwrap();
    std::fs::write(desk.path().join("lastgood.toml"), file).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lastgood"));
    command.args(verb).current_dir(desk.path()).env_clear().env("HOME", desk.path()).env("TOKEN", "hunter2");
    let output = command.kill_on_drop(true).output().await.unwrap();
    (
        output.status.code(),
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
    )
}

#[tokio::test]
async fn check_asks_each_source_and_config_shows_them_without_secrets() {
    let api = Api::start().await;
    api.answers(Reply::json(serde_json::json!({ "data": [] })));
    let text = format!(
        "[apis.good]\nurl = \"{}\"\nheaders = {{ Authorization = \"env:TOKEN\" }}\n[apis.gone]\nurl = \"http://127.0.0.1:9\"\n\
         [[routes]]\npath = \"/v1/things\"\nsources = [{{ api = \"good\", path = \"/a\" }}, {{ api = \"gone\", path = \"/b\" }}, \
         {{ api = \"good\", path = \"/a\", expect = {{ fields = [\"rows\"] }} }}]\n[binance]\nspot_url = \"http://127.0.0.1:9\"\n\
         futures_url = \"http://127.0.0.1:9\"\ncoin_url = \"http://127.0.0.1:9\"\n",
        api.url()
    );
    let (code, said) = lastgood(&["check", "--json", "--listen", "127.0.0.1:0", "--store", "memory:"], &text).await;
    assert_eq!(code, Some(1), "{said}");
    let report: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|why| panic!("{why}: {said}"));
    let sources = report["checks"].as_array().unwrap().iter().filter(|check| check["what"] == "source");
    let mut sources: Vec<String> = sources.map(|check| format!("{} {}", check["verdict"], check["detail"])).collect();
    sources.sort();
    assert_eq!(
        sources,
        [
            "\"failed\" \"api gone cannot be reached: the connection is refused\"",
            "\"failed\" \"the answer of api good lacks rows\"",
            "\"ok\" \"answers\""
        ]
    );
    assert_eq!(api.last_header("authorization").as_deref(), Some("hunter2"));
    let (code, said) = lastgood(&["config"], &text).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("apis.good") && said.contains("routes /v1/things") && said.contains("authorization ***"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn what_stands_in_a_path_alone_is_a_text_and_a_route_may_say_how_long_it_is_fresh() {
    let api = Api::start().await;
    api.answers(Reply::json(serde_json::json!({ "data": [] })));
    let text = format!(
        "[apis.a]\nurl = \"{}\"\n[regions.analytics]\njitter = 0\n[[routes]]\npath = \"/v1/notes/{{name}}\"\nregion = \"analytics\"\n\
         fresh_for = \"7s\"\nsources = [{{ api = \"a\", path = \"/notes/{{name}}\" }}]\n",
        api.url()
    );
    let gateway = Running::of_file(&text).await;
    assert_eq!(get(gateway.url("/v1/notes/first")).await.cache(), "MISS");
    let hit = get(gateway.url("/v1/notes/first")).await;
    let ttl = hit.header("cache-status").split("ttl=").nth(1).and_then(|rest| rest.split(';').next());
    let ttl: i64 = ttl.and_then(|ttl| ttl.parse().ok()).unwrap_or_else(|| panic!("{:?}", hit.headers));
    assert!(hit.cache() == "HIT" && (4..=7).contains(&ttl), "{ttl}");
    assert_eq!(api.asked(), ["/notes/first"]);
    assert_eq!(get(gateway.url(&format!("/v1/notes/{}", "x".repeat(65)))).await.status, 400);
}
