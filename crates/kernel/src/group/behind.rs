//! What freed groups leave behind. A share that is kept (`keep`) ends only when it is told to, so whoever frees a group remembers its kept
//! shares until they have said that they are freed, over restarts, and tells them when there is a way there again.
//!
//! ```text
//!   freed ──▶ behind ── a way is found ──▶ told `free` ── it is, or was gone ──▶ forgotten
//!               ▲                              │
//!               └───────── out of reach ───────┘
//! ```
//! Lines of the journal: `behind NO PEER NAME NUMBER USER SINCE`, and `nobehind NO` when it is forgotten.

use super::share::Share;
use crate::{Kernel, Lane, LinkId, far::Purpose, limits, words};
use alloc::{collections::BTreeMap, format, string::ToString, sync::Arc, vec::Vec};
use op::{Access, Errno, Fid, Mono, NodeId, Op, Reply, Uid, Wall};

/// A session elsewhere that was a share of a group that is no more.
#[derive(Debug)]
pub(crate) struct Behind {
    peer: NodeId,
    name: Arc<str>,
    /// Its number there.
    id: u64,
    /// As whom it is freed, by name: nobody may be known by his number when this is read back.
    user: Arc<str>,
    since: Wall,
    /// It is being told, over this link.
    told: Option<LinkId>,
    /// Not before this.
    at: Mono,
}

/// What an answer is to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BehindStep {
    /// Whether it is there.
    Walk,
    /// `free`.
    Free,
}

impl Kernel {
    /// A kept share of a group that is freed; it is told so, if it is held.
    pub(super) fn leave_behind(&mut self, no: u64, share: &Share, owner: Uid) {
        let Some(id) = share.id else { return };
        let told = share.at.map(|(link, _)| link).filter(|link| self.cloud.links.contains_key(link));
        let (peer, name, since, at) = (share.peer, share.name.clone(), self.clock.wall, self.clock.mono);
        let user = self.user(owner).name.clone();
        let behind = Behind { peer, name, id, user, since, told, at };
        self.append(behind.line(no));
        self.groups.behind.insert(no, behind);
        if self.groups.behind.len() > limits::BEHIND
            && let Some((oldest, _)) = self.groups.behind.pop_first()
        {
            self.append(format!("nobehind {oldest}").into_bytes());
        }
    }

    fn forget_behind(&mut self, no: u64) {
        if self.groups.behind.remove(&no).is_some() {
            self.append(format!("nobehind {no}").into_bytes());
        }
    }

    /// Tells whoever there is a way to.
    pub(super) fn tell_behind(&mut self) {
        let (now, wall) = (self.clock.mono, self.clock.wall);
        let old =
            |behind: &Behind| wall.0.saturating_sub(behind.since.0) > limits::BEHIND_FOR.as_nanos() as u64;
        let behind = self.groups.behind.iter();
        let old: Vec<u64> = behind.filter(|(_, behind)| old(behind)).map(|(no, _)| *no).collect();
        old.into_iter().for_each(|no| self.forget_behind(no));
        let due = self.groups.behind.iter().filter(|(_, behind)| behind.told.is_none() && behind.at <= now);
        for no in due.map(|(no, _)| *no).collect::<Vec<_>>() {
            self.tell_one_behind(no);
        }
    }

    fn tell_one_behind(&mut self, no: u64) {
        let Some(Behind { peer, id, user, .. }) = self.groups.behind.get(&no) else { return };
        let (peer, id, user) = (*peer, *id, user.clone());
        let Some((link, names)) = self.route_to(peer, true) else { return };
        let lane = Lane::Control;
        let Ok(root) = self.root(link, lane, &user, false) else { return };
        let Some(tie) = self.cloud.links.get_mut(&link) else { return };
        let (node, session, ctl) = (tie.fid(), tie.fid(), tie.fid());
        if let Some(behind) = self.groups.behind.get_mut(&no) {
            behind.told = Some(link);
        }
        self.lead_there(link, lane, (root, node), &names, names.len());
        // First by itself, since only a single step says what is wrong with it. Each to a fid of its own: it is none if the session is not
        // there, and what follows must not be said to the node; and a node in between would open what a fid was before it walked itself.
        let step =
            |fid: Fid, newfid: Fid, name: &str| Op::Walk { fid, newfid, names: alloc::vec![name.into()] };
        let walk = step(node, session, &id.to_string());
        self.ask(link, lane, Purpose::Behind { no, step: BehindStep::Walk }, walk);
        let nobody = || Purpose::Nobody { clunk: None };
        self.ask(link, lane, nobody(), step(session, ctl, "ctl"));
        let access = Access { read: true, write: true, truncate: false };
        self.ask(link, lane, nobody(), Op::Open { fid: ctl, access });
        self.free_behind(link, no, ctl);
        for fid in [ctl, session, node] {
            self.clunk_there(link, lane, fid);
        }
    }

