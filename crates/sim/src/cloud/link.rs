//! One link as both hosts have it: two ends, two lanes, and what is on its way on each. What must hold of everything
//! that a kernel asks over a link is asserted here, as it is asked and as it is answered.

use super::traffic::Said;
use crate::watch::{answers, op_name};
use kernel::{ClientId, Lane, LinkId};
use op::{Fid, Op, Reply, Tag};
use std::collections::{BTreeMap, VecDeque};

/// What goes over a lane.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Frame {
    /// The handshake is over.
    Up,
    /// A request, by the asker's name for it.
    Ask(Tag, Op),
    /// Its answer.
    Reply(Tag, Reply),
    /// What one kernel tells the other.
    News(Vec<u8>),
    /// The link is given up on purpose.
    Bye { why: String, left: bool },
}

/// A request of the other's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Serving {
    /// Its own name for it.
    pub(super) theirs: Tag,
    /// Our name for the request that it gives up.
    pub(super) flushes: Option<Tag>,
    /// The fid that it attaches.
    pub(super) attaches: Option<Fid>,
}

/// How an end stands, as its kernel was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// Nothing yet.
    Nothing,
    /// That it is up.
    Up,
    /// It is up, and the kernel itself has given it up.
    Closing,
    /// That it is gone.
    Gone,
}

/// One end of a link: one kernel's part in it.
#[derive(Debug)]
pub(super) struct End {
    pub(super) node: usize,
    pub(super) id: LinkId,
    pub(super) told: Told,
    /// The other node, as a client here; by lane.
    pub(super) callers: [Option<ClientId>; 2],
    /// What this kernel has asked the other and has no answer to.
    pub(super) asks: Asks,
    /// What the other has asked, by our name for it.
    pub(super) serving: BTreeMap<(ClientId, Tag), Serving>,
    /// What the other asked of fids whose attach is not answered: held back until it is, as 9P's server does.
    pub(super) held: Vec<(Lane, Tag, Op)>,
    /// What is on its way to this end; by lane.
    pub(super) inbox: [VecDeque<Frame>; 2],
    /// When the last of it arrives; by lane. Nothing overtakes.
    pub(super) last: [op::Mono; 2],
    /// What it has said; by lane.
    pub(super) said: [Said; 2],
}

/// A link; the child's end first.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) ends: [End; 2],
    /// Frames come through.
    pub(super) cable: bool,
    /// The bulk lane is dialled.
    pub(super) bulk: bool,
    /// Added to what a frame takes.
    pub(super) delay: std::time::Duration,
}

/// A lane's place in an array.
pub(super) fn lane_no(lane: Lane) -> usize {
    match lane {
        Lane::Control => 0,
        Lane::Bulk => 1,
    }
}

/// Both, by place.
pub(super) const LANES: [Lane; 2] = [Lane::Control, Lane::Bulk];

impl Link {
    pub(super) fn new(child: (usize, LinkId), parent: (usize, LinkId)) -> Link {
        let end = |(node, id)| End {
            node,
            id,
            told: Told::Nothing,
            callers: [None; 2],
            asks: Asks::default(),
            serving: BTreeMap::new(),
            held: Vec::new(),
            inbox: [VecDeque::new(), VecDeque::new()],
            last: [op::Mono::default(); 2],
            said: [Said::default(); 2],
        };
        let ends = [end(child), end(parent)];
        Link { ends, cable: true, bulk: false, delay: std::time::Duration::ZERO }
    }

    /// Whether both kernels have it.
    pub(super) fn is_up(&self) -> bool {
        self.cable && self.ends.iter().all(|end| end.told == Told::Up)
    }
}

impl End {
    /// Whether a request has to wait for an attach; it, or what will make its fid.
    pub(super) fn waits(&self, client: ClientId, lane: Lane, op: &Op) -> bool {
        let Some(fid) = op.fid() else { return false };
        let attached = |((of, _), s): (&(ClientId, Tag), &Serving)| *of == client && s.attaches == Some(fid);
        let made = |(on, _, op): &(Lane, Tag, Op)| *on == lane && made(op) == Some(fid);
        self.serving.iter().any(attached) || self.held.iter().any(made)
    }

    /// The lane of a client, if it is the other end of this link.
    pub(super) fn lane_of(&self, client: ClientId) -> Option<Lane> {
        self.callers.iter().position(|c| *c == Some(client)).map(|at| LANES[at])
    }
}

/// What one kernel has asked over one link (or of its machine's files), and the fids that it holds there.
#[derive(Clone, Default, Debug)]
pub(super) struct Asks {
    /// Requests without an answer.
    pub(super) sent: BTreeMap<Tag, Sent>,
    /// By lane: fids that stand for something, or will when what was asked is answered; whether made by an attach.
    fids: [BTreeMap<Fid, Held>; 2],
    begun: [bool; 2],
}

