//! The server's side of one connection: bytes in, [`Op`]s out; [`Reply`]s in, bytes out.
//!
//! ```text
//!            ┌──────────── held: its fid is busy with a message of several steps
//!            ▼                                   ▲
//!   T ──▶ admitted ──▶ asked ──▶ settled ──▶ R   │ next message of the fid
//!            │           │ ▲        │            │
//!            │           │ └────────┘ next step ─┘
//!            ▼           ▼ Tflush
//!         refused      flushed ──▶ Rflush, and nothing else
//! ```
//!
//! Messages become `Op`s in the order in which they came, at once; so their order per fid is kept, and nothing
//! waits for anything else, but for this: a message that changes what a fid is (makes, moves or opens it) or takes
//! several `Op`s (`Tmkdir`, `Tunlinkat`) holds back what that fid is asked meanwhile.
//!
//! *Architecture invariants.* No `Op` is asked about a fid whose making or opening is not answered yet, unless that was asked for
//! ([`Config::eager`]): a client may
//! send walk, open, read and clunk in one go, and what answers the `Op`s may take its time over the walk. `Tag`s
//! and `Fid`s of the `Op`s are this module's own: no number is used again before everything that knew it is
//! answered, whatever the client does with its own numbers.

mod answer;
mod bits;
mod fid;
mod flush;
mod listing;
mod request;

use crate::frame::{Broken, Inbox, Outbox};
use crate::slab::Slab;
use crate::wire::{Cause, Malformed, Rmsg, Tmsg, tag_of};
use crate::{Dialect, MSIZE_MAX, MSIZE_MIN, NOTAG, ename};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::{format, string::String};
use core::mem;
use fid::Fids;
use op::{Errno, Error, Op, Reply, Tag};
use request::Request;

/// Limits of a connection. Its memory stays below `output`, plus `requests` answers of `msize` each, plus what
/// `fids` and `requests` take for themselves (some hundred bytes each).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Largest message, in bytes; between [`MSIZE_MIN`] and [`MSIZE_MAX`]. The client may ask for less.
    pub msize: u32,
    /// Fids at once; one more is refused with `EMFILE`.
    pub fids: usize,
    /// Messages not answered yet; one more is refused with `EAGAIN`. (Stopping to read instead would leave the
    /// `Tflush` unread that frees a place.) Flushes, of which twice as many may wait, and clunks do not count.
    pub requests: usize,
    /// Bytes that wait to be sent, above which [`Conn::wants_input`] is false.
    pub output: usize,
    /// In 9P2000.uem, pass on at once what is asked about a fid whose walk or open is not answered yet. Only for who
    /// answers `Op`s that keep the order of each fid themselves, and fail what is asked of a fid that was not made: then
    /// a walk, an open and a read cross a relay in one flight.
    pub eager: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config { msize: MSIZE_MAX, fids: 16 << 10, requests: 1024, output: 4 << 20, eager: false }
    }
}

/// Who a client says it is, in its last `Tattach`. A claim, not a proof.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// By name.
    pub uname: String,
    /// By number, if it gave one.
    pub n_uname: Option<u32>,
}

/// One connection with a client.
#[derive(Debug)]
pub struct Conn {
    config: Config,
    /// `None` until a `Tversion` is met.
    dialect: Option<Dialect>,
    msize: u32,
    claim: Option<Claim>,
    inbox: Inbox,
    out: Outbox,
    fids: Fids,
    requests: Slab<Request>,
    /// The client's tags in use: those of messages, and those of flushes, which lead to what they flush.
    tags: BTreeMap<u16, usize>,
    /// Fids that are no longer busy, and may have messages held back.
    ready: VecDeque<usize>,
    seq: u32,
    closed: bool,
}

impl Conn {
    /// A connection on which nothing was said yet.
    pub fn new(config: Config) -> Conn {
        let config = Config { msize: config.msize.clamp(MSIZE_MIN, MSIZE_MAX), ..config };
        Conn {
            msize: config.msize,
            config,
            dialect: None,
            claim: None,
            inbox: Inbox::default(),
            out: Outbox::default(),
            fids: Fids::default(),
            requests: Slab::default(),
            tags: BTreeMap::new(),
            ready: VecDeque::new(),
            seq: 0,
            closed: false,
        }
    }

    /// Takes bytes that arrived, cut anywhere, and appends to `asks` what must be answered by
    /// [`answer`](Conn::answer), in any order, unless it is flushed by a later `Op::Flush`.
    ///
    /// # Errors
    /// The client broke the protocol: send what [`output`](Conn::output) still holds if you like, then
    /// [`hang_up`](Conn::hang_up).
    pub fn receive(&mut self, bytes: &[u8], asks: &mut VecDeque<(Tag, Op)>) -> Result<(), Broken> {
        if self.closed {
            return Err(Broken("the connection was hung up".into()));
        }
        let mut inbox = mem::take(&mut self.inbox);
        let result = inbox.feed(bytes, self.msize, |frame| {
            self.message(frame, asks)?;
            Ok(self.msize)
        });
        self.inbox = inbox;
        self.closed = result.is_err();
        result
    }

