//! What must be seen of a cloud at a quiet moment, from any of its nodes: who is linked to whom says which nodes are
//! listed as up; what was seen before, and who left, says which are listed as down.

use super::{Cloud, client::Who};
use op::Errno;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Between a fault and the moment when everybody knows: two beats until it is noticed, the time that news take, and
/// the time to find a parent again.
pub const SETTLED: Duration = Duration::from_secs(5);

/// What is remembered of earlier quiet moments.
#[derive(Clone, Default, Debug)]
pub struct Model {
    /// By node: who was below it (itself among them), and so is not forgotten unless it went elsewhere.
    below: BTreeMap<usize, BTreeSet<usize>>,
    /// The parents of then.
    parents: BTreeMap<usize, usize>,
    /// Who left for good.
    pub left: BTreeSet<usize>,
    /// What nodes call themselves.
    pub names: BTreeMap<usize, String>,
    /// And ever called themselves: who cannot be reached is remembered as it was called then.
    called: BTreeMap<usize, BTreeSet<String>>,
}

/// A row of `status`, as far as it is judged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Row {
    /// Of which node.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
}

/// The rows of a `status` file.
///
/// # Panics
/// If a line is none.
pub fn rows(text: &str) -> Vec<Row> {
    let row = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default().to_string();
        match (words.next(), words.next()) {
            (Some("up"), Some(_)) => Row { name, up: true },
            (Some("down"), Some("since")) => Row { name, up: false },
            _ => panic!("not a row of a node's status: {line:?}"),
        }
    };
    text.lines().map(row).collect()
}

impl Model {
    /// Who is at the top, going up from a node.
    pub fn top(cloud: &Cloud, mut at: usize) -> usize {
        for _ in 0..=cloud.hosts.len() {
            match cloud.parent(at) {
                Some(parent) => at = parent,
                None => return at,
            }
        }
        panic!("the links of {} go in a circle", cloud.hosts[at].plan.name)
    }

    /// Whom a node can reach: all that have the same top, itself among them.
    pub fn reach(cloud: &Cloud, at: usize) -> BTreeSet<usize> {
        let top = Model::top(cloud, at);
        (0..cloud.hosts.len()).filter(|n| cloud.is_up(*n) && Model::top(cloud, *n) == top).collect()
    }

    /// Whether one can be reached from the other.
    pub fn reaches(cloud: &Cloud, one: usize, other: usize) -> bool {
        cloud.is_up(one) && cloud.is_up(other) && Model::top(cloud, one) == Model::top(cloud, other)
    }

    /// Takes note of who is below whom, and of what everybody calls itself.
    fn learn(&mut self, cloud: &mut Cloud) {
        for at in (0..cloud.hosts.len()).filter(|at| cloud.is_up(*at)).collect::<Vec<_>>() {
            let who = cloud.connect(at, "ericvh");
            let name = cloud.cat(who, "self/ctl").expect("a node says what it is called");
            cloud.hang_up(who);
            let (name, plan) = (name.trim().to_string(), &cloud.hosts[at].plan.name);
            let id = cloud.hosts[at].id.to_string();
            let renamed = name.strip_prefix(&format!("{plan}-"));
            let fits = name == *plan || renamed.is_some_and(|hex| hex.len() == 4 && id.contains(hex));
            assert!(fits, "{plan} ({id}) calls itself {name}");
            if name != *plan {
                cloud.counters.count("a node has another's name, and is called otherwise");
            }
            let longer = format!("{}-{}", cloud.hosts[at].plan.name, &id[..4]);
            self.called.entry(at).or_default().extend([name.clone(), longer]);
            self.names.insert(at, name);
        }
        for at in 0..cloud.hosts.len() {
            let since = cloud.adopted_by(at);
            let before = self.parents.get(&at).copied();
            if since.iter().any(|parent| Some(*parent) != before) {
                // Wherever it was remembered, it and what is below it may be forgotten by now.
                let moved = self.below.get(&at).cloned().unwrap_or_else(|| BTreeSet::from([at]));
                for (_, below) in self.below.iter_mut().filter(|(of, _)| !moved.contains(of)) {
                    below.retain(|node| !moved.contains(node));
                }
            }
        }
        for at in 0..cloud.hosts.len() {
            if let Some(parent) = cloud.parent(at) {
                self.parents.insert(at, parent);
            }
            let mut above = Some(at).filter(|at| cloud.is_up(*at));
            while let Some(node) = above {
                self.below.entry(node).or_default().insert(at);
                above = cloud.parent(node);
            }
        }
    }

