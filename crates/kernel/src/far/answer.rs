//! Answers, and what becomes of requests whose link is gone.

use super::{Anchor, Asked, Bound, Kind, Purpose, ShareStep, Stop, Tie, Walking, partial};
use crate::{
    ClientId, FidState, Kernel, Lane, LinkId, Who,
    files::{Open, OpenState},
    limits,
    park::{Ask, On, Outcome},
    place::{Place, View},
};
use alloc::{boxed::Box, format, string::String, vec::Vec};
use op::{Errno, Error, Fid, Op, Qid, Reply, SessionId, Tag};

impl Kernel {
    pub(crate) fn answered(&mut self, link: LinkId, tag: Tag, reply: Reply) {
        let Some(asked) = self.asked.get(&tag).filter(|asked| asked.link == link) else { return };
        let lane = asked.lane;
        let Asked { purpose, stop, .. } = self.asked.remove(&tag).expect("just seen");
        if let Some(tie) = self.cloud.links.get_mut(&link) {
            tie.asks -= 1;
        }
        match (reply, stop) {
            // What its fid should have been made by went wrong, so that is what went wrong with this.
            (Reply::Failed(_), Some(stop)) => self.settle_stopped(link, lane, purpose, stop),
            (reply, _) => self.settle_ask(link, lane, purpose, reply),
        }
    }

    fn settle_stopped(&mut self, link: LinkId, lane: Lane, purpose: Purpose, stop: Stop) {
        match (purpose, stop) {
            (Purpose::Lead { to, .. }, stop) => self.stop(to, stop),
            (Purpose::Why { who, from, root, names }, Stop::At(at)) if at + 1 < names.len() => {
                self.clunk_there(link, lane, from);
                self.ask_why(who, (link, lane, root), &names[..=at]);
            }
            (Purpose::Walk(walking), Stop::At(at)) => {
                self.settle_walk(link, lane, *walking, Reply::Walked(Vec::new()), Some(at));
            }
            // Whoever does not know the node says nothing of what is there.
            (purpose @ (Purpose::Share { .. } | Purpose::Behind { .. }), Stop::At(_)) => {
                self.settle_ask(link, lane, purpose, Reply::errno(Errno::HOSTUNREACH));
            }
            (purpose, Stop::At(_)) => self.settle_ask(link, lane, purpose, Reply::errno(Errno::NOENT)),
            (purpose, Stop::Failed(error)) => self.settle_ask(link, lane, purpose, Reply::Failed(error)),
        }
    }

    fn stop(&mut self, tag: Tag, stop: Stop) {
        if let Some(asked) = self.asked.get_mut(&tag) {
            asked.stop = Some(stop);
        }
    }

    /// A fid is not made after all: what was asked of it meanwhile fails for that.
    fn stop_all(&mut self, link: LinkId, there: Fid, error: &Error) {
        for asked in self.asked.values_mut().filter(|asked| asked.link == link) {
            let of = match &asked.purpose {
                Purpose::Op { kind: Kind::Rename(to), .. } if *to == there => Some(*to),
                Purpose::Op { there: of, .. } | Purpose::Named { there: of, .. } => Some(*of),
                _ => None,
            };
            if of == Some(there) {
                asked.stop = Some(Stop::Failed(error.clone()));
            }
        }
    }

