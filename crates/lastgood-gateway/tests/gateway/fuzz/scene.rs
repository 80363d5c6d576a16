//! A healthy exchange, and a gateway before it with everything that it can have.

use lastgood_settings::StoreSetting;
use lastgood_sim::SimConfig;
use sqlx::{Connection as _, SqliteConnection};

use crate::support::{Exchange, Running, settings, settings_of};

pub(super) const TOKEN: &str = "0123456789abcdef";

/// Routes over a database and a folder, with a parameter of every type; regions for applications' values. No request may
/// wait for long, so that a hang shows.
const FILE: &str = r#"
[limits]
request_timeout = "2s"
max_body_bytes = "1MiB"

[databases.main]
url = "sqlite:FOLDER/stocks.db"

[buckets.objects]
url = "file:FOLDER/objects"

[regions.notes]
fresh_for = "1h"

[[routes]]
path = "/v1/stocks/{symbol}"
description = "Daily prices"
tags = ["stocks", "symbol:{symbol}"]
parameters.symbol = { type = "text", pattern = "[A-Z.]{1,10}", case = "upper" }
parameters.days = { type = "integer", min = 1, max = 365, default = 30 }
parameters.above = { type = "decimal", min = 0, default = 0 }
sources = [{ database = "main", sql = "SELECT day, close FROM prices WHERE symbol = :symbol AND close >= CAST(:above AS REAL) ORDER BY day DESC LIMIT :days" }]

[[routes]]
path = "/v1/search/{order}"
parameters.order = { type = "choice", choices = ["up", "down"] }
parameters.name = { type = "text", max_length = 20, optional = true }
parameters.active = { type = "boolean", default = true }
parameters.since = { type = "date", min = "2000-01-01", default = "2020-01-01" }
sources = [{ database = "main", sql = "SELECT :order AS way, :name AS name, :active AS active, :since AS since" }]

[[routes]]
path = "/api/objects/{symbol}/recent"
parameters.symbol = { type = "text", max_length = 64 }
parameters.days = { type = "integer", min = 1, max = 30, default = 5 }
sources = [{ bucket = "objects", object = "daily/{symbol}.json", select = { path = "data_points", take = "last {days}" } }]

[[routes]]
path = "/api/objects/"
sources = [{ bucket = "objects", list = "daily/*.json" }]
"#;

pub(super) struct Scene {
    pub(super) gateway: Running,
    pub(super) exchange: Exchange,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// With an admin token, or without one on loopback.
    pub(super) async fn start(with_token: bool) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path()).await;
        // Nothing is refused for its weight: that would be an answer of the exchange's own.
        let generous = SimConfig {
            seed: 7,
            symbols: 60,
            weight_limit_spot: 100_000_000,
            weight_limit_futures: 100_000_000,
            ..SimConfig::default()
        };
        let exchange = Exchange::start_with(generous).await;
        let mut file = FILE.replace("FOLDER", folder.path().to_str().unwrap());
        if with_token {
            file.push_str(&format!("[admin]\ntoken = \"{TOKEN}\"\n"));
        }
        let mut settings_of_file = settings_of(&file, &[]).unwrap_or_else(|problems| panic!("{problems}"));
        let data = tempfile::tempdir().unwrap();
        let url = exchange.url();
        let of_exchange = settings(&url, &[("fear_greed.url", &url)]);
        settings_of_file.binance = of_exchange.binance;
        settings_of_file.fear_greed = of_exchange.fear_greed;
        settings_of_file.store = StoreSetting::Memory;
        settings_of_file.data_dir = data.path().to_owned();
        Scene { gateway: Running::serve(&settings_of_file, data).await, exchange, _folder: folder }
    }
}

async fn fill(folder: &std::path::Path) {
    let database = folder.join("stocks.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}?mode=rwc", database.display())).await.unwrap();
    for statement in [
        "CREATE TABLE prices (symbol TEXT, day INTEGER, close REAL)",
        "INSERT INTO prices VALUES ('AAPL', 1, 1.5), ('AAPL', 2, 2.5), ('AAPL', 3, 3.5), ('MSFT', 1, 9.0)",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    let daily = folder.join("objects/daily");
    std::fs::create_dir_all(&daily).unwrap();
    let points: Vec<_> =
        (1..=20).map(|day| serde_json::json!({ "date": format!("2025-01-{day:02}"), "close": day })).collect();
    for symbol in ["AAPL", "MSFT"] {
        let object = serde_json::json!({ "symbol": symbol, "data_points": points });
        std::fs::write(daily.join(format!("{symbol}.json")), object.to_string()).unwrap();
    }
}
