//! Where a fid can stand: the shape of the tree. Walking, listing, attributes and links follow from it.
//!
//! ```text
//!   /                       Dir(Cloud)
//!   /self                   Link(Home)            to net/<node>
//!   /net /tree /phys        View
//!   /net/<node>             Dir(Node), of another node Known
//!   /net/<node>/...         Views(Node)           one link a view
//!   /net/<node>/<id>        Dir(Session)
//!   /net/<node>/<id>/<rank> Link(Member)          to the member's own directory
//!   /tree/<node>            Dir(Tree)             the node and all below it; of another node Known
//!   /net/<node>/store        Store                 contents by what they are: Content
//!   /phys/<loc>/…           Dir(Loc)              nodes with that location
//!   /logical/<user>/<job>   Dir(Set)              sessions by owner and job; below it Link(Match)
//!   <any of the Dirs>/<row> File(subject, row, format)
//! ```
//! What lies beyond another node's directory, and what only the parent knows, is `Far`: see `far`.

use crate::{
    Kernel, Who,
    cloud::{self, NodeNo},
    far::{Anchor, Spot},
    files, gone, limits,
    park::{Ask, On, Outcome},
    query::{LOGICAL, Look, Set},
    record::Format,
    rights::Owned,
};
use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use op::{Entry, Errno, Error, Fid, FileKind, NodeId, Op, Qid, Reply, Result, SessionId, Stat, Uid, Wall};

/// What core files can speak of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Subject {
    Cloud,
    /// This node and all that is below it.
    Tree,
    /// What a path of `phys/`, of `logical/` or of `query/` selects: its number among those that were walked.
    Set(u32),
    /// This node, as it was reached.
    Node(View),
    Session(SessionId),
}

/// A way to order the nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum View {
    Net,
    Tree,
    Phys,
    Query,
    /// The same as `Query`, but what is opened there waits for a match.
    Await,
    /// Of sessions, not of nodes.
    Logical,
}

impl View {
    const ALL: [View; 6] = [View::Net, View::Tree, View::Phys, View::Logical, View::Query, View::Await];

    pub(crate) fn name(self) -> &'static str {
        match self {
            View::Net => "net",
            View::Tree => "tree",
            View::Phys => "phys",
            View::Query => "query",
            View::Await => "await",
            View::Logical => "logical",
        }
    }

    pub(crate) fn named(name: &str) -> Option<View> {
        View::ALL.into_iter().find(|view| view.name() == name)
    }
}

/// A place in the tree. It stays one when what it speaks of is gone; using it then says so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    View(View),
    Dir(Subject),
    /// Another node's directory, as this one knows it.
    Known(NodeNo, View),
    Views(Subject),
    File(Subject, files::RowId, Format),
    Link(Link),
    /// The node's store.
    Store,
    /// One of its contents, by the kernel's number.
    Content(u64),
    /// Elsewhere: the fid itself says where.
    Far,
}

/// What a link leads to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Link {
    /// `self`.
    Home,
    /// `.../net`: the same in another view.
    View(Subject, View),
    /// `<rank>` of a group.
    Member(SessionId, u32),
    /// `<number>` of a query, or `<rank>` of a job.
    Match(u32, u32),
}

/// Cookies of sessions and members in listings start here; those of fixed names are below.
const NUMBERED: u64 = 1 << 16;
/// Those of nodes start here where there are sessions too.
const NODES: u64 = 1 << 48;

impl Place {
    /// The directory of a view. That of `logical` is a set too.
    pub(crate) fn of_view(view: View) -> Place {
        match view {
            View::Logical => Place::Dir(Subject::Set(LOGICAL)),
            View::Net | View::Tree | View::Phys | View::Query | View::Await => Place::View(view),
        }
    }

    /// The session that this place belongs to.
    pub(crate) fn session(self) -> Option<SessionId> {
        match self {
            Place::Dir(Subject::Session(id))
            | Place::Views(Subject::Session(id))
            | Place::File(Subject::Session(id), ..)
            | Place::Link(Link::View(Subject::Session(id), _) | Link::Member(id, _)) => Some(id),
            Place::View(_)
            | Place::Dir(_)
            | Place::Known(..)
            | Place::Views(_)
            | Place::File(..)
            | Place::Link(_)
            | Place::Store
            | Place::Content(_)
            | Place::Far => None,
        }
    }

    /// Whether whoever holds this holds what it commands.
    pub(crate) fn is_ctl(self) -> bool {
        matches!(self, Place::File(_, row, _) if matches!(row.row().kind, files::Kind::Ctl | files::Kind::Clone))
    }

    /// The set that this place speaks of.
    pub(crate) fn set(self) -> Option<u32> {
        match self {
            Place::Dir(Subject::Set(no))
            | Place::File(Subject::Set(no), ..)
            | Place::Link(Link::Match(no, _)) => Some(no),
            Place::View(_)
            | Place::Dir(_)
            | Place::Known(..)
            | Place::Views(_)
            | Place::File(..)
            | Place::Link(_)
            | Place::Store
            | Place::Content(_)
            | Place::Far => None,
        }
    }

