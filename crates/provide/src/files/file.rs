//! One file that somebody has walked to, and what can be done with it. All of this runs in a thread that has taken the
//! asking user's rights, so the kernel decides what is allowed; it may wait as long as a file system likes.
//!
//! A file is held by a descriptor that only names it (`O_PATH`): it stays the same file when it is renamed or removed.
//! It is opened through `/proc/self/fd`, which is where Linux lets such a descriptor be opened with rights checked.

use super::name::{self, Names, step_name};
use super::put::Put;
use super::said::{below, refused, sentence};
use super::{limits, listing, stat};
use op::{Access, Errno, Error, FileKind, Op, Qid, Reply, Shape, User};
use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

pub(super) type Sys<T> = Result<T, rustix::io::Errno>;

/// A file that a fid stands for.
pub(super) struct File {
    /// Names it, or (of a file that was just made) is it.
    pub(super) at: Arc<OwnedFd>,
    /// Links are followed, and never seen.
    plain: bool,
    pub(super) open: Option<Open>,
}

pub(super) struct Open {
    pub(super) fd: Arc<OwnedFd>,
    dir: bool,
    /// It has no offsets.
    stream: bool,
    /// A read or write of it waits in the thread that makes it, because epoll(7) knows nothing of the file.
    waits: bool,
}

/// What carrying a request out has come to.
pub(super) enum Outcome {
    /// It is done.
    Answer(Reply),
    /// It is done, and has made what a new fid stands for.
    Made(Reply, Box<File>),
    /// Nothing can be read or written before this descriptor says so.
    Wait(Arc<OwnedFd>),
}

/// A request on its way.
pub(super) struct Task {
    pub(super) op: Op,
    /// Bytes of a write that are taken.
    pub(super) done: usize,
    /// Wait in the thread.
    pub(super) stay: bool,
    /// The file of its second fid.
    pub(super) other: Option<Arc<OwnedFd>>,
    /// It is this instead of what `op` says.
    pub(super) put: Option<Box<Put>>,
}

/// For whom, and what a thread keeps from request to request.
pub(super) struct Asking<'a> {
    pub(super) user: &'a User,
    pub(super) names: &'a mut Names,
}

impl Outcome {
    fn failed(errno: Errno, cause: impl Into<String>) -> Outcome {
        Outcome::Answer(Reply::Failed(Error::new(errno, cause)))
    }
}

