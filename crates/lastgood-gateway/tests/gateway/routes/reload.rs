//! A reload: sources are asked by the secrets that they have now.

use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

use super::{Api, Reply};
use crate::support::{Running, get, settings_of};

#[tokio::test]
async fn a_reload_asks_by_the_secrets_that_sources_have_now_and_keeps_cached_answers() {
    let api = Api::start().await;
    api.answers(Reply::json(json!({"data": 1})));
    let (url, folder) = (api.url(), tempfile::tempdir().unwrap());
    let file = |fresh_for: &str| {
        format!(
            "store = \"memory:\"\nbinance = \"off\"\n[databases.main]\nurl = \"env:DATABASE\"\n\
             [apis.quotes]\nurl = \"{url}\"\nallow_private = true\nheaders = {{ Authorization = \"env:SECRET\" }}\n\
             [regions.quotes]\nfresh_for = \"{fresh_for}\"\nstale_while_revalidate = \"0s\"\nsoft_timeout = \"5s\"\n\
             [[routes]]\npath = \"/v1/quotes\"\nregion = \"quotes\"\n\
             sources = [{{ api = \"quotes\", path = \"/all\", query = {{ key = \"env:KEY\" }} }}]\n\
             [[routes]]\npath = \"/v1/prices\"\nregion = \"quotes\"\n\
             sources = [{{ database = \"main\", sql = \"SELECT price FROM prices\" }}]\n"
        )
    };
    let database = async |name: &str, price: u32| {
        let url = format!("sqlite:{}", folder.path().join(name).display());
        let mut made = SqliteConnection::connect(&format!("{url}?mode=rwc")).await.unwrap();
        let statement = format!("CREATE TABLE prices AS SELECT {price} AS price");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut made).await.unwrap();
        url
    };
    let (one, other) = (database("one.db", 1).await, database("other.db", 2).await);
    let settings = |database: &str, secret: &str, key: &str, fresh_for: &str| {
        let env = [("DATABASE", database), ("SECRET", secret), ("KEY", key)];
        let mut settings = settings_of(&file(fresh_for), &env).unwrap();
        settings.data_dir = folder.path().join("data");
        settings
    };
    let first = settings(&one, "Bearer the-first", "k1", "1h");
    let gateway = Running::serve(&first, tempfile::tempdir().unwrap()).await;
    let ask = async |path: &str| get(gateway.url(path)).await;
    assert_eq!(ask("/v1/quotes").await.cache(), "MISS");
    assert_eq!(ask("/v1/prices").await.json(), json!([{"price": 1}]));
    assert_eq!(api.last_header("authorization").as_deref(), Some("Bearer the-first"));

    let now = settings(&other, "Bearer the-other", "k2", "1h");
    let reloaded = gateway.gateway.reload(&first, &first, &now).await;
    assert_eq!(reloaded.in_force, ["api quotes", "database main"]);
    assert!(reloaded.need_restart.is_empty() && reloaded.failed.is_empty(), "{reloaded:?}");
    assert_eq!(ask("/v1/quotes").await.cache(), "HIT", "cached answers stay");
    assert_eq!(ask("/v1/prices").await.json(), json!([{"price": 2}]), "of another database nothing does");
    gateway.gateway.cache().region_named("quotes").unwrap().clear().await;
    assert_eq!(ask("/v1/quotes").await.cache(), "MISS");
    assert_eq!(api.last_header("authorization").as_deref(), Some("Bearer the-other"));
    assert_eq!(api.asked().last().map(String::as_str), Some("/all?key=k2"));

    // What cannot be opened changes nothing.
    let wrong = settings("postgres://user:secret@host:notaport/name", "Bearer the-third", "k3", "1h");
    let reloaded = gateway.gateway.reload(&first, &now, &wrong).await;
    assert!(reloaded.in_force.is_empty() && reloaded.need_restart.is_empty(), "{reloaded:?}");
    assert!(reloaded.refused.is_some_and(|why| !why.contains("secret")));
    gateway.gateway.cache().region_named("quotes").unwrap().clear().await;
    assert_eq!(ask("/v1/prices").await.json(), json!([{"price": 2}]));
    ask("/v1/quotes").await;
    assert_eq!(api.last_header("authorization").as_deref(), Some("Bearer the-other"));
}
