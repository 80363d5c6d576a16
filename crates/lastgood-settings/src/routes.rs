//! `[[routes]]`: the paths that the configuration declares.

use std::time::Duration;

use lastgood_routes::parameter::Parameter;
use lastgood_routes::path::RoutePath;
use lastgood_routes::spec::{RouteSpec, SourceSpec, SourceSpecs};
use lastgood_routes::template::Template;
use lastgood_routes::{Argument, Arguments};

use crate::fields::{Fields, text};
use crate::problem::{Origins, Wrong};
use crate::value::{self, Raw};
use crate::warm;

mod free;
mod parameter;
mod shared;
mod source;
mod template;

pub(crate) use self::shared::Shared;
use self::template::template;

/// The region of routes that name none.
const REGION: &str = "routes";
const MOST_ROUTES: usize = 256;
const MOST_SOURCES: usize = 8;
const MOST_PARAMETERS: usize = 32;
const MOST_TAGS: usize = 16;
const MOST_WARM: usize = 500;
const LONGEST_FRESHNESS: Duration = Duration::from_secs(365 * 86_400);

/// Under which name it stands where the region of a route was written.
pub(crate) fn region_of(route: &RoutePath) -> String {
    format!("region of {route}")
}

/// Reads the routes, and notes where each was written; every name in them must be declared.
pub(crate) fn routes<'a>(
    tables: Vec<Fields<'a>>,
    declared: &SourceSpecs,
    shared: &Shared<'a>,
    origins: &mut Origins,
) -> Vec<RouteSpec> {
    let mut routes: Vec<RouteSpec> = Vec::new();
    for (index, fields) in tables.into_iter().enumerate() {
        let (report, origin, region) = (fields.report, fields.origin_of("path"), fields.origin_of("region"));
        if index == MOST_ROUTES {
            let wrong = Wrong::new(format!("there are more than {MOST_ROUTES} routes"));
            report.refuse(&fields.origin, "routes", wrong.hint("give similar routes a parameter"));
        }
        let Some(route) = route(fields, declared, shared) else { continue };
        if let Some(other) = routes.iter().find(|other| other.path.is_ambiguous_with(&route.path)) {
            let wrong = Wrong::new(format!("{} and {} match the same paths", route.path, other.path));
            report.refuse(&origin, "routes.path", wrong.hint("give one of them another fixed part"));
        }
        origins.insert(format!("routes {}", route.path), origin);
        origins.insert(region_of(&route.path), region);
        routes.push(route);
    }
    routes
}

fn route<'a>(mut fields: Fields<'a>, declared: &SourceSpecs, shared: &Shared<'a>) -> Option<RouteSpec> {
    let before = fields.report.problems.borrow().len();
    let path = fields.required("path", "\"/v1/stocks/{symbol}/recent\"", path);
    let region = fields.read("region", text("analytics")).unwrap_or_else(|| REGION.to_owned());
    let fresh_for = fields.read("fresh_for", |raw| value::span(raw, Duration::ZERO..=LONGEST_FRESHNESS));
    let description = fields.read("description", text("what it answers"));
    let (mut names, mut parameters) =
        fields.table("parameters").map(|table| parameters(table, shared)).unwrap_or_default();
    // What follows from a bad parameter need not be reported, too.
    let are_good = names.len() == parameters.len();
    if let Some(path) = path.as_ref().filter(|_| are_good) {
        check_places(&fields, path, &parameters);
        for name in path.parameters().filter(|name| !names.iter().any(|known| known == name)).collect::<Vec<_>>() {
            parameters.extend(shared.of_a_path(name));
            names.push(name.to_owned());
        }
    }
    let are_good = names.len() == parameters.len();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let tags = fields.read("tags", |raw| tags(raw, &names)).unwrap_or_default();
    let hash_parameters = fields.read("hash_parameters", value::boolean).unwrap_or(false);
    let sources = sources(&mut fields, declared, &names);
    let warm_every = fields.read("warm_every", warm::schedule);
    let warm = match are_good {
        true => warm(&mut fields, &parameters, warm_every.is_some()),
        false => {
            let _ = fields.tables("warm");
            Vec::new()
        }
    };
    let report = fields.report;
    fields.finish();
    // A problem need not be reported twice.
    (report.problems.borrow().len() == before).then_some(())?;
    let path = path?;
    Some(RouteSpec {
        path,
        region,
        fresh_for,
        tags,
        description,
        parameters,
        hash_parameters,
        sources,
        warm,
        warm_every,
    })
}

fn path(raw: &Raw) -> Result<RoutePath, Wrong> {
    let text = raw.as_text("/v1/stocks/{symbol}/recent")?;
    free::check(RoutePath::parse(text).map_err(|why| Wrong::new(why.what).hint(why.hint))?)
}

/// The names that are declared, and the parameters that are as they should be.
fn parameters<'a>(fields: Fields<'a>, shared: &Shared<'a>) -> (Vec<String>, Vec<Parameter>) {
    let (report, origin, path) = (fields.report, fields.origin.clone(), fields.path.clone());
    let entries = fields.entries();
    if entries.len() > MOST_PARAMETERS {
        let wrong = Wrong::new(format!("a route has at most {MOST_PARAMETERS} parameters")).hint("leave some out");
        report.refuse(&origin, &path, wrong);
    }
    let names = entries.iter().map(|(name, _)| name.clone()).collect();
    (names, entries.into_iter().filter_map(|(name, fields)| shared.complete(name, fields)).collect())
}

