//! Names of sessions on a command line: `56`, `node01/56`, `net/node01/56`.

use crate::failure::Failure;

/// A session that was named, as a path in the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Id(String);

impl Id {
    /// Understands a name.
    pub(crate) fn parse(text: &str) -> Result<Id, String> {
        let parts: Vec<&str> = text.trim_end_matches('/').split('/').collect();
        let number = |word: &str| word.parse::<u64>().is_ok();
        match parts[..] {
            [id] if number(id) => Ok(Id(format!("self/{id}"))),
            [node, id] | ["net", node, id] if number(id) && !node.is_empty() => {
                Ok(Id(format!("net/{node}/{id}")))
            }
            _ => Err(format!("{text:?} is no session; write 56, node01/56 or net/node01/56")),
        }
    }

    /// The path of one of its files.
    pub(crate) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    /// An error of the node about this session; one that is not there has a hint.
    pub(crate) fn failed(&self, error: op::Error) -> Failure {
        match error.errno {
            op::Errno::NOENT => Failure::new(format!("no session {}: it never was, or it was freed", self.0))
                .hint("uem ps --all lists those there are"),
            _ => Failure::from(error).about(&self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_named_as_in_the_tree() {
        for (text, path) in
            [("56", "self/56"), ("n/56", "net/n/56"), ("net/n/56", "net/n/56"), ("n/56/", "net/n/56")]
        {
            assert_eq!(Id::parse(text), Ok(Id(path.into())), "{text}");
        }
        for text in ["", "x", "n/", "n/x", "/56", "net/n/56/1", "-1"] {
            assert!(Id::parse(text).is_err(), "{text}");
        }
    }
}
