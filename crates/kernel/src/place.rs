//! Where a fid can stand: the shape of the tree. Walking, listing, attributes and links follow from it.
//!
//! ```text
//!   /                       Dir(Cloud)
//!   /self                   Link(Home)            to net/<node>
//!   /net                    Net
//!   /net/<node>             Dir(Node)
//!   /net/<node>/...         Views(Node)           one link a view
//!   /net/<node>/<id>        Dir(Session)
//!   /net/<node>/<id>/<rank> Link(Member)          to the member's own directory
//!   <any of the Dirs>/<row> File(subject, row, format)
//! ```

use crate::{FidState, Kernel, Who, files, gone, limits, record::Format, rights::Owned};
use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use op::{Entry, Errno, Error, Fid, FileKind, Qid, Reply, Result, SessionId, Stat, Uid, Wall};

/// What core files can speak of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Subject {
    Cloud,
    Node,
    Session(SessionId),
}

/// A place in the tree. It stays one when what it speaks of is gone; using it then says so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    Net,
    Dir(Subject),
    Views(Subject),
    File(Subject, files::RowId, Format),
    Link(Link),
}

/// What a link leads to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Link {
    /// `self`.
    Home,
    /// `.../net`: the same in the network view.
    View(Subject),
    /// `<rank>` of a group.
    Member(SessionId, u32),
}

/// Cookies of sessions and members in listings start here; those of fixed names are below.
const NUMBERED: u64 = 1 << 16;

impl Place {
    /// The session that this place belongs to.
    pub(crate) fn session(self) -> Option<SessionId> {
        match self {
            Place::Dir(Subject::Session(id))
            | Place::Views(Subject::Session(id))
            | Place::File(Subject::Session(id), ..)
            | Place::Link(Link::View(Subject::Session(id)) | Link::Member(id, _)) => Some(id),
            Place::Net | Place::Dir(_) | Place::Views(_) | Place::File(..) | Place::Link(_) => None,
        }
    }

    pub(crate) fn qid(self) -> Qid {
        let (kind, path) = match self {
            Place::Dir(subject) => (FileKind::Dir, base(subject) | 1),
            Place::Net => (FileKind::Dir, 2),
            Place::Views(subject) => (FileKind::Dir, base(subject) | 3),
            Place::Link(Link::Home) => (FileKind::Link, 4),
            Place::Link(Link::View(subject)) => (FileKind::Link, base(subject) | 5),
            Place::Link(Link::Member(id, rank)) => {
                (FileKind::Link, base(Subject::Session(id)) | (1 << 17) | u64::from(rank))
            }
            Place::File(subject, row, format) => {
                (FileKind::File, base(subject) | 0x100 | (u64::from(row.0) << 2) | format as u64)
            }
        };
        Qid { kind, version: 0, path }
    }
}

/// The root directory's path is 1, as file systems like it.
fn base(subject: Subject) -> u64 {
    match subject {
        Subject::Cloud => 0,
        Subject::Node => 1 << 24,
        Subject::Session(id) => (id.0 + 2) << 24,
    }
}

impl Kernel {
    /// Whether what the place speaks of is still there.
    pub(crate) fn alive(&self, place: Place) -> Result<()> {
        match place.session() {
            Some(id) if !self.sessions.contains_key(&id) => Err(gone(id)),
            _ => Ok(()),
        }
    }

    pub(crate) fn parent(&self, place: Place) -> Place {
        match place {
            Place::Dir(Subject::Cloud) | Place::Net | Place::Link(Link::Home) => Place::Dir(Subject::Cloud),
            Place::Dir(Subject::Node) => Place::Net,
            Place::Dir(Subject::Session(_)) => Place::Dir(Subject::Node),
            Place::Views(subject) | Place::File(subject, ..) => Place::Dir(subject),
            Place::Link(Link::View(subject)) => Place::Views(subject),
            Place::Link(Link::Member(id, _)) => Place::Dir(Subject::Session(id)),
        }
    }

