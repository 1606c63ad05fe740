//! Fetching a content from the neighbour on the way to a node that has it, which does the same if it has not got it: so each
//! link carries it once, however many ask, and all links on the way at the same time.
//!
//! ```text
//!             walk store/NAME@NODE, open, reads ahead      all bytes kept
//!   wanted ───────────────────────────────────────▶ comes ──────────────▶ (whole)
//!      ▲                                              │
//!      └─ in a moment, from where it was ◀─ link broke┤ another node said to have it, else given up
//! ```
//! Reads are ahead of what is kept by a bounded number of bytes, so what comes is never more than what the disk takes.

use super::{Entry, Source};
use crate::{Kernel, Lane, LinkId, far::Purpose, limits};
use alloc::{collections::BTreeMap, format, string::String, sync::Arc, vec::Vec};
use op::{Access, Errno, Error, Fid, Op, Reply, Result};

/// On its way.
#[derive(Debug)]
pub(crate) struct Fetch {
    /// Nodes that are said to have it; the first is asked.
    origins: Vec<Arc<str>>,
    /// Where it is asked for.
    at: Option<(LinkId, Fid)>,
    /// Answers of an earlier attempt mean nothing.
    attempt: u32,
    /// Bytes that were asked for, and that the host was given.
    asked: u64,
    given: u64,
    /// What came before what goes before it.
    early: BTreeMap<u64, Vec<u8>>,
    /// Attempts since something came.
    tries: u32,
    trouble: Option<Error>,
}

impl Fetch {
    pub(super) fn new(from: Arc<str>) -> Fetch {
        Fetch {
            origins: alloc::vec![from],
            at: None,
            attempt: 0,
            asked: 0,
            given: 0,
            early: BTreeMap::new(),
            tries: 0,
            trouble: None,
        }
    }

    /// Another node is said to have it.
    pub(super) fn also_at(&mut self, from: &str) {
        if self.origins.len() < limits::ORIGINS && !self.origins.iter().any(|known| **known == *from) {
            self.origins.push(from.into());
        }
    }

    pub(super) fn comes_over(&self, link: LinkId) -> bool {
        self.at.is_some_and(|(over, _)| over == link)
    }

    pub(super) fn source(&self) -> String {
        match &self.trouble {
            None => String::from(&*self.origins[0]),
            Some(error) => format!("{} ({error}; it is tried again)", self.origins[0]),
        }
    }
}

/// What was asked of the neighbour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk {
    no: u64,
    attempt: u32,
    /// A read, from where and how many; else the walk or the open.
    read: Option<(u64, u32)>,
}

impl Kernel {
    fn fetching(&mut self, no: u64) -> Option<(&mut Fetch, u64, u64)> {
        match self.store.entries.get_mut(&no)? {
            Entry { source: Source::Node(fetch), content, have, .. } => Some((fetch, content.size, *have)),
            Entry { source: Source::Whole | Source::Client { .. }, .. } => None,
        }
    }

    /// The link on the way to a node.
    pub(super) fn toward(&self, node: &str) -> Result<LinkId> {
        let no = self.cloud.named(node);
        let known = no.and_then(|no| self.cloud.known(no));
        let below = known.filter(|known| known.down.is_none()).and_then(|known| known.via);
        match (below.or(self.cloud.above), no, &self.cloud.lost) {
            (Some(link), ..) => Ok(link),
            (None, Some(no), _) => Err(self.is_down(no)),
            (None, None, Some((parent, _, why))) => {
                let cause = format!(
                    "{node} is not below {}, and {parent}, its parent, is down: {why}",
                    self.node.name
                );
                Err(Error::new(Errno::HOSTUNREACH, cause))
            }
            (None, None, None) => Err(Error::new(Errno::NOENT, format!("no node is called {node}"))),
        }
    }

    /// Begins, or begins again where it was.
    pub(super) fn fetch(&mut self, no: u64) {
        let Some((fetch, ..)) = self.fetching(no) else { return };
        let (origin, attempt) = (fetch.origins[0].clone(), fetch.attempt);
        let owner = self.node.owner.name.clone();
        let asked = self.toward(&origin).and_then(|link| {
            let root = self.root(link, Lane::Bulk, &owner, false)?;
            Ok((link, root, self.cloud.links.get_mut(&link).ok_or(Errno::STALE)?.fid()))
        });
        let (link, root, there) = match asked {
            Ok(asked) => asked,
            Err(error) => return self.fetch_again(no, error),
        };
        let name = format!("{}@{origin}", self.store.entries[&no].content);
        let purpose = || Purpose::Fetch(Chunk { no, attempt, read: None });
        self.walk_there(link, Lane::Bulk, root, there, &["self".into(), "store".into()], |_| purpose());
        // By itself: the step that may fail, so that why is told.
        self.ask(
            link,
            Lane::Bulk,
            purpose(),
            Op::Walk { fid: there, newfid: there, names: alloc::vec![name] },
        );
        let access = Access { read: true, ..Access::default() };
        self.ask(link, Lane::Bulk, purpose(), Op::Open { fid: there, access });
        if let Some((fetch, ..)) = self.fetching(no) {
            fetch.at = Some((link, there));
            fetch.asked = fetch.given;
        }
        self.fetch_more(no);
    }