    /// Says it over a fid that is open there.
    pub(super) fn free_behind(&mut self, link: LinkId, no: u64, fid: Fid) {
        let purpose = Purpose::Behind { no, step: BehindStep::Free };
        self.ask(link, Lane::Control, purpose, Op::Write { fid, offset: 0, data: b"free\n".to_vec() });
    }

    pub(crate) fn behind_answered(&mut self, link: LinkId, no: u64, step: BehindStep, reply: &Reply) {
        let Some(behind) = self.groups.behind.get_mut(&no).filter(|behind| behind.told == Some(link)) else {
            return;
        };
        match (step, reply) {
            (BehindStep::Walk, Reply::Failed(error)) if error.errno == Errno::NOENT => self.forget_behind(no),
            (BehindStep::Walk, _) => {}
            (BehindStep::Free, Reply::Failed(_)) => {
                behind.told = None;
                behind.at = self.clock.mono + limits::BEHIND_AGAIN;
            }
            (BehindStep::Free, _) => self.forget_behind(no),
        }
    }

    /// A link is gone: what was said over it may not have been heard.
    pub(super) fn behind_cut(&mut self, link: LinkId) {
        let over = self.groups.behind.values_mut().filter(|behind| behind.told == Some(link));
        over.for_each(|behind| behind.told = None);
    }

    /// A node is no part of the cloud any more, and nothing there is waited for.
    pub(super) fn behind_left(&mut self, peer: NodeId) {
        let there = self.groups.behind.iter().filter(|(_, behind)| behind.peer == peer);
        for no in there.map(|(no, _)| *no).collect::<Vec<_>>() {
            self.forget_behind(no);
        }
    }

    /// When somebody is to be told again, who was not reached.
    pub(super) fn next_behind(&self) -> Option<Mono> {
        let waits = self.groups.behind.values().filter(|behind| behind.told.is_none());
        waits.map(|behind| behind.at).filter(|at| *at > self.clock.mono).min()
    }

    pub(crate) fn behind_lines(&self) -> impl Iterator<Item = Vec<u8>> {
        self.groups.behind.iter().map(|(no, behind)| behind.line(*no))
    }

    pub(crate) fn recall_behind(&mut self, line: &[u8]) -> Option<()> {
        let words: Vec<_> = words::split(line).ok()?.iter().map(|word| words::lossy(word)).collect();
        match words.iter().map(|word| word.as_str()).collect::<Vec<_>>()[..] {
            ["behind", no, peer, name, id, user, since] => {
                let no: u64 = no.parse().ok()?;
                let behind = Behind {
                    peer: peer.parse().ok()?,
                    name: name.into(),
                    id: id.parse().ok()?,
                    user: user.into(),
                    since: Wall(since.parse().ok()?),
                    told: None,
                    at: Mono::default(),
                };
                self.groups.next_share = self.groups.next_share.max(no.checked_add(1)?);
                self.groups.behind.insert(no, behind);
            }
            ["nobehind", no] => drop(self.groups.behind.remove(&no.parse().ok()?)),
            _ => return None,
        }
        Some(())
    }
}

impl Behind {
    fn line(&self, no: u64) -> Vec<u8> {
        let Behind { peer, name, id, user, since, .. } = self;
        let words =
            ["behind", &no.to_string(), &peer.to_string(), name, &id.to_string(), user, &since.0.to_string()];
        super::line_of(&words.map(|word| word.as_bytes().to_vec()))
    }
}

/// By the numbers that they had as shares.
pub(super) type AllBehind = BTreeMap<u64, Behind>;
