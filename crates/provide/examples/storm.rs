//! How fast programs are started and ended: through `Processes`, with and without a keeper, beside a bare
//! posix_spawn and wait of the same program; and, if we are root, as another user, which takes a thread for each
//! start. Two in flight everywhere.
//!
//! `cargo run --release -p provide --example storm [COUNT]`; needs gcc for the program that does nothing.

use op::{Act, Launch, Limits, SessionId, Tell, Uid, User};
use provide::keeper::{self, Inheritance};
use provide::process::{Config, Processes};
use std::ffi::{CString, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const IN_FLIGHT: u64 = 2;
/// Environment: as whom programs are started.
const UID: &str = "STORM_UID";

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("as-keeper") => {
            let node = args
                .iter()
                .enumerate()
                .map(|(at, arg)| if at == 1 { "as-node".into() } else { OsString::from(arg) });
            let config = keeper::Config {
                state: PathBuf::from(&args[2]),
                node: node.collect(),
                lived: Duration::from_secs(10),
            };
            panic!("keeper: {:?}", keeper::run(config).err());
        }
        Some("as-node") => {
            let keeper = Inheritance::from_env().expect("descriptors of the keeper");
            let (dir, program, count) = (Path::new(&args[2]), &args[3], args[4].parse().expect("a number"));
            let what = match (keeper.is_some(), std::env::var_os(UID).is_some()) {
                (true, _) => "Processes with a keeper",
                (false, true) => "Processes for another user",
                (false, false) => "Processes alone",
            };
            let mut processes = provider(dir, keeper);
            report(what, count, storm(&mut processes, program, count));
            processes.stop(false);
            return;
        }
        _ => {}
    }
    let count: u64 = args.get(1).and_then(|arg| arg.parse().ok()).unwrap_or(5000);
    let dir = std::env::temp_dir().join(format!("uem-storm-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary directory");
    let program = nothing(&dir);
    for _ in 0..3 {
        report("posix_spawn and wait", count, floor(&program, count));
        let me = std::env::current_exe().expect("a path");
        let me = || {
            let mut command = Command::new(&me);
            command.env_remove(UID);
            command
        };
        let count = count.to_string();
        let run = |mut command: Command, role: &str, state: &str| {
            command.arg(role).arg(dir.join(state)).arg(&program).arg(&count).status().expect("it runs");
        };
        run(me(), "as-node", "alone");
        run(me(), "as-keeper", "with");
        if rustix::process::geteuid().is_root() {
            let mut command = me();
            command.env(UID, "65534");
            run(command, "as-node", "other");
        }
    }
    std::fs::remove_dir_all(&dir).expect("removed");
}

fn report(what: &str, count: u64, time: Duration) {
    let rate = count as f64 / time.as_secs_f64();
    println!("{what:28} {rate:7.0}/s  {:6.1} us each", time.as_secs_f64() * 1e6 / count as f64);
}

/// A static program of no library that exits with 0.
fn nothing(dir: &Path) -> String {
    let source = dir.join("nothing.c");
    let text = "void _start(void) { __asm__ volatile (\"syscall\" :: \"a\"(231L), \"D\"(0L)); }\n";
    std::fs::write(&source, text).expect("written");
    let program = dir.join("nothing");
    let done =
        Command::new("gcc").args(["-O2", "-static", "-nostdlib", "-o"]).arg(&program).arg(&source).status();
    assert!(done.expect("gcc").success(), "gcc made the program");
    program.to_str().expect("plain").to_owned()
}

fn floor(program: &str, count: u64) -> Duration {
    let path = CString::new(program).expect("plain");
    let argv = [path.as_ptr().cast_mut(), std::ptr::null_mut()];
    let envp = [std::ptr::null_mut()];
    let (mut begun, mut ended) = (0, 0);
    let start = Instant::now();
    while ended < count {
        while begun < count && begun - ended < IN_FLIGHT {
            let mut pid = 0;
            // SAFETY: strings and arrays that outlive the call, null-terminated.
            let failed = unsafe {
                libc::posix_spawn(
                    &raw mut pid,
                    path.as_ptr(),
                    std::ptr::null(),
                    std::ptr::null(),
                    argv.as_ptr(),
                    envp.as_ptr(),
                )
            };
            assert_eq!(failed, 0, "posix_spawn");
            begun += 1;
        }
        let mut status = 0;
        // SAFETY: writes one int.
        unsafe { libc::wait4(-1, &raw mut status, 0, std::ptr::null_mut()) };
        ended += 1;
    }
    start.elapsed()
}

fn provider(state: &Path, keeper: Option<Inheritance>) -> Processes {
    let config = Config { state: state.to_owned(), node: "storm".into(), keeper };
    Processes::new(config).expect("a provider")
}

fn storm(processes: &mut Processes, program: &str, count: u64) -> Duration {
    let uid = std::env::var(UID).ok().and_then(|uid| uid.parse().ok());
    let uid = uid.unwrap_or(rustix::process::geteuid().as_raw());
    let root = User {
        uid: Uid(uid),
        name: "me".into(),
        groups: vec![(uid, "g".into())],
        home: "/".into(),
        shell: "/bin/sh".into(),
    };
    let root = Arc::new(root);
    let (mut begun, mut ended) = (0, 0);
    let mut tells = Vec::new();
    let start = Instant::now();
    while ended < count {
        while begun < count && begun - ended < IN_FLIGHT {
            begun += 1;
            let launch = Launch {
                puts: Vec::new(),
                session: SessionId(begun),
                argv: vec![program.as_bytes().to_vec()],
                env: vec![b"PATH=/usr/bin:/bin".to_vec()].into(),
                dir: None,
                user: root.clone(),
                nice: 0,
                limits: Limits { output: Some(1 << 30), ..Limits::default() },
                tty: None,
            };
            processes.act(Act::Start(Box::new(launch)), &mut tells);
        }
        let mut fds =
            [rustix::event::PollFd::from_borrowed_fd(processes.poll_fd(), rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).expect("poll");
        processes.turn(&mut tells);
        processes.settle();
        for tell in std::mem::take(&mut tells) {
            match tell {
                Tell::Exited { session, .. } => {
                    ended += 1;
                    processes.act(Act::Free(session), &mut tells);
                }
                Tell::Refused { error, .. } => panic!("{error}"),
                Tell::Started { .. }
                | Tell::Grew { .. }
                | Tell::Full { .. }
                | Tell::Closed { .. }
                | Tell::Fed { .. } => {}
            }
        }
    }
    start.elapsed()
}
