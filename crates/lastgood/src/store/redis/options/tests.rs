//! What URLs of a Redis lead to.

use super::*;

fn shown(url: &str) -> String {
    RedisOptions::parse(url).expect("a good URL").to_string()
}

#[test]
fn every_kind_of_url_is_read_and_shown_without_its_secrets() {
    assert_eq!(shown("redis://localhost"), "redis://localhost:6379/0");
    assert_eq!(shown("redis://:s3cret@10.0.0.1:7000/3"), "redis://10.0.0.1:7000/3");
    assert_eq!(shown("rediss://default:s3cret@eu.example.com:6380"), "rediss://eu.example.com:6380/0");
    assert_eq!(shown("redis://[::1]:7000/1"), "redis://[::1]:7000/1");
    assert_eq!(shown("unix:///run/redis.sock?db=2&pass=s3cret"), "unix:///run/redis.sock?db=2");
}

#[test]
fn user_and_password_are_percent_decoded_and_never_shown() {
    let options = RedisOptions::parse("redis://us%40er:p%40ss%3Aw%2F%23rd@host/1").expect("a good URL");
    let Topology::Single(info) = options.topology() else { panic!("one server") };
    assert_eq!(info.redis_settings().username(), Some("us@er"));
    assert_eq!(info.redis_settings().password(), Some("p@ss:w/#rd"));
    let shown = format!("{options} {options:?}");
    assert!(!shown.contains("p@ss") && !shown.contains("p%40ss"), "{shown}");
    assert_eq!(options.redact("AUTH p@ss:w/#rd failed".into()), "AUTH *** failed");
}

#[test]
fn an_unusable_url_is_explained_without_its_secrets() {
    let urls = [
        "http://:s3cret@host",
        "redis://:s3cret@",
        "redis://:s3cret@host/zero",
        "redis://:s3cret@host/-1",
        "redis://:s3cret@host:port",
        "redis://:s3cret@0.0.0.0",
        "redis://:s3#cret@host",
        "redis://:s3cret@host?protocol=9",
        "rediss://:s3cret@host#insecure",
        "s3cret",
        "",
    ];
    for url in urls {
        let error = RedisOptions::parse(url).map(|_| url).expect_err("a bad URL").to_string();
        assert!(error.contains("the Redis URL is unusable: "), "{error}");
        assert!(!error.contains("s3cret") && !error.contains("cret@"), "{error}");
    }
}

#[test]
fn sentinels_service_database_and_both_logins_are_read() {
    let url = "redis+sentinel://us%40er:p%40ss@a,[::1]:7000,c:26380/main?db=2&sentinel_password=s%2Fcret";
    let options = RedisOptions::parse(url).expect("a good URL");
    assert_eq!(options.to_string(), "redis+sentinel://a:26379,[::1]:7000,c:26380/main?db=2");
    let Topology::Sentinel { sentinels, service, access } = options.topology() else { panic!("sentinels") };
    let login = &access.login;
    assert_eq!((login.username(), login.password(), login.db()), (Some("us@er"), Some("p@ss"), 2));
    assert_eq!(service, "main");
    for sentinel in sentinels {
        let settings = sentinel.redis_settings();
        assert_eq!((settings.username(), settings.password(), settings.db()), (None, Some("s/cret"), 0));
    }
    assert_eq!(options.redact("p@ss and s/cret".into()), "*** and ***");
    let shown = format!("{options:?}");
    assert!(!shown.contains("p@ss") && !shown.contains("cret"), "{shown}");
    let plain = RedisOptions::parse("redis+sentinel://a/main").expect("a good URL");
    assert_eq!(plain.to_string(), "redis+sentinel://a:26379/main");
}

#[test]
fn members_and_login_of_a_cluster_are_read() {
    let options = RedisOptions::parse("redis+cluster://us%40er:p%40ss@a,[::1]:7000").expect("a good URL");
    assert_eq!(options.to_string(), "redis+cluster://a:6379,[::1]:7000");
    let Topology::Cluster { seeds, access } = options.topology() else { panic!("a cluster") };
    let login = &access.login;
    assert_eq!((login.username(), login.password()), (Some("us@er"), Some("p@ss")));
    assert!(seeds.iter().all(|seed| seed.redis_settings().password() == Some("p@ss")));
    assert_eq!(options.redact("p@ss".into()), "***");
    assert!(!format!("{options:?}").contains("p@ss"));
}

#[test]
fn an_unusable_url_of_several_servers_is_explained_without_its_secrets() {
    for (url, part) in [
        ("redis+sentinel://:s3cret@a:1,b:2", "names no service"),
        ("redis+sentinel://:s3cret@a:1,b:2/", "names no service"),
        ("redis+sentinel://:s3cret@a:1/main/2", "?db=1"),
        ("redis+sentinel://:s3cret@a:1/main?db=x", "database number"),
        ("redis+sentinel://:s3cret@a:1/main?password=s3cret", "sentinel_password"),
        ("redis+sentinel://:s3cret@a:1,,b/main", "between two commas"),
        ("redis+sentinel://:s3cret@/main", "names no host"),
        ("redis+sentinel://:s3/cret@a:1/main", "%2F"),
        ("redis+sentinel://:s3#cret@a:1/main", "%23"),
        ("redis+sentinel://:s3cret@a:port/main", "percent-encoded"),
        ("redis+sentinel://a:1/main?sentinel_password=s3cret@x", "percent-encoded"),
        ("redis+sentinel://a:1/main?sentinel_password=s3cret/x", "percent-encoded"),
        ("redis+sentinel://:s3?cret@a:1/main", "names no"),
        ("redis+cluster://:s3?cret@a:1", "there may be no ?"),
        ("rediss+sentinel://:s3cret@a:1", "names no service"),
        ("rediss+cluster://:s3cret@a:1?db=1", "takes cert, key and ca"),
        ("rediss+cluster://:s3?cret@a:1", "takes cert, key and ca"),
        ("redis+cluster://:s3cret@a:1/1", "database 0"),
        ("redis+cluster://:s3cret@a:1?db=1", "there may be no ?"),
        ("redis+cluster://:s3cret@", "names no host"),
        ("redis+cluster://:s3/cret@a:1", "%2F"),
    ] {
        let error = RedisOptions::parse(url).map(|_| url).expect_err("a bad URL").to_string();
        assert!(error.contains("the Redis URL is unusable: ") && error.contains(part), "{url}: {error}");
        assert!(!error.contains("cret"), "{error}");
    }
}
