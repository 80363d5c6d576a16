//! Holds declared routes, over a source of each kind, to what they promise of any request. For the fuzz target, which is
//! outside this crate.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, StatusCode, Uri};
use http_body_util::BodyExt as _;
use lastgood::{Cache, Clock};
use lastgood_routes::parameter::Kind;
use lastgood_routes::path::Segment;
use lastgood_routes::spec::Question;
use lastgood_routes::testing::Unsent;
use lastgood_routes::{Argument, Arguments, Connections, Route, Routes};
use lastgood_settings::{ConfigFile, Sources, resolve};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::answer;
use super::known::KnownTargets;
use crate::places::Places;
use crate::query::fields;

/// The longest part of a refused value, or of an unknown name, that is shown.
const SHOWN: usize = 64;
/// How often a path is decoded to see what servers may make of it.
const DECODINGS: usize = 6;
const BASE: &str = "http://127.0.0.1:9/base";

/// Routes over an API, a database and a folder. The API is never asked.
const ROUTES: &str = r#"
    [apis.a]
    url = "http://127.0.0.1:9/base"
    [databases.d]
    url = "sqlite:FOLDER/empty.db"
    [buckets.b]
    url = "file:FOLDER/bucket"

    [[routes]]
    path = "/v1/passed/{name}/{day}"
    tags = ["of:{name}", "{note}"]
    parameters.name = { type = "text", max_length = 40 }
    parameters.day = { type = "date", min = "2000-01-01", max = "2030-01-01" }
    parameters.note = { type = "text", max_length = 40, default = "x" }
    parameters.side = { type = "choice", choices = ["gain", "Loss"], optional = true }
    sources = [{ api = "a", path = "/below/{name}/{day}.json", query = { note = "{note}", both = "{side}-{name}" } }]

    [[routes]]
    path = "/v1/rows/{word}"
    parameters.word = { type = "text", max_length = 12, case = "upper" }
    parameters.code = { type = "text", max_length = 9, pattern = "[a-z.]{1,9}|币.*", optional = true }
    parameters.whole = { type = "integer", min = -5, max = 365, default = 0 }
    parameters.any = { type = "integer", optional = true }
    parameters.price = { type = "decimal", min = 0, max = 100, default = 1.5 }
    parameters.flag = { type = "boolean", default = true }
    parameters.side = { type = "choice", choices = ["gain", "Loss"], default = "gain" }
    sources = [{ database = "d", rows = "row", sql = """
        SELECT :word AS word, :code AS code, :whole AS whole, :any AS "any", CAST(:price AS REAL) AS price, :flag AS flag,
        :side AS side, (SELECT count(*) FROM sqlite_master) AS tables""" }]

    [[routes]]
    path = "/v1/files/{name}"
    hash_parameters = true
    parameters.name = { type = "text", max_length = 60 }
    sources = [{ bucket = "b", object = "daily/{name}.json" }]
"#;

/// Routes over a source of each kind.
pub struct HeldRoutes {
    runtime: Runtime,
    routes: Vec<Arc<Route>>,
    api: Unsent,
    places: Places,
    known: KnownTargets,
}

impl HeldRoutes {
    /// Makes them, with their database and their files in a folder that is there and empty.
    ///
    /// # Panics
    ///
    /// If they cannot be made.
    pub fn new(folder: &Path) -> HeldRoutes {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        std::fs::create_dir_all(folder.join("bucket/daily/deeper")).expect("a folder");
        std::fs::write(folder.join("empty.db"), b"").expect("a database");
        for name in ["BTC", "a b", "50%", "x;y", "deeper/BTC"] {
            let file = folder.join(format!("bucket/daily/{name}.json"));
            std::fs::write(file, json!({ "name": name }).to_string()).expect("a file");
        }
        for outside in ["bucket/secret.json", "outside.json"] {
            std::fs::write(folder.join(outside), json!({ "name": "no request leads here" }).to_string())
                .expect("a file");
        }
        let text = ROUTES.replace("FOLDER", &folder.display().to_string());
        let file = ConfigFile { path: "lastgood.toml".to_owned(), text };
        let env = |_: &str| None;
        let sources = Sources { file: Some(file), env: &env, env_names: Vec::new(), flags: Vec::new() };
        let settings = resolve(&sources).expect("sound settings").settings;
        let within = runtime.enter();
        let cache = Cache::builder().build().expect("a cache");
        let region = |(name, policy): (String, _)| (name.clone(), cache.region(&name, policy).expect("a region"));
        let regions = settings.application_regions().into_iter().map(region).collect();
        let (declared, connect) = (&settings.declared, settings.connect_options());
        let connections = Connections::open(&declared.sources, &connect, &Clock::system()).expect("connections");
        let routes = Routes::new(&declared.routes, &connections, &regions).expect("routes");
        let routes: Vec<_> = routes.iter().cloned().collect();
        let Question::Request(request) = &routes[0].spec().sources[0].question else {
            panic!("the first route is over the API")
        };
        let api = Unsent::new(&declared.sources.apis["a"], request);
        drop(within);
        HeldRoutes { runtime, routes, api, places: Places::new(8, 8), known: KnownTargets::default() }
    }

