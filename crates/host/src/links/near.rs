//! Who is near: this node says on the local network that it is here, and looks there for a parent if it is to.

use super::{Links, NEAR};
use crate::dial::Addr;
use link::discovery::{About, Announce, Browse, Neighbour, Seen, choose};
use op::{Mono, NodeId};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What is said and heard on the local network.
#[derive(Default)]
pub(super) struct Near {
    /// What is announced, and where.
    announced: Option<(About, SocketAddr, Announce)>,
    browse: Option<Browse>,
    seen: BTreeMap<NodeId, Neighbour>,
    /// What went wrong is not tried again.
    failed: bool,
}

impl Links {
    fn about(&self) -> About {
        About {
            id: self.home.id(),
            name: self.settings.name.clone(),
            domain: self.home.domain().map(|pin| pin.short()),
            loc: self.settings.loc.clone(),
            auto: self.settings.parent_auto,
        }
    }

    /// Says where links are listened for, if others can reach that, and begins to look for a parent.
    pub(super) fn look_around(&mut self) {
        if self.near.failed {
            return;
        }
        let done = self.announce().and_then(|()| self.browse());
        if let Err(why) = done {
            self.near.failed = true;
            self.complain(format!("the local network: {why}"));
        }
    }

    fn announce(&mut self) -> Result<(), String> {
        let listens = self.listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let Some(addr) = listens.filter(|addr| !addr.ip().is_loopback()) else { return Ok(()) };
        let about = self.about();
        if self.near.announced.as_ref().is_none_or(|(said, at, _)| (said, at) != (&about, &addr)) {
            self.near.announced = None;
            let announce = Announce::new(&about, addr)?;
            self.near.announced = Some((about, addr, announce));
        }
        Ok(())
    }

    fn browse(&mut self) -> Result<(), String> {
        if !self.settings.parent_auto || self.near.browse.is_some() || self.home.domain().is_none() {
            return Ok(());
        }
        let browse = Browse::new()?;
        self.poll.add(browse.poll_fd(), NEAR, true, false).map_err(|e| format!("epoll: {e}"))?;
        self.near.browse = Some(browse);
        Ok(())
    }

    /// Something was heard.
    pub(crate) fn heard_of(&mut self, now: Mono) {
        let Some(browse) = &mut self.near.browse else { return };
        let mut seen = Vec::new();
        browse.turn(&mut seen);
        for seen in seen {
            match seen {
                Seen::There(node) => drop(self.near.seen.insert(node.about.id, node)),
                Seen::Gone(id) => drop(self.near.seen.remove(&id)),
            }
        }
        self.read_parents(now);
        self.soon(now);
    }

    /// Parents that were found, best first; as many as are worth a try.
    pub(super) fn found_near(&self) -> Vec<Addr> {
        let Some(domain) = self.home.domain().filter(|_| self.settings.parent_auto) else {
            return Vec::new();
        };
        let mut all: Vec<Neighbour> = self.near.seen.values().cloned().collect();
        choose(&self.about(), &domain, &mut all);
        all.iter().take(super::limits::NEAR).flat_map(Neighbour::dial).collect()
    }

    /// Looks for nobody any more, and says goodbye.
    pub(super) fn look_away(&mut self) {
        if let Some(browse) = self.near.browse.take() {
            self.poll.remove(browse.poll_fd());
        }
        self.near.seen.clear();
    }
}
