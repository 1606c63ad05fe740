//! `fold`: whole outputs, each written once under the ranks that have it.
//!
//! Outputs of members here are read when they have ended, one after the other, so that only different ones are in memory.

use super::source::Chunk;
use crate::{flow::frames::Mark, limits, ranks::RankSet};
use alloc::{
    collections::{BTreeMap, VecDeque},
    format,
    vec::Vec,
};

use super::SourceId;

/// Different outputs so far.
#[derive(Debug, Default)]
pub(super) struct Fold {
    blocks: BTreeMap<Vec<u8>, RankSet>,
    /// Bytes of them.
    bytes: usize,
    /// What is not whole, and whether it was cut.
    open: BTreeMap<SourceId, (Vec<u8>, bool)>,
    /// Members whose output has ended, in the order in which they are read.
    pub(super) line: VecDeque<SourceId>,
    /// All is folded, and this is left to be written.
    out: Option<VecDeque<(RankSet, Vec<u8>)>>,
    /// How far the first of them is written.
    at: usize,
}

impl Fold {
    /// Takes a chunk. What is too much to be kept is cut; these ranks are told then.
    pub(super) fn take(&mut self, source: SourceId, chunk: Chunk) -> Option<RankSet> {
        let (data, cut) = self.open.entry(source).or_default();
        let now = chunk.data.len().min(limits::FOLD.saturating_sub(data.len()));
        data.extend_from_slice(&chunk.data[..now]);
        *cut |= now < chunk.data.len();
        if chunk.mark == Mark::More {
            return None;
        }
        let (mut data, mut cut) = self.open.remove(&source).unwrap_or_default();
        if let Some(ranks) = self.blocks.get_mut(&data).filter(|_| !cut) {
            ranks.union_with(&chunk.ranks);
            return None;
        }
        let room = limits::FOLD.saturating_sub(self.bytes);
        cut |= data.len() > room;
        if cut {
            data.truncate(room);
            let newline = if data.ends_with(b"\n") || data.is_empty() { "" } else { "\n" };
            let keeps = limits::FOLD >> 20;
            let said = format!("{newline}uem: cut here: fold keeps {keeps} MiB of different outputs\n");
            data.extend_from_slice(said.as_bytes());
        }
        data.shrink_to_fit();
        self.bytes += data.len();
        self.blocks.entry(data).or_default().union_with(&chunk.ranks);
        cut.then_some(chunk.ranks)
    }

    /// Whether bytes of a source can be taken: one output at a time is not whole.
    pub(super) fn admits(&self, id: SourceId) -> bool {
        self.open.is_empty() || self.open.contains_key(&id)
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.open.values().map(|(data, _)| data.len()).sum::<usize>()
    }

    /// Whether all outputs so far are whole.
    pub(super) fn is_between(&self) -> bool {
        self.open.is_empty()
    }

    /// Writes on; false when there is nothing more. Nothing comes after the first of these.
    pub(super) fn write(&mut self, framed: bool, out: &mut Vec<u8>) -> bool {
        let blocks = &mut self.blocks;
        let all = self.out.get_or_insert_with(|| {
            // Nothing is written of an empty one, and who gets nothing does not come again.
            let shown = core::mem::take(blocks).into_iter().filter(|(data, _)| framed || !data.is_empty());
            let mut all: Vec<_> = shown.map(|(data, ranks)| (ranks, data)).collect();
            all.sort_by_key(|(ranks, _)| ranks.first());
            all.into()
        });
        let Some((ranks, data)) = all.front() else { return false };
        let whole = data.len() - self.at <= limits::FLOW;
        let piece = &data[self.at..data.len().min(self.at + limits::FLOW)];
        if framed {
            let mark = if whole { Mark::End } else { Mark::More };
            crate::flow::frames::encode(&crate::flow::frames::Whose::Ranks(ranks.clone()), piece, mark, out);
        } else if !data.is_empty() {
            if self.at == 0 {
                out.extend_from_slice(header(ranks, data).as_bytes());
            }
            out.extend_from_slice(piece);
            if whole && !data.ends_with(b"\n") {
                out.push(b'\n');
            }
        }
        self.at += piece.len();
        if whole {
            all.pop_front();
            self.at = 0;
        }
        true
    }

    pub(super) fn is_written(&self) -> bool {
        self.out.as_ref().is_some_and(VecDeque::is_empty)
    }
}

/// What stands before a block: of one line, on that line.
fn header(ranks: &RankSet, data: &[u8]) -> alloc::string::String {
    let line = data.iter().position(|b| *b == b'\n').is_none_or(|at| at + 1 == data.len());
    match line {
        true => format!("[{ranks}]: "),
        false => format!("---------------\n[{ranks}] ({})\n---------------\n", ranks.len()),
    }
}
