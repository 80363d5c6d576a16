//! What readers have while the database is away, and what injection does to it.

use super::*;

#[tokio::test]
async fn a_database_outage_is_served_from_last_good() {
    let mut platform = Platform::start().await;
    for redis in states() {
        let (gateway, _redis) = platform.with_redis(redis).await;
        let good = ok(&gateway, LEADERBOARD).await;
        platform.postgres.kill();
        expire(&gateway, "signals").await;
        let kept = ok(&gateway, LEADERBOARD).await;
        assert_eq!((kept.cache(), &kept.body), ("LAST-GOOD", &good.body), "Redis {redis:?}");
        // What was never loaded is refused in few words, none of them about the database.
        let refused = get(gateway.url("/v1/analytics/hours")).await;
        assert!(matches!(refused.status, 502..=504), "{}: {}", refused.status, refused.text());
        assert_eq!(refused.header("content-type"), "application/problem+json");
        for secret in ["SELECT", "outcomes", "127.0.0.1", "postgres"] {
            assert!(!refused.text().contains(secret), "{}", refused.text());
        }
        platform.postgres.restart();
        eventually("it is loaded again", async || {
            let got = ok(&gateway, LEADERBOARD).await;
            got.cache() == "HIT" && got.body == good.body
        })
        .await;
    }
}

#[tokio::test]
async fn a_database_that_hangs_is_served_from_last_good() {
    let platform = Platform::start().await;
    let (gateway, _redis) = platform.with_redis(Some(RedisIs::Up)).await;
    let good = ok(&gateway, LEADERBOARD).await;
    platform.postgres.stop();
    expire(&gateway, "agents").await;
    // Up to `soft_timeout` it waits for the new rows.
    let kept = tokio::time::timeout(Duration::from_secs(9), ok(&gateway, LEADERBOARD)).await.expect("in time");
    assert_eq!((kept.cache(), &kept.body), ("LAST-GOOD", &good.body));
    platform.postgres.cont();
}

/// What has broken many a page.
const INJECTIONS: [&str; 9] = [
    "'; DROP TABLE signals; --",
    "1; DELETE FROM outcomes",
    "1 OR 1=1",
    "' OR '1'='1",
    "BTCUSDT' UNION SELECT 1,name,'x','y','z',0,0,now(),now(),0,0,0 FROM agents --",
    "1); UPDATE agents SET name = 'x'; --",
    "$1",
    ":limit",
    "\\'; SELECT pg_sleep(10); --",
];

#[tokio::test]
async fn sql_in_any_parameter_is_inert() {
    let platform = Platform::start().await;
    let gateway = platform.gateway(None).await;
    let counts = "SELECT (SELECT count(*) FROM signals), (SELECT count(*) FROM outcomes), (SELECT md5(string_agg(name, \
                  ',' ORDER BY id)) FROM agents)";
    let before = platform.postgres.execute(counts);
    let parameters =
        ["days", "limit", "timeframe", "min_signals", "symbol", "agent_id", "agent", "hours", "before", "no_such_one"];
    let (mut refused, mut empty) = (0, 0);
    for target in declared() {
        for parameter in parameters {
            for injection in INJECTIONS {
                let url =
                    reqwest::Url::parse_with_params(&gateway.url(target), [(parameter, injection)]).expect("a URL");
                let got = get(url.as_str()).await;
                match got.status {
                    400 => refused += 1,
                    // The one free text: no agent is called that.
                    200 if (target, parameter) == (NEWEST, "agent") => {
                        assert!(rows(&got).is_empty(), "{}", got.text());
                        empty += 1;
                    }
                    status => panic!("{target}?{parameter}={injection} answered {status}: {}", got.text()),
                }
                assert!(!got.text().contains("SELECT count"), "{}", got.text());
            }
        }
    }
    assert_eq!((refused, empty), (12 * 10 * INJECTIONS.len() - INJECTIONS.len(), INJECTIONS.len()));
    assert_eq!(platform.postgres.execute(counts), before);
    // A name with a quote in it is a name like any other.
    platform.postgres.execute("UPDATE agents SET name = $$o'neil; --$$ WHERE id = 3");
    let found = rows(&ok(&gateway, "/v1/signals?agent=o%27neil%3B%20--").await);
    assert!(!found.is_empty() && found.iter().all(|row| row["agent"] == "o'neil; --"), "{found:?}");
}
