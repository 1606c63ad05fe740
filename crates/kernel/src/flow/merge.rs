//! Collects one output of a group: what its members write and what its shares give, as one stream.
//!
//! ```text
//!   member 3: bytes ──▶ records ─┐
//!   member 4: bytes ──▶ records ─┼─▶ one after the other, as the order says ─▶ layout ─▶ bytes
//!   share: frames ───────────────┘
//! ```
//! A record is passed on when it is whole. One that is longer than is held owns the output until it ends: nothing comes
//! between its parts. Who has given enough, or waits for another, is not read on ([`Merge::wants`]).

mod fold;
mod source;

#[cfg(test)]
mod tests;

use super::{
    frames::{self, Mark, Whose},
    records::{self, Records},
};
use crate::{
    limits,
    ranks::{Rank, RankSet},
};
use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    format,
    string::String,
    vec::Vec,
};
use fold::Fold;
use source::{Chunk, Source};

/// Number of a source, by whoever reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SourceId(pub(crate) u64);

/// In which order outputs stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Order {
    /// Records as they come.
    #[default]
    Mixed,
    /// Equal outputs once.
    Fold,
    /// One rank after the other.
    Rank,
}

/// How they are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Layout {
    #[default]
    Plain,
    /// `RANK: ` before each record.
    Tag,
    /// For whoever takes them apart again.
    Frames,
}

/// How a group's output is collected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Form {
    pub(crate) order: Order,
    pub(crate) layout: Layout,
}

/// One collected output.
#[derive(Debug)]
pub(crate) struct Merge {
    form: Form,
    records: Records,
    sources: BTreeMap<SourceId, Source>,
    /// Those that have something, in the order in which they will be served.
    line: VecDeque<SourceId>,
    /// Whose record has begun and is not whole.
    owner: Option<SourceId>,
    /// What is missing of the record of `len32` that has begun, and what of it has to be filled.
    left: u64,
    fill: u64,
    turn: Turn,
    fold: Fold,
    out: Vec<u8>,
    /// Bytes that are held in all.
    held: usize,
    /// No more sources will come.
    all: bool,
    troubles: Vec<(RankSet, String)>,
    /// Who might be read on, now that something has gone.
    revisit: BTreeSet<SourceId>,
}

/// Whose turn it is, in the order of ranks.
#[derive(Debug, Default)]
struct Turn {
    /// Ranks that will have an output, and those of them that will have none any more.
    expected: RankSet,
    finished: RankSet,
    members: BTreeSet<(Rank, SourceId)>,
    current: Option<(Rank, SourceId)>,
}

impl Merge {
    pub(crate) fn new(form: Form, records: Records) -> Merge {
        Merge {
            form,
            records,
            sources: BTreeMap::new(),
            line: VecDeque::new(),
            owner: None,
            left: 0,
            fill: 0,
            turn: Turn::default(),
            fold: Fold::default(),
            out: Vec::new(),
            held: 0,
            all: false,
            troubles: Vec::new(),
            revisit: BTreeSet::new(),
        }
    }

    /// Bytes that are held, with those that wait for the spool.
    pub(crate) fn bytes(&self) -> usize {
        self.held + self.out.len() + self.fold.bytes()
    }

    /// A member whose bytes will be pushed.
    pub(crate) fn add_member(&mut self, id: SourceId, rank: Rank) {
        let source = match self.form.order {
            Order::Mixed => Source::cut([rank].into_iter().collect(), &self.records),
            Order::Fold | Order::Rank => Source::raw(rank),
        };
        self.turn.members.insert((rank, id));
        self.sources.insert(id, source);
        self.revisit.insert(id);
    }

    /// A share whose frames will be pushed.
    pub(crate) fn add_share(&mut self, id: SourceId, ranks: RankSet) {
        self.sources.insert(id, Source::frames(ranks));
        self.revisit.insert(id);
    }

    /// A share that gives bytes as a member does: those of a program that had them all.
    pub(crate) fn add_reduced(&mut self, id: SourceId, ranks: RankSet) {
        self.sources.insert(id, Source::cut(ranks, &self.records));
        self.revisit.insert(id);
    }