    /// The file's number at its node.
    fn number(self) -> (FileKind, u64) {
        match self {
            Place::Dir(subject) => (FileKind::Dir, base(subject) | 1),
            Place::View(view) => (FileKind::Dir, [2, 6, 7, 9, 10, 11][view as usize]),
            Place::Known(..) => (FileKind::Dir, base(Subject::Node(View::Net)) | 1),
            Place::Views(subject) => (FileKind::Dir, base(subject) | 3),
            Place::Link(Link::Home) => (FileKind::Link, 4),
            Place::Link(Link::View(subject, view)) => {
                (FileKind::Link, base(subject) | [5, 6, 7, 8, 9, 10][view as usize])
            }
            Place::Link(Link::Member(id, rank)) => {
                (FileKind::Link, base(Subject::Session(id)) | (1 << 22) | u64::from(rank))
            }
            Place::Link(Link::Match(no, number)) => {
                (FileKind::Link, base(Subject::Set(no)) | (1 << 23) | u64::from(number))
            }
            Place::File(subject, row, format) => {
                (FileKind::File, base(subject) | 0x100 | (u64::from(row.0) << 2) | format as u64)
            }
            Place::Store => (FileKind::Dir, base(Subject::Node(View::Net)) | 11),
            Place::Content(no) => (FileKind::File, 1 << 59 | no),
            Place::Far => (FileKind::File, 0),
        }
    }
}

/// The root directory's path is 1, as file systems like it.
fn base(subject: Subject) -> u64 {
    match subject {
        Subject::Cloud => 0,
        Subject::Node(_) => 1 << 24,
        Subject::Tree => 1 << 62,
        Subject::Set(no) => (1 << 61) | u64::from(no) << 24,
        Subject::Session(id) => (id.0 + 2) << 24,
    }
}

