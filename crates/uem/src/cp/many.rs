//! Copies to and from the files of many nodes at once, over a connection for each of some. What fails at one node is said
//! with its name, and does not stop the others.

use super::fetch::Fetch;
use super::put::{How, Put};
use super::source::Source;
use super::{Args, Side};
use crate::at::Common;
use crate::failure::{Failure, Outcome, say};
use crate::on::{On, Ons};
use crate::{cat, nodes, tree};
use host::client::Connection;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

/// What is to be done at one node.
enum Job {
    Put {
        path: String,
    },
    Fetch {
        path: String,
        to: PathBuf,
    },
    /// It cannot be reached.
    Down(String),
}

pub(super) fn run(common: &Common, args: &Args, sides: &[Side<'_>]) -> Outcome {
    let Some((to, from)) = sides.split_last() else {
        return Err(Failure::misuse("from where, and to where?"));
    };
    let mut node = common.connect()?;
    // The first signal undoes what is half done; the second one ends us as usual.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_default(signal, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let (mut sources, mut jobs, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    // What comes from elsewhere is here until it is where it goes.
    let mut here = Vec::new();
    let mut store = None;
    match *to {
        Side::Nodes(set, path) => {
            absolute(path)?;
            for (name, down) in named(&mut node, set)? {
                jobs.push((name, down.map_or_else(|| Job::Put { path: path.into() }, Job::Down)));
            }
            for side in from {
                sources.push(source(common, &mut node, (args, &stop), *side, &mut here, &mut failures)?);
            }
            if jobs.iter().filter(|(_, job)| matches!(job, Job::Put { .. })).count() > 1 {
                store = Some(String::from_utf8_lossy(node.read_file("self/ctl")?.trim_ascii()).into_owned());
            }
        }
        Side::Local(to) => {
            for side in from {
                let Side::Nodes(set, path) = *side else {
                    return Err(Failure::misuse("what is not of a node is not copied together with what is"));
                };
                absolute(path)?;
                let all = named(&mut node, set)?;
                let each = all.len() > 1 || !is_plain(set);
                for (name, down) in all {
                    let to = place(Path::new(to), each.then_some(name.as_str()), path, from.len())?;
                    let fetch = || Job::Fetch { path: path.into(), to };
                    jobs.push((name, down.map_or_else(fetch, Job::Down)));
                }
            }
        }
        Side::Tree(_) | Side::Stdio => {
            return Err(Failure::misuse("files of nodes are copied to local files, or to other nodes"));
        }
    }
    for failure in &failures {
        say("cp", &failure.to_string());
    }
    let how = How { store: store.as_deref(), times: args.preserve, stop: &stop };
    match work(common, args, how, &sources, &jobs) + failures.len() {
        _ if stop.load(Relaxed) => Ok(128 + SIGINT as u8),
        0 => Ok(0),
        _ => Ok(1),
    }
}

fn absolute(path: &str) -> Result<(), Failure> {
    if path.starts_with('/') {
        return Ok(());
    }
    Err(Failure::misuse(format!("{path:?}: a path at a node begins with /")).hint("./NAME is a local file"))
}

/// Whether it is one node's name, and not a set that happens to have one.
fn is_plain(set: &str) -> bool {
    !set.contains(['[', ',', '=', '<', '>', '~', '!']) && set != "all"
}

/// The nodes of a set, and why one of them cannot be asked.
fn named(node: &mut Connection, set: &str) -> Result<Vec<(String, Option<String>)>, Failure> {
    let places = On::parse_all(set).map_err(Failure::misuse)?;
    let records = match nodes::nodes(node, std::slice::from_ref(&places)) {
        // One that does not answer is no reason to leave out the others.
        Err(_) if places.all.len() > 1 => return one_by_one(node, places),
        records => records?,
    };
    if records.is_empty() {
        return Err(Failure::new(format!("{set} is no node that there is")));
    }
    Ok(records.iter().map(row).collect())
}

fn one_by_one(node: &mut Connection, places: Ons) -> Result<Vec<(String, Option<String>)>, Failure> {
    let known: Vec<String> = node.list("net")?.into_iter().map(|entry| entry.stat.name).collect();
    let mut all: Vec<(String, Option<String>)> = Vec::new();
    for on in places.all {
        let name = on.dir.strip_prefix("net/").filter(|name| known.iter().any(|node| node == name));
        let name = name.map(String::from);
        let one = Ons { all: vec![on], but: places.but.clone() };
        match (nodes::nodes(node, &[one]), name) {
            (Ok(rows), _) => all.extend(rows.iter().map(row)),
            (Err(failure), Some(name)) => all.push((name, Some(failure.cause))),
            (Err(failure), None) => return Err(failure),
        }
    }
    all.sort();
    all.dedup_by(|one, other| one.0 == other.0);
    Ok(all)
}

/// A node's name, and why it cannot be asked.
fn row(record: &tree::Record) -> (String, Option<String>) {
    let down = tree::text(record, "state") == "down";
    let why = format!("it is down since {}", tree::text(record, "since"));
    (tree::text(record, "node"), down.then_some(why))
}

/// A directory of ours, which goes with us.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        for n in 0..100 {
            let dir = std::env::temp_dir().join(format!("uem-cp-{}-{n}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => return Ok(Scratch(dir)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Failure::from(error).about(dir.display())),
            }
        }
        Err(Failure::new(format!("{} is full of directories of ours", std::env::temp_dir().display())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _another_may_have_removed_it = fs::remove_dir_all(&self.0);
    }
}

/// What is put. What is not a file here is fetched first: it is needed whole to know what it is called in a store.
fn source(
    common: &Common,
    node: &mut Connection,
    (args, stop): (&Args, &AtomicBool),
    side: Side<'_>,
    here: &mut Vec<Scratch>,
    failures: &mut Vec<Failure>,
) -> Result<Source, Failure> {
    let (name, scratch) = match side {
        Side::Local(path) => return Source::local(Path::new(path), None, args.recursive, failures),
        Side::Stdio => return Err(Failure::misuse("stdin is not copied to nodes: write it to a file first")),
        Side::Tree(path) | Side::Nodes(_, path) => {
            let name = Path::new(path).file_name().and_then(|name| name.to_str());
            (name.ok_or_else(|| Failure::misuse(format!("{path} has no name")))?, Scratch::new()?)
        }
    };
    let to = scratch.0.join("it");
    match side {
        Side::Nodes(set, path) => {
            absolute(path)?;
            let [(from, None)] = &named(node, set)?[..] else {
                return Err(Failure::misuse(format!(
                    "{set}: what is put on nodes comes from one node, which is up"
                )));
            };
            let mut far = common.connect()?;
            far.see_links()?;
            let mut fetch =
                Fetch { node: &mut far, recursive: args.recursive, times: true, stop, failures: Vec::new() };
            let done = fetch.all(&format!("net/{from}/fs"), path, &to);
            failures.extend(fetch.failures.into_iter().map(|failure| failure.about(from)));
            done.map_err(|failure| failure.about(from))?;
        }
        Side::Tree(path) => {
            let mut file = File::create(&to).map_err(|error| Failure::from(error).about(to.display()))?;
            cat::copy(node, path, &mut file)?;
        }
        Side::Local(_) | Side::Stdio => {}
    }
    let source = Source::local(&to, Some(name.into()), args.recursive, failures);
    here.push(scratch);
    source
}

/// Where a node's file comes to lie: of several nodes, in a directory of the node's name.
fn place(to: &Path, node: Option<&str>, path: &str, sources: usize) -> Result<PathBuf, Failure> {
    let local = |dir: &Path, error: std::io::Error| Failure::new(error.to_string()).about(dir.display());
    let name = Path::new(path).file_name().unwrap_or_default();
    match node {
        Some(node) => {
            let dir = to.join(node);
            fs::create_dir_all(&dir).map_err(|error| local(&dir, error))?;
            Ok(dir.join(name))
        }
        None if to.is_dir() => Ok(to.join(name)),
        None if sources > 1 || to.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            Err(Failure::misuse(format!("{} is no directory", to.display())))
        }
        None => Ok(to.to_path_buf()),
    }
}

