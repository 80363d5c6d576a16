//! A real PgBouncer in front of a real PostgreSQL.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::postgres_server::{signal, succeeded};
use super::{Port, PostgresServer};

const TRIES: u32 = 1000;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// A PgBouncer of the test's own, on a free port of the loopback address. Dropping it kills it; the server that it is
/// in front of must live as long. All methods block, and panic when it does not obey.
pub struct PgBouncer<'a> {
    server: &'a PostgresServer,
    port: Port,
    config: PathBuf,
    process: Option<Child>,
}

impl<'a> PgBouncer<'a> {
    /// Starts one that lets anybody in. `settings` are lines of its section `[pgbouncer]`, such as
    /// `pool_mode = transaction`.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not start.
    pub fn start(server: &'a PostgresServer, settings: &str) -> Self {
        let database = format!("* = host=127.0.0.1 port={} user=postgres", server.port());
        Self::start_as(server, &database, "auth_type = any\nadmin_users = postgres", settings, "")
    }

    /// Starts one that takes the user `me` alone, with a password, by SCRAM.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not start.
    pub fn start_with_password(server: &'a PostgresServer, password: &str, settings: &str) -> Self {
        let database = format!("* = host=127.0.0.1 port={} user=postgres", server.port());
        let users = format!("\"me\" \"{password}\"\n\"postgres\" \"{password}\"\n");
        Self::start_as(server, &database, "auth_type = scram-sha-256\nadmin_users = me", settings, &users)
    }

    fn start_as(server: &'a PostgresServer, database: &str, auth: &str, settings: &str, users: &str) -> Self {
        let port = Port::take();
        let number = port.number();
        let config = server.directory().join(format!("pgbouncer-{number}.ini"));
        let users_file = server.directory().join(format!("pgbouncer-{number}.users"));
        let text = format!(
            "[databases]\n{database}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {number}\n\
             unix_socket_dir =\n{auth}\nauth_file = {}\n{settings}\n",
            users_file.display()
        );
        server.write_at(&config, text.as_bytes());
        server.write_at(&users_file, users.as_bytes());
        let mut pooler = PgBouncer { server, port, config, process: None };
        pooler.restart();
        pooler
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// `postgres://postgres@127.0.0.1:port/database`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port())
    }

    /// Runs a command of its console, such as `PAUSE`. Only where anybody is let in.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub fn console(&self, command: &str) -> String {
        let output = self.server.client_of(self.port(), "pgbouncer").args(["-c", command]).output();
        let output = output.expect("psql runs");
        succeeded(command, &output);
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Ends it at once, and all connections with it.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            signal("-KILL", process.id());
            _ = process.wait();
        }
    }

    /// Starts it on its port, after a [`PgBouncer::kill`] if it runs.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill();
        let mut command = self.server.as_its_user(&program());
        command.arg("-q").arg(&self.config).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("pgbouncer runs"));
        for _ in 0..TRIES {
            if std::net::TcpStream::connect(("127.0.0.1", self.port())).is_ok() {
                return;
            }
            let exited = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            assert!(exited.is_none(), "pgbouncer does not start; are its settings right?");
            sleep(BETWEEN_TRIES);
        }
        panic!("pgbouncer does not listen");
    }
}

impl fmt::Debug for PgBouncer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PgBouncer({})", self.port())
    }
}

impl Drop for PgBouncer<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian keeps it where not every user's search path leads.
fn program() -> PathBuf {
    let debian = Path::new("/usr/sbin/pgbouncer");
    if debian.exists() { debian.to_path_buf() } else { PathBuf::from("pgbouncer") }
}