/// A node's numbers in the cloud's space of numbers: one to one, and different for each node (the finalizer of
/// SplitMix64, Steele, Lea and Flood 2014).
fn salted(id: NodeId, path: u64) -> u64 {
    if id.0 == 0 {
        return path;
    }
    let mut x = path ^ (id.0 >> 64) as u64 ^ id.0 as u64;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Kernel {
    /// The same file has the same number wherever in the cloud it is asked for; the root and its files are each node's own.
    pub(crate) fn qid(&self, place: Place) -> Qid {
        let (kind, path) = place.number();
        let path = match place {
            Place::Known(no, _) => self.cloud.known(no).map_or(path, |known| salted(known.id, path)),
            _ if path < 1 << 24 => path,
            _ => salted(self.node.id, path),
        };
        Qid { kind, version: 0, path }
    }

    /// Whether what the place speaks of is still there.
    pub(crate) fn alive(&self, place: Place) -> Result<()> {
        match (place.session(), place) {
            (Some(id), _) if !self.sessions.contains_key(&id) => Err(gone(id)),
            (_, Place::Known(no, _)) if self.cloud.known(no).is_none() => {
                Err(Error::new(Errno::STALE, "the node left the cloud"))
            }
            (_, Place::Content(no)) if self.store.content(no).is_none() => Err(Kernel::content_gone()),
            _ => Ok(()),
        }
    }

    pub(crate) fn parent(&mut self, place: Place) -> Place {
        match place {
            Place::Dir(Subject::Cloud) | Place::View(_) | Place::Link(Link::Home) | Place::Far => {
                Place::Dir(Subject::Cloud)
            }
            Place::Dir(Subject::Node(View::Phys)) => {
                let loc = cloud::loc(&self.node.attrs).map(String::from);
                loc.map_or(Place::View(View::Phys), |loc| self.loc_place(&loc))
            }
            Place::Dir(Subject::Node(_)) => Place::View(View::Net),
            Place::Dir(Subject::Tree) => Place::View(View::Tree),
            Place::Dir(Subject::Set(no)) => self.set_parent(no),
            Place::Link(Link::Match(no, _)) => Place::Dir(Subject::Set(no)),
            Place::Dir(Subject::Session(_)) => Place::Dir(Subject::Node(View::Net)),
            Place::Known(no, view) => {
                let known = self.cloud.known(no);
                let (parent, loc) = (known.map(|k| k.parent), known.and_then(|k| k.loc()).map(String::from));
                match (view, parent.and_then(|id| self.node_no(id)), loc) {
                    (View::Tree, Some(above), _) => Place::Known(above, View::Tree),
                    (View::Tree, None, _) => Place::Dir(Subject::Tree),
                    (View::Phys, _, Some(loc)) => self.loc_place(&loc),
                    (view, ..) => Place::View(view),
                }
            }
            Place::Store => Place::Dir(Subject::Node(View::Net)),
            Place::Content(_) => Place::Store,
            Place::Views(subject) | Place::File(subject, ..) => Place::Dir(subject),
            Place::Link(Link::View(subject, _)) => Place::Views(subject),
            Place::Link(Link::Member(id, _)) => Place::Dir(Subject::Session(id)),
        }
    }

    /// The directory of a location; the empty one is `phys` itself.
    fn loc_place(&mut self, path: &str) -> Place {
        match path {
            "" => Place::View(View::Phys),
            path => Place::Dir(Subject::Set(self.set_no(Set::Loc(path.into())))),
        }
    }

    /// Where a link leads; `None` if that is gone.
    pub(crate) fn target(&self, link: Link) -> Option<Place> {
        match link {
            Link::Home => Some(Place::Dir(Subject::Node(View::Net))),
            Link::View(Subject::Node(_), View::Tree) => Some(Place::Dir(Subject::Tree)),
            Link::View(Subject::Node(_), view) => Some(Place::Dir(Subject::Node(view))),
            Link::View(subject, _) => Some(Place::Dir(subject)),
            Link::Member(group, rank) => {
                Some(Place::Dir(Subject::Session(*self.sessions.get(&group)?.members.get(&rank)?)))
            }
            Link::Match(..) => match self.led_to(link)? {
                Spot::Here(place) => Some(place),
                Spot::There(..) => None,
            },
        }
    }

    /// Where a link leads, here or elsewhere; `None` if that is gone.
    fn led_to(&self, link: Link) -> Option<Spot> {
        if let Link::Member(group, rank) = link
            && let Some((anchor, names)) = self.member_elsewhere(group, rank)
        {
            return Some(Spot::There(anchor, names));
        }
        let Link::Match(no, number) = link else { return self.target(link).map(Spot::Here) };
        let leaf = self.matched(no, number)?;
        let (node, session) = leaf.split_once('/').map_or((leaf, None), |(node, id)| (node, Some(id)));
        let here = *node == *self.node.name;
        Some(match (here, session) {
            (true, None) => Spot::Here(Place::Dir(Subject::Node(View::Net))),
            (true, Some(id)) => {
                let id = SessionId(id.parse().ok()?);
                Spot::Here(Place::Dir(Subject::Session(id)))
            }
            (false, None) => Spot::Here(Place::Known(self.cloud.named(node)?, View::Net)),
            (false, Some(id)) => {
                Spot::There(Anchor::Node(self.cloud.named(node)?, View::Net), alloc::vec![id.into()])
            }
        })
    }

    pub(crate) fn read_link(&self, place: Place) -> Result<Reply> {
        let Place::Link(link) = place else { return Err(Errno::INVAL.into()) };
        let node = &self.node.name;
        Ok(Reply::Linked(match link {
            Link::Home => format!("net/{node}"),
            Link::View(subject, view) => {
                let stands = match subject {
                    Subject::Node(stands) => stands,
                    Subject::Tree => View::Tree,
                    Subject::Cloud | Subject::Set(_) | Subject::Session(_) => View::Net,
                };
                let session = if let Subject::Session(id) = subject { Some(id.0.to_string()) } else { None };
                let stands = self.view_of(None, stands).ok_or(Errno::NOENT)?;
                let there = match (view, subject) {
                    (View::Logical, Subject::Session(id)) => self.logical_path(self.session(id)?),
                    _ => {
                        let there = self.view_of(None, view).ok_or(Errno::NOENT)?;
                        there.into_iter().chain(session.clone()).collect()
                    }
                };
                // The link itself is no level, but `...` is.
                let depth = stands.len() + usize::from(session.is_some()) + 1;
                let up = core::iter::repeat_n(String::from(".."), depth);
                up.chain(there).collect::<Vec<_>>().join("/")
            }
            Link::Member(group, rank) if self.member_elsewhere(group, rank).is_some() => {
                let (anchor, names) = self.member_elsewhere(group, rank).unwrap_or((Anchor::Up, Vec::new()));
                // From the session's directory.
                format!("../../../{}", self.far_name(anchor, &names))
            }
            Link::Member(..) => match self.target(link) {
                Some(Place::Dir(Subject::Session(id))) => format!("../{}", id.0),
                _ => return Err(Errno::NOENT.into()),
            },
            Link::Match(no, number) => {
                let leaf = self.matched(no, number).ok_or(Errno::NOENT)?;
                let up = core::iter::repeat_n("..", self.set_path(no).len());
                format!("{}/net/{leaf}", up.collect::<Vec<_>>().join("/"))
            }
        }))
    }

    /// One step down or up.
    fn step(&mut self, place: Place, name: &str, up: bool) -> Result<Spot> {
        if name.len() > limits::NAME {
            return Err(Errno::NAMETOOLONG.into());
        }
        match name {
            "." => return Ok(Spot::Here(place)),
            ".." => return Ok(Spot::Here(self.parent(place))),
            _ => {}
        }
        self.alive(place)?;
        let above = |names: Vec<String>| Spot::There(Anchor::Up, names);
        let here = |place: Place| Spot::Here(place);
        // Nodes are known by their ids too, to each other: what is meant must not be another one that is called so by now.
        let id = NodeId::from_word(name);
        let found = match place {
            Place::View(View::Net) if *name == *self.node.name || id == Some(self.node.id) => {
                Some(here(Place::Dir(Subject::Node(View::Net))))
            }
            Place::View(View::Net) => match self.cloud.named(name).or_else(|| self.node_no(id?)) {
                Some(no) => Some(here(Place::Known(no, View::Net))),
                None => up.then(|| above(alloc::vec!["net".into(), name.into()])),
            },
            Place::View(view) if up => Some(above(alloc::vec![view.name().into(), name.into()])),
            Place::View(View::Tree) => (*name == *self.node.name).then_some(here(Place::Dir(Subject::Tree))),
            Place::View(View::Phys) => self.step_in_loc("", name).map(here),
            Place::View(view @ (View::Query | View::Await)) => {
                Some(here(self.step_in_query(Err(view == View::Await), name)?))
            }
            Place::View(View::Logical) => return self.step(Place::of_view(View::Logical), name, up),
            Place::Dir(Subject::Set(no)) if up && !self.is_below(no) => {
                let mut names = self.set_path(no);
                names.push(name.into());
                Some(above(names))
            }
            Place::Dir(Subject::Set(no)) => match (files::find(Subject::Set(no), name), self.set(no).clone())
            {
                (Some((row, format)), _) => Some(here(Place::File(Subject::Set(no), row, format))),
                (None, Set::Loc(path)) => self.step_in_loc(&path, name).map(here),
                (None, Set::Logical(path, _)) => Some(here(self.step_in_logical(no, &path, name)?)),
                (None, Set::Query(_)) => Some(here(self.step_in_query(Ok(no), name)?)),
            },
            Place::Known(no, view) => Some(Spot::There(Anchor::Node(no, view), alloc::vec![name.into()])),
            Place::Dir(Subject::Node(_) | Subject::Tree) if name == "fs" && self.node.fs => {
                Some(Spot::There(Anchor::Files, Vec::new()))
            }
            Place::Dir(Subject::Node(_) | Subject::Tree) if matches!(name, "query" | "await") => {
                Some(here(self.query_below(name == "await")))
            }
            Place::Dir(Subject::Node(_) | Subject::Tree) if name == "store" => Some(here(Place::Store)),
            Place::Dir(subject) => self.step_in(subject, name).map(here),
            Place::Views(subject) => View::named(name)
                .filter(|view| self.is_in(subject, *view))
                .map(|view| here(Place::Link(Link::View(subject, view)))),
            // With the client that asks: see `walk_steps`.
            Place::Store => None,
            Place::File(..) | Place::Link(_) | Place::Content(_) | Place::Far => {
                return Err(Errno::NOTDIR.into());
            }
        };
        found.ok_or_else(|| self.not_found(place, name))
    }

    fn step_in(&self, subject: Subject, name: &str) -> Option<Place> {
        if let Some((row, format)) = files::find(subject, name) {
            return Some(Place::File(subject, row, format));
        }
        let number = || name.parse::<u64>().ok().filter(|n| n.to_string() == name);
        match (subject, name) {
            (Subject::Cloud, "self") => Some(Place::Link(Link::Home)),
            (Subject::Cloud, _) => View::named(name).map(Place::of_view),
            (Subject::Set(_), _) => None,
            (Subject::Node(_) | Subject::Tree | Subject::Session(_), "...") => Some(Place::Views(subject)),
            (Subject::Node(_) | Subject::Tree, _) => match number() {
                Some(id) => {
                    let id = SessionId(id);
                    self.sessions.contains_key(&id).then_some(Place::Dir(Subject::Session(id)))
                }
                None => {
                    let child = self.child_named(name).filter(|_| subject == Subject::Tree)?;
                    Some(Place::Known(child, View::Tree))
                }
            },
            (Subject::Session(id), _) => {
                let rank = u32::try_from(number()?).ok()?;
                self.has_member(id, rank).then_some(Place::Link(Link::Member(id, rank)))
            }
        }
    }

    /// What has a name in a location: a further part of it, or a node that is just there.
    fn step_in_loc(&mut self, path: &str, name: &str) -> Option<Place> {
        let found = self.loc_entries(path).into_iter().find(|(entry, _)| entry == name)?;
        Some(match found.1 {
            Some(place) => place,
            None => {
                let deeper = if path.is_empty() { String::from(name) } else { format!("{path}/{name}") };
                self.loc_place(&deeper)
            }
        })
    }

    /// What is in a location, by name; `None` is a further part of a path. A node hides a part of the same name.
    fn loc_entries(&self, path: &str) -> Vec<(String, Option<Place>)> {
        let me = (cloud::loc(&self.node.attrs), &self.node.name, Place::Dir(Subject::Node(View::Phys)));
        let others = self.cloud.nodes.iter().map(|(no, k)| (k.loc(), &k.name, Place::Known(*no, View::Phys)));
        let mut all = alloc::collections::BTreeMap::new();
        for (loc, name, place) in core::iter::once(me).chain(others) {
            let Some(loc) = loc.filter(|loc| cloud::within(Some(loc), path)) else { continue };
            match loc[path.len()..].trim_start_matches('/') {
                "" => drop(all.insert(String::from(&**name), Some(place))),
                rest => {
                    let part = rest.split('/').next().unwrap_or_default();
                    all.entry(String::from(part)).or_insert(None);
                }
            }
        }
        all.into_iter().collect()
    }

    /// Whether a node's or session's directory has a link to a view.
    fn is_in(&self, subject: Subject, view: View) -> bool {
        match view {
            View::Logical => matches!(subject, Subject::Session(_)),
            View::Net | View::Tree | View::Phys | View::Query | View::Await => {
                self.view_of(None, view).is_some()
            }
        }
    }

    fn not_found(&self, place: Place, name: &str) -> Error {
        let me = &self.node.name;
        let cause = match place {
            Place::View(View::Net) => match &self.cloud.lost {
                Some((parent, since, why)) => {
                    let since = crate::notices::rfc3339(*since);
                    let cause = format!(
                        "{name} is not below {me}, and {parent}, its parent, is down since {since}: {why}"
                    );
                    return Error::new(Errno::HOSTUNREACH, cause);
                }
                None if self.cloud.nodes.is_empty() => {
                    format!("no node is called {name}; this one is {me}")
                }
                None => format!("no node is called {name}"),
            },
            Place::Dir(Subject::Node(_)) if name == "fs" => {
                return self.no_files();
            }
            Place::Dir(Subject::Node(_)) if name.bytes().all(|b| b.is_ascii_digit()) => {
                format!("no session {name} on {me}: it never was, or it was freed")
            }
            Place::Store => format!("{me} does not have {name}"),
            Place::View(_)
            | Place::Dir(_)
            | Place::Known(..)
            | Place::Views(_)
            | Place::File(..)
            | Place::Link(_)
            | Place::Content(_)
            | Place::Far => return Errno::NOENT.into(),
        };
        Error::new(Errno::NOENT, cause)
    }

    pub(crate) fn walk(
        &mut self,
        who: Who,
        fid: Fid,
        newfid: Fid,
        names: &[String],
        mut looks: Vec<Look>,
    ) -> Outcome {
        let outcome = match self.walk_steps(who, fid, newfid, names, &mut looks) {
            Ok(outcome) => outcome,
            Err(error) => Err(error).into(),
        };
        // It may have come to its end another way than when it began to look.
        self.drop_looks(&looks);
        if !matches!(&outcome, Outcome::Park(On::Made(..) | On::Parts(..), _)) {
            self.made(who.client, newfid);
        }
        outcome
    }

    fn walk_steps(
        &mut self,
        who: Who,
        fid: Fid,
        newfid: Fid,
        names: &[String],
        looks: &mut Vec<Look>,
    ) -> Result<Outcome> {
        let client = self.clients.get(&who.client).ok_or(Errno::STALE)?;
        let from = client.fids.get(&fid).ok_or_else(|| unknown_fid(fid))?;
        if fid != newfid && client.fids.contains_key(&newfid) {
            return Err(Error::new(Errno::BADF, format!("fid {} is in use", newfid.0)));
        }
        if fid == newfid && from.open.is_some() {
            return Err(Error::new(Errno::BUSY, "an open fid cannot walk; walk to another"));
        }
        if client.fids.len() >= limits::FIDS_PER_CLIENT {
            return Err(Error::new(
                Errno::MFILE,
                format!("this client has {} fids already", client.fids.len()),
            ));
        }
        if names.len() > limits::STEPS {
            return Err(Error::new(
                Errno::NAMETOOLONG,
                format!("a walk has at most {} steps", limits::STEPS),
            ));
        }
        // A walk from a session that is only being allocated goes on when it is known which that is.
        if from.far.as_deref().is_some_and(|far| far.unnamed) {
            let (on, names) = (On::Made(who.client, fid), names.to_vec());
            self.making(who, fid, newfid);
            return Ok(Outcome::Park(on, Ask::Op(Op::Walk { fid, newfid, names })));
        }
        let (links, uid, up) = (from.links, from.uid, self.goes_up(who.client));
        let mut relative = from.far.as_deref().map(|far| far.rest.len());
        let mut spot = match from.far.as_deref() {
            Some(far) => Spot::There(far.anchor, far.rest.clone()),
            None => Spot::Here(from.place),
        };
        let mut qids: Vec<Option<Qid>> = Vec::with_capacity(names.len());
        for name in names {
            relative = relative.filter(|_| name != "..");
            if let Spot::Here(place) = spot
                && !up
                && let Some(on) = self.look(who, place, name, looks)
            {
                self.making(who, fid, newfid);
                let op = Op::Walk { fid, newfid, names: names.to_vec() };
                return Ok(Outcome::Park(on, Ask::Walk(op, core::mem::take(looks))));
            }
            let next = match spot {
                Spot::Here(Place::Link(link)) => match self.led_to(link).ok_or(Errno::NOENT)? {
                    Spot::Here(place) => self.step(place, name, up),
                    Spot::There(anchor, rest) => self.step_there(anchor, rest, name),
                },
                Spot::Here(Place::Store) if !matches!(name.as_str(), "." | "..") => {
                    let found = self.step_in_store(who.client, name);
                    found
                        .and_then(|place| place.ok_or_else(|| self.not_found(Place::Store, name)))
                        .map(Spot::Here)
                }
                Spot::Here(place) => self.step(place, name, up),
                Spot::There(anchor, rest) => {
                    let had = rest.len();
                    let next = self.step_there(anchor, rest, name);
                    // Through a link to another view: what follows has another name.
                    let longer = matches!(&next, Ok(Spot::There(_, rest)) if rest.len() == had + 1);
                    relative = relative.filter(|_| longer);
                    next
                }
            };
            spot = match next {
                Ok(spot) => spot,
                Err(error) if qids.is_empty() => return Err(error),
                Err(_) => {
                    // What lies behind a far step is not known to be there.
                    let known: Vec<Qid> = qids.iter().map_while(|q| *q).collect();
                    return Ok(Outcome::Reply(Reply::Walked(known)));
                }
            };
            if let (Spot::Here(Place::Link(link)), false) = (&spot, links) {
                spot = self.led_to(*link).ok_or(Errno::NOENT)?;
            }
            qids.push(match &spot {
                Spot::Here(place) => Some(self.qid(*place)),
                Spot::There(..) => None,
            });
        }
        Ok(match spot {
            Spot::Here(place) => self.walked_here(who, newfid, place, None, qids, uid, links),
            Spot::There(anchor, rest) => self.walk_far(who, (fid, newfid), (anchor, rest), qids, relative),
        })
    }

    /// A walk waits: what is asked of the fid that it makes waits too.
    fn making(&mut self, who: Who, fid: Fid, newfid: Fid) {
        if fid != newfid
            && let Some(client) = self.clients.get_mut(&who.client)
        {
            client.making.insert(newfid);
        }
    }

    /// Names and places below a directory, after a cookie, at most `count`; each with its own cookie.
    fn children(&self, place: Place, after: u64, count: usize) -> Vec<(u64, String, Place)> {
        let mut fixed: Vec<(String, Place)> = Vec::new();
        if after < NUMBERED {
            let me = || String::from(&*self.node.name);
            match place {
                Place::View(View::Net) => fixed.push((me(), Place::Dir(Subject::Node(View::Net)))),
                Place::View(View::Tree) => fixed.push((me(), Place::Dir(Subject::Tree))),
                Place::Views(subject) => {
                    let views = View::ALL.into_iter().filter(|view| self.is_in(subject, *view));
                    fixed.extend(views.map(|v| (v.name().into(), Place::Link(Link::View(subject, v)))));
                }
                Place::Dir(subject) => {
                    fixed.extend(files::names(subject).map(|(n, row, f)| (n, Place::File(subject, row, f))));
                    match subject {
                        Subject::Cloud => {
                            fixed.extend(View::ALL.map(|view| (view.name().into(), Place::of_view(view))));
                            fixed.push(("self".into(), Place::Link(Link::Home)));
                        }
                        Subject::Node(_) | Subject::Tree | Subject::Session(_) => {
                            fixed.push(("...".into(), Place::Views(subject)));
                            if !matches!(subject, Subject::Session(_)) {
                                fixed.push(("store".into(), Place::Store));
                            }
                            if self.node.fs && !matches!(subject, Subject::Session(_)) {
                                fixed.push(("fs".into(), Place::Far));
                            }
                        }
                        Subject::Set(_) => {}
                    }
                }
                Place::View(View::Phys | View::Query | View::Await | View::Logical)
                | Place::Known(..)
                | Place::File(..)
                | Place::Link(_)
                | Place::Store
                | Place::Content(_)
                | Place::Far => {}
            }
        }
        let fixed = fixed.into_iter().enumerate().map(|(i, (name, place))| (i as u64 + 1, name, place));
        let mut found: Vec<_> = fixed.filter(|(cookie, ..)| *cookie > after).take(count).collect();
        let from = after.saturating_add(1).saturating_sub(NUMBERED);
        let left = count - found.len();
        match place {
            Place::View(View::Net) => {
                let from = NodeNo(u32::try_from(from).unwrap_or(u32::MAX));
                found.extend(self.cloud.nodes.range(from..).take(left).map(|(no, known)| {
                    let place = Place::Known(*no, View::Net);
                    (NUMBERED + u64::from(no.0), String::from(&*known.name), place)
                }));
            }
            Place::Dir(Subject::Node(_) | Subject::Tree) => {
                if after < NODES {
                    found.extend(self.sessions.range(SessionId(from)..).take(left).map(|(id, _)| {
                        (NUMBERED + id.0, id.0.to_string(), Place::Dir(Subject::Session(id)))
                    }));
                }
                if place == Place::Dir(Subject::Tree) {
                    let from = after.saturating_add(1).saturating_sub(NODES);
                    let from = NodeNo(u32::try_from(from).unwrap_or(u32::MAX));
                    let children =
                        self.cloud.nodes.range(from..).filter(|(_, known)| known.parent == self.node.id);
                    found.extend(children.take(count - found.len()).map(|(no, known)| {
                        let place = Place::Known(*no, View::Tree);
                        (NODES + u64::from(no.0), String::from(&*known.name), place)
                    }));
                }
            }
            Place::View(View::Phys) | Place::Dir(Subject::Set(_)) => {
                let path: Arc<str> = match place {
                    Place::Dir(Subject::Set(no)) => match self.set(no) {
                        Set::Loc(path) => path.clone(),
                        Set::Query(query) if query.terms.is_empty() => {
                            let terms = self.known_terms().into_iter().enumerate();
                            let terms = terms.skip(from as usize).take(left);
                            let kind = Place::View(View::Query);
                            found.extend(terms.map(|(i, name)| (NUMBERED + i as u64, name, kind)));
                            return found;
                        }
                        // In an order of its own an entry is found again by where it stands.
                        Set::Query(_) if self.is_ordered(Subject::Set(no)) => {
                            let all = self.numbered(no).iter().enumerate().skip(from as usize).take(left);
                            found.extend(all.map(|(at, number)| {
                                let place = Place::Link(Link::Match(no, *number));
                                (NUMBERED + at as u64, number.to_string(), place)
                            }));
                            return found;
                        }
                        set @ (Set::Query(_) | Set::Logical(..)) => {
                            // A user or a job has no number of its own until it is walked to; its kind is what counts.
                            let dirs = matches!(set, Set::Logical(path, _) if !path.contains('/'));
                            let all = self.numbered(no);
                            let first = all.partition_point(|number| u64::from(*number) < from);
                            found.extend(all[first..].iter().take(left).map(|number| {
                                let link = Place::Link(Link::Match(no, *number));
                                let place = if dirs { Place::View(View::Logical) } else { link };
                                (NUMBERED + u64::from(*number), self.match_name(no, *number), place)
                            }));
                            return found;
                        }
                    },
                    _ => "".into(),
                };
                let entries = self.loc_entries(&path).into_iter().enumerate().skip(from as usize).take(left);
                found.extend(entries.map(|(i, (name, place))| {
                    // A further part of a path has no number until it is walked to; its kind is what counts.
                    (NUMBERED + i as u64, name, place.unwrap_or(Place::View(View::Phys)))
                }));
            }
            Place::View(View::Query) => {
                let entries = self.known_terms().into_iter().enumerate().skip(from as usize).take(left);
                found.extend(entries.map(|(i, name)| (NUMBERED + i as u64, name, Place::View(View::Query))));
            }
            // Whoever only looks must not be made to wait: the terms are those of `query`.
            Place::View(View::Await) => {}
            // It is a set's directory.
            Place::View(View::Logical) => {}
            Place::Dir(Subject::Session(id)) => {
                let from = u32::try_from(from).unwrap_or(u32::MAX);
                let ranks = self.member_ranks(id, from).into_iter().take(left);
                found.extend(ranks.map(|rank| {
                    (NUMBERED + u64::from(rank), rank.to_string(), Place::Link(Link::Member(id, rank)))
                }));
            }
            Place::Store => found.extend(
                self.store
                    .list(from)
                    .take(left)
                    .map(|(no, content)| (NUMBERED + no, content.to_string(), Place::Content(no))),
            ),
            Place::View(View::Tree)
            | Place::Dir(Subject::Cloud)
            | Place::Known(..)
            | Place::Views(_)
            | Place::File(..)
            | Place::Link(_)
            | Place::Content(_)
            | Place::Far => {}
        }
        found
    }

    pub(crate) fn list(&self, place: Place, links: bool, cookie: u64, count: u32) -> Result<Reply> {
        self.alive(place)?;
        let entry = |(cookie, name, place): (u64, String, Place)| {
            let place = match place {
                // What it leads to may be elsewhere; it is a directory in any case.
                Place::Link(Link::Match(..)) if !links => Place::View(View::Query),
                Place::Link(Link::Member(group, rank))
                    if !links && self.member_elsewhere(group, rank).is_some() =>
                {
                    Place::View(View::Query)
                }
                Place::Link(link) if !links => self.target(link).unwrap_or(place),
                place => place,
            };
            Entry { cookie, stat: self.attributes(place, name) }
        };
        let count = count.min(limits::LIST) as usize;
        Ok(Reply::Listed(self.children(place, cookie, count).into_iter().map(entry).collect()))
    }

    pub(crate) fn stat(&self, place: Place) -> Result<Reply> {
        self.alive(place)?;
        let name = match place {
            Place::Dir(Subject::Cloud) => "/".into(),
            Place::View(view) => view.name().into(),
            Place::Dir(Subject::Node(_) | Subject::Tree) => String::from(&*self.node.name),
            Place::Dir(Subject::Set(no)) => self.set_path(no).pop().unwrap_or_default(),
            Place::Dir(Subject::Session(id)) => id.0.to_string(),
            Place::Known(no, _) => self.cloud.known(no).map(|k| String::from(&*k.name)).unwrap_or_default(),
            Place::Views(_) => "...".into(),
            Place::Link(Link::Home) => "self".into(),
            Place::Link(Link::View(_, view)) => view.name().into(),
            Place::Link(Link::Member(_, rank)) => rank.to_string(),
            Place::Link(Link::Match(no, number)) => self.match_name(no, number),
            Place::File(_, row, format) => format!("{}{}", row.row().name, format.suffix()),
            Place::Store => "store".into(),
            Place::Content(no) => {
                self.store.content(no).map(|content| content.to_string()).unwrap_or_default()
            }
            Place::Far => return Err(Errno::IO.into()),
        };
        Ok(Reply::Stat(self.attributes(place, name)))
    }

    /// Attributes of a place, under another name and identity.
    pub(crate) fn stat_as(&self, place: Place, name: String, qid: Qid, mode: u32) -> Stat {
        Stat { qid, mode, ..self.attributes(place, name) }
    }

    fn attributes(&self, place: Place, name: String) -> Stat {
        let owned = self.owned(place);
        let (user, group) = self.names_of(owned);
        let size = match place {
            Place::Link(_) => match self.read_link(place) {
                Ok(Reply::Linked(text)) => text.len() as u64,
                _ => 0,
            },
            // A kept text has a length, which `>>` needs; what is made as it is read has none.
            Place::File(Subject::Session(id), row, _) => match (&row.row().kind, self.sessions.get(&id)) {
                (files::Kind::Edit(edit), Some(session)) => (edit.read)(session).len() as u64,
                _ => 0,
            },
            Place::Content(no) => self.store.content(no).map_or(0, |content| content.size),
            Place::View(_)
            | Place::Dir(_)
            | Place::Known(..)
            | Place::Views(_)
            | Place::File(..)
            | Place::Store
            | Place::Far => 0,
        };
        let mtime = match place.session().and_then(|id| self.sessions.get(&id)) {
            Some(session) => session.changed(),
            None => self.node.started,
        };
        let mode = u32::from(owned.mode);
        let mut qid = self.qid(place);
        if let Place::Far = place {
            // `fs` in a listing.
            qid = Qid { kind: FileKind::Dir, version: 0, path: salted(self.node.id, (1 << 60) | 1) };
        }
        Stat { name, qid, mode, uid: owned.uid.0, gid: owned.gid, user, group, size, mtime }
    }

    fn names_of(&self, owned: Owned) -> (Arc<str>, Arc<str>) {
        match self.users.get(&owned.uid) {
            Some(user) => match user.groups.iter().find(|g| g.0 == owned.gid) {
                Some(group) => (user.name.clone(), group.1.clone()),
                None => (user.name.clone(), self.group_name(owned.gid)),
            },
            None => (format!("{}", owned.uid.0).into(), self.group_name(owned.gid)),
        }
    }

    /// Whose a place is, and who else may use it.
    pub(crate) fn owned(&self, place: Place) -> Owned {
        let node = || (self.node.owner.uid, self.node.owner.groups.first().map_or(0, |g| g.0));
        let (uid, gid) = match place.session().and_then(|id| self.sessions.get(&id)) {
            Some(session) => (session.owner, session.gid),
            None => node(),
        };
        let shared = || place.session().and_then(|id| self.sessions.get(&id)).map_or(0o600, |s| s.mode);
        let mode = match place {
            Place::File(Subject::Session(_), row, _) if row.row().private => row.row().mode & shared(),
            Place::File(_, row, _) => row.row().mode,
            Place::Link(_) => 0o777,
            // A session's directory shows the session's mode itself, so that `chmod g+w`, which begins with what is
            // shown, opens nothing else. Anybody may look into it all the same.
            Place::Dir(Subject::Session(_)) => 0o111 | shared(),
            // Who knows what a content is called may have it; who may look around is the node's owner.
            Place::Store => 0o733,
            Place::Content(_) => 0o444,
            Place::View(_) | Place::Dir(_) | Place::Known(..) | Place::Views(_) | Place::Far => 0o555,
        };
        Owned { uid, gid, mode }
    }

    /// chmod and chgrp of a session's directory; truncation of what has no length means nothing.
    pub(crate) fn set_stat(&mut self, uid: Uid, place: Place, set: &op::SetStat) -> Result<Reply> {
        self.alive(place)?;
        if set.uid.is_some_and(|new| new != self.owned(place).uid.0) {
            return Err(Error::new(Errno::PERM, "a session keeps its owner"));
        }
        if matches!(place, Place::Content(_)) && set.uid.is_none() && set.gid.is_none() {
            return Ok(Reply::Done);
        }
        if set.mode.is_some() || set.gid.is_some() {
            let (Place::Dir(Subject::Session(id)), Ok(_)) = (place, self.alive(place)) else {
                return Err(Error::new(
                    Errno::PERM,
                    "only a session's directory can be opened to others by chmod",
                ));
            };
            let owner = self.session(id)?.owner;
            if !self.stands_for(uid, owner) {
                return Err(Error::new(Errno::PERM, "only a session's owner can do that"));
            }
            if let Some(gid) = set.gid
                && uid.0 != 0
                && !self.user(uid).groups.iter().any(|g| g.0 == gid)
            {
                return Err(Error::new(Errno::PERM, format!("you are not in group {gid}")));
            }
            let session = self.sessions.get_mut(&id).expect("alive");
            session.mode = set.mode.map_or(session.mode, |mode| (mode & 0o666) as u16 | 0o600);
            session.gid = set.gid.unwrap_or(session.gid);
            self.touch(id);
        }
        if let Some(size) = set.size {
            self.truncate(uid, place, size)?;
        }
        Ok(Reply::Done)
    }
}

impl crate::session::Session {
    /// When something last became of it.
    fn changed(&self) -> Wall {
        match &self.state {
            crate::session::State::Ended { exit, .. } => exit.at,
            crate::session::State::Running { at, .. } => *at,
            crate::session::State::Fresh | crate::session::State::Starting => self.created,
        }
    }
}

pub(crate) fn unknown_fid(fid: Fid) -> Error {
    Error::new(Errno::BADF, format!("fid {} is not known", fid.0))
}
