//! Clouds: many nodes in a tree over real links on loopback, as daemons or as threads of a few processes.
//!
//! Node n0 is the root and the authority; the parent of node i is node (i - 1) / fan. Certificates are granted here, from
//! state directory to state directory, so that making a thousand nodes does not take a thousand conversations.

use crate::roles::Null;
use crate::table::Outcome;
use crate::world::{Server, folder, uem};
use host::client::Connection;
use host::dial::Addr;
use host::{Node, Settings};
use link::identity::{Home, Kind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Nodes of one process; each takes some fifteen descriptors.
const TOGETHER: usize = 250;
/// Until all nodes see each other.
const WHOLE: Duration = Duration::from_secs(120);
const HOUR: Duration = Duration::from_secs(3600);

/// Nodes, linked.
pub(crate) struct Cloud {
    servers: Vec<Server>,
    folder: TempDir,
    pub(crate) count: usize,
}

impl Cloud {
    /// Each node is `uem up --foreground`: a keeper and a node.
    pub(crate) fn of_daemons(count: usize, fan: usize) -> Outcome<Cloud> {
        Cloud::of_daemons_with(count, fan, &[])
    }

    /// The same, with further flags of `uem up`.
    pub(crate) fn of_daemons_with(count: usize, fan: usize, flags: &[&str]) -> Outcome<Cloud> {
        let mut cloud = Cloud::prepare(count, fan)?;
        for number in 0..count {
            cloud.parent(number, fan)?;
            cloud.daemon(number, flags)?;
        }
        cloud.whole()
    }

    /// The root is `uem up --foreground`; all others are threads of processes like this one, and run nothing.
    pub(crate) fn of_threads(count: usize, fan: usize) -> Outcome<Cloud> {
        let mut cloud = Cloud::prepare(count, fan)?;
        cloud.daemon(0, &[])?;
        for first in (1..count).step_by(TOGETHER) {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("role-cloud").arg(cloud.folder.path());
            command.args([first, count.min(first + TOGETHER), fan].map(|number| number.to_string()));
            cloud.servers.push(Server::spawn(command.stdin(Stdio::null()))?);
        }
        cloud.whole()
    }

    /// State directories with certificates.
    fn prepare(count: usize, fan: usize) -> Outcome<Cloud> {
        let cloud = Cloud { servers: Vec::new(), folder: folder()?, count };
        let mut root = cloud.home(0)?;
        root.found("n0")?;
        for number in 0..count {
            let mut home = cloud.home(number)?;
            if number > 0 {
                let token = root.invite(Kind::Node, HOUR)?;
                let grant = root.answer(&home.join(&token, &name(number)));
                home.accept(&token, &grant)?;
            }
            if number * fan + 1 < count {
                home.set_listen("tls!127.0.0.1!0")?;
            }
        }
        Ok(cloud)
    }

    fn home(&self, number: usize) -> Outcome<Home> {
        let dir = self.dir(number);
        std::fs::create_dir_all(&dir)?;
        Ok(Home::open(&dir)?)
    }

    fn parent(&self, number: usize, fan: usize) -> Outcome<()> {
        tell_parent(self.folder.path(), number, fan)
    }

    fn daemon(&mut self, number: usize, flags: &[&str]) -> Outcome<()> {
        let log = std::fs::File::create(self.folder.path().join(format!("log{number}")))?;
        let mut command = Command::new(uem()?);
        command.args(["up", "--foreground", "--no-mount", "--name", &name(number), "--state"]);
        command.arg(self.dir(number)).args(flags).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.servers.push(Server::spawn(&mut command)?);
        Ok(())
    }

    /// Waits until the root sees everybody.
    fn whole(self) -> Outcome<Cloud> {
        let until = Instant::now() + WHOLE;
        let mut seen = String::new();
        loop {
            if let Ok(status) = self.connect(0).and_then(|mut root| text(&mut root, "status")) {
                seen = status;
            }
            if seen.lines().filter(|row| row.contains(" up ")).count() == self.count {
                return Ok(self);
            }
            if Instant::now() > until {
                let rows = seen.lines().count();
                return Err(format!("of {} nodes the root sees {rows} after {WHOLE:?}", self.count).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn dir(&self, number: usize) -> PathBuf {
        dir(self.folder.path(), number)
    }

    /// Where a node listens for links.
    pub(crate) fn link(&self, number: usize) -> Outcome<Addr> {
        link(self.folder.path(), number)
    }

    pub(crate) fn connect(&self, number: usize) -> Outcome<Connection> {
        let addr = Addr::Unix(self.dir(number).join("uem.sock"));
        Ok(Connection::dial(&addr).map_err(|error| error.to_string())?)
    }

    /// Everybody's processes, keepers included.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.iter().flat_map(|server| crate::cost::family(server.pid())).collect()
    }

    /// Keeper and node of the root.
    pub(crate) fn root_pids(&self) -> Vec<u32> {
        crate::cost::family(self.servers[0].pid())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        (0..self.count).map(name).collect()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // All at once, leaves first: each takes a moment.
        self.servers.iter().rev().for_each(Server::end);
    }
}

pub(crate) fn name(number: usize) -> String {
    format!("n{number}")
}

fn dir(folder: &Path, number: usize) -> PathBuf {
    folder.join(name(number))
}

/// What a small file of the tree says.
pub(crate) fn text(node: &mut Connection, path: &str) -> Outcome<String> {
    let text = node.read_file(path).map_err(|error| format!("{path}: {error}"))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Waits until a node listens.
fn link(folder: &Path, number: usize) -> Outcome<Addr> {
    let until = Instant::now() + WHOLE;
    loop {
        let kept = std::fs::read_to_string(dir(folder, number).join("trust/listen")).unwrap_or_default();
        if let Ok(Addr::Tls(host, port @ 1..)) = Addr::parse_link(kept.trim()) {
            return Ok(Addr::Tls(host, port));
        }
        if Instant::now() > until {
            return Err(format!("{} does not listen", name(number)).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn tell_parent(folder: &Path, number: usize, fan: usize) -> Outcome<()> {
    if number > 0 {
        let parent = link(folder, (number - 1) / fan)?.to_string();
        Home::open(&dir(folder, number))?.set_parents(&[parent])?;
    }
    Ok(())
}

/// The role of a process with many nodes: `first` to `end`, each in a thread of its own.
pub(crate) fn threads(folder: &Path, first: usize, end: usize, fan: usize) -> Outcome<()> {
    let nodes: Vec<_> = (first..end)
        .map(|number| {
            let folder = folder.to_path_buf();
            std::thread::spawn(move || {
                let run = || -> Outcome<()> {
                    tell_parent(&folder, number, fan)?;
                    let settings = Settings::new(name(number), dir(&folder, number));
                    Node::open(settings, Null::new()?)?.run()?;
                    Ok(())
                };
                run().map_err(|error| eprintln!("{}: {error}", name(number)))
            })
        })
        .collect();
    nodes.into_iter().for_each(|node| drop(node.join()));
    Ok(())
}
