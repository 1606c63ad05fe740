//! What is around a random world's node: programs that do anything, a host that pays late, time, and death.

use super::Seed;
use crate::{
    model::{Ask, Model},
    provider::{Stand, started},
};
use op::{Errno, Error, Exit, How, SessionId, Stream, Tell, Usage};
use std::time::Duration;

const DEATHS: &str = "the node died in the middle of an event";

impl Seed {
    fn tell(&mut self, tell: &Tell) {
        self.note(format!("{tell:?}"));
        self.fate();
        let came = self.pair.tell(tell);
        self.came(came);
    }

    pub(super) fn provide(&mut self) {
        let ids: Vec<SessionId> =
            self.pair.world.provider.programs.keys().copied().chain(self.owed.iter().copied()).collect();
        if ids.is_empty() {
            return;
        }
        let session = ids[self.rng.usize(0..ids.len())];
        if self.owed.remove(&session) {
            self.counters.count("a program was found again");
            let deaths = self.counters.of(DEATHS);
            for tell in self.pair.world.provider.adopted(session, self.pair.world.clock.wall) {
                if matches!(tell, Tell::Exited { exit: Exit { how: How::Lost, .. }, .. }) {
                    self.counters.count("a program was lost");
                }
                self.tell(&tell);
                if self.counters.of(DEATHS) != deaths {
                    return;
                }
            }
            return;
        }
        let program = self.pair.world.provider.programs[&session].clone();
        let stream = if self.rng.bool() { Stream::Out } else { Stream::Err };
        let tell = match (program.stand, self.rng.u32(0..10)) {
            _ if program.adopting => return,
            (Stand::Starting, 0..=2) => {
                self.counters.count("a start was refused");
                Tell::Refused { session, error: Error::new(Errno::NOENT, "no such program") }
            }
            (Stand::Starting, _) => started(session, self.pair.world.provider.pid()),
            (_, 0..=2) if !program.closed[stream as usize] => {
                if program.stand == Stand::Ended {
                    self.counters.count("output came after the end");
                }
                let data = vec![self.rng.u8(..); self.rng.usize(1..50)];
                self.pair.world.provider.output(session, stream, &data)
            }
            (_, 3) if !program.closed[stream as usize] => {
                if program.stand == Stand::Running {
                    self.counters.count("an output closed before the end");
                } else {
                    self.counters.count("an output closed after the end");
                }
                Tell::Closed { session, stream }
            }
            (Stand::Running, 4) => Tell::Full { session, stream },
            (Stand::Running, 5..=7) if program.feeding.is_some() => {
                let result = match self.rng.u32(0..8) {
                    _ if program.unfed => Err(Errno::CANCELED.into()),
                    0 => {
                        self.counters.count("a program closed its stdin");
                        Err(Errno::PIPE.into())
                    }
                    _ => Ok(()),
                };
                Tell::Fed { session, result }
            }
            (Stand::Running, 8) if !program.signals.is_empty() || self.rng.bool() => {
                if program.feeding.is_some() {
                    self.counters.count("a program ended while it was fed");
                }
                let how = if self.rng.bool() { How::Code(self.rng.u8(..)) } else { How::Signal(15) };
                let usage = Usage { user_us: self.rng.u64(0..10_000_000), sys_us: 5, maxrss_kib: 4096 };
                Tell::Exited { session, exit: Exit { how, usage, at: self.pair.world.clock.wall } }
            }
            _ => return,
        };
        self.tell(&tell);
    }

    pub(super) fn pay(&mut self) {
        if self.pair.world.due.is_empty() {
            return;
        }
        let nth = self.rng.usize(0..self.pair.world.due.len());
        self.note(format!("pays {:?}", self.pair.world.due[nth]));
        self.counters.count("a measurement came");
        let came = self.pair.pay(nth);
        self.came(came);
    }

    pub(super) fn jump(&mut self) {
        let span = [1, 600, 5_000, 30_000, 61_000][self.rng.usize(0..5)];
        if self.rng.u32(0..10) == 0 {
            self.pair.world.clock.wall.0 += 3_600_000_000_000;
            self.counters.count("the wall clock jumped");
        }
        self.note(format!("{span} ms pass"));
        let before = self.pair.model.sessions().0;
        let came = self.pair.advance(Duration::from_millis(span));
        if self.pair.model.sessions().0 < before {
            self.counters.count("a lease was over");
        }
        if came.asks.iter().any(|ask| matches!(ask, Ask::Signal(_, 9, _))) {
            self.counters.count("a grace was over");
        }
        self.came(came);
    }

    /// The node is stopped between two events and started again.
    pub(super) fn restart(&mut self) {
        let before = self.pair.model.clone();
        let len = self.pair.world.journal().0.len();
        self.counters.count("the node was killed between events");
        self.rise(&before, len);
    }

    /// The node died in the middle of an event: of what that put into the journal, any byte may be the last.
    pub(super) fn die(&mut self, before: &Model, len: usize) {
        self.counters.count(DEATHS);
        let (journal, promised) = self.pair.world.journal();
        let all = journal.len();
        let kept = self.rng.usize(len.max(promised).min(all)..=all);
        self.note(format!("the node dies; {kept} of {all} bytes of the journal are kept"));
        if kept < all {
            self.counters.count("a line of the journal was torn");
        }
        self.rise(before, kept);
    }

    fn rise(&mut self, before: &Model, kept: usize) {
        if self.pair.model.waiting() > 0 {
            self.counters.count("the node died with requests that wait");
        }
        self.note("the node is started again".into());
        self.clients.clear();
        self.owed = self.pair.restart(before, kept).into_iter().collect();
    }

    /// Everybody leaves, everything ends and is freed: nothing may be left.
    pub(super) fn finish(&mut self) {
        while !self.clients.is_empty() {
            self.hangup();
        }
        while let Some(session) = self.owed.pop_first() {
            for tell in self.pair.world.provider.adopted(session, self.pair.world.clock.wall) {
                self.tell(&tell);
            }
        }
        for session in self.pair.world.provider.programs.keys().copied().collect::<Vec<_>>() {
            match self.pair.world.provider.programs.get(&session).map(|p| p.stand) {
                Some(Stand::Starting) => self.tell(&Tell::Refused { session, error: Errno::NOENT.into() }),
                Some(Stand::Running) => {
                    let exit =
                        Exit { how: How::Code(0), usage: Usage::default(), at: self.pair.world.clock.wall };
                    self.tell(&Tell::Exited { session, exit });
                }
                Some(Stand::Ended) | None => {}
            }
        }
        assert_eq!(self.pair.world.machine().fids(), 0, "a fid is left");
        assert_eq!(self.pair.world.machine().waiting(), 0, "a request is left");
    }
}
