//! Links that are made: what comes over their lanes, what goes out, and how they end.

use super::{For, Links, What, limits, seek::Via};
use kernel::{ClientId, Event, Lane, LinkId, Peer};
use link::identity::Who;
use link::wire::{self, Frame, Hello, Kind, Said};
use op::Mono;
use op::{NodeId, Op, Reply, Tag, Uid};
use std::sync::Arc;

/// A link: who is there, and over what.
pub(super) struct Link {
    pub(super) peer: Peer,
    /// The life of the other node that this link is to.
    epoch: Option<u64>,
    /// The kernel knows of it.
    pub(super) up: bool,
    pub(super) control: Half,
    pub(super) bulk: Option<Half>,
    /// How to dial another lane; of a link that was dialled.
    via: Option<Via>,
    /// When a bulk lane that somebody wants has to be there.
    pub(super) bulk_until: Option<Mono>,
}

/// A lane, and what carries it.
pub(super) struct Half {
    pub(super) lane: wire::Lane,
    pub(super) conn: Option<u64>,
    /// The other end as a client of the kernel, once it is one.
    pub(super) client: Option<ClientId>,
}

impl Half {
    fn new(hello: Hello, conn: Option<u64>, now: Mono) -> Half {
        Half { lane: wire::Lane::new(hello, now), conn, client: None }
    }
}

impl Link {
    pub(super) fn half(&mut self, kind: Kind) -> Option<&mut Half> {
        match kind {
            Kind::Control => Some(&mut self.control),
            Kind::Bulk => self.bulk.as_mut(),
        }
    }

    fn halves(&self) -> impl Iterator<Item = &Half> {
        std::iter::once(&self.control).chain(&self.bulk)
    }

    /// Its connections that were silent too long, or are: to be read, and judged.
    pub(super) fn silent(&self, now: Mono) -> Vec<u64> {
        self.halves().filter(|half| half.lane.silent_at() <= now).filter_map(|half| half.conn).collect()
    }

    /// When something has to be done about it, if nothing happens.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let carried = self.halves().filter(|half| half.conn.is_some());
        carried.map(|half| half.lane.silent_at()).chain(self.bulk_until).min()
    }

    pub(super) fn beat(&mut self, now: Mono, touched: &mut Vec<u64>) {
        for half in std::iter::once(&mut self.control).chain(&mut self.bulk) {
            if let Some(n) = half.conn {
                half.lane.beat(now);
                touched.push(n);
            }
        }
    }
}

impl Links {
    /// The link to the parent, if it is up.
    pub(super) fn parent(&self) -> Option<LinkId> {
        self.links.iter().find(|(_, link)| link.up && link.peer.above).map(|(id, _)| *id)
    }

    fn hello(&self, kind: Kind, above: bool) -> Hello {
        Hello { version: wire::VERSION, kind, epoch: self.epoch, beat: self.settings.beat, above }
    }

    /// Makes a link of a connection on which certificates were shown. It is not up before both ends have said Hello.
    pub(super) fn make_link(
        &mut self,
        n: u64,
        id: NodeId,
        name: &str,
        via: Option<Via>,
        now: Mono,
    ) -> LinkId {
        let link = LinkId(self.number());
        let above = via.is_some();
        let control = Half::new(self.hello(Kind::Control, above), Some(n), now);
        let peer = Peer { id, name: Arc::from(name), above };
        let made = Link { peer, epoch: None, up: false, control, bulk: None, via, bulk_until: None };
        self.links.insert(link, made);
        self.carry(n, link, Kind::Control, now);
        link
    }

    /// Makes a connection carry a lane.
    fn carry(&mut self, n: u64, link: LinkId, kind: Kind, now: Mono) {
        if let Some(conn) = self.conns.get_mut(&n) {
            conn.what = What::Lane(link, kind);
            // It has this long to come up; a lane that is up is judged by its silence.
            conn.until = Some(now + limits::OPENING);
        }
        if let Some(half) = self.links.get_mut(&link).and_then(|link| link.half(kind)) {
            half.conn = Some(n);
            half.lane.heard(now);
        }
        self.touched.insert(n);
        self.soon(now);
    }

