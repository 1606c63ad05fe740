//! The dead: told to the keeper, reaped, drained and told to the kernel, in this order; and what the keeper says.

use super::Processes;
use super::program::{About, Life, Parent};
use crate::keeper::Line;
use crate::keeper::wire::{End, LISTEN, Note, UNHEARD};
use crate::sys::{self, Death, Which};
use op::{Exit, How, SessionId, Tell};
use rustix::event::epoll;
use std::os::fd::{AsFd, BorrowedFd};

/// Most dead that one turn takes away.
const TURN: usize = 256;

impl Processes {
    /// Looks at the dead. A program's status is with the keeper before it is reaped, so that a node killed in
    /// between loses none; if the line is full, the dead wait.
    pub(super) fn reap(&mut self, tells: &mut Vec<Tell>) {
        sys::take_signals(self.children.as_fd());
        self.dead_wait = false;
        for _ in 0..TURN {
            let Some(death) = sys::look_for_death(Which::Any) else { return };
            let starts = self.starts.of_pid(death.pid);
            let Some(session) = self.pids.get(&death.pid).copied().or(starts) else {
                sys::reap(death.pid); // an orphan, a program that was freed, or a start that failed
                continue;
            };
            let end = end_of(&death);
            if self.line.as_mut().is_some_and(|line| !line.ended(session, end)) {
                self.dead_wait = true;
                return;
            }
            sys::reap(death.pid);
            self.pids.remove(&death.pid);
            if starts.is_some() {
                self.starts.died(session, end); // whether it has run is not known before it has landed
            } else {
                self.exited(session, end, tells);
            }
        }
        self.dead_wait = true;
        self.ring(1);
    }

    /// A program has ended: what it wrote, then that it did.
    pub(super) fn exited(&mut self, session: SessionId, end: End, tells: &mut Vec<Tell>) {
        self.drain(session, tells);
        let Some(program) = self.programs.get_mut(&session) else { return };
        if program.life != Life::Running {
            return;
        }
        program.life = Life::Ended(end);
        self.unsettled.push(session);
        tells.push(Tell::Exited { session, exit: exit_of(end) });
    }

    /// What the keeper says: of adopted programs, how they ended.
    pub(super) fn hear(&mut self, tells: &mut Vec<Tell>) {
        while let Some(notes) = self.line.as_mut().and_then(Line::hear) {
            for note in notes {
                if let Note::Ended { session, end } = note {
                    self.exited(session, end, tells);
                }
            }
        }
        let Some(line) = &self.line else { return };
        if line.gone {
            let _was_in = epoll::delete(&self.epoll, line.fd());
            self.watch_pidfds();
        }
    }

    /// The keeper is gone: adopted programs are now nobody's here, and their pidfds tell of their end.
    fn watch_pidfds(&mut self) {
        for (session, program) in &mut self.programs {
            if let (Parent::Keeper(pidfd), Life::Running) = (&mut program.parent, program.life) {
                let pidfd = pidfd.take();
                if let Some(pidfd) = &pidfd {
                    let word = About::Death.word(*session);
                    let _no_memory = epoll::add(&self.epoll, pidfd, word, epoll::EventFlags::IN);
                }
                program.parent = Parent::Nobody(pidfd);
            }
        }
    }

    /// A program that is nobody's child here has ended.
    pub(super) fn foreign_death(&mut self, session: SessionId, tells: &mut Vec<Tell>) {
        let Some(program) = self.programs.get_mut(&session) else { return };
        let Parent::Nobody(pidfd) = &mut program.parent else { return };
        let Some(pidfd) = pidfd.take() else { return };
        let _was_in = epoll::delete(&self.epoll, &pidfd);
        let mut end = end_from_wait_status(status_of(pidfd.as_fd(), program.pid));
        end.at = sys::wall();
        self.exited(session, end, tells);
        if let Some(line) = &mut self.line {
            line.say(Note::Ended { session, end });
        }
    }

    /// Says what waits for the keeper, in good company or after a while.
    pub(super) fn talk(&mut self) {
        let Some(line) = &mut self.line else { return };
        if line.gone {
            return;
        }
        let full = line.full;
        if full || !self.untold.is_empty() {
            line.flush();
            self.lay_down();
        }
        let Some(line) = &mut self.line else { return };
        let (is_full, unheard) = (line.full, line.unheard);
        if is_full || unheard >= UNHEARD {
            self.have_it_heard();
        }
        if is_full {
            self.ring(5);
        } else if unheard > 0 || self.line.as_ref().is_some_and(Line::has_more) {
            self.ring(200);
        }
        if full && !self.line.as_ref().is_some_and(|line| line.full) && self.dead_wait {
            self.ring(1);
        }
    }

    /// Has the keeper listen to what was said.
    pub(super) fn have_it_heard(&mut self) {
        if let Some(line) = self.line.as_mut().filter(|line| !line.gone) {
            line.unheard = 0;
            super::family::kill(self.keeper_pid, LISTEN);
        }
    }

    /// Lays down with the keeper what the children could not.
    fn lay_down(&mut self) {
        while let (Some(session), Some(line)) = (self.untold.last().copied(), &mut self.line) {
            if let Some(program) = self.programs.get(&session) {
                let (has, fds) = super::adopt::deposit_of(program);
                let (pid, ticks) = (program.pid, program.ticks);
                if !line.hold(Note::Hold { session, pid, ticks, has }, &fds) {
                    return;
                }
                line.full = false;
                if let Life::Ended(end) | Life::Settled(end) = program.life {
                    line.say(Note::Ended { session, end });
                }
            }
            self.untold.pop();
        }
    }
}

/// The status of a dead process that is not our child: its pidfd tells once its parent has reaped it, and
/// until then /proc does.
fn status_of(pidfd: BorrowedFd<'_>, pid: i32) -> Option<i32> {
    let as_zombie = || super::family::stat(pid).filter(|stat| stat.state == b'Z').map(|stat| stat.exit);
    sys::status_of(pidfd).or_else(as_zombie).or_else(|| sys::status_of(pidfd))
}

fn end_of(death: &Death) -> End {
    End { killed: death.killed, status: death.status, usage: death.usage, at: sys::wall() }
}

/// From a status as wait(2) packs it; `None`: nobody saw.
pub(super) fn end_from_wait_status(status: Option<i32>) -> End {
    let (usage, at) = (op::Usage::default(), op::Wall(0));
    match status {
        Some(status) if status & 0x7f != 0 => End { killed: true, status: status & 0x7f, usage, at },
        Some(status) => End { killed: false, status: (status >> 8) & 0xff, usage, at },
        None => End { killed: false, status: -1, usage, at },
    }
}

fn exit_of(end: End) -> Exit {
    let how = match u8::try_from(end.status) {
        Ok(signal) if end.killed => How::Signal(signal),
        Ok(code) => How::Code(code),
        Err(_) => How::Lost,
    };
    Exit { how, usage: end.usage, at: end.at }
}
