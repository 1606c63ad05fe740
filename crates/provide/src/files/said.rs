//! Failures of system calls, told as sentences.

use op::{Errno, Error, Reply, User};

/// What a name in a directory is called.
pub(super) fn below(dir: &str, name: &str) -> String {
    format!("{}/{name}", dir.trim_end_matches('/'))
}

/// A failure, told as a sentence.
pub(super) fn refused(errno: rustix::io::Errno, user: &User, what: &str, path: &str) -> Reply {
    Reply::Failed(sentence(errno, user, what, path))
}

pub(super) fn sentence(errno: rustix::io::Errno, user: &User, what: &str, path: &str) -> Error {
    let number = Errno(u16::try_from(errno.raw_os_error()).unwrap_or(Errno::IO.0));
    let why = match number {
        Errno::NXIO => "there is nobody at the other end, or no such device".to_string(),
        Errno::BADF => "it is not open for that".to_string(),
        Errno::XDEV => "they are on two file systems; copy it".to_string(),
        Errno::MFILE => "the node has no descriptors left; raise its limit (ulimit -n)".to_string(),
        _ => {
            std::io::Error::from(errno).to_string().split(" (os error").next().unwrap_or_default().to_string()
        }
    };
    Error::new(number, format!("{} cannot {what} {path}: {why}", user.name))
}
