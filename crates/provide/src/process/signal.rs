//! Signals, freezing, and giving a session back.

use super::Processes;
use super::family;
use super::program::{Frozen, Life, Parent};
use op::SessionId;
use std::collections::BTreeSet;

/// How often new members of a dying family are looked for. Each round finds what was forked in the one before.
const ROUNDS: usize = 64;

impl Processes {
    pub(super) fn signal(&mut self, session: SessionId, signal: i32, all: bool) {
        let Some(program) = self.programs.get(&session) else { return };
        if all {
            return self.signal_all(session, signal);
        }
        if program.life == Life::Running {
            family::kill_group(program.pid, signal);
            let front = program.out.from.as_ref().filter(|_| program.tty);
            let front = front.and_then(|terminal| rustix::termios::tcgetpgrp(terminal).ok());
            let front = front.map_or(program.pid, |group| group.as_raw_nonzero().get());
            if front != program.pid {
                family::kill_group(front, signal);
            }
            return;
        }
        // The number of an ended program may be another's by now: only those who verifiably stayed in its group.
        let group = program.pid;
        for pid in self.family(session, program) {
            if family::stat(pid).is_some_and(|stat| stat.group == group) {
                family::kill(pid, signal);
            }
        }
    }

    /// Everything that came of it, however it hides (see [`family`] for the limit of that).
    fn signal_all(&mut self, session: SessionId, signal: i32) {
        let Some(program) = self.programs.get(&session) else { return };
        if let Some(group) = program.group.as_ref().filter(|_| signal == libc::SIGKILL) {
            group.kill();
        }
        let mut done = BTreeSet::new();
        for _ in 0..ROUNDS {
            let new: Vec<i32> =
                self.family(session, program).into_iter().filter(|pid| done.insert(*pid)).collect();
            if new.is_empty() {
                break;
            }
            for pid in new {
                family::kill(pid, signal);
            }
            if signal != libc::SIGKILL {
                break; // what was forked meanwhile inherited nothing: a second round would signal it wrongly
            }
        }
        // The version 1 freezer holds even the killed.
        if signal == libc::SIGKILL && program.frozen != Frozen::No {
            self.freeze(session, false);
        }
    }

    pub(super) fn freeze(&mut self, session: SessionId, on: bool) {
        let Some(mut program) = self.programs.remove(&session) else { return };
        if on && program.frozen == Frozen::No {
            let mut group = program.group.take().unwrap_or_default();
            self.cgroups.for_freeze(session, &mut group);
            let mut moved = BTreeSet::new();
            for _ in 0..ROUNDS {
                let new: Vec<i32> =
                    self.family(session, &program).into_iter().filter(|pid| moved.insert(*pid)).collect();
                if new.is_empty() {
                    break;
                }
                new.iter().for_each(|pid| group.join(*pid));
            }
            program.frozen = if group.freeze(true) { Frozen::ByGroup } else { Frozen::BySignal };
            program.group = Some(group).filter(|group| !group.is_empty());
            if program.frozen == Frozen::BySignal {
                moved.iter().for_each(|pid| family::kill(*pid, libc::SIGSTOP));
            }
        } else if !on {
            match program.frozen {
                Frozen::No if matches!(program.parent, Parent::Node) => {}
                Frozen::No => {
                    // An earlier node may have stopped it, in either way.
                    let _has_none = program.group.as_ref().map(|group| group.freeze(false));
                    self.family(session, &program).iter().for_each(|pid| family::kill(*pid, libc::SIGCONT));
                }
                Frozen::ByGroup => {
                    let _is_gone = program.group.as_ref().map(|group| group.freeze(false));
                }
                Frozen::BySignal => {
                    self.family(session, &program).iter().for_each(|pid| family::kill(*pid, libc::SIGCONT));
                }
            }
            program.frozen = Frozen::No;
        }
        self.programs.insert(session, program);
    }

    /// Everything back: what is left is killed, spools and groups are removed.
    pub(super) fn free(&mut self, session: SessionId) {
        self.clear_room(session);
        let Some(program) = self.programs.get(&session) else { return };
        if program.is_over() && program.group.is_none() {
            // Nothing holds its outputs; a daemon that let go of them may be left, and is looked for later,
            // for all sessions that were freed meanwhile at once.
            let (pid, tag) = (program.pid, self.tag(session));
            self.freed.push((pid, tag));
            self.ring(200);
        } else {
            self.signal_all(session, libc::SIGKILL);
        }
        let Some(mut program) = self.programs.remove(&session) else { return };
        super::flow::unwatch_all(&self.epoll, &mut program);
        program.out.spool.remove();
        program.err.spool.remove();
        self.pids.remove(&program.pid);
        if let Some(group) = &program.group {
            self.cgroups.remove(group);
            self.ring(200);
        }
        if let Some(line) = self.line.as_mut() {
            line.say(crate::keeper::wire::Note::Drop { session });
        }
    }

    /// Kills the orphans of sessions that were freed.
    pub(super) fn sweep(&mut self) {
        let freed = std::mem::take(&mut self.freed);
        if freed.is_empty() {
            return;
        }
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let programs = self.programs.values().map(|program| program.pid);
        let adopted: BTreeSet<i32> = programs.chain(self.starts.pids()).collect();
        let is_known = |pid: i32| pid == own || adopted.contains(&pid);
        let kin = family::Kin { reapers: &[own, self.keeper_pid], is_known: &is_known };
        let tags: std::collections::HashMap<&str, i32> =
            freed.iter().map(|(pid, tag)| (tag.as_str(), *pid)).collect();
        for orphan in kin.orphans() {
            let tag = family::tag_of(orphan);
            if tag.as_deref().is_some_and(|tag| tags.contains_key(tag)) {
                for pid in family::tree(orphan) {
                    family::kill(pid, libc::SIGKILL);
                }
            }
        }
    }
}
