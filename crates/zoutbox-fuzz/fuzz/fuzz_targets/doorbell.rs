//! See `zoutbox_fuzz::Target::Doorbell`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zoutbox_fuzz::Target::Doorbell.check(bytes));
