//! What a host does with its links: frames go out and come in, a handshake is over, the other end asks, a link ends.

use super::{
    Cloud,
    carry::Due,
    link::{End, Frame, LANES, Serving, Told, lane_no, made},
};
use kernel::{ClientId, Event, Lane, LinkId, Peer};
use op::{Errno, Error, Op, Reply, Tag, Uid};
use std::time::Duration;

impl Cloud {
    /// The link and the end that a kernel speaks of.
    pub(super) fn end_of(&self, at: usize, id: LinkId, what: &str) -> (usize, usize) {
        let name = &self.hosts[at].plan.name;
        let found = self.hosts[at].links.get(&id).copied();
        let (link, end) =
            found.unwrap_or_else(|| panic!("{id:?} of {name} is {what}, and is gone or never was"));
        let told = self.links[link].ends[end].told;
        // What is said between giving a link up and hearing that it is gone goes nowhere.
        assert!(matches!(told, Told::Up | Told::Closing), "{id:?} of {name} is {what}, and {told:?}");
        (link, end)
    }

    pub(super) fn ask_over(&mut self, at: usize, id: LinkId, lane: Lane, tag: Tag, op: Op) {
        let (link, end) = self.end_of(at, id, "asked over");
        let host = &self.hosts[at];
        let elsewhere = host.links.iter().filter(|(other, _)| **other != id);
        for (link, end) in elsewhere.map(|(_, at)| *at) {
            let taken = self.links[link].ends[end].asks.sent.contains_key(&tag);
            assert!(!taken, "{tag:?} is used on two links of {}", host.plan.name);
        }
        assert!(!host.file_asks.sent.contains_key(&tag), "{tag:?} is used for files too");
        self.counters.count("asks");
        if lane == Lane::Bulk {
            self.counters.count("asks for streams");
        }
        if let Op::Flush { .. } = op {
            self.counters.count("flushes over a link");
        }
        self.links[link].ends[end].asks.ask(lane, tag, &op);
        self.send(link, end, lane, Frame::Ask(tag, op));
    }

    pub(super) fn answer(&mut self, at: usize, client: ClientId, tag: Tag, reply: Reply) {
        let Some((link, end, lane)) = self.caller(at, client) else { return };
        // It goes over the link and is in nobody's mailbox.
        self.hosts[at].world.reply(client, tag);
        let of = &mut self.links[link].ends[end];
        let served = of.serving.remove(&(client, tag)).expect("what is answered was asked");
        if let Some(old) = served.flushes {
            of.serving.remove(&(client, old));
        }
        let refused = matches!(reply, Reply::Failed(_));
        self.send(link, end, lane, Frame::Reply(served.theirs, reply));
        if served.attaches.is_some() {
            let held = std::mem::take(&mut self.links[link].ends[end].held);
            for (lane, theirs, op) in held {
                if refused && op.fid() == served.attaches {
                    let error = Error::new(Errno::BADF, "unknown fid");
                    self.send(link, end, lane, Frame::Reply(theirs, Reply::Failed(error)));
                } else {
                    self.serve(link, end, lane, theirs, op);
                }
            }
        }
    }

    /// Puts a frame on its way from one end of a link to the other.
    pub(super) fn send(&mut self, no: usize, from: usize, lane: Lane, frame: Frame) {
        let mut span = self.transit();
        if lane == Lane::Bulk && !self.links[no].bulk {
            self.links[no].bulk = true;
            span += self.transit() + self.transit();
            self.counters.count("a lane for streams was made");
        }
        let link = &mut self.links[no];
        link.ends[from].said[lane_no(lane)].count(&frame);
        if let (Lane::Bulk, Frame::Reply(_, Reply::Data(data))) = (lane, &frame) {
            let way = (link.ends[from].node, link.ends[1 - from].node);
            *self.carried.entry(way).or_default() += data.len() as u64;
        }
        if !link.cable {
            return;
        }
        let to = &mut link.ends[1 - from];
        let when = (self.clock.mono + span + link.delay).max(to.last[lane_no(lane)]);
        to.last[lane_no(lane)] = when;
        to.inbox[lane_no(lane)].push_back(frame);
        self.at(when, Due::Arrive(no, 1 - from, lane));
    }

