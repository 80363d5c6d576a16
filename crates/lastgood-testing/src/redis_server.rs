//! A real `redis-server`, to be stopped and killed.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use super::Port;

/// How often, and how long apart, a starting server is asked whether it is there.
const TRIES: u32 = 500;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// A `redis-server` of the test's own, on a free port of the loopback address, with a directory of its own. Dropping
/// it kills the server and removes the directory. All methods block for some milliseconds, and panic when the server
/// does not obey.
pub struct RedisServer {
    port: Port,
    program: PathBuf,
    directory: PathBuf,
    args: Vec<String>,
    password: Option<String>,
    role: Role,
    /// The port with TLS, next to the one without, if there is one.
    tls: Option<Port>,
    process: Option<Child>,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Server,
    Sentinel,
}

impl RedisServer {
    /// Starts a server without persistence.
    ///
    /// # Panics
    ///
    /// When `redis-server` is not installed or does not start.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more arguments, as on its command line: `["--maxmemory", "2mb"]`. A `--requirepass` is
    /// also used by [`RedisServer::url`] and [`RedisServer::command`].
    ///
    /// # Panics
    ///
    /// When `redis-server` is not installed or does not start.
    pub fn start_with(args: &[&str]) -> Self {
        for _ in 0..10 {
            let mut server = Self::prepare(args);
            // Another process may have taken the port since it was found free.
            if server.try_start() {
                return server;
            }
        }
        panic!("redis-server did not start with {args:?}");
    }

    /// Starts a server that listens with TLS, too, on [`RedisServer::announced_port`]. The arguments are those of
    /// [`Authority::redis_arguments`](super::Authority::redis_arguments), and more.
    ///
    /// # Panics
    ///
    /// When `redis-server` is not installed, lacks TLS or does not start.
    pub fn start_with_tls(args: &[&str]) -> Self {
        let mut server = Self::prepare(args).with_tls();
        assert!(server.try_start(), "redis-server did not start with {args:?}");
        server
    }

    /// Starts another program that takes the arguments of a `redis-server`, such as a `valkey-server`.
    ///
    /// # Panics
    ///
    /// When it is not there or does not start.
    pub fn start_program(program: &Path) -> Self {
        let mut server = Self::prepare(&[]);
        server.program = program.to_owned();
        assert!(server.try_start(), "{} did not start", program.display());
        server
    }

    /// Finds a port but does not start the server: [`RedisServer::restart`] does.
    pub fn prepare(args: &[&str]) -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("lastgood-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory can be made");
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let password = args.iter().position(|arg| arg == "--requirepass").and_then(|at| args.get(at + 1)).cloned();
        RedisServer {
            port: Port::take(),
            program: "redis-server".into(),
            directory,
            args,
            password,
            role: Role::Server,
            tls: None,
            process: None,
        }
    }

    /// As [`RedisServer::prepare`], but it will be a Sentinel with this configuration.
    pub(super) fn prepare_sentinel(configuration: &str, args: &[&str]) -> Self {
        let mut sentinel = Self::prepare(args);
        sentinel.role = Role::Sentinel;
        std::fs::write(sentinel.configuration_file(), configuration).expect("a file can be written");
        sentinel
    }

    /// Listens with TLS, too, on a port of its own. The arguments name the certificates.
    pub(super) fn with_tls(mut self) -> Self {
        let port = Port::take();
        self.args.extend(["--tls-port".to_owned(), port.number().to_string()]);
        self.tls = Some(port);
        self
    }

    /// The port that servers tell each other and their clients: that with TLS where there is one.
    pub fn announced_port(&self) -> u16 {
        self.tls.as_ref().map_or(self.port(), Port::number)
    }

    fn configuration_file(&self) -> PathBuf {
        self.directory.join("sentinel.conf")
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The server's working directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// `redis://127.0.0.1:port/0`, with the password if there is one.
    pub fn url(&self) -> String {
        self.url_through(self.port())
    }

    /// The same with another port, that of a proxy.
    pub fn url_through(&self, port: u16) -> String {
        let password = self.password.as_deref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{password}127.0.0.1:{port}/0")
    }

    /// Stops the server with SIGSTOP: its connections stay, and nothing is answered.
    pub fn stop(&self) {
        self.signal("-STOP");
    }

    /// Lets a stopped server go on (SIGCONT).
    pub fn cont(&self) {
        self.signal("-CONT");
    }

    /// Kills the server with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            _ = process.kill();
            _ = process.wait();
        }
    }

    /// Starts the server on its port, after a [`RedisServer::kill`] if it runs. Without persistence it is then empty.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.try_start(), "redis-server did not start again on port {}", self.port());
    }

    /// As [`RedisServer::restart`], but returns as soon as the process exists, while it may still be loading.
    pub fn restart_without_waiting(&mut self) {
        self.kill();
        self.spawn();
    }

    /// Runs one command on a connection of its own and gives back the raw reply, error replies included.
    ///
    /// # Panics
    ///
    /// When the server does not answer within seconds.
    pub fn command(&self, words: &[&str]) -> String {
        self.try_command(words).expect("redis-server answers")
    }

    /// Whether the server answers `PING` with anything but silence.
    pub fn answers(&self) -> bool {
        self.try_command(&["PING"]).is_ok()
    }

    /// As [`RedisServer::command`], or nothing when it does not run.
    pub(super) fn answer(&self, words: &[&str]) -> Option<String> {
        self.process.as_ref().and_then(|_| self.try_command(words).ok())
    }

    fn try_start(&mut self) -> bool {
        self.spawn();
        for _ in 0..TRIES {
            if self.try_command(&["PING"]).is_ok_and(|reply| reply.starts_with("+PONG")) {
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

    fn spawn(&mut self) {
        let mut command = Command::new(&self.program);
        if self.role == Role::Sentinel {
            command.arg(self.configuration_file()).arg("--sentinel");
        }
        command.args(["--port", &self.port().to_string(), "--bind", "127.0.0.1", "--dir"]).arg(&self.directory);
        if self.role == Role::Server {
            command.args(["--save", "", "--appendonly", "no", "--enable-debug-command", "yes"]);
        }
        let spawned = command.args(&self.args).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.process = Some(spawned.unwrap_or_else(|error| {
            let program = self.program.display();
            panic!("these tests need `{program}`, which tests/install-tools.sh installs: {error}")
        }));
    }

    fn try_command(&self, words: &[&str]) -> std::io::Result<String> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port()))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        if let Some(password) = &self.password {
            exchange(&mut connection, &["AUTH", password])?;
        }
        exchange(&mut connection, words)
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("the server runs");
        let sent = Command::new("kill").args([signal, &process.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {signal} works");
    }
}

/// Waits for what several servers have to bring about together; far longer than they take.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    const PATIENCE: u32 = 3000;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 0..PATIENCE {
        if holds() {
            return;
        }
        sleep(PAUSE);
    }
    panic!("no {what} after {:?}", PAUSE * PATIENCE);
}

/// Sends one command and reads one chunk of reply; enough for the short replies that tests ask for.
fn exchange(connection: &mut TcpStream, words: &[&str]) -> std::io::Result<String> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    connection.write_all(request.as_bytes())?;
    let mut reply = vec![0; 64 * 1024];
    let read = connection.read(&mut reply)?;
    if read == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&reply[..read]).into_owned())
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer").field("port", &self.port()).field("args", &self.args).finish_non_exhaustive()
    }
}
