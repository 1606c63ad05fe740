//! Distributes a group's stdin by record, over its members here and the shares elsewhere.
//!
//! ```text
//!   bytes ──▶ records ──▶ whose? ─┬─▶ member 3: bytes
//!                                 ├─▶ member 4: bytes
//!                                 └─▶ share: frames
//! ```
//! A record goes on as it comes, as soon as it is known whose it is: nobody holds it until it is whole. Who does not take
//! what is his stops the rest when so much waits for him ([`Deal::room`]), since every record has one place only.

use super::{
    frames::{self, Decoder, Frame, Mark, Whose},
    records::{Cutter, Records},
};
use crate::{
    limits,
    ranks::{Rank, RankSet},
};
use alloc::{
    collections::{BTreeMap, VecDeque},
    format,
    string::String,
    sync::Arc,
    vec::Vec,
};
use core::fmt;
use op::{Errno, Error, Result};

/// Number of a destination, by whoever empties it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct DestId(pub(crate) u64);

/// Whose a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Way {
    /// Everybody's.
    #[default]
    Broadcast,
    /// Record `i` is rank `i` modulo the group's size.
    Robin,
    /// FNV-1a (64 bits) of the record without its end, or of its field of this number (from 1, between blanks), modulo the
    /// size. Of a record longer than is held, of what is held.
    Hash(Option<u32>),
    /// It says so: ranks, a blank, and the rest is what they get.
    Rank,
    /// Frames say so.
    Frames,
}

impl Way {
    /// The words after `stdin`.
    pub(crate) fn parse(words: &[&str]) -> Result<Way> {
        Ok(match words {
            ["broadcast"] => Way::Broadcast,
            ["robin"] => Way::Robin,
            ["hash"] => Way::Hash(None),
            ["hash", key] => match key.parse() {
                Ok(key @ 1..) => Way::Hash(Some(key)),
                _ => {
                    return Err(Error::new(
                        Errno::INVAL,
                        format!("stdin hash {key}: fields are counted from 1"),
                    ));
                }
            },
            ["rank"] => Way::Rank,
            ["frames"] => Way::Frames,
            _ => {
                let cause = "stdin is one of broadcast, robin, hash [KEY], rank, frames";
                return Err(Error::new(Errno::INVAL, cause));
            }
        })
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Broadcast => f.write_str("broadcast"),
            Way::Robin => f.write_str("robin"),
            Way::Hash(None) => f.write_str("hash"),
            Way::Hash(Some(key)) => write!(f, "hash {key}"),
            Way::Rank => f.write_str("rank"),
            Way::Frames => f.write_str("frames"),
        }
    }
}

/// One group's stdin.
#[derive(Debug)]
pub(crate) struct Deal {
    way: Way,
    records: Records,
    size: Rank,
    cutter: Cutter,
    decoder: Decoder,
    /// What may still turn out to be behind the end of the record, and where in the stream it begins.
    rest: Vec<u8>,
    from: u64,
    /// Whose the record is that has begun; until that is known, its bytes.
    whose: Option<Whose>,
    head: Vec<u8>,
    /// Records so far.
    count: u64,
    dests: BTreeMap<DestId, Dest>,
    /// Where each rank is.
    places: BTreeMap<Rank, DestId>,
    /// What this push has for each rank, and whether it ends in the middle of a record.
    piles: BTreeMap<Rank, (Vec<u8>, bool)>,
    ended: bool,
    troubles: Vec<String>,
    /// Records for ranks that take nothing any more.
    dropped: RankSet,
}

#[derive(Debug)]
struct Dest {
    ranks: RankSet,
    share: bool,
    queue: VecDeque<Arc<[u8]>>,
    waiting: usize,
    /// Nothing more comes.
    ended: bool,
}

impl Deal {
    pub(crate) fn new(way: Way, records: Records, size: Rank) -> Deal {
        Deal {
            way,
            cutter: Cutter::new(&records),
            records,
            size,
            decoder: Decoder::default(),
            rest: Vec::new(),
            from: 0,
            whose: None,
            head: Vec::new(),
            count: 0,
            dests: BTreeMap::new(),
            places: BTreeMap::new(),
            piles: BTreeMap::new(),
            ended: false,
            troubles: Vec::new(),
            dropped: RankSet::new(),
        }
    }