    pub(super) fn settle_ask(&mut self, link: LinkId, lane: Lane, purpose: Purpose, reply: Reply) {
        match purpose {
            Purpose::Lead { to, names, own } => match reply {
                Reply::Walked(qids) if qids.len() == own => {}
                Reply::Walked(qids) => self.stop(to, Stop::At(names.saturating_sub(own) + qids.len())),
                Reply::Failed(error) => {
                    let error = self.refusal(link, lane, error);
                    self.stop(to, Stop::Failed(error));
                }
                _ => self.stop(to, Stop::Failed(Errno::PROTO.into())),
            },
            Purpose::Nobody { clunk: Some(fid) } if matches!(reply, Reply::Walked(_)) => {
                // Given up, and it worked: the orphan goes back. If it made nothing, nothing is lost by that.
                self.clunk_there(link, lane, fid);
            }
            Purpose::Nobody { .. } => {}
            Purpose::Root { user, links } => {
                if let (Reply::Failed(error), Some(tie)) = (reply, self.cloud.links.get_mut(&link))
                    && let Some(root) = tie.roots.get_mut(&(lane, user, links))
                {
                    root.refused = Some(error);
                }
            }
            Purpose::Flush { old } => {
                if let Some(asked) = self.asked.remove(&old)
                    && let Some(tie) = self.cloud.links.get_mut(&asked.link)
                {
                    tie.asks -= 1;
                }
            }
            Purpose::Walk(walking) => self.settle_walk(link, lane, *walking, reply, None),
            Purpose::Why { who, from, .. } => {
                self.clunk_there(link, lane, from);
                let reply = match reply {
                    Reply::Failed(error) => Reply::Failed(self.refusal(link, lane, error)),
                    // Nobody has said that it is not there; a way may have been missing then.
                    _ => {
                        let cause =
                            "it could not be reached when it was asked for, and can be by now: ask again";
                        Reply::Failed(Error::new(Errno::AGAIN, cause))
                    }
                };
                self.answer_parked(who.client, who.tag, reply);
            }
            Purpose::Bind { client, fid, there, steps } => {
                let failed = match reply {
                    Reply::Walked(qids) if qids.len() == steps => None,
                    Reply::Failed(error) => Some(self.refusal(link, lane, error)),
                    _ => Some(Errno::NOENT.into()),
                };
                let walking = Bound::Walking(link, lane, there);
                if let Some(far) = self.far_mut(client, fid).filter(|far| far.bound == walking) {
                    far.bound = match failed {
                        Some(_) => Bound::No,
                        None => Bound::There(link, lane, there),
                    };
                }
                if let Some(error) = failed {
                    self.stop_all(link, there, &error);
                }
            }
            Purpose::Named { client, fid, .. } => self.settle_name(client, fid, reply),
            Purpose::Op { who, fid, there, kind } => {
                self.settle_op((link, lane), who, (fid, there), kind, reply);
            }
            Purpose::Part { client, fid, part, read } => self.part_answered(client, fid, part, read, reply),
            Purpose::Share { group, share, step } => self.share_answered(link, group, share, step, reply),
            Purpose::Behind { no, step } => self.behind_answered(link, no, step, &reply),
            Purpose::Flow { group, end } => self.flow_answered(link, group, end, reply),
            Purpose::Fan { fan, last } => self.fan_answered(link, fan, last, reply),
            Purpose::Fetch(chunk) => self.chunk_answered(link, chunk, reply),
            Purpose::Put(number) => self.put_answered(number, reply),
        }
    }

    /// A fid was not known there because what should have made it failed before: that is what is told.
    pub(super) fn refusal(&self, link: LinkId, lane: Lane, error: Error) -> Error {
        let roots = self.cloud.links.get(&link).map(|tie| &tie.roots);
        let refused =
            roots.into_iter().flatten().find(|((at, ..), root)| *at == lane && root.refused.is_some());
        match refused {
            Some((_, root)) if error.errno == Errno::BADF => root.refused.clone().unwrap_or(error),
            _ => error,
        }
    }

