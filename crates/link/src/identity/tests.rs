//! What an identity promises, where a test has to look behind its public face.
