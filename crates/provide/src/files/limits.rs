//! Every bound that the server of files keeps, in one place.

use std::time::Duration;

/// Fids at a time; fewer where the process may not have four times as many descriptors.
pub const FIDS: usize = 65_536;
/// One user may hold this part of the fids.
pub const FIDS_SHARE: usize = 2;
/// Requests that are not answered yet.
pub const REQUESTS: usize = 16_384;
/// Those of one user.
pub const REQUESTS_PER_USER: usize = 4096;
/// Bytes of writes that are not answered yet.
pub const BYTES: usize = 256 << 20;
/// Those of one user.
pub const BYTES_PER_USER: usize = 64 << 20;
/// Threads: so many requests are carried out at a time. One that waits for a pipe or a terminal needs none.
pub const THREADS: usize = 128;
/// Those that one user's requests may hold. A file system that does not answer can hold that many.
pub const THREADS_PER_USER: usize = 16;
/// Threads that are kept, without work, for the next request.
pub const SPARE: usize = 2;
/// Bytes of a thread's stack; pages that are not touched cost nothing.
pub const STACK: usize = 256 << 10;
/// When all threads that a user may have were held for so long, requests that wait for one are refused.
pub const STUCK: Duration = Duration::from_secs(10);
/// Between two attempts to interrupt a thread whose request was given up, and how many there are.
pub const KICK: Duration = Duration::from_millis(20);
/// See [`KICK`].
pub const KICKS: u32 = 50;
/// Bytes answered to one read.
pub const READ: u32 = 1 << 20;
/// Entries answered to one listing.
pub const LIST: u32 = 4096;
/// Steps of one walk.
pub const STEPS: usize = 64;
/// Bytes of one name.
pub const NAME: usize = 255;
/// Steps of a path that a content is put at.
pub const DEPTH: usize = 512;
/// Names that are tried for what is written beside a file.
pub const NAMES_TRIED: usize = 64;
/// Bytes that the kernel copies at once, so that what is given up ends.
pub const COPY: usize = 64 << 20;
/// Bytes of the buffer of a copy that the kernel cannot make.
pub const PUMP: usize = 256 << 10;
/// How often in a row a file may say that it is ready and then not be, before a thread waits for it.
pub const FALSE_ALARMS: u32 = 8;
/// How long the names of users and groups are believed.
pub const NAMES: Duration = Duration::from_secs(5);
/// Bytes of `/etc/passwd` and of `/etc/group` that are looked at.
pub const PASSWD: u64 = 1 << 20;
