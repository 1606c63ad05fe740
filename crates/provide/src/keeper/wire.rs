//! What node and keeper say to each other: short notes, several to a message, descriptors beside the first.
//!
//! A note is `tag, length, body`, little-endian; a reader skips tags that it does not know, because after an
//! upgrade an old keeper speaks with a new node. The line is a `SOCK_SEQPACKET` pair (unix(7)).

use op::SessionId;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Most bytes of a message.
pub(crate) const MESSAGE: usize = 4096;
/// Most descriptors beside a message: of a session stdin or terminal, stdout, stderr, pidfd.
pub(crate) const FDS: usize = 4;

/// The signal that asks the keeper to listen now; ignored by default, so that it harms nobody else. What is said is safe on the line,
/// descriptors too, so the keeper is not woken for each word: in a storm of starts that would cost a start more than all that is said.
pub(crate) const LISTEN: i32 = libc::SIGURG;
/// After so many messages it is to listen. Each start has up to [`FDS`] descriptors on their way by then, which count against the
/// limit of open ones.
pub(crate) const UNHEARD: u32 = 48;

/// Stdin's write end, or the terminal's master.
pub(crate) const IN: u8 = 1;
/// Stdout's read end.
pub(crate) const OUT: u8 = 2;
/// Stderr's read end.
pub(crate) const ERR: u8 = 4;
/// A pidfd: of a program whose parent neither node nor keeper is.
pub(crate) const PID: u8 = 8;
/// No descriptor: the session's stdio is a terminal.
pub(crate) const TTY: u8 = 128;

/// A program's end, as it is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct End {
    /// A signal ended it.
    pub(crate) killed: bool,
    /// Exit status or signal; negative: nobody saw.
    pub(crate) status: i32,
    pub(crate) usage: op::Usage,
    pub(crate) at: op::Wall,
}

/// One thing said. Node to keeper unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Note {
    /// A program is about to run, with these descriptors beside (`has`, in the order of the bits). From the
    /// keeper: it held this one for an earlier node.
    Hold { session: SessionId, pid: i32, ticks: u64, has: u8 },
    /// It has ended, so. Told before it is reaped. From the keeper: of an adopted one.
    Ended { session: SessionId, end: End },
    /// Close its stdin.
    Shut { session: SessionId },
    /// Forget it.
    Drop { session: SessionId },
    /// The streams may grow to these lengths while no node runs.
    Upto { session: SessionId, out: u64, err: u64 },
    /// The node is about to exit and wants not to be started again; `keep`: the programs stay.
    Stop { keep: bool },
    /// From the keeper: that was all that it held.
    All,
    /// In a table that goes through exec: the number of the next descriptor of the `Hold` before.
    Fd { number: i32 },
}

/// Where the pid stands in a `Hold`, for the child that writes its own there.
pub(crate) const HOLD_PID_AT: usize = 10;

impl Note {
    /// Appends the note.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0, 0]);
        let tag = match self {
            Note::Hold { session, pid, ticks, has } => {
                out.extend(session.0.to_le_bytes());
                out.extend(pid.to_le_bytes());
                out.extend(ticks.to_le_bytes());
                out.push(has);
                1
            }
            Note::Ended { session, end } => {
                out.extend(session.0.to_le_bytes());
                out.push(u8::from(end.killed));
                out.extend(end.status.to_le_bytes());
                for n in [end.usage.user_us, end.usage.sys_us, end.usage.maxrss_kib, end.at.0] {
                    out.extend(n.to_le_bytes());
                }
                2
            }
            Note::Shut { session } => {
                out.extend(session.0.to_le_bytes());
                3
            }
            Note::Drop { session } => {
                out.extend(session.0.to_le_bytes());
                4
            }
            Note::Upto { session, out: o, err } => {
                for n in [session.0, o, err] {
                    out.extend(n.to_le_bytes());
                }
                5
            }
            Note::Stop { keep } => {
                out.push(u8::from(keep));
                6
            }
            Note::All => 7,
            Note::Fd { number } => {
                out.extend(number.to_le_bytes());
                8
            }
        };
        out[start] = tag;
        out[start + 1] = u8::try_from(out.len() - start - 2).expect("a note is shorter than 256 bytes");
    }

    /// Takes the next note off; skips unknown ones; `None` at the end, and at what is no note.
    pub(crate) fn read(bytes: &mut &[u8]) -> Option<Note> {
        loop {
            let (&tag, &len) = (bytes.first()?, bytes.get(1)?);
            let mut body = bytes.get(2..2 + usize::from(len))?;
            *bytes = &bytes[2 + usize::from(len)..];
            let body = &mut body;
            return Some(match tag {
                1 => Note::Hold {
                    session: SessionId(u64_of(body)?),
                    pid: i32_of(body)?,
                    ticks: u64_of(body)?,
                    has: u8_of(body)?,
                },
                2 => Note::Ended {
                    session: SessionId(u64_of(body)?),
                    end: End {
                        killed: u8_of(body)? != 0,
                        status: i32_of(body)?,
                        usage: op::Usage {
                            user_us: u64_of(body)?,
                            sys_us: u64_of(body)?,
                            maxrss_kib: u64_of(body)?,
                        },
                        at: op::Wall(u64_of(body)?),
                    },
                },
                3 => Note::Shut { session: SessionId(u64_of(body)?) },
                4 => Note::Drop { session: SessionId(u64_of(body)?) },
                5 => Note::Upto { session: SessionId(u64_of(body)?), out: u64_of(body)?, err: u64_of(body)? },
                6 => Note::Stop { keep: u8_of(body)? != 0 },
                7 => Note::All,
                8 => Note::Fd { number: i32_of(body)? },
                _ => continue,
            });
        }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn u64_of(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_le_bytes)
}

