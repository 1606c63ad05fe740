//! What each verb of a group does. A function a row of `verbs`.

use super::{
    Group,
    plan::{Begun, Pick},
    share::{Line, Share},
};
use crate::{
    Kernel,
    acts::{Words, usage},
    gone, limits,
    query::{Query, natural},
    ranks::RankSet,
    session::State,
    words::lossy,
};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use op::{Errno, Error, NodeId, Result, SessionId};

/// The words of `res` and `run`.
#[derive(Debug)]
struct Wanted {
    /// How many; `None` is one on each node that matches.
    count: Option<u32>,
    min: Option<u32>,
    width: Option<u32>,
    retry: u32,
    only: Option<RankSet>,
    terms: Vec<String>,
    words: Vec<Vec<u8>>,
}

pub(super) fn count_of(verb: &str, word: &[u8]) -> Result<u32> {
    let word = lossy(word);
    match word.parse::<u32>() {
        Ok(0) => Err(Error::new(Errno::INVAL, format!("{verb} 0: at least one"))),
        Ok(n) if n > limits::MEMBERS => Err(Error::new(
            Errno::AGAIN,
            format!("{verb} {n}: a group has at most {} members", limits::MEMBERS),
        )),
        Ok(n) => Ok(n),
        Err(_) => Err(usage(verb)),
    }
}

impl Wanted {
    fn parse(verb: &str, words: Words<'_>) -> Result<Wanted> {
        let runs = verb == "run";
        let [count, rest @ ..] = words else { return Err(usage(verb)) };
        let count = if count == b"each" { None } else { Some(count_of(verb, count)?) };
        let mut wanted = Wanted {
            count,
            min: None,
            width: None,
            retry: 0,
            only: None,
            terms: Vec::new(),
            words: Vec::new(),
        };
        let mut rest = rest.iter();
        for word in rest.by_ref() {
            let word = lossy(word);
            let value = |value: &str| {
                let bad = || Error::new(Errno::INVAL, format!("{verb} {word}: a number is needed"));
                value.parse::<u32>().map_err(|_| bad())
            };
            match word.split_once('=') {
                _ if word == "--" => break,
                Some(("min", n)) if !runs => wanted.min = Some(value(n)?.max(1)),
                Some(("width", n)) if runs => wanted.width = Some(value(n)?.max(1)),
                Some(("retry", n)) if runs => wanted.retry = value(n)?,
                Some(("ranks", ranks)) if runs => wanted.only = Some(RankSet::parse(ranks)?),
                _ => wanted.terms.push(word),
            }
        }
        wanted.words = rest.cloned().collect();
        if runs && wanted.words.is_empty() {
            let cause = format!("{}; the program comes after `--`", usage(verb).cause);
            return Err(Error::new(Errno::INVAL, cause));
        }
        Ok(wanted)
    }

    /// The ranks that are to be made, of a group of this size.
    fn ranks(&self, size: u32) -> Result<RankSet> {
        let all = RankSet::from_range(0..size);
        match &self.only {
            Some(only) if only.last().is_some_and(|last| last >= size) => {
                Err(Error::new(Errno::INVAL, format!("ranks={only}: they are 0-{}", size.saturating_sub(1))))
            }
            Some(only) => Ok(only.clone()),
            None => Ok(all),
        }
    }
}

/// What a verb is said to, and how.
pub(super) struct Said<'a> {
    pub(super) id: SessionId,
    pub(super) verb: &'a str,
    pub(super) words: Words<'a>,
    pub(super) dry: bool,
}

impl Said<'_> {
    /// Whether it makes the first ranks.
    fn makes(&self) -> bool {
        matches!(self.verb, "res" | "run")
    }
}

impl Kernel {
    /// Whether somebody was planned here who is or was elsewhere.
    fn plans(&self, id: SessionId) -> bool {
        let shares = self.group(id).into_iter().flat_map(|group| group.shares.values());
        shares.filter(|share| !share.up).any(|share| share.refused.is_none())
    }

