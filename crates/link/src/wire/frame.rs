//! Frames: a stream of bytes, cut anywhere, to whole frames and back; and what the link's own ones say.
//!
//! `size[4] type[1] tag[2] …`, as in 9P, little endian; `size` counts itself. Types from 200 on are the link's own and
//! have the tag `0xffff`.

use ninep::NOTAG;
use std::time::Duration;

/// Size, type and tag.
const HEADER: usize = 7;

/// The largest frame, in bytes: one of 9P.
pub const FRAME: usize = ninep::MSIZE_MAX as usize;
/// Most bytes of what a `Join` says, and a `Grant`: theirs, and the number that they have between nodes.
const JOIN_BYTES: usize = crate::identity::JOIN_BYTES + 8;
const GRANT_BYTES: usize = crate::identity::GRANT_BYTES + 8;
/// Most bytes of the first frame of a connection.
const OPENING: usize = 4096;
/// Most bytes of the sentence of a `Bye`; a longer one is cut.
pub const WHY: usize = 1024;
/// Shortest and longest beat that is agreed to.
pub const BEATS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

/// Which of a link's connections this is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// The first: what is short, and all that the link says for itself.
    Control,
    /// Streams of bytes.
    Bulk,
}

/// The first frame of each end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Of this protocol: [`VERSION`](super::VERSION).
    pub version: u32,
    /// Which connection of the link this is.
    pub kind: Kind,
    /// Numbers this life of the node.
    pub epoch: u64,
    /// The sender says something at least this often.
    pub beat: Duration,
    /// The sender takes the other for its parent.
    pub above: bool,
}

/// What a link says for itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Who begins.
    Hello(Hello),
    /// Nothing else was said for a beat.
    Beat,
    /// Lines that one kernel tells the other.
    News(Vec<u8>),
    /// Please dial that connection.
    Want(Kind),
    /// The link is given up on purpose.
    Bye {
        /// For good.
        left: bool,
        /// A clause: "it was stopped".
        why: String,
    },
    /// From who has no certificate yet. Between nodes, the first eight bytes are the sender's number for it.
    Join(Vec<u8>),
    /// Its answer, numbered likewise.
    Grant(Vec<u8>),
    /// The authority's newest list of what it has revoked.
    Revoked(Vec<u8>),
}

const HELLO: u8 = 200;
const BEAT: u8 = 201;
const NEWS: u8 = 202;
const WANT: u8 = 203;
const BYE: u8 = 204;
const JOIN: u8 = 205;
const GRANTED: u8 = 206;
const REVOKED: u8 = 207;

/// The first of the types that are the link's own.
pub(super) const OWN: u8 = HELLO;

/// What a connection is, by its first frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum First {
    /// A node's, for a link.
    Link,
    /// Of somebody who wants a certificate.
    Join,
    /// Of a client that speaks 9P; or garbage, as the server will find.
    Ninep,
}

/// What a connection is whose first bytes are these; `None` until enough of them are there.
pub fn first(bytes: &[u8]) -> Option<First> {
    bytes.get(4).map(|ty| match *ty {
        HELLO => First::Link,
        JOIN => First::Join,
        _ => First::Ninep,
    })
}

/// The first frame of a connection, once it is whole, and its length. Only what [`first`] takes for the link's own.
///
/// # Errors
/// It is none, or says nothing that can be understood.
pub fn opening(bytes: &[u8]) -> Result<Option<(Frame, usize)>, String> {
    match size(bytes)? {
        Some(size) if size > OPENING => Err(format!("its first frame has {size} bytes")),
        Some(size) if size <= bytes.len() => Frame::decode(&bytes[..size]).map(|frame| Some((frame, size))),
        Some(_) | None => Ok(None),
    }
}