    /// Where a link leads; `None` if that is gone.
    pub(crate) fn target(&self, link: Link) -> Option<Place> {
        match link {
            Link::Home => Some(Place::Dir(Subject::Node)),
            Link::View(subject) => Some(Place::Dir(subject)),
            Link::Member(group, rank) => {
                Some(Place::Dir(Subject::Session(*self.sessions.get(&group)?.members.get(&rank)?)))
            }
        }
    }

    pub(crate) fn read_link(&self, place: Place) -> Result<Reply> {
        let Place::Link(link) = place else { return Err(Errno::INVAL.into()) };
        let node = &self.node.name;
        Ok(Reply::Linked(match link {
            Link::Home => format!("net/{node}"),
            Link::View(Subject::Cloud) => "..".into(),
            Link::View(Subject::Node) => format!("../../../net/{node}"),
            Link::View(Subject::Session(id)) => format!("../../../../net/{node}/{}", id.0),
            Link::Member(..) => match self.target(link) {
                Some(Place::Dir(Subject::Session(id))) => format!("../{}", id.0),
                _ => return Err(Errno::NOENT.into()),
            },
        }))
    }

    /// One step down or up.
    fn step(&self, place: Place, name: &str) -> Result<Place> {
        if name.len() > limits::NAME {
            return Err(Errno::NAMETOOLONG.into());
        }
        match name {
            "." => return Ok(place),
            ".." => return Ok(self.parent(place)),
            _ => {}
        }
        self.alive(place)?;
        let found = match place {
            Place::Net => (*name == *self.node.name).then_some(Place::Dir(Subject::Node)),
            Place::Dir(subject) => self.step_in(subject, name),
            Place::Views(subject) => (name == "net").then_some(Place::Link(Link::View(subject))),
            Place::File(..) | Place::Link(_) => return Err(Errno::NOTDIR.into()),
        };
        found.ok_or_else(|| self.not_found(place, name))
    }

    fn step_in(&self, subject: Subject, name: &str) -> Option<Place> {
        if let Some((row, format)) = files::find(subject, name) {
            return Some(Place::File(subject, row, format));
        }
        let number = || name.parse::<u64>().ok().filter(|n| n.to_string() == name);
        match (subject, name) {
            (Subject::Cloud, "net") => Some(Place::Net),
            (Subject::Cloud, "self") => Some(Place::Link(Link::Home)),
            (Subject::Cloud, _) => None,
            (Subject::Node | Subject::Session(_), "...") => Some(Place::Views(subject)),
            (Subject::Node, _) => {
                let id = SessionId(number()?);
                self.sessions.contains_key(&id).then_some(Place::Dir(Subject::Session(id)))
            }
            (Subject::Session(id), _) => {
                let rank = u32::try_from(number()?).ok()?;
                self.sessions
                    .get(&id)?
                    .members
                    .contains_key(&rank)
                    .then_some(Place::Link(Link::Member(id, rank)))
            }
        }
    }

    fn not_found(&self, place: Place, name: &str) -> Error {
        let cause = match place {
            Place::Net => format!("no node is called {name}; this one is {}", self.node.name),
            Place::Dir(Subject::Node) if name.bytes().all(|b| b.is_ascii_digit()) => {
                format!("no session {name} on {}: it never was, or it was freed", self.node.name)
            }
            Place::Dir(_) | Place::Views(_) | Place::File(..) | Place::Link(_) => return Errno::NOENT.into(),
        };
        Error::new(Errno::NOENT, cause)
    }

    pub(crate) fn walk(&mut self, who: Who, fid: Fid, newfid: Fid, names: &[String]) -> Result<Reply> {
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
        let (links, mut place) = (client.links, from.place);
        let mut qids = Vec::with_capacity(names.len());
        for (i, name) in names.iter().enumerate() {
            if let Place::Link(link) = place {
                place = self.target(link).ok_or(Errno::NOENT)?;
            }
            place = match self.step(place, name) {
                Ok(next) => next,
                Err(error) if i == 0 => return Err(error),
                Err(_) => return Ok(Reply::Walked(qids)),
            };
            if let (Place::Link(link), false) = (place, links) {
                place = self.target(link).ok_or(Errno::NOENT)?;
            }
            qids.push(place.qid());
        }
        let client = self.clients.get_mut(&who.client).expect("looked up above");
        client.fids.insert(newfid, FidState { place, open: None });
        Ok(Reply::Walked(qids))
    }

