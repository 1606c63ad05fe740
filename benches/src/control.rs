//! Control without processes: null sessions, through the kernel alone and through a node's 9P socket.

use crate::cost::{Meter, resident};
use crate::lanes::{After, Lanes};
use crate::roles::tell;
use crate::table::{Better, Outcome, Racer, Sample, Who, race};
use crate::world::{Kind, NAME, NodeUnderTest};
use crate::{Run, members};
use kernel::{ClientId, Effect, Event, Kernel};
use op::{Access, Act, Fid, Op, Reply, Tag, Uid, User};
use std::sync::Arc;

const CLIENT: ClientId = ClientId(1);
const BASE: Fid = Fid(1);

/// A kernel whose every start is told as ended at once.
struct World {
    kernel: Kernel,
    effects: Vec<Effect>,
    tag: u64,
    /// Bytes that the journal would have been given.
    journal: u64,
}

impl World {
    fn new() -> Outcome<World> {
        let user = User {
            uid: Uid(0),
            name: "root".into(),
            groups: vec![(0, "root".into())],
            home: "/root".into(),
            shell: "/bin/sh".into(),
        };
        let node = kernel::Node {
            id: op::NodeId::default(),
            fs: false,
            store: 0,
            name: NAME.into(),
            owner: Arc::new(user),
            env: vec![b"PATH=/usr/local/bin:/usr/bin:/bin".to_vec()],
            attrs: Vec::new(),
            started: host::now().wall,
        };
        let mut world = World { kernel: Kernel::new(node), effects: Vec::new(), tag: 0, journal: 0 };
        world.event(Event::Recalled);
        world.event(Event::Connect { client: CLIENT, links: false });
        world.ask(Op::Attach { fid: Fid(0), user: String::new(), tree: String::new() });
        world.ask(Op::Walk { fid: Fid(0), newfid: BASE, names: vec!["net".into(), NAME.into()] });
        Ok(world)
    }

    /// One event, and what comes of it; the answer, if there is one.
    fn event(&mut self, event: Event) -> Option<Reply> {
        let (mut events, mut answer) = (vec![event], None);
        while let Some(event) = events.pop() {
            let mut effects = std::mem::take(&mut self.effects);
            self.kernel.handle(host::now(), event, &mut effects);
            let mut tells = Vec::new();
            for effect in effects.drain(..) {
                match effect {
                    Effect::Answer(_, _, reply) => answer = Some(reply),
                    Effect::Journal(line) => self.journal += line.len() as u64 + 1,
                    Effect::Rewrite(lines) => self.journal += lines.len() as u64,
                    Effect::Act(Act::Start(launch)) => tell(launch.session, &mut tells),
                    _ => {}
                }
            }
            self.effects = effects;
            events.extend(tells.into_iter().rev().map(Event::Told));
        }
        answer
    }

    fn ask(&mut self, op: Op) -> Option<Reply> {
        self.tag += 1;
        self.event(Event::Request { client: CLIENT, tag: Tag(self.tag), uid: Uid(0), op })
    }

    /// One session as a client has it: the same requests as over 9P.
    fn session(&mut self, lines: &[u8]) -> Outcome<()> {
        let (ctl, wait) = (Fid(2), Fid(3));
        let both = Access { read: true, write: true, truncate: false };
        self.ask(Op::Walk { fid: BASE, newfid: ctl, names: vec!["clone".into()] });
        self.ask(Op::Open { fid: ctl, access: both });
        self.ask(Op::Write { fid: ctl, offset: 0, data: lines.to_vec() });
        self.ask(Op::Walk { fid: ctl, newfid: wait, names: vec!["..".into(), "wait".into()] });
        self.ask(Op::Open { fid: wait, access: Access { write: false, ..both } });
        match self.ask(Op::Read { fid: wait, offset: 0, count: 4096, wait: true }) {
            Some(Reply::Data(line)) if line.windows(8).any(|part| part == b" exit=0 ") => {}
            other => return Err(format!("a null session came to {other:?}").into()),
        }
        self.ask(Op::Clunk { fid: wait });
        self.ask(Op::Clunk { fid: ctl });
        Ok(())
    }
}

impl World {
    /// So many members of one group, so many of them at a time; its counts say that all worked.
    fn group(&mut self, count: usize, width: usize) -> Outcome<()> {
        let (ctl, info) = (Fid(2), Fid(3));
        let both = Access { read: true, write: true, truncate: false };
        self.event(Event::Attr("slots".into(), Some(kernel::Attr::Int(width as u64))));
        self.ask(Op::Walk { fid: BASE, newfid: ctl, names: vec!["clone".into()] });
        self.ask(Op::Open { fid: ctl, access: both });
        self.ask(Op::Write { fid: ctl, offset: 0, data: b"keep\n".to_vec() });
        self.ask(Op::Write { fid: ctl, offset: 0, data: format!("run {count} -- null\n").into_bytes() });
        self.ask(Op::Walk { fid: ctl, newfid: info, names: vec!["..".into(), "info".into()] });
        self.ask(Op::Open { fid: info, access: Access { write: false, ..both } });
        match self.ask(Op::Read { fid: info, offset: 0, count: 65_536, wait: true }) {
            Some(Reply::Data(text)) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                let ended = format!("\nended={count}\n");
                match text.contains(&ended) && text.contains("\nfailed=0\n") {
                    true => Ok(()),
                    false => Err(text.into()),
                }
            }
            other => Err(format!("a group's info came to {other:?}").into()),
        }
    }
}

