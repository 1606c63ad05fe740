//! Aggregates: files of a set whose parts are gathered from the nodes that have them. Each child link is asked for what is
//! below it, and gathers in turn; lines are never torn. Commands go out the same way.
//!
//! ```text
//!   wait of the cloud ─┬─ what ended here
//!                      ├─ child b: its wait ─┬─ …
//!                      └─ child c: its wait
//! ```

mod fan;
mod members;
mod shares;

pub(crate) use fan::{Fan, tallied};

use crate::{
    ClientId, Kernel, LinkId, Who,
    far::Purpose,
    files::{Kind, Open, RowId},
    limits,
    park::On,
    place::{Place, Subject},
    query,
    record::Format,
};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use op::{Access, Errno, Error, Fid, Mono, Op, Reply, Tag};

/// What an open file of a set has from elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) parts: Vec<Part>,
    /// Whole lines that the reader has not got yet.
    pub(crate) text: Vec<u8>,
    user: Arc<str>,
    next: u64,
    /// Parts that have not said everything by then are not waited for.
    deadline: Option<Mono>,
    /// What is gathered here once: `status`, `info`, `topology` of sessions.
    once: bool,
}

/// One child link's part.
#[derive(Debug)]
pub(crate) struct Part {
    number: u64,
    link: LinkId,
    name: Arc<str>,
    fid: Option<Fid>,
    reading: Option<Tag>,
    offset: u64,
    /// A line that is not whole yet.
    torn: Vec<u8>,
    pub(crate) over: Over,
}

/// Whether a part has more to say.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Over {
    No,
    Ended,
    Broken(Error),
}

impl Parts {
    /// Whether every part has said all that it will.
    pub(crate) fn over(&self) -> bool {
        self.parts.iter().all(|part| part.over != Over::No)
    }

    /// The first part that was lost on the way.
    pub(crate) fn broken(&self) -> Option<&Error> {
        self.parts.iter().find_map(|part| match &part.over {
            Over::Broken(error) => Some(error),
            Over::No | Over::Ended => None,
        })
    }
}

impl Kernel {
    /// The parts of a set's file that is being opened; `None` where this node has all of it.
    pub(crate) fn gather(
        &mut self,
        who: Who,
        fid: Fid,
        subject: Subject,
        row: RowId,
        format: Format,
    ) -> Option<Parts> {
        let told = matches!(row.row().kind, Kind::Wait | Kind::Events | Kind::Failures);
        // What sessions are is not pushed up: it is asked.
        let asked = matches!(row.row().kind, Kind::Text { .. }) && self.of_sessions(subject);
        if let Subject::Session(id) = subject {
            return self.gather_shares(who, fid, id, row, format);
        }
        if !told && !asked {
            return None;
        }
        let links = self.set_links(subject);
        let lost = self.set_lost(subject);
        if links.is_empty() && lost.is_empty() {
            return None;
        }
        let mut all = Parts { user: self.user(who.uid).name.clone(), once: !told, ..Parts::default() };
        if all.once {
            let at = self.clock.mono + self.part_time(self.patience(subject));
            all.deadline = Some(at);
            self.part_timers.insert((at, who.client, fid));
        }
        // Of what is gone nobody waits for lines; `wait` says so, since it cannot say that all have ended.
        if !matches!(row.row().kind, Kind::Events) {
            for no in lost {
                let (error, name) = (self.is_down(no), self.cloud.nodes[&no].name.clone());
                all.parts.push(Part::new(all.next, LinkId::FILES, name, Over::Broken(error)));
                all.next += 1;
            }
        }
        for (link, name) in links {
            let names = self.set_names(subject, &format!("{}{}", row.row().name, format.suffix()));
            self.add_part(&mut all, who.client, fid, (link, name), &names, 0);
        }
        Some(all)
    }

    /// How long a part is waited for: whoever is further down gives up first, so that those above have an answer from him.
    fn part_time(&self, patience: core::time::Duration) -> core::time::Duration {
        let depth = self.cloud.ancestors.len().min(8) as u32;
        patience * 4_u32.pow(depth) / 5_u32.pow(depth)
    }

    fn add_part(
        &mut self,
        all: &mut Parts,
        client: ClientId,
        fid: Fid,
        (link, name): (LinkId, Arc<str>),
        names: &[String],
        offset: u64,
    ) {
        let number = all.next;
        all.next += 1;
        let access = Access { read: true, ..Access::default() };
        let purpose = || Purpose::Part { client, fid, part: number, read: false };
        let user = all.user.clone();
        let mut part = match self.open_there(link, &user, names, access, purpose) {
            Ok(there) => Part { fid: Some(there), ..Part::new(number, link, name, Over::No) },
            Err(error) => Part::new(number, link, name, Over::Broken(error)),
        };
        part.offset = offset;
        self.read_part(client, fid, &mut part);
        all.parts.push(part);
    }

