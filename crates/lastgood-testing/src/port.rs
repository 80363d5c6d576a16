//! Ports for servers that cannot find one themselves.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;

/// Below those that the system gives to programs that ask for any, so that no connection and no other test's listener
/// takes one while a server is down.
const NUMBERS: Range<u16> = 10_000..32_000;

/// A TCP port of the loopback address that is free now, and that no other holder of a `Port` on this machine gets.
///
/// ```
/// let port = lastgood_testing::Port::take();
/// std::net::TcpListener::bind(("127.0.0.1", port.number()))?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Holds the number against other processes, too, and is let go by the system however this one ends.
    _held: UdpSocket,
}

impl Port {
    /// Takes one, at random.
    ///
    /// # Panics
    ///
    /// When none is free.
    pub fn take() -> Port {
        let random = RandomState::new();
        (0..1000)
            .map(|attempt: u32| NUMBERS.start + (random.hash_one(attempt) % NUMBERS.len() as u64) as u16)
            .find_map(Port::take_this)
            .expect("the loopback address has a free port")
    }

    fn take_this(number: u16) -> Option<Port> {
        let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Port { number, _held: held })
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_holders_alone_until_it_is_let_go() {
        let port = Port::take();
        let number = port.number();
        assert!(Port::take_this(number).is_none(), "held");
        drop(port);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).expect("let go");
        assert!(Port::take_this(number).is_none(), "in use by a server");
        drop(listener);
        assert!(Port::take_this(number).is_some(), "free again");
    }
}
