//! What comes into the kernel and what goes out.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use op::{Act, Mono, Op, Reply, SessionId, Stream, Tag, Tell, Uid, Usage, User, Wall};

/// A connection of any door, numbered by the host; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub u64);

/// Everything that can happen to a kernel.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A client is there.
    Connect {
        /// Its number.
        client: ClientId,
        /// Whether it understands symbolic links; one that does not is shown the directory itself.
        links: bool,
    },
    /// A client asks.
    Request {
        /// Who.
        client: ClientId,
        /// Its name for the request.
        tag: Tag,
        /// As which user; told by [`Event::User`] before.
        uid: Uid,
        /// What.
        op: Op,
    },
    /// A client is gone: its fids are clunked, its requests forgotten.
    Hangup(ClientId),
    /// Who a user is.
    User(Arc<User>),
    /// To [`Effect::FindUser`]: there is none of that name.
    NoUser(String),
    /// A provider tells.
    Told(Tell),
    /// To [`Effect::Measure`].
    Measured(Gauges),
    /// To [`Effect::Gauge`]: what a running program has used; `None` if nobody can tell.
    Gauged(SessionId, Option<Usage>),
    /// A line of the journal of an earlier life, in order.
    Recall(Vec<u8>),
    /// That was the whole journal: sessions that ran are adopted.
    Recalled,
    /// The clock has reached the time of the last [`Effect::WakeAt`].
    Tick,
    /// The journal could not be written (or can be again): nothing new is started meanwhile.
    DiskFull(bool),
}

/// Everything that a kernel can want done. They are carried out in order: a line of the journal is safe
/// before what follows it is done or answered.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Answer a request.
    Answer(ClientId, Tag, Reply),
    /// Answer a read with these bytes of a spool; they are there.
    AnswerSpool {
        /// Whom.
        client: ClientId,
        /// Which request.
        tag: Tag,
        /// Whose output.
        session: SessionId,
        /// Which output.
        stream: Stream,
        /// From here.
        offset: u64,
        /// So many bytes; never 0.
        count: u32,
    },
    /// Ask the provider.
    Act(Act),
    /// Append a line, without its newline, to the journal.
    Journal(Vec<u8>),
    /// Write the journal anew: these lines and nothing else.
    Rewrite(Vec<Vec<u8>>),
    /// Send [`Event::Tick`] at this time; replaces the one before.
    WakeAt(Option<Mono>),
    /// Answer with [`Event::Measured`].
    Measure,
    /// Answer with [`Event::Gauged`]; the program's first process is given.
    Gauge(SessionId, u32),
    /// Answer with [`Event::User`] or [`Event::NoUser`]: a login name or a number.
    FindUser(String),
    /// Stop the node; with `keep`, leave its programs running.
    Down {
        /// Leave what runs.
        keep: bool,
    },
}

/// What a node is, from its start to its end.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Its name, unique in its cloud: one path element.
    pub name: Arc<str>,
    /// As whom it runs.
    pub owner: Arc<User>,
    /// What programs get unless a session says otherwise, as `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// Fixed attributes, shown in `info`: `arch`, `os`, `cpus`, `mem`, labels, ….
    pub attrs: Vec<(String, Attr)>,
    /// When this process began to serve.
    pub started: Wall,
}

/// The value of an attribute.
#[derive(Clone, PartialEq, Debug)]
pub enum Attr {
    /// A word or a sentence.
    Text(String),
    /// A count.
    Int(u64),
    /// Bytes; text shows the unit.
    Size(u64),
    /// A measure, shown with two decimals.
    Real(f64),
}

/// What changes at a node from moment to moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Gauges {
    /// Seconds since the machine started.
    pub up_secs: u64,
    /// Users that are logged in.
    pub users: u32,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// Bytes of memory that programs could still have.
    pub mem_free: u64,
    /// Bytes that the node's state directory can still take.
    pub disk_free: u64,
    /// What the node itself uses.
    pub own: Option<Box<Usage>>,
}
