//! Records at random, and the rules by which they are dealt out, said as simply as can be.

use crate::cloud::programs::fnv;
use fastrand::Rng;

/// How stdin is dealt out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Broadcast,
    Robin,
    Hash,
    HashKey,
    Rank,
}

/// What ends a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Line,
    Nul,
    Blank,
    Len32,
    Regex,
}

/// How output is collected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Lines,
    Tag,
    Rank,
    Fold,
    Frames,
    /// Through `sum`.
    Reduce,
}

impl Way {
    pub(super) fn words(self) -> &'static str {
        match self {
            Way::Broadcast => "broadcast",
            Way::Robin => "robin",
            Way::Hash => "hash",
            Way::HashKey => "hash 2",
            Way::Rank => "rank",
        }
    }
}

impl Kind {
    pub(super) fn words(self) -> &'static str {
        match self {
            Kind::Line => "line",
            Kind::Nul => "nul",
            Kind::Blank => "blank",
            Kind::Len32 => "len32",
            Kind::Regex => "regex END[0-9]",
        }
    }

    fn end(self) -> &'static [u8] {
        match self {
            Kind::Line => b"\n",
            Kind::Nul => b"\0",
            Kind::Blank => b"\n\n",
            Kind::Len32 => b"",
            Kind::Regex => b"END7",
        }
    }

    /// Cuts bytes into records; the last one may be without its end.
    pub(super) fn cut(self, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let len = match self {
                Kind::Len32 => {
                    let head = bytes.first_chunk::<4>().map_or(0, |head| u32::from_be_bytes(*head) as usize);
                    4 + head
                }
                _ => {
                    let end = self.end();
                    let at = bytes.windows(end.len()).position(|at| at == end);
                    at.map_or(bytes.len(), |at| at + end.len())
                }
            };
            let (record, rest) = bytes.split_at(len.min(bytes.len()));
            all.push(record.to_vec());
            bytes = rest;
        }
        all
    }

    /// The same as they come out, where a record is always whole: a last one is given its end.
    pub(super) fn whole(self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut all = self.cut(bytes);
        if let Some(last) = all.last_mut()
            && !last.ends_with(self.end())
        {
            // Of what a pattern ends, nobody knows what that would be.
            last.extend_from_slice(if self == Kind::Regex { b"\n" } else { self.end() });
        }
        all
    }
}

impl Form {
    pub(super) fn words(self) -> &'static str {
        match self {
            Form::Lines => "lines",
            Form::Tag => "tag",
            Form::Rank => "rank",
            Form::Fold => "fold",
            Form::Frames => "frames",
            Form::Reduce => "reduce sum",
        }
    }
}

/// How records flow; some pairs have no meaning that anybody would want.
pub(super) fn random(rng: &mut Rng, faults: bool) -> (Way, Kind, Form) {
    use Kind::*;
    let kind = [Line, Line, Nul, Blank, Len32, Regex][rng.usize(0..6)];
    // How a last record that was cut off is ended is plain of these two.
    let kind = if faults && kind != Nul { Line } else { kind };
    let way = [Way::Broadcast, Way::Robin, Way::Hash, Way::HashKey, Way::Rank][rng.usize(0..5)];
    let way = if kind == Len32 && way != Way::Broadcast { Way::Robin } else { way };
    let form = [Form::Lines, Form::Tag, Form::Rank, Form::Fold, Form::Frames][rng.usize(0..5)];
    (way, kind, fitting(kind, form))
}

fn fitting(kind: Kind, form: Form) -> Form {
    match (kind, form) {
        (Kind::Line, form) => form,
        (Kind::Len32, Form::Tag) | (_, Form::Fold | Form::Reduce) => Form::Frames,
        (_, form) => form,
    }
}

/// How another output is collected, or the same one in another way.
pub(super) fn also(rng: &mut Rng, kind: Kind) -> Form {
    let all = [Form::Lines, Form::Tag, Form::Rank, Form::Fold, Form::Frames, Form::Reduce];
    fitting(kind, all[rng.usize(0..all.len())])
}

/// What is written to a group's stdin.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) bytes: Vec<u8>,
    /// Of each record, what its ranks get.
    pub(super) records: Vec<Vec<u8>>,
    pub(super) ranks: Vec<Vec<u32>>,
    /// How far it goes in `bytes`.
    pub(super) ends: Vec<usize>,
}

impl Sent {
    /// All that a rank gets.
    pub(super) fn of(&self, rank: u32) -> Vec<u8> {
        let mine = self.records.iter().zip(&self.ranks).filter(|(_, ranks)| ranks.contains(&rank));
        mine.flat_map(|(record, _)| record.iter().copied()).collect()
    }
}

/// Records of a byte to several megabytes.
pub(super) fn sent(rng: &mut Rng, size: u32, way: Way, kind: Kind) -> Sent {
    let mut sent = Sent { bytes: Vec::new(), records: Vec::new(), ranks: Vec::new(), ends: Vec::new() };
    let count = [0, 3, 30, 300][rng.usize(0..4)];
    let large = rng.u32(0..6) == 0;
    for at in 0..count {
        let hashed = matches!(way, Way::Hash | Way::HashKey);
        let len = match rng.u32(0..20) {
            // What of a longer one is hashed is what is held.
            0 if large && !hashed && sent.bytes.len() < 4_000_000 => rng.usize(100_000..3_000_000),
            0 => rng.usize(0..20_000),
            1..=4 => rng.usize(0..2),
            _ => rng.usize(0..200),
        };
        let mut body = match len {
            0 if way == Way::Rank || kind == Kind::Blank => b"x".to_vec(),
            0 => Vec::new(),
            1 => b"y".to_vec(),
            _ => format!("i{at} k{} ", rng.u32(0..9)).into_bytes(),
        };
        // A pattern that tells one place from another.
        let begun = body.len();
        body.extend((begun..len).map(|i| b'a' + ((i * 7 + at * 13 + i / 97) % 26) as u8));
        let ranks: Vec<u32> = match way {
            Way::Broadcast => (0..size).collect(),
            Way::Robin => vec![at as u32 % size],
            Way::Hash => {
                // What a pattern ends is not told apart from its end.
                let end = if kind == Kind::Regex { kind.end() } else { b"" };
                vec![(fnv(&[&body, end].concat()) % u64::from(size)) as u32]
            }
            Way::HashKey => {
                let text = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
                let key = text.split_whitespace().nth(1).unwrap_or_default().to_string();
                vec![(fnv(key.as_bytes()) % u64::from(size)) as u32]
            }
            Way::Rank => {
                let (a, b) = (rng.u32(0..size), rng.u32(0..size));
                let (head, ranks) = match rng.u32(0..4) {
                    0 => ("*".to_string(), (0..size).collect()),
                    1 if a < b => (format!("{a}-{b}"), (a..=b).collect()),
                    2 if a < b => (format!("{a},{b}"), vec![a, b]),
                    _ => (a.to_string(), vec![a]),
                };
                sent.bytes.extend(format!("{head} ").as_bytes());
                ranks
            }
        };
        let mut record = body;
        record.extend(kind.end());
        if kind == Kind::Len32 {
            let head = (record.len() as u32).to_be_bytes();
            record.splice(0..0, head);
        }
        sent.bytes.extend(&record);
        sent.records.push(record);
        sent.ranks.push(ranks);
        sent.ends.push(sent.bytes.len());
    }
    sent
}
