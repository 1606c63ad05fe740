//! Every bound that the kernel keeps, in one place. Nothing in it is unbounded.

use core::time::Duration;

/// Fids that one client may hold.
pub const FIDS_PER_CLIENT: usize = 262_144;
/// Requests of one client that may wait at a time.
pub const PENDING_PER_CLIENT: usize = 65_536;
/// Clients at a time.
pub const CLIENTS: usize = 16_384;
/// Sessions, running and ended.
pub const SESSIONS: usize = 4_000_000;
/// Members of one group.
pub const MEMBERS: u32 = 1 << 20;
/// Bytes of one control line, one argument list, one environment.
pub const TEXT: usize = 1 << 20;
/// Bytes that `stdin` takes before the program has started; as a pipe would.
pub const EARLY_STDIN: usize = 64 << 10;
/// Bytes answered to one read.
pub const READ: u32 = 1 << 20;
/// Entries answered to one listing.
pub const LIST: u32 = 4096;
/// Bytes of one file name.
pub const NAME: usize = 255;
/// Steps of one walk.
pub const STEPS: usize = 64;
/// Links followed in one walk.
pub const LINKS: usize = 8;
/// Tags on one session.
pub const TAGS: usize = 64;
/// Events that a node remembers.
pub const EVENTS: usize = 16_384;
/// Failures that a node remembers; and of them, those that one session's `error` shows.
pub const FAILURES: usize = 1024;
/// Bytes of any one text in an event or a failure: a command, a verb, a cause.
pub const NOTICE: usize = 1024;
/// Bytes read behind which a rolling session lets its output go.
pub const ROLL: u64 = 4 << 20;
/// Bytes of each output that are kept unless `limit output=` says otherwise.
pub const OUTPUT: u64 = 1 << 30;
/// How long an idle session lives that nobody holds.
pub const LEASE: Duration = Duration::from_secs(60);
/// How much longer than its lease a share that is cut off is waited for: it notices later than this end that its link broke, and
/// its members have the grace to end.
pub const LOST: Duration = Duration::from_secs(15);
/// Kept shares of freed groups that a node remembers, since they could not be told; and for how long; and how soon one is told again
/// that could not be.
pub const BEHIND: usize = 1024;
/// See [`BEHIND`].
pub const BEHIND_FOR: Duration = Duration::from_secs(30 * 86_400);
/// See [`BEHIND`].
pub const BEHIND_AGAIN: Duration = Duration::from_secs(15);
/// Between a polite and a final signal.
pub const GRACE: Duration = Duration::from_secs(5);
/// How old a node's measurements may be when they are shown.
pub const FRESH: Duration = Duration::from_millis(500);
/// Nodes that a node knows of.
pub const NODES: usize = 65_536;
/// Paths of `phys/` and `query/` that are kept while nobody stands there.
pub const SETS: usize = 16_384;
/// Terms of one query.
pub const TERMS: usize = 32;
/// Numbered matches of one query.
pub const MATCHES: usize = 65_536;
/// How long an aggregate of sessions waits for a part.
pub const PART: Duration = Duration::from_secs(2);
/// The most that it can be told to wait by `timeout=`.
pub const PART_MOST: Duration = Duration::from_secs(600);
/// Queries whose answers are kept current, so that asking again costs nothing.
pub const ANSWERS: usize = 64;
/// Values of one key that are shown as terms of `query/`.
pub const VALUES: usize = 64;
/// Names of users that other nodes have asked as; more are asked for again.
pub const ADMITTED: usize = 65_536;
/// Children of one node.
pub const CHILDREN: usize = 4096;
/// Nodes above one another, from the root to a leaf.
pub const DEPTH: usize = 64;
/// Attributes of one node that others are told.
pub const ATTRS: usize = 128;
/// Requests that may wait for answers over one link.
pub const ASKS_PER_LINK: usize = 60_000;
/// Bytes of one message of news.
pub const NEWS: usize = 512 << 10;
/// Bytes of one read or write over a link: what a message of 9P of the largest size has room for.
pub const FAR_IO: usize = (1 << 20) - 24;
/// Names of one walk over a link.
pub const FAR_STEPS: usize = 16;
/// Steps of a far place's name below its node. Through `...` a walk can go round for ever, and each round has a longer name.
pub const FAR_DEPTH: usize = 512;
/// Bytes that one part of an aggregate may be ahead of its reader.
pub const GATHERED: usize = 256 << 10;
/// Bytes of an aggregate of sessions that other nodes tell.
pub const ASKED: usize = 64 << 20;
/// How soon room is looked for again for a member whose node could not be told.
pub const ROOM: Duration = Duration::from_secs(1);
/// How often a node tells its parent how it does, if that has changed.
pub const PUSH: Duration = Duration::from_secs(5);
/// Bytes that the journal may grow to before it is written anew, unless what lives needs more.
pub const JOURNAL: u64 = 8 << 20;
/// Bytes of a record that are held until it is whole; a longer one goes on as it comes, and nothing comes between.
pub const RECORD: usize = 1 << 20;
/// Bytes of one frame.
pub const FRAME: usize = 2 << 20;
/// Bytes of a frame's header: as many ranks as a group can have, every second one.
pub const FRAME_HEAD: usize = 256 << 10;
/// Bytes of one member or share that wait for their turn in a group's output, and of the output for the spool.
pub const FLOW: usize = 256 << 10;
/// Bytes of one group's output that wait in all for their records to be whole; beyond it, a shorter record is long.
pub const FLOW_ALL: usize = 64 << 20;
/// Bytes of different outputs that `stdout fold` keeps at each level.
pub const FOLD: usize = 64 << 20;
/// Bytes of a group's stdin that wait for one member or share.
pub const DEALT: usize = 256 << 10;
/// Contents that one session is given.
pub const PUTS: usize = 256;
/// Contents that a node receives at a time.
pub const RECEIVING: usize = 256;
/// Contents that become files of a node's machine at a time.
pub const PLACINGS: usize = 256;
/// Contents that a node keeps.
pub const CONTENTS: usize = 100_000;
/// Bytes of a content that are asked of another node at once.
pub const CHUNK: u32 = 256 << 10;
/// Of these, so many bytes may be asked for and not be kept yet.
pub const CHUNKS_AHEAD: u64 = 2 << 20;
/// How often a link that broke while a content came over it is tried again.
pub const FETCH_TRIES: u32 = 15;
/// And after how long.
pub const FETCH_AGAIN: Duration = Duration::from_secs(1);
/// Nodes that a content is looked for at.
pub const ORIGINS: usize = 8;
