//! What a group's members took, and what came out, held against what was sent.

use super::{
    Form, Group, READ, Run,
    records::{Kind, Way},
};
use crate::{
    cloud::programs::summed,
    provider::{Program, Stand},
};
use op::{Errno, How, Op, Reply};
use std::{collections::BTreeMap, time::Duration};

/// Members by rank.
type Members<'a> = BTreeMap<u32, &'a Program>;

impl Group {
    /// Whether a file of it is what a program makes of what the members wrote.
    pub(super) fn reduces(&self, file: &str) -> bool {
        match file {
            "stdout" => self.form == Form::Reduce,
            "stderr" => self.errors == Some(Form::Reduce),
            _ => false,
        }
    }
}

impl Run {
    /// All programs of a group.
    pub(super) fn members(&self) -> Members<'_> {
        let mut all = Members::new();
        for host in &self.cloud.hosts {
            let members = host.world.provider.programs.values().filter(|p| p.launch.argv[0] != b"sum");
            for program in members {
                let rank = program.launch.argv.last().map(|word| String::from_utf8_lossy(word).into_owned());
                let rank = rank.and_then(|rank| rank.parse().ok()).expect("its last word is its rank");
                assert!(all.insert(rank, program).is_none(), "rank {rank} was started twice");
            }
        }
        all
    }

    /// What the group says of itself, for who has to find out.
    pub(super) fn seen(&mut self, group: &Group) -> String {
        self.heal();
        let who = self.cloud.connect(group.home, "ericvh");
        let mut all = String::new();
        let of_group = ["info", "status", "wait"].map(|file| format!("{}/{file}", group.path));
        let of_nodes = (0..self.cloud.hosts.len())
            .flat_map(|at| ["error", "0/info", "0/status", "1/info"].map(|file| format!("net/n{at}/{file}")));
        for file in of_group.into_iter().chain(of_nodes) {
            let Ok(fid) = self.cloud.open(who, &file, READ) else { continue };
            let tag = self.cloud.ask(who, Op::Read { fid, offset: 0, count: 10_000, wait: true });
            self.cloud.run(Duration::from_secs(5));
            if let Some(Reply::Data(data)) = self.cloud.reply(who, tag) {
                all = format!("{all}\n{file}:\n{}", String::from_utf8_lossy(&data));
            }
        }
        all
    }

    /// Judges everything, when it has ended.
    pub(super) fn judge(&mut self, group: &Group, ends: &str) {
        let outputs: Vec<(usize, Form, op::Result<Vec<u8>>)> =
            [("stdout", Some(group.form)), ("stderr", group.errors)]
                .into_iter()
                .enumerate()
                .filter_map(|(at, (file, form))| Some((at, form?, self.output(group, file))))
                .collect();
        let path = &group.path;
        let all = self.members();
        let ranks =
            ends.lines().filter_map(|line| line.rsplit_once("rank=")?.1.split(' ').next()?.parse().ok());
        let mut ranks: Vec<u32> = ranks.collect();
        ranks.sort_unstable();
        assert_eq!(ranks, (0..group.size).collect::<Vec<_>>(), "{path}: wait names every rank once:\n{ends}");
        let sure = |program: &&Program| program.exit.is_some_and(|exit| exit.how == How::Code(0));
        for (rank, program) in &all {
            assert_eq!(program.stand, Stand::Ended, "{path}: rank {rank} has ended");
            let (right, took) = (group.sent.of(*rank), &program.taken);
            assert!(right.starts_with(took), "{path}: rank {rank} took something else than was for it");
            if !self.faults {
                assert_eq!(right.len(), took.len(), "{path}: rank {rank} took all that was for it");
                assert!(sure(program), "{path}: rank {rank} ended by {:?}", program.exit);
            }
        }
        let whole = all.len() == group.size as usize && all.values().all(sure);
        assert!(whole || self.faults, "{path}: without faults all run to their end");
        let torn = all.values().filter(|program| !sure(program)).count();
        let mut unsure = 0;
        for (at, form, output) in outputs {
            let output = match output {
                Ok(output) => output,
                Err(error) => {
                    let said = error.errno == Errno::IO && form == Form::Reduce && self.faults;
                    assert!(said, "{path}: output {at} cannot be read: {error}");
                    unsure += 1;
                    continue;
                }
            };
            match form {
                Form::Frames => framed(path, &all, at, &output),
                Form::Tag => tagged(path, group.kind, &all, at, &output),
                Form::Lines => mixed(group, &all, at, &output, torn),
                Form::Rank if whole => {
                    let right: Vec<u8> = all.values().flat_map(|p| p.spool[at].iter().copied()).collect();
                    assert!(output == right, "{path}: one rank after the other, to the byte");
                }
                Form::Fold if whole => assert!(output == folded(&all, at), "{path}: equal outputs once"),
                Form::Reduce => {
                    let wrote = all.values().flat_map(|p| group.kind.whole(&p.spool[at])).flatten();
                    let right = summed(&wrote.collect::<Vec<u8>>());
                    assert_eq!(
                        String::from_utf8_lossy(&output),
                        right,
                        "{path}: what is not said to lack something lacks nothing"
                    );
                }
                Form::Rank | Form::Fold => {}
            }
        }
        let records = group.sent.records.len();
        let taken: usize = all.values().map(|program| program.taken.len()).sum();
        if group.errors.is_some() {
            self.cloud.counters.count("flows of stderr");
        }
        if group.form == Form::Reduce {
            self.cloud.counters.count("flows through a program");
        }
        self.cloud.counters.count_many("results that lack something, and say so", unsure);
        self.cloud.counters.count_many("records sent", records);
        self.cloud.counters.count_many("bytes taken by members", taken);
        self.cloud.counters.count(match (self.faults, whole) {
            (false, _) => "flows without faults",
            (true, true) => "flows through faults, of which all came to the end",
            (true, false) => "flows of which members were lost",
        });
        if group.sent.records.iter().any(|record| record.len() > 1 << 20) {
            self.cloud.counters.count("flows with records of more than a megabyte");
        }
    }
}

