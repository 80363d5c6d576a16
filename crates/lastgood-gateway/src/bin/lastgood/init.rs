//! `lastgood init`: writes a small configuration that works.

mod tables;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use lastgood_settings::{ConfigFile, Sources, resolve};

use self::tables::Table;
use crate::output::{Failure, complain, say};
use crate::settings::variable;

/// More tables than a small file has routes for.
const MOST_TABLES: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood init                                     asks three questions
  lastgood init --yes                               takes the defaults
  lastgood init --database sqlite:stocks.db         proposes routes for the tables
  DATABASE_URL=postgres://app:PASSWORD@localhost/stocks lastgood init --database env:DATABASE_URL

At a terminal it asks who reads (bots or pages), where answers are kept, and where to listen; elsewhere the defaults count.
With --database it looks at the names of tables and columns, reads no row, and writes two routes a table: one for a list, one \
for a row by its primary key. A URL with a password is written as env:DATABASE_URL, so that no secret is in the file.

Nothing is written over without --force.")]
pub(crate) struct Arguments {
    /// The file to write; without it that of --config, else lastgood.toml
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A database to propose routes for: postgres://…, sqlite:FILE, or env:NAME for what a variable holds
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Ask nothing, take the defaults
    #[arg(long)]
    yes: bool,
    /// Replace the file if there is one
    #[arg(long)]
    force: bool,
}

/// What the file is to say.
struct Choices {
    preset: String,
    store: String,
    listen: String,
}

pub(crate) async fn run(arguments: Arguments, file: Option<PathBuf>) -> Result<(), Failure> {
    let path = arguments.output.or(file).unwrap_or_else(|| PathBuf::from("lastgood.toml"));
    if path.exists() && !arguments.force {
        return Err(Failure::failed(format!(
            "{} is there already\n    help: --force replaces it, --output names another file",
            path.display()
        )));
    }
    // Before anything is asked: a wrong URL is better known at once.
    let database = match &arguments.database {
        Some(url) => Some(Database::look(url).await?),
        None => None,
    };
    let asks = !arguments.yes && io::stdin().is_terminal();
    let choices = Choices::make(asks)?;
    let text = choices.file(database.as_ref());
    check(&text, &path)?;
    write(&path, &text, arguments.force)?;
    for line in next_steps(&path, &choices, database.as_ref()) {
        say(line);
    }
    Ok(())
}

impl Choices {
    /// The answers of the person at the terminal, or the defaults.
    fn make(asks: bool) -> Result<Choices, Failure> {
        let mut choices = Choices {
            preset: "trading".to_owned(),
            store: "embedded:".to_owned(),
            listen: "127.0.0.1:8090".to_owned(),
        };
        if !asks {
            return Ok(choices);
        }
        let who = "Who reads? trading: bots, a price is a second old at most.\n           \
                   dashboard: pages, fifteen seconds.";
        choices.preset = answer(who, "preset", &choices.preset)?;
        let where_to = "Where are answers kept? embedded: is a file of its own,\n                        \
             redis://HOST:6379 is shared by gateways.";
        choices.store = answer(where_to, "store", &choices.store)?;
        choices.listen = answer("Where should it listen?", "listen", &choices.listen)?;
        Ok(choices)
    }

    fn is_for_this_machine_alone(&self) -> bool {
        ["127.", "localhost", "[::1]"].iter().any(|loopback| self.listen.starts_with(loopback))
    }

    fn file(&self, database: Option<&Database>) -> String {
        let Choices { preset, store, listen } = self;
        let mut text = String::from(
            "# lastgood.example.toml in the repository has every key; `lastgood check` finds its problems.\n",
        );
        let store = if has_password(store) { "env:REDIS_URL" } else { store };
        for (key, value) in [("listen", listen.as_str()), ("preset", preset), ("store", store)] {
            let _ = writeln!(text, "{key} = {}", quoted(value));
        }
        if database.is_some() {
            text += "# Without an exchange, for the routes below alone:\n#binance = \"off\"\n";
        }
        if !self.is_for_this_machine_alone() {
            text += "\n# Needed where others can reach the gateway: who sends it may read and change the cache's inside.\n\
                     [admin]\ntoken = \"env:LASTGOOD_ADMIN_TOKEN\"\n";
        }
        if let Some(database) = database {
            text += &database.declared();
        }
        text
    }
}

/// A database, and what was found in it.
struct Database {
    /// As it stands in the file.
    written: String,
    /// Whether the file names a variable that is still to be set.
    is_secret: bool,
    tables: Vec<Table>,
    left_out: usize,
}

impl Database {
    async fn look(given: &str) -> Result<Database, Failure> {
        let by_name = given.strip_prefix("env:");
        let url = match by_name {
            Some(name) => variable(name).ok_or_else(|| {
                Failure::failed(format!("the variable {name} is not set\n    help: set it to the database's URL"))
            })?,
            None => given.to_owned(),
        };
        let mut tables = tables::of(&url).await?;
        if tables.is_empty() {
            return Err(Failure::failed(
                "the database has no tables that this user may read\n    help: name another database, or leave --database out",
            ));
        }
        let found = tables.len();
        let mut paths = HashSet::new();
        tables.retain(|table| paths.insert(table.path()) && paths.len() <= MOST_TABLES);
        let left_out = found - tables.len();
        let is_secret = by_name.is_none() && has_password(&url);
        let written = match by_name {
            Some(_) => given.to_owned(),
            None if is_secret => "env:DATABASE_URL".to_owned(),
            None => url,
        };
        Ok(Database { written, is_secret, tables, left_out })
    }

