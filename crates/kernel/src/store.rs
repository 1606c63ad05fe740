//! The node's store: contents by what they are. `store/` in the node's directory shows it; `put` in a session's `ns` uses it.
//!
//! ```text
//!                 create, or fetched (see `fetch`)      the last byte is kept, and it is what its name says
//!   (not here) ──────────────────────────────▶ receiving ──────────────────────────────────────▶ whole
//!        ▲                                         │ broke off, or is something else               │ room is needed
//!        └─────────────────────────────────────────┴───────────────────────────────────────────────┘
//! ```
//! The kernel decides what is kept; the host has the bytes, checks them and answers reads with them. Room is reserved when a
//! content begins to be received. What goes first is what was used longest ago; what is being received, open, or put into a
//! session that has not ended, stays.
//!
//! *Architecture invariant.* What is read before it is whole may turn out wrong, and then the read fails; nothing is run of
//! what was not found to be what its name says at this node.

mod fetch;
mod put;
mod receive;

use crate::{
    ClientId, Effect, Kernel, limits,
    park::{Ask, On, Outcome},
    place::Place,
    session::Session,
    words,
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    format,
    string::{String, ToString},
    vec::Vec,
};
pub(crate) use fetch::Chunk;
use fetch::Fetch;
use op::{Content, Errno, Error, Fid, Mono, Op, Put, Reply, Result, SessionId, Tag, format_size};
use put::Placing;

/// What the kernel knows of the store.
#[derive(Debug, Default)]
pub(crate) struct Store {
    entries: BTreeMap<u64, Entry>,
    numbers: BTreeMap<Content, u64>,
    next: u64,
    /// Bytes that its contents have, or will have.
    pub(crate) used: u64,
    uses: u64,
    /// Bytes that came from other nodes, and that they were given.
    pub(crate) got: u64,
    pub(crate) given: u64,
    /// Contents that are asked for again at a time.
    again: BTreeSet<(Mono, u64)>,
    /// What sessions use.
    pins: BTreeMap<SessionId, Vec<u64>>,
    /// What becomes files of the machine; of these, what the host is asked for.
    placings: BTreeMap<u64, Placing>,
    put_asked: BTreeSet<u64>,
    next_placing: u64,
}

#[derive(Debug)]
struct Entry {
    content: Content,
    /// Bytes from the start that are kept.
    have: u64,
    source: Source,
    /// Its place in the order of use.
    used: u64,
    /// Open fids.
    open: u32,
    /// Sessions that use it, and files that it is to be put into.
    pins: u32,
}

/// Where the rest comes from.
#[derive(Debug)]
enum Source {
    Whole,
    Client {
        client: ClientId,
        fid: Fid,
        /// Bytes that the host was given.
        given: u64,
        /// Whom to answer, as they are kept; `None`: nobody waits for that any more.
        writes: VecDeque<Option<(ClientId, Tag, u32)>>,
    },
    Node(Box<Fetch>),
}

/// A line of `ns`: what to put, and where it is.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct PutLine {
    pub(crate) put: Put,
    pub(crate) from: Option<String>,
}

impl PutLine {
    /// The line again.
    pub(crate) fn words(&self) -> Vec<Vec<u8>> {
        let from = self.from.iter().map(|node| format!("from={node}"));
        let words = [String::from("put"), self.put.content.to_string(), self.put.name.clone()];
        words.into_iter().chain(from).map(String::into_bytes).collect()
    }
}

/// Understands the lines of an `ns` that are whole.
pub(crate) fn lines(text: &[u8]) -> Result<Vec<PutLine>> {
    let mut all: Vec<PutLine> = Vec::new();
    for line in text.split(|b| *b == b'\n') {
        let words = words::split(line)?;
        if words.is_empty() {
            continue;
        }
        let found = put_line(&words)?;
        if all.iter().any(|line| line.put.name == found.put.name) {
            let cause = format!("ns: {} is put twice; give one of them another NAME", found.put.name);
            return Err(Error::new(Errno::EXIST, cause));
        }
        all.push(found);
    }
    if all.len() > limits::PUTS {
        let cause = format!("ns: a session is given at most {} contents", limits::PUTS);
        return Err(Error::new(Errno::TOOBIG, cause));
    }
    Ok(all)
}

fn put_line(words: &[Vec<u8>]) -> Result<PutLine> {
    let said: Vec<String> = words.iter().map(|word| words::lossy(word)).collect();
    let bad = |why: &str| Error::new(Errno::INVAL, format!("ns: {}: {why}", said.join(" ")));
    let (content, name, rest) = match said.as_slice() {
        [verb, content, name, rest @ ..] if verb == "put" && rest.len() <= 1 => (content, name, rest),
        [verb, ..] if verb == "put" => return Err(bad("a line is put HASH-SIZE NAME [from=NODE]")),
        _ => return Err(bad("not known here; known is put HASH-SIZE NAME [from=NODE]")),
    };
    let content = content
        .parse()
        .map_err(|()| bad("HASH is BLAKE3 in 64 lower-case hexadecimal digits, SIZE the bytes"))?;
    if matches!(name.as_str(), "" | "." | "..") || name.contains(['/', '\0']) || name.len() > limits::NAME {
        return Err(bad("NAME is one name, without a slash"));
    }
    let from = match rest.first().map(|word| word.strip_prefix("from=")) {
        None => None,
        Some(Some(node)) if !node.is_empty() && node.len() <= limits::NAME => Some(node.into()),
        Some(_) => return Err(bad("after NAME comes from=NODE, or nothing")),
    };
    Ok(PutLine { put: Put { content, name: name.clone() }, from })
}

