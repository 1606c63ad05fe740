//! A share that begins anew in the middle of a record.

use super::*;

/// Reads all that a share says, from the start whenever that is wanted, a few bytes at a time.
fn read_all(merge: &mut Merge, says: &[u8], most: usize) -> Vec<u8> {
    let (mut at, mut out, mut turns) = (0, Vec::new(), 0);
    loop {
        turns += 1;
        assert!(turns < 1000, "it comes to an end");
        out.extend(merge.take(limits::FLOW));
        if at == says.len() {
            match merge.is_without(SourceId(1)) {
                true => at = 0,
                false => break,
            }
        }
        let piece = &says[at..says.len().min(at + most)];
        at += piece.len();
        merge.push(SourceId(1), piece);
        if merge.rewinds(SourceId(1)) {
            at = 0;
        }
    }
    merge.close(SourceId(1));
    merge.no_more();
    out.extend(merge.take(limits::FLOW));
    assert!(merge.is_over());
    out
}

#[test]
fn a_share_that_begins_anew_in_the_middle_of_a_record_says_its_rest_first() {
    let first = b"1 2\nx\n0 2\na\n0 3 +\nabc0 2 +\nde";
    // It is whole by now, with others in its frame, and more of the other rank before it.
    let again = b"1 4\nx\ny\n0 2\na\n1 2\nz\n0 12\nabcdefg\nh\ni\n1 0 .\n0 1 .\nj";
    for torn in 0..=first.len() {
        for most in [1, 3, 100] {
            for (form, tag) in [(PLAIN, ""), (TAG, "0: ")] {
                let mut merge = Merge::new(form, Records::Line);
                merge.add_share(SourceId(1), RankSet::from_range(0..2));
                merge.push(SourceId(1), &first[..torn]);
                let mut out = merge.take(100);
                assert_eq!(merge.again(SourceId(1)), Some(true));
                out.extend(read_all(&mut merge, again, most));
                let text = String::from_utf8(out).unwrap();
                let of = |tag: &str| {
                    text.lines().filter_map(|l| l.strip_prefix(tag)).map(String::from).collect::<Vec<_>>()
                };
                match tag {
                    "" => {
                        let mut all = of("");
                        all.sort_unstable();
                        assert_eq!(
                            all,
                            ["a", "abcdefg", "h", "i", "j", "x", "y", "z"],
                            "torn at {torn}: {text}"
                        );
                    }
                    tag => {
                        assert_eq!(of(tag), ["a", "abcdefg", "h", "i", "j"], "torn at {torn}: {text}");
                        assert_eq!(of("1: "), ["x", "y", "z"], "torn at {torn}: {text}");
                    }
                }
                assert!(merge.troubles().is_empty());
            }
        }
    }
}

#[test]
fn a_record_whose_end_is_known_late_is_gone_on_with_to_the_byte() {
    // `END[0-9]+` may go on, so where it ends is known a byte later.
    let records = Records::parse(&["regex", "END[0-9]+"]).unwrap();
    let first = b"0 6 +\nabcEND";
    let again = b"0 17\nabcEND12defEND3gh0 2 .\nij";
    for most in [1, 2, 100] {
        let mut merge = Merge::new(PLAIN, records.clone());
        merge.add_share(SourceId(1), RankSet::from_range(0..1));
        merge.push(SourceId(1), first);
        let mut out = merge.take(100);
        assert_eq!(merge.again(SourceId(1)), Some(true));
        out.extend(read_all(&mut merge, again, most));
        assert_eq!(String::from_utf8(out).unwrap(), "abcEND12defEND3ghij\n");
    }
}

#[test]
fn a_record_whose_rest_is_lost_ends_where_it_is_and_all_else_is_there() {
    let mut merge = Merge::new(TAG, Records::Line);
    merge.add_share(SourceId(1), RankSet::from_range(0..2));
    merge.push(SourceId(1), b"1 2\nx\n0 3 +\nabc");
    let mut out = merge.take(100);
    assert_eq!(merge.again(SourceId(1)), Some(true));
    out.extend(read_all(&mut merge, b"1 4\nx\ny\n1 0 .\n", 2));
    assert_eq!(String::from_utf8(out).unwrap(), "1: x\n0: abc\n1: y\n");
    let (ranks, said) = merge.troubles().remove(0);
    assert_eq!((ranks.to_string(), said.contains("in its middle")), ("0".into(), true));
}

