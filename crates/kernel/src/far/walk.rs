//! A client's walk that leaves this node.

use super::{Anchor, Bound, Far, Purpose, Walking, lane_of, partial};
use crate::{
    FidState, Kernel, Who, files, limits,
    park::{Ask, On, Outcome},
    place::{Place, Subject, View},
};
use alloc::{boxed::Box, string::String, vec::Vec};
use op::{Fid, FileKind, Qid, Reply, Uid};

impl Kernel {
    /// The end of a walk that has left this node: the other end is asked.
    pub(crate) fn walk_far(
        &mut self,
        who: Who,
        (fid, newfid): (Fid, Fid),
        (anchor, rest): (Anchor, Vec<String>),
        qids: Vec<Option<Qid>>,
        relative: Option<usize>,
    ) -> Outcome {
        let state = &self.clients[&who.client].fids[&fid];
        let (uid, links) = (state.uid, state.links);
        if let Some((no, view, before)) = self.view_link(anchor, &rest) {
            return match (links, before.is_empty()) {
                (true, _) => {
                    self.walked_name(who, newfid, FileKind::Link, (anchor, rest), qids, (uid, links))
                }
                (false, true) => {
                    self.walked_here(who, newfid, Place::Known(no, view), None, qids, uid, links)
                }
                (false, false) => {
                    self.walk_far(who, (fid, newfid), (Anchor::Node(no, view), before), qids, None)
                }
            };
        }
        let (link, base) = match self.route(anchor, self.goes_up(who.client)) {
            Ok(route) => route,
            // What is known of a node that is down is shown all the same.
            Err(_) if self.is_remembered(anchor, &rest) => {
                return self.walked_name(who, newfid, FileKind::File, (anchor, rest), qids, (uid, links));
            }
            Err(error) => return partial(&qids, error),
        };
        let lane = lane_of(anchor, &rest);
        let user = self.user(who.uid).name.clone();
        let root = match self.root(link, lane, &user, links) {
            Ok(fid) => fid,
            Err(error) => return partial(&qids, error),
        };
        let steps = qids.iter().filter(|q| q.is_none()).count();
        let full = [&base[..], &rest[..]].concat();
        // Where the fid that it starts from is there already, only the new names are sent.
        let near = relative.filter(|had| rest.len() - had <= limits::FAR_STEPS).and_then(|had| {
            match self.clients[&who.client].fids[&fid].far.as_deref()?.bound {
                Bound::There(over, at, bound) if (over, at) == (link, lane) => Some((bound, had)),
                Bound::There(..) | Bound::No | Bound::Walking(..) => None,
            }
        });
        let (from, names) = match near {
            Some((bound, had)) => (bound, rest[had..].to_vec()),
            None => (root, full.clone()),
        };
        let there = self.cloud.links.get_mut(&link).expect("routed over it").fid();
        let qid = Qid { kind: FileKind::Dir, version: 0, path: self.name_path(anchor, &rest) };
        let far = Far { anchor, rest, qid, bound: Bound::Walking(link, lane, there), unnamed: false };
        let in_place = if fid == newfid {
            Some(far)
        } else {
            let state = FidState {
                place: Place::Far,
                far: Some(Box::new(far)),
                open: None,
                uid,
                links,
                prefix: None,
            };
            self.clients.get_mut(&who.client).expect("it asks").fids.insert(newfid, state);
            None
        };
        let tag = self.walk_there(link, lane, from, there, &names, move |last| {
            // The names that the client walked are the last; of those in earlier walks no qid is known.
            let skip = last.saturating_sub(steps);
            let walking =
                Walking { who, newfid, qids, skip, all: last, in_place, fid: there, root, names: full };
            Purpose::Walk(Box::new(walking))
        });
        Outcome::Park(On::Asked(tag), Ask::Far(tag))
    }

    /// A walk that ends at a far name which needs nobody to be asked.
    fn walked_name(
        &mut self,
        who: Who,
        newfid: Fid,
        kind: FileKind,
        (anchor, rest): (Anchor, Vec<String>),
        qids: Vec<Option<Qid>>,
        (uid, links): (Uid, bool),
    ) -> Outcome {
        let qid = Qid { kind, version: 0, path: self.name_path(anchor, &rest) };
        self.walked_here(who, newfid, Place::Far, Some((anchor, rest, qid)), qids, uid, links)
    }

    /// A walk that ends without anybody being asked.
    #[expect(clippy::too_many_arguments, reason = "what a fid is made of")]
    pub(crate) fn walked_here(
        &mut self,
        who: Who,
        newfid: Fid,
        place: Place,
        far: Option<(Anchor, Vec<String>, Qid)>,
        qids: Vec<Option<Qid>>,
        uid: Uid,
        links: bool,
    ) -> Outcome {
        let last = far.as_ref().map_or_else(|| self.qid(place), |(.., qid)| *qid);
        let qids = qids.into_iter().map(|q| q.unwrap_or(last)).collect();
        let far = far
            .map(|(anchor, rest, qid)| Box::new(Far { anchor, rest, qid, bound: Bound::No, unnamed: false }));
        let state = FidState { place, far, open: None, uid, links, prefix: None };
        let old = self.clients.get_mut(&who.client).and_then(|c| c.fids.insert(newfid, state));
        self.unbind(old);
        Outcome::Reply(Reply::Walked(qids))
    }

    /// A far fid is clunked.
    pub(crate) fn clunk_far(&mut self, far: &Far) {
        if let Bound::There(link, lane, fid) | Bound::Walking(link, lane, fid) = far.bound {
            self.clunk_there(link, lane, fid);
        }
    }

    /// What a fid was bound to, before it went elsewhere.
    pub(super) fn unbind(&mut self, old: Option<FidState>) {
        if let Some(Bound::There(link, lane, fid) | Bound::Walking(link, lane, fid)) =
            old.and_then(|state| state.far).map(|far| far.bound)
        {
            self.clunk_there(link, lane, fid);
        }
    }

    /// A number for a name that no other node has numbered: FNV-1a, in the upper half.
    pub(super) fn name_path(&self, anchor: Anchor, rest: &[String]) -> u64 {
        let name = self.far_name(anchor, rest);
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        hash | 1 << 63
    }

    /// Whether a file of a node is shown from memory when the node cannot be asked.
    pub(super) fn is_remembered(&self, anchor: Anchor, rest: &[String]) -> bool {
        let (Anchor::Node(no, _), [name]) = (anchor, rest) else { return false };
        let row = files::find(Subject::Node(View::Net), name).map(|(row, _)| row.row().name);
        self.cloud.known(no).is_some() && matches!(row, Some("status" | "info" | "ctl"))
    }
}