    /// A child's Hello has come over a connection of its own.
    pub(super) fn child_said_hello(
        &mut self,
        n: u64,
        hello: &Hello,
        id: NodeId,
        name: &str,
        now: Mono,
    ) -> Result<(), String> {
        let same = |(_, link): &(&LinkId, &Link)| link.peer.id == id && !link.peer.above;
        let known = self.links.iter().find(same).map(|(id, link)| (*id, link.epoch));
        match (hello.kind, known) {
            (Kind::Control, known) => {
                if let Some((old, _)) = known {
                    self.unlink(old, "it has linked again", Some("this node has linked again"), now);
                }
                if self.links.len() >= limits::LINKS {
                    return Err(format!("{} links are the most that a node has", limits::LINKS));
                }
                self.make_link(n, id, name, None, now);
            }
            (Kind::Bulk, Some((link, epoch))) if epoch == Some(hello.epoch) => {
                self.need_bulk(link, now);
                let taken = self
                    .links
                    .get_mut(&link)
                    .and_then(|l| l.half(Kind::Bulk))
                    .is_none_or(|half| half.conn.is_some());
                if taken {
                    return Err("that lane is there already".into());
                }
                self.carry(n, link, Kind::Bulk, now);
            }
            (Kind::Bulk, _) => return Err("there is no link that this lane is of".into()),
        }
        Ok(())
    }

    // ── in ─────────────────────────────────────────────────────────────────────────────────

