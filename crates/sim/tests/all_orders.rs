//! Every order of the few things that can happen to a request that waits: its answer, a flush, a clunk, the
//! client's end, the program's end, the session's end, a restart. Each is compared with the model, event by event.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

use kernel::{ClientId, Kernel};
use op::{Access, Errno, Exit, Fid, How, Op, SessionId, Stream, Tag, Tell, Uid, Usage};
use sim::{
    machine::node,
    pair::{Came, Pair},
    provider::started,
    world::Make,
};
use std::{collections::BTreeMap, rc::Rc, time::Duration};

const ME: Uid = Uid(1000);
const ID: SessionId = SessionId(0);

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Move {
    /// The request is made.
    Ask,
    /// The same by another client.
    AskToo,
    Flush,
    /// Its fid is clunked.
    Clunk,
    Hangup,
    Started,
    Refused,
    Output,
    Closed,
    Fed,
    /// The program has closed its stdin.
    Epipe,
    Exited,
    /// Somebody else frees the session.
    Free,
    /// It becomes a group.
    Member,
    CloseStdin,
    /// A minute passes.
    Minute,
    Restart,
}

/// What the request is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Stdout,
    Stdio,
    Wait,
    GroupWait,
    Stdin,
    Exec,
}

struct Game {
    pair: Pair,
    kind: Kind,
    /// The one, the other, and one who looks on: who they are, and whether they are there.
    clients: [Option<ClientId>; 3],
    tags: BTreeMap<usize, Tag>,
    story: Vec<Move>,
    answered_late: usize,
}

fn path(kind: Kind) -> &'static str {
    match kind {
        Kind::Stdout => "stdout",
        Kind::Stdio => "stdio",
        Kind::Wait | Kind::GroupWait => "wait",
        Kind::Stdin => "stdin",
        Kind::Exec => "ctl",
    }
}

impl Game {
    fn new(kind: Kind) -> Game {
        let make: Make = Rc::new(|| Box::new(Kernel::new(node())));
        let mut pair = Pair::new(&make);
        let clients = [0, 1, 2].map(|_| Some(pair.connect(ME)));
        let mut game = Game { pair, kind, clients, tags: BTreeMap::new(), story: vec![], answered_late: 0 };
        let one = game.clients[2].unwrap();
        game.open(one, 1, &["clone"]);
        match kind {
            Kind::GroupWait => {
                game.open(one, 3, &["0", "clone"]);
                game.open(one, 4, &["0", "clone"]);
                game.write(one, 3, "exec a\n");
                game.pair.tell(&started(SessionId(1), 7));
                game.write(one, 4, "exec b\n");
                game.pair.tell(&started(SessionId(2), 8));
            }
            Kind::Stdout | Kind::Stdio | Kind::Wait | Kind::Stdin => {
                game.write(one, 1, "exec cat\n");
                game.pair.tell(&started(ID, 7));
            }
            Kind::Exec => {}
        }
        for which in 0..2 {
            let client = game.clients[which].unwrap();
            game.open(client, 2, &["0", path(kind)]);
        }
        game
    }

    fn open(&mut self, client: ClientId, fid: u32, names: &[&str]) {
        let names = ["net", "n1"].iter().chain(names).map(|s| s.to_string()).collect();
        self.pair.ask(client, ME, &Op::Walk { fid: Fid(0), newfid: Fid(fid), names });
        let last = self.pair.model.knows(client, Fid(fid));
        assert!(last, "it is there");
        let (read, write) = match (fid, self.kind) {
            (2, Kind::Stdin) => (false, true),
            (2, Kind::Stdout | Kind::Wait | Kind::GroupWait) => (true, false),
            _ => (true, true),
        };
        self.pair.ask(
            client,
            ME,
            &Op::Open { fid: Fid(fid), access: Access { read, write, truncate: false } },
        );
        assert!(self.pair.model.is_open(client, Fid(fid)), "it can be opened");
    }

    fn write(&mut self, client: ClientId, fid: u32, text: &str) -> (Tag, Came) {
        self.pair.ask(client, ME, &Op::Write { fid: Fid(fid), offset: 0, data: text.into() })
    }

