//! The rules of the repository, held against it. Each rule is a function from what is there to what is wrong;
//! `cargo xtask tidy` prints that, and `cargo test` fails on it.

mod pages;
mod rooms;
mod sources;

use crate::run::{Result, cargo, output};
use serde_json::Value;
use std::path::Path;

/// What is there: read once, judged by all rules.
pub(crate) struct Tree {
    /// Rust files: path below the repository, and text.
    pub(crate) sources: Vec<(String, String)>,
    /// Markdown files, likewise.
    pub(crate) pages: Vec<(String, String)>,
    /// Every other file's path.
    pub(crate) others: Vec<String>,
    /// Packages of the workspace, as `cargo metadata` tells of them.
    pub(crate) packages: Vec<Value>,
}

/// A rule: its promise, and what breaks it, a sentence each.
type Rule = (&'static str, fn(&Tree) -> Vec<String>);

const RULES: &[Rule] = &[
    ("rooms depend downwards only", rooms::depend_downwards),
    ("what we take from others has its reason", rooms::taken_with_reason),
    ("packages say what they are, and their licence", rooms::fields),
    ("what is built is locked", rooms::locked),
    ("every source file says what it is", sources::say_what_they_are),
    ("pure rooms are no_std, and unsafe stays where it is", sources::attributes),
    ("a long file is a question with an answer", sources::lengths),
    ("no stub, no ignored test", sources::no_stubs),
    ("tests wait for what they test, not for time", sources::no_sleeps),
    ("tests use no fixed port", sources::no_ports),
    ("types are named after what they are", sources::type_names),
    ("links in pages lead somewhere", pages::links),
    ("tests that pages name are there", pages::tests_that_exist),
    ("the manual is what the tables say", pages::manual),
    ("decisions are numbered and have a reason", pages::decisions),
];

/// Prints what is wrong.
pub(crate) fn tidy(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let mut wrong = 0;
    for (rule, check) in RULES {
        for sentence in check(&tree) {
            println!("{rule}: {sentence}");
            wrong += 1;
        }
    }
    if wrong == 0 { Ok(()) } else { Err(format!("tidy: {wrong} to put right")) }
}

impl Tree {
    /// Reads the repository: all but what is built, and what is hidden.
    pub(crate) fn read(root: &Path) -> Result<Tree> {
        let metadata = ["metadata", "--no-deps", "--format-version", "1", "--offline"];
        let text = output(cargo(root).args(metadata)).ok_or("cargo metadata failed")?;
        let metadata: Value = serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
        let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
        let mut tree = Tree { sources: Vec::new(), pages: Vec::new(), others: Vec::new(), packages };
        tree.add(root, "")?;
        Ok(tree)
    }

    fn add(&mut self, root: &Path, below: &str) -> Result<()> {
        let dir = root.join(below);
        let said = |e: std::io::Error| format!("{}: {e}", dir.display());
        let mut entries: Vec<_> =
            std::fs::read_dir(&dir).and_then(|entries| entries.collect()).map_err(said)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
            let built = matches!(&*name, "target" | "corpus" | "artifacts" | "__pycache__");
            if entry.file_type().map_err(said)?.is_dir() {
                if !built && !name.starts_with('.') {
                    self.add(root, &path)?;
                }
            } else if name.ends_with(".rs") || name.ends_with(".md") {
                // Gone between listing and reading: somebody edits, and it is not there.
                let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
                let list = if name.ends_with(".rs") { &mut self.sources } else { &mut self.pages };
                list.push((path, text));
            } else {
                self.others.push(path);
            }
        }
        Ok(())
    }

    /// The text of one file among `files`; empty if it is not there.
    fn text<'a>(files: &'a [(String, String)], path: &str) -> &'a str {
        files.iter().find(|(known, _)| known == path).map_or("", |(_, text)| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_keeps_its_rules() {
        let tree = Tree::read(crate::root()).unwrap();
        assert!(tree.sources.len() > 20 && tree.packages.len() > 5, "the repository was found");
        let wrong: Vec<String> = RULES
            .iter()
            .flat_map(|(rule, check)| {
                check(&tree).into_iter().map(move |sentence| format!("{rule}: {sentence}"))
            })
            .collect();
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }

    /// A tree with one source file and one page, for tests of rules.
    pub(super) fn tree(source: (&str, &str), page: (&str, &str)) -> Tree {
        let own = |(path, text): (&str, &str)| vec![(path.to_string(), text.to_string())];
        Tree { sources: own(source), pages: own(page), others: Vec::new(), packages: Vec::new() }
    }
}
