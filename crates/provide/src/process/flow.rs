//! Bytes: output from pipes to spools, input to stdin, and what stops and resumes them.

use super::Processes;
use super::program::{About, Fed, Life, Output};
use crate::keeper::wire::Note;
use crate::spool::{self, Pumped};
use op::{Errno, Error, SessionId, Stream, Tell, WinSize};
use rustix::event::epoll;

impl Processes {
    /// Puts an output into the epoll.
    pub(super) fn watch(&mut self, session: SessionId, stream: Stream) {
        let Some(program) = self.programs.get_mut(&session) else { return };
        let output = program.output(stream);
        if output.watched {
            return;
        }
        let Some(from) = &output.from else { return };
        let about = match stream {
            Stream::Out => About::Out,
            Stream::Err => About::Err,
        };
        match epoll::add(&self.epoll, from, about.word(session), epoll::EventFlags::IN) {
            Ok(()) => output.watched = true,
            Err(_) => {
                // No memory for a watch: look again later.
                output.stuck = true;
                self.stuck.push((session, stream));
                self.ring(500);
            }
        }
    }

    /// An output has bytes, or an end.
    pub(super) fn output_ready(
        &mut self,
        session: SessionId,
        stream: Stream,
        flags: epoll::EventFlags,
        tells: &mut Vec<Tell>,
    ) {
        if flags.contains(epoll::EventFlags::IN) {
            self.pump(session, stream, spool::TURN, tells);
        } else if flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            self.close(session, stream, tells);
        }
    }

    /// Moves what waits in an output, at most `most` bytes, and tells.
    pub(super) fn pump(&mut self, session: SessionId, stream: Stream, most: u64, tells: &mut Vec<Tell>) {
        let Some(program) = self.programs.get(&session) else { return };
        self.pump_to(session, stream, (program.limits.output, most), tells);
    }

    fn pump_to(
        &mut self,
        session: SessionId,
        stream: Stream,
        (limit, most): (Option<u64>, u64),
        tells: &mut Vec<Tell>,
    ) {
        let Some(program) = self.programs.get_mut(&session) else { return };
        let tty = program.tty;
        let output = program.output(stream);
        let before = output.spool.len;
        let Some(pumped) = output.pump(tty, limit, most) else { return };
        if output.spool.len > before {
            tells.push(Tell::Grew { session, stream, len: output.spool.len });
            output.full = false; // if it halts again, that is another halt
        }
        match pumped {
            Pumped::Some => {}
            Pumped::End => self.close(session, stream, tells),
            Pumped::Full => {
                if !std::mem::replace(&mut output.full, true) {
                    tells.push(Tell::Full { session, stream });
                }
                unwatch(&self.epoll, output);
            }
            Pumped::Stuck(_) => {
                // The bytes stay in the pipe and the program waits, as at its limit.
                if !std::mem::replace(&mut output.full, true) {
                    tells.push(Tell::Full { session, stream });
                }
                output.stuck = true;
                unwatch(&self.epoll, output);
                self.stuck.push((session, stream));
                self.ring(500);
            }
        }
    }

    /// An output has come to its end.
    pub(super) fn close(&mut self, session: SessionId, stream: Stream, tells: &mut Vec<Tell>) {
        let Some(program) = self.programs.get_mut(&session) else { return };
        let output = program.output(stream);
        // The keeper holds the same open file, so closing ours would not take it out of the epoll.
        unwatch(&self.epoll, output);
        output.from = None;
        output.spool.rest();
        if !std::mem::replace(&mut output.closed, true) {
            tells.push(Tell::Closed { session, stream });
        }
        if stream == Stream::Out && program.tty && !std::mem::replace(&mut program.err.closed, true) {
            tells.push(Tell::Closed { session, stream: Stream::Err });
        }
        self.over(session);
    }

    /// Lets the keeper forget a session of which nothing can come any more.
    pub(super) fn over(&mut self, session: SessionId) {
        let Some(program) = self.programs.get_mut(&session) else { return };
        if program.is_over() {
            close_stdin(&self.epoll, program);
            if let Some(line) = &mut self.line {
                line.say(Note::Drop { session });
            }
        }
    }

    /// Tries again an output that stood still for want of room under its limit.
    pub(super) fn resume(&mut self, session: SessionId, stream: Stream, tells: &mut Vec<Tell>) {
        let Some(program) = self.programs.get_mut(&session) else { return };
        let limit = program.limits.output;
        let output = program.output(stream);
        let room = limit.is_none_or(|limit| output.spool.len - output.spool.trimmed < limit);
        if output.full && !output.stuck && room {
            output.full = false;
            self.watch(session, stream);
            self.pump(session, stream, spool::TURN, tells);
        }
    }

    /// Tries again an output whose spool could not be written.
    pub(super) fn unstick(&mut self, session: SessionId, stream: Stream, tells: &mut Vec<Tell>) {
        if self.written.contains_key(&(session, stream)) {
            self.append_on(session, stream, tells);
            return;
        }
        let Some(program) = self.programs.get_mut(&session) else { return };
        let output = program.output(stream);
        output.stuck = false;
        self.watch(session, stream);
        // `full` stays until bytes move, so that `Full` is told once for one halt.
        self.pump(session, stream, spool::TURN, tells);
        let Some(program) = self.programs.get_mut(&session) else { return };
        let output = program.output(stream);
        if output.watched {
            output.full = false;
        }
    }

    pub(super) fn trim(&mut self, session: SessionId, stream: Stream, offset: u64) {
        if let Some(written) = self.written.get_mut(&(session, stream)) {
            return written.spool.trim(offset);
        }
        let Some(program) = self.programs.get_mut(&session) else { return };
        let limit = program.limits.output;
        let output = program.output(stream);
        output.spool.trim(offset);
        let room = limit.is_none_or(|limit| output.spool.len - output.spool.trimmed < limit);
        if output.full && !output.stuck && room {
            output.full = false;
            self.watch(session, stream);
        }
    }

    pub(super) fn feed(&mut self, session: SessionId, data: Vec<u8>, tells: &mut Vec<Tell>) {
        let Some(program) = self.programs.get_mut(&session) else {
            let error = Error::new(Errno::PIPE, "the program is gone");
            tells.push(Tell::Fed { session, result: Err(error) });
            return;
        };
        if program.stdin.shut {
            let error = Error::new(Errno::PIPE, "its stdin has been closed");
            tells.push(Tell::Fed { session, result: Err(error) });
            return;
        }
        program.stdin.take(data);
        self.feed_on(session, tells);
    }

    /// Goes on feeding.
    pub(super) fn feed_on(&mut self, session: SessionId, tells: &mut Vec<Tell>) {
        let Some(program) = self.programs.get_mut(&session) else { return };
        let stdin = &mut program.stdin;
        if !stdin.feeding {
            return unwatch_stdin(&self.epoll, program);
        }
        let result = match stdin.feed() {
            Fed::Some => {
                if let (false, Some(to)) = (stdin.watched, &stdin.to) {
                    let word = About::Stdin.word(session);
                    stdin.watched = epoll::add(&self.epoll, to, word, epoll::EventFlags::OUT).is_ok();
                }
                return;
            }
            Fed::All => Ok(()),
            Fed::No(error) => Err(error),
        };
        stdin.unfeed();
        let (shut, broken) = (stdin.shut, result.is_err());
        tells.push(Tell::Fed { session, result });
        unwatch_stdin(&self.epoll, program);
        if shut || broken {
            self.shut(session);
        }
    }

    pub(super) fn unfeed(&mut self, session: SessionId, tells: &mut Vec<Tell>) {
        let Some(program) = self.programs.get_mut(&session) else { return };
        if program.stdin.feeding {
            program.stdin.unfeed();
            let shut = program.stdin.shut;
            unwatch_stdin(&self.epoll, program);
            let error = Error::new(Errno::CANCELED, "feeding was given up");
            tells.push(Tell::Fed { session, result: Err(error) });
            if shut {
                self.shut(session);
            }
        }
    }

    pub(super) fn close_stdin(&mut self, session: SessionId) {
        let Some(program) = self.programs.get_mut(&session) else { return };
        let feeding = program.stdin.feeding;
        // A terminal can be written to after its end-of-file character.
        program.stdin.shut = !program.tty || feeding;
        if !feeding {
            self.shut(session);
        }
    }

    fn shut(&mut self, session: SessionId) {
        let Some(program) = self.programs.get_mut(&session) else { return };
        if program.tty {
            program.stdin.shut = false;
            program.stdin.end_of_file();
            return;
        }
        program.stdin.shut = true;
        if program.stdin.to.is_some() {
            close_stdin(&self.epoll, program);
            if let Some(line) = &mut self.line {
                // At once: until the keeper has closed its copy, the program sees no end.
                line.say(Note::Shut { session });
                line.flush();
                self.have_it_heard();
            }
        }
    }

    pub(super) fn resize(&mut self, session: SessionId, size: WinSize) {
        let Some(program) = self.programs.get(&session) else { return };
        if let (true, Some(terminal)) = (program.tty, &program.out.from) {
            let _it_has_ended = rustix::termios::tcsetwinsize(terminal, super::pipes::winsize(size));
        }
    }

    /// What the program itself wrote is in the pipe when it dies; what grandchildren write comes later.
    pub(super) fn drain(&mut self, session: SessionId, tells: &mut Vec<Tell>) {
        for stream in [Stream::Out, Stream::Err] {
            let Some(program) = self.programs.get_mut(&session) else { return };
            let tty = program.tty;
            let Some(from) = &program.output(stream).from else { continue };
            let waits = crate::sys::waiting(std::os::fd::AsFd::as_fd(from));
            if waits > 0 || tty {
                // Beyond its limit too: whoever is told that it has ended may think that it has written all, and a pipe holds
                // little.
                let most = if tty { spool::TURN } else { waits };
                self.pump_to(session, stream, (None, most), tells);
            }
        }
    }
}

fn unwatch(epoll: &std::os::fd::OwnedFd, output: &mut Output) {
    if let (true, Some(from)) = (output.watched, &output.from) {
        let _was_in = epoll::delete(epoll, from);
    }
    output.watched = false;
}

fn unwatch_stdin(epoll: &std::os::fd::OwnedFd, program: &mut super::program::Program) {
    if let (true, Some(to)) = (program.stdin.watched, &program.stdin.to) {
        let _was_in = epoll::delete(epoll, to);
    }
    program.stdin.watched = false;
}

pub(super) fn close_stdin(epoll: &std::os::fd::OwnedFd, program: &mut super::program::Program) {
    unwatch_stdin(epoll, program);
    program.stdin.to = None;
}

/// Takes all of a program's descriptors out of the epoll; they are about to be closed.
pub(super) fn unwatch_all(epoll: &std::os::fd::OwnedFd, program: &mut super::program::Program) {
    close_stdin(epoll, program);
    unwatch(epoll, &mut program.out);
    unwatch(epoll, &mut program.err);
    debug_assert!(program.life != Life::Running || program.stdin.to.is_none(), "stdin was closed above");
}