    fn request(&mut self, which: usize) -> Option<Came> {
        let client = self.clients[which]?;
        let fid = Fid(2);
        let op = match self.kind {
            Kind::Stdout | Kind::Stdio | Kind::Wait | Kind::GroupWait => {
                Op::Read { fid, offset: 0, count: 100, wait: true }
            }
            Kind::Stdin => Op::Write { fid, offset: 0, data: format!("line of {which}\n").into() },
            Kind::Exec => Op::Write { fid, offset: 0, data: format!("exec prog {which}\n").into() },
        };
        let (tag, came) = self.pair.ask(client, ME, &op);
        self.tags.insert(which, tag);
        Some(came)
    }

    /// The program that the game is about: as far as it can, it does that.
    fn told(&mut self, tell: &Tell) -> Option<Came> {
        let program = self.pair.world.provider.programs.get(&sim::provider::session_told(tell))?;
        let stand = program.stand;
        use sim::provider::Stand;
        let can = match tell {
            Tell::Started { .. } => program.adopting || stand == Stand::Starting,
            Tell::Refused { .. } => !program.adopting && stand == Stand::Starting,
            Tell::Grew { .. } | Tell::Closed { .. } => !program.adopting && stand != Stand::Starting,
            Tell::Full { .. } | Tell::Exited { .. } => !program.adopting && stand == Stand::Running,
            Tell::Fed { .. } => !program.adopting && program.feeding.is_some() && stand == Stand::Running,
        };
        let mut tell = tell.clone();
        if let (Tell::Fed { result, .. }, true) = (&mut tell, program.unfed) {
            *result = Err(Errno::CANCELED.into());
        }
        can.then(|| self.pair.tell(&tell))
    }

    fn play(&mut self, what: Move) -> Option<Came> {
        let leaf = if let Kind::GroupWait = self.kind { SessionId(1) } else { ID };
        let exit = Exit { how: How::Code(3), usage: Usage::default(), at: self.pair.world.clock.wall };
        match what {
            Move::Ask => self.request(0),
            Move::AskToo => self.request(1),
            Move::Flush => {
                let (client, tag) = (self.clients[0]?, *self.tags.get(&0)?);
                Some(self.pair.ask(client, ME, &Op::Flush { tag }).1)
            }
            Move::Clunk => Some(self.pair.ask(self.clients[0]?, ME, &Op::Clunk { fid: Fid(2) }).1),
            Move::Hangup => self.clients[0].take().map(|client| self.pair.hangup(client)),
            Move::Started => self.told(&started(leaf, 7)),
            Move::Refused => self.told(&Tell::Refused { session: leaf, error: Errno::NOEXEC.into() }),
            Move::Output => {
                self.pair.world.provider.programs.get(&leaf)?;
                let tell = self.pair.world.provider.output(leaf, Stream::Out, b"out");
                self.told(&tell)
            }
            Move::Closed => self.told(&Tell::Closed { session: leaf, stream: Stream::Out }),
            Move::Fed => self.told(&Tell::Fed { session: leaf, result: Ok(()) }),
            Move::Epipe => self.told(&Tell::Fed { session: leaf, result: Err(Errno::PIPE.into()) }),
            Move::Exited => {
                let first = self.told(&Tell::Exited { session: leaf, exit });
                if let Kind::GroupWait = self.kind {
                    return self.told(&Tell::Exited { session: SessionId(2), exit }).or(first);
                }
                first
            }
            Move::Free | Move::CloseStdin => {
                let client = self.clients[2]?;
                let text = if what == Move::Free { "free\n" } else { "close stdin\n" };
                Some(self.write(client, 1, text).1)
            }
            Move::Member => {
                let client = self.clients[2]?;
                let names = ["net", "n1", "0", "clone"].map(String::from).to_vec();
                self.pair.ask(client, ME, &Op::Walk { fid: Fid(0), newfid: Fid(9), names });
                if !self.pair.model.knows(client, Fid(9)) {
                    return None;
                }
                let access = Access { read: true, write: true, truncate: false };
                Some(self.pair.ask(client, ME, &Op::Open { fid: Fid(9), access }).1)
            }
            Move::Minute => Some(self.pair.advance(Duration::from_secs(60))),
            Move::Restart => {
                let before = self.pair.model.clone();
                let kept = self.pair.world.journal().0.len();
                for id in self.pair.restart(&before, kept) {
                    for tell in self.pair.world.provider.adopted(id, self.pair.world.clock.wall) {
                        self.pair.tell(&tell);
                    }
                }
                self.clients = [None; 3];
                None
            }
        }
    }
}

