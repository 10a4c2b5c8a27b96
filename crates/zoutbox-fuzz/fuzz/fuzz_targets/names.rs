//! See `zoutbox_fuzz::Target::Names`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zoutbox_fuzz::Target::Names.check(bytes));
