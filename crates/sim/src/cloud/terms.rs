//! Queries at random, and what they select, said as simply as can be: of every node a few facts, of every query the nodes of which all
//! its terms hold, in the order that its modifiers say. It shares nothing with the kernel's.

use fastrand::Rng;
use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet},
};

/// Labels that nodes have, and what they can be; the last of each is to have none.
pub const LABELS: &[(&str, &[&str])] = &[
    ("rack", &["r1", "r2", "r3", ""]),
    ("colour", &["red", "blue", "12a", ""]),
    ("weight", &["7", "30", "100", ""]),
    ("gpus", &["1", "2", "4", "0", ""]),
    ("slots", &["1", "3", "5", ""]),
];

/// What is known of a node.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Known {
    /// What it is called.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<&'static str, String>,
    /// Where it stands; its parts.
    pub loc: Vec<String>,
    /// Sessions that run there.
    pub running: usize,
    /// From the top down to it.
    pub chain: Vec<usize>,
}

/// How a label is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// `=`
    Is,
    /// `!=`
    IsNot,
    /// `==`
    Exactly,
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
    /// `=…|…`
    Either,
    /// `~*…`
    Ends,
}

/// A term about nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Term {
    /// A label compared.
    Label(&'static str, How, String),
    /// A bare word.
    Word(String),
    /// So many slots or processors are free.
    Free(&'static str, usize),
}

impl Known {
    fn slots(&self) -> usize {
        self.labels.get("slots").map_or(2, |n| n.parse().unwrap_or(2))
    }

    fn share(&self) -> f64 {
        (self.running as f64 + 1.0) / self.slots().max(1) as f64
    }
}

impl Term {
    /// A term; about what changes by itself only if it `moves`.
    pub fn random(rng: &mut Rng, names: &[String], moves: bool) -> Term {
        let (key, values) = LABELS[rng.usize(0..LABELS.len())];
        let value = values[rng.usize(0..values.len() - 1)].to_string();
        let number = value.parse::<u32>().is_ok();
        match rng.u32(0..12) {
            0 if moves => Term::Free("slots", rng.usize(1..5)),
            1 if moves => Term::Free("cpus", rng.usize(1..3)),
            2 => {
                Term::Word(["red", "gpus", "rack", "x86", "x86_64", "12a", "nosuch"][rng.usize(0..7)].into())
            }
            3 => Term::Word(names[rng.usize(0..names.len())].clone()),
            // What it means of a resource that so many are free changes by itself.
            _ if key == "slots" => Term::Label(key, How::Exactly, value),
            n => {
                let how = match (n, number) {
                    (4, _) => How::IsNot,
                    (5, true) => How::AtLeast,
                    (6, true) => How::AtMost,
                    (7, true) => How::Exactly,
                    (5, false) => How::Either,
                    (6, false) => How::Ends,
                    _ => How::Is,
                };
                Term::Label(key, how, value)
            }
        }
    }

    /// As it is written.
    pub fn text(&self) -> String {
        match self {
            Term::Label(key, how, value) => match how {
                How::Is => format!("{key}={value}"),
                How::IsNot => format!("{key}!={value}"),
                How::Exactly => format!("{key}=={value}"),
                How::AtLeast => format!("{key}>={value}"),
                How::AtMost => format!("{key}<={value}"),
                How::Either => format!("{key}=nosuch|{value}"),
                How::Ends => format!("{key}~*{}", &value[value.len() - 1..]),
            },
            Term::Word(word) => word.clone(),
            Term::Free(key, n) => format!("{key}={n}"),
        }
    }

    /// Whether it holds of a node.
    pub fn holds(&self, node: &Known) -> bool {
        match self {
            Term::Label(key, how, wanted) => {
                let value = match (*key, node.labels.get(key)) {
                    ("slots", None) => Some("2"),
                    (_, value) => value.map(String::as_str),
                };
                let Some(value) = value else { return *how == How::IsNot };
                let numbers = value.parse::<u32>().ok().zip(wanted.parse::<u32>().ok());
                match (how, numbers) {
                    // Of what can be counted: at least so much.
                    (How::Is | How::AtLeast, Some((is, wanted))) => is >= wanted,
                    (How::AtMost, Some((is, wanted))) => is <= wanted,
                    (How::IsNot, _) => value != wanted,
                    (How::Ends, _) => value.ends_with(&wanted[wanted.len() - 1..]),
                    (How::Is | How::Exactly | How::Either | How::AtLeast | How::AtMost, _) => value == wanted,
                }
            }
            Term::Word(word) if word == "x86" || word == "x86_64" => true,
            Term::Word(word) => {
                let called = |(key, value): (&&str, &String)| *key == word && value != "0";
                node.name == *word || node.labels.iter().any(|label| label.1 == word || called(label))
            }
            Term::Free("slots", n) => node.slots().saturating_sub(node.running) >= *n,
            Term::Free(_, n) => 2usize.saturating_sub(node.running) >= *n,
        }
    }

    /// Whether it can hold of a node whose labels are one of these each, as far as they are known.
    pub fn can_hold(&self, name: &str, labels: &BTreeMap<&'static str, BTreeSet<String>>) -> bool {
        // At most one label counts in a term, but in a word, of which any does.
        let with = |key: &'static str, value: &String| {
            let labels = BTreeMap::from([(key, value.clone())]);
            let labels = labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            self.holds(&Known { name: name.into(), labels, ..Known::default() })
        };
        match self {
            Term::Label(key, ..) => labels[key].iter().any(|value| with(key, value)),
            Term::Word(_) => labels.iter().any(|(key, values)| values.iter().any(|value| with(key, value))),
            Term::Free(..) => true,
        }
    }
}

