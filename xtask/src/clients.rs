//! Other people's 9P clients, on a node of ours: what they show and do must be what the tree says.

use crate::machine::VENV;
use crate::run::{Result, have};
use crate::tally::Tally;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Tries each client that is here. One that is not was told of before.
pub(crate) fn check(root: &Path, uem: &Path, tally: &mut Tally) {
    let node = match Node::start(root, uem) {
        Ok(node) => node,
        Err(error) => return tally.verdict("a node for other people's clients", Err(error)),
    };
    if have("diodls") {
        tally.verdict("diodls lists the tree over TCP", node.diodls());
        tally.verdict("diodcat runs a session over the Unix socket", node.diodcat());
    }
    let python = root.join(VENV).join("bin/python3");
    if python.exists() {
        for dialect in ["9P2000", "9P2000.L"] {
            let script = root.join("xtask/src/clients.py");
            let done = output(Command::new(&python).arg(script).args([&node.port, dialect])).map(drop);
            tally.verdict(&format!("py9p runs a session over {dialect}"), done);
        }
    }
}

/// A node of our own, stopped when dropped.
struct Node {
    uem: PathBuf,
    state: PathBuf,
    port: String,
}

impl Node {
    fn start(root: &Path, uem: &Path) -> Result<Node> {
        let state = root.join("target").join(format!("clients-{}", std::process::id()));
        let mut node = Node { uem: uem.to_path_buf(), state, port: String::new() };
        node.uem(&["up", "--no-mount", "--name", "n1", "--ninep", "tcp!127.0.0.1!0"])?;
        let info = node.uem(&["cat", "self/info"])?;
        let port = info.lines().find_map(|line| line.strip_prefix("ninep=tcp!127.0.0.1!"));
        node.port = port.ok_or("info does not name the TCP door")?.to_string();
        Ok(node)
    }

    fn uem(&self, words: &[&str]) -> Result<String> {
        output(Command::new(&self.uem).arg("--state").arg(&self.state).args(words))
    }

    fn diodls(&self) -> Result<()> {
        let server = format!("127.0.0.1:{}", self.port);
        let listing = output(Command::new("diodls").args(["-s", &server, "-a", "/", "/"]))?;
        let ours = self.uem(&["ls", "/"])?;
        let sorted = |text: &str| {
            let mut names: Vec<String> = text.split_whitespace().map(String::from).collect();
            names.sort();
            names
        };
        equal(&sorted(&listing), &sorted(&ours))
    }

    fn diodcat(&self) -> Result<()> {
        let socket = self.state.join("uem.sock");
        let cat = |file: &str| output(Command::new("diodcat").arg("-s").arg(&socket).args(["-a", "/", file]));
        let id = cat("clone")?.trim().to_string();
        self.uem(&["write", &format!("self/{id}/ctl"), "exec", "sh", "-c", "'seq 20000; exit 3'"])?;
        let expected: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
        equal(&cat(&format!("self/{id}/stdout"))?, &expected)?;
        let wait = cat(&format!("self/{id}/wait"))?;
        if wait.contains(" exit=3 ") { Ok(()) } else { Err(format!("wait says {wait:?}")) }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.uem(&["down"]) {
            println!("{error}");
        }
        let _was_never_made = std::fs::remove_dir_all(&self.state);
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(came: &T, expected: &T) -> Result<()> {
    let shown = |value: &T| format!("{value:?}").chars().take(200).collect::<String>();
    if came == expected { Ok(()) } else { Err(format!("came {}; expected {}", shown(came), shown(expected))) }
}

/// What it prints; how it failed if it did. What waits for ever is ended.
fn output(command: &mut Command) -> Result<String> {
    let mut bounded = Command::new("timeout");
    bounded.arg("30").arg(command.get_program()).args(command.get_args());
    let Output { status, stdout, stderr } =
        bounded.stdin(std::process::Stdio::null()).output().map_err(|e| format!("timeout: {e}"))?;
    let name =
        Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let said = String::from_utf8_lossy(&stderr);
    if !status.success() {
        return Err(format!("{name}: {status}: {}", said.trim()));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}
