//! A certificate authority that no system trusts.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An authority in a folder of its own. Its certificates are for `localhost` and `outside.test`, and not for `127.0.0.1`.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let authority = Authority { folder: tempfile::tempdir().unwrap() };
        let [certificate, key] = ["authority.pem", "authority.key"].map(|name| authority.path(name));
        let uses = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"];
        // Another name for each, as authorities have.
        let name = format!("/CN=Authority {}", authority.folder.path().file_name().unwrap().display());
        request(&name, &certificate, &key, &uses.map(Path::new));
        let (signed, signed_key) = authority.server();
        let uses = [
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "subjectAltName=DNS:localhost,DNS:outside.test",
        ];
        let by = [Path::new("-CA"), &certificate, Path::new("-CAkey"), &key];
        request("/CN=localhost", &signed, &signed_key, &[&uses.map(Path::new)[..], &by].concat());
        authority
    }

    /// What trusts it: its own certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.path("authority.pem")
    }

    /// The certificate of a server, and its key.
    pub(crate) fn server(&self) -> (PathBuf, PathBuf) {
        (self.path("server.pem"), self.path("server.key"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn request(name: &str, certificate: &Path, key: &Path, more: &[&Path]) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", name, "-keyout"])
        .arg(key)
        .arg("-out")
        .arg(certificate)
        .args(more)
        .output();
    let made = made.expect("this test needs `openssl` (Debian: openssl)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
