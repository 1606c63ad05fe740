//! A world of random clients, a random provider, time that jumps and a node that dies, all from one number; and
//! the [`Model`] beside it, which says after every event what must have come of it.

mod around;

use crate::{
    counters::Counters,
    model::{Ask, Name},
    pair::{Came, Pair},
    seeded::{self, Trace, Traced},
    world::Make,
};
use fastrand::Rng;
use kernel::ClientId;
use op::{Access, Fid, Op, SessionId, SetStat, Tag, Uid};
use std::collections::BTreeSet;

/// A run under one seed.
pub struct Seed {
    pair: Pair,
    rng: Rng,
    clients: Vec<Client>,
    next_fid: u32,
    /// Adopted programs of which nothing was told yet.
    owed: BTreeSet<SessionId>,
    trace: Trace,
    /// What happened how often.
    pub counters: Counters,
}

struct Client {
    id: ClientId,
    uid: Uid,
    fids: Vec<(Fid, Name, bool)>,
    tags: Vec<Tag>,
}

const UIDS: [u32; 5] = [1000, 1000, 1001, 1002, 0];

/// Runs one seed for so many steps, on kernels of this make.
///
/// # Panics
/// If anything is not as it must be. What happened last is printed before.
pub fn run(seed: u64, steps: usize, make: &Make) -> Counters {
    let mut run = Seed {
        pair: Pair::new(make),
        rng: Rng::with_seed(seed),
        clients: Vec::new(),
        next_fid: 1,
        owed: BTreeSet::new(),
        trace: Trace::of(40),
        counters: Counters::default(),
    };
    seeded::play(&mut run, (seed, "seeds"), |run| {
        (0..steps).for_each(|_| run.step());
        run.finish();
    });
    run.counters
}

impl Traced for Seed {
    fn trace(&self) -> &Trace {
        &self.trace
    }
}

impl Seed {
    fn step(&mut self) {
        match self.rng.u32(0..100) {
            _ if self.clients.is_empty() => self.connect(),
            0 if self.clients.len() < 4 => self.connect(),
            1 if self.rng.bool() => self.hangup(),
            2 if self.rng.u32(0..3) == 0 => self.restart(),
            3 => self.jump(),
            4..=7 => self.pay(),
            8..=21 => self.open(),
            22..=43 => self.read(),
            44..=55 => self.write_ctl(),
            56..=63 => self.write_stdin(),
            64..=65 => self.write_args(),
            66..=70 => self.clunk(),
            71..=76 => self.flush(),
            77 => self.look(),
            _ => self.provide(),
        }
    }

    // ── what comes of it ───────────────────────────────────────────────────────────────────

    fn note(&mut self, what: String) {
        self.trace.note(what);
    }

    /// Now and then the node dies in the middle of what happens next.
    fn fate(&mut self) {
        if self.rng.u32(0..150) == 0 {
            let effects = self.rng.usize(0..5);
            self.pair.crash_next(effects);
        }
    }

    fn came(&mut self, came: Came) {
        came.answered_late.into_iter().for_each(|what| self.counters.count(what));
        match came.asks.iter().filter(|ask| matches!(ask, Ask::Start(..))).count() {
            0 => {}
            1 => self.counters.count("a start"),
            _ => self.counters.count("a line started several"),
        }
        if let Some(died) = came.died {
            let (before, len) = *died;
            self.die(&before, len);
        }
    }

    fn ask(&mut self, at: usize, op: &Op) -> Tag {
        let (client, uid) = (self.clients[at].id, self.clients[at].uid);
        self.note(brief(client, uid, op));
        self.fate();
        let (tag, came) = self.pair.ask(client, uid, op);
        self.counters.count("requests");
        self.came(came);
        let waits = self.pair.waits(client, tag);
        if let Some(client) = self.clients.get_mut(at).filter(|c| c.id == client && waits) {
            client.tags.push(tag);
        }
        tag
    }

    // ── clients ────────────────────────────────────────────────────────────────────────────

    fn connect(&mut self) {
        let uid = Uid(UIDS[self.rng.usize(0..UIDS.len())]);
        let id = self.pair.connect(uid);
        self.note(format!("{} is uid {}", id.0, uid.0));
        self.clients.push(Client { id, uid, fids: vec![], tags: vec![] });
    }

    fn any(&mut self) -> usize {
        self.rng.usize(0..self.clients.len())
    }

