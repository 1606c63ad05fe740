//! Answers that are kept current. Which nodes a query selects is found out once, and from then on a node is looked at again when
//! something of it has changed; so asking again costs nothing, however many nodes there are.

use super::{Query, Set};
use crate::{Kernel, cloud::NodeNo, limits, place::Subject};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

/// Those of the queries that were last used.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    kept: BTreeMap<u32, Answer>,
    /// Counts uses.
    now: u64,
    /// Nodes of which something has changed since everybody was looked at.
    touched: Vec<NodeNo>,
}

#[derive(Debug)]
struct Answer {
    query: Arc<Query>,
    nodes: BTreeSet<NodeNo>,
    used: u64,
}

impl Answers {
    /// Something of a node has changed, or it came, or it is gone.
    pub(crate) fn touch(&mut self, no: NodeNo) {
        // Without a query nobody asks; with more changes than there are nodes, looking at each change is no less than anew.
        if !self.kept.is_empty() {
            self.touched.push(no);
        }
        if self.touched.len() > limits::NODES {
            self.forget();
        }
    }

    pub(super) fn forget(&mut self) {
        self.kept.clear();
        self.touched.clear();
    }

    /// The nodes of a set, if they are known.
    pub(crate) fn of(&self, no: u32) -> Option<&BTreeSet<NodeNo>> {
        self.kept.get(&no).filter(|_| self.touched.is_empty()).map(|answer| &answer.nodes)
    }
}

impl Kernel {
    /// Finds out which nodes a query selects, if that is not known yet: before it is used.
    pub(crate) fn answer_query(&mut self, subject: Subject) {
        self.look_again();
        let Subject::Set(no) = subject else { return };
        let Set::Query(query) = self.set(no) else { return };
        let query = query.clone();
        // Whoever asks for more terms asks among those that hold the first ones, which many ask for.
        let before = query
            .parent()
            .filter(|parent| !parent.terms.is_empty())
            .map(|parent| Set::Query(Arc::new(parent)));
        let before = before
            .and_then(|set| self.cloud.sets.no_of(&set))
            .filter(|_| !self.cloud.sets.answers.kept.contains_key(&no));
        if let Some(before) = before {
            self.answer_query(Subject::Set(before));
        }
        let answers = &mut self.cloud.sets.answers;
        answers.now += 1;
        let now = answers.now;
        if let Some(answer) = answers.kept.get_mut(&no) {
            answer.used = now;
            return;
        }
        if answers.kept.len() >= limits::ANSWERS
            && let Some(oldest) = answers.kept.iter().min_by_key(|(_, answer)| answer.used).map(|(no, _)| *no)
        {
            answers.kept.remove(&oldest);
        }
        let holds = |no: &NodeNo| self.cloud.known(*no).is_some_and(|known| query.admits(&known.facts()));
        let nodes = match before.and_then(|before| self.cloud.sets.answers.of(before)) {
            Some(among) => among.iter().copied().filter(holds).collect(),
            None => self.cloud.nodes.keys().copied().filter(holds).collect(),
        };
        self.cloud.sets.answers.kept.insert(no, Answer { query, nodes, used: now });
    }

    /// Looks again at the nodes of which something has changed.
    pub(crate) fn look_again(&mut self) {
        let mut touched = core::mem::take(&mut self.cloud.sets.answers.touched);
        if touched.is_empty() {
            return;
        }
        touched.sort_unstable();
        touched.dedup();
        let cloud = &mut self.cloud;
        for no in &touched {
            let known = cloud.nodes.get(no);
            for answer in cloud.sets.answers.kept.values_mut() {
                match known.is_some_and(|known| answer.query.admits(&known.facts())) {
                    true => answer.nodes.insert(*no),
                    false => answer.nodes.remove(no),
                };
            }
        }
        touched.clear();
        cloud.sets.answers.touched = touched;
    }

    /// Checks that what is kept is what would be found.
    pub(crate) fn check_answers(&self) {
        let answers = &self.cloud.sets.answers;
        for (no, answer) in answers.kept.iter().filter(|_| answers.touched.is_empty()) {
            let found = self.cloud.nodes.iter().filter(|(_, known)| answer.query.admits(&known.facts()));
            let found: BTreeSet<NodeNo> = found.map(|(no, _)| *no).collect();
            assert!(found == answer.nodes, "the answer of query {no} is current");
        }
    }
}