/// What comes out of a share that said the one, and then begins anew and says the other; and what went wrong, if it did.
fn gone_on(form: Form, records: &Records, first: &[u8], again: &[u8]) -> (String, Vec<String>) {
    let mut all = None;
    for most in [1, 3, 100] {
        let mut merge = Merge::new(form, records.clone());
        merge.add_share(SourceId(1), RankSet::from_range(0..2));
        merge.push(SourceId(1), first);
        let mut out = merge.take(100);
        assert_eq!(merge.again(SourceId(1)), Some(true));
        out.extend(read_all(&mut merge, again, most));
        let came = (String::from_utf8(out).unwrap(), merge.troubles().into_iter().map(|(_, s)| s).collect());
        assert_eq!(*all.get_or_insert_with(|| came.clone()), came, "in pieces of {most} bytes");
    }
    all.unwrap()
}

#[test]
fn an_end_that_was_said_is_not_said_again() {
    let frames = below(PLAIN);
    // Before it began anew; in the record that it was in; and of a record whose rest is lost.
    let (first, again) = (b"0 0 .\n1 2\nx\n", b"0 0 .\n1 4\nx\ny\n1 0 .\n");
    let right = "0 0 .\n1 2\nx\n1 2\ny\n1 0 .\n";
    assert_eq!(gone_on(frames, &Records::Line, first, again), (right.into(), vec![]));
    let (first, again) = (b"0 2 +\nde", b"1 2\nx\n0 5 .\ndefgh1 0 .\n");
    let right = "0 2 +\nde0 3 .\nfgh1 2\nx\n1 0 .\n";
    assert_eq!(gone_on(frames, &Records::Line, first, again), (right.into(), vec![]));
    let (first, again) = (b"0 2 +\nde", b"0 0 .\n1 2\nx\n1 0 .\n");
    let (out, troubles) = gone_on(frames, &Records::Line, first, again);
    assert_eq!((out.as_str(), troubles.len()), ("0 2 +\nde0 0 .\n1 2\nx\n1 0 .\n", 1));
}

#[test]
fn a_record_whose_rest_is_lost_is_said_once_though_nothing_else_comes() {
    let (out, troubles) = gone_on(TAG, &Records::Line, b"1 2\nx\n0 3 +\nabc", b"1 2\nx\n");
    assert_eq!((out.as_str(), troubles.len()), ("1: x\n0: abc\n", 1), "{troubles:?}");
}

#[test]
fn of_a_long_record_that_is_known_nothing_is_said_again() {
    let first = b"0 2 +\nab0 2\nc\n";
    let again = b"0 2 +\nab0 2\nc\n0 2\nd\n0 0 .\n";
    assert_eq!(gone_on(TAG, &Records::Line, first, again), ("0: abc\n0: d\n".into(), vec![]));
}

#[test]
fn a_last_record_that_ends_with_the_output_is_whole() {
    // That no digit follows is known only at the end.
    let records = Records::parse(&["regex", "END[0-9]+"]).unwrap();
    assert_eq!(gone_on(PLAIN, &records, b"0 3 +\nabc", b"0 7 .\nabcEND1"), ("abcEND1".into(), vec![]));
}

#[test]
fn the_record_of_a_member_that_was_made_anew_does_not_begin_in_the_one_before_it() {
    // The first was ended in a header; the second's record is the one that is not whole.
    let first = b"0 2 .\n\0\x000 6 +\n\0\0\0\x05he";
    let again = b"0 2 .\n\0\x000 9\n\0\0\0\x05hello0 0 .\n";
    let (out, troubles) = gone_on(PLAIN, &Records::Len32, first, again);
    assert_eq!(out, "\0\0\0\x05hello");
    assert!(troubles.len() == 1 && troubles[0].contains("2 bytes were dropped"), "{troubles:?}");
}

#[test]
fn in_the_order_of_ranks_a_record_is_gone_on_with_where_it_was_and_nothing_is_read_twice() {
    let mut merge = Merge::new(RANK, Records::Line);
    let ranks = RankSet::from_range(0..2);
    merge.expect(&ranks);
    merge.add_share(SourceId(1), ranks);
    merge.push(SourceId(1), b"0 3 +\nabc");
    assert_eq!(merge.take(100), b"abc");
    assert_eq!(merge.again(SourceId(1)), Some(true));
    merge.push(SourceId(1), b"0 5 .\nabcde1 1 .\nx");
    assert!(!merge.rewinds(SourceId(1)));
    merge.close(SourceId(1));
    merge.no_more();
    assert_eq!(merge.take(100), b"dex");
    assert!(merge.is_over() && merge.troubles().is_empty());
}
