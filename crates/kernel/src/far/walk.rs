//! A client's walk that leaves this node.

use super::{Anchor, Bound, Far, Purpose, Spot, Walking, lane_of, partial};
use crate::{
    FidState, Kernel, Who,
    files::{self},
    limits,
    park::{Ask, On, Outcome},
    place::{Place, Subject, View},
};
use alloc::{boxed::Box, string::String, vec::Vec};
use op::{Fid, FileKind, Qid, Reply};

impl Kernel {
    /// The end of a walk that has left this node: the other end is asked.
    pub(crate) fn walk_far(
        &mut self,
        who: Who,
        (fid, newfid): (Fid, Fid),
        (anchor, rest): (Anchor, Vec<String>),
        mut qids: Vec<Option<Qid>>,
        relative: Option<usize>,
    ) -> Outcome {
        let state = &self.clients[&who.client].fids[&fid];
        let (uid, links) = (state.uid, state.links);
        if let Some((no, view, before)) = self.view_link(anchor, &rest) {
            if links {
                let qid = Qid { kind: FileKind::Link, version: 0, path: self.name_path(anchor, &rest) };
                return self.walked_here(
                    who,
                    newfid,
                    Place::Far,
                    Some((anchor, rest, qid)),
                    qids,
                    uid,
                    links,
                );
            }
            let spot = match before.is_empty() {
                true => Spot::Here(Place::Known(no, view)),
                false => Spot::There(Anchor::Node(no, view), before),
            };
            return match spot {
                Spot::Here(place) => self.walked_here(who, newfid, place, None, qids, uid, links),
                Spot::There(anchor, rest) => self.walk_far(who, (fid, newfid), (anchor, rest), qids, None),
            };
        }
        let (link, base) = match self.route(anchor, self.goes_up(who.client)) {
            Ok(route) => route,
            // What is known of a node that is down is shown all the same.
            Err(_) if self.is_remembered(anchor, &rest) => {
                let qid = Qid { kind: FileKind::File, version: 0, path: self.name_path(anchor, &rest) };
                return self.walked_here(
                    who,
                    newfid,
                    Place::Far,
                    Some((anchor, rest, qid)),
                    qids,
                    uid,
                    links,
                );
            }
            Err(error) => return partial(&qids, error),
        };
        let lane = lane_of(anchor, &rest);
        let user = self.user(who.uid).name.clone();
        let from = match self.root(link, lane, &user, links) {
            Ok(fid) => fid,
            Err(error) => return partial(&qids, error),
        };
        let steps = qids.iter().filter(|q| q.is_none()).count();
        let (root, full) = (from, [&base[..], &rest[..]].concat());
        // Where the fid that it starts from is there already, only the new names are sent.
        let (from, names, new) = match (relative, &self.clients[&who.client].fids[&fid].far) {
            (Some(had), Some(far)) => match &far.bound {
                Bound::There(l, at, bound)
                    if (*l, *at) == (link, lane) && rest.len() - had <= limits::FAR_STEPS =>
                {
                    (*bound, rest[had..].to_vec(), 0)
                }
                _ => (from, [base, rest.clone()].concat(), usize::MAX),
            },
            _ => (from, [base, rest.clone()].concat(), usize::MAX),
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
        let whole = names.len();
        let tag = self.walk_there(link, lane, from, there, &names, move |last| {
            let skip = if new == 0 { 0 } else { last.saturating_sub(steps) };
            // Of a name that took several walks only the last one's qids are known; those before stand in for it.
            let qids = match whole == last {
                true => core::mem::take(&mut qids),
                false => core::mem::take(&mut qids).into_iter().collect(),
            };
            let walking =
                Walking { who, newfid, qids, skip, all: last, in_place, fid: there, root, names: full };
            Purpose::Walk(Box::new(walking))
        });
        Outcome::Park(On::Asked(tag), Ask::Far(tag))
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
        uid: op::Uid,
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
