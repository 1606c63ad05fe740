//! The client's side of one connection: [`Op`]s in, bytes out; bytes in, [`Reply`]s out.
//!
//! ```text
//!   Tversion ──▶ agreed ───────────────────────────────▶ what waited is sent, in one flight
//!      ▲  │ unknown: a lesser dialect
//!      └──┘
//!   request ──▶ waiting ──▶ in flight ──▶ answered
//!                             │ flush ──▶ answered, then the flush is; or the flush is, and nothing else
//! ```
//!
//! In 9P2000.uem nothing waits for an answer before the next request is sent: walk, open, read and clunk leave
//! together, and if the walk fails so do the others. Other servers may run messages in any order, so there what
//! makes, opens or clunks a fid waits until what was asked about that fid before is answered or flushed; requests
//! about different fids still leave together. Beyond that only the version is waited for, and a place in the
//! window ([`Client::with_window`]).
//!
//! What a dialect can't say is answered `Failed` at once. What it does not tell is filled in: in 9P2000.L a
//! `Stat` has no name and names owner and group by number, and the `stat` of an `Entry` has only name, qid and
//! kind; in 9P2000 uid and gid are `u32::MAX`; in both the `Shape` is always `Text`. 9P2000.uem loses nothing.
//! In 9P2000 an errno is guessed from the sentence (`EIO` if it says nothing known).

mod message;
mod order;
mod reply;

use crate::frame::{Broken, Inbox, Outbox};
use crate::slab::Slab;
use crate::wire::{Rmsg, Tmsg, tag_of};
use crate::{Dialect, IOHDRSZ, MSIZE_MAX, MSIZE_MIN, NOFID, NOTAG};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::{format, string::String, vec::Vec};
use op::{Access, Entry, Errno, Error, Fid, Op, Reply, Tag};
use order::{NO_USES, Uses};

/// One connection with a server.
#[derive(Debug)]
pub struct Client {
    /// What the `Tversion` under way asks for; then what is spoken.
    dialect: Dialect,
    agreed: bool,
    closed: bool,
    msize: u32,
    window: usize,
    user: (String, u32),
    inbox: Inbox,
    out: Outbox,
    /// Not sent yet, in order.
    waiting: VecDeque<(Tag, Op)>,
    /// Sent; the row's number is the 9P tag.
    flights: Slab<Flight>,
    ready: VecDeque<(Tag, Reply)>,
    last_tag: u64,
    last_fid: u32,
    /// Fids that the server may know.
    bound: BTreeSet<u32>,
    /// 9P2000: what a directory read brought beyond what was asked for.
    listings: BTreeMap<u32, Listing>,
}

/// A message that is not answered, or whose tag can't be used again yet.
#[derive(Debug)]
struct Flight {
    /// Whom to answer; `None` for our own, and once it is answered.
    tag: Option<Tag>,
    kind: Kind,
    uses: Uses,
    /// `Tflush`es of it under way: until they are answered, so long its tag is taken.
    flushes: usize,
}

/// What an answer will mean.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Attach {
        fid: u32,
    },
    Walk {
        newfid: Option<u32>,
        names: usize,
    },
    Open,
    Read {
        count: u32,
    },
    Write {
        count: u32,
    },
    List {
        fid: u32,
        cookie: u64,
        count: u32,
    },
    Stat,
    SetStat,
    ReadLink,
    Symlink,
    Rename,
    /// `Tclunk` and `Tremove`.
    Leave {
        fid: u32,
    },
    Flush {
        old: u16,
    },
    /// Answered, or given up, while a flush of it is under way.
    Over,
}

/// The rest of a directory read.
#[derive(Debug)]
struct Listing {
    /// The cookie that goes on here.
    from: u64,
    entries: VecDeque<Entry>,
}

impl Client {
    /// Begins with `Tversion`, which is in [`output`](Client::output) at once. If the server does not know the
    /// dialect wished for, the lesser ones are tried. `msize` is clamped to [`MSIZE_MIN`]..[`MSIZE_MAX`].
    pub fn new(wish: Dialect, msize: u32) -> Client {
        let mut client = Client {
            dialect: wish,
            agreed: false,
            closed: false,
            msize: msize.clamp(MSIZE_MIN, MSIZE_MAX),
            window: 1000,
            user: (String::new(), u32::MAX),
            inbox: Inbox::default(),
            out: Outbox::default(),
            waiting: VecDeque::new(),
            flights: Slab::default(),
            ready: VecDeque::new(),
            last_tag: 0,
            last_fid: 0,
            bound: BTreeSet::new(),
            listings: BTreeMap::new(),
        };
        client.ask_version();
        client
    }

