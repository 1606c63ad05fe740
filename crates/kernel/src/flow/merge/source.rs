//! Where collected bytes come from: a member's stream, or a share's frames; as chunks that are ready to be passed on.

use super::super::{
    frames::{Decoder, Mark, Whose},
    records::{Cutter, Records},
};
use crate::{
    limits,
    ranks::{Rank, RankSet},
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    format,
    string::String,
    vec::Vec,
};

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
    Frames(Box<Frames>),
}

/// What a share gives.
#[derive(Debug, Default)]
struct Frames {
    decoder: Decoder,
    /// Whose record is not whole.
    open: Option<RankSet>,
    /// Bytes that have come of each rank, and ranks that have said all.
    received: BTreeMap<Rank, u64>,
    ended: RankSet,
    /// The share has begun anew: so much of what it says is known.
    known: BTreeMap<Rank, u64>,
    known_ends: RankSet,
    /// It has begun anew in the middle of a record: that is read to its end, and then all once more.
    resume: Option<Resume>,
    /// It is to be read from the start.
    rewind: bool,
}

/// A record that has begun, and whose rest is looked for in what a share says again. Nothing of others may come before it.
#[derive(Debug)]
struct Resume {
    rank: Rank,
    records: Records,
    /// Where in the rank's bytes it was left off, and how far they are gone through.
    left_off: u64,
    at: u64,
    /// Finds where it ends; and where in the rank's bytes that began to look.
    cutter: Cutter,
    from: u64,
    /// Bytes that may be behind its end.
    rest: Vec<u8>,
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

    pub(super) fn cut(ranks: RankSet, records: &Records) -> Source {
        let cutter = Cutter::new(records);
        Source::new(ranks, Intake::Cut { cutter, rest: Vec::new(), from: 0, long: false })
    }

    pub(super) fn raw(rank: Rank) -> Source {
        Source::new([rank].into_iter().collect(), Intake::Raw)
    }

    pub(super) fn frames(ranks: RankSet) -> Source {
        Source::new(ranks, Intake::Frames(Box::default()))
    }