struct Show(Game);

impl Drop for Show {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in this order: {:?} {:?}", self.0.kind, self.0.story);
        }
    }
}

/// Makes the request, and then plays every order of every choice of these moves, `most` in all; says how many orders, and in how many of them
/// a request waited and was answered.
fn every_order(kind: Kind, moves: &[Move], most: usize) -> (usize, usize) {
    fn go(kind: Kind, left: &[Move], story: &mut Vec<Move>, most: usize, count: &mut (usize, usize)) {
        // A longer story begins with every shorter one.
        if story.len() == most || left.is_empty() {
            let mut show = Show(Game::new(kind));
            for what in story.iter() {
                show.0.story.push(*what);
                if let Some(came) = show.0.play(*what) {
                    show.0.answered_late += came.answered_late.len();
                }
            }
            count.0 += 1;
            count.1 += usize::from(show.0.answered_late > 0);
            return;
        }
        for (i, what) in left.iter().enumerate() {
            let rest = [&left[..i], &left[i + 1..]].concat();
            story.push(*what);
            go(kind, &rest, story, most, count);
            story.pop();
        }
    }
    let mut count = (0, 0);
    go(kind, moves, &mut vec![Move::Ask], most, &mut count);
    count
}

fn check(kind: Kind, moves: &[Move], most: usize) {
    let (orders, late) = every_order(kind, moves, most);
    println!("{kind:?}: {orders} orders, in {late} of them a request waited and was answered");
    assert!(orders > 500 && late > 50, "{orders} {late}");
}

#[test]
fn a_blocked_read_ends_in_every_order() {
    use Move::{Closed, Clunk, Exited, Flush, Free, Hangup, Output, Restart};
    check(Kind::Stdout, &[Flush, Clunk, Hangup, Output, Closed, Exited, Free, Restart], 5);
}

#[test]
fn a_blocked_console_ends_in_every_order() {
    use Move::{AskToo, Closed, Clunk, Exited, Flush, Hangup, Output};
    check(Kind::Stdio, &[AskToo, Flush, Clunk, Hangup, Output, Closed, Exited], 5);
}

#[test]
fn a_blocked_wait_ends_in_every_order() {
    use Move::{AskToo, Clunk, Exited, Flush, Free, Hangup, Minute, Restart};
    check(Kind::Wait, &[AskToo, Flush, Clunk, Hangup, Exited, Free, Minute, Restart], 5);
}

#[test]
fn a_blocked_wait_of_a_group_ends_in_every_order() {
    use Move::{AskToo, Clunk, Exited, Flush, Free, Hangup, Member};
    check(Kind::GroupWait, &[AskToo, Flush, Clunk, Hangup, Exited, Free, Member], 5);
}

#[test]
fn a_write_to_stdin_ends_in_every_order() {
    use Move::{AskToo, CloseStdin, Clunk, Epipe, Exited, Fed, Flush, Free, Hangup};
    check(Kind::Stdin, &[AskToo, Flush, Clunk, Hangup, Fed, Epipe, Exited, Free, CloseStdin], 5);
}

#[test]
fn an_exec_ends_in_every_order() {
    use Move::{AskToo, Clunk, Exited, Flush, Free, Hangup, Member, Refused, Restart, Started};
    let moves = [AskToo, Flush, Clunk, Hangup, Started, Refused, Exited, Free, Member, Restart];
    check(Kind::Exec, &moves, 5);
}