    /// Says at `Attach` who asks, by name and (9P2000.L, 9P2000.uem) by number.
    #[must_use]
    pub fn with_user(mut self, uname: &str, n_uname: Option<u32>) -> Client {
        self.user = (String::from(uname), n_uname.unwrap_or(u32::MAX));
        self
    }

    /// At most this many requests in flight (1000 unless told otherwise, at most 60,000); flushes do not count.
    /// It must be no more than the server allows.
    #[must_use]
    pub fn with_window(mut self, requests: usize) -> Client {
        self.window = requests.clamp(1, 60_000);
        self
    }

    /// Asks. The answer comes from [`next_reply`](Client::next_reply) under this tag.
    ///
    /// Reads bring at most [`max_io`](Client::max_io) bytes, writes of more fail with `EINVAL`, and a walk has at
    /// most [`MAXWELEM`](crate::MAXWELEM) names. An `Op::Flush` is answered `Done`; what it gave up may be
    /// answered before that, and never after.
    pub fn request(&mut self, op: Op) -> Tag {
        self.last_tag += 1;
        let tag = Tag(self.last_tag);
        if self.closed {
            self.ready.push_back((tag, Reply::Failed(Error::new(Errno::PIPE, "the connection is closed"))));
            return tag;
        }
        if let Op::Attach { fid, .. } | Op::Walk { newfid: fid, .. } = &op {
            self.bound.insert(fid.0);
        }
        if let Op::Flush { tag: old } = op {
            self.flush(tag, old);
        } else {
            self.waiting.push_back((tag, op));
            self.send_waiting();
        }
        tag
    }

    /// Asks for the first bytes of a file, in one flight where the dialect allows it: walk, open, read, clunk; their tags in that order.
    pub fn read_path(&mut self, root: Fid, names: Vec<String>, count: u32) -> [Tag; 4] {
        let fid = self.new_fid();
        let access = Access { read: true, ..Access::default() };
        [
            self.request(Op::Walk { fid: root, newfid: fid, names }),
            self.request(Op::Open { fid, access }),
            self.request(Op::Read { fid, offset: 0, count, wait: true }),
            self.request(Op::Clunk { fid }),
        ]
    }

    /// A fid that is not in use, and was not for a long time.
    pub fn new_fid(&mut self) -> Fid {
        loop {
            self.last_fid = self.last_fid.wrapping_add(1);
            if self.last_fid != NOFID && !self.bound.contains(&self.last_fid) {
                return Fid(self.last_fid);
            }
        }
    }

