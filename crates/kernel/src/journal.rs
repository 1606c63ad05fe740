//! What a node must know after it died: lines of sessions, the last one counts; `free ID` takes one away.
//!
//! A line is `ID key=value…`, values packed by [`words::pack`]; `is ID key=value…` says only where a session stands now and how much
//! it wrote. A member's line leaves out what is its group's: all of owner, gid, mode and lease, the command, and the environment and
//! what else it was set up with (`setup=group`), so that a thousand members are not a thousand of those. One that holds a slot of this
//! node says `slot=1`, and one that was given back and runs still says `left=GROUP rank=RANK`. A last line without its newline was
//! never answered for, and the host drops it. Lines that are not understood are dropped, each with a failure.

mod write;

pub(crate) use write::{write, write_state};

use crate::{
    session::{Live, Output, Session, State, Unsaid},
    words,
};
use alloc::{boxed::Box, collections::BTreeMap, string::String, sync::Arc, vec::Vec};
use core::time::Duration;
use op::{Exit, How, Limits, SessionId, Uid, Usage, User, Wall, WinSize};

/// The keys of what is known of each output.
const OUTPUTS: [[&str; 3]; 2] = [["len1", "trim1", "closed1"], ["len2", "trim2", "closed2"]];

/// One line of the journal, understood.
pub(crate) enum Line {
    /// Numbers below this one were given out.
    Next(u64),
    Free(SessionId),
    Session(Box<Session>, Of),
    State(SessionId, Stands),
}

/// What a member's line leaves to its group, or says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Of {
    /// Its owner, gid, mode and lease are the group's.
    pub(crate) like: bool,
    /// Its command is.
    pub(crate) same: bool,
    /// It is set up as its group.
    pub(crate) set_up: bool,
    /// It holds a slot of this node.
    pub(crate) slot: bool,
    /// It was given back: the rank that it had in this group.
    pub(crate) left: Option<(SessionId, u32)>,
}

/// What of a session changes by itself.
#[derive(Debug)]
pub(crate) struct Stands {
    state: State,
    output: [Output; 2],
    mark: Option<String>,
}

impl Stands {
    pub(crate) fn apply(self, session: &mut Session) {
        session.state = self.state;
        session.output = self.output;
        match session.state {
            State::Ended { .. } => session.live = None,
            State::Fresh | State::Starting | State::Running { .. } => {
                if let (Some(live), Some(mark)) = (&mut session.live, self.mark) {
                    live.mark = mark;
                }
            }
        }
    }
}

/// A number that we have counted up to ourselves: of a size that can be counted on from.
fn counted(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|n| *n < 1 << 40)
}

/// Understands a line; `None` if nobody could.
pub(crate) fn read(line: &[u8], user: impl Fn(Uid) -> Arc<User>) -> Option<Line> {
    let mut fields = line.split(|b| *b == b' ');
    let first = core::str::from_utf8(fields.next()?).ok()?;
    match first {
        "next" => return Some(Line::Next(counted(core::str::from_utf8(fields.next()?).ok()?)?)),
        "free" => {
            let id = counted(core::str::from_utf8(fields.next()?).ok()?)?;
            return Some(Line::Free(SessionId(id)));
        }
        _ => {}
    }
    let first = match first {
        "is" => core::str::from_utf8(fields.next()?).ok()?,
        first => first,
    };
    let id = SessionId(counted(first)?);
    let mut f = Fields { one: BTreeMap::new(), tags: Vec::new() };
    for field in fields {
        let at = field.iter().position(|b| *b == b'=')?;
        let (key, value) = (core::str::from_utf8(&field[..at]).ok()?, words::unpack(&field[at + 1..])?);
        match key {
            "tag" => {
                let text = String::from_utf8(value).ok()?;
                let (key, value) = text.split_once('=')?;
                f.tags.push((key.into(), value.into()));
            }
            key => {
                f.one.insert(key.into(), value);
            }
        }
    }
    if line.starts_with(b"is ") {
        let mark = f.one.get("mark").map(|mark| String::from_utf8(mark.clone())).transpose().ok()?;
        return Some(Line::State(id, Stands { state: f.state()?, output: f.output(), mark }));
    }
    let like = !f.flag("owner") && f.flag("group");
    let owner = if like { Uid(0) } else { Uid(f.small("owner")?) };
    let runs_as = f.num("user").map_or(Some(owner), |n| u32::try_from(n).ok().map(Uid))?;
    let mut s = Session::new(id, &user(runs_as), Wall(f.num("created")?));
    s.owner = owner;
    if !like {
        s.gid = f.small("gid")?;
        s.mode = f.small("mode")?;
        s.life.lease = Duration::from_millis(f.num("lease")?);
    }
    f.fill(&mut s)?;
    s.unsaid = Unsaid::Nothing;
    let left = f.num("left").map(SessionId).zip(f.small("rank"));
    let of =
        Of { like, same: like && !f.flag("command"), set_up: f.flag("setup"), slot: f.flag("slot"), left };
    Some(Line::Session(Box::new(s), of))
}