    /// A session that can become a group: fresh, nobody's member.
    pub(crate) fn can_be_group(&self, id: SessionId, verb: &str) -> Result<()> {
        let session = self.session(id)?;
        if session.state != State::Fresh {
            let cause =
                format!("{verb}: session {} runs a program; a group is made of a fresh session", id.0);
            return Err(Error::new(Errno::BUSY, cause));
        }
        if session.member_of.is_some() {
            return Err(Error::new(Errno::OPNOTSUPP, "a member cannot have members"));
        }
        Ok(())
    }

    fn no_members_yet(&self, id: SessionId, verb: &str) -> Result<()> {
        self.can_be_group(id, verb)?;
        match self.session(id)?.size() {
            0 => Ok(()),
            n => {
                let cause = format!("{verb}: session {} has {n} members already; `grow` adds to them", id.0);
                Err(Error::new(Errno::BUSY, cause))
            }
        }
    }

    /// Passes a line on to where it is planned, if that is not here.
    pub(super) fn passed_up(&mut self, said: &Said<'_>, size: Option<u32>) -> Result<Option<Begun>> {
        let up = |(no, share): (&u64, &Share)| share.up.then_some((*no, share.refused.clone()));
        let share = self.group(said.id).and_then(|group| group.shares.iter().find_map(up));
        let no = match (share, self.cloud.above) {
            // Where it was planned, though this node may have another parent by now.
            (Some((_, Some(error))), _) if !said.makes() || self.session(said.id)?.size() > 0 => {
                return Err(error);
            }
            (Some((_, None)), None) => return Err(self.no_parent()),
            (Some((no, None)), Some(_)) => no,
            // Nobody is planned anywhere yet. Who were planned here and given back may be there still, of which only this node knows.
            (_, Some(link)) if said.makes() && self.session(said.id)?.size() == 0 && !self.plans(said.id) => {
                self.share_over(said.id, link)?
            }
            (_, _) => return Ok(None),
        };
        let group = self.group_mut(said.id).ok_or_else(|| gone(said.id))?;
        if !said.dry {
            group.growing = true;
            group.runs |= said.verb == "run";
            if let Some(size) = size {
                group.size = size;
                group.active.insert_range(0..size);
                let all = RankSet::from_range(0..size);
                if let Some(share) = group.shares.get_mut(&no) {
                    share.ranks = all.clone();
                }
                self.journal_group(said.id);
                self.journal_place(said.id, no, NodeId::default(), &all);
            }
        }
        let mut words: Vec<Vec<u8>> = if said.dry { alloc::vec![b"dry".to_vec()] } else { Vec::new() };
        words.push(said.verb.as_bytes().to_vec());
        words.extend(said.words.iter().cloned());
        let fan = self.open_fan();
        let line = Line { fan: Some(fan), resizes: !said.dry, ..Line::PLAIN };
        self.tell_share(said.id, no, super::line_of(&words), line);
        Ok(Some(Begun { fan: Some(fan), reached: 1, ..Begun::default() }))
    }

    /// Every node that matches has its rank, in the order of names; what is down has too, and ends as lost.
    fn one_each(&self, query: &Query) -> Vec<(Arc<str>, NodeId)> {
        let mut nodes: Vec<(Arc<str>, NodeId)> = Vec::new();
        if query.admits(&self.facts()) {
            nodes.push((self.node.name.clone(), self.node.id));
        }
        let known = self.cloud.nodes.values().filter(|known| query.admits(&known.facts()));
        nodes.extend(known.map(|known| (known.name.clone(), known.id)));
        nodes.sort_by(|a, b| natural(&a.0, &b.0));
        nodes
    }
}