    /// Takes bytes that arrived, cut anywhere.
    ///
    /// # Errors
    /// The server broke the protocol, or speaks no 9P2000: call [`hang_up`](Client::hang_up).
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if self.closed {
            return Err(Broken("the connection was hung up".into()));
        }
        let mut inbox = core::mem::take(&mut self.inbox);
        let result = inbox.feed(bytes, self.msize, |frame| {
            self.message(frame)?;
            Ok(self.msize)
        });
        self.inbox = inbox;
        self.send_waiting();
        result
    }

    /// The next answer, in the order in which they came.
    pub fn next_reply(&mut self) -> Option<(Tag, Reply)> {
        self.ready.pop_front()
    }

    /// Bytes to send, oldest first.
    pub fn output(&self) -> &[u8] {
        self.out.waiting()
    }

    /// The first `count` bytes of [`output`](Client::output) are sent.
    pub fn consume(&mut self, count: usize) {
        self.out.consume(count);
    }

    /// The server is gone: everything is answered with this error (flushes are `Done`).
    pub fn hang_up(&mut self, error: &Error) {
        self.closed = true;
        for at in self.flights.keys() {
            let flight = self.flights.remove(at).expect("keys are of flights");
            if let Some(tag) = flight.tag {
                let done = matches!(flight.kind, Kind::Flush { .. });
                self.ready.push_back((tag, if done { Reply::Done } else { Reply::Failed(error.clone()) }));
            }
        }
        self.ready.extend(self.waiting.drain(..).map(|(tag, _)| (tag, Reply::Failed(error.clone()))));
        self.bound.clear();
        self.listings.clear();
    }

    /// Requests that are not answered yet.
    pub fn outstanding(&self) -> usize {
        self.waiting.len() + self.flights.len()
    }

    /// What is spoken; `None` before that is agreed.
    pub fn dialect(&self) -> Option<Dialect> {
        Some(self.dialect).filter(|_| self.agreed)
    }

    /// Most bytes of one read or write; what was asked for, before the server has said what it can.
    pub fn max_io(&self) -> u32 {
        self.msize - IOHDRSZ
    }

    fn ask_version(&mut self) {
        let message = Tmsg::Version { msize: self.msize, version: self.dialect.name() };
        message.encode(NOTAG, Dialect::Plain, self.out.end());
    }

    /// Gives up a request.
    fn flush(&mut self, tag: Tag, old: Tag) {
        if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == old) {
            if let Some((_, Op::Attach { fid, .. } | Op::Walk { newfid: fid, .. })) = self.waiting.remove(at)
            {
                self.bound.remove(&fid.0);
            }
            return self.ready.push_back((tag, Reply::Done));
        }
        let Some(at) = self.flights.find(|flight| flight.tag == Some(old)) else {
            return self.ready.push_back((tag, Reply::Done));
        };
        if self.flights.len() >= 65_000 {
            return self
                .ready
                .push_back((tag, Reply::Failed(Error::new(Errno::AGAIN, "too many flushes wait"))));
        }
        self.flights.get_mut(at).expect("it was found").flushes += 1;
        let old = at as u16;
        self.launch(Some(tag), Kind::Flush { old }, NO_USES, &Tmsg::Flush { oldtag: old });
    }

    /// Sends a message; or takes it back if it is too long.
    fn launch(&mut self, tag: Option<Tag>, kind: Kind, uses: Uses, message: &Tmsg<'_>) {
        let at = self.flights.insert(Flight { tag, kind, uses, flushes: 0 });
        let out = self.out.end();
        let before = out.len();
        message.encode(at as u16, self.dialect, out);
        if out.len() - before > self.msize as usize {
            out.truncate(before);
            self.flights.remove(at);
            let cause = format!("the request does not fit a message of {} bytes", self.msize);
            self.ready.extend(tag.map(|tag| (tag, Reply::Failed(Error::new(Errno::TOOBIG, cause)))));
        }
    }

    /// One whole frame.
    fn message(&mut self, frame: &[u8]) -> Result<(), Broken> {
        if !self.agreed {
            return self.version(frame);
        }
        let (tag, message) =
            Rmsg::decode(frame, self.dialect).map_err(|why| Broken(format!("{why}").into()))?;
        let at = usize::from(tag);
        match self.flights.get(at).map(|flight| flight.kind) {
            None | Some(Kind::Over) => {
                Err(Broken(format!("an answer has tag {tag}, which is not in use").into()))
            }
            Some(kind) => self.answered(at, kind, &message),
        }
    }

    /// The answer to `Tversion`.
    fn version(&mut self, frame: &[u8]) -> Result<(), Broken> {
        let answer = match Rmsg::decode(frame, Dialect::Plain) {
            Ok((_, Rmsg::Version { msize, version })) => Some((msize, Dialect::named(version))),
            // Some servers answer an error where the manual says "unknown".
            Ok((_, Rmsg::Error { .. })) => None,
            Err(crate::wire::Malformed::Unknown(7)) => None,
            Ok(_) | Err(_) => {
                let tag = tag_of(frame);
                return Err(Broken(
                    format!("Tversion was answered by something else, with tag {tag}").into(),
                ));
            }
        };
        let (asked, met) = (self.dialect, answer.and_then(|(_, dialect)| dialect));
        let lesser = match asked {
            Dialect::Uem => Some(Dialect::L),
            Dialect::L => Some(Dialect::Plain),
            Dialect::Plain => None,
        };
        match (met, lesser) {
            (Some(met), _) if met == asked => self.agreed = true,
            (Some(met), _) if met > asked => {
                let (met, asked) = (met.name(), asked.name());
                return Err(Broken(format!("the server answered {asked} with {met}").into()));
            }
            // It knows only 9P2000 of what it was asked; it may know 9P2000.L all the same.
            (_, Some(lesser)) if met != Some(lesser) => {
                self.dialect = lesser;
                self.ask_version();
                return Ok(());
            }
            (Some(met), _) => {
                self.dialect = met;
                self.agreed = true;
            }
            (None, _) => return Err(Broken("the server speaks no 9P2000".into())),
        }
        self.msize = self.msize.min(answer.map_or(0, |(msize, _)| msize));
        if self.msize < MSIZE_MIN {
            return Err(Broken(format!("the server takes messages of {} bytes only", self.msize).into()));
        }
        Ok(())
    }
}
