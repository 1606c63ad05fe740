//! How links end: by silence, because somebody wants it, or because a connection broke.

use super::lane::Link;
use super::{Conn, For, Links, What, last_word, limits};
use kernel::{Event, LinkId};
use link::wire::Frame;
use op::Mono;

impl Links {
    /// A connection was read that was silent for long; if nothing came, that was too long.
    pub(super) fn judge(&mut self, n: u64, now: Mono) {
        let Some(Conn { what: What::Lane(id, kind), .. }) = self.conns.get(&n) else { return };
        let (id, kind) = (*id, *kind);
        let Some(half) = self.links.get_mut(&id).and_then(|link| link.half(kind)) else { return };
        if half.lane.silent_at() <= now {
            let span = half.lane.silence().as_secs_f64();
            let why = format!("no heartbeat for {} s", (span * 10.0).round() / 10.0);
            self.unlink(id, &why, Some(&why), now);
        }
    }

    /// Links whose bulk lane does not come.
    pub(super) fn judge_bulk(&mut self, now: Mono) {
        let late = |link: &Link| link.bulk_until.is_some_and(|until| until <= now);
        let late: Vec<LinkId> = self.links.iter().filter(|(_, link)| late(link)).map(|(id, _)| *id).collect();
        for id in late {
            let why = "its connection for streams does not come up";
            self.unlink(id, why, Some(why), now);
        }
    }

    /// Breaks a link off; `tell` is what the other end is told, if anything.
    pub(crate) fn unlink(&mut self, id: LinkId, why: &str, tell: Option<&str>, now: Mono) {
        let bye = tell.map(|why| Frame::Bye { left: false, why: why.into() });
        self.part(id, why, bye.as_ref(), false, now);
    }

    /// The end of a link, whoever wanted it.
    pub(super) fn part(&mut self, id: LinkId, why: &str, bye: Option<&Frame>, left: bool, now: Mono) {
        let Some(link) = self.links.remove(&id) else { return };
        let bye = bye.map(last_word);
        for mut half in std::iter::once(link.control).chain(link.bulk) {
            if let Some(client) = half.client {
                self.callers.remove(&client);
                self.events.push(Event::Hangup(client));
            }
            let Some(n) = half.conn else { continue };
            if let Some(conn) = self.conns.get_mut(&n) {
                // What was said before goes first, as far as it is little.
                half.lane.pour(limits::TURN, now, |frame| conn.secure.send(frame));
                bye.iter().for_each(|bye| conn.secure.send(bye));
            }
            self.close(n, now);
        }
        let dialling: Vec<u64> = self.conns.iter().filter(|(_, c)| c.is_for(id)).map(|(n, _)| *n).collect();
        dialling.into_iter().for_each(|n| self.drop_conn(n));
        if link.up {
            self.events.push(Event::Unlinked { link: id, why: why.into(), left });
        }
        if link.peer.above {
            self.lost_parent(id, why, now);
        }
    }
}

impl Conn {
    /// It is being dialled for a lane of that link.
    fn is_for(&self, link: LinkId) -> bool {
        matches!(self.what, What::Connecting(For::Bulk(id)) | What::Greeting(For::Bulk(id)) if id == link)
    }
}
