//! Bytes of groups: how stdin reaches the members, and how their output is collected.
//!
//! ```text
//!   stdin ──▶ deal ─┬─▶ members here            members' spools ──┐
//!                   └─▶ frames ─▶ shares        shares' frames  ──┴─▶ merge ──▶ the group's spool ──▶ readers
//! ```
//! What is cut is *records*, and a record is never torn, whatever its length. Between the levels of a group bytes go in
//! *frames*, which say whose they are.

mod deal;
mod frames;
mod merge;
mod records;
