//! Every split of every input cuts the same records.

use super::*;
use alloc::vec;

fn regex(text: &str) -> Records {
    Records::parse(&["regex", text]).unwrap()
}

fn cut(records: &Records, pieces: &[&[u8]]) -> Vec<u64> {
    let (mut cutter, mut ends) = (Cutter::new(records), Vec::new());
    for piece in pieces {
        cutter.scan(piece, &mut ends);
        assert!(ends.last().is_none_or(|end| *end <= cutter.settled()));
    }
    let settled = cutter.settled();
    let known = ends.len();
    cutter.finish(&mut ends);
    assert!(ends[known..].iter().all(|end| *end >= settled), "nothing ends before what is settled");
    ends
}

/// Whole, and in all ways of two and three pieces.
fn check(records: &Records, text: &[u8], parts: &[&str]) {
    let mut ends = Vec::new();
    let mut at = 0;
    for part in parts {
        at += part.len() as u64;
        ends.push(at);
    }
    assert_eq!(cut(records, &[text]), ends, "{records} {text:?}");
    for a in 0..=text.len() {
        for b in a..=text.len() {
            assert_eq!(
                cut(records, &[&text[..a], &text[a..b], &text[b..]]),
                ends,
                "{records} {text:?} at {a} {b}"
            );
        }
    }
    let each: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(cut(records, &each), ends, "{records} {text:?} byte by byte");
}

#[test]
fn records_end_where_they_should_however_the_bytes_come() {
    check(&Records::Line, b"", &[]);
    check(&Records::Line, b"a\n\nbc\nd", &["a\n", "\n", "bc\n"]);
    check(&Records::Nul, b"a\0\0b\nc\0", &["a\0", "\0", "b\nc\0"]);
    check(&Records::Blank, b"\na\nb\n\n\n\nc\n\nd\n", &["\na\nb\n\n", "\n\nc\n\n"]);
    check(&Records::Len32, b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c\0\0\0\x09x", &["____ab", "____", "____c"]);
    check(&regex("[;,]"), b"a;b,,c", &["a;", "b,", ","]);
    check(&regex("\n+"), b"a\n\n\nb\n", &["a\n\n\n", "b\n"]);
    check(&regex("--+"), b"a-b--c----", &["a-b--", "c----"]);
    check(&regex("x|xyyz"), b"axyybxyyz", &["ax", "yybx"]);
    check(&regex("x(yyz)?"), b"axyyx_xyyzq", &["ax", "yyx", "_xyyz"]);
    check(&regex("(?m)^END\n"), b"a\nEND\nEND\nxEND\nEND\n", &["a\nEND\n", "END\n", "xEND\nEND\n"]);
}

#[test]
fn what_can_be_no_separator_is_said_so() {
    for wrong in ["", "x*", "a|", "(", "\\p{Greek}", "(a{1000}){1000}"] {
        let error = Records::parse(&["regex", wrong]).unwrap_err();
        assert_eq!(error.errno, Errno::INVAL, "{wrong}");
    }
    assert!(Records::parse(&["lines"]).is_err() && Records::parse(&[]).is_err());
}

#[test]
fn a_record_of_many_megabytes_is_looked_at_once() {
    let piece = vec![b'x'; 64 << 10];
    for records in [Records::Line, Records::Nul, Records::Blank, regex("a|bb|\n")] {
        let (mut cutter, mut ends) = (Cutter::new(&records), Vec::new());
        for i in 0..64_u64 {
            cutter.scan(&piece, &mut ends);
            assert_eq!(cutter.settled(), (i + 1) * piece.len() as u64);
        }
        cutter.finish(&mut ends);
        assert!(ends.is_empty());
    }
}

#[test]
fn a_match_that_might_go_on_for_ever_is_cut() {
    // It might be found to be longer at any time; so much is looked at, and no more.
    let records = regex("\n(?s:.*Z)?");
    let mut text = vec![b'\n'];
    text.resize(10_000, b'x');
    let (mut cutter, mut ends) = (Cutter::new(&records), Vec::new());
    cutter.scan(&text, &mut ends);
    assert_eq!(ends, [1]);
    assert_eq!(cutter.settled(), 10_000);
}

#[test]
fn what_is_whole_is_split_again_as_it_was_cut() {
    let text = b"a;b;;c";
    assert_eq!(split(&regex(";"), text), [&b"a;"[..], b"b;", b";", b"c"]);
    assert!(split(&Records::Line, b"").is_empty());
    assert_eq!(Records::Len32.body(b"\0\0\0\x01x"), b"x");
    assert_eq!(Records::Blank.body(b"x\n\n"), b"x");
}
