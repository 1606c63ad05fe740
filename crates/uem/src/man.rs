//! `uem man`: manual pages. The command's are made from its flags, those of `ctl` and of the files from the tables
//! that the node itself works by.

use crate::failure::{Failure, Outcome};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::path::{Path, PathBuf};

/// Write manual pages into a directory: uem.1, a page a subcommand, uem-ctl.5, uem-files.5
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Where to write; try DIR/man1 with man -M
    dir: PathBuf,
}

pub(crate) fn run(args: &Args) -> Outcome {
    std::fs::create_dir_all(&args.dir).map_err(|error| Failure::from(error).about(args.dir.display()))?;
    let command = crate::command();
    put(&args.dir, "uem.1", &page(command.clone())?)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let name = format!("uem-{}", sub.get_name());
        put(
            &args.dir,
            &format!("{name}.1"),
            &page(sub.clone().name(name).bin_name(format!("uem {}", sub.get_name())))?,
        )?;
    }
    put(&args.dir, "uem-ctl.5", ctl().as_bytes())?;
    put(&args.dir, "uem-files.5", files().as_bytes())?;
    Ok(0)
}

fn put(dir: &Path, name: &str, text: &[u8]) -> Result<(), Failure> {
    let path = dir.join(name);
    std::fs::write(&path, text).map_err(|error| Failure::from(error).about(path.display()))
}

fn page(command: clap::Command) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    Man::new(command).render(&mut text)?;
    Ok(text)
}

fn head(name: &str, about: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("TH", [name, "5"]).control("SH", ["NAME"]).text([roman(format!("{name} - {about}"))]);
    roff
}

fn ctl() -> String {
    let mut roff = head("uem-ctl", "commands that are written to ctl files, one a line");
    roff.control("SH", ["VERBS"]);
    for verb in kernel::manual::VERBS {
        roff.control("TP", []).text([bold(verb.name), roman(format!(" {}", verb.usage))]);
        roff.text([roman(verb.doc)]).control("br", []).text([roman(format!("Example: {}", verb.example))]);
    }
    roff.to_roff()
}

fn files() -> String {
    let mut roff = head("uem-files", "files of the tree");
    roff.control("SH", ["FILES"]);
    for file in kernel::manual::FILES {
        let twins = if file.twins { ", also .json .xml .sexp" } else { "" };
        let place = format!(" ({:03o}; {}{twins})", file.mode, file.places().join(", "));
        roff.control("TP", []).text([bold(file.name), roman(place)]).text([roman(file.doc)]);
    }
    roff.to_roff()
}
