//! The search for a parent: addresses in order, one attempt at a time, with pauses that grow.
//!
//! ```text
//!             ┌────────────────── all have failed: a pause ───────────────────┐
//!             ▼                                                               │
//!   Idle ─▶ Waiting ─▶ Looking ─▶ Dialling ─▶ Linking ─▶ Linked ─ lost ─▶ Waiting
//!             ▲           └──────────┴── failed: the next ──┘
//!             └─────────────────────────────┘
//! ```

use super::stream::Stream;
use super::{Conn, For, Links, What, jitter, limits};
use crate::dial::Addr;
use kernel::{Event, LinkId};
use link::identity::Who;
use link::secure::Secure;
use op::Mono;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// How the other end of a link was reached, for another lane.
#[derive(Clone, Debug)]
pub(super) enum Via {
    Tcp(SocketAddr),
    Ssh(String),
}

/// How far the search is.
#[derive(Debug, Default)]
pub(super) struct Seek {
    addrs: Vec<Addr>,
    /// The one that is tried, or comes next.
    at: usize,
    attempt: Attempt,
    pause: Duration,
    /// What went wrong last with each address.
    causes: BTreeMap<usize, String>,
    /// What the kernel was told.
    told: String,
}

#[derive(Debug, Default)]
enum Attempt {
    /// No parent is wanted.
    #[default]
    Idle,
    Waiting(Mono),
    /// A name is looked up under this number; given up at that time.
    Looking(u64, Mono),
    /// These are left, if this one fails.
    Dialling(Via, Vec<SocketAddr>),
    Linking(LinkId, Vec<SocketAddr>),
    Linked(LinkId, Mono),
}

impl Seek {
    pub(super) fn retry_at(&self) -> Option<Mono> {
        match self.attempt {
            Attempt::Waiting(at) | Attempt::Looking(_, at) => Some(at),
            Attempt::Idle | Attempt::Dialling(..) | Attempt::Linking(..) | Attempt::Linked(..) => None,
        }
    }

    fn now_trying(&self) -> Option<&Addr> {
        self.addrs.get(self.at)
    }

    /// How it goes, in words.
    fn text(&self) -> String {
        match self.attempt {
            Attempt::Idle | Attempt::Linked(..) => String::new(),
            Attempt::Waiting(_) | Attempt::Looking(..) | Attempt::Dialling(..) | Attempt::Linking(..) => {
                let each = self.addrs.iter().enumerate().map(|(at, addr)| match self.causes.get(&at) {
                    Some(why) => format!("{addr}: {why}"),
                    None => addr.to_string(),
                });
                format!("trying {}", each.collect::<Vec<_>>().join("; "))
            }
        }
    }
}

impl Links {
    /// Which parents are wanted, now: as told, else as kept.
    pub(super) fn read_parents(&mut self, now: Mono) {
        let addrs = match self.settings.parents.is_empty() {
            false => self.settings.parents.clone(),
            true => match self.home.parents() {
                Ok(texts) => {
                    let (addrs, bad): (Vec<_>, Vec<_>) =
                        texts.iter().map(|text| Addr::parse_link(text)).partition(Result::is_ok);
                    bad.into_iter().filter_map(Result::err).for_each(|why| self.complain(why));
                    addrs.into_iter().filter_map(Result::ok).collect::<Vec<_>>()
                }
                Err(why) => return self.complain(why),
            },
        };
        let near = self.found_near().into_iter().filter(|addr| !addrs.contains(addr));
        let addrs: Vec<Addr> = addrs.iter().cloned().chain(near).collect();
        // Nobody can be dialled before there is a certificate to show.
        let addrs = if self.home.domain().is_some() { addrs } else { Vec::new() };
        if addrs != self.seek.addrs {
            (self.seek.addrs, self.seek.at, self.seek.pause) = (addrs, 0, Duration::ZERO);
            self.seek.causes.clear();
            match self.seek.attempt {
                Attempt::Idle | Attempt::Waiting(_) | Attempt::Looking(..) => {
                    self.seek.attempt =
                        if self.seek.addrs.is_empty() { Attempt::Idle } else { Attempt::Waiting(now) };
                }
                Attempt::Dialling(..) | Attempt::Linking(..) | Attempt::Linked(..) => {}
            }
        }
        self.tell_seeking();
    }

