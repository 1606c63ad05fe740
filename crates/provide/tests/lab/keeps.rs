//! The keeper: nodes and keepers are killed at random moments, and nothing is lost, and nothing runs twice.
//!
//! The node here is a small one: it works through a list of tasks, a few at a time, and keeps a journal as the
//! real one does. A task writes its number to `ran`, some output, and exits with a status of its own.

use crate::Test;
use crate::world::{kill, launch, words};
use op::{Act, How, Limits, SessionId, Tell, WinSize};
use provide::keeper::{self, Inheritance};
use provide::process::{Config, Processes};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const TESTS: &[Test] = &[
    ("a_keeper_starts_a_node_and_ends_with_it", || world("a_clean_stop", 40, &[], 0)),
    ("nodes_killed_at_random_lose_nothing", || world("nodes", 400, &["node"], 100)),
    ("keepers_killed_at_random_lose_nothing", || world("keepers", 300, &["keeper"], 30)),
    ("nodes_and_keepers_killed_in_turn_lose_nothing", || world("both", 400, &["node", "keeper"], 60)),
    ("stop_keep_and_the_keeper_moves_output", stop_keep_and_the_keeper_moves_output),
    ("a_state_has_one_owner", a_state_has_one_owner),
    ("stdin_outlives_the_node", stdin_outlives_the_node),
    ("the_keeper_listens_though_little_is_said", the_keeper_listens_though_little_is_said),
    ("a_keeper_that_is_to_listen_and_to_end_does_both", a_keeper_that_is_to_listen_and_to_end_does_both),
    ("programs_of_a_dead_keeper_and_node_are_found", programs_of_a_dead_keeper_and_node_are_found),
];

/// Attempts at a task have session numbers this far apart.
const STRIDE: u64 = 100_000;
const PATIENCE: Duration = Duration::from_secs(60);

fn exe() -> OsString {
    std::env::current_exe().unwrap().into()
}

fn state() -> PathBuf {
    PathBuf::from(std::env::var_os("LAB_STATE").unwrap())
}

fn keeper_argv() -> Vec<OsString> {
    vec![exe(), "as-keeper".into()]
}

pub(crate) fn as_keeper() -> ! {
    let state = state();
    put(&state, "keeper.pid", &std::process::id().to_string());
    let node = vec![exe(), "as-node".into()];
    let error = keeper::run(keeper::Config { state, node, lived: Duration::ZERO }).unwrap_err();
    panic!("keeper: {error}");
}

/// Writes a file whole or not at all.
pub(crate) fn put(state: &Path, name: &str, text: &str) {
    fs::write(state.join(format!(".{name}")), text).unwrap();
    fs::rename(state.join(format!(".{name}")), state.join(name)).unwrap();
}

pub(crate) fn get(state: &Path, name: &str) -> Option<i32> {
    fs::read_to_string(state.join(name)).ok()?.parse().ok()
}

/// What the journal knows of a session.
#[derive(Default, Debug, Clone)]
pub(crate) struct Known {
    pub(crate) mark: String,
    pub(crate) how: Option<String>,
    pub(crate) refused: bool,
    closed: BTreeSet<String>,
}

pub(crate) fn journal(state: &Path) -> BTreeMap<u64, Known> {
    let mut all: BTreeMap<u64, Known> = BTreeMap::new();
    let text = fs::read_to_string(state.join("journal")).unwrap_or_default();
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let known = all.entry(words[1].parse().unwrap()).or_default();
        match words[0] {
            "start" => {}
            "runs" => known.mark = words[2].to_owned(),
            "end" => known.how = known.how.take().or(Some(words[2].to_owned())),
            "refused" => known.refused = true,
            "closed" => drop(known.closed.insert(words[2].to_owned())),
            other => panic!("{other}"),
        }
    }
    all
}

