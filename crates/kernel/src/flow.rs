//! Bytes of groups: how stdin reaches the members, and how their output is collected.
//!
//! ```text
//!   stdin ──▶ deal ─┬─▶ members here            members' spools ──┐
//!                   └─▶ frames ─▶ shares        shares' frames  ──┴─▶ merge ──▶ the group's spool ──▶ readers
//!
//!   with `reduce CMD`:  members' spools, and what shares' CMDs wrote ──▶ merge ──▶ CMD ──▶ its spool ──▶ readers
//! ```
//! What is cut is *records*, and a record is never torn, whatever its length. Between the levels of a group bytes go in
//! *frames*, which say whose they are. Nothing is collected before somebody opens the group's output: until then all of it
//! is in the members' spools, and after a restart it is collected anew from there.

mod collect;
mod deal;
mod feed;
mod frames;
mod kept;
mod merge;
mod records;
mod reduce;
mod said;
mod why;

pub(crate) use collect::Collect;
pub(crate) use feed::Feed;
pub(crate) use said::{records, stderr, stdin, stdout, whole};

use reduce::Reducer;

use crate::{
    Kernel, Lane, LinkId,
    group::{Begun, line_of},
    limits,
    park::On,
    words::lossy,
};
use alloc::{boxed::Box, format, string::String, vec::Vec};
use deal::{DestId, Way};
use merge::{Form, Layout, SourceId};
use op::{Errno, Error, Fid, Reply, Result, SessionId, Stream};
use records::Records;

/// What a group does with bytes, and how far it is.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    way: Option<Way>,
    /// What comes in waits for members that wait.
    queued: bool,
    records: Records,
    forms: [Form; 2],
    /// What an output goes through at every level, if something: a program and its words.
    reduces: [Option<Vec<Vec<u8>>>; 2],
    reducers: [Option<Box<Reducer>>; 2],
    collects: [Option<Box<Collect>>; 2],
    /// Counts how often an output was begun to be collected.
    lives: u32,
    feed: Option<Box<Feed>>,
    /// It was begun to be fed, and where that stood is not known any more.
    cut: bool,
    /// Stdin has ended.
    closed: bool,
    /// No members will be added, as whoever made this share has said; and it was said to its own shares.
    whole: bool,
    told_whole: bool,
    /// Members that were made since it was looked at.
    made: Vec<(u32, SessionId)>,
}

/// Which end of a flow another node is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Out(Stream, SourceId),
    In(DestId),
}

/// A file of a share that is open over a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Channel {
    link: LinkId,
    fid: Fid,
    /// The walk to it was answered: what is said next is of its opening.
    walked: bool,
    /// It was said to be open.
    open: bool,
    /// A read or write is under way.
    busy: bool,
    /// Somebody on the way does not know the share's node, or cannot reach it: nothing is wrong with the share for that.
    astray: bool,
}

impl Flow {
    /// Whether members must all run at once, since what comes in is dealt out to them.
    pub(crate) fn deals(&self) -> bool {
        self.way.is_some() && !self.queued
    }