    /// Does the next step of the search, if it is due.
    pub(super) fn look_for_parent(&mut self, now: Mono) {
        self.judge_bulk(now);
        match self.seek.attempt {
            Attempt::Waiting(at) if at <= now => self.attempt(now),
            Attempt::Looking(_, until) if until <= now => {
                self.failed("its name is not found in time", now);
            }
            Attempt::Idle
            | Attempt::Waiting(_)
            | Attempt::Looking(..)
            | Attempt::Dialling(..)
            | Attempt::Linking(..)
            | Attempt::Linked(..) => {}
        }
    }

    fn attempt(&mut self, now: Mono) {
        let Some(addr) = self.seek.now_trying().cloned() else {
            self.seek.attempt = Attempt::Idle;
            return;
        };
        match addr {
            Addr::Tls(host, port) => match self.lookup.ask(&host, port) {
                Ok(Ok(addrs)) => self.dial_one_of(addrs, now),
                Ok(Err(number)) => {
                    let until = now + limits::OPENING;
                    self.seek.attempt = Attempt::Looking(number, until);
                    self.soon(until);
                }
                Err(why) => self.failed(&why, now),
            },
            Addr::Ssh(host) => self.dial_parent(Via::Ssh(host), Vec::new(), now),
            Addr::Unix(_) | Addr::Tcp(..) => self.failed("links are over tls! or ssh! only", now),
        }
    }

    /// A name was looked up.
    pub(crate) fn looked_up(&mut self, now: Mono) {
        while let Some((number, found)) = self.lookup.next() {
            if !matches!(self.seek.attempt, Attempt::Looking(wanted, _) if wanted == number) {
                continue;
            }
            match found {
                Ok(addrs) => self.dial_one_of(addrs, now),
                Err(why) => self.failed(&why, now),
            }
        }
    }

    fn dial_one_of(&mut self, mut addrs: Vec<SocketAddr>, now: Mono) {
        addrs.truncate(8);
        addrs.reverse();
        match addrs.pop() {
            Some(addr) => self.dial_parent(Via::Tcp(addr), addrs, now),
            None => self.failed("its name has no address", now),
        }
    }

    fn dial_parent(&mut self, via: Via, rest: Vec<SocketAddr>, now: Mono) {
        let dialled = self.dial(&via, For::Parent, now);
        self.seek.attempt = Attempt::Dialling(via, rest);
        if let Err(why) = dialled {
            self.failed(&why, now);
        }
    }

    /// Begins to dial.
    pub(super) fn dial(&mut self, via: &Via, goal: For, now: Mono) -> Result<(), String> {
        // Who may not dial any more troubles nobody.
        let secure = Secure::dial(&self.home)?;
        let (stream, peer) = match via {
            Via::Tcp(addr) => (Stream::connect(*addr), addr.to_string()),
            Via::Ssh(host) => (Stream::ssh(host), format!("ssh!{host}")),
        };
        let stream = stream.map_err(|e| e.to_string())?;
        let until = Some(now + limits::OPENING);
        let what = What::Connecting(goal);
        self.insert(Conn { stream, secure, what, peer, until, early: Vec::new(), writing: true })?;
        Ok(())
    }

    /// TCP is there, or is not.
    pub(super) fn connected(&mut self, n: u64, goal: For, now: Mono) {
        let Some(conn) = self.conns.get_mut(&n) else { return };
        match conn.stream.connected() {
            Ok(()) => conn.what = What::Greeting(goal),
            Err(error) => self.lost(n, &error.to_string(), now),
        }
    }

