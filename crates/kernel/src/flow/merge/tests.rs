//! Members whose bytes come in any pieces and any order, through one or two levels: what comes out is what they wrote.

mod anew;

use super::*;
use crate::flow::records::split;
use alloc::{string::ToString, vec};

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// A merge, and what is still to be pushed to each of its sources.
struct Level {
    merge: Merge,
    left: BTreeMap<SourceId, Feeder>,
    shares: BTreeMap<SourceId, Level>,
    /// Who is read on, as whoever drives it would know: nobody is looked for.
    active: BTreeSet<SourceId>,
}

struct Feeder {
    data: Vec<u8>,
    at: usize,
}

impl Level {
    fn new(form: Form, records: &Records, members: &[(Rank, Vec<u8>)]) -> Level {
        let mut merge = Merge::new(form, records.clone());
        let mut left = BTreeMap::new();
        merge.expect(&members.iter().map(|(rank, _)| *rank).collect());
        for (rank, data) in members {
            let id = SourceId(u64::from(*rank));
            merge.add_member(id, *rank);
            merge.complete(id);
            left.insert(id, Feeder { data: data.clone(), at: 0 });
        }
        merge.no_more();
        Level { merge, left, shares: BTreeMap::new(), active: BTreeSet::new() }
    }

    fn share(&mut self, number: u64, level: Level) {
        let ranks: RankSet = level.left.keys().map(|id| id.0 as Rank).collect();
        let id = SourceId(1_000_000 + number);
        self.merge.expect(&ranks);
        self.merge.add_share(id, ranks);
        self.shares.insert(id, level);
    }

    /// One thing that can happen; false if nothing can.
    fn step(&mut self, dice: &mut Dice, most: usize) -> bool {
        self.active.extend(self.merge.hungry());
        self.active.retain(|id| self.merge.wants(*id));
        let ready: Vec<SourceId> = self.left.keys().copied().filter(|id| self.active.contains(id)).collect();
        let all: Vec<SourceId> = ready.into_iter().chain(self.shares.keys().copied()).collect();
        if all.is_empty() {
            return false;
        }
        let from = dice.below(all.len());
        for i in 0..all.len() {
            let id = all[(from + i) % all.len()];
            if let Some(feeder) = self.left.get_mut(&id) {
                let n = (1 + dice.below(most)).min(feeder.data.len() - feeder.at);
                self.merge.push(id, &feeder.data[feeder.at..feeder.at + n]);
                feeder.at += n;
                if feeder.at == feeder.data.len() {
                    self.left.remove(&id);
                    self.merge.close(id);
                }
                return true;
            }
            let share = self.shares.get_mut(&id).unwrap();
            let stepped = dice.below(3) > 0 && share.step(dice, most);
            if self.active.contains(&id) && self.merge.wants(id) {
                let bytes = share.merge.take(1 + dice.below(most));
                self.merge.push(id, &bytes);
                if share.merge.is_over() {
                    self.shares.remove(&id);
                    self.merge.close(id);
                    return true;
                }
                if stepped || !bytes.is_empty() {
                    return true;
                }
            }
            if stepped || share.step(dice, most) {
                return true;
            }
        }
        false
    }

    fn run(mut self, dice: &mut Dice, most: usize) -> (Vec<u8>, Vec<(RankSet, String)>) {
        let (mut out, mut troubles) = (Vec::new(), Vec::new());
        for _ in 0..10_000_000 {
            let stepped = self.step(dice, most);
            let bytes = self.merge.take(1 + dice.below(most));
            let idle = bytes.is_empty();
            out.extend(bytes);
            troubles.append(&mut self.merge.troubles());
            if self.merge.is_over() {
                return (out, troubles);
            }
            assert!(stepped || !idle, "nothing can happen, and it is not over: {:?}", self.merge);
        }
        panic!("it does not end");
    }
}

const PLAIN: Form = Form { order: Order::Mixed, layout: Layout::Plain };
const TAG: Form = Form { order: Order::Mixed, layout: Layout::Tag };
const RANK: Form = Form { order: Order::Rank, layout: Layout::Plain };
const FOLD: Form = Form { order: Order::Fold, layout: Layout::Plain };