/// Does all of it, and says what failed; how many failed.
fn work(common: &Common, args: &Args, how: How<'_>, sources: &[Source], jobs: &[(String, Job)]) -> usize {
    let queue = Mutex::new(jobs.iter());
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        for _ in 0..args.at_once.clamp(1, 256).min(jobs.len()) {
            let (tell, queue) = (tell.clone(), &queue);
            scope.spawn(move || {
                let mut connection = common.connect().and_then(|mut node| {
                    node.see_links()?;
                    Ok(node)
                });
                loop {
                    if how.stop.load(Relaxed) {
                        return;
                    }
                    let Some((name, job)) = queue.lock().map_or(None, |mut queue| queue.next()) else {
                        return;
                    };
                    let failures = match &mut connection {
                        Ok(node) => at(node, args, how, sources, name, job),
                        Err(failure) => vec![failure.clone()],
                    };
                    let _nobody_listens = tell.send((name, failures));
                }
            });
        }
        drop(tell);
        let terminal = std::io::stderr().is_terminal();
        let (mut done, mut failed) = (0, 0);
        for (name, failures) in told {
            done += 1;
            failed += usize::from(!failures.is_empty());
            let clear = if terminal { "\r\x1b[K" } else { "" };
            let _nobody_looks = write!(std::io::stderr(), "{clear}");
            for failure in failures {
                say("cp", &failure.about(name).to_string());
            }
            if terminal && done < jobs.len() {
                let _nobody_looks =
                    write!(std::io::stderr(), "{done} of {} nodes, {failed} failed", jobs.len());
            }
        }
        failed
    })
}

fn at(
    node: &mut Connection,
    args: &Args,
    how: How<'_>,
    sources: &[Source],
    name: &str,
    job: &Job,
) -> Vec<Failure> {
    let (done, mut failures) = match job {
        Job::Down(why) => (Err(Failure::new(why.as_str())), Vec::new()),
        Job::Put { path } => {
            let mut put = Put::new(node, name, how);
            (put.all(sources, path), put.failures)
        }
        Job::Fetch { path, to } => {
            let (recursive, times) = (args.recursive, args.preserve);
            let mut fetch = Fetch { node, recursive, times, stop: how.stop, failures: Vec::new() };
            (fetch.all(&format!("net/{name}/fs"), path, to), fetch.failures)
        }
    };
    failures.extend(done.err());
    failures
}
