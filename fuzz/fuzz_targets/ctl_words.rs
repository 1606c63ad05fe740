//! Fuzzes `sim::fuzzing::words`, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::fuzzing::words(bytes));