    fn read_part(&mut self, client: ClientId, fid: Fid, part: &mut Part) {
        if let (Some(there), None, Over::No) = (part.fid, part.reading, &part.over) {
            let purpose = Purpose::Part { client, fid, part: part.number, read: true };
            let count = limits::FAR_IO as u32;
            let op = Op::Read { fid: there, offset: part.offset, count, wait: true };
            part.reading = Some(self.ask(part.link, crate::Lane::Control, purpose, op));
        }
    }

    fn parts_mut(&mut self, client: ClientId, fid: Fid) -> Option<&mut Parts> {
        if client == query::LOOKS {
            return self.look_mut(fid);
        }
        self.clients.get_mut(&client)?.fids.get_mut(&fid)?.open.as_mut()?.parts.as_deref_mut()
    }

    /// A child has answered for its part.
    pub(crate) fn part_answered(
        &mut self,
        client: ClientId,
        fid: Fid,
        number: u64,
        read: bool,
        reply: Reply,
    ) {
        let Some(all) = self.parts_mut(client, fid) else { return };
        let Some(at) = all.parts.iter().position(|part| part.number == number) else { return };
        let part = &mut all.parts[at];
        if read {
            part.reading = None;
        }
        match reply {
            Reply::Failed(error) if part.over == Over::No => part.over = Over::Broken(error),
            Reply::Data(data) if read && data.is_empty() => part.over = Over::Ended,
            Reply::Data(data) if read => {
                // From the end on means from there on.
                part.offset = if part.offset == u64::MAX { 0 } else { part.offset + data.len() as u64 };
                part.torn.extend(data);
                let whole = part.torn.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                let lines: Vec<u8> = part.torn.drain(..whole).collect();
                all.text.extend(lines);
                if all.once && all.text.len() > limits::ASKED {
                    let cause = format!(
                        "more than {} of answers: ask for fewer at once",
                        op::format_size(limits::ASKED as u64)
                    );
                    part.over = Over::Broken(Error::new(Errno::TOOBIG, cause));
                }
                if part.torn.len() > limits::TEXT {
                    part.over = Over::Broken(Error::new(Errno::PROTO, "a line without an end"));
                }
            }
            _ => {}
        }
        self.read_parts(client, fid);
        self.parked.notify(On::Parts(client, fid));
    }

    /// Asks on, where the reader is not too far behind.
    pub(crate) fn read_parts(&mut self, client: ClientId, fid: Fid) {
        let Some(all) = self.parts_mut(client, fid) else { return };
        // Who gathers once takes nothing before he has all.
        if !all.once && all.text.len() >= limits::GATHERED {
            return;
        }
        let mut parts = core::mem::take(&mut all.parts);
        parts.iter_mut().for_each(|part| self.read_part(client, fid, part));
        if let Some(all) = self.parts_mut(client, fid) {
            all.parts = parts;
        }
    }

    /// Lines from elsewhere that came since.
    pub(crate) fn take_parts(&mut self, client: ClientId, fid: Fid) -> Vec<u8> {
        let text = self.parts_mut(client, fid).map(|all| core::mem::take(&mut all.text)).unwrap_or_default();
        self.read_parts(client, fid);
        text
    }

    /// The file is closed: the other ends need not go on.
    pub(crate) fn drop_parts(&mut self, all: Parts) {
        for part in all.parts {
            if let Some(tag) = part.reading {
                self.flush_there(tag);
            }
            if let Some(fid) = part.fid {
                self.clunk_there(part.link, crate::Lane::Control, fid);
            }
        }
    }

    /// A child is there, perhaps again: who reads what happens in a set that it is in is told what happens there from now on.
    pub(crate) fn regather(&mut self, link: LinkId) {
        let Some(peer) = self.cloud.links.get(&link).and_then(|tie| tie.peer.as_ref()).filter(|p| !p.above)
        else {
            return;
        };
        let name = peer.name.clone();
        let mut readers: Vec<(ClientId, Fid, Subject)> = Vec::new();
        for (client, state) in &self.clients {
            for (fid, state) in &state.fids {
                if let (Place::File(subject, row, _), Some(_)) = (state.place, &state.open)
                    && matches!(row.row().kind, Kind::Events)
                    && matches!(subject, Subject::Cloud | Subject::Tree)
                {
                    readers.push((*client, *fid, subject));
                }
            }
        }
        for (client, fid, subject) in readers {
            let user = self.clients[&client].fids[&fid].open.as_ref().map(|open| open.uid);
            let user = self.user(user.unwrap_or(self.node.owner.uid)).name.clone();
            let mut all = match self.open_of(client, fid).and_then(|open| open.parts.take()) {
                Some(all) => all,
                None => alloc::boxed::Box::new(Parts { user, ..Parts::default() }),
            };
            all.parts.retain(|part| part.over == Over::No && self.cloud.links.contains_key(&part.link));
            let names = self.set_names(subject, "events");
            self.add_part(&mut all, client, fid, (link, name.clone()), &names, u64::MAX);
            if let Some(open) = self.open_of(client, fid) {
                open.parts = Some(all);
            }
        }
    }

