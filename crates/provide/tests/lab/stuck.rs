//! Starts that wait for a file system which does not answer: nothing else stands still, and they can be ended.

use crate::Test;
use crate::fuse::Fuse;
use crate::world::{World, is_alive, state_of, user};
use op::{Act, Errno, How, Limits, SessionId, Stream, Tell};

pub(crate) const TESTS: &[Test] = &[
    ("a_directory_that_does_not_answer_holds_nobody", a_directory_that_does_not_answer_holds_nobody),
    ("a_program_that_does_not_answer_holds_nobody", a_program_that_does_not_answer_holds_nobody),
    ("what_waits_for_its_start_can_be_killed", what_waits_for_its_start_can_be_killed),
    ("what_waits_for_its_start_can_be_freed", what_waits_for_its_start_can_be_freed),
    ("what_is_asked_of_a_start_is_done_after_it", what_is_asked_of_a_start_is_done_after_it),
    ("who_stops_his_own_start_holds_nobody", who_stops_his_own_start_holds_nobody),
    ("a_start_that_waits_holds_no_pipes_of_others", a_start_that_waits_holds_no_pipes_of_others),
    ("starts_in_threads_by_the_hundred", starts_in_threads_by_the_hundred),
];

/// Others start and end.
fn others_work(world: &mut World) {
    for n in 0..5 {
        let other = world.sh(&format!("echo {n}; exit {n}"));
        assert_eq!(world.code(other), How::Code(n));
        assert_eq!(world.out(other), format!("{n}\n"));
    }
}

fn is_started(world: &World, session: SessionId) -> bool {
    world.tells.iter().any(|tell| matches!(tell, Tell::Started { session: of, .. } if *of == session))
}

/// The file system answers from now on, until something holds.
fn answered<T>(world: &mut World, fuse: &Fuse, mut holds: impl FnMut(&World) -> Option<T>) -> T {
    world.until("an answer", |world| {
        fuse.answer();
        holds(world)
    })
}

/// Children of this process that are in the kernel for good, until they are answered.
fn waiting() -> Vec<i32> {
    let path = format!("/proc/{0}/task/{0}/children", std::process::id());
    let mut all = std::fs::read_to_string(path).unwrap();
    // Those that a thread made are the thread's.
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        all += " ";
        all += &std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
    }
    let mut pids: Vec<i32> = all.split_whitespace().map(|word| word.parse().unwrap()).collect();
    pids.sort_unstable();
    pids.dedup();
    pids.retain(|pid| matches!(state_of(*pid), Some('S' | 'D')));
    pids
}

fn a_directory_that_does_not_answer_holds_nobody() {
    let Some(fuse) = Fuse::new() else { return };
    let mut world = World::new();
    let there = fuse.point().to_str().unwrap().as_bytes().to_vec();
    let stuck = world.start_with(&["/bin/sh", "-c", "echo here; exit 3"], |l| l.dir = Some(there.clone()));
    others_work(&mut world);
    assert!(world.is_silent(stuck));
    assert_eq!(world.processes.len(), 6);
    answered(&mut world, &fuse, |world| world.exited(stuck));
    assert_eq!(world.code(stuck), How::Code(3));
    assert_eq!(world.out(stuck), "here\n");
    world.closed(stuck);
    // What has gone well once is not trusted.
    let again = world.start_with(&["/bin/sh", "-c", "exit 3"], |launch| launch.dir = Some(there));
    others_work(&mut world);
    answered(&mut world, &fuse, |world| world.exited(again));
}

fn a_program_that_does_not_answer_holds_nobody() {
    let Some(fuse) = Fuse::new() else { return };
    fuse.answer(); // the mount itself is ready
    let mut world = World::new();
    let prog = fuse.prog();
    let path = format!("PATH={}:/usr/bin:/bin", fuse.point().display());
    let direct = world.start(&[prog.to_str().unwrap()]);
    let in_path = world.start_with(&["prog"], |launch| launch.env = vec![path.clone().into_bytes()].into());
    let not_there = world.start_with(&["nope"], |launch| launch.env = vec![path.into_bytes()].into());
    others_work(&mut world);
    assert!([direct, in_path, not_there].iter().all(|session| world.is_silent(*session)));
    for session in [direct, in_path] {
        world.act(Act::CloseStdin(session));
        answered(&mut world, &fuse, |world| world.exited(session));
        assert_eq!(world.code(session), How::Code(7));
        assert_eq!(world.out(session), "ran\n");
    }
    assert_eq!(world.refusal(not_there).cause, "exec nope: not found in PATH");
}

fn what_waits_for_its_start_can_be_killed() {
    let Some(fuse) = Fuse::new() else { return };
    let mut world = World::new();
    let prog = fuse.prog().to_str().unwrap().to_owned();
    let other_user = rustix::process::geteuid().as_raw() == 0;
    for all in [true, false] {
        // At once, when there may be no child yet; and when it certainly waits.
        let early = world.start(&[&prog]);
        world.act(Act::Signal { session: early, signal: 9, all });
        assert_eq!(world.code(early), How::Signal(9));
        world.closed(early);
        let late = world.start(&[&prog]);
        world.until("a child that waits", |_| waiting().first().copied());
        assert!(world.is_silent(late));
        world.act(Act::Signal { session: late, signal: 9, all });
        assert_eq!(world.code(late), How::Signal(9));
        world.closed(late);
    }
    if other_user {
        let there = Some(fuse.point().to_str().unwrap().as_bytes().to_vec());
        let session = world.start_with(&["true"], |launch| (launch.user, launch.dir) = (user(65534), there));
        world.act(Act::Signal { session, signal: 9, all: true });
        world.until("an end", |world| (!world.is_silent(session)).then_some(()));
    }
    assert_eq!(waiting(), Vec::<i32>::new(), "nothing is left");
}

