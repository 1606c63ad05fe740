//! What the fuzzers run, and `cargo test` replays over their corpora: one function a target, any bytes in, and
//! a panic if a promise is broken. Not part of the interface.

use crate::server::{Config, Conn};
use crate::wire::{self, Rmsg, Tmsg};
use crate::{Dialect, NOTAG};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::{string::String, vec, vec::Vec};
use op::{Entry, Errno, FileKind, Op, Qid, Reply, Shape, Stat, Tag, Wall};

const DIALECTS: [Dialect; 3] = [Dialect::Plain, Dialect::L, Dialect::Uem];

/// The first byte chooses a dialect, the rest is a frame or a listing: what can be read is written back to the
/// same bytes.
pub fn decode(bytes: &[u8]) {
    let Some((choice, frame)) = bytes.split_first() else { return };
    let dialect = DIALECTS[usize::from(choice % 3)];
    let mut out = Vec::new();
    // Tfsync may lack its last field, and records are cut to what a record can hold.
    if let Ok((tag, message)) = Tmsg::decode(frame, dialect) {
        message.encode(tag, dialect, &mut out);
        let exact = !matches!(message, Tmsg::Fsync { .. } | Tmsg::Wstat { .. });
        assert!(!exact || out == frame, "{message:?} is written as it was read");
        let (again, same) = Tmsg::decode(&out, dialect).expect("what is written can be read");
        assert!((again, same.number()) == (tag, message.number()));
    }
    out.clear();
    if let Ok((tag, message)) = Rmsg::decode(frame, dialect) {
        message.encode(tag, dialect, &mut out);
        assert!(
            matches!(message, Rmsg::Stat { .. }) || out == frame,
            "{message:?} is written as it was read"
        );
        let (again, same) = Rmsg::decode(&out, dialect).expect("what is written can be read");
        assert!((again, same.number()) == (tag, message.number()));
    }
    let bounded = frame.len() + 1;
    assert!(wire::dirents(frame).take(bounded).count() < bounded || frame.is_empty());
    assert!(wire::entries(frame).take(bounded).count() < bounded || frame.is_empty());
    assert!(wire::directory(frame).take(bounded).count() < bounded || frame.is_empty());
}

/// Instructions of a byte and what they need: send a message, send raw bytes, answer something somehow, read.
/// What the server says must be answers to what was asked, once each, and never after an `Rflush`.
pub fn server(bytes: &[u8]) {
    let mut bytes = Script(bytes);
    let config = Config { msize: 4096, fids: 8, requests: 12, output: 1 << 16, eager: false };
    let mut world = World {
        conn: Conn::new(config),
        asks: VecDeque::new(),
        open: Vec::new(),
        tags: BTreeMap::new(),
        judging: true,
    };
    let version = DIALECTS[usize::from(bytes.next() % 3)].name();
    let mut hello = Vec::new();
    Tmsg::Version { msize: 4096, version }.encode(NOTAG, Dialect::Plain, &mut hello);
    let mut alive = world.send(&hello);
    world.judge();
    while alive && !bytes.0.is_empty() {
        alive = match bytes.next() % 8 {
            0..=3 => world.send(&bytes.frame()),
            4 => {
                // Whoever sends half a message may send anything: no promise about tags can be checked.
                world.judging = false;
                let count = bytes.next().into();
                world.send(bytes.take(count))
            }
            _ => {
                let (which, how) = (bytes.next(), bytes.next());
                world.answer(which.into(), how);
                true
            }
        };
        world.judge();
    }
    world.conn.hang_up(&mut world.asks);
    world.judging = false;
    for _ in 0..10_000 {
        if world.conn.is_idle() {
            return;
        }
        world.answer(0, 0);
    }
    panic!("a hung-up connection comes to rest");
}

/// The input, a piece at a time; zeros after its end.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn next(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(count.min(self.0.len()));
        self.0 = tail;
        head
    }

    /// A length, and a message of that length without its size field.
    fn frame(&mut self) -> Vec<u8> {
        let count = usize::from(self.next()).max(3);
        let mut frame = vec![0; 4];
        frame.extend_from_slice(self.take(count));
        frame.resize(count + 4, 0);
        frame[..4].copy_from_slice(&(count as u32 + 4).to_le_bytes());
        frame
    }
}

