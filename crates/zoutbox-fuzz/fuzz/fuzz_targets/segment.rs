//! See `zoutbox_fuzz::Target::Segment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zoutbox_fuzz::Target::Segment.check(bytes));
