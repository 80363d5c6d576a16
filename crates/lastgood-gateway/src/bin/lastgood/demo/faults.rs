//! The faults of the simulated exchange that the page's buttons switch.

use std::sync::{Mutex, PoisonError};

use lastgood_gateway::{DemoFault, Demonstration};
use lastgood_sim::{Fault, FaultKind, Sim};

pub(super) const HEALTHY: &str = "none";

static FAULTS: [DemoFault; 6] = [
    DemoFault { name: HEALTHY, label: "Healthy", effect: "The exchange answers." },
    DemoFault {
        name: "fail",
        label: "Fail",
        effect: "The exchange answers every request with status 500, and closes its streams.",
    },
    DemoFault {
        name: "hang",
        label: "Hang",
        effect: "The exchange takes requests and never answers, and closes its streams.",
    },
    DemoFault { name: "slow", label: "Slow", effect: "Each answer of the exchange takes 3 seconds." },
    DemoFault {
        name: "garbage",
        label: "Garbage",
        effect: "The exchange answers 200 with a body that is no JSON, and its streams do too.",
    },
    DemoFault {
        name: "ban",
        label: "Ban",
        effect: "The exchange bans this address for 2 minutes, and closes its streams. Healing it does not end the ban.",
    },
];

/// The simulated exchange, and the fault that was switched on last.
pub(super) struct Faults {
    sim: Sim,
    in_force: Mutex<&'static str>,
}

impl Faults {
    pub(super) fn of(sim: Sim) -> Faults {
        Faults { sim, in_force: Mutex::new(HEALTHY) }
    }
}

impl Faults {
    /// The fault in force.
    pub(super) fn now(&self) -> &'static DemoFault {
        let name = self.in_force();
        FAULTS.iter().find(|fault| fault.name == name).unwrap_or(&FAULTS[0])
    }
}

impl Demonstration for Faults {
    fn faults(&self) -> &'static [DemoFault] {
        &FAULTS
    }

    fn in_force(&self) -> &'static str {
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn switch(&self, name: &str) -> bool {
        let Some(fault) = FAULTS.iter().find(|fault| fault.name == name) else { return false };
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        self.sim.clear_faults();
        for kind in kinds(fault.name) {
            self.sim.fault(Fault { kind, path_prefix: String::new(), times: None });
        }
        *in_force = fault.name;
        true
    }
}

/// What a fault is made of. One of the exchange strikes its streams, too: they would keep what they carry fresh.
fn kinds(name: &str) -> Vec<FaultKind> {
    match name {
        "fail" => vec![FaultKind::Status { status: 500 }, FaultKind::StreamDrop],
        "hang" => vec![FaultKind::Hang, FaultKind::StreamDrop],
        "slow" => vec![FaultKind::Latency { ms: 3_000 }],
        "garbage" => vec![FaultKind::Garbage, FaultKind::StreamGarbage],
        "ban" => vec![FaultKind::BannedSpot, FaultKind::StreamDrop],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use lastgood_sim::SimConfig;

    use super::super::keys::Key;
    use super::*;

    #[test]
    fn every_key_switches_a_fault_that_there_is() {
        let faults = Faults::of(Sim::new(SimConfig::default()));
        for (letter, key, _) in Key::ALL {
            if let Key::Fault(name) = key {
                assert!(faults.switch(name), "{letter}");
                assert_eq!(faults.now().name, name);
            }
        }
    }

    #[test]
    fn each_fault_but_the_healthy_exchange_breaks_something_and_an_unknown_one_changes_nothing() {
        for fault in FAULTS {
            assert_eq!(kinds(fault.name).is_empty(), fault.name == HEALTHY, "{}", fault.name);
        }
        let faults = Faults::of(Sim::new(SimConfig::default()));
        assert!(faults.switch("ban") && !faults.switch("meteor"));
        assert_eq!(faults.in_force(), "ban");
        assert!(faults.switch(HEALTHY));
        assert_eq!(faults.in_force(), HEALTHY);
    }
}