struct Fields {
    one: BTreeMap<String, Vec<u8>>,
    tags: Vec<(String, String)>,
}

impl Fields {
    fn num(&self, key: &str) -> Option<u64> {
        core::str::from_utf8(self.one.get(key)?).ok()?.parse().ok()
    }

    fn small<T: TryFrom<u64>>(&self, key: &str) -> Option<T> {
        T::try_from(self.num(key)?).ok()
    }

    fn flag(&self, key: &str) -> bool {
        self.one.contains_key(key)
    }

    fn fill(&self, s: &mut Session) -> Option<()> {
        s.life.keep = self.flag("keep");
        s.life.kill_on_close = self.flag("koc");
        s.life.by_word = self.flag("until");
        s.expires = self.num("ends").map(op::Mono);
        s.life.freeing = self.flag("freeing");
        s.command = self.one.get("command").cloned().unwrap_or_default().into();
        s.tags = self.tags.clone();
        s.output = self.output();
        if let Some(group) = self.num("group") {
            let rank = self.small("rank").filter(|rank| *rank < crate::limits::MEMBERS)?;
            s.member_of = Some((SessionId(group), rank));
        }
        s.state = self.state()?;
        match s.state {
            State::Ended { .. } => s.live = None,
            State::Fresh | State::Starting | State::Running { .. } => {
                self.fill_live(s.live.as_deref_mut()?)?
            }
        }
        Some(())
    }

    fn output(&self) -> [Output; 2] {
        OUTPUTS.map(|[len, trim, closed]| Output {
            len: self.num(len).unwrap_or(0),
            trimmed: self.num(trim).unwrap_or(0),
            closed: self.flag(closed),
            full: false,
        })
    }

    fn state(&self) -> Option<State> {
        let running =
            |stopped| Some(State::Running { pid: self.small("pid")?, at: Wall(self.num("at")?), stopped });
        match self.one.get("state").map(Vec::as_slice) {
            None => Some(State::Fresh),
            Some(b"starting") => Some(State::Starting),
            Some(b"running") => running(false),
            Some(b"stopped") => running(true),
            Some(b"ended") => {
                let how = match (self.num("exit"), self.num("signal")) {
                    (Some(code), _) => How::Code(u8::try_from(code).ok()?),
                    (None, Some(signal)) => How::Signal(u8::try_from(signal).ok()?),
                    (None, None) => How::Lost,
                };
                let used = |key| if self.flag(key) { self.num(key) } else { Some(0) };
                let usage =
                    Usage { user_us: used("user_us")?, sys_us: used("sys_us")?, maxrss_kib: used("maxrss")? };
                let exit = Exit { how, usage, at: Wall(self.num("end")?) };
                Some(State::Ended {
                    pid: self.small("pid")?,
                    started: Wall(self.num("at")?),
                    exit,
                    order: self.num("order").filter(|order| *order < 1 << 40)?,
                })
            }
            Some(_) => None,
        }
    }

