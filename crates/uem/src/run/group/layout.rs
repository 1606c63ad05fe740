//! What of all members' output a person sees, and how: bytes as the node gives them, lines with a name before each, equal outputs once,
//! or how outputs differ. The last two hold what is different until all have ended, and are bounded in that.

use super::frames::Frame;
use super::labels::Labels;
use crate::failure::Failure;
use kernel::RankSet;
use similar::TextDiff;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};

/// Most bytes of different outputs that are held.
const HELD: usize = 256 << 20;

/// Above and below the names of those who wrote what follows.
const RULE: &str = "---------------";

/// How the frames of one stream become text.
pub(super) enum Layout {
    Tag(Tag),
    Fold(Outputs),
    Diff(Outputs),
}

impl Layout {
    /// Whether names are needed as frames come, and not at the end only.
    pub(super) fn names_early(&self) -> bool {
        matches!(self, Layout::Tag(_))
    }

    /// Takes a frame; what can be shown at once is appended to `out`.
    pub(super) fn frame(&mut self, frame: &Frame, labels: &Labels, out: &mut Vec<u8>) -> Result<(), Failure> {
        match self {
            Layout::Tag(tag) => tag.frame(frame, labels, out),
            Layout::Fold(outputs) | Layout::Diff(outputs) => {
                outputs.add(&frame.ranks, &frame.data);
                if outputs.held > HELD {
                    return Err(Failure::new(format!("outputs differ by more than {} MiB", HELD >> 20))
                        .hint("--fold and --diff hold them until all have ended; --tag and --rank do not"));
                }
            }
        }
        Ok(())
    }

    /// Nothing more will come from any of `all`.
    pub(super) fn end(&mut self, all: &RankSet, labels: &Labels, out: &mut Vec<u8>) {
        match self {
            Layout::Tag(tag) => tag.end(out),
            Layout::Fold(outputs) => show_folded(&outputs.classes(), labels, out),
            Layout::Diff(outputs) => {
                outputs.add(all, b"");
                show_differences(&outputs.classes(), labels, out);
            }
        }
    }
}

// ── a name before each line ────────────────────────────────────────────────────────────────

/// Lines with a name before each; a last one that is not ended is ended.
#[derive(Default)]
pub(super) struct Tag {
    /// A line goes on in the next frame.
    open: bool,
}

impl Tag {
    fn frame(&mut self, frame: &Frame, labels: &Labels, out: &mut Vec<u8>) {
        let name = labels.of(&frame.ranks);
        for line in frame.data.split_inclusive(|byte| *byte == b'\n') {
            if !std::mem::replace(&mut self.open, !line.ends_with(b"\n")) {
                out.extend(name.bytes());
                out.extend(b": ");
            }
            out.extend(line);
        }
        if !frame.more {
            self.end(out);
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.open) {
            out.push(b'\n');
        }
    }
}

// ── whole outputs ──────────────────────────────────────────────────────────────────────────

/// All outputs, each different one once. Members stand together for as long as what they wrote so far is equal.
#[derive(Default)]
pub(super) struct Outputs {
    classes: Vec<Class>,
    /// The class of each rank; not there, or `NONE`: it wrote nothing.
    of: Vec<usize>,
    by_hash: HashMap<u64, Vec<usize>>,
    /// Classes that nobody is in any more.
    free: Vec<usize>,
    held: usize,
}

const NONE: usize = usize::MAX;

#[derive(Default)]
struct Class {
    ranks: RankSet,
    data: Vec<u8>,
    /// Of `data`, as if it had been hashed in one piece.
    hash: DefaultHasher,
}

impl Outputs {
    /// These ranks have written more.
    fn add(&mut self, ranks: &RankSet, data: &[u8]) {
        let mut parts: BTreeMap<usize, RankSet> = BTreeMap::new();
        for rank in ranks.iter() {
            let class = self.of.get(rank as usize).copied().unwrap_or(NONE);
            if !(data.is_empty() && class != NONE) {
                parts.entry(class).or_default().insert(rank);
            }
        }
        for (class, ranks) in parts {
            let grown = self.taken(class, &ranks, data);
            self.put(grown);
        }
    }

