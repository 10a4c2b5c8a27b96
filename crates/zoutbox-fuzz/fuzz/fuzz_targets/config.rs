//! See `zoutbox_fuzz::Target::Config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zoutbox_fuzz::Target::Config.check(bytes));
