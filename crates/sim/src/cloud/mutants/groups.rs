//! Kernels that break a rule of groups, one each. What they say to each other about groups is lines and the journal's lines, so
//! that is where they are broken: a line that is not told, not heard, not remembered, or told otherwise.

use super::{Broken, Tamper};
use crate::cloud::Wrap;
use kernel::{Effect, Event, LinkId};
use op::{Act, NodeId, Op, Reply};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

/// How a kernel breaks groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupFault {
    /// After a link came back, what is there already is made once more.
    MakesAgainAfterABreak,
    /// What is said of ranks that were made before is said as if it was the first time.
    ForgetsTheTries,
    /// Now and then a rank's end is not heard.
    LosesAnEnd,
    /// An end is remembered twice over a restart.
    RemembersAnEndTwice,
    /// An end is not remembered over a restart.
    ForgetsAnEnd,
    /// How a rank ended is told otherwise.
    SaysItWentWell,
    /// A share that is cut off runs on long after its lease.
    OutlivesItsLease,
    /// `res` is given what there is, though that is not all.
    GivesAPart,
    /// What failed is tried more often than was asked.
    RetriesTooOften,
    /// A share whose group is freed is not.
    LeavesAShare,
    /// Of those who are to be made, one is not told.
    ForgetsARank,
    /// Who waits for room waits for nothing after a restart.
    ForgetsTheQueue,
    /// Who had a place has none after a restart.
    ForgetsThePlaces,
    /// A line that ends members reaches only those that are here.
    KillsOnlyHere,
}

impl GroupFault {
    /// All of them.
    pub const ALL: [GroupFault; 14] = [
        GroupFault::MakesAgainAfterABreak,
        GroupFault::ForgetsTheTries,
        GroupFault::LosesAnEnd,
        GroupFault::RemembersAnEndTwice,
        GroupFault::ForgetsAnEnd,
        GroupFault::SaysItWentWell,
        GroupFault::OutlivesItsLease,
        GroupFault::GivesAPart,
        GroupFault::RetriesTooOften,
        GroupFault::LeavesAShare,
        GroupFault::ForgetsARank,
        GroupFault::ForgetsTheQueue,
        GroupFault::ForgetsThePlaces,
        GroupFault::KillsOnlyHere,
    ];

    /// Breaks kernels this way.
    pub fn wrap(self) -> Wrap {
        Rc::new(move |kernel| Box::new(Broken::new(kernel, Groups::of(self))))
    }
}

struct Groups {
    fault: GroupFault,
    count: u64,
    /// Who was linked before; and over which links somebody is there again.
    known: BTreeSet<NodeId>,
    back: BTreeSet<LinkId>,
    /// Of `LeavesAShare`: over which links so many clunks are kept back.
    unclunked: BTreeMap<LinkId, u32>,
}

/// A line without its newline, as words; the last words of `member` are what it runs.
type Words = Vec<String>;

/// What is left of the lines of a write.
fn lines(data: &[u8], change: impl Fn(Words) -> Words) -> Vec<u8> {
    let text = String::from_utf8_lossy(data).into_owned();
    let words = |line: &str| line.split(' ').map(String::from).collect::<Words>();
    let kept = text.lines().map(|line| change(words(line)));
    kept.map(|words| words.join(" ") + "\n").collect::<String>().into_bytes()
}

/// The words before what is run.
fn said(words: &Words) -> usize {
    words.iter().position(|word| word == "--").unwrap_or(words.len())
}

/// Replaces lines of a `wait` by others of the same length.
fn ends(data: &[u8], mut change: impl FnMut(&str) -> String) -> Vec<u8> {
    let text = String::from_utf8_lossy(data).into_owned();
    let changed: String = text
        .split_inclusive('\n')
        .map(|line| if line.contains(" rank=") && line.ends_with('\n') { change(line) } else { line.into() })
        .collect();
    assert_eq!(changed.len(), data.len(), "what is read on is where it was");
    changed.into_bytes()
}

impl Groups {
    fn of(fault: GroupFault) -> Groups {
        Groups { fault, count: 0, known: BTreeSet::new(), back: BTreeSet::new(), unclunked: BTreeMap::new() }
    }

    fn nth(&mut self, n: u64) -> bool {
        self.count += 1;
        self.count.is_multiple_of(n)
    }

