//! Random kernels: clients that look up, open, read, wait, are interrupted and forget, while the tree answers in any order.
//! The world checks that each request is answered exactly once and that no fid is lost; the counters, that what is hard
//! has also happened. `FUSE_SEED=N` runs one seed, `FUSE_SEEDS=N` so many.

use crate::common::wire::{Call, u64_at};
use crate::common::world::World;
use op::{Errno, Op};
use std::collections::BTreeMap;

/// xorshift64*: the seed is all.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        if list.is_empty() { None } else { Some(list[self.roll(list.len())].clone()) }
    }
}

/// What has happened, over all seeds.
#[derive(Default, Debug)]
struct Counts {
    answered: usize,
    interrupted: usize,
    /// An interrupt came, and the request succeeded all the same.
    too_late: usize,
    /// A flush was answered when its request was done and nobody told.
    lost: usize,
    /// In vain: the walk that was flushed had not been done.
    strays: usize,
    flushed_waiting: usize,
    forgotten: usize,
    opens: usize,
    ended_waiting: usize,
}

/// What the kernel knows.
#[derive(Default)]
struct Kernel {
    unique: u64,
    /// How often it was told of each node.
    nodes: BTreeMap<u64, u64>,
    /// Open files: handle and node.
    opens: Vec<(u64, u64)>,
    /// Sent and not answered: the request and its node.
    waiting: BTreeMap<u64, (u64, Call)>,
    interrupted: Vec<u64>,
}

impl Kernel {
    fn send(&mut self, world: &mut World, node: u64, call: Call) {
        self.unique += 2;
        world.send(&call.message(self.unique, node, 1000 + (self.unique % 3) as u32));
        if !matches!(call, Call::Forget(_) | Call::BatchForget(_)) {
            self.waiting.insert(self.unique, (node, call));
        }
    }

    /// Something that a kernel may do now.
    fn act(&mut self, world: &mut World, dice: &mut Dice, counts: &mut Counts) {
        const NAMES: [&str; 10] =
            ["hello", "block", "spool", "ctl", "clone", "many", "await", "missing", "link", "made"];
        let nodes: Vec<u64> = self.nodes.keys().copied().chain([1]).collect();
        let node = dice.pick(&nodes).unwrap_or(1);
        match dice.roll(14) {
            0..=2 => self.send(world, node, Call::Lookup(NAMES[dice.roll(10)].into())),
            3 => self.send(world, node, Call::GetAttr(None)),
            4 => self.send(world, node, Call::Open(dice.roll(3) as u32)),
            5 => self.send(world, node, Call::OpenDir),
            6..=7 => {
                if let Some((fh, node)) = dice.pick(&self.opens) {
                    let flags = if dice.roll(3) == 0 { 0o4000 } else { 0 };
                    self.send(world, node, Call::Read { fh, offset: 0, size: 4096, flags });
                }
            }
            8 => {
                if let Some((fh, node)) = dice.pick(&self.opens) {
                    match dice.roll(3) {
                        0 => self.send(world, node, Call::Write { fh, data: b"line\n".to_vec() }),
                        1 => self.send(world, node, Call::ReadDir { fh, offset: 0, size: 512 }),
                        _ => self.send(world, node, Call::GetAttr(Some(fh))),
                    }
                }
            }
            9 => self.release(world, dice),
            10 => self.forget(world, dice, counts),
            11 => match dice.roll(6) {
                0 => {
                    self.send(world, 1, Call::Create { name: format!("made{}", dice.roll(3)), flags: 0o102 })
                }
                1 => self.send(world, 1, Call::Unlink(format!("made{}", dice.roll(3)))),
                2 => {
                    let (name, to) = (format!("made{}", dice.roll(3)), format!("made{}", dice.roll(3)));
                    self.send(world, 1, Call::Rename { name, dir: 1, to, flags: dice.roll(2) as u32 });
                }
                3 => {
                    let name = format!("link{}", dice.roll(99));
                    self.send(world, 1, Call::Symlink { name, target: "hello".into() });
                }
                4 => self.send(world, 1, Call::Mknod(format!("made{}", dice.roll(3)))),
                _ => self.send(world, node, Call::Chmod(0o640)),
            },
            _ => {
                let all: Vec<u64> = self.waiting.keys().copied().collect();
                if let Some(unique) = dice.pick(&all) {
                    self.interrupted.push(unique);
                    world.send(&Call::Interrupt(unique).message(unique | 1, 0, 0));
                }
            }
        }
    }

    /// Closes a file that nothing waits at.
    fn release(&mut self, world: &mut World, dice: &mut Dice) {
        if let Some((fh, node)) = dice.pick(&self.opens) {
            let uses = |call: &Call| {
                matches!(call, Call::Read { fh: used, .. } | Call::Write { fh: used, .. } if *used == fh)
                    || matches!(call, Call::ReadDir { fh: used, .. } | Call::GetAttr(Some(used)) if *used == fh)
            };
            if !self.waiting.values().any(|(_, call)| uses(call)) {
                self.opens.retain(|(open, _)| *open != fh);
                self.send(world, node, Call::Release(fh));
            }
        }
    }

