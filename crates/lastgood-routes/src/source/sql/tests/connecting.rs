//! Databases that are away, refuse connections, have no room, or whose connections are all in use.

use super::*;

#[tokio::test]
async fn a_database_that_is_absent_at_the_start_is_attached_when_it_comes() {
    let mut server = PostgresServer::prepare();
    let database = impatient(&server.url("postgres"));
    let one = statement(&database, "SELECT 1 AS a", Shape::List);
    assert_eq!(body(&one, &[]).await.unwrap_err().reason, Reason::Unreachable);
    let why = one.check().await.unwrap_err().to_string();
    assert!(why.contains("refused") && why.contains("is it running"), "{why}");
    server.restart();
    assert!(body(&one, &[]).await.is_ok());
    server.restart();
    assert!(body(&one, &[]).await.is_ok(), "a broken connection is not used");
}

#[tokio::test]
async fn a_database_that_refuses_connections_is_not_waited_for_and_the_reason_is_known() {
    let server = PostgresServer::prepare();
    // Longer than a test may take.
    let connect = ConnectOptions { connect_timeout: Duration::from_secs(3600), ..ConnectOptions::default() };
    let database = Database::open("main", &DatabaseSpec::new(server.url("postgres")), &connect).unwrap();
    let why = list(&database, "SELECT 1 AS a", &[]).await.unwrap_err();
    assert_eq!(why.reason, Reason::Unreachable);
    assert!(why.detail.as_ref().is_some_and(|detail| detail.contains("refused")), "{why:?}");
}

#[tokio::test]
async fn a_full_database_is_waited_for_and_the_reason_is_known_where_it_stays_full() {
    let server = PostgresServer::start();
    server.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0");
    let url = server.url("postgres").replace("//postgres@", "//crowded@");
    let within = |connect_timeout| {
        let connect = ConnectOptions { connect_timeout, ..ConnectOptions::default() };
        Database::open("main", &DatabaseSpec::new(url.clone()), &connect).unwrap()
    };
    let why = list(&within(Duration::from_millis(1500)), "SELECT 1 AS a", &[]).await.unwrap_err();
    assert_eq!(why.reason, Reason::Overloaded, "{why:?}");
    let database = within(Duration::from_secs(10));
    // By then it is known that there is no room.
    let gets_room = async {
        tokio::time::sleep(GRACE * 3).await;
        server.execute("ALTER ROLE crowded CONNECTION LIMIT 5");
    };
    let (answered, ()) = tokio::join!(list(&database, "SELECT 1 AS a", &[]), gets_room);
    assert!(answered.is_ok(), "{answered:?}");
}

#[tokio::test]
async fn with_all_connections_in_use_a_load_is_turned_away_in_time() {
    let server = PostgresServer::start();
    let spec = DatabaseSpec { max_connections: 2, ..DatabaseSpec::new(server.url("postgres")) };
    let connect = ConnectOptions { connect_timeout: Duration::from_millis(300), ..ConnectOptions::default() };
    let database = Database::open("main", &spec, &connect).unwrap();
    let slow = || list(&database, "SELECT 1 AS a FROM pg_sleep(1.5)", &[]);
    let quick = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        list(&database, "SELECT 1 AS a", &[]).await
    };
    let (first, second, third) = tokio::join!(slow(), slow(), quick);
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(third.unwrap_err().reason, Reason::Overloaded);
    assert!(list(&database, "SELECT 1 AS a", &[]).await.is_ok());
}

#[tokio::test]
async fn a_load_that_is_given_up_gives_its_place_back() {
    let server = PostgresServer::start();
    let database = single(&server.url("postgres"), Duration::from_secs(60));
    for _ in 0..3 {
        let slow = list(&database, "SELECT 1 AS a FROM pg_sleep(20)", &[]);
        assert!(timeout(Duration::from_millis(100), slow).await.is_err());
    }
    assert!(list(&database, "SELECT 1 AS a", &[]).await.is_ok());
}
