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

use crate::{
    ClientId, Effect, FidState, Kernel, Lane, LinkId, Peer, Who,
    cloud::NodeNo,
    files::{self, Open, OpenState},
    limits,
    park::{Ask, On, Outcome},
    place::{Place, Subject, View, unknown_fid},
    show,
};
use alloc::{boxed::Box, collections::BTreeMap, format, string::String, sync::Arc, vec::Vec};
use op::{Access, Errno, Error, Fid, FileKind, Op, Qid, Reply, Result, Tag};

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

    fn fid(&mut self) -> Fid {
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
}

/// Whether there is a fid for it at the other end.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Bound {
    No,
    /// Asked for; what is asked of it next comes after that.
    Walking(LinkId, Lane, Fid),
    There(LinkId, Lane, Fid),
    Failed(Error),
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
}

#[derive(Debug)]
pub(crate) enum Purpose {
    /// Nobody waits. If it is a walk that works all the same, what it made is given back.
    Nobody { clunk: Option<Fid> },
    /// An attach.
    Root { user: Arc<str>, links: bool },
    /// A client's walk.
    Walk(Box<Walking>),
    /// A name that is walked again, for what is asked of it next.
    Bind { client: ClientId, fid: Fid, steps: usize },
    /// Anything else that a client asked.
    Op { who: Who, fid: Fid, kind: Kind },
    /// To `Op::Flush`.
    Flush { old: Tag },
    /// A part of an aggregate that a client reads.
    Part { client: ClientId, fid: Fid, part: u64, read: bool },
    /// A line that a set's members run too; only the write's answer counts, or the first failure before it.
    Fan { fan: u64, last: bool },
}

/// What there is to do when a client's far request is answered.
#[derive(Debug)]
pub(crate) enum Kind {
    Open(Access),
    Read,
    Write { offset: u64, done: u32, left: Vec<u8> },
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
}

/// A name that leads to a stream of bytes goes over the bulk lane.
fn lane_of(anchor: Anchor, rest: &[String]) -> Lane {
    let stream = |name: &String| matches!(name.as_str(), "stdin" | "stdout" | "stderr" | "stdio");
    let bulk = match anchor {
        Anchor::Files => true,
        Anchor::Node(..) => rest.last().is_some_and(stream) || rest.first().is_some_and(|name| name == "fs"),
        Anchor::Up => rest.last().is_some_and(stream) || rest.get(2).is_some_and(|name| name == "fs"),
    };
    if bulk { Lane::Bulk } else { Lane::Control }
}

/// The fid that an operation is about.
pub(crate) fn fid_of(op: &Op) -> Option<Fid> {
    match op {
        Op::Attach { .. } | Op::Flush { .. } => None,
        Op::Walk { fid, .. }
        | Op::Open { fid, .. }
        | Op::Create { fid, .. }
        | Op::Read { fid, .. }
        | Op::Write { fid, .. }
        | Op::List { fid, .. }
        | Op::Stat { fid }
        | Op::SetStat { fid, .. }
        | Op::ReadLink { fid }
        | Op::Remove { fid }
        | Op::Clunk { fid } => Some(*fid),
    }
}

// ── the way ────────────────────────────────────────────────────────────────────────────────

impl Kernel {
    /// Whether a client's request may be passed on to the parent: there is one, and it does not come from there.
    pub(crate) fn goes_up(&self, client: ClientId) -> bool {
        self.cloud.above.is_some() && self.callers.get(&client) != self.cloud.above.as_ref()
    }

