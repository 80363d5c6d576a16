//! Which gateway the verbs of the command ask, and what stops them before.

use super::*;

#[tokio::test]
async fn the_verbs_find_the_gateway_of_their_own_environment() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[("admin.token", TOKEN)]).await;
    let port = gateway.address.port();
    let desk = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lastgood"));
        command.args(arguments).current_dir(desk.path()).env_clear().envs(environment.iter().copied());
        command.output().await.expect("the program starts")
    };
    let stats = ["stats"];
    let (here, everywhere) = (format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"));
    let token = ("LASTGOOD_ADMIN_TOKEN", TOKEN);
    for listen in [&here, &everywhere] {
        let output = run(&stats, &[("LASTGOOD_LISTEN", listen), token]).await;
        assert!(output.status.success(), "{listen}: {}", complaint(&output));
        let output = run(&["check", "--live"], &[("LASTGOOD_LISTEN", listen)]).await;
        assert!(output.status.success(), "{listen}: {}", complaint(&output));
    }
    // The flag wins over the variable of the address, that over where it listens.
    let (url, nowhere) = (gateway.url(""), ("LASTGOOD_URL", "http://127.0.0.1:9"));
    let output = run(&["stats", "--url", &url], &[nowhere, ("LASTGOOD_LISTEN", "127.0.0.1:9"), token]).await;
    assert!(output.status.success(), "{}", complaint(&output));
    let output = run(&stats, &[("LASTGOOD_URL", &url), ("LASTGOOD_LISTEN", "127.0.0.1:9"), token]).await;
    assert!(output.status.success(), "{}", complaint(&output));
    let output = run(&stats, &[nowhere, ("LASTGOOD_LISTEN", &here), token]).await;
    assert!(!output.status.success() && complaint(&output).contains("127.0.0.1:9"), "{}", complaint(&output));

    // A file says both, whatever else a client lacks of what it wants.
    let text = format!("listen = \"0.0.0.0:{port}\"\nmaster_key = \"${{NOT_HERE}}\"\n[admin]\ntoken = \"{TOKEN}\"\n");
    std::fs::write(desk.path().join("other.toml"), &text).unwrap();
    for arguments in [&["stats", "--config", "other.toml"][..], &["stats", "--config", "other.toml", "--url", &url]] {
        let output = run(arguments, &[]).await;
        assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
    }
    assert!(run(&stats, &[("LASTGOOD_CONFIG", "other.toml")]).await.status.success());
    std::fs::write(desk.path().join("lastgood.toml"), &text).unwrap();
    assert!(run(&stats, &[]).await.status.success());
    let output = run(&["stats", "--token", "a-wrong-token-for-this"], &[]).await;
    assert!(complaint(&output).contains("401"), "{}", complaint(&output));
    // The variable beats the file.
    let output = run(&stats, &[("LASTGOOD_LISTEN", "127.0.0.1:9")]).await;
    assert!(complaint(&output).contains("http://127.0.0.1:9"), "{}", complaint(&output));

    let output = run(&["stats", "--config", "nope.toml", "--url", &url], &[token]).await;
    assert!(output.status.code() != Some(0) && complaint(&output).contains("nope.toml"), "{}", complaint(&output));
    let output = run(&stats, &[("LASTGOOD_LISTEN", "nowhere"), token]).await;
    assert!(
        output.status.code() != Some(0) && complaint(&output).contains("LASTGOOD_LISTEN"),
        "{}",
        complaint(&output)
    );
}

/// Every verb that asks a gateway, with what it needs to be one.
const ASKING: [&[&str]; 12] = [
    &["stats"],
    &["get", PRICES_KEY],
    &["keys"],
    &["explain", PRICES_KEY],
    &["expire", "--key", PRICES_KEY],
    &["remove", "--tag", "none"],
    &["clear", "--symbol", "NONE"],
    &["clear", "--region", "kv", "--yes"],
    &["clear", "--all", "--dry-run"],
    &["flush", "--dry-run"],
    &["warm", "--dry-run"],
    &["check", "--live"],
];

/// The program in a folder of its own, without any variable but these.
async fn in_folder(folder: &std::path::Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lastgood"));
    command.args(arguments).current_dir(folder).env_clear().envs(environment.iter().copied());
    command.output().await.expect("the program starts")
}

#[tokio::test]
async fn a_gateway_that_is_not_the_one_of_the_configuration_is_never_asked() {
    let exchange = exchange().await;
    // One that answers on the port of LASTGOOD_LISTEN, and the one that the file is about.
    let (other, own) = (start(&exchange, &[]).await, start(&exchange, &[("admin.token", TOKEN)]).await);
    fill(&own).await;
    let desk = tempfile::tempdir().unwrap();
    let write = |listen: &str| {
        let text = format!("listen = \"{listen}\"\n[admin]\ntoken = \"{TOKEN}\"\n");
        std::fs::write(desk.path().join("lastgood.toml"), text).unwrap();
    };
    let port = own.address.port();
    let asked = other.traffic().requests;
    for listen in [format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"), format!("[::ffff:0.0.0.0]:{port}")] {
        write(&listen);
        for arguments in ASKING {
            let output = in_folder(desk.path(), arguments, &[]).await;
            assert!(output.status.success(), "{listen} {arguments:?}: {}", complaint(&output));
            fill(&own).await;
        }
    }
    // The variable wins over the file, the flag of `check` over both.
    let elsewhere = [("LASTGOOD_LISTEN", "127.0.0.1:9")];
    let here = format!("127.0.0.1:{port}");
    for flags in [["--listen".to_owned(), here.clone()], ["--set".to_owned(), format!("listen={here}")]] {
        let output = in_folder(desk.path(), &["check", "--live", &flags[0], &flags[1]], &elsewhere).await;
        assert!(output.status.success(), "{flags:?}: {}", complaint(&output));
    }
    // No server is there: no verb turns to another, and each says who names the address.
    for (listen, environment) in [("127.0.0.1:9", &[][..]), ("[::1]:9", &[]), ("0.0.0.0:1234", &elsewhere[..])] {
        write(listen);
        for arguments in ASKING {
            let output = in_folder(desk.path(), arguments, environment).await;
            let said = complaint(&output);
            let origin = if environment.is_empty() { "lastgood.toml:1" } else { "env LASTGOOD_LISTEN" };
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
            assert!(said.contains(":9 (listen: ") && said.contains(origin) && said.contains("help:"), "{said}");
        }
    }
    write("127.0.0.1:0");
    let output = in_folder(desk.path(), &["stats"], &[]).await;
    assert!(output.status.code() == Some(1) && complaint(&output).contains("--url"), "{}", complaint(&output));
    assert_eq!(other.traffic().requests, asked);
}

