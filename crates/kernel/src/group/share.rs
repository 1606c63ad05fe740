//! Shares: groups at the next nodes on the way, and how they are asked.
//!
//! ```text
//!   clone ──▶ its number ──▶ wait, read on and on
//!     └─ setup lines, `member …`, and later lines, all in one flight and in order
//! ```

use super::{Group, tell};
use crate::{Kernel, Lane, LinkId, cloud::NodeNo, far::Purpose, limits, ranks::RankSet};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::time::Duration;
use op::{Access, Errno, Error, Fid, Mono, NodeId, Op, Reply, Result, SessionId};

/// The ranks of a group that are below another node, or above this one.
#[derive(Debug)]
pub(crate) struct Share {
    pub(super) peer: NodeId,
    pub(super) name: Arc<str>,
    pub(super) up: bool,
    /// Over which link it is held open, by which fid.
    pub(super) at: Option<(LinkId, Fid)>,
    /// How often it was opened again: an answer to an earlier time says nothing of this one.
    pub(super) times: u64,
    /// Which parent its node had taken then, if another node is between: a link between those breaks unheard.
    pub(super) term: Option<u64>,
    /// The session's number there, when it is known.
    pub(super) id: Option<u64>,
    /// Ranks that were made there, and are not made elsewhere since.
    pub(super) ranks: RankSet,
    pub(super) wait: Option<Wait>,
    /// While it is being set up as another user, what it is told next.
    pub(super) held_back: Option<Vec<(Vec<u8>, Line)>>,
    /// Lines about who is to be made that are not answered.
    pub(super) placing: u32,
    /// Lines it was told.
    pub(super) told: u64,
    /// How long it has to be held again if it is cut off: the longest that it may have heard of. `None` is for ever: it is kept.
    pub(super) lease: Option<Duration>,
    /// Lines about that which are not answered.
    pub(super) letting: u32,
    /// Ranks that were given back: they may be there still, until it has said that they are not.
    pub(super) leaving: RankSet,
    /// The number of the last line about that.
    pub(super) freeing: u64,
    /// It could not be done about all of them: it is to be told again.
    pub(super) unfreed: bool,
    /// When it is given up, if it does not come back.
    pub(super) deadline: Option<Mono>,
    /// What is wrong with it: nothing is asked of it any more.
    pub(super) refused: Option<Error>,
}

/// Its `wait`, as far as it was read.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) fid: Fid,
    /// How many lines it had been told when it was read last.
    pub(super) reading: Option<u64>,
    pub(super) offset: u64,
    pub(super) torn: Vec<u8>,
}

/// What an answer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Open {
        times: u64,
    },
    Named,
    Setup,
    Line(Line),
    Wait {
        times: u64,
        read: bool,
    },
    /// Whether the session is gone, or only out of reach.
    Why,
    /// How many members there are now; a line is not answered before that is known.
    Size {
        fan: Option<u64>,
        /// The file that says so, which waits for what is above it: closed when it has.
        fid: Fid,
    },
}

/// Who waits for a line, and whether it reserves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    pub(crate) fan: Option<u64>,
    /// If it fails, all is given back.
    pub(crate) all_or_nothing: bool,
    /// It may change how many members there are.
    pub(crate) resizes: bool,
    /// It says who is to be made.
    pub(crate) places: bool,
    /// It gives ranks back: which of the lines that do.
    pub(crate) frees: Option<u64>,
    /// It says for how long it is held; if so, whether an answer says that it was passed on to everybody.
    pub(crate) lets: Option<bool>,
}

impl Line {
    pub(super) const PLAIN: Line =
        Line { fan: None, all_or_nothing: false, resizes: false, places: false, frees: None, lets: None };
}

pub(super) const BOTH: Access = Access { read: true, write: true, truncate: false };
pub(super) const READ: Access = Access { read: true, write: false, truncate: false };

impl Kernel {
    pub(super) fn share_mut(&mut self, group: SessionId, no: u64) -> Option<&mut Share> {
        self.sessions.get_mut(&group)?.group.as_deref_mut()?.shares.get_mut(&no)
    }