    fn open_of(&mut self, client: ClientId, fid: Fid) -> Option<&mut Open> {
        self.clients.get_mut(&client)?.fids.get_mut(&fid)?.open.as_mut()
    }

    /// Parts that took too long are given up.
    pub(crate) fn ring_parts(&mut self) {
        while let Some(&(at, client, fid)) = self.part_timers.first()
            && at <= self.clock.mono
        {
            self.part_timers.pop_first();
            let Some(all) = self.parts_mut(client, fid).filter(|all| all.deadline == Some(at)) else {
                continue;
            };
            for part in all.parts.iter_mut().filter(|part| part.over == Over::No) {
                let cause = format!("{} has not answered in time", part.name);
                part.over = Over::Broken(Error::new(Errno::TIMEDOUT, cause));
            }
            self.parked.notify(On::Parts(client, fid));
        }
    }

    /// What other nodes said of sessions, and which could not be asked; `None` where this node has all of it.
    pub(crate) fn gathered(&mut self, who: Who, fid: Fid, format: Format) -> Option<Vec<u8>> {
        let all = self.parts_mut(who.client, fid).filter(|all| all.once)?;
        let mut text = core::mem::take(&mut all.text);
        let mut lost: Vec<(Arc<str>, String)> = Vec::new();
        for part in &all.parts {
            if let Over::Broken(error) = &part.over {
                lost.push((part.name.clone(), error.cause.clone()));
            }
        }
        for (name, why) in lost {
            let down =
                self.cloud.named(&name).and_then(|no| self.cloud.known(no)).and_then(|k| k.down.clone());
            let (since, why) = down.unwrap_or((self.clock.wall, why.into()));
            crate::show::down_row(&name, since, &why, format, &mut text);
        }
        Some(text)
    }

    /// Numbers what a query matches, when its directory is read from the start; true while that is not known.
    pub(crate) fn number_matches(&mut self, who: Who, fid: Fid, place: Place, cookie: u64) -> bool {
        let Place::Dir(subject @ Subject::Set(no)) = place else { return false };
        if cookie > 0 || self.set(no).query().is_none() {
            return false;
        }
        self.answer_query(subject);
        if !self.of_sessions(subject) {
            self.renumber(no, None);
            return false;
        }
        let parts = self.parts_mut(who.client, fid).map(|all| all.over());
        if parts == Some(false) {
            return true;
        }
        let mut told = crate::show::topology(self, subject, Format::Text);
        if let Some(all) = self.parts_mut(who.client, fid) {
            told.extend_from_slice(&all.text);
        }
        self.renumber(no, Some(&told));
        false
    }

    /// What `error` says of parts that could not be asked.
    pub(crate) fn lost_parts(&self, client: ClientId, fid: Fid) -> Vec<u8> {
        let open = self.clients.get(&client).and_then(|c| c.fids.get(&fid)).and_then(|f| f.open.as_ref());
        let parts = open.and_then(|open| open.parts.as_deref()).map_or(&[][..], |all| &all.parts);
        let lost = parts.iter().filter_map(|part| match &part.over {
            Over::Broken(error) => Some((&part.name, error)),
            Over::No | Over::Ended => None,
        });
        let at = crate::notices::rfc3339(self.clock.wall);
        let line = |(name, error): (&Arc<str>, &Error)| {
            format!("{at} net/{name} - node={name} stage=link errno={}: {error}\n", error.errno.symbol())
        };
        lost.map(line).collect::<String>().into_bytes()
    }
}

impl Part {
    fn new(number: u64, link: LinkId, name: Arc<str>, over: Over) -> Part {
        Part { number, link, name, fid: None, reading: None, offset: 0, torn: Vec::new(), over }
    }
}

/// Lines of many nodes in the order of what they speak of; records of many lines stay as they came.
pub(crate) fn in_order(text: Vec<u8>, file: &str) -> Vec<u8> {
    if file == "info" {
        return text;
    }
    let text = crate::words::lossy(&text);
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines.sort_by(|a, b| query::natural(a, b));
    lines.concat().into_bytes()
}
