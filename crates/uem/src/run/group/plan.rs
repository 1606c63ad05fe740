//! What a node is told to run many of something, as words of `run`, and what it says beforehand of who would go where.

use super::joblog::Earlier;
use super::mode::{Input, Mode, records};
use super::which::Which;
use super::{Many, Members};
use crate::failure::Failure;
use crate::on::On;
use crate::run::flight::Flight;
use crate::tree::{self, Record};
use host::client::{Connection, READ};
use kernel::RankSet;
use op::{Fid, Op, Reply};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::isatty;
use std::io::Write;
use std::time::{Duration, Instant};

/// How long it may take until all that is planned is said.
const PLANNED: Duration = Duration::from_secs(2);

/// What is to be run, and how it is shown.
pub(super) struct Plan {
    pub(super) members: Members,
    /// Only these of the ranks.
    only: Option<RankSet>,
    which: Which,
    width: Option<u32>,
    retry: Option<u32>,
    pub(super) input: Input,
    pub(super) modes: [Mode; 2],
    records: Option<String>,
}

impl Plan {
    /// Nothing if nobody is left to be run.
    pub(super) fn new(
        many: &Many,
        members: Members,
        mut which: Which,
        earlier: &Earlier,
    ) -> Result<Option<Plan>, Failure> {
        let mut only = None;
        match members {
            Members::Number(number) if !earlier.ranks.is_empty() => {
                let mut left = RankSet::from_range(0..number);
                left.subtract(&earlier.ranks);
                if left.is_empty() {
                    return Ok(None);
                }
                only = Some(left);
            }
            Members::Each if !earlier.nodes.is_empty() => {
                let done: Vec<&str> = earlier.nodes.iter().map(String::as_str).collect();
                which.terms.push(format!("node!={}", done.join("|")));
                which.nodes.retain(|name| !earlier.nodes.contains(name));
                if which.nodes.is_empty() {
                    return Ok(None);
                }
            }
            Members::Number(_) | Members::Each => {}
        }
        let input = many.stdin.clone().unwrap_or_else(|| match members {
            // What is the same on many nodes is fed alike, as by clush; who types means the shell.
            Members::Each if !isatty(rustix::stdio::stdin()) => Input::Dealt("broadcast".into()),
            Members::Each | Members::Number(_) => Input::None,
        });
        Ok(Some(Plan {
            members,
            only,
            which,
            width: many.width,
            retry: many.retry,
            input,
            modes: many.modes(),
            records: many.records.clone(),
        }))
    }

    /// Whether members are known by their nodes.
    pub(super) fn by_node(&self) -> bool {
        self.members == Members::Each
    }

    /// How many will be run.
    fn count(&self) -> usize {
        match (self.members, &self.only) {
            (Members::Each, _) => self.which.nodes.len(),
            (Members::Number(_), Some(only)) => only.len(),
            (Members::Number(number), None) => number as usize,
        }
    }

    /// How many they are, with those that are not run again.
    pub(super) fn size(&self) -> usize {
        match self.members {
            Members::Each => self.which.nodes.len(),
            Members::Number(number) => number as usize,
        }
    }

    /// How many of so many are not run, since they were before.
    pub(super) fn left_out(&self, size: usize) -> usize {
        self.only.as_ref().map_or(0, |only| size.saturating_sub(only.len()))
    }

    /// Whether an output goes through a command, so that its end says whether it is whole.
    pub(super) fn reduces(&self, at: usize) -> bool {
        matches!(self.modes[at], Mode::Reduce(_))
    }

    /// The lines of `ctl` that say how bytes go in and out. With `detached`, nobody feeds them.
    pub(super) fn setup(&self, detached: bool) -> Result<Vec<Vec<u8>>, Failure> {
        let mut lines = Vec::new();
        if let Some(text) = &self.records {
            lines.push(records(text)?);
        }
        for (name, mode) in ["stdout", "stderr"].into_iter().zip(&self.modes) {
            // Nobody is here to make more of it.
            let words = mode.words(self.by_node() && !detached);
            if *mode != Mode::Lines {
                lines.push(format!("{name} {words}").into_bytes());
            }
        }
        match &self.input {
            Input::Dealt(words) if !detached => lines.push(format!("stdin {words}").into_bytes()),
            Input::Dealt(_) | Input::None => lines.push(b"close stdin".to_vec()),
        }
        Ok(lines)
    }

    /// The words after `run`, to before the program.
    pub(super) fn run(&self) -> Vec<String> {
        let mut words = vec![match self.members {
            Members::Number(number) => number.to_string(),
            Members::Each => "each".into(),
        }];
        words.extend(self.only.as_ref().map(|ranks| format!("ranks={ranks}")));
        words.extend(self.width.map(|width| format!("width={width}")));
        words.extend(self.retry.map(|retry| format!("retry={retry}")));
        words.extend(self.which.terms.iter().cloned());
        words
    }
}

/// Says who would go where, and why, in a table. A session of its own is asked, since one that has planned is not fresh.
pub(super) fn explain(node: &mut Connection, plan: &Plan, to: &mut impl Write) -> Result<(), Failure> {
    let flight = Flight::send(node, &On::here(), b"", true);
    for tag in &flight.setup {
        node.wait_for(*tag)?;
    }
    let mut line = b"dry run".to_vec();
    for word in plan.run() {
        line.push(b' ');
        kernel::quote(word.as_bytes(), &mut line);
    }
    line.extend(b" -- true\n");
    node.call(Op::Write { fid: flight.ctl, offset: 0, data: line })?;
    let text = events(node, flight.ctl, plan.count())?;
    node.call(Op::Write { fid: flight.ctl, offset: 0, data: b"free\n".to_vec() })?;
    node.clunk(flight.ctl);
    let mut rows = vec![["NODE", "RANKS", "WHY"].map(String::from).to_vec()];
    for event in would_place(&text)? {
        let place = event.get("node").map_or("-".into(), |_| tree::text(&event, "node"));
        rows.push(vec![place, tree::text(&event, "ranks"), tree::text(&event, "why")]);
    }
    Ok(to.write_all(tree::table(&rows).as_bytes())?)
}