    fn named(&self, nodes: &BTreeSet<usize>) -> BTreeSet<String> {
        nodes.iter().filter_map(|at| self.names.get(at).cloned()).collect()
    }

    /// Asserts that every node that is up sees what it must; to be called at a quiet moment.
    ///
    /// # Panics
    /// If one does not.
    pub fn check(&mut self, cloud: &mut Cloud) {
        self.learn(cloud);
        let everybody: Vec<usize> = (0..cloud.hosts.len()).filter(|at| cloud.is_up(*at)).collect();
        let mut seen: BTreeMap<usize, (usize, BTreeSet<Row>)> = BTreeMap::new();
        for at in everybody {
            let (top, reach) = (Model::top(cloud, at), Model::reach(cloud, at));
            let who = cloud.connect(at, "ericvh");
            let rows = self.seen_from(cloud, at, who, &reach, top);
            let (first, before) = seen.entry(top).or_insert_with(|| (at, rows.clone()));
            assert_eq!(&rows, before, "what {at} sees is what {first} sees, since they are linked");
            cloud.hang_up(who);
        }
        cloud.counters.count("quiet moments judged");
    }

    fn seen_from(
        &self,
        cloud: &mut Cloud,
        at: usize,
        who: Who,
        reach: &BTreeSet<usize>,
        top: usize,
    ) -> BTreeSet<Row> {
        let from = &format!("{} ({at})", self.names[&at]);
        let text = cloud.cat(who, "status").unwrap_or_else(|e| panic!("{from}: status: {e}"));
        let all = rows(&text);
        let set: BTreeSet<Row> = all.iter().cloned().collect();
        assert_eq!(set.len(), all.len(), "{from}: no row is there twice:\n{text}");
        let up: BTreeSet<String> = all.iter().filter(|row| row.up).map(|row| row.name.clone()).collect();
        let down: BTreeSet<String> = all.iter().filter(|row| !row.up).map(|row| row.name.clone()).collect();
        let expected = self.named(reach);
        assert_eq!(expected.len(), reach.len(), "names differ where nodes are linked: {:?}", self.names);
        assert_eq!(up, expected, "{from}: who is up:\n{text}");
        let gone: BTreeSet<usize> = self.below[&top]
            .iter()
            .filter(|n| !reach.contains(n) && !self.left.contains(n))
            .copied()
            .collect();
        for lost in gone.iter().filter_map(|at| self.called.get(at)) {
            assert!(!lost.is_disjoint(&down), "{from}: {lost:?} is down and perhaps others:\n{text}");
        }
        assert!(down.len() >= gone.len(), "{from}: {gone:?} are down and perhaps others:\n{text}");
        let others = (0..cloud.hosts.len()).filter(|n| !reach.contains(n) && !self.left.contains(n));
        let others: BTreeSet<String> =
            others.filter_map(|at| self.called.get(&at)).flatten().cloned().collect();
        assert!(down.is_subset(&others), "{from}: only {others:?} can be down:\n{text}");
        if !down.is_empty() {
            cloud.counters.count("nodes seen as down");
        }
        let listed: BTreeSet<String> =
            cloud.ls(who, "net").unwrap_or_else(|e| panic!("{from}: net: {e}")).into_iter().collect();
        // A parent that is gone has a row, and is not listed: nothing is known of it but that.
        let parent = set.iter().map(|row| &row.name).find(|name| !listed.contains(*name)).cloned();
        let both = listed.iter().chain(&parent).cloned().collect::<BTreeSet<String>>();
        assert_eq!(both, set.iter().map(|row| row.name.clone()).collect(), "{from}: net/ and status agree");
        if let Some(parent) = &parent {
            cloud.counters.count("a parent seen as down");
            assert!(down.contains(parent), "{from}: {parent} is in status and not in net/:\n{text}");
            let error = cloud.cat(who, &format!("net/{parent}/status")).expect_err("it is gone");
            assert_eq!(error.errno, Errno::HOSTUNREACH, "{from}: {parent}: {error}");
            assert!(error.cause.contains(parent) && error.cause.contains("since"), "{from}: {error}");
        }
        self.info(cloud, who, from, all.len(), up.len());
        for name in &up {
            let said = cloud.cat(who, &format!("net/{name}/ctl")).map(|said| said.trim().to_string());
            assert_eq!(said.as_ref(), Ok(name), "{from}: the node {name} is asked itself");
            cloud.counters.count("nodes asked, over however many hops");
        }
        for name in down.iter().filter(|name| Some(*name) != parent.as_ref()) {
            self.down(cloud, who, from, name);
        }
        let error = cloud.walk(who, "net/nosuch/status").expect_err("there is none of that name");
        // Who has lost its parent cannot know.
        let expected = if parent.is_some() { Errno::HOSTUNREACH } else { Errno::NOENT };
        assert_eq!(error.errno, expected, "{from}: {error}");
        assert!(error.cause.contains("nosuch"), "{from}: {error}");
        self.topology(cloud, who, from, reach);
        set
    }