    /// Asks a route, which the first byte chooses; the others follow on the fixed part of its path.
    ///
    /// # Panics
    ///
    /// If the route breaks a promise.
    pub fn hold(&self, data: &[u8]) {
        let Some((choice, rest)) = data.split_first() else { return };
        let route = &self.routes[usize::from(*choice) % self.routes.len()];
        let Ok(rest) = std::str::from_utf8(rest) else { return };
        let Some(Segment::Literal(second)) = route.spec().path.segments().get(1) else { return };
        // Text that is no URI, or another path, does not come to the route.
        let Ok(uri) = format!("/v1/{second}/{rest}").parse::<Uri>() else { return };
        if uri.path().split('/').count() != route.spec().path.segments().len() + 1 {
            return;
        }
        let query = uri.query().unwrap_or_default();
        match route.arguments(uri.path(), query) {
            Ok(arguments) => {
                hold_arguments(route, &arguments);
                match *choice as usize % self.routes.len() {
                    0 => self.hold_api(&arguments),
                    1 => self.hold_rows(route, &uri, &arguments),
                    _ => self.hold_files(route, &uri, &arguments),
                }
            }
            Err(refusal) => {
                let declared = route.spec().parameters.iter().map(|parameter| parameter.name.as_str());
                let mut named = declared.chain(fields(query).map(|(name, _)| name));
                let is_shown = |name: &str| name.chars().take(SHOWN).eq(refusal.parameter.chars());
                assert!(named.any(is_shown), "{refusal:?} names no parameter of {uri}");
                assert!(refusal.value.chars().count() <= SHOWN && !refusal.allowed.is_empty(), "{refusal:?}");
                let (status, read) = self.answer(route, &uri);
                assert_eq!((status, &read["parameter"]), (StatusCode::BAD_REQUEST, &json!(refusal.parameter)), "{uri}");
                assert_eq!([&read["value"], &read["allowed"]], [&refusal.value, &refusal.allowed], "{uri}");
            }
        }
    }

    /// What the route answers, from its source.
    fn answer(&self, route: &Arc<Route>, uri: &Uri) -> (StatusCode, Value) {
        self.runtime.block_on(async {
            let response = answer(route, &self.places, &self.known, uri, &HeaderMap::new()).await;
            let status = response.status();
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            (status, serde_json::from_slice(&body).expect("JSON"))
        })
    }

    /// The URL of the API stays in its place, and says what was asked.
    fn hold_api(&self, arguments: &Arguments) {
        let [name, day, note, side] =
            ["name", "day", "note", "side"].map(|name| arguments.get(name).expect("declared"));
        let Some(url) = self.api.url(arguments) else {
            let is_plain = name.to_string().bytes().all(|byte| byte.is_ascii_alphanumeric());
            return assert!(!is_plain, "{name:?} is refused");
        };
        let path = url.as_str().strip_prefix(BASE).expect("below the base").split('?').next().expect("a path");
        assert!(keeps_its_shape(path.strip_prefix("/below/").expect("below the declared folder")), "{url}");
        let parts: Vec<String> = path.split('/').skip(1).map(decoded).collect();
        assert_eq!(parts, ["below".to_owned(), name.to_string(), format!("{day}.json")], "{url}");
        let given: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let expected = [("note", note.to_string()), ("both", format!("{side}-{name}"))];
        assert_eq!(given, expected.map(|(name, value)| (name.to_owned(), value)), "{url}");
        assert!(url.fragment().is_none() && url.username().is_empty(), "{url}");
    }