/// What the group's `events` say, until they have spoken of so many members. It is planned at the top of the tree, from where
/// they come; what has not come in time is not there.
fn events(node: &mut Connection, ctl: Fid, members: usize) -> Result<Vec<u8>, Failure> {
    let (fid, walked) = node.walk(ctl, "../events");
    let opened = node.send(Op::Open { fid, access: READ });
    for tag in [walked, opened] {
        node.wait_for(tag)?;
    }
    let until = Instant::now() + PLANNED;
    let mut text = Vec::new();
    let mut read = None;
    loop {
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let placed = would_place(&text[..whole])?;
        let ranks = placed.iter().filter_map(|event| ranks(event).ok()).map(|ranks| ranks.len());
        let left = until.saturating_duration_since(Instant::now());
        if ranks.sum::<usize>() >= members || left.is_zero() {
            node.clunk(fid);
            text.truncate(whole);
            return Ok(text);
        }
        let (count, offset) = (node.max_io(), text.len() as u64);
        let tag = *read.get_or_insert_with(|| node.send(Op::Read { fid, offset, count, wait: true }));
        node.flush();
        let _ready_or_time = poll(
            &mut [PollFd::from_borrowed_fd(node.fd(), PollFlags::IN)],
            Timespec::try_from(left).ok().as_ref(),
        );
        node.receive();
        while let Some((answered, reply)) = node.next() {
            match reply {
                Reply::Data(data) if answered == tag => text.extend(data),
                Reply::Failed(error) if answered == tag => return Err(error.into()),
                _ => continue,
            }
            read = None;
        }
    }
}

fn would_place(text: &[u8]) -> Result<Vec<Record>, Failure> {
    let mut events = tree::records(text)?;
    events.retain(|event| tree::text(event, "event") == "would-place");
    Ok(events)
}

fn ranks(event: &Record) -> op::Result<RankSet> {
    RankSet::parse(&tree::text(event, "ranks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(many: &Many, members: Members, terms: &[&str], earlier: &Earlier) -> Option<Plan> {
        let terms = terms.iter().map(ToString::to_string).collect();
        let nodes = ["a", "b"].map(String::from).into();
        Plan::new(many, members, Which { terms, nodes, alone: false }, earlier).unwrap()
    }

    #[test]
    fn what_is_asked_becomes_words_of_run() {
        let none = Earlier::default();
        let words = |many: &Many, members, terms: &[&str], earlier: &Earlier| {
            plan(many, members, terms, earlier).unwrap().run().join(" ")
        };
        let plain = Many::default();
        assert_eq!(words(&plain, Members::Number(4), &[], &none), "4");
        assert_eq!(words(&plain, Members::Each, &["node=a|b"], &none), "each node=a|b");
        let full = Many { width: Some(2), retry: Some(3), ..Many::default() };
        assert_eq!(words(&full, Members::Number(4), &["gpus=1"], &none), "4 width=2 retry=3 gpus=1");
        let earlier =
            Earlier { ranks: RankSet::parse("0,2-3").unwrap(), nodes: ["a", "c"].map(String::from).into() };
        assert_eq!(words(&plain, Members::Number(6), &[], &earlier), "6 ranks=1,4-5");
        assert_eq!(words(&plain, Members::Each, &[], &earlier), "each node!=a|c");
        let all = Earlier { ranks: RankSet::parse("0-3").unwrap(), ..Earlier::default() };
        assert!(plan(&plain, Members::Number(4), &[], &all).is_none());
        let both = Earlier { nodes: ["a", "b"].map(String::from).into(), ..Earlier::default() };
        assert!(plan(&plain, Members::Each, &[], &both).is_none());
    }

    #[test]
    fn how_bytes_go_in_and_out_is_said_first() {
        let lines = |many: &Many, members, detached| {
            let plan = plan(many, members, &[], &Earlier::default()).unwrap();
            String::from_utf8(plan.setup(detached).unwrap().join(&b"; "[..])).unwrap()
        };
        let number = Members::Number(2);
        assert_eq!(lines(&Many::default(), number, false), "close stdin");
        let robin = Input::parse("robin").ok();
        let full = Many { stdin: robin.clone(), records: Some("nul".into()), tag: true, ..Many::default() };
        assert_eq!(lines(&full, number, false), "records nul; stdout tag; stderr tag; stdin robin");
        assert_eq!(lines(&full, number, true), "records nul; stdout tag; stderr tag; close stdin");
        assert_eq!(
            lines(&full, Members::Each, false),
            "records nul; stdout frames; stderr frames; stdin robin"
        );
        let diff = Many { diff: true, stdin: robin, ..Many::default() };
        assert_eq!(lines(&diff, number, false), "stdout frames fold; stderr fold; stdin robin");
        let reduce = Many { reduce: Some("wc -l | cat".into()), ..Many::default() };
        assert_eq!(lines(&reduce, number, false), "stdout reduce sh -c 'wc -l | cat'; close stdin");
    }
}
