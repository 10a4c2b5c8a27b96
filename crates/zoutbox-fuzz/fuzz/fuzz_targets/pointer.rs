//! See `zoutbox_fuzz::Target::Pointer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zoutbox_fuzz::Target::Pointer.check(bytes));
