//! One node of a cloud: what it was to be, what it does, and what its host knows.

use super::{carry::Due, files::Files, link::Asks};
use crate::world::World;
use kernel::{ClientId, LinkId, Putting};
use op::{Act, Mono, NodeId, Tag};
use std::collections::{BTreeMap, BTreeSet};

/// What a node is to be.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// What it calls itself.
    pub name: String,
    /// Its id; made from its number if `None`.
    pub id: Option<NodeId>,
    /// Where it stands; empty is nowhere.
    pub loc: String,
    /// It offers its machine's files.
    pub fs: bool,
    /// Users with an account there, of those that every world has.
    pub users: Vec<&'static str>,
    /// Its programs run by themselves ([`programs`]); else somebody tells what they do.
    pub runs: bool,
}

impl Plan {
    /// A node of this name with nothing special.
    pub fn named(name: &str) -> Plan {
        let users = vec!["root", "ericvh", "alice", "bob", "carol"];
        Plan { name: name.into(), id: None, loc: String::new(), fs: true, users, runs: true }
    }
}

/// What a node does at present.
#[derive(Debug)]
pub(crate) enum Life {
    /// It runs.
    Up,
    /// It was stopped, and what happens meanwhile waits.
    Frozen(Vec<Due>),
    /// Its process is gone; its programs are not.
    Dead,
}

/// A node, and what its host knows.
pub struct Host {
    /// Its kernel, and what is around that.
    pub world: World,
    /// What it was to be.
    pub plan: Plan,
    /// What it is known by.
    pub id: NodeId,
    /// What a transcript calls it: nodes can have the same name.
    pub nick: String,
    /// What it does.
    pub(crate) life: Life,
    /// Whom it takes for its parent: in order, the next when one is gone.
    pub parents: Vec<usize>,
    /// It looks for a parent.
    pub seeks: bool,
    /// The files of its machine.
    pub files: Files,
    /// What its provider was asked, if nobody does it by itself.
    pub asked: Vec<Act>,
    pub(super) tries: usize,
    pub(super) dialing: bool,
    /// Which end of which link it is; that were told to the kernel, or will be.
    pub(super) links: BTreeMap<LinkId, (usize, usize)>,
    /// The other ends, as clients.
    pub(super) callers: BTreeMap<ClientId, (usize, usize)>,
    pub(super) file_asks: Asks,
    /// Contents that become files.
    pub(super) puts: BTreeMap<Tag, Putting>,
    /// When the last of them is answered.
    pub(super) files_last: Mono,
    pub(super) next_link: u64,
    pub(super) foreign: Vec<String>,
    /// Who has had it as a child since the model last looked.
    pub(super) adopted_by: BTreeSet<usize>,
    /// Counts its lives.
    pub(super) age: u32,
    pub(super) owed: usize,
    pub(super) ticks: Option<Mono>,
}

/// The id of a node by its number: no two begin or end alike.
pub(super) fn id_of(at: usize) -> NodeId {
    NodeId((at as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
}
