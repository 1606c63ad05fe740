//! Receiving: what a client writes, what the host says of what it keeps, and the end, good or bad.

use super::{Source, fetch::Fetch};
use crate::{
    ClientId, Effect, FidState, Kernel, Who,
    files::{Open, OpenState},
    limits,
    park::{Ask, On, Outcome},
    place::{Place, unknown_fid},
};
use alloc::{boxed::Box, collections::VecDeque, format, string::ToString, sync::Arc, vec::Vec};
use op::{Access, Content, Errno, Error, Fid, Reply, Result, SessionId, Shape, Tag};

impl Kernel {
    /// A client will write a content.
    pub(crate) fn create_content(&mut self, who: Who, fid: Fid, name: &str, access: Access) -> Result<Reply> {
        let content = name.parse::<Content>().map_err(|()| {
            let cause = format!(
                "{name}: what is kept here is called HASH-SIZE: BLAKE3 in 64 lower-case hexadecimal digits, and how many bytes"
            );
            Error::new(Errno::INVAL, cause)
        })?;
        if who.uid.is_foreign() {
            let cause =
                "only users of this machine write here; `put` from=NODE brings a content from where it is";
            return Err(Error::new(Errno::ACCES, cause));
        }
        if self.store.numbers.contains_key(&content) {
            return Err(Error::new(Errno::EXIST, format!("{name} is here, or is being received")));
        }
        if !access.write {
            return Err(Error::new(Errno::INVAL, "what is made here is written"));
        }
        self.may_receive()?;
        self.make_room(content)?;
        let source = Source::Client { client: who.client, fid, given: 0, writes: VecDeque::new() };
        let no = self.store.insert(content, 0, source);
        let open = Open { access, uid: who.uid, state: OpenState::Plain, parts: None, version: 0 };
        let place = Place::Content(no);
        let client = self.clients.get_mut(&who.client).ok_or(Errno::STALE)?;
        let state: &mut FidState = client.fids.get_mut(&fid).ok_or_else(|| unknown_fid(fid))?;
        (state.place, state.open) = (place, Some(open));
        self.open_content(no);
        if content.size == 0 {
            self.keep(no, 0, Vec::new());
        }
        Ok(Reply::Opened(self.qid(place), Shape::Spool))
    }

    /// Whether one more may be received.
    fn may_receive(&self) -> Result<()> {
        let receiving = self.store.entries.values().filter(|entry| !entry.is_whole()).count();
        match receiving < limits::RECEIVING {
            true => Ok(()),
            false => {
                let cause = format!("{} receives {receiving} contents already; try again", self.node.name);
                Err(Error::new(Errno::AGAIN, cause))
            }
        }
    }

    /// A content is wanted here: it is, or it comes. `over` is the link of whoever asks.
    pub(super) fn want(
        &mut self,
        content: Content,
        from: Option<&str>,
        over: Option<crate::LinkId>,
    ) -> Result<u64> {
        if let Some(no) = self.store.numbers.get(&content).copied() {
            let me = self.node.name.clone();
            if let Some(super::Entry { source: Source::Node(fetch), .. }) = self.store.entries.get_mut(&no) {
                if let Some(from) = from.filter(|from| **from != *me) {
                    fetch.also_at(from);
                }
                if over.is_some_and(|over| fetch.comes_over(over)) {
                    let cause = format!("{me} is itself receiving it from there");
                    return Err(Error::new(Errno::BUSY, cause));
                }
            }
            return Ok(no);
        }
        let me = &self.node.name;
        let from = match from {
            Some(from) if *from != **me => from,
            Some(_) => {
                let cause = format!("{me} does not have it (any more); write it to net/{me}/store again");
                return Err(Error::new(Errno::NOENT, cause));
            }
            None => {
                let cause = format!("{me} does not have it, and no from=NODE says who has");
                return Err(Error::new(Errno::NOENT, cause));
            }
        };
        match self.toward(from) {
            Ok(link) if Some(link) == over => {
                let cause = format!("{from} is not below {me}");
                return Err(Error::new(Errno::NOENT, cause));
            }
            Ok(_) => {}
            // It may come back.
            Err(error) if error.errno == Errno::HOSTUNREACH => {}
            Err(error) => return Err(error),
        }
        self.may_receive()?;
        self.make_room(content)?;
        let no = self.store.insert(content, 0, Source::Node(Box::new(Fetch::new(Arc::from(from)))));
        match content.size {
            0 => self.keep(no, 0, Vec::new()),
            _ => self.fetch(no),
        }
        Ok(no)
    }

    pub(super) fn keep(&mut self, no: u64, offset: u64, data: Vec<u8>) {
        let Some(content) = self.store.content(no) else { return };
        self.out.push(Effect::Keep { receipt: no, content, offset, data });
    }