    /// The group has so many ranks now.
    pub(crate) fn resize(&mut self, size: Rank) {
        self.size = size;
    }

    pub(crate) fn add_member(&mut self, id: DestId, rank: Rank) {
        self.add(id, [rank].into_iter().collect(), false);
    }

    /// A share, which takes frames.
    pub(crate) fn add_share(&mut self, id: DestId, ranks: RankSet) {
        self.add(id, ranks, true);
    }

    fn add(&mut self, id: DestId, ranks: RankSet, share: bool) {
        for rank in ranks.iter() {
            self.places.insert(rank, id);
        }
        let ended = self.ended;
        let mut queue = VecDeque::new();
        if ended && share {
            queue.push_back(last_frame());
        }
        self.dests.insert(id, Dest { ranks, share, queue, waiting: 0, ended });
    }

    /// A share has these ranks now.
    pub(crate) fn share_has(&mut self, id: DestId, ranks: &RankSet) {
        let Some(dest) = self.dests.get_mut(&id).filter(|dest| dest.ranks != *ranks) else { return };
        dest.ranks.clone_from(ranks);
        self.places.retain(|rank, at| *at != id || ranks.contains(*rank));
        self.places.extend(ranks.iter().map(|rank| (rank, id)));
    }

    /// A destination takes nothing any more.
    pub(crate) fn remove(&mut self, id: DestId) {
        if let Some(dest) = self.dests.remove(&id) {
            for rank in
                dest.ranks.iter().filter(|rank| self.places.get(rank) == Some(&id)).collect::<Vec<_>>()
            {
                self.places.remove(&rank);
            }
        }
    }

    /// Whose a destination's bytes are.
    pub(crate) fn ranks_of(&self, id: DestId) -> RankSet {
        self.dests.get(&id).map(|dest| dest.ranks.clone()).unwrap_or_default()
    }

    /// Whether more may be pushed: nobody has too much waiting for him.
    pub(crate) fn room(&self) -> bool {
        self.dests.values().all(|dest| dest.waiting < limits::DEALT)
    }

    /// Bytes that are held; what goes to everybody counts for each.
    pub(crate) fn held(&self) -> usize {
        let piles: usize = self.piles.values().map(|(pile, _)| pile.len()).sum();
        let waiting: usize = self.dests.values().map(|dest| dest.waiting).sum();
        waiting + piles + self.head.len() + self.rest.len()
    }

    /// Whose stdin is full.
    pub(crate) fn waits_for(&self) -> RankSet {
        let mut full = RankSet::new();
        self.dests.values().filter(|d| d.waiting >= limits::DEALT).for_each(|d| full.union_with(&d.ranks));
        full
    }

