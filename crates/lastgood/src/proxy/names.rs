//! Which addresses names lead to.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{fmt, io, vec};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::net::lookup_host;
use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;

/// Resolves names, and gives those of their addresses that they may lead to: a connection goes to one of these, and no
/// second look-up could answer otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Names(pub(crate) Option<fn(IpAddr) -> bool>);

/// A name without an address.
#[derive(Debug)]
pub(crate) struct Unresolved(pub(crate) io::Error);

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Unresolved {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // Displayed, it says what the system says.
        self.0.source()
    }
}

/// A name that has addresses, and none that it may lead to.
#[derive(Debug)]
pub(crate) struct NotAllowed;

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name leads to no address that it may lead to")
    }
}

impl Error for NotAllowed {}

impl Service<Name> for Names {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Names(may_lead_to) = *self;
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0)).await.map_err(Unresolved)?;
            let allowed = |address: &SocketAddr| may_lead_to.is_none_or(|allows| allows(address.ip()));
            let addresses: Vec<SocketAddr> = found.filter(allowed).collect();
            match addresses.is_empty() {
                true => Err(NotAllowed.into()),
                false => Ok(addresses.into_iter()),
            }
        })
    }
}