    /// Takes the answer to an ask. Appends to `asks` what comes next, if the client's message needs more.
    /// An answer to what was flushed meanwhile is dropped.
    pub fn answer(&mut self, tag: Tag, reply: Reply, asks: &mut VecDeque<(Tag, Op)>) {
        self.settle(tag, reply, asks);
        self.resume(asks);
    }

    /// Bytes to send, oldest first.
    pub fn output(&self) -> &[u8] {
        self.out.waiting()
    }

    /// The first `count` bytes of [`output`](Conn::output) are sent.
    pub fn consume(&mut self, count: usize) {
        self.out.consume(count);
    }

    /// Whether to read from the client: not while it does not take its answers.
    pub fn wants_input(&self) -> bool {
        !self.closed && self.out.waiting().len() < self.config.output
    }

    /// The client is gone: appends the flushes and clunks that give back everything it had. Go on answering
    /// asks until [`is_idle`](Conn::is_idle).
    pub fn hang_up(&mut self, asks: &mut VecDeque<(Tag, Op)>) {
        self.closed = true;
        self.reset(asks);
    }

    /// Whether no ask waits for its answer.
    pub fn is_idle(&self) -> bool {
        self.requests.len() == 0
    }

    /// What is spoken; `None` before that is agreed.
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// Largest message, in bytes.
    pub fn msize(&self) -> u32 {
        self.msize
    }

    /// Who the client says it is. It is set before the `Op::Attach` comes out of [`receive`](Conn::receive).
    pub fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// One whole frame.
    fn message(&mut self, frame: &[u8], asks: &mut VecDeque<(Tag, Op)>) -> Result<(), Broken> {
        let tag = tag_of(frame);
        let message = match Tmsg::decode(frame, self.dialect.unwrap_or(Dialect::Plain)) {
            Ok((_, Tmsg::Version { msize, version })) => {
                self.version(tag, msize, version, asks);
                return Ok(());
            }
            Ok((_, message)) => Ok(message),
            Err(why @ Malformed::Utf8) => Err(Error::new(Errno::INVAL, format!("{why}"))),
            Err(why @ Malformed::Unknown(_)) => Err(Error::new(Errno::OPNOTSUPP, format!("{why}"))),
            Err(why @ (Malformed::Short | Malformed::Long | Malformed::Many)) => {
                return Err(Broken(format!("{why}").into()));
            }
        };
        if self.dialect.is_none() {
            return Err(Broken("a message came before a version was agreed".into()));
        }
        if tag == NOTAG {
            return Err(Broken("only Tversion may do without a tag".into()));
        }
        if self.tags.contains_key(&tag) {
            return Err(Broken(format!("tag {tag} is used twice at once").into()));
        }
        match message {
            Ok(Tmsg::Flush { oldtag }) => self.flush(tag, oldtag, asks)?,
            Ok(message) => {
                if let Err(error) = self.admit(tag, &message, frame, asks) {
                    self.refuse(tag, &error);
                }
            }
            Err(error) => self.refuse(tag, &error),
        }
        self.resume(asks);
        Ok(())
    }

    /// A new session: what was asked before is given up, what was open is closed.
    fn version(&mut self, tag: u16, msize: u32, version: &str, asks: &mut VecDeque<(Tag, Op)>) {
        self.reset(asks);
        self.dialect = Dialect::offered(version).filter(|_| msize >= MSIZE_MIN);
        self.msize = msize.clamp(MSIZE_MIN, self.config.msize);
        let version = self.dialect.map_or("unknown", Dialect::name);
        self.send(tag, &Rmsg::Version { msize: self.msize, version });
    }

    fn send(&mut self, tag: u16, message: &Rmsg<'_>) {
        message.encode(tag, self.spoken(), self.out.end());
    }

    fn refuse(&mut self, tag: u16, error: &Error) {
        if self.spoken() == Dialect::Plain {
            self.send(tag, &Rmsg::Error { ename: &ename::sentence(error) });
        } else {
            let cause = Cause(ename::clipped(&error.cause));
            self.send(tag, &Rmsg::Lerror { ecode: error.errno.0.into(), cause });
        }
    }

    /// Whether fids are not waited for.
    fn is_eager(&self) -> bool {
        self.config.eager && self.dialect == Some(Dialect::Uem)
    }

    fn spoken(&self) -> Dialect {
        self.dialect.unwrap_or(Dialect::Plain)
    }

    /// Most bytes of one read or write.
    fn iounit(&self) -> u32 {
        self.msize - crate::IOHDRSZ
    }
}
