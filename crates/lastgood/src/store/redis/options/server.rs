//! One server, and how to get into servers that others name.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use ::redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};

use super::certificate_error::CertificateError;
use super::tls::Tls;
use super::{tcp_settings, unusable};
use crate::store::StoreError;

/// The address of a server and how to get into it.
#[derive(Clone)]
pub(in crate::store::redis) struct Server {
    pub(super) info: ConnectionInfo,
    pub(super) tls: Arc<Tls>,
}

impl Server {
    /// The address with the certificates of this moment. Blocks while it reads their files.
    pub(in crate::store::redis) fn with_certificates(self) -> Result<ConnectionInfo, CertificateError> {
        self.tls.applied_to(self.info)
    }

    /// The same server, spoken to in the only protocol in which it speaks unasked.
    pub(in crate::store::redis) fn in_resp3(self) -> Server {
        let login = self.info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Server { info: self.info.set_redis_settings(login), tls: self.tls }
    }

    /// Whether it is at the same address.
    pub(in crate::store::redis) fn is_same(&self, other: &Server) -> bool {
        self.info.addr() == other.info.addr()
    }

    pub(in crate::store::redis) fn is_tls(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }

    /// Whether we have a client certificate to show.
    pub(in crate::store::redis) fn has_certificate(&self) -> bool {
        self.tls.has_certificate()
    }

    /// Its host, which stands in for that of servers that are named without one.
    pub(in crate::store::redis) fn host(&self) -> &str {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host,
            _ => "",
        }
    }
}

impl Deref for Server {
    type Target = ConnectionInfo;

    fn deref(&self) -> &ConnectionInfo {
        &self.info
    }
}

/// How to get into the servers that Sentinels or a cluster name.
#[derive(Clone)]
pub(in crate::store::redis) struct Access {
    pub(in crate::store::redis) login: RedisConnectionInfo,
    /// Over TLS if that is there.
    pub(super) tls: Option<Arc<Tls>>,
}

impl Access {
    /// What the URL of a single such server begins with.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "rediss" } else { "redis" }
    }

    /// The server behind a socket of this machine.
    pub(super) fn over(&self, socket: &Path) -> Result<Server, StoreError> {
        let info = ConnectionAddr::Unix(socket.to_owned()).into_connection_info();
        let info = info.map_err(|_| unusable("its socket cannot be used"))?;
        Ok(self.server(info))
    }

    /// The server of this name and port.
    pub(in crate::store::redis) fn to(&self, host: &str, port: u16) -> Option<Server> {
        let host = host.to_owned();
        let address = match self.tls {
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            None => ConnectionAddr::Tcp(host, port),
        };
        Some(self.server(address.into_connection_info().ok()?))
    }

    fn server(&self, info: ConnectionInfo) -> Server {
        let info = info.set_redis_settings(self.login.clone()).set_tcp_settings(tcp_settings());
        Server { info, tls: self.tls.clone().unwrap_or_default() }
    }
}
