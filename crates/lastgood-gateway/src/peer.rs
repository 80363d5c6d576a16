//! Who is at the other end of a connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Stands for a client that came by the unix socket: at this machine, and without a port.
pub(crate) const BY_SOCKET: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A client as the log names it.
pub(crate) fn shown(peer: SocketAddr) -> String {
    match peer {
        BY_SOCKET => "unix".to_owned(),
        peer => peer.ip().to_canonical().to_string(),
    }
}