/// The node of these tests.
pub(crate) fn as_node() -> ! {
    let state = state();
    put(&state, "node.pid", &std::process::id().to_string());
    let total: u64 = std::env::var("LAB_TASKS").unwrap().parse().unwrap();
    let script = std::env::var("LAB_SCRIPT").unwrap();
    let keeper = Inheritance::from_env().unwrap();
    assert!(keeper.is_some(), "a keeper started this");
    let mut processes =
        Processes::new(Config { state: state.clone(), node: "lab-keep".into(), keeper }).unwrap();
    let mut journal_file =
        fs::OpenOptions::new().create(true).append(true).open(state.join("journal")).unwrap();
    // A write that spans two pages may end between them when its writer is killed (write(2)): what is torn was never said.
    let written = fs::read(state.join("journal")).unwrap();
    let whole = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    journal_file.set_len(whole as u64).unwrap();
    let mut tells = Vec::new();
    let mut known = journal(&state);
    for (session, known) in &known {
        if !known.refused {
            processes.act(Act::Adopt { session: SessionId(*session), mark: known.mark.clone() }, &mut tells);
        }
    }
    processes.clear();
    put(&state, "ready", &std::process::id().to_string());
    let mut next = 1;
    loop {
        let mut text = String::new();
        for tell in tells.drain(..) {
            note(&mut text, &mut known, tell);
        }
        journal_file.write_all(text.as_bytes()).unwrap();
        processes.settle();
        // What the test types into the first task.
        if let Ok(data) = fs::read(state.join("input")) {
            fs::remove_file(state.join("input")).unwrap();
            processes.act(Act::Feed { session: SessionId(1), data }, &mut tells);
        }
        if processes.keeper_gone() {
            let error = processes.become_keeper(&keeper_argv());
            panic!("become_keeper: {error}");
        }
        if state.join("stop").exists() {
            processes.stop(fs::read(state.join("stop")).unwrap() == b"keep");
            std::process::exit(0);
        }
        let running = known.values().filter(|known| known.how.is_none() && !known.refused).count();
        if running < 4 && next <= total {
            let tries: Vec<&Known> = known
                .range(next..)
                .step_by(1)
                .filter(|(s, _)| **s % STRIDE == next)
                .map(|(_, k)| k)
                .collect();
            if tries.iter().all(|known| known.refused) {
                let session = next + STRIDE * tries.len() as u64;
                journal_file.write_all(format!("start {session}\n").as_bytes()).unwrap();
                known.insert(session, Known::default());
                let mut launch = launch(session, &["sh", "-c", &script]);
                Arc::make_mut(&mut launch.env)
                    .extend(words(&[&format!("TASK={next}"), &format!("STATE={}", state.display())]));
                launch.limits = Limits { output: Some(1 << 20), ..Limits::default() };
                launch.dir = std::env::var_os("LAB_DIR").map(std::os::unix::ffi::OsStringExt::into_vec);
                launch.tty = std::env::var_os("LAB_TTY").map(|_| WinSize { rows: 33, cols: 99 });
                processes.act(Act::Start(Box::new(launch)), &mut tells);
            }
            next += 1;
            processes.turn(&mut tells);
            continue;
        }
        if next > total
            && known.values().all(|known| known.refused || (known.how.is_some() && known.closed.len() == 2))
        {
            put(&state, "done", "1");
        }
        let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        let mut fds =
            [rustix::event::PollFd::from_borrowed_fd(processes.poll_fd(), rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&pause)).unwrap();
        processes.turn(&mut tells);
    }
}

fn note(text: &mut String, known: &mut BTreeMap<u64, Known>, tell: Tell) {
    match tell {
        Tell::Started { session, mark, .. } => {
            text.push_str(&format!("runs {} {mark}\n", session.0));
            known.get_mut(&session.0).unwrap().mark = mark;
        }
        Tell::Refused { session, error } => {
            assert_eq!(error.errno, op::Errno::CANCELED, "{error}");
            text.push_str(&format!("refused {}\n", session.0));
            known.get_mut(&session.0).unwrap().refused = true;
        }
        Tell::Exited { session, exit } => {
            let how = match exit.how {
                How::Code(code) => format!("{code}"),
                How::Signal(signal) => format!("s{signal}"),
                How::Lost => "lost".to_owned(),
            };
            let known = known.get_mut(&session.0).unwrap();
            if known.how.is_none() {
                text.push_str(&format!("end {} {how}\n", session.0));
                known.how = Some(how);
            }
        }
        Tell::Closed { session, stream } => {
            text.push_str(&format!("closed {} {stream:?}\n", session.0));
            known.get_mut(&session.0).unwrap().closed.insert(format!("{stream:?}"));
        }
        Tell::Grew { .. } | Tell::Full { .. } | Tell::Fed { .. } => {}
    }
}

