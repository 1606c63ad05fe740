//! What a file is, as messages tell it: stat records (9P2000, ours) and directory entries (9P2000.L, ours).

use super::field::{Field, Get, Malformed, Qid};
use super::{DMDIR, DMSYMLINK, S_IFDIR};
use crate::Dialect;
use alloc::{string::String, vec::Vec};
use op::{FileKind, Wall};

/// A stat record: stat(5). In a `Twstat`, a number of all ones or an empty string leaves a field as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat<'a> {
    /// For kernels.
    pub ty: u16,
    /// For kernels.
    pub dev: u32,
    /// Identity.
    pub qid: Qid,
    /// `DM…` bits and permissions.
    pub mode: u32,
    /// Last read, in seconds since 1970.
    pub atime: u32,
    /// Last change, in seconds since 1970.
    pub mtime: u32,
    /// In bytes.
    pub length: u64,
    /// Last name.
    pub name: &'a str,
    /// Owner.
    pub uid: &'a str,
    /// Group.
    pub gid: &'a str,
    /// Who changed it last.
    pub muid: &'a str,
    /// Owner's number; in our dialect, else `u32::MAX`.
    pub n_uid: u32,
    /// Group's number; in our dialect, else `u32::MAX`.
    pub n_gid: u32,
    /// Nanoseconds of the last change; in our dialect, else 0.
    pub mtime_ns: u32,
}

impl<'a> Stat<'a> {
    /// The record of a file.
    pub fn new(stat: &'a op::Stat, dialect: Dialect) -> Stat<'a> {
        let qid = Qid::new(stat.qid, dialect);
        let secs = u32::try_from(stat.mtime.secs()).unwrap_or(u32::MAX - 1);
        Stat {
            ty: 0,
            dev: 0,
            qid,
            mode: stat.mode & 0o777 | u32::from(qid.ty) << 24,
            atime: secs,
            mtime: secs,
            length: if stat.qid.kind == FileKind::Dir { 0 } else { stat.size },
            name: &stat.name,
            uid: &stat.user,
            gid: &stat.group,
            muid: &stat.user,
            n_uid: stat.uid,
            n_gid: stat.gid,
            mtime_ns: (stat.mtime.0 % 1_000_000_000) as u32,
        }
    }

    /// What it says of the file. In 9P2000 there are no numbers of owner and group: they are `u32::MAX`.
    pub fn to_op(&self) -> op::Stat {
        let mut qid = op::Qid::from(self.qid);
        if self.mode & DMDIR != 0 {
            qid.kind = FileKind::Dir;
        } else if self.mode & DMSYMLINK != 0 {
            qid.kind = FileKind::Link;
        }
        op::Stat {
            name: String::from(self.name),
            qid,
            mode: self.mode & 0o777,
            uid: self.n_uid,
            gid: self.n_gid,
            user: self.uid.into(),
            group: self.gid.into(),
            size: self.length,
            mtime: Wall(
                (u64::from(self.mtime) * 1_000_000_000)
                    .saturating_add((self.mtime_ns % 1_000_000_000).into()),
            ),
        }
    }

    /// Of a `Twstat` that changes nothing.
    pub const SAME: Stat<'static> = Stat {
        ty: u16::MAX,
        dev: u32::MAX,
        qid: Qid { ty: u8::MAX, version: u32::MAX, path: u64::MAX },
        mode: u32::MAX,
        atime: u32::MAX,
        mtime: u32::MAX,
        length: u64::MAX,
        name: "",
        uid: "",
        gid: "",
        muid: "",
        n_uid: u32::MAX,
        n_gid: u32::MAX,
        mtime_ns: 0,
    };
}

/// Reads one record: `size[2]` and its fields.
fn get_record<'a>(from: &mut Get<'a>) -> Result<Stat<'a>, Malformed> {
    let size: u16 = from.get()?;
    let mut from = Get { bytes: from.take(size.into())?, dialect: from.dialect };
    let ours = from.dialect == Dialect::Uem;
    let stat = Stat {
        ty: from.get()?,
        dev: from.get()?,
        qid: from.get()?,
        mode: from.get()?,
        atime: from.get()?,
        mtime: from.get()?,
        length: from.get()?,
        name: from.get()?,
        uid: from.get()?,
        gid: from.get()?,
        muid: from.get()?,
        n_uid: if ours { from.get()? } else { u32::MAX },
        n_gid: if ours { from.get()? } else { u32::MAX },
        mtime_ns: if ours { from.get()? } else { 0 },
    };
    from.end()?;
    Ok(stat)
}

