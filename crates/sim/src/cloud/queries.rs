//! Queries in random clouds. What labels nodes can have is known from who has written them; from that, whether an answer can ever
//! have been true. At quiet moments labels are read where they are, and every answer must be just what [`terms`](super::terms) says.

mod waits;

use super::{
    Cloud,
    client::{BOTH, Who},
    labels::Labels,
    model::{Model, SETTLED},
    terms::{self, Known, LABELS, Modifier, Term},
};
use crate::provider::Stand;
use op::{Access, Errno, Fid, Op, Reply};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long it takes until everybody knows how much runs where: five seconds a level, and the last.
const LOADS: Duration = Duration::from_secs(50);

/// A file is read; nothing is allocated.
const READ: Access = Access { read: true, write: false, truncate: false };

/// All nodes that can be reached from one another, as they are at a quiet moment.
struct Quiet {
    nodes: BTreeMap<usize, Known>,
    /// Nobody is remembered that is not there: answers are exact.
    exact: bool,
}

impl Quiet {
    fn names(&self) -> Vec<String> {
        self.nodes.values().map(|node| node.name.clone()).collect()
    }

    fn by_name(&self, name: &str) -> Option<(&usize, &Known)> {
        self.nodes.iter().find(|(_, node)| node.name == name)
    }
}

/// Judges what queries say at a quiet moment.
///
/// # Panics
/// If one says what is not so.
pub(super) fn check(cloud: &mut Cloud, model: &Model, labels: &mut Labels, well: bool) {
    cloud.run(LOADS);
    let up: Vec<usize> = (0..cloud.hosts.len()).filter(|at| cloud.is_up(*at)).collect();
    if up.is_empty() {
        return;
    }
    let known: BTreeMap<usize, _> = up.iter().map(|at| (*at, labels.read(cloud, *at, well))).collect();
    let from = up[cloud.rng.usize(0..up.len())];
    let who = cloud.connect(from, "ericvh");
    let status = cloud.cat(who, "status").expect("the cloud has a status");
    let reach = Model::reach(cloud, from);
    let of = |at: usize| Known {
        name: model.names[&at].clone(),
        labels: known[&at].clone(),
        loc: cloud.hosts[at].plan.loc.split('/').filter(|part| !part.is_empty()).map(String::from).collect(),
        running: running(cloud, at).count(),
        chain: chain(cloud, at),
    };
    let nodes = reach.iter().map(|at| (*at, of(*at))).collect();
    let exact = status.lines().all(|line| line.split(' ').nth(1) == Some("up"));
    let quiet = Quiet { nodes, exact };
    let before = sessions(cloud);
    for _ in 0..3 {
        nodes_of(cloud, who, from, &quiet);
        sessions_of(cloud, who, &quiet);
        looked_at(cloud, who, &quiet);
    }
    // Some may have been freed meanwhile, whose lease was over.
    let more = sessions(cloud).into_iter().zip(before).any(|(now, before)| now > before);
    assert!(!more, "looking at queries allocates nothing");
    allocate(cloud, who, &quiet);
    if well && quiet.exact {
        reserve(cloud, who, &quiet);
        waits::wait_for(cloud, labels, &quiet);
    }
    cloud.hang_up(who);
    cloud.run(SETTLED);
}

/// The programs of a node that run.
fn running(cloud: &Cloud, at: usize) -> impl Iterator<Item = (u64, &crate::provider::Program)> {
    let programs = cloud.hosts[at].world.provider.programs.iter();
    programs.filter(|(_, program)| program.stand == Stand::Running).map(|(id, program)| (id.0, program))
}

fn sessions(cloud: &Cloud) -> Vec<usize> {
    cloud.hosts.iter().map(|host| host.world.machine().sessions().0).collect()
}

/// From the top down to a node.
fn chain(cloud: &Cloud, at: usize) -> Vec<usize> {
    let mut chain: Vec<usize> = std::iter::successors(Some(at), |at| cloud.parent(*at)).collect();
    chain.reverse();
    chain
}

fn some_terms(cloud: &mut Cloud, names: &[String], moves: bool) -> Vec<Term> {
    let count = [1, 1, 1, 2, 2, 3][cloud.rng.usize(0..6)];
    (0..count).map(|_| Term::random(&mut cloud.rng, names, moves)).collect()
}

/// Terms about nodes, for who asks while things happen.
pub(super) fn random(cloud: &mut Cloud, names: &[String]) -> Vec<Term> {
    some_terms(cloud, names, false)
}

