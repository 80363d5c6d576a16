//! The faults of a demonstration, and who may switch them.

use std::sync::{Arc, Mutex};

use http::Method;
use lastgood_gateway::{DemoFault, Demonstration};
use lastgood_sim::{Fault, FaultKind, Sim};

use super::{ask, event};
use crate::support::{Exchange, Running, get};

/// A demonstration with one fault, of a simulated exchange if there is one.
pub(super) struct Switch {
    in_force: Mutex<&'static str>,
    sim: Option<Sim>,
}

impl Default for Switch {
    fn default() -> Switch {
        Switch { in_force: Mutex::new("none"), sim: None }
    }
}

impl Switch {
    pub(super) fn of(exchange: &Exchange) -> Switch {
        Switch { sim: Some(exchange.sim.clone()), ..Switch::default() }
    }
}

const OFFERED: [DemoFault; 2] = [
    DemoFault { name: "none", label: "Healthy", effect: "It answers." },
    DemoFault { name: "fail", label: "Fail", effect: "It does not." },
];

impl Demonstration for Switch {
    fn faults(&self) -> &'static [DemoFault] {
        &OFFERED
    }

    fn in_force(&self) -> &'static str {
        *self.in_force.lock().unwrap()
    }

    fn switch(&self, name: &str) -> bool {
        let Some(fault) = OFFERED.iter().find(|fault| fault.name == name) else { return false };
        *self.in_force.lock().unwrap() = fault.name;
        match (&self.sim, fault.name) {
            (Some(sim), "none") => sim.clear_faults(),
            (Some(sim), _) => {
                let kind = FaultKind::Status { status: 500 };
                sim.fault(Fault { kind, path_prefix: String::new(), times: None });
            }
            (None, _) => {}
        }
        true
    }
}

#[tokio::test]
async fn only_a_demonstration_has_faults_to_switch_and_only_those_that_it_offers() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let post = async |path: &str| ask(&gateway, Method::POST, path, &[]).await.status().as_u16();
    assert_eq!(post("/page/faults/fail").await, 404);
    let mut stream = ask(&gateway, Method::GET, "/page/live", &[]).await;
    assert!(event(&mut stream).await.get("demonstration").is_none());
    gateway.gateway.demonstrate(Arc::new(Switch::default()));
    assert_eq!((post("/page/faults/meteor").await, post("/page/faults/fail").await), (404, 204));
    assert_eq!(get(gateway.url("/page/faults/fail")).await.status, 405, "a link switches nothing");
    let shown = loop {
        let next = event(&mut stream).await["demonstration"].clone();
        if next["in_force"] == "fail" {
            break next;
        }
    };
    assert_eq!(shown["faults"][0]["label"], "Healthy");
}