/// A state directory with a keeper.
pub(crate) struct Kept {
    dir: tempfile::TempDir,
    script: String,
    tasks: u64,
}

impl Kept {
    pub(crate) fn new(tasks: u64, script: &str) -> Kept {
        // Keeper and nodes fall to us when they lose their parents, as to init.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let kept = Kept { dir: tempfile::tempdir().unwrap(), script: script.to_owned(), tasks };
        kept.up();
        kept
    }

    fn up(&self) {
        let mut command = std::process::Command::new(exe());
        command.arg("as-keeper").env("LAB_STATE", self.path()).env("LAB_TASKS", self.tasks.to_string());
        let keeper = command.env("LAB_SCRIPT", &self.script).env_remove("LAB_TEST").spawn().unwrap();
        drop(keeper); // reaped as our child by whoever waits for its end, or by the runner
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn until<T>(&self, what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(result) = holds() {
                return result;
            }
            let log = fs::read_to_string(self.path().join("keeper.log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(5).collect();
            assert!(Instant::now() < deadline, "{what}: not in time; keeper: {last:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A node that has found everything again, and is another than `last`; its pid.
    pub(crate) fn node_after(&self, last: i32) -> i32 {
        self.until("a node", || {
            let [node, ready] = ["node.pid", "ready"].map(|name| get(self.path(), name));
            node.filter(|pid| *pid != last && ready == node && alive(node))
        })
    }

    pub(crate) fn done(&self) {
        self.until("done", || self.path().join("done").exists().then_some(()));
    }

    pub(crate) fn spool(&self, session: u64, end: &str) -> String {
        fs::read_to_string(self.path().join(format!("spool/{session}.{end}"))).unwrap_or_default()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for name in ["keeper.pid", "node.pid"] {
            if let Some(pid) = get(self.path(), name) {
                kill(pid, Signal::KILL);
            }
        }
    }
}

fn world(what: &str, tasks: u64, victims: &[&str], kills: u32) {
    let script = "echo $TASK >> $STATE/ran; i=0; while [ $i -lt 40 ]; do echo line $TASK $i; i=$((i+1)); done; \
                  echo e >&2; [ $((TASK % 3)) = 0 ] && sleep 0.0$((TASK % 7)); echo last; exit $((TASK % 200))";
    let kept = Kept::new(tasks, script);
    let mut dice = std::process::id();
    let mut roll = |n: u32| {
        dice ^= dice << 13;
        dice ^= dice >> 17;
        dice ^= dice << 5;
        dice % n
    };
    let mut killed = 0;
    let mut last: BTreeMap<String, i32> = BTreeMap::new();
    for round in 0..kills as usize {
        let victim = format!("{}.pid", victims[round % victims.len()]);
        // Each life is ended once, after a while of its own.
        let pid = kept.until("a victim", || {
            // A keeper that has handed nothing on yet is both, and what it holds goes with it: not the promise here.
            let [node, keeper, ready] =
                ["node.pid", "keeper.pid", "ready"].map(|name| get(kept.path(), name));
            let keeper_serves =
                keeper.is_some() && keeper != last.get("keeper.pid").copied() && node != keeper;
            let node_serves = ready == node && node != last.get("node.pid").copied() && alive(node);
            let served = keeper_serves && (victim == "node.pid" || node_serves);
            get(kept.path(), &victim).filter(|pid| served && last.get(&victim) != Some(pid))
        });
        std::thread::sleep(Duration::from_micros(u64::from(roll(25_000))));
        if kept.path().join("done").exists() {
            break;
        }
        kill(pid, Signal::KILL);
        last.insert(victim, pid);
        killed += 1;
    }
    kept.done();
    let ran = fs::read_to_string(kept.path().join("ran")).unwrap();
    let mut ran: Vec<u64> = ran.lines().map(|line| line.parse().unwrap()).collect();
    ran.sort_unstable();
    for twice in ran.windows(2).filter(|pair| pair[0] == pair[1]) {
        let text = fs::read_to_string(kept.path().join("journal")).unwrap();
        let of = |line: &&str| {
            line.split(' ').nth(1).is_some_and(|s| s.parse::<u64>().unwrap() % STRIDE == twice[0])
        };
        println!("{} ran twice: {:?}", twice[0], text.lines().filter(of).collect::<Vec<_>>());
        println!("{}", fs::read_to_string(kept.path().join("keeper.log")).unwrap());
    }
    assert_eq!(ran, (1..=tasks).collect::<Vec<_>>(), "each ran, and once");
    let (mut lost, mut retried) = (0, 0);
    for (session, known) in journal(kept.path()) {
        let task = session % STRIDE;
        if known.refused {
            retried += 1;
            continue;
        }
        let how = known.how.unwrap();
        if how == "lost" {
            lost += 1;
        } else {
            assert_eq!(how, (task % 200).to_string(), "status of {task}");
        }
        let lines: String = (0..40).map(|i| format!("line {task} {i}\n")).collect();
        assert_eq!(kept.spool(session, "out"), lines + "last\n", "output of {task}");
        assert_eq!(kept.spool(session, "err"), "e\n");
    }
    println!(
        "{what}: {killed} kills, {tasks} tasks, {retried} that had not run were tried again, {lost} lost"
    );
    assert_eq!(lost, 0, "statuses lost");
    assert!(killed >= kills / 2, "the kills came too late to show anything");
    put(kept.path(), "stop", "");
    let keeper = get(kept.path(), "keeper.pid").unwrap();
    kept.until("the keeper ends", || {
        let _reaped = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
        crate::world::state_of(keeper).is_none().then_some(())
    });
}

/// Runs as what it was started as: a node that became the keeper is no node.
fn alive(pid: Option<i32>) -> bool {
    pid.and_then(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok())
        .is_some_and(|line| line.ends_with(b"as-node\0"))
}

fn stop_keep_and_the_keeper_moves_output() {
    let script = "echo begun; while [ ! -e $STATE/go ]; do sleep 0.01; done; head -c 700000 /dev/zero; echo; \
                  touch $STATE/wrote; while [ ! -e $STATE/end ]; do sleep 0.01; done; exit 9";
    let kept = Kept::new(1, script);
    let session = 1;
    kept.until("it begins", || kept.spool(session, "out").contains("begun").then_some(()));
    kept.until("it is in the journal", || {
        journal(kept.path()).get(&1).filter(|k| !k.mark.is_empty()).map(|_| ())
    });
    put(kept.path(), "stop", "keep");
    let node = get(kept.path(), "node.pid").unwrap();
    kept.until("the node ends", || (!crate::world::is_alive(node)).then_some(()));
    put(kept.path(), "go", "");
    kept.until("the keeper moves its output", || kept.path().join("wrote").exists().then_some(()));
    put(kept.path(), "end", "");
    fs::remove_file(kept.path().join("stop")).unwrap();
    assert!(keeper::wake(kept.path(), &[]).unwrap());
    kept.done();
    assert_eq!(kept.spool(session, "out").len(), 700_000 + "begun\n\n".len());
    assert_eq!(journal(kept.path())[&1].how.as_deref(), Some("9"));
}

fn a_state_has_one_owner() {
    let kept = Kept::new(0, "");
    kept.done();
    let config = Config { state: kept.path().to_owned(), node: "lab-second".into(), keeper: None };
    let Err(error) = Processes::new(config) else { panic!("two nodes own one state") };
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    kill(get(kept.path(), "keeper.pid").unwrap(), Signal::STOP);
    // The lock is also the node's: a keeper that does not answer changes nothing.
    assert!(keeper::lock(kept.path()).is_err());
    kill(get(kept.path(), "keeper.pid").unwrap(), Signal::CONT);
    assert!(!keeper::wake(&kept.path().join("nobody"), &[]).unwrap());
}

fn stdin_outlives_the_node() {
    let kept = Kept::new(1, "echo begun; read x; echo got $x; exit 5");
    kept.until("it begins", || kept.spool(1, "out").contains("begun").then_some(()));
    for _ in 0..3 {
        let node = get(kept.path(), "node.pid").unwrap();
        kill(node, Signal::KILL);
        kept.until("another node", || get(kept.path(), "node.pid").filter(|pid| *pid != node));
    }
    // Its stdin is still open, so it still waits: no end-of-file came.
    assert!(!kept.spool(1, "out").contains("got"));
    let known = journal(kept.path());
    let pid: i32 = known[&1].mark.split(':').next().unwrap().parse().unwrap();
    assert!(crate::world::is_alive(pid));
    kill(pid, Signal::TERM);
    kept.done();
    assert_eq!(journal(kept.path())[&1].how.as_deref(), Some("s15"));
}

/// The pipes that a process has open.
fn pipes(pid: u32) -> BTreeSet<PathBuf> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let to = open.filter_map(|fd| fs::read_link(fd.path()).ok());
    to.filter(|to| to.to_string_lossy().starts_with("pipe:")).collect()
}

fn the_keeper_listens_though_little_is_said() {
    let kept = Kept::new(1, "while [ ! -e $STATE/end ]; do sleep 0.01; done");
    kept.until("it is in the journal", || {
        journal(kept.path()).get(&1).filter(|k| !k.mark.is_empty()).map(|_| ())
    });
    let keeper = get(kept.path(), "keeper.pid").unwrap().unsigned_abs();
    // What all of us were started with is nobody's.
    let has = || pipes(keeper).difference(&pipes(std::process::id())).count();
    kept.until("the keeper has its pipes", || (has() == 3).then_some(()));
    put(kept.path(), "end", "");
    kept.until("it has them no more", || (has() == 0).then_some(()));
    kept.done();
}

fn a_keeper_that_is_to_listen_and_to_end_does_both() {
    let kept = Kept::new(1, "exec sleep 1000");
    kept.until("it is in the journal", || {
        journal(kept.path()).get(&1).filter(|k| !k.mark.is_empty()).map(|_| ())
    });
    let (keeper, node) = (get(kept.path(), "keeper.pid").unwrap(), get(kept.path(), "node.pid").unwrap());
    // Both at once: it is stopped while they come.
    for signal in [Signal::STOP, Signal::URG, Signal::TERM, Signal::CONT] {
        kill(keeper, signal);
    }
    // It passes on to the node that it is to end; this one ends by that, and is started again.
    kept.until("another node", || get(kept.path(), "node.pid").filter(|pid| *pid != node));
    let pid: i32 = journal(kept.path())[&1].mark.split(':').next().unwrap().parse().unwrap();
    kill(pid, Signal::TERM);
    kept.done();
}

fn programs_of_a_dead_keeper_and_node_are_found() {
    let kept = Kept::new(1, "echo begun; exec sleep 1000");
    kept.until("it is in the journal", || {
        journal(kept.path()).get(&1).filter(|k| !k.mark.is_empty()).map(|_| ())
    });
    kept.until("it begins", || kept.spool(1, "out").contains("begun").then_some(()));
    let (keeper, node) = (get(kept.path(), "keeper.pid").unwrap(), get(kept.path(), "node.pid").unwrap());
    kill(keeper, Signal::STOP);
    kill(node, Signal::KILL);
    kill(keeper, Signal::KILL);
    kept.until("the lock is free", || {
        let _reaped = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
        keeper::lock(kept.path()).ok().map(drop)
    });
    kept.up();
    kept.until("another node", || get(kept.path(), "node.pid").filter(|pid| *pid != node));
    let pid: i32 = journal(kept.path())[&1].mark.split(':').next().unwrap().parse().unwrap();
    assert!(crate::world::is_alive(pid), "it lives");
    // It is found, and that it ends is seen, though it is nobody's child.
    kept.until("adopted", || {
        let text = fs::read_to_string(kept.path().join("journal")).unwrap();
        (text.lines().filter(|line| line.starts_with("runs 1 ")).count() == 2).then_some(())
    });
    kill(pid, Signal::TERM);
    kept.until("reaped", || rustix::process::wait(rustix::process::WaitOptions::NOHANG).ok().flatten());
    kept.done();
    let how = journal(kept.path())[&1].how.clone().unwrap();
    assert!(how == "s15" || how == "lost", "{how}");
}
