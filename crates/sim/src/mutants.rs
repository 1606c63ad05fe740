//! Kernels that are broken on purpose, one way each. What checks kernels must find every one of them; what finds
//! none of them checks nothing.
//!
//! A mutant is a real kernel whose events or effects are tampered with on the way: cheap, and close to the mistakes
//! that are made (an answer forgotten, a line of the journal too late, a wake-up lost).

use crate::{machine::Machine, machine::node, world::Make};
use kernel::{ClientId, Effect, Event, Kernel};
use op::{Act, Clock, Op, Reply, Stream, Tell, Uid};
use std::rc::Rc;

/// How a kernel is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Now and then a request is not answered.
    ForgetsAnAnswer,
    /// Now and then a request is answered twice.
    AnswersTwice,
    /// A flush is answered, and what it gave up goes on.
    AnswersAfterTheFlush,
    /// The answer goes to another request of the same client.
    AnswersAnother,
    /// Two answers of one event have each other's tags.
    ExchangesAnswers,
    /// That an output is closed is not heard.
    MissesClosed,
    /// That there is more output is now and then not heard.
    MissesOutput,
    /// That stdin was taken is not heard.
    MissesFed,
    /// That a program ended is not heard.
    MissesTheEnd,
    /// A program's status is another one.
    ChangesTheStatus,
    /// A program's number is another one.
    ChangesThePid,
    /// Now and then a line of the journal is not written.
    ForgetsToWrite,
    /// The journal is written after everything else is done.
    WritesLate,
    /// What is freed stays in the journal.
    ForgetsToWriteFree,
    /// A journal that is written anew does not say which numbers were given out.
    ForgetsNumbers,
    /// Every other line of the journal is not read.
    ForgetsLines,
    /// What ran before a restart is not asked for.
    ForgetsToAdopt,
    /// stdout and stderr are exchanged.
    ExchangesStreams,
    /// Reading output always begins at its start.
    IgnoresTheOffset,
    /// Reading output misses its first byte.
    MissesAByte,
    /// A spool is never given back.
    ForgetsToFree,
    /// A program is started twice.
    StartsTwice,
    /// Input is fed twice.
    FeedsTwice,
    /// A writer who gives up is not told to the provider.
    ForgetsToUnfeed,
    /// Stdin is not closed.
    ForgetsToClose,
    /// Nobody is killed for good.
    ForgetsToKill,
    /// No timer is asked for.
    ForgetsToWake,
    /// Time stands still.
    ForgetsTime,
    /// Whoever asks is root.
    EverybodyIsRoot,
    /// A client that is gone stays.
    KeepsWhoIsGone,
    /// A fid that is clunked stays.
    KeepsFids,
    /// A directory's last entry is missing.
    MissesAnEntry,
    /// A listing holds an entry twice.
    ListsTwice,
    /// Nothing is ever read without waiting.
    AlwaysWaits,
    /// The text of an error is kept, and its number is another.
    ChangesErrnos,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 35] = [
        Fault::ForgetsAnAnswer,
        Fault::AnswersTwice,
        Fault::AnswersAfterTheFlush,
        Fault::AnswersAnother,
        Fault::ExchangesAnswers,
        Fault::MissesClosed,
        Fault::MissesOutput,
        Fault::MissesFed,
        Fault::MissesTheEnd,
        Fault::ChangesTheStatus,
        Fault::ChangesThePid,
        Fault::ForgetsToWrite,
        Fault::WritesLate,
        Fault::ForgetsToWriteFree,
        Fault::ForgetsNumbers,
        Fault::ForgetsLines,
        Fault::ForgetsToAdopt,
        Fault::ExchangesStreams,
        Fault::IgnoresTheOffset,
        Fault::MissesAByte,
        Fault::ForgetsToFree,
        Fault::StartsTwice,
        Fault::FeedsTwice,
        Fault::ForgetsToUnfeed,
        Fault::ForgetsToClose,
        Fault::ForgetsToKill,
        Fault::ForgetsToWake,
        Fault::ForgetsTime,
        Fault::EverybodyIsRoot,
        Fault::KeepsWhoIsGone,
        Fault::KeepsFids,
        Fault::MissesAnEntry,
        Fault::ListsTwice,
        Fault::AlwaysWaits,
        Fault::ChangesErrnos,
    ];

    /// Makes kernels that are broken this way.
    pub fn make(self) -> Make {
        Rc::new(move || Box::new(Mutant { kernel: Kernel::new(node()), fault: self, count: 0 }))
    }
}

