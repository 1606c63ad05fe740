//! What each rank gets, directly and through a share, however the bytes come.

use super::*;
use alloc::{string::ToString, vec};

/// Members 0 and 1 here, 2 and 3 at a share, which has 3 at a share again.
struct World {
    top: Deal,
    share: Deal,
    leaf: Deal,
    got: BTreeMap<Rank, Vec<u8>>,
    over: RankSet,
}

const SHARE: DestId = DestId(100);

impl World {
    fn new(way: Way, records: &Records) -> World {
        let mut top = Deal::new(way, records.clone(), 4);
        let mut share = Deal::new(Way::Frames, records.clone(), 4);
        let mut leaf = Deal::new(Way::Frames, records.clone(), 4);
        top.add_member(DestId(0), 0);
        top.add_member(DestId(1), 1);
        top.add_share(SHARE, RankSet::from_range(2..4));
        share.add_member(DestId(2), 2);
        share.add_share(SHARE, RankSet::from_range(3..4));
        leaf.add_member(DestId(3), 3);
        World { top, share, leaf, got: BTreeMap::new(), over: RankSet::new() }
    }

    fn empty(&mut self, most: usize) {
        let mut to_share = self.top.take(SHARE, usize::MAX);
        for piece in core::mem::take(&mut to_share).chunks(most) {
            self.share.push(piece).unwrap();
        }
        for piece in self.share.take(SHARE, usize::MAX).chunks(most) {
            self.leaf.push(piece).unwrap();
        }
        for rank in 0..4 {
            let deal = match rank {
                0 | 1 => &mut self.top,
                2 => &mut self.share,
                _ => &mut self.leaf,
            };
            self.got.entry(rank).or_default().extend(deal.take(DestId(u64::from(rank)), usize::MAX));
            if deal.is_over(DestId(u64::from(rank))) {
                self.over.insert(rank);
            }
        }
    }

    fn run(way: Way, records: &Records, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut world = World::new(way, records);
        for piece in pieces {
            world.top.push(piece).unwrap();
            world.empty(7);
        }
        assert!(world.over.is_empty() || way == Way::Frames);
        world.top.close();
        world.empty(7);
        if way != Way::Frames {
            assert_eq!(world.over.to_string(), "0-3");
        }
        world.got.into_values().collect()
    }
}

fn check(way: Way, records: &Records, text: &[u8], wanted: [&[u8]; 4]) {
    for a in 0..=text.len() {
        for b in a..=text.len() {
            let got = World::run(way, records, &[&text[..a], &text[a..b], &text[b..]]);
            assert_eq!(got, wanted, "{way} {records}, torn at {a} and {b}");
        }
    }
}

#[test]
fn every_record_reaches_those_it_is_for_and_nobody_else() {
    let line = &Records::Line;
    check(Way::Broadcast, line, b"a\nb\nc", [b"a\nb\nc"; 4]);
    check(Way::Robin, line, b"0\n1\n2\n3\n\n5\nend", [b"0\n\n", b"1\n5\n", b"2\nend", b"3\n"]);
    check(Way::Robin, &Records::Nul, b"0\0\n1\n\0", [b"0\0", b"\n1\n\0", b"", b""]);
    check(Way::Robin, &Records::Blank, b"a\nb\n\nc\n\n", [b"a\nb\n\n", b"c\n\n", b"", b""]);
    check(Way::Robin, &Records::Len32, b"\0\0\0\x01a\0\0\0\0", [b"\0\0\0\x01a", b"\0\0\0\0", b"", b""]);
    let regex = Records::parse(&["regex", ";+"]).unwrap();
    check(Way::Robin, &regex, b"a;;b;c", [b"a;;", b"b;", b"c", b""]);
    check(
        Way::Rank,
        line,
        b"3 three\n0-1 x y\n* all\n2\tt\n3",
        [b"x y\nall\n", b"x y\nall\n", b"all\nt\n", b"three\nall\n"],
    );
    check(Way::Frames, line, b"3 2\nab0-1,3 1\nx* 1 +\ny* 0 .\n", [b"xy", b"xy", b"y", b"abxy"]);
}

