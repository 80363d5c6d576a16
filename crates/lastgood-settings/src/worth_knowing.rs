//! What may be declared, and is probably not meant.

use lastgood_routes::spec::{Question, RouteSpec, Shape};
use secrecy::ExposeSecret as _;

use crate::declared::Declared;
use crate::problem::{Problem, Wrong};

/// Parameters that change no answer, parameters that are text to the database, and files that lie elsewhere.
pub(crate) fn worth_knowing(declared: &Declared) -> Vec<Problem> {
    let mut found = Vec::new();
    for route in &declared.routes {
        let origin = declared.origin(&format!("routes {}", route.path));
        let mut add = |key: &str, wrong| found.push(Problem::new(Some(origin.clone()), Some(key), wrong));
        for name in route.unused_parameters() {
            let wrong = Wrong::new(format!("no source of {} is asked with `{name}`", route.path))
                .hint(format!("name it in a source, as :{name} in SQL and {{{name}}} elsewhere, or leave it out"));
            add("routes.parameters", wrong);
        }
        for name in quoted(route) {
            let wrong =
                Wrong::new(format!("':{name}' is text to the database, and no parameter: it is between quotes"))
                    .hint(format!("write :{name} without them, or '%' || :{name} || '%' for a part of a text"));
            add("routes.sources.sql", wrong);
        }
    }
    for name in declared.unused_parameters() {
        let key = format!("parameters.{name}");
        let wrong = Wrong::new(format!("no route has a parameter `{name}`"))
            .hint(format!("write parameters.{name} = {{}} in a route, or {{{name}}} in its path, or leave it out"));
        found.push(Problem::new(Some(declared.origin(&key)), Some(&key), wrong));
    }
    for (name, database) in &declared.sources.databases {
        if let Some(file) = in_the_root(database.url.expose_secret()) {
            let key = format!("databases.{name}");
            let wrong = Wrong::new(format!("sqlite:///{file} is the file /{file}, in the root of the disk"))
                .hint(format!("write \"sqlite:{file}\" for a file in the working directory"));
            found.push(Problem::new(Some(declared.origin(&key)), Some(&format!("{key}.url")), wrong));
        }
    }
    found
}

/// The parameters of a route that stand in literals of its statements.
fn quoted(route: &RouteSpec) -> Vec<&str> {
    let mut literals = String::new();
    for source in &route.sources {
        if let Question::Statement(spec) = &source.question {
            let count = match &spec.shape {
                Shape::Page { count_sql } => count_sql.as_str(),
                Shape::Row | Shape::List => "",
            };
            for sql in [spec.sql.as_str(), count] {
                sql.split('\'').skip(1).step_by(2).for_each(|literal| literals.extend([literal, " "]));
            }
        }
    }
    let continues = |c: char| c.is_alphanumeric() || c == '_';
    let stands = |name: &&str| {
        let mut after = literals.split(':').skip(1).filter_map(|rest| rest.strip_prefix(*name));
        after.any(|after| !after.starts_with(continues))
    };
    route.parameters.iter().map(|parameter| parameter.name.as_str()).filter(stands).collect()
}

/// The name of a file right in the root: what other tools take for one in the working directory.
fn in_the_root(url: &str) -> Option<&str> {
    let file = url.strip_prefix("sqlite:///")?.split('?').next()?;
    (!file.is_empty() && !file.contains('/')).then_some(file)
}

#[cfg(test)]
mod tests {
    use crate::layers::tests::resolve_from;

    #[test]
    fn unlikely_settings_are_warned_about_and_everything_works() {
        let file = r#"
[databases.main]
url = "sqlite:///stocks.db"

[databases.other]
url = "sqlite:///var/lib/stocks.db"

[[routes]]
path = "/v1/stocks/{symbol}"
parameters = { days = { type = "integer", default = 30 }, day = { type = "date" } }

[[routes.sources]]
database = "main"
sql = "SELECT * FROM stocks WHERE symbol = :symbol AND note LIKE '%:days%' AND day > :day"
"#;
        let warnings: Vec<String> =
            resolve_from(file, &[], &[]).expect("valid").warnings.iter().map(ToString::to_string).collect();
        let message = warnings.join("\n");
        assert!(message.contains("':days' is text to the database"), "{message}");
        assert!(message.contains("sqlite:///stocks.db is the file /stocks.db"), "{message}");
        assert_eq!(warnings.len(), 2, "{message}");
        let unused = file.replace("AND note LIKE '%:days%' ", "");
        let warnings = resolve_from(&unused, &[], &[]).expect("valid").warnings;
        assert!(warnings.iter().any(|one| one.to_string().contains("is asked with `days`")), "{warnings:?}");
    }

    #[test]
    fn a_sqlite_url_without_a_file_is_refused() {
        for url in ["sqlite:", "sqlite:///", "sqlite::memory:", "sqlite:?mode=ro"] {
            let problems = resolve_from(&format!("[databases.main]\nurl = \"{url}\"\n"), &[], &[]).err();
            let problems = problems.expect("refused").to_string();
            assert!(problems.contains("`databases.main.url`: a SQLite URL names a file"), "{url}: {problems}");
        }
    }
}
