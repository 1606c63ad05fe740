//! One connection of a link, inside its TLS, without IO: both ends ask and both answer.
//!
//! ```text
//!                     ┌── even types ──▶ ninep::server ──▶ Said::Asked     Lane::answer ──┐
//!   bytes ──▶ frames ─┼── odd types ───▶ ninep::client ──▶ Said::Answered  Lane::ask ─────┼──▶ frames ──▶ bytes
//!                     └── 200… ────────▶ Said::Frame                       Lane::say ─────┘
//! ```
//!
//! A [`Lane`] is fed the bytes that arrived and gives what they [`Said`]; it is told what to say, and gives whole frames to
//! send. What is said in its name (news, questions) goes out in the order in which it was said; answers take turns with
//! that, frame by frame.
//!
//! A lane is always read. While the other end does not take its answers, its further questions are held back
//! unread, and everything else is still taken in: if both ends stopped reading because neither takes its answers, neither
//! ever would.
//!
//! *Architecture invariants.* Whatever bytes come in, nothing panics and nothing grows without a bound (see `limits`). No
//! clock is in here: times come in as [`Mono`].

mod frame;
mod incoming;

pub use frame::{BEATS, FRAME, First, Frame, Frames, Hello, Kind, WHY, first, opening};

use ninep::{
    Dialect,
    client::Client,
    server::{Config, Conn},
};
use op::{Errno, Error, Mono, Op, Reply, Tag};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Of what is said here.
pub const VERSION: u32 = 1;

/// What one lane holds at most.
pub mod limits {
    /// Requests of either end that are not answered yet. 9P has 65,535 tags, and flushes need some.
    pub const REQUESTS: usize = 60_000;
    /// Fids of either end.
    pub const FIDS: usize = 262_144;
    /// Bytes of answers that wait to be sent, above which no more questions are taken.
    pub const ANSWERS: usize = 4 << 20;
    /// Bytes written that are not answered yet; one write more is refused with `EAGAIN`.
    pub const WRITES: usize = 64 << 20;
    /// Bytes of questions held back. Whoever sends more does not keep to [`WRITES`], and is broken with.
    pub const HELD: usize = WRITES + (32 << 20);
    /// Bytes of news that wait to be sent. Whoever does not take it is broken with.
    pub const NEWS: usize = 16 << 20;
}

/// What came over a lane.
#[derive(Clone, PartialEq, Debug)]
pub enum Said {
    /// What the link says for itself; not its beats.
    Frame(Frame),
    /// The other end asks; to be answered by [`Lane::answer`], unless it is flushed.
    Asked(Tag, Op),
    /// The answer to what was asked under that tag.
    Answered(Tag, Reply),
}

/// One connection of a link.
#[derive(Debug)]
pub struct Lane {
    ours: Hello,
    theirs: Option<Hello>,
    frames: Frames,
    server: Conn,
    client: Client,
    /// What was asked: by the client's tag, whose it is and how many bytes it writes; and the way back.
    asked: BTreeMap<Tag, Asked>,
    tags: BTreeMap<Tag, Tag>,
    /// Bytes of writes in `asked`.
    writes: usize,
    /// Whole frames in the order in which they were said.
    out: Vec<u8>,
    sent: usize,
    /// Hello is sent.
    greeted: bool,
    /// Questions that were not taken in yet.
    held: VecDeque<Vec<u8>>,
    held_bytes: usize,
    /// Writes of the other end, and their flushes, that are not answered yet: bytes, and what is flushed.
    serving: BTreeMap<Tag, (usize, Option<Tag>)>,
    served: usize,
    heard: Mono,
    told: Mono,
    /// Between `ask` and whoever takes what was said.
    asks: VecDeque<(Tag, Op)>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    tag: Tag,
    writes: usize,
    /// It is a flush of this.
    flushes: Option<Tag>,
}

impl Lane {
    /// A connection on which nothing was said yet; the Hello is the first thing that it says.
    pub fn new(ours: Hello, now: Mono) -> Lane {
        let config = Config {
            msize: ninep::MSIZE_MAX,
            fids: limits::FIDS,
            requests: limits::REQUESTS,
            output: limits::ANSWERS,
            eager: true,
        };
        let mut lane = Lane {
            theirs: None,
            frames: Frames::default(),
            server: Conn::new(config),
            client: Client::new(Dialect::Uem, ninep::MSIZE_MAX).with_window(limits::REQUESTS),
            asked: BTreeMap::new(),
            tags: BTreeMap::new(),
            writes: 0,
            out: Vec::new(),
            sent: 0,
            greeted: false,
            held: VecDeque::new(),
            held_bytes: 0,
            serving: BTreeMap::new(),
            served: 0,
            heard: now,
            told: now,
            asks: VecDeque::new(),
            ours: ours.clone(),
        };
        lane.say(&Frame::Hello(ours));
        lane.take_questions();
        lane
    }

    /// The other end's Hello, once it came.
    pub fn peer(&self) -> Option<&Hello> {
        self.theirs.as_ref()
    }

    /// Both ends have said who they are and what they speak. An end that is up has told the other all that this takes
    /// before it says anything else, so nothing else comes before this end is up too.
    pub fn is_up(&self) -> bool {
        let agreed = self.client.dialect().is_some() && self.server.dialect().is_some();
        self.theirs.is_some() && agreed
    }

    // ── out ────────────────────────────────────────────────────────────────────────────────