impl Entry {
    fn is_whole(&self) -> bool {
        matches!(self.source, Source::Whole)
    }

    fn idle(&self) -> bool {
        self.is_whole() && self.open == 0 && self.pins == 0
    }
}

impl Store {
    pub(crate) fn content(&self, no: u64) -> Option<Content> {
        self.entries.get(&no).map(|entry| entry.content)
    }

    /// Contents after a number, in the order in which they came.
    pub(crate) fn list(&self, after: u64) -> impl Iterator<Item = (u64, Content)> {
        self.entries.range(after..).map(|(no, entry)| (*no, entry.content))
    }

    pub(crate) fn next_again(&self) -> Option<Mono> {
        self.again.first().map(|(at, _)| *at)
    }

    fn insert(&mut self, content: Content, have: u64, source: Source) -> u64 {
        self.next += 1;
        self.uses += 1;
        let no = self.next;
        self.used += content.size;
        self.numbers.insert(content, no);
        self.entries.insert(no, Entry { content, have, source, used: self.uses, open: 0, pins: 0 });
        no
    }

    fn remove(&mut self, no: u64) -> Option<Entry> {
        let entry = self.entries.remove(&no)?;
        self.numbers.remove(&entry.content);
        self.used -= entry.content.size;
        self.again.retain(|(_, of)| *of != no);
        Some(entry)
    }

    /// Asserts what must hold between events.
    pub(crate) fn check(&self, limit: u64, open: &BTreeMap<u64, u32>) {
        let used: u64 = self.entries.values().map(|entry| entry.content.size).sum();
        assert_eq!(self.used, used, "the store knows what it keeps");
        assert!(used <= limit, "the store keeps no more than it may");
        for (no, entry) in &self.entries {
            assert_eq!(self.numbers.get(&entry.content), Some(no), "a content is kept once");
            assert_eq!(entry.open, open.get(no).copied().unwrap_or(0), "open fids of {:?}", entry.content);
            let pins = self.pins.values().flatten().filter(|of| *of == no).count();
            let puts = self.placings.values().filter(|placing| placing.no == Some(*no)).count();
            assert_eq!(entry.pins as usize, pins + puts, "who uses {:?}", entry.content);
            assert!(
                entry.have <= entry.content.size && (!entry.is_whole() || entry.have == entry.content.size)
            );
        }
        assert!(
            self.pins.values().flatten().all(|no| self.entries.contains_key(no)),
            "what is used is there"
        );
    }
}

impl Kernel {
    // ── keeping ────────────────────────────────────────────────────────────────────────────

    /// It was there when the node started.
    pub(crate) fn found_content(&mut self, content: Content) {
        if self.store.numbers.contains_key(&content) {
            return;
        }
        match self.make_room(content) {
            Ok(()) => drop(self.store.insert(content, content.size, Source::Whole)),
            Err(_) => self.out.push(Effect::Drop(content)),
        }
    }

    /// Makes room for a content by letting others go; or none goes, if that is not enough.
    fn make_room(&mut self, content: Content) -> Result<()> {
        let (limit, size) = (self.node.store, content.size);
        let me = &self.node.name;
        if size > limit {
            let (size, limit) = (format_size(size), format_size(limit));
            let cause =
                format!("the store of {me} keeps at most {limit}, and this has {size}: uem up --store SIZE");
            return Err(Error::new(Errno::FBIG, cause));
        }
        let mut idle: Vec<(u64, u64, u64)> = Vec::new();
        if self.store.used + size > limit || self.store.entries.len() >= limits::CONTENTS {
            let all = self.store.entries.iter().filter(|(_, entry)| entry.idle());
            idle.extend(all.map(|(no, entry)| (entry.used, *no, entry.content.size)));
            idle.sort_unstable();
        }
        let (mut used, mut count, mut going) = (self.store.used, self.store.entries.len(), Vec::new());
        let mut idle = idle.into_iter();
        while used + size > limit || count >= limits::CONTENTS {
            let Some((_, no, size)) = idle.next() else {
                let cause = format!(
                    "the store of {me} is full: {} of {} are in use; wait for sessions to end, or uem up --store SIZE",
                    format_size(used),
                    format_size(limit)
                );
                return Err(Error::new(Errno::NOSPC, cause));
            };
            (used, count) = (used - size, count - 1);
            going.push(no);
        }
        for no in going {
            self.forget_content(no);
        }
        Ok(())
    }

    fn forget_content(&mut self, no: u64) {
        if let Some(entry) = self.store.remove(no) {
            self.out.push(Effect::Drop(entry.content));
        }
    }

