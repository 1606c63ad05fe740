//! Fuzzes `sim::fuzzing::events`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::fuzzing::events(bytes));
