//! Bytes: output to the last one, input, limits that hold to the byte, terminals.

use crate::Test;
use crate::world::{World, is_alive};
use op::{Act, Errno, How, Limits, SessionId, Stream, Tell, WinSize};

pub(crate) const TESTS: &[Test] = &[
    ("output_comes_whole_and_in_its_stream", output_comes_whole_and_in_its_stream),
    ("a_megabyte_without_a_newline", a_megabyte_without_a_newline),
    ("what_was_written_is_told_before_the_end", what_was_written_is_told_before_the_end),
    ("a_silent_program_costs_no_file", a_silent_program_costs_no_file),
    ("the_output_limit_holds_to_the_byte", the_output_limit_holds_to_the_byte),
    ("trimming_makes_room", trimming_makes_room),
    ("sixty_four_megabytes_through_cat", sixty_four_megabytes_through_cat),
    ("feeding_what_does_not_read", feeding_what_does_not_read),
    (
        "what_the_kernel_writes_itself_is_read_like_any_output",
        what_the_kernel_writes_itself_is_read_like_any_output,
    ),
    ("a_terminal_is_one", a_terminal_is_one),
    ("a_terminal_ends_its_input", a_terminal_ends_its_input),
];

fn output_comes_whole_and_in_its_stream() {
    let mut world = World::new();
    let session = world.sh("echo a; echo b >/dev/stdout; echo c >/dev/stderr; echo d");
    assert_eq!(world.code(session), How::Code(0));
    assert_eq!((world.out(session).as_str(), world.err(session).as_str()), ("a\nb\nd\n", "c\n"));
    world.closed(session);
}

fn a_megabyte_without_a_newline() {
    let mut world = World::new();
    let session = world.sh("head -c 1000000 /dev/zero | tr '\\0' x; printf end");
    world.closed(session);
    let out = world.read(session, Stream::Out);
    assert_eq!(out.len(), 1_000_003);
    assert!(out[..1_000_000].iter().all(|byte| *byte == b'x') && out.ends_with(b"end"));
}

fn what_was_written_is_told_before_the_end() {
    let mut world = World::new();
    for round in 0..50 {
        let session = world.sh("printf 0123456789");
        world.exit(session);
        let of = |tell: &Tell| matches!(tell, Tell::Exited { session: s, .. } if *s == session);
        let end = world.tells.iter().position(of).unwrap();
        let grew = Tell::Grew { session, stream: Stream::Out, len: 10 };
        assert!(world.tells[..end].contains(&grew), "round {round}");
    }
}

fn a_silent_program_costs_no_file() {
    let mut world = World::new();
    let session = world.start(&["true"]);
    world.closed(session);
    assert_eq!(world.spools(), Vec::<u64>::new());
    let loud = world.start(&["echo"]);
    world.closed(loud);
    assert_eq!(world.spools(), [1]);
    world.act(Act::Free(loud));
    assert_eq!(world.spools(), [0], "an empty file is kept for the next");
    let next = world.start(&["echo", "next"]);
    world.closed(next);
    assert_eq!(world.spools(), [5], "which takes it");
}

fn grown(world: &World, session: SessionId) -> u64 {
    let mut lens = world.tells.iter().rev().filter_map(|tell| match tell {
        Tell::Grew { session: of, stream: Stream::Out, len } if *of == session => Some(*len),
        _ => None,
    });
    lens.next().unwrap_or(0)
}

fn the_output_limit_holds_to_the_byte() {
    let mut world = World::new();
    let limits = |n| Limits { output: Some(n), ..Limits::default() };
    let session = world.start_with(&["sh", "-c", "yes | head -c 1000000; echo ok >&2"], |launch| {
        launch.limits = limits(12_345);
    });
    let full = Tell::Full { session, stream: Stream::Out };
    world.until("Full", |world| world.tells.contains(&full).then_some(()));
    for _ in 0..5 {
        world.turn();
    }
    assert_eq!(grown(&world, session), 12_345);
    assert_eq!(world.tells.iter().filter(|tell| **tell == full).count(), 1);
    assert!(world.exited(session).is_none());
    world.act(Act::Limit { session, limits: limits(500_000) });
    world.until("Full again", |world| {
        (world.tells.iter().filter(|tell| **tell == full).count() == 2).then_some(())
    });
    assert_eq!(grown(&world, session), 500_000);
    world.act(Act::Limit { session, limits: Limits::default() });
    world.closed(session);
    assert_eq!(world.read(session, Stream::Out).len(), 1_000_000);
    // Exactly its limit is not too much.
    let exact = world.start_with(&["sh", "-c", "printf 12345"], |launch| launch.limits = limits(5));
    world.closed(exact);
    assert_eq!(world.out(exact), "12345");
}

fn trimming_makes_room() {
    let mut world = World::new();
    let session = world.start_with(&["sh", "-c", "yes | head -c 1000000"], |launch| {
        launch.limits = Limits { output: Some(100_000), ..Limits::default() };
    });
    let mut seen = 0;
    while seen < 1_000_000 {
        seen = world.until("it grows", |world| Some(grown(world, session)).filter(|len| *len > seen));
        world.act(Act::Trim { session, stream: Stream::Out, offset: seen });
    }
    world.closed(session);
    assert_eq!(seen, 1_000_000);
}

