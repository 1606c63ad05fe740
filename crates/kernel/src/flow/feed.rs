//! The kernel's part of dealing stdin out: members here are fed as any program is, one piece at a time; shares are written
//! frames.

use super::{
    Channel, End,
    deal::{Deal, DestId},
};
use crate::{
    Effect, Kernel, Lane, LinkId, Who, acts,
    far::Purpose,
    limits,
    park::{Ask, On, Outcome},
    ranks::RankSet,
    session::State,
};
use alloc::{boxed::Box, collections::BTreeMap, format, vec::Vec};
use op::{Access, Act, Errno, Error, Fid, Op, Reply, Result, SessionId};

/// A group's stdin that is being dealt out.
#[derive(Debug)]
pub(crate) struct Feed {
    deal: Deal,
    next: u64,
    members: BTreeMap<DestId, (SessionId, bool)>,
    by_session: BTreeMap<SessionId, DestId>,
    shares: BTreeMap<DestId, Remote>,
    by_share: BTreeMap<u64, DestId>,
}

#[derive(Debug)]
struct Remote {
    no: u64,
    channel: Option<Channel>,
    /// What was taken for it and is not written.
    rest: Vec<u8>,
    /// What it has got is not known any more.
    cut: bool,
}

impl Feed {
    pub(super) fn channels(&self) -> Vec<Channel> {
        self.shares.values().filter_map(|share| share.channel).collect()
    }

    pub(super) fn held(&self) -> usize {
        self.deal.held() + self.shares.values().map(|share| share.rest.len()).sum::<usize>()
    }

    pub(super) fn waits_for(&self) -> RankSet {
        self.deal.waits_for()
    }

    fn dest(&mut self) -> DestId {
        self.next += 1;
        DestId(self.next)
    }
}

impl Kernel {
    /// Begins to deal out, if that was not begun.
    fn feed(&mut self, id: SessionId) -> Result<()> {
        let session = self.sessions.get_mut(&id).ok_or_else(|| crate::gone(id))?;
        let (size, made) =
            (session.size(), session.members.iter().map(|(r, m)| (*r, *m)).collect::<Vec<_>>());
        let flow = session.flow.get_or_insert_default();
        if flow.feed.is_some() {
            return Ok(());
        }
        if flow.cut {
            let cause = format!(
                "stdin of session {} was cut off when the node was restarted: what was taken and what not is not known; `close stdin` ends it",
                id.0
            );
            return Err(Error::new(Errno::PIPE, cause));
        }
        let deal = Deal::new(flow.way.unwrap_or_default(), flow.records.clone(), size);
        let feed = Feed {
            deal,
            next: 0,
            members: BTreeMap::new(),
            by_session: BTreeMap::new(),
            shares: BTreeMap::new(),
            by_share: BTreeMap::new(),
        };
        flow.feed = Some(Box::new(feed));
        self.append(format!("flow {} fed", id.0).into_bytes());
        self.feed_on(id, &made);
        Ok(())
    }

    fn with_feed<T>(&mut self, id: SessionId, act: impl FnOnce(&mut Kernel, &mut Feed) -> T) -> Option<T> {
        let mut feed = self.sessions.get_mut(&id)?.flow.as_deref_mut()?.feed.take()?;
        let result = act(self, &mut feed);
        for text in feed.deal.troubles() {
            self.flow_failed(id, text);
        }
        if feed.deal.room() {
            self.parked.notify(On::Fed(id));
        }
        if let Some(flow) = self.sessions.get_mut(&id).and_then(|s| s.flow.as_deref_mut()) {
            flow.feed = Some(feed);
        }
        Some(result)
    }

    /// A write to a group's stdin: taken when nobody has too much waiting for him.
    pub(crate) fn write_group_stdin(
        &mut self,
        _: Who,
        fid: Fid,
        id: SessionId,
        offset: u64,
        data: Vec<u8>,
    ) -> Outcome {
        if self.sessions.get(&id).and_then(|s| s.flow.as_deref()).is_some_and(|flow| flow.closed) {
            return Err(Error::new(Errno::PIPE, format!("stdin of session {} was closed", id.0))).into();
        }
        if data.is_empty() {
            return Outcome::Reply(Reply::Wrote(0));
        }
        if !self.all_placed(id) {
            return Outcome::Park(On::Fed(id), Ask::Op(Op::Write { fid, offset, data }));
        }
        if let Err(error) = self.feed(id) {
            return Err(error).into();
        }
        let pushed = self.with_feed(id, |k, feed| {
            if !feed.deal.room() {
                return None;
            }
            let result = feed.deal.push(&data);
            k.drive_feed(id, feed);
            Some(result)
        });
        match pushed.flatten() {
            None => Outcome::Park(On::Fed(id), Ask::Op(Op::Write { fid, offset, data })),
            Some(result) => result.map(|()| Reply::Wrote(data.len() as u32)).into(),
        }
    }

