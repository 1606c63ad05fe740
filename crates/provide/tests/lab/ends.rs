//! Ends: statuses, signals, families, freezing, and nothing left.

use crate::Test;
use crate::world::{World, is_alive, state_of};
use op::{Act, How, SessionId, Stream, Tell};

pub(crate) const TESTS: &[Test] = &[
    ("statuses_and_usage", statuses_and_usage),
    ("a_grandchild_keeps_the_output_open", a_grandchild_keeps_the_output_open),
    ("kill_all_finds_those_who_hide", kill_all_finds_those_who_hide),
    ("a_group_signal_reaches_the_pipeline", a_group_signal_reaches_the_pipeline),
    ("frozen_ones_stand_still", frozen_ones_stand_still),
    ("free_ends_all_and_leaves_nothing", free_ends_all_and_leaves_nothing),
    ("hundreds_at_once", hundreds_at_once),
];

fn statuses_and_usage() {
    let mut world = World::new();
    for (script, how) in [
        ("exit 0", How::Code(0)),
        ("exit 255", How::Code(255)),
        ("kill -TERM $$", How::Signal(15)),
        ("kill -SEGV $$", How::Signal(11)),
    ] {
        let session = world.sh(script);
        assert_eq!(world.code(session), how, "{script}");
    }
    let busy = world.sh("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done");
    let usage = world.exit(busy).usage;
    assert!(usage.user_us > 1000 && usage.maxrss_kib > 100, "{usage:?}");
}

fn number(world: &mut World, session: SessionId) -> i32 {
    world.until("a pid in its output", |world| world.out(session).trim().parse().ok())
}

fn a_grandchild_keeps_the_output_open() {
    let mut world = World::new();
    let session = world.sh("exec 3<&0; (read x <&3; echo late) & echo early; exit 4");
    // The background one reads what we hold open; the shell has ended long before.
    assert_eq!(world.code(session), How::Code(4));
    assert_eq!(world.out(session), "early\n");
    assert!(!world.tells.contains(&Tell::Closed { session, stream: Stream::Out }));
    world.act(Act::Feed { session, data: b"x\n".to_vec() });
    world.closed(session);
    assert_eq!(world.out(session), "early\nlate\n");
}

fn kill_all_finds_those_who_hide() {
    let mut world = World::new();
    let session = world.sh("setsid setsid sh -c 'echo $$; exec sleep 1000' & wait");
    let hidden = number(&mut world, session);
    world.act(Act::Signal { session, signal: 15, all: false });
    world.exit(session);
    assert!(is_alive(hidden), "a signal to the group does not reach another session");
    world.act(Act::Signal { session, signal: 9, all: true });
    world.closed(session);
    world.until("the hidden one is dead", |_| (!is_alive(hidden)).then_some(()));
}

fn a_group_signal_reaches_the_pipeline() {
    let mut world = World::new();
    let session = world.sh("sleep 1000 | sleep 1000");
    world.act(Act::Signal { session, signal: 15, all: false });
    assert_eq!(world.code(session), How::Signal(15));
    world.closed(session);
}

fn frozen_ones_stand_still() {
    let mut world = World::new();
    let session = world.sh("while :; do echo; done & while :; do echo x >&2; sleep 0.01; done");
    let len = |world: &World| world.read(session, Stream::Err).len() + world.read(session, Stream::Out).len();
    world.until("it runs", |world| (len(world) > 100).then_some(()));
    world.act(Act::Freeze(session));
    // What was in the pipes still comes; then nothing more.
    let mut last = len(&world);
    let mut still = 0;
    world.until("it stands", |world| {
        let now = len(world);
        still = if now == last { still + 1 } else { 0 };
        last = now;
        (still > 10).then_some(())
    });
    world.act(Act::Thaw(session));
    world.until("it goes on", |world| (len(world) > last + 100).then_some(()));
    world.act(Act::Freeze(session));
    let pid = world.pid(session);
    world.act(Act::Signal { session, signal: 9, all: true });
    assert_eq!(world.code(session), How::Signal(9));
    world.closed(session);
    assert!(!is_alive(pid));
    world.act(Act::Free(session));
}

fn free_ends_all_and_leaves_nothing() {
    let mut world = World::new();
    let running = world.sh("echo $$; sleep 1000 & sleep 1000");
    let pid = number(&mut world, running);
    world.act(Act::Free(running));
    world.until("it is gone", |_| state_of(pid).is_none().then_some(()));
    // A daemon that let go of its outputs is found by its environment.
    let daemon = world.sh("setsid sh -c 'exec sleep 1000' <&- >&- 2>&- & echo $!");
    let pid = number(&mut world, daemon);
    world.closed(daemon);
    world.turn();
    world.act(Act::Free(daemon));
    world.until("the daemon is gone", |_| (!is_alive(pid)).then_some(()));
    assert!(world.spools().iter().all(|len| *len == 0), "what is left is empty");
    assert!(world.processes.is_empty());
}

fn hundreds_at_once() {
    let mut world = World::new();
    let sessions: Vec<SessionId> = (0..crate::world::very_many())
        .map(|n| world.sh(&format!("read x; echo {n} $x; exit {}", n % 200)))
        .collect();
    for session in &sessions {
        world.act(Act::Feed { session: *session, data: b"go\n".to_vec() });
    }
    for (n, session) in sessions.iter().enumerate() {
        assert_eq!(world.code(*session), How::Code((n % 200) as u8));
        assert_eq!(world.out(*session), format!("{n} go\n"));
    }
    sessions.iter().for_each(|session| world.closed(*session));
    let turns = world.tells.len();
    world.turn();
    assert_eq!(world.tells.len(), turns, "nothing more is told");
}
