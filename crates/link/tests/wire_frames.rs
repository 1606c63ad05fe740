//! Frames of the link's own: written, read, cut.

use link::wire::{First, Frame, Hello, Kind, VERSION, first};
use std::time::Duration;

fn hello(kind: Kind, above: bool) -> Hello {
    Hello { version: VERSION, kind, epoch: 7, beat: Duration::from_secs(1), above }
}

fn frame_bytes(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

#[test]
fn every_frame_reads_back_and_none_does_when_it_is_cut() {
    let why = "it was stopped".to_string();
    for (frame, may_be_shorter) in [
        (Frame::Hello(hello(Kind::Bulk, true)), false),
        (Frame::Beat, false),
        (Frame::News(b"up b\n".to_vec()), true),
        (Frame::Want(Kind::Bulk), false),
        (Frame::Bye { left: true, why }, false),
        (Frame::Join(vec![1; 300]), true),
        (Frame::Grant(vec![2; 300]), true),
        (Frame::Revoked(vec![3; 300]), true),
    ] {
        let bytes = frame_bytes(&frame);
        assert_eq!(Frame::decode(&bytes), Ok(frame));
        for cut in 0..bytes.len() {
            let read = Frame::decode(&bytes[..cut]);
            assert!(read.is_err() || may_be_shorter && cut >= 7, "{cut} of {bytes:?}");
        }
    }
    let bye = Frame::Bye { left: false, why: "ö".repeat(5000) };
    let Ok(Frame::Bye { why, .. }) = Frame::decode(&frame_bytes(&bye)) else { panic!() };
    assert_eq!(why, "ö".repeat(512), "a long sentence is cut between characters");
    let lines = Frame::Bye { left: false, why: "a\nb\x1b[31m".into() };
    let Ok(Frame::Bye { why, .. }) = Frame::decode(&frame_bytes(&lines)) else { panic!() };
    assert_eq!(why, "a b [31m", "what is logged is one line");
}

#[test]
fn the_first_bytes_tell_what_a_connection_is() {
    let of = |frame: Frame| first(&frame_bytes(&frame));
    assert_eq!(of(Frame::Hello(hello(Kind::Control, true))), Some(First::Link));
    assert_eq!(of(Frame::Join(Vec::new())), Some(First::Join));
    assert_eq!(first(b"GET / HTTP/1.1"), Some(First::Ninep));
    assert_eq!(first(&[19, 0, 0, 0]), None);
}
