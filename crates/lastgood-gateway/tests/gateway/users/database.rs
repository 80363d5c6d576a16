//! Keys of users in the application's own database, sealed.

use lastgood_settings::StoreSetting;
use lastgood_testing::PostgresServer;
use sqlx::{Connection as _, SqliteConnection};

use super::*;

const QUERY: &str = "SELECT api_key, api_secret FROM user_keys WHERE user_id = :user AND environment = :environment";

/// A key of an account, or any other text, sealed for a user.
fn sealed(id: &str, secret: &str) -> String {
    let nowhere = CredentialStore::in_directory(Path::new("/nonexistent"));
    nowhere.seal(&master(), &user(id), &SecretString::from(secret)).unwrap()
}

/// Rows of the table: a user's key at an account, for an environment.
fn row(id: &str, environment: &str, account: usize) -> String {
    let account = &Sim::credentials()[account];
    insert(id, environment, &sealed(id, &account.key), &sealed(id, &account.secret))
}

fn insert(id: &str, environment: &str, key: &str, secret: &str) -> String {
    format!("INSERT INTO user_keys VALUES ('{id}', '{environment}', '{key}', '{secret}')")
}

const TABLE: &str = "CREATE TABLE user_keys (user_id TEXT, environment TEXT, api_key TEXT, api_secret TEXT, PRIMARY KEY (user_id, environment))";

