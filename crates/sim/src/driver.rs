//! What a transcript is played through: files on one side, a provider's part on the other.
//!
//! The same transcripts run through the kernel itself, through 9P in memory, through a real socket and through a
//! real mount. Whoever adds a way implements [`Driver`] (files by path, as a mount has them) or, where there are
//! [`Op`](op::Op)s, the smaller [`Wire`](crate::calls::Wire); and [`Node`] for what is behind it: a kernel whose
//! provider does as it is told.
//!
//! *Contract.* Nothing here may block. [`Driver::begin`] starts a call and [`Driver::poll`] tells whether it is
//! over; after [`Driver::settle`] a call that is not over *waits*, and will until somebody does something. A driver
//! with threads behind it must find that out (the kernel's `waiting()` is the number of calls that are not over)
//! and not guess it with sleeps. [`Node::tell`] and the others return at once, and `settle` covers them too.
//!
//! The node behind is `n1`, owned by `ericvh`; its other users are those of [`crate::machine::users`]. A real one
//! gives its own uid the name `ericvh`, and says in [`Able`] what it has not got.

use op::{Access, Act, Error, SessionId, Stat, Stream, Tell, Wall};
use std::time::Duration;

/// What of a transcript a driver can play and compare. What it can't is left out of the comparison, or, where
/// a command is missing, the whole transcript is skipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Able {
    /// An error's number comes back.
    pub errno: bool,
    /// An error's sentence comes back.
    pub cause: bool,
    /// There is a clock to advance, and it starts when the world does.
    pub clock: bool,
    /// The node can be killed and started again.
    pub restart: bool,
    /// There are clients of other users.
    pub users: bool,
    /// Attributes have owner, group and permissions.
    pub owners: bool,
    /// Attributes can be changed.
    pub chmod: bool,
    /// Symbolic links are told as such.
    pub links: bool,
    /// Reads that do not wait.
    pub nowait: bool,
}

impl Able {
    /// Everything; take away what is missing.
    pub const ALL: Able = Able {
        errno: true,
        cause: true,
        clock: true,
        restart: true,
        users: true,
        owners: true,
        chmod: true,
        links: true,
        nowait: true,
    };
}

/// A client's connection, or its process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Conn(pub usize);

/// A call that was begun.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallNo(pub usize);

/// An open file of some connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileNo(pub usize);

/// One call, as a program makes it. Paths have no leading slash; the root is the empty one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// open(2), following links.
    Open(String, Access),
    /// pread(2); `wait` unset is `O_NONBLOCK`.
    Read {
        /// Which.
        file: FileNo,
        /// From where.
        offset: u64,
        /// At most so many bytes.
        count: u32,
        /// Whether to wait.
        wait: bool,
    },
    /// pwrite(2).
    Write {
        /// Which.
        file: FileNo,
        /// To where.
        offset: u64,
        /// What.
        data: Vec<u8>,
    },
    /// close(2).
    Close(FileNo),
    /// The whole of a directory.
    List(String),
    /// lstat(2).
    Stat(String),
    /// chmod(2).
    Chmod(String, u32),
    /// chown(2) of the group alone.
    Chgrp(String, u32),
    /// truncate(2).
    Truncate(String, u64),
    /// readlink(2).
    ReadLink(String),
    /// rmdir(2) or unlink(2).
    Remove(String),
    /// mkdir(2).
    Mkdir(String),
}

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// To `Open`.
    File(FileNo),
    /// To `Read`.
    Data(Vec<u8>),
    /// To `Write`.
    Wrote(u32),
    /// To `List`.
    Entries(Vec<Stat>),
    /// To `Stat`.
    Stat(Stat),
    /// To `ReadLink`.
    Linked(String),
    /// To what has nothing to say.
    Done,
    /// To what failed.
    Failed(Error),
}

/// What came out of a node on its other side.
#[derive(Clone, PartialEq, Debug)]
pub enum Asked {
    /// The provider was asked.
    Act(Act),
    /// The node was told to stop.
    Down {
        /// Leave what runs.
        keep: bool,
    },
}

/// What is behind the files: a node whose provider does as it is told.
pub trait Node {
    /// What was asked of the provider, and of the host, since this was last called.
    fn asked(&mut self) -> Vec<Asked>;
    /// The provider tells.
    fn tell(&mut self, tell: Tell);
    /// The program writes: into its spool, and `Grew` is told.
    fn output(&mut self, session: SessionId, stream: Stream, data: &[u8]);
    /// The time.
    fn now(&self) -> Wall;
    /// Time passes. Only called if [`Able::clock`].
    fn advance(&mut self, span: Duration);
    /// The node is killed and started again; its programs run on. Only called if [`Able::restart`].
    fn restart(&mut self);
}

/// A way to a node's files.
pub trait Driver {
    /// What it can.
    fn able(&self) -> Able;
    /// A new client, of this user. `ericvh` is always there.
    fn connect(&mut self, user: &str) -> Conn;
    /// Begins a call.
    fn begin(&mut self, conn: Conn, call: Call) -> CallNo;
    /// How a call ended, once; `None` while it waits.
    fn poll(&mut self, call: CallNo) -> Option<Answer>;
    /// Gives a call up, as a signal does. It is then over, with `EINTR` or with what came just before.
    fn interrupt(&mut self, call: CallNo);
    /// The client is gone, with all that it has open.
    fn hangup(&mut self, conn: Conn);
    /// Lets everything happen that can happen without anybody doing anything.
    fn settle(&mut self);
    /// What is behind.
    fn node(&mut self) -> &mut dyn Node;

    // ── where there are many nodes; one alone has no name ──────────────────────────────────

    /// The nodes, by name.
    fn nodes(&self) -> Vec<String> {
        vec![String::new()]
    }

    /// A new client, of this user, at a node.
    ///
    /// # Errors
    /// If there is no such node, or it is not up.
    fn connect_at(&mut self, node: &str, user: &str) -> Result<Conn, String> {
        if node.is_empty() { Ok(self.connect(user)) } else { Err(format!("there is no node {node} here")) }
    }

    /// What is behind a node.
    ///
    /// # Errors
    /// If there is no such node.
    fn node_at(&mut self, node: &str) -> Result<&mut dyn Node, String> {
        if node.is_empty() { Ok(self.node()) } else { Err(format!("there is no node {node} here")) }
    }

    /// Makes something happen that only happens where there are many nodes.
    ///
    /// # Errors
    /// If it is nothing of that kind.
    fn happens(&mut self, what: &str) -> Result<(), String> {
        Err(format!("not something that happens: {what}"))
    }

    /// Whether a client is gone with its node.
    fn is_gone(&self, _: Conn) -> bool {
        false
    }
}
