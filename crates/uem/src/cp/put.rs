//! Sources put into the files of a node.
//!
//! ```text
//!   to several nodes    the store of the node that we talk to ──pulled down the tree──▶ store of each ──`put`──▶ its place
//!   to one, or where a store has no room       a stream into another name beside it ──rename──▶ its place
//! ```
//! Either way a file is there whole or not at all, and what was there before stays until then.

use super::place::{about, real, shown, split};
use super::source::{Item, Source, What};
use crate::failure::Failure;
use crate::run::put::content;
use host::client::{Connection, WRITE};
use op::{Access, Content, Errno, Fid, FileKind, Mtime, Op, Reply, SetStat, Tag};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Bytes of one write, and writes and lines that are under way at a time.
const PIECE: usize = 256 << 10;
const WINDOW: usize = 8;
/// What makes a directory of what is created.
const DIR: u32 = 0o040_000;

/// How things are put.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    /// Through the store of this node, which we talk to; else each node has a stream of its own.
    pub(super) store: Option<&'a str>,
    /// With the time of the last change.
    pub(super) times: bool,
    /// Set by a signal: what is half done is undone, and nothing new is begun.
    pub(super) stop: &'a AtomicBool,
}

/// What a signal has stopped.
pub(super) fn stopped() -> Failure {
    Failure::new("interrupted")
}

/// Where things are put, and what went wrong on the way.
pub(super) struct Put<'a> {
    pub(super) node: &'a mut Connection,
    pub(super) name: &'a str,
    pub(super) how: How<'a>,
    pub(super) failures: Vec<Failure>,
    /// The node's `ctl`, once it is open, and the lines that are under way.
    ctl: Option<Fid>,
    lines: VecDeque<(Tag, &'a Item, String)>,
    streams: u64,
}