/// What a level below is told.
fn below(form: Form) -> Form {
    Form { layout: Layout::Frames, ..form }
}

/// Members on this node, and others in two shares, one of which has a share again.
fn tree(form: Form, records: &Records, members: &[(Rank, Vec<u8>)], dice: &mut Dice) -> Level {
    let mut parts = vec![Vec::new(); 4];
    for member in members {
        parts[dice.below(4)].push(member.clone());
    }
    let mut top = Level::new(form, records, &parts[0]);
    let mut share = Level::new(below(form), records, &parts[1]);
    share.share(3, Level::new(below(form), records, &parts[3]));
    top.share(1, share);
    // The ranks of its own share are its too.
    let ranks = parts[1].iter().chain(&parts[3]).map(|(rank, _)| *rank).collect();
    top.merge.expect(&ranks);
    top.merge.share_has(SourceId(1_000_001), &ranks);
    top.share(2, Level::new(below(form), records, &parts[2]));
    top
}

/// Makes a record of a body.
type Make = fn(Vec<u8>) -> Vec<u8>;

fn modes() -> Vec<(Records, Make)> {
    vec![
        (Records::Line, |mut body| {
            body.push(b'\n');
            body
        }),
        (Records::Nul, |mut body| {
            body.push(0);
            body
        }),
        (Records::Blank, |mut body| {
            body.extend(b"\nx\n\n");
            body
        }),
        (Records::Len32, |body| {
            let mut record = (body.len() as u32).to_be_bytes().to_vec();
            record.extend(body);
            record
        }),
        (Records::parse(&["regex", ";+|END"]).unwrap(), |mut body| {
            body.extend(b";;");
            body
        }),
    ]
}

/// Records that say whose they are and which; some of no length, some long.
fn members(n: u32, make: Make, dice: &mut Dice, long: usize) -> Vec<(Rank, Vec<u8>)> {
    let member = |rank: Rank, dice: &mut Dice| {
        let mut data = Vec::new();
        for i in 0..dice.below(20) {
            let mut body = format!("{rank}.{i} ").into_bytes();
            let len = if dice.below(10) == 0 { dice.below(long) } else { dice.below(40) };
            body.resize(body.len() + len, b'a' + (rank % 26) as u8);
            data.extend(make(body));
        }
        (rank, data)
    };
    (0..n).map(|rank| member(rank, dice)).collect()
}

#[test]
fn records_come_out_whole_and_each_members_in_its_order() {
    for seed in 0..25 {
        let dice = &mut Dice(seed);
        let long = if seed == 0 { 3 << 20 } else { 300 };
        let most = if long > 300 { 200_000 } else { 1 + dice.below(300) };
        for (records, make) in modes() {
            let all = members(7, make, dice, long);
            for form in [PLAIN, TAG] {
                let (out, troubles) = tree(form, &records, &all, dice).run(dice, most);
                assert!(troubles.is_empty(), "{troubles:?}");
                let mut got: BTreeMap<Rank, Vec<u8>> = BTreeMap::new();
                if form == TAG && matches!(records, Records::Len32) {
                    continue; // a tag before a length is for people
                }
                for record in split(&records, &out) {
                    let body: &[u8] = records.body(record);
                    let skip = if matches!(records, Records::Len32) { 4 } else { 0 };
                    let text = if skip > 0 { &record[4..] } else { body };
                    let dot = text.iter().position(|b| *b == b'.').expect("a whole record");
                    let (word, rest) = match form {
                        TAG => {
                            let colon = text.iter().position(|b| *b == b':').unwrap();
                            (&text[..colon], &record[colon + 2..])
                        }
                        _ => (&text[..dot], record),
                    };
                    let rank = core::str::from_utf8(word).unwrap().parse().unwrap();
                    got.entry(rank).or_default().extend_from_slice(rest);
                }
                for (rank, data) in &all {
                    let got = got.remove(rank).unwrap_or_default();
                    assert!(
                        got == *data,
                        "seed {seed} {records} rank {rank}: {} of {} bytes",
                        got.len(),
                        data.len()
                    );
                }
            }
        }
    }
}

