//! Queries over ten thousand nodes, with a thousand changes a second: what a listing costs, warm and of terms that nobody asked before.
//!
//! One kernel, as the root of a cloud has it: its children's news are told it as they would come over links. The floor is a bare loop over the
//! same attributes in a `Vec`, with numbers that are numbers already: it knows the three terms, and keeps nothing.

use crate::Run;
use crate::cost::Meter;
use crate::table::{Better, Outcome, Racer, Sample, Who, race};
use kernel::{ClientId, Effect, Event, Gauges, Kernel, LinkId, Peer};
use op::{Access, Fid, NodeId, Op, Reply, Tag, Uid, User};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CLIENT: ClientId = ClientId(1);
const LINK: LinkId = LinkId(1);
/// Attributes of each node, `arch`, `gpus` and `mem` among them.
const ATTRS: usize = 20;
/// How often something of some node changes.
const CHANGES_PER_SEC: f64 = 1_000.0;
/// What is asked, as often as a shell might that does nothing else.
const EVERY: Duration = Duration::from_micros(500);

/// One node, as both sides are told of it.
struct Made {
    id: NodeId,
    attrs: Vec<(String, String)>,
    mem_free: u64,
}

/// Half are of another kind, one in fifty of the rest has GPUs, and half of those enough memory: 1 % match.
fn made(number: usize) -> Made {
    let arch = if number.is_multiple_of(2) { "x86_64" } else { "aarch64" };
    let gpus = if number.is_multiple_of(50) { 2 } else { 0 };
    let mut attrs: Vec<(String, String)> =
        (0..ATTRS - 5).map(|n| (format!("label{n}"), format!("value-{}", number % (n + 7)))).collect();
    attrs.extend(
        [("arch", arch.to_string()), ("os", "linux".into())].map(|(k, v)| (k.into(), format!("t{v}"))),
    );
    attrs.extend([("cpus", 64), ("gpus", gpus)].map(|(k, n)| (k.into(), format!("i{n}"))));
    attrs.push(("mem".into(), format!("s{}", 64_u64 << 30)));
    for (_, value) in attrs.iter_mut().take(ATTRS - 5) {
        value.insert(0, 't');
    }
    let mem_free = if number.is_multiple_of(100) { 16 << 30 } else { 1 << 30 };
    Made { id: NodeId(0x1_0000_0000 + number as u128), attrs, mem_free }
}

struct World {
    kernel: Kernel,
    effects: Vec<Effect>,
    tag: u64,
    nodes: Vec<Made>,
    changed: usize,
}

impl World {
    fn new(count: usize) -> World {
        let user = User {
            uid: Uid(0),
            name: "root".into(),
            groups: vec![(0, "root".into())],
            home: "/root".into(),
            shell: "/bin/sh".into(),
        };
        let node = kernel::Node {
            id: NodeId(1),
            fs: false,
            name: "root".into(),
            owner: Arc::new(user),
            env: Vec::new(),
            attrs: Vec::new(),
            started: host::now().wall,
            store: 0,
        };
        let nodes: Vec<Made> = (0..count).map(made).collect();
        let mut world = World { kernel: Kernel::new(node), effects: Vec::new(), tag: 0, nodes, changed: 0 };
        world.event(Event::Recalled);
        world.event(Event::Linked {
            link: LINK,
            peer: Peer { id: world.nodes[0].id, name: "n0".into(), above: false },
        });
        for number in 0..count {
            let Made { id, attrs, .. } = &world.nodes[number];
            let attrs: String = attrs.iter().map(|(key, value)| format!(" {key}={value}")).collect();
            let parent = if number == 0 { NodeId(1) } else { world.nodes[0].id };
            let line = format!("node {id} n{number} {parent} 1 up 0 ''{attrs}\n");
            world.event(Event::News(LINK, line.into_bytes()));
            let mem = world.nodes[number].mem_free;
            world.load(number, mem, 0.5);
        }
        world.event(Event::Connect { client: CLIENT, links: true });
        world.ask(Op::Attach { fid: Fid(0), user: String::new(), tree: String::new() });
        world
    }

    /// One event; the answer, if there is one.
    fn event(&mut self, event: Event) -> Option<Reply> {
        let (mut events, mut answer) = (vec![event], None);
        while let Some(event) = events.pop() {
            let mut effects = std::mem::take(&mut self.effects);
            self.kernel.handle(host::now(), event, &mut effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Answer(_, _, reply) => answer = Some(reply),
                    Effect::Measure => events.push(Event::Measured(Gauges::default())),
                    _ => {}
                }
            }
            self.effects = effects;
        }
        answer
    }

    fn ask(&mut self, op: Op) -> Option<Reply> {
        self.tag += 1;
        self.event(Event::Request { client: CLIENT, tag: Tag(self.tag), uid: Uid(0), op })
    }

    /// How a node does is another.
    fn load(&mut self, number: usize, mem_free: u64, load: f64) {
        let id = self.nodes[number].id;
        let line = format!("load {id} 0 1000 1 {load:.2} {mem_free} 1000000 3 0\n");
        self.event(Event::News(LINK, line.into_bytes()));
    }

    /// The next change: the load of one node, and of every tenth node the memory too.
    fn change(&mut self) {
        self.changed += 1;
        let number = self.changed * 7919 % self.nodes.len();
        let was = self.nodes[number].mem_free;
        let mem = if self.changed.is_multiple_of(10) { was ^ (1 << 20) } else { was };
        self.nodes[number].mem_free = mem;
        self.load(number, mem, (self.changed % 400) as f64 / 100.0);
    }

    /// `ls` of a path: how many matches it shows.
    fn list(&mut self, names: &[&str]) -> Outcome<usize> {
        let fid = Fid(1);
        let names = names.iter().map(|name| (*name).to_string()).collect();
        let walked = self.ask(Op::Walk { fid: Fid(0), newfid: fid, names });
        let read = Access { read: true, ..Access::default() };
        let opened = self.ask(Op::Open { fid, access: read });
        let (mut cookie, mut matches) = (0, 0);
        loop {
            match self.ask(Op::List { fid, cookie, count: 4096 }) {
                Some(Reply::Listed(entries)) => {
                    let Some(last) = entries.last() else { break };
                    cookie = last.cookie;
                    let digits = |name: &str| name.bytes().all(|b| b.is_ascii_digit());
                    matches += entries.iter().filter(|entry| digits(&entry.stat.name)).count();
                }
                other => return Err(format!("{walked:?}, {opened:?}, {other:?}").into()),
            }
        }
        self.ask(Op::Clunk { fid });
        Ok(matches)
    }
}