    pub(super) fn share(&self, group: SessionId, no: u64) -> Option<&Share> {
        self.group(group)?.shares.get(&no)
    }

    /// The share of a group over a link, made if there is none.
    pub(super) fn share_over(&mut self, group: SessionId, link: LinkId) -> Result<u64> {
        let peer = self.cloud.links.get(&link).and_then(|tie| tie.peer.clone()).ok_or(Errno::STALE)?;
        // One that is held through another node knows nothing of what is below that one.
        let over = |(_, share): &(&u64, &Share)| {
            share.at.is_some_and(|(at, _)| at == link) && share.peer == peer.id && share.refused.is_none()
        };
        if let Some((no, _)) = self.group(group).and_then(|g| g.shares.iter().find(over)) {
            return Ok(*no);
        }
        let session = self.session(group)?;
        let user = self.user(session.owner).name.clone();
        let setup = tell::setup_lines(self, session);
        let (again, lease) = (setup.as_user, session.life.lease);
        let no = self.groups.next_share;
        self.groups.next_share += 1;
        let purpose = |step| move || Purpose::Share { group, share: no, step };
        let fid = self.open_there(link, &user, &["clone".into()], BOTH, purpose(Step::Open { times: 0 }))?;
        let share = Share {
            up: peer.above,
            at: Some((link, fid)),
            held_back: again.then(Vec::new),
            lease: Some(lease),
            ..Share::new(peer.id, peer.name.clone())
        };
        if let Some(group) = self.group_mut(group) {
            group.shares.insert(no, share);
        }
        self.groups.sharing.insert(group);
        self.journal_share(group, no);
        let read = Op::Read { fid, offset: 0, count: limits::NAME as u32, wait: true };
        self.ask(link, Lane::Control, purpose(Step::Named)(), read);
        let write = Op::Write { fid, offset: 0, data: setup.lines };
        self.ask(link, Lane::Control, purpose(Step::Setup)(), write);
        Ok(no)
    }

    /// Tells a share a line; what waits for it is told in any case.
    pub(super) fn tell_share(&mut self, group: SessionId, no: u64, text: Vec<u8>, line: Line) {
        if let Some(fan) = line.fan {
            self.fan_more(fan);
        }
        let Some(share) = self.share_mut(group, no) else {
            return self.line_answered(group, no, line, Reply::errno(Errno::STALE));
        };
        share.told += 1;
        if let Some(error) = share.refused.clone() {
            return self.line_answered(group, no, line, Reply::Failed(error));
        }
        if let Some(held_back) = &mut share.held_back {
            return held_back.push((text, line));
        }
        let Some((link, fid)) = share.at else {
            let why = self.share(group, no).map(|share| self.why_cut(share));
            let error = why.unwrap_or_else(|| Errno::HOSTUNREACH.into());
            return self.line_answered(group, no, line, Reply::Failed(error));
        };
        let linked = self.cloud.links.contains_key(&link);
        if let Some(share) = self.share_mut(group, no).filter(|_| line.places && linked) {
            share.placing += 1;
        }
        if let Some(share) = self.share_mut(group, no).filter(|_| line.lets.is_some()) {
            share.letting += 1;
        }
        let purpose = Purpose::Share { group, share: no, step: Step::Line(line) };
        self.ask(
            link,
            Lane::Control,
            purpose,
            Op::Write { fid, offset: 0, data: [&text[..], b"\n"].concat() },
        );
        self.open_wait(group, no);
        self.read_wait(group, no);
    }

    /// Tells a share what nobody waits for.
    pub(crate) fn tell_share_plainly(&mut self, group: SessionId, no: u64, text: &[u8]) {
        self.tell_share(group, no, text.to_vec(), Line::PLAIN);
    }

    /// The same to all shares.
    pub(crate) fn tell_shares(&mut self, group: SessionId, text: &[u8]) {
        let all: Vec<u64> =
            self.group(group).into_iter().flat_map(|g| g.share_ranks()).map(|(no, _)| no).collect();
        all.into_iter().for_each(|no| self.tell_share_plainly(group, no, text));
    }