fn sixty_four_megabytes_through_cat() {
    let mut world = World::new();
    let session = world.start(&["cat"]);
    let mut byte = 0u32;
    let mut sent = 0u64;
    for _ in 0..64 {
        let data: Vec<u8> = std::iter::repeat_with(|| {
            byte = byte.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (byte >> 24) as u8
        })
        .take(1 << 20)
        .collect();
        sent += data.len() as u64;
        world.tells.clear();
        world.act(Act::Feed { session, data });
        let fed = Tell::Fed { session, result: Ok(()) };
        world.until("Fed", |world| world.tells.contains(&fed).then_some(()));
    }
    world.act(Act::CloseStdin(session));
    world.closed(session);
    let (mut byte, mut at, mut buf) = (0u32, 0u64, vec![0; 1 << 20]);
    loop {
        let n = world.processes.read_spool(session, Stream::Out, at, &mut buf).unwrap();
        if n == 0 {
            break;
        }
        for got in &buf[..n] {
            byte = byte.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            assert_eq!(*got, (byte >> 24) as u8, "at {at}");
        }
        at += n as u64;
    }
    assert_eq!(at, sent);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().to_owned();
    let kib: u64 = peak.split(' ').next().unwrap().parse().unwrap();
    assert!(kib < 24 << 10, "memory grew to {peak}");
}

fn feeding_what_does_not_read() {
    let mut world = World::new();
    let session = world.start(&["sleep", "1000"]);
    world.act(Act::Feed { session, data: vec![0; 1 << 20] });
    world.turn();
    assert!(!world.tells.iter().any(|tell| matches!(tell, Tell::Fed { .. })));
    world.act(Act::Unfeed(session));
    assert!(
        world
            .tells
            .iter()
            .any(|tell| matches!(tell, Tell::Fed { result: Err(e), .. } if e.errno == Errno::CANCELED))
    );
    world.tells.clear();
    world.act(Act::Feed { session, data: vec![0; 1 << 20] });
    world.act(Act::Signal { session, signal: 9, all: false });
    let error = world.until("Fed", |world| {
        world.tells.iter().find_map(|tell| match tell {
            Tell::Fed { result, .. } => Some(result.clone()),
            _ => None,
        })
    });
    assert_eq!(error.unwrap_err().errno, Errno::PIPE);
}

fn a_terminal_is_one() {
    let mut world = World::new();
    let size = Some(WinSize { rows: 33, cols: 99 });
    let session = world.start_with(&["sh", "-c", "tty; stty size; read x; stty size; exec cat"], |launch| {
        launch.tty = size;
    });
    world.until("its size", |world| world.out(session).contains("33 99").then_some(()));
    assert!(world.out(session).starts_with("/dev/pts/"));
    world.act(Act::Resize { session, size: WinSize { rows: 5, cols: 6 } });
    world.act(Act::Feed { session, data: b"\n".to_vec() });
    world.until("its new size", |world| world.out(session).contains("5 6").then_some(()));
    let pid = world.pid(session);
    world.until("cat", |_| (std::fs::read(format!("/proc/{pid}/comm")).unwrap() == b"cat\n").then_some(()));
    world.act(Act::Feed { session, data: b"\x03".to_vec() });
    assert_eq!(world.code(session), How::Signal(2));
    world.closed(session);
    assert!(!is_alive(pid));
}

fn a_terminal_ends_its_input() {
    let mut world = World::new();
    let size = Some(WinSize { rows: 24, cols: 80 });
    for text in ["whole\n", "unfinished"] {
        let session = world.start_with(&["sh", "-c", "cat; echo done"], |launch| launch.tty = size);
        world.act(Act::Feed { session, data: text.into() });
        world.until("its echo", |world| world.out(session).contains(text.trim()).then_some(()));
        world.act(Act::CloseStdin(session));
        assert_eq!(world.code(session), How::Code(0));
        world.closed(session);
        assert!(world.out(session).contains("done"), "{:?}", world.out(session));
    }
}

fn what_the_kernel_writes_itself_is_read_like_any_output() {
    let mut world = World::new();
    let (session, stream) = (SessionId(7), Stream::Out);
    let append = |offset, data: &[u8]| Act::Append { session, stream, offset, data: data.to_vec() };
    world.act(append(0, b"one\n"));
    assert_eq!(world.tells.last(), Some(&Tell::Grew { session, stream, len: 4 }));
    let large = vec![b'x'; 3 << 20];
    world.act(append(4, &large));
    assert_eq!(world.tells.last(), Some(&Tell::Grew { session, stream, len: 4 + large.len() as u64 }));
    let mut buf = [0; 8];
    assert_eq!(world.processes.read_spool(session, stream, 0, &mut buf).unwrap(), 8);
    assert_eq!(&buf, b"one\nxxxx");
    // Begun anew, nothing of what was before is left.
    world.act(append(0, b"two\n"));
    assert_eq!(world.processes.read_spool(session, stream, 0, &mut buf).unwrap(), 4);
    assert_eq!(&buf[..4], b"two\n");
    world.act(Act::Free(session));
    assert!(world.processes.read_spool(session, stream, 0, &mut buf).is_err());
}
