//! A host of the lab: a machine with a home directory, cables, and `uem` as a user there has it.

use crate::ended::{Ended, Running, eventually};
use crate::space::Space;
use serde_json::Value;
use std::cell::RefCell;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::rc::Rc;

/// Between heartbeats: short enough for a test, long enough for a machine that does other things too.
pub(crate) const BEAT: &str = "0.5";
pub(crate) const BEAT_MS: u64 = 500;

/// Machines and the wires between them; everything goes with it.
pub(crate) struct Lab {
    dir: Rc<tempfile::TempDir>,
}

/// A wire that several hosts share: a bridge in a network namespace of its own.
pub(crate) struct Segment {
    number: u8,
    space: Space,
    hosts: RefCell<u8>,
}

pub(crate) struct Host {
    pub(crate) name: String,
    space: Space,
    dir: Rc<tempfile::TempDir>,
    /// Segment and host number.
    cables: RefCell<Vec<(u8, u8)>>,
}

impl Lab {
    /// `None`, with a printed reason, where there is no way to make one.
    pub(crate) fn new() -> Option<Lab> {
        use std::io::Write;
        let why = match Space::new("try") {
            Err(why) => why,
            Ok(space) => {
                let made = space.command("ip").args(["link", "add", "br0", "type", "bridge"]).output();
                match made {
                    Ok(made) if made.status.success() => {
                        let dir = tempfile::Builder::new().prefix("lab").tempdir().unwrap();
                        return Some(Lab { dir: Rc::new(dir) });
                    }
                    Ok(made) => String::from_utf8_lossy(&made.stderr).trim().to_string(),
                    Err(error) => format!("ip (iproute2): {error}"),
                }
            }
        };
        // Not through print!, which a test that succeeds keeps to itself.
        let _nobody_listens = writeln!(std::io::stderr(), "SKIPPED: no namespaces for a lab: {why}");
        None
    }

    pub(crate) fn segment(&self, number: u8) -> Segment {
        let space = Space::new(&format!("segment{number}")).unwrap();
        space.set("ip link add br0 type bridge && ip link set br0 up");
        Segment { number, space, hosts: RefCell::new(0) }
    }

    /// A host with a cable to each of these segments. It forwards nothing, and has no route to anywhere else.
    pub(crate) fn host(&self, name: &str, segments: &[&Segment]) -> Host {
        std::fs::create_dir(self.dir.path().join(name)).unwrap();
        let space = Space::new(name).unwrap();
        // Programs that nodes and sshd start begin at home, which is not this machine's.
        let home = self.dir.path().join(name);
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        let others = passwd.lines().filter(|line| !line.starts_with("root:"));
        let root = format!("root:x:0:0:root:{}:/bin/sh", home.display());
        let passwd: Vec<&str> = std::iter::once(root.as_str()).chain(others).collect();
        let file = self.dir.path().join(format!("{name}.passwd"));
        std::fs::write(&file, passwd.join("\n") + "\n").unwrap();
        space.set(&format!("mount --bind '{}' /etc/passwd", file.display()));
        let host = Host { name: name.into(), space, dir: self.dir.clone(), cables: RefCell::new(Vec::new()) };
        segments.iter().for_each(|segment| host.plug(segment));
        host
    }

    /// What most tests stand on: a — g — b, and no route from a to b.
    pub(crate) fn three(&self) -> ([Segment; 2], [Host; 3]) {
        let (left, right) = (self.segment(1), self.segment(2));
        let hosts = [self.host("a", &[&left]), self.host("g", &[&left, &right]), self.host("b", &[&right])];
        ([left, right], hosts)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.log());
        }
    }
}

impl Host {
    fn plug(&self, segment: &Segment) {
        let number = segment.hosts.replace_with(|last| *last + 1) + 1;
        let (eth, port) = (format!("eth{}", segment.number), format!("p{number}"));
        let made = Command::new("ip")
            .args(["link", "add", &eth, "netns", &self.space.init().to_string(), "type", "veth"])
            .args(["peer", "name", &port, "netns", &segment.space.init().to_string()])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        segment.space.set(&format!("ip link set {port} master br0 up"));
        self.space.set(&format!(
            "ip address add 10.9.{}.{number}/24 dev {eth} && ip link set {eth} up",
            segment.number
        ));
        self.cables.borrow_mut().push((segment.number, number));
    }

    /// Its address on a segment.
    pub(crate) fn ip(&self, segment: u8) -> String {
        let cables = self.cables.borrow();
        let (_, number) = cables.iter().find(|(at, _)| *at == segment).unwrap();
        format!("10.9.{segment}.{number}")
    }

    /// Pulls the cable to a segment, or plugs it in again.
    pub(crate) fn cable(&self, segment: u8, plugged: bool) {
        self.space.set(&format!("ip link set eth{segment} {}", if plugged { "up" } else { "down" }));
    }

