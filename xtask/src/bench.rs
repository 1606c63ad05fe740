//! Benches are one program of the workspace, `benches`: a bench is one of its subcommands. It starts the released
//! `uem` that lies beside it.

use crate::elf;
use crate::run::{Result, run};
use std::path::Path;
use std::process::Command;

/// Builds for release and runs one bench, or all.
pub(crate) fn bench(root: &Path, words: &[&str]) -> Result<()> {
    let [_, benches] = elf::release(root)?;
    run(Command::new(benches).current_dir(root).args(words))
}