/// Bytes in use, as the allocator counts them.
fn in_use() -> u64 {
    // SAFETY: takes nothing, gives numbers.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as u64
}

/// What so many sessions have cost a node of its CPU and of memory, of which it had `before` resident.
fn in_node(node: &NodeUnderTest, before: u64, meter: &Meter, wall: f64, count: usize) -> Sample {
    let rss = resident(node.node_pid()).saturating_sub(before) as f64 / count as f64;
    let values = vec![wall * 1e6 / count as f64, f64::NAN, rss, f64::NAN];
    Sample { values, cpu_us: meter.others_us(count) }
}

/// 1 M null sessions.
pub(crate) fn null(run: &Run) -> Outcome<()> {
    let count = run.count(1_000_000, 500);
    let lines = "keep\nexec null\n";
    let columns = [
        ("µs each", Better::Less),
        ("bytes each", Better::Less),
        ("RSS each", Better::Less),
        ("journal B", Better::Less),
    ];
    let pid = std::process::id();
    let racers = vec![
        Racer::new(Who::Us, "kernel alone", || {
            let (before, rss) = (in_use(), resident(pid));
            let mut world = World::new()?;
            let meter = Meter::start(&[]);
            for _ in 0..count {
                world.session(lines.as_bytes())?;
            }
            let (wall, cpu_us) = (meter.seconds(), meter.cpu_us(count));
            let bytes = in_use().saturating_sub(before) as f64 / count as f64;
            let rss = resident(pid).saturating_sub(rss) as f64 / count as f64;
            let journal = world.journal as f64 / count as f64;
            drop(world);
            // SAFETY: gives free memory back to the system, no more.
            unsafe { libc::malloc_trim(0) };
            Ok(Sample { values: vec![wall * 1e6 / count as f64, bytes, rss, journal], cpu_us })
        }),
        Racer::new(Who::Us, "kernel alone, all in one group, 64 at a time", || {
            let (before, rss) = (in_use(), resident(pid));
            let mut world = World::new()?;
            let meter = Meter::start(&[]);
            world.group(count, 64)?;
            let (wall, cpu_us) = (meter.seconds(), meter.cpu_us(count));
            let bytes = in_use().saturating_sub(before) as f64 / count as f64;
            let rss = resident(pid).saturating_sub(rss) as f64 / count as f64;
            let journal = world.journal as f64 / count as f64;
            drop(world);
            // SAFETY: gives free memory back to the system, no more.
            unsafe { libc::malloc_trim(0) };
            Ok(Sample { values: vec![wall * 1e6 / count as f64, bytes, rss, journal], cpu_us })
        }),
        Racer::new(Who::Us, "node over its 9P socket, 64 at a time: node's CPU", || {
            let node = NodeUnderTest::start(Kind::Null, false)?;
            let rss = resident(node.node_pid());
            let mut lanes = Lanes::new(node.connect()?)?;
            let meter = Meter::start(&node.pids());
            lanes.run(count, 64, lines, After::Keep)?;
            let wall = meter.seconds();
            Ok(in_node(&node, rss, &meter, wall, count))
        }),
        Racer::new(Who::Us, "node, all in one group, 64 at a time, each end read: node's CPU", || {
            let node = NodeUnderTest::start(Kind::Null, false)?;
            let rss = resident(node.node_pid());
            let mut c = node.connect()?;
            members::tell(&mut c, &format!("net/{NAME}/ctl"), "label slots=64\n")?;
            let meter = Meter::start(&node.pids());
            let (_, wait) = members::begun(&mut c, &format!("keep\nrun {count} -- null\n"))?;
            let ends = members::read(&mut c, wait)?;
            let wall = meter.seconds();
            let worked = String::from_utf8_lossy(&ends).matches(" exit=0 ").count();
            if worked != count {
                return Err(format!("{worked} of {count} null sessions ended well").into());
            }
            Ok(in_node(&node, rss, &meter, wall, count))
        }),
        Racer::absent(
            Who::Peer,
            "HyperQueue",
            "its zero-worker mode is a build option that the package from PyPI lacks",
        ),
    ];
    let mut table = race(
        "null",
        format!("{count} null sessions, kept after their end"),
        &columns,
        run.repeats.min(5),
        racers,
    );
    let (kernel, node) = (table.cpu_us("kernel alone, all in one group"), table.cpu_us("node, all in"));
    table.promise("≤ 10 µs CPU each in the kernel", kernel, |x| x <= 10.0);
    table.promise("≤ 10 µs CPU each in the node, with 9P and journal", node, |x| x <= 10.0);
    let (bytes, rss) = (table.value("kernel alone, all in one group", 1), table.value("node, all in", 2));
    table.promise("≤ 500 B each after exit in the kernel", bytes, |x| x <= 500.0);
    table.promise("≤ 500 B of resident memory each in the node", rss, |x| x <= 500.0);
    table.show(run.smoke)
}