/// A request on its way.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) lane: Lane,
    pub(super) op: Op,
}

/// A fid of the asker's.
#[derive(Clone, Copy, Debug)]
struct Held {
    root: bool,
    /// Its clunk is asked for.
    going: bool,
}

/// The fid that a request makes, if it is a new one.
pub(super) fn made(op: &Op) -> Option<Fid> {
    match op {
        Op::Attach { fid, .. } => Some(*fid),
        Op::Walk { fid, newfid, .. } if fid != newfid => Some(*newfid),
        _ => None,
    }
}

impl Asks {
    /// The kernel asks.
    ///
    /// # Panics
    /// If it may not ask that.
    pub(super) fn ask(&mut self, lane: Lane, tag: Tag, op: &Op) {
        let at = lane_no(lane);
        if let Op::Flush { tag: old } = op {
            let sent = self.sent.get(old).unwrap_or_else(|| panic!("{old:?} is flushed, and is not asked"));
            assert_eq!(sent.lane, lane, "a flush goes the way of what it flushes: {sent:?}");
            assert!(!matches!(sent.op, Op::Clunk { .. } | Op::Flush { .. }), "a {sent:?} is not given up");
        } else {
            let attaches = matches!(op, Op::Attach { .. });
            assert!(self.begun[at] || attaches, "the first request on a lane is an attach, and not {op:?}");
            self.begun[at] = true;
        }
        for fid in op.fid().into_iter().chain(op.other_fid()) {
            if let Some(held) = self.fids[at].get_mut(&fid) {
                assert!(!held.going, "{fid:?} is asked about after its clunk: {op:?}");
                held.going = matches!(op, Op::Clunk { .. } | Op::Remove { .. });
                continue;
            }
            // Whether what should have made it has worked may not be known yet: to give it back does no harm. What was asked in advance
            // of it is answered one by one, and the last says why.
            let may_be = matches!(op, Op::Clunk { .. }) || self.waits_about(lane, fid);
            assert!(may_be, "{fid:?} is asked about, and stands for nothing: {op:?}");
        }
        if let Some(fid) = made(op) {
            let root = matches!(op, Op::Attach { .. });
            let before = self.fids[at].insert(fid, Held { root, going: false });
            assert!(before.is_none(), "{fid:?} is made, and is there: {op:?}");
        }
        let before = self.sent.insert(tag, Sent { lane, op: op.clone() });
        assert!(before.is_none(), "{tag:?} is used twice at once: {before:?}, {op:?}");
    }

    /// Whether something that was asked of a fid has no answer yet, and it was not given back since.
    fn waits_about(&self, lane: Lane, fid: Fid) -> bool {
        let mut about = self.sent.values().filter(|sent| sent.lane == lane && sent.op.fid() == Some(fid));
        about.clone().next().is_some() && about.all(|sent| !matches!(sent.op, Op::Clunk { .. }))
    }

    /// An answer has come. Whether the kernel is to hear of it: what was flushed is answered to nobody.
    ///
    /// # Panics
    /// If it answers something else.
    pub(super) fn reply(&mut self, tag: Tag, reply: &Reply) -> Option<Sent> {
        let sent = self.sent.remove(&tag)?;
        assert!(answers(op_name(&sent.op), Some(reply)), "{:?} is answered with {reply:?}", sent.op);
        let at = lane_no(sent.lane);
        let failed = match (&sent.op, reply) {
            (_, Reply::Failed(_)) => true,
            (Op::Walk { names, .. }, Reply::Walked(qids)) => qids.len() < names.len(),
            _ => false,
        };
        match &sent.op {
            Op::Flush { tag: old } => {
                if let Some(flushed) = self.sent.remove(old)
                    && let Some(fid) = made(&flushed.op)
                {
                    self.fids[at].remove(&fid);
                }
            }
            Op::Clunk { fid } | Op::Remove { fid } => drop(self.fids[at].remove(fid)),
            op if failed => drop(made(op).and_then(|fid| self.fids[at].remove(&fid))),
            _ => {}
        }
        Some(sent)
    }

    /// Fids that are held, and how many of them are roots.
    pub(super) fn fids(&self) -> (usize, usize) {
        let all = || self.fids.iter().flat_map(BTreeMap::values);
        (all().count(), all().filter(|held| held.root).count())
    }

    /// Whether a walk among what was asked is being given up.
    pub(super) fn flushed(&self, tag: Tag) -> bool {
        self.sent.values().any(|sent| matches!(&sent.op, Op::Flush { tag: old } if *old == tag))
    }
}
