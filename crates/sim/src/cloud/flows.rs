//! Groups in random clouds through whose `stdin` records flow to members that echo them, and back through `stdout`, while readers
//! are slow or stop, links break, and nodes die. What each member took and wrote is known from its program.
//!
//! What must hold: no record is torn or doubled, whatever its length; without faults every record reaches just the ranks that the rule
//! says and comes out once for each, in the order of each member; with faults, what a member took begins what was his, and what it
//! wrote comes out whole; `wait` ends with all members, whoever reads or does not.

mod faults;
mod judge;
mod records;

use super::{
    Cloud, Plan, Wrap,
    client::{BOTH, Who, names},
};
use crate::{
    counters::Counters,
    seeded::{self, Trace, Traced},
};
use op::{Access, Errno, Fid, Mono, Op, Reply, Tag};
use records::{Form, Kind, Sent, Way};
use std::time::Duration;

/// No longer than this is a node away: its group's lease is 60 s.
const AWAY: Duration = Duration::from_secs(8);

/// A node holds no more for each that it feeds or collects from: what waits for it, what of it waits, a record, and what was written
/// at once.
pub const HELD: usize = kernel::limits::DEALT + kernel::limits::FLOW + kernel::limits::RECORD + (1 << 20);

/// All of a run is over by then, of the cloud's time.
const OVER: Duration = Duration::from_secs(900);

const READ: Access = Access { read: true, write: false, truncate: false };

/// A group, and what is done with it.
#[derive(Debug)]
struct Group {
    home: usize,
    path: String,
    size: u32,
    way: Way,
    kind: Kind,
    form: Form,
    /// How stderr is collected, of members that write there what they write to stdout.
    errors: Option<Form>,
    /// What is written to its stdin.
    sent: Sent,
}

/// Somebody who writes to stdin, a piece at a time.
#[derive(Debug)]
struct Writer {
    who: Who,
    fid: Fid,
    at: usize,
    tag: Option<(Tag, usize)>,
    /// Nothing more is taken.
    cut: bool,
}

/// Somebody who reads the output, or `wait`.
#[derive(Debug)]
struct Reader {
    who: Who,
    file: &'static str,
    fid: Fid,
    read: Vec<u8>,
    tag: Option<Tag>,
    /// Bytes of a read, and what passes between two.
    count: u32,
    rests: Duration,
    next: Mono,
    /// It reads no more from here on.
    stops: usize,
    over: bool,
}

/// A run under one seed.
struct Run {
    cloud: Cloud,
    back: Vec<(Mono, Option<usize>)>,
    faults: bool,
    /// Of the group; and what `fold` keeps.
    size: u32,
    kept: usize,
    /// For what came to these runs later, so that the other numbers are what they were.
    also: fastrand::Rng,
    trace: Trace,
}

impl Traced for Run {
    fn trace(&self) -> &Trace {
        &self.trace
    }

    fn under_way(&self) -> Vec<String> {
        self.cloud.under_way()
    }
}

/// Runs one seed, with kernels wrapped like this.
///
/// # Panics
/// If anything is not as it must be. What happened last is printed before.
pub fn run(seed: u64, wrap: Wrap) -> Counters {
    let mut run = Run {
        cloud: Cloud::of(seed, wrap),
        back: Vec::new(),
        faults: false,
        size: 0,
        kept: 0,
        also: fastrand::Rng::with_seed(!seed),
        trace: Trace::of(120),
    };
    seeded::play(&mut run, (seed, "cloud_flows"), Run::play);
    run.cloud.counters
}

impl Run {
    fn play(&mut self) {
        let slots = self.found();
        self.faults = self.cloud.rng.bool();
        let group = self.begin(slots);
        let ends = self.flow(&group);
        self.judge(&group, &ends);
    }

    fn note(&mut self, what: impl Into<String>) {
        self.trace.note(self.cloud.dated(what));
    }

    fn found(&mut self) -> u32 {
        let count = 1 + self.cloud.rng.usize(0..5);
        let mut all = 0;
        for at in 0..count {
            self.cloud.add(Plan { fs: false, ..Plan::named(&format!("n{at}")) });
            let slots = self.cloud.rng.u32(1..4);
            all += slots;
            let who = self.cloud.connect(at, "root");
            let line = format!("label slots={slots}\n");
            self.cloud.write(who, &format!("net/n{at}/ctl"), &line).expect("it is its own node");
            self.cloud.hang_up(who);
            if at > 0 {
                let parent = self.cloud.rng.usize(0..at);
                self.note(format!("n{at} below n{parent}, {slots} slots"));
                self.cloud.set_parents(at, vec![parent]);
            }
        }
        self.cloud.run(Duration::from_secs(5));
        all
    }

