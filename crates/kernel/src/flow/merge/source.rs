//! Where collected bytes come from: a member's stream, or a share's frames; as chunks that are ready to be passed on.

use super::super::{
    frames::{Decoder, Mark, Whose},
    records::{Cutter, Records},
};
use crate::{
    limits,
    ranks::{Rank, RankSet},
};
use alloc::{collections::VecDeque, vec::Vec};
use op::Result;

/// Bytes of these ranks: whole records, or with `More` a part of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Chunk {
    pub(crate) ranks: RankSet,
    pub(crate) data: Vec<u8>,
    pub(crate) mark: Mark,
}

#[derive(Debug)]
pub(super) struct Source {
    /// Whose bytes may come.
    pub(super) ranks: RankSet,
    intake: Intake,
    pub(super) chunks: VecDeque<Chunk>,
    /// Bytes in `chunks`, and behind them.
    pub(super) queued: usize,
    pub(super) kept: usize,
    pub(super) closed: bool,
    /// It stands in the line of those that have something.
    pub(super) in_line: bool,
    /// A part of its record has been written.
    pub(super) owns: bool,
}

#[derive(Debug)]
enum Intake {
    /// Cut into records.
    Cut {
        cutter: Cutter,
        /// What no chunk has, and where in the stream it begins.
        rest: Vec<u8>,
        from: u64,
        /// The record is a long one: a part of it has gone.
        long: bool,
    },
    /// Passed on as it comes.
    Raw,
    /// Frames, and whose record is not whole.
    Frames(Decoder, Option<RankSet>),
}

impl Source {
    fn new(ranks: RankSet, intake: Intake) -> Source {
        Source {
            ranks,
            intake,
            chunks: VecDeque::new(),
            queued: 0,
            kept: 0,
            closed: false,
            in_line: false,
            owns: false,
        }
    }

    pub(super) fn cut(rank: Rank, records: &Records) -> Source {
        let cutter = Cutter::new(records);
        Source::new(
            [rank].into_iter().collect(),
            Intake::Cut { cutter, rest: Vec::new(), from: 0, long: false },
        )
    }

    pub(super) fn raw(rank: Rank) -> Source {
        Source::new([rank].into_iter().collect(), Intake::Raw)
    }

    pub(super) fn frames(ranks: RankSet) -> Source {
        Source::new(ranks, Intake::Frames(Decoder::default(), None))
    }

    pub(super) fn is_share(&self) -> bool {
        matches!(self.intake, Intake::Frames(..))
    }

    /// The rank that the next chunk is of.
    pub(super) fn head(&self) -> Option<Rank> {
        self.chunks.front().and_then(|chunk| chunk.ranks.first())
    }

    fn add(&mut self, ranks: RankSet, data: Vec<u8>, mark: Mark) {
        self.queued += data.len();
        self.chunks.push_back(Chunk { ranks, data, mark });
    }

    /// Takes bytes; what is not whole is held up to `hold` bytes.
    pub(super) fn push(&mut self, bytes: &[u8], hold: usize) -> Result<()> {
        match &mut self.intake {
            Intake::Raw if bytes.is_empty() => {}
            Intake::Raw => self.add(self.ranks.clone(), bytes.to_vec(), Mark::More),
            Intake::Cut { cutter, rest, .. } => {
                let mut ends = Vec::new();
                cutter.scan(bytes, &mut ends);
                rest.extend_from_slice(bytes);
                self.pass(&ends, hold);
            }
            Intake::Frames(decoder, open) => {
                let mut frames = Vec::new();
                let result = decoder.push(bytes, &mut frames);
                let mut chunks = Vec::new();
                for frame in frames {
                    let ranks = match frame.whose {
                        Whose::All => self.ranks.clone(),
                        Whose::Ranks(ranks) => ranks,
                    };
                    *open = (frame.mark == Mark::More).then(|| ranks.clone());
                    chunks.push((ranks, frame.data, frame.mark));
                }
                for (ranks, data, mark) in chunks {
                    self.add(ranks, data, mark);
                }
                return result;
            }
        }
        Ok(())
    }

    /// Makes chunks of what is known to be whole, and of what has become too long to be held.
    fn pass(&mut self, ends: &[u64], hold: usize) {
        let Intake::Cut { cutter, rest, from, long } = &mut self.intake else { return };
        let mut made: Vec<(Vec<u8>, Mark)> = Vec::new();
        let mut take = |to: u64, rest: &mut Vec<u8>, from: &mut u64, mark: Mark| {
            let kept = rest.split_off((to - *from) as usize);
            made.push((core::mem::replace(rest, kept), mark));
            *from = to;
        };
        if let (true, [first, ..]) = (*long, ends) {
            take(*first, rest, from, Mark::Whole);
            *long = false;
        }
        if let Some(last) = ends.last().filter(|last| **last > *from) {
            take(*last, rest, from, Mark::Whole);
        }
        let settled = cutter.settled();
        if settled > *from && (*long || settled - *from > hold as u64) {
            take(settled, rest, from, Mark::More);
            *long = true;
        }
        self.kept = rest.len();
        for (data, mark) in made {
            self.add(self.ranks.clone(), data, mark);
        }
    }

    /// Lets go what is held, though it is not whole.
    pub(super) fn let_go(&mut self) {
        self.pass(&[], 0);
    }

    /// Nothing more comes. True if it ended where it should.
    pub(super) fn close(&mut self) -> bool {
        if core::mem::replace(&mut self.closed, true) {
            return true;
        }
        match &mut self.intake {
            Intake::Raw => self.add(self.ranks.clone(), Vec::new(), Mark::End),
            Intake::Cut { cutter, .. } => {
                let mut ends = Vec::new();
                cutter.finish(&mut ends);
                self.pass(&ends, limits::RECORD);
                let Intake::Cut { rest, .. } = &mut self.intake else { return true };
                let rest = core::mem::take(rest);
                self.kept = 0;
                self.add(self.ranks.clone(), rest, Mark::End);
            }
            Intake::Frames(decoder, open) => {
                let torn = decoder.inside();
                if let Some(ranks) = open.take() {
                    self.add(ranks, Vec::new(), Mark::End);
                    return false;
                }
                return !torn;
            }
        }
        true
    }
}