/// What is done with what matches.
#[derive(Clone, PartialEq, Debug)]
pub enum Modifier {
    /// By a label or the name; descending.
    Sort(&'static str, bool),
    /// The first so many.
    Limit(usize),
    /// Each value of a label in turn.
    Spread(&'static str),
    /// The nearest to this node first.
    NearNode(usize, String),
    /// The nearest to a location first.
    NearLoc(Vec<String>),
    /// By a policy that counts what runs.
    Policy(&'static str),
}

impl Modifier {
    /// As it is written.
    pub fn text(&self) -> String {
        match self {
            Modifier::Sort(key, false) => format!("sort={key}"),
            Modifier::Sort(key, true) => format!("sort=-{key}"),
            Modifier::Limit(n) => format!("limit={n}"),
            Modifier::Spread(key) => format!("spread={key}"),
            Modifier::NearNode(_, name) => format!("near={name}"),
            Modifier::NearLoc(loc) => format!("near={}", loc.join(":")),
            Modifier::Policy(policy) => format!("policy={policy}"),
        }
    }

    /// One of each kind at most, in any order.
    pub fn random(rng: &mut Rng, nodes: &BTreeMap<usize, Known>) -> Vec<Modifier> {
        let mut all = Vec::new();
        let any: Vec<usize> = nodes.keys().copied().collect();
        let any = any[rng.usize(0..any.len())];
        for kind in 0..5 {
            if rng.u32(0..3) > 0 {
                continue;
            }
            let keys = ["weight", "rack", "gpus", "colour", "node", "slots"];
            all.push(match kind {
                0 => Modifier::Sort(keys[rng.usize(0..6)], rng.bool()),
                1 => Modifier::Limit(rng.usize(1..5)),
                2 => Modifier::Spread(["rack", "colour", "weight"][rng.usize(0..3)]),
                3 if rng.bool() && !nodes[&any].loc.is_empty() => {
                    let loc = &nodes[&any].loc;
                    Modifier::NearLoc(loc[..rng.usize(1..=loc.len())].to_vec())
                }
                3 => Modifier::NearNode(any, nodes[&any].name.clone()),
                _ => Modifier::Policy(["space", "spread", "pack", "random"][rng.usize(0..4)]),
            });
        }
        rng.shuffle(&mut all);
        all
    }
}

/// The nodes of which all terms hold, by name.
pub fn select<'a>(nodes: &'a BTreeMap<usize, Known>, terms: &[Term]) -> Vec<&'a Known> {
    let mut all: Vec<&Known> =
        nodes.values().filter(|node| terms.iter().all(|term| term.holds(node))).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// In which order they stand, and how many of them: sorted by what counts least first. Without a policy there is one such order.
pub fn arrange<'a>(
    mut all: Vec<&'a Known>,
    nodes: &BTreeMap<usize, Known>,
    how: &[Modifier],
) -> Vec<&'a Known> {
    for modifier in how {
        if let Modifier::Policy(policy) = modifier {
            all.sort_by(|a, b| match *policy {
                "space" => a.share().total_cmp(&b.share()),
                "spread" => a.running.cmp(&b.running),
                "pack" => full(a).cmp(&full(b)).then(b.share().total_cmp(&a.share())),
                _ => Ordering::Equal,
            });
        }
    }
    for modifier in how {
        match modifier {
            Modifier::NearNode(at, _) => {
                let spot = &nodes[at];
                all.sort_by_key(|node| (Reverse(shared(&spot.loc, &node.loc)), steps(spot, node)));
            }
            Modifier::NearLoc(loc) => all.sort_by_key(|node| Reverse(shared(loc, &node.loc))),
            _ => {}
        }
    }
    for modifier in how {
        if let Modifier::Sort(key, down) = modifier {
            all.sort_by(|a, b| {
                let (a, b) = (sorted_by(a, key), sorted_by(b, key));
                match (a, b) {
                    (Some(a), Some(b)) if *down => b.cmp(&a),
                    (Some(a), Some(b)) => a.cmp(&b),
                    (a, b) => a.is_none().cmp(&b.is_none()),
                }
            });
        }
    }
    for modifier in how {
        if let Modifier::Spread(key) = modifier {
            let mut taken: Vec<(Option<&String>, usize)> = Vec::new();
            let mut turns: Vec<(usize, usize, &Known)> = Vec::new();
            for node in all {
                let value = node.labels.get(key);
                let at = taken.iter().position(|(of, _)| *of == value).unwrap_or_else(|| {
                    taken.push((value, 0));
                    taken.len() - 1
                });
                taken[at].1 += 1;
                turns.push((taken[at].1, at, node));
            }
            turns.sort_by_key(|(turn, value, _)| (*turn, *value));
            all = turns.into_iter().map(|(_, _, node)| node).collect();
        }
    }
    for modifier in how {
        if let Modifier::Limit(n) = modifier {
            all.truncate(*n);
        }
    }
    all
}

