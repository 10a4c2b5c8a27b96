//! See `zoutbox_fuzz::Target::Marker`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zoutbox_fuzz::Target::Marker.check(bytes));
