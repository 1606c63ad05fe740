//! Fields: how numbers, strings, data, names and qids lie in a message. Integers are little-endian; a string
//! is its length in two bytes and UTF-8 without a NUL at the end; data is its length in four bytes and bytes.

use crate::{Dialect, MAXWELEM};
use alloc::{string::String, vec::Vec};
use core::{fmt, str};
use op::FileKind;

/// Why bytes are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// The message ends inside a field.
    Short,
    /// Bytes are left after the last field, or a length inside does not fit its surroundings.
    Long,
    /// More names or qids than a walk may have.
    Many,
    /// A string is not UTF-8. The frame is whole all the same, so a server answers this with an error.
    Utf8,
    /// The dialect has no such message. As with `Utf8`, answer an error.
    Unknown(u8),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Short => f.write_str("a message ends inside a field"),
            Malformed::Long => f.write_str("a message is longer than its fields"),
            Malformed::Many => write!(f, "a walk has more than {MAXWELEM} names"),
            Malformed::Utf8 => f.write_str("a string is not UTF-8"),
            Malformed::Unknown(number) => write!(f, "this dialect has no message of type {number}"),
        }
    }
}

impl core::error::Error for Malformed {}

/// Bytes that are being read, and the dialect that says how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Get<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) dialect: Dialect,
}

impl<'a> Get<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.bytes.split_at_checked(count).ok_or(Malformed::Short)?;
        self.bytes = tail;
        Ok(head)
    }

    pub(crate) fn get<T: Field<'a>>(&mut self) -> Result<T, Malformed> {
        T::get(self)
    }

    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Malformed::Long) }
    }
}

/// Something that stands in a message.
pub(crate) trait Field<'a>: Sized {
    fn get(from: &mut Get<'a>) -> Result<Self, Malformed>;
    fn put(&self, out: &mut Vec<u8>, dialect: Dialect);
}

macro_rules! integers {
    ($($int:ty)*) => {$(
        impl Field<'_> for $int {
            fn get(from: &mut Get<'_>) -> Result<Self, Malformed> {
                let (head, tail) = from.bytes.split_first_chunk().ok_or(Malformed::Short)?;
                from.bytes = tail;
                Ok(<$int>::from_le_bytes(*head))
            }
            fn put(&self, out: &mut Vec<u8>, _: Dialect) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}
integers!(u8 u16 u32 u64);

impl<'a> Field<'a> for &'a str {
    fn get(from: &mut Get<'a>) -> Result<Self, Malformed> {
        let len: u16 = from.get()?;
        str::from_utf8(from.take(len.into())?).map_err(|_| Malformed::Utf8)
    }
    fn put(&self, out: &mut Vec<u8>, dialect: Dialect) {
        // What cannot be said in 16 bits of length is cut, so that the message stays one: callers that
        // must not lose a byte look at the length first.
        let mut end = self.len().min(u16::MAX.into());
        while !self.is_char_boundary(end) {
            end -= 1;
        }
        (end as u16).put(out, dialect);
        out.extend_from_slice(&self.as_bytes()[..end]);
    }
}

impl<'a> Field<'a> for &'a [u8] {
    fn get(from: &mut Get<'a>) -> Result<Self, Malformed> {
        let len: u32 = from.get()?;
        from.take(usize::try_from(len).map_err(|_| Malformed::Short)?)
    }
    fn put(&self, out: &mut Vec<u8>, dialect: Dialect) {
        (self.len() as u32).put(out, dialect);
        out.extend_from_slice(self);
    }
}

/// A qid as it stands on the wire; [`op::Qid`] keeps of `ty` what matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Qid {
    /// The upper byte of a mode: 0x80 directory, 0x40 append only, 0x02 symbolic link, ….
    pub ty: u8,
    /// As in [`op::Qid`].
    pub version: u32,
    /// As in [`op::Qid`].
    pub path: u64,
}

impl Qid {
    /// The wire's qid for ours. 9P2000 knows no links: there they are files.
    pub fn new(qid: op::Qid, dialect: Dialect) -> Qid {
        let ty = match qid.kind {
            FileKind::Dir => 0x80,
            FileKind::File => 0,
            FileKind::Link if dialect.is_linux() => 0x02,
            FileKind::Link => 0,
        };
        Qid { ty, version: qid.version, path: qid.path }
    }
}

impl From<Qid> for op::Qid {
    fn from(qid: Qid) -> op::Qid {
        let kind = match qid.ty {
            ty if ty & 0x80 != 0 => FileKind::Dir,
            ty if ty & 0x02 != 0 => FileKind::Link,
            _ => FileKind::File,
        };
        op::Qid { kind, version: qid.version, path: qid.path }
    }
}

impl Field<'_> for Qid {
    fn get(from: &mut Get<'_>) -> Result<Self, Malformed> {
        Ok(Qid { ty: from.get()?, version: from.get()?, path: from.get()? })
    }
    fn put(&self, out: &mut Vec<u8>, dialect: Dialect) {
        self.ty.put(out, dialect);
        self.version.put(out, dialect);
        self.path.put(out, dialect);
    }
}