    /// Reads on in a share's `wait`, unless that is being done.
    pub(super) fn read_wait(&mut self, group: SessionId, no: u64) {
        let Some(share) = self.share_mut(group, no) else { return };
        let (told, times) = (share.told, share.times);
        let (Some((link, _)), Some(wait)) = (share.at, &mut share.wait) else { return };
        if wait.reading.is_some() {
            return;
        }
        wait.reading = Some(told);
        let op = Op::Read { fid: wait.fid, offset: wait.offset, count: limits::FAR_IO as u32, wait: true };
        let step = Step::Wait { times, read: true };
        self.ask(link, Lane::Control, Purpose::Share { group, share: no, step }, op);
    }

    /// Opens a share's `wait`, unless it is open: beside its `ctl` while nobody knows the session's number, so that no trip is made for that.
    pub(super) fn open_wait(&mut self, group: SessionId, no: u64) {
        let Some(share) = self.share(group, no).filter(|share| share.wait.is_none()) else { return };
        let (at, numbered, times) = (share.at, share.id.is_some(), share.times);
        let purpose = || Purpose::Share { group, share: no, step: Step::Wait { times, read: false } };
        let opened = if numbered {
            let Some((link, names)) = self.share_names(group, no, "wait") else { return };
            let Ok(user) = self.session(group).map(|s| self.user(s.owner).name.clone()) else { return };
            self.open_there(link, &user, &names, READ, purpose).ok()
        } else {
            at.and_then(|(link, ctl)| self.open_beside(link, ctl, "wait", READ, purpose))
        };
        if let (Some(fid), Some(share)) = (opened, self.share_mut(group, no)) {
            share.wait = Some(Wait { fid, reading: None, offset: 0, torn: Vec::new() });
            self.read_wait(group, no);
        }
    }

    /// What a file of a share is called over the link that leads there.
    pub(crate) fn share_names(&self, group: SessionId, no: u64, file: &str) -> Option<(LinkId, Vec<String>)> {
        let share = self.share(group, no).filter(|share| share.refused.is_none())?;
        let keep = self.sessions.get(&group).is_some_and(|session| session.life.keep);
        let (link, mut names) = self.route_to(share.peer, share.up || keep)?;
        names.push(share.id?.to_string());
        if !file.is_empty() {
            names.push(file.into());
        }
        Some((link, names))
    }

    /// Which link leads to the node of a share, and what that is called there. Whoever is above, or is kept, is wherever the cloud has it by
    /// now: the parent knows. What is not kept is not looked for there, since it has its time to be held by whoever held it.
    pub(super) fn route_to(&self, peer: NodeId, anywhere: bool) -> Option<(LinkId, Vec<String>)> {
        let above = self.cloud.above;
        let is_there = |link: &LinkId| {
            self.cloud.links.get(link).and_then(|tie| tie.peer.as_ref()).is_some_and(|p| p.id == peer)
        };
        if let Some(link) = above.filter(is_there) {
            return Some((link, alloc::vec!["self".into()]));
        }
        let known = self.node_no(peer).and_then(|no| self.cloud.known(no));
        let known = known.filter(|known| known.down.is_none());
        let below = known.and_then(|known| Some((known.via?, String::from(&*known.name))));
        let elsewhere = || Some((above.filter(|_| anywhere)?, peer.to_string()));
        let (link, name) = below.or_else(elsewhere)?;
        Some((link, alloc::vec!["net".into(), name]))
    }

    /// Whether a share is at another node than the one at the other end of a link.
    pub(super) fn share_is_beyond(&self, group: SessionId, no: u64, link: LinkId) -> bool {
        let peer = self.cloud.links.get(&link).and_then(|tie| tie.peer.as_ref());
        self.share(group, no).is_some_and(|share| peer.is_none_or(|peer| peer.id != share.peer))
    }

    /// Whether a share can be asked, as far as is known.
    pub(crate) fn holds_share(&self, group: SessionId, no: u64) -> bool {
        self.share(group, no).is_some_and(Share::is_held)
    }

