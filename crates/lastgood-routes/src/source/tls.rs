//! Whether it was TLS that failed, which is fixed in other ways than a server that is not there.

use std::error::Error;
use std::io;

/// The hint for all but databases, whose URLs name what they trust.
pub(super) const HINT: &str = "let SSL_CERT_FILE name a file with the certificates of all authorities that are to be \
    trusted, and the URL the host that the server's certificate is for";

/// Why TLS failed, where that is the cause of an error. Names certificates and hosts, so it is for the operator alone.
pub(super) fn failure(why: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(why);
    while let Some(one) = cause {
        if let Some(refused) = one.downcast_ref::<rustls::Error>() {
            // What follows a semicolon is read as the hint.
            return Some(format!("TLS failed: {refused}").replace("; ", ", "));
        }
        // An I/O error passes over the error it holds when it is asked for its source.
        let held = one.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = held.map(|held| held as _).or_else(|| one.source());
    }
    None
}