/// A kernel with a fault.
struct Mutant {
    kernel: Kernel,
    fault: Fault,
    count: u64,
}

impl Mutant {
    /// Now and then.
    fn nth(&mut self, n: u64) -> bool {
        self.count += 1;
        self.count.is_multiple_of(n)
    }

    /// What the kernel gets to see of an event; or what is answered without it.
    fn tampered(&mut self, event: Event) -> Result<Event, Vec<Effect>> {
        let done = |client: ClientId, tag| Err(vec![Effect::Answer(client, tag, Reply::Done)]);
        match (self.fault, event) {
            (Fault::AnswersAfterTheFlush, Event::Request { client, tag, op: Op::Flush { .. }, .. })
            | (Fault::KeepsFids, Event::Request { client, tag, op: Op::Clunk { .. }, .. }) => {
                done(client, tag)
            }
            (Fault::MissesClosed, Event::Told(Tell::Closed { .. }))
            | (Fault::MissesTheEnd, Event::Told(Tell::Exited { .. }))
            | (Fault::MissesFed, Event::Told(Tell::Fed { .. }))
            | (Fault::KeepsWhoIsGone, Event::Hangup(_)) => Err(Vec::new()),
            (Fault::MissesOutput, Event::Told(Tell::Grew { .. })) if self.nth(5) => Err(Vec::new()),
            (Fault::ForgetsLines, Event::Recall(_)) if self.nth(2) => Err(Vec::new()),
            (Fault::ChangesTheStatus, Event::Told(Tell::Exited { session, mut exit })) => {
                exit.how = op::How::Code(77);
                Ok(Event::Told(Tell::Exited { session, exit }))
            }
            (Fault::ChangesThePid, Event::Told(Tell::Started { session, pid, mark, limits_by })) => {
                Ok(Event::Told(Tell::Started { session, pid: pid + 1, mark, limits_by }))
            }
            (Fault::EverybodyIsRoot, Event::Request { client, tag, op, .. }) => {
                Ok(Event::Request { client, tag, uid: Uid(0), op })
            }
            (
                Fault::AlwaysWaits,
                Event::Request { client, tag, uid, op: Op::Read { fid, offset, count, .. } },
            ) => {
                let op = Op::Read { fid, offset, count, wait: true };
                Ok(Event::Request { client, tag, uid, op })
            }
            (_, event) => Ok(event),
        }
    }

    /// What is left of the effects.
    fn spoiled(&mut self, done: Vec<Effect>) -> Vec<Effect> {
        match self.fault {
            Fault::WritesLate => {
                let (journal, mut rest): (Vec<_>, Vec<_>) =
                    done.into_iter().partition(|e| matches!(e, Effect::Journal(_)));
                rest.extend(journal);
                return rest;
            }
            Fault::ExchangesAnswers => {
                let mut tags: Vec<_> = done.iter().filter_map(answered).collect();
                let by = usize::from(!tags.is_empty());
                tags.rotate_left(by);
                let mut tags = tags.into_iter();
                let renamed = done.into_iter().map(|effect| match effect {
                    Effect::Answer(client, tag, reply) => {
                        let (client, tag) = tags.next().unwrap_or((client, tag));
                        Effect::Answer(client, tag, reply)
                    }
                    effect => effect,
                });
                return renamed.collect();
            }
            _ => {}
        }
        done.into_iter().flat_map(|effect| self.spoil(effect)).collect()
    }

