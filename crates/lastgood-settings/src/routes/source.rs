//! `[[routes.sources]]`: what a route asks, and whom.

use std::collections::BTreeMap;

use lastgood_routes::spec::{
    Count, Expect, Expression, Is, ObjectSpec, QueryValue, Question, RequestSpec, Selector, Shape, SourceSpec,
    SourceSpecs, StatementSpec, Take, Want, slip,
};
use lastgood_routes::suggest::did_you_mean;
use lastgood_routes::template::Template;
use regex_lite::Regex;
use secrecy::SecretString;

use super::template::template;
use crate::fields::{Fields, text};
use crate::problem::Wrong;
use crate::value::{self, Raw};

const KINDS: [&str; 3] = ["database", "bucket", "api"];

pub(super) fn source(mut fields: Fields<'_>, declared: &SourceSpecs, names: &[&str]) -> Option<SourceSpec> {
    let given: Vec<&str> = KINDS.into_iter().filter(|kind| fields.has(kind)).collect();
    let question = match given.as_slice() {
        ["database"] => statement(&mut fields, declared).map(Question::Statement),
        ["bucket"] => object(&mut fields, declared, names).map(Question::Object),
        ["api"] => request(&mut fields, declared, names).map(Question::Request),
        _ => {
            let wrong = match given.is_empty() {
                true => Wrong::new("the source names neither database nor bucket nor api"),
                false => Wrong::new(format!("the source names {} at once", given.join(" and "))),
            };
            fields.report.refuse(&fields.origin, &fields.path, wrong.hint("name one of database, bucket and api"));
            return None;
        }
    };
    let next_on_missing = fields.read("next_on_missing", value::boolean).unwrap_or(false);
    fields.finish();
    Some(SourceSpec { question: question?, next_on_missing })
}

/// The name of something declared.
fn one_of<T>(known: &BTreeMap<String, T>, kind: &'static str) -> impl Fn(&Raw) -> Result<String, Wrong> {
    move |raw| {
        let name = raw.as_text("main")?;
        if known.contains_key(name) {
            return Ok(name.to_owned());
        }
        let hint = did_you_mean(name, known.keys().map(String::as_str));
        Err(Wrong::new(format!("there is no {kind} {name:?}"))
            .hint(hint.unwrap_or_else(|| format!("declare it in [{kind}s.{name}]"))))
    }
}

/// What the rows of a statement become.
#[derive(Clone, Copy)]
enum Rows {
    Row,
    List,
    Page,
}

fn statement(fields: &mut Fields<'_>, declared: &SourceSpecs) -> Option<StatementSpec> {
    let database = fields.read("database", one_of(&declared.databases, "database"));
    let sql = fields.required("sql", "\"SELECT … WHERE symbol = :symbol\"", text("SELECT … WHERE symbol = :symbol"));
    let shapes = [("list", Rows::List), ("row", Rows::Row), ("page", Rows::Page)];
    let rows = fields.read("rows", |raw| value::one_of(raw, &shapes)).unwrap_or(Rows::List);
    let counting = text("SELECT count(*) FROM …");
    if !matches!(rows, Rows::Page) && fields.read("count", &counting).is_some() {
        let wrong = Wrong::new("only a page is counted");
        fields.refuse("count", wrong.hint("write rows = \"page\", or leave it out"));
    }
    let shape = match rows {
        Rows::Row => Some(Shape::Row),
        Rows::List => Some(Shape::List),
        Rows::Page => {
            fields.required("count", "\"SELECT count(*) FROM …\"", counting).map(|count_sql| Shape::Page { count_sql })
        }
    };
    Some(StatementSpec::new(database?, sql?, shape?))
}

