//! Sets on ten nodes in a tree of four levels: what the slides show, through mounts; many programs from a leaf; nodes that are killed
//! in the middle; and two who want more than there is.
//!
//! ```text
//!   segment 1   r ─┬─ g ─┬─ a, b, c          segment 2        r is the root; ten slots each;
//!                  └─ h ─┼─ d, e             segment 3        a, d and f have a GPU
//!                        └─ i ─── f          segment 4
//! ```

use crate::ended::{Ended, eventually, within};
use crate::host::{Host, Lab, Segment};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

const SLOTS: usize = 10;
const MANY: usize = 2048;

/// So many in every test run; all of them, which takes minutes on a busy machine, where `UEM_WHOLE` is set.
fn as_often(few: usize, all: usize) -> usize {
    if std::env::var_os("UEM_WHOLE").is_some() { all } else { few }
}

struct Ten {
    /// By name.
    hosts: BTreeMap<&'static str, Host>,
    _segments: [Segment; 4],
    _lab: Lab,
}

/// Who is whose child over which segment.
const TREE: [(&str, &str, u8); 9] = [
    ("g", "r", 1),
    ("h", "r", 1),
    ("a", "g", 2),
    ("b", "g", 2),
    ("c", "g", 2),
    ("d", "h", 3),
    ("e", "h", 3),
    ("i", "h", 3),
    ("f", "i", 4),
];

impl Ten {
    /// All of them, but for who joins later.
    fn without(later: &[&str]) -> Option<Ten> {
        let lab = Lab::new()?;
        let segments = [1, 2, 3, 4].map(|number| lab.segment(number));
        let mut hosts = BTreeMap::new();
        for name in ["r", "g", "h", "a", "b", "c", "d", "e", "i", "f"] {
            let at = segments.iter().zip(1..).filter(|(_, number)| {
                TREE.iter().any(|(child, parent, on)| on == number && [child, parent].contains(&&name))
            });
            let cables: Vec<&Segment> = at.map(|(segment, _)| segment).collect();
            hosts.insert(name, lab.host(name, &cables));
        }
        let ten = Ten { hosts, _segments: segments, _lab: lab };
        ten.at("r").up(&format!("--label slots={SLOTS}"));
        for (child, ..) in TREE.iter().filter(|(child, ..)| !later.contains(child)) {
            ten.join(child, "");
        }
        ten.all_see(10 - later.len());
        Some(ten)
    }

    fn new() -> Option<Ten> {
        Ten::without(&[])
    }

    fn join(&self, name: &str, flags: &str) {
        let (_, parent, segment) = TREE.iter().find(|(child, ..)| *child == name).unwrap();
        let gpu = if ["a", "d", "f"].contains(&name) { "--label gpus=1" } else { "" };
        let flags = format!("--label slots={SLOTS} {gpu} {flags}");
        let token = self.at("r").invite();
        self.at(name).join(self.at(parent), *segment, &token, &flags);
    }

    fn at(&self, name: &str) -> &Host {
        &self.hosts[name]
    }

    fn all_see(&self, count: usize) {
        for name in ["r", "a", "f"].into_iter().filter(|name| self.at(name).state().exists()) {
            let mut status = String::new();
            let whole = within(crate::ended::LONG, || {
                status = self.at(name).sh("uem cat status").out;
                status.lines().filter(|row| row.split(' ').nth(1) == Some("up")).count() == count
            });
            assert!(whole, "{name} sees\n{status}");
        }
    }

    /// The tree as directories, where that is possible.
    fn mounted(&self, names: &[&str]) -> bool {
        let possible = std::path::Path::new("/dev/fuse").exists();
        if !possible {
            let _nobody_listens =
                writeln!(std::io::stderr(), "SKIPPED: no /dev/fuse; not tested: sets in a mount");
        }
        names.iter().filter(|_| possible).for_each(|name| drop(self.at(name).ok("uem mount ~/uem")));
        possible
    }

    /// What members wrote into a file at their homes, a line each: node and line.
    fn wrote(&self, file: &str) -> Vec<(&'static str, String)> {
        let text = |host: &Host| std::fs::read_to_string(host.home().join(file)).unwrap_or_default();
        let lines = |(name, host): (&&'static str, &Host)| {
            let name = *name;
            text(host).lines().map(|line| (name, line.to_string())).collect::<Vec<_>>()
        };
        self.hosts.iter().flat_map(lines).collect()
    }
}

/// A word of `wait`, as `rank` in `rank=3`.
fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// How often each rank is in lines that begin with this word.
fn times(wrote: &[(&str, String)], word: &str) -> BTreeMap<usize, usize> {
    let mut times = BTreeMap::new();
    for rank in wrote.iter().filter_map(|(_, line)| line.strip_prefix(word)) {
        *times.entry(rank.trim().parse().unwrap()).or_default() += 1;
    }
    times
}