pub(super) fn too_few(k: &Kernel, query: &Query, wanted: u32, terms: &[String]) -> Error {
    let (all, free) = k.slots_of(query);
    let which = if terms.is_empty() { String::new() } else { format!(" on {}", terms.join(" ")) };
    let cause = match all {
        0 => format!("no node is up and takes sessions{which}"),
        all if all < u64::from(wanted) => format!(
            "{wanted} asked, and there are {all} slots in all{which}; `slots=` of a node says otherwise"
        ),
        all => format!("{wanted} asked, and {free} of {all} slots are free{which}"),
    };
    Error::new(Errno::AGAIN, cause)
}

pub(crate) fn res(k: &mut Kernel, id: SessionId, words: Words<'_>, dry: bool) -> Result<Begun> {
    let wanted = Wanted::parse("res", words)?;
    k.no_members_yet(id, "res")?;
    let query = Query::parse(&wanted.terms)?;
    let said = Said { id, verb: "res", words, dry };
    let sure = wanted.count.filter(|_| wanted.min.is_none());
    if let Some(begun) = k.passed_up(&said, sure)? {
        return Ok(begun);
    }
    let count = match wanted.count {
        Some(count) => count,
        None => k.one_each(&query).len() as u32,
    };
    let all = RankSet::from_range(0..count);
    let picks = k.choose(&query, &all, false);
    let got = picks.iter().map(|pick| pick.ranks.len() as u32).sum::<u32>();
    if got < wanted.min.unwrap_or(count).min(count) || got == 0 {
        return Err(too_few(k, &query, wanted.min.unwrap_or(count), &wanted.terms));
    }
    if dry {
        k.would_place(id, &picks, &RankSet::new());
        return Ok(Begun::default());
    }
    let group = k.group_mut(id).ok_or_else(|| gone(id))?;
    group.size = got;
    group.terms = wanted.terms;
    k.journal_group(id);
    let begun = k.make(id, &picks, true, true);
    match begun.problems.first() {
        Some((_, error)) => {
            let error = error.clone();
            k.give_all_back(id);
            begun.fan.into_iter().for_each(|fan| k.drop_fan(fan));
            Err(error)
        }
        None => Ok(begun),
    }
}

pub(crate) fn run(k: &mut Kernel, id: SessionId, words: Words<'_>, dry: bool) -> Result<Begun> {
    let wanted = Wanted::parse("run", words)?;
    k.no_members_yet(id, "run")?;
    let query = Query::parse(&wanted.terms)?;
    let said = Said { id, verb: "run", words, dry };
    let sure = wanted.count.filter(|_| wanted.only.is_none());
    let command = crate::words::join(&wanted.words);
    let left_out = match (wanted.count, &wanted.only) {
        (Some(size), Some(_)) => {
            let mut others = RankSet::from_range(0..size);
            others.subtract(&wanted.ranks(size)?);
            others
        }
        _ => RankSet::new(),
    };
    if let Some(begun) = k.passed_up(&said, sure)? {
        if let Some(group) = k.group_mut(id).filter(|_| !dry) {
            group.left_out = left_out;
        }
        if let Some(session) = k.sessions.get_mut(&id).filter(|_| !dry) {
            session.command = command.into();
            k.touch(id);
        }
        return Ok(begun);
    }
    let each = if wanted.count.is_none() { k.one_each(&query) } else { Vec::new() };
    let size = wanted.count.unwrap_or(each.len() as u32);
    if size == 0 || (wanted.count.is_some() && k.candidates(&query).is_empty() && !k.may_come(&query)) {
        return Err(too_few(k, &query, size.max(1), &wanted.terms));
    }
    let mut group = Group {
        size,
        words: wanted.words.clone(),
        runs: true,
        terms: wanted.terms.clone(),
        width: wanted.width,
        retry: wanted.retry,
        queue: wanted.ranks(size)?,
        ..Group::default()
    };
    group.pins = (0..).zip(&each).map(|(rank, (_, node))| (rank, *node)).collect();
    group.crowd = k.crowds(id) && wanted.width.is_none();
    let picks = k.next_picks(&group, group.room(), None)?;
    if dry {
        let mut queued = group.queue.clone();
        picks.iter().for_each(|pick: &Pick| queued.subtract(&pick.ranks));
        k.would_place(id, &picks, &queued);
        return Ok(Begun::default());
    }
    if let Some(session) = k.sessions.get_mut(&id) {
        let shares = session.group.take().map(|old| old.shares).unwrap_or_default();
        group.shares = shares;
        session.command = command.into();
        session.group = Some(group.into());
    }
    k.touch(id);
    k.journal_group(id);
    k.groups.waiting.insert(id);
    k.settle_life(id);
    Ok(k.make(id, &picks, false, true))
}

