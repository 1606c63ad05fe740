//! What the kernel asks of a provider of things that run ([`Act`]), and what a provider tells ([`Tell`]).
//!
//! A provider decides nothing. For each session it is asked to `Start` once; it answers `Started` or `Refused`
//! once, then tells `Grew`, `Fed` and `Closed` as they happen, and `Exited` once, after which the number is
//! only ever asked to be `Free`d.
//!
//! ```text
//!            Start            Started                 Exited            Free
//!   (none) ────────▶ starting ────────▶ running ─────────────▶ ended ────────▶ (none)
//!                        │ Refused        ▲ ▼ Freeze, Thaw       ▲
//!                        └────────────────┴──────────────────────┘ (refused: never ran)
//! ```

use crate::{Error, Put, Wall};
use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::time::Duration;

/// A session's number at its node; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

/// A user's number on this machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Uid(pub u32);

impl Uid {
    /// The first of the numbers that a host gives to users of other machines who have no account on this one. Nothing
    /// is run as them; they are known by their names only.
    pub const FOREIGN: Uid = Uid(0xF000_0000);

    /// Whether this is a user without an account here.
    pub fn is_foreign(self) -> bool {
        self.0 >= Uid::FOREIGN.0 && self.0 < u32::MAX - 1
    }
}

/// What a node is known by, whatever it is called: made from its key, so it cannot be claimed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct NodeId(pub u128);

impl core::fmt::Display for NodeId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl NodeId {
    /// The id that a word is, as ids are written: 32 hexadecimal digits. Anything else is a name.
    pub fn from_word(word: &str) -> Option<NodeId> {
        (word.len() == 32).then(|| word.parse().ok()).flatten()
    }
}

impl core::str::FromStr for NodeId {
    type Err = core::num::ParseIntError;

    fn from_str(text: &str) -> Result<NodeId, Self::Err> {
        u128::from_str_radix(text, 16).map(NodeId)
    }
}

/// Who a uid is. The host tells the kernel before the first request that names the uid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// The number.
    pub uid: Uid,
    /// The login name; the number in decimal where there is none.
    pub name: Arc<str>,
    /// Primary group first, then the supplementary ones; never empty.
    pub groups: Vec<(u32, Arc<str>)>,
    /// Home directory.
    pub home: Arc<str>,
    /// Login shell.
    pub shell: Arc<str>,
}

/// One of a program's two outputs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stream {
    /// Descriptor 1; of a terminal session, the terminal.
    Out,
    /// Descriptor 2; of a terminal session, always empty.
    Err,
}

/// Size of a terminal, in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WinSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// What a session may use. `None` is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Thousandths of a processor.
    pub cpu: Option<u32>,
    /// Bytes of memory.
    pub mem: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Time from start to the end; kept by the kernel.
    pub wall: Option<Duration>,
    /// Bytes of output kept of each stream; the program waits when it is reached.
    pub output: Option<u64>,
    /// Open descriptors.
    pub fds: Option<u64>,
}

/// Lines `NAME=value`, shared by programs that are set up alike.
pub type Environment = Arc<Vec<Vec<u8>>>;

