//! SQLite: what its files hold, and statements without an end.

use super::*;

async fn sqlite_file() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stocks.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    let sql =
        "CREATE TABLE stocks (id INTEGER PRIMARY KEY, symbol TEXT, price REAL, active BOOLEAN, listed TEXT, raw BLOB);
        INSERT INTO stocks VALUES (1, 'AAPL', 189.1, 1, '2025-01-31', NULL), (2, 'MSFT', 0.1, 0, '2024-06-01', x'00')";
    connection.execute(sqlx::raw_sql(sql)).await.unwrap();
    (folder, format!("sqlite:{}", path.display()))
}

#[tokio::test]
async fn a_sqlite_file_is_read_the_same_way() {
    let (_folder, url) = sqlite_file().await;
    let database = open(&url);
    let sql = "SELECT id, symbol, price, active, NULL AS none FROM stocks WHERE symbol = :symbol";
    let one = statement(&database, sql, Shape::Row);
    let got = body(&one, &[("symbol", text("AAPL"))]).await.unwrap();
    assert_eq!(got, r#"{"id":1,"symbol":"AAPL","price":189.1,"active":true,"none":null}"#);
    assert_eq!(body(&one, &[("symbol", text(ATTACK))]).await.unwrap_err().reason, Reason::NotFound);
    let day = Argument::Date(jiff::civil::date(2025, 1, 1));
    let min = Argument::Decimal(Decimal::from_str("0.1").unwrap());
    let sql = "SELECT id FROM stocks WHERE listed >= :since AND price > :min AND active = :active";
    let given = [("since", day), ("min", min), ("active", Argument::Boolean(true))];
    assert_eq!(list(&database, sql, &given).await.unwrap(), r#"[{"id":1}]"#);
    let shape = Shape::Page { count_sql: "SELECT count(*) FROM stocks".to_owned() };
    let page = statement(&database, "SELECT id FROM stocks ORDER BY id LIMIT :limit", shape);
    for _ in 0..2 {
        let got = body(&page, &[("limit", Argument::Integer(1))]).await.unwrap();
        assert_eq!(got, r#"{"items":[{"id":1}],"total":2}"#);
    }
    assert_eq!(list(&database, "SELECT raw FROM stocks", &[]).await.unwrap_err().reason, Reason::Malformed);
    let wrong = statement(&database, "SELECT prise FROM stocks", Shape::List);
    assert!(wrong.check().await.unwrap_err().to_string().contains("no such column: prise"));
    let write = "WITH a AS (SELECT 1) DELETE FROM stocks RETURNING id";
    assert!(list(&database, write, &[]).await.is_err());
    assert_eq!(list(&database, "SELECT count(*) AS n FROM stocks", &[]).await.unwrap(), r#"[{"n":2}]"#);
}

#[tokio::test]
async fn columns_that_another_program_adds_or_takes_away_do_not_empty_an_answer() {
    let (folder, url) = sqlite_file().await;
    let database = open(&url);
    let all = statement(&database, "SELECT * FROM stocks ORDER BY id LIMIT 1", Shape::List);
    let shape = Shape::Page { count_sql: "SELECT count(*) FROM stocks".to_owned() };
    let page = statement(&database, "SELECT * FROM stocks ORDER BY id LIMIT 1", shape);
    let path = folder.path().join("stocks.db");
    let mut other = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    let before = body(&all, &[]).await.unwrap();
    assert!(before.starts_with(r#"[{"id":1,"symbol":"AAPL""#), "{before}");
    body(&page, &[]).await.unwrap();
    for (change, has) in [
        ("ALTER TABLE stocks ADD COLUMN sector TEXT DEFAULT 'tech'", r#""sector":"tech"}"#),
        ("ALTER TABLE stocks DROP COLUMN raw", r#""listed":"2025-01-31","sector":"tech"}"#),
        ("ALTER TABLE stocks RENAME COLUMN sector TO industry", r#""industry":"tech"}"#),
    ] {
        other.execute(change).await.unwrap();
        // Several connections may have the statement prepared.
        for answered in futures_util::future::join_all((0..8).map(|_| body(&all, &[]))).await {
            let answered = answered.unwrap();
            assert!(answered.contains(has) && answered.starts_with(r#"[{"id":1,"#), "{change}: {answered}");
        }
        let paged = body(&page, &[]).await.unwrap();
        assert!(paged.contains(has) && paged.ends_with(r#"],"total":2}"#), "{change}: {paged}");
    }
}

#[tokio::test]
async fn a_worker_of_the_driver_that_dies_in_an_answer_is_no_end_of_it() {
    let (folder, url) = sqlite_file().await;
    let all = statement(&open(&url), "SELECT * FROM stocks", Shape::List);
    // A connection that keeps its prepared statements, as drivers do: the worker panics on a row with a new column.
    let path = folder.path().join("stocks.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let (mut keeping, mut other) = (options.connect().await.unwrap(), options.connect().await.unwrap());
    sqlx::query("DELETE FROM stocks WHERE raw IS NOT NULL").execute(&mut other).await.unwrap();
    sqlite::snapshot(&mut keeping).await.unwrap();
    let answer = sqlite::read(&mut keeping, &all, &Arguments::default()).await;
    assert!(answer.is_ok());
    other.execute("ALTER TABLE stocks ADD COLUMN sector TEXT DEFAULT 'tech'").await.unwrap();
    sqlite::snapshot(&mut keeping).await.unwrap();
    let broken = sqlite::read(&mut keeping, &all, &Arguments::default()).await;
    let Err(fault) = broken else { panic!("the silence of a dead worker is taken for the last row") };
    assert_eq!(all.failure(fault).reason, Reason::Unreachable);
}

#[tokio::test]
async fn an_endless_sqlite_statement_is_ended_and_a_missing_file_is_reported() {
    let (folder, url) = sqlite_file().await;
    let database = impatient(&url);
    let started = Instant::now();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS m FROM n";
    for _ in 0..3 {
        let asked = Instant::now();
        assert_eq!(list(&database, endless, &[]).await.unwrap_err().reason, Reason::TimedOut);
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    }
    assert!(list(&database, "SELECT 1 AS a", &[]).await.is_ok());
    while sqlite_threads() > 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(started.elapsed() < Duration::from_secs(20), "abandoned statements go on");
    }
    let missing = open(&format!("sqlite:{}/none.db", folder.path().display()));
    assert_eq!(list(&missing, "SELECT 1 AS a", &[]).await.unwrap_err().reason, Reason::Unreachable);
}
