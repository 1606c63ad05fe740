//! What the tests share: a seeded source of choices, a small tree of files with one that blocks, and a
//! connection with everything around it written down.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "each test binary is a crate of its own")]
#![allow(clippy::allow_attributes, reason = "which part is used differs, so expect can't be")]

pub mod tree;

use ninep::server::{Config, Conn};
use ninep::wire::{Rmsg, Tmsg};
use ninep::{Broken, Dialect, NOFID, NOTAG};
use op::{Op, Reply, Tag};
use std::collections::VecDeque;

/// splitmix64 (Steele, Lea, Flood 2014): the same choices for the same seed, everywhere.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    pub fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }
}

/// A server's connection, driven by hand.
pub struct Bench {
    pub conn: Conn,
    pub dialect: Dialect,
    pub asks: VecDeque<(Tag, Op)>,
}

impl Bench {
    /// Version agreed, and fid 0 attached.
    pub fn new(dialect: Dialect) -> Bench {
        Bench::with(dialect, Config::default(), 8192)
    }

    pub fn with(dialect: Dialect, config: Config, msize: u32) -> Bench {
        let mut bench = Bench { conn: Conn::new(config), dialect, asks: VecDeque::new() };
        bench.send(NOTAG, Tmsg::Version { msize, version: dialect.name() });
        let attach = Tmsg::Attach {
            fid: 0,
            afid: NOFID,
            uname: "glenda",
            aname: "",
            n_uname: ninep::wire::NUname(u32::MAX),
        };
        bench.send(0, attach);
        let tag = bench.asks.pop_front().unwrap().0;
        bench.answer(tag, Reply::Attached(tree::qid_of(0, true)));
        bench.said();
        bench
    }

    pub fn try_send(&mut self, tag: u16, message: Tmsg<'_>) -> Result<(), Broken> {
        let mut bytes = Vec::new();
        message.encode(tag, self.dialect, &mut bytes);
        self.conn.receive(&bytes, &mut self.asks)
    }

    pub fn send(&mut self, tag: u16, message: Tmsg<'_>) {
        self.try_send(tag, message).unwrap();
    }

    /// The only thing asked since.
    pub fn asked(&mut self) -> (Tag, Op) {
        assert_eq!(self.asks.len(), 1, "{:?}", self.asks);
        self.asks.pop_front().unwrap()
    }

    pub fn answer(&mut self, tag: Tag, reply: Reply) {
        self.conn.answer(tag, reply, &mut self.asks);
    }

    /// Sends a message that asks one thing, and answers it.
    pub fn exchange(&mut self, tag: u16, message: Tmsg<'_>, reply: Reply) -> Op {
        self.send(tag, message);
        let (ask, op) = self.asked();
        self.answer(ask, reply);
        op
    }

    /// What was sent since, decoded and written out: `7 Flush`.
    pub fn said(&mut self) -> Vec<String> {
        let said = frames(self.conn.output())
            .map(|frame| match Rmsg::decode(frame, self.dialect) {
                Ok((tag, message)) => format!("{tag} {message:?}"),
                Err(why) => panic!("the server sent nonsense: {why}"),
            })
            .collect();
        self.conn.consume(self.conn.output().len());
        said
    }

    /// Checks what was sent since.
    #[track_caller]
    pub fn expect(&mut self, said: &[&str]) {
        assert_eq!(self.said(), said);
    }
}

/// Whole frames, one after another.
pub fn frames(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let size = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
        let (frame, rest) = bytes.split_at(size);
        bytes = rest;
        Some(frame)
    })
}