    /// A share has these ranks now.
    pub(crate) fn share_has(&mut self, id: SourceId, ranks: &RankSet) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.ranks.clone_from(ranks);
        }
    }

    /// These ranks will have an output, in the order of ranks.
    pub(crate) fn expect(&mut self, ranks: &RankSet) {
        self.turn.expected.union_with(ranks);
    }

    /// Of these ranks nothing new will come.
    pub(crate) fn finished(&mut self, ranks: &RankSet) {
        self.turn.finished.union_with(ranks);
    }

    /// No more sources will come.
    pub(crate) fn no_more(&mut self) {
        self.all = true;
    }

    /// All that a member wrote can be read now, to its end.
    pub(crate) fn complete(&mut self, id: SourceId) {
        if self.form.order == Order::Fold && self.sources.contains_key(&id) {
            self.fold.line.push_back(id);
            self.revisit.insert(id);
        }
    }

    /// Whose bytes a source has.
    pub(crate) fn ranks_of(&self, id: SourceId) -> RankSet {
        self.sources.get(&id).map(|source| source.ranks.clone()).unwrap_or_default()
    }

    /// Whether bytes of a source may be pushed.
    pub(crate) fn wants(&self, id: SourceId) -> bool {
        let Some(source) = self.sources.get(&id).filter(|source| !source.closed) else { return false };
        if source.queued >= limits::FLOW {
            return false;
        }
        match self.form.order {
            Order::Mixed => self.owner == Some(id) || self.held < limits::FLOW_ALL,
            Order::Fold if !self.fold.admits(id) => false,
            Order::Fold => source.is_share() || self.fold.line.front() == Some(&id),
            Order::Rank if self.turn.current.is_some_and(|(_, current)| current == id) => true,
            Order::Rank if source.is_share() => self.held < limits::FLOW_ALL,
            // One is read ahead.
            Order::Rank => self.turn.members.iter().take(2).any(|(_, member)| *member == id),
        }
    }

    /// Whom to read on: those that [`wants`](Merge::wants) is true of since something has gone.
    pub(crate) fn hungry(&mut self) -> Vec<SourceId> {
        let revisit = core::mem::take(&mut self.revisit);
        revisit.into_iter().filter(|id| self.wants(*id)).collect()
    }

    /// Bytes of a source, the next ones.
    pub(crate) fn push(&mut self, id: SourceId, bytes: &[u8]) {
        // Where much is held already, what owns the output first may be shorter.
        let hold = if self.held > limits::FLOW_ALL / 2 { limits::FLOW } else { limits::RECORD };
        self.change(id, |source| source.push(bytes, hold).map_err(|error| format!("{error}")));
    }

    /// A share begins anew: whether it is to be read from the start, or from where it was, since it says the same again; `None` if
    /// it cannot be gone on with.
    pub(crate) fn again(&mut self, id: SourceId) -> Option<bool> {
        if self.form.order == Order::Fold {
            return Some(false);
        }
        let ordered = self.form.order == Order::Rank;
        self.sources.get_mut(&id)?.again(ordered, &self.records).then_some(true)
    }

    /// Whether a share is to be read from the start again: the rest of a record, with which nothing else could come, is had.
    pub(crate) fn rewinds(&mut self, id: SourceId) -> bool {
        self.sources.get_mut(&id).is_some_and(Source::rewinds)
    }

    /// Whether a share that has said all is to be read from the start again: the rest of a record was not in it, and that stays cut.
    pub(crate) fn is_without(&mut self, id: SourceId) -> bool {
        let mut cut = None;
        self.change(id, |source| {
            cut = source.is_without();
            Ok(())
        });
        let without = cut.is_some();
        self.troubles.extend(cut.map(|ranks| (ranks.clone(), source::cut(&ranks))));
        without
    }

    /// A source has ended. What is not whole of it stays so.
    pub(crate) fn close(&mut self, id: SourceId) {
        self.change(id, Source::close);
        self.fold.line.retain(|waits| *waits != id);
        self.revisit.extend(self.fold.line.front());
        self.drop_if_over(id);
    }

    fn change(&mut self, id: SourceId, act: impl FnOnce(&mut Source) -> Result<(), String>) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        let before = source.queued + source.kept;
        let result = act(source);
        self.held = (self.held + source.queued + source.kept).saturating_sub(before);
        if let Err(text) = result {
            let before = source.queued + source.kept;
            let _it_was_said = source.close();
            self.held = (self.held + source.queued + source.kept).saturating_sub(before);
            self.troubles.push((source.ranks.clone(), text));
        }
        if self.form.order == Order::Fold {
            self.fold(id);
        } else if !source.chunks.is_empty() && !source.in_line {
            source.in_line = true;
            self.line.push_back(id);
        }
    }

    fn fold(&mut self, id: SourceId) {
        while let Some(chunk) = self.take_chunk(id) {
            if let Some(cut) = self.fold.take(id, chunk) {
                let text = format!(
                    "fold keeps {} MiB of different outputs: what is more was cut; `rank` keeps all",
                    limits::FOLD >> 20
                );
                self.troubles.push((cut, text));
            }
        }
        if self.fold.is_between() {
            let shares = self.sources.iter().filter(|(_, source)| source.is_share()).map(|(id, _)| *id);
            self.revisit.extend(shares.chain(self.fold.line.front().copied()));
        }
        self.drop_if_over(id);
    }

    fn take_chunk(&mut self, id: SourceId) -> Option<Chunk> {
        let source = self.sources.get_mut(&id)?;
        let chunk = source.chunks.pop_front()?;
        source.queued -= chunk.data.len();
        let full = self.held >= limits::FLOW_ALL;
        self.held = self.held.saturating_sub(chunk.data.len());
        match full && self.held < limits::FLOW_ALL {
            true => self.revisit.extend(self.sources.keys()),
            false => drop(self.revisit.insert(id)),
        }
        Some(chunk)
    }

    fn drop_if_over(&mut self, id: SourceId) {
        if let Some(source) = self.sources.get(&id).filter(|s| s.closed && s.chunks.is_empty()) {
            if let (false, Some(rank)) = (source.is_share(), source.ranks.first()) {
                self.turn.members.remove(&(rank, id));
                self.revisit.extend(self.turn.members.iter().take(2).map(|(_, id)| *id));
            }
            self.sources.remove(&id);
        }
    }

    /// Bytes of the output, the next ones, at most `most`.
    pub(crate) fn take(&mut self, most: usize) -> Vec<u8> {
        while self.out.len() < most.min(limits::FLOW) && self.step() {}
        let rest = self.out.split_off(self.out.len().min(most));
        core::mem::replace(&mut self.out, rest)
    }

    /// Whether there will be no more output.
    pub(crate) fn is_over(&self) -> bool {
        let written = self.form.order != Order::Fold || self.fold.is_written();
        self.all && self.sources.is_empty() && self.out.is_empty() && self.fill == 0 && written
    }

    /// What went wrong, and with whom.
    pub(crate) fn troubles(&mut self) -> Vec<(RankSet, String)> {
        core::mem::take(&mut self.troubles)
    }

    /// Who holds the others up, if somebody does: whose record has begun, or whose turn it is.
    pub(crate) fn waits_for(&self) -> Option<RankSet> {
        match (self.owner, self.form.order) {
            (Some(owner), _) => self.sources.get(&owner).map(|source| source.ranks.clone()),
            (None, Order::Rank) => {
                let next = self.turn.current.map(|(rank, _)| rank).or(self.turn.expected.first())?;
                Some([next].into_iter().collect())
            }
            (None, Order::Mixed | Order::Fold) => None,
        }
    }

    /// Moves one chunk, or says that none can be.
    fn step(&mut self) -> bool {
        if self.fill > 0 {
            let now = self.fill.min(limits::FLOW as u64);
            self.fill -= now;
            self.out.resize(self.out.len() + now as usize, 0);
            return true;
        }
        match self.form.order {
            Order::Mixed => self.step_mixed(),
            Order::Rank => self.step_rank(),
            Order::Fold => {
                let framed = self.form.layout == Layout::Frames;
                self.all && self.sources.is_empty() && self.fold.write(framed, &mut self.out)
            }
        }
    }

    fn step_mixed(&mut self) -> bool {
        let id = match self.owner {
            Some(owner) => owner,
            None => match self.line.pop_front() {
                Some(next) => next,
                None => return self.let_longest_go(),
            },
        };
        let Some(chunk) = self.take_chunk(id) else { return false };
        self.owner = (chunk.mark == Mark::More).then_some(id);
        let begun = self.left_off(id, self.owner.is_some());
        self.emit(&chunk, begun);
        true
    }

    /// Puts a source that was served back into the line; true if its record had begun before.
    fn left_off(&mut self, id: SourceId, owns: bool) -> bool {
        let Some(source) = self.sources.get_mut(&id) else { return false };
        let begun = core::mem::replace(&mut source.owns, owns);
        source.in_line = owns || !source.chunks.is_empty();
        if source.in_line && !owns {
            self.line.push_back(id);
        }
        self.drop_if_over(id);
        begun
    }

    /// So much is held that nobody is read, and none of it is whole.
    fn let_longest_go(&mut self) -> bool {
        if self.held < limits::FLOW_ALL {
            return false;
        }
        let longest = self.sources.iter().max_by_key(|(_, source)| source.kept).map(|(id, _)| *id);
        let Some(id) = longest else { return false };
        self.change(id, |source| {
            source.let_go();
            Ok(())
        });
        !self.line.is_empty()
    }

    fn step_rank(&mut self) -> bool {
        let (rank, id) = match self.turn.current.or_else(|| self.next_rank()) {
            Some(current) => current,
            None => return false,
        };
        self.turn.current = Some((rank, id));
        let Some(chunk) = self.take_chunk(id) else {
            if !self.sources.contains_key(&id) {
                // It was lost in the middle.
                self.pass_turn(rank);
                return true;
            }
            return false;
        };
        let ended = chunk.mark == Mark::End;
        self.emit(&chunk, true);
        if ended {
            self.pass_turn(rank);
        }
        self.drop_if_over(id);
        true
    }

    fn pass_turn(&mut self, rank: Rank) {
        self.turn.current = None;
        self.turn.expected.remove(rank);
        self.revisit.extend(self.turn.members.iter().take(2).map(|(_, id)| *id));
    }

    /// The lowest rank that can be written, unless a lower one is still expected. What a share gives comes in its order: a rank
    /// that was started again there is written when it comes.
    fn next_rank(&mut self) -> Option<(Rank, SourceId)> {
        let shares = || self.sources.iter().filter(|(_, source)| source.is_share());
        let heads = shares().filter_map(|(id, source)| Some((source.head()?, *id)));
        let first = heads.chain(self.turn.members.first().copied()).min();
        while let Some(expected) = self.turn.expected.first().filter(|r| first.is_none_or(|(f, _)| f > *r)) {
            let holder = self.sources.values().find(|s| s.is_share() && s.ranks.contains(expected));
            let passed = match holder {
                Some(share) => share.head().is_some(),
                None => self.all || self.turn.finished.contains(expected),
            };
            if !passed {
                return None;
            }
            self.turn.expected.remove(expected);
            if self.form.layout == Layout::Frames && holder.is_none() {
                let ranks = Whose::Ranks([expected].into_iter().collect());
                frames::encode(&ranks, b"", Mark::End, &mut self.out);
            }
        }
        first
    }

    /// Writes a chunk as the layout wants it.
    fn emit(&mut self, chunk: &Chunk, begun: bool) {
        let Chunk { ranks, data, mark } = chunk;
        if self.form.layout == Layout::Frames {
            if !data.is_empty() || *mark == Mark::End || begun {
                frames::encode(&Whose::Ranks(ranks.clone()), data, *mark, &mut self.out);
            }
            return;
        }
        if self.form.order == Order::Rank {
            return self.out.extend_from_slice(data);
        }
        if *mark == Mark::End && data.is_empty() && !begun {
            return;
        }
        let len32 = matches!(self.records, Records::Len32);
        if *mark == Mark::End && len32 && !begun {
            // Whoever reads on would take what follows for the rest of it.
            let text = format!("the last record was not whole: its {} bytes were dropped", data.len());
            return self.troubles.push((ranks.clone(), text));
        }
        let tag = match self.form.layout {
            Layout::Tag => format!("{ranks}: "),
            Layout::Plain | Layout::Frames => String::new(),
        };
        if *mark == Mark::Whole && !begun && !tag.is_empty() {
            for record in records::split(&self.records, data) {
                self.out.extend_from_slice(tag.as_bytes());
                self.out.extend_from_slice(record);
            }
            return;
        }
        if !begun {
            self.out.extend_from_slice(tag.as_bytes());
            if let (true, Some(head)) = (len32, data.first_chunk::<4>()) {
                self.left = 4 + u64::from(u32::from_be_bytes(*head));
            }
        }
        self.out.extend_from_slice(data);
        self.left = self.left.saturating_sub(data.len() as u64);
        if *mark == Mark::End && len32 {
            self.fill = core::mem::take(&mut self.left);
            let text =
                format!("the last record was not whole: it was filled up with {} zero bytes", self.fill);
            self.troubles.push((ranks.clone(), text));
        } else if *mark == Mark::End {
            self.out.extend_from_slice(self.records.terminator(data));
        }
    }
}
