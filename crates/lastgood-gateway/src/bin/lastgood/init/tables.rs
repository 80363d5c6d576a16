//! The tables of a database, and routes that read them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use lastgood::Clock;
use lastgood_routes::spec::{DatabaseSpec, Shape, SourceSpecs, StatementSpec};
use lastgood_routes::template::is_name;
use lastgood_routes::{Arguments, ConnectOptions, Connections};
use serde::Deserialize;

use super::quoted;
use crate::output::Failure;

const POSTGRES: &str = "\
SELECT c.table_name AS \"table\", c.column_name AS \"column\", c.data_type AS \"type\", \
 CASE WHEN EXISTS (SELECT 1 FROM information_schema.table_constraints t \
  JOIN information_schema.key_column_usage k ON k.constraint_schema = t.constraint_schema \
   AND k.constraint_name = t.constraint_name AND k.table_name = t.table_name \
  WHERE t.constraint_type = 'PRIMARY KEY' AND t.table_schema = c.table_schema AND t.table_name = c.table_name \
   AND k.column_name = c.column_name) THEN 1 ELSE 0 END AS \"is_key\" \
FROM information_schema.columns c WHERE c.table_schema = current_schema() ORDER BY c.table_name, c.ordinal_position";

const SQLITE: &str = "\
SELECT m.name AS \"table\", p.name AS \"column\", p.type AS \"type\", \
 CASE WHEN p.pk > 0 THEN 1 ELSE 0 END AS \"is_key\" \
FROM sqlite_master m JOIN pragma_table_info(m.name) p \
WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite%' ORDER BY m.name, p.cid";

/// A column, as the database tells of it.
#[derive(Deserialize)]
struct Column {
    table: String,
    column: String,
    r#type: String,
    is_key: u8,
}

/// A table or view.
pub(super) struct Table {
    name: String,
    columns: Vec<String>,
    /// The one column of its primary key.
    key: Option<Key>,
}

struct Key {
    column: String,
    /// Of what type a parameter is that is compared with it; `None` for types that need a cast.
    parameter: Option<&'static str>,
}

impl Key {
    fn of(column: &Column) -> Key {
        let kind = column.r#type.to_ascii_lowercase();
        let is = |names: &[&str]| names.iter().any(|name| kind.contains(name));
        let parameter = match () {
            () if is(&["int", "serial"]) && !is(&["interval", "point"]) => Some("type = \"integer\"\n"),
            () if is(&["char", "text", "uuid"]) || kind.is_empty() => Some("type = \"text\"\nmax_length = 100\n"),
            () => None,
        };
        Key { column: column.column.clone(), parameter }
    }
}

/// The tables of the database at a URL, by their names.
pub(super) async fn of(url: &str) -> Result<Vec<Table>, Failure> {
    let failed = |why: String| {
        Failure::failed(format!(
            "the tables cannot be listed: {why}\n    help: check the URL, and that its user may connect"
        ))
    };
    let sql = if url.starts_with("sqlite:") { SQLITE } else { POSTGRES };
    let database = DatabaseSpec { statement_timeout: Duration::from_secs(30), ..DatabaseSpec::new(url.to_owned()) };
    let specs = SourceSpecs { databases: BTreeMap::from([("main".to_owned(), database)]), ..SourceSpecs::default() };
    let connections = Connections::open(&specs, &ConnectOptions::default(), &Clock::system());
    let connections = connections.map_err(|why| failed(why.to_string()))?;
    let statement = connections.statement(&StatementSpec::new("main", sql, Shape::List), Vec::new());
    let statement = statement.map_err(|why| failed(why.to_string()))?;
    let rows = statement.query(&Arguments::default()).await.map_err(|why| failed(why.to_string()))?;
    let columns: Vec<Column> = serde_json::from_slice(&rows).map_err(|why| failed(why.to_string()))?;
    Ok(grouped(columns))
}

fn grouped(columns: Vec<Column>) -> Vec<Table> {
    let mut tables: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    for column in columns {
        tables.entry(column.table.clone()).or_default().push(column);
    }
    let table = |(name, columns): (String, Vec<Column>)| {
        let mut keys = columns.iter().filter(|column| column.is_key == 1);
        let key = match (keys.next(), keys.next()) {
            (Some(key), None) => Some(Key::of(key)),
            _ => None,
        };
        Table { name, columns: columns.into_iter().map(|column| column.column).collect(), key }
    };
    tables.into_iter().map(table).collect()
}

impl Table {
    /// The path of its list.
    pub(super) fn path(&self) -> String {
        let part: String =
            self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        format!("/v1/tables/{part}")
    }

    /// A route for the list, and one for a row by its primary key.
    pub(super) fn routes(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| identifier(column)).collect();
        let (columns, table, path) = (columns.join(", "), identifier(&self.name), self.path());
        let order = self.key.as_ref().map(|key| format!(" ORDER BY {}", identifier(&key.column))).unwrap_or_default();
        let list = format!("SELECT {columns} FROM {table}{order} LIMIT :limit");
        let mut text = format!(
            "\n[[routes]]\npath = {}\nregion = \"tables\"\ntags = [{}]\n",
            quoted(&path),
            quoted(&format!("table:{}", self.tag()))
        );
        text += "[routes.parameters.limit]\ntype = \"integer\"\nmin = 1\nmax = 1000\ndefault = 100\n";
        let _ = write!(text, "[[routes.sources]]\ndatabase = \"main\"\nrows = \"list\"\nsql = {}\n", quoted(&list));
        if let Some(Key { column, parameter: Some(kind) }) = &self.key {
            let row = format!("SELECT {columns} FROM {table} WHERE {} = :id", identifier(column));
            let _ = write!(
                text,
                "\n[[routes]]\npath = {}\nregion = \"tables\"\ntags = [{}]\n[routes.parameters.id]\n{kind}\
                 [[routes.sources]]\ndatabase = \"main\"\nrows = \"row\"\nsql = {}\n",
                quoted(&format!("{path}/{{id}}")),
                quoted(&format!("table:{}", self.tag())),
                quoted(&row)
            );
        }
        text
    }

    /// Its name in a tag.
    fn tag(&self) -> String {
        let name = self.name.to_ascii_lowercase();
        if is_name(&name) { name } else { self.path().trim_start_matches("/v1/tables/").to_owned() }
    }
}

/// A name in SQL.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
