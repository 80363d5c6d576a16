//! The soak itself, short and without faults.

use std::process::Command;

#[test]
fn two_gateways_without_a_fault_break_no_promise_of_the_soaks_ledger() {
    let soak = Command::new(env!("CARGO_BIN_EXE_lastgood-soak"))
        .args(["--for", "15s", "--faults", "none", "--seed", "7", "--json", "--rate", "150"])
        // A machine that builds and tests beside it is slow now and then: that is not what is tried here.
        .args(["--store-budget", "1s", "--bound", "5s"])
        .output()
        .expect("the soak starts");
    let (told, progress) = (String::from_utf8_lossy(&soak.stdout), String::from_utf8_lossy(&soak.stderr));
    assert!(soak.status.success(), "{told}\n{progress}");
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["violations"], 0, "{told:#}");
    // Nothing was proved if little was asked.
    assert!(told["reads"].as_u64() > Some(300), "{told:#}");
    assert!(told["acknowledged"].as_u64() > Some(30), "{told:#}");
}

#[test]
fn an_unknown_group_of_faults_is_wrong_usage() {
    let soak =
        Command::new(env!("CARGO_BIN_EXE_lastgood-soak")).args(["--faults", "earthquake"]).output().expect("it starts");
    assert_eq!(soak.status.code(), Some(2), "{}", String::from_utf8_lossy(&soak.stderr));
}
