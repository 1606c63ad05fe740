//! `uem ls`: directories of the tree.

use crate::at::Common;
use crate::failure::{Failure, Outcome};
use crate::tree;
use op::{Entry, FileKind, Stat};
use std::io::Write;

/// List a directory of the tree
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// With mode, owner, group and time
    #[arg(short)]
    long: bool,
    /// A line of JSON each
    #[arg(long)]
    json: bool,
    /// Paths in the tree [default: /]
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let mut node = common.connect()?;
    let root = ["/".to_string()];
    let paths = if args.paths.is_empty() { &root[..] } else { &args.paths[..] };
    let mut out = std::io::stdout().lock();
    for path in paths {
        let stat = node.stat(path).map_err(|error| Failure::from(error).about(path))?;
        let mut stats = match stat.qid.kind {
            // A link at the end of a path is gone through, as ls(1) does without -l.
            FileKind::Dir | FileKind::Link => {
                let entries =
                    node.list(&format!("{path}/.")).map_err(|error| Failure::from(error).about(path))?;
                entries.into_iter().map(|Entry { stat, .. }| stat).collect()
            }
            FileKind::File => vec![Stat { name: path.clone(), ..stat }],
        };
        stats.sort_by(|a, b| key(&a.name).cmp(&key(&b.name)));
        if paths.len() > 1 && !args.json {
            writeln!(out, "{path}:")?;
        }
        out.write_all(shown(&stats, args).as_bytes())?;
    }
    Ok(0)
}

/// Numbers in their own order, behind names.
fn key(name: &str) -> (Option<u64>, &str) {
    (name.parse().ok(), name)
}

fn shown(stats: &[Stat], args: &Args) -> String {
    if args.json {
        return stats.iter().map(|stat| format!("{}\n", json(stat))).collect();
    }
    if !args.long {
        return stats.iter().map(|stat| format!("{}\n", stat.name)).collect();
    }
    let row = |stat: &Stat| {
        vec![mode(stat), stat.user.to_string(), stat.group.to_string(), age(stat), stat.name.clone()]
    };
    tree::table(&stats.iter().map(row).collect::<Vec<_>>())
}

fn json(stat: &Stat) -> serde_json::Value {
    serde_json::json!({
        "name": stat.name, "mode": format!("{:03o}", stat.mode), "kind": letter(stat).to_string(),
        "user": &*stat.user, "group": &*stat.group, "mtime": stat.mtime.secs(),
    })
}

fn letter(stat: &Stat) -> char {
    match stat.qid.kind {
        FileKind::Dir => 'd',
        FileKind::File => '-',
        FileKind::Link => 'l',
    }
}

fn mode(stat: &Stat) -> String {
    let bits = (0..9).rev().zip("rwxrwxrwx".chars());
    let bits = bits.map(|(bit, letter)| if stat.mode >> bit & 1 == 1 { letter } else { '-' });
    std::iter::once(letter(stat)).chain(bits).collect()
}

/// How long ago it changed.
fn age(stat: &Stat) -> String {
    op::format_span(host::now().wall.since(stat.mtime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_names_in_their_own_order() {
        let mut names = ["10", "wait", "9", "ctl"];
        names.sort_by(|a, b| key(a).cmp(&key(b)));
        assert_eq!(names, ["ctl", "wait", "9", "10"]);
    }
}
