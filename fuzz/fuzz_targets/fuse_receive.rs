//! Bytes → the kernel's FUSE messages, replies in any order, interrupts. See `play` for the script's form.
#![no_main]

#[path = "../../crates/fuse/tests/it/common/mod.rs"]
mod common;

libfuzzer_sys::fuzz_target!(|input: &[u8]| common::bytes::play(input));
