//! The node as its keeper has it: a child process, the line to it, and what is still to be said to it.

use super::wire::{self, End, Note};
use op::SessionId;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::time::Instant;

/// Something to be said to the node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word {
    /// A session with its descriptors; passed over if it is gone when its turn comes.
    Hold(SessionId),
    Ended(SessionId, End),
    All,
}

/// The node, or none.
pub(super) enum Node {
    None,
    Runs {
        pid: i32,
        line: OwnedFd,
        since: Instant,
        words: VecDeque<Word>,
        /// It said that it will exit by intent, and whether programs stay.
        stopping: Option<bool>,
    },
}

impl Node {
    /// Starts a node with a new line. It gets the soft limit of descriptors that there was in the beginning.
    pub(super) fn start(argv: &[OsString], lock: BorrowedFd<'_>, descriptors: u64) -> io::Result<Node> {
        let (line, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let (program, words) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = std::process::Command::new(program);
        command
            .args(words)
            .env(super::KEEPER_FD, theirs.as_raw_fd().to_string())
            .env(super::LOCK_FD, lock.as_raw_fd().to_string())
            .env(super::DESCRIPTORS, descriptors.to_string())
            .env_remove(super::TABLE_FD);
        let pass = [theirs.as_raw_fd(), lock.as_raw_fd()];
        // SAFETY: between fork and exec: fcntl(2) on two numbers and a signal mask, nothing that could take a lock
        // or allocate.
        unsafe {
            command.pre_exec(move || {
                for number in pass {
                    if libc::fcntl(number, libc::F_SETFD, 0) < 0 {
                        return Err(io::Error::last_os_error());
                    }
                }
                // What the keeper reads from a descriptor, the node is to be interrupted by.
                let mut none: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&raw mut none);
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
                Ok(())
            });
        }
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Node::Runs { pid, line, since: Instant::now(), words: VecDeque::new(), stopping: None })
    }

    pub(super) fn pid(&self) -> Option<i32> {
        match self {
            Node::None => None,
            Node::Runs { pid, .. } => Some(*pid),
        }
    }

    /// The line, if there is more to say than it had room for.
    pub(super) fn line_to_write(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Node::Runs { line, words, .. } if !words.is_empty() => Some(line.as_fd()),
            Node::Runs { .. } | Node::None => None,
        }
    }

    pub(super) fn is_stopping(&mut self, keep: bool) {
        if let Node::Runs { stopping, .. } = self {
            *stopping = Some(keep);
        }
    }

    pub(super) fn say(&mut self, word: Word) {
        if let Node::Runs { words, .. } = self {
            words.push_back(word);
        }
    }

    /// One message of the node, with the descriptors beside it.
    pub(super) fn hear(&mut self) -> Option<(Vec<Note>, Vec<OwnedFd>)> {
        let Node::Runs { line, .. } = self else { return None };
        let mut buf = [0u8; wire::MESSAGE];
        let (n, fds) = wire::receive(line.as_fd(), &mut buf, false).ok().filter(|(n, _)| *n > 0)?;
        let mut bytes = &buf[..n];
        Some((std::iter::from_fn(|| Note::read(&mut bytes)).collect(), fds))
    }

    /// Says what is to be said, until the line is full. `hold` gives a session's note and descriptors.
    pub(super) fn speak<'a>(&mut self, hold: impl Fn(SessionId) -> Option<(Note, Vec<BorrowedFd<'a>>)>) {
        let Node::Runs { line, words, .. } = self else { return };
        while let Some(word) = words.front() {
            let said = match *word {
                Word::Hold(session) => hold(session),
                Word::Ended(session, end) => Some((Note::Ended { session, end }, Vec::new())),
                Word::All => Some((Note::All, Vec::new())),
            };
            if let Some((note, fds)) = said {
                let mut bytes = Vec::new();
                note.write(&mut bytes);
                match wire::send(line.as_fd(), &bytes, &fds) {
                    Ok(()) => {}
                    Err(Errno::AGAIN) => return,
                    // Too many descriptors are on their way: when the node has taken some, there is room.
                    Err(Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM | Errno::INTR) => {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                        return;
                    }
                    Err(_) => {
                        words.clear(); // it is dead; its next hears all of it again
                        return;
                    }
                }
            }
            words.pop_front();
        }
    }
}
