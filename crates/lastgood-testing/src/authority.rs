//! A certificate authority that no system trusts.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

/// An authority in a directory of its own, which is removed with it. All methods block for some milliseconds, and panic
/// when `openssl` is not installed.
pub struct Authority {
    directory: PathBuf,
}

impl Authority {
    /// Makes one.
    ///
    /// # Panics
    ///
    /// When `openssl` is not installed.
    #[expect(clippy::new_without_default, reason = "it makes files")]
    pub fn new() -> Authority {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = format!("{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let authority = Authority { directory: std::env::temp_dir().join(format!("lastgood-authority-{number}")) };
        std::fs::create_dir_all(&authority.directory).expect("a temporary directory can be made");
        let uses = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"];
        // Another name for each, as authorities have.
        authority.request("authority", &format!("/CN=Authority {number}"), &uses);
        authority
    }

    /// What trusts it: the file of its own certificate.
    pub fn certificate(&self) -> String {
        self.path("authority.pem")
    }

    /// A certificate and its key, of a server or a client, in the files `FILE.pem` and `FILE.key`. `names` are those that
    /// it is for: `DNS:localhost,IP:127.0.0.1`.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn issue(&self, file: &str, names: &str) -> (String, String) {
        let (certificate, key) = (self.certificate(), self.path("authority.key"));
        let names = format!("subjectAltName={names}");
        let uses = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", &names];
        self.request(file, &format!("/CN={file}"), &[&uses[..], &["-CA", &certificate, "-CAkey", &key]].concat())
    }

    /// The arguments of a `redis-server` with a certificate for `names`, that wants one of each client.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn redis_arguments(&self, names: &str) -> Vec<String> {
        let (certificate, key) = self.issue("server", names);
        let pairs = [
            ("--tls-cert-file", certificate),
            ("--tls-key-file", key),
            ("--tls-ca-cert-file", self.certificate()),
            ("--tls-auth-clients", "yes".to_owned()),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// What stands after the `?` of a URL of such a server: this authority and a client's certificate.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn redis_parameters(&self) -> String {
        let (certificate, key) = self.issue("client", "DNS:client");
        format!("ca={}&cert={certificate}&key={key}", self.certificate())
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_string_lossy().into_owned()
    }

    fn request(&self, file: &str, subject: &str, more: &[&str]) -> (String, String) {
        let (certificate, key) = (self.path(&format!("{file}.pem")), self.path(&format!("{file}.key")));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "2", "-subj", subject, "-keyout", &key, "-out", &certificate])
            .args(more)
            .output()
            .expect("this test needs `openssl` (Debian: openssl)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        (certificate, key)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("directory", &self.directory).finish()
    }
}
