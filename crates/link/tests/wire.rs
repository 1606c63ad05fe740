//! Lanes against each other in memory: both ask, both answer, and whatever else comes over the wire.

#![expect(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

use link::wire::{FRAME, Frame, Hello, Kind, Lane, Said, VERSION, limits};
use op::{Access, Errno, Fid, FileKind, Mono, Op, Qid, Reply, Shape, Tag};
use std::collections::BTreeMap;
use std::time::Duration;

const BEAT: Duration = Duration::from_secs(1);

fn at(ms: u64) -> Mono {
    Mono(ms * 1_000_000)
}

fn hello(kind: Kind, above: bool) -> Hello {
    Hello { version: VERSION, kind, epoch: 7, beat: BEAT, above }
}

fn frame_bytes(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

/// All that waits to be sent.
fn poured(lane: &mut Lane, room: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    lane.pour(room, at(0), |frame| bytes.extend_from_slice(frame));
    bytes
}

/// Two ends, and what each was told.
struct Pair {
    lanes: [Lane; 2],
    said: [Vec<Said>; 2],
}

impl Pair {
    fn new() -> Pair {
        let mut pair = Pair {
            lanes: [true, false].map(|above| Lane::new(hello(Kind::Control, above), at(0))),
            said: Default::default(),
        };
        pair.run(usize::MAX);
        assert!(pair.lanes.iter().all(Lane::is_up));
        for said in &mut pair.said {
            assert!(matches!(said.remove(0), Said::Frame(Frame::Hello(_))));
            assert!(said.is_empty(), "{said:?}");
        }
        pair
    }

    /// Moves bytes to and fro, at most `most` at a time, until there are none.
    fn run(&mut self, most: usize) {
        for _ in 0..100_000 {
            if !self.step(most) {
                return;
            }
        }
        panic!("it never comes to an end");
    }

    fn step(&mut self, most: usize) -> bool {
        let mut moved = false;
        for from in [0, 1] {
            let bytes = poured(&mut self.lanes[from], 1);
            moved |= !bytes.is_empty();
            for part in bytes.chunks(most) {
                self.lanes[1 - from].receive(part, at(0), &mut self.said[1 - from]).unwrap();
            }
            self.lanes[from].resume(&mut self.said[from]).unwrap();
        }
        moved
    }

    fn ask(&mut self, end: usize, tag: u64, op: Op) {
        let (lane, said) = (&mut self.lanes[end], &mut self.said[end]);
        lane.ask(Tag(tag), op, said);
    }

    fn answer(&mut self, end: usize, tag: Tag, reply: Reply) {
        let (lane, said) = (&mut self.lanes[end], &mut self.said[end]);
        lane.answer(tag, reply, said);
    }

    /// Attaches both ends to each other, and opens a file on each as fid 1.
    fn open(&mut self) {
        for end in [0, 1] {
            self.ask(end, 1, attach("ann"));
            self.ask(end, 2, Op::Open { fid: Fid(1), access: BOTH });
        }
        self.serve();
        for said in &mut self.said {
            assert_eq!(std::mem::take(said).len(), 2);
        }
    }

    /// Answers everything that is asked and can be answered at once, until nothing is.
    fn serve(&mut self) {
        loop {
            self.run(usize::MAX);
            let mut any = false;
            for end in [0, 1] {
                for said in std::mem::take(&mut self.said[end]) {
                    match said {
                        Said::Asked(tag, op) => {
                            any = true;
                            self.answer(end, tag, served(&op));
                        }
                        other => self.said[end].push(other),
                    }
                }
            }
            if !any {
                return;
            }
        }
    }
}

const BOTH: Access = Access { read: true, write: true, truncate: false };
const QID: Qid = Qid { kind: FileKind::File, version: 0, path: 3 };

fn attach(user: &str) -> Op {
    Op::Attach { fid: Fid(1), user: user.into(), tree: String::new() }
}

fn read(offset: u64, count: u32) -> Op {
    Op::Read { fid: Fid(1), offset, count, wait: true }
}

fn served(op: &Op) -> Reply {
    match op {
        Op::Attach { .. } => Reply::Attached(QID),
        Op::Open { .. } => Reply::Opened(QID, Shape::Stream),
        Op::Read { offset, count, .. } => Reply::Data(vec![*offset as u8; *count as usize]),
        Op::Write { data, .. } => Reply::Wrote(data.len() as u32),
        _ => Reply::Done,
    }
}

#[test]
fn both_ask_and_both_answer_wherever_the_stream_is_cut() {
    for most in [1, 2, 3, 5, 7, 11, 64, usize::MAX] {
        let mut pair = Pair::new();
        for end in [0, 1] {
            pair.ask(end, 1, attach(&format!("user{end}")));
            pair.lanes[end].say(&Frame::News(b"up b\n".to_vec()));
            pair.ask(end, 2, Op::Open { fid: Fid(1), access: BOTH });
        }
        pair.run(most);
        for end in [0, 1] {
            let asker = 1 - end;
            let said = std::mem::take(&mut pair.said[end]);
            let Said::Asked(tag, Op::Attach { user, .. }) = &said[0] else { panic!("{said:?}") };
            assert_eq!(*user, format!("user{asker}"));
            assert_eq!(said[1], Said::Frame(Frame::News(b"up b\n".to_vec())), "news keeps its place");
            pair.answer(end, *tag, Reply::Attached(QID));
        }
        pair.serve();
        for said in &pair.said {
            let attached = Said::Answered(Tag(1), Reply::Attached(QID));
            let opened = Said::Answered(Tag(2), Reply::Opened(QID, Shape::Stream));
            assert_eq!(*said, [attached, opened]);
        }
    }
}

#[test]
fn a_flushed_request_is_never_answered_and_its_place_is_free() {
    let mut pair = Pair::new();
    pair.open();
    pair.ask(0, 10, read(0, 5));
    pair.run(usize::MAX);
    let Some(Said::Asked(waiting, Op::Read { .. })) = pair.said[1].pop() else { panic!() };
    pair.ask(0, 11, Op::Flush { tag: Tag(10) });
    pair.run(usize::MAX);
    let Some(Said::Asked(flush, Op::Flush { tag })) = pair.said[1].pop() else { panic!() };
    assert_eq!(tag, waiting);
    pair.answer(1, flush, Reply::Done);
    pair.answer(1, waiting, Reply::Data(b"late".to_vec()));
    pair.run(usize::MAX);
    assert_eq!(pair.said[0], [Said::Answered(Tag(11), Reply::Done)]);
    pair.said[0].clear();
    pair.ask(0, 12, Op::Flush { tag: Tag(10) });
    assert_eq!(pair.said[0], [Said::Answered(Tag(12), Reply::Done)], "there is nothing left to flush");
}

#[test]
fn two_ends_that_ask_for_more_than_they_take_do_not_stop_each_other() {
    let mut pair = Pair::new();
    pair.open();
    // Each end asks for 40 MiB, ten times what may wait; the second half when the answers of the first half wait.
    let mut waited = 0;
    let mut got: [BTreeMap<u64, usize>; 2] = Default::default();
    for round in 0..10_000 {
        if round == 1 {
            // All of them have come; now they are answered.
            pair.run(usize::MAX);
        }
        for n in (0..20).filter(|_| round == 0 || round == 3) {
            pair.ask(0, 1000 * round + n + 100, read(n, 1 << 20));
            pair.ask(1, 1000 * round + n + 100, read(n, 1 << 20));
        }
        let mut any = pair.step(usize::MAX);
        for end in (0..2).filter(|_| round > 0) {
            for said in std::mem::take(&mut pair.said[end]) {
                any = true;
                match said {
                    Said::Asked(tag, op) => pair.answer(end, tag, served(&op)),
                    Said::Answered(tag, Reply::Data(data)) => {
                        got[end].insert(tag.0, data.len());
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        waited += usize::from(pair.lanes[0].holds() && pair.lanes[1].holds());
        if !any {
            break;
        }
    }
    assert!(waited > 0, "neither end took its answers for a while, or this shows nothing");
    for got in got {
        assert_eq!(got.len(), 40);
        assert!(got.values().all(|len| *len == (1 << 20) - ninep::IOHDRSZ as usize));
    }
}

#[test]
fn writes_that_nobody_takes_are_refused_in_the_end_and_taken_again_after() {
    let mut pair = Pair::new();
    pair.open();
    let part = 1 << 19;
    let write = || Op::Write { fid: Fid(1), offset: 0, data: vec![1; part] };
    let fit = limits::WRITES / part;
    for n in 0..fit as u64 {
        pair.ask(0, 100 + n, write());
        pair.run(usize::MAX);
    }
    assert!(pair.said[0].is_empty());
    pair.ask(0, 99, write());
    let [Said::Answered(Tag(99), Reply::Failed(error))] = &pair.said[0][..] else { panic!() };
    assert_eq!(error.errno, Errno::AGAIN);
    pair.said[0].clear();
    assert_eq!(pair.said[1].len(), fit);
    let Said::Asked(tag, _) = pair.said[1].remove(0) else { panic!() };
    pair.answer(1, tag, Reply::Wrote(part as u32));
    pair.run(usize::MAX);
    pair.said[0].clear();
    pair.ask(0, 98, write());
    assert!(pair.said[0].is_empty(), "one was taken, so another may wait");
}

#[test]
fn a_silent_end_is_noticed_after_two_beats_and_beats_are_said_only_into_silence() {
    let mut lane = Lane::new(hello(Kind::Control, true), at(0));
    assert_eq!(lane.silent_at(), at(2000));
    let mut said = Vec::new();
    lane.receive(&frame_bytes(&Frame::Hello(hello(Kind::Control, false))), at(500), &mut said).unwrap();
    assert_eq!(lane.silent_at(), at(2500));
    lane.receive(&frame_bytes(&Frame::Beat)[..3], at(700), &mut said).unwrap();
    assert_eq!(lane.silent_at(), at(2700), "half a beat is a sign of life too");
    let mut slow = hello(Kind::Control, false);
    slow.beat = Duration::from_secs(5);
    let mut other = Lane::new(hello(Kind::Control, true), at(0));
    other.receive(&frame_bytes(&Frame::Hello(slow)), at(0), &mut said).unwrap();
    assert_eq!(other.silent_at(), at(10_000), "who said that it beats slowly is waited for");

    lane.pour(usize::MAX, at(1000), |_| {});
    lane.beat(at(1400));
    assert!(!lane.wants_output(), "something was said not half a beat ago");
    lane.beat(at(2000));
    lane.beat(at(2100));
    let mut frames = Vec::new();
    lane.pour(usize::MAX, at(2100), |frame| frames.push(frame.to_vec()));
    assert_eq!(frames, [frame_bytes(&Frame::Beat)], "one is enough while it is not sent");
}

#[test]
fn what_comes_out_of_turn_breaks_the_lane() {
    let hello_of = |change: fn(&mut Hello)| {
        let mut theirs = hello(Kind::Control, false);
        change(&mut theirs);
        frame_bytes(&Frame::Hello(theirs))
    };
    let good = hello_of(|_| {});
    let twice = [good.clone(), good.clone()].concat();
    let version = [&[19u8, 0, 0, 0, 100, 255, 255, 0, 4, 0, 0, 6, 0][..], b"9P2000"].concat();
    for (what, bytes, word) in [
        ("another version", hello_of(|h| h.version = 2), "version 2"),
        ("another lane", hello_of(|h| h.kind = Kind::Bulk), "lane"),
        ("two children", hello_of(|h| h.above = true), "parent"),
        ("Hello twice", twice, "twice"),
        ("9P first", version, "before Hello"),
        ("news first", frame_bytes(&Frame::News(b"x".to_vec())), "before Hello"),
        ("an unknown type", [good.clone(), vec![7, 0, 0, 0, 250, 255, 255]].concat(), "type 250"),
        ("a tag", [good.clone(), vec![7, 0, 0, 0, 201, 0, 0]].concat(), "tag"),
        ("a huge frame", [good.clone(), vec![255, 255, 255, 255, 202]].concat(), "bytes"),
        ("a tiny frame", [good.clone(), vec![3, 0, 0, 0, 202]].concat(), "bytes"),
        ("an answer to nothing", [good.clone(), vec![7, 0, 0, 0, 121, 5, 0]].concat(), "Tversion"),
    ] {
        let mut lane = Lane::new(hello(Kind::Control, true), at(0));
        let why = lane.receive(&bytes, at(0), &mut Vec::new()).expect_err(what);
        assert!(why.contains(word), "{what}: {why}");
    }
    let mut bulk = Lane::new(hello(Kind::Bulk, true), at(0));
    let theirs = Frame::Hello(hello(Kind::Bulk, false));
    bulk.receive(&frame_bytes(&theirs), at(0), &mut Vec::new()).unwrap();
    assert!(bulk.receive(&frame_bytes(&Frame::News(b"x".to_vec())), at(0), &mut Vec::new()).is_err());
}

#[test]
fn long_news_is_cut_between_its_lines() {
    let mut pair = Pair::new();
    let text: String = (0..150_000).map(|n| format!("node {n} is up and well\n")).collect();
    assert!(text.len() > 3 * FRAME);
    pair.lanes[0].say(&Frame::News(text.clone().into_bytes()));
    pair.run(usize::MAX);
    let mut all: Vec<u8> = Vec::new();
    for said in &pair.said[1] {
        let Said::Frame(Frame::News(part)) = said else { panic!() };
        assert!(part.ends_with(b"\n"));
        all.extend(part);
    }
    assert!(pair.said[1].len() > 3 && all == text.into_bytes());
}

#[test]
fn no_bytes_panic_and_none_make_it_grow() {
    let mut seed = 1u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u32
    };
    let types = [
        6, 7, 100, 101, 104, 105, 108, 110, 112, 116, 117, 118, 120, 200, 201, 202, 203, 204, 205, 206, 207,
        222,
    ];
    let (mut broken, mut lived) = (0, 0);
    for _ in 0..20_000 {
        let mut lane = Lane::new(hello(Kind::Control, next() % 2 == 0), at(0));
        let theirs = Frame::Hello(hello(Kind::Control, next() % 2 == 0));
        let mut bytes = if next() % 8 > 0 { frame_bytes(&theirs) } else { Vec::new() };
        if next() % 2 == 0 {
            bytes.extend([&[21u8, 0, 0, 0, 100, 255, 255, 0, 0, 16, 0, 8, 0][..], b"9P2000.L"].concat());
        }
        for _ in 0..next() % 6 {
            let body: Vec<u8> = (0..next() % 40).map(|_| (next() % 5) as u8).collect();
            bytes.extend((body.len() as u32 + 7).to_le_bytes());
            bytes.push(types[next() as usize % types.len()]);
            bytes.extend(if next() % 2 == 0 { [255, 255] } else { [next() as u8 % 4, 0] });
            bytes.extend(body);
        }
        let cut = next() as usize % (bytes.len() + 1);
        let mut said = Vec::new();
        let fed = lane
            .receive(&bytes[..cut], at(0), &mut said)
            .and_then(|()| lane.receive(&bytes[cut..], at(0), &mut said));
        if fed.is_ok() {
            lived += 1
        } else {
            broken += 1
        }
        assert!(said.len() < 50);
    }
    assert!(broken > 1000 && lived > 1000, "{broken} broken, {lived} lived: both ways are tried");
}