    fn info(&self, cloud: &mut Cloud, who: Who, from: &str, all: usize, up: usize) {
        let info = cloud.cat(who, "info").unwrap_or_else(|e| panic!("{from}: info: {e}"));
        for (key, count) in [("nodes", all), ("up", up), ("down", all - up)] {
            let line = format!("{key}={count}");
            assert!(info.lines().any(|l| l == line), "{from}: {line} in info:\n{info}");
        }
    }

    /// A node that is down says so at once, and why.
    fn down(&self, cloud: &mut Cloud, who: Who, from: &str, name: &str) {
        let begun = cloud.clock.mono;
        let said = cloud.cat(who, &format!("net/{name}/status"));
        let said = said.unwrap_or_else(|e| panic!("{from}: net/{name}/status: {e}"));
        assert!(said.starts_with(&format!("{name} down since ")), "{from}: {said}");
        let error = cloud.cat(who, &format!("net/{name}/error")).expect_err("it is down");
        assert_eq!(error.errno, Errno::HOSTUNREACH, "{from}: {name}: {error}");
        assert!(error.cause.contains(name) && error.cause.contains("since"), "{from}: {name}: {error}");
        assert!(!error.cause.trim_end().ends_with(':'), "{from}: {name}: it says why: {error}");
        let took = cloud.clock.mono.since(begun);
        assert!(
            took < Duration::from_secs(1) + 20 * cloud.delays(),
            "{from}: {name} is known to be down, and that took {took:?}"
        );
    }

    /// `name parent state loc`, a line a node.
    fn topology(&self, cloud: &mut Cloud, who: Who, from: &str, reach: &BTreeSet<usize>) {
        let text = cloud.cat(who, "topology").unwrap_or_else(|e| panic!("{from}: topology: {e}"));
        for at in reach {
            let parent = cloud.parent(*at).map_or("-", |parent| &self.names[&parent]);
            let line = format!("{} {parent} up", self.names[at]);
            assert!(text.lines().any(|l| l.starts_with(&line)), "{from}: {line} in topology:\n{text}");
        }
    }
}
