//! See `zoutbox_fuzz::Target::Checkpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zoutbox_fuzz::Target::Checkpoint.check(bytes));
