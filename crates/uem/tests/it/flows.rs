//! Bytes of many members through a chain of three nodes: slow and stopped readers, stopped members, records of any length, and a node
//! that is killed in the middle.

use crate::home::{Home, ended, eventually, signal};
use crate::reduce::Chain;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

/// What a daemon may ever have had of memory, in MiB, whatever goes through it: records that wait are bounded by 64 MiB in all.
const MOST: u64 = 100;

/// A group of a node, made with lines to its `ctl`.
struct Group<'a> {
    home: &'a Home,
    dir: String,
}

impl<'a> Group<'a> {
    fn new(home: &'a Home, lines: &[&str]) -> Group<'a> {
        let id = home.cat("clone");
        let group = Group { home, dir: format!("self/{}", id.trim()) };
        lines.iter().for_each(|line| group.tell(line));
        group
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }

    fn tell(&self, line: &str) {
        let told = self.home.run(&["write", &self.file("ctl"), line]);
        assert_eq!(told.status, 0, "{line}: {}", told.err);
    }

    fn why(&self) -> String {
        self.home.info(&self.file("info.json"), "why")
    }

    fn count(&self, key: &str) -> usize {
        self.home.info(&self.file("info.json"), key).parse().unwrap()
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        let _it_goes_with_the_node = self.home.uem(&["write", &self.file("ctl"), "free"]).output();
    }
}

/// The most memory that each daemon has had.
fn memory_is_bounded(chain: &Chain) {
    for home in chain.all() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", home.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let mib = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10;
        assert!(mib < MOST, "{} has had {mib} MiB", home.cat("self/ctl").trim());
    }
}

/// Lines `RANK NUMBER…`: that each of so many ranks wrote 1, 2, 3, … to the end, in its order.
fn every_line_is_there(out: &str, ranks: usize, lines: usize) {
    let mut next = vec![1; ranks];
    for line in out.lines() {
        let mut words = line.split(' ');
        let mut number = || words.next().unwrap().parse::<usize>().unwrap();
        let (rank, number) = (number(), number());
        assert_eq!(number, next[rank], "rank {rank}: nothing is lost, doubled or torn");
        next[rank] += 1;
    }
    assert_eq!(next, vec![lines + 1; ranks]);
}

#[test]
fn a_slow_reader_loses_nothing_and_costs_no_memory() {
    let chain = Chain::up();
    // Each writes 4 MB of lines; 1 MiB of that may wait at its node and at each level.
    let fill = "x".repeat(90);
    let script = format!("run 6 -- sh -c 'for i in $(seq 40000); do echo {{rank}} $i {fill}; done'");
    let group = Group::new(&chain.top, &["limit output=1M", "roll", "stdin broadcast", &script]);
    let path = group.file("stdout");
    let mut reader = chain.top.uem(&["cat", &path]).spawn().unwrap();
    let mut from = reader.stdout.take().unwrap();
    // It takes a little, and then nothing until all stands still.
    let mut out = vec![0; 100_000];
    from.read_exact(&mut out).unwrap();
    eventually("the output is full", || group.why().contains("limit output"));
    assert_eq!(group.count("active"), 6, "who writes waits");
    memory_is_bounded(&chain);
    from.read_to_end(&mut out).unwrap();
    assert_eq!(crate::home::status(&mut reader), 0);
    every_line_is_there(std::str::from_utf8(&out).unwrap(), 6, 40000);
    eventually("all ends are known", || group.count("ended") == 6);
    memory_is_bounded(&chain);
}

#[test]
fn a_stopped_reader_does_not_hide_the_ends_of_others() {
    let chain = Chain::up();
    let script = "run 6 -- sh -c 'test {rank} = 5 && exec head -c 30000000 /dev/zero; echo {rank}'";
    let group = Group::new(&chain.top, &["limit output=1M", "roll", "stdin broadcast", script]);
    let path = group.file("stdout");
    let mut reader = chain.top.uem(&["cat", &path]).spawn().unwrap();
    let mut from = reader.stdout.take().unwrap();
    let mut out = vec![0; 10];
    from.read_exact(&mut out).unwrap();
    signal(reader.id(), "STOP");
    eventually("others have ended", || group.count("ended") == 5);
    eventually("why says what stands still", || group.why().contains("stdout has reached `limit output`"));
    assert_eq!(group.count("active"), 1);
    signal(reader.id(), "CONT");
    from.read_to_end(&mut out).unwrap();
    assert_eq!(crate::home::status(&mut reader), 0);
    assert_eq!(out.iter().filter(|byte| **byte == 0).count(), 30_000_000);
    let mut lines: Vec<u8> = out.iter().copied().filter(|byte| *byte != 0).collect();
    lines.sort_unstable();
    assert_eq!(lines, b"\n\n\n\n\n\n01234", "and one newline for the record that had none");
    memory_is_bounded(&chain);
}

