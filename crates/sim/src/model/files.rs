//! Operations in the model: where a fid stands, what opening, reading and writing come to.

use super::{Expect, FidState, Model, Name, Place, State, Wait, ctl::Run};
use crate::provider::Provider;
use kernel::{ClientId, limits, split};
use op::{Access, Errno, Fid, Op, Tag, Uid};
use std::time::Duration;

/// As old as measurements may be.
pub(super) const FRESH: Duration = Duration::from_millis(500);

fn outcome(result: Result<Expect, Errno>) -> Expect {
    result.unwrap_or_else(Expect::Errno)
}

impl Model {
    /// A client asks.
    pub fn request(&mut self, client: ClientId, uid: Uid, tag: Tag, op: &Op, p: &Provider) {
        self.known.insert(uid);
        let name = (client, tag);
        let done = match op {
            Op::Attach { fid, .. } => {
                self.put(client, *fid, Place::Root);
                Expect::Walked(0)
            }
            Op::Walk { newfid, names, .. } => self.walk(client, *newfid, names),
            Op::Open { fid, access } => outcome(self.open(client, uid, *fid, *access)),
            Op::Read { fid, offset, count, wait } => match self.read(client, *fid, *offset, *count, p) {
                Expect::Waits if *wait => {
                    let wait = Wait::Read { fid: *fid, offset: *offset, count: *count };
                    return self.keep(name, uid, Err(wait));
                }
                // A measurement is waited for in any case.
                Expect::Waits if self.measures(client, *fid) => {
                    let wait = Wait::Read { fid: *fid, offset: *offset, count: *count };
                    return self.keep(name, uid, Err(wait));
                }
                Expect::Waits => Expect::Errno(Errno::AGAIN),
                expect => expect,
            },
            Op::Write { fid, offset, data } => {
                let outcome = self.write(name, uid, *fid, *offset, data);
                return self.keep(name, uid, outcome);
            }
            Op::List { fid, .. } => self.list(client, *fid),
            Op::Remove { fid } => {
                let done = outcome(self.remove(client, uid, *fid));
                self.clunk(client, *fid);
                done
            }
            Op::Clunk { fid } => match self.clunk(client, *fid) {
                true => Expect::Done,
                false => Expect::Errno(Errno::BADF),
            },
            Op::Flush { tag } => {
                self.flush((client, *tag));
                Expect::Done
            }
            Op::SetStat { fid, set } => outcome(self.chmod(client, uid, *fid, set.mode.unwrap_or(0))),
            Op::Create { .. } | Op::Symlink { .. } | Op::Rename { .. } => Expect::Errno(Errno::PERM),
            Op::Stat { .. } | Op::ReadLink { .. } => Expect::Says(String::new()),
        };
        self.answers.insert(name, done);
    }

    fn put(&mut self, client: ClientId, fid: Fid, place: Place) {
        let state = FidState {
            place,
            open: None,
            partial: Vec::new(),
            seen: [0; 2],
            text: Vec::new(),
            next: 0,
            snapshot: None,
        };
        self.fids.insert((client, fid), state);
    }

    /// From the root, along `net/n1/[ID/[RANK/]][FILE]`.
    fn walk(&mut self, client: ClientId, newfid: Fid, names: &[String]) -> Expect {
        let mut place = Place::Root;
        for (i, name) in names.iter().enumerate() {
            let next = match (place, i, name.as_str()) {
                (Place::Root, 0, "net") => Some(Place::Root),
                (Place::Root, 1, "n1") => Some(Place::Node),
                (Place::Node | Place::Session(_), _, name) => self.step(place, name),
                _ => None,
            };
            match next {
                Some(next) => place = next,
                None if i == 0 => return Expect::Errno(Errno::NOENT),
                None => return Expect::Walked(i),
            }
        }
        self.put(client, newfid, place);
        Expect::Walked(names.len())
    }

    fn step(&self, place: Place, name: &str) -> Option<Place> {
        let file = Name::ALL.into_iter().find(|n| n.text() == name);
        match place {
            Place::Node => match (file, name.parse()) {
                (Some(file), _) => file.of_node().then_some(Place::File(None, file)),
                (None, Ok(id)) => self.sessions.contains_key(&id).then_some(Place::Session(id)),
                (None, Err(_)) => None,
            },
            Place::Session(id) => match (file, name.parse::<u32>()) {
                (Some(file), _) => Some(Place::File(Some(id), file)),
                (None, Ok(rank)) => self.sessions.get(&id)?.members.get(&rank).copied().map(Place::Session),
                (None, Err(_)) => None,
            },
            Place::Root | Place::File(..) => None,
        }
    }

    fn place(&self, client: ClientId, fid: Fid) -> Result<Place, Errno> {
        self.fids.get(&(client, fid)).map(|f| f.place).ok_or(Errno::BADF)
    }

