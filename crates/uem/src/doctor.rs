//! `uem doctor`: what this machine lacks for a node, and what to do about it.

use crate::at::{At, Common};
use crate::failure::Outcome;
use crate::tree::{self, Record};
use link::identity::{Home, Who};
use rustix::fs::Access;
use std::io::Write;
use std::path::Path;

/// Explain what is missing on this machine
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// A line of JSON each
    #[arg(long)]
    json: bool,
}

/// One thing looked at: what it is, how it is, and what to do if it is not as it should be.
struct Finding {
    what: &'static str,
    how: String,
    missing: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, how: impl Into<String>) -> Finding {
        Finding { what, how: how.into(), missing: None }
    }

    fn missing(what: &'static str, how: impl Into<String>, hint: impl Into<String>) -> Finding {
        Finding { what, how: how.into(), missing: Some(hint.into()) }
    }
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let dir = common.state_dir();
    let (node, info) = node(common);
    let mut findings = vec![user(), state(&dir), node, device(), helper(), cgroups(), descriptors()];
    findings.extend(links(&dir, info.as_ref()));
    let mut out = std::io::stdout().lock();
    for Finding { what, how, missing } in &findings {
        match (args.json, missing) {
            (true, _) => {
                let found = if missing.is_none() { "ok" } else { "missing" };
                let line = serde_json::json!({ "what": what, "found": found, "how": how, "hint": missing });
                writeln!(out, "{line}")?;
            }
            (false, None) => writeln!(out, "ok       {what}: {how}")?,
            (false, Some(hint)) => writeln!(out, "missing  {what}: {how}; {hint}")?,
        }
    }
    Ok(0)
}

fn user() -> Finding {
    match rustix::process::geteuid() {
        uid if uid.is_root() => Finding::ok("user", "root: programs run as whoever asks"),
        uid => Finding::ok("user", format!("{}: programs run as this user", uid.as_raw())),
    }
}

fn state(dir: &Path) -> Finding {
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK) {
        // A socket's path has at most 107 bytes (unix(7)).
        Ok(()) if dir.as_os_str().len() > 96 => {
            let how = format!("{} is too long for a socket", dir.display());
            Finding::missing("state directory", how, "choose a shorter one: --state or $UEM_STATE")
        }
        Ok(()) => Finding::ok("state directory", dir.display().to_string()),
        Err(errno) => {
            let how = format!("{} cannot be written: {errno}", there.display());
            Finding::missing("state directory", how, "choose another: --state or $UEM_STATE")
        }
    }
}

/// The node, and what it says of itself.
fn node(common: &Common) -> (Finding, Option<Record>) {
    let at = common.at().unwrap_or_else(|_| At::local(common.state_dir()));
    match at.dial() {
        Ok(mut node) => {
            let info = node.read_file("self/info.json").ok().and_then(|line| tree::record(&line).ok());
            (Finding::ok("node", format!("up at {}", at.addr)), info)
        }
        Err(error) => (Finding::missing("node", format!("none answers: {error}"), "start one: uem up"), None),
    }
}

/// What links to other nodes need: a trust domain, somewhere to listen, a parent. A machine may go without all of it.
fn links(state: &Path, info: Option<&Record>) -> Vec<Finding> {
    const DOMAIN: &str = "trust domain";
    if !crate::invite::trust(state).exists() {
        return vec![Finding::ok(
            DOMAIN,
            "none, and no other machine: uem invite makes one, uem join joins one",
        )];
    }
    let home = match Home::open(state) {
        Ok(home) => home,
        Err(why) => {
            return vec![Finding::missing(
                DOMAIN,
                why,
                "keys must be readable by who runs the node, and nobody else",
            )];
        }
    };
    let (Some(domain), Some(who)) = (home.domain(), home.who()) else {
        return vec![Finding::ok(
            DOMAIN,
            "none, and no other machine: uem invite makes one, uem join joins one",
        )];
    };
    let role = if home.is_authority() { ", its authority" } else { "" };
    let mut findings = vec![Finding::ok(DOMAIN, format!("{}: {who}{role}", domain.short()))];
    if let Who::User { .. } = who {
        return findings;
    }
    let told = |key: &str| info.map(|info| tree::text(info, key)).filter(|text| !text.is_empty());
    findings.push(listener(&home, info.is_some(), told("link")));
    findings.push(match (told("parent"), told("seeking"), home.parents()) {
        (Some(parent), _, _) => Finding::ok("parent", parent),
        (None, Some(seeking), _) => Finding::missing(
            "parent",
            seeking,
            "is it up, and can this machine reach it? uem join names another",
        ),
        (None, None, Ok(parents)) if parents.is_empty() => {
            Finding::ok("parent", "none: this node is the root")
        }
        (None, None, Ok(parents)) => Finding::ok("parent", format!("to be {}", parents.join(" or "))),
        (None, None, Err(why)) => Finding::missing("parent", why, "uem join names one"),
    });
    findings
}