/// Whether several orders are right: those of a policy, among which equals are as they come.
pub fn is_free(how: &[Modifier]) -> bool {
    how.iter().any(|modifier| matches!(modifier, Modifier::Policy(_)))
}

/// What a policy counts, in the order in which it takes them.
pub fn rank_of(policy: &str, node: &Known) -> f64 {
    match policy {
        "space" => node.share(),
        "spread" => node.running as f64,
        "pack" if full(node) => 1000.0 - node.share(),
        "pack" => -node.share(),
        _ => 0.0,
    }
}

fn full(node: &Known) -> bool {
    node.running >= node.slots()
}

/// Numbers before words.
fn sorted_by(node: &Known, key: &str) -> Option<(bool, u32, String)> {
    let text = match (key, node.labels.get(key)) {
        ("node", _) => node.name.clone(),
        ("slots", None) => "2".into(),
        (_, value) => value?.clone(),
    };
    Some(match text.parse() {
        Ok(number) => (false, number, String::new()),
        Err(_) => (true, 0, text),
    })
}

fn shared(a: &[String], b: &[String]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn steps(a: &Known, b: &Known) -> usize {
    let common = a.chain.iter().zip(&b.chain).take_while(|(a, b)| a == b).count();
    a.chain.len() + b.chain.len() - 2 * common
}