fn what_waits_for_its_start_can_be_freed() {
    let Some(fuse) = Fuse::new() else { return };
    let mut world = World::new();
    let prog = fuse.prog().to_str().unwrap().to_owned();
    let sessions: Vec<SessionId> = (0..5).map(|_| world.start(&[&prog])).collect();
    world.until("children that wait", |_| (waiting().len() == 5).then_some(()));
    let pids = waiting();
    for session in &sessions {
        world.act(Act::Free(*session));
    }
    world.until("nothing is held", |world| world.processes.is_empty().then_some(()));
    world.until("none lives", |_| pids.iter().all(|pid| !is_alive(*pid)).then_some(()));
    assert!(sessions.iter().all(|session| world.is_silent(*session)));
    others_work(&mut world);
}

fn what_is_asked_of_a_start_is_done_after_it() {
    let Some(fuse) = Fuse::new() else { return };
    let mut world = World::new();
    let prog = fuse.prog().to_str().unwrap().to_owned();
    let session = world.start(&[&prog]);
    world.act(Act::Feed { session, data: b"dropped\n".to_vec() });
    world.act(Act::Unfeed(session));
    let given_up =
        |tell: &Tell| matches!(tell, Tell::Fed { result: Err(e), .. } if e.errno == Errno::CANCELED);
    assert!(world.tells.iter().any(given_up));
    world.act(Act::Feed { session, data: b"words\n".to_vec() });
    world.act(Act::Limit { session, limits: Limits { fds: Some(50), ..Limits::default() } });
    world.act(Act::Freeze(session));
    world.act(Act::Thaw(session));
    answered(&mut world, &fuse, |world| world.exited(session));
    assert_eq!(world.out(session), "ran words\n");
    assert!(world.tells.contains(&Tell::Fed { session, result: Ok(()) }));
    // A signal waits for the program; and one that is never started is not fed.
    let stopped = world.start(&[&prog]);
    world.act(Act::Signal { session: stopped, signal: 15, all: true });
    answered(&mut world, &fuse, |world| world.exited(stopped));
    assert_eq!(world.code(stopped), How::Signal(15));
    let nowhere = format!("{prog}-not");
    let refused = world.start(&[&nowhere]);
    world.act(Act::Feed { session: refused, data: b"words\n".to_vec() });
    answered(&mut world, &fuse, |world| {
        let fed = |tell: &Tell| matches!(tell, Tell::Fed { session, result: Err(_) } if *session == refused);
        world.tells.iter().any(fed).then_some(())
    });
    assert_eq!(world.refusal(refused).errno, Errno::NOENT);
}

/// Between becoming him and becoming his program, a process may be stopped by its user.
fn who_stops_his_own_start_holds_nobody() {
    let Some(fuse) = Fuse::new() else { return };
    if rustix::process::geteuid().as_raw() != 0 {
        return println!("NOT TESTED: only root starts programs of others");
    }
    let mut world = World::new();
    let there = Some(fuse.point().to_str().unwrap().as_bytes().to_vec());
    let session = world.start_with(&["true"], |launch| (launch.user, launch.dir) = (user(65534), there));
    let pid = world.until("a child", |_| waiting().first().copied());
    crate::world::kill(pid, rustix::process::Signal::STOP);
    fuse.answer();
    others_work(&mut world);
    assert!(!is_started(&world, session));
    world.act(Act::Signal { session, signal: 9, all: true });
    world.until("an end", |world| {
        fuse.answer();
        (!world.is_silent(session)).then_some(())
    });
    world.until("it is gone", |_| (!is_alive(pid)).then_some(()));
}

fn a_start_that_waits_holds_no_pipes_of_others() {
    let Some(fuse) = Fuse::new() else { return };
    let mut world = World::new();
    let reader = world.start(&["cat"]);
    let stuck = world.start(&[fuse.prog().to_str().unwrap()]);
    let known = world.pid(reader);
    let pid = world.until("a child that waits", |_| {
        let pid = waiting().into_iter().find(|pid| *pid != known)?;
        // It has let go of the rest before it waits.
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        (open == 3).then_some(pid)
    });
    world.act(Act::CloseStdin(reader));
    assert_eq!(world.code(reader), How::Code(0), "its stdin ends");
    world.closed(reader);
    assert!(world.is_silent(stuck));
    assert!(is_alive(pid));
}

fn starts_in_threads_by_the_hundred() {
    if rustix::process::geteuid().as_raw() != 0 {
        return println!("NOT TESTED: only root starts programs of others");
    }
    let mut world = World::new();
    // Until it lands, a start has the program's ends of its pipes open as well. On a machine that is busy with other things, all of
    // them may be on their way at the same time.
    let most = crate::world::very_many() * 3 / 4;
    let sessions: Vec<SessionId> = (0..most)
        .map(|n| {
            let script = format!("read x; echo {n} $x; exit {}", n % 200);
            let session = world.start_with(&["sh", "-c", &script], |launch| launch.user = user(65534));
            world.act(Act::Feed { session, data: b"go\n".to_vec() });
            session
        })
        .collect();
    for (n, session) in sessions.iter().enumerate() {
        assert_eq!(world.code(*session), How::Code((n % 200) as u8));
        world.closed(*session);
        assert_eq!(world.read(*session, Stream::Out), format!("{n} go\n").into_bytes());
    }
    let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
    assert_eq!(threads, 1, "no thread is left");
}