#[test]
fn a_record_of_64_mb_is_whole_beside_small_ones() {
    let chain = Chain::up();
    // The others write while it stands in the middle: what is theirs must wait for its end.
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let script = format!(
        "case {{node}} in \
         leaf) seq 1 8400000 | tr '\\n' ' ' | {{ head -c 2000000; touch {at}/begun; \
         until test -e {at}/1 -a -e {at}/2; do sleep .01; done; head -c 65108863; }}; echo;; \
         *) until test -e {at}/begun; do sleep .01; done; sleep .2; \
         for i in $(seq 20000); do echo {{rank}} $i; done; touch {at}/{{rank}};; esac"
    );
    let run = chain.top.run(&["run", "--on", "all", "--", "sh", "-c", &script]);
    assert_eq!((run.status, run.err.as_str()), (0, ""));
    let mut expected = String::with_capacity(68 << 20);
    for number in 1..=8_400_000 {
        std::fmt::Write::write_fmt(&mut expected, format_args!("{number} ")).unwrap();
    }
    expected.truncate(67_108_863);
    let (long, short): (Vec<&str>, Vec<&str>) = run.out.lines().partition(|line| line.len() > 1000);
    assert!(long.len() == 1 && long[0] == expected, "{} long ones", long.len());
    // leaf has rank 0.
    let others = short.iter().map(|line| {
        let (rank, number) = line.split_once(' ').unwrap();
        format!("{} {number}\n", rank.parse::<usize>().unwrap() - 1)
    });
    every_line_is_there(&others.collect::<String>(), 2, 20000);
    memory_is_bounded(&chain);
}

#[test]
fn a_megabyte_without_a_newline_from_every_member_is_exact() {
    let chain = Chain::up();
    for size in [1 << 20, (1 << 20) + 1] {
        let script = format!("head -c {size} /dev/zero | tr '\\0' {{rank}}");
        let run = chain.leaf.run(&["run", "-n", "6", "--", "sh", "-c", &script]);
        assert_eq!((run.status, run.err.as_str()), (0, ""));
        let mut lines: Vec<&str> = run.out.lines().collect();
        lines.sort_unstable();
        let expected: Vec<String> = (0..6).map(|rank| rank.to_string().repeat(size)).collect();
        assert!(lines == expected, "{} lines of {size}", lines.len());
    }
}

