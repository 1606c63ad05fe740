//! Sessions as lines of the journal.

use super::OUTPUTS;
use crate::{
    session::{Session, Setup, State},
    words,
};
use alloc::{format, sync::Arc, vec::Vec};
use op::How;

/// The line that makes `session` again, a member of `group` if it is one's.
pub(crate) fn write(session: &Session, group: Option<&Session>, line: &mut Vec<u8>) {
    let mut w = Writer(line);
    words::digits(session.id.0, w.0);
    let like = group.filter(|group| session.is_like(group));
    if like.is_none() {
        w.num("owner", u64::from(session.owner.0));
        w.num("gid", u64::from(session.gid));
        w.num("mode", u64::from(session.mode));
        w.num("lease", session.life.lease.as_millis() as u64);
    }
    w.num("created", session.created.0);
    for (key, on) in [
        ("keep", session.life.keep),
        ("koc", session.life.kill_on_close),
        ("until", session.life.by_word),
        ("freeing", session.life.freeing),
    ] {
        if on {
            w.num(key, 1);
        }
    }
    if let Some(at) = session.expires.filter(|_| session.life.kill_on_close) {
        w.num("ends", at.0);
    }
    if *session.command != *like.map_or(&[][..], |group| &group.command) {
        w.bytes("command", &session.command);
    }
    if let Some((group, rank)) = session.member_of {
        w.num("group", group.0);
        w.num("rank", u64::from(rank));
    }
    for (key, value) in &session.tags {
        w.bytes("tag", format!("{key}={value}").as_bytes());
    }
    write_stands(session, &mut w);
    if let Some(live) = &session.live {
        match group.and_then(|group| group.live.as_ref()) {
            Some(model) if Arc::ptr_eq(&live.setup, &model.setup) || live.setup == model.setup => {
                w.bytes("setup", b"group");
            }
            _ => write_setup(&live.setup, &mut w),
        }
        if live.stdin.closed {
            w.num("eof", 1);
        }
        if live.roll {
            w.num("roll", 1);
        }
    }
}

/// The line of where it stands, and how much it wrote.
pub(crate) fn write_state(session: &Session) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    line.extend_from_slice(b"is ");
    let mut w = Writer(&mut line);
    words::digits(session.id.0, w.0);
    write_stands(session, &mut w);
    line
}

fn write_stands(session: &Session, w: &mut Writer<'_>) {
    for (output, [len, trim, closed]) in session.output.iter().zip(OUTPUTS) {
        if output.len > 0 {
            w.num(len, output.len);
        }
        if output.trimmed > 0 {
            w.num(trim, output.trimmed);
        }
        if output.closed {
            w.num(closed, 1);
        }
    }
    match &session.state {
        State::Fresh => {}
        State::Starting => w.bytes("state", b"starting"),
        State::Running { pid, at, stopped } => {
            w.bytes("state", if *stopped { b"stopped" } else { b"running" });
            w.num("pid", u64::from(*pid));
            w.num("at", at.0);
        }
        State::Ended { pid, started, exit, order } => {
            w.bytes("state", b"ended");
            w.num("pid", u64::from(*pid));
            w.num("at", started.0);
            w.num("order", *order);
            match exit.how {
                How::Code(code) => w.num("exit", u64::from(code)),
                How::Signal(signal) => w.num("signal", u64::from(signal)),
                How::Lost => {}
            }
            w.num("end", exit.at.0);
            let usage = exit.usage;
            for (key, used) in
                [("user_us", usage.user_us), ("sys_us", usage.sys_us), ("maxrss", usage.maxrss_kib)]
            {
                if used > 0 {
                    w.num(key, used);
                }
            }
        }
    }
    if let Some(live) = session.live.as_ref().filter(|live| !live.mark.is_empty()) {
        w.bytes("mark", live.mark.as_bytes());
    }
}

fn write_setup(setup: &Setup, w: &mut Writer<'_>) {
    w.num("user", u64::from(setup.user.uid.0));
    if !setup.env.is_empty() {
        w.bytes("env", &setup.env);
    }
    if !setup.ns.is_empty() {
        w.bytes("ns", &setup.ns);
    }
    if let Some(dir) = &setup.dir {
        w.bytes("dir", dir);
    }
    if setup.nice != 0 {
        w.bytes("nice", format!("{}", setup.nice).as_bytes());
    }
    if let Some(size) = setup.tty {
        w.num("rows", u64::from(size.rows));
        w.num("cols", u64::from(size.cols));
    }
    let l = &setup.limits;
    for (key, value) in [
        ("cpu", l.cpu.map(u64::from)),
        ("mem", l.mem),
        ("pids", l.pids),
        ("wall", l.wall.map(|d| d.as_millis() as u64)),
        ("output", l.output),
        ("fds", l.fds),
    ] {
        if let Some(value) = value {
            w.num(key, value);
        }
    }
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn key(&mut self, key: &str) {
        self.0.push(b' ');
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(b'=');
    }

    fn bytes(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        words::pack(value, self.0);
    }

    fn num(&mut self, key: &str, value: u64) {
        self.key(key);
        words::digits(value, self.0);
    }
}
