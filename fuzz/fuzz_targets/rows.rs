#![no_main]

#[path = "../targets/rows.rs"]
#[allow(dead_code)]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
