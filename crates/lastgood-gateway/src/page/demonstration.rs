//! `POST /page/faults/{name}`: the faults of a demonstration's simulated exchange.

use std::sync::Arc;

use axum::Extension;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Serialize;

use super::Page;
use crate::cache_api::caller::Caller;
use crate::problem::{Answered, not_found};

/// A fault that a demonstration offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DemoFault {
    /// The name in the URL.
    pub name: &'static str,
    /// What the button says.
    pub label: &'static str,
    /// What happens then, in a sentence.
    pub effect: &'static str,
}

/// A simulated exchange behind a gateway, whose faults the page switches.
pub trait Demonstration: Send + Sync {
    /// What there is to choose from, the healthy exchange included.
    fn faults(&self) -> &'static [DemoFault];
    /// The name of the one in force.
    fn in_force(&self) -> &'static str;
    /// Switches to the fault of this name; false if there is none.
    fn switch(&self, name: &str) -> bool;
}

/// What the page shows of it.
#[derive(Serialize)]
pub(super) struct Offered {
    faults: &'static [DemoFault],
    in_force: &'static str,
}

impl Offered {
    pub(super) fn of(demonstration: &dyn Demonstration) -> Offered {
        Offered { faults: demonstration.faults(), in_force: demonstration.in_force() }
    }
}

pub(super) async fn switch(
    Extension(page): Extension<Arc<Page>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answered {
    let switched = page.demonstration.get().is_some_and(|demonstration| demonstration.switch(&name));
    if !switched {
        return Ok(not_found(&format!("/page/faults/{name}")));
    }
    caller.audit("fault", &name, 1, 1);
    let done: Response = StatusCode::NO_CONTENT.into_response();
    Ok(done)
}
