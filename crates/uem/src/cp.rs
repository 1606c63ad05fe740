//! `uem cp`: between local files, the tree (`uem:PATH`) and the files of nodes (`n[1-64]:/PATH`).

mod fetch;
mod many;
mod place;
mod put;
mod source;

use crate::at::Common;
use crate::failure::{Failure, Outcome};
use crate::on::On;
use crate::{cat, names, write};
use host::client::WRITE;
use op::Op;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Copy between local files, the tree and the files of nodes: uem cp uem:self/56/stdout out.txt, uem cp -r conf n[1-64]:/etc/app
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Directories with all that is in them
    #[arg(short, long)]
    recursive: bool,
    /// With the times of the last change
    #[arg(short, long)]
    preserve: bool,
    /// How many nodes at a time
    #[arg(long, value_name = "N", default_value_t = 64)]
    at_once: usize,
    /// From, and to at the end: a local file or directory, NODES:/PATH for files of nodes (n[1-64]:/tmp, gpus=1:/tmp, all:/etc/motd),
    /// uem:PATH in the tree, or - for stdin and stdout
    #[arg(required = true, num_args = 2.., value_name = "PATH")]
    paths: Vec<String>,
}

/// One side of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side<'a> {
    Tree(&'a str),
    Local(&'a str),
    Stdio,
    /// A path at each of some nodes.
    Nodes(&'a str, &'a str),
}

fn side(text: &str) -> Side<'_> {
    match (text.strip_prefix("uem:"), text.split_once(':')) {
        (Some(path), _) => Side::Tree(path),
        (None, _) if text == "-" => Side::Stdio,
        (None, Some((set, path))) if is_set(set) => Side::Nodes(set, path),
        (None, _) => Side::Local(text),
    }
}

/// Whether what stands before a colon names nodes. What begins as a path does, is one.
fn is_set(text: &str) -> bool {
    let path = text.contains('/') && !text.contains(['=', '<', '>', '~']);
    let named =
        |text: &str| names::expand(text).is_ok_and(|all| all.iter().all(|name| On::parse(name).is_ok()));
    !path && !text.starts_with(['.', '/']) && named(text)
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let sides: Vec<Side<'_>> = args.paths.iter().map(|path| side(path)).collect();
    match sides.split_last() {
        Some((_, _)) if sides.iter().any(|side| matches!(side, Side::Nodes(..))) => {
            many::run(common, args, &sides)
        }
        Some((to, [from])) if !args.recursive => one(common, *from, *to),
        _ => Err(Failure::misuse("more than one file, or a directory, is copied to or from nodes only")
            .hint("write NODES:/PATH for one side")),
    }
}

/// A file of the tree, or into one.
fn one(common: &Common, from: Side<'_>, to: Side<'_>) -> Outcome {
    let mut node = common.connect()?;
    let local = |path: &Path, error: std::io::Error| Failure::from(error).about(path.display());
    match (from, to) {
        (Side::Tree(from), Side::Stdio) => cat::copy(&mut node, from, &mut std::io::stdout().lock())?,
        (Side::Tree(from), Side::Local(to)) => {
            let to = inside(Path::new(to), from);
            let mut file = File::create(&to).map_err(|error| local(&to, error))?;
            cat::copy(&mut node, from, &mut file)?;
        }
        (from @ (Side::Local(_) | Side::Stdio), Side::Tree(to)) => {
            let about = |error: op::Error| Failure::from(error).about(to);
            let fid = node.open(to, WRITE).map_err(about)?;
            match from {
                Side::Local(path) => {
                    let mut file = File::open(path).map_err(|error| local(Path::new(path), error))?;
                    write::pour(&mut node, fid, &mut file).map_err(|failure| failure.about(to))?;
                }
                Side::Stdio | Side::Tree(_) | Side::Nodes(..) => {
                    write::pour(&mut node, fid, &mut std::io::stdin().lock())
                        .map_err(|failure| failure.about(to))?;
                }
            }
            node.call(Op::Clunk { fid }).map_err(about)?;
        }
        (Side::Tree(from), Side::Tree(to)) => {
            let data = node.read_file(from).map_err(|error| Failure::from(error).about(from))?;
            node.write_file(to, &data).map_err(|error| Failure::from(error).about(to))?;
        }
        _ => {
            return Err(Failure::misuse("neither path is one of the tree or of a node")
                .hint("write uem:PATH or NODE:/PATH for one that is"));
        }
    }
    Ok(0)
}

/// A file of the same name, if `to` is a directory.
fn inside(to: &Path, from: &str) -> PathBuf {
    match (to.is_dir(), Path::new(from).file_name()) {
        (true, Some(name)) => to.join(name),
        _ => to.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_the_tree_says_so() {
        assert_eq!(side("uem:self/1/stdout"), Side::Tree("self/1/stdout"));
        assert_eq!((side("./uem:x"), side("-")), (Side::Local("./uem:x"), Side::Stdio));
        assert_eq!(inside(Path::new("/"), "self/status"), Path::new("/status"));
        assert_eq!(inside(Path::new("/no/such"), "self/status"), Path::new("/no/such"));
    }

    #[test]
    fn what_stands_before_a_colon_is_nodes() {
        for (text, set, path) in [
            ("n1:/tmp", "n1", "/tmp"),
            ("n[1-3,7],b:/tmp/a:b", "n[1-3,7],b", "/tmp/a:b"),
            ("x86/mem>=4G:/etc", "x86/mem>=4G", "/etc"),
            ("all:/etc/motd", "all", "/etc/motd"),
        ] {
            assert_eq!(side(text), Side::Nodes(set, path), "{text}");
        }
        for text in ["./n1:x", "/n1:x", "dir/n1:x", "n1", ":x", "n[1:x"] {
            assert_eq!(side(text), Side::Local(text), "{text}");
        }
    }
}