fn once(size: usize) -> BTreeMap<usize, usize> {
    (0..size).map(|rank| (rank, 1)).collect()
}

fn names(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn what_the_slides_show_works_in_a_mount() {
    let Some(ten) = Ten::new() else { return };
    if !ten.mounted(&["c", "f"]) {
        return;
    }
    let (c, f) = (ten.at("c"), ten.at("f"));
    // The machine of the test may have less memory than the slide's.
    let gpus = "query/x86/gpus=1/mem=64M";
    let x86 = cfg!(any(target_arch = "x86_64", target_arch = "x86"));
    let gpus = if x86 { gpus.to_string() } else { gpus.replace("x86/", "") };
    for host in [c, f] {
        let listed = host.ok(&format!("cd ~/uem; ls {gpus}"));
        let numbers: Vec<&str> =
            names(&listed).into_iter().filter(|name| name.parse::<u32>().is_ok()).collect();
        assert_eq!(numbers, ["0", "1", "2"], "{listed}");
        let nodes = host.ok(&format!("cd ~/uem; for n in 0 1 2; do basename $(readlink {gpus}/$n); done"));
        assert_eq!(names(&nodes), ["a", "d", "f"]);
    }
    // A group on the best that match, from a shell.
    let script = format!(
        "cd ~/uem; exec 3<>{gpus}/num=16/clone; read id <&3; echo exec sh -c \"'echo {{rank}} {{node}}'\" >&3 && \
         cat net/$id/wait | wc -l; sort -n net/$id/stdout; cut -d' ' -f2 net/$id/topology | cut -d/ -f1 | sort -u"
    );
    let said = c.ok(&script);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], lines.len()), ("16", 1 + 16 + 3), "{said}");
    assert!((0..16).all(|rank| lines[1 + rank].starts_with(&format!("{rank} "))), "{said}");
    assert_eq!(lines[17..], ["a", "d", "f"]);
    let over = c.sh(&format!("cd ~/uem; exec 3<>{}/clone", gpus.clone() + "/num=31"));
    assert!(over.status != 0 && over.err.contains("temporarily unavailable"), "{}", over.err);

    // One write ends what a user runs, wherever.
    for node in ["r", "a", "e", "f"] {
        c.ok(&format!("uem run --detach --on {node} -- sleep 1000"));
    }
    let mine = "cd ~/uem; USER=$(id -un)";
    assert_eq!(f.ok(&format!("{mine}; grep -c running query/user=$USER/state=running/status")), "4\n");
    f.ok(&format!("{mine}; echo kill > query/user=$USER/ctl"));
    eventually("they have ended", || {
        f.sh(&format!("{mine}; cat query/user=$USER/status"))
            .out
            .lines()
            .all(|line| !line.contains(" running "))
    });
    let ended = f.ok(&format!("{mine}; cat query/user=$USER/status"));
    assert_eq!(ended.lines().filter(|line| line.contains("sleep 1000")).count(), 4, "{ended}");

    // A node that is killed has a row of its own.
    let e = ten.at("e");
    let node = e.node();
    e.ok(&format!("kill -9 {} {node}", e.keeper_of(node)));
    let status = "cd ~/uem; cut -d' ' -f1,2 query/os=linux/status";
    for host in [c, f] {
        let mut said = String::new();
        let is_down = within(Duration::from_secs(20), || {
            said = host.ok(status);
            said == "a up\nb up\nc up\nd up\ne down\nf up\ng up\nh up\ni up\nr up\n"
        });
        assert!(is_down, "{said}");
    }
}

#[test]
fn who_awaits_a_label_gets_a_session_when_a_node_with_it_joins() {
    let Some(ten) = Ten::without(&["f"]) else { return };
    if !ten.mounted(&["c"]) {
        return;
    }
    let c = ten.at("c");
    // The signal that ^C is ends it: 137 would be KILL.
    let given_up = c.sh("cd ~/uem; timeout --signal=INT --kill-after=20 1 cat await/fpga=1/clone");
    assert_eq!((given_up.status, given_up.out.as_str()), (124, ""), "{}", given_up.err);
    let waits = c.start("cd ~/uem; echo begins; id=$(cat await/fpga=1/clone) && echo exec hostname > net/$id/ctl && cat net/$id/stdout");
    waits.says("begins\n");
    ten.join("f", "--label fpga=1");
    let ended = waits.ended();
    assert_eq!((ended.out.as_str(), ended.status), ("begins\nf\n", 0), "{}", ended.err);
    assert_eq!(c.info("net/f/info.json", "sessions"), "1", "who gave up has taken nothing");
}

