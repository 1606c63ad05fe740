//! Paths of the files of a node: what they are without links, and how they are said.

use crate::failure::Failure;
use host::client::Connection;
use op::{Errno, Error, FileKind, Op, Reply};

/// Links that one path may lead through, as for open(2).
const LINKS: usize = 40;

/// A path of a node without links in it, and what it is; `None` where there is nothing, but a directory to put it in.
pub(super) fn real(
    node: &mut Connection,
    fs: &str,
    path: &str,
) -> Result<(String, Option<FileKind>), Failure> {
    let steps = |path: &str| -> Vec<String> {
        path.split('/').rev().filter(|step| !step.is_empty() && *step != ".").map(String::from).collect()
    };
    let (mut left, mut at, mut kind, mut links) = (steps(path), Vec::new(), Some(FileKind::Dir), 0);
    while let Some(step) = left.pop() {
        if step == ".." {
            at.pop();
            continue;
        }
        at.push(step);
        let here = format!("{fs}/{}", at.join("/"));
        let failed = |error: Error| about(&here)(error);
        kind = match node.stat(&here) {
            Ok(stat) => Some(stat.qid.kind),
            Err(error) if error.errno == Errno::NOENT && left.is_empty() => None,
            Err(error) => return Err(failed(error)),
        };
        if kind == Some(FileKind::Link) {
            links += 1;
            if links > LINKS {
                return Err(failed(Errno(40).into()));
            }
            let fid = node.go(&here).map_err(failed)?;
            let target = node.call(Op::ReadLink { fid });
            node.clunk(fid);
            let Reply::Linked(target) = target.map_err(failed)? else {
                return Err(failed(Errno::PROTO.into()));
            };
            at.pop();
            if target.starts_with('/') {
                at.clear();
            }
            left.extend(steps(&target));
            kind = Some(FileKind::Dir);
        }
    }
    Ok((format!("{fs}/{}", at.join("/")), kind))
}

/// A directory and the name in it.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path))
}

pub(super) fn about(path: &str) -> impl Fn(Error) -> Failure + '_ {
    move |error| Failure::from(error).about(shown(path))
}

/// A path `net/NODE/fs/…` as it is called at the node itself.
pub(super) fn shown(path: &str) -> &str {
    match path.match_indices('/').nth(2) {
        Some((at, _)) => &path[at..],
        None => "/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_said_as_its_node_would() {
        assert_eq!(shown("net/n1/fs/a/b"), "/a/b");
        assert_eq!((shown("net/fs1/fs/fs"), shown("net/n/fs")), ("/fs", "/"));
        assert_eq!(split("net/n/fs/a"), ("net/n/fs", "a"));
        assert_eq!(split("net/n/fs/a/b/"), ("net/n/fs/a", "b"));
    }
}