/// Appends one record: `size[2]` and its fields.
pub(crate) fn put_record(stat: &Stat<'_>, out: &mut Vec<u8>, dialect: Dialect) {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    stat.ty.put(out, dialect);
    stat.dev.put(out, dialect);
    stat.qid.put(out, dialect);
    stat.mode.put(out, dialect);
    stat.atime.put(out, dialect);
    stat.mtime.put(out, dialect);
    stat.length.put(out, dialect);
    for text in [stat.name, stat.uid, stat.gid, stat.muid] {
        // Four of these fit the record's own length, whatever they are.
        let mut end = text.len().min(8 << 10);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        (&text[..end]).put(out, dialect);
    }
    if dialect == Dialect::Uem {
        stat.n_uid.put(out, dialect);
        stat.n_gid.put(out, dialect);
        stat.mtime_ns.put(out, dialect);
    }
    let size = (out.len() - start - 2) as u16;
    out[start..start + 2].copy_from_slice(&size.to_le_bytes());
}

/// In `Rstat` and `Twstat` a record has a second length before it.
impl<'a> Field<'a> for Stat<'a> {
    fn get(from: &mut Get<'a>) -> Result<Self, Malformed> {
        let size: u16 = from.get()?;
        let mut from = Get { bytes: from.take(size.into())?, dialect: from.dialect };
        let stat = get_record(&mut from)?;
        from.end()?;
        Ok(stat)
    }
    fn put(&self, out: &mut Vec<u8>, dialect: Dialect) {
        let start = out.len();
        out.extend_from_slice(&[0; 2]);
        put_record(self, out, dialect);
        let size = (out.len() - start - 2) as u16;
        out[start..start + 2].copy_from_slice(&size.to_le_bytes());
    }
}

/// An entry of an `Rreaddir` in 9P2000.L: readdir in diod's `protocol.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dirent<'a> {
    /// Identity.
    pub qid: Qid,
    /// Where to go on after it.
    pub offset: u64,
    /// As in readdir(3): 4 directory, 8 file, 10 link.
    pub ty: u8,
    /// Name.
    pub name: &'a str,
}

/// Appends an entry as 9P2000.L has it.
pub(crate) fn put_dirent(entry: &op::Entry, out: &mut Vec<u8>) {
    let ty: u8 = match entry.stat.qid.kind {
        FileKind::Dir => 4,
        FileKind::File => 8,
        FileKind::Link => 10,
    };
    Qid::new(entry.stat.qid, Dialect::L).put(out, Dialect::L);
    entry.cookie.put(out, Dialect::L);
    ty.put(out, Dialect::L);
    entry.stat.name.as_str().put(out, Dialect::L);
}

/// Appends an entry as 9P2000.uem has it.
pub(crate) fn put_entry(entry: &op::Entry, out: &mut Vec<u8>) {
    entry.cookie.put(out, Dialect::Uem);
    put_record(&Stat::new(&entry.stat, Dialect::Uem), out, Dialect::Uem);
}

/// The entries of an `Rreaddir` of 9P2000.L, in turn; one that is malformed is the last.
pub fn dirents(data: &[u8]) -> impl Iterator<Item = Result<Dirent<'_>, Malformed>> {
    each(data, Dialect::L, |from| {
        Ok(Dirent { qid: from.get()?, offset: from.get()?, ty: from.get()?, name: from.get()? })
    })
}

/// The entries of an `Rreaddir` of 9P2000.uem, in turn: cookie and record; one that is malformed is the last.
pub fn entries(data: &[u8]) -> impl Iterator<Item = Result<(u64, Stat<'_>), Malformed>> {
    each(data, Dialect::Uem, |from| Ok((from.get()?, get_record(from)?)))
}

/// The records of a directory read in 9P2000, in turn: where the next one begins, counted in bytes from the
/// first, and the record; one that is malformed is the last.
pub fn directory(data: &[u8]) -> impl Iterator<Item = Result<(u64, Stat<'_>), Malformed>> {
    let whole = data.len();
    each(data, Dialect::Plain, move |from| {
        let stat = get_record(from)?;
        Ok(((whole - from.bytes.len()) as u64, stat))
    })
}

/// Reads until the end or the first that is malformed.
fn each<'a, T>(
    bytes: &'a [u8],
    dialect: Dialect,
    mut read: impl FnMut(&mut Get<'a>) -> Result<T, Malformed>,
) -> impl Iterator<Item = Result<T, Malformed>> {
    let mut from = Get { bytes, dialect };
    core::iter::from_fn(move || {
        if from.bytes.is_empty() {
            return None;
        }
        let item = read(&mut from);
        if item.is_err() {
            from.bytes = &[];
        }
        Some(item)
    })
}

/// The kind of file that a Linux mode asks to be made: a directory or a file.
pub(crate) fn is_dir_mode(mode: u32) -> bool {
    mode & super::S_IFMT == S_IFDIR
}