impl Frame {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let header = |out: &mut Vec<u8>, ty: u8| {
            out.extend([0; 4]);
            out.push(ty);
            out.extend(NOTAG.to_le_bytes());
        };
        match self {
            Frame::Hello(hello) => {
                header(out, HELLO);
                out.extend(hello.version.to_le_bytes());
                out.push(hello.kind as u8);
                out.extend(hello.epoch.to_le_bytes());
                out.extend(u32::try_from(hello.beat.as_millis()).unwrap_or(u32::MAX).to_le_bytes());
                out.push(hello.above.into());
            }
            Frame::Beat => header(out, BEAT),
            Frame::News(text) => {
                header(out, NEWS);
                out.extend(text);
            }
            Frame::Want(kind) => {
                header(out, WANT);
                out.push(*kind as u8);
            }
            Frame::Bye { left, why } => {
                header(out, BYE);
                let why = cut(why, WHY);
                out.push((*left).into());
                out.extend((why.len() as u16).to_le_bytes());
                out.extend(why.as_bytes());
            }
            Frame::Join(body) => {
                header(out, JOIN);
                out.extend(body);
            }
            Frame::Grant(body) => {
                header(out, GRANTED);
                out.extend(body);
            }
            Frame::Revoked(der) => {
                header(out, REVOKED);
                out.extend(der);
            }
        }
        let size = u32::try_from(out.len() - start).expect("what a link says of itself is bounded");
        out[start..start + 4].copy_from_slice(&size.to_le_bytes());
    }

    /// Reads a whole frame whose type is one of the link's own.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn decode(frame: &[u8]) -> Result<Frame, String> {
        let Some((header, body)) = frame.split_at_checked(HEADER) else {
            return Err("a frame is cut short".into());
        };
        if header[5..7] != NOTAG.to_le_bytes() {
            return Err("a frame of the link's own has a tag".into());
        }
        let bounded = |most: usize| match body.len() <= most {
            true => Ok(body.to_vec()),
            false => {
                Err(format!("a frame of type {} has {} bytes, and may have {most}", header[4], body.len()))
            }
        };
        match header[4] {
            HELLO => hello(body).map(Frame::Hello),
            BEAT => bounded(0).map(|_| Frame::Beat),
            NEWS => Ok(Frame::News(body.to_vec())),
            WANT => match *body {
                [lane] => Ok(Frame::Want(kind(lane)?)),
                _ => Err("a Want of the wrong length".into()),
            },
            BYE => bye(body),
            JOIN => bounded(JOIN_BYTES).map(Frame::Join),
            GRANTED => bounded(GRANT_BYTES).map(Frame::Grant),
            REVOKED => Ok(Frame::Revoked(body.to_vec())),
            ty => Err(format!("a frame has type {ty}, which means nothing here")),
        }
    }
}

fn kind(byte: u8) -> Result<Kind, String> {
    match byte {
        0 => Ok(Kind::Control),
        1 => Ok(Kind::Bulk),
        _ => Err(format!("a link has no lane {byte}")),
    }
}

/// What comes after the fields that we know is of a later version, and means nothing to us.
fn hello(body: &[u8]) -> Result<Hello, String> {
    let short = || "a Hello is cut short".to_string();
    let (version, rest) = body.split_first_chunk().ok_or_else(short)?;
    let (lane, rest) = rest.split_first().ok_or_else(short)?;
    let (epoch, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (beat, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let above = *rest.first().ok_or_else(short)? != 0;
    let beat = Duration::from_millis(u32::from_le_bytes(*beat).into());
    if !BEATS.contains(&beat) {
        return Err(format!("a beat of {beat:?} is not agreed to"));
    }
    Ok(Hello {
        version: u32::from_le_bytes(*version),
        kind: kind(*lane)?,
        epoch: u64::from_le_bytes(*epoch),
        beat,
        above,
    })
}

fn bye(body: &[u8]) -> Result<Frame, String> {
    let bad = || "a Bye of the wrong length".to_string();
    let (left, rest) = body.split_first().ok_or_else(bad)?;
    let (len, why) = rest.split_first_chunk().ok_or_else(bad)?;
    if usize::from(u16::from_le_bytes(*len)) != why.len() || why.len() > WHY {
        return Err(bad());
    }
    // It will stand in files and logs, a line each.
    let why = String::from_utf8_lossy(why).replace(char::is_control, " ");
    Ok(Frame::Bye { left: *left != 0, why })
}

/// The longest beginning of a text that is no longer than `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Bytes that came and are not a whole frame yet. Never longer than one frame: memory is taken as bytes arrive, not
/// as a size field claims.
#[derive(Debug, Default)]
pub struct Frames {
    partial: Vec<u8>,
}

impl Frames {
    /// Gives each whole frame of what came before and `bytes` to `each`.
    ///
    /// # Errors
    /// What `each` says, or that a size is out of bounds.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        while !self.partial.is_empty() {
            let whole = size(&self.partial)?.unwrap_or(4);
            let missing = (whole - self.partial.len()).min(bytes.len());
            let (head, tail) = bytes.split_at(missing);
            self.partial.extend_from_slice(head);
            bytes = tail;
            if size(&self.partial)? == Some(self.partial.len()) {
                each(&self.partial)?;
                self.partial.clear();
                // A large frame is no reason to hold its memory for an idle link.
                self.partial.shrink_to(4096);
            } else if bytes.is_empty() {
                return Ok(());
            }
        }
        // The usual case copies nothing: whole frames are read where they lie.
        while let Some(whole) = size(bytes)?
            && whole <= bytes.len()
        {
            let (frame, tail) = bytes.split_at(whole);
            bytes = tail;
            each(frame)?;
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

/// The size of the frame that begins here, if four bytes of it are there.
pub(super) fn size(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(field) = bytes.first_chunk::<4>() else { return Ok(None) };
    let size = u32::from_le_bytes(*field) as usize;
    match (HEADER..=FRAME).contains(&size) {
        true => Ok(Some(size)),
        false => Err(format!("a frame of {size} bytes, where {HEADER} to {FRAME} are allowed")),
    }
}