    pub(super) fn is_share(&self) -> bool {
        matches!(self.intake, Intake::Frames(_))
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
    pub(super) fn push(&mut self, bytes: &[u8], hold: usize) -> op::Result<()> {
        match &mut self.intake {
            Intake::Raw if bytes.is_empty() => {}
            Intake::Raw => self.add(self.ranks.clone(), bytes.to_vec(), Mark::More),
            Intake::Cut { cutter, rest, .. } => {
                let mut ends = Vec::new();
                cutter.scan(bytes, &mut ends);
                rest.extend_from_slice(bytes);
                self.pass(&ends, hold);
            }
            Intake::Frames(share) => {
                let mut frames = Vec::new();
                let result = share.decoder.push(bytes, &mut frames);
                let mut chunks = Vec::new();
                for frame in frames {
                    let ranks = match frame.whose {
                        Whose::All => self.ranks.clone(),
                        Whose::Ranks(ranks) => ranks,
                    };
                    chunks.extend(match &share.resume {
                        Some(_) => share.resume(&ranks, &frame.data, frame.mark),
                        None if share.rewind => None,
                        None => share.unknown(ranks, frame.data, frame.mark),
                    });
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

    /// A share begins anew, perhaps in another order: what it has said is passed over. If a record was not whole, its rest is looked for
    /// first, unless ranks come in their order anyway. False if that cannot be.
    pub(super) fn again(&mut self, ordered: bool, records: &Records) -> bool {
        let Intake::Frames(share) = &mut self.intake else { return false };
        if let Some(open) = share.open.as_ref().filter(|_| !ordered) {
            let (Some(rank), 1) = (open.first(), open.len()) else { return false };
            share.resume = Some(Resume {
                rank,
                records: records.clone(),
                left_off: share.received.get(&rank).copied().unwrap_or(0),
                at: 0,
                cutter: Cutter::new(records),
                from: 0,
                rest: Vec::new(),
            });
        }
        share.start_over();
        true
    }

    /// Whether it is to be read from the start again, having given what was looked for.
    pub(super) fn rewinds(&mut self) -> bool {
        let Intake::Frames(share) = &mut self.intake else { return false };
        let rewinds = core::mem::take(&mut share.rewind);
        if rewinds {
            share.start_over();
        }
        rewinds
    }

    /// A share has said all. If the rest of a record was looked for and was not in it, whose that was: it has ended as it is, and all is read
    /// once more.
    pub(super) fn is_without(&mut self) -> Option<RankSet> {
        let Intake::Frames(share) = &mut self.intake else { return None };
        share.resume.take()?;
        let open = share.open.take()?;
        share.ended.union_with(&open);
        share.start_over();
        self.add(open.clone(), Vec::new(), Mark::End);
        Some(open)
    }

    /// Nothing more comes. Fails if it did not end where it should.
    pub(super) fn close(&mut self) -> Result<(), String> {
        if core::mem::replace(&mut self.closed, true) {
            return Ok(());
        }
        match &mut self.intake {
            Intake::Raw => self.add(self.ranks.clone(), Vec::new(), Mark::End),
            Intake::Cut { cutter, .. } => {
                let mut ends = Vec::new();
                cutter.finish(&mut ends);
                self.pass(&ends, limits::RECORD);
                let Intake::Cut { rest, .. } = &mut self.intake else { return Ok(()) };
                let rest = core::mem::take(rest);
                self.kept = 0;
                self.add(self.ranks.clone(), rest, Mark::End);
            }
            Intake::Frames(share) => {
                let torn = share.decoder.inside();
                if let Some(ranks) = share.open.take() {
                    self.add(ranks.clone(), Vec::new(), Mark::End);
                    return Err(cut(&ranks));
                }
                if torn {
                    return Err("a share ended in the middle of a frame".into());
                }
            }
        }
        Ok(())
    }
}

/// What is said of a record whose rest does not come.
pub(super) fn cut(ranks: &RankSet) -> String {
    format!("a record of rank {ranks} ends in its middle: its rest was lost with a node")
}

impl Frames {
    fn start_over(&mut self) {
        self.decoder = Decoder::default();
        self.known.clone_from(&self.received);
        self.known_ends.clone_from(&self.ended);
    }

    /// What of a frame is of the record that is looked for.
    fn resume(&mut self, ranks: &RankSet, data: &[u8], mark: Mark) -> Option<(RankSet, Vec<u8>, Mark)> {
        let resume = self.resume.as_mut().filter(|resume| ranks.len() == 1 && ranks.contains(resume.rank))?;
        let received = self.received.entry(resume.rank).or_default();
        // What is behind all that has come.
        let known = received.saturating_sub(resume.at);
        resume.rest.extend_from_slice(data.get(known as usize..).unwrap_or_default());
        resume.at += data.len() as u64;
        let mut ends = Vec::new();
        resume.cutter.scan(data, &mut ends);
        let last = mark == Mark::End && resume.at >= resume.left_off;
        if last {
            resume.cutter.finish(&mut ends);
        }
        let end = ends.into_iter().map(|end| resume.from + end).find(|end| *end > resume.left_off);
        let settled = if last { resume.at } else { resume.from + resume.cutter.settled() };
        if mark == Mark::End && !last {
            // Another member has the rank from here on.
            (resume.cutter, resume.from) = (Cutter::new(&resume.records), resume.at);
        }
        let count = end.unwrap_or(settled).saturating_sub(*received) as usize;
        let now: Vec<u8> = resume.rest.drain(..count.min(resume.rest.len())).collect();
        *received += now.len() as u64;
        let mark = match end {
            Some(_) => Mark::Whole,
            None if last => Mark::End,
            None => Mark::More,
        };
        if mark != Mark::More {
            (self.open, self.resume, self.rewind) = (None, None, true);
        }
        if mark == Mark::End {
            self.ended.union_with(ranks);
        }
        (!now.is_empty() || mark != Mark::More).then(|| (ranks.clone(), now, mark))
    }

    /// What of a frame was not known.
    fn unknown(&mut self, ranks: RankSet, mut data: Vec<u8>, mark: Mark) -> Option<(RankSet, Vec<u8>, Mark)> {
        if let (Some(rank), 1) = (ranks.first(), ranks.len()) {
            if let Some(known) = self.known.get_mut(&rank) {
                let passed = data.len().min(usize::try_from(*known).unwrap_or(usize::MAX));
                data.drain(..passed);
                *known -= passed as u64;
                let over = mark == Mark::End && self.known_ends.remove(rank);
                if over || (passed > 0 && data.is_empty() && mark != Mark::End) {
                    return None;
                }
            }
            *self.received.entry(rank).or_default() += data.len() as u64;
        }
        if mark == Mark::End {
            self.ended.union_with(&ranks);
        }
        self.open = (mark == Mark::More).then(|| ranks.clone());
        Some((ranks, data, mark))
    }
}