    /// Bytes of a content from a client, from its start to its end; answered when they are kept, and the last ones when all
    /// are found to be right.
    pub(crate) fn write_content(
        &mut self,
        who: Who,
        fid: Fid,
        no: u64,
        offset: u64,
        data: Vec<u8>,
    ) -> Outcome {
        let Some(entry) = self.store.entries.get_mut(&no) else { return Err(Kernel::content_gone()).into() };
        let size = entry.content.size;
        let Source::Client { client, fid: writer, given, writes } = &mut entry.source else {
            if offset >= size {
                let cause = format!("it has all of the {size} bytes that its name says");
                return Err(Error::new(Errno::FBIG, cause)).into();
            }
            return Err(Error::new(Errno::PERM, "a content is what its name says; nothing is written to it"))
                .into();
        };
        if (*client, *writer) != (who.client, fid) {
            return Err(Error::new(Errno::BUSY, "somebody else writes this content")).into();
        }
        if offset != *given {
            let cause =
                format!("a content is written from its start to its end; next is byte {given}, not {offset}");
            return Err(Error::new(Errno::INVAL, cause)).into();
        }
        let len = data.len() as u64;
        if given.checked_add(len).is_none_or(|end| end > size) {
            let cause = format!("this is more than the {size} bytes that the name says");
            return Err(Error::new(Errno::FBIG, cause)).into();
        }
        if data.is_empty() {
            return Outcome::Reply(Reply::Wrote(0));
        }
        *given += len;
        writes.push_back(Some((who.client, who.tag, data.len() as u32)));
        self.keep(no, offset, data);
        Outcome::Park(On::Keeping(no), Ask::Keeping(no))
    }

    /// Whoever wrote has given up waiting; the bytes are kept all the same.
    pub(crate) fn unkeep(&mut self, no: u64, client: ClientId, tag: Tag) {
        if let Some(super::Entry { source: Source::Client { writes, .. }, .. }) =
            self.store.entries.get_mut(&no)
        {
            let given_up = |w: &&mut Option<(ClientId, Tag, u32)>| {
                w.is_some_and(|(of, its, _)| (of, its) == (client, tag))
            };
            if let Some(write) = writes.iter_mut().find(given_up) {
                *write = None;
            }
        }
    }

    /// The host has kept more, or it could not, or it was something else.
    pub(crate) fn kept(&mut self, no: u64, result: Result<u64>) {
        let have = match result {
            Ok(have) => have,
            // It has dropped what it had.
            Err(error) => return self.lose_content(no, &error),
        };
        let Some(entry) = self.store.entries.get_mut(&no) else { return };
        entry.have = have.min(entry.content.size);
        let whole = have >= entry.content.size;
        let answer = match &mut entry.source {
            Source::Client { writes, .. } => writes.pop_front().flatten(),
            Source::Whole | Source::Node(_) => None,
        };
        if whole {
            self.end_fetch(no);
            if let Some(entry) = self.store.entries.get_mut(&no) {
                entry.source = Source::Whole;
            }
        } else {
            self.fetch_more(no);
        }
        if let Some((client, tag, len)) = answer {
            self.answer_parked(client, tag, Reply::Wrote(len));
        }
        self.parked.notify(On::Content(no));
        if whole {
            self.put_whole(no);
            for id in self.pinned_by(no) {
                self.launch_if_ready(id);
            }
        }
    }

    /// A client's fid of it is clunked. What was not whole breaks off.
    pub(crate) fn close_content(&mut self, no: u64, by: ClientId, at: Fid) {
        let Some(entry) = self.store.entries.get_mut(&no) else { return };
        entry.open -= 1;
        if let Source::Client { client, fid, given, .. } = &entry.source
            && (*client, *fid) == (by, at)
            && *given < entry.content.size
        {
            let cause = format!("whoever wrote it stopped after {given} of {} bytes", entry.content.size);
            self.out.push(Effect::Drop(entry.content));
            self.lose_content(no, &Error::new(Errno::PIPE, cause));
        }
    }

    /// It will not be whole: whoever waits for it is told why.
    pub(super) fn lose_content(&mut self, no: u64, error: &Error) {
        self.end_fetch(no);
        let sessions = self.pinned_by(no);
        for id in &sessions {
            if let Some(all) = self.store.pins.get_mut(id) {
                all.retain(|of| *of != no);
            }
        }
        self.put_lost(no, error);
        let Some(entry) = self.store.remove(no) else { return };
        let name = entry.content.to_string();
        self.failed(
            None,
            self.node.owner.uid,
            "store",
            "receive",
            &Error::new(error.errno, format!("{name}: {error}")),
        );
        if let Source::Client { writes, .. } = entry.source {
            for (client, tag, _) in writes.into_iter().flatten() {
                self.answer_parked(client, tag, Reply::Failed(error.clone()));
            }
        }
        for (client, tag) in self.parked.waiting_on(&On::Content(no)) {
            self.answer_parked(client, tag, Reply::Failed(error.clone()));
        }
        for id in sessions {
            self.refuse_for_content(id, entry.content, error);
        }
    }

    fn refuse_for_content(&mut self, id: SessionId, content: Content, error: &Error) {
        let live =
            self.sessions.get(&id).and_then(|s| s.live.as_deref()).filter(|live| live.awaits.is_some());
        let Some(live) = live else { return };
        let lines = super::lines(&live.setup.ns).unwrap_or_default();
        let name = lines.into_iter().find(|line| line.put.content == content).map(|line| line.put.name);
        let cause = format!("put {} ({content}): {error}", name.unwrap_or_default());
        self.refused(id, &Error::new(error.errno, cause));
    }
}