    /// Something came on a connection that was dialled: perhaps who is there is known now.
    pub(super) fn greeted(&mut self, n: u64, goal: For, plain: &[u8], now: Mono) {
        let secure = self.conns.get(&n).map(|conn| &conn.secure).filter(|secure| !secure.handshaking());
        let Some(secure) = secure else { return };
        let (peer, revoked) = (secure.peer().cloned(), secure.peer_revoked(&self.home));
        let (For::Parent, Attempt::Dialling(via, rest)) = (goal, &self.seek.attempt) else {
            if let For::Bulk(link) = goal {
                self.bulk_greeted(n, link, peer.as_ref(), now);
                return self.dispatch_more(n, plain, now);
            }
            return self.close(n, now);
        };
        let (via, rest) = (via.clone(), rest.clone());
        match peer {
            Some(Who::Node { id, name }) if id != self.home.id() && !revoked => {
                let link = self.make_link(n, id, &name, Some(via), now);
                self.seek.attempt = Attempt::Linking(link, rest);
                self.dispatch_more(n, plain, now);
            }
            Some(Who::Node { id, .. }) if id == self.home.id() => self.lost(n, "it is this node itself", now),
            _ => self.lost(n, "who answers is no node, or is one no more", now),
        }
    }

    fn dispatch_more(&mut self, n: u64, plain: &[u8], now: Mono) {
        if !plain.is_empty() && !matches!(self.conns.get(&n).map(|conn| conn.what), Some(What::Greeting(_))) {
            self.dispatch(n, plain, now);
        }
    }

    /// What was dialled is not reached.
    pub(super) fn undialled(&mut self, goal: For, why: &str, now: Mono) {
        match goal {
            For::Parent => self.failed(why, now),
            For::Bulk(link) => {
                let why = format!("its connection for streams: {why}");
                self.unlink(link, &why, Some(&why), now);
            }
        }
    }

    /// This attempt has failed: the next address follows at once, after the last one a pause.
    fn failed(&mut self, why: &str, now: Mono) {
        self.seek.causes.insert(self.seek.at, why.into());
        let rest = match std::mem::take(&mut self.seek.attempt) {
            Attempt::Dialling(_, rest) | Attempt::Linking(_, rest) => rest,
            Attempt::Idle | Attempt::Waiting(_) | Attempt::Looking(..) | Attempt::Linked(..) => Vec::new(),
        };
        if let Some((addr, rest)) = rest.split_last() {
            return self.dial_parent(Via::Tcp(*addr), rest.to_vec(), now);
        }
        self.seek.at += 1;
        let mut at = now;
        if self.seek.at >= self.seek.addrs.len() {
            let (least, most) = limits::BACKOFF;
            self.seek.at = 0;
            self.seek.pause = (self.seek.pause * 2).clamp(least, most);
            at = now + jitter(self.seek.pause);
        }
        self.seek.attempt = if self.seek.addrs.is_empty() { Attempt::Idle } else { Attempt::Waiting(at) };
        self.soon(at);
        self.tell_seeking();
    }

    /// The link to the parent is up.
    pub(super) fn found_parent(&mut self, link: LinkId, now: Mono) {
        self.seek.attempt = Attempt::Linked(link, now);
        self.seek.causes.clear();
        self.tell_seeking();
    }

    /// A link to a parent is gone, or did not come to be.
    pub(super) fn lost_parent(&mut self, id: LinkId, why: &str, now: Mono) {
        match self.seek.attempt {
            Attempt::Linking(link, _) if link == id => self.failed(why, now),
            Attempt::Linked(link, since) if link == id => {
                // One that held begins anew with the first; one that did not makes room for the next, and for a pause.
                if now.since(since) < limits::BACKOFF.1 {
                    return self.failed(why, now);
                }
                self.seek.causes = BTreeMap::from([(self.seek.at, why.into())]);
                (self.seek.at, self.seek.pause) = (0, Duration::ZERO);
                let at = now + jitter(limits::BACKOFF.0);
                self.seek.attempt =
                    if self.seek.addrs.is_empty() { Attempt::Idle } else { Attempt::Waiting(at) };
                self.soon(at);
                self.tell_seeking();
            }
            Attempt::Idle
            | Attempt::Waiting(_)
            | Attempt::Looking(..)
            | Attempt::Dialling(..)
            | Attempt::Linking(..)
            | Attempt::Linked(..) => {}
        }
    }

    fn tell_seeking(&mut self) {
        let idle = matches!(self.seek.attempt, Attempt::Idle);
        let text = match idle && self.settings.parent_auto {
            true => "looking for a parent on the local network".into(),
            false => self.seek.text(),
        };
        if text != self.seek.told {
            self.seek.told.clone_from(&text);
            self.events.push(Event::Seeking(text));
        }
    }
}