    /// What this host sends to the other goes nowhere from now on; what the other sends still comes: half open.
    pub(crate) fn mute(&self, other: &Host, segment: u8) {
        let ip = other.ip(segment);
        self.space.set(&format!(
            "ip neighbour replace {ip} lladdr 02:00:00:00:00:01 dev eth{segment} nud permanent"
        ));
    }

    pub(crate) fn unmute(&self, other: &Host, segment: u8) {
        self.space.set(&format!("ip neighbour delete {} dev eth{segment}", other.ip(segment)));
    }

    /// Does something with its network.
    pub(crate) fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        self.space.inside(act)
    }

    // ── programs ───────────────────────────────────────────────────────────────────────────

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.home().join(".local/state/uem")
    }

    /// A program there, as its user starts it; `uem` is in its PATH.
    pub(crate) fn command(&self, program: &str) -> Command {
        // Who enters a machine is at its root.
        let mut command = self.space.command("env");
        command.arg("-C").arg(self.home()).arg(program);
        let uem = PathBuf::from(env!("CARGO_BIN_EXE_uem"));
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", uem.parent().unwrap().display()));
        command.env("HOME", self.home());
        for name in ["UEM_STATE", "UEM_AT", "XDG_STATE_HOME"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a script to its end.
    pub(crate) fn sh(&self, script: &str) -> Ended {
        Running::new(self.command("sh").args(["-c", script])).ended()
    }

    /// The same; it must succeed.
    pub(crate) fn ok(&self, script: &str) -> String {
        let ended = self.sh(script);
        assert_eq!(ended.status, 0, "on {}: {script}: {}\n{}", self.name, ended.err, self.log());
        ended.out
    }

    /// Starts a script.
    pub(crate) fn start(&self, script: &str) -> Running {
        Running::new(self.command("sh").args(["-c", script]))
    }

    // ── its node ───────────────────────────────────────────────────────────────────────────

    /// Starts a node that listens for others; the first of its domain.
    pub(crate) fn up(&self, flags: &str) {
        self.ok(&format!("uem up --no-mount --beat {BEAT} {flags}"));
    }

    /// A token of its domain.
    pub(crate) fn invite(&self) -> String {
        self.ok("uem invite --token-only").trim().into()
    }

    /// Where others find it on a segment.
    pub(crate) fn link(&self, segment: u8) -> String {
        let mut port = String::new();
        eventually("it listens", || {
            let text = std::fs::read_to_string(self.state().join("trust/listen")).unwrap_or_default();
            port = text.trim().rsplit('!').next().unwrap_or_default().into();
            !matches!(port.as_str(), "" | "0")
        });
        format!("tls!{}!{port}", self.ip(segment))
    }

    /// Becomes a child of another node, and listens itself.
    pub(crate) fn join(&self, parent: &Host, segment: u8, token: &str, flags: &str) {
        let said = self.ok(&format!(
            "uem join --no-mount --beat {BEAT} --link 'tls!*!0' {flags} '{}' {token}",
            parent.link(segment)
        ));
        assert!(said.contains(&format!("its parent is {}", parent.name)), "{said}");
    }

    /// What a file of the tree says.
    pub(crate) fn cat(&self, path: &str) -> String {
        self.ok(&format!("uem cat {path}"))
    }

    /// A field of an info file, as text.
    pub(crate) fn info(&self, path: &str, key: &str) -> String {
        let info: Value = serde_json::from_str(&self.cat(path)).unwrap();
        info[key].to_string().trim_matches('"').to_string()
    }

    /// The row that this host has of a node.
    pub(crate) fn row(&self, node: &str) -> String {
        let status = self.sh("uem cat status").out;
        let row = status.lines().find(|line| line.split(' ').next() == Some(node));
        row.unwrap_or_default().into()
    }

    /// Waits until it has such a row.
    pub(crate) fn sees(&self, node: &str, state: &str) {
        let mut row = String::new();
        let is_so = crate::ended::within(crate::ended::LONG, || {
            row = self.row(node);
            row.split(' ').nth(1) == Some(state)
        });
        assert!(is_so, "{} sees {node} not as {state}: {row:?}\n{}", self.name, self.log());
    }

    /// The number of the node's process, in there.
    pub(crate) fn node(&self) -> u32 {
        self.info("self/info.json", "pid").parse().unwrap()
    }

    pub(crate) fn keeper_of(&self, node: u32) -> u32 {
        let stat = self.ok(&format!("cat /proc/{node}/stat"));
        stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, pid: u32, signal: &str) {
        self.ok(&format!("kill -{signal} {pid}"));
    }

    /// What the node has said.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read_to_string(self.state().join("log")).unwrap_or_default();
        let mut lines: Vec<&str> = text.lines().rev().take(30).collect();
        lines.reverse();
        format!("── the log of {}:\n{}", self.name, lines.join("\n"))
    }
}
