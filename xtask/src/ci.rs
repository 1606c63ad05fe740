//! What a change must pass.

use crate::run::{Result, cargo, run};
use crate::{test, tidy};
use std::path::Path;

/// Cheapest first, so that a slip is told soon.
pub(crate) fn ci(root: &Path) -> Result<()> {
    run(cargo(root).args(["fmt", "--all", "--check"]))?;
    tidy::tidy(root)?;
    run(cargo(root).args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    test::test(root)
}