#[test]
fn in_the_order_of_ranks_every_byte_is_there() {
    for seed in 0..40 {
        let dice = &mut Dice(seed);
        let long = if seed == 0 { 2 << 20 } else { 300 };
        let most = if long > 300 { 200_000 } else { 1 + dice.below(300) };
        let all = members(12, |body| body, dice, long);
        let (out, _) = tree(RANK, &Records::Line, &all, dice).run(dice, most);
        let wanted: Vec<u8> = all.iter().flat_map(|(_, data)| data.clone()).collect();
        assert!(out == wanted, "seed {seed}");
    }
}

#[test]
fn equal_outputs_are_written_once() {
    for seed in 0..100 {
        let dice = &mut Dice(seed);
        let outputs: [&[u8]; 4] = [b"one line\n", b"two\nlines\n", b"no end", b""];
        let all: Vec<(Rank, Vec<u8>)> =
            (0..16).map(|r| (r, outputs[(r as usize / 2) % 4].to_vec())).collect();
        let most = 1 + dice.below(30);
        let (out, _) = tree(FOLD, &Records::Line, &all, dice).run(dice, most);
        let wanted = "[0-1,8-9]: one line\n---------------\n[2-3,10-11] (4)\n---------------\ntwo\nlines\n[4-5,12-13]: no end\n";
        assert_eq!(String::from_utf8(out).unwrap(), wanted, "seed {seed}");
    }
}

#[test]
fn what_fold_cannot_keep_is_cut_and_said() {
    let dice = &mut Dice(1);
    let large: Vec<u8> = vec![b'x'; 40 << 20];
    let mut other = large.clone();
    other[0] = b'y';
    let all = vec![(0, large.clone()), (1, large), (2, other)];
    let (out, troubles) = Level::new(FOLD, &Records::Line, &all).run(dice, 1 << 20);
    assert!(out.len() < 65 << 20);
    assert_eq!(troubles[0].0.to_string(), "2");
    assert!(out.ends_with(b"uem: cut here: fold keeps 64 MiB of different outputs\n"));
}

#[test]
fn a_last_record_without_its_end_gets_one() {
    let check = |records: &Records, data: &[&[u8]], wanted: &[u8]| {
        for most in [1, 2, 100] {
            let all: Vec<_> = data.iter().enumerate().map(|(i, d)| (i as Rank, d.to_vec())).collect();
            let dice = &mut Dice(3);
            let mut top = Level::new(PLAIN, records, &all[..1]);
            top.share(1, Level::new(below(PLAIN), records, &all[1..]));
            let (mut out, _) = top.run(dice, most);
            out.sort_unstable();
            let mut wanted = wanted.to_vec();
            wanted.sort_unstable();
            assert_eq!(out, wanted, "{records}");
        }
    };
    check(&Records::Line, &[b"a", b"b\nc"], b"a\nb\nc\n");
    check(&Records::Nul, &[b"a", b"b\0c"], b"a\0b\0c\0");
    check(&Records::Blank, &[b"a\n", b"b"], b"a\n\nb\n\n");
    check(&Records::Len32, &[b"\0\0\0\x01a", b"\0\0\0\x02b"], b"\0\0\0\x01a");
}

#[test]
fn a_long_record_of_len32_that_is_not_whole_is_filled_up() {
    let mut data = (3_000_000_u32).to_be_bytes().to_vec();
    data.resize(2_000_000, b'x');
    let other = [b"\0\0\0\x01a".repeat(3), vec![]].concat();
    let (out, troubles) =
        Level::new(PLAIN, &Records::Len32, &[(0, data), (1, other)]).run(&mut Dice(1), 100_000);
    let records = split(&Records::Len32, &out);
    assert_eq!(records.len(), 4);
    assert!(records.iter().any(|record| record.len() == 3_000_004));
    assert_eq!(troubles.len(), 1);
}

