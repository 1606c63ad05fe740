//! Rules about Markdown files.

use super::Tree;
use crate::man;

/// Targets of `[…](…)` outside of code, with their lines, numbered from 1.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (i, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced || line.starts_with("    ") {
            continue;
        }
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for part in plain.split("](").skip(1) {
            found.extend(part.split_once(')').map(|(target, _)| (i + 1, target.to_string())));
        }
    }
    found
}

/// What a heading is called in a link: lower case, spaces as `-`, other punctuation left out.
fn anchors(text: &str) -> Vec<String> {
    let mut fenced = false;
    let heading = |line: &&str| {
        fenced ^= line.trim_start().starts_with("```");
        !fenced && line.starts_with('#')
    };
    text.lines()
        .filter(heading)
        .map(|line| {
            let plain = line.trim_start_matches('#').trim().to_lowercase();
            let kept = plain.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// `to`, as seen from the file `from`: a path below the repository. `None` if it leads out of it.
fn join(from: &str, to: &str) -> Option<String> {
    let mut path: Vec<&str> = from.split('/').collect();
    path.pop();
    for step in to.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(path.pop()?),
            step => path.push(step),
        }
    }
    Some(path.join("/"))
}

pub(super) fn links(tree: &Tree) -> Vec<String> {
    let files = || {
        let named = tree.sources.iter().chain(&tree.pages).map(|(path, _)| path.as_str());
        named.chain(tree.others.iter().map(String::as_str))
    };
    let is_there = |path: &str| {
        let dir = format!("{path}/");
        files().any(|file| file == path || file.starts_with(&dir))
    };
    let mut wrong = Vec::new();
    for (page, text) in &tree.pages {
        for (n, target) in targets(text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if path.is_empty() { Some(page.clone()) } else { join(page, path) };
            let Some(path) = path.filter(|path| is_there(path)) else {
                wrong.push(format!("{page}:{n}: {target} is not there"));
                continue;
            };
            if !anchor.is_empty() && !anchors(Tree::text(&tree.pages, &path)).iter().any(|a| a == anchor) {
                wrong.push(format!("{page}:{n}: {path} has no heading #{anchor}"));
            }
        }
    }
    wrong
}

pub(super) fn manual(tree: &Tree) -> Vec<String> {
    let other = man::pages().into_iter().filter(|(path, text)| Tree::text(&tree.pages, path) != text);
    other.map(|(path, _)| format!("{path} is not what the tables make: run cargo xtask man")).collect()
}

pub(super) fn decisions(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    let records = tree.pages.iter().filter_map(|(path, text)| {
        let name = path.strip_prefix("docs/decisions/")?;
        (name != "README.md").then_some((name, text))
    });
    for (i, (name, text)) in records.enumerate() {
        if !name.starts_with(&format!("{:04}-", i + 1)) {
            wrong.push(format!("docs/decisions/{name} is not number {}", i + 1));
        }
        for part in ["# ", "**Decision.**", "**Why.**"] {
            if !text.lines().any(|line| line.starts_with(part)) {
                wrong.push(format!("docs/decisions/{name} has no line that begins with {part}"));
            }
        }
    }
    wrong
}

/// Where a page names a test as `file::function`, it must be there.
pub(super) fn tests_that_exist(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for (page, text) in &tree.pages {
        let words = text.split('`').skip(1).step_by(2);
        for (path, name) in words.filter_map(|word| word.split_once(".rs::")) {
            let path = format!("{path}.rs");
            let is_there = Tree::text(&tree.sources, &path).contains(&format!("fn {name}("));
            if !is_there {
                wrong.push(format!("{page}: {path} has no test {name}"));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_is_seen() {
        for (page, wrong) in [
            ("[x](../src/a.rs)", 0),
            ("[x](../src)", 0),
            ("[x](b.md)", 1),
            ("[x](../../a.rs)", 1),
            ("[x](https://example.org/b.md)", 0),
            ("`[x](b.md)`", 0),
            ("```\n[x](b.md)\n```\n", 0),
            ("# The `Way` in, out\n[x](#the-way-in-out)", 0),
            ("[x](#the-way)", 1),
            ("[x](a.md) [y](b.md) [z](c.md)", 2),
        ] {
            assert_eq!(links(&tree(("src/a.rs", ""), ("docs/a.md", page))).len(), wrong, "{page}");
        }
    }

    #[test]
    fn a_test_that_is_named_and_not_there_is_seen() {
        let check =
            |page: &str| tests_that_exist(&tree(("t/a.rs", "fn it_works() {}"), ("docs/a.md", page))).len();
        assert_eq!(check("held by `t/a.rs::it_works`"), 0);
        assert_eq!(check("`t/a.rs::it`, `t/b.rs::it_works` and `t/a.rs::it_works`"), 2);
    }

    #[test]
    fn a_manual_page_that_was_edited_is_seen() {
        let [(path, text), (other, _)] = man::pages();
        assert_eq!(manual(&tree(("a.rs", ""), (path, &text))).len(), 1, "only {other} is missing");
        assert_eq!(manual(&tree(("a.rs", ""), (path, &format!("{text} ")))).len(), 2);
    }

    #[test]
    fn decisions_are_counted_and_have_their_parts() {
        let check = |name: &str, text: &str| decisions(&tree(("a.rs", ""), (name, text))).len();
        assert_eq!(check("docs/decisions/0001-a.md", "# A\n**Decision.** Yes.\n**Why.** So.\n"), 0);
        assert_eq!(check("docs/decisions/0002-a.md", "# A\n**Decision.** Yes.\n"), 2);
    }
}
