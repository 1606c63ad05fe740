//! What a random client is about: one path, walked to, opened, read or written, and clunked; an operation at a time,
//! however long each takes. Every answer is judged as it comes.

use super::{
    Cloud, SILENCE,
    client::{BOTH, Who, names},
    terms::Term,
};
use crate::{provider::Stand, watch::op_name};
use op::{Access, Errno, Error, Fid, Mono, Op, Reply, SessionId, Tag};
use std::{collections::VecDeque, time::Duration};

/// What for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Want {
    /// A file that is read and not judged, or a directory.
    Look,
    /// Start a program with this token among its words.
    Start { node: usize, token: u64 },
    /// All that a program writes.
    Output { node: usize, session: SessionId },
    /// A line that waits for an end.
    Wait { node: usize, session: SessionId },
    /// A line to the `ctl` of a session.
    Say { node: usize, session: SessionId },
    /// A file of a machine, and what is in it.
    File { holds: Vec<u8> },
    /// What is in a directory.
    List,
    /// A label of a node.
    Label { node: usize, key: &'static str, value: String },
    /// Who matches a query of nodes; waiting for one, if so.
    Query { terms: Vec<Term>, waits: bool },
    /// Make a content, of those that are in stores, a file of a machine.
    Put { node: usize, name: String, what: usize, alone: Option<u64> },
    /// Give such a file another name; what it held.
    Rename { node: usize, from: String, to: String, held: Option<Vec<u8>>, alone: Option<u64> },
    /// Make a symbolic link among such files.
    Link { node: usize, name: String, target: String, alone: Option<u64> },
    /// Start a program with this token where a query says; waiting for a node, if so.
    Place { terms: Vec<Term>, waits: bool, token: u64 },
}

/// An errand under way.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) who: Who,
    pub(super) path: String,
    pub(super) want: Want,
    fid: Fid,
    plan: VecDeque<Op>,
    tag: Option<(Tag, Op, Mono)>,
    read: Vec<u8>,
    walked: bool,
    /// It was done: all was read, or written.
    pub(super) done: bool,
    /// It was given up: what comes is not judged.
    flush: Option<Tag>,
    pub(super) over: bool,
}

/// No answer takes longer, but of what waits for a program: as many silences as there can be on the way.
const DEADLINE: Duration = Duration::from_secs(4 * SILENCE.as_secs());
/// And so much longer until a content is known not to be had.
const FETCHED: Duration = Duration::from_secs(30);

impl Errand {
    pub(super) fn new(cloud: &mut Cloud, who: Who, path: String, want: Want, text: &str) -> Errand {
        let fid = cloud.new_fid(who);
        let write = Op::Write { fid, offset: 0, data: text.as_bytes().to_vec() };
        let read = Access { read: true, ..Access::default() };
        let mut plan = VecDeque::from([Op::Walk { fid: Fid(0), newfid: fid, names: names(&path) }]);
        let access = match want {
            Want::Start { .. } | Want::Place { .. } => BOTH,
            Want::Say { .. } | Want::Label { .. } | Want::Put { .. } => {
                Access { write: true, ..Access::default() }
            }
            _ => read,
        };
        if !matches!(want, Want::Rename { .. } | Want::Link { .. }) {
            plan.push_back(Op::Open { fid, access });
        }
        match want {
            Want::Start { .. } | Want::Place { .. } => {
                plan.push_back(Op::Read { fid, offset: 0, count: 100, wait: true });
                plan.push_back(write);
            }
            Want::Say { .. } | Want::Label { .. } | Want::Put { .. } => plan.push_back(write),
            Want::Rename { ref from, ref to, .. } => {
                let (name, to) = (from.clone(), to.clone());
                plan.push_back(Op::Rename { fid, name, dir: fid, to, replace: true });
            }
            Want::Link { ref name, ref target, .. } => {
                plan.push_back(Op::Symlink { fid, name: name.clone(), target: target.clone() });
            }
            Want::List => plan.push_back(Op::List { fid, cookie: 0, count: 1000 }),
            _ => plan.push_back(Op::Read { fid, offset: 0, count: 4096, wait: true }),
        }
        plan.push_back(Op::Clunk { fid });
        let (tag, flush, read) = (None, None, Vec::new());
        Errand { who, path, want, fid, plan, tag, read, walked: false, done: false, flush, over: false }
    }

    /// Whether it waits for a node that matches.
    pub(super) fn awaits(&self) -> bool {
        let waits = matches!(self.want, Want::Query { waits: true, .. } | Want::Place { waits: true, .. });
        waits && self.flush.is_none() && matches!(self.tag, Some((_, Op::Open { .. }, _)))
    }

    /// What it has read, if that was all.
    pub(super) fn said(&self) -> Option<String> {
        self.done.then(|| String::from_utf8_lossy(&self.read).into_owned())
    }

