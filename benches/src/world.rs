//! What benches run in: temporary directories, nodes and other servers that end when they are dropped, pinning.

use crate::table::Outcome;
use host::client::Connection;
use host::dial::Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A directory of its own, short enough for a socket's name in it.
pub(crate) fn folder() -> Outcome<TempDir> {
    Ok(tempfile::Builder::new().prefix("uem-bench-").tempdir()?)
}

/// Where results go: `target/bench` of the repository.
pub(crate) fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench")
}

/// The `uem` that was built beside this program; `$UEM_BIN` names another.
pub(crate) fn uem() -> Result<PathBuf, String> {
    let beside = || std::env::current_exe().ok().map(|exe| exe.with_file_name("uem"));
    let path = std::env::var_os("UEM_BIN").map(PathBuf::from).or_else(beside);
    path.filter(|path| path.exists()).ok_or_else(|| "not built: cargo build --release -p uem".into())
}

/// Whether there is FUSE.
pub(crate) fn can_mount() -> Result<(), String> {
    match Path::new("/dev/fuse").exists() {
        true => Ok(()),
        false => Err("there is no /dev/fuse".into()),
    }
}

/// A child that is ended, by its number, when it is dropped.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    pub(crate) fn spawn(command: &mut Command) -> Outcome<Server> {
        use std::os::unix::process::CommandExt;
        // SAFETY: one system call, which takes numbers only. It ends the child should this process be killed.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        Ok(Server { child: command.spawn()? })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and does not wait for that.
    pub(crate) fn end(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ended_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        let until = Instant::now() + Duration::from_secs(8);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

/// This program in one of its other roles.
pub(crate) fn role(words: &[&std::ffi::OsStr]) -> Outcome<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    Server::spawn(command.args(words).stdin(Stdio::null()))
}

/// What a node is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// `uem up --foreground`: a keeper and a node.
    Uem,
    /// The node's loop with the provider of processes, without a keeper.
    Solo,
    /// The node's loop with a provider of nothing.
    Null,
}

/// A node under test.
pub(crate) struct NodeUnderTest {
    /// First, so that it ends before its directory is removed.
    pub(crate) server: Server,
    pub(crate) state: TempDir,
    pub(crate) mount: PathBuf,
    /// From the start of the process to the first answer.
    pub(crate) ready: Duration,
}

/// Its name in the tree.
pub(crate) const NAME: &str = "bench";

impl NodeUnderTest {
    pub(crate) fn start(kind: Kind, mounted: bool) -> Outcome<NodeUnderTest> {
        let state = folder()?;
        let dir = state.path().join("state");
        let mount = state.path().join("mnt");
        let log = std::fs::File::create(state.path().join("log"))?;
        let begun = Instant::now();
        let mut command = match kind {
            Kind::Uem => {
                let mut command = Command::new(uem()?);
                command.args(["up", "--foreground", "--name", NAME, "--state"]).arg(&dir);
                if mounted {
                    command.arg("--mount").arg(&mount)
                } else {
                    command.arg("--no-mount")
                };
                command
            }
            Kind::Solo | Kind::Null => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg(if kind == Kind::Null { "role-null" } else { "role-solo" }).arg(&dir);
                if mounted {
                    command.arg(&mount);
                }
                command
            }
        };
        let server = Server::spawn(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log))?;
        let this = NodeUnderTest { state, mount, server, ready: Duration::ZERO };
        let until = begun + Duration::from_secs(10);
        while this.connect().is_err() {
            if Instant::now() > until {
                let log = std::fs::read_to_string(this.state.path().join("log")).unwrap_or_default();
                return Err(format!("the node did not come up: {log}").into());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(NodeUnderTest { ready: begun.elapsed(), ..this })
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.state.path().join("state")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir().join("uem.sock")
    }

    pub(crate) fn connect(&self) -> Outcome<Connection> {
        Ok(Connection::dial(&Addr::Unix(self.socket())).map_err(|error| error.to_string())?)
    }

    /// Keeper and node, or the node alone.
    pub(crate) fn pids(&self) -> Vec<u32> {
        crate::cost::family(self.server.pid())
    }

    /// The process that serves.
    pub(crate) fn node_pid(&self) -> u32 {
        self.pids().get(1).copied().unwrap_or(self.server.pid())
    }
}

/// Keeps this process and all that it starts from now on to one CPU, or to all.
pub(crate) fn pin(pinned: bool) -> Outcome<()> {
    let mut set = rustix::thread::CpuSet::new();
    let cpus = if pinned { 1 } else { rustix::thread::CpuSet::MAX_CPU };
    (0..cpus).for_each(|cpu| set.set(cpu));
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// "pinned to one CPU", "on all CPUs".
pub(crate) fn where_(pinned: bool) -> &'static str {
    if pinned { "pinned to CPU 0" } else { "on both CPUs" }
}

/// Waits until something says yes.
pub(crate) fn wait_until(what: &str, mut ready: impl FnMut() -> bool) -> Outcome<()> {
    let until = Instant::now() + Duration::from_secs(10);
    while !ready() {
        if Instant::now() > until {
            return Err(format!("{what} took more than 10 s").into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// The static program of 9 KB that exits 0, compiled; `/bin/true` where there is no compiler.
pub(crate) fn noop(folder: &Path) -> PathBuf {
    let path = folder.join("noop");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/noop.c");
    let made = Command::new("gcc")
        .args(["-Os", "-s", "-static", "-nostdlib", "-o"])
        .arg(&path)
        .arg(source)
        .stderr(Stdio::null())
        .status();
    if made.is_ok_and(|status| status.success()) { path } else { "/bin/true".into() }
}