/// Carries a request out. A `file` that is `None` afterwards is one that was given up, or never was.
pub(super) fn carry_out(task: &mut Task, file: &mut Option<Box<File>>, asking: &mut Asking<'_>) -> Outcome {
    if let Some(put) = task.put.take() {
        return put.carry_out(asking);
    }
    if let Op::Attach { tree, .. } = &task.op {
        let plain = tree == "plain";
        return match File::root(plain) {
            Ok((root, qid)) => {
                *file = Some(Box::new(root));
                Outcome::Answer(Reply::Attached(qid))
            }
            Err(errno) => Outcome::Answer(refused(errno, asking.user, "go to", "/")),
        };
    }
    if matches!(task.op, Op::Clunk { .. }) {
        *file = None; // closed here, and not in the loop: a close can wait, too
        return Outcome::Answer(Reply::Done);
    }
    let Some(held) = file.as_deref_mut() else {
        return Outcome::failed(Errno::BADF, "the walk that was to make this fid has failed");
    };
    let result = match &task.op {
        Op::Walk { fid, newfid, names } => {
            return match held.walk(names, asking) {
                Ok((qids, Some(found))) if fid == newfid => {
                    *held = found;
                    Outcome::Answer(Reply::Walked(qids))
                }
                Ok((qids, Some(found))) => Outcome::Made(Reply::Walked(qids), Box::new(found)),
                Ok((qids, None)) => Outcome::Answer(Reply::Walked(qids)),
                Err(error) => Outcome::Answer(Reply::Failed(error)),
            };
        }
        Op::Open { access, .. } => held.open(*access).map_err(|errno| (errno, "open")),
        Op::Create { name, mode, access, .. } => {
            let result = held.create(name, *mode, *access);
            return Outcome::Answer(
                result
                    .unwrap_or_else(|errno| refused(errno, asking.user, "make", &below(&held.path(), name))),
            );
        }
        Op::Symlink { name, target, .. } => {
            let result = held.symlink(name, target);
            return Outcome::Answer(result.unwrap_or_else(|errno| {
                refused(errno, asking.user, "make the link", &below(&held.path(), name))
            }));
        }
        Op::Rename { name, to, replace, .. } => {
            let dir = task.other.as_deref().map_or_else(|| held.at(), AsFd::as_fd);
            let result = held.rename(name, dir, to, *replace);
            return Outcome::Answer(result.unwrap_or_else(|errno| {
                let there = path_bytes(dir).unwrap_or_else(|_| b"?".to_vec());
                let what = format!("rename {} to", below(&held.path(), name));
                refused(errno, asking.user, &what, &below(&name::text(&there), to))
            }));
        }
        Op::Read { .. } | Op::Write { .. } => match held.transfer(task) {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => match &held.open {
                Some(open) => return Outcome::Wait(open.fd.clone()),
                None => Err((rustix::io::Errno::BADF, "read")),
            },
            Err(errno) => Err((errno, if matches!(task.op, Op::Read { .. }) { "read" } else { "write" })),
        },
        Op::List { cookie, count, .. } => held.list(*cookie, *count, asking).map_err(|errno| (errno, "list")),
        Op::Stat { .. } => held.stat(asking).map_err(|errno| (errno, "look at")),
        Op::SetStat { set, .. } => held.set_stat(set),
        Op::ReadLink { .. } => held.read_link().map_err(|errno| (errno, "read the link")),
        Op::Remove { .. } => {
            let result = held.remove().map(|()| Reply::Done).map_err(|errno| (errno, "remove"));
            let reply =
                result.unwrap_or_else(|(errno, what)| refused(errno, asking.user, what, &held.path()));
            *file = None;
            return Outcome::Answer(reply);
        }
        Op::Attach { .. } | Op::Clunk { .. } | Op::Flush { .. } => Ok(Reply::Done),
    };
    Outcome::Answer(result.unwrap_or_else(|(errno, what)| refused(errno, asking.user, what, &held.path())))
}

