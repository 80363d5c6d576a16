//! Which store it is, and where its token comes from.

use secrecy::ExposeSecret;

use super::*;

#[test]
fn the_store_comes_from_its_first_variable_and_empty_means_embedded() {
    let store = |env: &[(&str, &str)]| {
        let resolved = resolve_from("", env, &[]).expect("valid");
        (resolved.settings.store.to_string(), resolved.origin("store").to_string())
    };
    let both = [("REDIS_URL", "redis://b"), ("LASTGOOD_STORE_URL", "redis://a")];
    assert_eq!(store(&both), ("redis://a:6379".to_owned(), "env LASTGOOD_STORE_URL".to_owned()));
    assert_eq!(store(&both[..1]).1, "env REDIS_URL");
    let emptied = [("REDIS_URL", "redis://b"), ("LASTGOOD_STORE_URL", "")];
    assert_eq!(store(&emptied).0, "embedded:");
    assert_eq!(store(&[]), ("embedded:".to_owned(), "default".to_owned()));
    assert_eq!(
        store(&[("UPSTASH_REDIS_URL", "rediss://default:t@h"), ("UPSTASH_REDIS_REST_URL", "https://h")]).0,
        "rediss://***@h:6379"
    );
}

#[test]
fn a_store_at_upstash_takes_the_token_that_belongs_to_its_address() {
    let store = |env: &[(&str, &str)], flags: &[(&str, &str, &str)]| {
        let resolved = resolve_from("", env, flags).unwrap_or_else(|problems| panic!("{problems}"));
        let token = resolved.settings.store_token.as_ref().map(|token| token.expose_secret().to_owned());
        let shown = format!("{:?}", render_effective(&resolved));
        assert!(!shown.contains("of-rest") && !shown.contains("of-kv"), "{shown}");
        (resolved.settings.store.to_string(), token.unwrap_or_default(), resolved.origin("store_token").to_string())
    };
    let rest = [("UPSTASH_REDIS_REST_URL", "https://rest"), ("UPSTASH_REDIS_REST_TOKEN", "of-rest")];
    let kv = [("KV_REST_API_URL", "https://kv"), ("KV_REST_API_TOKEN", "of-kv")];
    let plain = [("UPSTASH_REDIS_URL", "https://plain"), ("UPSTASH_REDIS_TOKEN", "of-plain")];
    let said = |store: &str, token: &str, origin: &str| (store.to_owned(), token.to_owned(), origin.to_owned());
    let of_rest = "env UPSTASH_REDIS_REST_TOKEN";
    assert_eq!(store(&rest, &[]), said("https://rest", "of-rest", of_rest));
    assert_eq!(store(&kv, &[]), said("https://kv", "of-kv", "env KV_REST_API_TOKEN"));
    assert_eq!(store(&[rest, kv].concat(), &[]), said("https://rest", "of-rest", of_rest));
    assert_eq!(store(&[&rest[1..], &kv].concat(), &[]), said("https://kv", "of-kv", "env KV_REST_API_TOKEN"));
    assert_eq!(store(&plain, &[]), said("https://plain", "of-plain", "env UPSTASH_REDIS_TOKEN"));
    let all = [plain, rest, kv].concat();
    assert_eq!(store(&all, &[]), said("https://plain", "of-plain", "env UPSTASH_REDIS_TOKEN"));
    let mixed = [plain[0], rest[1]];
    assert_eq!(store(&mixed, &[]), said("https://plain", "of-rest", of_rest));
    let mixed = [rest[0], plain[1]];
    assert_eq!(store(&mixed, &[]), said("https://rest", "of-plain", "env UPSTASH_REDIS_TOKEN"));
    let flag = [("--store", "store", "https://flag")];
    assert_eq!(store(&[rest, kv].concat(), &flag), said("https://flag", "of-rest", of_rest));
    let redis = [("REDIS_URL", "redis://h")];
    assert_eq!(store(&[&redis[..], &rest].concat(), &[]).0, "redis://h:6379", "REDIS_URL comes first");
}