    /// Its part of the file.
    fn declared(&self) -> String {
        let mut text = format!(
            "\n# How old answers of the database may be, and how long they stand in when it fails.\n\
             [regions.tables]\nfresh_for = \"60s\"\nstale_if_error = \"1d\"\n\n[databases.main]\nurl = {}\n",
            quoted(&self.written)
        );
        if self.left_out > 0 {
            let _ = writeln!(text, "\n# {} more tables have no routes here.", self.left_out);
        }
        self.tables.iter().for_each(|table| text += &table.routes());
        text
    }
}

/// Whether a URL has a password, or may have one: several hosts, as of a cluster, are no URL to the parser.
fn has_password(url: &str) -> bool {
    let in_query = |query: &str| query.split('&').any(|field| field.starts_with("password="));
    match url::Url::parse(url) {
        Ok(url) => url.password().is_some() || url.query().is_some_and(in_query),
        Err(_) => url.contains('@'),
    }
}

/// Asks for the value of a key until it is one that the gateway takes; an empty answer is the default.
fn answer(question: &str, key: &str, default: &str) -> Result<String, Failure> {
    loop {
        let mut out = io::stderr().lock();
        let _ = write!(out, "{question}\n  [{default}] ").and_then(|()| out.flush());
        drop(out);
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        read.map_err(|why| Failure::failed(format!("failed to read the answer: {why}")))?;
        let text = match line.trim() {
            "" => return Ok(default.to_owned()),
            text => text.to_owned(),
        };
        match problem_of(key, &text) {
            Some(problem) => complain(&problem),
            None => return Ok(text),
        }
    }
}

/// The problem with the value of a key, if there is one.
fn problem_of(key: &str, value: &str) -> Option<String> {
    let file = ConfigFile { path: String::new(), text: format!("{key} = {}", quoted(value)) };
    // The file will take the token from there.
    let env = |name: &str| (name == "LASTGOOD_ADMIN_TOKEN").then(|| "set-before-it-starts".to_owned());
    let problems = resolve(&Sources { file: Some(file), env: &env, env_names: Vec::new(), flags: Vec::new() }).err()?;
    let first = problems.0.into_iter().next()?;
    let hint = first.hint.map(|hint| format!("\n  {hint}")).unwrap_or_default();
    Some(format!("  {}{hint}", first.what))
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Has the gateway read the file before it is written: what was answered may be wrong.
fn check(text: &str, path: &Path) -> Result<(), Failure> {
    let file = ConfigFile { path: path.display().to_string(), text: text.to_owned() };
    // What the file takes from the environment need not be set yet.
    let env = |name: &str| match name {
        "LASTGOOD_ADMIN_TOKEN" => Some("set-before-it-starts".to_owned()),
        "REDIS_URL" if text.contains("env:REDIS_URL") => Some("redis://localhost".to_owned()),
        "DATABASE_URL" => Some("postgres://localhost/main".to_owned()),
        other => variable(other).filter(|_| text.contains(&format!("env:{other}"))),
    };
    resolve(&Sources { file: Some(file), env: &env, env_names: Vec::new(), flags: Vec::new() })?;
    Ok(())
}

fn write(path: &Path, text: &str, replaces: bool) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create(replaces).truncate(replaces).create_new(!replaces);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|why| Failure::failed(format!("failed to write {}: {why}", path.display())))
}

fn next_steps(path: &Path, choices: &Choices, database: Option<&Database>) -> Vec<String> {
    let shown = path.display();
    let config = if path == Path::new("lastgood.toml") { String::new() } else { format!(" --config {shown}") };
    let mut lines = vec![format!("wrote {shown}")];
    let mut needs = |name: &str, what: &str| lines.push(format!("  set {name} first: {what}"));
    if !choices.is_for_this_machine_alone() {
        needs("LASTGOOD_ADMIN_TOKEN", "a long random text");
    }
    if has_password(&choices.store) {
        needs("REDIS_URL", "the store's URL with its password");
    }
    if database.is_some_and(|database| database.is_secret) {
        needs("DATABASE_URL", "the database's URL with its password");
    }
    lines.push(format!("  lastgood check{config}      finds problems, and how to fix them"));
    lines.push(format!("  lastgood serve{config}      starts the gateway at http://{}/", choices.listen));
    if let Some(table) = database.and_then(|database| database.tables.first()) {
        lines.push(format!("  curl 'http://{}{}?limit=3'", choices.listen, table.path()));
    }
    if let Some(left_out) = database.map(|database| database.left_out).filter(|left_out| *left_out > 0) {
        complain(&format!("warning: {left_out} more tables have no routes in the file; add those that are needed"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_seen_in_every_kind_of_url() {
        for url in [
            "redis://:pw@host",
            "rediss://user:pw@host:1/2",
            "redis+cluster://:pw@a:1,b:2",
            "redis+sentinel://user:pw@a:1,b:2/main",
            "postgres://app:pw@host/db",
            "postgres://host/db?sslmode=require&password=pw",
        ] {
            assert!(has_password(url), "{url}");
        }
        for url in
            ["embedded:", "redis://host:6379", "redis+cluster://a:1,b:2", "postgres://app@host/db", "sqlite:a.db"]
        {
            assert!(!has_password(url), "{url}");
        }
    }
}
