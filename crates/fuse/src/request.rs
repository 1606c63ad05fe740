//! The kernel's requests: bytes to [`Call`]s. Nothing is decided here, and no bytes can make it panic.

use crate::abi::{self, fattr, mode, opcode};
use crate::limits;
use op::{Access, Errno, Mtime, SetStat, Uid, Wall};

/// What stands before each request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// The request's number; an `INTERRUPT` has one of its own too.
    pub(crate) unique: u64,
    /// The file that it is about.
    pub(crate) node: u64,
    /// Who asks; nobody in particular for `FORGET`, `RELEASE` and `INTERRUPT`.
    pub(crate) uid: Uid,
}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Call<'a> {
    /// Begins the conversation.
    Init {
        major: u32,
        minor: u32,
        readahead: u32,
        flags: u32,
    },
    /// About the header's node.
    Node(Want<'a>),
    /// The header's node is forgotten so often. Not answered.
    Forget {
        count: u64,
    },
    /// Not answered.
    ForgetMany(ForgetMany<'a>),
    /// Not answered, but for its being too early.
    Interrupt {
        unique: u64,
    },
    StatFs,
    /// Ends the conversation.
    Destroy,
    /// Answered without being looked at.
    Always(Result<(), Errno>),
    /// Never answered.
    Ignored,
}

/// What is wanted of a node. A name is one that can be walked to; a `file` is the handle of an open one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Want<'a> {
    Lookup { name: &'a str },
    Stat { file: Option<u64> },
    SetStat { file: Option<u64>, set: SetStat },
    ReadLink,
    Open { access: Access },
    OpenDir,
    Create { name: &'a str, mode: u32, access: Access },
    MakeNode { name: &'a str, mode: u32 },
    Remove { name: &'a str },
    Symlink { name: &'a str, target: &'a str },
    Rename { name: &'a str, dir: u64, to: &'a str, replace: bool },
    Read { file: u64, offset: u64, count: u32, wait: bool },
    Write { file: u64, offset: u64, data: &'a [u8] },
    List { file: u64, offset: u64, size: u32 },
    Release { file: u64 },
}

/// The nodes of a `BATCH_FORGET`, each with how often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ForgetMany<'a>(&'a [u8]);

impl ForgetMany<'_> {
    pub(crate) fn each(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.chunks_exact(16).map(|pair| {
            let mut fields = Fields(pair);
            (fields.u64().unwrap_or(0), fields.u64().unwrap_or(0))
        })
    }
}

/// Splits one message. `None` if there is not even a whole header, so that nobody could be answered.
pub(crate) fn parse(message: &[u8]) -> Option<(Header, Call<'_>)> {
    let mut fields = Fields(message);
    let length = fields.u32()?;
    let code = fields.u32()?;
    let header = Header { unique: fields.u64()?, node: fields.u64()?, uid: Uid(fields.u32()?) };
    let (_gid, _pid, _extensions) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let call = if length as usize == message.len() { body(code, fields) } else { None };
    Some((header, call.unwrap_or_else(|| malformed(code))))
}

/// What becomes of a request that is not what its opcode promises.
fn malformed(code: u32) -> Call<'static> {
    match code {
        opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT | opcode::NOTIFY_REPLY => Call::Ignored,
        _ => Call::Always(Err(Errno::INVAL)),
    }
}

/// Everything after the header.
fn body(code: u32, mut fields: Fields<'_>) -> Option<Call<'_>> {
    Some(match code {
        opcode::FORGET => Call::Forget { count: fields.u64()? },
        opcode::BATCH_FORGET => {
            let (count, _) = (fields.u32()?, fields.u32()?);
            Call::ForgetMany(ForgetMany(fields.take((count as usize).checked_mul(16)?)?))
        }
        opcode::INTERRUPT => Call::Interrupt { unique: fields.u64()? },
        opcode::INIT => {
            let (major, minor) = (fields.u32()?, fields.u32()?);
            Call::Init { major, minor, readahead: fields.u32()?, flags: fields.u32()? }
        }
        opcode::STATFS => Call::StatFs,
        opcode::DESTROY => Call::Destroy,
        opcode::NOTIFY_REPLY => Call::Ignored,
        // Nothing is kept back, so there is nothing to write out.
        opcode::FSYNC | opcode::FSYNCDIR => Call::Always(Ok(())),
        code => match want(code, fields)? {
            Ok(want) => Call::Node(want),
            Err(errno) => Call::Always(Err(errno)),
        },
    })
}

/// A request about a node, or the errno that it has whatever it says.
fn want(code: u32, mut fields: Fields<'_>) -> Option<Result<Want<'_>, Errno>> {
    Some(Ok(match code {
        opcode::LOOKUP => return name(&fields, Errno::NOENT).map(|name| Ok(Want::Lookup { name: name? })),
        opcode::GETATTR => {
            let (flags, _, file) = (fields.u32()?, fields.u32()?, fields.u64()?);
            Want::Stat { file: (flags & abi::GETATTR_FH != 0).then_some(file) }
        }
        opcode::OPEN => Want::Open { access: access(fields.u32()?) },
        opcode::READ => {
            let (file, offset, count) = (fields.u64()?, fields.u64()?, fields.u32()?);
            let (_read_flags, _owner, flags) = (fields.u32()?, fields.u64()?, fields.u32()?);
            let count = count.min(limits::WRITE);
            Want::Read { file, offset, count, wait: flags & abi::open::NONBLOCK == 0 }
        }
        opcode::WRITE => {
            let (file, offset, size) = (fields.u64()?, fields.u64()?, fields.u32()?);
            fields.skip(20)?;
            Want::Write { file, offset, data: fields.take(size as usize)? }
        }
        opcode::RELEASE | opcode::RELEASEDIR => Want::Release { file: fields.u64()? },
        opcode::OPENDIR => Want::OpenDir,
        opcode::READDIR => Want::List { file: fields.u64()?, offset: fields.u64()?, size: fields.u32()? },
        opcode::READLINK => Want::ReadLink,
        opcode::SETATTR => set_stat(fields)?,
        opcode::CREATE => {
            let (flags, mode) = (fields.u32()?, fields.u32()? & 0o777);
            fields.skip(8)?;
            let create = |name| Want::Create { name, mode, access: access(flags) };
            return name(&fields, Errno::INVAL).map(|name| Ok(create(name?)));
        }
        opcode::MKNOD => {
            let mode = fields.u32()?;
            fields.skip(12)?;
            if mode & mode::KIND != mode::FILE {
                return Some(Err(Errno::PERM));
            }
            return name(&fields, Errno::INVAL)
                .map(|name| Ok(Want::MakeNode { name: name?, mode: mode & 0o777 }));
        }
        opcode::UNLINK | opcode::RMDIR => {
            return name(&fields, Errno::NOENT).map(|name| Ok(Want::Remove { name: name? }));
        }
        opcode::MKDIR => {
            let mode = fields.u32()? & 0o777 | mode::DIR;
            fields.skip(4)?;
            return name(&fields, Errno::INVAL).map(|name| Ok(Want::MakeNode { name: name?, mode }));
        }
        opcode::SYMLINK => {
            let first = fields.string()?;
            // Where it leads may be anything but bytes that are no text.
            let target = core::str::from_utf8(fields.0.split_last()?.1);
            return name(&first, Errno::INVAL)
                .map(|name| Ok(Want::Symlink { name: name?, target: target.map_err(|_| Errno::INVAL)? }));
        }
        opcode::RENAME | opcode::RENAME2 => {
            let (dir, flags) =
                (fields.u64()?, if code == opcode::RENAME2 { fields.u64()? as u32 } else { 0 });
            if flags & !abi::RENAME_NOREPLACE != 0 {
                return Some(Err(Errno::INVAL));
            }
            let (old, new) = (name(&fields.string()?, Errno::NOENT)?, name(&fields, Errno::INVAL)?);
            let replace = flags == 0;
            let rename = |name| new.map(|to| Want::Rename { name, dir, to, replace });
            return Some(old.and_then(rename));
        }
        // As link(2) says of file systems that have no such thing.
        opcode::LINK => return Some(Err(Errno::PERM)),
        opcode::IOCTL => return Some(Err(Errno(25))), // ENOTTY
        // The kernel takes this for "not here", does what is usual without, and does not ask again: FLUSH,
        // ACCESS (the tree judges every request by its uid), LSEEK, POLL (always ready), extended attributes, ….
        _ => return Some(Err(Errno::NOSYS)),
    }))
}

/// Flags of open(2) to what the file may be used for.
fn access(flags: u32) -> Access {
    let way = flags & abi::open::ACCESS;
    Access {
        read: way != abi::open::WRITE_ONLY,
        write: way == abi::open::WRITE_ONLY || way == abi::open::READ_WRITE,
        truncate: flags & abi::open::TRUNCATE != 0,
    }
}

fn set_stat(mut fields: Fields<'_>) -> Option<Want<'_>> {
    let (valid, _, file, size) = (fields.u32()?, fields.u32()?, fields.u64()?, fields.u64()?);
    let (_lock_owner, _atime, mtime, _ctime) = (fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?);
    let (_, mtime_ns, _) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (mode, _, uid, gid) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
    let set = SetStat {
        mode: (valid & fattr::MODE != 0).then_some(mode & 0o777),
        uid: (valid & fattr::UID != 0).then_some(uid),
        gid: (valid & fattr::GID != 0).then_some(gid),
        size: (valid & fattr::SIZE != 0).then_some(size),
        mtime: match (valid & fattr::MTIME != 0, valid & fattr::MTIME_NOW != 0) {
            (false, _) => None,
            (true, false) => {
                Some(Mtime::At(Wall(mtime.saturating_mul(1_000_000_000).saturating_add(mtime_ns.into()))))
            }
            // What is cut has a new time by that.
            (true, true) => (valid & fattr::SIZE == 0).then_some(Mtime::Now),
        },
    };
    Some(Want::SetStat { file: (valid & fattr::FH != 0).then_some(file), set })
}

/// The name, with a NUL after it, that a request ends in. One that no file here can have has its errno: `odd` if it
/// is not UTF-8. The kernel never sends an empty one, nor `.` and `..`, which it knows by itself.
fn name<'a>(fields: &Fields<'a>, odd: Errno) -> Option<Result<&'a str, Errno>> {
    let (0, name) = fields.0.split_last()? else { return None };
    if name.len() > limits::NAME {
        return Some(Err(Errno::NAMETOOLONG));
    }
    match core::str::from_utf8(name) {
        Ok("" | "." | "..") => None,
        Ok(name) if name.contains(['/', '\0']) => None,
        Ok(name) => Some(Ok(name)),
        Err(_) => Some(Err(odd)),
    }
}

/// Reads a structure field by field; `None` when the bytes end too early.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    /// Up to and with the next NUL.
    fn string(&mut self) -> Option<Fields<'a>> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        self.take(end + 1).map(Fields)
    }

    fn u32(&mut self) -> Option<u32> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_ne_bytes(*head))
    }

    fn u64(&mut self) -> Option<u64> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_ne_bytes(*head))
    }
}