    /// Whether every rank has its place, so that it is known where its bytes go.
    pub(super) fn all_placed(&self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get(&id) else { return true };
        let Some(group) = session.group.as_deref() else { return true };
        let told = match group.is_share {
            // It may be told of its members after its stdin was opened.
            true => group.size > 0,
            false => group.queue.is_empty(),
        };
        // What is for one that is made there must not be there before him.
        told && !group.is_placing()
    }

    /// No more comes, after what was written.
    pub(crate) fn close_group_stdin(&mut self, id: SessionId) -> Result<()> {
        let flow = self.flow_mut(id)?;
        if core::mem::replace(&mut flow.closed, true) && flow.feed.is_some() {
            return Ok(());
        }
        let cut = core::mem::take(&mut flow.cut);
        self.append(format!("flow {} closed", id.0).into_bytes());
        self.feed(id)?;
        self.with_feed(id, |k, feed| {
            if cut {
                // What they have got may end in the middle of a frame: nothing can be said there but that it is the end.
                for share in feed.shares.values_mut() {
                    share.cut = true;
                    let channel = share.channel.take();
                    channel.into_iter().for_each(|at| k.clunk_there(at.link, Lane::Bulk, at.fid));
                    if k.holds_share(id, share.no) {
                        k.tell_share_plainly(id, share.no, b"close stdin");
                    }
                }
            }
            feed.deal.close();
            k.drive_feed(id, feed);
        });
        self.parked.notify(On::Fed(id));
        Ok(())
    }

    /// Whether `close stdin` goes the way of stdin, behind what was written to it.
    pub(crate) fn deals(&self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get(&id).filter(|s| s.is_group()) else { return false };
        let fed = session.flow.as_ref().is_some_and(|flow| flow.feed.is_some() || flow.cut);
        fed || session
            .group
            .as_ref()
            .is_some_and(|group| group.share_ranks().next().is_some() || !group.queue.is_empty())
    }

    /// The journal is read. Where stdin had ended, members may not have been told, or had not yet taken what is lost now.
    pub(crate) fn feeds_recalled(&mut self) {
        let closed = |s: &&crate::session::Session| s.flow.as_ref().is_some_and(|flow| flow.closed);
        let closed = self.sessions.values().map(|s| &**s).filter(|s| s.is_group()).filter(closed);
        for id in closed.map(|s| s.id).collect::<Vec<_>>() {
            let _it_is_there = self.close_group_stdin(id);
        }
    }

    pub(super) fn feed_on(&mut self, id: SessionId, made: &[(u32, SessionId)]) {
        self.with_feed(id, |k, feed| {
            for (rank, member) in made {
                if k.sessions.contains_key(member) && !feed.by_session.contains_key(member) {
                    let dest = feed.dest();
                    feed.deal.add_member(dest, *rank);
                    feed.by_session.insert(*member, dest);
                    feed.members.insert(dest, (*member, false));
                }
            }
            let Some(session) = k.sessions.get(&id) else { return };
            feed.deal.resize(session.size());
            for (no, ranks) in session.group.iter().flat_map(|group| group.share_ranks()) {
                match feed.by_share.get(&no) {
                    Some(dest) => feed.deal.share_has(*dest, ranks),
                    None => {
                        let dest = feed.dest();
                        feed.deal.add_share(dest, ranks.clone());
                        feed.by_share.insert(no, dest);
                        feed.shares.insert(dest, Remote { no, channel: None, rest: Vec::new(), cut: false });
                    }
                }
            }
            k.drive_feed(id, feed);
        });
    }

    fn drive_feed(&mut self, id: SessionId, feed: &mut Feed) {
        for dest in feed.members.keys().copied().collect::<Vec<_>>() {
            self.feed_member(feed, dest);
        }
        for dest in feed.shares.keys().copied().collect::<Vec<_>>() {
            self.write_share(id, feed, dest);
        }
    }

    /// A member was started, has taken what it was fed, or has ended.
    pub(super) fn member_fed(&mut self, group: SessionId, member: SessionId) {
        self.with_feed(group, |k, feed| {
            if let Some(dest) = feed.by_session.get(&member).copied() {
                k.feed_member(feed, dest);
            }
        });
    }

