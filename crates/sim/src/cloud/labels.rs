//! What labels of nodes can be in a random cloud: who wrote what is known, and what was answered.

use super::{
    Cloud,
    terms::{Known, LABELS, Term},
};
use std::collections::{BTreeMap, BTreeSet};

/// What one label of one node can be.
#[derive(Debug)]
pub(super) struct Label {
    /// Since everybody was last well. None is the empty text.
    can_be: BTreeSet<String>,
    /// It is this: the last that was written was answered, and nothing else was on its way.
    pub(super) surely: Option<String>,
    /// Lines that were written and not answered.
    flying: usize,
    /// One of them was never answered, or two were on their way: the order is not known.
    unclear: bool,
}

impl Default for Label {
    fn default() -> Label {
        let none = || String::new();
        Label { can_be: BTreeSet::from([none()]), surely: Some(none()), flying: 0, unclear: false }
    }
}

/// What is known of the labels of all nodes.
#[derive(Debug, Default)]
pub(super) struct Labels(BTreeMap<(usize, &'static str), Label>);

impl Labels {
    pub(super) fn of(&mut self, node: usize, key: &'static str) -> &mut Label {
        self.0.entry((node, key)).or_default()
    }

    /// Somebody writes a label.
    pub(super) fn asked(&mut self, node: usize, key: &'static str, value: &str) {
        let label = self.of(node, key);
        label.can_be.insert(value.into());
        label.unclear |= label.flying > 0;
        label.flying += 1;
        label.surely = None;
    }

    /// For a while it is this too: who waits for it may find it.
    pub(super) fn passing(&mut self, node: usize, key: &'static str, value: &str) {
        self.of(node, key).can_be.insert(value.into());
    }

    /// Whoever wrote it has his answer, or nothing any more.
    pub(super) fn over(&mut self, node: usize, key: &'static str, value: &str, answered: bool) {
        let label = self.of(node, key);
        label.flying -= 1;
        label.unclear |= !answered;
        if !label.unclear && label.flying == 0 {
            label.surely = Some(value.into());
        }
    }

    /// What the labels of a node can be.
    fn of_node(&mut self, node: usize) -> BTreeMap<&'static str, BTreeSet<String>> {
        LABELS.iter().map(|(key, _)| (*key, self.of(node, key).can_be.clone())).collect()
    }

    /// Whether all of these can have held of a node since everybody was last well.
    pub(super) fn can_match(&mut self, node: usize, name: &str, terms: &[Term]) -> bool {
        let labels = self.of_node(node);
        terms.iter().all(|term| term.can_hold(name, &labels))
    }

    /// Whether all of these hold of a node, whatever its labels are of those that they can be.
    pub(super) fn matches(&mut self, node: usize, name: &str, terms: &[Term]) -> bool {
        let surely = LABELS.iter().map(|(key, _)| (*key, self.of(node, key).surely.clone()));
        let Some(labels) = surely.map(|(key, value)| value.map(|value| (key, value))).collect() else {
            return false;
        };
        let labels: BTreeMap<&'static str, String> = labels;
        let labels = labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let node = Known { name: name.into(), labels, ..Known::default() };
        terms.iter().all(|term| term.holds(&node))
    }

    /// Reads what a node's labels are, where they are. If everybody is well, nothing else can be seen from now on.
    pub(super) fn read(
        &mut self,
        cloud: &mut Cloud,
        at: usize,
        well: bool,
    ) -> BTreeMap<&'static str, String> {
        let who = cloud.connect(at, "ericvh");
        let info = cloud.cat(who, "self/info").expect("a node says what it is");
        cloud.hang_up(who);
        let mut all = BTreeMap::new();
        for (key, _) in LABELS {
            let value = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            let label = self.of(at, key);
            let (is, can_be) = (value.unwrap_or_default().to_string(), &label.can_be);
            assert!(can_be.contains(&is), "{key} of {at} is {is:?}, and can be {can_be:?} only");
            if let Some(surely) = &label.surely {
                assert_eq!(&is, surely, "{key} of {at} is what was written last");
                cloud.counters.count("labels as they were written");
            }
            if well && label.flying == 0 {
                *label = Label {
                    can_be: BTreeSet::from([is.clone()]),
                    surely: Some(is.clone()),
                    ..Label::default()
                };
            }
            if !is.is_empty() {
                all.insert(*key, is);
            }
        }
        all
    }
}