    /// The database gives each argument back as it is: none became part of the statement.
    fn hold_rows(&self, route: &Arc<Route>, uri: &Uri, arguments: &Arguments) {
        let (status, row) = self.answer(route, uri);
        let mut expected = json!({ "tables": 0 });
        for (name, value) in &arguments.0 {
            expected[name] = match value {
                Argument::Text(text) => json!(text),
                Argument::Integer(number) => json!(number),
                Argument::Decimal(number) => json!(number.to_string().parse::<f64>().expect("a number")),
                // SQLite has none.
                Argument::Boolean(truth) => json!(i64::from(*truth)),
                Argument::Date(day) => json!(day.to_string()),
                Argument::Absent => Value::Null,
            };
        }
        assert_eq!((status, row), (StatusCode::OK, expected), "{uri}");
    }

    /// The folder gives the file of that name, or none.
    fn hold_files(&self, route: &Arc<Route>, uri: &Uri, arguments: &Arguments) {
        let name = arguments.get("name").expect("declared").to_string();
        match self.answer(route, uri) {
            (StatusCode::OK, file) => assert_eq!(file, json!({ "name": name }), "{uri}"),
            (status, _) => assert_eq!(status, StatusCode::NOT_FOUND, "{uri}"),
        }
    }
}

/// The arguments are within their bounds, are the same when they are asked for in the form that they have, and their
/// key differs from all others.
fn hold_arguments(route: &Arc<Route>, arguments: &Arguments) {
    let encode = |value: &Argument| utf8_percent_encode(&value.to_string(), NON_ALPHANUMERIC).to_string();
    let (mut path, mut query) = (String::new(), Vec::new());
    for segment in route.spec().path.segments() {
        path += "/";
        path += &match segment {
            Segment::Literal(text) => text.clone(),
            Segment::Parameter(name) => encode(arguments.get(name).expect("declared")),
        };
    }
    for (parameter, (name, value)) in route.spec().parameters.iter().zip(&arguments.0) {
        assert!(is_within(&parameter.kind, value) || (parameter.optional && *value == Argument::Absent), "{value:?}");
        if !route.spec().path.parameters().any(|known| known == name) && *value != Argument::Absent {
            query.push(format!("{name}={}", encode(value)));
        }
    }
    assert_eq!(route.arguments(&path, &query.join("&")).as_ref(), Ok(arguments), "the form is another question");
    if route.spec().hash_parameters {
        return;
    }
    let key = route.key(arguments);
    let read: Vec<(String, String)> = match key.split_once('?').expect("a key of a route").1 {
        hashed if hashed.starts_with("sha256=") => return,
        plain => plain
            .split('&')
            .filter_map(|field| field.split_once('='))
            .map(|(name, value)| (name.to_owned(), decoded(value)))
            .collect(),
    };
    let given = arguments.0.iter().filter(|(_, value)| *value != Argument::Absent);
    let given: Vec<(String, String)> = given.map(|(name, value)| (name.clone(), value.to_string())).collect();
    assert_eq!(read, given, "{key} is the key of something else");
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().expect("text").into_owned()
}

/// Whether the segments of a path stay what they are to every server, however often it decodes them before it looks.
fn keeps_its_shape(path: &str) -> bool {
    let (count, mut form) = (path.split('/').count(), path.to_owned());
    for _ in 0..DECODINGS {
        let segments: Vec<&str> = form.split(['/', '\\', '\u{2215}', '\u{2044}', '\u{ff0f}']).collect();
        let are_plain = segments.iter().all(|part| !part.is_empty() && *part != "." && !part.contains(".."));
        let ends = |c: char| matches!(c, '?' | '#' | ';') || c.is_control();
        if !are_plain || segments.len() != count || form.contains(ends) {
            return false;
        }
        // Bytes that decode to no text may be a slash to a server that reads other bytes.
        let Ok(next) = percent_decode_str(&form).decode_utf8().map(Cow::into_owned) else { return false };
        form = next;
    }
    true
}

fn is_within(kind: &Kind, value: &Argument) -> bool {
    match (kind, value) {
        (Kind::Text { max_length, .. }, Argument::Text(text)) => {
            (1..=*max_length).contains(&text.chars().count()) && !text.chars().any(char::is_control)
        }
        (Kind::Integer { min, max }, Argument::Integer(number)) => (min..=max).contains(&number),
        (Kind::Decimal { min, max }, Argument::Decimal(number)) => {
            min.is_none_or(|min| min <= *number) && max.is_none_or(|max| *number <= max)
        }
        (Kind::Boolean, Argument::Boolean(_)) => true,
        (Kind::Date { min, max }, Argument::Date(day)) => {
            min.is_none_or(|min| min <= *day) && max.is_none_or(|max| *day <= max)
        }
        (Kind::Choice(choices), Argument::Text(text)) => choices.contains(text),
        _ => false,
    }
}
