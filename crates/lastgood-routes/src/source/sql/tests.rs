use std::str::FromStr as _;

use lastgood_testing::{Chaos, ChaosProxy, PostgresServer};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::time::Instant;

use super::*;
use crate::arguments::Argument;

const ATTACK: &str = "'; DROP TABLE stocks; --";

fn opened(url: &str) -> Result<Database, SqlError> {
    Database::open("main", &DatabaseSpec::new(url), &ConnectOptions::default())
}

fn open(url: &str) -> Database {
    opened(url).unwrap()
}

fn impatient(url: &str) -> Database {
    single(url, Duration::from_millis(300))
}

/// A database with one connection, which no load waits for longer than 500 ms.
fn single(url: &str, statement_timeout: Duration) -> Database {
    let spec = DatabaseSpec { max_connections: 1, statement_timeout, ..DatabaseSpec::new(url) };
    let connect = ConnectOptions { connect_timeout: Duration::from_millis(500), ..ConnectOptions::default() };
    Database::open("main", &spec, &connect).unwrap()
}

fn parameters() -> Vec<(String, ParameterType)> {
    let kinds = [
        ("symbol", ParameterType::Text),
        ("limit", ParameterType::Integer),
        ("min", ParameterType::Decimal),
        ("active", ParameterType::Boolean),
        ("since", ParameterType::Date),
    ];
    kinds.map(|(name, kind)| (name.to_owned(), kind)).to_vec()
}

fn statement(database: &Database, sql: &str, shape: Shape) -> Statement {
    Statement::new(database.clone(), &StatementSpec::new("main", sql, shape), parameters()).unwrap()
}

