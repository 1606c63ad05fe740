//! `uem cp`: between the tree and local files. A path with `uem:` before it is one of the tree.

use crate::at::Common;
use crate::failure::{Failure, Outcome};
use crate::{cat, write};
use host::client::WRITE;
use op::Op;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Copy between the tree and local files: uem cp uem:self/56/stdout out.txt, uem cp in.txt uem:self/56/stdin
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// uem:PATH in the tree, a local file, or - for stdin
    from: String,
    /// uem:PATH in the tree, a local file or directory, or - for stdout
    to: String,
}

/// One side of a copy.
#[derive(PartialEq, Eq, Debug)]
enum Side<'a> {
    Tree(&'a str),
    Local(&'a str),
    Stdio,
}

fn side(text: &str) -> Side<'_> {
    match text.strip_prefix("uem:") {
        Some(path) => Side::Tree(path),
        None if text == "-" => Side::Stdio,
        None => Side::Local(text),
    }
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let mut node = common.connect()?;
    let local = |path: &Path, error: std::io::Error| Failure::from(error).about(path.display());
    match (side(&args.from), side(&args.to)) {
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
                Side::Stdio | Side::Tree(_) => {
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
        (Side::Local(_) | Side::Stdio, Side::Local(_) | Side::Stdio) => {
            return Err(
                Failure::misuse("neither path is one of the tree").hint("write uem:PATH for one that is")
            );
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
}
