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
            Set::Query(query) => query.admits(&self.facts()),
        }
    }

    /// Other nodes of a set.
    pub(crate) fn set_nodes(&self, subject: Subject) -> impl Iterator<Item = (NodeNo, &Known)> {
        let is_set = matches!(subject, Subject::Cloud | Subject::Tree | Subject::Set(_));
        let set = if let Subject::Set(no) = subject { Some(self.set(no)) } else { None };
        let held = move |known: &Known| match set {
            None => true,
            Some(Set::Loc(path)) => cloud::within(known.loc(), path),
            Some(Set::Query(query)) => query.admits(&known.facts()),
        };
        self.cloud
            .nodes
            .iter()
            .filter(move |(_, known)| is_set && held(known))
            .map(|(no, known)| (*no, known))
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

    /// What a set's file is called at the other end of a child link.
    pub(super) fn set_names(&self, subject: Subject, file: &str) -> Vec<String> {
        let mut names = match subject {
            Subject::Set(no) => self.set_path(no),
            Subject::Cloud | Subject::Tree | Subject::Node(_) | Subject::Session(_) => Vec::new(),
        };
        names.push(file.into());
        names
    }
}
