//! The soak itself, short and without faults.

use std::process::Command;

#[test]
fn two_gateways_without_a_fault_break_no_promise_of_the_soaks_ledger() {
    let soak = Command::new(env!("CARGO_BIN_EXE_lastgood-soak"))
        .args(["--for", "15s", "--faults", "none", "--seed", "7", "--json", "--rate", "150"])
        // A machine that also builds and tests is slow now and then: that is not tried here.
        .args(["--store-budget", "1s", "--bound", "5s"])
        .output()
        .expect("the soak starts");
    let (table, progress) = (String::from_utf8_lossy(&soak.stdout), String::from_utf8_lossy(&soak.stderr));
    assert!(soak.status.success(), "{table}\n{progress}");
    let table: serde_json::Value = serde_json::from_str(&table).expect("JSON");
    assert_eq!(table["violations"], 0, "{table:#}");
    // Nothing was proved if little was asked.
    assert!(table["reads"].as_u64() > Some(300), "{table:#}");
    assert!(table["acknowledged"].as_u64() > Some(30), "{table:#}");
}

#[test]
fn an_unknown_group_of_faults_is_wrong_usage() {
    let soak =
        Command::new(env!("CARGO_BIN_EXE_lastgood-soak")).args(["--faults", "earthquake"]).output().expect("it starts");
    assert_eq!(soak.status.code(), Some(2), "{}", String::from_utf8_lossy(&soak.stderr));
}