/// A parameter in the path is always given, and was not meant to be another declared one.
fn check_places(fields: &Fields<'_>, path: &RoutePath, parameters: &[Parameter]) {
    let elsewhere = || parameters.iter().map(|parameter| parameter.name.as_str());
    let elsewhere = || elsewhere().filter(|name| path.parameters().all(|place| place != *name));
    for name in path.parameters() {
        match parameters.iter().find(|parameter| parameter.name == name) {
            None => {
                if let Some(hint) = lastgood_routes::suggest::did_you_mean(name, elsewhere()) {
                    fields.refuse("path", Wrong::new(format!("{{{name}}} is no parameter of the route")).hint(hint));
                }
            }
            Some(parameter) if !parameter.is_required() => {
                let wrong = Wrong::new(format!("{name} is part of the path, and so it is always given"));
                fields.refuse("path", wrong.hint("leave its `default` and `optional` out"));
            }
            Some(_) => {}
        }
    }
}

fn tags(raw: &Raw, names: &[&str]) -> Result<Vec<Template>, Wrong> {
    let Some(items) = raw.items() else {
        return Err(Wrong::new("expected a list").hint("write [\"stocks\", \"symbol:{symbol}\"]"));
    };
    if items.len() > MOST_TAGS {
        return Err(Wrong::new(format!("there are {} tags", items.len())).hint(format!("give at most {MOST_TAGS}")));
    }
    let tag = |text: &String| match text.is_empty() || text.len() > 100 || text.contains([',', ' ']) {
        true => Err(Wrong::new(format!("{text:?} is no tag")).hint("1 to 100 characters, no comma and no blank")),
        false => template(text, names),
    };
    items.iter().map(tag).collect()
}

fn sources(fields: &mut Fields<'_>, declared: &SourceSpecs, names: &[&str]) -> Vec<SourceSpec> {
    let tables = fields.tables("sources");
    if tables.is_empty() && !fields.has("sources") {
        let wrong = Wrong::new("the route has no source").hint("write [[routes.sources]] with database, bucket or api");
        fields.report.refuse(&fields.origin, "routes.sources", wrong);
    }
    if tables.len() > MOST_SOURCES {
        let wrong = Wrong::new(format!("a route has at most {MOST_SOURCES} sources")).hint("leave some out");
        fields.refuse("sources", wrong);
    }
    tables.into_iter().filter_map(|table| source::source(table, declared, names)).collect()
}

/// The argument sets that are kept warm; without any, the defaults alone where a schedule is set.
fn warm(fields: &mut Fields<'_>, parameters: &[Parameter], is_scheduled: bool) -> Vec<Arguments> {
    let tables = fields.tables("warm");
    if tables.len() > MOST_WARM {
        fields.refuse("warm", Wrong::new(format!("more than {MOST_WARM} are kept warm")).hint("name the popular ones"));
    }
    if tables.is_empty() {
        let missing = parameters.iter().find(|parameter| parameter.is_required());
        return match missing {
            _ if !is_scheduled || fields.has("warm") => Vec::new(),
            None => arguments(parameters, |_| None).into_iter().collect(),
            Some(parameter) => {
                let name = &parameter.name;
                let wrong = Wrong::new(format!("it does not say for which {name}"));
                fields.refuse("warm_every", wrong.hint(format!("write warm = [{{ {name} = \"…\" }}]")));
                Vec::new()
            }
        };
    }
    tables.into_iter().filter_map(|table| warmed(table, parameters)).collect()
}

fn warmed(table: Fields<'_>, parameters: &[Parameter]) -> Option<Arguments> {
    let (report, origin, path) = (table.report, table.origin.clone(), table.path.clone());
    let given = table.values();
    for (name, origin, path, _) in &given {
        if !parameters.iter().any(|parameter| parameter.name == *name) {
            let known = parameters.iter().map(|parameter| parameter.name.as_str());
            let wrong =
                Wrong::new("no parameter of the route").hint_if(lastgood_routes::suggest::did_you_mean(name, known));
            report.refuse(origin, path, wrong);
            return None;
        }
    }
    let text = |name: &str| match &given.iter().find(|(known, ..)| known == name)?.3 {
        Raw::Text(text) | Raw::Variable { text, .. } | Raw::Bare { text, .. } => Some(text.clone()),
        Raw::List(_) => Some(String::new()),
    };
    match arguments(parameters, text) {
        Ok(arguments) => Some(arguments),
        Err(wrong) => {
            report.refuse(&origin, &path, wrong);
            None
        }
    }
}

/// Arguments of texts, in the order of declaration.
fn arguments(parameters: &[Parameter], text: impl Fn(&str) -> Option<String>) -> Result<Arguments, Wrong> {
    let one = |parameter: &Parameter| -> Result<(String, Argument), Wrong> {
        let read = match text(&parameter.name) {
            Some(text) => parameter.read(&text),
            None => parameter.missing(),
        };
        let read = read.map_err(|refusal| {
            Wrong::new(format!("{} is {:?}", refusal.parameter, refusal.value))
                .hint(format!("give {}", refusal.allowed))
        });
        Ok((parameter.name.clone(), read?))
    };
    parameters.iter().map(one).collect::<Result<_, _>>().map(Arguments)
}
