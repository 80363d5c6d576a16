#![no_main]

#[path = "../targets/routes.rs"]
#[expect(dead_code, reason = "the seeds are for the short runs of the tests")]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
