//! Other nodes: what happens to links for the kernel, and what the kernel wants of them.

use super::Node;
use crate::{links, provider::Provider};
use kernel::{ClientId, Effect};
use op::{Reply, Tag};

impl<P: Provider> Node<P> {
    /// Something of links can be read or written, or a name was found.
    pub(super) fn link_ready(&mut self, token: u64) {
        let now = self.around.now().mono;
        match token {
            links::LISTENER => self.links.accept(now),
            links::LOOKUP => self.links.looked_up(now),
            links::NEAR => self.links.heard_of(now),
            conn => self.links.ready(conn, now, &mut self.buffer[..super::TURN_BYTES]),
        }
        self.take_links();
    }

    /// After all that has arrived was read: who is silent, who is to be dialled, what another process has changed.
    pub(super) fn tick_links(&mut self) {
        let now = self.around.now().mono;
        self.links.tick(now, &mut self.buffer[..super::TURN_BYTES]);
        self.take_links();
    }

    /// Does what the kernel wants of a link.
    pub(super) fn for_links(&mut self, effect: Effect) {
        let now = self.around.now().mono;
        match effect {
            Effect::Ask { link, lane, tag, op } => self.links.ask(link, lane, tag, op, now),
            Effect::News(link, text) => self.links.news(link, text, now),
            Effect::Unlink(link, why) => self.links.unlink(link, &why, Some(&why), now),
            Effect::Leave => self.links.leave(now),
            _ => unreachable!("these are all that are about links"),
        }
        self.take_links();
    }

    pub(super) fn answer_peer(&mut self, client: ClientId, tag: Tag, reply: Reply) {
        let now = self.around.now().mono;
        self.links.answer(client, tag, reply, now);
        self.take_links();
    }

    pub(super) fn flush_links(&mut self) {
        if self.links.wants_flush() {
            self.links.flush(self.around.now().mono);
            self.take_links();
        }
    }

    fn take_links(&mut self) {
        self.links.take_events(&mut self.events);
        if std::mem::take(&mut self.links.revoked) {
            self.hang_up_revoked();
        }
        for guest in std::mem::take(&mut self.links.guests) {
            self.admit_guest(guest);
        }
    }

    /// The last connections at the link port that were refused, as the log has them; for tests.
    pub fn refusals(&self) -> impl Iterator<Item = &str> {
        self.links.refusals()
    }

    /// Connections at the link port and to other nodes, and links that are up; for tests of leaks.
    pub fn linked(&self) -> (usize, usize) {
        self.links.count()
    }
}
