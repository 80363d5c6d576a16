use super::*;

fn proxies(https: &str, http: &str, all: &str, no: &str) -> Proxies {
    let said = ProxyVariables { http: http.into(), https: https.into(), all: all.into(), no: no.into() };
    Proxies::new(&said).unwrap()
}

fn way(proxies: &Proxies, to: &str) -> String {
    proxies.of(&to.parse().unwrap()).map_or("direct".to_owned(), |proxy| proxy.to_string())
}

#[test]
fn each_scheme_has_its_proxy_and_the_rest_the_one_for_all() {
    let both = proxies("http://secure:1", "plain:2", "http://rest:3", "");
    for (to, expected) in [
        ("https://api.binance.com", "secure:1"),
        ("wss://stream.binance.com:9443/stream", "secure:1"),
        ("http://mirror.example/", "plain:2"),
        ("ws://mirror.example/", "plain:2"),
        ("https://192.0.2.1:444", "secure:1"),
    ] {
        assert_eq!(way(&both, to), expected, "{to}");
    }
    let all = proxies("", "", "socks5://user:word@rest", "");
    assert_eq!(way(&all, "https://api.binance.com"), "rest:1080");
    assert_eq!(way(&all, "http://api.binance.com"), "rest:1080");
    assert_eq!(way(&proxies("", "http://plain:2", "", ""), "https://api.binance.com"), "direct");
    assert_eq!(way(&Proxies::default(), "https://api.binance.com"), "direct");
}

#[test]
fn this_machine_and_exceptions_are_reached_directly() {
    let no =
        "example.com, .dot.org,*.star.org 10.0.0.0/8,[2001:db8::1],192.0.2.7,with.port:8443,2001:db8::2, UPPER.net";
    let some = proxies("http://p:1", "http://p:1", "", no);
    for to in [
        "http://localhost:8080",
        "https://LOCALHOST.",
        "http://me.localhost",
        "http://127.0.0.1:9",
        "http://127.9.9.9",
        "http://[::1]:9",
        "http://[::ffff:127.0.0.1]",
        "http://0.0.0.0:9",
        "https://example.com",
        "https://www.example.com.",
        "https://a.dot.org",
        "https://a.star.org",
        "https://10.1.2.3:5",
        "https://[2001:db8::1]",
        "https://[2001:db8::2]:8",
        "https://192.0.2.7",
        "wss://with.port:8443/x",
        "https://a.upper.NET",
    ] {
        assert_eq!(way(&some, to), "direct", "{to}");
    }
    for to in [
        "https://notexample.com",
        "https://11.0.0.1",
        "https://with.port",
        "https://[2001:db8::3]",
        "https://192.0.2.8",
    ] {
        assert_eq!(way(&some, to), "p:1", "{to}");
    }
    assert_eq!(way(&proxies("http://p:1", "", "", "*"), "https://api.binance.com"), "direct");
}

#[test]
fn no_text_shows_a_password_and_what_cannot_be_used_is_refused_without_repeating_it() {
    let some = proxies("http://me:hunter2@p:1", "", "", "");
    let to: Uri = "https://api.binance.com".parse().unwrap();
    let proxy = some.of(&to).unwrap();
    assert!(
        !format!("{some:?} {proxy:?} {proxy} {:?}", ProxyVariables { all: "hunter2".into(), ..Default::default() })
            .contains("hunter2")
    );
    for wrong in
        ["ftp://me:hunter2@p", "http://", "socks4://hunter2:1", "http://hunter2:0", "http://hunter2/path", "hunter2 x"]
    {
        let said = ProxyVariables { https: wrong.into(), ..ProxyVariables::default() };
        let why = Proxies::new(&said).unwrap_err().to_string();
        assert!(why.starts_with("HTTPS_PROXY ") && why.contains("socks5://") && !why.contains("hunter2"), "{why}");
    }
}
