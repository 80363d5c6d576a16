//! How the clients of a gateway reach it, by the configuration that it was started with.

use std::net::SocketAddr;

use secrecy::SecretString;

use crate::address;
use crate::declared::Declared;
use crate::keys::Key;
use crate::layers::{Layers, Sources};
use crate::problem::{Origin, Problem, Problems};

/// How a client reaches the gateway that these sources configure.
#[derive(Debug)]
pub struct Reached {
    /// Where the gateway listens, as seen from the same machine, or the problem with `listen`.
    pub address: Result<SocketAddr, Problems>,
    /// Whether it speaks TLS there.
    pub is_tls: bool,
    /// What says so.
    pub origin: Origin,
    /// Its admin token, or the problem with `admin.token`.
    pub token: Result<Option<SecretString>, Problems>,
}

/// Reads where a gateway listens and what its admin token is. A client may lack the rest of what the gateway needs, such
/// as the variables that hold its secrets, so that nothing else has to be there.
///
/// # Errors
/// The problems with the file; variables that are not set here and secrets that the client does not need left out.
pub fn resolve_reached(sources: &Sources<'_>) -> Result<Reached, Problems> {
    let Layers { settings, problems, origins } = Layers::combine(sources, sources.env);
    let none_of = |wanted: &dyn Fn(&Problem) -> bool| {
        let found: Vec<Problem> = problems.iter().filter(|problem| wanted(problem)).cloned().collect();
        if found.is_empty() { Ok(()) } else { Err(Problems(found)) }
    };
    let is_secret = |key: &str| Key::named(key).is_some_and(|key| key.secret);
    // What a route says of a database cannot be judged where the database's URL is in a variable that is not here.
    let is_incomplete = problems.iter().any(|problem| problem.lacks_variable);
    let may_follow = |key: &str| is_incomplete && Declared::TABLES.iter().any(|table| key.starts_with(table));
    none_of(&|problem| match (&problem.key, &problem.origin) {
        (Some(key), Some(Origin::File { .. })) => !problem.lacks_variable && !is_secret(key) && !may_follow(key),
        (Some(_), _) => false,
        (None, _) => true,
    })?;
    let check = |key: &str| none_of(&|problem| problem.key.as_deref() == Some(key));
    Ok(Reached {
        address: check("listen").map(|()| address::to_connect(settings.listen)),
        is_tls: settings.tls.certificate.is_some(),
        origin: origins.get("listen").cloned().unwrap_or(Origin::Default),
        token: check("admin.token").map(|()| settings.admin.token),
    })
}