impl<'a> Put<'a> {
    pub(super) fn new(node: &'a mut Connection, name: &'a str, how: How<'a>) -> Put<'a> {
        let (failures, lines) = (Vec::new(), VecDeque::new());
        Put { node, name, how, failures, ctl: None, lines, streams: 0 }
    }

    fn fs(&self) -> String {
        format!("net/{}/fs", self.name)
    }

    /// Puts sources at a path of the node.
    pub(super) fn all(&mut self, sources: &'a [Source], path: &str) -> Result<(), Failure> {
        self.node.stat(&self.fs())?;
        let (to, kind) = self.real(path)?;
        let is_dir = kind == Some(FileKind::Dir);
        if !is_dir && (sources.len() > 1 || path.ends_with('/')) {
            return Err(Failure::new(format!("{path} is no directory there")));
        }
        for source in sources {
            let to =
                if is_dir { format!("{}/{}", to.trim_end_matches('/'), source.name) } else { to.clone() };
            self.source(source, &to);
        }
        self.finish(0);
        if let Some(ctl) = self.ctl.take() {
            self.node.clunk(ctl);
        }
        Ok(())
    }

    fn source(&mut self, source: &'a Source, to: &str) {
        let mut made: Vec<(String, &Item)> = Vec::new();
        let mut lost: Option<String> = None;
        for item in &source.items {
            // What cannot be put because its directory could not is not said again.
            if self.how.stop.load(Relaxed) {
                return self.failures.push(stopped());
            }
            if lost.as_ref().is_some_and(|dir| item.below.starts_with(dir.as_str())) {
                continue;
            }
            let at = if item.below.is_empty() { to.into() } else { format!("{to}/{}", item.below) };
            let done = match &item.what {
                What::Dir => match self.directory(&at, item.mode) {
                    Ok(new) => {
                        if new || self.how.times {
                            made.push((at, item));
                        }
                        Ok(())
                    }
                    Err(failure) => {
                        lost = Some(if item.below.is_empty() {
                            String::new()
                        } else {
                            format!("{}/", item.below)
                        });
                        Err(failure)
                    }
                },
                What::Link(target) => self.link(&at, target),
                What::File(known) => self.file(item, known, at),
            };
            done.unwrap_or_else(|failure| self.failures.push(failure));
        }
        // What is put into a directory changes its time, and may need to write it.
        self.finish(0);
        for (at, item) in made.into_iter().rev() {
            let done = self.attributes(&at, item.mode, item);
            done.unwrap_or_else(|failure| self.failures.push(failure));
        }
    }

    // ── files ──────────────────────────────────────────────────────────────────────────────

    fn file(
        &mut self,
        item: &'a Item,
        known: &std::sync::Mutex<Option<Result<Content, Failure>>>,
        at: String,
    ) -> Result<(), Failure> {
        let Some(store) = self.how.store else { return self.stream(item, &at) };
        let content = {
            let Ok(known) = known.lock() else { return Err(Failure::new("another copy of it panicked")) };
            match known.as_ref() {
                Some(result) => result.clone(),
                None => {
                    let mut guard = Some(known);
                    let path = format!("net/{store}/store");
                    let sent = content(self.node, &path, &item.path, |content| {
                        // The others may begin while it is still on its way.
                        if let Some(mut known) = guard.take() {
                            *known = Some(Ok(content));
                        }
                    });
                    let sent = sent.map_err(|failure| failure.about(item.path.display()));
                    if let (Some(mut known), Err(failure)) = (guard, &sent) {
                        *known = Some(Err(failure.clone()));
                    }
                    sent
                }
            }
        };
        match content {
            Ok(content) => self.line(item, content, store, at),
            // The store has no room, say.
            Err(_) => self.stream(item, &at),
        }
    }

    /// Has the node put a content at a place.
    fn line(&mut self, item: &'a Item, content: Content, from: &str, at: String) -> Result<(), Failure> {
        let ctl = match self.ctl {
            Some(ctl) => ctl,
            None => *self.ctl.insert(self.node.open(&format!("net/{}/ctl", self.name), WRITE)?),
        };
        let mut line = format!("put {content} ").into_bytes();
        kernel::quote_line(shown(&at).as_bytes(), &mut line);
        line.extend(format!(" from={from} mode={:o}", item.mode).bytes());
        if self.how.times {
            line.extend(format!(" mtime={}.{:09}", item.mtime.secs(), item.mtime.0 % 1_000_000_000).bytes());
        }
        line.push(b'\n');
        self.finish(WINDOW - 1);
        let tag = self.node.send(Op::Write { fid: ctl, offset: 0, data: line });
        self.node.flush();
        self.lines.push_back((tag, item, at));
        Ok(())
    }

    /// Waits until no more than so many lines are under way.
    fn finish(&mut self, most: usize) {
        while self.lines.len() > most {
            let Some((tag, item, at)) = self.lines.pop_front() else { return };
            let done = match self.node.wait_for(tag) {
                Ok(_) => Ok(()),
                // Its store has no room for it: perhaps the disk has.
                Err(error) if matches!(error.errno, Errno::FBIG | Errno::NOSPC | Errno::AGAIN) => {
                    self.stream(item, &at)
                }
                Err(error) => Err(about(&at)(error)),
            };
            done.unwrap_or_else(|failure| self.failures.push(failure));
        }
    }

    /// Sends a file by itself.
    fn stream(&mut self, item: &Item, at: &str) -> Result<(), Failure> {
        let local = |error: std::io::Error| Failure::from(error).about(item.path.display());
        let mut from = File::open(&item.path).map_err(local)?;
        let before = from.metadata().map_err(local)?;
        let (dir, name) = split(at);
        let to = self.node.go(dir).map_err(about(dir))?;
        self.streams += 1;
        let other = format!(".uem-cp-{}-{}", std::process::id(), self.streams);
        let done = self.create(to, &other, 0o600, WRITE).map_err(about(at)).and_then(|fid| {
            let poured = self.pour(fid, &mut from, at).and_then(|sent| {
                let after = from.metadata().map_err(local)?;
                let same = |meta: &std::fs::Metadata| (meta.len(), meta.modified().ok());
                if sent != before.len() || same(&before) != same(&after) {
                    let cause = format!("{} has changed while it was read", item.path.display());
                    return Err(Failure::new(cause).hint("copy it again"));
                }
                let mtime = self.how.times.then_some(Mtime::At(item.mtime));
                let set = SetStat { mode: Some(item.mode), mtime, ..SetStat::default() };
                self.node.call(Op::SetStat { fid, set }).map_err(about(at))?;
                let rename =
                    Op::Rename { fid: to, name: other.clone(), dir: to, to: name.into(), replace: true };
                self.node.call(rename).map_err(about(at))
            });
            match poured {
                Ok(_) => self.node.clunk(fid),
                Err(_) => drop(self.node.call(Op::Remove { fid })),
            }
            poured.map(drop)
        });
        self.node.clunk(to);
        done
    }

    fn pour(&mut self, fid: Fid, from: &mut impl Read, at: &str) -> Result<u64, Failure> {
        let piece = PIECE.min(self.node.max_io() as usize);
        let (mut offset, mut under_way) = (0, VecDeque::new());
        let mut buffer = vec![0; piece];
        loop {
            if self.how.stop.load(Relaxed) {
                under_way.into_iter().for_each(|(tag, _)| drop(self.node.wait_for(tag)));
                return Err(stopped());
            }
            let n = from.read(&mut buffer)?;
            let most = if n == 0 { 0 } else { WINDOW - 1 };
            while under_way.len() > most {
                let (tag, size) = under_way.pop_front().expect("there is one");
                match self.node.wait_for(tag) {
                    Ok(Reply::Wrote(wrote)) if wrote as usize == size => {}
                    Ok(_) => {
                        return Err(Failure::new("the node took a part of what was written").about(shown(at)));
                    }
                    Err(error) => {
                        let rest: Vec<Tag> = under_way.drain(..).map(|(tag, _)| tag).collect();
                        rest.into_iter().for_each(|tag| drop(self.node.wait_for(tag)));
                        return Err(about(at)(error));
                    }
                }
            }
            if n == 0 {
                return Ok(offset);
            }
            let data = buffer[..n].to_vec();
            under_way.push_back((self.node.send(Op::Write { fid, offset, data }), n));
            self.node.flush();
            offset += n as u64;
        }
    }

    // ── directories and links ──────────────────────────────────────────────────────────────

    /// A directory that is open to us until all is in it; whether it is new.
    fn directory(&mut self, at: &str, mode: u32) -> Result<bool, Failure> {
        let (dir, name) = split(at);
        let above = self.node.go(dir).map_err(about(dir))?;
        let made = self.create(above, name, DIR | mode | 0o700, Access { read: true, ..Access::default() });
        self.node.clunk(above);
        match made {
            Ok(fid) => {
                self.node.clunk(fid);
                Ok(true)
            }
            Err(error) if error.errno == Errno::EXIST => {
                match self.node.stat(at).map_err(about(at))?.qid.kind {
                    FileKind::Dir => Ok(false),
                    FileKind::File | FileKind::Link => {
                        Err(Failure::new(format!("{} is there, and is no directory", shown(at))))
                    }
                }
            }
            Err(error) => Err(about(at)(error)),
        }
    }

    /// A symbolic link, in place of another one or of a file.
    fn link(&mut self, at: &str, target: &str) -> Result<(), Failure> {
        let (dir, name) = split(at);
        let fid = self.node.go(dir).map_err(about(dir))?;
        let symlink = |name: &str| Op::Symlink { fid, name: name.into(), target: target.into() };
        let made = match self.node.call(symlink(name)) {
            Err(error) if error.errno == Errno::EXIST => {
                self.streams += 1;
                let other = format!(".uem-cp-{}-{}", std::process::id(), self.streams);
                let rename =
                    Op::Rename { fid, name: other.clone(), dir: fid, to: name.into(), replace: true };
                let made = self.node.call(symlink(&other)).and_then(|_| self.node.call(rename));
                if made.is_err()
                    && let Ok(fid) = self.node.go(&format!("{dir}/{other}"))
                {
                    let _it_may_be_out_of_reach = self.node.call(Op::Remove { fid });
                }
                made
            }
            made => made,
        };
        self.node.clunk(fid);
        made.map(drop).map_err(about(at))
    }

    fn create(&mut self, dir: Fid, name: &str, mode: u32, access: Access) -> op::Result<Fid> {
        let fid = self.node.new_fid();
        self.node.call(Op::Walk { fid: dir, newfid: fid, names: Vec::new() })?;
        let made = self.node.call(Op::Create { fid, name: name.into(), mode, access });
        if made.is_err() {
            self.node.clunk(fid);
        }
        made.map(|_| fid)
    }

    fn attributes(&mut self, path: &str, mode: u32, item: &Item) -> Result<(), Failure> {
        let fid = self.node.go(path).map_err(about(path))?;
        let mtime = self.how.times.then_some(Mtime::At(item.mtime));
        let done = self
            .node
            .call(Op::SetStat { fid, set: SetStat { mode: Some(mode), mtime, ..SetStat::default() } });
        self.node.clunk(fid);
        done.map(drop).map_err(about(path))
    }

    fn real(&mut self, path: &str) -> Result<(String, Option<FileKind>), Failure> {
        let fs = self.fs();
        real(self.node, &fs, path)
    }
}