/// Listings at a steady rate while nodes change: p50, p99 and the slowest, in microseconds; `terms` says what the nth asks.
fn steady(
    run: &Run,
    world: &mut World,
    wanted: usize,
    terms: impl Fn(usize) -> Vec<String>,
) -> Outcome<Sample> {
    let count = run.count(10_000, 50);
    let meter = Meter::start(&[]);
    let begun = Instant::now();
    let (mut times, mut changes) = (Vec::with_capacity(count), 0);
    for number in 0..count {
        while (changes as f64) < begun.elapsed().as_secs_f64() * CHANGES_PER_SEC {
            world.change();
            changes += 1;
        }
        let terms = terms(number);
        let names: Vec<&str> = std::iter::once("query").chain(terms.iter().map(String::as_str)).collect();
        let start = Instant::now();
        let matches = world.list(&names)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
        if matches != wanted {
            return Err(format!("{matches} of {wanted} match {}", names.join("/")).into());
        }
        while start.elapsed() < EVERY {
            std::hint::spin_loop();
        }
    }
    Ok(figures(times, meter.cpu_us(count)))
}

fn figures(mut times: Vec<f64>, cpu_us: f64) -> Sample {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Sample { values: vec![at(0.5), at(0.99), at(1.0)], cpu_us }
}

/// A node of the floor.
struct Bare {
    attrs: Vec<(String, String)>,
    gpus: u64,
    mem_free: u64,
}

fn floor(run: &Run, nodes: &[Bare], wanted: usize) -> Outcome<Sample> {
    let count = run.count(2_000, 20);
    let meter = Meter::start(&[]);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        let holds = |node: &&Bare| {
            let arch = node.attrs.iter().find(|(key, _)| key == "arch").map(|(_, value)| value.as_str());
            matches!(arch, Some("x86_64" | "i686")) && node.gpus >= 1 && node.mem_free >= 4 << 30
        };
        let found: Vec<&Bare> = nodes.iter().filter(holds).collect();
        times.push(start.elapsed().as_secs_f64() * 1e6);
        if std::hint::black_box(found).len() != wanted {
            return Err("the floor finds others".into());
        }
    }
    Ok(figures(times, meter.cpu_us(count)))
}

/// `ls query/x86/gpus=1/mem=4G`.
pub(crate) fn query(run: &Run) -> Outcome<()> {
    let count = run.count(10_000, 1_000);
    let wanted = count / 100;
    let bare: Vec<Bare> = (0..count)
        .map(made)
        .map(|made| {
            let attrs: Vec<(String, String)> =
                made.attrs.iter().map(|(k, v)| (k.clone(), v[1..].into())).collect();
            let gpus = attrs.iter().find(|(key, _)| key == "gpus").map_or(0, |(_, n)| n.parse().unwrap_or(0));
            Bare { attrs, gpus, mem_free: made.mem_free }
        })
        .collect();
    let (mut warm, mut cold) = (World::new(count), World::new(count));
    let racers = vec![
        Racer::new(Who::Floor, "a loop over the same attributes", || floor(run, &bare, wanted)),
        Racer::new(Who::Us, "ls query/x86/gpus=1/mem=4G, again and again", || {
            steady(run, &mut warm, wanted, |_| ["x86", "gpus=1", "mem=4G"].map(String::from).to_vec())
        }),
        Racer::new(Who::Us, "the same of terms that nobody asked before", || {
            let salt = cold.changed;
            steady(run, &mut cold, wanted, |number| {
                vec!["x86".into(), "gpus=1".into(), format!("mem={}", (4_u64 << 30) + (salt + number) as u64)]
            })
        }),
    ];
    let columns = [("p50 µs", Better::Less), ("p99 µs", Better::Less), ("most µs", Better::Less)];
    let title = format!(
        "a listing of {wanted} of {count} nodes of {ATTRS} attributes, {CHANGES_PER_SEC:.0} changes a second"
    );
    let mut table = race("query", title, &columns, run.repeats, racers);
    for name in ["ls query", "the same"] {
        let p99 = table.value(name, 1);
        table.promise(&format!("{name}…: p99 ≤ 2 ms"), p99, |x| x <= 2_000.0);
    }
    table.show(run.smoke)
}
