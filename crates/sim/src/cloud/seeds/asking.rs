//! Errands about queries: what is asked, and what of the answers could be so.

use super::Run;
use crate::cloud::{
    errand::{Errand, Want, started},
    model::Model,
    queries,
    terms::LABELS,
};

impl Run {
    /// What queries said while things happened was so at some time since everybody was well.
    pub(super) fn judge(&mut self, errand: &Errand) {
        match &errand.want {
            Want::Label { node, key, value } => self.labels.over(*node, key, value, errand.done),
            Want::Query { terms, .. } => {
                let Some(said) = errand.said() else { return };
                // Of who is down it may not be known what he is.
                let up = said.lines().filter(|line| line.split(' ').nth(2) == Some("up"));
                for name in up.map(|line| line.split(' ').next().unwrap_or_default()) {
                    let Some(at) = self.cloud.hosts.iter().position(|host| host.plan.name == name) else {
                        continue;
                    };
                    let can = self.labels.can_match(at, name, terms);
                    assert!(can, "{}: {name} can never have matched:\n{said}", errand.path);
                    self.cloud.counters.count("matches while things happened");
                }
            }
            Want::Place { terms, token, .. } if errand.done => {
                let at = started(&self.cloud, *token);
                let [at] = at[..] else { panic!("{}: it was started at {at:?}, not once", errand.path) };
                let name = self.cloud.hosts[at].plan.name.clone();
                let can = self.labels.can_match(at, &name, terms);
                assert!(can, "{}: {name}, where it was started, can never have matched", errand.path);
                self.cloud.counters.count("programs started where a query says");
            }
            Want::Put { .. } | Want::Rename { .. } | Want::Link { .. } => self.placed_by(errand),
            _ => {}
        }
    }

    /// An errand about queries: a label changes, somebody asks who matches, or waits for one, or starts something there.
    pub(super) fn query(&mut self) -> (String, Want, String) {
        let (to, name) = self.target();
        let names: Vec<String> = self.cloud.hosts.iter().map(|host| host.plan.name.clone()).collect();
        let waits = self.cloud.rng.u32(0..3) == 0;
        let view = if waits { "await" } else { "query" };
        match self.cloud.rng.u32(0..10) {
            0..=3 if self.twins.is_empty() => {
                let (key, values) = LABELS[self.cloud.rng.usize(0..LABELS.len())];
                let value = values[self.cloud.rng.usize(0..values.len())].to_string();
                self.labels.asked(to, key, &value);
                let text = format!("label {key}={value}\n");
                (format!("net/{name}/ctl"), Want::Label { node: to, key, value }, text)
            }
            4..=6 if self.twins.is_empty() => {
                let terms = queries::random(&mut self.cloud, &names);
                let path = format!("{view}/{}/topology", queries::path(&terms));
                (path, Want::Query { terms, waits }, String::new())
            }
            7..=8 if self.twins.is_empty() => {
                self.tokens += 1;
                let (token, terms) = (self.tokens, queries::random(&mut self.cloud, &names));
                let path = format!("{view}/{}/clone", queries::path(&terms));
                (path, Want::Place { terms, waits, token }, format!("keep\nexec emit 300 100 {token}\n"))
            }
            _ => {
                let terms = queries::random(&mut self.cloud, &names);
                let query = format!("query/{}", queries::path(&terms));
                let any = ["query".into(), "await".into(), format!("net/{name}/{query}"), query];
                (any[self.cloud.rng.usize(0..4)].clone(), Want::List, String::new())
            }
        }
    }

    /// Nobody waits for what is there, and every answer is right.
    pub(super) fn queries(&mut self, well: bool) {
        // Whoever has lost his parent, or is told something else than its name, knows nothing of terms about names.
        if !self.twins.is_empty() {
            return;
        }
        queries::check(&mut self.cloud, &self.model, &mut self.labels, well);
        self.go();
        for errand in self.errands.iter().filter(|errand| errand.awaits()) {
            let (Want::Query { terms, .. } | Want::Place { terms, .. }) = &errand.want else { continue };
            let from = self.cloud.node_of(errand.who);
            if !self.cloud.is_up(from) {
                continue;
            }
            for at in Model::reach(&self.cloud, from) {
                let name = &self.cloud.hosts[at].plan.name;
                let there = self.labels.matches(at, name, terms);
                assert!(!there, "{} is waited for by a client of {from}, and {name} matches", errand.path);
            }
            self.cloud.counters.count("waits for what is not there");
        }
    }
}
