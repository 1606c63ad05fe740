//! Who is near: nodes that say so on the local network, by DNS-SD over multicast DNS (RFC 6763, RFC 6762).
//!
//! A node that listens for links [`Announce`]s itself; who looks for nodes [`Browse`]s, or calls [`find`] or [`list`], which do so
//! for a time. Each of them is a thread and a few sockets for as long as it lives; nobody who does not use them has either.
//!
//! The type is `_uem._tcp.local.`, an instance is called `NAME-<8 hex of the id>`, and its TXT record has these keys:
//!
//! | key | value |
//! |---|---|
//! | `v` | version of this table: 1 |
//! | `id` | the node's id, 32 hex digits |
//! | `name` | its name |
//! | `domain` | its trust domain, as [`Pin::short`] writes it; not there while the node has none |
//! | `loc` | its `loc` label; not there if it has none |
//! | `auto` | 1 if it looks for its own parent in this way |
//!
//! All of that is shown to whoever links to the node anyway, and nothing of it is believed: what is found is an address to dial.
//! Whether a node of the domain is there is for the handshake to say. A liar costs one failed attempt.

mod daemon;

pub use daemon::{Announce, Browse};

use crate::dial::Addr;
use crate::identity::Pin;
use op::NodeId;
use std::net::SocketAddr;
use std::time::Duration;

/// What nodes announce themselves as.
pub const TYPE: &str = "_uem._tcp.local.";

/// Version of the table of keys.
const VERSION: &str = "1";

/// Nodes remembered while browsing; of more, the first count. There is one process an address, and a network where multicast
/// reaches everybody has no more.
pub const NEIGHBOURS: usize = 4096;
/// Addresses remembered of one node.
pub const ADDRESSES: usize = 16;
/// Bytes of a name or a `loc`; what is longer is nobody's.
pub const TEXT: usize = 200;

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct About {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Its trust domain, by the digits of [`Pin::short`].
    pub domain: Option<String>,
    /// Where it stands: a path of labels.
    pub loc: Option<String>,
    /// It looks for its parent by discovery.
    pub auto: bool,
}

/// A node that was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// What it says of itself.
    pub about: About,
    /// Where it listens for links; those that are likely to work first.
    pub addrs: Vec<SocketAddr>,
}

/// What [`Browse::turn`] brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// This node is there, or says something new of itself.
    There(Neighbour),
    /// It has said goodbye, or was not heard of for too long.
    Gone(NodeId),
}

impl Neighbour {
    /// What to dial to be linked with it, in order.
    pub fn dial(&self) -> Vec<Addr> {
        self.addrs.iter().map(|addr| Addr::Tls(host(addr), addr.port())).collect()
    }
}

/// An address without its port; one that only means something on an interface names that.
fn host(addr: &SocketAddr) -> String {
    match addr {
        SocketAddr::V6(addr) if addr.scope_id() != 0 => format!("{}%{}", addr.ip(), addr.scope_id()),
        other => other.ip().to_string(),
    }
}

impl About {
    fn to_txt(&self) -> Vec<(&'static str, String)> {
        let mut keys = vec![("v", VERSION.into()), ("id", self.id.to_string()), ("name", self.name.clone())];
        keys.extend(self.domain.clone().map(|domain| ("domain", domain)));
        keys.extend(self.loc.clone().map(|loc| ("loc", loc)));
        keys.extend(self.auto.then(|| ("auto", "1".into())));
        keys
    }

    /// Understands what somebody says; `None` if that is no node, or none of ours.
    fn from_txt<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<About> {
        let is_hex = |digits: &&str| digits.bytes().all(|b| b.is_ascii_hexdigit());
        let id = get("id").filter(|id| id.len() == 32).filter(is_hex)?.parse().ok()?;
        let fine = |text: &&str| !text.is_empty() && text.len() <= TEXT && !text.contains(char::is_control);
        let name = get("name").filter(fine).filter(|name| !name.contains('/') && !name.starts_with('.'))?;
        let domain = get("domain").filter(fine).filter(is_hex).map(str::to_ascii_lowercase);
        let loc = get("loc").filter(fine).map(String::from);
        (get("v") == Some(VERSION)).then(|| About {
            id,
            name: name.into(),
            domain,
            loc,
            auto: get("auto") == Some("1"),
        })
    }
}

/// Looks for parents of the node `me`, for so long: nodes of its own trust domain, in the order in which they are to be tried.
/// See [`choose`].
///
/// # Errors
/// A sentence, if this machine cannot browse, or the node has no trust domain yet.
pub fn find(me: &About, domain: &Pin, timeout: Duration) -> Result<Vec<Neighbour>, String> {
    let mut all = list(timeout)?;
    choose(me, domain, &mut all);
    Ok(all)
}

/// All nodes of all domains that are heard of within that time, by name. On a quiet network a second is enough.
///
/// # Errors
/// A sentence, if this machine cannot browse.
pub fn list(timeout: Duration) -> Result<Vec<Neighbour>, String> {
    Ok(Browse::new()?.collect(timeout))
}

/// Leaves those that could be the parent of `me`, and puts them in the order in which they are to be tried.
///
/// - Only nodes of the same trust domain, and not `me` itself: nothing else would be let in.
/// - Of nodes that look for their parents in this way too, only those with a smaller id: so they never choose each other in
///   a circle. The one with the smallest id finds nobody, and is the root.
/// - First nodes that do *not* look: somebody has said where they belong, so they are nearer to the root.
/// - Then those with which more of `loc` is shared, from its start: links should be short.
/// - Then the smallest id: everybody then takes the same one, and the tree is flat instead of a chain.
pub fn choose(me: &About, domain: &Pin, all: &mut Vec<Neighbour>) {
    let domain = domain.short();
    all.retain(|node| {
        let other = &node.about;
        other.domain.as_ref() == Some(&domain)
            && other.id != me.id
            && (!other.auto || !me.auto || other.id < me.id)
    });
    all.sort_by_key(|node| {
        let near = shared(me.loc.as_deref(), node.about.loc.as_deref());
        (node.about.auto, std::cmp::Reverse(near), node.about.id)
    });
}

/// How many steps two places share.
fn shared(one: Option<&str>, other: Option<&str>) -> usize {
    let steps = |loc: Option<&str>| -> Vec<String> {
        loc.unwrap_or_default().split('/').filter(|step| !step.is_empty()).map(String::from).collect()
    };
    steps(one).iter().zip(&steps(other)).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests;
