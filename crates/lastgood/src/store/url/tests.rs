//! What URLs mean, how they are shown, and the errors for wrong ones.

use super::*;

fn parsed(text: &str) -> StoreUrl {
    StoreUrl::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
}

fn redis(text: &str) -> RedisUrl {
    match parsed(text) {
        StoreUrl::Redis(url) => url,
        other => panic!("{text}: {other:?}"),
    }
}

fn login(user: Option<&str>, password: Option<&str>) -> Login {
    Login { user: user.map(str::to_owned), password: password.map(Password::new) }
}

fn at(host: &str, port: u16) -> (String, u16) {
    (host.to_owned(), port)
}

#[test]
fn every_kind_of_store_has_a_form_of_its_own() {
    assert_eq!(parsed("memory:"), StoreUrl::Memory);
    assert_eq!(parsed("embedded:"), StoreUrl::Embedded(None));
    for file in ["embedded:/var/lib/x.redb", "embedded:///var/lib/x.redb", "Embedded:/var/lib/x.redb"] {
        assert_eq!(parsed(file), StoreUrl::Embedded(Some("/var/lib/x.redb".into())));
    }
    let server = redis("redis://us%40er:p%40ss%3Aw%2F%23rd@Host/1");
    assert_eq!(server.place, RedisPlace::Server { host: "Host".into(), port: 6379 });
    assert_eq!((server.login, server.database, server.tls), (login(Some("us@er"), Some("p@ss:w/#rd")), 1, None));
    assert_eq!(redis("redis://h?protocol=resp3"), RedisUrl { is_resp3: true, ..redis("redis://h") });
    let socket = redis("unix:///run/my%20redis.sock?db=2&user=me&pass=a%26b");
    assert_eq!(socket.place, RedisPlace::Socket("/run/my redis.sock".into()));
    assert_eq!((socket.login, socket.database), (login(Some("me"), Some("a&b")), 2));
    let sentinels = redis("redis+sentinel://:pw@a,[::1]:7000/main?db=2&sentinel_user=s&sentinel_password=s%2Fw");
    let place = RedisPlace::Sentinels {
        sentinels: vec![at("a", 26379), at("::1", 7000)],
        service: "main".into(),
        login: login(Some("s"), Some("s/w")),
    };
    assert_eq!((sentinels.place, sentinels.login, sentinels.database), (place, login(None, Some("pw")), 2));
    let cluster = redis("rediss+cluster://a,b:7?ca=%2Fca.pem&cert=/c+1.pem&key=/k.pem");
    assert_eq!(cluster.place, RedisPlace::Cluster(vec![at("a", 6379), at("b", 7)]));
    let client = Some(("/c+1.pem".into(), "/k.pem".into()));
    assert_eq!(cluster.tls, Some(TlsFiles { client, authority: Some("/ca.pem".into()) }));
    let StoreUrl::Upstash(url) = parsed("HTTPS://eu1-x.upstash.io/") else { panic!("over REST") };
    assert_eq!((url.to_string(), url.is_tls()), ("https://eu1-x.upstash.io".to_owned(), true));
}

#[test]
fn only_a_redis_is_shared() {
    let is_shared = |text| parsed(text).is_shared();
    assert!(["redis://h", "redis+cluster://h", "unix:/s", "https://h"].into_iter().all(is_shared));
    assert!(!["memory:", "embedded:", "embedded:f"].into_iter().any(is_shared));
}

#[test]
fn urls_are_shown_with_what_goes_without_saying_and_without_their_secrets() {
    for (text, shown) in [
        ("memory://", "memory:"),
        ("embedded:x.redb", "embedded:x.redb"),
        ("redis://localhost", "redis://localhost:6379"),
        ("REDIS://h:1/0", "redis://h:1"),
        ("redis://h:1/2", "redis://h:1/2"),
        ("redis://:hunter2@h:1", "redis://***@h:1"),
        ("redis://hunter2@h:1", "redis://***@h:1"),
        ("redis://u:hunter2@hunter2@h:1", "redis://***@h:1"),
        ("rediss://default:hunter2==@h.upstash.io:6379", "rediss://***@h.upstash.io:6379"),
        ("redis://[::1]:7", "redis://[::1]:7"),
        ("unix:/run/redis.sock", "unix:/run/redis.sock"),
        ("unix:///run/redis.sock?pass=hunter2", "unix:/run/redis.sock"),
        ("redis+sentinel://u:hunter2@a,b:2/main?db=1", "redis+sentinel://***@a:26379,b:2/main?db=1"),
        ("rediss+sentinel://a/main?sentinel_password=hunter2", "rediss+sentinel://a:26379/main"),
        ("redis+cluster://:hunter2@a,[::1]:7", "redis+cluster://***@a:6379,[::1]:7"),
        ("rediss+cluster://a", "rediss+cluster://a:6379"),
        ("http://127.0.0.1:8079", "http://127.0.0.1:8079"),
        ("http://[::1]:8079", "http://[::1]:8079"),
    ] {
        let url = parsed(text);
        assert_eq!(url.to_string(), shown, "{text}");
        assert!(!format!("{url:?}").contains("hunter2"), "{url:?}");
        assert_eq!(text.parse::<StoreUrl>().as_ref(), Ok(&url));
    }
}