impl File {
    pub(super) fn root(plain: bool) -> Sys<(File, Qid)> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let at = rustix::fs::open("/", flags, Mode::empty())?;
        let qid = stat::qid(&rustix::fs::fstat(&at)?);
        Ok((File { at: Arc::new(at), plain, open: None }, qid))
    }

    pub(super) fn at(&self) -> BorrowedFd<'_> {
        self.at.as_fd()
    }

    /// Where it is now, as far as the kernel can say.
    pub(super) fn path(&self) -> String {
        name::text(&path_bytes(self.at()).unwrap_or_else(|_| b"?".to_vec()))
    }

    /// Its own door in `/proc`: the way to open a descriptor that only names a file.
    pub(super) fn door(&self) -> String {
        format!("/proc/self/fd/{}", self.at.as_raw_fd())
    }

    fn walk(&self, names: &[String], asking: &Asking<'_>) -> Result<(Vec<Qid>, Option<File>), Error> {
        if names.len() > limits::STEPS {
            return Err(Error::new(Errno::INVAL, format!("more than {} steps in one walk", limits::STEPS)));
        }
        let mut at = self.at.clone();
        let mut qids = Vec::with_capacity(names.len());
        for name in names {
            match self.step(at.as_fd(), name) {
                Ok((next, qid)) => {
                    at = Arc::new(next);
                    qids.push(qid);
                }
                Err(errno) if qids.is_empty() => {
                    return Err(sentence(errno, asking.user, "go to", &below(&self.path(), name)));
                }
                Err(_) => return Ok((qids, None)),
            }
        }
        Ok((qids, Some(File { at, plain: self.plain, open: None })))
    }

    pub(super) fn step(&self, at: BorrowedFd<'_>, name: &str) -> Sys<(OwnedFd, Qid)> {
        let name = step_name(name)?;
        let found = match self.look_up(at, name.as_bytes()) {
            Err(rustix::io::Errno::NOENT) if let Some(bytes) = name::bytes(name) => self.look_up(at, &bytes),
            result => result,
        }?;
        let stat = rustix::fs::fstat(&found)?;
        // Only what has no device of its own (major 0) can be /proc.
        if rustix::fs::major(stat.st_dev) == 0 && is_our_own(found.as_fd()) {
            return Err(rustix::io::Errno::ACCESS);
        }
        let mut qid = stat::qid(&stat);
        if self.plain && qid.kind == FileKind::Link {
            qid.kind = FileKind::File;
        }
        Ok((found, qid))
    }

    /// Links of `/proc` that jump to wherever a process has something open are not followed: what is in this process is
    /// not its users'.
    fn look_up(&self, at: BorrowedFd<'_>, name: &[u8]) -> Sys<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let flags = if self.plain { flags } else { flags | OFlags::NOFOLLOW };
        rustix::fs::openat2(at, name, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
    }

    fn open(&mut self, access: Access) -> Sys<Reply> {
        if self.open.is_some() {
            return Err(rustix::io::Errno::BADF);
        }
        let stat = rustix::fs::fstat(self.at())?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(rustix::io::Errno::LOOP);
        }
        // The terminal of whoever is asked: the node's, which is not its users'.
        let is_tty = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == rustix::fs::makedev(5, 0);
        if is_tty {
            return Err(rustix::io::Errno::NXIO);
        }
        let flags = open_flags(access)?;
        // Nothing is to wait in the open of a pipe that could as well wait in the first read.
        let fd = match rustix::fs::open(self.door(), flags | OFlags::NONBLOCK, Mode::empty()) {
            // Nobody reads the pipe yet; or somebody holds a lease on the file, and gives it back.
            Err(rustix::io::Errno::NXIO) if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo => {
                let fd = rustix::fs::open(self.door(), flags, Mode::empty())?;
                rustix::fs::fcntl_setfl(&fd, OFlags::NONBLOCK)?;
                fd
            }
            Err(rustix::io::Errno::AGAIN) => rustix::fs::open(self.door(), flags, Mode::empty())?,
            result => result?,
        };
        self.opened(Arc::new(fd))
    }

    pub(super) fn opened(&mut self, fd: Arc<OwnedFd>) -> Sys<Reply> {
        let stat = rustix::fs::fstat(&fd)?;
        let dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let stream = !dir && rustix::fs::seek(&fd, SeekFrom::Current(0)).is_err();
        let shape = if stream { Shape::Stream } else { Shape::Text };
        self.open = Some(Open { fd, dir, stream, waits: false });
        Ok(Reply::Opened(stat::qid(&stat), shape))
    }

    /// Reads or writes. `None`: nothing is there, and there is no room; that may take time.
    fn transfer(&mut self, task: &mut Task) -> Sys<Option<Reply>> {
        let Some(open) = &mut self.open else { return Err(rustix::io::Errno::BADF) };
        if open.dir {
            return Err(rustix::io::Errno::ISDIR);
        }
        if task.stay && !open.waits {
            let flags = rustix::fs::fcntl_getfl(&open.fd)?;
            rustix::fs::fcntl_setfl(&open.fd, flags - OFlags::NONBLOCK)?;
            open.waits = true;
        }
        match &task.op {
            Op::Read { offset, count, wait, .. } => {
                if open.waits && !wait {
                    // Asked now only: whether there is something is all that can be known without waiting.
                    let mut fds = [rustix::event::PollFd::new(&*open.fd, rustix::event::PollFlags::IN)];
                    if rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default()))? == 0 {
                        return Err(rustix::io::Errno::AGAIN);
                    }
                }
                let mut data: Vec<u8> = Vec::with_capacity((*count).min(limits::READ) as usize);
                let read = if open.stream {
                    rustix::io::read(&*open.fd, spare_capacity(&mut data))
                } else {
                    rustix::io::pread(&*open.fd, spare_capacity(&mut data), *offset)
                };
                match read {
                    // A pipe that nobody writes yet is not at its end: as if the open had waited for a writer.
                    Ok(0) if *count > 0 && open.stream && !open.waits && unwritten(open.fd.as_fd()) => {
                        if *wait {
                            Ok(None)
                        } else {
                            Err(rustix::io::Errno::AGAIN)
                        }
                    }
                    Err(rustix::io::Errno::AGAIN) if *wait => Ok(None),
                    Err(errno) => Err(errno),
                    Ok(_) => {
                        data.shrink_to_fit();
                        Ok(Some(Reply::Data(data)))
                    }
                }
            }
            Op::Write { offset, data, .. } => {
                while task.done < data.len() {
                    let rest = &data[task.done..];
                    let wrote = if open.stream {
                        rustix::io::write(&*open.fd, rest)
                    } else {
                        rustix::io::pwrite(&*open.fd, rest, offset + task.done as u64)
                    };
                    match wrote {
                        Ok(0) => return Err(rustix::io::Errno::IO),
                        Ok(n) => task.done += n,
                        Err(rustix::io::Errno::AGAIN) => return Ok(None),
                        Err(errno) => return Err(errno),
                    }
                }
                Ok(Some(Reply::Wrote(u32::try_from(data.len()).unwrap_or(u32::MAX))))
            }
            _ => Err(rustix::io::Errno::INVAL),
        }
    }

    fn list(&self, cookie: u64, count: u32, asking: &mut Asking<'_>) -> Sys<Reply> {
        match &self.open {
            Some(open) if open.dir => {
                listing::list(open.fd.as_fd(), cookie, count.min(limits::LIST), self.plain, asking)
            }
            Some(_) => Err(rustix::io::Errno::NOTDIR),
            None => Err(rustix::io::Errno::BADF),
        }
    }

    fn stat(&self, asking: &mut Asking<'_>) -> Sys<Reply> {
        let found = rustix::fs::fstat(self.at())?;
        let path = path_bytes(self.at())?;
        let last = path.rsplit(|byte| *byte == b'/').next().filter(|name| !name.is_empty()).unwrap_or(b"/");
        // What the kernel says of what has no name any more.
        let last = if found.st_nlink == 0 { last.strip_suffix(b" (deleted)").unwrap_or(last) } else { last };
        let mut stat = stat::stat(name::text(last), &found, asking);
        if self.plain && stat.qid.kind == FileKind::Link {
            stat.qid.kind = FileKind::File;
        }
        Ok(Reply::Stat(stat))
    }

    fn read_link(&self) -> Sys<Reply> {
        match rustix::fs::readlinkat(self.at(), "", Vec::new()) {
            // So says the kernel of what is no link.
            Err(rustix::io::Errno::NOENT) => Err(rustix::io::Errno::INVAL),
            result => Ok(Reply::Linked(name::text(result?.as_bytes()))),
        }
    }
}

