//! Our own side: what is written and read here without ever waiting for one of them, signals, and how far it is.

use super::{About, Follow, Want};
use crate::console::feed::Fed;
use crate::console::signals::{Came, stop_self};
use crate::console::wait::wait;
use crate::failure::Failure;
use crate::run::back::by;
use crate::run::flight::Files;
use crate::run::group::progress::Counts;
use op::Op;
use std::time::Instant;

impl Follow<'_> {
    pub(super) fn write_outputs(&mut self) -> Result<(), Failure> {
        for at in 0..2 {
            if self.outputs[at].outlet.waiting() > 0 {
                self.progress.hide();
            }
            if let Err(error) = self.outputs[at].outlet.drain() {
                // They would have got the signal themselves, had they been local; the group ends with us.
                return Err(Failure::from(error).about(if at == 0 { "stdout" } else { "stderr" }));
            }
        }
        Ok(())
    }

    pub(super) fn wait_for_something(&mut self) -> Result<(), Failure> {
        let under_way = self.started && !self.ended;
        let feed = self.feed.as_ref().filter(|_| under_way);
        let outlets = self.outputs.iter().map(|out| &out.outlet);
        let due = self.progress.due().filter(|_| under_way);
        let ready = wait(&mut self.node, &self.signals, feed, outlets, due)?;
        if ready.signals {
            self.take_signals()?;
        }
        if ready.stdin {
            self.take_stdin();
        }
        if due.is_some_and(|at| at <= Instant::now()) {
            self.show_progress();
        }
        Ok(())
    }

    pub(super) fn show_progress(&mut self) {
        let size = self.size;
        let counts = Counts {
            size,
            running: self.running,
            ended: self.tally.ended.len() + self.plan.left_out(size),
            failed: self.tally.failures,
        };
        // What is there now; what is asked for comes with the next.
        self.progress.show(counts, Instant::now());
        if !std::mem::replace(&mut self.asked_info, true) {
            self.read(About::Info);
            self.node.flush();
        }
    }

    pub(super) fn take_stdin(&mut self) {
        let (Some(feed), Some(Files { stdin: fid, .. })) = (&mut self.feed, self.files) else { return };
        let offset = feed.sent();
        match feed.take() {
            Fed::Nothing => {}
            Fed::Data(data) => {
                let want = Want::Fed(data.len());
                self.ask(want, Op::Write { fid, offset, data });
            }
            Fed::End => self.close_stdin(),
        }
    }

    /// The end of stdin is told when all before it is taken: what is asked of different files has no order.
    pub(super) fn close_stdin(&mut self) {
        let over = self.feed.as_ref().is_some_and(|feed| feed.is_over() && feed.is_settled());
        if over && !std::mem::replace(&mut self.closed, true) {
            self.tell("close stdin");
        }
    }

    pub(super) fn take_signals(&mut self) -> Result<(), Failure> {
        for came in self.signals.take() {
            match came {
                Came::Signal(number, _) if !self.started || self.ended => return Err(by(number)),
                Came::Signal(_, name @ ("USR1" | "USR2")) => self.tell(&format!("kill {name}")),
                Came::Signal(number, _) => {
                    // The first asks, the second does not.
                    match self.interrupts.is_empty() {
                        true => {
                            self.asked_who = true;
                            self.read(About::Topology);
                        }
                        false => self.tell("kill KILL"),
                    }
                    self.interrupts.push(number);
                }
                Came::Stop => {
                    self.progress.hide();
                    self.tell("stop");
                    stop_self();
                    self.tell("start");
                }
                Came::Resized => {}
            }
        }
        Ok(())
    }
}
