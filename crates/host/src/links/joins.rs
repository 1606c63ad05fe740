//! Joining, on its way to the authority and back; and lists of what is revoked, on their way to everybody.
//!
//! A request to join is answered by the authority's node. Every other passes it on to its parent, under a number of its
//! own, and the answer comes back by the same numbers.

use super::{Links, What, last_word, limits};
use kernel::LinkId;
use link::identity::refusal;
use link::wire::Frame;
use op::Mono;

/// A request that was passed on.
pub(super) struct Relay {
    from: From,
    pub(super) until: Mono,
}

#[derive(Clone, Copy)]
enum From {
    /// A connection of his own.
    Conn(u64),
    /// A child, which has its own number for it.
    Child(LinkId, [u8; 8]),
}

impl Links {
    /// Somebody has come with a token.
    pub(super) fn wants_to_join(&mut self, n: u64, body: &[u8], now: Mono) {
        self.join(From::Conn(n), body, now);
    }

    /// A child passes on what somebody said to it.
    pub(super) fn passed_on(&mut self, from: LinkId, body: &[u8], now: Mono) {
        if let Some((number, body)) = body.split_first_chunk() {
            self.join(From::Child(from, *number), body, now);
        }
    }

    fn join(&mut self, from: From, body: &[u8], now: Mono) {
        if self.home.is_authority() {
            let grant = self.home.answer(body);
            return self.grant(from, grant, now);
        }
        let Some(parent) = self.parent() else {
            let why = "the node that was asked is not the domain's authority, and its link to it is down: try again \
                       later, or ask the authority's own node";
            return self.grant(from, refusal(why), now);
        };
        if self.relays.len() >= limits::JOINS {
            return self.grant(from, refusal("too many want to join at the same moment: try again"), now);
        }
        let (number, until) = (self.number(), now + limits::JOIN);
        self.relays.insert(number, Relay { from, until });
        self.soon(until);
        self.say(parent, &Frame::Join([&number.to_le_bytes(), body].concat()));
        if let From::Conn(n) = from
            && let Some(conn) = self.conns.get_mut(&n)
        {
            conn.what = What::Joining(number);
            conn.until = None;
            conn.early = Vec::new();
        }
    }

    /// The parent has answered.
    pub(super) fn granted(&mut self, from: LinkId, body: &[u8], now: Mono) {
        let relay = body.split_first_chunk().filter(|_| self.parent() == Some(from));
        let Some((number, grant)) = relay else { return };
        if let Some(relay) = self.relays.remove(&u64::from_le_bytes(*number)) {
            self.grant(relay.from, grant.to_vec(), now);
        }
    }

    /// Gives an answer back to where the question came from.
    fn grant(&mut self, to: From, grant: Vec<u8>, now: Mono) {
        match to {
            From::Conn(n) => {
                let Some(conn) = self.conns.get_mut(&n) else { return };
                conn.secure.send(&last_word(&Frame::Grant(grant)));
                self.close(n, now);
            }
            From::Child(link, number) => self.say(link, &Frame::Grant([&number[..], &grant].concat())),
        }
    }

    /// Nobody waits longer than he would.
    pub(super) fn forget_joins(&mut self, now: Mono) {
        let late = |relay: &Relay| relay.until <= now;
        let late: Vec<u64> = self.relays.iter().filter(|(_, relay)| late(relay)).map(|(n, _)| *n).collect();
        for number in late {
            if let Some(relay) = self.relays.remove(&number) {
                self.grant(
                    relay.from,
                    refusal("the domain's authority does not answer: try again later"),
                    now,
                );
            }
        }
    }

    // ── what is revoked ────────────────────────────────────────────────────────────────────

    /// Somebody has a list; if it is newer than ours, others want it too.
    pub(super) fn learn_revoked(&mut self, from: LinkId, der: &[u8], now: Mono) {
        match self.home.learn_revoked(der) {
            Ok(true) => self.spread_revoked(Some(from), now),
            Ok(false) => {}
            Err(why) => self.complain(why),
        }
    }

    /// Passes the newest list on, and breaks with those who stand on it.
    pub(super) fn spread_revoked(&mut self, from: Option<LinkId>, now: Mono) {
        let Some(der) = self.home.revoked().map(<[u8]>::to_vec) else { return };
        let list = Frame::Revoked(der);
        for link in self.all() {
            if Some(link) != from {
                self.say(link, &list);
            }
        }
        self.revoked = true;
        let on_it = self.conns.iter().filter(|(_, conn)| conn.secure.peer_revoked(&self.home));
        let all: Vec<u64> = on_it.map(|(n, _)| *n).collect();
        for n in all {
            self.lost(n, "its certificate was revoked", now);
        }
    }
}
