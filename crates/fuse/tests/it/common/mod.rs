//! What the tests and the fuzz target of this crate share: messages as the kernel makes them, a tree in
//! memory that answers, and a world in which the two meet. Included by path, so that it uses the public face only.
pub(crate) mod bytes;
pub(crate) mod tree;
pub(crate) mod wire;
pub(crate) mod world;