#[test]
fn many_programs_are_run_from_a_leaf_and_every_end_is_known() {
    let Some(ten) = Ten::new() else { return };
    let f = ten.at("f");
    let timed = |what: &str, script: &str| -> Ended {
        let begun = Instant::now();
        let ended = f.sh(script);
        println!("{what}: {:?}", begun.elapsed());
        ended
    };
    let dates = timed("dates", &format!("uem run -n {MANY} --rank -- date +%s"));
    assert_eq!((dates.status, dates.out.lines().count()), (0, MANY), "{}", dates.err);
    assert!(dates.out.lines().all(|line| line.parse::<u64>().is_ok()));

    let half_of = as_often(2_000, 10_000);
    let odd = format!("uem run -n {half_of} --width 64 --joblog log -- sh -c 'exit $(({{rank}} % 2))'");
    let half = timed("half fail", &odd);
    assert_eq!(half.status, 1);
    let failed = format!("uem run: {} of {half_of} failed: [1,3,5,", half_of / 2);
    assert!(half.err.starts_with(&failed), "{}", half.err);
    let log = std::fs::read_to_string(f.home().join("log")).unwrap();
    let mut seen: Vec<(usize, &str)> = log
        .lines()
        .skip(1)
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            (columns[0].parse().unwrap(), columns[6])
        })
        .collect();
    seen.sort_unstable();
    let all: Vec<(usize, &str)> = (0..half_of).map(|rank| (rank, ["0", "1"][rank % 2])).collect();
    assert_eq!(seen, all);

    let lines = timed("lines dealt", "seq 1 1000000 | uem run -n 8 --stdin robin --stdout lines -- wc -l");
    let counts: Vec<u64> = lines.out.lines().map(|line| line.trim().parse().unwrap()).collect();
    assert_eq!((lines.status, counts), (0, vec![125_000; 8]), "{}", lines.err);

    let folded = timed("folded", "uem run --on all --fold -- uname -r");
    let kernel = f.ok("uname -r");
    assert_eq!((folded.out, folded.status), (format!("a,b,c,d,e,f,g,h,i,r: {kernel}"), 0), "{}", folded.err);
}

/// Each member says when it begins and when it ends in a file at its home.
const ACCOUNT: &str = "sh -c 'echo begin {rank} >> ran; sleep .2; echo end {rank} >> ran'";

/// The daemon alone: its keeper starts it again, and its programs have not noticed.
#[test]
fn a_daemon_killed_in_the_middle_of_many_loses_nothing_and_runs_nothing_twice() {
    let Some(ten) = Ten::new() else { return };
    for (victim, retry) in [("c", ""), ("h", ""), ("i", "--retry 2")] {
        for host in ten.hosts.values() {
            let _there_is_none = std::fs::remove_file(host.home().join("ran"));
        }
        const SIZE: usize = 240;
        let running = ten.at("f").start(&format!("uem run -n {SIZE} --width 60 {retry} -- {ACCOUNT}"));
        eventually("a quarter has begun", || times(&ten.wrote("ran"), "begin").len() > SIZE / 4);
        let host = ten.at(victim);
        host.signal(host.node(), "KILL");
        let ended = running.ended();
        let wrote = ten.wrote("ran");
        println!("{victim} killed: {} {}", ended.status, ended.err);
        assert_eq!((ended.status, ended.err.as_str()), (0, ""), "{victim}");
        assert_eq!(times(&wrote, "begin"), once(SIZE), "{victim}");
        assert_eq!(times(&wrote, "end"), once(SIZE), "{victim}");
    }
}