    /// Bytes of the stream, the next ones. Fails only for what is no frame.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.way == Way::Frames {
            let mut frames = Vec::new();
            let result = self.decoder.push(bytes, &mut frames);
            frames.into_iter().for_each(|frame| self.deal_frame(frame));
            return result;
        }
        let mut ends = Vec::new();
        self.cutter.scan(bytes, &mut ends);
        self.cut(bytes, &ends, self.cutter.settled());
        self.flush();
        Ok(())
    }

    /// Nothing more comes.
    pub(crate) fn close(&mut self) {
        if core::mem::replace(&mut self.ended, true) {
            return;
        }
        let mut ends = Vec::new();
        self.cutter.finish(&mut ends);
        let all = self.from + self.rest.len() as u64;
        self.cut(b"", &ends, all);
        if !self.head.is_empty() {
            self.piece(&[], true);
        }
        self.flush();
        for dest in self.dests.values_mut() {
            dest.end();
        }
    }

    /// Takes what is settled apart into pieces of records.
    fn cut(&mut self, bytes: &[u8], ends: &[u64], settled: u64) {
        let mut kept = core::mem::take(&mut self.rest);
        let joined;
        let data = match kept.is_empty() {
            true => bytes,
            false => {
                kept.extend_from_slice(bytes);
                joined = kept;
                &joined[..]
            }
        };
        let mut at = 0;
        for end in ends {
            let to = (end - self.from) as usize;
            self.piece(&data[at..to], true);
            at = to;
        }
        let to = (settled - self.from) as usize;
        if to > at {
            self.piece(&data[at..to], false);
            at = to;
        }
        self.rest = data[at..].to_vec();
        self.from += at as u64;
    }

    /// A part of the record that has begun, perhaps its last.
    fn piece(&mut self, bytes: &[u8], ends: bool) {
        if self.whose.is_none() {
            match self.way {
                Way::Broadcast | Way::Frames => self.whose = Some(Whose::All),
                Way::Robin => self.whose = Some(self.modulo(self.count)),
                Way::Hash(_) | Way::Rank => {
                    self.head.extend_from_slice(bytes);
                    if !self.decide(ends) {
                        return;
                    }
                    let head = core::mem::take(&mut self.head);
                    self.pile(&head, ends);
                    return self.next(ends);
                }
            }
        }
        self.pile(bytes, ends);
        self.next(ends);
    }

    fn next(&mut self, ends: bool) {
        if ends {
            self.whose = None;
            self.count += 1;
        }
    }

    fn modulo(&self, number: u64) -> Whose {
        let rank = number % u64::from(self.size.max(1));
        Whose::Ranks([rank as Rank].into_iter().collect())
    }

    /// Finds out whose the record is, from as much of it as is there; false if that is not enough.
    fn decide(&mut self, ends: bool) -> bool {
        let enough = ends || self.head.len() >= limits::RECORD;
        let body = if ends { self.records.body(&self.head) } else { &self.head };
        let whose = match self.way {
            Way::Hash(None) if enough => self.modulo(fnv(&body[..body.len().min(limits::RECORD)])),
            Way::Hash(Some(key)) => {
                // The length before a record is not in its fields.
                let skip = if matches!(self.records, Records::Len32) && !ends { 4 } else { 0 };
                match field(body.get(skip..).unwrap_or_default(), key, enough) {
                    Some(field) => self.modulo(fnv(field)),
                    None => return false,
                }
            }
            Way::Rank => {
                match body.iter().position(|b| is_blank(*b)) {
                    None if !enough => return false,
                    blank => {
                        let word = &body[..blank.unwrap_or(body.len())];
                        let parsed = match word {
                            b"*" => Ok(Whose::All),
                            word => RankSet::parse(&crate::words::lossy(&word[..word.len().min(1024)]))
                                .map(Whose::Ranks),
                        };
                        let (whose, len) = (parsed, blank.map_or(word.len(), |at| at + 1));
                        self.head.drain(..len);
                        match whose {
                            Ok(Whose::Ranks(ranks)) if ranks.last().is_some_and(|last| last >= self.size) => {
                                self.trouble(format!("a record of stdin is for {ranks}, and there are {} ranks: it was dropped", self.size));
                                Whose::Ranks(RankSet::new())
                            }
                            Ok(whose) => whose,
                            Err(error) => {
                                self.trouble(format!("a record of stdin was dropped: {error}"));
                                Whose::Ranks(RankSet::new())
                            }
                        }
                    }
                }
            }
            Way::Hash(None) => return false,
            Way::Broadcast | Way::Robin | Way::Frames => Whose::All,
        };
        self.whose = Some(whose);
        true
    }

    /// Puts a part of a record where it belongs; it goes out with the rest of this push.
    fn pile(&mut self, bytes: &[u8], ends: bool) {
        match &self.whose {
            Some(Whose::Ranks(ranks)) => {
                for rank in ranks.iter() {
                    let (pile, open) = self.piles.entry(rank).or_default();
                    pile.extend_from_slice(bytes);
                    *open = !ends;
                }
            }
            Some(Whose::All) => {
                if self.way != Way::Broadcast {
                    // Nobody may get it before what is his alone.
                    self.flush();
                }
                self.give_all(bytes, if ends { Mark::Whole } else { Mark::More });
            }
            None => {}
        }
    }

    fn give_all(&mut self, bytes: &[u8], mark: Mark) {
        if bytes.is_empty() && mark == Mark::More {
            return;
        }
        let plain: Arc<[u8]> = bytes.into();
        for dest in self.dests.values_mut() {
            if dest.share {
                // Not `*`: whoever is made there before it comes is not meant.
                let mut head = Vec::new();
                frames::head(&Whose::Ranks(dest.ranks.clone()), bytes.len(), mark, &mut head);
                dest.give(head.into());
            }
            dest.give(plain.clone());
        }
    }

    fn flush(&mut self) {
        for (rank, (pile, open)) in core::mem::take(&mut self.piles) {
            let mark = if open { Mark::More } else { Mark::Whole };
            for part in pile.chunks(limits::RECORD) {
                let last = part.as_ptr_range().end == pile.as_ptr_range().end;
                self.give_rank(rank, part, if last { mark } else { Mark::More });
            }
        }
    }

    fn give_rank(&mut self, rank: Rank, bytes: &[u8], mark: Mark) {
        let Some(dest) = self.places.get(&rank).and_then(|id| self.dests.get_mut(id)) else {
            if self.dropped.insert(rank) {
                self.trouble(format!("rank {rank} takes no more stdin: records for it are dropped"));
            }
            return;
        };
        if dest.share {
            let mut framed = Vec::with_capacity(bytes.len() + 16);
            frames::encode(&Whose::Ranks([rank].into_iter().collect()), bytes, mark, &mut framed);
            dest.give(framed.into());
        } else {
            dest.give(bytes.into());
        }
    }

    fn deal_frame(&mut self, frame: Frame) {
        let Frame { whose, data, mark } = frame;
        let over = mark == Mark::End && whose == Whose::All;
        if over && data.is_empty() {
            return self.close();
        }
        let ranks = match &whose {
            Whose::All => None,
            Whose::Ranks(ranks) => Some(ranks),
        };
        for dest in self.dests.values_mut() {
            let mine = ranks.map_or_else(|| dest.ranks.clone(), |ranks| dest.ranks.intersection(ranks));
            if mine.is_empty() {
                continue;
            }
            if dest.share {
                let mut framed = Vec::with_capacity(data.len() + 16);
                frames::encode(&Whose::Ranks(mine), &data, mark, &mut framed);
                dest.give(framed.into());
            } else {
                dest.give(data.as_slice().into());
                dest.ended |= mark == Mark::End;
            }
        }
        if over {
            self.close();
        }
    }

    fn trouble(&mut self, text: String) {
        if self.troubles.len() < 16 {
            self.troubles.push(text);
        }
    }

    /// What went wrong.
    pub(crate) fn troubles(&mut self) -> Vec<String> {
        core::mem::take(&mut self.troubles)
    }

    /// Bytes for a destination, the next ones, about `most`.
    pub(crate) fn take(&mut self, id: DestId, most: usize) -> Vec<u8> {
        let Some(dest) = self.dests.get_mut(&id) else { return Vec::new() };
        let mut bytes = Vec::new();
        while let Some(next) = dest.queue.front() {
            if !bytes.is_empty() && bytes.len() + next.len() > most {
                break;
            }
            bytes.extend_from_slice(next);
            dest.queue.pop_front();
        }
        dest.waiting = dest.waiting.saturating_sub(bytes.len());
        bytes
    }

    /// Whether a destination has been given all.
    pub(crate) fn is_over(&self, id: DestId) -> bool {
        self.dests.get(&id).is_none_or(|dest| dest.ended && dest.queue.is_empty())
    }
}

impl Dest {
    fn give(&mut self, bytes: Arc<[u8]>) {
        if !self.ended && !bytes.is_empty() {
            self.waiting += bytes.len();
            self.queue.push_back(bytes);
        }
    }

    fn end(&mut self) {
        if self.share {
            self.give(last_frame());
        }
        self.ended = true;
    }
}

fn last_frame() -> Arc<[u8]> {
    let mut frame = Vec::new();
    frames::encode(&Whose::All, b"", Mark::End, &mut frame);
    frame.into()
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Field `key` of a record; `None` if more of the record is needed to know it.
fn field(body: &[u8], key: u32, whole: bool) -> Option<&[u8]> {
    let mut fields = 0;
    let mut at = 0;
    loop {
        at += body[at..].iter().take_while(|b| is_blank(**b) || **b == b'\n').count();
        let len = body[at..].iter().take_while(|b| !is_blank(**b) && **b != b'\n').count();
        fields += 1;
        let ends = at + len < body.len() || whole;
        if fields == key || at >= body.len() {
            return ends.then(|| &body[at..at + len]);
        }
        at += len;
    }
}

/// Fowler, Noll and Vo's hash 1a, of 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
