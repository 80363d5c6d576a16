//! A TCP proxy that breaks what passes through it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What a [`ChaosProxy`] does to its connections, those already open included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chaos {
    /// Passes everything on.
    #[default]
    Pass,
    /// Closes the listening socket, so that connecting is refused, and closes the open ones.
    Refuse,
    /// Resets (RST) the open connections, and every new connection as soon as it is accepted.
    Reset,
    /// Accepts connections and passes nothing on. As in a network that loses packets, what was sent meanwhile arrives
    /// once it is over.
    BlackHole,
    /// Holds back every chunk, in both directions, for this long.
    Delay(Duration),
    /// Passes requests on but only this many more bytes of reply on each connection, then closes it.
    Truncate(usize),
}

/// A proxy on a free port of the loopback address, to be switched at run time. It ends when dropped.
pub struct ChaosProxy {
    address: SocketAddr,
    chaos: watch::Sender<Chaos>,
    accepted: Accepted,
    task: JoinHandle<()>,
}

/// When connections were accepted, the first first.
type Accepted = Arc<Mutex<Vec<Instant>>>;

impl ChaosProxy {
    /// Starts to pass connections on to `upstream`, such as `127.0.0.1:6380`.
    ///
    /// # Panics
    ///
    /// When no port is free, or outside a tokio runtime.
    pub async fn start(upstream: impl Into<String>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("the loopback address has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let chaos = watch::Sender::new(Chaos::Pass);
        let accepted = Accepted::default();
        let upstream = upstream.into();
        let task = tokio::spawn(serve(listener, address, upstream, chaos.subscribe(), Arc::clone(&accepted)));
        ChaosProxy { address, chaos, accepted, task }
    }

    /// Where the proxy listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on does this to its connections.
    pub fn set(&self, chaos: Chaos) {
        self.chaos.send_replace(chaos);
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// When the connections after `since` were accepted, the first first.
    pub fn accepted_after(&self, since: Instant) -> Vec<Instant> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.iter().copied().filter(|at| *at > since).collect()
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        // The connections end with the sender of the switch.
        self.task.abort();
    }
}

impl fmt::Debug for ChaosProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosProxy").field("address", &self.address).field("chaos", &*self.chaos.borrow()).finish()
    }
}

async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    upstream: String,
    mut chaos: watch::Receiver<Chaos>,
    accepted: Accepted,
) {
    let mut listener = Some(listener);
    loop {
        if *chaos.borrow_and_update() == Chaos::Refuse {
            listener = None;
            if chaos.changed().await.is_err() {
                return;
            }
            continue;
        }
        let bound = match listener.take() {
            Some(bound) => bound,
            None => match TcpListener::bind(address).await {
                Ok(bound) => bound,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        tokio::select! {
            connection = bound.accept() => if let Ok((client, _)) = connection {
                accepted.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                tokio::spawn(connect(client, upstream.clone(), chaos.clone()));
            },
            changed = chaos.changed() => if changed.is_err() { return },
        }
        listener = Some(bound);
    }
}

async fn connect(client: TcpStream, upstream: String, mut chaos: watch::Receiver<Chaos>) {
    leave_black_hole(&mut chaos).await;
    if *chaos.borrow() == Chaos::Reset {
        _ = client.set_zero_linger();
        return;
    }
    let Ok(server) = TcpStream::connect(&upstream).await else {
        return;
    };
    _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, &to_server, chaos.clone(), Direction::Request) => {}
        () = pump(from_server, &to_client, chaos.clone(), Direction::Reply) => {}
        () = broken(&mut chaos) => {}
    }
    if *chaos.borrow() == Chaos::Reset {
        _ = to_client.as_ref().set_zero_linger();
    }
    // Dropped otherwise, a half says goodbye with a FIN, and no RST follows.
    to_client.forget();
    to_server.forget();
}

/// Ends when the connection has to.
async fn broken(chaos: &mut watch::Receiver<Chaos>) {
    _ = chaos.wait_for(|chaos| matches!(chaos, Chaos::Refuse | Chaos::Reset)).await;
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Request,
    Reply,
}

/// Returns at once unless there is a black hole, else when it is gone.
async fn leave_black_hole(chaos: &mut watch::Receiver<Chaos>) {
    _ = chaos.wait_for(|chaos| *chaos != Chaos::BlackHole).await;
}

async fn pump(mut from: OwnedReadHalf, to: &OwnedWriteHalf, mut chaos: watch::Receiver<Chaos>, direction: Direction) {
    let mut chunk = vec![0; 16 * 1024];
    let mut passed_truncated = 0;
    loop {
        let Ok(length @ 1..) = from.read(&mut chunk).await else {
            return;
        };
        leave_black_hole(&mut chaos).await;
        let now = *chaos.borrow();
        let mut pass = length;
        match now {
            Chaos::Delay(delay) => tokio::time::sleep(delay).await,
            Chaos::Truncate(limit) if direction == Direction::Reply => {
                pass = length.min(limit.saturating_sub(passed_truncated));
                passed_truncated += pass;
            }
            _ => {}
        }
        if write_all(to, &chunk[..pass]).await.is_err() || pass < length {
            return;
        }
    }
}

async fn write_all(to: &OwnedWriteHalf, mut bytes: &[u8]) -> std::io::Result<()> {
    let to: &TcpStream = to.as_ref();
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use tokio::io::AsyncWriteExt;
    use tokio::time::timeout;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = connection.split();
                    _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn ask(connection: &mut TcpStream) -> std::io::Result<usize> {
        connection.write_all(b"hello").await?;
        timeout(Duration::from_millis(300), connection.read(&mut [0; 16]))
            .await
            .unwrap_or(Err(ErrorKind::TimedOut.into()))
    }

    #[tokio::test]
    async fn an_open_connection_is_passed_held_truncated_and_reset_on_command() {
        let proxy = ChaosProxy::start(echo().await.to_string()).await;
        let mut open = TcpStream::connect(proxy.address()).await.expect("it listens");
        assert_eq!(ask(&mut open).await.expect("passed"), 5);
        proxy.set(Chaos::BlackHole);
        assert_eq!(ask(&mut open).await.expect_err("held").kind(), ErrorKind::TimedOut);
        proxy.set(Chaos::Delay(Duration::from_millis(1)));
        assert_eq!(open.read_exact(&mut [0; 5]).await.expect("late, but not lost"), 5);
        assert_eq!(ask(&mut open).await.expect("delayed"), 5);
        proxy.set(Chaos::Truncate(2));
        assert_eq!(ask(&mut open).await.expect("cut"), 2);
        proxy.set(Chaos::Pass);
        let mut open = TcpStream::connect(proxy.address()).await.expect("it listens");
        assert_eq!(ask(&mut open).await.expect("passed"), 5);
        proxy.set(Chaos::Reset);
        let mut byte = [0];
        let reset = timeout(Duration::from_secs(5), open.read(&mut byte)).await.expect("at once");
        assert_eq!(reset.expect_err("reset").kind(), ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_refusing_proxy_comes_back_on_its_port() {
        let proxy = ChaosProxy::start(echo().await.to_string()).await;
        proxy.set(Chaos::Refuse);
        timeout(Duration::from_secs(5), async {
            while TcpStream::connect(proxy.address()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("it refuses");
        proxy.set(Chaos::Pass);
        timeout(Duration::from_secs(5), async {
            loop {
                if let Ok(mut open) = TcpStream::connect(proxy.address()).await
                    && ask(&mut open).await.is_ok()
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("it is back");
    }
}
