//! A restart, in the model: what is kept, and what may be lost of a change that was under way.

use super::{Model, Session, State, Stdin};
use op::{Clock, Mono};
use std::{collections::BTreeMap, time::Duration};

/// What the journal says of a session, as far as it tells two states apart.
type Signature = BTreeMap<String, String>;

/// Fields that tell what a session is.
const TELLING: [&str; 13] = [
    "state", "keep", "koc", "ends", "freeing", "lease", "mode", "command", "eof", "group", "rank", "exit",
    "signal",
];

/// The sessions of a journal that was just written anew.
fn signatures(journal: &[u8]) -> BTreeMap<u64, Signature> {
    let text = String::from_utf8_lossy(journal);
    let lines = text.lines().filter_map(|line| {
        let (id, rest) = line.split_once(' ')?;
        let fields = rest.split(' ').filter_map(|field| field.split_once('='));
        Some((id.parse().ok()?, fields.map(|(k, v)| (k.to_string(), v.to_string())).collect()))
    });
    let mut all: BTreeMap<u64, Signature> = BTreeMap::new();
    for (id, mut sign) in lines.collect::<Vec<(u64, Signature)>>() {
        let group = sign.get("group").and_then(|group| all.get(&group.parse().ok()?));
        // What a member's line leaves out is its group's.
        for key in ["lease", "mode", "command"] {
            if let (Some(value), false) = (group.and_then(|group| group.get(key)), sign.contains_key("owner"))
            {
                sign.entry(key.into()).or_insert_with(|| value.clone());
            }
        }
        sign.retain(|key, value| key != "command" || !value.is_empty());
        all.insert(id, sign);
    }
    all
}

fn packed(bytes: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_-./:@+".contains(b);
    bytes.iter().map(|b| if plain(b) { (*b as char).to_string() } else { format!("%{b:02x}") }).collect()
}

impl Session {
    /// When it is ended unless somebody holds it again, if its node is started again now: it has its lease, once.
    fn ends_from(&self, now: Mono) -> Option<Mono> {
        let at = now + self.lease;
        self.strict.then(|| self.expires.map_or(at, |ends| ends.min(at)))
    }

    /// As it is when its node is started again now.
    fn signature(&self, now: Mono) -> Signature {
        let mut out = Signature::new();
        let mut add = |key: &str, value: String| drop(out.insert(key.into(), value));
        match self.state {
            State::Fresh => {}
            State::Starting => add("state", "starting".into()),
            State::Running { stopped, .. } => {
                add("state", if stopped { "stopped" } else { "running" }.into())
            }
            State::Ended { exit, .. } => {
                add("state", "ended".into());
                match exit.how {
                    op::How::Code(code) => add("exit", code.to_string()),
                    op::How::Signal(signal) => add("signal", signal.to_string()),
                    op::How::Lost => {}
                }
            }
        }
        let flags = [
            ("keep", self.keep),
            ("koc", self.strict),
            ("freeing", self.freeing),
            ("eof", self.stdin.closed && !self.ended()),
        ];
        flags.into_iter().filter(|(_, on)| *on).for_each(|(key, _)| add(key, "1".into()));
        if let Some(ends) = self.ends_from(now) {
            add("ends", ends.0.to_string());
        }
        add("lease", self.lease.as_millis().to_string());
        add("mode", self.mode.to_string());
        if !self.command.is_empty() {
            add("command", packed(&self.command));
        }
        if let Some((group, rank)) = self.group {
            add("group", group.to_string());
            add("rank", rank.to_string());
        }
        out
    }
}

