//! Groups over very many kernels in one process: how each member ended is known to the last one, and what each link carries for a
//! command to all of them is counted. `UEM_NODES=10000` runs that many (half a minute, optimized); every test run, fewer.
//!
//! Links are asserted one by one, and the busiest of each level is printed: that is where docs/PERFORMANCE.md has its table from.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

use op::{Fid, Op, Reply};
use sim::cloud::{
    Cloud, Plan,
    client::{BOTH, Who},
    model::SETTLED,
    traffic::Said,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Nodes of every test run.
const NODES: usize = 1_000;
/// Children of a node: ten thousand are then the root and three levels below it.
const FAN: usize = 22;
/// Nodes that look for a parent at the same time.
const AT_ONCE: usize = 500;

/// Requests and answers on one link for one command to all that is below it, however many that are: those who ask attach, make a
/// session, open its `wait`, and read what has come.
const ONCE: u64 = 64;
/// Bytes of these, without the records.
const FEW: u64 = 4_096;
/// Where no more than `width=` may run at a time, each start waits for an end: a read of `wait` and a line that says who is
/// made, and what both are answered.
const EACH: u64 = 4;

fn nodes() -> usize {
    std::env::var("UEM_NODES").ok().and_then(|n| n.parse().ok()).unwrap_or(NODES)
}

/// No two of these have anything in common that a pattern could say.
fn name(at: usize) -> String {
    let mixed = at * 7_654_321 % 26_usize.pow(5);
    (0..5).map(|place| char::from(b'a' + (mixed / 26_usize.pow(place) % 26) as u8)).collect()
}

fn level(mut at: usize) -> usize {
    let mut level = 0;
    while at > 0 {
        (at, level) = ((at - 1) / FAN, level + 1);
    }
    level
}

/// What a link carried for a command.
#[derive(Clone, Copy, Default, Debug)]
struct Cost {
    up: Said,
    down: Said,
    /// Records that it had to carry.
    records: u64,
}

impl Cost {
    fn messages(self) -> u64 {
        self.up.messages + self.down.messages
    }

    fn bytes(self) -> u64 {
        self.up.bytes + self.down.bytes
    }
}

/// A cloud and a client of one of its nodes.
struct Scale {
    cloud: Cloud,
    count: usize,
    numbers: BTreeMap<String, usize>,
    at: usize,
    who: Who,
}

impl Scale {
    fn new(count: usize) -> Scale {
        let begun = Instant::now();
        let mut cloud = Cloud::new(1);
        cloud.look_seldom();
        for at in 0..count {
            let plan = Plan { fs: false, ..Plan::named(&name(at)) };
            match at {
                0 => cloud.add(plan),
                at => cloud.add_below((at - 1) / FAN, plan),
            };
            if at % AT_ONCE == 0 {
                cloud.run(Duration::from_millis(1));
            }
        }
        cloud.run(SETTLED);
        assert_eq!(cloud.linked().count(), count - 1);
        let who = cloud.connect(0, "ericvh");
        let numbers = (0..count).map(|at| (name(at), at)).collect();
        println!(
            "\n{count} nodes after {:.1} s; messages, bytes and records of",
            begun.elapsed().as_secs_f64()
        );
        println!("{:34} {:>24} {:>22} {:>22}", "", "the busiest top link", "second level", "third level");
        Scale { cloud, count, numbers, at: 0, who }
    }

    /// From now on the client is at another node.
    fn go_to(&mut self, at: usize) {
        (self.at, self.who) = (at, self.cloud.connect(at, "ericvh"));
    }

    /// Does something, and asserts what each link has carried for it: so many messages, and more for each record where `each`; and of
    /// bytes what the records need. `records` says what it was about: a line for each, with the name of its node. A link below
    /// which the client is carries all of them.
    fn counts(&mut self, what: &str, each: u64, act: impl FnOnce(&mut Scale) -> String) -> String {
        let begun = Instant::now();
        self.cloud.forget_said();
        let records = act(self);
        let mut carried = vec![0_u64; self.count];
        let (mut longest, mut all) = (0, 0);
        for line in records.lines() {
            let mut words = line.split(|c: char| !c.is_ascii_lowercase());
            if let Some(at) = words.find_map(|word| self.numbers.get(word)) {
                carried[*at] += 1;
                longest = longest.max(line.len() as u64 + 1);
                all += 1;
            }
        }
        for at in (1..self.count).rev() {
            carried[(at - 1) / FAN] += carried[at];
        }
        let mut above = self.at;
        while above > 0 {
            carried[above] += all;
            above = (above - 1) / FAN;
        }
        let mut most = [Cost::default(); 4];
        for at in 1..self.count {
            let [up, down] = self.cloud.said(at);
            let cost = Cost { up, down, records: carried[at] };
            let busiest = &mut most[level(at)];
            if (cost.messages(), cost.bytes()) > (busiest.messages(), busiest.bytes()) {
                *busiest = cost;
            }
            let link = format!("{what}: the link above {} of {}", name(at), self.count);
            // What is planned at the root comes back to who asked for it: up and down again.
            let ways = if all > 0 && cost.records >= all && self.at > 0 { 2 } else { 1 };
            let messages = ways * ONCE + each * cost.records;
            assert!(cost.messages() <= messages, "{link} carries at most {messages} messages: {cost:?}");
            // A record goes by once as a line of what is told, or of what is answered, or both.
            let bytes = FEW + cost.records * (2 * longest + each * 64);
            assert!(cost.bytes() <= bytes, "{link} carries at most {bytes} bytes: {cost:?}");
        }
        let said = |cost: Cost| format!("{:>6} {:>9} {:>5}", cost.messages(), cost.bytes(), cost.records);
        let [_, top, middle, low] = most.map(said);
        let real = begun.elapsed().as_secs_f64();
        println!("{what:34}   {top} {middle} {low}  {real:5.2} s");
        records
    }

    /// A session that is to be a group: where it is, and its open ctl.
    fn make(&mut self) -> (String, Fid) {
        let fid = self.cloud.open(self.who, "self/clone", BOTH).unwrap();
        let reply = self.cloud.call(self.who, Op::Read { fid, offset: 0, count: 100, wait: true });
        let Reply::Data(id) = reply else { panic!("ctl says which session it is: {reply:?}") };
        (format!("self/{}", String::from_utf8(id).unwrap().trim()), fid)
    }

    fn say(&mut self, fid: Fid, line: &str) {
        let data = format!("{line}\n").into_bytes();
        let reply = self.cloud.call(self.who, Op::Write { fid, offset: 0, data });
        assert!(matches!(reply, Reply::Wrote(_)), "{line}: {reply:?}");
    }

    fn cat(&mut self, path: &str) -> String {
        self.cloud.cat(self.who, path).unwrap()
    }

    /// A group's `wait`: a line a rank, each as `how` says. Gives the lines.
    fn ends(&mut self, group: &str, members: usize, how: impl Fn(usize) -> String) -> String {
        let wait = self.cat(&format!("{group}/wait"));
        let mut seen = vec![false; members];
        for line in wait.lines() {
            let rank = line.split_once(" rank=").unwrap().1.parse::<usize>().unwrap();
            assert!(!std::mem::replace(&mut seen[rank], true), "rank {rank} ends once");
            assert_eq!(line.split(' ').nth(2), Some(&*how(rank)), "{line}");
        }
        assert!(seen.iter().all(|seen| *seen), "every rank has ended");
        wait
    }

    /// Runs members of which every second one ends with 1, and frees them.
    fn odd(&mut self, members: usize, width: &str, each: u64) {
        let before = self.cloud.counters.of("programs started");
        let (group, ctl) = self.make();
        let wait = self.counts(&format!("run {members}{width}, wait"), each, |s| {
            s.say(ctl, &format!("run {members}{width} -- odd {{rank}}"));
            s.ends(&group, members, |rank| format!("exit={}", rank % 2))
        });
        assert_eq!(wait.matches(" exit=1 ").count(), members / 2);
        let started = self.cloud.counters.of("programs started") - before;
        assert_eq!(started, members as u64, "none is started twice");
        self.free(ctl);
    }

    fn free(&mut self, ctl: Fid) {
        self.counts("free", 0, |s| {
            s.say(ctl, "free");
            s.cloud.call(s.who, Op::Clunk { fid: ctl });
            s.cloud.run(Duration::from_secs(1));
            String::new()
        });
    }

    /// A member on each node, and what can be said to all of them.
    fn reserve(&mut self) {
        let n = self.count;
        let (group, ctl) = self.make();
        let placed = self.counts(&format!("res {n}, topology"), 0, |s| {
            s.say(ctl, &format!("res {n}"));
            s.cat(&format!("{group}/topology"))
        });
        assert_eq!(placed.lines().count(), n);
        self.counts("exec", 0, |s| {
            s.say(ctl, "exec daemon {rank}");
            String::new()
        });
        let status = self.counts("status of its members", 0, |s| s.cat(&format!("{group}/status")));
        assert_eq!(status.matches(" running ").count(), n, "each has its line");
        let placed = self.counts("topology", 0, |s| s.cat(&format!("{group}/topology")));
        let mut ranks: Vec<usize> =
            placed.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
        ranks.sort_unstable();
        assert!(ranks.into_iter().eq(0..n), "each rank has its place");
        self.counts("info", 0, |s| {
            let info = s.cat(&format!("{group}/info"));
            for count in [format!("active={n}"), format!("size={n}"), "queued=0".into()] {
                assert!(info.lines().any(|line| line == count), "{count}: {info}");
            }
            String::new()
        });
        self.counts("kill KILL, wait", 0, |s| {
            s.say(ctl, "kill KILL");
            s.ends(&group, n, |_| "signal=9".into())
        });
        self.free(ctl);
    }

    /// Members that are found by what they run.
    fn query(&mut self) {
        let n = self.count;
        let (group, ctl) = self.make();
        self.say(ctl, &format!("run {n} -- daemon {{rank}}"));
        let status = self.counts("query/prog=daemon/status", 0, |s| s.cat("query/prog=daemon/status"));
        assert_eq!(status.matches(" running ").count(), n);
        self.counts("query/prog=daemon/ctl: kill, wait", 0, |s| {
            s.cloud.write(s.who, "query/prog=daemon/ctl", "kill KILL\n").unwrap();
            s.ends(&group, n, |_| "signal=9".into())
        });
        self.free(ctl);
    }

    /// All nodes, as one of them sees them.
    fn look(&mut self) {
        for file in ["status", "topology", "query/cpus=1/status"] {
            let rows = self.counts(file, 0, |s| s.cat(file));
            assert_eq!(rows.lines().count(), self.count, "{file} has a row for each");
        }
    }

    fn all(&mut self) {
        self.look();
        self.reserve();
        self.odd(self.count, "", 0);
        self.odd(self.count, " width=64", EACH);
        self.query();
    }
}

#[test]
fn a_link_carries_a_command_once_however_many_are_below_it() {
    for count in [10, 100, 1_000, 10_000].into_iter().filter(|count| *count <= nodes()) {
        let mut scale = Scale::new(count);
        scale.all();
        println!("the same at a leaf:");
        scale.go_to(count - 1);
        scale.look();
        scale.odd(count, "", 0);
        scale.cloud.check();
    }
}

#[test]
fn messages_do_not_grow_with_members_but_where_each_has_to_wait_for_another() {
    let mut scale = Scale::new(nodes());
    for members in [64, 512, 2_048, 10_000].into_iter().filter(|members| *members <= 2 * nodes()) {
        scale.odd(members, "", 0);
        scale.odd(members, " width=64", EACH);
    }
    scale.cloud.check();
}
