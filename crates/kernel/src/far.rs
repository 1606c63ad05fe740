//! Far places: those of other nodes, and of this machine's files. A fid there stands for a name; what is done with it is asked
//! of the node at the other end of the link that leads there, with a fid of this kernel's own.
//!
//! ```text
//!              walk: Ask                answered
//!   (a name) ───────────▶ walking ─────────────▶ bound ──▶ open, read, write …: Ask
//!       ▲                                          │
//!       └────── its link broke, and it is not open ┘        open: gone
//! ```
//! *Architecture invariants.* What came from above never goes up again, so nothing circles. A fid of a link names nothing of
//! another one: links are never numbered twice.

mod answer;
mod ask;
mod serve;
mod walk;

use crate::{
    ClientId, Kernel, Lane, LinkId, Peer, Who,
    cloud::NodeNo,
    group::ShareStep,
    limits,
    park::Outcome,
    place::{Place, Subject, View},
};
use alloc::{boxed::Box, collections::BTreeMap, format, string::String, sync::Arc, vec::Vec};
use op::{Access, Errno, Error, Fid, Qid, Reply, Result, SessionId, Tag};

/// One end of a link, as this kernel asks over it.
#[derive(Debug)]
pub(crate) struct Tie {
    /// Who is there; `None` for this machine's files.
    pub(crate) peer: Option<Peer>,
    /// What was attached, by lane, user and whether links are shown; and why it was refused.
    roots: BTreeMap<(Lane, Arc<str>, bool), Root>,
    next_fid: u32,
    asks: usize,
}

#[derive(Debug)]
struct Root {
    fid: Fid,
    refused: Option<Error>,
}

impl Tie {
    pub(crate) fn new(peer: Option<Peer>) -> Tie {
        Tie { peer, roots: BTreeMap::new(), next_fid: 0, asks: 0 }
    }

    pub(crate) fn fid(&mut self) -> Fid {
        self.next_fid += 1;
        Fid(self.next_fid)
    }
}

/// From where a far place's name counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Anchor {
    /// A known node's directory, in one of the views.
    Node(NodeNo, View),
    /// The parent's root: what this node does not know itself.
    Up,
    /// This machine's files.
    Files,
}

/// A far fid.
#[derive(Debug)]
pub(crate) struct Far {
    pub(crate) anchor: Anchor,
    pub(crate) rest: Vec<String>,
    pub(crate) qid: Qid,
    pub(crate) bound: Bound,
    /// It is, or is to be, a new session's `ctl`, whose name is not known yet.
    pub(crate) unnamed: bool,
}

/// Whether there is a fid for it at the other end.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Bound {
    No,
    /// Asked for; what is asked of it next comes after that.
    Walking(LinkId, Lane, Fid),
    There(LinkId, Lane, Fid),
}

impl Far {
    /// Whether what is asked of this fid at the other end is asked for this one.
    fn is_at(&self, there: Fid) -> bool {
        match &self.bound {
            Bound::There(_, _, fid) | Bound::Walking(_, _, fid) => *fid == there,
            Bound::No => false,
        }
    }
}

/// Where a walk has come to.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Spot {
    Here(Place),
    There(Anchor, Vec<String>),
}

/// What was asked over a link, and what its answer is for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) link: LinkId,
    lane: Lane,
    purpose: Purpose,
    /// How the walk went that makes the fid that this is asked of, if it went wrong.
    stop: Option<Stop>,
}

/// How a walk went wrong.
#[derive(Debug)]
enum Stop {
    Failed(Error),
    /// After so many names, from the root there.
    At(usize),
}