    fn alive(&self, place: Place) -> Result<(), Errno> {
        match session_of(place) {
            Some(id) if !self.sessions.contains_key(&id) => Err(Errno::STALE),
            _ => Ok(()),
        }
    }

    fn may(&self, uid: Uid, id: Option<u64>, name: Name, want: u16) -> bool {
        let (mut mode, private) = name.mode();
        let (owner, gid) = match id.map(|id| &self.sessions[&id]) {
            Some(session) => {
                if private {
                    mode &= session.mode;
                }
                (session.owner, session.gid)
            }
            None => (Uid(1000), 1000),
        };
        let shift = match () {
            () if uid == owner => 6,
            () if self.user(uid).groups.iter().any(|g| g.0 == gid) => 3,
            () => 0,
        };
        uid.0 == 0 || (mode >> shift) & want == want
    }

    fn open(&mut self, client: ClientId, uid: Uid, fid: Fid, access: Access) -> Result<Expect, Errno> {
        let mut place = self.place(client, fid)?;
        if self.fids[&(client, fid)].open.is_some() {
            return Err(Errno::BUSY);
        }
        self.alive(place)?;
        if let Place::File(id, name) = place {
            let want = if access.read { 4 } else { 0 } | if access.write { 2 } else { 0 };
            if !self.may(uid, id, name, want) {
                return Err(Errno::ACCES);
            }
            let group = id.is_some_and(|id| self.sessions[&id].is_group());
            if group && matches!(name, Name::Stdin | Name::Stdout | Name::Stderr | Name::Stdio) {
                return Err(Errno::OPNOTSUPP);
            }
            if name == Name::Clone {
                let new = self.cloned(uid, id)?;
                place = Place::File(Some(new), Name::Ctl);
            }
        } else if access.write {
            return Err(Errno::ISDIR);
        }
        self.put(client, fid, place);
        if let Some(state) = self.fids.get_mut(&(client, fid)) {
            state.open = Some((access, uid));
        }
        if let Some(id) = session_of(place) {
            self.hold(id);
        }
        Ok(Expect::Opened)
    }

    pub(super) fn opened(
        &self,
        client: ClientId,
        fid: Fid,
        write: bool,
    ) -> Result<(Option<u64>, Name), Errno> {
        let state = self.fids.get(&(client, fid)).ok_or(Errno::BADF)?;
        let (access, _) = state.open.ok_or(Errno::BADF)?;
        if !(if write { access.write } else { access.read }) {
            return Err(Errno::BADF);
        }
        self.alive(state.place)?;
        match state.place {
            Place::File(id, name) => Ok((id, name)),
            Place::Root | Place::Node | Place::Session(_) => Err(Errno::ISDIR),
        }
    }

    fn write(
        &mut self,
        name: (ClientId, Tag),
        uid: Uid,
        fid: Fid,
        offset: u64,
        data: &[u8],
    ) -> Result<Expect, Wait> {
        let (id, file) = match self.opened(name.0, fid, true) {
            Ok(found) => found,
            Err(errno) => return Ok(Expect::Errno(errno)),
        };
        match (id, file) {
            (_, Name::Ctl | Name::Clone) => {
                let Some(state) = self.fids.get_mut(&(name.0, fid)) else { return Ok(Expect::Waits) };
                state.partial.extend(data);
                let whole = state.partial.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                let text: Vec<u8> = state.partial.drain(..whole).collect();
                let mut lines: Vec<Vec<u8>> = text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
                lines.pop();
                self.run(name.0, uid, Run::new(id, Some(fid), lines, data.len() as u32)).map_err(Wait::Ctl)
            }
            (Some(id), Name::Stdin | Name::Stdio) => self.write_stdin(name, fid, id, data.to_vec()),
            (Some(id), Name::Args) => Ok(outcome(self.write_args(id, offset, data))),
            (_, _) => Ok(Expect::Errno(Errno::BADF)),
        }
    }

    fn write_args(&mut self, id: u64, offset: u64, data: &[u8]) -> Result<Expect, Errno> {
        let session = self.sessions.get_mut(&id).ok_or(Errno::STALE)?;
        if session.state != State::Fresh {
            return Err(Errno::BUSY);
        }
        let mut text = session.command.clone();
        let at = (offset as usize).min(text.len());
        text.resize(text.len().max(at + data.len()), 0);
        text[at..at + data.len()].copy_from_slice(data);
        if text.ends_with(b"\n") {
            split(&text).map_err(|e| e.errno)?;
        }
        session.command = text;
        Ok(Expect::Wrote(data.len() as u32))
    }