    fn set(&mut self, verb: &str, raw: Words<'_>) -> Result<()> {
        let words: Vec<String> = raw.iter().map(|w| lossy(w)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let words = &words[..];
        let which = usize::from(verb == "stderr");
        match verb {
            "stdin" => {
                let (words, queued) = match words {
                    [words @ .., "queued"] => (words, true),
                    words => (words, false),
                };
                (self.way, self.queued) = (Some(Way::parse(words)?), queued);
            }
            "records" => self.records = Records::parse(words)?,
            _ if words.first() == Some(&"reduce") => {
                if raw.len() < 2 {
                    let cause = format!("{verb} reduce needs a program: {verb} reduce prog [arg…]");
                    return Err(Error::new(Errno::INVAL, cause));
                }
                (self.reduces[which], self.forms[which]) = (Some(raw[1..].to_vec()), Form::default());
            }
            _ => (self.forms[which], self.reduces[which]) = (form_of(verb, words)?, None),
        }
        Ok(())
    }

    /// Whether an output goes through a program at every level.
    pub(crate) fn reduces(&self, stream: Stream) -> bool {
        self.reduces[stream as usize].is_some()
    }

    /// Bytes that are on their way.
    pub(crate) fn held(&self) -> usize {
        let out: usize = self.collects.iter().flatten().map(|collect| collect.held()).sum();
        out + self.feed.as_ref().map_or(0, |feed| feed.held())
    }

    /// Whether there is a spool.
    pub(crate) fn wrote(&self) -> bool {
        self.collects.iter().flatten().any(|collect| collect.wrote())
    }

    fn is_flowing(&self, verb: &str) -> bool {
        let (fed, [out, err]) =
            (self.feed.is_some() || self.cut, self.collects.each_ref().map(Option::is_some));
        match verb {
            "stdin" => fed,
            "stdout" => out,
            "stderr" => err,
            _ => fed || out || err,
        }
    }
}

use said::{Words, form_of};

const STREAMS: [Stream; 2] = [Stream::Out, Stream::Err];

fn name_of(stream: Stream) -> &'static str {
    match stream {
        Stream::Out => "stdout",
        Stream::Err => "stderr",
    }
}

impl Kernel {
    fn flow_mut(&mut self, id: SessionId) -> Result<&mut Flow> {
        let session = self.sessions.get_mut(&id).ok_or_else(|| crate::gone(id))?;
        Ok(session.flow.get_or_insert_default())
    }

    /// How bytes flow is said before they do.
    fn set_flow(&mut self, id: SessionId, verb: &str, words: Words<'_>, dry: bool) -> Result<Begun> {
        self.can_be_group(id, verb)?;
        let flow = self.flow_mut(id)?;
        if flow.is_flowing(verb) {
            let cause =
                format!("{verb} is said before anything flows, and in session {} something has", id.0);
            return Err(Error::new(Errno::BUSY, cause));
        }
        if dry {
            return Flow::default().set(verb, words).map(|()| Begun::default());
        }
        flow.set(verb, words)?;
        if matches!((&flow.way, &flow.records), (Some(Way::Rank), Records::Len32)) {
            flow.way = None;
            let cause = "stdin rank takes a word off each record, and len32 says how long it is: use frames";
            return Err(Error::new(Errno::INVAL, cause));
        }
        let lines = flow.share_lines();
        let line = [format!("flow {} {verb} ", id.0).into_bytes(), line_of(words)].concat();
        self.append(line);
        let line = lines.into_iter().find(|line| line.starts_with(verb.as_bytes()));
        let fan = line.and_then(|line| self.share_fan(id, None, &line));
        Ok(Begun { fan, ..Begun::default() })
    }

    /// A member was made.
    pub(crate) fn flow_member(&mut self, group: SessionId, rank: u32, member: SessionId) {
        let Some(session) = self.sessions.get_mut(&group) else { return };
        if let Some(flow) =
            session.flow.as_deref_mut().filter(|f| f.feed.is_some() || f.collects.iter().any(Option::is_some))
        {
            flow.made.push((rank, member));
        }
        self.flows.insert(group);
    }

    /// Something has changed about a member's output or input.
    pub(crate) fn flow_of_member(&mut self, member: SessionId, stream: Option<Stream>) {
        let Some((group, _)) = self.sessions.get(&member).and_then(|s| s.member_of) else { return };
        let Some(flow) = self.sessions.get(&group).and_then(|s| s.flow.as_deref()) else { return };
        match stream {
            Some(stream) if flow.collects[stream as usize].is_some() => {
                self.member_wrote(group, stream, member)
            }
            None if flow.feed.is_some() => self.member_fed(group, member),
            Some(_) | None => {}
        }
    }

    /// A member is no more.
    pub(crate) fn flow_gone(&mut self, group: SessionId, member: SessionId) {
        for stream in [Stream::Out, Stream::Err] {
            self.collect_gone(group, stream, member);
        }
        self.flows.insert(group);
    }

