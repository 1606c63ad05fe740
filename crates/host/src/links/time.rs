//! What is due: beats, deadlines, the next attempt, a look at what another process has changed; and the node's end.

use super::lane::Link;
use super::{CONNS, Links, What, limits};
use kernel::LinkId;
use link::wire::Frame;
use op::Mono;

impl Links {
    /// When [`tick`](Links::tick) has something to do.
    pub(crate) fn next_tick(&self) -> Mono {
        self.next_tick
    }

    /// Does what is due. Silence is judged here only, after what has arrived was read: `buffer` is to read it to.
    pub(crate) fn tick(&mut self, now: Mono, buffer: &mut [u8]) {
        if now < self.next_tick {
            return;
        }
        if now >= self.next_beat {
            self.next_beat = now + self.settings.beat;
            self.beat(now);
        }
        let due = |until: Option<Mono>| until.is_some_and(|until| until <= now);
        let late: Vec<u64> = self.conns.iter().filter(|(_, c)| due(c.until)).map(|(n, _)| *n).collect();
        for n in late {
            let why = match self.conns.get(&n).map(|conn| conn.what) {
                Some(What::Connecting(_)) => "there is no answer",
                Some(What::Closing) | None => "",
                Some(_) => "it says nothing",
            };
            self.lost(n, why, now);
        }
        let silent: Vec<u64> = self.links.values().flat_map(|link| link.silent(now)).collect();
        for n in silent {
            self.ready(CONNS + n, now, buffer);
            self.judge(n, now);
        }
        self.forget_joins(now);
        self.look_for_parent(now);
        let conns = self.conns.values().filter_map(|conn| conn.until);
        let links = self.links.values().filter_map(Link::deadline);
        let relays = self.relays.values().map(|relay| relay.until);
        let all = conns.chain(links).chain(relays).chain(self.seek.retry_at());
        self.next_tick = all.min().map_or(self.next_beat, |at| at.min(self.next_beat));
    }

    /// What is done once a beat: say that we are there, and see what another process has changed.
    fn beat(&mut self, now: Mono) {
        let mut touched = Vec::new();
        for link in self.links.values_mut() {
            link.beat(now, &mut touched);
        }
        self.touched.extend(touched);
        self.refresh(now);
    }

    /// Takes notice of what `uem invite`, `join` and `revoke` have changed in `trust/`.
    fn refresh(&mut self, now: Mono) {
        match self.home.refresh() {
            Ok(true) => {
                self.complaints.clear();
                self.spread_revoked(None, now);
            }
            Ok(false) => {}
            Err(why) => self.complain(why),
        }
        self.listen();
        self.listen_again();
        self.look_around();
        self.read_parents(now);
    }

    /// Something is wrong that may stay wrong: it is said once.
    pub(super) fn complain(&mut self, why: String) {
        if self.complaints.len() < limits::COMPLAINTS && !self.complaints.contains(&why) {
            eprintln!("uem: {why}");
            self.complaints.insert(why);
        }
    }

    /// The node stops: everybody is told, as far as that goes without waiting.
    pub(crate) fn stop(&mut self, now: Mono) {
        let all: Vec<LinkId> = self.links.keys().copied().collect();
        for link in all {
            self.unlink(link, "the node is stopped", Some("it was stopped"), now);
        }
        self.flush(now);
        self.events.clear();
        self.listener = None;
    }

    /// Says goodbye for good to the parent, and looks for none any more.
    pub(crate) fn leave(&mut self, now: Mono) {
        if let Some(parent) = self.parent() {
            let bye = Frame::Bye { left: true, why: "it has left".into() };
            self.part(parent, "this node has left", Some(&bye), false, now);
        }
        self.settings.parents.clear();
        self.settings.parent_auto = false;
        self.look_away();
        if let Err(why) = self.home.set_parents(&[]) {
            self.complain(why);
        }
        self.read_parents(now);
    }
}