    pub(super) fn arrive(&mut self, no: usize, at: usize, lane: Lane) {
        let end = &mut self.links[no].ends[at];
        if end.told == Told::Nothing && end.inbox[lane_no(lane)].front() != Some(&Frame::Up) {
            // A stream's lane is not looked at before the link is up.
            if !end.inbox[lane_no(lane)].is_empty() {
                self.later(Duration::from_millis(1), Due::Arrive(no, at, lane));
            }
            return;
        }
        let Some(frame) = end.inbox[lane_no(lane)].pop_front() else { return };
        let (node, id) = (end.node, end.id);
        match (frame, end.told) {
            (_, Told::Closing | Told::Gone) => {}
            (Frame::Up, _) => self.up(no, at),
            (Frame::Ask(tag, op), _) => self.serve(no, at, lane, tag, op),
            (Frame::Reply(tag, reply), _) => {
                let flushed = end.asks.flushed(tag);
                let end = &mut self.links[no].ends[at];
                let Some(sent) = end.asks.reply(tag, &reply) else { return };
                if flushed && matches!((&sent.op, &reply), (Op::Walk { .. }, Reply::Walked(_))) {
                    self.counters.count("walks given up that succeeded below");
                }
                self.event(node, Event::Answered { link: id, tag, reply });
            }
            (Frame::News(news), _) => self.event(node, Event::News(id, news)),
            (Frame::Bye { why, left }, _) => self.break_end(no, at, &why, left),
        }
    }

    /// The handshake is over at this end.
    fn up(&mut self, no: usize, at: usize) {
        let (node, id) = (self.links[no].ends[at].node, self.links[no].ends[at].id);
        let other = self.links[no].ends[1 - at].node;
        let old: Vec<usize> = self.other_links(no, at);
        if !old.is_empty() {
            self.counters.count("relinks before the old link was known to be gone");
        }
        let why = "it came back over a new link";
        if self.old_first {
            old.iter().for_each(|old| self.break_end(*old, at, why, false));
        }
        // That may have been the last it did.
        if self.links[no].ends[at].told == Told::Gone {
            return;
        }
        let peer = Peer {
            id: self.hosts[other].id,
            name: self.hosts[other].plan.name.as_str().into(),
            above: at == 0,
        };
        self.links[no].ends[at].told = Told::Up;
        if at == 1 {
            self.hosts[other].adopted_by.insert(node);
        }
        self.counters.count("links came up");
        self.event(node, Event::Linked { link: id, peer });
        if self.rng.bool() && self.links[no].ends[at].told == Told::Up {
            self.caller_on(no, at, Lane::Control);
        }
        for old in old {
            let span = self.transit();
            self.later(span, Due::Break(old, at, why.into()));
        }
    }

    /// Links of the same two nodes that this end's kernel still has.
    fn other_links(&self, no: usize, at: usize) -> Vec<usize> {
        let (node, other) = (self.links[no].ends[at].node, self.links[no].ends[1 - at].node);
        let same = |(link, end): &&(usize, usize)| {
            *link != no
                && *end == at
                && self.links[*link].ends[1 - at].node == other
                && self.links[*link].ends[at].told == Told::Up
        };
        self.hosts[node].links.values().filter(same).map(|(link, _)| *link).collect()
    }

    /// The other node, as the client that it is here on a lane.
    fn caller_on(&mut self, no: usize, at: usize, lane: Lane) -> ClientId {
        let end: &mut End = &mut self.links[no].ends[at];
        let (node, id) = (end.node, end.id);
        if let Some(client) = end.callers[lane_no(lane)] {
            return client;
        }
        self.hosts[node].world.clock = self.clock;
        let (client, done) = self.hosts[node].world.caller(id);
        self.links[no].ends[at].callers[lane_no(lane)] = Some(client);
        self.hosts[node].callers.insert(client, (no, at));
        self.carry_out(node, done);
        client
    }

