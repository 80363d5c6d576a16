//! Behind a real PgBouncer.

use futures_util::future::join_all;
use lastgood_testing::{Chaos, ChaosProxy, PgBouncer};

use super::*;

const TRANSACTIONS: &str = "pool_mode = transaction\ndefault_pool_size = 2";

fn symbols(database: &Database) -> Statement {
    statement(database, "SELECT id FROM stocks WHERE symbol = :symbol AND id >= :limit", Shape::List)
}

async fn id_of(statement: &Statement, symbol: &str) -> Result<String, Error> {
    body(statement, &[("symbol", text(symbol)), ("limit", Argument::Integer(0))]).await
}

/// Waits until a question is answered again.
async fn answered_again(statement: &Statement) {
    let started = Instant::now();
    while id_of(statement, "AAPL").await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "no answer any more");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Statements that stay on the sessions of the server.
fn sessions_in_transaction(server: &PostgresServer) -> String {
    server.execute("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'")
}

#[tokio::test]
async fn a_pooler_in_any_mode_that_has_transactions_needs_no_configuration() {
    let server = stocks();
    for settings in [
        TRANSACTIONS,
        "pool_mode = transaction\ndefault_pool_size = 1\nserver_reset_query_always = 1",
        // Takes our options and drops them.
        "pool_mode = transaction\nignore_startup_parameters = options, extra_float_digits",
        "pool_mode = session",
        "pool_mode = session\nignore_startup_parameters = options, extra_float_digits",
    ] {
        let pooler = PgBouncer::start(&server, settings);
        let database = open(&pooler.url("postgres"));
        let one = symbols(&database);
        assert_eq!(one.check().await.map_err(|why| why.to_string()), Ok(()), "{settings}");
        for _ in 0..3 {
            assert_eq!(id_of(&one, "MSFT").await.unwrap(), r#"[{"id":2}]"#, "{settings}");
        }
        let shape = Shape::Page { count_sql: "SELECT count(*) FROM stocks WHERE id > :limit".to_owned() };
        let page = statement(&database, "SELECT id FROM stocks ORDER BY id LIMIT :limit", shape);
        let got = body(&page, &[("limit", Argument::Integer(1))]).await.unwrap();
        assert_eq!(got, r#"{"items":[{"id":1}],"total":1}"#, "{settings}");
        // Types that are the database's own, and such as only their place in the statement tells.
        let own = statement(&database, "SELECT side, seen FROM stocks WHERE side = :symbol", Shape::List);
        let got = body(&own, &[("symbol", text("buy"))]).await.unwrap();
        assert_eq!(got, r#"[{"side":"buy","seen":"2025-01-31T10:00:00.5Z"}]"#, "{settings}");
        let shown = statement(&database, "SELECT substr(symbol, :limit) AS s FROM stocks WHERE id = 2", Shape::List);
        let got = body(&shown, &[("limit", Argument::Integer(2))]).await.unwrap();
        assert_eq!(got, r#"[{"s":"SFT"}]"#, "{settings}");
        assert_eq!(sessions_in_transaction(&server), "0", "{settings}");
    }
}

#[tokio::test]
async fn many_questions_at_once_over_few_sessions_each_get_their_own_answer() {
    let server = stocks();
    server.execute("INSERT INTO stocks (id, symbol) SELECT n, 'S' || n FROM generate_series(100, 199) AS n");
    let pooler = PgBouncer::start(&server, TRANSACTIONS);
    // Two gateways, which name their statements alike.
    let databases = [open(&pooler.url("postgres")), open(&pooler.url("postgres"))];
    let shapes = |number: usize| format!("SELECT id, {number} AS n FROM stocks WHERE symbol = :symbol");
    let statements: Vec<Statement> =
        (0..10).map(|number| statement(&databases[number % 2], &shapes(number), Shape::List)).collect();
    for round in 0..5 {
        let questions = (100..200).map(|id| {
            let number = (id + round) % statements.len();
            let one = &statements[number];
            async move {
                let got = body(one, &[("symbol", text(&format!("S{id}")))]).await.unwrap();
                assert_eq!(got, format!(r#"[{{"id":{id},"n":{number}}}]"#));
            }
        });
        join_all(questions).await;
    }
    assert_eq!(server.execute("SELECT count(*) <= 2 FROM pg_stat_activity WHERE application_name = 'lastgood'"), "t");
}

#[tokio::test]
async fn other_clients_statements_of_the_same_name_are_left_alone() {
    let server = stocks();
    let pooler = PgBouncer::start(&server, "pool_mode = transaction\ndefault_pool_size = 1");
    // What another client of the same driver left on the one session.
    let other = sqlx::postgres::PgConnectOptions::from_str(&pooler.url("postgres")).unwrap().extra_float_digits(None);
    let mut other = other.connect().await.unwrap();
    for number in 1..8 {
        let prepare = format!("PREPARE sqlx_s_{number} AS SELECT 'another client''s' AS id");
        other.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(prepare))).await.unwrap();
    }
    let database = open(&pooler.url("postgres"));
    let one = symbols(&database);
    assert_eq!(id_of(&one, "MSFT").await.unwrap(), r#"[{"id":2}]"#);
    assert_eq!(one.check().await.map_err(|why| why.to_string()), Ok(()));
    let shape = Shape::Page { count_sql: "SELECT count(*) FROM stocks".to_owned() };
    let page = statement(&database, "SELECT id FROM stocks WHERE side = :symbol", shape);
    assert_eq!(body(&page, &[("symbol", text("sell"))]).await.unwrap(), r#"{"items":[{"id":2}],"total":2}"#);
    let left = sqlx::raw_sql("SELECT count(*)::text FROM pg_prepared_statements").fetch_one(&mut other).await.unwrap();
    assert_eq!(sqlx::Row::get::<String, _>(&left, 0), "7", "ours are gone, theirs are not");
    let theirs = sqlx::raw_sql("EXECUTE sqlx_s_1").fetch_one(&mut other).await.unwrap();
    assert_eq!(sqlx::Row::get::<String, _>(&theirs, 0), "another client's");
}

#[tokio::test]
async fn behind_a_pooler_nothing_can_be_written_and_a_slow_statement_ends_on_the_server_too() {
    let server = stocks();
    let pooler = PgBouncer::start(
        &server,
        "pool_mode = transaction\ndefault_pool_size = 1\nignore_startup_parameters = options, extra_float_digits",
    );
    let database = impatient(&pooler.url("postgres"));
    server.execute(
        "CREATE FUNCTION write() RETURNS int LANGUAGE sql AS 'DELETE FROM stocks RETURNING id';
         CREATE FUNCTION permit() RETURNS text LANGUAGE sql AS $$SELECT set_config('transaction_read_only', 'off', true)$$",
    );
    for sql in [
        "WITH gone AS (DELETE FROM stocks RETURNING id) SELECT * FROM gone",
        "SELECT write() AS a",
        "SELECT permit() AS a, write() AS b",
    ] {
        assert_eq!(list(&database, sql, &[]).await.unwrap_err().reason, Reason::Upstream, "{sql}");
    }
    assert_eq!(server.execute("SELECT count(*) FROM stocks"), "2");
    let asked = Instant::now();
    let why = list(&database, "SELECT 1 AS a FROM pg_sleep(20)", &[]).await.unwrap_err();
    assert_eq!(why.reason, Reason::TimedOut);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(20)'";
    assert_eq!(server.execute(running), "0");
    let session = "SELECT pid FROM pg_stat_activity WHERE application_name = 'lastgood'";
    let before = server.execute(session);
    // A question that is wrong costs the pooler no session.
    let wrong = "SELECT id FROM stocks WHERE side = :symbol";
    for wrong_value in ["hold", "a\0b", "buyer"] {
        let got = list(&database, wrong, &[("symbol", text(wrong_value))]).await;
        assert_eq!(got.unwrap_err().reason, Reason::NotFound, "{wrong_value:?}");
    }
    let wrong = "SELECT substr(symbol, :limit) AS s FROM stocks";
    let given = [("limit", Argument::Integer(3_000_000_000))];
    assert_eq!(list(&database, wrong, &given).await.unwrap_err().reason, Reason::NotFound);
    let many = "SELECT generate_series(1, 100000) AS n";
    assert_eq!(list(&database, many, &[]).await.unwrap_err().reason, Reason::Malformed);
    assert_eq!(list(&database, "SELECT 1 AS a", &[]).await.unwrap(), r#"[{"a":1}]"#);
    assert_eq!(server.execute(session), before);
    assert_eq!(sessions_in_transaction(&server), "0");
}

#[tokio::test]
async fn what_others_set_on_a_shared_session_changes_no_answer() {
    let server = stocks();
    let pooler = PgBouncer::start(&server, "pool_mode = transaction\ndefault_pool_size = 1");
    let other = sqlx::postgres::PgConnectOptions::from_str(&pooler.url("postgres")).unwrap().extra_float_digits(None);
    let mut other = other.connect().await.unwrap();
    let set = "SET DateStyle = 'German'; SET extra_float_digits = -10; SET default_transaction_read_only = off;
               SET statement_timeout = 0";
    other.execute(sqlx::raw_sql(set)).await.unwrap();
    let database = open(&pooler.url("postgres"));
    let sql = "SELECT '2025-01-31'::date::text AS day, (0.1::float8 + 0.2)::text AS number,
                      current_setting('TimeZone') AS zone, current_setting('statement_timeout') AS timeout";
    let got = list(&database, sql, &[]).await.unwrap();
    assert_eq!(got, r#"[{"day":"2025-01-31","number":"0.30000000000000004","zone":"UTC","timeout":"2s"}]"#);
}

#[tokio::test]
async fn a_table_that_changes_behind_a_pooler_is_read_as_it_is_now() {
    let server = stocks();
    let pooler = PgBouncer::start(&server, TRANSACTIONS);
    let database = open(&pooler.url("postgres"));
    let all = statement(&database, "SELECT * FROM stocks WHERE id = :limit", Shape::Row);
    let first = [("limit", Argument::Integer(1))];
    assert!(body(&all, &first).await.is_ok());
    server
        .execute("ALTER TABLE stocks ADD COLUMN sector text DEFAULT 'tech'; ALTER TABLE stocks ALTER volume TYPE text");
    let got = body(&all, &first).await.unwrap();
    assert!(got.contains(r#""sector":"tech""#) && got.contains(r#""volume":"9007199254740993""#), "{got}");
}

#[tokio::test]
async fn a_pooler_asks_for_a_password_by_scram() {
    let server = stocks();
    let pooler = PgBouncer::start_with_password(&server, "se%cret", TRANSACTIONS);
    let url = |password: &str| format!("postgres://me:{password}@127.0.0.1:{}/postgres?sslmode=disable", pooler.port());
    let one = symbols(&open(&url("se%25cret")));
    assert_eq!(one.check().await.map_err(|why| why.to_string()), Ok(()));
    assert_eq!(id_of(&one, "AAPL").await.unwrap(), r#"[{"id":1}]"#);
    let wrong = symbols(&open(&url("wrong")));
    let why = wrong.check().await.unwrap_err().to_string();
    assert!(why.contains("authentication failed; check its user and password"), "{why}");
    assert_eq!(id_of(&wrong, "AAPL").await.unwrap_err().message, "the database does not let the gateway in");
}

#[tokio::test]
async fn a_pooler_that_ends_connections_or_itself_costs_no_wrong_answer() {
    let server = stocks();
    let mut pooler = PgBouncer::start(
        &server,
        "pool_mode = transaction\ndefault_pool_size = 2\nserver_lifetime = 0\nserver_idle_timeout = 1",
    );
    let database = open(&pooler.url("postgres"));
    let (apple, other) = (symbols(&database), symbols(&database));
    for round in 0..4 {
        let asking = async {
            for _ in 0..40 {
                let (first, second) = tokio::join!(id_of(&apple, "AAPL"), id_of(&other, "MSFT"));
                assert!(first.as_ref().is_ok_and(|got| got == r#"[{"id":1}]"#) || first.is_err());
                assert!(second.as_ref().is_ok_and(|got| got == r#"[{"id":2}]"#) || second.is_err());
            }
        };
        let disturbing = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            match round {
                0 => drop(pooler.console("RECONNECT")),
                1 => drop(server.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lastgood'",
                )),
                _ => pooler.restart(),
            }
        };
        tokio::join!(asking, disturbing);
        answered_again(&apple).await;
    }
}

#[tokio::test]
async fn a_paused_pooler_holds_no_load_longer_than_its_time() {
    let server = stocks();
    let pooler = PgBouncer::start(&server, TRANSACTIONS);
    let database = impatient(&pooler.url("postgres"));
    let one = symbols(&database);
    assert!(id_of(&one, "AAPL").await.is_ok());
    pooler.console("PAUSE postgres");
    let asked = Instant::now();
    let why = id_of(&one, "AAPL").await.unwrap_err();
    assert!(matches!(why.reason, Reason::TimedOut | Reason::Unreachable), "{why}");
    let why = one.check().await.unwrap_err().to_string();
    assert!(why.contains("the pooler did not answer in time; is the database behind it paused"), "{why}");
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    pooler.console("RESUME postgres");
    answered_again(&one).await;
}

#[tokio::test]
async fn check_names_the_fix_for_what_a_pooler_says() {
    let mut server = stocks();
    let cases = [
        (
            "pool_mode = statement",
            "",
            "transaction blocks not allowed in statement pooling mode",
            "pool_mode be transaction",
        ),
        (
            TRANSACTIONS,
            "&options=-c%20search_path%3Dmine",
            "unsupported startup parameter",
            "ALTER ROLE user SET search_path",
        ),
        ("max_client_conn = 0", "", "no more connections allowed", "raise its default_pool_size or max_client_conn"),
    ];
    for (settings, parameters, said, fix) in cases {
        let pooler = PgBouncer::start(&server, settings);
        let one = symbols(&open(&format!("{}{parameters}", pooler.url("postgres"))));
        let why = one.check().await.unwrap_err().to_string();
        let (what, hint) = why.rsplit_once("; ").unwrap();
        assert!(what.contains(said) && hint.contains(fix), "{why}");
        assert!(id_of(&one, "AAPL").await.is_err());
    }
    server.kill();
    let pooler = PgBouncer::start(&server, "pool_mode = transaction\nserver_login_retry = 1");
    let one = symbols(&open(&pooler.url("postgres")));
    let why = one.check().await.unwrap_err().to_string();
    assert!(why.contains("the pooler"), "{why}");
    assert_eq!(id_of(&one, "AAPL").await.unwrap_err().reason, Reason::Unreachable);
}

/// The round trips of a warm question: with a delay each way, its time tells. A busy machine adds to it.
async fn round_trips(port: u16) -> u128 {
    const EACH_WAY: Duration = Duration::from_millis(40);
    let proxy = ChaosProxy::start(format!("127.0.0.1:{port}")).await;
    let database = open(&format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", proxy.port()));
    let one = symbols(&database);
    assert!(id_of(&one, "AAPL").await.is_ok());
    assert!(id_of(&one, "AAPL").await.is_ok());
    proxy.set(Chaos::Delay(EACH_WAY));
    let mut fewest = u128::MAX;
    for _ in 0..5 {
        let asked = Instant::now();
        assert!(id_of(&one, "AAPL").await.is_ok());
        fewest = fewest.min(asked.elapsed().as_millis() / (2 * EACH_WAY).as_millis());
    }
    fewest
}

#[tokio::test]
async fn a_session_of_our_own_costs_no_more_round_trips_than_its_question() {
    let server = stocks();
    let pooler = PgBouncer::start(&server, TRANSACTIONS);
    // One looks whether the connection is still there, the other asks.
    assert_eq!(round_trips(server.port()).await, 2);
    // And four more: begin, prepare, close what was prepared, commit.
    assert_eq!(round_trips(pooler.port()).await, 6);
}