/// What a member wrote is there, or, if it was lost, its beginning.
fn begins(path: &str, rank: u32, program: &Program, whole: &[Vec<u8>], said: &[&[u8]]) {
    let lost = program.exit.is_none_or(|exit| exit.how != How::Code(0));
    let same = said.iter().zip(whole).take_while(|(a, b)| *a == b).count();
    if !lost {
        assert_eq!(
            (same, said.len()),
            (whole.len(), whole.len()),
            "{path}: rank {rank}: its records, once, in order"
        );
        return;
    }
    // The last may have ended in the middle.
    assert!(said.len() <= same + 1, "{path}: rank {rank}: its records, once, in order");
    if let (Some(last), Some(right)) = (said.get(same), whole.get(same)) {
        let common = last.iter().zip(right).take_while(|(a, b)| a == b).count();
        assert!(common + 4 >= last.len(), "{path}: rank {rank}: a record that is another");
    }
}

fn tagged(path: &str, kind: Kind, all: &Members<'_>, stream: usize, output: &[u8]) {
    let mut said: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    for record in kind.cut(output) {
        let at = record.windows(2).position(|at| at == b": ").unwrap_or_else(|| panic!("{path}: no tag"));
        let rank = String::from_utf8_lossy(&record[..at]).trim_start().parse();
        let rank: u32 = rank.unwrap_or_else(|_| panic!("{path}: {:?} is no rank", &record[..at]));
        said.entry(rank).or_default().push(record[at + 2..].to_vec());
    }
    for (rank, program) in all {
        let said: Vec<&[u8]> = said.get(rank).into_iter().flatten().map(Vec::as_slice).collect();
        begins(path, *rank, program, &kind.whole(&program.spool[stream]), &said);
    }
    assert!(said.keys().all(|rank| all.contains_key(rank)), "{path}: ranks that there are");
}

