//! The kernel's part of collecting: spools of members here and files of shares are read as the merge wants them, and what
//! comes out is written to the group's own spool.

mod members;
mod shares;

use super::{
    Channel,
    merge::{Form, Merge, SourceId},
    records::Records,
};
use crate::{ClientId, Effect, Kernel, Lane, limits, park::On, ranks::RankSet, session::Output};
use alloc::{boxed::Box, collections::BTreeMap, format, string::String, vec::Vec};
use op::{Act, Errno, Error, Fid, SessionId, Stream};

/// One output of a group that is being collected.
#[derive(Debug)]
pub(crate) struct Collect {
    pub(super) merge: Merge,
    next: u64,
    members: BTreeMap<SourceId, Local>,
    by_session: BTreeMap<SessionId, SourceId>,
    /// Who is read when a member that was made anew is read to its end.
    next_try: BTreeMap<SessionId, SourceId>,
    shares: BTreeMap<SourceId, Remote>,
    by_share: BTreeMap<u64, SourceId>,
    /// Ranks that the merge knows as coming, and ends that it knows.
    expected: RankSet,
    logged: usize,
    /// Bytes of the group's spool, with those that are being written.
    written: u64,
    appending: bool,
    pub(super) over: bool,
    /// When it was begun: what other nodes know it by.
    pub(super) version: u32,
    /// What was read was taken back: all is to be read once more.
    anew: bool,
}

#[derive(Debug)]
struct Local {
    session: SessionId,
    rank: u32,
    /// The member that had its rank before, if that is to be read first.
    after: Option<SessionId>,
    offset: u64,
    fetching: bool,
    complete: bool,
}

#[derive(Debug)]
struct Remote {
    no: u64,
    channel: Option<Channel>,
    offset: u64,
    /// Which life of the share's output this is.
    version: Option<u32>,
}

/// Reads of collecting, among a session's readers.
const COLLECTOR: (ClientId, Fid) = (ClientId(u64::MAX), Fid(0));

impl Collect {
    fn new(flow: &super::Flow, stream: Stream, version: u32) -> Collect {
        Collect {
            merge: Merge::new(flow.forms[stream as usize], flow.records.clone()),
            // What was asked in a life before is not taken for what is asked in this one.
            next: u64::from(version) << 32,
            members: BTreeMap::new(),
            by_session: BTreeMap::new(),
            next_try: BTreeMap::new(),
            shares: BTreeMap::new(),
            by_share: BTreeMap::new(),
            expected: RankSet::new(),
            logged: 0,
            written: 0,
            appending: false,
            over: false,
            version,
            anew: false,
        }
    }

    pub(super) fn channels(&self) -> Vec<Channel> {
        self.shares.values().filter_map(|share| share.channel).collect()
    }

    pub(super) fn wrote(&self) -> bool {
        self.written > 0
    }

    pub(super) fn waits_for(&self) -> Option<RankSet> {
        self.merge.waits_for().filter(|_| !self.over)
    }

    fn source(&mut self) -> SourceId {
        self.next += 1;
        SourceId(self.next)
    }
}

impl Kernel {
    /// Somebody wants a group's output: from now on it is collected.
    pub(crate) fn collect(&mut self, id: SessionId, stream: Stream) {
        let version = (self.clock.wall.0 ^ self.clock.wall.0 >> 32) as u32 | 1;
        let Some(session) = self.sessions.get_mut(&id).filter(|s| s.is_group()) else { return };
        let made = session.ever_members();
        let flow = session.flow.get_or_insert_default();
        if flow.collects[stream as usize].is_some() {
            return;
        }
        // No two at once have the same.
        flow.lives = flow.lives.wrapping_add(2);
        let collect = Collect::new(flow, stream, version.wrapping_add(flow.lives));
        flow.collects[stream as usize] = Some(Box::new(collect));
        self.begin_reducing(id, stream);
        // All that there are; those that are made from now on are told.
        self.collect_on(id, stream, &made);
        self.flows.insert(id);
    }