    /// Which link leads to an anchor, and what its name is at the other end.
    fn route(&self, anchor: Anchor) -> Result<(LinkId, Vec<String>)> {
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
                let Some(link) = known.via else { return Err(self.is_down(no)) };
                let names = match view {
                    View::Tree => [String::from("tree")].into_iter().chain(self.tree_names(no)).collect(),
                    View::Net | View::Phys => alloc::vec!["net".into(), String::from(&*known.name)],
                };
                Ok((link, names))
            }
        }
    }

    fn no_parent(&self) -> Error {
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
    fn far_name(&self, anchor: Anchor, rest: &[String]) -> String {
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
                    Some(view) => Spot::Here(Place::View(view)),
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
            && let (true, Some(view)) = (dots == "...", View::named(view))
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
        let view = View::named(view).filter(|_| dots == "...")?;
        Some((no, view, before.to_vec()))
    }

    // ── asking ─────────────────────────────────────────────────────────────────────────────

    pub(crate) fn ask(&mut self, link: LinkId, lane: Lane, purpose: Purpose, op: Op) -> Tag {
        self.next_ask += 1;
        let tag = Tag(self.next_ask);
        if let Some(tie) = self.cloud.links.get_mut(&link) {
            tie.asks += 1;
            self.asked.insert(tag, Asked { link, lane, purpose });
            self.out.push(Effect::Ask { link, lane, tag, op });
        }
        tag
    }

    /// A fid of the other end's root for this user, attached if it is not yet.
    fn root(&mut self, link: LinkId, lane: Lane, user: &Arc<str>, links: bool) -> Result<Fid> {
        let tie = self.cloud.links.get_mut(&link).ok_or(Errno::STALE)?;
        if tie.asks >= limits::ASKS_PER_LINK {
            let cause = format!("{} requests wait on this link already", tie.asks);
            return Err(Error::new(Errno::AGAIN, cause));
        }
        let key = (lane, user.clone(), links);
        if let Some(root) = tie.roots.get(&key) {
            return match &root.refused {
                None => Ok(root.fid),
                Some(error) => Err(error.clone()),
            };
        }
        let fid = tie.fid();
        tie.roots.insert(key, Root { fid, refused: None });
        let tree = if links { "" } else { "plain" };
        let op = Op::Attach { fid, user: String::from(&**user), tree: tree.into() };
        self.ask(link, lane, Purpose::Root { user: user.clone(), links }, op);
        Ok(fid)
    }

    /// Walks a new fid of a link from its root, in as many walks as that takes; the last one's purpose is told how many steps
    /// it has.
    #[expect(clippy::too_many_arguments, reason = "where, as whom, to what, and what for")]
    fn walk_there(
        &mut self,
        link: LinkId,
        lane: Lane,
        from: Fid,
        newfid: Fid,
        names: &[String],
        purpose: impl FnOnce(usize) -> Purpose,
    ) -> Tag {
        let mut chunks: Vec<&[String]> = names.chunks(limits::FAR_STEPS).collect();
        let last = chunks.pop().unwrap_or_default();
        let mut fid = from;
        for names in chunks {
            let op = Op::Walk { fid, newfid, names: names.to_vec() };
            self.ask(link, lane, Purpose::Nobody { clunk: None }, op);
            fid = newfid;
        }
        self.ask(link, lane, purpose(last.len()), Op::Walk { fid, newfid, names: last.to_vec() })
    }

    /// Opens a name on a link, for this kernel itself: a fid that is being walked and opened.
    pub(crate) fn open_there(
        &mut self,
        link: LinkId,
        user: &Arc<str>,
        names: &[String],
        access: Access,
        mut purpose: impl FnMut() -> Purpose,
    ) -> Result<Fid> {
        let lane = Lane::Control;
        let from = self.root(link, lane, user, false)?;
        let fid = self.cloud.links.get_mut(&link).ok_or(Errno::STALE)?.fid();
        self.walk_there(link, lane, from, fid, names, |_| purpose());
        let purpose = purpose();
        self.ask(link, lane, purpose, Op::Open { fid, access });
        Ok(fid)
    }

    /// Gives back a fid of a link.
    pub(crate) fn clunk_there(&mut self, link: LinkId, lane: Lane, fid: Fid) {
        if self.cloud.links.contains_key(&link) {
            self.ask(link, lane, Purpose::Nobody { clunk: None }, Op::Clunk { fid });
        }
    }

    /// Gives up a request that was asked: whatever comes of it is for nobody.
    pub(crate) fn flush_there(&mut self, old: Tag) {
        let Some(asked) = self.asked.get_mut(&old) else { return };
        let (link, lane) = (asked.link, asked.lane);
        let purpose = core::mem::replace(&mut asked.purpose, Purpose::Nobody { clunk: None });
        match purpose {
            Purpose::Walk(walking) => {
                asked.purpose = Purpose::Nobody { clunk: Some(walking.fid) };
                if walking.in_place.is_none()
                    && let Some(client) = self.clients.get_mut(&walking.who.client)
                {
                    client.fids.remove(&walking.newfid);
                }
            }
            // It may be open there by now, and is not here: another fid takes its place.
            Purpose::Op { who, fid, kind: Kind::Open(_) } => {
                if let Some(far) = self.far_mut(who.client, fid)
                    && let Bound::There(_, _, there) | Bound::Walking(_, _, there) = far.bound
                {
                    far.bound = Bound::No;
                    self.ask(link, lane, Purpose::Flush { old }, Op::Flush { tag: old });
                    return self.clunk_there(link, lane, there);
                }
            }
            Purpose::Op { .. }
            | Purpose::Nobody { .. }
            | Purpose::Root { .. }
            | Purpose::Bind { .. }
            | Purpose::Flush { .. }
            | Purpose::Part { .. }
            | Purpose::Fan { .. } => {}
        }
        self.ask(link, lane, Purpose::Flush { old }, Op::Flush { tag: old });
    }

    /// Whether a request is a client's read or write of this fid.
    pub(crate) fn asks_of(&self, tag: Tag, fid: Fid) -> bool {
        matches!(self.asked.get(&tag), Some(Asked { purpose: Purpose::Op { fid: of, kind, .. }, .. })
            if *of == fid && matches!(kind, Kind::Read | Kind::Write { .. }))
    }

    fn far_mut(&mut self, client: ClientId, fid: Fid) -> Option<&mut Far> {
        self.clients.get_mut(&client)?.fids.get_mut(&fid)?.far.as_deref_mut()
    }

    // ── a client's walk ────────────────────────────────────────────────────────────────────

    /// The end of a walk that has left this node: the other end is asked.
    pub(crate) fn walk_far(
        &mut self,
        who: Who,
        (fid, newfid): (Fid, Fid),
        (anchor, rest): (Anchor, Vec<String>),
        mut qids: Vec<Option<Qid>>,
        relative: Option<usize>,
    ) -> Outcome {
        let state = &self.clients[&who.client].fids[&fid];
        let (uid, links) = (state.uid, state.links);
        if let Some((no, view, before)) = self.view_link(anchor, &rest) {
            if links {
                let qid = Qid { kind: FileKind::Link, version: 0, path: self.name_path(anchor, &rest) };
                return self.walked_here(
                    who,
                    newfid,
                    Place::Far,
                    Some((anchor, rest, qid)),
                    qids,
                    uid,
                    links,
                );
            }
            let spot = match before.is_empty() {
                true => Spot::Here(Place::Known(no, view)),
                false => Spot::There(Anchor::Node(no, view), before),
            };
            return match spot {
                Spot::Here(place) => self.walked_here(who, newfid, place, None, qids, uid, links),
                Spot::There(anchor, rest) => self.walk_far(who, (fid, newfid), (anchor, rest), qids, None),
            };
        }
        let (link, base) = match self.route(anchor) {
            Ok(route) => route,
            // What is known of a node that is down is shown all the same.
            Err(_) if self.from_memory(anchor, &rest) => {
                let qid = Qid { kind: FileKind::File, version: 0, path: self.name_path(anchor, &rest) };
                return self.walked_here(
                    who,
                    newfid,
                    Place::Far,
                    Some((anchor, rest, qid)),
                    qids,
                    uid,
                    links,
                );
            }
            Err(error) => return partial(&qids, error),
        };
        let lane = lane_of(anchor, &rest);
        let user = self.user(who.uid).name.clone();
        let from = match self.root(link, lane, &user, links) {
            Ok(fid) => fid,
            Err(error) => return partial(&qids, error),
        };
        let steps = qids.iter().filter(|q| q.is_none()).count();
        // Where the fid that it starts from is there already, only the new names are sent.
        let (from, names, new) = match (relative, &self.clients[&who.client].fids[&fid].far) {
            (Some(had), Some(far)) => match &far.bound {
                Bound::There(l, at, bound)
                    if (*l, *at) == (link, lane) && rest.len() - had <= limits::FAR_STEPS =>
                {
                    (*bound, rest[had..].to_vec(), 0)
                }
                _ => (from, [base, rest.clone()].concat(), usize::MAX),
            },
            _ => (from, [base, rest.clone()].concat(), usize::MAX),
        };
        let there = self.cloud.links.get_mut(&link).expect("routed over it").fid();
        let qid = Qid { kind: FileKind::Dir, version: 0, path: self.name_path(anchor, &rest) };
        let far = Far { anchor, rest, qid, bound: Bound::Walking(link, lane, there) };
        let in_place = if fid == newfid {
            Some(far)
        } else {
            let state = FidState {
                place: Place::Far,
                far: Some(Box::new(far)),
                open: None,
                uid,
                links,
                prefix: None,
            };
            self.clients.get_mut(&who.client).expect("it asks").fids.insert(newfid, state);
            None
        };
        let whole = names.len();
        let tag = self.walk_there(link, lane, from, there, &names, move |last| {
            let skip = if new == 0 { 0 } else { last.saturating_sub(steps) };
            // Of a name that took several walks only the last one's qids are known; those before stand in for it.
            let qids = match whole == last {
                true => core::mem::take(&mut qids),
                false => core::mem::take(&mut qids).into_iter().collect(),
            };
            Purpose::Walk(Box::new(Walking { who, newfid, qids, skip, all: last, in_place, fid: there }))
        });
        Outcome::Park(On::Asked(tag), Ask::Far(tag))
    }

    /// A walk that ends without anybody being asked.
    #[expect(clippy::too_many_arguments, reason = "what a fid is made of")]
    pub(crate) fn walked_here(
        &mut self,
        who: Who,
        newfid: Fid,
        place: Place,
        far: Option<(Anchor, Vec<String>, Qid)>,
        qids: Vec<Option<Qid>>,
        uid: op::Uid,
        links: bool,
    ) -> Outcome {
        let last = far.as_ref().map_or_else(|| self.qid(place), |(.., qid)| *qid);
        let qids = qids.into_iter().map(|q| q.unwrap_or(last)).collect();
        let far = far.map(|(anchor, rest, qid)| Box::new(Far { anchor, rest, qid, bound: Bound::No }));
        let state = FidState { place, far, open: None, uid, links, prefix: None };
        let old = self.clients.get_mut(&who.client).and_then(|c| c.fids.insert(newfid, state));
        self.unbind(old);
        Outcome::Reply(Reply::Walked(qids))
    }

    /// A far fid is clunked.
    pub(crate) fn clunk_far(&mut self, far: Far) {
        if let Bound::There(link, lane, fid) | Bound::Walking(link, lane, fid) = far.bound {
            self.clunk_there(link, lane, fid);
        }
    }

    /// What a fid was bound to, before it went elsewhere.
    fn unbind(&mut self, old: Option<FidState>) {
        if let Some(Bound::There(link, lane, fid) | Bound::Walking(link, lane, fid)) =
            old.and_then(|state| state.far).map(|far| far.bound)
        {
            self.clunk_there(link, lane, fid);
        }
    }

    /// A number for a name that no other node has numbered: FNV-1a, in the upper half.
    fn name_path(&self, anchor: Anchor, rest: &[String]) -> u64 {
        let name = self.far_name(anchor, rest);
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        hash | 1 << 63
    }

    /// Whether a file of a node is shown from memory when the node cannot be asked.
    fn from_memory(&self, anchor: Anchor, rest: &[String]) -> bool {
        let (Anchor::Node(no, _), [name]) = (anchor, rest) else { return false };
        let row = files::find(Subject::Node(View::Net), name).map(|(row, _)| row.row().name);
        self.cloud.known(no).is_some() && matches!(row, Some("status" | "info" | "ctl"))
    }

    // ── what a client does with a far fid ──────────────────────────────────────────────────

    /// Where something that is opened here is served from somewhere else.
    fn elsewhere(&mut self, who: Who, place: Place) -> Result<Option<Elsewhere>> {
        let up = self.goes_up(who.client);
        Ok(match place {
            Place::Known(no, view) => Some((Anchor::Node(no, view), Vec::new(), None)),
            Place::View(view) if up => Some((Anchor::Up, alloc::vec![view.name().into()], None)),
            Place::Dir(Subject::Loc(no)) if up => Some((Anchor::Up, self.loc_names(no), None)),
            Place::File(Subject::Cloud, row, format) if up && !row.row().allocates() => {
                Some((Anchor::Up, alloc::vec![format!("{}{}", row.row().name, format.suffix())], None))
            }
            Place::File(Subject::Loc(no), row, format) if up => {
                let mut names = self.loc_names(no);
                names.push(format!("{}{}", row.row().name, format.suffix()));
                Some((Anchor::Up, names, None))
            }
            Place::File(subject @ (Subject::Tree | Subject::Loc(_)), row, _) if row.row().allocates() => {
                self.placed(subject)?.map(|no| {
                    let name = self.cloud.nodes[&no].name.clone();
                    (Anchor::Node(no, View::Net), alloc::vec!["clone".into()], Some(name))
                })
            }
            _ => None,
        })
    }

    /// Serves an operation on a far fid; gives it back if the fid is not far.
    pub(crate) fn far(&mut self, who: Who, op: Op) -> core::result::Result<Outcome, Op> {
        let Some(fid) = fid_of(&op) else { return Err(op) };
        let Some(state) = self.clients.get(&who.client).and_then(|c| c.fids.get(&fid)) else {
            return Err(op);
        };
        let (place, is_far) = (state.place, state.far.is_some());
        let open = state.open.as_ref().map(|open| matches!(open.state, OpenState::Far));
        if !is_far {
            let Op::Open { .. } = op else { return Err(op) };
            match self.elsewhere(who, place) {
                Ok(None) => return Err(op),
                Err(error) => return Ok(Err(error).into()),
                Ok(Some((anchor, rest, prefix))) => {
                    let qid = self.qid(place);
                    let client = self.clients.get_mut(&who.client).expect("it asks");
                    let state = client.fids.get_mut(&fid).expect("looked up above");
                    state.far = Some(Box::new(Far { anchor, rest, qid, bound: Bound::No }));
                    state.place = Place::Far;
                    state.prefix = prefix;
                }
            }
        }
        match (op, open) {
            (op @ Op::Walk { .. }, _) => Err(op),
            (Op::Clunk { .. }, _) => Ok(match self.clunk(who.client, fid) {
                true => Ok(Reply::Done).into(),
                false => Err(unknown_fid(fid)).into(),
            }),
            // Open, and served from memory.
            (op, Some(false)) => Err(op),
            (Op::Open { access, .. }, None) => Ok(self.far_open(who, fid, access)),
            (Op::Open { .. }, Some(true)) => {
                Ok(Err(Error::new(Errno::BUSY, format!("fid {} is open already", fid.0))).into())
            }
            (Op::Stat { .. }, _) if matches!(place, Place::Known(..)) => Ok(self.stat(place).into()),
            (Op::ReadLink { .. }, _) if self.far_link(who, fid).is_some() => {
                Ok(Outcome::Reply(Reply::Linked(self.far_link(who, fid).unwrap_or_default())))
            }
            (op, _) => Ok(self.far_op(who, fid, op)),
        }
    }

    /// The text of a link to another view of a known node, from where it stands.
    fn far_link(&self, who: Who, fid: Fid) -> Option<String> {
        let far = self.clients.get(&who.client)?.fids.get(&fid)?.far.as_deref()?;
        let (no, view, before) = self.view_link(far.anchor, &far.rest)?;
        let Anchor::Node(_, stands) = far.anchor else { return None };
        // The link itself is not a level, but the directory that it is in is.
        let depth = self.view_of(Some(no), stands)?.len() + far.rest.len() - 1;
        let target = self.view_of(Some(no), view)?;
        let up = core::iter::repeat_n(String::from(".."), depth);
        Some(up.chain(target).chain(before).collect::<Vec<_>>().join("/"))
    }

    fn far_open(&mut self, who: Who, fid: Fid, access: Access) -> Outcome {
        let Some(far) = self.far_mut(who.client, fid) else { return Err(unknown_fid(fid)).into() };
        let (anchor, rest) = (far.anchor, far.rest.clone());
        if self.route(anchor).is_err() && self.from_memory(anchor, &rest) {
            return self.open_memory(who, fid, anchor, &rest[0], access).into();
        }
        self.far_op(who, fid, Op::Open { fid, access })
    }

    /// What was last known of a node that is down; and its `ctl`, which takes `leave`.
    fn open_memory(
        &mut self,
        who: Who,
        fid: Fid,
        anchor: Anchor,
        name: &str,
        access: Access,
    ) -> Result<Reply> {
        let Anchor::Node(no, _) = anchor else { return Err(Errno::IO.into()) };
        let (row, format) = files::find(Subject::Node(View::Net), name).ok_or(Errno::NOENT)?;
        let state = match row.row().name {
            "ctl" => OpenState::Partial(Vec::new()),
            _ if access.write => return Err(self.is_down(no)),
            "status" => OpenState::Snapshot(show::row_of(self, no, format)),
            _ => OpenState::Snapshot(show::info_of(self, no, format)),
        };
        let far = self.far_mut(who.client, fid).ok_or_else(|| unknown_fid(fid))?;
        let qid = far.qid;
        let client = self.clients.get_mut(&who.client).ok_or(Errno::STALE)?;
        let fid = client.fids.get_mut(&fid).expect("looked up above");
        fid.open = Some(Open { access, uid: who.uid, state, parts: None });
        Ok(Reply::Opened(qid, op::Shape::Text))
    }

    /// Reads and writes of what is served from memory.
    pub(crate) fn memory(&mut self, who: Who, fid: Fid, op: Op) -> Outcome {
        let Some(state) = self.clients.get_mut(&who.client).and_then(|c| c.fids.get_mut(&fid)) else {
            return Err(unknown_fid(fid)).into();
        };
        let (Some(far), Some(open)) = (&state.far, &mut state.open) else {
            return Err(Errno::BADF.into()).into();
        };
        let Anchor::Node(no, _) = far.anchor else { return Err(Errno::BADF.into()).into() };
        let qid = far.qid;
        match (op, &mut open.state) {
            (Op::Read { offset, count, .. }, OpenState::Snapshot(text)) => {
                Outcome::Reply(Reply::Data(files::cut(text, offset, count.min(limits::READ))))
            }
            (Op::Read { .. }, _) => Outcome::Reply(Reply::Data(Vec::new())),
            (Op::Write { data, .. }, OpenState::Partial(_)) => match data.trim_ascii() {
                b"leave" => self.forget_node(who.uid, no).map(|()| Reply::Wrote(data.len() as u32)),
                _ => {
                    let error = self.is_down(no);
                    let cause = format!("{error}; only `leave` can be written, which forgets it");
                    Err(Error::new(error.errno, cause))
                }
            }
            .into(),
            (Op::Stat { .. }, _) => {
                let name = far.rest.last().cloned().unwrap_or_default();
                Outcome::Reply(Reply::Stat(self.stat_as(Place::Known(no, View::Net), name, qid, 0o444)))
            }
            (Op::SetStat { .. }, _) => Outcome::Reply(Reply::Done),
            _ => Err(Error::from(Errno::OPNOTSUPP)).into(),
        }
    }

    /// Asks whatever it is at the other end, of the fid that stands for it there.
    fn far_op(&mut self, who: Who, fid: Fid, op: Op) -> Outcome {
        let (link, lane, there) = match self.bind(who, fid) {
            Ok(bound) => bound,
            Err(error) => return Err(error).into(),
        };
        let mut kind = Kind::Other;
        let op = match op {
            Op::Open { access, .. } => {
                kind = Kind::Open(access);
                Op::Open { fid: there, access }
            }
            Op::Read { offset, count, wait, .. } => {
                kind = Kind::Read;
                Op::Read { fid: there, offset, count: count.min(limits::FAR_IO as u32), wait }
            }
            Op::Write { offset, mut data, .. } => {
                let left = data.split_off(data.len().min(limits::FAR_IO));
                kind = Kind::Write { offset, done: 0, left };
                Op::Write { fid: there, offset, data }
            }
            Op::Create { name, mode, access, .. } => {
                kind = Kind::Open(access);
                Op::Create { fid: there, name, mode, access }
            }
            Op::List { cookie, count, .. } => Op::List { fid: there, cookie, count },
            Op::Stat { .. } => Op::Stat { fid: there },
            Op::SetStat { set, .. } => Op::SetStat { fid: there, set },
            Op::ReadLink { .. } => Op::ReadLink { fid: there },
            Op::Remove { .. } => Op::Remove { fid: there },
            Op::Attach { .. } | Op::Walk { .. } | Op::Clunk { .. } | Op::Flush { .. } => {
                return Err(Errno::IO.into()).into();
            }
        };
        let removes = matches!(op, Op::Remove { .. });
        let tag = self.ask(link, lane, Purpose::Op { who, fid, kind }, op);
        if removes && let Some(client) = self.clients.get_mut(&who.client) {
            client.fids.remove(&fid);
        }
        Outcome::Park(On::Asked(tag), Ask::Far(tag))
    }

    /// The fid at the other end. A name whose link broke is walked again; what was open is gone.
    fn bind(&mut self, who: Who, fid: Fid) -> Result<(LinkId, Lane, Fid)> {
        let client = self.clients.get(&who.client).ok_or(Errno::STALE)?;
        let state = client.fids.get(&fid).ok_or_else(|| unknown_fid(fid))?;
        let far = state.far.as_deref().ok_or(Errno::BADF)?;
        let (uid, links, anchor) = (state.uid, state.links, far.anchor);
        if let Bound::There(link, lane, there) | Bound::Walking(link, lane, there) = far.bound {
            if self.cloud.links.contains_key(&link) {
                return Ok((link, lane, there));
            }
        }
        let name = self.far_name(anchor, &far.rest);
        if state.open.is_some() {
            let cause = format!("{name} was open when the link to it broke; open it again");
            return Err(Error::new(Errno::STALE, cause));
        }
        let rest = far.rest.clone();
        let (link, base) = self.route(anchor)?;
        let lane = lane_of(anchor, &rest);
        let user = if self.callers.contains_key(&who.client) { uid } else { who.uid };
        let user = self.user(user).name.clone();
        let from = self.root(link, lane, &user, links)?;
        let there = self.cloud.links.get_mut(&link).expect("routed over it").fid();
        if let Some(far) = self.far_mut(who.client, fid) {
            far.bound = Bound::Walking(link, lane, there);
        }
        let client = who.client;
        self.walk_there(link, lane, from, there, &[base, rest].concat(), |steps| Purpose::Bind {
            client,
            fid,
            steps,
        });
        Ok((link, lane, there))
    }

    // ── answers ────────────────────────────────────────────────────────────────────────────

    pub(crate) fn answered(&mut self, link: LinkId, tag: Tag, reply: Reply) {
        let Some(asked) = self.asked.get(&tag).filter(|asked| asked.link == link) else { return };
        let lane = asked.lane;
        let Asked { purpose, .. } = self.asked.remove(&tag).expect("just seen");
        if let Some(tie) = self.cloud.links.get_mut(&link) {
            tie.asks -= 1;
        }
        self.settle_ask(link, lane, tag, purpose, reply);
    }

    fn settle_ask(&mut self, link: LinkId, lane: Lane, tag: Tag, purpose: Purpose, reply: Reply) {
        match purpose {
            Purpose::Nobody { clunk: Some(fid) } if matches!(reply, Reply::Walked(_)) => {
                // Given up, and it worked: the orphan goes back. If it made nothing, nothing is lost by that.
                self.clunk_there(link, lane, fid);
            }
            Purpose::Nobody { .. } => {}
            Purpose::Root { user, links } => {
                if let (Reply::Failed(error), Some(tie)) = (reply, self.cloud.links.get_mut(&link))
                    && let Some(root) = tie.roots.get_mut(&(lane, user, links))
                {
                    root.refused = Some(error);
                }
            }
            Purpose::Flush { old } => {
                if let Some(asked) = self.asked.remove(&old)
                    && let Some(tie) = self.cloud.links.get_mut(&asked.link)
                {
                    tie.asks -= 1;
                }
            }
            Purpose::Walk(walking) => self.settle_walk(link, lane, tag, *walking, reply),
            Purpose::Bind { client, fid, steps } => {
                let failed = match reply {
                    Reply::Walked(qids) if qids.len() == steps => None,
                    Reply::Failed(error) => Some(self.refusal(link, lane, error)),
                    _ => Some(Errno::NOENT.into()),
                };
                if let Some(far) = self.far_mut(client, fid) {
                    far.bound = match (failed, &far.bound) {
                        (Some(error), _) => Bound::Failed(error),
                        (None, Bound::Walking(link, lane, there)) => Bound::There(*link, *lane, *there),
                        (None, other) => other.clone(),
                    };
                }
            }
            Purpose::Op { who, fid, kind } => self.settle_op((link, lane), who, fid, kind, reply),
            Purpose::Part { client, fid, part, read } => self.part_answered(client, fid, part, read, reply),
            Purpose::Fan { fan, last } => self.fan_answered(link, fan, last, reply),
        }
    }

    /// A fid was not known there because what should have made it failed before: that is what is told.
    fn refusal(&self, link: LinkId, lane: Lane, error: Error) -> Error {
        let roots = self.cloud.links.get(&link).map(|tie| &tie.roots);
        let refused =
            roots.into_iter().flatten().find(|((at, ..), root)| *at == lane && root.refused.is_some());
        match refused {
            Some((_, root)) if error.errno == Errno::BADF => root.refused.clone().unwrap_or(error),
            _ => error,
        }
    }

    fn settle_walk(&mut self, link: LinkId, lane: Lane, _: Tag, walking: Walking, reply: Reply) {
        let Walking { who, newfid, qids, skip, all, in_place, fid } = walking;
        let reply = match reply {
            Reply::Walked(found) if found.len() == all => {
                let own = in_place.as_ref().map(|far| far.qid);
                let own = own.or_else(|| self.far_mut(who.client, newfid).map(|far| far.qid));
                let last = found.last().copied().or(own);
                let mut new = found.into_iter().skip(skip);
                let qids: Vec<Qid> = qids.iter().filter_map(|q| q.or_else(|| new.next()).or(last)).collect();
                let qid = qids.last().copied().or(last);
                match in_place {
                    Some(mut far) => {
                        far.bound = Bound::There(link, lane, fid);
                        far.qid = qid.unwrap_or(far.qid);
                        if let Some(state) =
                            self.clients.get_mut(&who.client).and_then(|c| c.fids.get_mut(&newfid))
                        {
                            let state = FidState {
                                place: Place::Far,
                                far: Some(Box::new(far)),
                                open: None,
                                uid: state.uid,
                                links: state.links,
                                prefix: None,
                            };
                            let old =
                                self.clients.get_mut(&who.client).and_then(|c| c.fids.insert(newfid, state));
                            self.unbind(old);
                        } else {
                            self.clunk_there(link, lane, fid);
                        }
                    }
                    // It may have been clunked meanwhile, and given back by that.
                    None => {
                        let walking = Bound::Walking(link, lane, fid);
                        if let Some(far) = self.far_mut(who.client, newfid).filter(|far| far.bound == walking)
                        {
                            far.bound = Bound::There(link, lane, fid);
                            far.qid = qid.unwrap_or(far.qid);
                        }
                    }
                }
                Reply::Walked(qids)
            }
            other => {
                let walking = Bound::Walking(link, lane, fid);
                if in_place.is_none()
                    && self.far_mut(who.client, newfid).is_some_and(|far| far.bound == walking)
                    && let Some(client) = self.clients.get_mut(&who.client)
                {
                    client.fids.remove(&newfid);
                }
                match other {
                    Reply::Walked(found) => {
                        let mut new = found.into_iter().skip(skip);
                        let known: Vec<Qid> = qids.iter().map_while(|q| q.or_else(|| new.next())).collect();
                        match known.is_empty() {
                            true => Reply::errno(Errno::NOENT),
                            false => Reply::Walked(known),
                        }
                    }
                    Reply::Failed(error) => {
                        let error = self.refusal(link, lane, error);
                        match partial(&qids, error) {
                            Outcome::Reply(reply) => reply,
                            Outcome::Spool { .. } | Outcome::Park(..) => Reply::errno(Errno::IO),
                        }
                    }
                    _ => Reply::errno(Errno::PROTO),
                }
            }
        };
        self.answer_parked(who.client, who.tag, reply);
    }

    fn settle_op(&mut self, (link, lane): (LinkId, Lane), who: Who, fid: Fid, kind: Kind, reply: Reply) {
        let state = self.clients.get_mut(&who.client).and_then(|c| c.fids.get_mut(&fid));
        let reply = match (kind, reply, state) {
            (_, Reply::Failed(error), Some(state)) => {
                let walked = match state.far.as_deref_mut() {
                    Some(far) => match core::mem::replace(&mut far.bound, Bound::No) {
                        Bound::Failed(error) => Some(error),
                        bound => {
                            far.bound = bound;
                            None
                        }
                    },
                    None => None,
                };
                Reply::Failed(walked.unwrap_or_else(|| self.refusal(link, lane, error)))
            }
            (Kind::Open(access), Reply::Opened(qid, shape), Some(state)) => {
                state.open = Some(Open { access, uid: who.uid, state: OpenState::Far, parts: None });
                let far = state.far.as_deref_mut().expect("it was asked as a far one");
                if far.rest.last().is_some_and(|name| name == "clone") || qid.kind != far.qid.kind {
                    far.qid = qid;
                }
                Reply::Opened(far.qid, shape)
            }
            (Kind::Read, Reply::Data(data), Some(FidState { prefix: Some(prefix), .. }))
                if !data.is_empty() =>
            {
                Reply::Data([prefix.as_bytes(), b"/", &data].concat())
            }
            (Kind::Write { offset, done, mut left }, Reply::Wrote(n), Some(state)) if !left.is_empty() => {
                let done = done + n;
                let bound = state.far.as_deref().map(|far| far.bound.clone());
                let Some(Bound::There(_, _, there) | Bound::Walking(_, _, there)) = bound else {
                    return self.answer_parked(who.client, who.tag, Reply::errno(Errno::STALE));
                };
                let next = left.split_off(left.len().min(limits::FAR_IO));
                let kind = Kind::Write { offset, done, left: next };
                let op = Op::Write { fid: there, offset: offset + u64::from(done), data: left };
                let tag = self.ask(link, lane, Purpose::Op { who, fid, kind }, op);
                return self.park_again(who, On::Asked(tag), Ask::Far(tag));
            }
            (Kind::Write { done, .. }, Reply::Wrote(n), _) => Reply::Wrote(done + n),
            (_, reply, _) => reply,
        };
        self.answer_parked(who.client, who.tag, reply);
    }

    /// A link is gone: what was asked over it is answered, with why.
    pub(crate) fn fail_asks(&mut self, link: LinkId, why: &str) {
        let tags: Vec<Tag> = self.asked.iter().filter(|(_, a)| a.link == link).map(|(tag, _)| *tag).collect();
        for tag in tags {
            let Some(Asked { purpose, lane, .. }) = self.asked.remove(&tag) else { continue };
            let name = match &purpose {
                Purpose::Op { who, fid, .. } => self.name_of_far(who.client, *fid),
                Purpose::Walk(walking) => self.name_of_far(walking.who.client, walking.newfid),
                _ => String::new(),
            };
            let colon = if name.is_empty() { "" } else { ": " };
            let cause = format!("{name}{colon}{why}; what runs there goes on");
            self.settle_ask(link, lane, tag, purpose, Reply::Failed(Error::new(Errno::HOSTUNREACH, cause)));
        }
    }

    fn name_of_far(&self, client: ClientId, fid: Fid) -> String {
        let state = self.clients.get(&client).and_then(|c| c.fids.get(&fid));
        state
            .and_then(|state| state.far.as_deref())
            .map(|far| self.far_name(far.anchor, &far.rest))
            .unwrap_or_default()
    }

    /// Whether the session that is placed in a set goes to another node: the least loaded that takes any.
    fn placed(&self, subject: Subject) -> Result<Option<NodeNo>> {
        let mut best: Option<(f64, Option<NodeNo>)> = None;
        let mut offer = |no: Option<NodeNo>, running: u64, attrs: &[(String, crate::Attr)]| {
            let cpus = attrs.iter().find_map(|(k, v)| match v {
                crate::Attr::Int(n) if k == "cpus" => Some(*n),
                _ => None,
            });
            let share = (running + 1) as f64 / cpus.unwrap_or(1).max(1) as f64;
            if best.as_ref().is_none_or(|(least, _)| share < *least) {
                best = Some((share, no));
            }
        };
        if self.holds_me(subject) && !self.cloud.drained {
            offer(None, self.running as u64, &self.node.attrs);
        }
        for (no, known) in self.set_nodes(subject).filter(|(_, k)| k.down.is_none() && !k.drained) {
            offer(Some(no), known.load.running, &known.attrs);
        }
        best.map(|(_, no)| no)
            .ok_or_else(|| Error::new(Errno::AGAIN, "no node of this set is up and takes sessions"))
    }
}

/// A walk that went as far as these steps. Failing at the first is an error.
fn partial(qids: &[Option<Qid>], error: Error) -> Outcome {
    let known: Vec<Qid> = qids.iter().map_while(|q| *q).collect();
    match known.is_empty() {
        true => Err(error).into(),
        false => Outcome::Reply(Reply::Walked(known)),
    }
}