fn object(fields: &mut Fields<'_>, declared: &SourceSpecs, names: &[&str]) -> Option<ObjectSpec> {
    let bucket = fields.read("bucket", one_of(&declared.buckets, "bucket"));
    let list = fields.has("list");
    if list && fields.has("object") {
        fields.refuse("list", Wrong::new("a source has either object or list").hint("leave one of them out"));
    }
    let key = match list {
        true => fields.read("list", |raw| template(raw.as_text("stock-data/daily/*.json")?, names)),
        false => fields
            .required("object", "\"daily/{symbol}.json\"", |raw| template(&text("daily/{symbol}.json")(raw)?, names)),
    };
    if list && fields.has("select") {
        fields.refuse("select", Wrong::new("a list of names has no parts to select").hint("leave it out"));
    }
    let select = fields.table("select").map(|table| select(table, names)).unwrap_or_default();
    let want = if list { Want::Names } else { Want::Document(select) };
    Some(ObjectSpec::new(bucket?, key?.to_string(), want))
}

fn select(mut table: Fields<'_>, names: &[&str]) -> Selector {
    let selector = Selector {
        path: table.read("path", |raw| dotted(raw.as_text("data_points")?)).unwrap_or_default(),
        take: table.read("take", |raw| takes(raw, names)).unwrap_or(Take::All),
        keep: table.read("keep", list_of_texts).unwrap_or_default(),
        fields: table.table("fields").map(computed).unwrap_or_default(),
    };
    let known: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    if let Err(why) = selector.validate(&known) {
        table.report.refuse(&table.origin, &table.path, Wrong::new(why.to_string()));
    }
    table.finish();
    selector
}

/// The most fields that an item becomes.
const MOST_FIELDS: usize = 32;

/// Fields of an item, each with what it is computed from.
fn computed(table: Fields<'_>) -> Vec<(String, Expression)> {
    let (report, origin, path) = (table.report, table.origin.clone(), table.path.clone());
    let given = table.values();
    if given.is_empty() || given.len() > MOST_FIELDS {
        let wrong = Wrong::new(format!("there are {} fields", given.len()));
        report.refuse(&origin, &path, wrong.hint(format!("name 1 to {MOST_FIELDS}")));
    }
    let (mut fields, mut places) = (Vec::new(), Vec::new());
    for (name, origin, path, raw) in given {
        let text = text("close - previous.close")(&raw);
        let read =
            text.and_then(|text| Expression::parse(&text).map_err(|wrong| Wrong::new(wrong.what).hint(wrong.hint)));
        match read {
            Ok(expression) => {
                fields.push((name, expression));
                places.push((origin, path));
            }
            Err(wrong) => report.refuse(&origin, &path, wrong),
        }
    }
    let expressions: Vec<&Expression> = fields.iter().map(|(_, expression)| expression).collect();
    if let Some((at, name, meant)) = slip(&expressions) {
        let (origin, path) = &places[at];
        let wrong = Wrong::new(format!("`{name}` is but one letter away from `{meant}`, which stands here too"));
        let hint = format!("did you mean `{meant}`? If not, put the name between backticks: `{name}`");
        report.refuse(origin, path, wrong.hint(hint));
    }
    fields
}

fn takes(raw: &Raw, names: &[&str]) -> Result<Take, Wrong> {
    let text = raw.as_text("last {days}")?;
    let unclear = || {
        Wrong::new(format!("{text:?} does not say which elements"))
            .hint("write \"all\", \"last\", \"last 5\", \"last {days}\" or \"last {days} days by date\"")
    };
    match text.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["all"] => Ok(Take::All),
        ["last"] => Ok(Take::Last),
        ["last", number] => Ok(Take::LastN(count(number, names)?.ok_or_else(unclear)?)),
        ["last", number, "days", "by", field] => {
            Ok(Take::LastDays { field: (*field).to_owned(), count: count(number, names)?.ok_or_else(unclear)? })
        }
        _ => Err(unclear()),
    }
}

fn count(text: &str, names: &[&str]) -> Result<Option<Count>, Wrong> {
    let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    match name {
        Some(name) => template(text, names).map(|_| Some(Count::Parameter(name.to_owned()))),
        None => Ok(text.parse().ok().map(Count::Fixed)),
    }
}