    /// Makes the group: how its records flow, and its members.
    fn begin(&mut self, slots: u32) -> Group {
        let home = self.cloud.rng.usize(0..self.cloud.hosts.len());
        let rng = &mut self.cloud.rng;
        let size = rng.u32(1..=slots + 1);
        let (way, kind, form) = records::random(rng, self.faults);
        let form = match kind == Kind::Line && self.also.u32(0..3) == 0 {
            true => Form::Reduce,
            false => form,
        };
        let errors = (self.also.u32(0..4) == 0).then(|| records::also(&mut self.also, kind));
        self.size = size * (1 + u32::from(errors.is_some()));
        let folds = [Some(form), errors].into_iter().filter(|form| *form == Some(Form::Fold)).count();
        self.kept = folds * kernel::limits::FOLD;
        let sent = records::sent(rng, size, way, kind);
        let prog = match rng.u32(0..4) {
            0 => format!("slowcat {}", rng.u32(0..size)),
            _ if errors.is_some() => "teecat -".into(),
            _ => "cat -".into(),
        };
        let errors = errors.filter(|_| prog.starts_with("teecat"));
        let stderr = errors.map(|form| format!("stderr {}\n", form.words())).unwrap_or_default();
        let who = self.cloud.connect(home, "ericvh");
        let ctl = self.cloud.open(who, &format!("net/n{home}/clone"), BOTH).expect("a session");
        let Reply::Data(id) = self.cloud.call(who, Op::Read { fid: ctl, offset: 0, count: 100, wait: true })
        else {
            panic!("its id is read")
        };
        let path = format!("net/n{home}/{}", String::from_utf8_lossy(&id).trim());
        let lines = format!(
            "keep\nstdin {}\nrecords {}\nstdout {}\n{stderr}run {size} -- {prog} {{rank}}\n",
            way.words(),
            kind.words(),
            form.words()
        );
        self.note(format!("{path}: {lines:?}, {} records of {} bytes", sent.ranks.len(), sent.bytes.len()));
        let reply = self.cloud.call(who, Op::Write { fid: ctl, offset: 0, data: lines.into_bytes() });
        assert!(matches!(reply, Reply::Wrote(_)), "{path}: {reply:?}");
        self.cloud.hang_up(who);
        Group { home, path, size, way, kind, form, errors, sent }
    }

    // ── while it flows ─────────────────────────────────────────────────────────────────────

    fn flow(&mut self, group: &Group) -> String {
        let mut writer = self.writer(group);
        let mut readers = vec![self.reader(group, "wait", usize::MAX)];
        // Nothing is collected before somebody reads.
        for _ in 0..self.cloud.rng.u32(0..3) {
            let stops = match self.cloud.rng.u32(0..3) {
                0 => self.cloud.rng.usize(0..5000),
                _ => usize::MAX,
            };
            readers.push(self.reader(group, "stdout", stops));
        }
        if group.errors.is_some() && self.also.bool() {
            let stops = if self.also.u32(0..3) == 0 { self.also.usize(0..5000) } else { usize::MAX };
            readers.push(self.reader(group, "stderr", stops));
        }
        let killed = self.killed_on_its_way(group);
        // There is something to kill only while somebody reads.
        readers.extend(killed.map(|file| self.reader(group, file, usize::MAX)));
        let begun = self.cloud.clock.mono;
        let (mut closing, mut steps) = (None, 0);
        while !readers[0].over {
            steps += 1;
            let took = self.cloud.clock.mono.since(begun);
            assert!(took < OVER, "{}: it has not ended in {took:?}: {}", group.path, self.seen(group));
            if self.faults && steps < 60 && self.cloud.rng.u32(0..8) == 0 {
                self.fault(group);
            }
            if killed.is_some() && steps < 200 && self.also.u32(0..8) == 0 {
                self.kill_sums();
            }
            let span = match self.cloud.rng.u32(0..8) {
                0 => Duration::from_millis(self.cloud.rng.u64(0..300)),
                _ => Duration::from_micros(self.cloud.rng.u64(0..8000)),
            };
            let span = if steps > 500 { Duration::from_millis(200) } else { span };
            self.pass(span);
            self.write(group, &mut writer);
            let at_end = writer.cut || (writer.at == group.sent.bytes.len() && writer.tag.is_none());
            if at_end {
                self.close(group, &mut closing);
            }
            for reader in &mut readers {
                self.read(group, reader);
            }
        }
        self.heal();
        let ends = String::from_utf8_lossy(&readers[0].read).into_owned();
        for reader in &readers[1..] {
            if reader.over {
                self.cloud.counters.count("readers that came to the end");
                if !self.faults {
                    let all = self.output(group, reader.file).expect("without faults it is whole");
                    assert_eq!(reader.read, all, "{}: every reader gets the same", group.path);
                }
            } else if reader.stops < usize::MAX {
                self.cloud.counters.count("readers that stopped");
            }
        }
        if writer.cut {
            self.cloud.counters.count("writers that were cut off");
            assert!(self.faults, "{}: without faults all is taken", group.path);
        }
        ends
    }

    fn writer(&mut self, group: &Group) -> Writer {
        let who = self.cloud.connect(group.home, "ericvh");
        let access = Access { write: true, ..Access::default() };
        let fid = self.cloud.open(who, &format!("{}/stdin", group.path), access).expect("its stdin");
        Writer { who, fid, at: 0, tag: None, cut: false }
    }