    /// Lets everything flow that can, in groups of which something has changed.
    pub(crate) fn flow_on(&mut self) {
        while let Some(id) = self.flows.pop_first() {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let made =
                session.flow.as_deref_mut().map(|flow| core::mem::take(&mut flow.made)).unwrap_or_default();
            if session.flow.as_ref().is_none_or(|flow| flow.collects.iter().any(Option::is_none)) {
                // Who waits for what nobody collects is served again: it is a group now.
                for on in [On::Output(id, Stream::Out), On::Output(id, Stream::Err), On::Console(id)] {
                    self.parked.notify(on);
                }
            }
            for stream in [Stream::Out, Stream::Err] {
                self.collect_on(id, stream, &made);
            }
            self.feed_on(id, &made);
            if self.parked.awaited(&On::Fed(id)) && self.all_placed(id) {
                self.parked.notify(On::Fed(id));
            }
            self.tell_whole(id);
        }
    }

    /// Shares whose members have all ended, and which get no more, are told so: then their outputs end.
    fn tell_whole(&mut self, id: SessionId) {
        let over = self.sessions.get(&id).is_some_and(|s| s.flow_is_whole());
        let Some(flow) = self.sessions.get_mut(&id).and_then(|s| s.flow.as_deref_mut()) else { return };
        if flow.collects.iter().all(Option::is_none) {
            return;
        }
        if over && !core::mem::replace(&mut flow.told_whole, true) {
            self.tell_shares(id, b"whole");
        } else if !over {
            flow.told_whole = false;
        }
    }

    /// A share was found again.
    pub(crate) fn flow_share_back(&mut self, id: SessionId, no: u64) {
        let told = self.sessions.get(&id).and_then(|s| s.flow.as_deref()).is_some_and(|flow| flow.told_whole);
        if told {
            self.tell_share_plainly(id, no, b"whole");
        }
        self.feed_share_back(id, no);
        self.flows.insert(id);
    }

    /// A group's output may have room again.
    pub(crate) fn flow_has_room(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id).filter(|s| s.flow.is_some()) else { return };
        session.output.iter_mut().for_each(|out| out.full = false);
        self.flows.insert(id);
    }

    /// A share is lost: what it has not said it will not say.
    pub(crate) fn flow_share_lost(&mut self, id: SessionId, no: u64) {
        for stream in [Stream::Out, Stream::Err] {
            self.collect_share_lost(id, stream, no);
        }
        self.feed_share_lost(id, no);
        self.flows.insert(id);
    }

    /// What another node said of a file of its share.
    pub(crate) fn flow_answered(&mut self, link: LinkId, id: SessionId, end: End, reply: Reply) {
        match end {
            End::Out(stream, source) => self.collect_answered(link, id, stream, source, reply),
            End::In(dest) => self.feed_answered(link, id, dest, reply),
        }
    }

    /// A file of a share cannot be opened now. If the share is held all the same, nothing will happen here when it can.
    fn flow_later(&mut self, id: SessionId, no: u64) {
        if self.holds_share(id, no) {
            self.flows_later.insert(id);
            self.look_for_them_in(limits::ROOM);
        }
    }

    /// Files of shares are tried again.
    pub(crate) fn flows_again(&mut self) {
        self.flows.append(&mut self.flows_later);
    }

    /// A group is freed: nobody is asked any more.
    pub(crate) fn flow_freed(&mut self, mut flow: Flow) {
        let collects = flow.collects.iter_mut().filter_map(Option::take);
        let mut channels: Vec<Channel> = collects.flat_map(|collect| collect.channels()).collect();
        channels.extend(flow.feed.take().into_iter().flat_map(|feed| feed.channels()));
        for channel in channels {
            self.clunk_there(channel.link, Lane::Bulk, channel.fid);
        }
    }
}

impl crate::session::Session {
    /// Whether an output goes through a program.
    pub(crate) fn flow_reduces(&self, stream: Stream) -> bool {
        self.flow.as_ref().is_some_and(|flow| flow.reduces(stream))
    }

    /// Whether all members that it will ever have have ended.
    fn flow_is_whole(&self) -> bool {
        let Some(group) = self.group.as_deref() else { return false };
        let added = group.is_share && !self.flow.as_ref().is_some_and(|flow| flow.whole);
        self.is_group() && group.is_over() && !added
    }
}