    /// Whether it may wait for as long as its program runs, or until a node comes.
    fn patient(&self, cloud: &Cloud) -> bool {
        if self.awaits() {
            return true;
        }
        let (Want::Output { node, session } | Want::Wait { node, session }) = &self.want else {
            return false;
        };
        let waits = matches!(self.tag, Some((_, Op::Read { .. }, _)));
        let program = cloud.hosts[*node].world.provider.programs.get(session);
        waits && program.is_some_and(|p| p.stand != Stand::Ended)
    }

    /// The node whose program it waits for, if it may wait.
    pub(super) fn waits_for(&self, cloud: &Cloud) -> Option<usize> {
        match &self.want {
            Want::Output { node, .. } | Want::Wait { node, .. } => self.patient(cloud).then_some(*node),
            _ => None,
        }
    }

    /// Goes on as far as it can.
    pub(super) fn go(&mut self, cloud: &mut Cloud) {
        if cloud.is_gone(self.who) {
            self.over = true;
        }
        if !cloud.is_up(cloud.node_of(self.who)) {
            if let Some((_, _, asked)) = &mut self.tag {
                *asked = cloud.clock.mono;
            }
            return;
        }
        while !self.over {
            if let Some(flush) = self.flush {
                let Some(reply) = cloud.reply(self.who, flush) else { return self.in_time(cloud) };
                assert_eq!(reply, Reply::Done, "a flush is answered with nothing else");
                self.flush = None;
                if let Some((tag, op, _)) = self.tag.take() {
                    // It was answered before it was given up, or never is.
                    match cloud.reply(self.who, tag) {
                        Some(reply) => self.take(cloud, &op, reply),
                        None => self.walked &= !matches!(op, Op::Clunk { .. }),
                    }
                }
                self.end();
                continue;
            }
            if let Some((tag, op, _)) = &self.tag {
                let Some(reply) = cloud.reply(self.who, *tag) else { return self.in_time(cloud) };
                let op = op.clone();
                self.tag = None;
                self.take(cloud, &op, reply);
            }
            let Some(op) = self.plan.pop_front() else {
                self.over = true;
                return;
            };
            if cloud.is_gone(self.who) {
                continue;
            }
            let tag = cloud.ask(self.who, op.clone());
            self.tag = Some((tag, op, cloud.clock.mono));
            if cloud.is_gone(self.who) {
                self.over = true;
            }
        }
    }

    /// What is left is to clunk.
    fn end(&mut self) {
        self.plan.clear();
        if std::mem::replace(&mut self.walked, false) {
            self.plan.push_back(Op::Clunk { fid: self.fid });
        }
    }

    fn in_time(&mut self, cloud: &Cloud) {
        let patient = self.patient(cloud);
        let Some((_, op, asked)) = &mut self.tag else { return };
        if patient {
            *asked = cloud.clock.mono;
        }
        let took = cloud.clock.mono.since(*asked);
        let fetched = if matches!(self.want, Want::Put { .. }) { FETCHED } else { Duration::ZERO };
        assert!(
            took < DEADLINE + fetched + 4 * cloud.slowness,
            "a {} of {} by a client of {} waits for {took:?}",
            op_name(op),
            self.path,
            cloud.hosts[cloud.node_of(self.who)].plan.name
        );
    }

    /// Gives up what it waits for.
    pub(super) fn give_up(&mut self, cloud: &mut Cloud) {
        let Some((tag, op, _)) = &self.tag else { return };
        if self.flush.is_none() && !matches!(op, Op::Clunk { .. }) && cloud.is_up(cloud.node_of(self.who)) {
            cloud.counters.count("a request was given up");
            self.flush = Some(cloud.ask(self.who, Op::Flush { tag: *tag }));
        }
    }

    fn take(&mut self, cloud: &mut Cloud, op: &Op, reply: Reply) {
        match (op, reply) {
            (Op::Clunk { .. }, reply) => {
                assert_eq!(reply, Reply::Done, "a clunk of {} works", self.path);
                self.over = true;
            }
            (op, Reply::Failed(error)) => {
                self.failed(cloud, op, &error);
                self.end();
            }
            (Op::Walk { names, .. }, Reply::Walked(qids)) => {
                self.walked = qids.len() == names.len();
                if !self.walked {
                    cloud.counters.count("walks that stopped on the way");
                    let fid = self.fid;
                    if cloud.rng.bool() {
                        return self.end();
                    }
                    // As far as it went; and on from there, a step at a time.
                    let (there, rest) = names.split_at(qids.len());
                    for step in rest.iter().rev() {
                        self.plan.push_front(Op::Walk { fid, newfid: fid, names: vec![step.clone()] });
                    }
                    self.plan.push_front(Op::Walk { fid: Fid(0), newfid: fid, names: there.to_vec() });
                }
            }
            (Op::Read { offset, .. }, Reply::Data(data)) => self.took(cloud, *offset, &data),
            (Op::Write { .. }, Reply::Wrote(_)) => self.wrote(cloud),
            (Op::Rename { .. } | Op::Symlink { .. }, _) => self.done = true,
            (_, _) => {}
        }
    }