#[test]
fn the_token_of_upstash_is_the_password_where_its_address_has_none_and_goes_nowhere_else() {
    let login = |env: &[(&str, &str)]| {
        let resolved = resolve_from("", env, &[]).unwrap_or_else(|problems| panic!("{problems}"));
        let shown = format!("{:?} {}", render_effective(&resolved), resolved.settings.store);
        assert!(!shown.contains("t=k/n") && !shown.contains("t%3Dk") && !shown.contains("own"), "{shown}");
        let StoreSetting::Redis(url) = resolved.settings.store else { panic!("{shown}") };
        (url.login.user, url.login.password.map(|password| password.expose().to_owned()), url.database)
    };
    let said = |user: &str, password: &str, database| {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        (text(user), text(password), database)
    };
    let token = ("UPSTASH_REDIS_TOKEN", " t=k/n ");
    for (address, expected) in [
        ("rediss://h.upstash.io:6379", said("default", "t=k/n", 0)),
        ("rediss://default@h:1/2", said("default", "t=k/n", 2)),
        ("rediss://someone@h:1", said("someone", "t=k/n", 0)),
        ("redis://h", said("default", "t=k/n", 0)),
        ("rediss://default:own@h:1", said("default", "own", 0)),
        ("rediss://:own@h:1", said("", "own", 0)),
    ] {
        assert_eq!(login(&[("UPSTASH_REDIS_URL", address), token]), expected);
    }
    for name in ["REDIS_URL", "LASTGOOD_STORE_URL"] {
        assert_eq!(login(&[(name, "redis://h:1"), token]), said("", "", 0), "it is another database's, by {name}");
    }
    assert_eq!(login(&[("UPSTASH_REDIS_URL", "redis://h:1"), ("UPSTASH_REDIS_TOKEN", " ")]), said("", "", 0));
}

#[test]
fn rest_address_and_token_come_from_redis_url_alone() {
    let redis_url = ("REDIS_URL", "rediss://default:of-redis@eu1-x.upstash.io:6379");
    let store = |file: &str, env: &[(&str, &str)], flags: &[(&str, &str, &str)]| {
        let resolved = resolve_from(file, env, flags).unwrap_or_else(|problems| panic!("{problems}"));
        let token = resolved.settings.store_token.as_ref().map(|token| token.expose_secret().to_owned());
        let shown = format!("{:?} {:?}", render_effective(&resolved), resolved.settings);
        assert!(!shown.contains("of-redis"), "{shown}");
        (resolved.settings.store.to_string(), token.unwrap_or_default())
    };
    let rest = ("https://eu1-x.upstash.io".to_owned(), "of-redis".to_owned());
    let wish = ("LASTGOOD_STORE_URL", "upstash-rest:");
    assert_eq!(store("", &[wish, redis_url], &[]), rest);
    assert_eq!(store("", &[redis_url], &[("--store", "store", "upstash-rest:")]), rest);
    assert_eq!(store("store = \"upstash-rest:\"", &[redis_url], &[]), rest);
    assert_eq!(store("", &[wish, ("UPSTASH_REDIS_URL", redis_url.1)], &[]), rest);
    let other = ("UPSTASH_REDIS_REST_TOKEN", "another-database-s");
    assert_eq!(store("", &[wish, redis_url, other], &[]), rest, "address and token belong together");
    assert_eq!(store("", &[redis_url], &[]).0, "rediss://***@eu1-x.upstash.io:6379", "over Redis' own protocol");
    for (env, part) in [
        (vec![wish], "is not set"),
        (vec![wish, ("REDIS_URL", "redis://:of-redis@h")], "none of Upstash's"),
        (vec![wish, ("REDIS_URL", "rediss://eu1-x.upstash.io")], "no password"),
    ] {
        let problems = resolve_from("", &env, &[]).expect_err("refused").to_string();
        assert!(problems.contains(part) && problems.contains("help: write REDIS_URL as Upstash"), "{problems}");
        assert!(!problems.contains("of-redis") && !problems.contains("there is no token"), "{problems}");
    }
}

#[test]
fn a_store_at_upstash_without_its_token_is_refused_with_a_hint() {
    let refused = |env: &[(&str, &str)], flags: &[(&str, &str, &str)]| {
        let problems = resolve_from("", env, flags).expect_err("refused").to_string();
        assert!(problems.contains("`store`: this is an Upstash REST address, and there is no token"), "{problems}");
        assert!(problems.contains("help: set UPSTASH_REDIS_REST_TOKEN"), "{problems}");
        problems
    };
    let said = refused(&[("UPSTASH_REDIS_REST_URL", "https://h"), ("UPSTASH_REDIS_REST_TOKEN", " ")], &[]);
    assert!(said.contains("env UPSTASH_REDIS_REST_URL"), "{said}");
    // Another database's token goes nowhere but to that database.
    let kv = [("KV_REST_API_URL", "https://kv"), ("KV_REST_API_TOKEN", "of-kv")];
    refused(&kv, &[("--store", "store", "https://h")]);
    let broken = [("UPSTASH_REDIS_REST_URL", "https://h"), ("UPSTASH_REDIS_REST_TOKEN", "hunter 2")];
    let said = resolve_from("", &broken, &[]).expect_err("refused").to_string();
    assert!(said.contains("`store_token`") && !said.contains("hunter"), "{said}");
}
