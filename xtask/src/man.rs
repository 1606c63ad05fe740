//! Pages of the manual that are made from the kernel's tables.

use crate::run::Result;
use std::path::Path;

const MADE: &str = "<!-- Made from the kernel's tables by `cargo xtask man`; a test compares. -->\n";

/// Path below the repository, and text.
pub(crate) fn pages() -> [(&'static str, String); 2] {
    let files = format!(
        "{MADE}# Files\n\nMode is what the file allows at most. An *owner's* file of a session is its owner's alone until \
         `chmod` on the\nsession's directory opens it to others ([rights](sessions.md#rights)). Where: in the directory of the \
         whole *cloud* (the\nroot), of a *node*, of a *session*.\n\n{}",
        kernel::manual::files()
    );
    let verbs = format!(
        "{MADE}# Verbs of `ctl`\n\nOne command a line, words quoted as in sh. Every whole line is run before the write \
         returns; a write that fails has run\nnothing after the failing line, and `error` says which it was.\n\n{}",
        kernel::manual::verbs()
    );
    [("docs/manual/files.md", files), ("docs/manual/verbs.md", verbs)]
}

/// Writes them.
pub(crate) fn write(root: &Path) -> Result<()> {
    for (path, text) in pages() {
        std::fs::write(root.join(path), text).map_err(|e| format!("{path}: {e}"))?;
        println!("{path}");
    }
    Ok(())
}
