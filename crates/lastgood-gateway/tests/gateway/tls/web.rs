//! Buckets and HTTP APIs behind TLS.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use super::authority::Authority;
use super::{Served, checked, command, refused};
use crate::support::get;

const STOCK: &str = r#"{"symbol":"AAPL","close":1.10}"#;
const HINT: &str = "let SSL_CERT_FILE name";

/// S3 behind TLS, by the `moto` server of the Python environment. Its object `daily/AAPL.json` is also what an API
/// answers. Without an authority it speaks no TLS.
pub(super) struct Moto {
    process: Child,
    port: u16,
}

impl Moto {
    pub(super) async fn start(authority: Option<&Authority>) -> Moto {
        let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-tools/venv/bin/python");
        let script = "import sys, moto.server, werkzeug.serving as w\n\
            s = w.make_server('127.0.0.1', 0, moto.server.DomainDispatcherApplication(moto.server.create_backend_app), \
            threaded=True, ssl_context=tuple(sys.argv[1:]) or None)\n\
            print(s.server_port, flush=True); s.serve_forever()";
        let files = authority.map(|authority| <[_; 2]>::from(authority.server()));
        let mut command = Command::new(python);
        // By whatever name it is asked, the first part of the path is the bucket.
        command.env("S3_IGNORE_SUBDOMAIN_BUCKETNAME", "true");
        command.args(["-c", script]).args(files.into_iter().flatten()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("there is a Python environment; run tests/install-tools.sh");
        let mut port = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut port).unwrap();
        let port = port.trim().parse().expect("moto starts; run tests/install-tools.sh");
        let moto = Moto { process, port };
        if let Some(authority) = authority {
            moto.fill(authority).await;
        }
        moto
    }

    async fn fill(&self, authority: &Authority) {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pem = std::fs::read(authority.certificate()).unwrap();
        let trusted = reqwest::Certificate::from_pem(&pem).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([trusted]).build().unwrap();
        for (place, content) in [("stocks", ""), ("stocks/daily/AAPL.json", STOCK)] {
            let put = client.put(format!("https://localhost:{}/{place}", self.port));
            let put = put.header("x-amz-acl", "public-read").body(content);
            assert!(put.send().await.unwrap().status().is_success());
        }
    }

    /// Routes over it by this host, `/v1/bucket` and `/v1/api`.
    pub(super) fn file(&self, host: &str) -> String {
        let url = format!("https://{host}:{}", self.port);
        let route = |name: &str, source: &str| {
            format!("[[routes]]\npath = \"/v1/{name}\"\nregion = \"stocks\"\n[[routes.sources]]\n{source}\n")
        };
        [
            "[regions.stocks]\nfresh_for = \"1h\"\n",
            &format!("[buckets.stocks]\nurl = \"s3://stocks\"\nendpoint = \"{url}\"\n"),
            "access_key = \"me\"\nsecret_key = \"hunter2\"\n",
            &format!("[apis.stocks]\nurl = \"{url}/stocks\"\n"),
            &route("bucket", "bucket = \"stocks\"\nobject = \"daily/AAPL.json\""),
            &route("api", "api = \"stocks\"\npath = \"/daily/AAPL.json\""),
        ]
        .concat()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_bucket_and_an_api_behind_tls_are_asked_when_ssl_cert_file_trusts_them_and_only_then() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let moto = Moto::start(Some(&ours)).await;
    let (ours_file, theirs_file) = (ours.certificate(), theirs.certificate());
    let trusting = |path: &std::path::Path| [("SSL_CERT_FILE", path.to_str().unwrap().to_owned())];
    for (host, trusted, wrong) in [
        ("localhost", trusting(&ours_file), None),
        ("localhost", trusting(&theirs_file), Some("UnknownIssuer")),
        ("127.0.0.1", trusting(&ours_file), Some("not valid for name")),
    ] {
        let file = moto.file(host);
        let said = checked(&file, &trusted);
        let gateway = Served::start(&file, &trusted);
        for name in ["bucket", "api"] {
            let got = get(format!("{}/v1/{name}", gateway.url)).await;
            match wrong {
                None => {
                    assert_eq!(said(name)["verdict"], "ok", "{}", said(name));
                    assert_eq!((got.status, got.text()), (200, STOCK), "{name}");
                }
                Some(wrong) => {
                    refused(&said(name), wrong, HINT);
                    let is_named = got.text().contains("cannot be reached over TLS");
                    assert_eq!((got.status, is_named), (503, true), "{name}: {}", got.text());
                    assert!(!got.text().contains("localhost"), "no address for a client: {}", got.text());
                }
            }
        }
    }
}

#[tokio::test]
async fn certificates_of_ssl_cert_dir_are_trusted_with_those_of_ssl_cert_file() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let moto = Moto::start(Some(&ours)).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(ours.certificate(), folder.path().join("authority.pem")).unwrap();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let both = [("SSL_CERT_FILE", text(&theirs.certificate())), ("SSL_CERT_DIR", text(folder.path()))];
    let said = checked(&moto.file("localhost"), &both);
    for name in ["bucket", "api"] {
        assert_eq!(said(name)["verdict"], "ok", "{}", said(name));
    }
}

#[tokio::test]
async fn a_server_without_tls_is_recognised() {
    let moto = Moto::start(None).await;
    let ours = Authority::new();
    let said = checked(&moto.file("localhost"), &[("SSL_CERT_FILE", ours.certificate().to_str().unwrap().to_owned())]);
    for name in ["bucket", "api"] {
        refused(&said(name), "TLS failed", HINT);
    }
}

#[test]
fn with_nothing_to_trust_the_gateway_says_so_and_does_not_start() {
    let route = "[[routes]]\npath = \"/v1/one\"\nregion = \"kv\"\n[[routes.sources]]\n";
    for source in [
        "api = \"one\"\npath = \"/one\"\n[apis.one]\nurl = \"https://localhost:9\"\n",
        "bucket = \"one\"\nobject = \"one.json\"\n[buckets.one]\nurl = \"s3://one\"\n",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let nothing = [("SSL_CERT_FILE", "/nowhere/root.pem".to_owned())];
        let output = command("serve", folder.path(), &format!("{route}{source}"), &nothing).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("No CA certificates") && said.contains("correct SSL_CERT_FILE"), "{said}");
    }
}