    /// Takes members out of a class, with what they wrote and more.
    fn taken(&mut self, class: usize, ranks: &RankSet, data: &[u8]) -> Class {
        let mut grown = Class::default();
        if let Some(from) = self.classes.get_mut(class) {
            from.ranks.subtract(ranks);
            if from.ranks.is_empty() {
                if let Some(same) = self.by_hash.get_mut(&from.hash.finish()) {
                    same.retain(|other| *other != class);
                }
                grown = std::mem::take(from);
                self.held -= grown.data.len();
                self.free.push(class);
            } else {
                (grown.data, grown.hash) = (from.data.clone(), from.hash.clone());
            }
        }
        grown.ranks = ranks.clone();
        grown.data.extend(data);
        grown.hash.write(data);
        grown
    }

    fn put(&mut self, class: Class) {
        let same = self.by_hash.entry(class.hash.finish()).or_default();
        let classes = &self.classes;
        let equal = same.iter().copied().find(|at| classes[*at].data == class.data);
        let at = equal.unwrap_or_else(|| {
            let at = self.free.pop().unwrap_or(classes.len());
            same.push(at);
            at
        });
        for rank in class.ranks.iter() {
            let rank = rank as usize;
            if self.of.len() <= rank {
                self.of.resize(rank + 1, NONE);
            }
            self.of[rank] = at;
        }
        match self.classes.get_mut(at) {
            Some(known) if equal.is_some() => known.ranks.union_with(&class.ranks),
            Some(free) => {
                self.held += class.data.len();
                *free = class;
            }
            None => {
                self.held += class.data.len();
                self.classes.push(class);
            }
        }
    }

    /// Who wrote what, by lowest rank.
    fn classes(&self) -> Vec<(&RankSet, &[u8])> {
        let mut all: Vec<_> = self.classes.iter().map(|class| (&class.ranks, &class.data[..])).collect();
        all.retain(|(ranks, _)| !ranks.is_empty());
        all.sort_by_key(|(ranks, _)| ranks.first());
        all
    }
}

/// `NAMES: line`, and where there are more lines than one, the names in a line of their own above them.
fn show_folded(classes: &[(&RankSet, &[u8])], labels: &Labels, out: &mut Vec<u8>) {
    for (ranks, data) in classes.iter().filter(|(_, data)| !data.is_empty()) {
        let name = labels.of_block(ranks);
        match data[..data.len() - 1].contains(&b'\n') {
            false => out.extend(format!("{name}: ").bytes()),
            true => out.extend(format!("{RULE}\n{name} ({})\n{RULE}\n", ranks.len()).bytes()),
        }
        push_lines(data, out);
    }
}

/// What most of them wrote, and how the others differ from it, as a unified diff.
fn show_differences(classes: &[(&RankSet, &[u8])], labels: &Labels, out: &mut Vec<u8>) {
    // Of equally many, those of the lowest rank.
    let Some((most, common)) = classes.iter().rev().max_by_key(|(ranks, _)| ranks.len()) else { return };
    let all: usize = classes.iter().map(|(ranks, _)| ranks.len()).sum();
    let name = labels.of_block(most);
    out.extend(format!("{RULE}\n{name} ({} of {all})\n{RULE}\n", most.len()).bytes());
    push_lines(common, out);
    let before = String::from_utf8_lossy(common);
    for (ranks, data) in classes.iter().filter(|(ranks, _)| ranks != most) {
        let after = String::from_utf8_lossy(data);
        let diff = TextDiff::from_lines(&before, &after);
        let text = diff.unified_diff().header(&name, &labels.of_block(ranks)).to_string();
        match text.is_empty() {
            false => push_lines(text.as_bytes(), out),
            // They differ in bytes that are no text.
            true => {
                out.extend(format!("{} differ in bytes that are no text\n", labels.of_block(ranks)).bytes())
            }
        }
    }
}