#[test]
fn a_stopped_member_is_named_and_the_others_ends_are_known() {
    let chain = Chain::up();
    let top = &chain.top;
    // One that reads nothing.
    let group = Group::new(top, &["stdin broadcast", "run 6 -- sh -c 'cat > /dev/null'"]);
    let pid = top.info(&group.file("5/info.json"), "pid");
    signal(pid.parse().unwrap(), "STOP");
    // The shell's child is what reads: it is stopped too.
    let cat = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    cat.split_whitespace().for_each(|pid| signal(pid.parse().unwrap(), "STOP"));
    let path = group.file("stdin");
    let mut writer = top.uem(&["write", &path]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = writer.stdin.take().unwrap();
    let writes = std::thread::spawn(move || {
        let line = [b"y".repeat(1023), b"\n".to_vec()].concat();
        (0..3000).try_for_each(|_| stdin.write_all(&line))
    });
    // Known by the link that it is below; there by its rank.
    eventually("it is said", || group.why().contains("stdin waits for ranks 2-5, which do not read theirs"));
    let leaf = || chain.leaf.info("self/0/info.json", "why");
    eventually("it is named", || leaf().contains("stdin waits for ranks 5, which do not read theirs"));
    group.tell("@0-4 kill");
    eventually("the ends of others are known", || group.count("ended") == 5);
    cat.split_whitespace().chain([pid.as_str()]).for_each(|pid| signal(pid.parse().unwrap(), "CONT"));
    writes.join().unwrap().unwrap();
    assert_eq!(crate::home::status(&mut writer), 0);
    group.tell("close stdin");
    eventually("it has ended too", || group.count("ended") == 6);
    drop(group);
    // One that writes nothing, in an output that is in the order of ranks.
    let group =
        Group::new(top, &["stdout rank", "run 6 -- sh -c 'test {rank} = 0 && sleep 60; echo {rank}'"]);
    let mut reader = top.uem(&["cat", &group.file("stdout")]).spawn().unwrap();
    eventually("the others have ended", || group.count("ended") == 5);
    group.tell("@0 stop");
    eventually("it is named", || group.why().contains("stdout waits for rank 0"));
    group.tell("@0 start");
    group.tell("@0 kill");
    assert_eq!(ended_out(&mut reader), "1\n2\n3\n4\n5\n");
}

fn ended_out(child: &mut std::process::Child) -> String {
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(crate::home::status(child), 0);
    out
}

#[test]
fn of_a_node_that_is_killed_while_stdin_is_dealt_out_it_is_known_what_came() {
    let chain = Chain::up();
    let args = ["run", "-n", "6", "--stdin", "robin", "--stdout", "tag", "--", "cat"];
    let mut child = chain.top.uem(&args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut out = child.stdout.take().unwrap();
    // What comes out says how far it is.
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let text = seen.clone();
    let reads = std::thread::spawn(move || {
        let mut piece = [0; 65536];
        loop {
            match out.read(&mut piece).unwrap() {
                0 => return,
                n => text.lock().unwrap().extend_from_slice(&piece[..n]),
            }
        }
    });
    const ALL: usize = 600_000;
    let came = move |seen: &std::sync::Mutex<Vec<u8>>| seen.lock().unwrap().len();
    let feeds = std::thread::spawn(move || {
        (0..ALL).try_for_each(|number| stdin.write_all(format!("{number}\n").as_bytes()))
    });
    eventually("some has come", || came(&seen) > 200_000);
    let pid = chain.leaf.pid();
    signal(pid, "KILL");
    feeds.join().unwrap().unwrap();
    let run = ended(child);
    reads.join().unwrap();
    let text = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
    let mut next: Vec<usize> = (0..6).collect();
    for line in text.lines() {
        let (rank, number) = line.split_once(": ").unwrap();
        let (rank, number): (usize, usize) = (rank.parse().unwrap(), number.parse().unwrap());
        assert_eq!(number, next[rank], "rank {rank} has each of its records once, in their order");
        next[rank] += 6;
    }
    let short: Vec<usize> = (0..6).filter(|rank| next[*rank] < ALL).collect();
    assert_eq!(short.len(), 2, "the others have all: {next:?} {}", run.err);
    assert_eq!(run.status, 125, "{}", run.err);
    assert!(run.err.contains("stdin of ranks"), "{}", run.err);
}

#[test]
fn an_output_that_is_collected_anew_is_not_put_behind_what_was_shown_of_it() {
    let home = Home::up();
    assert_eq!(home.run(&["write", "self/ctl", "label slots=2"]).status, 0);
    let go = home.dir.path().join("go");
    let script =
        format!("echo {{rank}}-a; until [ -e {} ]; do sleep 0.05; done; echo {{rank}}-b", go.display());
    let args = ["run", "-n", "2", "--", "sh", "-c", &script];
    let mut child = home.uem(&args).stdin(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut shown = String::new();
    while shown.lines().count() < 2 {
        assert!(out.read_line(&mut shown).unwrap() > 0, "each writes its first line");
    }
    signal(home.pid(), "KILL");
    std::fs::write(&go, "").unwrap();
    let run = ended(child);
    let mut more = String::new();
    out.read_to_string(&mut more).unwrap();
    assert_eq!((run.status, more.as_str()), (125, ""), "{}", run.err);
    assert!(run.err.contains("collects stdout anew"), "{}", run.err);
    let id = run.err.split("uem logs ").nth(1).unwrap().split(';').next().unwrap();
    let all = home.run(&["logs", id]);
    let mut lines: Vec<&str> = all.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["0-a", "0-b", "1-a", "1-b"], "{}", all.err);
    assert_eq!(home.run(&["write", &format!("self/{id}/ctl"), "free"]).status, 0);
}
