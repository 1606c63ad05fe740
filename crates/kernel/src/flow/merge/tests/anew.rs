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