pub(super) fn open_flags(access: Access) -> Sys<OFlags> {
    let flags = match (access.read, access.write) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (true, false) => OFlags::RDONLY,
        (false, false) => return Err(rustix::io::Errno::INVAL),
    };
    let flags = if access.truncate { flags | OFlags::TRUNC } else { flags };
    Ok(flags | OFlags::CLOEXEC | OFlags::NOCTTY)
}

pub(super) fn path_bytes(fd: BorrowedFd<'_>) -> Sys<Vec<u8>> {
    Ok(rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?.into_bytes())
}

/// Whether a pipe has had no writer since it was opened: then poll(2) does not speak of a hang-up either.
fn unwritten(fd: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let is_fifo =
        rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    is_fifo && poll(&mut fds, Some(&Timespec::default())) == Ok(0)
}

/// Whether this is a file of the node's own process in `/proc`. A process may look into itself whatever its rights are,
/// and the threads here are in the node: without this, users would see its memory's layout and its descriptors.
fn is_our_own(fd: BorrowedFd<'_>) -> bool {
    const HARMLESS: &[&str] = &["mounts", "mountinfo", "net"];
    if !rustix::fs::fstatfs(fd).is_ok_and(|fs| fs.f_type == rustix::fs::PROC_SUPER_MAGIC) {
        return false;
    }
    let Ok(path) = path_bytes(fd) else { return true };
    let path = String::from_utf8_lossy(&path);
    let mut steps = path.split('/');
    let of_ours = |step: &str| step.parse::<i32>().is_ok_and(crate::sys::is_own_thread);
    match steps.by_ref().find(|step| of_ours(step)) {
        Some(_) => steps.next().is_some_and(|step| !HARMLESS.contains(&step)),
        None => false,
    }
}
