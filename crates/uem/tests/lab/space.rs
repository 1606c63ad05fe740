//! A machine of a test: namespaces(7) of its own for network, processes, mounts and host name, held by a process that
//! ends with us. When it ends, the kernel ends all that runs there and takes back interfaces and mounts.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The namespaces, and who holds them.
pub(crate) struct Space {
    holder: Child,
    /// The first process in there, as seen from out here.
    init: u32,
}

/// It adopts and reaps whatever loses its parent. Control groups would be the only thing that stays behind, so there are none.
const INIT: &str = "umount -R -l /sys/fs/cgroup 2>/dev/null; hostname \"$0\" && ip link set lo up && echo ready && { sleep infinity & wait; }";

impl Space {
    /// To be called from the thread of the test: the holder ends when the thread that made it does.
    pub(crate) fn new(host: &str) -> Result<Space, String> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--kill-child=KILL"]);
        command.args(["--pid", "--net", "--uts", "--ipc", "--mount", "--mount-proc"]);
        command.args(["sh", "-c", INIT, host]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = command.spawn().map_err(|error| format!("setpriv (util-linux): {error}"))?;
        let mut ready = String::new();
        let out = holder.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut ready).map_err(|error| error.to_string())?;
        if ready != "ready\n" {
            let said = holder.wait_with_output().map_err(|error| error.to_string())?;
            return Err(String::from_utf8_lossy(&said.stderr).trim().to_string());
        }
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        let children = std::fs::read_to_string(children).map_err(|error| error.to_string())?;
        match children.trim().parse() {
            Ok(init) => Ok(Space { holder, init }),
            Err(_) => Err(format!("unshare has the children {children:?}")),
        }
    }

    /// A program in there.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--pid",
            "--net",
            "--uts",
            "--ipc",
            "--mount",
            "--target",
            &self.init.to_string(),
            "--",
        ]);
        // In a session of its own: its process group of out here has no number in there.
        command.arg("setsid").arg(program.as_ref());
        command
    }

    /// Runs a script of ip(8) and the like to its end, which must be a good one.
    pub(crate) fn set(&self, script: &str) {
        let done = self.command("sh").args(["-e", "-c", script]).stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Does something with this machine's network, in a thread that goes there.
    pub(crate) fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let net = std::fs::File::open(format!("/proc/{}/ns/net", self.init)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let kind = rustix::thread::LinkNameSpaceType::Network;
                rustix::thread::move_into_link_name_space(net.as_fd(), Some(kind)).unwrap();
                act()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// For options of ip(8) that name a network namespace.
    pub(crate) fn init(&self) -> u32 {
        self.init
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _it_has_ended = self.holder.kill();
        let _status = self.holder.wait();
    }
}