    /// A share lets its output go as it is read. Whoever reads it from the start again, because a node above was restarted, has it collected
    /// once more: what its members wrote is there still. True if that has to wait for what is being written.
    pub(crate) fn collect_anew(&mut self, id: SessionId, stream: Stream) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let rolls = session.live.as_ref().is_some_and(|live| live.roll);
        if rolls
            || session.flow_reduces(stream)
            || !session.group.as_ref().is_some_and(|group| group.is_share)
        {
            return false;
        }
        let Some(flow) = session.flow.as_deref_mut() else { return false };
        let Some(mut collect) = flow.collects[stream as usize].take_if(|collect| !collect.appending) else {
            return flow.collects[stream as usize].is_some();
        };
        *session.out_mut(stream) = Output::default();
        self.want_no_more(&mut collect);
        self.collect(id, stream);
        false
    }

    /// In which life a group's output is: another one may say the same in another order.
    pub(crate) fn collect_version(&self, id: SessionId, stream: Stream) -> u32 {
        let Some(flow) = self.sessions.get(&id).and_then(|s| s.flow.as_deref()) else { return 0 };
        match &flow.reducers[stream as usize] {
            // The same after a restart, if its result stands.
            Some(reducer) => (reducer.session.0 as u32).wrapping_add(1),
            None => flow.collects[stream as usize].as_ref().map_or(0, |collect| collect.version),
        }
    }

    /// An output that was collected before a restart, to its end.
    pub(super) fn collect_ended(&mut self, id: SessionId, stream: Stream) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.out_mut(stream).closed = true;
        let flow = session.flow.get_or_insert_default();
        flow.collects[stream as usize] =
            Some(Box::new(Collect { over: true, ..Collect::new(flow, stream, 0) }));
    }

    /// Nothing more is wanted of any member or share.
    pub(super) fn want_no_more(&mut self, collect: &mut Collect) {
        for channel in collect.channels() {
            self.clunk_there(channel.link, Lane::Bulk, channel.fid);
        }
        collect.members.clear();
        collect.by_session.clear();
        collect.next_try.clear();
        collect.shares.clear();
        collect.by_share.clear();
        collect.merge = Merge::new(Form::default(), Records::default());
        collect.over = true;
    }

    pub(super) fn with_collect(
        &mut self,
        id: SessionId,
        stream: Stream,
        act: impl FnOnce(&mut Kernel, &mut Collect),
    ) {
        let place = |k: &mut Kernel| {
            let flow = k.sessions.get_mut(&id)?.flow.as_deref_mut()?;
            Some(core::mem::take(&mut flow.collects[stream as usize]))
        };
        let Some(Some(mut collect)) = place(self) else { return };
        act(self, &mut collect);
        if collect.anew {
            self.want_no_more(&mut collect);
            return self.reduce_anew(id, stream);
        }
        self.drive(id, stream, &mut collect);
        if let Some(flow) = self.sessions.get_mut(&id).and_then(|s| s.flow.as_deref_mut()) {
            flow.collects[stream as usize] = Some(collect);
        }
    }

    /// Takes in what has changed: members and shares that were made, ranks that have ended.
    pub(super) fn collect_on(&mut self, id: SessionId, stream: Stream, made: &[(u32, SessionId)]) {
        self.with_collect(id, stream, |k, collect| {
            if collect.over {
                return;
            }
            for (rank, member) in made {
                if k.sessions.contains_key(member) && !collect.by_session.contains_key(member) {
                    let source = collect.source();
                    collect.merge.add_member(source, *rank);
                    collect.merge.expect(&[*rank].into_iter().collect());
                    collect.by_session.insert(*member, source);
                    let earlier = k.sessions.get(&id).and_then(|s| s.group.as_ref()?.earlier.get(rank));
                    let after = earlier.and_then(|ids| ids.iter().rfind(|id| *id < member)).copied();
                    let after = after.filter(|after| collect.by_session.contains_key(after));
                    collect.next_try.extend(after.map(|after| (after, source)));
                    let local = Local {
                        session: *member,
                        rank: *rank,
                        after,
                        offset: 0,
                        fetching: false,
                        complete: false,
                    };
                    collect.members.insert(source, local);
                    k.see_complete(collect, stream, source);
                }
            }
            let Some(session) = k.sessions.get(&id) else { return };
            let (whole, reduces) = (session.flow_is_whole(), session.flow_reduces(stream));
            let Some(group) = session.group.as_deref() else { return };
            let mut new = match group.is_share {
                true => RankSet::new(),
                false => RankSet::from_range(0..session.size()),
            };
            group.share_ranks().for_each(|(_, ranks)| new.union_with(ranks));
            new.subtract(&collect.expected);
            collect.expected.union_with(&new);
            collect.merge.expect(&new);
            let ended: RankSet =
                group.log[collect.logged.min(group.log.len())..].iter().map(|end| end.rank).collect();
            collect.logged = group.log.len();
            collect.merge.finished(&ended);
            let unstarted: Vec<SourceId> = ended
                .iter()
                .filter_map(|r| session.members.get(&r))
                .filter_map(|m| collect.by_session.get(m))
                .copied()
                .collect();
            for (no, ranks) in group.share_ranks() {
                match collect.by_share.get(&no) {
                    Some(source) => collect.merge.share_has(*source, ranks),
                    None => {
                        let source = collect.source();
                        match reduces {
                            true => collect.merge.add_reduced(source, ranks.clone()),
                            false => collect.merge.add_share(source, ranks.clone()),
                        }
                        collect.by_share.insert(no, source);
                        collect.shares.insert(source, Remote { no, channel: None, offset: 0, version: None });
                    }
                }
            }
            for source in unstarted {
                k.see_complete(collect, stream, source);
                k.read_member(collect, stream, source);
            }
            // Some that could not be reached may be now.
            let waiting: Vec<SourceId> = collect
                .shares
                .iter()
                .filter(|(_, s)| s.channel.is_none())
                .map(|(source, _)| *source)
                .collect();
            for source in waiting {
                if collect.merge.wants(source) {
                    k.read_share(id, collect, stream, source);
                }
            }
            if whole {
                collect.merge.no_more();
            }
        });
    }

    /// Bytes of a spool have come.
    pub(crate) fn fetched(&mut self, session: SessionId, stream: Stream, offset: u64, data: &[u8]) {
        if self.reducer_said(session, data) {
            return;
        }
        let Some((group, _)) = self.sessions.get(&session).and_then(|s| s.member_of) else { return };
        self.with_collect(group, stream, |k, collect| {
            let Some(source) = collect.by_session.get(&session).copied() else { return };
            let Some(local) = collect.members.get_mut(&source).filter(|l| l.fetching && l.offset == offset)
            else {
                return;
            };
            local.fetching = false;
            local.offset += data.len() as u64;
            let rank = local.rank;
            if data.is_empty() {
                let text = format!("rank {rank}: its spool cannot be read; what is more of it is missing");
                k.flow_lacks(group, stream, text);
                k.end_member(collect, stream, source);
            } else {
                collect.merge.push(source, data);
                k.read_member(collect, stream, source);
            }
        });
    }

    /// Reads on, writes on, until nothing can be done now.
    fn drive(&mut self, id: SessionId, stream: Stream, collect: &mut Collect) {
        loop {
            self.read_hungry(id, stream, collect);
            if self.sessions.get(&id).is_some_and(|s| s.flow_reduces(stream)) {
                match self.feed_reducer(id, stream, collect) {
                    true => continue,
                    false => break,
                }
            }
            let Some(session) = self.sessions.get_mut(&id) else { return };
            let limit = session.live.as_ref().and_then(|live| live.setup.limits.output).unwrap_or(u64::MAX);
            let out = session.out_mut(stream);
            let room = limit.saturating_sub(collect.written - out.trimmed);
            if collect.appending || collect.over {
                break;
            }
            if room == 0 {
                out.full = true;
                break;
            }
            let data = collect.merge.take(room.min(limits::FLOW as u64) as usize);
            if !data.is_empty() {
                collect.appending = true;
                let offset = collect.written;
                collect.written += data.len() as u64;
                self.out.push(Effect::Act(Act::Append { session: id, stream, offset, data }));
                continue;
            }
            if collect.merge.is_over() {
                collect.over = true;
                out.closed = true;
                self.parked.notify(On::Output(id, stream));
                self.parked.notify(On::Console(id));
            }
            break;
        }
        for (ranks, text) in collect.merge.troubles() {
            self.flow_lacks(id, stream, format!("ranks {ranks}: {text}"));
        }
    }

    /// What was to be written is written; or readers have made room.
    pub(crate) fn appended(&mut self, id: SessionId, stream: Stream, len: Option<u64>) {
        self.with_collect(id, stream, |_, collect| {
            if len == Some(collect.written) {
                collect.appending = false;
            }
        });
    }

    /// Something of an output is missing: a failure, and no result is whole without it.
    pub(super) fn flow_lacks(&mut self, id: SessionId, stream: Stream, text: String) {
        self.flaw(id, stream, text.clone());
        self.flow_failed(id, text);
    }

    pub(super) fn flow_failed(&mut self, id: SessionId, text: String) {
        if let Some(owner) = self.sessions.get(&id).map(|s| s.owner) {
            self.failed(Some(id), owner, "", "flow", &Error::new(Errno::IO, text));
        }
    }
}
