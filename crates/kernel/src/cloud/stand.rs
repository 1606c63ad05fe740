//! Where nodes stand: the names of a node in each view.

use super::{NodeNo, loc};
use crate::{Kernel, limits, place::View};
use alloc::{string::String, vec::Vec};
use op::NodeId;

impl Kernel {
    /// Names from the child that leads there down to a node, for a walk in its `tree/`.
    pub(crate) fn tree_names(&self, no: NodeNo) -> Vec<String> {
        let mut names = Vec::new();
        let mut at = Some(no);
        while let Some(known) = at.and_then(|no| self.cloud.known(no)) {
            names.push(String::from(&*known.name));
            let top = known.parent == self.node.id || names.len() > limits::DEPTH;
            at = if top { None } else { self.cloud.by_id.get(&known.parent).copied() };
        }
        names.reverse();
        names
    }

    /// Where a node stands in another view than by name; `None` if it does not.
    pub(crate) fn view_of(&self, no: Option<NodeNo>, view: View) -> Option<Vec<String>> {
        let name = match no {
            Some(no) => self.cloud.known(no)?.name.clone(),
            None => self.node.name.clone(),
        };
        Some(match view {
            View::Net => alloc::vec!["net".into(), String::from(&*name)],
            View::Tree => {
                let mut names = alloc::vec![String::from("tree")];
                names.extend(self.cloud.ancestors.iter().map(|(_, name)| String::from(&**name)));
                names.push(String::from(&*self.node.name));
                names.extend(no.into_iter().flat_map(|no| self.tree_names(no)));
                names
            }
            // A node is in many queries, or none.
            View::Query | View::Await | View::Logical => return None,
            View::Phys => {
                let loc = match no {
                    Some(no) => self.cloud.known(no)?.loc()?,
                    None => loc(&self.node.attrs)?,
                };
                let mut names = alloc::vec![String::from("phys")];
                names.extend(loc.split('/').map(String::from));
                names.push(String::from(&*name));
                names
            }
        })
    }

    /// A child of this node by name, in `tree/`.
    pub(crate) fn child_named(&self, name: &str) -> Option<NodeNo> {
        self.cloud.named(name).filter(|no| self.cloud.nodes[no].parent == self.node.id)
    }

    pub(crate) fn node_no(&self, id: NodeId) -> Option<NodeNo> {
        self.cloud.by_id.get(&id).copied()
    }
}
