//! `grow`, `shrink`, `replace`: what becomes of a group after it was made.

use super::{
    acts::{Said, count_of, too_few},
    plan::{Begun, Pick},
};
use crate::{
    Kernel,
    acts::{Words, usage},
    gone,
    query::Query,
    ranks::RankSet,
    words::lossy,
};
use alloc::{format, vec::Vec};
use op::{Errno, Error, Result, SessionId};

pub(crate) fn grow(k: &mut Kernel, id: SessionId, words: Words<'_>, dry: bool) -> Result<Begun> {
    let [count] = words else { return Err(usage("grow")) };
    let count = count_of("grow", count)?;
    k.can_be_group(id, "grow")?;
    let size = k.room_for_ranks(id, count)?;
    let said = Said { id, verb: "grow", words, dry };
    if let Some(begun) = k.passed_up(&said, None)? {
        return Ok(begun);
    }
    let before = k.session(id)?.size();
    if !dry {
        k.are_given_back(id, before..size)?;
    }
    let group = k.group(id).filter(|group| group.is_made()).ok_or_else(|| no_group(id, "grow"))?;
    let (runs, terms, new) = (group.runs, group.terms.clone(), RankSet::from_range(before..size));
    if !group.pins.is_empty() {
        let cause = "grow: this group has one member on each node; there is nothing to add";
        return Err(Error::new(Errno::INVAL, cause));
    }
    let query = Query::parse(&terms)?;
    let picks = if runs { Vec::new() } else { k.choose(&query, &new, false) };
    let got: usize = picks.iter().map(|pick| pick.ranks.len()).sum();
    if !runs && got < new.len() {
        return Err(too_few(k, &query, count, &terms));
    }
    if dry {
        k.would_place(id, &picks, &RankSet::new());
        return Ok(Begun::default());
    }
    let group = k.group_mut(id).ok_or_else(|| gone(id))?;
    group.size = size;
    if runs {
        group.queue.union_with(&new);
        k.groups.waiting.insert(id);
        k.groups.replan = true;
    }
    k.journal_group(id);
    k.settle_life(id);
    Ok(k.make(id, &picks, false, true))
}

pub(crate) fn shrink(k: &mut Kernel, id: SessionId, words: Words<'_>, dry: bool) -> Result<Begun> {
    let [count] = words else { return Err(usage("shrink")) };
    let count = count_of("shrink", count)?;
    k.can_be_group(id, "shrink")?;
    let said = Said { id, verb: "shrink", words, dry };
    if let Some(begun) = k.passed_up(&said, None)? {
        return Ok(begun);
    }
    let before = k.session(id)?.size();
    if count > before {
        return Err(Error::new(
            Errno::INVAL,
            format!("shrink {count}: session {} has {before} members", id.0),
        ));
    }
    let going = RankSet::from_range(before - count..before);
    if dry {
        let why = Pick {
            node: k.node.id,
            name: k.node.name.clone(),
            ranks: going,
            why: "it would be freed".into(),
        };
        k.would_place(id, &[why], &RankSet::new());
        return Ok(Begun::default());
    }
    let fan = k.give_back(id, &going);
    let session = k.sessions.get(&id).ok_or_else(|| gone(id))?;
    let here: Vec<(u32, SessionId)> =
        going.iter().filter_map(|rank| Some((rank, session.member(rank)?))).collect();
    let reached = going.len();
    for (rank, member) in here {
        k.let_go(id, rank, member);
    }
    going.iter().for_each(|rank| k.free_earlier(id, rank));
    let group = k.group_mut(id).ok_or_else(|| gone(id))?;
    // Should they be taken again, they are others.
    let made = going.iter().filter(|rank| !group.queue.contains(*rank) || group.again(*rank) > 0);
    let made: Vec<u32> = made.collect();
    made.iter().for_each(|rank| group.once_more(*rank, false));
    group.size = before - count;
    k.forget(id, &going);
    k.journal_group(id);
    k.journal_tries(id, &made);
    k.group_changed(id);
    let ending = k.still_going(id, &going);
    Ok(Begun { fan, reached, ending, ..Begun::default() })
}

pub(crate) fn replace(k: &mut Kernel, id: SessionId, words: Words<'_>, dry: bool) -> Result<Begun> {
    let [ranks] = words else { return Err(usage("replace")) };
    let ranks = RankSet::parse(&lossy(ranks))?;
    k.can_be_group(id, "replace")?;
    let said = Said { id, verb: "replace", words, dry };
    if let Some(begun) = k.passed_up(&said, None)? {
        return Ok(begun);
    }
    let group = k.group(id).filter(|group| group.size > 0).ok_or_else(|| no_group(id, "replace"))?;
    let mut not = ranks.clone();
    not.subtract(&group.active);
    if let Some(rank) = not.first() {
        let how = if group.queue.contains(rank) {
            "waits still"
        } else if group.has(rank) {
            "has ended"
        } else {
            "is not there"
        };
        return Err(Error::new(
            Errno::SRCH,
            format!("replace {rank}: rank {rank} of session {} {how}", id.0),
        ));
    }
    if dry {
        let why =
            Pick { node: k.node.id, name: k.node.name.clone(), ranks, why: "it would be replaced".into() };
        k.would_place(id, &[why], &RankSet::new());
        return Ok(Begun::default());
    }
    let runs = group.runs || group.started;
    let fan = match runs {
        true => k.share_fan(id, Some(&ranks), b"try kill"),
        false => k.give_back(id, &ranks),
    };
    let reached = ranks.len();
    for rank in ranks.iter() {
        // One that was here before it was made elsewhere is here still, and has ended.
        let is_here = k.group(id).is_some_and(|group| group.placed.get(&rank) == Some(&k.node.id));
        let here = k.sessions.get(&id).and_then(|s| s.member(rank)).filter(|_| is_here);
        let is_running = here.and_then(|id| k.sessions.get(&id)).is_some_and(|s| s.runs());
        if runs && (here.is_none() || is_running) {
            // It is made anew when it has ended.
            if let Some(group) = k.group_mut(id) {
                group.replacing.insert(rank);
                k.append(format!("replace {} {rank}", id.0).into_bytes());
            }
            here.into_iter().for_each(|member| k.end_politely(member));
            continue;
        }
        here.into_iter().for_each(|member| k.let_go(id, rank, member));
        k.member_freed(id, rank);
        if let Some(group) = k.group_mut(id) {
            group.once_more(rank, false);
            group.queue.insert(rank);
            k.journal_again(id, rank);
        }
        k.groups.waiting.insert(id);
        k.groups.replan = true;
    }
    Ok(Begun { fan, reached, ..Begun::default() })
}

fn no_group(id: SessionId, verb: &str) -> Error {
    let cause = format!("{verb}: session {} has no members; `res` or `run` makes some", id.0);
    Error::new(Errno::INVAL, cause)
}
