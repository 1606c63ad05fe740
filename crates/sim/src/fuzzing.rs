//! What fuzzing calls: bytes to words, and bytes to events. The checks are those of every world; what is asked here
//! need not make any sense.

use crate::{
    machine::node,
    provider::{Stand, started},
    world::World,
};
use kernel::{ClientId, Effect, Event, Kernel, join, split};
use op::{Access, Errno, Exit, Fid, How, Op, SessionId, SetStat, Stream, Tag, Tell, Uid, Usage};
use std::{rc::Rc, time::Duration};

/// Words that split read back when they are joined; and any bytes written to a `ctl` are answered.
///
/// # Panics
/// If not.
pub fn words(bytes: &[u8]) {
    if let Ok(words) = split(bytes) {
        assert_eq!(split(&join(&words)).as_ref(), Ok(&words), "joined words split the same");
    }
    let words: Vec<&[u8]> = bytes.split(|b| *b == 0).collect();
    assert_eq!(split(&join(&words)), Ok(words.iter().map(|w| w.to_vec()).collect()), "any words read back");
    for place in [&["clone"][..], &["ctl"], &["net", "n1", "ctl"]] {
        let mut world = World::new();
        let client = world.connect(true);
        let me = Uid(1000);
        world.attach(client, me, Fid(0));
        let names = place.iter().map(|s| s.to_string()).collect();
        world.call(client, me, Op::Walk { fid: Fid(0), newfid: Fid(1), names });
        let access = Access { read: true, write: true, truncate: false };
        world.call(client, me, Op::Open { fid: Fid(1), access });
        let (tag, _) = world.ask(client, me, Op::Write { fid: Fid(1), offset: 0, data: bytes.to_vec() });
        for _ in 0..bytes.len() {
            world.pay_all();
            if !world.waits(client, tag) {
                break;
            }
            world.tell(Tell::Refused { session: SessionId(0), error: Errno::NOENT.into() });
        }
        assert!(!world.waits(client, tag), "a line that is refused is over");
        world.call(client, me, Op::Clunk { fid: Fid(1) });
    }
}

/// Bytes that are asked for one after the other; when there are no more, they are 0.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    fn once_in(&mut self, n: u8) -> bool {
        self.byte().is_multiple_of(n)
    }

    fn text(&mut self) -> Vec<u8> {
        let len = usize::from(self.byte() % 16).min(self.0.len());
        let (text, rest) = self.0.split_at(len);
        self.0 = rest;
        text.to_vec()
    }

    fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => 1 << 40,
            253 => (1 << 16) - 1,
            small => u64::from(small),
        }
    }
}

const NAMES: [&str; 26] = [
    "net",
    "n1",
    "self",
    "...",
    "..",
    ".",
    "0",
    "1",
    "2",
    "clone",
    "ctl",
    "status",
    "info",
    "wait",
    "events",
    "error",
    "args",
    "env",
    "topology",
    "stdin",
    "stdout",
    "stderr",
    "stdio",
    "status.json",
    "wait.xml",
    "00",
];

const LINES: [&str; 24] = [
    "exec cat\n",
    "exec\n",
    "kill\n",
    "kill 9\n",
    "stop\n",
    "start\n",
    "close stdin\n",
    "roll\n",
    "free\n",
    "killonclose\n",
    "keep\n",
    "lease 0\n",
    "lease 9\n",
    "tag a=b\n",
    "untag a\n",
    "limit wall=1 output=1\n",
    "tty\n",
    "winsize 1 1\n",
    "nice 1\n",
    "dir /\n",
    "user alice\n",
    "user nobody\n",
    "try dry kill\n",
    "down\n",
];

const UIDS: [u32; 5] = [1000, 0, 1001, 1003, 77];