    /// Names and places below a directory, after a cookie, at most `count`; each with its own cookie.
    fn children(&self, place: Place, after: u64, count: usize) -> Vec<(u64, String, Place)> {
        let mut fixed: Vec<(String, Place)> = Vec::new();
        if after < NUMBERED {
            match place {
                Place::Net => fixed.push((String::from(&*self.node.name), Place::Dir(Subject::Node))),
                Place::Views(subject) => fixed.push(("net".into(), Place::Link(Link::View(subject)))),
                Place::Dir(subject) => {
                    fixed.extend(files::names(subject).map(|(n, row, f)| (n, Place::File(subject, row, f))));
                    match subject {
                        Subject::Cloud => fixed
                            .extend([("net".into(), Place::Net), ("self".into(), Place::Link(Link::Home))]),
                        Subject::Node | Subject::Session(_) => {
                            fixed.push(("...".into(), Place::Views(subject)))
                        }
                    }
                }
                Place::File(..) | Place::Link(_) => {}
            }
        }
        let fixed = fixed.into_iter().enumerate().map(|(i, (name, place))| (i as u64 + 1, name, place));
        let mut found: Vec<_> = fixed.filter(|(cookie, ..)| *cookie > after).take(count).collect();
        let left = count - found.len();
        let from = after.saturating_add(1).saturating_sub(NUMBERED);
        match place {
            Place::Dir(Subject::Node) => found.extend(
                self.sessions
                    .range(SessionId(from)..)
                    .take(left)
                    .map(|(id, _)| (NUMBERED + id.0, id.0.to_string(), Place::Dir(Subject::Session(*id)))),
            ),
            Place::Dir(Subject::Session(id)) => {
                let members = self.sessions.get(&id).map(|s| &s.members);
                let from = u32::try_from(from).unwrap_or(u32::MAX);
                found.extend(members.into_iter().flat_map(|m| m.range(from..)).take(left).map(
                    |(rank, _)| {
                        (NUMBERED + u64::from(*rank), rank.to_string(), Place::Link(Link::Member(id, *rank)))
                    },
                ));
            }
            Place::Net | Place::Dir(Subject::Cloud) | Place::Views(_) | Place::File(..) | Place::Link(_) => {}
        }
        found
    }

    pub(crate) fn list(&self, who: Who, place: Place, cookie: u64, count: u32) -> Result<Reply> {
        self.alive(place)?;
        let links = self.clients.get(&who.client).is_some_and(|c| c.links);
        let entry = |(cookie, name, place): (u64, String, Place)| {
            let place = match place {
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
            Place::Net => "net".into(),
            Place::Dir(Subject::Node) => String::from(&*self.node.name),
            Place::Dir(Subject::Session(id)) => id.0.to_string(),
            Place::Views(_) => "...".into(),
            Place::Link(Link::Home) => "self".into(),
            Place::Link(Link::View(_)) => "net".into(),
            Place::Link(Link::Member(_, rank)) => rank.to_string(),
            Place::File(_, row, format) => format!("{}{}", row.row().name, format.suffix()),
        };
        Ok(Reply::Stat(self.attributes(place, name)))
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
            Place::Net | Place::Dir(_) | Place::Views(_) | Place::File(..) => 0,
        };
        let mtime = match place.session().and_then(|id| self.sessions.get(&id)) {
            Some(session) => session.changed(),
            None => self.node.started,
        };
        let mode = u32::from(owned.mode);
        Stat { name, qid: place.qid(), mode, uid: owned.uid.0, gid: owned.gid, user, group, size, mtime }
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
            Place::Net | Place::Dir(_) | Place::Views(_) => 0o555,
        };
        Owned { uid, gid, mode }
    }

    /// chmod and chgrp of a session's directory; truncation of what has no length means nothing.
    pub(crate) fn set_stat(&mut self, uid: Uid, place: Place, set: &op::SetStat) -> Result<Reply> {
        self.alive(place)?;
        if set.uid.is_some_and(|new| new != self.owned(place).uid.0) {
            return Err(Error::new(Errno::PERM, "a session keeps its owner"));
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