/// Most nodes have most labels from the start.
pub(super) fn label(cloud: &mut Cloud, labels: &mut Labels, at: usize) {
    let who = cloud.connect(at, "ericvh");
    let name = cloud.hosts[at].plan.name.clone();
    for (key, values) in LABELS {
        let value = values[cloud.rng.usize(0..values.len())];
        labels.asked(at, key, value);
        let line = format!("label {key}={value}\n");
        cloud.write(who, &format!("net/{name}/ctl"), &line).expect("it is its own node's");
        labels.over(at, key, value, true);
    }
    cloud.hang_up(who);
}

/// The path of a query.
pub(super) fn path(terms: &[Term]) -> String {
    terms.iter().map(Term::text).collect::<Vec<_>>().join("/")
}

/// A query of nodes: who, in which order, how many; of everybody, or of those below a node.
fn nodes_of(cloud: &mut Cloud, who: Who, from: usize, quiet: &Quiet) {
    let terms = some_terms(cloud, &quiet.names(), true);
    let whole: Vec<usize> = quiet.nodes.keys().copied().collect();
    let (mut nodes, mut place) = (quiet.nodes.clone(), "query".to_string());
    let mut how = Modifier::random(&mut cloud.rng, &quiet.nodes);
    if cloud.rng.u32(0..3) == 0 {
        let top = whole[cloud.rng.usize(0..whole.len())];
        place = format!("net/{}/query", quiet.nodes[&top].name);
        nodes.retain(|_, node| node.chain.contains(&top));
        how.retain(|modifier| !matches!(modifier, Modifier::NearNode(..) | Modifier::NearLoc(_)));
    }
    if !quiet.exact {
        // Those that are down are in it too, wherever they stand.
        how.retain(|modifier| !matches!(modifier, Modifier::Limit(_) | Modifier::Spread(_)));
    }
    let mut path = format!("{place}/{}", path(&terms));
    how.iter().for_each(|modifier| path = format!("{path}/{}", modifier.text()));
    let asked = format!("{path}, asked at {from}, of {nodes:#?}");
    let all = terms::select(&nodes, &terms);
    let said = cloud.cat(who, &format!("{path}/topology"));
    let lines = match said {
        Err(error) if error.errno == Errno::NOENT => String::new(),
        said => said.unwrap_or_else(|e| panic!("{asked}: {e}")),
    };
    let up = lines.lines().filter(|line| line.split(' ').nth(2) == Some("up"));
    let up: Vec<&str> = up.map(|line| line.split(' ').next().unwrap_or_default()).collect();
    let right = terms::arrange(all.clone(), &nodes, &how);
    let named: Vec<&str> = right.iter().map(|node| &*node.name).collect();
    cloud.counters.count(if right.is_empty() { "queries that matched none" } else { "queries of nodes" });
    if !how.is_empty() && right.len() > 1 {
        cloud.counters.count("queries in an order of their own");
    }
    if !terms::is_free(&how) {
        assert_eq!(up, named, "{asked}");
        return;
    }
    let mut chosen: Vec<&Known> = Vec::new();
    for name in &up {
        let node = all.iter().find(|node| node.name == **name);
        chosen.push(node.unwrap_or_else(|| panic!("{name} is not among those of {asked}")));
    }
    assert_eq!(up.iter().collect::<BTreeSet<_>>().len(), named.len(), "{asked}: {up:?}");
    let alone = how.iter().all(|modifier| matches!(modifier, Modifier::Policy(_) | Modifier::Limit(_)));
    let policy = how.iter().find_map(|m| if let Modifier::Policy(name) = m { Some(*name) } else { None });
    if let (Some(policy), true) = (policy, alone) {
        let ranks: Vec<f64> = chosen.iter().map(|node| terms::rank_of(policy, node)).collect();
        assert!(ranks.is_sorted(), "{asked}: {up:?} are in the order {ranks:?}");
        let left = all.iter().filter(|node| !up.contains(&&*node.name));
        let least = left.map(|node| terms::rank_of(policy, node)).fold(f64::INFINITY, f64::min);
        assert!(ranks.iter().all(|rank| *rank <= least), "{asked}: {up:?} are the first");
    }
}