    pub(super) fn write_stdin(
        &mut self,
        name: (ClientId, Tag),
        fid: Fid,
        id: u64,
        data: Vec<u8>,
    ) -> Result<Expect, Wait> {
        // A clunk has answered it, if its fid is gone.
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(Expect::Errno(Errno::STALE)) };
        if session.ended() || session.stdin.closed || session.stdin.broken {
            return Ok(Expect::Errno(Errno::PIPE));
        }
        if data.is_empty() {
            return Ok(Expect::Wrote(0));
        }
        let len = data.len() as u32;
        let early = !matches!(session.state, State::Running { .. });
        if early && session.stdin.early.len() + data.len() <= limits::EARLY_STDIN {
            session.stdin.early.extend(data);
            return Ok(Expect::Wrote(len));
        }
        if early || session.stdin.feeding.is_some() {
            return Err(Wait::Stdin { fid, id, data });
        }
        session.stdin.feeding = Some(Some((name.0, name.1, len)));
        self.asks.push(super::Ask::Feed(id, data));
        Err(Wait::Fed { id })
    }

    fn list(&self, client: ClientId, fid: Fid) -> Expect {
        match self.fids.get(&(client, fid)) {
            Some(FidState { place: Place::Node, open: Some(_), .. }) => {
                Expect::Names(self.sessions.keys().map(|id| id.to_string()).collect())
            }
            Some(_) => Expect::Says(String::new()),
            None => Expect::Errno(Errno::BADF),
        }
    }

    fn owned(&self, client: ClientId, uid: Uid, fid: Fid) -> Result<u64, Errno> {
        match self.place(client, fid)? {
            Place::Session(id) => {
                let owner = self.sessions.get(&id).ok_or(Errno::STALE)?.owner;
                if uid.0 == 0 || uid == owner { Ok(id) } else { Err(Errno::PERM) }
            }
            place => self.alive(place).and(Err(Errno::PERM)),
        }
    }

    fn chmod(&mut self, client: ClientId, uid: Uid, fid: Fid, mode: u32) -> Result<Expect, Errno> {
        let id = self.owned(client, uid, fid)?;
        let session = self.sessions.get_mut(&id).ok_or(Errno::STALE)?;
        session.mode = (mode & 0o666) as u16 | 0o600;
        Ok(Expect::Done)
    }

    fn remove(&mut self, client: ClientId, uid: Uid, fid: Fid) -> Result<Expect, Errno> {
        let id = self.owned(client, uid, fid)?;
        self.free(id);
        Ok(Expect::Done)
    }

    /// A request is given up.
    fn flush(&mut self, name: (ClientId, Tag)) {
        let given_up = self.waiting.iter().find(|(of, ..)| *of == name).map(|(.., wait)| wait.clone());
        self.waiting.retain(|(of, ..)| *of != name);
        if let Some(Wait::Fed { id }) = given_up
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.stdin.feeding = Some(None);
            self.asks.push(super::Ask::Unfeed(id));
        }
    }

    /// Forgets a fid, and runs what is left of a line.
    fn clunk(&mut self, client: ClientId, fid: Fid) -> bool {
        let Some(state) = self.fids.remove(&(client, fid)) else { return false };
        let of_fid = |wait: &Wait| match wait {
            Wait::Read { fid: of, .. } | Wait::Stdin { fid: of, .. } => *of == fid,
            Wait::Fed { .. } | Wait::Ctl(_) => false,
        };
        let gone: Vec<_> =
            self.waiting.iter().filter(|(n, _, w)| n.0 == client && of_fid(w)).map(|w| w.0).collect();
        self.waiting.retain(|(name, ..)| !gone.contains(name));
        self.answers.extend(gone.into_iter().map(|name| (name, Expect::Errno(Errno::BADF))));
        let Some((_, uid)) = state.open else { return true };
        if let (false, Place::File(id, _), Ok(())) =
            (state.partial.is_empty(), state.place, self.alive(state.place))
        {
            let mut run = Run::new(id, None, Vec::new(), 0);
            let _nobody_is_told = self.line(uid, &mut run, &state.partial);
        }
        if let Some(id) = session_of(state.place) {
            self.release(id);
        }
        true
    }

    /// A client is gone.
    pub fn hangup(&mut self, client: ClientId) {
        let waiting: Vec<_> = self.waiting.iter().map(|w| w.0).filter(|name| name.0 == client).collect();
        waiting.into_iter().for_each(|name| self.flush(name));
        let fids: Vec<Fid> = self.fids.keys().filter(|k| k.0 == client).map(|k| k.1).collect();
        for fid in fids {
            self.clunk(client, fid);
        }
    }
}

pub(crate) fn session_of(place: Place) -> Option<u64> {
    match place {
        Place::Session(id) | Place::File(Some(id), _) => Some(id),
        Place::Root | Place::Node | Place::File(None, _) => None,
    }
}