#[tokio::test]
async fn a_gateway_on_ipv6_is_found_at_its_address_or_at_loopback() {
    let exchange = exchange().await;
    let desk = tempfile::tempdir().unwrap();
    for listen in ["[::1]", "[::]"] {
        let port = std::net::TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap().port();
        let variables = [("LASTGOOD_LISTEN", format!("{listen}:{port}")), ("LASTGOOD_ADMIN_TOKEN", TOKEN.to_owned())];
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lastgood"));
        command.args(["serve", "--store", "memory:"]).current_dir(desk.path()).env_clear().envs(variables.clone());
        command.env("LASTGOOD_BINANCE_SPOT_URL", exchange.url()).kill_on_drop(true);
        let mut gateway = command.stderr(std::process::Stdio::null()).spawn().expect("the program starts");
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for arguments in [&["check", "--live"][..], &["stats"]] {
            crate::support::eventually("it is found", async || {
                in_folder(desk.path(), arguments, &variables).await.status.success()
            })
            .await;
        }
        gateway.kill().await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_configuration_file_stops_every_verb_and_says_how_to_correct_it() {
    let desk = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(desk.path().join(name), text).unwrap();
    write("unknown.toml", b"lisen = \"127.0.0.1:8092\"\n");
    write("value.toml", b"preset = \"tradng\"\n");
    write("broken.toml", b"listen = \n[admin\n");
    write("bytes.toml", b"\xff\xfe");
    write("right.toml", b"preset = \"trading\"\n");
    std::os::unix::fs::symlink("nowhere.toml", desk.path().join("link.toml")).unwrap();
    let others: [&[&str]; 3] = [&["config"], &["serve", "--listen", "127.0.0.1:0"], &["credentials", "list"]];
    for file in ["nope.toml", "unknown.toml", "value.toml", "broken.toml", "bytes.toml", "link.toml", ".", "/dev/zero"]
    {
        for arguments in ASKING.iter().chain(&others) {
            let arguments: Vec<&str> = arguments.iter().copied().chain(["--config", file]).collect();
            let output = in_folder(desk.path(), &arguments, &[("LASTGOOD_URL", "http://127.0.0.1:9")]).await;
            let said = complaint(&output);
            assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {said}");
            assert!(said.contains("help:") && !said.contains("failed to ask"), "{arguments:?}: {said}");
            assert!(said.contains(file) || said.contains("--config"), "{arguments:?}: {said}");
        }
    }
    // Verbs that read none do not take one as if they did.
    for verb in [&["demo", "--for", "1s"][..], &["sim", "--listen", "127.0.0.1:0"], &["completions", "bash"]] {
        for file in ["nope.toml", "right.toml"] {
            let arguments: Vec<&str> = verb.iter().copied().chain(["--config", file]).collect();
            let output = in_folder(desk.path(), &arguments, &[]).await;
            let said = complaint(&output);
            assert!(output.status.code() == Some(2) && said.contains(file) && said.contains("help:"), "{said}");
        }
    }
    // A link that leads nowhere is not the same as no file.
    std::fs::rename(desk.path().join("link.toml"), desk.path().join("lastgood.toml")).unwrap();
    let output = in_folder(desk.path(), &["stats"], &[]).await;
    assert!(complaint(&output).contains("lastgood.toml cannot be read"), "{}", complaint(&output));
}

#[tokio::test]
async fn a_client_without_the_gateways_variables_finds_it_all_the_same() {
    let exchange = exchange().await;
    let gateway = start(&exchange, &[]).await;
    let desk = tempfile::tempdir().unwrap();
    let text = format!(
        "listen = \"{}\"\nstore = \"env:STORE\"\nmaster_key = \"env:KEY\"\n[databases.main]\nurl = \"env:DATABASE\"\n\
         [regions.news]\nfresh_for = \"env:FRESH\"\n[[routes]]\npath = \"/v1/news\"\nregion = \"news\"\n\
         [[routes.sources]]\ndatabase = \"main\"\nsql = \"SELECT 1 AS one\"\nrows = \"list\"\n",
        gateway.address
    );
    std::fs::write(desk.path().join("lastgood.toml"), &text).unwrap();
    let output = in_folder(desk.path(), &["stats"], &[]).await;
    assert!(output.status.success(), "{}", complaint(&output));
    std::fs::write(desk.path().join("lastgood.toml"), text.replace("fresh_for", "frsh_for")).unwrap();
    let output = in_folder(desk.path(), &["stats"], &[]).await;
    assert!(complaint(&output).contains("did you mean `fresh_for`?"), "{}", complaint(&output));
}