#[test]
fn many_members_with_a_megabyte_each_and_no_end_are_bounded() {
    // Each held until it is whole would be 80 MB.
    let member = |rank: Rank| (rank, vec![b'a' + rank as u8 % 26; 1_000_000]);
    let all: Vec<_> = (0..80).map(member).collect();
    let mut level = Level::new(PLAIN, &Records::Line, &all);
    let (dice, mut out, mut most) = (&mut Dice(1), Vec::new(), 0);
    while !level.merge.is_over() {
        let stepped = level.step(dice, 200_000);
        most = most.max(level.merge.held);
        let bytes = level.merge.take(limits::FLOW);
        assert!(stepped || !bytes.is_empty());
        out.extend(bytes);
    }
    assert!(most < limits::FLOW_ALL + (1 << 20), "{most}");
    let lines = split(&Records::Line, &out);
    assert_eq!(lines.len(), 80);
    assert!(
        lines.iter().all(|line| line.len() == 1_000_001 && line[..1_000_000].iter().all(|b| *b == line[0]))
    );
}

#[test]
fn a_share_that_is_lost_ends_its_record_and_the_rest_goes_on() {
    let mut merge = Merge::new(PLAIN, Records::Line);
    let (share, member) = (SourceId(1), SourceId(2));
    merge.add_share(share, RankSet::parse("0-1").unwrap());
    merge.add_member(member, 2);
    merge.push(share, b"0 3 +\nabc");
    assert_eq!(merge.take(100), b"abc");
    merge.push(member, b"x\n");
    assert_eq!(merge.take(100), b"", "nothing comes between");
    assert_eq!(merge.waits_for().unwrap().to_string(), "0-1");
    merge.close(share);
    assert_eq!(merge.take(100), b"\nx\n");
    assert_eq!(merge.troubles().len(), 1);
    merge.push(share, b"late");
    merge.close(member);
    merge.no_more();
    assert_eq!(merge.take(9), b"");
    assert!(merge.is_over());
}

#[test]
fn a_rank_that_will_have_no_output_is_not_waited_for() {
    let mut merge = Merge::new(RANK, Records::Line);
    merge.expect(&RankSet::parse("0-3").unwrap());
    merge.add_member(SourceId(2), 2);
    merge.push(SourceId(2), b"two");
    assert_eq!(merge.take(9), b"");
    assert_eq!(merge.waits_for().unwrap().to_string(), "0");
    merge.finished(&RankSet::parse("0-1").unwrap());
    assert_eq!(merge.take(9), b"two");
    merge.close(SourceId(2));
    merge.no_more();
    assert_eq!(merge.take(9), b"");
    assert!(merge.is_over());
}

#[test]
fn what_is_no_frame_closes_the_share() {
    let mut merge = Merge::new(PLAIN, Records::Line);
    merge.add_share(SourceId(1), RankSet::from_range(0..2));
    merge.push(SourceId(1), b"0 2\na\nwrong\n");
    assert_eq!(merge.take(9), b"a\n");
    assert_eq!(merge.troubles().len(), 1);
    assert!(!merge.wants(SourceId(1)));
    merge.no_more();
    assert!(merge.is_over());
}

#[test]
fn a_share_that_begins_anew_says_nothing_twice() {
    // What it said first, then the same bytes in another order and other pieces.
    let first = b"0 2\na\n1 4\nb\nc\n";
    let again = b"1 2\nb\n0 4\na\nd\n1 4\nc\ne\n1 0 .\n";
    for torn in 0..=first.len() {
        for form in [PLAIN, below(PLAIN)] {
            let mut merge = Merge::new(form, Records::Line);
            merge.add_share(SourceId(1), RankSet::from_range(0..2));
            merge.push(SourceId(1), &first[..torn]);
            let mut out = merge.take(100);
            assert_eq!(merge.again(SourceId(1)), Some(true));
            again.chunks(3).for_each(|piece| merge.push(SourceId(1), piece));
            out.extend(merge.take(100));
            let mut lines = split(&Records::Line, &out);
            lines.retain(|line| line.len() == 2);
            lines.sort_unstable();
            assert_eq!(lines, [b"a\n", b"b\n", b"c\n", b"d\n", b"e\n"], "torn at {torn}");
        }
    }
}