    fn hangup(&mut self) {
        let at = self.any();
        let client = self.clients.swap_remove(at);
        let waiting = client.tags.iter().any(|tag| self.pair.waits(client.id, *tag));
        self.note(format!("{} hangs up", client.id.0));
        self.fate();
        self.counters.count(if waiting {
            "a client hung up with requests that wait"
        } else {
            "a client hung up"
        });
        let came = self.pair.hangup(client.id);
        self.came(came);
    }

    /// A session to speak of; mostly one that is there.
    fn some_session(&mut self) -> u64 {
        let ids: Vec<u64> = self.pair.model.session_ids().collect();
        match self.rng.u32(0..20) {
            0 => self.rng.u64(0..12),
            _ if ids.is_empty() => 0,
            _ => ids[ids.len() - 1 - self.rng.usize(0..ids.len().min(6))],
        }
    }

    fn open(&mut self) {
        let at = self.any();
        let name = match self.rng.u32(0..12) {
            0..=2 => Name::Clone,
            3..=5 => Name::Ctl,
            _ => Name::ALL[self.rng.usize(0..Name::ALL.len())],
        };
        let mut path = vec!["net".to_string(), "n1".into()];
        let of_node = matches!(name, Name::Clone) && self.rng.u32(0..10) < 7
            || matches!(name, Name::Ctl | Name::Status | Name::Info | Name::Wait) && self.rng.u32(0..10) == 0;
        if !of_node {
            let id = self.some_session();
            if self.pair.model.is_collected(id, name) {
                return;
            }
            path.push(id.to_string());
            if self.rng.u32(0..8) == 0 {
                path.push(self.rng.u32(0..3).to_string());
            }
        }
        path.push(name.text().into());
        let fid = Fid(self.next_fid);
        self.next_fid += 1;
        let whole = path.len();
        let client = self.clients[at].id;
        self.ask(at, &Op::Walk { fid: Fid(0), newfid: fid, names: path });
        if self.gone(at, client) || !self.pair.model.knows(client, fid) {
            self.counters.count(if whole > 3 { "a walk to nothing" } else { "requests" });
            return;
        }
        let (read, write) = match name {
            Name::Ctl | Name::Clone | Name::Stdio | Name::Args => (true, true),
            Name::Stdin => (false, true),
            Name::Status | Name::Info | Name::Wait | Name::Stdout | Name::Stderr => (true, false),
        };
        self.ask(at, &Op::Open { fid, access: Access { read, write, truncate: false } });
        if self.gone(at, client) {
            return;
        }
        match self.pair.model.is_open(client, fid) {
            true => {
                self.counters.count(if name == Name::Clone && whole > 3 {
                    "a member was cloned"
                } else {
                    "an open"
                });
                self.clients[at].fids.push((fid, name, write));
            }
            false => {
                self.counters.count("an open was refused");
                self.ask(at, &Op::Clunk { fid });
            }
        }
    }

    /// Whether the client is not there any more: the node died.
    fn gone(&self, at: usize, client: ClientId) -> bool {
        self.clients.get(at).is_none_or(|c| c.id != client)
    }

    fn fid(&mut self, at: usize, want: impl Fn(&(Fid, Name, bool)) -> bool) -> Option<(Fid, Name, bool)> {
        let fids: Vec<_> = self.clients[at].fids.iter().filter(|f| want(f)).copied().collect();
        (!fids.is_empty()).then(|| fids[self.rng.usize(0..fids.len())])
    }

    fn read(&mut self) {
        let at = self.any();
        let Some((fid, name, _)) = self.fid(at, |f| f.1 != Name::Stdin) else { return };
        let offset = match self.rng.u32(0..4) {
            0 => 0,
            1 => self.rng.u64(0..40),
            _ => self.pair.model.told_of(self.clients[at].id, fid, name).saturating_sub(self.rng.u64(0..4)),
        };
        let count = [0, 1, 7, 100, 65_536, u32::MAX][self.rng.usize(0..6)];
        let wait = self.rng.u32(0..4) > 0;
        self.ask(at, &Op::Read { fid, offset, count, wait });
    }

    fn write_ctl(&mut self) {
        let at = self.any();
        let Some((fid, ..)) = self.fid(at, |f| matches!(f.1, Name::Ctl | Name::Clone)) else { return };
        let mut text = String::new();
        for _ in 0..=self.rng.usize(0..12) / 10 {
            text.push_str(LINES[self.rng.usize(0..LINES.len())]);
            text.push('\n');
        }
        match self.rng.u32(0..12) {
            0 => text.truncate(text.len() - 1),
            1 => text.truncate(self.rng.usize(0..text.len())),
            _ => {}
        }
        self.ask(at, &Op::Write { fid, offset: 0, data: text.into_bytes() });
    }