struct World {
    conn: Conn,
    asks: VecDeque<(Tag, Op)>,
    open: Vec<(Tag, Op)>,
    /// Tags that may be answered; those of flushes with what they flush.
    tags: BTreeMap<u16, Option<u16>>,
    judging: bool,
}

impl World {
    fn send(&mut self, frame: &[u8]) -> bool {
        let dialect = self.conn.dialect().unwrap_or(Dialect::Plain);
        let alive = self.conn.receive(frame, &mut self.asks).is_ok();
        if self.judging && alive {
            let flushed = match Tmsg::decode(frame, dialect) {
                Ok((_, Tmsg::Version { .. })) => {
                    self.tags.clear();
                    None
                }
                Ok((_, Tmsg::Flush { oldtag })) => Some(oldtag),
                _ => None,
            };
            self.tags.insert(wire::tag_of(frame), flushed);
        }
        self.open.extend(self.asks.drain(..));
        alive
    }

    fn answer(&mut self, which: usize, how: u8) {
        self.open.extend(self.asks.drain(..));
        if self.open.is_empty() {
            return;
        }
        let (tag, op) = self.open.remove(which % self.open.len());
        if let Op::Flush { tag: old } = op {
            self.open.retain(|(tag, _)| *tag != old);
        }
        self.conn.answer(tag, reply(&op, how), &mut self.asks);
        self.open.extend(self.asks.drain(..));
    }

    fn judge(&mut self) {
        let dialect = self.conn.dialect().unwrap_or(Dialect::Plain);
        let mut out = self.conn.output();
        while self.judging && !out.is_empty() {
            let size = out.first_chunk().map_or(0, |size| u32::from_le_bytes(*size)) as usize;
            let (frame, rest) = out.split_at_checked(size).expect("whole messages are sent");
            out = rest;
            assert!(size <= self.conn.msize() as usize, "no message is longer than agreed");
            // An answer to Tversion that was met by nothing is still one.
            let (tag, message) = Rmsg::decode(frame, dialect).expect("what is said can be read");
            let flushed = self.tags.remove(&tag).expect("only what was asked is answered, once");
            if let (Rmsg::Flush {}, Some(oldtag)) = (message, flushed) {
                self.tags.remove(&oldtag);
            }
        }
        let sent = self.conn.output().len();
        self.conn.consume(sent);
    }
}

/// A reply to an `Op`: mostly of its kind, and sometimes of any.
fn reply(op: &Op, how: u8) -> Reply {
    let kind = [FileKind::Dir, FileKind::File, FileKind::Link][usize::from(how % 3)];
    let qid = Qid { kind, version: how.into(), path: 7 };
    let stat = Stat {
        name: String::from_utf8_lossy(&vec![b'n'; usize::from(how)]).into_owned(),
        qid,
        mode: 0o777,
        uid: 0,
        gid: 0,
        user: "u".into(),
        group: "g".into(),
        size: 0,
        mtime: Wall(u64::MAX),
    };
    let shape = [Shape::Text, Shape::Stream, Shape::Spool][usize::from(how % 3)];
    let entries = (1..=u64::from(how % 40)).map(|cookie| Entry { cookie, stat: stat.clone() });
    match how {
        200..=219 => Reply::errno(Errno::AGAIN),
        220..=239 => Reply::errno(Errno::NOENT),
        240..=243 => Reply::Data(vec![0; 9000]),
        244..=247 => Reply::Done,
        248..=251 => Reply::Walked(vec![qid; 17]),
        252..=255 => Reply::Stat(stat),
        0..=199 => match op {
            Op::Attach { .. } => Reply::Attached(qid),
            Op::Walk { names, .. } => {
                Reply::Walked(vec![qid; names.len().saturating_sub((how % 5 / 4).into())])
            }
            Op::Open { .. } | Op::Create { .. } => Reply::Opened(qid, shape),
            Op::Read { count, .. } => Reply::Data(vec![how; (*count).min(how.into()) as usize]),
            Op::Write { data, .. } => Reply::Wrote(data.len() as u32),
            Op::List { .. } => Reply::Listed(entries.collect()),
            Op::Stat { .. } => Reply::Stat(stat),
            Op::ReadLink { .. } => Reply::Linked(stat.name),
            Op::Symlink { .. } => Reply::Made(qid),
            Op::SetStat { .. } | Op::Rename { .. } | Op::Remove { .. } => Reply::Done,
            Op::Clunk { .. } | Op::Flush { .. } => Reply::Done,
        },
    }
}