/// Where others may link to it.
fn listener(home: &Home, is_up: bool, told: Option<String>) -> Finding {
    const LISTENER: &str = "link listener";
    const NONE: &str = "none: this node can have a parent, and no children";
    match (told, home.listen()) {
        (Some(link), _) if link == crate::role::NONE => Finding::ok(LISTENER, NONE),
        (Some(link), _) => Finding::ok(LISTENER, link),
        (None, Ok(None)) => Finding::ok(LISTENER, NONE),
        (None, Ok(Some(kept))) if !is_up => Finding::ok(LISTENER, format!("to be {kept}")),
        (None, Ok(Some(kept))) => Finding::missing(
            LISTENER,
            format!("{kept} could not be listened at"),
            "the log in the state directory says why; uem up --link ADDR, where else",
        ),
        (None, Err(why)) => Finding::missing(LISTENER, why, "uem up --link ADDR says where to listen"),
    }
}

fn device() -> Finding {
    match std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(_) => Finding::ok("FUSE device", "/dev/fuse"),
        Err(error) => Finding::missing(
            "FUSE device",
            format!("/dev/fuse: {error}"),
            "modprobe fuse, or give the container the device; until then use uem ls, cat and write",
        ),
    }
}

fn helper() -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("fusermount3")).find(|file| file.is_file());
    match found {
        Some(file) => Finding::ok("FUSE helper", file.display().to_string()),
        None if rustix::process::geteuid().is_root() => Finding::ok("FUSE helper", "not needed by root"),
        None => Finding::missing(
            "FUSE helper",
            "no fusermount3 in PATH",
            "apt install fuse3 (or your system's like)",
        ),
    }
}

fn cgroups() -> Finding {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let writable = |dir: &str| rustix::fs::access(dir, Access::WRITE_OK).is_ok();
    let v2 = own.lines().find_map(|line| line.strip_prefix("0::"));
    let v2 = v2.and_then(|at| {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
        let root = roots.into_iter().find(|root| Path::new(root).join("cgroup.controllers").exists())?;
        Some(format!("{root}{}", at.trim_end_matches('/')))
    });
    let v1 = writable("/sys/fs/cgroup/memory");
    let none = "limits of memory and processors are not kept; run the node in a delegated group (systemd-run --user)";
    match (v2.filter(|dir| writable(dir)), v1) {
        (Some(dir), true) => Finding::ok("control groups", format!("version 2 at {dir}, and version 1")),
        (Some(dir), false) => Finding::ok("control groups", format!("version 2 at {dir}")),
        (None, true) => Finding::ok("control groups", "version 1"),
        (None, false) => Finding::missing("control groups", "none that can be written", none),
    }
}

fn descriptors() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limit.maximum {
        Some(most) if most < 4096 => Finding::missing(
            "descriptors",
            format!("at most {most}"),
            "a node wants 4 for each running session; raise the hard limit (ulimit -Hn)",
        ),
        Some(most) => Finding::ok("descriptors", format!("{most}")),
        None => Finding::ok("descriptors", "no limit"),
    }
}
