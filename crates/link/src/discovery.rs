//! Who is near: DNS-SD (RFC 6763) on the local network.