/// Bytes are a script of events, and no promise is broken.
///
/// # Panics
/// If one is.
pub fn events(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut world = World::of(Rc::new(|| Box::new(Kernel::new(node()))));
    let mut clients: Vec<(ClientId, Vec<Tag>)> = Vec::new();
    let mut owed: Vec<SessionId> = Vec::new();
    for _ in 0..400 {
        if bytes.0.is_empty() {
            break;
        }
        let what = bytes.byte();
        if clients.is_empty() || what == 0 {
            let links = bytes.once_in(2);
            clients.push((world.connect(links), Vec::new()));
            let last = clients.len() - 1;
            world.ask(
                clients[last].0,
                Uid(1000),
                Op::Attach { fid: Fid(0), user: String::new(), tree: String::new() },
            );
            continue;
        }
        match what {
            1..=4 => {
                let at = usize::from(bytes.byte()) % clients.len();
                let (client, _) = clients.swap_remove(at);
                world.hangup(client);
            }
            5..=12 => {
                world.advance(Duration::from_millis(bytes.one(&[1, 499, 5_000, 60_000, 1 << 40])));
            }
            13..=20 => world.pay_all(),
            21..=24 => {
                if what == 24 {
                    // In the middle of whatever comes next.
                    world.crash_after(usize::from(bytes.byte() % 5));
                    request(&mut world, &mut clients, &mut bytes);
                }
                let done = world.restart(Some(usize::from(bytes.byte()) << 3));
                clients.clear();
                owed = done.iter().filter_map(adopted).collect();
            }
            25..=110 => provide(&mut world, &mut owed, &mut bytes),
            _ => request(&mut world, &mut clients, &mut bytes),
        }
        if world.is_dead() {
            let done = world.restart(None);
            clients.clear();
            owed = done.iter().filter_map(adopted).collect();
        }
    }
    for (client, _) in clients {
        world.hangup(client);
    }
    assert_eq!((world.machine().fids(), world.machine().waiting()), (0, 0), "nothing is left of who is gone");
    recall(bytes.0);
}

fn adopted(effect: &Effect) -> Option<SessionId> {
    match effect {
        Effect::Act(op::Act::Adopt { session, .. }) => Some(*session),
        _ => None,
    }
}

/// Any bytes as a journal.
fn recall(bytes: &[u8]) {
    let mut kernel = Kernel::new(node());
    let mut effects = Vec::new();
    for line in bytes.split(|b| *b == b'\n') {
        kernel.handle(crate::machine::EPOCH, Event::Recall(line.to_vec()), &mut effects);
    }
    kernel.handle(crate::machine::EPOCH, Event::Recalled, &mut effects);
    kernel.check();
}

fn provide(world: &mut World, owed: &mut Vec<SessionId>, bytes: &mut Bytes<'_>) {
    if let Some(session) = owed.pop() {
        for tell in world.provider.adopted(session, world.clock.wall) {
            world.tell(tell);
        }
        return;
    }
    let ids: Vec<SessionId> = world.provider.programs.keys().copied().collect();
    if ids.is_empty() {
        return;
    }
    let session = bytes.one(&ids);
    let program = &world.provider.programs[&session];
    let (stand, fed, unfed, adopting) =
        (program.stand, program.feeding.is_some(), program.unfed, program.adopting);
    let stream = bytes.one(&[Stream::Out, Stream::Err]);
    let exit = Exit {
        how: bytes.one(&[How::Code(0), How::Code(255), How::Signal(9), How::Lost]),
        usage: Usage { user_us: u64::MAX, sys_us: 1, maxrss_kib: 1 << 50 },
        at: world.clock.wall,
    };
    let tell = match (stand, bytes.byte() % 8) {
        _ if adopting => return,
        (Stand::Starting, 0) => Tell::Refused { session, error: Errno::NOEXEC.into() },
        (Stand::Starting, _) => started(session, 7),
        (_, 0) => {
            let times = bytes.one(&[1, 10, 1 << 20]);
            let data = bytes.text().repeat(times);
            world.provider.output(session, stream, &data)
        }
        (_, 1) => Tell::Closed { session, stream },
        (Stand::Running, 2) => Tell::Full { session, stream },
        (Stand::Running, 3..=4) if fed => {
            let result = if unfed { Err(Errno::CANCELED) } else { bytes.one(&[Ok(()), Err(Errno::PIPE)]) };
            Tell::Fed { session, result: result.map_err(Into::into) }
        }
        (Stand::Running, 5) => Tell::Exited { session, exit },
        _ => return,
    };
    world.tell(tell);
}

