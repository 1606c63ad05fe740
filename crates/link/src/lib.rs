//! Links between nodes: who is at the other end and that nobody listens in ([`identity`], [`secure`]), what is said on
//! the wire ([`wire`]), where to dial ([`dial`]), and who is near ([`discovery`]). No loop and no kernel is in here:
//! `host` brings them together.
#![forbid(unsafe_code)]

pub mod dial;
pub mod discovery;
pub mod identity;
pub mod secure;
pub mod wire;
