//! The lock of a state directory, and the call to a keeper that runs without a node.

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Takes the lock of a state directory, making the directory if need be. `WouldBlock`: a keeper or node has it.
pub fn lock(state: &Path) -> io::Result<OwnedFd> {
    std::fs::create_dir_all(state)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file = rustix::fs::open(state.join("lock"), flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Asks the keeper of a state directory to start a node with these words, if none runs; an empty list means
/// the words that it has. `Ok(false)`: there is no keeper.
pub fn wake(state: &Path, argv: &[Vec<u8>]) -> io::Result<bool> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(state.join("keeper.sock"))?) {
        Ok(()) => {}
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        Err(rustix::io::Errno::CONNREFUSED) => return has_ended(state),
        Err(errno) => return Err(errno.into()),
    }
    let mut bytes = b"up".to_vec();
    for word in argv {
        bytes.push(0);
        bytes.extend(word);
    }
    let mut answer = [0u8; 64];
    let sent = rustix::net::send(&socket, &bytes, rustix::net::SendFlags::NOSIGNAL);
    match sent.and_then(|_| rustix::net::recv(&socket, &mut answer, rustix::net::RecvFlags::empty())) {
        Ok((n, _)) if answer[..n].starts_with(b"ok") => Ok(true),
        // It was about to end, with nothing left to keep.
        Ok((0, _)) | Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => has_ended(state),
        Ok(_) => Err(io::Error::other("the keeper answers something else")),
        Err(errno) => Err(errno.into()),
    }
}

/// A keeper that has ended may hold its lock for a moment more, in which no other could begin: `Ok(false)` after that.
fn has_ended(state: &Path) -> io::Result<bool> {
    for _ in 0..ENDING_MS {
        match lock(state) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            Ok(_) | Err(_) => break,
        }
    }
    Ok(false)
}

/// How long a keeper's end may take.
const ENDING_MS: u32 = 2000;