    /// What is told instead of a line.
    fn line(&self, link: LinkId, mut words: Words) -> Words {
        let is_member = words[0] == "member";
        match self.fault {
            GroupFault::MakesAgainAfterABreak if is_member && self.back.contains(&link) => {
                words.insert(2, "again=9".into());
            }
            GroupFault::ForgetsTheTries if is_member => {
                let end = said(&words);
                let before = words[..end].iter().filter(|word| !word.starts_with("again="));
                words = before.chain(&words[end..]).cloned().collect();
            }
            // The last `RANKS NODE`, if there is more than one.
            GroupFault::ForgetsARank if is_member => {
                let end = said(&words);
                if end > 5 {
                    words.drain(end - 2..end);
                }
            }
            GroupFault::OutlivesItsLease if words.iter().any(|word| word == "lease" || word == "until") => {
                words = words.iter().map(|word| word.replace("ms", "0ms")).collect();
            }
            _ => {}
        }
        words
    }
}

impl Tamper for Groups {
    fn event(&mut self, event: Event) -> Vec<Event> {
        let recalls =
            |start: &str| matches!(&event, Event::Recall(line) if line.starts_with(start.as_bytes()));
        match self.fault {
            GroupFault::RemembersAnEndTwice if recalls("ended ") => return vec![event.clone(), event],
            GroupFault::ForgetsAnEnd if recalls("ended ") => return vec![],
            GroupFault::ForgetsTheQueue if recalls("queue ") => return vec![],
            GroupFault::ForgetsThePlaces if recalls("place ") => return vec![],
            _ => {}
        }
        match (self.fault, event) {
            (GroupFault::LosesAnEnd, Event::Answered { link, tag, reply: Reply::Data(data) }) => {
                let data = ends(&data, |line| match self.nth(5) {
                    true => "?".repeat(line.len() - 1) + "\n",
                    false => line.into(),
                });
                vec![Event::Answered { link, tag, reply: Reply::Data(data) }]
            }
            (GroupFault::SaysItWentWell, Event::Answered { link, tag, reply: Reply::Data(data) }) => {
                let data = ends(&data, |line| line.replace(" exit=3 ", " exit=0 "));
                vec![Event::Answered { link, tag, reply: Reply::Data(data) }]
            }
            (
                GroupFault::GivesAPart,
                Event::Request { client, tag, uid, op: Op::Write { fid, offset, data } },
            ) => {
                let data = match data.starts_with(b"res ") {
                    true => [data.trim_ascii_end(), b" min=1\n"].concat(),
                    false => data,
                };
                vec![Event::Request { client, tag, uid, op: Op::Write { fid, offset, data } }]
            }
            (
                GroupFault::RetriesTooOften,
                Event::Request { client, tag, uid, op: Op::Write { fid, offset, data } },
            ) => {
                let more =
                    |words: Words| words.into_iter().map(|w| w.replace("retry=0", "retry=3")).collect();
                let data = if data.starts_with(b"run ") { lines(&data, more) } else { data };
                vec![Event::Request { client, tag, uid, op: Op::Write { fid, offset, data } }]
            }
            (_, Event::Linked { link, peer }) => {
                if !self.known.insert(peer.id) {
                    self.back.insert(link);
                }
                vec![Event::Linked { link, peer }]
            }
            (_, event) => vec![event],
        }
    }

    fn effect(&mut self, effect: Effect) -> (Vec<Effect>, Option<Event>) {
        let wrote = |link, tag, data: &[u8]| {
            let reply = Reply::Wrote(data.len() as u32);
            (vec![], Some(Event::Answered { link, tag, reply }))
        };
        match effect {
            Effect::Ask { link, lane, tag, op: Op::Write { fid, offset, data } } => {
                if self.fault == GroupFault::LeavesAShare && data == b"free\n" {
                    // Its `wait` and its `ctl`.
                    *self.unclunked.entry(link).or_default() += 2;
                    return wrote(link, tag, &data);
                }
                if self.fault == GroupFault::KillsOnlyHere && data.starts_with(b"kill") {
                    return wrote(link, tag, &data);
                }
                let is_lines = data.is_ascii() && data.ends_with(b"\n");
                let data = if is_lines { lines(&data, |words| self.line(link, words)) } else { data };
                (vec![Effect::Ask { link, lane, tag, op: Op::Write { fid, offset, data } }], None)
            }
            Effect::Ask { link, op: Op::Clunk { .. }, tag, .. }
                if self.unclunked.get(&link).is_some_and(|left| *left > 0) =>
            {
                self.unclunked.entry(link).and_modify(|left| *left -= 1);
                (vec![], Some(Event::Answered { link, tag, reply: Reply::Done }))
            }
            // Programs are not what is broken here.
            Effect::Act(act @ Act::Start(_)) => (vec![Effect::Act(act)], None),
            effect => (vec![effect], None),
        }
    }
}
