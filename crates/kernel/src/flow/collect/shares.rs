//! What shares give: their files, opened and read over the bulk lane as the merge wants them.

use super::Collect;
use crate::{
    Kernel, Lane, LinkId,
    far::Purpose,
    flow::{Channel, End, merge::SourceId},
    limits,
};
use alloc::format;
use op::{Access, Errno, Op, Reply, SessionId, Stream};

impl Collect {
    pub(in crate::flow) fn held(&self) -> usize {
        self.merge.bytes()
    }
}

impl Kernel {
    /// Reads on whoever is to be read on.
    pub(super) fn read_hungry(&mut self, id: SessionId, stream: Stream, collect: &mut Collect) {
        // Where one has nothing it is the next one's turn.
        while let hungry = collect.merge.hungry()
            && !hungry.is_empty()
        {
            for source in hungry {
                match collect.shares.contains_key(&source) {
                    true => self.read_share(id, collect, stream, source),
                    false => self.read_member(collect, stream, source),
                }
            }
        }
    }

    pub(super) fn read_share(
        &mut self,
        id: SessionId,
        collect: &mut Collect,
        stream: Stream,
        source: SourceId,
    ) {
        let Some(share) = collect.shares.get_mut(&source) else { return };
        let end = End::Out(stream, source);
        share.channel = share.channel.filter(|channel| !self.is_stale(channel));
        match &mut share.channel {
            Some(channel) if channel.open && !channel.busy => {
                channel.busy = true;
                let op = Op::Read {
                    fid: channel.fid,
                    offset: share.offset,
                    count: limits::FLOW as u32,
                    wait: true,
                };
                self.ask(channel.link, Lane::Bulk, Purpose::Flow { group: id, end }, op);
            }
            Some(_) => {}
            None => {
                let file = if stream == Stream::Out { "stdout" } else { "stderr" };
                let access = Access { read: true, ..Access::default() };
                share.channel = self.open_channel(id, share.no, file, access, end);
                if share.channel.is_none() {
                    self.flow_later(id, share.no);
                }
            }
        }
    }

    pub(in crate::flow) fn open_channel(
        &mut self,
        id: SessionId,
        no: u64,
        file: &str,
        access: Access,
        end: End,
    ) -> Option<Channel> {
        let (link, names) = self.share_names(id, no, file)?;
        let user = self.session(id).map(|s| self.user(s.owner).name.clone()).ok()?;
        let purpose = || Purpose::Flow { group: id, end };
        let fid = self.open_there(link, &user, &names, access, purpose).ok()?;
        Some(Channel { link, fid, walked: false, open: false, busy: false, astray: false })
    }

    /// How the walk to a file of a share ended. Then it is opened, or that fails: only after that it can be tried again.
    pub(in crate::flow) fn walked(&self, (id, no): (SessionId, u64), channel: &mut Channel, reply: &Reply) {
        channel.walked = true;
        channel.astray = match reply {
            Reply::Walked(qids) => self.went_astray(id, no, channel.link, qids),
            Reply::Failed(error) => {
                error.errno == Errno::HOSTUNREACH || !self.cloud.links.contains_key(&channel.link)
            }
            _ => false,
        };
    }

    /// Whether the link of a channel broke while nothing was asked on it, so that nobody was told. What was asked before was answered.
    pub(in crate::flow) fn is_stale(&self, channel: &Channel) -> bool {
        channel.open && !channel.busy && !self.cloud.links.contains_key(&channel.link)
    }

    pub(in crate::flow) fn collect_answered(
        &mut self,
        link: LinkId,
        id: SessionId,
        stream: Stream,
        source: SourceId,
        reply: Reply,
    ) {
        self.with_collect(id, stream, |k, collect| {
            let Some(share) = collect.shares.get_mut(&source) else { return };
            let Some(channel) = share.channel.as_mut().filter(|channel| channel.link == link) else { return };
            if !channel.walked {
                return k.walked((id, share.no), channel, &reply);
            }
            match reply {
                Reply::Opened(qid, _) => {
                    channel.open = true;
                    let before = share.version.replace(qid.version);
                    let again = before.is_some_and(|before| before != qid.version);
                    if again && k.sessions.get(&id).is_some_and(|s| s.flow_reduces(stream)) {
                        collect.anew = share.offset > 0;
                        if collect.anew {
                            return;
                        }
                    } else if again {
                        // It cannot say again what it has let go.
                        let rolls = k.sessions.get(&id).and_then(|s| s.live.as_ref()).is_some_and(|l| l.roll);
                        let goes_on = if rolls { None } else { collect.merge.again(source) };
                        match goes_on {
                            Some(start_over) => share.offset = if start_over { 0 } else { share.offset },
                            None => {
                                let ranks = collect.merge.ranks_of(source);
                                k.end_share(collect, source);
                                let how = if rolls {
                                    "after `roll` had let some of it go"
                                } else {
                                    "in the middle of a record"
                                };
                                let text = format!(
                                    "what ranks {ranks} wrote is not read on: a node was restarted {how}"
                                );
                                k.flow_lacks(id, stream, text);
                                return;
                            }
                        }
                    }
                    k.read_share(id, collect, stream, source);
                }
                Reply::Data(data) if data.is_empty() && collect.merge.is_without(source) => {
                    (channel.busy, share.offset) = (false, 0);
                    k.read_share(id, collect, stream, source);
                }
                Reply::Data(data) if data.is_empty() => k.end_share(collect, source),
                Reply::Data(data) => {
                    channel.busy = false;
                    share.offset += data.len() as u64;
                    collect.merge.push(source, &data);
                    if collect.merge.rewinds(source) {
                        share.offset = 0;
                    }
                    if collect.merge.wants(source) {
                        k.read_share(id, collect, stream, source);
                    }
                }
                Reply::Failed(error)
                    if error.errno == Errno::HOSTUNREACH
                        || channel.astray
                        || !k.cloud.links.contains_key(&link) =>
                {
                    // It may come back; if it does not, it is told as lost.
                    if channel.open {
                        k.clunk_there(link, Lane::Bulk, channel.fid);
                    }
                    share.channel = None;
                    k.flow_later(id, share.no);
                }
                Reply::Failed(error) if error.errno == Errno::STALE && channel.open => {
                    // Its result is made anew there, or it is gone: then it cannot be opened.
                    if let Some(channel) = share.channel.take() {
                        k.clunk_there(link, Lane::Bulk, channel.fid);
                    }
                    k.read_share(id, collect, stream, source);
                }
                Reply::Failed(error) => {
                    k.end_share(collect, source);
                    k.share_lacks(id, stream, &error);
                }
                _ => {}
            }
        });
    }

    pub(super) fn end_share(&mut self, collect: &mut Collect, source: SourceId) {
        if let Some(share) = collect.shares.get_mut(&source)
            && let Some(channel) = share.channel.take()
        {
            self.clunk_there(channel.link, Lane::Bulk, channel.fid);
        }
        collect.shares.remove(&source);
        collect.merge.close(source);
    }

    pub(in crate::flow) fn collect_share_lost(&mut self, id: SessionId, stream: Stream, no: u64) {
        self.with_collect(id, stream, |k, collect| {
            if let Some(source) = collect.by_share.get(&no).copied() {
                if collect.shares.contains_key(&source) {
                    let ranks = collect.merge.ranks_of(source);
                    k.flaw(id, stream, format!("what ranks {ranks} wrote is lost with a node"));
                }
                k.end_share(collect, source);
            }
        });
    }
}