fn arguments(given: &[(&str, Argument)]) -> Arguments {
    Arguments(given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn text(value: &str) -> Argument {
    Argument::Text(value.to_owned())
}

async fn body(statement: &Statement, given: &[(&str, Argument)]) -> Result<String, Error> {
    match statement.load(&arguments(given), None).await? {
        Loaded::Answer(answer) => Ok(String::from_utf8(answer.body.to_vec()).unwrap()),
        other => panic!("{other:?}"),
    }
}

async fn list(database: &Database, sql: &str, given: &[(&str, Argument)]) -> Result<String, Error> {
    body(&statement(database, sql, Shape::List), given).await
}

fn refused(database: &Database, sql: &str) -> String {
    let statement = StatementSpec::new("main", sql, Shape::List);
    lastgood::error_chain(&Statement::new(database.clone(), &statement, parameters()).unwrap_err())
}

fn stocks() -> PostgresServer {
    let server = PostgresServer::start();
    server.execute(
        "CREATE TYPE side AS ENUM ('buy', 'sell');
         CREATE TABLE stocks (id int PRIMARY KEY, symbol varchar(20), price numeric(20,8), volume bigint, side side,
             listed date, active boolean, seen timestamptz, ref uuid);
         INSERT INTO stocks VALUES
             (1, 'AAPL', 189.10000000, 9007199254740993, 'buy', '2025-01-31', true, '2025-01-31 12:00:00.5+02',
                 '11111111-2222-3333-4444-555555555555'),
             (2, 'MSFT', 0.00000001, 2, 'sell', '2024-06-01', false, NULL, NULL)",
    );
    server
}

#[tokio::test]
async fn what_postgres_holds_comes_as_json_to_the_last_digit() {
    let server = PostgresServer::start();
    let database = open(&server.url("postgres"));
    let cases = [
        ("12345678901234567890.1234567890123456789::numeric", "12345678901234567890.1234567890123456789"),
        ("0.10::numeric", "0.10"),
        ("-0.00001234::numeric", "-0.00001234"),
        ("100000000::numeric", "100000000"),
        ("1e20::numeric", "100000000000000000000"),
        ("0::numeric(10,4)", "0.0000"),
        ("10000.0001::numeric", "10000.0001"),
        ("'NaN'::numeric", "null"),
        ("9223372036854775807::int8", "9223372036854775807"),
        ("(-32768)::int2", "-32768"),
        ("0.1::float8", "0.1"),
        ("0.1::float4", "0.1"),
        ("1e300::float8", "1e+300"),
        ("'Infinity'::float8", "null"),
        ("true", "true"),
        ("NULL::text", "null"),
        ("E'a\"\\n\\u00e9'", "\"a\\\"\\né\""),
        ("'2025-01-31'::date", "\"2025-01-31\""),
        ("'1969-12-31'::date", "\"1969-12-31\""),
        ("'12:30:01.25'::time", "\"12:30:01.25\""),
        ("'2025-01-31 12:00:00.5'::timestamp", "\"2025-01-31T12:00:00.5\""),
        ("'2025-01-31 12:00:00+02'::timestamptz", "\"2025-01-31T10:00:00Z\""),
        ("'infinity'::timestamptz", "\"infinity\""),
        ("'{\"b\": 1.10, \"a\": 2}'::json", "{\"b\": 1.10, \"a\": 2}"),
        ("'{\"a\": 1.10}'::jsonb", "{\"a\": 1.10}"),
        ("'11111111-2222-3333-4444-55555555555a'::uuid", "\"11111111-2222-3333-4444-55555555555a\""),
        ("ARRAY[1.10, NULL, 2]::numeric[]", "[1.10,null,2]"),
        ("ARRAY[]::text[]", "[]"),
    ];
    for (sql, wanted) in cases {
        let got = body(&statement(&database, &format!("SELECT {sql} AS v"), Shape::Row), &[]).await;
        assert_eq!(got.unwrap_or_else(|why| panic!("{sql}: {why}")), format!("{{\"v\":{wanted}}}"), "{sql}");
    }
    for sql in ["'1 day'::interval", "'\\x00'::bytea", "'{{1,2},{3,4}}'::int[]", "'10.0.0.1'::inet"] {
        let statement = statement(&database, &format!("SELECT {sql} AS v"), Shape::Row);
        let why = body(&statement, &[]).await.unwrap_err();
        assert_eq!(why.reason, Reason::Malformed, "{sql}");
        if !sql.contains("int[]") {
            let why = statement.check().await.unwrap_err().to_string();
            assert!(why.contains("column `v`") && why.contains("cast"), "{why}");
        }
    }
}

#[tokio::test]
async fn values_are_bound_with_the_types_that_the_statement_wants() {
    let server = stocks();
    let database = open(&server.url("postgres"));
    let decimal = |digits: &str| Argument::Decimal(Decimal::from_str(digits).unwrap());
    let day = Argument::Date(jiff::civil::date(2025, 1, 1));
    let cases = [
        ("symbol = :symbol", ("symbol", text("AAPL")), "[1]"),
        (":symbol IS NULL OR symbol = :symbol", ("symbol", Argument::Absent), "[1,2]"),
        (":symbol IS NULL OR symbol = :symbol", ("symbol", text("MSFT")), "[2]"),
        ("side = :symbol", ("symbol", text("sell")), "[2]"),
        ("ref = :symbol", ("symbol", text("11111111-2222-3333-4444-555555555555")), "[1]"),
        ("price > :min", ("min", decimal("0.00000001")), "[1]"),
        ("id > :min", ("min", decimal("1.5")), "[2]"),
        ("volume = :limit", ("limit", Argument::Integer(9_007_199_254_740_993)), "[1]"),
        ("id = :limit", ("limit", Argument::Integer(3_000_000_000)), "[]"),
        ("substr(symbol, :limit) = 'SFT'", ("limit", Argument::Integer(2)), "[2]"),
        ("active = :active", ("active", Argument::Boolean(true)), "[1]"),
        ("listed >= :since", ("since", day.clone()), "[1]"),
        ("seen >= :since", ("since", day), "[1]"),
    ];
    for (condition, given, wanted) in cases {
        let sql = format!("SELECT id FROM stocks WHERE {condition} ORDER BY id");
        let got = list(&database, &sql, &[given]).await.unwrap_or_else(|why| panic!("{condition}: {why}"));
        let rows: Vec<Value> = serde_json::from_str(&got).unwrap();
        let ids: Vec<&Value> = rows.iter().map(|row| &row["id"]).collect();
        assert_eq!(json!(ids).to_string(), wanted, "{condition}");
    }
    let mixed = "SELECT symbol FROM stocks WHERE side = :symbol AND id > :min";
    let given = [("symbol", text("sell")), ("min", decimal("1.5"))];
    assert_eq!(list(&database, mixed, &given).await.unwrap(), r#"[{"symbol":"MSFT"}]"#);
    let wrong = "SELECT id FROM stocks WHERE ref = :symbol";
    assert_eq!(list(&database, wrong, &[("symbol", text("no uuid"))]).await.unwrap_err().reason, Reason::NotFound);
    let wrong = "SELECT id FROM stocks WHERE side = :symbol";
    assert_eq!(list(&database, wrong, &[("symbol", text("hold"))]).await.unwrap_err().reason, Reason::NotFound);
    let wrong = statement(&database, "SELECT id FROM stocks WHERE id = :symbol", Shape::List);
    let why = wrong.check().await.unwrap_err().to_string();
    assert!(why.contains("`symbol` is declared as text") && why.contains("int4"), "{why}");
}

#[tokio::test]
async fn an_attempt_at_injection_is_a_text_like_any_other() {
    let server = stocks();
    let database = open(&server.url("postgres"));
    let got = list(&database, "SELECT :symbol::text AS echo", &[("symbol", text(ATTACK))]).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&got).unwrap(), json!([{"echo": ATTACK}]));
    for attack in [ATTACK, "' OR '1'='1", "\\'; DROP TABLE stocks; --", ":limit", "$1", "a\0b"] {
        let got = list(&database, "SELECT * FROM stocks WHERE symbol = :symbol", &[("symbol", text(attack))]).await;
        assert!(matches!(&got, Ok(rows) if rows == "[]") || got.is_err_and(|why| why.reason == Reason::NotFound));
    }
    assert_eq!(server.execute("SELECT count(*) FROM stocks"), "2");
}

#[tokio::test]
async fn nothing_can_be_written() {
    let server = stocks();
    let database = open(&server.url("postgres"));
    let sql = "WITH gone AS (DELETE FROM stocks RETURNING id) SELECT * FROM gone";
    assert_eq!(list(&database, sql, &[]).await.unwrap_err().reason, Reason::Upstream);
    assert_eq!(server.execute("SELECT count(*) FROM stocks"), "2");
}

#[tokio::test]
async fn shapes_hold_what_they_say() {
    let server = stocks();
    let database = open(&server.url("postgres"));
    let one = statement(&database, "SELECT volume AS b, id AS a FROM stocks WHERE symbol = :symbol", Shape::Row);
    let row = body(&one, &[("symbol", text("AAPL"))]).await.unwrap();
    assert_eq!(row, r#"{"b":9007199254740993,"a":1}"#);
    assert_eq!(body(&one, &[("symbol", text("NONE"))]).await.unwrap_err().reason, Reason::NotFound);
    let two = statement(&database, "SELECT id FROM stocks", Shape::Row);
    assert_eq!(body(&two, &[]).await.unwrap_err().reason, Reason::Malformed);
    let shape = Shape::Page { count_sql: "SELECT count(*) FROM stocks".to_owned() };
    let page = statement(&database, "SELECT id FROM stocks ORDER BY id LIMIT :limit", shape);
    let got = body(&page, &[("limit", Argument::Integer(1))]).await.unwrap();
    assert_eq!(got, r#"{"items":[{"id":1}],"total":2}"#);
    // On the same connection, which is of use still.
    assert!(body(&page, &[("limit", Argument::Integer(2))]).await.unwrap().contains(r#"{"id":2}],"total":2"#));
    assert_eq!(page.describe().await.unwrap(), "limit int8");
}

#[tokio::test]
async fn an_answer_beyond_its_limits_is_refused_and_never_cut() {
    let server = PostgresServer::start();
    let database = impatient(&server.url("postgres"));
    let mut spec = StatementSpec::new("main", "SELECT generate_series(1, :limit) AS n", Shape::List);
    spec.max_rows = 10;
    spec.max_bytes = 1000;
    let bounded = Statement::new(database.clone(), &spec, parameters()).unwrap();
    assert!(body(&bounded, &[("limit", Argument::Integer(10))]).await.is_ok());
    let why = body(&bounded, &[("limit", Argument::Integer(11))]).await.unwrap_err();
    assert!(why.reason == Reason::Malformed && why.message.contains("max_rows"), "{why}");
    spec.sql = "SELECT repeat('x', :limit) AS n".to_owned();
    let bounded = Statement::new(database, &spec, parameters()).unwrap();
    let why = body(&bounded, &[("limit", Argument::Integer(2000))]).await.unwrap_err();
    assert!(why.reason == Reason::Malformed && why.message.contains("max_bytes"), "{why}");
    assert!(body(&bounded, &[("limit", Argument::Integer(20))]).await.is_ok(), "the one connection is of use still");
}

#[tokio::test]
async fn a_slow_statement_ends_on_the_server_too() {
    let server = PostgresServer::start();
    let database = impatient(&server.url("postgres"));
    let asked = Instant::now();
    let why = list(&database, "SELECT 1 AS a FROM pg_sleep(20)", &[]).await.unwrap_err();
    assert_eq!(why.reason, Reason::TimedOut);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(20)'";
    assert_eq!(server.execute(running), "0");
    assert_eq!(list(&database, "SELECT 1 AS a", &[]).await.unwrap(), r#"[{"a":1}]"#);
}

#[tokio::test]
async fn a_hung_database_holds_no_load_and_is_used_again_when_it_goes_on() {
    let server = PostgresServer::start();
    let database = impatient(&server.url("postgres"));
    let one = statement(&database, "SELECT 1 AS a", Shape::List);
    let asked = Instant::now();
    let during = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.stop();
    };
    let (slow, ()) = tokio::join!(list(&database, "SELECT 1 AS a FROM pg_sleep(0.25)", &[]), during);
    assert_eq!(slow.unwrap_err().reason, Reason::TimedOut);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    for _ in 0..3 {
        let asked = Instant::now();
        let why = body(&one, &[]).await.unwrap_err();
        assert!(matches!(why.reason, Reason::TimedOut | Reason::Unreachable), "{why}");
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    }
    server.cont();
    assert!(body(&one, &[]).await.is_ok());
}

#[tokio::test]
async fn a_table_that_changes_under_a_prepared_statement_is_read_again() {
    let server = stocks();
    let database = impatient(&server.url("postgres"));
    let all = statement(&database, "SELECT * FROM stocks WHERE id = :limit", Shape::Row);
    let first = [("limit", Argument::Integer(1))];
    assert!(body(&all, &first).await.is_ok());
    server.execute("ALTER TABLE stocks ADD COLUMN sector text DEFAULT 'tech'");
    assert!(body(&all, &first).await.unwrap().contains(r#""sector":"tech""#));
}

#[tokio::test]
async fn what_the_database_says_is_for_the_operator_and_not_for_clients() {
    let server = stocks();
    let database = open(&server.url("postgres"));
    let wrong = statement(&database, "SELECT prise FROM stocks", Shape::List);
    let why = wrong.check().await.unwrap_err().to_string();
    assert!(why.contains("column \"prise\" does not exist"), "{why}");
    let why = body(&wrong, &[]).await.unwrap_err();
    assert_eq!(why.reason, Reason::Upstream);
    assert!(!why.message.contains("prise") && !why.message.contains("stocks"), "{why}");
    let twice = statement(&database, "SELECT id, symbol AS id FROM stocks", Shape::List);
    assert!(twice.check().await.unwrap_err().to_string().contains("two columns are named `id`"));
    assert_eq!(body(&twice, &[]).await.unwrap_err().reason, Reason::Malformed);
}

#[tokio::test]
async fn a_password_is_shown_nowhere() {
    let database = open("postgres://me:hunter2@127.0.0.1:1/data?sslmode=disable");
    let one = statement(&database, "SELECT 1 AS a", Shape::List);
    let shown = format!("{database} {database:?} {one} {one:?} {:?}", one.check().await);
    assert!(shown.contains("127.0.0.1:1/data") && !shown.contains("hunter2"), "{shown}");
    let why = opened("postgres://me:hunter2@[/x").unwrap_err().to_string();
    assert!(!why.contains("hunter2"), "{why}");
}

#[tokio::test]
async fn a_root_certificate_that_would_not_be_looked_at_is_refused() {
    // A user that is no part of a URL as it stands.
    let url = |mode: &str| format!("postgres://%5Bme@127.0.0.1:1/data?{mode}sslrootcert=/nowhere/root.pem");
    let open = |mode: &str| opened(&url(mode));
    for mode in ["", "sslmode=prefer&", "sslmode=allow&"] {
        let why = open(mode).unwrap_err().to_string();
        assert!(why.contains("would not be looked at; write sslmode=verify-full"), "{why}");
    }
    for mode in ["sslmode=disable&", "sslmode=require&", "sslmode=verify-ca&", "sslmode=verify-full&"] {
        assert!(open(mode).is_ok(), "{mode}");
    }
}

#[tokio::test]
async fn a_postgres_answer_that_breaks_off_is_none() {
    let server = stocks();
    let direct = url::Url::parse(&server.url("postgres")).unwrap();
    let proxy = ChaosProxy::start(format!("{}:{}", direct.host_str().unwrap(), direct.port().unwrap())).await;
    let url = format!("postgres://{}@{}/postgres?sslmode=disable", direct.username(), proxy.address());
    let database = open(&url);
    let many =
        statement(&database, "SELECT i, repeat('x', 100) AS text FROM generate_series(1, 5000) AS i", Shape::List);
    let whole = body(&many, &[]).await.unwrap();
    for bytes in [1, 60, 1_000, 10_000, 100_000, 400_000] {
        proxy.set(Chaos::Truncate(bytes));
        let cut = body(&many, &[]).await;
        assert!(cut.is_err_and(|why| why.reason == Reason::Unreachable), "after {bytes} bytes");
        proxy.set(Chaos::Pass);
        assert_eq!(body(&many, &[]).await.unwrap().len(), whole.len());
    }
}

/// The threads of this process that work for a SQLite connection.
fn sqlite_threads() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("sqlx-sqlite")).count()
}

#[tokio::test]
async fn a_statement_that_cannot_be_right_is_refused_when_it_is_declared() {
    let database = open("postgres://me@127.0.0.1:1/data");
    assert!(refused(&database, "SELECT :unknown").contains("`:unknown`"));
    assert!(refused(&database, "SELECT 1; SELECT 2").contains("more than one statement"));
    assert!(refused(&database, "DELETE FROM t").contains("only statements that read"));
    assert!(opened("mysql://x").is_err());
}

mod connecting;
mod poolers;
mod replaced;
mod sqlite_files;
