//! The descriptor behind a mount: mounts, reads one request, writes one answer, unmounts.
//!
//! Root mounts by mount(2), for all users. Everyone else asks `fusermount3`, which is set-user-id root, mounts for its
//! caller alone, and hands the descriptor back through a socket (fuse(4), fusermount3(1)).

mod place;

use crate::Answer;
use op::{Errno, Error, Result};
use place::{device, prepare};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno as Os;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::ffi::CString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a read of the descriptor gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// One request, of so many bytes.
    Message(usize),
    /// Nothing waits.
    Empty,
    /// Nothing will come any more: it was unmounted, or the connection aborted.
    Unmounted,
}

/// A mounted directory. Unmounts when dropped.
#[derive(Debug)]
pub struct Mount {
    fd: OwnedFd,
    dir: PathBuf,
    /// The mount's device number, so that nobody else's mount is ever taken for it.
    device: Option<String>,
}

impl Mount {
    /// Mounts on `dir`, which is made if it is not there. What a killed server left mounted there is unmounted first.
    ///
    /// Must not be called while the thread holds up a mount that `dir` lies in.
    ///
    /// # Errors
    /// `ENOTEMPTY`, `EBUSY` (something is mounted there), `ENOENT` (no `fusermount3`, or no `/dev/fuse`), and what the
    /// system says to making the directory and to mounting; each with a sentence.
    pub fn new(dir: &Path) -> Result<Mount> {
        let dir = prepare(dir)?;
        let fd = if rustix::process::geteuid().is_root() { mount_as_root(&dir)? } else { ask_helper(&dir)? };
        let device = device(&dir);
        Ok(Mount { fd, dir, device })
    }

    /// For epoll(7): readable when a request waits, and in error (which [`read`](Mount::read) tells as
    /// [`Incoming::Unmounted`]) when it was unmounted. It never blocks.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Where it is mounted: absolute, without links.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads one request into `buffer`, which is [`limits::BUFFER`](crate::limits::BUFFER) bytes long or more.
    ///
    /// # Errors
    /// Only what must not happen: a buffer that is too small is `EINVAL`.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Incoming> {
        loop {
            match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(length) => return Ok(Incoming::Message(length)),
                Err(Os::AGAIN) => return Ok(Incoming::Empty),
                Err(Os::INTR | Os::NOENT) => {} // ENOENT: a request that was taken back as it was read
                Err(Os::NODEV | Os::CONNABORTED) => {
                    self.device = None;
                    return Ok(Incoming::Unmounted);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes one answer. A request that the kernel no longer waits for is no error.
    ///
    /// # Errors
    /// Only what must not happen: `EINVAL` for an answer that the kernel does not understand.
    pub fn send(&self, answer: &Answer) -> io::Result<()> {
        let parts = [IoSlice::new(answer.head()), IoSlice::new(answer.body())];
        let parts = if answer.body().is_empty() { &parts[..1] } else { &parts[..] };
        loop {
            match rustix::io::writev(&self.fd, parts) {
                Ok(_) | Err(Os::NOENT | Os::NODEV | Os::PERM) => return Ok(()),
                Err(Os::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Unmounts: nobody finds the tree by its name any more, and what is open in it ends when this is dropped.
    /// Does nothing if it is not mounted any more.
    ///
    /// # Errors
    /// What the system says.
    pub fn unmount(&mut self) -> Result<()> {
        let ours = self.device.take();
        if ours.is_some() && ours == device(&self.dir) { detach(&self.dir) } else { Ok(()) }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.unmount();
    }
}

/// Unmounts what a server that was killed has left on `dir` ("Transport endpoint is not connected"). Tells whether there
/// was such a thing; a mount that is alive is left alone.
///
/// # Errors
/// What the system says to unmounting, for instance that it was another user's.
pub fn recover(dir: &Path) -> Result<bool> {
    place::recover(dir)
}

/// By mount(2). In a container, root may lack the right to; then the helper may have it.
fn mount_as_root(dir: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open("/dev/fuse", flags, Mode::empty()).map_err(|os| {
        let hint = "load the module (modprobe fuse), or give the container the device (--device /dev/fuse)";
        failed(os, format!("/dev/fuse does not open: {os}; {hint}"))
    })?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&fd);
    let options = format!("fd={number},rootmode=40000,user_id=0,group_id=0,allow_other");
    let options = CString::new(options).expect("the options hold no NUL");
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    match rustix::mount::mount("uem", dir, "fuse.uem", flags, &*options) {
        Ok(()) => Ok(fd),
        Err(Os::PERM | Os::ACCESS) => {
            drop(fd);
            ask_helper(dir)
        }
        Err(os) => Err(failed(os, format!("mounting on {} failed: {os}", dir.display()))),
    }
}

/// By `fusermount3`. Its end of the socket is its descriptor 0, so that nothing has to be inherited.
fn ask_helper(dir: &Path) -> Result<OwnedFd> {
    let os = |error: io::Error| failed_io(&error, format!("no socket to fusermount3: {error}"));
    let (ours, theirs) = UnixStream::pair().map_err(os)?;
    let mut command = Command::new("fusermount3");
    command.args(["-o", "fsname=uem,subtype=uem,nosuid,nodev", "--"]).arg(dir).env("_FUSE_COMMFD", "0");
    run_helper(command.stdin(OwnedFd::from(theirs)), dir)?;
    drop(command); // with its copy of the other end, so that the socket ends rather than blocks
    let fd = receive_descriptor(&ours).map_err(os)?;
    let flags =
        rustix::fs::fcntl_getfl(&fd).and_then(|flags| rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK));
    flags.map_err(|os| failed(os, format!("/dev/fuse cannot be made non-blocking: {os}")))?;
    Ok(fd)
}

/// Runs `fusermount3` to its end; its complaint is the error's sentence.
fn run_helper(command: &mut Command, dir: &Path) -> Result<()> {
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().map_err(|error| {
        let hint = "mounting as an ordinary user needs it (apt install fuse3), or work without a mount";
        failed_io(&error, format!("fusermount3 cannot be run: {error}; {hint}"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let closed = said.contains("/dev/fuse: Permission denied");
    let hint = if closed { "; let all users open it, as udev does (chmod 666 /dev/fuse)" } else { "" };
    let cause = format!("fusermount3 failed on {}: {}{hint}", dir.display(), said.trim());
    Err(Error::new(Errno::PERM, cause))
}

/// The one descriptor that comes through `socket`.
fn receive_descriptor(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message
            && let Some(fd) = fds.next()
        {
            return Ok(fd);
        }
    }
    Err(io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// Takes a mount out of the tree of names at once, whoever uses it.
fn detach(dir: &Path) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        match rustix::mount::unmount(dir, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => return Ok(()),
            Err(Os::PERM | Os::ACCESS) => {}
            Err(os) => return Err(failed(os, format!("unmounting {} failed: {os}", dir.display()))),
        }
    }
    run_helper(Command::new("fusermount3").args(["-u", "-z", "--"]).arg(dir).stdin(Stdio::null()), dir)
}

/// An error of the system with its sentence.
fn failed(os: Os, cause: String) -> Error {
    Error::new(u16::try_from(os.raw_os_error()).map_or(Errno::IO, Errno), cause)
}

/// The same, as the standard library tells it.
fn failed_io(error: &io::Error, cause: String) -> Error {
    Error::new(
        error.raw_os_error().and_then(|number| u16::try_from(number).ok()).map_or(Errno::IO, Errno),
        cause,
    )
}
