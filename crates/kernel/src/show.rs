//! What the information files say: records of sessions and of the node, and who sees which.

mod nodes;

pub(crate) use nodes::{down_row, info_of, row_of};

use crate::{
    Attr, Kernel,
    group::End,
    notices,
    place::Subject,
    record::{Format, Record, plain},
    session::{Session, State},
    words::lossy,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;
use op::{How, Stream, Uid, Usage, format_cpu, format_size, format_span};

pub(crate) fn secs(micros: u64) -> f64 {
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

    /// Where a session of a set is, and what it belongs to.
    fn session_place(&self, s: &Session, format: Format, out: &mut Vec<u8>) {
        let (rank, path) = (s.rank(), format!("{}/{}", self.node.name, s.id.0));
        let (user, job) = (self.user(s.owner).name.clone(), s.job());
        match format {
            Format::Text => out.extend(format!("{rank} {path} {user} {job}\n").bytes()),
            Format::Json | Format::Xml | Format::Sexp => {
                let mut r = Record::default();
                r.int("rank", rank.into()).text("path", path).text("user", &*user).text("job", job);
                r.write("member", format, out);
            }
        }
    }

    fn session_info(&self, s: &Session, format: Format, out: &mut Vec<u8>) {
        let mut r = Record::default();
        let node = &self.node.name;
        let words = crate::words::split(&s.command).unwrap_or_default();
        r.int("id", s.id.0).text("path", format!("net/{node}/{}", s.id.0)).text("node", &**node);
        r.text("user", &*self.user(s.owner).name).text("provider", "process").text("state", s.state_name());
        r.text("why", self.why_waits(s).unwrap_or_else(|| s.why()))
            .text("argv0", words.first().map(|w| lossy(w)).unwrap_or_default());
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
            self.add_group(&mut r, s);
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

    fn add_group(&self, r: &mut Record, s: &Session) {
        r.int("size", s.size().into());
        if let Some(group) = s.group.as_deref() {
            let (queued, active) = group.counts();
            r.int("queued", queued as u64).int("active", active as u64);
            r.int("ended", group.log.len() as u64).int("failed", group.failed().into());
        }
        for (id, stream) in s.flow.iter().flat_map(|flow| flow.reduced_by()) {
            r.text(&format!("{stream}.reduce"), format!("net/{}/{}", self.node.name, id.0));
        }
        if let Some((_, why)) = r.0.iter_mut().find(|(key, _)| key == "why") {
            *why = Attr::Text(self.group_why(s));
        }
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

    fn wait_line(&self, s: &Session, format: Format, out: &mut Vec<u8>) {
        if let Some(end) = End::of(&self.node.name, s, 0) {
            end.line(s.member_of.is_some(), format, out);
        }
    }

    /// Appends lines of leaves that ended as number `from` or later; gives the number to go on from.
    pub(crate) fn ends_since(&self, subject: Subject, from: u64, format: Format, out: &mut Vec<u8>) -> u64 {
        if !self.holds_me(subject) {
            return self.next_end;
        }
        let here = |s: &Session| match subject {
            Subject::Set(_) => self.holds_ever(subject, s),
            Subject::Cloud | Subject::Tree | Subject::Node(_) => true,
            Subject::Session(id) => s.id == id || s.member_of.is_some_and(|(group, _)| group == id),
        };
        if let Subject::Session(id) = subject
            && let Some(group) =
                self.sessions.get(&id).filter(|s| s.is_group()).and_then(|s| s.group.as_deref())
        {
            let from = usize::try_from(from).unwrap_or(usize::MAX).min(group.log.len());
            group.log[from..]
                .iter()
                .filter_map(|end| self.end_of(group, end))
                .for_each(|end| end.write(format, out));
            return group.log.len() as u64;
        }
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
            Subject::Set(_) if !self.holds_me(subject) => true,
            Subject::Set(_) if self.of_sessions(subject) => {
                !self.sessions.values().any(|s| s.runs() && self.holds_ever(subject, s))
            }
            Subject::Cloud | Subject::Tree | Subject::Set(_) | Subject::Node(_) => self.running == 0,
            Subject::Session(id) => match self.sessions.get(&id) {
                Some(s) if s.is_group() => match &s.group {
                    Some(group) => group.is_over(),
                    None => self.leaves(s).iter().all(|m| matches!(m.state, State::Ended { .. })),
                },
                Some(s) => matches!(s.state, State::Ended { .. }),
                None => true,
            },
        }
    }
}

impl Session {
    /// The state without how it ended: a word of a closed list.
    pub(crate) fn state_name(&self) -> String {
        match self.state {
            State::Ended { .. } => "ended".into(),
            State::Fresh | State::Starting | State::Running { .. } => self.state_word(),
        }
    }
}

fn add_how(record: &mut Record, s: &Session) {
    if let State::Ended { exit, .. } = &s.state {
        add_exit(record, exit.how);
    }
}

/// How something ended, as a field of a record.
pub(crate) fn add_exit(record: &mut Record, how: How) {
    match how {
        How::Code(code) => record.int("exit", code.into()),
        How::Signal(signal) => record.int("signal", signal.into()),
        How::Lost => record.text("lost", "node"),
    };
}

fn add_usage(r: &mut Record, usage: &Usage) {
    r.real("cpu_user", secs(usage.user_us)).real("cpu_sys", secs(usage.sys_us));
    r.size("maxrss", usage.maxrss_kib << 10);
}

pub(crate) fn status(k: &Kernel, subject: Subject, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    match subject {
        Subject::Set(_) if k.of_sessions(subject) => {
            k.matching(subject).for_each(|s| k.session_status(s, format, &mut out));
        }
        Subject::Cloud | Subject::Tree | Subject::Set(_) => k.set_status(subject, format, &mut out),
        Subject::Node(_) => k.node_status(format, &mut out),
        Subject::Session(id) => {
            if let Some(s) = k.sessions.get(&id) {
                match s.is_group() {
                    true => {
                        k.leaves(s).iter().for_each(|m| k.session_status(m, format, &mut out));
                        k.unmade_status(s, format, &mut out);
                    }
                    false => k.session_status(s, format, &mut out),
                }
            }
        }
    }
    out
}

pub(crate) fn info(k: &Kernel, subject: Subject, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    match subject {
        Subject::Set(_) if k.of_sessions(subject) => {
            for session in k.matching(subject) {
                // As text, a record has many lines: an empty one stands between two.
                if format == Format::Text && !out.is_empty() {
                    out.push(b'\n');
                }
                k.session_info(session, format, &mut out);
            }
        }
        Subject::Cloud | Subject::Tree | Subject::Set(_) => k.set_info(subject, format, &mut out),
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
    if k.of_sessions(subject) {
        k.matching(subject).for_each(|s| k.session_place(s, format, &mut out));
        return out;
    }
    let leaves: Vec<(u32, u64)> = match subject {
        Subject::Session(id) => {
            let Some(session) = k.sessions.get(&id) else { return out };
            match session.is_group() {
                true => session.members.iter().map(|(rank, id)| (*rank, id.0)).collect(),
                false => alloc::vec![(0, session.id.0)],
            }
        }
        Subject::Cloud | Subject::Tree | Subject::Set(_) | Subject::Node(_) => {
            k.set_topology(subject, format, &mut out);
            return out;
        }
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
        (Subject::Set(_), None) => !k.of_sessions(subject) && k.holds_me(subject) && k.stands_for(uid, owner),
        (Subject::Set(_), Some(of)) => {
            let holds = k.sessions.get(&of).is_some_and(|s| k.holds_ever(subject, s));
            holds && k.holds_me(subject) && k.stands_for(uid, owner)
        }
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
    let nodes = !matches!(subject, Subject::Session(_)) && !k.of_sessions(subject);
    let set = |h: &&notices::Happening| h.what.is_public() && nodes;
    for happening in all.filter(|h| set(h) || shows(k, subject, uid, h.session, h.owner)) {
        out.push_str(&happening.line(&k.node.name));
    }
    out.into_bytes()
}
