//! SQLite files that another program replaces, removes and makes again under the gateway.

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use super::*;

const NAMES: &str = "SELECT name FROM names ORDER BY name";

async fn writer(path: &Path, mode: SqliteJournalMode) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).journal_mode(mode);
    options.connect().await.unwrap()
}

/// A file with this one name in it, which no program has open.
async fn make(path: &Path, name: &str, mode: SqliteJournalMode) {
    let mut connection = writer(path, mode).await;
    connection.execute("CREATE TABLE names (name TEXT)").await.unwrap();
    add(&mut connection, name).await;
    connection.close().await.unwrap();
}

async fn add(connection: &mut SqliteConnection, name: &str) {
    sqlx::query("INSERT INTO names VALUES (?)").bind(name).execute(connection).await.unwrap();
}

struct Desk {
    folder: tempfile::TempDir,
    database: Database,
}

impl Desk {
    fn new() -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let database = open(&format!("sqlite:{}", folder.path().join("names.db").display()));
        Desk { folder, database }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn names(&self) -> String {
        list(&self.database, NAMES, &[]).await.unwrap_or_else(|why| why.message)
    }
}

fn only(name: &str) -> String {
    format!(r#"[{{"name":"{name}"}}]"#)
}

#[tokio::test]
async fn a_file_that_takes_the_place_of_another_is_the_one_that_is_read() {
    for (old, new) in [
        (SqliteJournalMode::Delete, SqliteJournalMode::Delete),
        (SqliteJournalMode::Wal, SqliteJournalMode::Wal),
        (SqliteJournalMode::Wal, SqliteJournalMode::Delete),
        (SqliteJournalMode::Delete, SqliteJournalMode::Wal),
    ] {
        let desk = Desk::new();
        make(&desk.path("names.db"), "first", old).await;
        assert_eq!(desk.names().await, only("first"));
        for name in ["second", "third"] {
            make(&desk.path("next.db"), name, new).await;
            fs::rename(desk.path("next.db"), desk.path("names.db")).unwrap();
            assert_eq!(desk.names().await, only(name), "{old:?} {new:?}");
        }
        // It is a database like any other: writes to it are seen.
        let mut connection = writer(&desk.path("names.db"), new).await;
        add(&mut connection, "written").await;
        assert!(desk.names().await.contains("written"), "{old:?} {new:?}");
        connection.close().await.unwrap();
        assert!(desk.names().await.contains("written"), "{old:?} {new:?}");
    }
}

#[tokio::test]
async fn the_log_of_a_replaced_file_brings_none_of_its_rows_back() {
    let desk = Desk::new();
    make(&desk.path("names.db"), "first", SqliteJournalMode::Wal).await;
    let mut writer = writer(&desk.path("names.db"), SqliteJournalMode::Wal).await;
    add(&mut writer, "logged").await;
    assert!(desk.names().await.contains("logged"));
    // The writer has the old file open still, so that its log stays.
    make(&desk.path("next.db"), "second", SqliteJournalMode::Wal).await;
    fs::rename(desk.path("next.db"), desk.path("names.db")).unwrap();
    for _ in 0..2 {
        assert_eq!(desk.names().await, only("second"));
    }
    add(&mut writer, "too late").await;
    assert_eq!(desk.names().await, only("second"));
    make(&desk.path("next.db"), "third", SqliteJournalMode::Delete).await;
    fs::rename(desk.path("next.db"), desk.path("names.db")).unwrap();
    assert_eq!(desk.names().await, only("third"));
    // Once the old log is gone, the file's own counts.
    writer.close().await.unwrap();
    for left in ["names.db-wal", "names.db-shm"] {
        let _ = fs::remove_file(desk.path(left));
    }
    let mut writer = self::writer(&desk.path("names.db"), SqliteJournalMode::Wal).await;
    add(&mut writer, "own").await;
    assert!(desk.names().await.contains("own"));
}

#[tokio::test]
async fn a_missing_file_is_a_failure_and_a_new_one_is_read() {
    for mode in [SqliteJournalMode::Delete, SqliteJournalMode::Wal] {
        let desk = Desk::new();
        make(&desk.path("names.db"), "first", mode).await;
        assert_eq!(desk.names().await, only("first"));
        for name in ["second", "third"] {
            for left in ["names.db", "names.db-wal", "names.db-shm"] {
                let _ = fs::remove_file(desk.path(left));
            }
            let failed = list(&desk.database, NAMES, &[]).await.unwrap_err();
            assert_eq!(
                (failed.reason, failed.message.as_str()),
                (Reason::Unreachable, "the database's file is not there")
            );
            assert!(!desk.path("names.db").exists(), "a reader makes no file");
            make(&desk.path("names.db"), name, mode).await;
            assert_eq!(desk.names().await, only(name), "{mode:?}");
        }
        fs::remove_file(desk.path("names.db")).unwrap();
        fs::create_dir(desk.path("names.db")).unwrap();
        assert_eq!(desk.names().await, "the database's file cannot be opened");
    }
}

#[tokio::test]
async fn a_link_that_is_switched_leads_to_the_other_file_and_back() {
    let desk = Desk::new();
    for name in ["one", "two"] {
        make(&desk.path(name), name, SqliteJournalMode::Wal).await;
    }
    let mut writer = writer(&desk.path("one"), SqliteJournalMode::Wal).await;
    add(&mut writer, "one more").await;
    for (to, has) in [("one", "one more"), ("two", "two"), ("one", "one more"), ("two", "two")] {
        std::os::unix::fs::symlink(desk.path(to), desk.path("link")).unwrap();
        fs::rename(desk.path("link"), desk.path("names.db")).unwrap();
        let names = desk.names().await;
        assert!(names.contains(has) && names.contains("one") == (to == "one"), "{to}: {names}");
    }
}

#[tokio::test]
async fn a_question_under_way_ends_on_the_file_it_began_with() {
    let desk = Desk::new();
    make(&desk.path("names.db"), "first", SqliteJournalMode::Delete).await;
    let slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
        SELECT name, (SELECT max(i) FROM n) AS n FROM names";
    let asking = statement(&desk.database, slow, Shape::List);
    let asking = tokio::spawn(async move { body(&asking, &[]).await });
    while sqlite_threads() == 0 && !asking.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    make(&desk.path("next.db"), "second", SqliteJournalMode::Delete).await;
    fs::rename(desk.path("next.db"), desk.path("names.db")).unwrap();
    assert!(asking.await.unwrap().unwrap().contains("first"));
    assert_eq!(desk.names().await, only("second"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_files_change_places_an_answer_is_of_one_file_and_none_is_lost() {
    let desk = Desk::new();
    make(&desk.path("names.db"), "0", SqliteJournalMode::Wal).await;
    let (path, next) = (desk.path("names.db"), desk.path("next.db"));
    let replacing = tokio::spawn(async move {
        for number in 1..=60 {
            make(&next, &number.to_string(), SqliteJournalMode::Wal).await;
            fs::rename(&next, &path).unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut newest = 0;
    while !replacing.is_finished() || newest < 60 {
        let names = desk.names().await;
        let number = names.split('"').nth(3).and_then(|name| name.parse::<u32>().ok());
        let number = number.unwrap_or_else(|| panic!("{names}"));
        assert_eq!(names, only(&number.to_string()));
        assert!(number >= newest, "{number} after {newest}");
        newest = number;
    }
    replacing.await.unwrap();
}
