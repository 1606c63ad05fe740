//! Benches are one program of the workspace, `benches`: a bench is one of its subcommands.

use crate::run::{Result, cargo, run};
use std::path::Path;

/// Builds for release and runs one bench, or all.
pub(crate) fn bench(root: &Path, words: &[&str]) -> Result<()> {
    run(cargo(root).args(["run", "--release", "--package", "benches", "--"]).args(words))
}
