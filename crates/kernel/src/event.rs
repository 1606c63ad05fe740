//! What comes into the kernel and what goes out.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use op::{
    Act, Content, Error, Mono, NodeId, Op, Reply, SessionId, Stream, Tag, Tell, Uid, Usage, User, Wall,
};

/// A connection of any door, numbered by the host; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub u64);

/// A link to another node, numbered by the host; never used twice. What was had through one link is gone with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

impl LinkId {
    /// Not a link, but asked like one: the server of this machine's own files, for `fs/`. It is never `Linked`.
    pub const FILES: LinkId = LinkId(0);
}

/// Which connection of a link carries a request. Each has fids of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// What is short: walks, commands, listings.
    Control,
    /// Streams of bytes; made when it is first needed.
    Bulk,
}

/// Who is at the other end of a link, as its certificate says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// What it is known by.
    pub id: NodeId,
    /// What it is called, unless another node has that name.
    pub name: Arc<str>,
    /// It is this node's parent; else it is a child.
    pub above: bool,
}

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
    /// A link is up: it may be asked, and the other node may be told news.
    Linked {
        /// Its number.
        link: LinkId,
        /// Who is there.
        peer: Peer,
    },
    /// The other node asks too: as this client, from now on. A lane each is a client of its own. As whom it asks is said
    /// in each `Attach`; the `uid` of its requests means nothing. Told after `Linked`, before its first request;
    /// `Hangup` comes before `Unlinked`.
    Caller {
        /// Over which link.
        link: LinkId,
        /// Its number as a client.
        client: ClientId,
    },
    /// To [`Effect::Ask`]: answered once, in any order; after an `Ask` of `Op::Flush` was answered, what it flushed never is.
    Answered {
        /// Over which link.
        link: LinkId,
        /// Which request.
        tag: Tag,
        /// The answer.
        reply: Reply,
    },
    /// What the kernel at the other end said by [`Effect::News`]: in order.
    News(LinkId, Vec<u8>),
    /// A link is gone, and everything asked over it with it.
    Unlinked {
        /// Which.
        link: LinkId,
        /// Why, as a clause: "no heartbeat for 2 s", "it was stopped".
        why: String,
        /// The other node left the cloud for good, and said so.
        left: bool,
    },
    /// How the search for a parent goes: which addresses are tried, and what went wrong last. Empty when none is wanted.
    Seeking(String),
    /// An attribute of this node, which `info` shows, is another from now on; or there is none of that name any more.
    Attr(String, Option<Attr>),
    /// Who a user is.
    User(Arc<User>),
    /// To [`Effect::Admit`]: whom another node means by this name. The user may be called otherwise.
    Admitted(String, Arc<User>),
    /// To [`Effect::FindUser`]: there is none of that name.
    NoUser(String),
    /// A provider tells.
    Told(Tell),
    /// To [`Effect::Measure`].
    Measured(Gauges),
    /// To [`Effect::Gauge`]: what a running program has used; `None` if nobody can tell.
    Gauged(SessionId, Option<Usage>),
    /// To [`Effect::Fetch`]: at most so many bytes; fewer, or none, if they cannot be had any more.
    Fetched {
        /// Whose output.
        session: SessionId,
        /// Which output.
        stream: Stream,
        /// From here.
        offset: u64,
        /// The bytes.
        data: Vec<u8>,
    },
    /// A line of the journal of an earlier life, in order.
    Recall(Vec<u8>),
    /// That was the whole journal: sessions that ran are adopted.
    Recalled,
    /// The node's store has this content, whole, from an earlier life: told before the journal, what was used last, last.
    Found(Content),
    /// To [`Effect::Keep`]: so many bytes of it are kept, and with the last one it is what its name says; or nothing of it
    /// is kept any more.
    Kept {
        /// As in the effect.
        receipt: u64,
        /// How it went.
        result: Result<u64, Error>,
    },
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
    /// Answer with [`Event::Fetched`]: bytes of a spool for the kernel itself; they are there.
    Fetch {
        /// Whose output.
        session: SessionId,
        /// Which output.
        stream: Stream,
        /// From here.
        offset: u64,
        /// So many bytes; never 0.
        count: u32,
    },
    /// Answer a read with these bytes of a content; they are kept.
    AnswerContent {
        /// Whom.
        client: ClientId,
        /// Which request.
        tag: Tag,
        /// Of what.
        content: Content,
        /// From here.
        offset: u64,
        /// So many bytes; never 0.
        count: u32,
    },
    /// Keep these bytes of a content, which follow those that were given before. Answered by [`Event::Kept`].
    Keep {
        /// The kernel's number for receiving it this time; never used twice.
        receipt: u64,
        /// Which; it is whole with the byte `size`.
        content: Content,
        /// Where they belong.
        offset: u64,
        /// Empty only of what has no bytes.
        data: Vec<u8>,
    },
    /// A content is used now: in this order they are found after a restart. If it is not as it was any more, it is dropped,
    /// and that is told by [`Event::Kept`].
    Used {
        /// As it was received under, or found.
        receipt: u64,
        /// Which.
        content: Content,
    },
    /// Keep this content no longer, whole or not.
    Drop(Content),
    /// Ask the provider.
    Act(Act),
    /// Append a line, without its newline, to the journal.
    Journal(Vec<u8>),
    /// Write the journal anew: these lines, each with its newline, and nothing else.
    Rewrite(Vec<u8>),
    /// Send [`Event::Tick`] at this time; replaces the one before.
    WakeAt(Option<Mono>),
    /// Answer with [`Event::Measured`].
    Measure,
    /// Answer with [`Event::Gauged`]; the program's first process is given.
    Gauge(SessionId, u32),
    /// Answer with [`Event::User`] or [`Event::NoUser`]: a login name or a number.
    FindUser(String),
    /// Answer with [`Event::Admitted`], in any case: a login name of this machine, or a name that only other nodes know, which
    /// gets a number from [`op::Uid::FOREIGN`] on.
    Admit(String),
    /// Ask the node at the other end of a link. Answered by [`Event::Answered`], unless the link goes first. The first request
    /// on a lane is an `Attach`; fids and tags are this kernel's own, fids one space a lane, tags one for all.
    Ask {
        /// Over which link; [`LinkId::FILES`] asks this machine's files.
        link: LinkId,
        /// On which of its connections.
        lane: Lane,
        /// Its name for the request.
        tag: Tag,
        /// What.
        op: Op,
    },
    /// Make a file of the machine of a content, with the rights of this user: whole, in place of what is there, or not at all.
    /// It is in the store, and stays until this is answered by [`Event::Answered`] of [`LinkId::FILES`] with
    /// [`Reply::Done`] or [`Reply::Failed`].
    Put {
        /// The kernel's name for the request.
        tag: Tag,
        /// By name, as in an `Attach`.
        user: Arc<str>,
        /// What goes where.
        putting: Putting,
    },
    /// Tell the kernel at the other end of a link; it comes there as [`Event::News`], in order with what is asked.
    News(LinkId, Vec<u8>),
    /// Break a link off, and tell the other end why.
    Unlink(LinkId, String),
    /// Leave the cloud: break off the link to the parent, say that this is for good, and look for no other.
    Leave,
    /// Stop the node; with `keep`, leave its programs running.
    Down {
        /// Leave what runs.
        keep: bool,
    },
}

/// A content that becomes a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Putting {
    /// Which.
    pub content: Content,
    /// Where: from the machine's root, names as `fs/` shows them. A link there is followed.
    pub path: String,
    /// Permission bits; else those of the file that is there, or what is usual.
    pub mode: Option<u32>,
    /// When it was changed last; else now.
    pub mtime: Option<Wall>,
}

/// What a node is, from its start to its end.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// What it is known by, whatever it is called.
    pub id: NodeId,
    /// Its name: one path element, not all digits. Where another node has it, `-` and four digits of the id are added.
    pub name: Arc<str>,
    /// As whom it runs.
    pub owner: Arc<User>,
    /// What programs get unless a session says otherwise, as `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// Fixed attributes, shown in `info`: `arch`, `os`, `cpus`, `mem`, labels, ….
    pub attrs: Vec<(String, Attr)>,
    /// When this process began to serve.
    pub started: Wall,
    /// It offers its machine's files under `fs/`.
    pub fs: bool,
    /// Bytes of contents that its store may keep.
    pub store: u64,
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
