//! Who is in a set, and over which links the rest of it is reached.

use crate::{
    Kernel, LinkId,
    cloud::{self, Known, NodeNo},
    place::Subject,
    query::Set,
};
use alloc::{string::String, sync::Arc, vec::Vec};

impl Kernel {
    /// Whether this node itself is in a set.
    pub(crate) fn holds_me(&self, subject: Subject) -> bool {
        let Subject::Set(no) = subject else { return true };
        match self.set(no) {
            Set::Loc(path) => cloud::within(cloud::loc(&self.node.attrs), path),
            Set::Query(query) => match self.limited(query) {
                Some(nodes) => nodes.contains(&None),
                None => query.admits(&self.facts()),
            },
            Set::Logical(..) => true,
        }
    }

    /// Other nodes of a set.
    pub(crate) fn set_nodes(&self, subject: Subject) -> impl Iterator<Item = (NodeNo, &Known)> {
        let is_set = matches!(subject, Subject::Cloud | Subject::Tree | Subject::Set(_));
        let set = if let Subject::Set(no) = subject { Some(self.set(no)) } else { None };
        let held = move |known: &Known| match set {
            // A session may be on any node.
            None | Some(Set::Logical(..)) => true,
            Some(Set::Loc(path)) => cloud::within(known.loc(), path),
            Some(Set::Query(query)) => query.admits(&known.facts()),
        };
        // Of a query that says how many, those; of one whose answer is kept, that; else everybody is looked at.
        let limited = match set {
            Some(Set::Query(query)) => self.limited(query),
            Some(Set::Loc(_) | Set::Logical(..)) | None => None,
        };
        let kept = match subject {
            Subject::Set(no) if limited.is_none() => self.cloud.sets.answers.of(no),
            _ => None,
        };
        let looks = is_set && limited.is_none() && kept.is_none();
        let all = looks.then_some(&self.cloud.nodes).into_iter().flatten();
        let found = all.filter(move |(_, known)| held(known)).map(|(no, _)| *no);
        let kept = kept.into_iter().flatten().copied();
        let limited = limited.into_iter().flatten().flatten();
        found.chain(kept).chain(limited).filter_map(|no| self.cloud.known(no).map(|known| (no, known)))
    }

    /// Links below which there is something of a set.
    pub(super) fn set_links(&self, subject: Subject) -> Vec<(LinkId, Arc<str>)> {
        if !matches!(subject, Subject::Cloud | Subject::Tree | Subject::Set(_)) {
            return Vec::new();
        }
        let wanted = |link: LinkId| match subject {
            Subject::Set(_) => self.set_nodes(subject).any(|(_, known)| known.via == Some(link)),
            Subject::Cloud | Subject::Tree | Subject::Node(_) | Subject::Session(_) => true,
        };
        let children = self.cloud.children().filter(|(link, _)| wanted(*link));
        children.map(|(link, tie)| (link, tie.peer.as_ref().map_or("".into(), |p| p.name.clone()))).collect()
    }

    /// Children of this node in a set that cannot be reached: what is below them is not reached either.
    pub(super) fn set_lost(&self, subject: Subject) -> Vec<NodeNo> {
        let me = self.node.id;
        let cut = self.set_nodes(subject).filter(|(_, known)| known.via.is_none());
        let top = cut.filter(|(_, k)| k.parent == me || self.node_no(k.parent).is_none());
        top.map(|(no, _)| no).collect()
    }

    /// What a set's file is called at the other end of a child link. Those of a query that says how many are named one by one, since
    /// nobody further down can know which they are.
    pub(super) fn set_names(&self, subject: Subject, file: &str) -> Vec<String> {
        let mut names = match subject {
            Subject::Set(no) => match self.set(no) {
                Set::Query(query) if query.shape.limit.is_some() && !query.of_sessions() => {
                    let nodes: Vec<&str> = self.set_nodes(subject).map(|(_, known)| &*known.name).collect();
                    alloc::vec!["query".into(), alloc::format!("node={}", nodes.join("|"))]
                }
                Set::Query(query) => {
                    let view = if query.waits { "await" } else { "query" };
                    core::iter::once(String::from(view)).chain(query.names()).collect()
                }
                Set::Loc(_) | Set::Logical(..) => self.set_path(no),
            },
            Subject::Cloud | Subject::Tree | Subject::Node(_) | Subject::Session(_) => Vec::new(),
        };
        names.push(file.into());
        names
    }
}