/// A gateway whose users' keys are in the database at `url`.
async fn over(url: &str, query: &str, exchange: &Exchange, testnet: &Exchange) -> Running {
    let file = format!(
        "master_key = \"{MASTER}\"\n[admin]\ntoken = \"{TOKEN}\"\n[databases.main]\nurl = \"{url}\"\n\
         [credentials.sql]\ndatabase = \"main\"\nquery = \"{query}\"\n\
         [regions.symbols]\nfresh_for = \"0s\"\nstale_while_revalidate = \"0s\"\nsoft_timeout = \"3s\"\n"
    );
    let mut of_file = settings_of(&file, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    let testnet = testnet.url();
    of_file.binance = settings(&exchange.url(), &[("binance.testnet_spot_url", testnet.as_str())]).binance;
    of_file.store = StoreSetting::Memory;
    let data = tempfile::tempdir().unwrap();
    of_file.data_dir = data.path().to_owned();
    Running::serve(&of_file, data).await
}

async fn exchanges() -> (Exchange, Exchange) {
    (Exchange::start().await, Exchange::start_with(SimConfig { seed: 9, symbols: 90, ..SimConfig::default() }).await)
}

#[tokio::test]
async fn keys_of_users_are_read_from_postgresql_and_outlive_its_outage_for_a_while() {
    let sink = Sink::of_the_log("debug");
    let mut database = PostgresServer::start();
    let (exchange, testnet) = exchanges().await;
    let rows = [row("alice", "testnet", 0), row("alice", "mainnet", 0), row("bob", "mainnet", 1)];
    for statement in std::iter::once(TABLE.to_owned()).chain(rows) {
        database.execute(&statement);
    }
    let gateway = over(&database.url("postgres"), QUERY, &exchange, &testnet).await;
    assert_eq!(source(&gateway, "alice").await, "testnet");
    assert_eq!(source(&gateway, "bob").await, "mainnet");
    assert_eq!(source(&gateway, "carol").await, "public");
    assert_eq!((accounts(&testnet), accounts(&exchange)), (vec![Some(0)], vec![Some(1), None]));
    database.kill();
    assert_eq!(source(&gateway, "alice").await, "testnet", "its key is remembered");
    assert_eq!(source(&gateway, "dave").await, "public", "a user not known yet gets the public list");
    let (log, health) = (sink.text(), get(gateway.url("/health")).await);
    for account in Sim::credentials() {
        for secret in [&account.key, &account.secret] {
            assert!(!log.contains(secret) && !health.text().contains(secret), "{log}");
        }
    }
    assert!(!log.contains("lastgood-sealed-1"), "{log}");
}

#[tokio::test]
async fn uuids_and_numbers_can_be_user_ids() {
    let database = PostgresServer::start();
    let (exchange, testnet) = exchanges().await;
    let id = "6fa459ea-ee8a-3ca4-894e-db77e160355e";
    database.execute("CREATE TABLE by_uuid (user_id uuid, environment text, api_key text)");
    database.execute(&format!(
        "INSERT INTO by_uuid VALUES ('{id}', 'testnet', '{}')",
        sealed(id, &Sim::credentials()[0].key)
    ));
    database.execute("CREATE TABLE by_number (user_id bigint, environment text, api_key text)");
    database.execute(&format!(
        "INSERT INTO by_number VALUES (42, 'testnet', '{}')",
        sealed("42", &Sim::credentials()[0].key)
    ));
    for (query, id) in [
        ("SELECT api_key FROM by_uuid WHERE user_id = :user AND environment = :environment", id),
        (
            "SELECT api_key FROM by_number WHERE user_id = CAST(CAST(:user AS text) AS bigint) AND environment = :environment",
            "42",
        ),
    ] {
        let gateway = over(&database.url("postgres"), query, &exchange, &testnet).await;
        assert_eq!(source(&gateway, id).await, "testnet", "{query}");
        // An ID that the column cannot hold harms no user.
        assert_eq!(source(&gateway, "auth0|x").await, "public", "{query}");
        assert_eq!(source(&gateway, id).await, "testnet", "{query}");
    }
}

#[tokio::test]
async fn a_row_that_was_pasted_to_another_user_or_left_in_plain_text_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}?mode=rwc", path.display())).await.unwrap();
    let account = &Sim::credentials()[0];
    let stolen = insert("mallory", "testnet", &sealed("alice", &account.key), &sealed("alice", &account.secret));
    let plain = insert("paul", "testnet", &account.key, &account.secret);
    let absent = "INSERT INTO user_keys VALUES ('nora', 'testnet', NULL, NULL)".to_owned();
    for statement in [TABLE.to_owned(), row("alice", "testnet", 0), stolen, plain, absent] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    // From here on: the statements of the test are logged, too.
    let sink = Sink::of_the_log("debug");
    let (exchange, testnet) = exchanges().await;
    let gateway = over(&format!("sqlite:{}", path.display()), QUERY, &exchange, &testnet).await;
    for (id, expected) in [("alice", "testnet"), ("mallory", "public"), ("paul", "public"), ("nora", "public")] {
        assert_eq!(source(&gateway, id).await, expected, "{id}");
        assert_eq!(source(&gateway, id).await, expected, "{id}");
    }
    let log = sink.text();
    assert_eq!(log.matches("a user's API key is not used").count(), 2, "{log}");
    assert!(log.contains("does not open for this user") && log.contains("credentials seal --user"), "{log}");
    assert!(!log.contains(&account.key), "{log}");
}

#[test]
fn a_query_that_forgets_the_user_or_names_no_database_stops_the_start() {
    let database = "[databases.main]\nurl = \"sqlite:x\"\n";
    for (table, says) in [
        ("[credentials.sql]\ndatabase = \"main\"\nquery = \"SELECT api_key FROM k WHERE e = :environment\"", ":user"),
        ("[credentials.sql]\ndatabase = \"main\"\nquery = \"SELECT api_key FROM k WHERE u = :user\"", ":environment"),
        ("[credentials.sql]\ndatabase = \"mian\"\nquery = \"SELECT 1 WHERE :user = :environment\"", "main"),
        ("[credentials.sql]\ndatabase = \"main\"", "`query` is missing"),
        ("[credentials.sql]\nquerry = \"x\"", "did you mean"),
        ("[credentials.sq]\ndatabase = \"main\"", "unknown key"),
        ("credentials = 1", "expected a table"),
    ] {
        let problems = settings_of(&format!("{table}\n{database}"), &[]).map(drop).unwrap_err().to_string();
        assert!(problems.contains(says), "{table}: {problems}");
    }
}
