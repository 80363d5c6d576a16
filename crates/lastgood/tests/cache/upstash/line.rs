//! A line on which each connection has a history.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Passes connections on. A new one is slow to begin, as one over TLS to a distant host; those that are open can fall
/// silent for good while new ones work, as when something between forgot them.
pub(crate) struct Line {
    port: u16,
    accepted: Arc<AtomicU64>,
    silent: Arc<AtomicU64>,
}

impl Line {
    pub(crate) async fn start(to: SocketAddr, begins_after: fn(u64) -> Duration) -> Line {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (accepted, silent) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (count, silence) = (Arc::clone(&accepted), Arc::clone(&silent));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (number, silence) = (count.fetch_add(1, Ordering::Relaxed), Arc::clone(&silence));
                tokio::spawn(async move {
                    sleep(begins_after(number)).await;
                    _ = pass(near, to, number, &silence).await;
                });
            }
        });
        Line { port, accepted, silent }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there were so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Nothing comes back any more on the connections there were so far.
    pub(crate) fn silence(&self) {
        self.silent.store(self.accepted(), Ordering::Relaxed);
    }
}

async fn pass(mut near: TcpStream, to: SocketAddr, number: u64, silent: &AtomicU64) -> std::io::Result<()> {
    let mut far = TcpStream::connect(to).await?;
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = near.read(&mut asked) => match read? {
                0 => return Ok(()),
                _ if number < silent.load(Ordering::Relaxed) => {}
                read => far.write_all(&asked[..read]).await?,
            },
            read = far.read(&mut answered) => match read? {
                0 => return Ok(()),
                read => near.write_all(&answered[..read]).await?,
            },
        }
    }
}