    fn fill_live(&self, live: &mut Live) -> Option<()> {
        let setup = Arc::make_mut(&mut live.setup);
        if let Some(mark) = self.one.get("mark") {
            live.mark = String::from_utf8(mark.clone()).ok()?;
        }
        setup.env = self.one.get("env").cloned().unwrap_or_default();
        setup.ns = self.one.get("ns").cloned().unwrap_or_default();
        setup.dir = self.one.get("dir").cloned();
        if let Some(nice) = self.one.get("nice") {
            setup.nice = core::str::from_utf8(nice).ok()?.parse().ok()?;
        }
        if self.flag("rows") {
            setup.tty = Some(WinSize { rows: self.small("rows")?, cols: self.small("cols")? });
        }
        live.stdin.closed = self.flag("eof");
        live.roll = self.flag("roll");
        setup.limits = Limits {
            cpu: self.small("cpu"),
            mem: self.num("mem"),
            pids: self.num("pids"),
            wall: self.num("wall").map(Duration::from_millis),
            output: self.num("output"),
            fds: self.num("fds"),
        };
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn user(uid: Uid) -> Arc<User> {
        Arc::new(User {
            uid,
            name: "u".into(),
            groups: alloc::vec![(uid.0, "u".into())],
            home: "/".into(),
            shell: "/bin/sh".into(),
        })
    }

    fn sample() -> Session {
        let mut s = Session::new(SessionId(56), &user(Uid(7)), Wall(5));
        s.tags = alloc::vec![("job".into(), "a b=c\n".into())];
        s.command = (*b"sh -c 'echo \xff\n'").into();
        s.life.keep = true;
        s.output[0].len = 99;
        let setup = s.setup_mut().unwrap();
        (setup.nice, setup.dir) = (-3, Some(b"/tmp/x y".to_vec()));
        s
    }

    fn write(session: &Session, group: Option<&Session>) -> Vec<u8> {
        let mut line = Vec::new();
        super::write(session, group, &mut line);
        line
    }

    fn read_session(line: &[u8]) -> Option<Session> {
        match read(line, user)? {
            Line::Session(s, _) => Some(*s),
            Line::Next(_) | Line::Free(_) | Line::State(..) => None,
        }
    }

    #[test]
    fn a_session_reads_back_in_every_state() {
        let exit = |how| Exit { how, usage: Usage { user_us: 1, sys_us: 2, maxrss_kib: 3 }, at: Wall(9) };
        let ended = |how| State::Ended { pid: 4, started: Wall(6), exit: exit(how), order: 12 };
        for state in [
            State::Fresh,
            State::Starting,
            State::Running { pid: 4, at: Wall(6), stopped: false },
            State::Running { pid: 4, at: Wall(6), stopped: true },
            ended(How::Code(3)),
            ended(How::Signal(9)),
            ended(How::Lost),
        ] {
            let mut s = sample();
            if let State::Ended { .. } = state {
                s.live = None;
            }
            s.state = state;
            let again = read_session(&write(&s, None)).unwrap();
            assert_eq!((&again.state, again.output), (&s.state, s.output));
            assert_eq!(write(&again, None), write(&s, None));
        }
    }

    #[test]
    fn a_line_of_a_state_makes_of_what_was_said_before_what_is_now() {
        let exit = Exit { how: How::Code(3), usage: Usage::default(), at: Wall(9) };
        let mut now = sample();
        let mut again = read_session(&write(&now, None)).unwrap();
        let states = [
            State::Starting,
            State::Running { pid: 4, at: Wall(6), stopped: false },
            State::Running { pid: 4, at: Wall(6), stopped: true },
            State::Ended { pid: 4, started: Wall(6), exit, order: 12 },
        ];
        for (n, state) in states.into_iter().enumerate() {
            now.output[1] = Output { len: n as u64, trimmed: n as u64 / 2, closed: n > 2, full: false };
            match (&state, &mut now.live) {
                (State::Ended { .. }, live) => *live = None,
                (_, Some(live)) => live.mark = format!("mark {n}"),
                (_, None) => {}
            }
            now.state = state;
            let Some(Line::State(id, stands)) = read(&write_state(&now), user) else {
                panic!("{:?}", write_state(&now))
            };
            assert_eq!(id, now.id);
            stands.apply(&mut again);
            assert_eq!((&again.state, again.output), (&now.state, now.output));
            assert_eq!(again.live.as_ref().map(|l| &l.mark), now.live.as_ref().map(|l| &l.mark));
            assert_eq!(write(&again, None), write(&now, None));
        }
    }

    #[test]
    fn a_member_leaves_to_its_group_what_is_alike_and_says_the_rest() {
        let group = sample();
        let mut member = sample();
        member.member_of = Some((group.id, 3));
        let of = |line: &[u8]| match read(line, user) {
            Some(Line::Session(session, of)) => (session, of),
            _ => panic!("{line:?}"),
        };
        let alike = write(&member, Some(&group));
        let (mut again, Of { like: true, same: true, set_up: true, .. }) = of(&alike) else {
            panic!("{alike:?}")
        };
        for key in [" owner=", " lease=", " command=", " dir="] {
            assert!(!words::lossy(&alike).contains(key), "{key}");
        }
        // As it is recalled.
        again.become_like(&group);
        again.command = group.command.clone();
        again.live.as_mut().unwrap().setup = group.live.as_ref().unwrap().setup.clone();
        assert_eq!(write(&again, None), write(&member, None));

        (member.mode, member.command) = (0o644, Arc::default());
        member.setup_mut().unwrap().nice = 4;
        let own = write(&member, Some(&group));
        let (again, Of { like: false, same: false, set_up: false, .. }) = of(&own) else { panic!("{own:?}") };
        assert_eq!((again.mode, again.live.as_ref().unwrap().setup.nice), (0o644, 4));
        assert_eq!(write(&again, None), write(&member, None));

        // That it runs nothing, while its group does.
        member.mode = group.mode;
        let idle = write(&member, Some(&group));
        let (again, Of { like: true, same: false, .. }) = of(&idle) else { panic!("{idle:?}") };
        assert!(again.command.is_empty());
    }

    #[test]
    fn a_line_cut_at_any_byte_or_with_any_byte_changed_is_read_or_dropped_and_never_panics() {
        let lines = [write(&sample(), None), write_state(&sample())];
        for (line, cut) in lines.iter().flat_map(|line| (0..line.len()).map(move |cut| (line, cut))) {
            let _ = read(&line[..cut], user);
            for byte in [b' ', b'=', b'%', b'9', 0xff] {
                let mut bad = line.clone();
                bad[cut] = byte;
                let _ = read(&bad, user);
            }
        }
    }
}
