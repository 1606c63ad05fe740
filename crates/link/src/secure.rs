//! Mutual TLS as a state machine: bytes in, bytes out.