/// A query of sessions that run, on nodes of which terms hold.
fn sessions_of(cloud: &mut Cloud, who: Who, quiet: &Quiet) {
    let rng = &mut cloud.rng;
    let user = ["ericvh", "alice", "root"][rng.usize(0..3)];
    let prog = ["daemon", "cat", "emit"][rng.usize(0..3)];
    let (by_user, by_prog) = (rng.bool(), rng.bool());
    let terms = if rng.bool() { Vec::new() } else { vec![Term::random(rng, &quiet.names(), false)] };
    let mut path = "query/state=running".to_string();
    by_user.then(|| path = format!("{path}/user={user}"));
    by_prog.then(|| path = format!("{path}/prog={prog}"));
    terms.iter().for_each(|term| path = format!("{path}/{}", term.text()));
    let mut right = BTreeSet::new();
    for (at, node) in &quiet.nodes {
        if !terms.iter().all(|term| term.holds(node)) {
            continue;
        }
        for (id, program) in running(cloud, *at) {
            let is_user = !by_user || *program.launch.user.name == *user;
            let is_prog = !by_prog || program.launch.argv[0] == prog.as_bytes();
            if is_user && is_prog {
                right.insert(format!("{}/{id}", node.name));
            }
        }
    }
    let said = cloud.cat(who, &format!("{path}/status")).unwrap_or_else(|e| panic!("{path}: {e}"));
    let row = |line: &'_ str| line.split(' ').next().unwrap_or_default().to_string();
    // Who answers too late is a row of its own, and stands for what is below it.
    let late = said.lines().filter(|line| line.contains(" down since ")).map(row).collect::<BTreeSet<_>>();
    if !cloud.delays().is_zero() {
        right.retain(|leaf| {
            let node = quiet.by_name(leaf.split('/').next().unwrap_or_default());
            let above = node.into_iter().flat_map(|(_, node)| &node.chain);
            let mut above = above.filter_map(|at| quiet.nodes.get(at));
            said.lines().any(|line| row(line) == *leaf) || !above.any(|node| late.contains(&node.name))
        });
    }
    let text = said.clone();
    let said: Vec<String> = said.lines().map(row).filter(|name| name.contains('/')).collect();
    let set: BTreeSet<String> = said.iter().cloned().collect();
    assert_eq!(set.len(), said.len(), "{path}: nobody is there twice: {said:?}");
    assert_eq!(set, right, "{path}: those that run:\n{text}");
    if !right.is_empty() {
        cloud.counters.count("queries of sessions");
    }
}

/// A query's directory: its numbers lead to what matches, and mean the same as long as it is in use. No listing waits.
fn looked_at(cloud: &mut Cloud, who: Who, quiet: &Quiet) {
    let begun = cloud.clock.mono;
    let terms = some_terms(cloud, &quiet.names(), false);
    let query = format!("query/{}", path(&terms));
    let listed = match cloud.ls(who, &query) {
        Err(error) if error.errno == Errno::NOENT => return,
        listed => listed.unwrap_or_else(|e| panic!("{query}: {e}")),
    };
    let numbers: Vec<&String> = listed.iter().filter(|name| name.parse::<u32>().is_ok()).collect();
    let mut leaves = BTreeSet::new();
    for number in &numbers {
        let fid = cloud.new_fid(who);
        let names = super::client::names(&format!("{query}/{number}"));
        let reply = cloud.call(who, Op::Walk { fid: Fid(0), newfid: fid, names: names.clone() });
        assert!(matches!(&reply, Reply::Walked(qids) if qids.len() == names.len()), "{query}: {reply:?}");
        let reply = cloud.call(who, Op::ReadLink { fid });
        let Reply::Linked(to) = reply else { panic!("{query}/{number}: {reply:?}") };
        leaves.insert(to.rsplit('/').next().unwrap_or_default().to_string());
        cloud.call(who, Op::Clunk { fid });
    }
    let right: BTreeSet<String> =
        terms::select(&quiet.nodes, &terms).iter().map(|node| node.name.clone()).collect();
    let there: BTreeSet<String> =
        leaves.iter().filter(|leaf| quiet.by_name(leaf).is_some()).cloned().collect();
    assert_eq!(there, right, "{query}: its numbers lead to what matches");
    assert!(!quiet.exact || leaves == right, "{query}: and to nothing else: {leaves:?}");
    let _ = cloud.ls(who, "query").expect("query/ is listed");
    let empty = cloud.ls(who, "await").expect("await/ is listed");
    assert!(empty.is_empty(), "await/ lists nothing, so that nobody who looks around waits: {empty:?}");
    let took = cloud.clock.mono.since(begun);
    assert!(took < Duration::from_secs(1) + 60 * cloud.delays(), "{query}: looking at it took {took:?}");
    cloud.counters.count("queries looked into");
}

