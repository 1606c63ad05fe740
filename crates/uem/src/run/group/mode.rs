//! How members' outputs are collected: what the node does of that, and what is left to be done here.

use super::layout::{Layout, Outputs, Tag};
use crate::failure::Failure;
use kernel::{quote, quote_line};

/// A way to collect an output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Lines,
    Tag,
    Fold,
    Rank,
    Diff,
    /// Through a command of the shell at every level of the tree.
    Reduce(String),
    /// For a program that takes it apart itself.
    Frames,
}

impl Mode {
    /// Understands `lines` and so on.
    pub(crate) fn parse(text: &str) -> Result<Mode, String> {
        match text {
            "lines" => Ok(Mode::Lines),
            "tag" => Ok(Mode::Tag),
            "fold" => Ok(Mode::Fold),
            "rank" => Ok(Mode::Rank),
            "diff" => Ok(Mode::Diff),
            "frames" => Ok(Mode::Frames),
            _ => match text.strip_prefix("reduce ").filter(|command| !command.trim().is_empty()) {
                Some(command) => Ok(Mode::Reduce(command.into())),
                None => Err(format!(
                    "{text:?} is none; write lines, tag, fold, rank, diff, 'reduce CMD' or frames"
                )),
            },
        }
    }

    /// The words after `stdout` or `stderr`. What is named by nodes is named here.
    pub(super) fn words(&self, by_node: bool) -> String {
        match self {
            Mode::Lines => "lines".into(),
            Mode::Tag if by_node => "frames".into(),
            Mode::Tag => "tag".into(),
            Mode::Fold if by_node => "frames fold".into(),
            Mode::Fold => "fold".into(),
            Mode::Diff => "frames fold".into(),
            Mode::Rank => "rank".into(),
            Mode::Frames => "frames".into(),
            Mode::Reduce(command) => {
                let mut words = b"reduce sh -c ".to_vec();
                quote_line(command.as_bytes(), &mut words);
                String::from_utf8(words).expect("a quoted text is text")
            }
        }
    }

    /// Whether a node that collects it anew says the same bytes, since they have their order.
    pub(super) fn has_order(&self) -> bool {
        match self {
            Mode::Fold | Mode::Rank | Mode::Diff => true,
            Mode::Lines | Mode::Tag | Mode::Reduce(_) | Mode::Frames => false,
        }
    }

    /// What is made here of the frames that come; `None`: bytes are shown as they come.
    pub(super) fn layout(&self, by_node: bool) -> Option<Layout> {
        match self {
            Mode::Tag if by_node => Some(Layout::Tag(Tag::default())),
            Mode::Fold if by_node => Some(Layout::Fold(Outputs::default())),
            Mode::Diff => Some(Layout::Diff(Outputs::default())),
            Mode::Lines | Mode::Tag | Mode::Fold | Mode::Rank | Mode::Reduce(_) | Mode::Frames => None,
        }
    }
}

/// How stdin reaches the members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Input {
    /// They have none.
    None,
    /// `broadcast`, `robin`, `hash 2`, `rank`.
    Dealt(String),
}

impl Input {
    /// Understands a way; the node knows which there are.
    pub(crate) fn parse(text: &str) -> Result<Input, String> {
        let known = ["broadcast", "robin", "hash", "rank", "frames"];
        match text.split(' ').next() {
            Some("none") if text == "none" => Ok(Input::None),
            Some(word) if known.contains(&word) => Ok(Input::Dealt(text.into())),
            _ => Err(format!("{text:?} is none; write none, broadcast, robin, 'hash [KEY]', rank or frames")),
        }
    }
}

/// The words of `records`, of which a regular expression is one.
pub(super) fn records(text: &str) -> Result<Vec<u8>, Failure> {
    let mut line = b"records ".to_vec();
    match text.split_once(' ') {
        Some(("regex", expression)) => {
            line.extend(b"regex ");
            quote(expression.as_bytes(), &mut line);
        }
        _ if ["line", "nul", "blank", "len32"].contains(&text) => line.extend(text.bytes()),
        _ => {
            let cause = format!("--records {text:?}: write line, nul, blank, len32 or 'regex RE'");
            return Err(Failure::misuse(cause));
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_words_of_the_node_or_made_here() {
        for (text, by_rank, by_node, made_here) in [
            ("lines", "lines", "lines", [false, false]),
            ("tag", "tag", "frames", [false, true]),
            ("fold", "fold", "frames fold", [false, true]),
            ("rank", "rank", "rank", [false, false]),
            ("diff", "frames fold", "frames fold", [true, true]),
            ("reduce sort -u", "reduce sh -c 'sort -u'", "reduce sh -c 'sort -u'", [false, false]),
        ] {
            let mode = Mode::parse(text).unwrap();
            assert_eq!((mode.words(false).as_str(), mode.words(true).as_str()), (by_rank, by_node));
            assert_eq!([false, true].map(|by_node| mode.layout(by_node).is_some()), made_here, "{text}");
        }
        for wrong in ["", "line", "tag x", "reduce", "reduce "] {
            assert!(Mode::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn stdin_and_records_are_words_of_the_node() {
        assert_eq!(Input::parse("none"), Ok(Input::None));
        assert_eq!(Input::parse("hash 2"), Ok(Input::Dealt("hash 2".into())));
        assert!(Input::parse("all").is_err() && Input::parse("none x").is_err());
        assert_eq!(records("nul").unwrap(), b"records nul");
        assert_eq!(records("regex a b'").unwrap(), b"records regex 'a b'\\'''");
        assert!(records("lines").is_err());
    }
}