    fn write(&mut self, group: &Group, writer: &mut Writer) {
        if self.cloud.is_gone(writer.who) {
            // What was taken is not known.
            writer.cut = true;
        }
        while !writer.cut && self.cloud.is_up(group.home) {
            if let Some((tag, count)) = writer.tag {
                match self.cloud.reply(writer.who, tag) {
                    None => return,
                    Some(Reply::Wrote(n)) => {
                        assert!(n as usize <= count, "no more is taken than was given");
                        writer.at += n as usize;
                    }
                    Some(reply) => {
                        self.note(format!("stdin: {reply:?}"));
                        writer.cut = true;
                    }
                }
                writer.tag = None;
            }
            let left = group.sent.bytes.len() - writer.at;
            if left == 0 || writer.cut {
                return;
            }
            let most = [100, 5000, 70_000, 500_000][self.cloud.rng.usize(0..4)];
            let count = left.min(self.cloud.rng.usize(1..=most));
            let data = group.sent.bytes[writer.at..writer.at + count].to_vec();
            let tag = self.cloud.ask(writer.who, Op::Write { fid: writer.fid, offset: 0, data });
            writer.tag = Some((tag, count));
            if self.cloud.rng.u32(0..4) == 0 {
                return;
            }
        }
    }

    /// `close stdin`: until it was answered, however often the group's node dies. With a member that takes its time that is not soon.
    fn close(&mut self, group: &Group, closing: &mut Option<(Who, Tag)>) {
        if !self.cloud.is_up(group.home) || closing.is_some_and(|(who, _)| !self.cloud.is_gone(who)) {
            return;
        }
        self.note("close stdin");
        let who = self.cloud.connect(group.home, "ericvh");
        let path = format!("{}/ctl", group.path);
        let access = Access { write: true, ..Access::default() };
        let fid = self.cloud.open(who, &path, access).expect("its ctl");
        let line = Op::Write { fid, offset: 0, data: b"close stdin\n".to_vec() };
        *closing = Some((who, self.cloud.ask(who, line)));
    }

    fn reader(&mut self, group: &Group, file: &'static str, stops: usize) -> Reader {
        let who = self.cloud.connect(group.home, "ericvh");
        let rng = &mut self.cloud.rng;
        let slow = file == "stdout" && rng.u32(0..3) == 0;
        let (count, rests) = match slow {
            true => (rng.u32(1000..60_000), Duration::from_millis(rng.u64(1..80))),
            false => (200_000, Duration::ZERO),
        };
        let fid = self.cloud.new_fid(who);
        let path = names(&format!("{}/{file}", group.path));
        self.cloud.ask(who, Op::Walk { fid: Fid(0), newfid: fid, names: path });
        self.cloud.ask(who, Op::Open { fid, access: READ });
        let next = self.cloud.clock.mono;
        Reader { who, file, fid, read: Vec::new(), tag: None, count, rests, next, stops, over: false }
    }

    fn read(&mut self, group: &Group, reader: &mut Reader) {
        if self.cloud.is_gone(reader.who) && self.cloud.is_up(group.home) && !reader.over {
            // It comes again, and begins from the start: a group's output is collected anew.
            *reader = self.reader(group, reader.file, reader.stops);
        }
        while self.cloud.is_up(group.home) && !self.cloud.is_gone(reader.who) && !reader.over {
            if let Some(tag) = reader.tag {
                match self.cloud.reply(reader.who, tag) {
                    None => return,
                    Some(Reply::Data(data)) if data.is_empty() => reader.over = true,
                    Some(Reply::Data(data)) => reader.read.extend(data),
                    Some(Reply::Failed(error)) if self.faults && group.reduces(reader.file) => {
                        match error.errno {
                            // Some of it is missing, and that is said; or it is made anew, and is read anew.
                            Errno::IO => reader.over = true,
                            Errno::STALE => {
                                self.cloud.counters.count("results that were made anew");
                                return *reader = self.reader(group, reader.file, reader.stops);
                            }
                            _ => panic!("{}: a read is answered with {error}", group.path),
                        }
                    }
                    Some(reply) => panic!("{}: a read is answered with {reply:?}", group.path),
                }
                reader.tag = None;
                reader.next = self.cloud.clock.mono + reader.rests;
            }
            if reader.over || reader.read.len() >= reader.stops || self.cloud.clock.mono < reader.next {
                return;
            }
            let (fid, offset) = (reader.fid, reader.read.len() as u64);
            let read = Op::Read { fid, offset, count: reader.count, wait: true };
            reader.tag = Some(self.cloud.ask(reader.who, read));
        }
    }

    /// All of an output, as somebody gets it who comes at the end; or what is wrong with it.
    fn output(&mut self, group: &Group, file: &str) -> op::Result<Vec<u8>> {
        let who = self.cloud.connect(group.home, "ericvh");
        let path = format!("{}/{file}", group.path);
        let mut output = self.cloud.read(who, &path);
        for _ in 0..self.cloud.hosts.len() {
            // A part of it was made anew while it was read.
            if output.as_ref().is_err_and(|error| error.errno == Errno::STALE) {
                output = self.cloud.read(who, &path);
            }
        }
        self.cloud.hang_up(who);
        output
    }
}
