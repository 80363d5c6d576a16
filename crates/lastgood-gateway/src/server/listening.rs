//! What connections come in by: an address, with or without TLS, and a unix socket.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use super::certificate::Certificate;
use crate::peer::BY_SOCKET;

/// Its owner and its group may connect.
const MODE: u32 = 0o660;

/// Connections that may wait to be accepted, as far as the kernel's `net.core.somaxconn` allows it. The standard library's
/// 128 is full at once when all clients come back after a restart; then the kernel drops what they send, and they wait for
/// seconds.
const BACKLOG: u32 = 4_096;

/// Listens on `address`, with room for many clients that connect at the same moment.
///
/// # Errors
///
/// When the address is taken, not of this machine, or not permitted.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// All that a gateway listens on.
pub struct Listening {
    tcp: TcpListener,
    certificate: Option<Arc<Certificate>>,
    unix: Option<(UnixListener, PathBuf)>,
}

/// A connection that has come in.
pub(super) enum Incoming {
    Plain(TcpStream),
    /// Its handshake is still to come.
    Tls(TcpStream, Arc<Certificate>),
    Unix(UnixStream),
}

impl Listening {
    /// On `tcp`, with TLS where there is a certificate, and on a unix socket at `path`.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made, or another program listens on it.
    pub(crate) fn new(
        tcp: TcpListener,
        certificate: Option<Arc<Certificate>>,
        path: Option<&Path>,
    ) -> io::Result<Listening> {
        let unix = path.map(|path| Ok::<_, io::Error>((unix_listener(path)?, path.to_owned()))).transpose()?;
        Ok(Listening { tcp, certificate, unix })
    }

    /// Whether only this machine can reach the address.
    pub(crate) fn is_on_loopback(&self) -> bool {
        self.tcp.local_addr().is_ok_and(|address| address.ip().is_loopback())
    }

    pub(super) async fn accept(&self) -> io::Result<(Incoming, SocketAddr)> {
        let by_socket = async {
            match &self.unix {
                Some((unix, _)) => unix.accept().await,
                None => pending().await,
            }
        };
        tokio::select! {
            accepted = self.tcp.accept() => {
                let (stream, peer) = accepted?;
                if let Err(why) = stream.set_nodelay(true) {
                    tracing::debug!(%why, "TCP_NODELAY was not set");
                }
                Ok(match &self.certificate {
                    Some(certificate) => (Incoming::Tls(stream, Arc::clone(certificate)), peer),
                    None => (Incoming::Plain(stream), peer),
                })
            }
            accepted = by_socket => accepted.map(|(stream, _)| (Incoming::Unix(stream), BY_SOCKET)),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.unix {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Binds a socket. One that a gateway left behind, as after a kill, is replaced; one that is listened on is not.
fn unix_listener(path: &Path) -> io::Result<UnixListener> {
    let named = |why: io::Error| io::Error::new(why.kind(), format!("the unix socket {}: {why}", path.display()));
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        match std::os::unix::net::UnixStream::connect(path) {
            Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(named)?,
            Ok(_) => return Err(named(io::Error::new(io::ErrorKind::AddrInUse, "another program listens on it"))),
            Err(_) => {}
        }
    }
    let listener = UnixListener::bind(path).map_err(named)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE)).map_err(named)?;
    Ok(listener)
}