fn framed(path: &str, all: &Members<'_>, stream: usize, output: &[u8]) {
    let mut said: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut rest = output;
    while !rest.is_empty() {
        let at =
            rest.iter().position(|b| *b == b'\n').unwrap_or_else(|| panic!("{path}: a frame has a head"));
        let head = String::from_utf8_lossy(&rest[..at]).into_owned();
        let words: Vec<&str> = head.split(' ').collect();
        let len: usize = words[1].parse().unwrap_or_else(|_| panic!("{path}: {head:?} says how long it is"));
        for part in words[0].split(',') {
            let (a, b) = part.split_once('-').unwrap_or((part, part));
            let (a, b): (u32, u32) = match part {
                "*" => (0, all.len() as u32 - 1),
                _ => (a.parse().expect("a rank"), b.parse().expect("a rank")),
            };
            for rank in a..=b {
                said.entry(rank).or_default().extend(&rest[at + 1..at + 1 + len]);
            }
        }
        rest = &rest[at + 1 + len..];
    }
    for (rank, program) in all {
        let said = said.remove(rank).unwrap_or_default();
        let lost = program.exit.is_none_or(|exit| exit.how != How::Code(0));
        let wrote = &program.spool[stream];
        let fits = if lost { wrote.starts_with(&said) } else { *wrote == said };
        assert!(fits, "{path}: rank {rank}: {} bytes of {}", said.len(), wrote.len());
    }
    assert!(said.is_empty(), "{path}: ranks that there are");
}

/// Whole records of all, in whatever order between ranks.
fn mixed(group: &Group, all: &Members<'_>, stream: usize, output: &[u8], torn: usize) {
    let path = &group.path;
    let mut left: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for program in all.values() {
        for record in group.kind.whole(&program.spool[stream]) {
            *left.entry(record).or_default() += 1;
        }
    }
    let mut others = 0;
    let mut last: BTreeMap<u32, usize> = BTreeMap::new();
    for record in group.kind.cut(output) {
        match left.get_mut(&record).filter(|count| **count > 0) {
            Some(count) => *count -= 1,
            None => others += 1,
        }
        if group.way == Way::Broadcast {
            continue;
        }
        let index = record.strip_prefix(b"i").and_then(|rest| rest.split(|b| *b == b' ').next());
        let index = index.and_then(|index| String::from_utf8_lossy(index).parse::<usize>().ok());
        let Some((index, [rank])) = index.and_then(|i| Some((i, group.sent.ranks.get(i)?.as_slice()))) else {
            continue;
        };
        let before = last.insert(*rank, index);
        assert!(before.is_none_or(|before| before < index), "{path}: rank {rank} in its order");
    }
    assert!(others <= torn, "{path}: {others} records that nobody wrote, or twice");
    assert!(torn > 0 || left.values().all(|count| *count == 0), "{path}: all that was written is there");
}

fn folded(all: &Members<'_>, stream: usize) -> Vec<u8> {
    let mut blocks: Vec<(&[u8], Vec<u32>)> = Vec::new();
    for (rank, program) in all {
        let text = program.spool[stream].as_slice();
        match blocks.iter_mut().find(|(of, _)| *of == text) {
            Some((_, ranks)) => ranks.push(*rank),
            None => blocks.push((text, vec![*rank])),
        }
    }
    let mut out = Vec::new();
    for (text, ranks) in blocks.into_iter().filter(|(text, _)| !text.is_empty()) {
        let one = text.iter().position(|b| *b == b'\n').is_none_or(|at| at + 1 == text.len());
        let (named, count) = (folded_ranks(&ranks), ranks.len());
        out.extend(match one {
            true => format!("[{named}]: ").into_bytes(),
            false => format!("---------------\n[{named}] ({count})\n---------------\n").into_bytes(),
        });
        out.extend(text);
        if !text.ends_with(b"\n") {
            out.push(b'\n');
        }
    }
    out
}

/// `0-3,7`
fn folded_ranks(ranks: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for rank in ranks {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *rank => *last = *rank,
            _ => runs.push((*rank, *rank)),
        }
    }
    let text = |(a, b): &(u32, u32)| if a == b { a.to_string() } else { format!("{a}-{b}") };
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}
