//! The `moto` server of the Python environment: S3 without Amazon.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use secrecy::SecretString;

use super::STOCK;
use crate::source::object::bucket::{BucketSpec, Credentials};

/// The server, ended with this.
pub(super) struct Moto {
    process: Child,
    pub(super) url: String,
}

impl Moto {
    fn start() -> Moto {
        let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-tools/venv/bin/python");
        let script = "import sys, moto.server, werkzeug.serving as w\n\
            s = w.make_server('127.0.0.1', 0, moto.server.DomainDispatcherApplication(moto.server.create_backend_app), threaded=True)\n\
            print(s.server_port, flush=True); s.serve_forever()";
        let mut process = Command::new(python)
            .args(["-c", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a Python environment; run tests/install-tools.sh");
        let mut port = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut port).unwrap();
        assert!(!port.is_empty(), "moto did not start; run tests/install-tools.sh");
        Moto { process, url: format!("http://127.0.0.1:{}", port.trim()) }
    }

    pub(super) async fn put(&self, place: &str, content: &str) {
        _ = rustls::crypto::ring::default_provider().install_default();
        let put = reqwest::Client::new().put(format!("{}/{place}", self.url)).body(content.to_owned());
        assert!(put.send().await.unwrap().status().is_success());
    }

    pub(super) fn options(&self) -> BucketSpec {
        let mut options = BucketSpec::new("s3://stocks/prices");
        options.endpoint = Some(self.url.clone());
        let secret = SecretString::from("hunter2");
        options.credentials = Credentials::AccessKey { id: "me".into(), secret, session_token: None };
        options
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

pub(super) async fn filled_moto() -> Moto {
    let moto = Moto::start();
    moto.put("stocks", "").await;
    for name in ["AAPL.json", "MSFT.json", "readme.txt", "deeper/X.json"] {
        moto.put(&format!("stocks/prices/daily/{name}"), STOCK).await;
    }
    moto.put("stocks/secret.json", "{}").await;
    moto
}
