//! A real PostgreSQL server, to be stopped and killed.

use std::fmt;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use super::Port;

const TRIES: u32 = 1500;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// A PostgreSQL server of the test's own, on a free port of the loopback address, with a directory of its own. Dropping
/// it kills the server and removes the directory. All methods block, and panic when the server does not obey.
///
/// PostgreSQL refuses to run as root: there it runs as the user `postgres`, which Debian's package makes.
pub struct PostgresServer {
    port: Port,
    directory: PathBuf,
    binaries: PathBuf,
    user: Option<(u32, u32)>,
    process: Option<Child>,
}

impl PostgresServer {
    /// Starts a server with an empty database `postgres` and a user of that name, who needs no password.
    ///
    /// # Panics
    ///
    /// When PostgreSQL is not installed or does not start.
    pub fn start() -> Self {
        Self::start_prepared(Self::prepare)
    }

    /// Starts the same server with a certificate and its key, PEM files both: it lets no client in without TLS.
    ///
    /// # Panics
    ///
    /// When PostgreSQL is not installed or does not start.
    pub fn start_with_tls(certificate: &Path, key: &Path) -> Self {
        Self::start_prepared(|| {
            let server = Self::prepare();
            server.set_certificate(certificate, key);
            let settings = std::fs::read_to_string(server.data().join("postgresql.conf")).expect("initdb made it");
            server.write("postgresql.conf", format!("{settings}\nssl = on\n").as_bytes());
            server.write("pg_hba.conf", b"hostssl all all 127.0.0.1/32 trust\n");
            server
        })
    }

    /// Gives the server another certificate and key, which it shows from its next [`PostgresServer::restart`] on.
    ///
    /// # Panics
    ///
    /// When one of the files cannot be read.
    pub fn set_certificate(&self, certificate: &Path, key: &Path) {
        for (name, file) in [("server.crt", certificate), ("server.key", key)] {
            self.write(name, &std::fs::read(file).expect("the file can be read"));
        }
    }

    fn start_prepared(prepare: impl Fn() -> Self) -> Self {
        for _ in 0..10 {
            let mut server = prepare();
            // Another process may have taken the port since it was found free.
            if server.try_start() {
                return server;
            }
        }
        panic!("PostgreSQL did not start");
    }