impl Model {
    /// The node was started again from `journal`. A session is as it was before the last event (`self`), on the
    /// way through it, or after it (`after`), and nothing else; only what the last event did may be lost.
    ///
    /// # Panics
    /// If one is neither.
    pub fn recalled(&self, after: &Model, journal: &[u8], clock: Clock) -> Model {
        let found = signatures(journal);
        let mut model = Model::new(clock);
        model.known = self.known.clone();
        for id in 0..self.next.max(after.next) {
            let (was, is) = (self.sessions.get(&id), after.sessions.get(&id));
            let kept = match found.get(&id) {
                None => {
                    assert!(was.is_none() || is.is_none(), "session {id} was promised, and is lost: {was:?}");
                    continue;
                }
                Some(sign) => {
                    let same = |s: &&Session| {
                        let told = sign.iter().filter(|(key, _)| TELLING.contains(&key.as_str()));
                        let mut expected = s.signature(clock.mono);
                        // The last of a group that was freed is nobody's member.
                        if s.group.is_some_and(|(group, _)| !found.contains_key(&group)) {
                            expected.retain(|key, _| !matches!(key.as_str(), "group" | "rank"));
                        }
                        told.eq(expected.iter())
                    };
                    let between = after.trail.iter().filter(|(of, _)| *of == id).map(|(_, s)| s);
                    is.into_iter().chain(between).chain(was).find(same)
                }
            };
            let sign = &found[&id];
            let Some(kept) = kept else {
                let (was, is) = (was.map(|s| s.signature(clock.mono)), is.map(|s| s.signature(clock.mono)));
                panic!("session {id} came back as {sign:?}; it was {was:?}, and then {is:?}")
            };
            model.next = id + 1;
            let mut session = kept.restarted();
            let level = |key: &str| sign.get(key).and_then(|v| v.parse().ok()).unwrap_or(0);
            let told = [level("len1"), level("len2")];
            if let Some(was) = was.filter(|was| was.ended()) {
                assert!(
                    told[0] >= was.told[0] && told[1] >= was.told[1],
                    "output of {id} was promised, and is lost"
                );
            }
            // Of what runs, the spool knows better, and it is told again.
            session.told = told;
            session.closed = [level("closed1") > 0, level("closed2") > 0];
            model.sessions.insert(id, session);
        }
        // Numbers that were promised to somebody are not given out again.
        model.next = model.next.max(next_of(journal)).max(self.next);
        model.regroup();
        let ended = model.sessions.iter().filter_map(|(id, s)| match s.state {
            State::Ended { order, .. } => Some((order, *id)),
            State::Fresh | State::Starting | State::Running { .. } => None,
        });
        model.ends = ended.collect();
        model.next_end = model.ends.keys().last().map_or(0, |last| last + 1);
        let ids: Vec<u64> = model.sessions.keys().copied().collect();
        ids.iter().for_each(|id| model.settle(*id));
        for id in ids {
            if let Some(session) = model.sessions.get_mut(&id).filter(|s| s.strict) {
                session.expires = session.ends_from(clock.mono);
            }
        }
        model
    }

    fn regroup(&mut self) {
        let groups: BTreeMap<u64, (u64, u32)> =
            self.sessions.iter().filter_map(|(id, s)| Some((*id, s.group?))).collect();
        for (id, (group, rank)) in groups {
            match self.sessions.get_mut(&group) {
                Some(parent) => drop(parent.members.insert(rank, id)),
                None => {
                    if let Some(orphan) = self.sessions.get_mut(&id) {
                        orphan.group = None;
                    }
                }
            }
        }
    }
}

/// Numbers below this one are not given out again.
fn next_of(journal: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(journal);
    text.lines().find_map(|line| line.strip_prefix("next ")?.parse().ok()).unwrap_or(0)
}

impl Session {
    /// What is left of it when the node has died.
    fn restarted(&self) -> Session {
        let stdin = Stdin { closed: self.stdin.closed, ..Stdin::default() };
        Session {
            members: BTreeMap::new(),
            holders: 0,
            expires: self.expires.filter(|_| self.strict),
            kill_at: None,
            refused: None,
            stdin,
            gauged: None,
            lease: Duration::from_millis(self.lease.as_millis() as u64),
            ..self.clone()
        }
    }
}
