//! Every number that bounds a connection, with what happens when it is reached.

/// Largest write that the kernel may send in one request, and so the largest read it asks for, in bytes.
pub const WRITE: u32 = 1 << 20;

/// Size of the buffer to read requests into, in bytes: the kernel refuses a smaller one than its largest
/// write with its headers. Every request fits.
pub const BUFFER: usize = WRITE as usize + 4096;

/// Pages of 4 KiB in one request; makes the kernel keep to [`WRITE`] rather than to 128 KiB.
pub const PAGES: u16 = (WRITE / 4096) as u16;

/// Requests that are not answered yet, blocked readers included. One more is answered `ENOMEM`.
pub const REQUESTS: usize = 1 << 16;

/// Files that the kernel remembers. A lookup of one more is answered `ENFILE`.
pub const NODES: usize = 1 << 20;

/// Open files and directories. One more is answered `ENFILE`.
pub const OPENS: usize = 1 << 18;

/// Bytes of a name. A longer one is answered `ENAMETOOLONG`.
pub const NAME: usize = 255;

/// Entries asked for in one `List`, however large the kernel's buffer is.
pub const LIST: u32 = 1024;