    fn write_stdin(&mut self) {
        let at = self.any();
        let Some((fid, ..)) = self.fid(at, |f| matches!(f.1, Name::Stdin | Name::Stdio)) else { return };
        let len = [0, 1, 5, 300, 40_000, 65_536, 70_000][self.rng.usize(0..7)];
        let data = vec![self.rng.u8(b'a'..=b'z'); len];
        self.ask(at, &Op::Write { fid, offset: 0, data });
    }

    fn write_args(&mut self) {
        let at = self.any();
        let Some((fid, ..)) = self.fid(at, |f| f.1 == Name::Args) else { return };
        let texts = ["sh\n-c\n'echo {rank}'\n", "true\n", "it's\n", "two words", ""];
        let data = texts[self.rng.usize(0..texts.len())].as_bytes().to_vec();
        let offset = [0, 0, 3, 1000][self.rng.usize(0..4)];
        self.ask(at, &Op::Write { fid, offset, data });
    }

    fn clunk(&mut self) {
        let at = self.any();
        let Some((fid, ..)) = self.fid(at, |_| true) else { return };
        let client = &mut self.clients[at];
        client.fids.retain(|f| f.0 != fid);
        let before = self.pair.model.waiting();
        self.ask(at, &Op::Clunk { fid });
        if self.pair.model.waiting() < before {
            self.counters.count("a clunk answered what waited on its fid");
        }
    }

    fn flush(&mut self) {
        let at = self.any();
        if self.clients[at].tags.is_empty() {
            return;
        }
        let which = self.rng.usize(0..self.clients[at].tags.len());
        let (client, tag) = (self.clients[at].id, self.clients[at].tags.swap_remove(which));
        let waited = self.pair.waits(client, tag);
        let fed = self.pair.model.is_fed(client, tag);
        self.ask(at, &Op::Flush { tag });
        self.counters.count(match (waited, fed) {
            (true, true) => "a writer gave up while its bytes were taken",
            (true, false) => "a request that waited was flushed",
            (false, _) => "a flush came after the answer",
        });
    }

    /// Lists, or changes or frees a session by its directory.
    fn look(&mut self) {
        let at = self.any();
        let client = self.clients[at].id;
        let fid = Fid(self.next_fid);
        self.next_fid += 1;
        let what = self.rng.u32(0..4);
        let mut names = vec!["net".to_string(), "n1".into()];
        if what > 1 {
            names.push(self.some_session().to_string());
        }
        self.ask(at, &Op::Walk { fid: Fid(0), newfid: fid, names });
        if self.gone(at, client) || !self.pair.model.knows(client, fid) {
            return;
        }
        let remove = Op::Remove { fid };
        match what {
            0 | 1 => {
                self.ask(at, &Op::Open { fid, access: Access { read: true, ..Access::default() } });
                if !self.gone(at, client) {
                    self.ask(at, &Op::List { fid, cookie: 0, count: 4096 });
                }
                if !self.gone(at, client) {
                    self.ask(at, &Op::Clunk { fid });
                }
            }
            2 => {
                let mode = Some([0o600, 0o660, 0o644, 0o777][self.rng.usize(0..4)]);
                self.ask(at, &Op::SetStat { fid, set: SetStat { mode, ..SetStat::default() } });
            }
            _ => drop(self.ask(at, &remove)),
        }
    }
}

/// What is written to `ctl`.
const LINES: &[&str] = &[
    "exec sh -c 'echo hi'",
    "exec sh -c 'echo hi'",
    "exec worker {rank} {size} {id}",
    "exec worker {rank} {size} {id}",
    "exec",
    "try exec again",
    "kill",
    "kill INT",
    "try kill",
    "stop",
    "start",
    "close stdin",
    "close stdin",
    "free",
    "keep",
    "lease 5",
    "lease 0",
    "killonclose",
    "tag a=b",
    "fly",
    "",
];

fn brief(client: ClientId, uid: Uid, op: &Op) -> String {
    let what = match op {
        Op::Write { fid, data, .. } => {
            let text = String::from_utf8_lossy(&data[..data.len().min(80)]).into_owned();
            format!("write {} {text:?}, {} bytes", fid.0, data.len())
        }
        Op::Walk { newfid, names, .. } => format!("walk {} {}", newfid.0, names.join("/")),
        op => format!("{op:?}"),
    };
    format!("{} (uid {}): {what}", client.0, uid.0)
}