    fn settle_walk(&mut self, link: LinkId, lane: Lane, walking: Walking, reply: Reply, stop: Option<usize>) {
        let Walking { who, newfid, qids, skip, all, in_place, fid, root, names } = walking;
        let reply = match reply {
            Reply::Walked(found) if found.len() == all && stop.is_none() => {
                let own = in_place.as_ref().map(|far| far.qid);
                let own = own.or_else(|| self.far_mut(who.client, newfid).map(|far| far.qid));
                let last = found.last().copied().or(own);
                let mut new = found.into_iter().skip(skip);
                let qids: Vec<Qid> = qids.iter().filter_map(|q| q.or_else(|| new.next()).or(last)).collect();
                let qid = qids.last().copied().or(last);
                match in_place {
                    Some(mut far) => {
                        far.bound = Bound::There(link, lane, fid);
                        far.qid = qid.unwrap_or(far.qid);
                        if let Some(state) =
                            self.clients.get_mut(&who.client).and_then(|c| c.fids.get_mut(&newfid))
                        {
                            let state = FidState {
                                place: Place::Far,
                                far: Some(Box::new(far)),
                                open: None,
                                uid: state.uid,
                                links: state.links,
                                prefix: None,
                            };
                            let old =
                                self.clients.get_mut(&who.client).and_then(|c| c.fids.insert(newfid, state));
                            self.unbind(old);
                        } else {
                            self.clunk_there(link, lane, fid);
                        }
                    }
                    // It may have been clunked meanwhile, and given back by that.
                    None => {
                        let walking = Bound::Walking(link, lane, fid);
                        if let Some(far) = self.far_mut(who.client, newfid).filter(|far| far.bound == walking)
                        {
                            far.bound = Bound::There(link, lane, fid);
                            far.qid = qid.unwrap_or(far.qid);
                        }
                    }
                }
                Reply::Walked(qids)
            }
            other => {
                let walking = Bound::Walking(link, lane, fid);
                if in_place.is_none()
                    && self.far_mut(who.client, newfid).is_some_and(|far| far.bound == walking)
                    && let Some(client) = self.clients.get_mut(&who.client)
                {
                    client.fids.remove(&newfid);
                }
                match other {
                    Reply::Walked(found) => {
                        let failed = stop.unwrap_or(names.len().saturating_sub(all) + found.len());
                        let mut new = found.into_iter().skip(skip);
                        let known: Vec<Qid> = qids.iter().map_while(|q| q.or_else(|| new.next())).collect();
                        match (known.is_empty(), names.get(..=failed)) {
                            (true, Some(names)) => return self.ask_why(who, (link, lane, root), names),
                            (true, None) => Reply::errno(Errno::PROTO),
                            (false, _) => Reply::Walked(known),
                        }
                    }
                    Reply::Failed(error) => {
                        let error = self.refusal(link, lane, error);
                        match partial(&qids, error) {
                            Outcome::Reply(reply) => reply,
                            Outcome::Spool { .. } | Outcome::Content { .. } | Outcome::Park(..) => {
                                Reply::errno(Errno::IO)
                            }
                        }
                    }
                    _ => Reply::errno(Errno::PROTO),
                }
            }
        };
        self.answer_parked(who.client, who.tag, reply);
    }

    /// A walk that went some of its way does not say what stopped it: that step is asked for alone.
    fn ask_why(&mut self, who: Who, (link, lane, root): (LinkId, Lane, Fid), names: &[String]) {
        let (last, before) = names.split_last().expect("a walk failed at a step");
        let Some(tie) = self.cloud.links.get_mut(&link) else { return };
        let there = tie.fid();
        let (mut fid, mut done) = (root, 0);
        for chunk in before.chunks(limits::FAR_STEPS) {
            done += chunk.len();
            self.lead_there(link, lane, (fid, there), chunk, done);
            fid = there;
        }
        let op = Op::Walk { fid, newfid: there, names: alloc::vec![last.clone()] };
        // That may take its time; the fid goes back when it is over.
        let why = Purpose::Why { who, from: there, root, names: names.to_vec() };
        let tag = self.ask(link, lane, why, op);
        self.park_again(who, On::Asked(tag), Ask::Far(tag));
    }

    /// Whether a share's session is gone, or only out of reach: the step that failed is asked by itself.
    pub(crate) fn ask_why_share(&mut self, group: SessionId, share: u64, link: LinkId) {
        let lane = Lane::Control;
        let Some((_, names)) = self.share_names(group, share, "").filter(|(route, _)| *route == link) else {
            return;
        };
        let Ok(user) = self.session(group).map(|s| self.user(s.owner).name.clone()) else { return };
        let (Ok(root), Some((last, before))) = (self.root(link, lane, &user, false), names.split_last())
        else {
            return;
        };
        let Some(there) = self.cloud.links.get_mut(&link).map(Tie::fid) else { return };
        self.lead_there(link, lane, (root, there), before, before.len());
        let op = Op::Walk { fid: there, newfid: there, names: alloc::vec![last.clone()] };
        self.ask(link, lane, Purpose::Share { group, share, step: ShareStep::Why }, op);
        self.clunk_there(link, lane, there);
    }

