//! Our own side of a program in the foreground: our outputs and stdin, the signals that we get, our terminal, and how long we wait.

use super::{Run, Want};
use crate::console::feed::Fed;
use crate::console::signals::{Came, stop_self};
use crate::console::terminal;
use crate::console::wait::wait;
use crate::failure::{Failure, say};
use crate::run::back::by;
use crate::run::script;
use op::Op;
use std::time::Instant;

impl Run<'_> {
    pub(super) fn write_outputs(&mut self) -> Result<(), Failure> {
        for at in 0..2 {
            if let Err(error) = self.outputs[at].outlet.drain() {
                // The program would have got the signal itself, had it been local.
                self.tell("kill PIPE");
                return Err(Failure::from(error).about(if at == 0 { "stdout" } else { "stderr" }));
            }
        }
        Ok(())
    }

    pub(super) fn wait_for_something(&mut self) -> Result<(), Failure> {
        let hungry = self.started && self.ended.is_none() && !self.cut_off;
        let feed = Some(&self.feed).filter(|_| hungry);
        let outlets = self.outputs.iter().map(|out| &out.outlet);
        let ready = wait(&mut self.node, &self.signals, feed, outlets, self.deadline)?;
        if ready.signals {
            self.take_signals()?;
        }
        if ready.stdin {
            self.take_stdin();
        }
        if self.deadline.is_some_and(|at| at <= Instant::now()) {
            self.time_is_over();
        }
        Ok(())
    }

    fn take_stdin(&mut self) {
        let offset = self.feed.sent();
        match self.feed.take() {
            Fed::Nothing => {}
            Fed::Data(data) => {
                let op = Op::Write { fid: self.files.stdin, offset, data };
                let Op::Write { data, .. } = &op else { return };
                let want = Want::Fed(data.len());
                self.ask(want, op);
            }
            Fed::End => self.close_stdin(),
        }
    }

    /// The end of stdin is told when all before it is taken: what is asked of different files has no order.
    pub(super) fn close_stdin(&mut self) {
        if self.feed.is_over() && self.feed.is_settled() && !std::mem::replace(&mut self.closed, true) {
            self.tell("close stdin");
        }
    }

    fn time_is_over(&mut self) {
        self.deadline = None;
        self.timed_out = true;
        let (name, span) = (script::shown(&self.args.command[..1]), self.args.timeout.unwrap_or_default());
        let end = if self.raw.is_some() { "\r" } else { "" };
        say("run", &format!("{name}: ended after {span:?} (--timeout){end}"));
        self.tell("kill");
    }

    fn take_signals(&mut self) -> Result<(), Failure> {
        for came in self.signals.take() {
            match came {
                Came::Signal(number, _) if !self.started || self.ended.is_some() || self.cut_off => {
                    return Err(by(number));
                }
                Came::Signal(_, name) => {
                    self.interrupts += usize::from(name == "INT");
                    // The first asks, the second does not.
                    let name = if name == "INT" && self.interrupts > 1 { "KILL" } else { name };
                    self.tell(&format!("kill {name}"));
                }
                Came::Stop => self.stop(),
                Came::Resized if self.args.tty => self.resize(),
                Came::Resized => {}
            }
        }
        Ok(())
    }

    /// ^Z: the whole session stops, and then we do; `fg` lets both go on.
    fn stop(&mut self) {
        self.tell("stop");
        if let Some(raw) = &self.raw {
            raw.pause();
        }
        stop_self();
        if let Some(raw) = &self.raw {
            raw.again();
            self.resize();
        }
        self.tell("start");
    }

    fn resize(&mut self) {
        if let Some(size) = terminal::size() {
            self.tell(&format!("winsize {} {}", size.rows, size.cols));
        }
    }
}
