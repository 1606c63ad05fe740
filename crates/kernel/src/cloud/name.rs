//! Names of nodes and of places, and how they are written in news.

use crate::{event::Attr, limits, words};
use alloc::{string::String, vec::Vec};

/// The label `loc` among attributes.
pub(crate) fn loc(attrs: &[(String, Attr)]) -> Option<&str> {
    attrs.iter().find_map(|(key, value)| match value {
        Attr::Text(text) if key == "loc" => Some(text.trim_matches('/')).filter(|text| !text.is_empty()),
        _ => None,
    })
}

/// Whether a location is `of`, or within it; everything is within the empty one.
pub(crate) fn within(loc: Option<&str>, of: &str) -> bool {
    let Some(loc) = loc else { return false };
    of.is_empty() || loc.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    words::quote(text.replace('\n', " ").as_bytes(), &mut out);
    words::lossy(&out)
}

/// What a node can be called: one element of a path, and no number, since those are sessions'.
pub(super) fn is_node_name(name: &str) -> bool {
    let odd = |c: char| c == '/' || c.is_control() || c.is_whitespace();
    !name.is_empty()
        && name.len() <= limits::NAME
        && !matches!(name, "." | ".." | "...")
        && !name.contains(odd)
        && !name.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_holds_what_is_below_it() {
        for (loc, of, holds) in [
            (Some("a/b"), "", true),
            (Some("a/b"), "a", true),
            (Some("a/b"), "a/b", true),
            (Some("a/bc"), "a/b", false),
            (Some("a"), "a/b", false),
            (None, "", false),
        ] {
            assert_eq!(within(loc, of), holds, "{loc:?} in {of:?}");
        }
    }

    #[test]
    fn a_node_is_called_what_a_path_can_hold() {
        for name in ["b", "node01", "a.b-c_d", "7a"] {
            assert!(is_node_name(name), "{name}");
        }
        for name in ["", "7", "..", "...", "a/b", "a b", "a\n"] {
            assert!(!is_node_name(name), "{name:?}");
        }
    }
}