    /// The session that a share is.
    pub(super) fn share_number(&self, group: SessionId, no: u64) -> Option<u64> {
        self.share(group, no)?.id
    }

    /// The node below that a share is on.
    pub(super) fn share_node(&self, share: &Share) -> Option<NodeNo> {
        self.node_no(share.peer)
    }

    /// A share that nobody wants any more: it is closed, and frees itself by that.
    pub(super) fn close_share(&mut self, no: u64, share: Share) {
        if let Some((link, fid)) = share.at.filter(|_| share.refused.is_none()) {
            self.free_behind(link, no, fid);
            if let Some(wait) = share.wait {
                self.clunk_there(link, Lane::Control, wait.fid);
            }
            self.clunk_there(link, Lane::Control, fid);
        }
        for (_, line) in share.held_back.into_iter().flatten() {
            if let Some(fan) = line.fan {
                self.fan_answered(LinkId::FILES, fan, true, Reply::errno(Errno::STALE));
            }
        }
    }
}

impl Share {
    /// One of which nothing is known but where it is.
    fn new(peer: NodeId, name: Arc<str>) -> Share {
        Share {
            peer,
            name,
            up: false,
            at: None,
            times: 0,
            term: None,
            id: None,
            ranks: RankSet::new(),
            wait: None,
            held_back: None,
            placing: 0,
            told: 0,
            lease: None,
            letting: 0,
            leaving: RankSet::new(),
            freeing: 0,
            unfreed: false,
            deadline: None,
            refused: None,
        }
    }

    /// Whether it may not have all its members yet.
    fn is_placing(&self) -> bool {
        self.placing > 0 || self.held_back.iter().flatten().any(|(_, line)| line.places)
    }

    /// Whether an answer is to what was asked since it was opened last.
    pub(super) fn is_answer(&self, link: LinkId, step: Step) -> bool {
        let now = match step {
            Step::Open { times } | Step::Wait { times, .. } => times == self.times,
            Step::Named | Step::Setup | Step::Line(_) | Step::Why | Step::Size { .. } => true,
        };
        now && self.at.is_some_and(|(at, _)| at == link)
    }

    /// Whether it can be asked.
    pub(super) fn is_held(&self) -> bool {
        self.at.is_some()
    }
}

impl Group {
    /// Whether somebody is on his way to his place.
    pub(crate) fn is_placing(&self) -> bool {
        self.growing || self.shares.values().any(|share| share.is_placing())
    }

    /// A share that the journal speaks of: who has it is told after what is asked of it.
    pub(super) fn recalled_share(&mut self, no: u64) -> &mut Share {
        self.shares.entry(no).or_insert_with(|| Share::new(NodeId::default(), "?".into()))
    }

    pub(super) fn recall_share(&mut self, no: u64, words: &[&str]) -> Option<()> {
        let [peer, name, number, up, lease @ ..] = words else { return None };
        let peer = peer.parse().ok()?;
        let share = self.recalled_share(no);
        (share.peer, share.name) = (peer, Arc::from(*name));
        (share.id, share.up) = (number.parse().ok(), *up == "up");
        share.lease = lease.first().and_then(|lease| op::parse_span(lease));
        share.leaving = lease.get(1).and_then(|ranks| RankSet::parse(ranks).ok()).unwrap_or_default();
        Some(())
    }

    pub(super) fn share_lines(&self) -> BTreeMap<u64, String> {
        let known = self.shares.iter().filter(|(_, share)| share.up || share.refused.is_none());
        let line = |share: &Share| {
            let up = if share.up { "up" } else { "down" };
            let number = share.id.map_or("-".into(), |id| id.to_string());
            let lease = share.lease.map_or("keep".into(), |lease| format!("{}ms", lease.as_millis()));
            let leaving =
                if share.leaving.is_empty() { String::new() } else { format!(" {}", share.leaving) };
            format!("{} {} {number} {up} {lease}{leaving}", share.peer, share.name)
        };
        known.map(|(no, share)| (*no, line(share))).collect()
    }
}
