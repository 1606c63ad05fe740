//! What the tests stand on: a provider in a temporary directory, and waiting for what it tells.

use op::{Act, Exit, How, Launch, Limits, SessionId, Stream, Tell, Uid, User};
use provide::process::{Config, Processes};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Long enough for a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);

/// A provider without a keeper, and all that it told.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) processes: Processes,
    pub(crate) tells: Vec<Tell>,
    next: u64,
}

pub(crate) fn user(uid: u32) -> Arc<User> {
    let name: Arc<str> = if uid == 0 { "root".into() } else { "nobody".into() };
    Arc::new(User {
        uid: Uid(uid),
        name,
        groups: vec![(uid, "g".into())],
        home: "/".into(),
        shell: "/bin/sh".into(),
    })
}

pub(crate) fn words(argv: &[&str]) -> Vec<Vec<u8>> {
    argv.iter().map(|word| word.as_bytes().to_vec()).collect()
}

pub(crate) fn launch(session: u64, argv: &[&str]) -> Launch {
    Launch {
        puts: Vec::new(),
        session: SessionId(session),
        argv: words(argv),
        env: words(&["PATH=/usr/local/bin:/usr/bin:/bin", "TERM=dumb"]).into(),
        dir: None,
        user: user(rustix::process::geteuid().as_raw()),
        nice: 0,
        limits: Limits::default(),
        tty: None,
    }
}

impl World {
    pub(crate) fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let node = format!("lab-{}", std::process::id());
        let config = Config { state: dir.path().to_owned(), node, keeper: None };
        World { processes: Processes::new(config).unwrap(), dir, tells: Vec::new(), next: 1 }
    }

    pub(crate) fn act(&mut self, act: Act) {
        self.processes.act(act, &mut self.tells);
    }

    /// Starts a program; its session.
    pub(crate) fn start(&mut self, argv: &[&str]) -> SessionId {
        self.start_with(argv, |_| {})
    }

    pub(crate) fn start_with(&mut self, argv: &[&str], change: impl FnOnce(&mut Launch)) -> SessionId {
        let mut launch = launch(self.next, argv);
        self.next += 1;
        change(&mut launch);
        let session = launch.session;
        self.act(Act::Start(Box::new(launch)));
        session
    }

    pub(crate) fn sh(&mut self, script: &str) -> SessionId {
        self.start(&["sh", "-c", script])
    }

    /// Turns until the condition holds.
    pub(crate) fn until<T>(&mut self, what: &str, mut holds: impl FnMut(&mut World) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(result) = holds(self) {
                return result;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: not in {PATIENCE:?}; last told: {:?}",
                self.tells.last()
            );
            self.turn();
        }
    }

    /// Waits a little for something to be ready, and does it.
    pub(crate) fn turn(&mut self) {
        let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let fd = self.processes.poll_fd();
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&pause)).unwrap();
        self.processes.turn(&mut self.tells);
        self.processes.settle();
    }

    pub(crate) fn exit(&mut self, session: SessionId) -> Exit {
        self.until("Exited", |world| {
            let refused = |tell: &&Tell| matches!(tell, Tell::Refused { session: of, .. } if *of == session);
            assert_eq!(world.tells.iter().find(refused), None, "it never ran");
            world.exited(session)
        })
    }

    pub(crate) fn exited(&self, session: SessionId) -> Option<Exit> {
        self.tells.iter().find_map(|tell| match tell {
            Tell::Exited { session: of, exit } if *of == session => Some(*exit),
            _ => None,
        })
    }

    pub(crate) fn code(&mut self, session: SessionId) -> How {
        self.exit(session).how
    }

    pub(crate) fn closed(&mut self, session: SessionId) {
        self.until("Closed", |world| {
            let closed = |stream| world.tells.contains(&Tell::Closed { session, stream });
            (closed(Stream::Out) && closed(Stream::Err)).then_some(())
        });
    }

    pub(crate) fn pid(&self, session: SessionId) -> i32 {
        let pid = self.tells.iter().find_map(|tell| match tell {
            Tell::Started { session: of, pid, .. } if *of == session => Some(*pid),
            _ => None,
        });
        pid.expect("it was started") as i32
    }

    pub(crate) fn limits_by(&self, session: SessionId) -> String {
        let by = self.tells.iter().find_map(|tell| match tell {
            Tell::Started { session: of, limits_by, .. } if *of == session => Some(limits_by.to_string()),
            _ => None,
        });
        by.expect("it was started")
    }

    pub(crate) fn refusal(&mut self, session: SessionId) -> op::Error {
        self.until("Refused", |world| {
            world.tells.iter().find_map(|tell| match tell {
                Tell::Refused { session: of, error } if *of == session => Some(error.clone()),
                Tell::Started { session: of, .. } if *of == session => panic!("it was started"),
                _ => None,
            })
        })
    }

    /// Whether anything was told of a session.
    pub(crate) fn is_silent(&self, session: SessionId) -> bool {
        !self.tells.iter().any(|tell| match tell {
            Tell::Started { session: of, .. }
            | Tell::Refused { session: of, .. }
            | Tell::Grew { session: of, .. }
            | Tell::Full { session: of, .. }
            | Tell::Closed { session: of, .. }
            | Tell::Fed { session: of, .. }
            | Tell::Exited { session: of, .. } => *of == session,
        })
    }

    /// How long each file is that the spools have.
    pub(crate) fn spools(&self) -> Vec<u64> {
        let all = std::fs::read_dir(self.dir.path().join("spool")).unwrap();
        all.map(|entry| entry.unwrap().metadata().unwrap().len()).collect()
    }

    pub(crate) fn read(&self, session: SessionId, stream: Stream) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buf = vec![0; 1 << 16];
        loop {
            match self.processes.read_spool(session, stream, all.len() as u64, &mut buf).unwrap() {
                0 => return all,
                n => all.extend(&buf[..n]),
            }
        }
    }

    pub(crate) fn out(&self, session: SessionId) -> String {
        String::from_utf8(self.read(session, Stream::Out)).unwrap()
    }

    pub(crate) fn err(&self, session: SessionId) -> String {
        String::from_utf8(self.read(session, Stream::Err)).unwrap()
    }

    /// Runs to the end and gives the output.
    pub(crate) fn output_of(&mut self, script: &str) -> String {
        let session = self.sh(script);
        self.exit(session);
        self.out(session)
    }
}