    fn spoil(&mut self, effect: Effect) -> Vec<Effect> {
        match (self.fault, effect) {
            (Fault::ForgetsAnAnswer, Effect::Answer(..)) if self.nth(50) => vec![],
            (Fault::AnswersTwice, effect @ Effect::Answer(..)) if self.nth(50) => {
                vec![effect.clone(), effect]
            }
            (Fault::AnswersAnother, Effect::Answer(client, tag, reply)) if self.nth(50) => {
                vec![Effect::Answer(client, op::Tag(tag.0 - 1), reply)]
            }
            (Fault::ForgetsToWrite, Effect::Journal(_)) if self.nth(9) => vec![],
            (Fault::ForgetsToWriteFree, Effect::Journal(line)) if line.starts_with(b"free ") => vec![],
            (Fault::ForgetsNumbers, Effect::Rewrite(lines)) => {
                let rest = lines.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
                vec![Effect::Rewrite(lines[rest..].to_vec())]
            }
            (Fault::ForgetsToAdopt, Effect::Act(Act::Adopt { .. }))
            | (Fault::ForgetsToFree, Effect::Act(Act::Free(_)))
            | (Fault::ForgetsToUnfeed, Effect::Act(Act::Unfeed(_)))
            | (Fault::ForgetsToClose, Effect::Act(Act::CloseStdin(_)))
            | (Fault::ForgetsToKill, Effect::Act(Act::Signal { signal: 9, .. }))
            | (Fault::ForgetsToWake, Effect::WakeAt(_)) => vec![],
            (Fault::StartsTwice, effect @ Effect::Act(Act::Start(_)))
            | (Fault::FeedsTwice, effect @ Effect::Act(Act::Feed { .. })) => vec![effect.clone(), effect],
            (fault, Effect::AnswerSpool { client, tag, session, stream, offset, count }) => {
                let (stream, offset, count) = match (fault, stream) {
                    (Fault::ExchangesStreams, Stream::Out) => (Stream::Err, offset, count),
                    (Fault::ExchangesStreams, Stream::Err) => (Stream::Out, offset, count),
                    (Fault::IgnoresTheOffset, stream) => (stream, 0, count),
                    (Fault::MissesAByte, stream) if count > 1 => (stream, offset + 1, count - 1),
                    (_, stream) => (stream, offset, count),
                };
                vec![Effect::AnswerSpool { client, tag, session, stream, offset, count }]
            }
            (fault, Effect::Answer(client, tag, reply)) => {
                let reply = match (fault, reply) {
                    (Fault::MissesAnEntry, Reply::Listed(mut entries)) => {
                        entries.pop();
                        Reply::Listed(entries)
                    }
                    (Fault::ListsTwice, Reply::Listed(mut entries)) => {
                        entries.extend(entries.last().cloned());
                        Reply::Listed(entries)
                    }
                    (Fault::ChangesErrnos, Reply::Failed(error)) => {
                        Reply::Failed(op::Error::new(op::Errno::IO, error.cause))
                    }
                    (_, reply) => reply,
                };
                vec![Effect::Answer(client, tag, reply)]
            }
            (_, effect) => vec![effect],
        }
    }
}

fn answered(effect: &Effect) -> Option<(ClientId, op::Tag)> {
    match effect {
        Effect::Answer(client, tag, _) => Some((*client, *tag)),
        _ => None,
    }
}

impl Machine for Mutant {
    fn handle(&mut self, mut clock: Clock, event: Event, effects: &mut Vec<Effect>) {
        if self.fault == Fault::ForgetsTime {
            clock = crate::machine::EPOCH;
        }
        match self.tampered(event) {
            Ok(event) => {
                let mut done = Vec::new();
                self.kernel.handle(clock, event, &mut done);
                effects.extend(self.spoiled(done));
            }
            Err(done) => effects.extend(done),
        }
    }

    fn check(&self) {
        self.kernel.check();
    }

    fn waiting(&self) -> usize {
        self.kernel.waiting()
    }

    fn fids(&self) -> usize {
        self.kernel.fids()
    }

    fn sessions(&self) -> (usize, usize) {
        self.kernel.sessions()
    }

    fn flowing(&self) -> usize {
        self.kernel.flowing()
    }
}