    /// Says something for the link. News that is too long for a frame is cut between its lines.
    pub fn say(&mut self, frame: &Frame) {
        let Frame::News(text) = frame else { return frame.encode(&mut self.out) };
        let mut rest = &text[..];
        while !rest.is_empty() {
            let most = rest.len().min(FRAME - 64);
            let end = match most == rest.len() {
                true => most,
                false => rest[..most].iter().rposition(|b| *b == b'\n').map_or(most, |at| at + 1),
            };
            Frame::News(rest[..end].to_vec()).encode(&mut self.out);
            rest = &rest[end..];
        }
    }

    /// Whether more waits to be said than anybody who listens would let wait.
    pub fn is_stuck(&self) -> bool {
        self.out.len() - self.sent > limits::WRITES + limits::NEWS
    }

    /// Asks the other end. What cannot be asked is answered at once, in `said`.
    pub fn ask(&mut self, tag: Tag, op: Op, said: &mut Vec<Said>) {
        let mut refuse = |cause: String| {
            said.push(Said::Answered(tag, Reply::Failed(Error::new(Errno::AGAIN, cause))));
        };
        let (mut op, mut flushes) = (op, None);
        match &mut op {
            Op::Flush { tag: given_up } => {
                let Some(&known) = self.tags.get(given_up) else {
                    return said.push(Said::Answered(tag, Reply::Done));
                };
                *given_up = known;
                flushes = Some(known);
            }
            // What gives something back is never refused.
            Op::Clunk { .. } | Op::Remove { .. } => {}
            _ if self.asked.len() >= limits::REQUESTS => {
                return refuse(format!("{} requests wait on this link", limits::REQUESTS));
            }
            Op::Write { data, .. } => {
                // A few bytes less than a mount may write at once; the rest is written by whoever is told so.
                data.truncate(self.client.max_io() as usize);
                if self.writes + data.len() > limits::WRITES {
                    let mib = limits::WRITES >> 20;
                    return refuse(format!("{mib} MiB of writes wait on this link"));
                }
            }
            Op::Attach { .. }
            | Op::Walk { .. }
            | Op::Open { .. }
            | Op::Create { .. }
            | Op::Read { .. }
            | Op::List { .. }
            | Op::Stat { .. }
            | Op::SetStat { .. }
            | Op::ReadLink { .. }
            | Op::Symlink { .. }
            | Op::Rename { .. } => {}
        }
        let writes = if let Op::Write { data, .. } = &op { data.len() } else { 0 };
        let own = self.client.request(op);
        self.writes += writes;
        self.asked.insert(own, Asked { tag, writes, flushes });
        self.tags.insert(tag, own);
        self.take_questions();
        self.take_answers(said);
    }

    /// Answers what the other end asked; appends what it asks next, if its message needs more.
    pub fn answer(&mut self, tag: Tag, reply: Reply, said: &mut Vec<Said>) {
        if let Some((bytes, given_up)) = self.serving.remove(&tag) {
            let other = given_up.and_then(|tag| self.serving.remove(&tag));
            self.served -= bytes + other.map_or(0, |(bytes, _)| bytes);
        }
        self.server.answer(tag, reply, &mut self.asks);
        self.take_asks(said);
    }

    /// Puts what the client has to send behind what was said before.
    fn take_questions(&mut self) {
        let bytes = self.client.output();
        self.out.extend_from_slice(bytes);
        let count = bytes.len();
        self.client.consume(count);
    }

    /// Whether there is something to send.
    pub fn wants_output(&self) -> bool {
        self.sent < self.out.len() || !self.server.output().is_empty()
    }

    /// Gives whole frames to `send`, until `room` bytes are given or nothing is left.
    pub fn pour(&mut self, mut room: usize, now: Mono, mut send: impl FnMut(&[u8])) {
        while room > 0 && self.wants_output() {
            self.told = now;
            // The answer to the other end's Tversion goes before questions of ours; Hello goes before everything.
            if let Some(frame) = next(self.server.output()).filter(|_| self.greeted) {
                send(frame);
                room = room.saturating_sub(frame.len());
                let count = frame.len();
                self.server.consume(count);
            }
            if let Some(frame) = next(&self.out[self.sent..]) {
                send(frame);
                room = room.saturating_sub(frame.len());
                self.sent += frame.len();
                self.greeted = true;
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
            self.out.shrink_to(64 << 10);
        } else if self.sent > 64 << 10 && self.sent > self.out.len() / 2 {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    // ── time ───────────────────────────────────────────────────────────────────────────────

    /// To be called once a beat: says that this end is there, if nothing says so anyhow.
    pub fn beat(&mut self, now: Mono) {
        if !self.wants_output() && now.since(self.told) >= self.ours.beat / 2 {
            self.say(&Frame::Beat);
        }
    }

    /// How long a silence of the other end is its end: two beats.
    pub fn silence(&self) -> Duration {
        let theirs = self.theirs.as_ref().map_or(self.ours.beat, |hello| hello.beat);
        theirs.max(self.ours.beat) * 2
    }

    /// When the other end will have been silent for two beats, if nothing is heard until then.
    pub fn silent_at(&self) -> Mono {
        self.heard + self.silence()
    }
}

/// The frame that begins here: what is to be sent is whole frames.
fn next(bytes: &[u8]) -> Option<&[u8]> {
    let size = frame::size(bytes).ok().flatten()?;
    bytes.get(..size)
}
