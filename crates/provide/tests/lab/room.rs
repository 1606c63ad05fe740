//! Room: a disk that is full, and limits that change while a program runs.

use crate::Test;
use crate::fuse::own_mounts;
use crate::world::World;
use op::{Act, How, Limits, Stream, Tell};
use rustix::mount::{MountFlags, mount};

pub(crate) const TESTS: &[Test] = &[
    ("a_full_disk_loses_nothing", a_full_disk_loses_nothing),
    ("a_full_disk_loses_nothing_of_a_terminal", a_full_disk_loses_nothing_of_a_terminal),
    ("limits_change_while_it_runs", limits_change_while_it_runs),
    ("nodes_of_one_name_leave_each_other_alone", nodes_of_one_name_leave_each_other_alone),
];

const DISK: u64 = 256 << 10;

/// A provider whose spools are on a disk of [`DISK`] bytes.
fn small() -> Option<World> {
    if rustix::process::geteuid().as_raw() != 0 || !own_mounts() {
        println!("NOT TESTED: only root can mount a small disk");
        return None;
    }
    let world = World::new();
    let size = std::ffi::CString::new(format!("size={DISK}")).unwrap();
    mount("lab", world.dir.path().join("spool"), "tmpfs", MountFlags::empty(), Some(&*size)).unwrap();
    Some(world)
}

fn full_count(world: &World) -> usize {
    world.tells.iter().filter(|tell| matches!(tell, Tell::Full { stream: Stream::Out, .. })).count()
}

/// Lets a program write a megabyte of lines onto the small disk, and makes room as a reader would.
fn fills(world: &mut World, tty: bool) {
    let script = "stty -onlcr 2>/dev/null; seq 100000 299999 | head -c 1000000; echo done";
    let session = world.start_with(&["sh", "-c", script], |launch| {
        launch.tty = tty.then_some(op::WinSize { rows: 24, cols: 80 });
    });
    let whole: Vec<u8> =
        (100_000..300_000).flat_map(|n| format!("{n}\n").into_bytes()).take(1_000_000).collect();
    let whole = [whole, b"done\n".to_vec()].concat();
    let (mut got, mut halts) = (Vec::<u8>::new(), 0);
    while got.len() < whole.len() {
        // Until it stands still, or is at its end.
        world.until("Full, or the end", |world| {
            (full_count(world) > halts
                || world.tells.contains(&Tell::Closed { session, stream: Stream::Out }))
            .then_some(())
        });
        halts = full_count(world);
        let mut buf = vec![0; 1 << 20];
        let n = world.processes.read_spool(session, Stream::Out, got.len() as u64, &mut buf).unwrap();
        got.extend(&buf[..n]);
        assert!(got.len() as u64 <= whole.len() as u64);
        assert_eq!(&got[..], &whole[..got.len()], "nothing is lost, nothing twice");
        // Others are served while it stands.
        let other = world.sh("exit 4");
        assert_eq!(world.code(other), How::Code(4));
        world.act(Act::Trim { session, stream: Stream::Out, offset: got.len() as u64 });
    }
    assert_eq!(world.code(session), How::Code(0));
    assert!(halts >= 3, "the disk was full {halts} times");
    world.act(Act::Free(session));
}

fn a_full_disk_loses_nothing() {
    let Some(mut world) = small() else { return };
    fills(&mut world, false);
}

fn a_full_disk_loses_nothing_of_a_terminal() {
    let Some(mut world) = small() else { return };
    fills(&mut world, true);
}

fn limits_change_while_it_runs() {
    let mut world = World::new();
    // Processes: five more are too many, then they are not.
    let script = "read x; for i in 1 2 3 4 5; do sleep 100 & done; echo made; kill $(jobs -p); read x; \
                  for i in 1 2 3 4 5; do sleep 100 & done; echo made again; kill $(jobs -p); exit 6";
    let session = world.sh(script);
    world.act(Act::Limit { session, limits: Limits { pids: Some(100), ..Limits::default() } });
    world.act(Act::Feed { session, data: b"\n".to_vec() });
    world.until("made", |world| world.out(session).contains("made").then_some(()));
    world.act(Act::Limit { session, limits: Limits { pids: Some(3), ..Limits::default() } });
    world.act(Act::Feed { session, data: b"\n".to_vec() });
    assert_ne!(world.code(session), How::Code(6));
    assert!(world.err(session).contains("fork"), "{}", world.err(session));
    world.act(Act::Signal { session, signal: 9, all: true });
    world.closed(session);
    world.act(Act::Free(session));
    // Memory: what it takes after the limit is too much.
    let script = "read x; head -c 300m /dev/zero | tail -c 300m | wc -c";
    let session = world.sh(script);
    world.act(Act::Limit { session, limits: Limits { mem: Some(32 << 20), ..Limits::default() } });
    world.act(Act::Feed { session, data: b"\n".to_vec() });
    world.exit(session);
    assert!(!world.out(session).contains("314572800"), "{}", world.out(session));
    // And off again.
    let session = world.sh("read x; head -c 100m /dev/zero | tail -c 100m | wc -c");
    world.act(Act::Limit { session, limits: Limits { mem: Some(32 << 20), ..Limits::default() } });
    world.act(Act::Limit { session, limits: Limits::default() });
    world.act(Act::Feed { session, data: b"\n".to_vec() });
    world.exit(session);
    assert_eq!(world.out(session), "104857600\n", "{}", world.err(session));
}

/// On one machine, with a state directory each: as when two users' nodes are called after their host.
fn nodes_of_one_name_leave_each_other_alone() {
    let mut one = World::new();
    let session = one.start_with(&["sleep", "100"], |launch| launch.limits.pids = Some(5));
    let pid = one.pid(session);
    if !one.limits_by(session).contains("cgroup") {
        println!("NOT TESTED: limits are kept without groups here");
        return;
    }
    // The other one starts, and ends what is in the groups of sessions that it does not know.
    let mut two = World::new();
    two.processes.clear();
    two.turn();
    assert!(crate::world::is_alive(pid), "a node has killed the program of another");
    one.act(Act::Signal { session, signal: 9, all: true });
}