    /// Forgets a node that nothing is under way with.
    fn forget(&mut self, world: &mut World, dice: &mut Dice, counts: &mut Counts) {
        let idle = |node: u64| {
            !self.waiting.values().any(|(used, _)| *used == node)
                && !self.opens.iter().any(|(_, used)| *used == node)
        };
        let all: Vec<u64> = self.nodes.keys().copied().filter(|node| idle(*node)).collect();
        if let Some(node) = dice.pick(&all) {
            let count = self.nodes.remove(&node).unwrap();
            counts.forgotten += 1;
            match dice.roll(2) {
                0 => self.send(world, node, Call::Forget(count)),
                _ => self.send(world, 0, Call::BatchForget(vec![(node, count)])),
            }
        }
    }

    /// Takes the answers.
    fn take(&mut self, world: &mut World, counts: &mut Counts) {
        while let Some(answer) = world.answers.pop_front() {
            let Some((node, call)) = self.waiting.remove(&answer.unique()) else { continue };
            counts.answered += 1;
            let interrupted = self.interrupted.contains(&answer.unique());
            match answer.result() {
                Err(Errno::INTR) => {
                    assert!(interrupted, "EINTR without an interrupt");
                    counts.interrupted += 1;
                    continue;
                }
                Err(_) => continue,
                Ok(()) => counts.too_late += usize::from(interrupted),
            }
            let body = answer.body();
            if matches!(call, Call::Lookup(_) | Call::Mknod(_) | Call::Symlink { .. } | Call::Create { .. }) {
                *self.nodes.entry(u64_at(body, 0)).or_default() += 1;
            }
            if matches!(call, Call::Create { .. }) {
                self.opens.push((u64_at(body, 128), u64_at(body, 0)));
            }
            if matches!(call, Call::Open(_) | Call::OpenDir) {
                self.opens.push((u64_at(body, 0), node));
            }
        }
    }
}

/// One world from its seed to its end.
fn run(seed: u64, counts: &mut Counts) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut world, mut kernel) = (World::new(), Kernel::default());
    kernel.send(&mut world, 0, Call::Init);
    world.run_all();
    kernel.take(&mut world, counts);
    for _ in 0..300 {
        match dice.roll(5) {
            0 | 1 => kernel.act(&mut world, &mut dice, counts),
            2 if dice.roll(20) == 0 => {
                for (tag, reply) in world.tree.grow("block", b"more") {
                    world.reply(tag, reply);
                }
            }
            _ => {
                if !world.held.is_empty() {
                    let (at, late) = (dice.roll(world.held.len()), dice.roll(2) == 0);
                    counts.opens += usize::from(matches!(world.held[at].2, Op::Open { .. }));
                    world.run(at, late);
                }
            }
        }
        kernel.take(&mut world, counts);
    }
    if dice.roll(2) == 0 {
        // A kernel that ends well: what waits is interrupted, and then nothing does.
        world.run_all();
        for unique in kernel.waiting.keys().copied().collect::<Vec<_>>() {
            kernel.interrupted.push(unique);
            world.send(&Call::Interrupt(unique).message(unique | 1, 0, 0));
        }
        world.run_all();
        kernel.take(&mut world, counts);
        assert_eq!((world.waiting(), kernel.waiting.len()), (0, 0));
        let fids = 1 + kernel.nodes.len() + kernel.opens.len();
        assert_eq!((world.tree.fids(), world.conn.fids()), (fids, fids), "fids that the kernel cannot name");
    } else {
        counts.ended_waiting += kernel.waiting.len();
    }
    world.end();
    counts.lost += world.lost;
    counts.strays += world.tree.strays;
    counts.flushed_waiting += world.tree.flushed;
}

#[test]
fn random_kernels_are_answered_once_and_leave_nothing_behind() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut counts = Counts::default();
    let seeds = match number("FUSE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FUSE_SEEDS").unwrap_or(1000),
    };
    for seed in seeds.clone() {
        let world = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, &mut counts)));
        assert!(world.is_ok(), "FUSE_SEED={seed}");
    }
    println!("{counts:?}");
    if seeds.end - seeds.start >= 1000 {
        let Counts {
            answered,
            interrupted,
            too_late,
            lost,
            strays,
            flushed_waiting,
            forgotten,
            opens,
            ended_waiting,
        } = counts;
        for count in
            [answered, interrupted, too_late, lost, strays, flushed_waiting, forgotten, opens, ended_waiting]
        {
            assert!(count > 300, "something hard hardly happened");
        }
    }
}