fn request(fields: &mut Fields<'_>, declared: &SourceSpecs, names: &[&str]) -> Option<RequestSpec> {
    let api = fields.read("api", one_of(&declared.apis, "api"));
    let path = fields.required("path", "\"/quotes/{symbol}\"", |raw| api_path(&text("/quotes/{symbol}")(raw)?, names));
    let query = fields.table("query").map(|table| query(table, names)).unwrap_or_default();
    let expect = fields.table("expect").map(expect).unwrap_or_default();
    let select = fields.table("select").map(|table| select(table, names)).unwrap_or_default();
    let fresh_for_field = fields.read("fresh_for_field", |raw| dotted(&text("data.0.time_until_update")(raw)?));
    Some(RequestSpec { api: api?, path: path?, query, expect, select, fresh_for_field })
}

/// A path below the API's own. It is sent as written, so that it must be sound as written.
fn api_path(text: &str, names: &[&str]) -> Result<Template, Wrong> {
    let template = template(text, names)?;
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/:@!$&'()*+,;={}".contains(&byte);
    let is_plain = text.starts_with('/') && !text.contains("//") && text.bytes().all(sound);
    match is_plain && !text.split('/').any(|part| part == "." || part == "..") {
        true => Ok(template),
        false => Err(Wrong::new(format!("{text:?} is no path below the API's URL"))
            .hint("write \"/quotes/{symbol}\"; what follows a ? goes into query = { … }")),
    }
}

fn query(table: Fields<'_>, names: &[&str]) -> Vec<(String, QueryValue)> {
    let report = table.report;
    let mut query = Vec::new();
    for (name, origin, path, raw) in table.values() {
        let value = match &raw {
            Raw::Variable { text, .. } => Ok(QueryValue::Secret(SecretString::from(text.as_str()))),
            Raw::Text(text) | Raw::Bare { text, .. } => template(text, names).map(QueryValue::Template),
            Raw::List(_) => Err(Wrong::new("expected a string, found a list").hint("write \"{symbol}\"")),
        };
        match value {
            Ok(value) => query.push((name, value)),
            Err(wrong) => report.refuse(&origin, &path, wrong),
        }
    }
    query
}

fn expect(mut table: Fields<'_>) -> Expect {
    let kinds = [("object", Is::Object), ("array", Is::Array)];
    let is = table.read("is", |raw| value::one_of(raw, &kinds));
    let paths = |raw: &Raw| list_of_texts(raw)?.iter().map(|text| dotted(text)).collect::<Result<Vec<_>, _>>();
    let fields = table.read("fields", paths).unwrap_or_default();
    let not_fields = table.read("not_fields", paths).unwrap_or_default();
    let refuse = table.read("refuse", |raw| pattern(&text(NOTE)(raw)?));
    table.finish();
    Expect { is, fields, not_fields, refuse }
}

/// A note that is known to come in the place of an answer.
const NOTE: &str = "Thank you for using|call frequency";

fn pattern(text: &str) -> Result<Regex, Wrong> {
    let example = || format!("write a regular expression, for example \"{NOTE}\"");
    let pattern =
        Regex::new(text).map_err(|why| Wrong::new(format!("{text:?} is no pattern: {why}")).hint(example()))?;
    match pattern.is_match("") {
        true => Err(Wrong::new(format!("{text:?} is found in every answer, so that all are refused")).hint(example())),
        false => Ok(pattern),
    }
}

fn list_of_texts(raw: &Raw) -> Result<Vec<String>, Wrong> {
    match raw.items() {
        Some(items) if items.len() <= 100 && items.iter().all(|item| !item.is_empty()) => Ok(items),
        _ => Err(Wrong::new("expected a list of names").hint("write [\"symbol\", \"last_updated\"]")),
    }
}

/// Steps into a document: names of fields and places in lists.
fn dotted(text: &str) -> Result<Vec<String>, Wrong> {
    let steps: Vec<String> = text.split('.').map(str::to_owned).collect();
    match steps.iter().all(|step| !step.is_empty()) && steps.len() <= 16 {
        true => Ok(steps),
        false => Err(Wrong::new(format!("{text:?} leads nowhere")).hint("write for example \"data.0.value\"")),
    }
}