    fn feed_member(&mut self, feed: &mut Feed, dest: DestId) {
        let Some((id, shut)) = feed.members.get(&dest).copied() else { return };
        let session = self.sessions.get_mut(&id);
        let runs = session.as_ref().is_some_and(|s| matches!(s.state, State::Running { .. }));
        let live = session.and_then(|s| s.live.as_mut());
        let Some(live) = live.filter(|live| !live.stdin.broken && (!live.stdin.closed || shut)) else {
            feed.by_session.remove(&id);
            feed.members.remove(&dest);
            return feed.deal.remove(dest);
        };
        if runs && live.stdin.feeding.is_none() {
            let data = feed.deal.take(dest, limits::FLOW);
            if !data.is_empty() {
                live.stdin.feeding = Some(None);
                return self.out.push(Effect::Act(Act::Feed { session: id, data }));
            }
        }
        if feed.deal.is_over(dest) && !shut {
            feed.members.insert(dest, (id, true));
            let owner = self.sessions[&id].owner;
            let _it_is_there = acts::close(self, id, owner, &[b"stdin".to_vec()]);
        }
    }

    // ── shares ─────────────────────────────────────────────────────────────────────────────

    fn write_share(&mut self, id: SessionId, feed: &mut Feed, dest: DestId) {
        let Some(share) = feed.shares.get_mut(&dest).filter(|share| !share.cut) else { return };
        let end = End::In(dest);
        share.channel = share.channel.filter(|channel| !self.is_stale(channel));
        match &mut share.channel {
            None => {
                let access = Access { write: true, ..Access::default() };
                share.channel = self.open_channel(id, share.no, "stdin", access, end);
                if share.channel.is_none() {
                    self.flow_later(id, share.no);
                }
            }
            Some(channel) if channel.open && !channel.busy => {
                if share.rest.is_empty() {
                    share.rest = feed.deal.take(dest, limits::FLOW);
                }
                if share.rest.is_empty() {
                    return;
                }
                channel.busy = true;
                let next = share.rest.split_off(share.rest.len().min(limits::FAR_IO));
                let data = core::mem::replace(&mut share.rest, next);
                self.ask(
                    channel.link,
                    Lane::Bulk,
                    Purpose::Flow { group: id, end },
                    Op::Write { fid: channel.fid, offset: 0, data },
                );
            }
            Some(_) => {}
        }
    }

    pub(super) fn feed_answered(&mut self, link: LinkId, id: SessionId, dest: DestId, reply: Reply) {
        self.with_feed(id, |k, feed| {
            let Some(share) = feed.shares.get_mut(&dest) else { return };
            let Some(channel) = share.channel.as_mut().filter(|channel| channel.link == link) else { return };
            if !channel.walked {
                return k.walked((id, share.no), channel, &reply);
            }
            match reply {
                Reply::Opened(..) => channel.open = true,
                Reply::Wrote(_) => channel.busy = false,
                Reply::Failed(error) => {
                    let wrote = channel.open;
                    let unreached = error.errno == Errno::HOSTUNREACH || channel.astray;
                    share.channel = None;
                    if !wrote && unreached {
                        return k.flow_later(id, share.no);
                    }
                    share.cut = true;
                    share.rest = Vec::new();
                    let no = share.no;
                    let ranks = feed.deal.ranks_of(dest);
                    feed.deal.remove(dest);
                    let cause = format!(
                        "stdin of ranks {ranks} was cut off, and what they got of it is not known: {error}"
                    );
                    if let Some(owner) = k.sessions.get(&id).map(|s| s.owner) {
                        k.failed(Some(id), owner, "", "flow", &Error::new(Errno::PIPE, cause));
                    }
                    // It may be back since before this was known.
                    k.tell_share_plainly(id, no, b"close stdin");
                }
                _ => return,
            }
            k.write_share(id, feed, dest);
        });
    }

    pub(super) fn feed_share_lost(&mut self, id: SessionId, no: u64) {
        self.with_feed(id, |k, feed| {
            if let Some(dest) = feed.by_share.get(&no).copied() {
                feed.deal.remove(dest);
                if let Some(channel) = feed.shares.remove(&dest).and_then(|share| share.channel) {
                    k.clunk_there(channel.link, Lane::Bulk, channel.fid);
                }
            }
        });
    }

    /// What a share has got of its stdin is not known if its link broke: it gets its end. So it does if it had been given all, since its
    /// node may have been started again before it had passed that on.
    pub(super) fn feed_share_back(&mut self, id: SessionId, no: u64) {
        let ends = |feed: &Feed| {
            let share = feed.by_share.get(&no).and_then(|dest| Some((dest, feed.shares.get(dest)?)));
            share
                .is_some_and(|(dest, share)| share.cut || (share.rest.is_empty() && feed.deal.is_over(*dest)))
        };
        let flow = self.sessions.get(&id).and_then(|s| s.flow.as_deref());
        if flow.and_then(|flow| flow.feed.as_deref()).is_some_and(ends) {
            self.tell_share_plainly(id, no, b"close stdin");
        }
    }
}
