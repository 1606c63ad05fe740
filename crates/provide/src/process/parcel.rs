//! The note with which a child lays its program down with the keeper, in the shape that sendmsg(2) wants.

use crate::keeper::wire::{self, Note};
use libc::c_int;
use op::SessionId;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The line to the keeper, and what is to lie there.
pub(super) struct Deposit<'a> {
    line: BorrowedFd<'a>,
    note: Vec<u8>,
    fds: Vec<BorrowedFd<'a>>,
    take_back: Vec<u8>,
}

impl<'a> Deposit<'a> {
    /// The note lacks the pid, which the child writes into it.
    pub(super) fn new(
        line: BorrowedFd<'a>,
        session: SessionId,
        ticks: u64,
        (has, fds): (u8, Vec<BorrowedFd<'a>>),
    ) -> Deposit<'a> {
        let (mut note, mut take_back) = (Vec::new(), Vec::new());
        Note::Hold { session, pid: 0, ticks, has }.write(&mut note);
        Note::Drop { session }.write(&mut take_back);
        Deposit { line, note, fds, take_back }
    }
}

/// The message to the keeper with all that sendmsg(2) wants to have pointed at.
pub(super) struct Parcel<'a> {
    pub(super) line: c_int,
    pub(super) hold: libc::msghdr,
    pub(super) unhold: libc::msghdr,
    /// Where the pid goes.
    pub(super) pid: *mut u8,
    _parts: Box<([libc::iovec; 2], [u64; 6])>,
    _of: std::marker::PhantomData<&'a ()>,
}

impl<'a> Parcel<'a> {
    pub(super) fn new(deposit: &'a mut Deposit<'_>) -> Parcel<'a> {
        let mut parts =
            Box::new(([libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; 2], [0u64; 6]));
        let (lines, control) = &mut *parts;
        for (line, bytes) in lines.iter_mut().zip([&mut deposit.note, &mut deposit.take_back]) {
            *line = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        }
        let count = u32::try_from(deposit.fds.len()).expect("a few");
        assert!(deposit.fds.len() <= wire::FDS, "more descriptors than a session has");
        // SAFETY: plain data; and control has room for a header of 16 bytes and four descriptors, is aligned as
        // cmsghdr wants, and lives in the box as long as the header that points to it.
        let (hold, unhold) = unsafe {
            let mut hold: libc::msghdr = std::mem::zeroed();
            let mut unhold: libc::msghdr = std::mem::zeroed();
            hold.msg_iov = &raw mut lines[0];
            hold.msg_iovlen = 1;
            hold.msg_control = control.as_mut_ptr().cast();
            hold.msg_controllen = libc::CMSG_SPACE(count * 4) as _;
            let beside = libc::CMSG_FIRSTHDR(&raw const hold);
            (*beside).cmsg_level = libc::SOL_SOCKET;
            (*beside).cmsg_type = libc::SCM_RIGHTS;
            (*beside).cmsg_len = libc::CMSG_LEN(count * 4) as _;
            for (at, fd) in deposit.fds.iter().enumerate() {
                libc::CMSG_DATA(beside).cast::<c_int>().add(at).write_unaligned(fd.as_raw_fd());
            }
            unhold.msg_iov = &raw mut lines[1];
            unhold.msg_iovlen = 1;
            (hold, unhold)
        };
        let pid = deposit.note[wire::HOLD_PID_AT..].as_mut_ptr();
        Parcel {
            line: deposit.line.as_raw_fd(),
            hold,
            unhold,
            pid,
            _parts: parts,
            _of: std::marker::PhantomData,
        }
    }
}
