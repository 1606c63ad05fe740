//! `uem umount`: takes a mounted tree away, whoever serves it.

use crate::failure::{Failure, Outcome};
use std::path::PathBuf;
use std::process::Command;

/// Take a mounted tree away
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Where it is mounted
    dir: PathBuf,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if !is_ours(&args.dir) {
        return Err(Failure::new(format!("no tree is mounted on {}", args.dir.display())));
    }
    let root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if root { "umount" } else { "fusermount3" });
    command.args(if root { &["-l", "--"][..] } else { &["-u", "-z", "--"][..] }).arg(&args.dir);
    match command.status() {
        Ok(status) if status.success() => Ok(0),
        Ok(_) => Err(Failure::new(format!("{} was not unmounted", args.dir.display()))),
        Err(error) => Err(Failure::from(error).about(command.get_program().display())),
    }
}

/// Whether a tree is mounted there, going by the kernel's list; the directory itself may not answer.
pub(crate) fn is_ours(dir: &std::path::Path) -> bool {
    let absolute = std::path::absolute(dir).unwrap_or_default();
    let parent = absolute.parent().and_then(|parent| std::fs::canonicalize(parent).ok());
    let place = match (parent, absolute.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => absolute.clone(),
    };
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().any(|line| {
        let on = line.split(' ').nth(4).unwrap_or_default().replace("\\040", " ");
        std::path::Path::new(&on) == place && line.contains(" - fuse.uem ")
    })
}