    /// Makes the server's directory and finds a port, but does not start it: [`PostgresServer::restart`] does.
    ///
    /// # Panics
    ///
    /// When PostgreSQL is not installed.
    pub fn prepare() -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("lastgood-postgres-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory can be made");
        let user = (id("-u", None) == Some(0))
            .then(|| (id("-u", Some("postgres")), id("-g", Some("postgres"))))
            .map(|(user, group)| (user.expect("there is a user postgres"), group.expect("it has a group")));
        if let Some((user, group)) = user {
            std::os::unix::fs::chown(&directory, Some(user), Some(group)).expect("root gives the directory away");
        }
        let server = PostgresServer { port: Port::take(), directory, binaries: binaries(), user, process: None };
        let made = server
            .command("initdb")
            .args(["--auth=trust", "--no-sync", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "-D"])
            .arg(server.data())
            .output();
        succeeded("initdb", &made.expect("initdb runs"));
        server
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// `postgres://postgres@127.0.0.1:port/database`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port())
    }

    /// Runs SQL on the database `postgres` and gives back what it answers, a row a line, columns split by `|`.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub fn execute(&self, sql: &str) -> String {
        let mut command = self.client();
        let output = command.args(["-v", "ON_ERROR_STOP=1", "-c", sql]).output().expect("psql runs");
        succeeded(sql, &output);
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Stops the server and all that works for it with SIGSTOP: connections stay, and nothing is answered.
    pub fn stop(&self) {
        // The parent first, so that nothing new is begun.
        for process in self.processes() {
            signal("-STOP", process);
        }
    }

    /// Lets a stopped server go on (SIGCONT).
    pub fn cont(&self) {
        for process in self.processes() {
            signal("-CONT", process);
        }
    }

    /// Ends the server at once and waits for its end.
    pub fn kill(&mut self) {
        self.cont();
        if let Some(mut process) = self.process.take() {
            // SIGQUIT ends its children too; SIGKILL would leave them to notice.
            signal("-QUIT", process.id());
            _ = process.wait();
        }
    }

    /// Starts the server on its port, after a [`PostgresServer::kill`] if it runs.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.try_start(), "PostgreSQL did not start on port {}", self.port());
    }

    fn try_start(&mut self) -> bool {
        let port = self.port().to_string();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-h", "127.0.0.1", "-p", &port, "-k", ""]);
        for setting in ["fsync=off", "full_page_writes=off", "max_connections=40", "shared_buffers=16MB"] {
            command.args(["-c", setting]);
        }
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("postgres runs");
        self.process = Some(process);
        for _ in 0..TRIES {
            if self.client().args(["-c", "SELECT 1"]).output().is_ok_and(|output| output.status.success()) {
                return true;
            }
            let exited = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            if exited.is_some() {
                return false;
            }
            sleep(BETWEEN_TRIES);
        }
        false
    }

    fn client(&self) -> Command {
        self.client_of(self.port(), "postgres")
    }

    /// `psql` for a database at a port of this machine, which need not be the server's own.
    pub(super) fn client_of(&self, port: u16, database: &str) -> Command {
        let mut command = self.command("psql");
        let port = port.to_string();
        command.args(["-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-U", "postgres", "-p", &port, "-d", database]);
        // For TLS it looks for certificates at home, and fails where that is the home of root.
        command.env("HOME", &self.directory);
        command
    }

    fn command(&self, program: &str) -> Command {
        self.as_its_user(&self.binaries.join(program))
    }

    /// A program to be run as the server's user, in the server's directory.
    pub(super) fn as_its_user(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.directory);
        if let Some((user, group)) = self.user {
            command.gid(group).uid(user);
        }
        command
    }

    /// Writes a file of the server's own, for its owner alone to read: it takes no key that others could.
    fn write(&self, name: &str, content: &[u8]) {
        self.write_at(&self.data().join(name), content);
    }

    /// Writes a file that the server's user alone can read.
    pub(super) fn write_at(&self, file: &Path, content: &[u8]) {
        std::fs::write(file, content).expect("its directory can be written");
        std::fs::set_permissions(file, Permissions::from_mode(0o600)).expect("the file is ours");
        if let Some((user, group)) = self.user {
            std::os::unix::fs::chown(file, Some(user), Some(group)).expect("root gives the file away");
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The server and its children, in this order.
    fn processes(&self) -> Vec<u32> {
        let Some(parent) = self.process.as_ref().map(Child::id) else { return Vec::new() };
        let listed = Command::new("ps").args(["-o", "pid=", "--ppid", &parent.to_string()]).output().expect("ps runs");
        let children = String::from_utf8_lossy(&listed.stdout);
        std::iter::once(parent).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }
}

impl fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresServer({})", self.port())
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.kill();
        _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Where the server's programs are: in the search path, or where Debian puts them, the newest version first.
fn binaries() -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            path.join("bin/initdb").exists().then_some((version, path.join("bin")))
        })
        .collect();
    versions.sort();
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    // A link leads to where the other programs are.
    let linked = std::env::split_paths(&in_path).find_map(|folder| folder.join("initdb").canonicalize().ok());
    let found = linked.and_then(|initdb| initdb.parent().map(Path::to_path_buf));
    let found = found.or_else(|| versions.pop().map(|(_, path)| path));
    found.expect("PostgreSQL is installed; run tests/install-tools.sh")
}

fn id(what: &str, user: Option<&str>) -> Option<u32> {
    let output = Command::new("id").arg(what).args(user).output().expect("id runs");
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

pub(super) fn signal(name: &str, process: u32) {
    _ = Command::new("kill").args([name, &process.to_string()]).stderr(Stdio::null()).status();
}

pub(super) fn succeeded(what: &str, output: &Output) {
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}
