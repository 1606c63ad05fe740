//! Errands about files of machines: contents become files, and files get other names and links beside them, while nodes are lost and links
//! cut. Under each name there is nothing, or one of the contents that were sent to that machine, whole. Of what was done, and nobody
//! else did anything there meanwhile, everything is as it was asked.

use super::Run;
use crate::{
    cloud::errand::{Errand, Want},
    store::content,
};
use op::{Access, Content, Mono, Op, Reply};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What is known of files that are put.
#[derive(Default, Debug)]
pub(super) struct Placed {
    /// Contents, and the node that was given each.
    contents: Vec<(Content, Vec<u8>, usize)>,
    machines: BTreeMap<usize, Machine>,
}

/// Of one machine.
#[derive(Default, Debug)]
struct Machine {
    /// Which contents were ever sent there.
    sent: BTreeSet<usize>,
    /// How many errands there were.
    asked: u64,
    /// Of these, how many are under way.
    flying: u32,
    /// When the last one ended of which it is not known what it did: it may still do it.
    loose: Option<Mono>,
}

/// Nothing that was given up does anything after this.
const AT_REST: Duration = Duration::from_secs(60);

/// Of an empty one, of one that is asked for at once, of one that comes in several parts.
const SIZES: [usize; 3] = [0, 5_000, 600_000];

impl Run {
    /// Contents are written to stores, before anything goes wrong.
    pub(super) fn stock(&mut self) {
        for (which, size) in SIZES.into_iter().enumerate() {
            let at = self.any();
            let data: Vec<u8> = (0..size).map(|at| (at * 31 % 241 + which) as u8).collect();
            let what = content(&data);
            let who = self.cloud.connect(at, "ericvh");
            let fid = self.cloud.walk(who, "self/store").expect("a node has a store");
            let access = Access { write: true, ..Access::default() };
            self.cloud.call(who, Op::Create { fid, name: what.to_string(), mode: 0o644, access });
            for (nth, chunk) in data.chunks(200_000).enumerate() {
                let write = Op::Write { fid, offset: nth as u64 * 200_000, data: chunk.to_vec() };
                assert!(matches!(self.cloud.call(who, write), Reply::Wrote(_)), "a store takes {what}");
            }
            self.cloud.call(who, Op::Clunk { fid });
            self.cloud.hang_up(who);
            self.placed.contents.push((what, data, at));
        }
    }

    /// An errand about a machine's files.
    pub(super) fn placing(&mut self, node: usize, called: &str) -> (String, Want, String) {
        let mut name = || format!("f{}", self.cloud.rng.u32(0..3));
        let (mut from, to) = (name(), name());
        let files = &self.cloud.hosts[node].files;
        let there = files.in_dir("tmp").into_iter().filter(|path| !files.is_link(path)).collect::<Vec<_>>();
        if !there.is_empty() {
            from = there[self.cloud.rng.usize(0..there.len())].replace("tmp/", "");
        }
        let now = self.cloud.clock.mono;
        let machine = self.placed.machines.entry(node).or_default();
        let rests = machine.loose.is_none_or(|at| now.since(at) > AT_REST);
        machine.asked += 1;
        let alone = (rests && machine.flying == 0).then_some(machine.asked);
        machine.flying += 1;
        let dir = format!("net/{called}/fs/tmp");
        match self.cloud.rng.u32(0..6) {
            0 | 2 if from != to => {
                let held = self.cloud.hosts[node].files.get(&format!("tmp/{from}")).map(<[u8]>::to_vec);
                (dir, Want::Rename { node, from, to, held, alone }, String::new())
            }
            1 => {
                let name = format!("l{}", machine.asked);
                (dir, Want::Link { node, name, target: to, alone }, String::new())
            }
            _ => {
                let what = self.cloud.rng.usize(0..SIZES.len());
                machine.sent.insert(what);
                let (content, _, home) = &self.placed.contents[what];
                let from = self.model.names.get(home).expect("it was called something at the start");
                let line = format!("put {content} /tmp/{to} from={from}\n");
                (format!("net/{called}/ctl"), Want::Put { node, name: to, what, alone }, line)
            }
        }
    }

    /// One is over.
    pub(super) fn placed_by(&mut self, errand: &Errand) {
        let (Want::Put { node, alone, .. }
        | Want::Rename { node, alone, .. }
        | Want::Link { node, alone, .. }) = &errand.want
        else {
            return;
        };
        let now = self.cloud.clock.mono;
        let machine = self.placed.machines.get_mut(node).expect("it was asked");
        machine.flying -= 1;
        if !errand.done {
            machine.loose = Some(now);
            return;
        }
        if *alone != Some(machine.asked) {
            self.cloud.counters.count("files of machines changed by several");
            return;
        }
        let files = &self.cloud.hosts[*node].files;
        let get = |name: &str| files.get(&format!("tmp/{name}"));
        let what = match &errand.want {
            Want::Put { name, what, .. } => {
                let (content, data, _) = &self.placed.contents[*what];
                assert!(get(name) == Some(data), "{}: {name} is {content}", errand.path);
                "contents that became files"
            }
            Want::Rename { from, to, held, .. } => {
                assert!(get(from).is_none(), "{}: {from} has another name", errand.path);
                assert!(held.is_some() && get(to) == held.as_deref(), "{}: {to} was {from}", errand.path);
                "files that got another name"
            }
            Want::Link { name, target, .. } => {
                assert!(files.is_link(&format!("tmp/{name}")), "{}: {name} is a link", errand.path);
                assert_eq!(get(name), Some(target.as_bytes()), "{}: {name} leads there", errand.path);
                "links to files of machines"
            }
            _ => return,
        };
        self.cloud.counters.count(what);
    }

    /// Whatever became of it, what is there is whole.
    pub(super) fn whole(&mut self) {
        for (node, machine) in &self.placed.machines {
            let files = &self.cloud.hosts[*node].files;
            for path in files.in_dir("tmp").iter().filter(|path| !files.is_link(path)) {
                let data = files.get(path).expect("only files are put there");
                let found = machine.sent.iter().any(|what| self.placed.contents[*what].1 == data);
                assert!(
                    found,
                    "{path} of {node} is a content that was sent there, and whole: {} bytes",
                    data.len()
                );
                self.cloud.counters.count("files found whole");
            }
        }
    }
}
