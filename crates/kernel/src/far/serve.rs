//! What a client does with a far fid.

use super::{Anchor, Bound, Elsewhere, Far, Kind, Purpose, lane_of};
use crate::{
    Kernel, Lane, LinkId, Who,
    cloud::NodeNo,
    files::{self, Open, OpenState},
    limits,
    park::{Ask, On, Outcome},
    place::{Place, Subject, View, unknown_fid},
    show,
};
use alloc::{boxed::Box, format, string::String, vec::Vec};
use op::{Access, Errno, Error, Fid, Op, Reply, Result};

impl Kernel {
    /// Where something that is opened here is served from somewhere else.
    pub(super) fn elsewhere(&mut self, who: Who, place: Place) -> Result<Option<Elsewhere>> {
        let up = self.goes_up(who.client);
        Ok(match place {
            Place::Known(no, view) => Some((Anchor::Node(no, view), Vec::new(), None)),
            Place::View(view) if up => Some((Anchor::Up, alloc::vec![view.name().into()], None)),
            Place::Dir(Subject::Set(no)) if self.set_goes_up(who, no) => {
                Some((Anchor::Up, self.set_path(no), None))
            }
            Place::File(Subject::Cloud, row, format) if up && !row.row().allocates() => {
                Some((Anchor::Up, alloc::vec![format!("{}{}", row.row().name, format.suffix())], None))
            }
            Place::File(Subject::Set(no), row, format) if self.set_goes_up(who, no) => {
                let mut names = self.set_path(no);
                names.push(format!("{}{}", row.row().name, format.suffix()));
                Some((Anchor::Up, names, None))
            }
            Place::File(subject @ (Subject::Tree | Subject::Set(_)), row, _)
                if row.row().allocates()
                    && !self.of_sessions(subject)
                    && self.reservation(subject).is_none() =>
            {
                self.placed(subject)?.map(|no| {
                    let name = self.cloud.nodes[&no].name.clone();
                    (Anchor::Node(no, View::Net), alloc::vec!["clone".into()], Some(name))
                })
            }
            _ => None,
        })
    }

    /// Serves an operation on a far fid; gives it back if the fid is not far.
    pub(crate) fn far(&mut self, who: Who, op: Op) -> core::result::Result<Outcome, Op> {
        let Some(fid) = op.fid() else { return Err(op) };
        let Some(state) = self.clients.get(&who.client).and_then(|c| c.fids.get(&fid)) else {
            return Err(op);
        };
        let (place, is_far) = (state.place, state.far.is_some());
        let open = state.open.as_ref().map(|open| matches!(open.state, OpenState::Far));
        if !is_far {
            let Op::Open { .. } = op else { return Err(op) };
            match self.elsewhere(who, place) {
                Ok(None) => return Err(op),
                Err(error) => return Ok(Err(error).into()),
                Ok(Some((anchor, rest, prefix))) => {
                    let qid = self.qid(place);
                    let client = self.clients.get_mut(&who.client).expect("it asks");
                    let state = client.fids.get_mut(&fid).expect("looked up above");
                    state.far = Some(Box::new(Far { anchor, rest, qid, bound: Bound::No, unnamed: false }));
                    state.place = Place::Far;
                    state.prefix = prefix;
                }
            }
        }
        match (op, open) {
            (op @ Op::Walk { .. }, _) => Err(op),
            (Op::Clunk { .. }, _) => Ok(match self.clunk(who.client, fid) {
                true => Ok(Reply::Done).into(),
                false => Err(unknown_fid(fid)).into(),
            }),
            // Open, and served from memory.
            (op, Some(false)) => Err(op),
            (Op::Open { access, .. }, None) => Ok(self.far_open(who, fid, access)),
            (Op::Open { .. }, Some(true)) => {
                Ok(Err(Error::new(Errno::BUSY, format!("fid {} is open already", fid.0))).into())
            }
            (Op::Stat { .. }, _) if matches!(place, Place::Known(..)) => Ok(self.stat(place).into()),
            (Op::ReadLink { .. }, _) if self.far_link(who, fid).is_some() => {
                Ok(Outcome::Reply(Reply::Linked(self.far_link(who, fid).unwrap_or_default())))
            }
            (op, _) => Ok(self.far_op(who, fid, op)),
        }
    }

    /// The text of a link to another view of a known node, from where it stands.
    pub(super) fn far_link(&self, who: Who, fid: Fid) -> Option<String> {
        let far = self.clients.get(&who.client)?.fids.get(&fid)?.far.as_deref()?;
        let (no, view, before) = self.view_link(far.anchor, &far.rest)?;
        let Anchor::Node(_, stands) = far.anchor else { return None };
        // The link itself is not a level, but the directory that it is in is.
        let depth = self.view_of(Some(no), stands)?.len() + far.rest.len() - 1;
        let target = self.view_of(Some(no), view)?;
        let up = core::iter::repeat_n(String::from(".."), depth);
        Some(up.chain(target).chain(before).collect::<Vec<_>>().join("/"))
    }