/// The whole machine, keeper, programs and all: what it had is lost, or run again elsewhere once it cannot run there any more.
#[test]
fn a_machine_lost_in_the_middle_of_many_is_accounted_for() {
    let Some(mut ten) = Ten::new() else { return };
    const SIZE: usize = 300;
    const WIDTH: usize = 40;
    // Those that have begun go on when the machine is gone.
    let gate = ten.at("r").home().join("gate");
    let wait = format!("until test -e {}; do sleep .05; done", gate.display());
    let run = |retry: &str, file: &str| {
        let c = ten.at("c");
        let id = c.ok("uem cat clone").trim().to_string();
        c.ok(&format!("uem write self/{id}/ctl lease 2"));
        let account = ACCOUNT.replace(">> ran", &format!(">> {file}")).replace("sleep .2", &wait);
        c.ok(&format!("uem write self/{id}/ctl \"run {SIZE} width={WIDTH} {retry} -- {account}\""));
        // Who reads how they end holds it, too.
        c.start(&format!("uem cat self/{id}/wait"))
    };
    let groups = [run("", "plain"), run("retry=1", "again")];
    for file in ["plain", "again"] {
        eventually("as many as may have begun", || times(&ten.wrote(file), "begin").len() == WIDTH);
        let wrote = ten.wrote(file);
        assert!(wrote.iter().any(|(node, _)| *node == "d"), "{file}: {wrote:?}");
    }
    let home = ten.at("d").home();
    drop(ten.hosts.remove("d"));
    std::fs::write(&gate, "").unwrap();
    let dead = |file| std::fs::read_to_string(home.join(file)).unwrap_or_default();
    for (waits, file) in groups.into_iter().zip(["plain", "again"]) {
        let ended = waits.ended();
        let mut wrote = ten.wrote(file);
        wrote.extend(dead(file).lines().map(|line| ("d", line.to_string())));
        let (begun, done) = (times(&wrote, "begin"), times(&wrote, "end"));
        let mut ranks: BTreeMap<usize, &str> = BTreeMap::new();
        for line in ended.out.lines() {
            let rank = field(line, "rank").unwrap().parse().unwrap();
            assert_eq!(ranks.insert(rank, line), None, "it ends once: {line}");
        }
        assert_eq!(ranks.len(), SIZE, "{}", ended.err);
        let lost: Vec<usize> =
            ranks.iter().filter(|(_, line)| line.contains(" lost=")).map(|(rank, _)| *rank).collect();
        let again: Vec<usize> =
            ranks.iter().filter(|(_, line)| field(line, "again").is_some()).map(|(rank, _)| *rank).collect();
        println!("{file}: {} lost, {} retried", lost.len(), again.len());
        for (rank, line) in &ranks {
            let (begun, done) = (begun.get(rank).copied().unwrap_or(0), done.get(rank).copied().unwrap_or(0));
            let said = format!("{line}: begun {begun} times, done {done}");
            match (lost.contains(rank), again.contains(rank)) {
                // Whatever came of it, it was on the machine that is gone, and nowhere else.
                (true, _) => assert!(line.starts_with("d/") && begun <= 1 && done <= begun, "{said}"),
                (false, false) => assert!(line.contains(" exit=0 ") && (begun, done) == (1, 1), "{said}"),
                (false, true) => {
                    assert!(line.contains(" exit=0 ") && !line.starts_with("d/"), "{said}");
                    let wrote_it = |lost: bool, word: &str| {
                        let lines = wrote.iter().filter(|(node, line)| {
                            (*node == "d") == lost && *line == format!("{word} {rank}")
                        });
                        lines.count()
                    };
                    assert_eq!((wrote_it(false, "begin"), wrote_it(false, "end")), (1, 1), "{said}");
                    // Without `retry`, one is made anew only where the machine that is gone was never told of it.
                    assert!(file == "again" || wrote_it(true, "begin") == 0, "{said}");
                }
            }
        }
        match file {
            "plain" => assert!(!lost.is_empty(), "retried {again:?}"),
            _ => assert!(!again.is_empty() && lost.is_empty(), "lost {lost:?}, retried {again:?}"),
        }
    }
}

/// 60 of 100 slots, from two leaves at once: one has all of them, or both have none; never 61 + 40.
#[test]
fn two_who_want_sixty_of_a_hundred_slots_never_have_a_part() {
    let Some(ten) = Ten::new() else { return };
    if !ten.mounted(&["a", "f"]) {
        return;
    }
    let times = as_often(200, 1_000);
    let log = ten.at("r").home().join("slots");
    // What is said of having them is said while having them.
    let script = |who: &str| {
        format!(
            "cd ~/uem; for i in $(seq {times}); do exec 3<>clone; read id <&3; echo killonclose >&3; \
             if {{ echo res 60 >&3; }} 2>/dev/null; then n=$(grep -c . self/$id/topology); echo {who} has $n >> {log}; \
             echo {who} gives >> {log}; else echo {who} none >> {log}; fi; exec 3>&-; done",
            log = log.display()
        )
    };
    let both = ["a", "f"].map(|who| ten.at(who).command("bash").args(["-c", &script(who)]).spawn().unwrap());
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let log = std::fs::read_to_string(log).unwrap();
    let (mut holder, mut count) = (None, BTreeMap::new());
    for line in log.lines() {
        let (who, what) = line.split_once(' ').unwrap();
        *count.entry((who, what)).or_insert(0) += 1;
        match what {
            "has 60" => assert_eq!(holder.replace(who), None, "both have them"),
            "gives" => holder = None,
            _ => assert_eq!(what, "none"),
        }
    }
    println!("{count:?}");
    for who in ["a", "f"] {
        let of = |what| count.get(&(who, what)).copied().unwrap_or(0);
        assert_eq!(of("has 60") + of("none"), times);
        assert!(of("has 60") > 0, "{who} never had any: {count:?}");
    }
    eventually("all is given back", || ten.at("r").info("self/info.json", "sessions") == "0");
}
