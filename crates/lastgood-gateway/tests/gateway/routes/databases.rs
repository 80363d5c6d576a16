//! Routes over a real database.

use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

use crate::support::{Running, eventually, get};

const ROUTE: &str = r#"
[[routes]]
path = "/v1/stocks/{symbol}"
region = "fleeting"
parameters.symbol = { type = "text", case = "upper" }
parameters.days = { type = "integer", min = 1, max = 10, default = 2 }
[[routes.sources]]
database = "main"
"#;

#[tokio::test]
async fn a_route_over_sqlite_answers_rows_and_the_last_good_ones_when_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stocks.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}?mode=rwc", path.display())).await.unwrap();
    for statement in [
        "CREATE TABLE prices (symbol TEXT, day INTEGER, close REAL)",
        "INSERT INTO prices VALUES ('AAPL', 1, 1.5), ('AAPL', 2, 2.5), ('AAPL', 3, 3.5), ('MSFT', 1, 9.0)",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    let head = format!(
        "[databases.main]\nurl = \"sqlite:{}\"\n[regions.fleeting]\nfresh_for = \"0s\"\nstale_while_revalidate = \"0s\"\n",
        path.display()
    );
    let of = async |source: &str| Running::of_file(&format!("{head}{ROUTE}{source}")).await;
    let list = "sql = \"SELECT day, close FROM prices WHERE symbol = :symbol ORDER BY day DESC LIMIT :days\"\n";
    let gateway = of(list).await;
    let got = get(gateway.url("/v1/stocks/aapl")).await;
    let expected = json!([{ "day": 3, "close": 3.5 }, { "day": 2, "close": 2.5 }]);
    assert_eq!((got.status, got.cache(), got.json()), (200, "MISS", expected.clone()), "{}", got.text());
    // A parameter that looks like SQL is an unknown symbol.
    let injected = get(gateway.url("/v1/stocks/'%20OR%201=1%20--")).await;
    assert_eq!((injected.status, injected.json()), (200, json!([])));
    let one = of("sql = \"SELECT close FROM prices WHERE symbol = :symbol AND day = :days\"\nrows = \"row\"\n").await;
    assert_eq!(get(one.url("/v1/stocks/MSFT?days=1")).await.json(), json!({ "close": 9.0 }));
    assert_eq!(get(one.url("/v1/stocks/MSFT?days=2")).await.status, 404);
    let page =
        of(&format!("{list}rows = \"page\"\ncount = \"SELECT count(*) FROM prices WHERE symbol = :symbol\"\n")).await;
    let paged = get(page.url("/v1/stocks/AAPL?days=1")).await;
    assert_eq!(paged.json(), json!({ "items": [{ "day": 3, "close": 3.5 }], "total": 3 }), "{}", paged.text());
    // Another program changes the table under the statement.
    let every = of("sql = \"SELECT * FROM prices WHERE symbol = :symbol ORDER BY day LIMIT :days\"\n").await;
    assert_eq!(get(every.url("/v1/stocks/MSFT")).await.json(), json!([{ "symbol": "MSFT", "day": 1, "close": 9.0 }]));
    sqlx::query("ALTER TABLE prices ADD COLUMN open REAL DEFAULT 8.5").execute(&mut connection).await.unwrap();
    let changed = json!([{ "symbol": "MSFT", "day": 1, "close": 9.0, "open": 8.5 }]);
    assert_eq!(get(every.url("/v1/stocks/MSFT")).await.json(), changed);
    sqlx::query("DROP TABLE prices").execute(&mut connection).await.unwrap();
    let kept = get(gateway.url("/v1/stocks/AAPL")).await;
    assert_eq!((kept.status, kept.cache(), kept.json()), (200, "LAST-GOOD", expected), "{}", kept.text());
    let never = get(gateway.url("/v1/stocks/TSLA")).await;
    assert_eq!(never.status, 503);
    assert!(!never.text().contains("SELECT") && !never.text().contains("stocks.db"), "{}", never.text());
}

#[tokio::test]
async fn a_sqlite_file_that_is_replaced_is_served_and_a_missing_one_leaves_the_last_good_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (path, next) = (folder.path().join("stocks.db"), folder.path().join("next.db"));
    let make = async |close: f64| {
        let url = format!("sqlite:{}?mode=rwc", next.display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        for statement in ["PRAGMA journal_mode = wal", "CREATE TABLE prices (close REAL)"] {
            sqlx::query(statement).execute(&mut connection).await.unwrap();
        }
        sqlx::query("INSERT INTO prices VALUES (?)").bind(close).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        std::fs::rename(&next, &path).unwrap();
    };
    make(1.5).await;
    let gateway = Running::of_file(&format!(
        "[databases.main]\nurl = \"sqlite:{}\"\n[regions.fleeting]\nfresh_for = \"0s\"\nstale_while_revalidate = \"0s\"\n\
         soft_timeout = \"10s\"\n{ROUTE}sql = \"SELECT close FROM prices\"\n",
        path.display()
    ))
    .await;
    let ask = async || get(gateway.url("/v1/stocks/AAPL")).await;
    for close in [1.5, 2.5, 3.5] {
        make(close).await;
        let got = ask().await;
        assert_eq!((got.cache(), got.json()), ("MISS", json!([{ "close": close }])), "{}", got.text());
    }
    std::fs::remove_file(&path).unwrap();
    let got = ask().await;
    assert_eq!((got.status, got.cache(), got.json()), (200, "LAST-GOOD", json!([{ "close": 3.5 }])), "{}", got.text());
    assert!(!path.exists(), "no reader makes a database");
    make(4.5).await;
    eventually("the new file is read", async || ask().await.json() == json!([{ "close": 4.5 }])).await;
}