/// The names of a `Twalk`: as they were read, or to be written. At most [`MAXWELEM`](crate::MAXWELEM).
#[derive(Clone, Copy, Debug)]
pub enum Names<'a> {
    /// Read: strings one after another, already found whole.
    Read(&'a [u8]),
    /// To write.
    Write(&'a [String]),
}

impl<'a> Names<'a> {
    /// Each in turn.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let (bytes, list): (&[u8], &[String]) = match self {
            Names::Read(bytes) => (bytes, &[]),
            Names::Write(list) => (&[], list),
        };
        let mut get = Get { bytes, dialect: Dialect::Plain };
        core::iter::from_fn(move || get.get().ok()).chain(list.iter().map(String::as_str))
    }
}

impl PartialEq for Names<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a> Field<'a> for Names<'a> {
    fn get(from: &mut Get<'a>) -> Result<Self, Malformed> {
        let count: u16 = from.get()?;
        if usize::from(count) > MAXWELEM {
            return Err(Malformed::Many);
        }
        let start = from.bytes;
        for _ in 0..count {
            from.get::<&str>()?;
        }
        Ok(Names::Read(&start[..start.len() - from.bytes.len()]))
    }
    fn put(&self, out: &mut Vec<u8>, dialect: Dialect) {
        (self.iter().count() as u16).put(out, dialect);
        self.iter().for_each(|name| name.put(out, dialect));
    }
}

/// The qids of an `Rwalk`: as they were read, or to be written. At most [`MAXWELEM`](crate::MAXWELEM).
#[derive(Clone, Copy, Debug)]
pub enum Qids<'a> {
    /// Read: 13 bytes each, already found whole.
    Read(&'a [u8]),
    /// To write.
    Write(&'a [op::Qid]),
}

impl<'a> Qids<'a> {
    /// Each in turn.
    pub fn iter(self, dialect: Dialect) -> impl Iterator<Item = Qid> + 'a {
        let (bytes, list): (&[u8], &[op::Qid]) = match self {
            Qids::Read(bytes) => (bytes, &[]),
            Qids::Write(list) => (&[], list),
        };
        let mut get = Get { bytes, dialect };
        core::iter::from_fn(move || get.get().ok()).chain(list.iter().map(move |qid| Qid::new(*qid, dialect)))
    }
}

impl PartialEq for Qids<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter(Dialect::L).eq(other.iter(Dialect::L))
    }
}

impl<'a> Field<'a> for Qids<'a> {
    fn get(from: &mut Get<'a>) -> Result<Self, Malformed> {
        let count: u16 = from.get()?;
        if usize::from(count) > MAXWELEM {
            return Err(Malformed::Many);
        }
        Ok(Qids::Read(from.take(usize::from(count) * 13)?))
    }
    fn put(&self, out: &mut Vec<u8>, dialect: Dialect) {
        (self.iter(dialect).count() as u16).put(out, dialect);
        self.iter(dialect).for_each(|qid| qid.put(out, dialect));
    }
}

/// Who attaches, as a number: in 9P2000.L and ours; `u32::MAX` is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NUname(pub u32);

impl Field<'_> for NUname {
    fn get(from: &mut Get<'_>) -> Result<Self, Malformed> {
        Ok(NUname(if from.dialect.is_linux() { from.get()? } else { u32::MAX }))
    }
    fn put(&self, out: &mut Vec<u8>, dialect: Dialect) {
        if dialect.is_linux() {
            self.0.put(out, dialect);
        }
    }
}

/// The sentence of an `Rlerror`: in our dialect; else empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cause<'a>(pub &'a str);

impl<'a> Field<'a> for Cause<'a> {
    fn get(from: &mut Get<'a>) -> Result<Self, Malformed> {
        Ok(Cause(if from.dialect == Dialect::Uem { from.get()? } else { "" }))
    }
    fn put(&self, out: &mut Vec<u8>, dialect: Dialect) {
        if dialect == Dialect::Uem {
            self.0.put(out, dialect);
        }
    }
}

/// An [`op::Shape`] in an `Rlopen`: in our dialect; else text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShapeCode(pub u8);

impl Field<'_> for ShapeCode {
    fn get(from: &mut Get<'_>) -> Result<Self, Malformed> {
        Ok(ShapeCode(if from.dialect == Dialect::Uem { from.get()? } else { 0 }))
    }
    fn put(&self, out: &mut Vec<u8>, dialect: Dialect) {
        if dialect == Dialect::Uem {
            self.0.put(out, dialect);
        }
    }
}

/// The last field of `Trenameat`: flags of renameat2(2), in our dialect; else none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RenameFlags(pub u32);

impl Field<'_> for RenameFlags {
    fn get(from: &mut Get<'_>) -> Result<Self, Malformed> {
        Ok(RenameFlags(if from.dialect == Dialect::Uem { from.get()? } else { 0 }))
    }
    fn put(&self, out: &mut Vec<u8>, dialect: Dialect) {
        if dialect == Dialect::Uem {
            self.0.put(out, dialect);
        }
    }
}

/// The last field of `Tfsync`, which Linux sends and the first description of the protocol did not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataSync(pub u32);

impl Field<'_> for DataSync {
    fn get(from: &mut Get<'_>) -> Result<Self, Malformed> {
        Ok(DataSync(if from.bytes.is_empty() { 0 } else { from.get()? }))
    }
    fn put(&self, out: &mut Vec<u8>, dialect: Dialect) {
        self.0.put(out, dialect);
    }
}