fn push_lines(data: &[u8], out: &mut Vec<u8>) {
    out.extend(data);
    if !data.is_empty() && !data.ends_with(b"\n") {
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> RankSet {
        RankSet::parse(text).unwrap()
    }

    fn shown(mut layout: Layout, frames: &[(&str, &str, bool)], all: &str) -> String {
        let mut out = Vec::new();
        let labels = Labels::Ranks;
        for (ranks, data, more) in frames {
            let frame = Frame { ranks: set(ranks), data: data.as_bytes().to_vec(), more: *more };
            layout.frame(&frame, &labels, &mut out).unwrap();
        }
        layout.end(&set(all), &labels, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_has_its_members_before_it() {
        let tag = |frames: &[(&str, &str, bool)]| shown(Layout::Tag(Tag::default()), frames, "0-9");
        assert_eq!(tag(&[("1", "a\nb\n", false), ("0-3", "\n", false)]), "1: a\n1: b\n[0-3]: \n");
        assert_eq!(tag(&[("1", "no end", false), ("2", "x\n", false)]), "1: no end\n2: x\n");
        assert_eq!(tag(&[("1", "lo", true), ("1", "ng", true), ("1", "\n", false)]), "1: long\n");
        assert_eq!(tag(&[("1", "cut", true)]), "1: cut\n");
    }

    fn fold(frames: &[(&str, &str, bool)]) -> String {
        shown(Layout::Fold(Outputs::default()), frames, "0-9")
    }

    #[test]
    fn equal_outputs_are_shown_once() {
        assert_eq!(fold(&[]), "");
        let folded = fold(&[("2", "x\n", false), ("0", "y\n", false), ("1", "x\n", false)]);
        assert_eq!(folded, "[0]: y\n[1-2]: x\n");
        // However they came: piece by piece, or from several at once.
        let folded = fold(&[("0-3", "a\n", false), ("1", "b\n", false), ("0,2-3", "b\n", false)]);
        assert_eq!(folded, format!("{RULE}\n[0-3] (4)\n{RULE}\na\nb\n"));
        let folded = fold(&[("0-2", "a\n", false), ("1", "b\n", false), ("3", "c", false)]);
        assert_eq!(folded, format!("[0,2]: a\n{RULE}\n[1] (1)\n{RULE}\na\nb\n[3]: c\n"));
        assert_eq!(fold(&[("0", "\n", false), ("1", "", false)]), "[0]: \n");
    }

    /// Pieces of equal outputs in any order, from any sets, against the obvious.
    #[test]
    fn what_is_equal_at_the_end_is_one() {
        let mut seed = 1_u32;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) as usize % below
        };
        for _ in 0..500 {
            let mut outputs = Outputs::default();
            let mut plain = vec![Vec::new(); 6];
            for _ in 0..12 {
                let bits = random(63) + 1;
                let piece = [&b"a\n"[..], b"b", b"ab\n", b""][random(4)];
                let ranks: RankSet = (0..6).filter(|rank| bits >> rank & 1 == 1).collect();
                outputs.add(&ranks, piece);
                ranks.iter().for_each(|rank| plain[rank as usize].extend(piece));
            }
            let mut expected: BTreeMap<&[u8], RankSet> = BTreeMap::new();
            for (rank, data) in plain.iter().enumerate().filter(|(_, data)| !data.is_empty()) {
                expected.entry(data).or_default().insert(rank as u32);
            }
            let mut found: Vec<_> = outputs.classes();
            found.retain(|(_, data)| !data.is_empty());
            assert_eq!(found.len(), expected.len());
            assert!(found.iter().all(|(ranks, data)| expected[data] == **ranks));
            assert_eq!(outputs.held, found.iter().map(|(_, data)| data.len()).sum::<usize>());
        }
    }

    #[test]
    fn the_common_output_is_shown_and_how_others_differ() {
        let diff = |frames: &[(&str, &str, bool)], all| shown(Layout::Diff(Outputs::default()), frames, all);
        let two = diff(&[("0-2", "a\nb\n", false), ("3", "a\nc\n", false)], "0-4");
        let expected = "[0-2] (3 of 5)\n---------------\na\nb\n\
                        --- [0-2]\n+++ [3]\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n\
                        --- [0-2]\n+++ [4]\n@@ -1,2 +0,0 @@\n-a\n-b\n";
        assert_eq!(two, format!("{RULE}\n{expected}"));
        let one = diff(&[("0-2", "a\n", false)], "0-2");
        assert_eq!(one, format!("{RULE}\n[0-2] (3 of 3)\n{RULE}\na\n"));
        let even = diff(&[("1", "a\n", false), ("0", "b\n", false)], "0-1");
        assert_eq!(even.lines().nth(1), Some("[0] (1 of 2)"));
    }
}