fn i32_of(bytes: &mut &[u8]) -> Option<i32> {
    take(bytes).map(i32::from_le_bytes)
}

fn u8_of(bytes: &mut &[u8]) -> Option<u8> {
    take(bytes).map(|[byte]| byte)
}

/// Sends one message, never waiting.
pub(crate) fn send(line: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(beside.push(SendAncillaryMessage::ScmRights(fds)), "more descriptors than a session has");
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(line, &[IoSlice::new(bytes)], &mut beside, flags).map(drop)
}

/// Receives one message into `buf`; its length (0: the other end is gone) and its descriptors.
///
/// An end that died with messages unread gives `ECONNRESET` once, *ahead* of what it had said itself (unix(7)
/// is silent on this); so that is no end, and what was said is still to be heard.
pub(crate) fn receive(
    line: BorrowedFd<'_>,
    buf: &mut [u8],
    wait: bool,
) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
    let got = loop {
        match rustix::net::recvmsg(line, &mut [IoSliceMut::new(buf)], &mut beside, flags) {
            Err(Errno::CONNRESET | Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok((got.bytes, fds))
}

/// A session's descriptors as they lie with the keeper.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) out: Option<OwnedFd>,
    pub(crate) err: Option<OwnedFd>,
    pub(crate) pidfd: Option<OwnedFd>,
}

impl Ends {
    /// Puts descriptors where the bits say.
    pub(crate) fn from(has: u8, fds: Vec<OwnedFd>) -> Ends {
        let mut fds = fds.into_iter();
        let mut next = |bit: u8| if has & bit != 0 { fds.next() } else { None };
        Ends { stdin: next(IN), out: next(OUT), err: next(ERR), pidfd: next(PID) }
    }

    /// The bits, and the descriptors in their order.
    pub(crate) fn list(&self) -> (u8, Vec<BorrowedFd<'_>>) {
        let mut has = 0;
        let mut fds = Vec::with_capacity(FDS);
        for (bit, fd) in [(IN, &self.stdin), (OUT, &self.out), (ERR, &self.err), (PID, &self.pidfd)] {
            if let Some(fd) = fd {
                has |= bit;
                fds.push(fd.as_fd());
            }
        }
        (has, fds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_note_is_read_as_it_was_written() {
        let session = SessionId(0x0102_0304_0506_0708);
        let usage = op::Usage { user_us: 1, sys_us: 2, maxrss_kib: 3 };
        let end = End { killed: true, status: 9, usage, at: op::Wall(5) };
        let all = [
            Note::Hold { session, pid: 77, ticks: 99, has: IN | TTY },
            Note::Ended { session, end },
            Note::Shut { session },
            Note::Drop { session },
            Note::Upto { session, out: 1, err: u64::MAX },
            Note::Stop { keep: true },
            Note::All,
            Note::Fd { number: 3 },
        ];
        let mut bytes = Vec::new();
        for note in all {
            bytes.extend([200, 3, 1, 2, 3]); // a tag of the future
            note.write(&mut bytes);
        }
        let mut rest = &bytes[..];
        for note in all {
            assert_eq!(Note::read(&mut rest), Some(note));
        }
        assert_eq!(Note::read(&mut rest), None);
        for cut in 0..bytes.len() {
            let mut rest = &bytes[..cut];
            while Note::read(&mut rest).is_some() {}
        }
    }

    #[test]
    fn what_the_dead_had_said_is_heard() {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        send(ours.as_fd(), b"never read", &[]).unwrap();
        send(theirs.as_fd(), b"last words", &[theirs.as_fd()]).unwrap();
        drop(theirs);
        let mut buf = [0; 64];
        let (n, fds) = receive(ours.as_fd(), &mut buf, false).unwrap();
        assert_eq!((&buf[..n], fds.len()), (&b"last words"[..], 1));
        drop(fds);
        assert_eq!(receive(ours.as_fd(), &mut buf, false).unwrap().0, 0);
    }

    #[test]
    fn the_pid_of_a_hold_is_where_the_child_writes_it() {
        let mut bytes = Vec::new();
        Note::Hold { session: SessionId(1), pid: 0x7766_5544, ticks: 0, has: 0 }.write(&mut bytes);
        assert_eq!(bytes[HOLD_PID_AT..HOLD_PID_AT + 4], 0x7766_5544i32.to_le_bytes());
    }
}
