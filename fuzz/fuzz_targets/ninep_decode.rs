//! Fuzzes `ninep::fuzzing::decode`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ninep::fuzzing::decode(bytes));