/// What a share is told: which ranks are made, and where.
pub(crate) fn member(k: &mut Kernel, id: SessionId, words: Words<'_>, dry: bool) -> Result<Begun> {
    k.can_be_group(id, "member")?;
    let end = words.iter().position(|word| word == b"--").unwrap_or(words.len());
    let (mut size, mut again) = (k.session(id)?.size(), 0);
    let mut picks: Vec<Pick> = Vec::new();
    let mut tries: Vec<(RankSet, u32)> = Vec::new();
    let mut who = words[..end].iter().map(|word| lossy(word));
    while let Some(word) = who.next() {
        match word.split_once('=') {
            Some(("size", n)) => size = count_of("member", n.as_bytes())?,
            Some(("again", n)) => again = n.parse().map_err(|_| usage("member"))?,
            _ => {
                let ranks = RankSet::parse(&word)?;
                let name = who.next().ok_or_else(|| usage("member"))?;
                let node = match name.as_str() == &*k.node.name {
                    true => Some(k.node.id),
                    false => k.cloud.named(&name).and_then(|no| k.cloud.known(no)).map(|known| known.id),
                };
                let node = node.or_else(|| NodeId::from_word(&name));
                tries.push((ranks.clone(), again));
                // One that is not known has a number that nobody has.
                let node = node.unwrap_or(NodeId(u128::MAX));
                picks.push(Pick { node, name: name.into(), ranks, why: "it was said".into() });
            }
        }
    }
    if picks.is_empty() {
        return Err(usage("member"));
    }
    if let Some(last) = picks.iter().filter_map(|pick| pick.ranks.last()).max() {
        if last >= limits::MEMBERS {
            return Err(Error::new(Errno::AGAIN, format!("a group has at most {} members", limits::MEMBERS)));
        }
        size = size.max(last + 1);
    }
    if dry {
        k.would_place(id, &picks, &RankSet::new());
        return Ok(Begun::default());
    }
    let prog: Vec<Vec<u8>> = words.iter().skip(end + 1).cloned().collect();
    let group = k.group_mut(id).ok_or_else(|| gone(id))?;
    let changed = group.size != size || group.words != prog;
    group.size = size;
    group.is_share = true;
    if end < words.len() {
        group.runs = true;
        group.words = prog;
    }
    let (mut known, mut tried) = (Vec::new(), Vec::new());
    for (ranks, again) in &tries {
        for rank in ranks.iter() {
            let has = group.made.contains(rank) && group.again(rank) >= *again;
            match has {
                true => known.push(rank),
                false if *again > 0 => {
                    group.tries.insert(rank, *again);
                    tried.push(rank);
                }
                false => {}
            }
            group.made.insert(rank);
        }
    }
    k.journal_tries(id, &tried);
    // What is here already, or has been, is left as it is.
    let known: RankSet = known.into_iter().collect();
    picks.iter_mut().for_each(|pick| pick.ranks.subtract(&known));
    picks.retain(|pick| !pick.ranks.is_empty());
    if changed {
        k.journal_group(id);
    }
    k.touch(id);
    Ok(k.make(id, &picks, false, true))
}