    pub(super) fn lane_said(&mut self, id: LinkId, kind: Kind, bytes: &[u8], now: Mono) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(half) = link.half(kind) else { return };
        let mut said = Vec::new();
        let received = half.lane.receive(bytes, now, &mut said);
        if half.lane.is_up() && half.client.is_none() {
            self.is_up(id, kind, now);
        }
        self.take(id, kind, said, now);
        if let Err(why) = received {
            self.broke(id, &why, now);
        }
    }

    /// The other end does not keep to what is agreed: both are told, and the log.
    fn broke(&mut self, id: LinkId, why: &str, now: Mono) {
        let Some(link) = self.links.get(&id) else { return };
        let peer =
            link.control.conn.and_then(|n| self.conns.get(&n)).map_or(String::new(), |c| c.peer.clone());
        let peer = format!("{} at {peer}", link.peer.name);
        self.refused.note(&peer, why, now);
        self.unlink(id, why, Some(why), now);
    }

    /// Questions that were held back go on.
    pub(super) fn resume(&mut self, id: LinkId, kind: Kind, now: Mono) {
        let Some(half) = self.links.get_mut(&id).and_then(|link| link.half(kind)) else { return };
        let mut said = Vec::new();
        let resumed = half.lane.resume(&mut said);
        self.take(id, kind, said, now);
        if let Err(why) = resumed {
            self.broke(id, &why, now);
        }
    }

    fn is_up(&mut self, id: LinkId, kind: Kind, now: Mono) {
        let client = ClientId(super::CALLERS + self.number());
        let Some(link) = self.links.get_mut(&id) else { return };
        if kind == Kind::Control {
            link.up = true;
            link.epoch = link.control.lane.peer().map(|hello| hello.epoch);
            self.events.push(Event::Linked { link: id, peer: link.peer.clone() });
            if let Some(der) = self.home.revoked() {
                link.control.lane.say(&Frame::Revoked(der.to_vec()));
            }
        } else {
            link.bulk_until = None;
        }
        let Some(half) = link.half(kind) else { return };
        half.client = Some(client);
        let conn = half.conn.and_then(|n| self.conns.get_mut(&n));
        if let Some(conn) = conn {
            conn.until = None;
        }
        self.callers.insert(client, (id, kind));
        self.events.push(Event::Caller { link: id, client });
        if kind == Kind::Control && self.links.get(&id).is_some_and(|link| link.peer.above) {
            self.found_parent(id, now);
        }
    }

    fn take(&mut self, id: LinkId, kind: Kind, said: Vec<Said>, now: Mono) {
        for said in said {
            let Some(link) = self.links.get_mut(&id) else { return };
            let client = link.half(kind).and_then(|half| half.client);
            match (said, client) {
                (Said::Asked(tag, op), Some(client)) => {
                    // As whom it asks is said in each Attach.
                    self.events.push(Event::Request { client, tag, uid: Uid(u32::MAX), op });
                }
                (Said::Answered(tag, reply), _) => self.events.push(Event::Answered { link: id, tag, reply }),
                (Said::Frame(Frame::Hello(hello)), _) => {
                    if kind == Kind::Bulk && link.epoch != Some(hello.epoch) {
                        return self.broke(id, "its bulk lane is of another life", now);
                    }
                }
                (Said::Frame(Frame::Bye { left, why }), _) => {
                    let why = if why.is_empty() { "it said goodbye".into() } else { why };
                    return self.part(id, &why, None, left, now);
                }
                (Said::Frame(frame), Some(_)) => self.heard(id, frame, now),
                (Said::Asked(..) | Said::Frame(_), None) => {
                    return self.broke(id, "it speaks before it has said who it is", now);
                }
            }
        }
    }

    /// A frame of the link's own, on the control lane of a link that is up.
    fn heard(&mut self, id: LinkId, frame: Frame, now: Mono) {
        match frame {
            Frame::News(text) => self.events.push(Event::News(id, text)),
            Frame::Want(Kind::Bulk) => {
                if self.links.get(&id).is_some_and(|link| link.via.is_some()) {
                    self.need_bulk(id, now);
                }
            }
            Frame::Join(body) => self.passed_on(id, &body, now),
            Frame::Grant(body) => self.granted(id, &body, now),
            Frame::Revoked(der) => self.learn_revoked(id, &der, now),
            Frame::Hello(_) | Frame::Beat | Frame::Want(Kind::Control) | Frame::Bye { .. } => {}
        }
    }

    // ── out ────────────────────────────────────────────────────────────────────────────────

    /// Asks the other end of a link.
    pub(crate) fn ask(&mut self, id: LinkId, lane: Lane, tag: Tag, op: Op, now: Mono) {
        let kind = match lane {
            Lane::Control => Kind::Control,
            Lane::Bulk => Kind::Bulk,
        };
        if kind == Kind::Bulk {
            self.need_bulk(id, now);
        }
        // A link that is gone took its requests with it, and the kernel hears that.
        let Some(half) = self.links.get_mut(&id).and_then(|link| link.half(kind)) else { return };
        let mut said = Vec::new();
        half.lane.ask(tag, op, &mut said);
        let (conn, stuck) = (half.conn, half.lane.is_stuck());
        self.touched.extend(conn);
        self.take(id, kind, said, now);
        if stuck {
            self.broke(id, "it does not take what it is asked", now);
        }
    }

    /// Answers what another node asked.
    pub(crate) fn answer(&mut self, client: ClientId, tag: Tag, reply: Reply, now: Mono) {
        let Some(&(id, kind)) = self.callers.get(&client) else { return };
        let Some(half) = self.links.get_mut(&id).and_then(|link| link.half(kind)) else { return };
        let mut said = Vec::new();
        half.lane.answer(tag, reply, &mut said);
        self.touched.extend(half.conn);
        self.take(id, kind, said, now);
    }

    /// Tells the kernel at the other end.
    pub(crate) fn news(&mut self, id: LinkId, text: Vec<u8>, now: Mono) {
        self.say(id, &Frame::News(text));
        if self.links.get(&id).is_some_and(|link| link.control.lane.is_stuck()) {
            self.broke(id, "it does not take what it is told", now);
        }
    }

    pub(super) fn say(&mut self, id: LinkId, frame: &Frame) {
        if let Some(link) = self.links.get_mut(&id) {
            link.control.lane.say(frame);
            self.touched.extend(link.control.conn);
        }
    }

    /// All links that are up.
    pub(super) fn all(&self) -> Vec<LinkId> {
        self.links.iter().filter(|(_, link)| link.up).map(|(id, _)| *id).collect()
    }

    /// A lane for streams is needed: it is dialled, or the other end is asked to. What is asked meanwhile waits in it.
    fn need_bulk(&mut self, id: LinkId, now: Mono) {
        let hello = |above| self.hello(Kind::Bulk, above);
        let hellos = [hello(false), hello(true)];
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.bulk.is_some() {
            return;
        }
        let [child, parent] = hellos;
        link.bulk = Some(Half::new(if link.peer.above { parent } else { child }, None, now));
        let until = now + limits::OPENING;
        link.bulk_until = Some(until);
        match link.via.clone() {
            Some(via) => {
                if let Err(why) = self.dial(&via, For::Bulk(id), now) {
                    self.undialled(For::Bulk(id), &why, now);
                }
            }
            None => self.say(id, &Frame::Want(Kind::Bulk)),
        }
        self.soon(until);
    }

    /// The bulk lane that was dialled has shown its certificate.
    pub(super) fn bulk_greeted(&mut self, n: u64, id: LinkId, peer: Option<&Who>, now: Mono) {
        let Some(link) = self.links.get(&id) else { return self.close(n, now) };
        if !matches!(peer, Some(Who::Node { id, .. }) if *id == link.peer.id) {
            self.close(n, now);
            return self.unlink(id, "another node answers at its address", None, now);
        }
        self.carry(n, id, Kind::Bulk, now);
    }
}
