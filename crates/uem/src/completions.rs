//! `uem completions`: what a shell needs to complete our command lines.

use crate::failure::Outcome;
use clap_complete::Shell;
use std::io::Write;

/// Print completions for a shell, to be put where it looks for them
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut crate::command(), "uem", &mut text);
    std::io::stdout().write_all(&text)?;
    Ok(0)
}