    pub(super) fn settle_op(
        &mut self,
        (link, lane): (LinkId, Lane),
        who: Who,
        (fid, there): (Fid, Fid),
        kind: Kind,
        reply: Reply,
    ) {
        // The number may stand for something else by now.
        let state = self.clients.get_mut(&who.client).and_then(|c| c.fids.get_mut(&fid));
        let state = state.filter(|state| state.far.as_deref().is_some_and(|far| far.is_at(there)));
        let reply = match (kind, reply, state) {
            (_, Reply::Failed(error), _) => Reply::Failed(self.refusal(link, lane, error)),
            (Kind::Open(access, made), Reply::Opened(qid, shape), Some(state)) => {
                state.open =
                    Some(Open { access, uid: who.uid, state: OpenState::Far, parts: None, version: 0 });
                let far = state.far.as_deref_mut().expect("it was asked as a far one");
                let cloned = far.rest.last().is_some_and(|name| name == "clone");
                if cloned || made.is_some() {
                    far.qid = qid;
                }
                far.rest.extend(made);
                Reply::Opened(far.qid, shape)
            }
            (Kind::Read, Reply::Data(data), Some(FidState { prefix: Some(prefix), .. }))
                if !data.is_empty() =>
            {
                Reply::Data([prefix.as_bytes(), b"/", &data].concat())
            }
            (Kind::Write { offset, done, mut left }, Reply::Wrote(n), Some(_)) if !left.is_empty() => {
                let done = done + n;
                let next = left.split_off(left.len().min(limits::FAR_IO));
                let kind = Kind::Write { offset, done, left: next };
                let op = Op::Write { fid: there, offset: offset + u64::from(done), data: left };
                let tag = self.ask(link, lane, Purpose::Op { who, fid, there, kind }, op);
                return self.park_again(who, On::Asked(tag), Ask::Far(tag));
            }
            // Where a session stands in `logical/` its node says, but the way up is as long as it is here.
            (Kind::Other, Reply::Linked(text), Some(state)) => {
                let far = state.far.as_deref().expect("it was asked as a far one");
                let (anchor, rest) = (far.anchor, far.rest.clone());
                Reply::Linked(self.link_from_here(anchor, &rest, text))
            }
            (Kind::Write { done, .. }, Reply::Wrote(n), _) => Reply::Wrote(done + n),
            (_, reply, _) => reply,
        };
        self.answer_parked(who.client, who.tag, reply);
    }

    /// The text of a link `.../logical` at another node, as it is to be read here.
    fn link_from_here(&self, anchor: Anchor, rest: &[String], text: String) -> String {
        let [.., dots, view] = rest else { return text };
        if dots != "..." || View::named(view) != Some(View::Logical) {
            return text;
        }
        let above = match anchor {
            Anchor::Node(no, stands) => self.view_of(Some(no), stands).map_or(0, |names| names.len()),
            Anchor::Up | Anchor::Files => 0,
        };
        let up = "../".repeat(above + rest.len() - 1);
        format!("{up}{}", text.trim_start_matches("../"))
    }

    /// A session was allocated there, and this is its name: `7`, or of a set `b/7`.
    fn settle_name(&mut self, client: ClientId, fid: Fid, reply: Reply) {
        let Some(far) = self.far_mut(client, fid) else { return };
        far.unnamed = false;
        if let Reply::Data(name) = reply
            && let Ok(name) = core::str::from_utf8(&name)
        {
            let names = name.trim().split('/').filter(|name| !name.is_empty()).map(String::from);
            let names: Vec<String> = names.collect();
            match names.len() {
                0 => {}
                1 => drop(far.rest.pop()),
                _ => far.rest = alloc::vec!["net".into()],
            }
            far.rest.extend(names);
            far.rest.push("ctl".into());
        }
        self.parked.notify(On::Made(client, fid));
    }

    /// A link is gone: what was asked over it is answered, with why.
    pub(crate) fn fail_asks(&mut self, link: LinkId, why: &str) {
        let tags: Vec<Tag> = self.asked.iter().filter(|(_, a)| a.link == link).map(|(tag, _)| *tag).collect();
        for tag in tags {
            let Some(Asked { purpose, lane, .. }) = self.asked.remove(&tag) else { continue };
            let name = match &purpose {
                Purpose::Op { who, fid, .. } => self.name_of_far(who.client, *fid),
                Purpose::Walk(walking) => self.name_of_far(walking.who.client, walking.newfid),
                _ => String::new(),
            };
            let colon = if name.is_empty() { "" } else { ": " };
            let cause = format!("{name}{colon}{why}; what runs there goes on");
            self.settle_ask(link, lane, purpose, Reply::Failed(Error::new(Errno::HOSTUNREACH, cause)));
        }
    }

    pub(super) fn name_of_far(&self, client: ClientId, fid: Fid) -> String {
        let state = self.clients.get(&client).and_then(|c| c.fids.get(&fid));
        state
            .and_then(|state| state.far.as_deref())
            .map(|far| self.far_name(far.anchor, &far.rest))
            .unwrap_or_default()
    }
}