#[test]
fn a_wrong_url_is_named_with_a_hint_and_none_of_it_is_repeated() {
    for (text, what, hint) in [
        ("", "no known scheme", "put redis:// before the host"),
        ("memory", "no known scheme", "did you mean \"memory:\"?"),
        ("localhost:6379", "no known scheme", "put redis:// before the host"),
        ("hunter2:hunter2@h", "no known scheme", "put redis:// before the host"),
        ("/run/redis.sock", "no known scheme", "did you mean \"unix:/run/redis.sock\"?"),
        ("./x.redb", "no known scheme", "did you mean \"embedded:./x.redb\"?"),
        ("valkey://u:hunter2@h", "unknown scheme; a store is one of", "did you mean `redis://`?"),
        ("redis+unix:///s?pass=hunter2", "unknown scheme", "did you mean `unix:`?"),
        ("memory:hunter2", "nothing after the colon", "write \"memory:\""),
        ("redis:h", "names no host", "write redis://"),
        ("redis://", "names no host", "write redis://"),
        ("redis://:hunter2@", "names no host", "percent-encode"),
        ("redis://:hunter2#x@h", "fragment", "percent-encode"),
        ("redis://u:hunter2/x@h", "%2F", "percent-encode"),
        ("redis://:hunter2?x@h", "names no host", "percent-encode"),
        ("redis://u:hunter2%ff@h", "is no text", "write redis://"),
        ("redis://u:hunter2@h/name", "no database number", "[/db]"),
        ("redis://u:hunter2@h/-1", "no database number", "[/db]"),
        ("redis://u:hunter2@h:port", "port is no number", "write redis://"),
        ("redis://u:hunter2@h:0", "port is 0", "write redis://"),
        ("redis://u:hunter2@h:65536", "port is no number", "write redis://"),
        ("redis://u:hunter2@h\u{20}x", "what no name has", "write redis://"),
        ("redis://u:hunter2@[::1", "bracket", "write redis://"),
        ("redis://u:hunter2@[::1]x", "other than a port", "write redis://"),
        ("redis://u:hunter2@[host]", "no IPv6 address", "write redis://"),
        ("redis://u:hunter2@0.0.0.0", "wildcard", "write redis://"),
        ("rediss://u:hunter2@[::]", "wildcard", "write rediss://"),
        ("redis://u:hunter2@a,b", "several servers; write redis+sentinel://", "write redis://"),
        ("redis://u:hunter2@h?protocol=9", "protocol must be 2 or 3", "write redis://"),
        ("rediss://u:hunter2@h#insecure", "add ?ca=FILE", "[?ca=FILE]"),
        ("redis://u:hunter2@h?ca=/ca.pem", "ca= is for TLS; write rediss://", "write redis://"),
        ("rediss://u:hunter2@h?sslcert=/c.pem", "the parameter is called cert=FILE", "[&cert=FILE&key=FILE]"),
        ("unix:run.sock?pass=hunter2", "not absolute", "write \"unix:/run/redis/redis.sock\""),
        ("unix://host/run.sock", "not absolute", "write \"unix:"),
        ("unix:/run.sock?db=hunter2", "database number", "write \"unix:"),
        ("redis+sentinel://u:hunter2@a:1", "names no service", "host:26379/SERVICE"),
        ("redis+sentinel://u:hunter2@a:1,,b/main", "between two commas", "host:26379/SERVICE"),
        ("redis+sentinel://a/main?password=hunter2", "it takes db, sentinel_user", "host:26379/SERVICE"),
        ("redis+cluster://u:hunter2@a:1/3", "but database 0", "write redis+cluster://"),
        ("rediss+cluster://u:hunter2@a?db=1", "takes cert, key and ca", "write rediss+cluster://"),
        ("https://default:hunter2@h", "holds a user or password", "give its token apart"),
        ("https://h/?_token=hunter2", "has a path or query", "write https://HOST"),
        ("https://h#hunter2", "has a fragment", "write https://HOST"),
        ("https://", "cannot be read as a URL", "write https://HOST"),
        ("http://h.upstash.io", "only a loopback host", "plain http:// is for loopback hosts"),
    ] {
        let why = StoreUrl::parse(text).expect_err(text);
        assert!(why.what().contains(what), "{text}: {}", why.what());
        assert!(why.hint().contains(hint), "{text}: {}", why.hint());
        assert_eq!(why.to_string(), format!("{}; {}", why.what(), why.hint()));
        assert!(!why.to_string().contains("hunter2"), "{why}");
    }
}

#[test]
fn what_stands_before_the_colon_is_given_for_suggestions_where_it_is_no_scheme() {
    let unknown = |text: &str| StoreUrl::parse(text).expect_err(text).unknown_scheme().map(str::to_owned);
    assert_eq!(unknown("Rdis://h"), Some("rdis".to_owned()));
    assert_eq!(unknown("redis://"), None);
    assert_eq!(unknown("memory"), None);
}

#[test]
fn one_place_is_the_same_for_all_who_log_in() {
    for (one, other) in [
        ("redis://u:one@h/1", "redis://h:6379/1"),
        ("redis+sentinel://:one@a/main?sentinel_password=one", "redis+sentinel://a:26379/main?sentinel_password=other"),
    ] {
        assert_ne!(redis(one), redis(other));
        assert_eq!(redis(one).without_login(), redis(other).without_login());
    }
    assert_ne!(redis("unix:/s?db=1").without_login(), redis("unix:/s?db=2").without_login());
}

#[test]
fn a_token_is_the_password_where_there_is_none() {
    for (text, user, password) in [
        ("rediss://h.upstash.io:6379", Some("default"), "t=k/n"),
        ("rediss://someone@h:1", Some("someone"), "t=k/n"),
        ("rediss://:own@h:1", None, "own"),
    ] {
        let mut url = redis(text);
        url.log_in_with("t=k/n");
        assert_eq!(url.login, login(user, Some(password)), "{text}");
    }
}
