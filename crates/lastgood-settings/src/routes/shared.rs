//! `[parameters.NAME]`: parameters that are declared once, for all routes.

use std::cell::RefCell;
use std::collections::BTreeSet;

use lastgood_routes::parameter::Parameter;
use lastgood_routes::suggest::did_you_mean;
use toml::de::DeTable;

use super::parameter::{parameter, text_of_a_path};
use crate::fields::Fields;
use crate::problem::{Origins, Wrong};

const MOST: usize = 256;

/// The parameters that routes may share.
#[derive(Default)]
pub(crate) struct Shared<'a> {
    all: Vec<SharedParameter<'a>>,
    used: RefCell<BTreeSet<String>>,
}

struct SharedParameter<'a> {
    name: String,
    table: &'a DeTable<'a>,
    /// None where its declaration is at fault, which is reported once.
    declared: Option<Parameter>,
}

impl<'a> Shared<'a> {
    /// Reads them, and notes where each was written.
    pub(crate) fn read(fields: Fields<'a>, origins: &mut Origins) -> Shared<'a> {
        let (report, origin, path) = (fields.report, fields.origin.clone(), fields.path.clone());
        let entries = fields.entries();
        if entries.len() > MOST {
            let wrong = Wrong::new(format!("there are {} of them", entries.len()));
            report.refuse(&origin, &path, wrong.hint(format!("declare at most {MOST}")));
        }
        let mut all = Vec::new();
        for (name, fields) in entries {
            origins.insert(fields.path.clone(), fields.origin.clone());
            let table = fields.own();
            all.push(SharedParameter { declared: parameter(name.clone(), fields), name, table });
        }
        Shared { all, used: RefCell::default() }
    }

    fn find(&self, name: &str) -> Option<&SharedParameter<'a>> {
        let found = self.all.iter().find(|shared| shared.name == name)?;
        self.used.borrow_mut().insert(name.to_owned());
        Some(found)
    }

    /// What a place in a path means that its route does not declare: a text, if nothing is shared under its name. `None`
    /// where the shared one is at fault.
    pub(super) fn of_a_path(&self, name: &str) -> Option<Parameter> {
        match self.find(name) {
            // A parameter in a path is always given.
            Some(shared) => shared.declared.clone().map(|found| Parameter { default: None, optional: false, ..found }),
            None => Some(text_of_a_path(name)),
        }
    }

    /// A parameter that a route declares: one without a type is the shared one, with what the route says in its place.
    pub(super) fn complete(&self, name: String, fields: Fields<'a>) -> Option<Parameter> {
        if fields.has("type") {
            return parameter(name, fields);
        }
        let Some(shared) = self.find(&name) else {
            let Some(hint) = did_you_mean(&name, self.all.iter().map(|shared| shared.name.as_str())) else {
                return parameter(name, fields);
            };
            let wrong = Wrong::new(format!("`{name}` has no type, and [parameters] has no `{name}`")).hint(hint);
            fields.report.refuse(&fields.origin, &fields.path, wrong);
            return None;
        };
        shared.declared.as_ref()?;
        parameter(name, fields.with_more(shared.table))
    }

    /// Each with what it takes, and whether a route uses it.
    pub(crate) fn into_rows(self) -> Vec<(String, String, bool)> {
        let used = self.used.into_inner();
        let row = |SharedParameter { name, declared, .. }: SharedParameter<'a>| {
            let is_used = used.contains(&name);
            Some((name, declared?.kind.allowed(), is_used))
        };
        self.all.into_iter().filter_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use lastgood_routes::Argument;
    use lastgood_routes::parameter::Kind;

    use crate::layers::tests::resolve_from;

    const FILE: &str = r#"
[databases.main]
url = "sqlite:stocks.db"

[parameters.symbol]
type = "text"
pattern = "[A-Z.]{1,10}"
case = "upper"
default = "AAPL"

[parameters.days]
type = "integer"
min = 1
max = 365
default = 30

[[routes]]
path = "/v1/stocks/{symbol}/recent"
parameters.days = {}
sources = [{ database = "main", sql = "SELECT * FROM prices WHERE symbol = :symbol LIMIT :days" }]

[[routes]]
path = "/v1/stocks/{symbol}/week"
parameters.days = { max = 7, default = 7 }
sources = [{ database = "main", sql = "SELECT * FROM prices WHERE symbol = :symbol LIMIT :days" }]
"#;

    #[test]
    fn a_parameter_is_declared_once_and_each_route_may_say_what_differs() {
        let resolved = resolve_from(FILE, &[], &[]).expect("valid");
        assert!(resolved.warnings.is_empty(), "{:?}", resolved.warnings);
        let routes = &resolved.settings.declared.routes;
        let parameter = |route: usize, name: &str| {
            routes[route].parameters.iter().find(|parameter| parameter.name == name).expect("there").clone()
        };
        for route in [0, 1] {
            let symbol = parameter(route, "symbol");
            assert!(symbol.is_required(), "a parameter in the path is always given");
            assert_eq!(symbol.read("aapl").expect("a symbol"), Argument::Text("AAPL".to_owned()));
            assert!(symbol.read("A B").is_err());
        }
        let days = |route: usize| {
            let one = parameter(route, "days");
            (one.kind, one.default.map(|default| default.to_string()))
        };
        assert!(matches!(days(0), (Kind::Integer { min: 1, max: 365 }, Some(default)) if default == "30"));
        assert!(matches!(days(1), (Kind::Integer { min: 1, max: 7 }, Some(default)) if default == "7"));
        let rows = resolved.settings.declared.rows();
        assert!(rows.iter().any(|(key, ..)| key == "parameters.days"), "{rows:?}");
    }

    #[test]
    fn a_problem_of_a_shared_parameter_is_reported_once_where_it_is_declared() {
        let wrong = |file: &str| -> Vec<String> {
            resolve_from(file, &[], &[]).expect_err("wrong").0.iter().map(ToString::to_string).collect()
        };
        let problems = wrong(&FILE.replace("max = 365", "max = 0"));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].contains("parameters.days") && problems[0].contains("min is larger than max"),
            "{problems:?}"
        );
        let problems = wrong(&FILE.replace("days = { max = 7, default = 7 }", "days = { max = 7 }"));
        assert!(problems[0].contains("the default \"30\""), "{problems:?}");
        let problems = wrong(&FILE.replace("parameters.days = {}", "parameters.dais = {}"));
        assert!(problems.iter().any(|one| one.contains("did you mean `days`")), "{problems:?}");
    }

    #[test]
    fn a_shared_parameter_that_no_route_uses_is_warned_of() {
        let file = format!("{FILE}\n[parameters.page]\ntype = \"integer\"\n");
        let warnings = resolve_from(&file, &[], &[]).expect("valid").warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].to_string().contains("no route has a parameter `page`"), "{warnings:?}");
    }
}
