//! `lastgood init`: the files that it writes are read by the gateway, and their routes answer.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use lastgood_testing::PostgresServer;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use crate::support::{Running, get};

fn lastgood(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lastgood"));
    command.args(arguments).current_dir(folder).env_clear().env("HOME", folder).envs(env.iter().copied());
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn written(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("lastgood.toml")).expect("a file")
}

#[test]
fn the_defaults_make_a_file_that_every_verb_reads_and_no_file_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    // No terminal is there to ask at.
    let output = lastgood(folder.path(), &["init"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("lastgood serve"), "{}", text(&output.stdout));
    let config = lastgood(folder.path(), &["config", "--json"], &[]);
    let rows: Value = serde_json::from_slice(&config.stdout).unwrap();
    let origin = |key: &str| rows.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap()["origin"].clone();
    assert!(origin("preset").as_str().unwrap().starts_with("lastgood.toml:"), "{rows}");

    std::fs::write(folder.path().join("lastgood.toml"), "namespace = \"mine\"\n").unwrap();
    let again = lastgood(folder.path(), &["init", "--yes"], &[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("--force"), "{}", text(&again.stderr));
    assert_eq!(written(folder.path()), "namespace = \"mine\"\n");
    assert_eq!(lastgood(folder.path(), &["init", "--yes", "--force"], &[]).status.code(), Some(0));
    assert!(!written(folder.path()).contains("mine"));
}

#[tokio::test]
async fn the_tables_of_a_database_become_routes_for_lists_and_for_rows() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("stocks.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}?mode=rwc", database.display())).await.unwrap();
    for statement in [
        "CREATE TABLE stocks (symbol TEXT PRIMARY KEY, price REAL, \"odd \"\"name\" TEXT)",
        "INSERT INTO stocks VALUES ('MSFT', 2.5, 'b'), ('AAPL', 1.5, 'a')",
        "CREATE TABLE \"Order Items\" (id INTEGER PRIMARY KEY, count INTEGER)",
        "INSERT INTO \"Order Items\" VALUES (7, 3)",
        "CREATE TABLE by_two (a TEXT, b TEXT, PRIMARY KEY (a, b))",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    let url = format!("sqlite:{}", database.display());
    let output = lastgood(folder.path(), &["init", "--database", &url], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let file = written(folder.path());
    assert!(!file.contains("/v1/tables/by-two/{id}"), "a key of two columns is no one parameter: {file}");

    let gateway = Running::of_file(&file).await;
    let of = async |target: &str| {
        let answer = get(gateway.url(target)).await;
        (answer.status, answer.json())
    };
    let apple = json!({ "symbol": "AAPL", "price": 1.5, "odd \"name": "a" });
    assert_eq!(of("/v1/tables/stocks?limit=1").await, (200, json!([apple])));
    assert_eq!(of("/v1/tables/stocks/AAPL").await, (200, apple));
    assert_eq!(of("/v1/tables/order-items/7").await, (200, json!({ "id": 7, "count": 3 })));
    assert_eq!(get(gateway.url("/v1/tables/stocks/NONE")).await.status, 404);
    assert_eq!(get(gateway.url("/v1/tables/stocks?limit=9999")).await.status, 400);
}

#[tokio::test]
async fn a_password_stays_out_of_the_file() {
    let server = PostgresServer::start();
    server.execute("CREATE TABLE trades (id bigint PRIMARY KEY, at timestamptz, note text)");
    server.execute("INSERT INTO trades VALUES (5, '2026-01-02T03:04:05Z', 'first')");
    let url = server.url("postgres");
    let folder = tempfile::tempdir().unwrap();
    let output = lastgood(folder.path(), &["init", "--database", "env:TRADES"], &[("TRADES", &url)]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(written(folder.path()).contains("url = \"env:TRADES\""), "{}", written(folder.path()));
    let gateway = Running::of_file(&written(folder.path()).replace("env:TRADES", &url)).await;
    let answer = get(gateway.url("/v1/tables/trades/5")).await;
    assert_eq!((answer.status, &answer.json()["note"]), (200, &json!("first")));

    let with_password = url.replacen("postgres@", "postgres:hunter2@", 1);
    let output = lastgood(folder.path(), &["init", "--force", "--database", &with_password], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(written(folder.path()).contains("url = \"env:DATABASE_URL\""), "{}", written(folder.path()));
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(!said.contains("hunter2") && !written(folder.path()).contains("hunter2"), "{said}");
}

#[test]
fn a_wrong_answer_at_the_terminal_is_explained_and_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    // `script` gives it a terminal.
    let mut asked = Command::new("script")
        .args(["-qec", &format!("{} init", env!("CARGO_BIN_EXE_lastgood")), "/dev/null"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script, of bsdutils");
    let answers = "tradign\ndashboard\n\nnowhere\n127.0.0.1:9000\n";
    asked.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
    let output = asked.wait_with_output().unwrap();
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("\"tradign\" is not one of trading, dashboard"), "{shown}");
    assert!(shown.contains("\"nowhere\" is not an address and a port"), "{shown}");
    assert_eq!(
        (shown.matches("Who reads?").count(), shown.matches("Where should it listen?").count()),
        (2, 2),
        "{shown}"
    );
    let file = written(folder.path());
    assert!(file.contains("preset = \"dashboard\"") && file.contains("listen = \"127.0.0.1:9000\""), "{file}");
}

#[test]
fn what_cannot_be_looked_at_is_refused_with_a_hint_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (url, part) in [
        ("env:NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE"),
        ("mysql://localhost/x", "help:"),
        ("sqlite:missing.db", "help:"),
        ("postgres://localhost:1/x", "help:"),
    ] {
        let output = lastgood(folder.path(), &["init", "--database", url], &[]);
        assert_eq!(output.status.code(), Some(1), "{url}");
        assert!(text(&output.stderr).contains(part), "{url}: {}", text(&output.stderr));
        assert!(!folder.path().join("lastgood.toml").exists(), "{url}");
    }
}