    fn failed(&self, cloud: &mut Cloud, op: &Op, error: &Error) {
        let what = format!("{} of {}: {:?}: {error}", op_name(op), self.path, error.errno);
        match error.errno {
            Errno::HOSTUNREACH | Errno::TIMEDOUT => {
                cloud.counters.count("requests that ended because a node could not be reached");
                let names = cloud.hosts.iter().any(|host| error.cause.contains(&host.plan.name));
                assert!(names, "it says which node: {what}");
            }
            Errno::STALE => cloud.counters.count("open files that went with their link"),
            Errno::NOENT | Errno::SRCH => cloud.counters.count("paths that were not there"),
            // A user without account; a session that is not one's own; one that has ended.
            Errno::ACCES | Errno::PERM => cloud.counters.count("requests that were not allowed"),
            Errno::BUSY | Errno::INVAL if matches!(self.want, Want::Say { .. }) => {}
            Errno::EXIST if matches!(self.want, Want::Link { .. }) => {}
            Errno::AGAIN if matches!(op, Op::Walk { .. }) => {
                cloud.counters.count("walks on whose way a link came back");
                assert!(error.cause.contains("can be by now"), "it says what came back: {what}");
            }
            // Nobody who matches takes anything.
            Errno::AGAIN if matches!(self.want, Want::Place { .. }) => {}
            _ => panic!("nothing that happens explains this: {what}"),
        }
    }

    fn took(&mut self, cloud: &mut Cloud, offset: u64, data: &[u8]) {
        let fid = self.fid;
        let more = Op::Read { fid, offset: offset + data.len() as u64, count: 4096, wait: true };
        match &self.want {
            Want::Start { .. } | Want::Say { .. } | Want::Place { .. } | Want::Label { .. } | Want::List => {}
            Want::Put { .. } | Want::Rename { .. } | Want::Link { .. } => {}
            Want::Output { node, session } => {
                let program = &cloud.hosts[*node].world.provider.programs[session];
                let (from, spool) = (offset as usize, &program.spool[0]);
                assert!(
                    spool.get(from..from + data.len()) == Some(data),
                    "{}: {} bytes from {from} on are what the program wrote",
                    self.path,
                    data.len()
                );
                if data.is_empty() {
                    assert_eq!(program.stand, Stand::Ended, "{}: it ends with its program", self.path);
                    assert_eq!(from, spool.len(), "{}: all of it was read", self.path);
                    cloud.counters.count("outputs read to their end");
                } else {
                    self.plan.push_front(more);
                }
            }
            Want::Wait { node, session } if data.is_empty() => {
                let program = &cloud.hosts[*node].world.provider.programs[session];
                assert_eq!(program.stand, Stand::Ended, "{}: it waits for the end", self.path);
                assert_eq!(self.read.iter().filter(|b| **b == b'\n').count(), 1, "{}: one line", self.path);
                cloud.counters.count("ends waited for");
            }
            Want::File { holds } if data.is_empty() => {
                assert_eq!(self.read.len(), holds.len(), "{}: the file as it is", self.path);
                assert!(self.read == *holds, "{}: the file as it is", self.path);
                cloud.counters.count("files of machines read");
            }
            Want::Look | Want::Wait { .. } | Want::File { .. } | Want::Query { .. } => {
                self.done = data.is_empty();
                self.read.extend(data);
                if !data.is_empty() {
                    self.plan.push_front(more);
                }
            }
        }
    }

    fn wrote(&mut self, cloud: &mut Cloud) {
        self.done = true;
        if let Want::Say { node, session } = self.want
            && let Some(program) = cloud.hosts[node].world.provider.programs.get(&session)
        {
            let (owner, user) = (&*program.launch.user.name, cloud.user_of(self.who));
            let may = user == owner || user == "root";
            assert!(may, "{}: it is {owner}'s, and {user} has written to it", self.path);
            cloud.counters.count("lines written to a session's ctl");
        }
        let Want::Start { node, token } = self.want else { return };
        assert_eq!(
            launched_as(cloud, node, token).as_deref(),
            Some(cloud.user_of(self.who)),
            "{}: it runs as whoever asked",
            self.path
        );
        assert_eq!(started(cloud, token), [node], "{}: it was started there, once", self.path);
        cloud.counters.count("programs started over links and not");
    }
}

/// As whom a program with this token was started.
fn launched_as(cloud: &Cloud, node: usize, token: u64) -> Option<String> {
    let word = token.to_string().into_bytes();
    let mut programs = cloud.hosts[node].world.provider.programs.values();
    programs.find(|p| p.launch.argv.last() == Some(&word)).map(|p| p.launch.user.name.to_string())
}

/// Where a program with this token was started.
pub(super) fn started(cloud: &Cloud, token: u64) -> Vec<usize> {
    let word = token.to_string().into_bytes();
    let mut all = Vec::new();
    for (at, host) in cloud.hosts.iter().enumerate() {
        let programs = host.world.provider.programs.values();
        all.extend(programs.filter(|p| p.launch.argv.last() == Some(&word)).map(|_| at));
    }
    all
}