    fn serve(&mut self, no: usize, at: usize, lane: Lane, theirs: Tag, op: Op) {
        if self.links[no].ends[at].told != Told::Up {
            return;
        }
        let client = self.caller_on(no, at, lane);
        let end = &mut self.links[no].ends[at];
        // That may have been the last it did: a kernel does with every event what is due by then.
        if end.told != Told::Up {
            return;
        }
        let node = end.node;
        if end.waits(client, lane, &op) {
            return end.held.push((lane, theirs, op));
        }
        if let Op::Flush { tag } = op {
            let before = end.held.len();
            end.held.retain(|(of, held, _)| (*of, *held) != (lane, tag));
            if end.held.len() < before {
                return self.send(no, at, lane, Frame::Reply(theirs, Reply::Done));
            }
        }
        let mut flushes = None;
        let op = if let Op::Flush { tag } = op {
            let of = |(key, serving): (&(ClientId, Tag), &Serving)| {
                (key.0 == client && serving.theirs == tag).then_some(key.1)
            };
            flushes = end.serving.iter().find_map(of);
            match flushes {
                Some(tag) => Op::Flush { tag },
                // It was answered, and the answer is on its way.
                None => return self.send(no, at, lane, Frame::Reply(theirs, Reply::Done)),
            }
        } else {
            op
        };
        let tag = self.hosts[node].world.new_tag();
        let attaches = if let Op::Attach { .. } = op { made(&op) } else { None };
        self.links[no].ends[at].serving.insert((client, tag), Serving { theirs, flushes, attaches });
        // Who asks is said in the attach; the number means nothing.
        self.event(node, Event::Request { client, tag, uid: Uid(u32::MAX), op });
    }

    /// A link's end is told that it is gone; unless it knows.
    pub(super) fn break_end(&mut self, no: usize, at: usize, why: &str, left: bool) {
        self.links[no].cable = false;
        let end = &mut self.links[no].ends[at];
        let (node, id, told) = (end.node, end.id, end.told);
        if told == Told::Gone {
            return;
        }
        let callers = LANES.map(|lane| end.callers[lane_no(lane)].take());
        if told != Told::Nothing {
            for client in callers.into_iter().flatten() {
                self.hosts[node].callers.remove(&client);
                self.event(node, Event::Hangup(client));
                // That may have been the last it did.
                if self.links[no].ends[at].told == Told::Gone {
                    return;
                }
            }
        }
        let end = &mut self.links[no].ends[at];
        if end.told == Told::Gone {
            return;
        }
        end.told = Told::Gone;
        end.serving.clear();
        end.held.clear();
        end.inbox.iter_mut().for_each(std::collections::VecDeque::clear);
        if !end.asks.sent.is_empty() {
            self.counters.count("links broke with requests under way");
        }
        self.links[no].ends[at].asks.sent.clear();
        self.hosts[node].links.remove(&id);
        if told != Told::Nothing {
            self.event(node, Event::Unlinked { link: id, why: why.into(), left });
        }
        if at == 0 {
            let backoff = Duration::from_millis(100 + self.rng.u64(0..200));
            self.dial_in(node, backoff);
        }
    }

    /// A link is given up on purpose, by the kernel at this end.
    pub(super) fn bye(&mut self, no: usize, at: usize, why: String, left: bool) {
        self.send(no, at, Lane::Control, Frame::Bye { why: why.clone(), left });
        self.links[no].cable = false;
        self.links[no].ends[at].told = Told::Closing;
        self.later(Duration::ZERO, Due::Break(no, at, why));
    }

    pub(super) fn leave(&mut self, at: usize) {
        self.counters.count("a node left");
        let host = &mut self.hosts[at];
        host.seeks = false;
        host.parents.clear();
        let above = host.links.values().filter(|(_, end)| *end == 0).map(|(link, _)| *link);
        for link in above.collect::<Vec<_>>() {
            self.bye(link, 0, "it left the cloud".into(), true);
        }
    }
}