/// A program to start, complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    /// Which session.
    pub session: SessionId,
    /// Program and arguments; never empty. Without a slash the program is looked for in the `PATH` of `env`.
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value` each; the whole environment, but for `UEM_SESSION`, which the provider adds.
    pub env: Environment,
    /// Where to start; if `None`, the session's own directory if there is anything to `put` in it, else the user's home
    /// directory, `/` if that is not there.
    pub dir: Option<Vec<u8>>,
    /// What is in the session's own directory when it starts; all of it is in the node's store. The directory goes when
    /// the session is freed.
    pub puts: Vec<Put>,
    /// As whom, with all groups.
    pub user: Arc<User>,
    /// Scheduling priority to add, -20 to 19.
    pub nice: i8,
    /// What it may use.
    pub limits: Limits,
    /// Stdio is a terminal of this size.
    pub tty: Option<WinSize>,
}

/// What is asked of a provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Start a program. Answered by `Started` or `Refused`.
    Start(Box<Launch>),
    /// A session that the journal knows as started with this mark: find it again. Answered by `Started`
    /// (it still runs, or its end is known and follows as `Exited`) or by `Exited` with [`How::Lost`].
    /// With an empty mark (the journal knows only that a start was asked for) also by `Refused` with
    /// `ECANCELED`: it has not run, and may be started again under another number.
    Adopt {
        /// Which.
        session: SessionId,
        /// What `Started` told.
        mark: String,
    },
    /// Send a signal: to the program's process group, or to all that the session started.
    Signal {
        /// Which.
        session: SessionId,
        /// As in signal(7).
        signal: i32,
        /// Everything that came of it, however it hides.
        all: bool,
    },
    /// Stop all of the session's processes where they are. Nothing is answered.
    Freeze(SessionId),
    /// The contrary.
    Thaw(SessionId),
    /// Write these bytes to its stdin. Only one `Feed` a session is under way; answered by `Fed` when the
    /// last byte is taken.
    Feed {
        /// Which.
        session: SessionId,
        /// Never empty.
        data: Vec<u8>,
    },
    /// Stop feeding: what is not taken yet is dropped, and `Fed` is still told.
    Unfeed(SessionId),
    /// End of stdin, after what was fed (of a terminal: the end-of-file character).
    CloseStdin(SessionId),
    /// The terminal's size.
    Resize {
        /// Which.
        session: SessionId,
        /// New size.
        size: WinSize,
    },
    /// New limits for what runs.
    Limit {
        /// Which.
        session: SessionId,
        /// All of them.
        limits: Limits,
    },
    /// Nobody will read this stream before `offset` again: let those bytes go.
    Trim {
        /// Which.
        session: SessionId,
        /// Which output.
        stream: Stream,
        /// Bytes from the start of the stream.
        offset: u64,
    },
    /// Write these bytes to the spool of a session that runs nothing itself. At offset 0 it begins anew. Only one `Append` a
    /// stream is under way; answered by `Grew` when all is written. Where that cannot be, `Full` is told, and it is tried again.
    Append {
        /// Which.
        session: SessionId,
        /// Which output.
        stream: Stream,
        /// Bytes from the start of the stream: where the spool ends.
        offset: u64,
        /// Never empty.
        data: Vec<u8>,
    },
    /// Give everything back: processes that are left are killed, spools removed. Nothing is answered.
    Free(SessionId),
}

/// What a provider tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tell {
    /// It runs.
    Started {
        /// Which.
        session: SessionId,
        /// Its first process.
        pid: u32,
        /// What `Adopt` needs to know it again; one word.
        mark: String,
        /// How limits are kept, in a word or two: `cgroup2`, `rlimits`, ….
        limits_by: Arc<str>,
    },
    /// It could not be started.
    Refused {
        /// Which.
        session: SessionId,
        /// Errno of the step that failed and a sentence that names the step.
        error: Error,
    },
    /// The spool of a stream is now this long.
    Grew {
        /// Which.
        session: SessionId,
        /// Which output.
        stream: Stream,
        /// Bytes from the start of the stream.
        len: u64,
    },
    /// A stream's limit is reached, and the program is made to wait.
    Full {
        /// Which.
        session: SessionId,
        /// Which output.
        stream: Stream,
    },
    /// No more output will come here: everything that held it has let go.
    Closed {
        /// Which.
        session: SessionId,
        /// Which output.
        stream: Stream,
    },
    /// The bytes of the last `Feed` are taken; or they can't be (`EPIPE`: nothing reads them).
    Fed {
        /// Which.
        session: SessionId,
        /// How it went.
        result: Result<(), Error>,
    },
    /// The program has ended; output that it wrote was told before.
    Exited {
        /// Which.
        session: SessionId,
        /// How.
        exit: Exit,
    },
}

/// The end of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exit {
    /// What ended it.
    pub how: How,
    /// What it used.
    pub usage: Usage,
    /// When.
    pub at: Wall,
}

/// What ended a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// It exited with this status.
    Code(u8),
    /// A signal ended it.
    Signal(u8),
    /// It ended while nobody could see how (the machine restarted, or keeper and node both died).
    Lost,
}

/// What a program and its waited-for children used: getrusage(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Microseconds in user mode.
    pub user_us: u64,
    /// Microseconds in the kernel.
    pub sys_us: u64,
    /// Largest resident size of one process, in KiB.
    pub maxrss_kib: u64,
}