#[test]
fn equal_keys_go_to_one_rank_whatever_stands_around_them() {
    let line = &Records::Line;
    let place = |key: &[u8]| (fnv(key) % 4) as usize;
    let mut wanted = vec![Vec::new(); 4];
    let text = b"x k1 1\ny\tk2\nz  k1\nk1\n\n k k1 e";
    for (record, key) in [
        (&b"x k1 1\n"[..], &b"k1"[..]),
        (b"y\tk2\n", b"k2"),
        (b"z  k1\n", b"k1"),
        (b"k1\n", b""),
        (b"\n", b""),
        (b" k k1 e", b"k1"),
    ] {
        wanted[place(key)].extend_from_slice(record);
    }
    check(Way::Hash(Some(2)), line, text, [&wanted[0], &wanted[1], &wanted[2], &wanted[3]]);
    let mut wanted = vec![Vec::new(); 4];
    for (record, key) in [(&b"a\n"[..], &b"a"[..]), (b"b\n", b"b"), (b"\n", b""), (b"a", b"a")] {
        wanted[place(key)].extend_from_slice(record);
    }
    check(Way::Hash(None), line, b"a\nb\n\na", [&wanted[0], &wanted[1], &wanted[2], &wanted[3]]);
}

#[test]
fn the_hash_is_the_one_that_is_written_down() {
    // Test vectors of the FNV authors.
    assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
}

#[test]
fn a_long_record_is_dealt_as_it_comes() {
    let mut world = World::new(Way::Robin, &Records::Line);
    world.top.push(b"short\n").unwrap();
    world.empty(1000);
    let piece = vec![b'x'; 64 << 10];
    for i in 0..64 {
        world.top.push(&piece).unwrap();
        world.empty(100_000);
        assert_eq!(world.got[&1].len(), (i + 1) * piece.len());
    }
    world.top.push(b"\nnext\n").unwrap();
    world.empty(1000);
    assert_eq!(world.got[&1].len(), (4 << 20) + 1);
    assert_eq!(world.got[&2], b"next\n");
}

#[test]
fn who_does_not_take_what_is_his_stops_the_rest_and_is_named() {
    let mut deal = Deal::new(Way::Robin, Records::Line, 2);
    deal.add_member(DestId(0), 0);
    deal.add_member(DestId(1), 1);
    let mut pushed = 0;
    while deal.room() {
        deal.push(b"0123456789\n").unwrap();
        deal.take(DestId(0), 100);
        pushed += 11;
    }
    assert!((2 * limits::DEALT - 22..2 * limits::DEALT + 100).contains(&pushed));
    assert_eq!(deal.waits_for().to_string(), "1");
    deal.take(DestId(1), 100);
    assert!(deal.room());
    // Whoever is gone stops nobody.
    while deal.room() {
        deal.push(b"0123456789\n").unwrap();
    }
    deal.remove(DestId(0));
    deal.remove(DestId(1));
    assert!(deal.room());
    deal.push(b"a\n").unwrap();
    assert_eq!(deal.troubles().len(), 1);
}

#[test]
fn a_record_for_a_rank_that_is_not_there_is_dropped_and_said() {
    let mut world = World::new(Way::Rank, &Records::Line);
    world.top.push(b"9 x\n0 y\nnobody z\n").unwrap();
    world.empty(100);
    assert_eq!(world.got[&0], b"y\n");
    let troubles = world.top.troubles();
    assert_eq!(troubles.len(), 2, "{troubles:?}");
}

#[test]
fn what_a_verb_says_is_said_again() {
    for words in [&["broadcast"][..], &["robin"], &["hash"], &["hash", "2"], &["rank"], &["frames"]] {
        assert_eq!(Way::parse(words).unwrap().to_string(), words.join(" "));
    }
    assert!(Way::parse(&["hash", "0"]).is_err() && Way::parse(&[]).is_err());
}

#[test]
fn ranks_that_come_later_are_dealt_to() {
    let mut deal = Deal::new(Way::Robin, Records::Line, 2);
    deal.add_share(SHARE, RankSet::from_range(0..2));
    deal.push(b"0\n1\n").unwrap();
    deal.share_has(SHARE, &RankSet::from_range(0..3));
    deal.resize(3);
    deal.push(b"2\n").unwrap();
    assert_eq!(deal.take(SHARE, 1000), b"0 2\n0\n1 2\n1\n2 2\n2\n");
}

#[test]
fn the_end_of_stdin_is_the_end_for_shares_of_a_share_too_and_for_who_comes_later() {
    let mut world = World::new(Way::Robin, &Records::Line);
    world.top.push(b"a\n").unwrap();
    world.top.close();
    assert!(!world.share.is_over(SHARE));
    world.empty(7);
    assert!(world.share.is_over(SHARE), "whoever asks for it again is told that it has ended");
    world.share.add_member(DestId(9), 9);
    assert!(world.share.is_over(DestId(9)));
}
