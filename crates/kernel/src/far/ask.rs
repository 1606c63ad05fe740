//! Asking over a link: requests, fids of its root for each user, and giving up.

use super::{Asked, Bound, Far, Kind, Purpose, Root, is_stream};
use crate::{ClientId, Effect, Kernel, Lane, LinkId, limits};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use op::{Access, Errno, Error, Fid, Op, Result, Tag};

impl Kernel {
    pub(crate) fn ask(&mut self, link: LinkId, lane: Lane, purpose: Purpose, op: Op) -> Tag {
        self.ask_by(link, lane, purpose, |tag| Effect::Ask { link, lane, tag, op })
    }

    /// Asks by another effect than [`Effect::Ask`], which is answered like it.
    pub(crate) fn ask_by(
        &mut self,
        link: LinkId,
        lane: Lane,
        purpose: Purpose,
        effect: impl FnOnce(Tag) -> Effect,
    ) -> Tag {
        self.next_ask += 1;
        let tag = Tag(self.next_ask);
        if let Some(tie) = self.cloud.links.get_mut(&link) {
            tie.asks += 1;
            self.asked.insert(tag, Asked { link, lane, purpose, stop: None });
            self.out.push(effect(tag));
        }
        tag
    }

    /// A fid of the other end's root for this user, attached if it is not yet.
    pub(crate) fn root(&mut self, link: LinkId, lane: Lane, user: &Arc<str>, links: bool) -> Result<Fid> {
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
    pub(crate) fn walk_there(
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
        let (mut fid, mut done) = (from, 0);
        for names in chunks {
            done += names.len();
            self.lead_there(link, lane, (fid, newfid), names, done);
            fid = newfid;
        }
        self.ask(link, lane, purpose(last.len()), Op::Walk { fid, newfid, names: last.to_vec() })
    }

    /// Walks a fid for what is asked of it next. So many names are walked from the root by then.
    pub(crate) fn lead_there(
        &mut self,
        link: LinkId,
        lane: Lane,
        (fid, newfid): (Fid, Fid),
        own: &[String],
        names: usize,
    ) {
        let purpose = Purpose::Lead { to: Tag(self.next_ask + 2), names, own: own.len() };
        self.ask(link, lane, purpose, Op::Walk { fid, newfid, names: own.to_vec() });
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
        let stream = names.last().is_some_and(|name| is_stream(name));
        let lane = if stream { Lane::Bulk } else { Lane::Control };
        let from = self.root(link, lane, user, false)?;
        let fid = self.cloud.links.get_mut(&link).ok_or(Errno::STALE)?.fid();
        self.walk_there(link, lane, from, fid, names, |_| purpose());
        let purpose = purpose();
        self.ask(link, lane, purpose, Op::Open { fid, access });
        Ok(fid)
    }

    /// Opens another file of the directory of one that is open there, or is being opened: by then it is known which that is.
    pub(crate) fn open_beside(
        &mut self,
        link: LinkId,
        beside: Fid,
        name: &str,
        access: Access,
        mut purpose: impl FnMut() -> Purpose,
    ) -> Option<Fid> {
        let fid = self.cloud.links.get_mut(&link)?.fid();
        let names = alloc::vec!["..".into(), name.into()];
        let walks = purpose();
        self.ask(link, Lane::Control, walks, Op::Walk { fid: beside, newfid: fid, names });
        let opens = purpose();
        self.ask(link, Lane::Control, opens, Op::Open { fid, access });
        Some(fid)
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
                let (client, newfid) = (walking.who.client, walking.newfid);
                let walks = Bound::Walking(link, lane, walking.fid);
                let made = self.far_mut(client, newfid).is_some_and(|far| far.bound == walks);
                if made && let Some(client) = self.clients.get_mut(&client) {
                    client.fids.remove(&newfid);
                }
                // A fid that was clunked meanwhile was given back by that.
                if made || walking.in_place.is_some() {
                    let clunk = Some(walking.fid);
                    self.asked.entry(old).and_modify(|asked| asked.purpose = Purpose::Nobody { clunk });
                }
            }
            // It may be open there by now, and is not here: another fid takes its place.
            Purpose::Op { who, fid, kind: Kind::Open(..), .. } => {
                if let Some(far) = self.far_mut(who.client, fid)
                    && let Bound::There(_, _, there) | Bound::Walking(_, _, there) = far.bound
                {
                    far.bound = Bound::No;
                    self.ask(link, lane, Purpose::Flush { old }, Op::Flush { tag: old });
                    return self.clunk_there(link, lane, there);
                }
            }
            Purpose::Why { from, .. } => {
                self.ask(link, lane, Purpose::Flush { old }, Op::Flush { tag: old });
                return self.clunk_there(link, lane, from);
            }
            Purpose::Op { .. }
            | Purpose::Nobody { .. }
            | Purpose::Root { .. }
            | Purpose::Lead { .. }
            | Purpose::Bind { .. }
            | Purpose::Named { .. }
            | Purpose::Flush { .. }
            | Purpose::Part { .. }
            | Purpose::Share { .. }
            | Purpose::Behind { .. }
            | Purpose::Flow { .. }
            | Purpose::Fan { .. }
            | Purpose::Fetch(_)
            | Purpose::Put(_) => {}
        }
        self.ask(link, lane, Purpose::Flush { old }, Op::Flush { tag: old });
    }

    pub(super) fn far_mut(&mut self, client: ClientId, fid: Fid) -> Option<&mut Far> {
        self.clients.get_mut(&client)?.fids.get_mut(&fid)?.far.as_deref_mut()
    }
}