    /// It was used just now.
    fn use_content(&mut self, no: u64) {
        let store = &mut self.store;
        if let Some(entry) = store.entries.get_mut(&no)
            && entry.used != store.uses
        {
            store.uses += 1;
            entry.used = store.uses;
            if entry.is_whole() {
                self.out.push(Effect::Used { receipt: no, content: entry.content });
            }
        }
    }

    pub(crate) fn content_gone() -> Error {
        Error::new(
            Errno::STALE,
            "this content is not kept any more, or broke off; `error` of the node says why",
        )
    }

    // ── reading ────────────────────────────────────────────────────────────────────────────

    /// One step down from `store/`: a content by its name, or by `NAME@NODE` one that is to be had from that node.
    pub(crate) fn step_in_store(&mut self, client: ClientId, name: &str) -> Result<Option<Place>> {
        let (name, from) = name.split_once('@').map_or((name, None), |(name, from)| (name, Some(from)));
        let Ok(content) = name.parse::<Content>() else { return Ok(None) };
        if let (None, None) = (from, self.store.numbers.get(&content)) {
            return Ok(None);
        }
        let over = self.callers.get(&client).copied();
        self.want(content, from, over).map(|no| Some(Place::Content(no)))
    }

    pub(crate) fn open_content(&mut self, no: u64) {
        if let Some(entry) = self.store.entries.get_mut(&no) {
            entry.open += 1;
        }
        self.use_content(no);
    }

    /// Whole pieces only: what is still being received comes to the next node in as large ones as were asked for.
    pub(crate) fn read_content(
        &mut self,
        who: crate::Who,
        fid: Fid,
        no: u64,
        (offset, count, wait): (u64, u32, bool),
    ) -> Outcome {
        let Some(entry) = self.store.entries.get(&no) else { return Err(Kernel::content_gone()).into() };
        let (content, have) = (entry.content, entry.have);
        let end = offset.saturating_add(u64::from(count)).min(content.size);
        let whole = entry.is_whole();
        if count == 0 || whole && offset >= content.size {
            return Outcome::Reply(Reply::Data(Vec::new()));
        }
        // The last byte is not given before it is known that all are right.
        if have >= end && (whole || end < content.size) {
            let count = (end - offset) as u32;
            if self.callers.contains_key(&who.client) {
                self.store.given += u64::from(count);
            }
            return Outcome::Content { content, offset, count };
        }
        match wait {
            true => Outcome::Park(On::Content(no), Ask::Op(Op::Read { fid, offset, count, wait })),
            false => Outcome::Reply(Reply::errno(Errno::AGAIN)),
        }
    }

    // ── sessions ───────────────────────────────────────────────────────────────────────────

    /// Sees to it that what a session is to be given comes here, and stays. Whether all is here.
    pub(crate) fn pin_contents(&mut self, id: SessionId, puts: &[PutLine]) -> Result<bool> {
        self.unpin_contents(id);
        for line in puts {
            let wanted = self.want(line.put.content, line.from.as_deref(), None);
            let no = match wanted {
                Ok(no) => no,
                Err(error) => {
                    self.unpin_contents(id);
                    return Err(Error::new(error.errno, format!("put {}: {error}", line.put.name)));
                }
            };
            self.use_content(no);
            let pinned = self.store.pins.entry(id).or_default();
            if !pinned.contains(&no) {
                pinned.push(no);
                self.store.entries.get_mut(&no).expect("it is wanted").pins += 1;
            }
        }
        Ok(self.contents_here(id))
    }

    pub(crate) fn contents_here(&self, id: SessionId) -> bool {
        let pinned = self.store.pins.get(&id).into_iter().flatten();
        pinned.filter_map(|no| self.store.entries.get(no)).all(Entry::is_whole)
    }

    /// A session needs nothing of the store any more.
    pub(crate) fn unpin_contents(&mut self, id: SessionId) {
        for no in self.store.pins.remove(&id).unwrap_or_default() {
            if let Some(entry) = self.store.entries.get_mut(&no) {
                entry.pins -= 1;
            }
        }
    }

    /// Sessions that wait for a content.
    fn pinned_by(&self, no: u64) -> Vec<SessionId> {
        self.store.pins.iter().filter(|(_, all)| all.contains(&no)).map(|(id, _)| *id).collect()
    }

    /// What a session that is starting waits for, in a sentence.
    pub(crate) fn why_waits(&self, session: &Session) -> Option<String> {
        let live = session.live.as_deref().filter(|live| live.awaits.is_some())?;
        let lines = lines(&live.setup.ns).ok()?;
        let part = |line: &PutLine| {
            let entry = self.store.entries.get(self.store.numbers.get(&line.put.content)?)?;
            let (have, all) = (format_size(entry.have), format_size(entry.content.size));
            let from = match &entry.source {
                Source::Whole => return None,
                Source::Client { .. } => String::from("whoever writes it here"),
                Source::Node(fetch) => fetch.source(),
            };
            Some(format!("{have} of {all} of {} from {from}", line.put.name))
        };
        let parts: Vec<String> = lines.iter().filter_map(part).take(3).collect();
        Some(format!("waiting for contents: {}", parts.join(", ")))
    }
}