    pub(super) fn far_open(&mut self, who: Who, fid: Fid, access: Access) -> Outcome {
        let Some(far) = self.far_mut(who.client, fid) else { return Err(unknown_fid(fid)).into() };
        let (anchor, rest) = (far.anchor, far.rest.clone());
        if self.route(anchor, self.goes_up(who.client)).is_err() && self.is_remembered(anchor, &rest) {
            return self.open_memory(who, fid, anchor, &rest[0], access).into();
        }
        self.far_op(who, fid, Op::Open { fid, access })
    }

    /// What was last known of a node that is down; and its `ctl`, which takes `leave`.
    pub(super) fn open_memory(
        &mut self,
        who: Who,
        fid: Fid,
        anchor: Anchor,
        name: &str,
        access: Access,
    ) -> Result<Reply> {
        let Anchor::Node(no, _) = anchor else { return Err(Errno::IO.into()) };
        let (row, format) = files::find(Subject::Node(View::Net), name).ok_or(Errno::NOENT)?;
        let state = match row.row().name {
            "ctl" => OpenState::Partial(Vec::new()),
            _ if access.write => return Err(self.is_down(no)),
            "status" => OpenState::Snapshot(show::row_of(self, no, format)),
            _ => OpenState::Snapshot(show::info_of(self, no, format)),
        };
        let far = self.far_mut(who.client, fid).ok_or_else(|| unknown_fid(fid))?;
        let qid = far.qid;
        let client = self.clients.get_mut(&who.client).ok_or(Errno::STALE)?;
        let fid = client.fids.get_mut(&fid).expect("looked up above");
        fid.open = Some(Open { access, uid: who.uid, state, parts: None, version: 0 });
        Ok(Reply::Opened(qid, op::Shape::Text))
    }

    /// Reads and writes of what is served from memory.
    pub(crate) fn memory(&mut self, who: Who, fid: Fid, op: Op) -> Outcome {
        let Some(state) = self.clients.get_mut(&who.client).and_then(|c| c.fids.get_mut(&fid)) else {
            return Err(unknown_fid(fid)).into();
        };
        let (Some(far), Some(open)) = (&state.far, &mut state.open) else {
            return Err(Errno::BADF.into()).into();
        };
        let Anchor::Node(no, _) = far.anchor else { return Err(Errno::BADF.into()).into() };
        let qid = far.qid;
        match (op, &mut open.state) {
            (Op::Read { offset, count, .. }, OpenState::Snapshot(text)) => {
                Outcome::Reply(Reply::Data(files::cut(text, offset, count.min(limits::READ))))
            }
            (Op::Read { .. }, _) => Outcome::Reply(Reply::Data(Vec::new())),
            (Op::Write { data, .. }, OpenState::Partial(_)) => match data.trim_ascii() {
                b"leave" => self.forget_node(who.uid, no).map(|()| Reply::Wrote(data.len() as u32)),
                _ => {
                    let error = self.is_down(no);
                    let cause = format!("{error}; only `leave` can be written, which forgets it");
                    Err(Error::new(error.errno, cause))
                }
            }
            .into(),
            (Op::Stat { .. }, _) => {
                let name = far.rest.last().cloned().unwrap_or_default();
                Outcome::Reply(Reply::Stat(self.stat_as(Place::Known(no, View::Net), name, qid, 0o444)))
            }
            (Op::SetStat { .. }, _) => Outcome::Reply(Reply::Done),
            _ => Err(Error::from(Errno::OPNOTSUPP)).into(),
        }
    }

