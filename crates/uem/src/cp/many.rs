//! Copies to and from the files of many nodes at once: a few at a time, each over a connection of its own. What fails
//! at one node is said with its name, and does not stop the others.

use super::put::Put;
use super::{Args, Side, fetch};
use crate::at::Common;
use crate::failure::{Failure, Outcome, say};
use crate::nodes;
use crate::on::On;
use crate::tree;
use host::client::Connection;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::channel;

/// What is put somewhere.
#[derive(Clone)]
pub(super) enum Source {
    Local(PathBuf),
    /// A file of the tree.
    Far(Common, String),
}

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
    let mut sources = Vec::new();
    let mut jobs = Vec::new();
    match *to {
        Side::Nodes(set, path) => {
            absolute(path)?;
            for side in from {
                sources.push(source(common, &mut node, *side, args.recursive)?);
            }
            for (name, down) in named(&mut node, set)? {
                jobs.push((name, down.map_or_else(|| Job::Put { path: path.into() }, Job::Down)));
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
    match work(common, args, &sources, &jobs) {
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
    let places = [On::parse_all(set).map_err(Failure::misuse)?];
    let records = nodes::nodes(node, &places)?;
    if records.is_empty() {
        return Err(Failure::new(format!("{set} is no node that there is")));
    }
    let row = |record: &tree::Record| {
        let down = tree::text(record, "state") == "down";
        let why = format!("it is down since {}", tree::text(record, "since"));
        (tree::text(record, "node"), down.then_some(why))
    };
    Ok(records.iter().map(row).collect())
}

/// What is put, and the name that it has in a directory.
fn source(
    common: &Common,
    node: &mut Connection,
    side: Side<'_>,
    recursive: bool,
) -> Result<(Source, String), Failure> {
    let (source, path) = match side {
        Side::Local(path) => {
            let about = std::fs::metadata(path).map_err(|error| Failure::from(error).about(path))?;
            if about.is_dir() && !recursive {
                let failure = Failure::misuse(format!("{path} is a directory"));
                return Err(failure.hint("-r copies it with all that is in it"));
            }
            // A link that is named itself means what it leads to.
            let path = std::fs::canonicalize(path).map_err(|error| Failure::from(error).about(path))?;
            (Source::Local(path), side_path(side))
        }
        Side::Tree(path) => (Source::Far(common.clone(), path.into()), path.into()),
        Side::Nodes(set, path) => {
            absolute(path)?;
            let [(name, None)] = &named(node, set)?[..] else {
                return Err(Failure::misuse(format!(
                    "{set}: what is put on nodes comes from one node, which is up"
                )));
            };
            (Source::Far(common.clone(), format!("net/{name}/fs{path}")), path.into())
        }
        Side::Stdio => return Err(Failure::misuse("stdin is not copied to nodes: write it to a file first")),
    };
    match Path::new(&path).file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok((source, name.into())),
        None => match &source {
            Source::Local(path) => match path.file_name().and_then(|name| name.to_str()) {
                Some(name) => Ok((source.clone(), name.into())),
                None => Err(Failure::misuse(format!("{} has no name", path.display()))),
            },
            Source::Far(..) => Err(Failure::misuse(format!("{path} has no name"))),
        },
    }
}

fn side_path(side: Side<'_>) -> String {
    match side {
        Side::Local(path) | Side::Tree(path) | Side::Nodes(_, path) => path.into(),
        Side::Stdio => String::new(),
    }
}

/// Where a node's file comes to lie: of several nodes, in a directory of the node's name.
fn place(to: &Path, node: Option<&str>, path: &str, sources: usize) -> Result<PathBuf, Failure> {
    let local = |dir: &Path, error: std::io::Error| Failure::new(error.to_string()).about(dir.display());
    let name = Path::new(path).file_name().unwrap_or_default();
    match node {
        Some(node) => {
            let dir = to.join(node);
            std::fs::create_dir_all(&dir).map_err(|error| local(&dir, error))?;
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
fn work(common: &Common, args: &Args, sources: &[(Source, String)], jobs: &[(String, Job)]) -> usize {
    let queue = Mutex::new(jobs.iter());
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        for _ in 0..args.at_once.clamp(1, 256).min(jobs.len()) {
            let (tell, queue) = (tell.clone(), &queue);
            scope.spawn(move || {
                let mut connection = common.connect();
                loop {
                    let Some((name, job)) = queue.lock().map_or(None, |mut queue| queue.next()) else {
                        return;
                    };
                    let failures = match &mut connection {
                        Ok(node) => at(node, args, sources, name, job),
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
    sources: &[(Source, String)],
    name: &str,
    job: &Job,
) -> Vec<Failure> {
    let fs = format!("net/{name}/fs");
    let mut failures = Vec::new();
    let done = match job {
        Job::Down(why) => Err(Failure::new(why.as_str())),
        Job::Put { path } => {
            let mut put = Put { node, failures: Vec::new() };
            let done = put.all(sources, &fs, path);
            failures = put.failures;
            done
        }
        Job::Fetch { path, to } => match node.stat(&fs) {
            Ok(_) => {
                fetch::any(node, &format!("{fs}{path}"), to, args.recursive, &mut Vec::new(), &mut failures)
            }
            Err(error) => Err(error.into()),
        },
    };
    failures.extend(done.err());
    failures
}
