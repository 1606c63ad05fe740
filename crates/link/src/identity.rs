//! The trust domain: its authority, tokens, certificates, and what is revoked.
