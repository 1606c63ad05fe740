//! This machine's files, served: real files, real pipes, and as root two users.
#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test that cannot go on fails")]

mod asking;
mod basics;
mod bounds;
mod names;
mod put;
mod waits;
mod whose;
