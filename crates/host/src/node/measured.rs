//! What the machine is, looked at again from time to time: processors go off line, disks grow, drivers find their GPUs late.

use super::{Node, Provider};
use kernel::{Attr, Event};
use op::Mono;
use std::time::Duration;

/// How often, at most; only ever when the node is measured anyway.
const AGAIN: Duration = Duration::from_secs(60);

/// What was found last, and when.
pub(super) struct Measured {
    pub(super) attrs: Vec<(String, Attr)>,
    pub(super) at: Mono,
}

impl<P: Provider> Node<P> {
    /// Tells the kernel of what has changed since.
    pub(super) fn measure_again(&mut self) {
        let now = self.around.now().mono;
        if now.since(self.measured.at) < AGAIN {
            return;
        }
        let new = self.around.attributes(&self.settings.state);
        let labels = &self.settings.labels;
        // Whoever started the node knows better than what is measured.
        let free = |key: &str| !labels.iter().any(|(label, _)| label == key);
        let changes = changes(&self.measured.attrs, &new).into_iter().filter(|(key, _)| free(key));
        self.events.extend(changes.map(|(key, value)| Event::Attr(key, value)));
        self.measured = Measured { attrs: new, at: now };
    }
}

/// What is another, and what is no more.
fn changes(old: &[(String, Attr)], new: &[(String, Attr)]) -> Vec<(String, Option<Attr>)> {
    let gone = old.iter().filter(|(key, _)| !new.iter().any(|(k, _)| k == key));
    let changed = new.iter().filter(|pair| !old.contains(pair));
    let changed = changed.map(|(key, value)| (key.clone(), Some(value.clone())));
    gone.map(|(key, _)| (key.clone(), None)).chain(changed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_changed_is_told() {
        let attrs = |cpus: u64, gpu: Option<&str>| {
            let gpu = gpu.map(|model| (String::from("gpu"), Attr::Text(model.into())));
            std::iter::once(("cpus".into(), Attr::Int(cpus))).chain(gpu).collect::<Vec<_>>()
        };
        assert_eq!(changes(&attrs(4, None), &attrs(4, None)), []);
        assert_eq!(changes(&attrs(4, Some("a")), &attrs(4, None)), [("gpu".into(), None)]);
        let both = [("cpus".into(), Some(Attr::Int(3))), ("gpu".into(), Some(Attr::Text("b".into())))];
        assert_eq!(changes(&attrs(4, Some("a")), &attrs(3, Some("b"))), both);
    }
}
