//! What the information files say: records of sessions and of the node, and who sees which.

use crate::{
    Attr, Kernel,
    cloud::{Known, Load, NodeNo},
    notices,
    place::{Subject, View},
    record::{Format, Record, plain},
    session::{Session, State, how_word},
    words::lossy,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;
use op::{How, Stream, Uid, Usage, format_cpu, format_size, format_span};

fn secs(micros: u64) -> f64 {
    micros as f64 / 1e6
}

impl Kernel {
    /// The leaves that a subject speaks of.
    fn leaves(&self, session: &Session) -> Vec<&Session> {
        session.members.values().filter_map(|id| self.sessions.get(id)).map(|session| &**session).collect()
    }

    fn real(&self, session: &Session) -> Duration {
        match &session.state {
            State::Fresh | State::Starting => Duration::ZERO,
            State::Running { at, .. } => self.clock.wall.since(*at),
            State::Ended { started, exit, .. } => exit.at.since(*started),
        }
    }

    fn session_status(&self, s: &Session, format: Format, out: &mut Vec<u8>) {
        let (path, user) = (format!("{}/{}", self.node.name, s.id.0), self.user(s.owner).name.clone());
        let (state, real, command) = (s.state_word(), self.real(s), lossy(&s.command));
        if format == Format::Text {
            let line =
                format!("{path} {state} {} {user} {}", format_span(real), command.replace('\n', "\\n"));
            out.extend(line.trim_end().bytes());
            return out.push(b'\n');
        }
        let mut record = Record::default();
        record.text("path", path).text("state", s.state_name());
        add_how(&mut record, s);
        record.real("real", real.as_secs_f64()).text("user", &*user).text("command", command);
        record.write("session", format, out);
    }

    fn node_status(&self, format: Format, out: &mut Vec<u8>) {
        let state = if self.cloud.drained { "drained" } else { "up" };
        up_row(&self.node.name, state, &self.own_load(), Duration::ZERO, format, out);
    }

    fn known_status(&self, known: &Known, format: Format, out: &mut Vec<u8>) {
        let age = self.clock.mono.since(known.measured);
        match &known.down {
            Some((since, why)) => down_row(&known.name, *since, why, format, out),
            None => up_row(&known.name, known.state(), &known.load, age, format, out),
        }
    }

    /// A row a node, by name.
    fn set_status(&self, subject: Subject, format: Format, out: &mut Vec<u8>) {
        let mut rows: Vec<(&str, Vec<u8>)> = Vec::new();
        if self.holds_me(subject) {
            let mut row = Vec::new();
            self.node_status(format, &mut row);
            rows.push((&self.node.name, row));
        }
        for (_, known) in self.set_nodes(subject) {
            let mut row = Vec::new();
            self.known_status(known, format, &mut row);
            rows.push((&known.name, row));
        }
        if let (Subject::Cloud, Some((parent, since, why))) = (subject, &self.cloud.lost) {
            let mut row = Vec::new();
            down_row(parent, *since, why, format, &mut row);
            rows.push((parent, row));
        }
        rows.sort_by(|a, b| a.0.cmp(b.0));
        rows.into_iter().for_each(|(_, row)| out.extend(row));
    }

    /// What a set of nodes has together.
    fn set_info(&self, subject: Subject, format: Format, out: &mut Vec<u8>) {
        let (mut up, mut down, mut drained) = (0, 0, 0);
        let (mut cpus, mut mem, mut total) = (0, 0, Load::default());
        let mut add = |attrs: &[(String, Attr)], load: &Load, state: &str| {
            match state {
                "down" => return down += 1,
                "drained" => drained += 1,
                _ => up += 1,
            }
            for (key, value) in attrs {
                match (key.as_str(), value) {
                    ("cpus", Attr::Int(n)) => cpus += n,
                    ("mem", Attr::Size(n)) => mem += n,
                    _ => {}
                }
            }
            total.users += load.users;
            total.load += load.load;
            total.mem_free += load.mem_free;
            total.disk_free += load.disk_free;
            total.sessions += load.sessions;
            total.running += load.running;
        };
        if self.holds_me(subject) {
            let state = if self.cloud.drained { "drained" } else { "up" };
            add(&self.node.attrs, &self.own_load(), state);
        }
        self.set_nodes(subject).for_each(|(_, known)| add(&known.attrs, &known.load, known.state()));
        if subject == Subject::Cloud && self.cloud.lost.is_some() {
            down += 1;
        }
        let mut r = Record::default();
        r.int("nodes", up + down + drained).int("up", up).int("down", down).int("drained", drained);
        r.int("cpus", cpus).size("mem", mem).size("mem_free", total.mem_free);
        r.size("disk_free", total.disk_free).int("sessions", total.sessions).int("running", total.running);
        r.int("users", total.users).real("load", total.load);
        r.sort();
        r.write("set", format, out);
    }

    /// Where each node of a set is.
    fn set_topology(&self, subject: Subject, format: Format, out: &mut Vec<u8>) {
        let parent = self.cloud.ancestors.last().map_or("-", |(_, name)| name);
        let mut rows: Vec<(&str, &str, &str, Option<&str>)> = Vec::new();
        if self.holds_me(subject) {
            let state = if self.cloud.drained { "drained" } else { "up" };
            rows.push((&self.node.name, parent, state, crate::cloud::loc(&self.node.attrs)));
        }
        for (_, known) in self.set_nodes(subject) {
            let parent = match self.node_no(known.parent).and_then(|no| self.cloud.known(no)) {
                Some(parent) => &*parent.name,
                None if known.parent == self.node.id => &*self.node.name,
                None => "-",
            };
            rows.push((&known.name, parent, known.state(), known.loc()));
        }
        rows.sort_unstable();
        for (name, parent, state, loc) in rows {
            let mut r = Record::default();
            r.text("node", name).text("parent", parent).text("state", state).text("loc", loc.unwrap_or("-"));
            match format {
                Format::Text => {
                    out.extend(format!("{name} {parent} {state} {}\n", loc.unwrap_or("-")).bytes())
                }
                Format::Json | Format::Xml | Format::Sexp => r.write("node", format, out),
            }
        }
    }

    fn session_info(&self, s: &Session, format: Format, out: &mut Vec<u8>) {
        let mut r = Record::default();
        let node = &self.node.name;
        let words = crate::words::split(&s.command).unwrap_or_default();
        r.int("id", s.id.0).text("path", format!("net/{node}/{}", s.id.0)).text("node", &**node);
        r.text("user", &*self.user(s.owner).name).text("provider", "process").text("state", s.state_name());
        r.text("why", s.why()).text("argv0", words.first().map(|w| lossy(w)).unwrap_or_default());
        r.text("command", lossy(&s.command)).text("created", notices::rfc3339(s.created));
        r.text("mode", format!("{:03o}", s.mode)).int("stdout", s.out(Stream::Out).len);
        r.int("stderr", s.out(Stream::Err).len).int("holders", s.holders.into());
        add_how(&mut r, s);
        if s.life.keep {
            r.text("life", "keep");
        } else if s.life.kill_on_close {
            r.text("life", "killonclose");
        } else {
            r.text("life", format!("lease {}s", s.life.lease.as_secs()));
        }
        match s.member_of {
            Some((group, rank)) => r.int("group", group.0).int("rank", rank.into()),
            None => r.int("rank", 0),
        };
        if s.is_group() {
            r.int("size", s.members.len() as u64);
        }
        self.add_times(&mut r, s);
        self.add_live(&mut r, s);
        for (key, value) in &s.tags {
            // A tag cannot hide an attribute of the session's own.
            let known = r.0.iter().any(|(k, _)| k == key);
            r.text(&if known { format!("tag.{key}") } else { key.clone() }, value.as_str());
        }
        r.sort();
        r.write("session", format, out);
    }

    fn add_times(&self, r: &mut Record, s: &Session) {
        match &s.state {
            State::Fresh | State::Starting => {}
            State::Running { pid, at, .. } => {
                r.int("pid", (*pid).into()).text("started", notices::rfc3339(*at));
                r.real("real", self.real(s).as_secs_f64());
            }
            State::Ended { pid, started, exit, .. } => {
                r.int("pid", (*pid).into()).text("started", notices::rfc3339(*started));
                r.text("ended", notices::rfc3339(exit.at)).real("real", self.real(s).as_secs_f64());
                add_usage(r, &exit.usage);
            }
        }
    }

    fn add_live(&self, r: &mut Record, s: &Session) {
        let Some(live) = &s.live else { return };
        let l = &live.setup.limits;
        r.text("runs_as", &*live.setup.user.name).int("nice", 0);
        if let Some((_, value)) = r.0.last_mut() {
            *value = Attr::Text(live.setup.nice.to_string());
        }
        if let Some(dir) = &live.setup.dir {
            r.text("dir", lossy(dir));
        }
        if let Some(size) = live.setup.tty {
            r.text("tty", format!("{} {}", size.rows, size.cols));
        }
        let limits = [
            ("limit_cpu", l.cpu.map(format_cpu)),
            ("limit_mem", l.mem.map(format_size)),
            ("limit_pids", l.pids.map(|n| n.to_string())),
            ("limit_wall", l.wall.map(|d| format!("{}s", d.as_secs_f64()))),
            ("limit_output", l.output.map(format_size)),
            ("limit_fds", l.fds.map(|n| n.to_string())),
        ];
        for (key, value) in limits {
            if let Some(value) = value {
                r.text(key, value);
            }
        }
        if !live.limits_by.is_empty() {
            r.text("limits_by", &*live.limits_by);
        }
        if live.roll {
            r.int("kept_from", s.out(Stream::Out).trimmed);
        }
        if let Some((_, Some(usage))) = &live.gauge {
            add_usage(r, usage);
        }
    }

    fn node_info(&self, format: Format, out: &mut Vec<u8>) {
        let mut r = Record(self.node.attrs.clone());
        let gauges = self.gauges.as_ref().map(|(_, g)| g.clone()).unwrap_or_default();
        let state = if self.cloud.drained { "drained" } else { "up" };
        r.text("node", &*self.node.name).text("state", state).text("user", &*self.node.owner.name);
        r.int("sessions", self.sessions.len() as u64).int("running", self.running as u64);
        r.text("started", notices::rfc3339(self.node.started)).int("up_secs", gauges.up_secs);
        r.real("load", gauges.load[0]).real("load5", gauges.load[1]).real("load15", gauges.load[2]);
        r.int("users", gauges.users.into())
            .size("mem_free", gauges.mem_free)
            .size("disk_free", gauges.disk_free);
        if let Some(own) = &gauges.own {
            r.real("node_cpu", secs(own.user_us + own.sys_us)).size("node_rss", own.maxrss_kib << 10);
        }
        r.int("clients", self.clients.len() as u64).int("waiting", self.parked.len() as u64);
        r.text("path", format!("net/{}", self.node.name)).text("id", format!("{}", self.node.id));
        r.int("children", self.cloud.children().count() as u64);
        if let Some((_, parent)) = self.cloud.ancestors.last() {
            let above: Vec<&str> = self.cloud.ancestors.iter().map(|(_, name)| &**name).collect();
            r.text("parent", &**parent).text("above", above.join("/"));
        }
        if !self.cloud.seeking.is_empty() {
            r.text("seeking", self.cloud.seeking.as_str());
        }
        if let Some((parent, since, why)) = &self.cloud.lost {
            r.text("parent_down", format!("{parent} since {}: {why}", notices::rfc3339(*since)));
        }
        r.sort();
        r.write("node", format, out);
    }

    fn wait_line(&self, s: &Session, format: Format, out: &mut Vec<u8>) {
        let State::Ended { pid, exit, .. } = &s.state else { return };
        let path = format!("{}/{}", self.node.name, s.id.0);
        let (usage, real) = (&exit.usage, self.real(s).as_secs_f64());
        if format == Format::Text {
            let how = how_word(exit.how);
            let (user, sys) = (secs(usage.user_us), secs(usage.sys_us));
            let rss = format_size(usage.maxrss_kib << 10);
            let line =
                format!("{path} {pid} {how} user={user:.2} sys={sys:.2} real={real:.2} maxrss={rss}\n");
            return out.extend(line.bytes());
        }
        let mut r = Record::default();
        r.text("path", path).int("pid", (*pid).into());
        add_how(&mut r, s);
        r.real("user", secs(usage.user_us)).real("sys", secs(usage.sys_us)).real("real", real);
        r.size("maxrss", usage.maxrss_kib << 10);
        r.write("wait", format, out);
    }

    /// Appends lines of leaves that ended as number `from` or later; gives the number to go on from.
    pub(crate) fn ends_since(&self, subject: Subject, from: u64, format: Format, out: &mut Vec<u8>) -> u64 {
        if !self.holds_me(subject) {
            return self.next_end;
        }
        let here = |s: &Session| match subject {
            Subject::Cloud | Subject::Tree | Subject::Loc(_) | Subject::Node(_) => true,
            Subject::Session(id) => s.id == id || s.member_of.is_some_and(|(group, _)| group == id),
        };
        if let Subject::Session(id) = subject
            && let Some(session) = self.sessions.get(&id).filter(|s| !s.is_group())
        {
            if matches!(session.state, State::Ended { order, .. } if order >= from) {
                self.wait_line(session, format, out);
            }
            return self.next_end;
        }
        for id in self.ended.range(from..).map(|(_, id)| id) {
            if let Some(session) = self.sessions.get(id).filter(|s| here(s)) {
                self.wait_line(session, format, out);
            }
        }
        self.next_end
    }

    /// Whether nothing more will end here. A set is done when nothing of it runs; a leaf when it has run.
    pub(crate) fn all_ended(&self, subject: Subject) -> bool {
        match subject {
            Subject::Loc(_) if !self.holds_me(subject) => true,
            Subject::Cloud | Subject::Tree | Subject::Loc(_) | Subject::Node(_) => self.running == 0,
            Subject::Session(id) => match self.sessions.get(&id) {
                Some(s) if s.is_group() => {
                    self.leaves(s).iter().all(|m| matches!(m.state, State::Ended { .. }))
                }
                Some(s) => matches!(s.state, State::Ended { .. }),
                None => true,
            },
        }
    }
}

impl Session {
    /// The state without how it ended: a word of a closed list.
    fn state_name(&self) -> String {
        match self.state {
            State::Ended { .. } => "ended".into(),
            State::Fresh | State::Starting | State::Running { .. } => self.state_word(),
        }
    }
}

fn add_how(record: &mut Record, s: &Session) {
    if let State::Ended { exit, .. } = &s.state {
        match exit.how {
            How::Code(code) => record.int("exit", code.into()),
            How::Signal(signal) => record.int("signal", signal.into()),
            How::Lost => record.text("lost", "node"),
        };
    }
}

fn add_usage(r: &mut Record, usage: &Usage) {
    r.real("cpu_user", secs(usage.user_us)).real("cpu_sys", secs(usage.sys_us));
    r.size("maxrss", usage.maxrss_kib << 10);
}

pub(crate) fn status(k: &Kernel, subject: Subject, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    match subject {
        Subject::Cloud | Subject::Tree | Subject::Loc(_) => k.set_status(subject, format, &mut out),
        Subject::Node(_) => k.node_status(format, &mut out),
        Subject::Session(id) => {
            if let Some(s) = k.sessions.get(&id) {
                match s.is_group() {
                    true => k.leaves(s).iter().for_each(|m| k.session_status(m, format, &mut out)),
                    false => k.session_status(s, format, &mut out),
                }
            }
        }
    }
    out
}

/// The row of another node, as it was last known.
pub(crate) fn row_of(k: &Kernel, no: NodeNo, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(known) = k.cloud.known(no) {
        k.known_status(known, format, &mut out);
    }
    out
}

/// What was last known of another node.
pub(crate) fn info_of(k: &Kernel, no: NodeNo, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(known) = k.cloud.known(no) else { return out };
    let mut r = Record(known.attrs.clone());
    r.text("node", &*known.name).text("state", known.state()).text("id", format!("{}", known.id));
    r.text("path", format!("net/{}", known.name));
    r.text(
        "above",
        k.view_of(Some(no), View::Tree).map(|names| names[1..names.len() - 1].join("/")).unwrap_or_default(),
    );
    if let Some((since, why)) = &known.down {
        r.text("since", notices::rfc3339(*since)).text("why", &**why);
    }
    r.sort();
    r.write("node", format, &mut out);
    out
}

fn up_row(name: &str, state: &str, load: &Load, age: Duration, format: Format, out: &mut Vec<u8>) {
    let up_secs = load.up_secs + age.as_secs();
    if format == Format::Text {
        let (days, rest) = (up_secs / 86_400, up_secs % 86_400);
        let days = match days {
            0 => String::new(),
            1 => "1 day, ".into(),
            n => format!("{n} days, "),
        };
        let up = format!("{days}{:02}:{:02}", rest / 3600, rest / 60 % 60);
        let drained = if state == "drained" { ", drained" } else { "" };
        let line = format!("{name} up {up}, {} users, load average: {:.2}{drained}\n", load.users, load.load);
        return out.extend(line.bytes());
    }
    let mut record = Record::default();
    record.text("node", name).text("state", state).int("up_secs", up_secs);
    record.int("users", load.users).real("load", load.load).real("age", age.as_secs_f64());
    record.write("node", format, out);
}

fn down_row(name: &str, since: op::Wall, why: &str, format: Format, out: &mut Vec<u8>) {
    let since = notices::rfc3339(since);
    if format == Format::Text {
        return out.extend(format!("{name} down since {since}\n").bytes());
    }
    let mut record = Record::default();
    record.text("node", name).text("state", "down").text("since", since).text("why", why);
    record.write("node", format, out);
}

pub(crate) fn info(k: &Kernel, subject: Subject, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    match subject {
        Subject::Cloud | Subject::Tree | Subject::Loc(_) => k.set_info(subject, format, &mut out),
        Subject::Node(_) => k.node_info(format, &mut out),
        Subject::Session(id) => {
            if let Some(s) = k.sessions.get(&id) {
                k.session_info(s, format, &mut out);
            }
        }
    }
    out
}

pub(crate) fn topology(k: &Kernel, subject: Subject, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    let Subject::Session(id) = subject else {
        k.set_topology(subject, format, &mut out);
        return out;
    };
    let Some(session) = k.sessions.get(&id) else { return out };
    let leaves = match session.is_group() {
        true => session.members.iter().map(|(rank, id)| (*rank, id.0)).collect(),
        false => alloc::vec![(0, session.id.0)],
    };
    for (rank, id) in leaves {
        let mut r = Record::default();
        r.int("rank", rank.into()).text("path", format!("{}/{id}", k.node.name));
        match format {
            Format::Text => {
                let line: Vec<String> = r.0.iter().map(|(_, value)| plain(value)).collect();
                out.extend(format!("{}\n", line.join(" ")).bytes());
            }
            Format::Json | Format::Xml | Format::Sexp => r.write("member", format, &mut out),
        }
    }
    out
}

/// Whether what happened to somebody's session shows at a subject, to this user.
fn shows(k: &Kernel, subject: Subject, uid: Uid, session: Option<op::SessionId>, owner: Uid) -> bool {
    match (subject, session) {
        // Who can open a session's own file may see what it says.
        (Subject::Session(id), Some(of)) => {
            of == id || k.sessions.get(&of).and_then(|s| s.member_of).is_some_and(|(group, _)| group == id)
        }
        (Subject::Session(_), None) => false,
        (Subject::Cloud | Subject::Tree | Subject::Node(_), _) => k.stands_for(uid, owner),
        (Subject::Loc(_), _) => k.holds_me(subject) && k.stands_for(uid, owner),
    }
}

pub(crate) fn failures(k: &Kernel, subject: Subject, uid: Uid) -> Vec<u8> {
    let (_, all) = k.failures.since(0);
    let lines = all.filter(|f| shows(k, subject, uid, f.session, f.owner)).map(|f| f.line(&k.node.name));
    lines.collect::<String>().into_bytes()
}

pub(crate) fn events(k: &Kernel, subject: Subject, uid: Uid, from: u64) -> Vec<u8> {
    let (lost, all) = k.happenings.since(from);
    let mut out = String::new();
    if lost > 0 && from > 0 {
        out.push_str(&format!("{{\"event\":\"lost\",\"count\":{lost}}}\n"));
    }
    let set = |h: &&notices::Happening| h.what.is_public() && !matches!(subject, Subject::Session(_));
    for happening in all.filter(|h| set(h) || shows(k, subject, uid, h.session, h.owner)) {
        out.push_str(&happening.line(&k.node.name));
    }
    out.into_bytes()
}
