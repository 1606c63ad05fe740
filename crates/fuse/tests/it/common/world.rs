//! A connection and a tree with a gap between them, so that what is asked can be seen, held back, answered in any order,
//! and flushed before or after it was done. It checks, at every step, what must always hold.

use super::tree::Tree;
use fuse::{Answer, Config, Conn, Step};
use op::{Op, Reply, Tag, Uid};
use std::collections::{BTreeSet, VecDeque};

/// See the module.
pub(crate) struct World {
    pub(crate) conn: Conn,
    pub(crate) tree: Tree,
    /// Asked, and not seen by the tree.
    pub(crate) held: Vec<(Tag, Uid, Op)>,
    /// Given to the kernel, oldest first.
    pub(crate) answers: VecDeque<Answer>,
    pub(crate) unmounted: bool,
    /// Requests that the tree did and nobody was told of, because a flush overtook the reply.
    pub(crate) lost: usize,
    /// What waits is given up rather than answered.
    ended: bool,
    waiting: BTreeSet<u64>,
    interrupts: BTreeSet<u64>,
    steps: VecDeque<Step>,
}

impl World {
    pub(crate) fn new() -> World {
        World {
            conn: Conn::new(Config::default()),
            tree: Tree::new(),
            held: Vec::new(),
            answers: VecDeque::new(),
            unmounted: false,
            lost: 0,
            ended: false,
            waiting: BTreeSet::new(),
            interrupts: BTreeSet::new(),
            steps: VecDeque::new(),
        }
    }

    /// The kernel sends a message. Told apart by its opcode: what must be answered, what may be, what must not.
    pub(crate) fn send(&mut self, message: &[u8]) {
        if message.len() >= 40 {
            let opcode = u32::from_ne_bytes(message[4..8].try_into().unwrap());
            let unique = u64::from_ne_bytes(message[8..16].try_into().unwrap());
            match opcode {
                2 | 41 | 42 => {}
                38 => self.ended = true,
                36 => drop(self.interrupts.insert(unique)),
                _ => {}
            }
            if !matches!(opcode, 2 | 36 | 41 | 42) {
                self.waiting.insert(unique);
            }
        }
        self.conn.receive(message, &mut self.steps);
        self.absorb();
    }

    /// The tree does what it was asked at `index` of `held`. If that is a flush of something that is still held, the tree
    /// has done that before, when `late`, and its reply is lost.
    pub(crate) fn run(&mut self, index: usize, late: bool) {
        let (tag, uid, op) = self.held.remove(index);
        if let Op::Flush { tag: victim } = op
            && let Some(at) = self.held.iter().position(|(held, _, _)| *held == victim)
        {
            let (_, uid, op) = self.held.remove(at);
            if late && self.tree.ask(victim, uid, op).is_some() {
                self.lost += 1;
            }
        }
        if let Some(reply) = self.tree.ask(tag, uid, op) {
            self.reply(tag, reply);
        }
    }

    /// The tree does everything that it is asked, in order.
    pub(crate) fn run_all(&mut self) {
        while !self.held.is_empty() {
            self.run(0, false);
        }
    }

    /// A reply from the tree.
    pub(crate) fn reply(&mut self, tag: Tag, reply: Reply) {
        self.conn.answer(tag, reply, &mut self.steps);
        self.absorb();
    }

    /// The mount ends: everything is given up, and nothing may be left.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        if !self.unmounted {
            self.conn.hang_up(&mut self.steps);
            self.absorb();
        }
        self.run_all();
        assert!(self.unmounted, "it does not end");
        assert_eq!(self.tree.fids(), 0, "fids are left in the tree");
        assert_eq!(self.tree.parked(), 0, "requests are left in the tree");
        assert_eq!((self.conn.fids(), self.conn.nodes(), self.conn.waiting()), (0, 0, 0));
    }

    /// How many requests the kernel waits for.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn absorb(&mut self) {
        while let Some(step) = self.steps.pop_front() {
            assert!(!self.unmounted, "a step after the last");
            match step {
                Step::Ask { tag, uid, op } => self.held.push((tag, uid, op)),
                Step::Send(answer) => {
                    let unique = answer.unique();
                    let expected = self.waiting.remove(&unique) || self.interrupts.remove(&unique);
                    assert!(expected, "request {unique} is answered twice, or was never asked");
                    let length = u32::from_ne_bytes(answer.head()[..4].try_into().unwrap()) as usize;
                    assert_eq!(length, 16 + answer.body().len());
                    self.answers.push_back(answer);
                }
                Step::Unmounted => self.unmounted = true,
            }
        }
        assert!(self.conn.fids() >= self.tree.fids(), "the tree knows a fid that the connection forgot");
        assert!(self.ended || self.waiting.len() == self.conn.waiting(), "a request was dropped");
    }
}
