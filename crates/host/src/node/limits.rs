//! Bounds of a node that are the host's.

/// Bytes of contents that a store keeps unless told otherwise, at most.
pub(super) const STORE: u64 = 4 << 30;
/// And this part of what the disk has left, at most.
pub(super) const STORE_SHARE: u64 = 10;