    /// Asks whatever it is at the other end, of the fid that stands for it there.
    pub(super) fn far_op(&mut self, who: Who, fid: Fid, op: Op) -> Outcome {
        let (link, lane, there) = match self.bind(who, fid) {
            Ok(bound) => bound,
            Err(error) => return Err(error).into(),
        };
        let mut kind = Kind::Other;
        let op = match op {
            Op::Open { access, .. } => {
                kind = Kind::Open(access, None);
                Op::Open { fid: there, access }
            }
            Op::Read { offset, count, wait, .. } => {
                kind = Kind::Read;
                Op::Read { fid: there, offset, count: count.min(limits::FAR_IO as u32), wait }
            }
            Op::Write { offset, mut data, .. } => {
                let left = data.split_off(data.len().min(limits::FAR_IO));
                kind = Kind::Write { offset, done: 0, left };
                Op::Write { fid: there, offset, data }
            }
            Op::Create { name, mode, access, .. } => {
                kind = Kind::Open(access, Some(name.clone()));
                Op::Create { fid: there, name, mode, access }
            }
            Op::List { cookie, count, .. } => Op::List { fid: there, cookie, count },
            Op::Stat { .. } => Op::Stat { fid: there },
            Op::SetStat { set, .. } => Op::SetStat { fid: there, set },
            Op::ReadLink { .. } => Op::ReadLink { fid: there },
            Op::Symlink { name, target, .. } => Op::Symlink { fid: there, name, target },
            Op::Rename { name, dir, to, replace, .. } => match self.bind_too(who, fid, dir, (link, lane)) {
                Ok(dir) => {
                    kind = Kind::Rename(dir);
                    Op::Rename { fid: there, name, dir, to, replace }
                }
                Err(error) => return Err(error).into(),
            },
            Op::Remove { .. } => Op::Remove { fid: there },
            Op::Attach { .. } | Op::Walk { .. } | Op::Clunk { .. } | Op::Flush { .. } => {
                return Err(Errno::IO.into()).into();
            }
        };
        let removes = matches!(op, Op::Remove { .. });
        let allocates = matches!(kind, Kind::Open(_, None))
            && self.far_mut(who.client, fid).is_some_and(|far| far.rest.last().is_some_and(|n| n == "clone"));
        let tag = self.ask(link, lane, Purpose::Op { who, fid, there, kind }, op);
        if allocates {
            // Whoever walks on from it means the new session, and which that is has to be known for it.
            if let Some(far) = self.far_mut(who.client, fid) {
                far.unnamed = true;
            }
            let op = Op::Read { fid: there, offset: 0, count: limits::NAME as u32, wait: true };
            self.ask(link, lane, Purpose::Named { client: who.client, fid, there }, op);
        }
        if removes && let Some(client) = self.clients.get_mut(&who.client) {
            client.fids.remove(&fid);
        }
        Outcome::Park(On::Asked(tag), Ask::Far(tag))
    }

    /// A second fid at the other end of the same link: what it stands for is of the same node, or the node there knows better.
    fn bind_too(&mut self, who: Who, fid: Fid, dir: Fid, link: (LinkId, Lane)) -> Result<Fid> {
        let name = |k: &Kernel, fid: Fid| -> Result<Option<String>> {
            let client = k.clients.get(&who.client).ok_or(Errno::STALE)?;
            let state = client.fids.get(&fid).ok_or_else(|| unknown_fid(fid))?;
            Ok(state.far.as_deref().map(|far| k.far_name(far.anchor, &far.rest)))
        };
        let (from, to) = (name(self, fid)?, name(self, dir)?);
        if to.is_some() {
            let (over, lane, there) = self.bind(who, dir)?;
            if (over, lane) == link {
                return Ok(there);
            }
        }
        let cause = format!(
            "from {} to {}: a file is renamed only within fs/ of its own node; copy it, as uem cp does",
            from.unwrap_or_default(),
            to.unwrap_or_else(|| "elsewhere".into())
        );
        Err(Error::new(Errno::XDEV, cause))
    }

    /// The fid at the other end. A name whose link broke is walked again; what was open is gone.
    pub(super) fn bind(&mut self, who: Who, fid: Fid) -> Result<(LinkId, Lane, Fid)> {
        let client = self.clients.get(&who.client).ok_or(Errno::STALE)?;
        let state = client.fids.get(&fid).ok_or_else(|| unknown_fid(fid))?;
        let far = state.far.as_deref().ok_or(Errno::BADF)?;
        let (uid, links, anchor) = (state.uid, state.links, far.anchor);
        if let Bound::There(link, lane, there) | Bound::Walking(link, lane, there) = far.bound
            && self.cloud.links.contains_key(&link)
        {
            return Ok((link, lane, there));
        }
        let name = self.far_name(anchor, &far.rest);
        if state.open.is_some() {
            let cause = format!("{name} was open when the link to it broke; open it again");
            return Err(Error::new(Errno::STALE, cause));
        }
        let rest = far.rest.clone();
        let (link, base) = self.route(anchor, self.goes_up(who.client))?;
        let lane = lane_of(anchor, &rest);
        let user = if self.callers.contains_key(&who.client) { uid } else { who.uid };
        let user = self.user(user).name.clone();
        let from = self.root(link, lane, &user, links)?;
        let there = self.cloud.links.get_mut(&link).expect("routed over it").fid();
        if let Some(far) = self.far_mut(who.client, fid) {
            far.bound = Bound::Walking(link, lane, there);
        }
        let client = who.client;
        self.walk_there(link, lane, from, there, &[base, rest].concat(), |steps| Purpose::Bind {
            client,
            fid,
            there,
            steps,
        });
        Ok((link, lane, there))
    }

    /// Whether the session that is placed in a set goes to another node: the best of those that take any.
    pub(super) fn placed(&self, subject: Subject) -> Result<Option<NodeNo>> {
        let best = self.candidates_in(subject).into_iter().next().map(|candidate| candidate.no);
        best.ok_or_else(|| Error::new(Errno::AGAIN, "no node of this set is up and takes sessions"))
    }
}