#[derive(Debug)]
pub(crate) enum Purpose {
    /// Nobody waits. If it is a walk that works all the same, what it made is given back.
    Nobody { clunk: Option<Fid> },
    /// An attach.
    Root { user: Arc<str>, links: bool },
    /// A client's walk.
    Walk(Box<Walking>),
    /// A walk that makes the fid of what is asked next, under this tag: from the root there with these names, of which so
    /// many are its own.
    Lead { to: Tag, names: usize, own: usize },
    /// The step of a client's walk that failed, by itself, from a fid for that: what is wrong with it. From the root there,
    /// with names.
    Why { who: Who, from: Fid, root: Fid, names: Vec<String> },
    /// A name that is walked again, for what is asked of it next.
    Bind { client: ClientId, fid: Fid, there: Fid, steps: usize },
    /// Anything else that a client asked.
    Op { who: Who, fid: Fid, there: Fid, kind: Kind },
    /// The number of a session that was allocated there.
    Named { client: ClientId, fid: Fid, there: Fid },
    /// To `Op::Flush`.
    Flush { old: Tag },
    /// A part of an aggregate that a client reads.
    Part { client: ClientId, fid: Fid, part: u64, read: bool },
    /// A share of a group, and what of it.
    Share { group: SessionId, share: u64, step: ShareStep },
    /// What a freed group left there.
    Behind { no: u64, step: crate::group::BehindStep },
    /// A file of a share that bytes go through.
    Flow { group: SessionId, end: crate::flow::End },
    /// A line that a set's members run too; only the write's answer counts, or the first failure before it.
    Fan { fan: u64, last: bool },
    /// A content that this node receives.
    Fetch(crate::store::Chunk),
    /// A content that becomes a file.
    Put(u64),
}

/// What there is to do when a client's far request is answered.
#[derive(Debug)]
pub(crate) enum Kind {
    /// With the name of what is made, if it is.
    Open(Access, Option<String>),
    Read,
    Write {
        offset: u64,
        done: u32,
        left: Vec<u8>,
    },
    /// With the second fid at the other end.
    Rename(Fid),
    Other,
}

/// From where, by which name, and the name that a set's new session is told with.
type Elsewhere = (Anchor, Vec<String>, Option<Arc<str>>);

#[derive(Debug)]
pub(crate) struct Walking {
    who: Who,
    newfid: Fid,
    /// A qid for each step; `None` for those that the answer has.
    qids: Vec<Option<Qid>>,
    /// Qids in the answer that are of no step of the client's, and how many there are in all.
    skip: usize,
    all: usize,
    /// What the fid becomes, if it walked itself.
    in_place: Option<Far>,
    fid: Fid,
    /// From the root there to the end: to ask again for a step that failed.
    root: Fid,
    names: Vec<String>,
}

fn is_stream(name: &str) -> bool {
    matches!(name, "stdin" | "stdout" | "stderr" | "stdio")
}

/// A name that leads to a stream of bytes goes over the bulk lane.
fn lane_of(anchor: Anchor, rest: &[String]) -> Lane {
    let stream = |name: &String| is_stream(name);
    let bulk = match anchor {
        Anchor::Files => true,
        Anchor::Node(..) => {
            rest.last().is_some_and(stream)
                || rest.first().is_some_and(|name| matches!(name.as_str(), "fs" | "store"))
        }
        Anchor::Up => {
            rest.last().is_some_and(stream)
                || rest.get(2).is_some_and(|name| matches!(name.as_str(), "fs" | "store"))
        }
    };
    if bulk { Lane::Bulk } else { Lane::Control }
}

impl Kernel {
    /// Whether a client's request may be passed on to the parent: there is one, and it does not come from there.
    pub(crate) fn goes_up(&self, client: ClientId) -> bool {
        self.cloud.above.is_some() && self.callers.get(&client) != self.cloud.above.as_ref()
    }

    /// Which link leads to an anchor, and what its name is at the other end. What is down as far as this node knows may have
    /// gone elsewhere: the parent, if it may be asked, knows better.
    fn route(&self, anchor: Anchor, up: bool) -> Result<(LinkId, Vec<String>)> {
        match anchor {
            Anchor::Files => Ok((LinkId::FILES, Vec::new())),
            Anchor::Up => match self.cloud.above {
                Some(link) => Ok((link, Vec::new())),
                None => Err(self.no_parent()),
            },
            Anchor::Node(no, view) => {
                let Some(known) = self.cloud.known(no) else {
                    return Err(Error::new(Errno::STALE, "the node left the cloud"));
                };
                let by_name = || alloc::vec![String::from("net"), String::from(&*known.name)];
                match (known.via.filter(|_| known.down.is_none()), self.cloud.above, view) {
                    (Some(link), _, View::Tree) => {
                        Ok((link, [String::from("tree")].into_iter().chain(self.tree_names(no)).collect()))
                    }
                    // Only in `tree/` a node's name is another at each level.
                    (Some(link), ..) => Ok((link, by_name())),
                    (None, Some(link), view) if up && view != View::Tree => Ok((link, by_name())),
                    (None, ..) => Err(self.is_down(no)),
                }
            }
        }
    }