/// State letter of a process: proc(5); `None`: there is none.
pub(crate) fn state_of(pid: i32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit(')').next()?.trim_start().chars().next()
}

pub(crate) fn is_alive(pid: i32) -> bool {
    state_of(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

pub(crate) fn kill(pid: i32, signal: rustix::process::Signal) {
    let _gone = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal);
}

/// Kills all descendants of this process, which is a subreaper, until there are none.
pub(crate) fn end_descendants() {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let mut ahead = vec![std::process::id() as i32];
        let mut found = Vec::new();
        while let Some(pid) = ahead.pop() {
            for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
                let children: Vec<i32> =
                    text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
                found.extend(&children);
                ahead.extend(children);
            }
        }
        if found.is_empty() {
            return;
        }
        for pid in found {
            kill(pid, rustix::process::Signal::KILL);
        }
        let _none = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
    }
    panic!("descendants that cannot be killed");
}

/// Removes what is left of the control groups of these tests.
pub(crate) fn remove_cgroups() {
    let hierarchies = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    for mount in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        for line in hierarchies.lines() {
            let own = line.rsplit(':').next().unwrap_or("/").trim_start_matches('/');
            for base in std::fs::read_dir(mount.path().join(own)).into_iter().flatten().flatten() {
                if base.file_name().to_string_lossy().starts_with("uem-lab-") {
                    for group in std::fs::read_dir(base.path()).into_iter().flatten().flatten() {
                        let _a_file = std::fs::remove_dir(group.path());
                    }
                    let _busy = std::fs::remove_dir(base.path());
                }
            }
        }
    }
}

/// How many programs the tests that want very many start at once: 300, or what fits under a low `ulimit -n`, where
/// one more is refused (see `descriptors_run_short_and_the_node_lives`).
pub(crate) fn very_many() -> usize {
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum {
        Some(most) if most < 2000 => usize::try_from(most / 6).unwrap(),
        _ => 300,
    }
}