fn request(world: &mut World, clients: &mut [(ClientId, Vec<Tag>)], bytes: &mut Bytes<'_>) {
    let at = usize::from(bytes.byte()) % clients.len();
    let (client, uid) = (clients[at].0, Uid(bytes.one(&UIDS)));
    let fid = Fid(u32::from(bytes.byte() % 16));
    let access = |bits: u8| Access { read: bits & 1 != 0, write: bits & 2 != 0, truncate: bits & 4 != 0 };
    let op = match bytes.byte() % 20 {
        0 => Op::Attach { fid, user: String::new(), tree: String::from_utf8_lossy(&bytes.text()).into() },
        1..=4 => {
            let newfid = Fid(u32::from(bytes.byte() % 16));
            let from = if bytes.once_in(4) { fid } else { Fid(0) };
            let count = bytes.byte() % 8;
            let name = |bytes: &mut Bytes<'_>| match bytes.byte() {
                255 => String::from_utf8_lossy(&bytes.text()).into(),
                n => NAMES[usize::from(n) % NAMES.len()].to_string(),
            };
            let mut names = vec!["net".to_string(), "n1".into()];
            names.extend((0..count).map(|_| name(bytes)));
            if bytes.once_in(8) {
                names.drain(..2);
            }
            Op::Walk { fid: from, newfid, names }
        }
        5..=7 => Op::Open { fid, access: access(bytes.byte()) },
        8 => match bytes.byte() % 4 {
            0 => Op::Symlink { fid, name: "x".into(), target: "y".into() },
            1 => {
                let dir = Fid(u32::from(bytes.byte() % 16));
                Op::Rename { fid, name: "x".into(), dir, to: "y".into(), replace: bytes.once_in(2) }
            }
            _ => Op::Create { fid, name: "x".into(), mode: 0o755, access: access(bytes.byte()) },
        },
        9..=11 => {
            let (offset, wait) = (bytes.number(), !bytes.once_in(4));
            Op::Read { fid, offset, count: bytes.one(&[0, 1, 100, 1 << 20, u32::MAX]), wait }
        }
        12..=14 => {
            let data = match bytes.byte() % 4 {
                0 => bytes.text(),
                1 => bytes.text().repeat(20_000),
                _ => bytes.one(&LINES).into(),
            };
            Op::Write { fid, offset: bytes.number(), data }
        }
        15 => Op::List { fid, cookie: bytes.number(), count: bytes.one(&[0, 1, 5, u32::MAX]) },
        16 => match bytes.byte() % 3 {
            0 => Op::Stat { fid },
            1 => Op::ReadLink { fid },
            _ => {
                let some = |bytes: &mut Bytes<'_>| bytes.once_in(2).then(|| bytes.number());
                let small = |n: Option<u64>| n.map(|n| n as u32);
                let set = SetStat {
                    mode: small(some(bytes)),
                    uid: small(some(bytes)),
                    gid: small(some(bytes)),
                    size: some(bytes),
                    mtime: None,
                };
                Op::SetStat { fid, set }
            }
        },
        17 => Op::Remove { fid },
        18 => Op::Clunk { fid },
        _ => {
            let tags = &mut clients[at].1;
            let tag = if tags.is_empty() { Tag(bytes.number()) } else { bytes.one(tags) };
            tags.retain(|old| *old != tag);
            Op::Flush { tag }
        }
    };
    let (tag, _) = world.ask(client, uid, op);
    if !world.is_dead() && world.waits(client, tag) {
        clients[at].1.push(tag);
    }
}