    /// Asks for as much as may be under way.
    pub(super) fn fetch_more(&mut self, no: u64) {
        while let Some((fetch, size, have)) = self.fetching(no)
            && let (Some((link, there)), attempt, offset) = (fetch.at, fetch.attempt, fetch.asked)
            && offset < size
            && offset - have < limits::CHUNKS_AHEAD
        {
            let count = u64::from(limits::CHUNK).min(size - offset) as u32;
            fetch.asked += u64::from(count);
            self.ask_chunk((link, there), Chunk { no, attempt, read: Some((offset, count)) });
        }
    }

    fn ask_chunk(&mut self, (link, fid): (LinkId, Fid), chunk: Chunk) {
        let Some((offset, count)) = chunk.read else { return };
        self.ask(link, Lane::Bulk, Purpose::Fetch(chunk), Op::Read { fid, offset, count, wait: true });
    }

    /// What the neighbour says.
    pub(crate) fn chunk_answered(&mut self, link: LinkId, chunk: Chunk, reply: Reply) {
        let Chunk { no, attempt, read } = chunk;
        let linked = self.cloud.links.contains_key(&link);
        let Some((fetch, size, _)) = self.fetching(no) else { return };
        if fetch.attempt != attempt {
            return;
        }
        let data = match (reply, read) {
            (Reply::Failed(error), _) if !linked => return self.fetch_again(no, error),
            (Reply::Failed(error), _) if error.errno == Errno::BUSY => {
                // Whoever is above has it from here, and has not heard yet that there is no way any more. There may be one again.
                let cause = || Error::new(Errno::HOSTUNREACH, format!("there is no way to it: {error}"));
                let error = fetch.trouble.clone().unwrap_or_else(cause);
                return self.fetch_again(no, error);
            }
            (Reply::Failed(error), _) => return self.fetch_elsewhere(no, &error),
            (Reply::Data(data), Some(_)) => data,
            (_, None) => return,
            (_, Some(_)) => return self.fetch_elsewhere(no, &Errno::PROTO.into()),
        };
        let (offset, count) = read.expect("a read, as was just seen");
        let Some(left) = count.checked_sub(data.len() as u32).filter(|left| *left < count) else {
            let cause = format!("it ended after {offset} of {size} bytes");
            return self.fetch_elsewhere(no, &Error::new(Errno::IO, cause));
        };
        let got = data.len() as u64;
        (fetch.tries, fetch.trouble) = (0, None);
        fetch.early.insert(offset, data);
        let at = fetch.at;
        let mut ready = Vec::new();
        while let Some(data) = fetch.early.remove(&fetch.given) {
            ready.push((fetch.given, data));
            fetch.given += ready.last().map_or(0, |(_, data)| data.len() as u64);
        }
        self.store.got += got;
        for (offset, data) in ready {
            self.keep(no, offset, data);
        }
        if let (Some(at), 1..) = (at, left) {
            self.ask_chunk(at, Chunk { no, attempt, read: Some((offset + got, left)) });
        }
    }

    /// The way there is broken: it may come back, or there may be another.
    fn fetch_again(&mut self, no: u64, error: Error) {
        self.stop_asking(no);
        let at = self.clock.mono + limits::FETCH_AGAIN;
        let Some((fetch, ..)) = self.fetching(no) else { return };
        if fetch.tries >= limits::FETCH_TRIES {
            return self.fetch_elsewhere(no, &error);
        }
        fetch.tries += 1;
        fetch.trouble = Some(error);
        self.store.again.insert((at, no));
    }

    /// It cannot be had from there.
    fn fetch_elsewhere(&mut self, no: u64, error: &Error) {
        self.stop_asking(no);
        let Some((fetch, ..)) = self.fetching(no) else { return };
        let origin = fetch.origins.remove(0);
        if !fetch.origins.is_empty() {
            fetch.tries = 0;
            return self.fetch(no);
        }
        fetch.origins.push(origin.clone());
        if let Some(content) = self.store.content(no) {
            self.out.push(crate::Effect::Drop(content));
        }
        self.lose_content(no, &Error::new(error.errno, format!("it cannot be had from {origin}: {error}")));
    }

    fn stop_asking(&mut self, no: u64) {
        let Some((fetch, ..)) = self.fetching(no) else { return };
        fetch.attempt += 1;
        fetch.early.clear();
        fetch.asked = fetch.given;
        if let Some((link, fid)) = fetch.at.take() {
            self.clunk_there(link, Lane::Bulk, fid);
        }
    }

    /// Nothing more is needed of whoever gave it.
    pub(super) fn end_fetch(&mut self, no: u64) {
        self.stop_asking(no);
        self.store.again.retain(|(_, of)| *of != no);
    }

    pub(crate) fn ring_fetches(&mut self) {
        while let Some(&(at, no)) = self.store.again.first()
            && at <= self.clock.mono
        {
            self.store.again.remove(&(at, no));
            self.fetch(no);
        }
    }
}