    pub(crate) fn no_parent(&self) -> Error {
        let name = &self.node.name;
        let cause = match &self.cloud.lost {
            Some((parent, since, why)) => {
                let since = crate::notices::rfc3339(*since);
                format!("{parent}, the parent of {name}, is down since {since}: {why}")
            }
            None => format!("{name} has no parent"),
        };
        Error::new(Errno::HOSTUNREACH, cause)
    }

    /// Why a node cannot be reached.
    pub(crate) fn is_down(&self, no: NodeNo) -> Error {
        let Some(known) = self.cloud.known(no) else { return Errno::NOENT.into() };
        let cause = match &known.down {
            Some((since, why)) => {
                format!("{} is down since {}: {why}", known.name, crate::notices::rfc3339(*since))
            }
            None => format!("{} cannot be reached", known.name),
        };
        Error::new(Errno::HOSTUNREACH, cause)
    }

    /// What a far place is called in a sentence.
    pub(crate) fn far_name(&self, anchor: Anchor, rest: &[String]) -> String {
        let mut names = match anchor {
            Anchor::Node(no, view) => self.view_of(Some(no), view).unwrap_or_default(),
            Anchor::Up => Vec::new(),
            Anchor::Files => alloc::vec!["net".into(), String::from(&*self.node.name), "fs".into()],
        };
        names.extend(rest.iter().cloned());
        names.join("/")
    }

    /// One step of a walk that has left this node.
    pub(crate) fn step_there(&mut self, anchor: Anchor, mut rest: Vec<String>, name: &str) -> Result<Spot> {
        if name == ".." {
            let top = rest.pop().is_none();
            return Ok(match (anchor, rest.as_slice()) {
                (Anchor::Node(no, view), _) if top => Spot::Here(self.parent(Place::Known(no, view))),
                (Anchor::Node(no, view), []) => Spot::Here(Place::Known(no, view)),
                (Anchor::Files, _) if top => Spot::Here(Place::Dir(Subject::Node(View::Net))),
                (Anchor::Up, []) => Spot::Here(Place::Dir(Subject::Cloud)),
                (Anchor::Up, [view]) => match View::named(view) {
                    Some(view) => Spot::Here(Place::of_view(view)),
                    None => Spot::There(anchor, rest),
                },
                (Anchor::Node(..) | Anchor::Files, _) | (Anchor::Up, [..]) => Spot::There(anchor, rest),
            });
        }
        if name == "." {
            return Ok(Spot::There(anchor, rest));
        }
        // Through `.../VIEW` of a known node: from here, what lies beyond has another name.
        if let (Anchor::Node(no, _), [before @ .., dots, view]) = (anchor, rest.as_slice())
            && let (true, Some(view)) = (dots == "...", nodes_view(view))
        {
            let before = before.to_vec();
            return self.step_there(Anchor::Node(no, view), before, name);
        }
        if rest.len() >= limits::FAR_DEPTH {
            return Err(Error::new(
                Errno::NAMETOOLONG,
                format!("a path has at most {} steps", limits::FAR_DEPTH),
            ));
        }
        rest.push(name.into());
        Ok(Spot::There(anchor, rest))
    }

    /// A link in `...` of a known node, which needs nobody to be asked.
    fn view_link(&self, anchor: Anchor, rest: &[String]) -> Option<(NodeNo, View, Vec<String>)> {
        let (Anchor::Node(no, _), [before @ .., dots, view]) = (anchor, rest) else { return None };
        let view = nodes_view(view).filter(|_| dots == "...")?;
        Some((no, view, before.to_vec()))
    }
}

/// A view in which a node's name is known here. Where a session stands in `logical/` only its node knows.
fn nodes_view(name: &str) -> Option<View> {
    View::named(name).filter(|view| *view != View::Logical)
}

/// A walk that went as far as these steps. Failing at the first is an error.
fn partial(qids: &[Option<Qid>], error: Error) -> Outcome {
    let known: Vec<Qid> = qids.iter().map_while(|q| *q).collect();
    match known.is_empty() {
        true => Err(error).into(),
        false => Outcome::Reply(Reply::Walked(known)),
    }
}