/// `clone` of a query: on a node that matches, and on one where one more gets most of it.
fn allocate(cloud: &mut Cloud, who: Who, quiet: &Quiet) {
    let terms = some_terms(cloud, &quiet.names(), true);
    let path = format!("query/{}/clone", path(&terms));
    let all = terms::select(&quiet.nodes, &terms);
    let fid = match cloud.open(who, &path, BOTH) {
        Err(error) if error.errno == Errno::NOENT => {
            assert!(all.is_empty(), "{path}: {error}, and there are {all:?}");
            return;
        }
        // Only those match that are down.
        Err(error) if all.is_empty() && !quiet.exact => {
            assert!(matches!(error.errno, Errno::HOSTUNREACH | Errno::AGAIN), "{path}: {error}");
            return;
        }
        fid => fid.unwrap_or_else(|e| panic!("{path}: {e}")),
    };
    let Reply::Data(id) = cloud.call(who, Op::Read { fid, offset: 0, count: 100, wait: true }) else {
        panic!("{path}: its id is read")
    };
    let id = String::from_utf8_lossy(&id).trim().to_string();
    let node = id.split('/').next().unwrap_or_default();
    let node = all.iter().find(|known| known.name == node);
    let node = node.unwrap_or_else(|| panic!("{path} gave {id}, and only {all:?} match"));
    let least = all.iter().map(|node| terms::rank_of("space", node)).fold(f64::INFINITY, f64::min);
    assert!(terms::rank_of("space", node) <= least, "{path} gave {id}, and of {all:?} another has more room");
    let free = cloud.call(who, Op::Write { fid, offset: 0, data: b"free\n".to_vec() });
    assert!(matches!(free, Reply::Wrote(_)), "{path}: {free:?}");
    cloud.call(who, Op::Clunk { fid });
    cloud.counters.count("sessions allocated by queries");
}

/// `num=`: a group of so many on what matches, all of them or none.
fn reserve(cloud: &mut Cloud, who: Who, quiet: &Quiet) {
    let terms = some_terms(cloud, &quiet.names(), false);
    let all = terms::select(&quiet.nodes, &terms);
    if all.is_empty() {
        return;
    }
    let slots = |node: &Known| node.labels.get("slots").map_or(2, |n| n.parse::<usize>().unwrap_or(2));
    let room: usize = all.iter().map(|node| slots(node)).sum();
    let n = cloud.rng.usize(1..room + 3);
    let path = format!("query/{}/num={n}/clone", path(&terms));
    let fid = match cloud.open(who, &path, BOTH) {
        Err(error) => {
            assert!(n > room && error.errno == Errno::AGAIN, "{path}: {room} slots: {error}");
            cloud.counters.count("groups of queries for which there was no room");
            return;
        }
        Ok(fid) => fid,
    };
    assert!(n <= room, "{path}: there are {room} slots only");
    let Reply::Data(id) = cloud.call(who, Op::Read { fid, offset: 0, count: 100, wait: true }) else {
        panic!("{path}: its id is read")
    };
    let id = String::from_utf8_lossy(&id).trim().to_string();
    let place = if id.contains('/') { format!("net/{id}") } else { format!("self/{id}") };
    let said = cloud.cat(who, &format!("{place}/topology")).unwrap_or_else(|e| panic!("{path}: {id}: {e}"));
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    for line in said.lines() {
        let node = line.split([' ', '/']).nth(1).unwrap_or_default();
        *taken.entry(node).or_default() += 1;
    }
    assert_eq!(said.lines().count(), n, "{path}: {said}");
    for (name, count) in taken {
        let node = all.iter().find(|node| node.name == name);
        let node = node.unwrap_or_else(|| panic!("{path}: {name} does not match:\n{said}"));
        assert!(count <= slots(node), "{path}: {name} has fewer slots:\n{said}");
    }
    let free = cloud.call(who, Op::Write { fid, offset: 0, data: b"free\n".to_vec() });
    assert!(matches!(free, Reply::Wrote(_)), "{path}: {free:?}");
    cloud.call(who, Op::Clunk { fid });
    cloud.run(SETTLED);
    cloud.counters.count("groups reserved by queries");
}
