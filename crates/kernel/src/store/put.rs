//! `put` of a node's `ctl`: a content becomes a file of the machine, whole or not at all.
//!
//! ```text
//!   put CONTENT PATH ──▶ waits for the content ── whole ──▶ at the host ── told ──▶ over
//!                              │ it cannot be had
//!                              └──────────────────────────────────────────────────▶ over
//! ```
//! The content stays in the store until it is over. The host writes the file with the rights of whoever asked, under
//! another name in its directory, and renames it: see [`Effect::Put`].

use crate::{
    Effect, Kernel, Lane, LinkId, Putting,
    far::Purpose,
    limits,
    park::On,
    words::{self, lossy},
};
use alloc::{format, vec::Vec};
use op::{Content, Errno, Error, Reply, Result, Uid, Wall};

/// A `put` that is not over, or whose end nobody has taken.
#[derive(Debug)]
pub(crate) struct Placing {
    /// The content's number in the store; `None` when it is not needed any more.
    pub(super) no: Option<u64>,
    uid: Uid,
    putting: Putting,
    end: Option<Result<()>>,
    /// Nobody waits for its end.
    alone: bool,
}

/// The words of a `put`: what goes where, and from which node the content is to be had.
fn parse(words: &[Vec<u8>]) -> Result<(Putting, Option<alloc::string::String>)> {
    let bad = |why: &str| {
        let line = lossy(&words::join(words));
        Error::new(Errno::INVAL, format!("put {line}: {why}"))
    };
    let [content, path, rest @ ..] = words else { return Err(crate::acts::usage("put")) };
    let content: Content = lossy(content)
        .parse()
        .map_err(|()| bad("HASH is BLAKE3 in 64 lower-case hexadecimal digits, SIZE the bytes"))?;
    let path = core::str::from_utf8(path).map_err(|_| bad("PATH is UTF-8"))?;
    if !path.starts_with('/') {
        return Err(bad("PATH begins with /: it is one of the node's machine"));
    }
    let mut putting = Putting { content, path: path.into(), mode: None, mtime: None };
    let mut from = None;
    for word in rest {
        let word = lossy(word);
        match word.split_once('=') {
            Some(("from", node)) if !node.is_empty() && node.len() <= limits::NAME => {
                from = Some(node.into())
            }
            Some(("mode", bits)) => {
                let bits = u32::from_str_radix(bits, 8).ok().filter(|bits| *bits <= 0o777);
                putting.mode = Some(bits.ok_or_else(|| bad("mode= is three octal digits"))?);
            }
            Some(("mtime", at)) => {
                let at =
                    nanoseconds(at).ok_or_else(|| bad("mtime= is seconds since 1970, as in 1249473600.5"))?;
                putting.mtime = Some(at);
            }
            _ => return Err(crate::acts::usage("put")),
        }
    }
    Ok((putting, from))
}

/// Seconds since 1970, with at most nine digits after the point.
fn nanoseconds(text: &str) -> Option<Wall> {
    let (secs, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if secs.is_empty() || part.len() > 9 || !digits(secs) || !digits(part) {
        return None;
    }
    let part = format!("{part:0<9}").parse::<u64>().ok()?;
    secs.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(part).map(Wall)
}

impl Kernel {
    /// The node keeps its machine's files to itself.
    pub(crate) fn no_files(&self) -> Error {
        let cause = format!("{} does not offer its files: uem up --fs would", self.node.name);
        Error::new(Errno::NOENT, cause)
    }

    /// Begins a `put`; gives its number.
    pub(crate) fn put_file(&mut self, uid: Uid, words: &[Vec<u8>]) -> Result<u64> {
        let (putting, from) = parse(words)?;
        if !self.node.fs {
            return Err(self.no_files());
        }
        if self.store.placings.len() >= limits::PLACINGS {
            let cause = format!("{} puts {} files already; try again", self.node.name, limits::PLACINGS);
            return Err(Error::new(Errno::AGAIN, cause));
        }
        let no = self.want(putting.content, from.as_deref(), None)?;
        self.use_content(no);
        self.store.entries.get_mut(&no).expect("it is wanted").pins += 1;
        self.store.next_placing += 1;
        let number = self.store.next_placing;
        self.store.placings.insert(number, Placing { no: Some(no), uid, putting, end: None, alone: false });
        self.put_whole(no);
        Ok(number)
    }

    /// A content is whole: what is to become of it is the host's.
    pub(super) fn put_whole(&mut self, no: u64) {
        if !self.store.entries.get(&no).is_some_and(super::Entry::is_whole) {
            return;
        }
        let waits = |placing: &&Placing| placing.no == Some(no) && placing.end.is_none();
        let waiting: Vec<(u64, Uid, Putting)> = self
            .store
            .placings
            .iter()
            .filter(|(number, placing)| waits(placing) && !self.store.put_asked.contains(number))
            .map(|(number, placing)| (*number, placing.uid, placing.putting.clone()))
            .collect();
        for (number, uid, putting) in waiting {
            let user = self.user(uid).name.clone();
            let put = |tag| Effect::Put { tag, user, putting };
            self.ask_by(LinkId::FILES, Lane::Bulk, Purpose::Put(number), put);
            self.store.put_asked.insert(number);
        }
    }

    /// A content cannot be had: what was to become of it fails.
    pub(super) fn put_lost(&mut self, no: u64, error: &Error) {
        let lost: Vec<u64> = self
            .store
            .placings
            .iter()
            .filter(|(number, placing)| placing.no == Some(no) && !self.store.put_asked.contains(number))
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            self.end_put(number, Err(error.clone()));
        }
    }

    /// The host has put it, or could not.
    pub(crate) fn put_answered(&mut self, number: u64, reply: Reply) {
        let result = match reply {
            Reply::Done => Ok(()),
            Reply::Failed(error) => Err(error),
            _ => Err(Errno::PROTO.into()),
        };
        self.end_put(number, result);
    }

    fn end_put(&mut self, number: u64, result: Result<()>) {
        self.store.put_asked.remove(&number);
        let Some(placing) = self.store.placings.get_mut(&number) else { return };
        let (no, alone, uid) = (placing.no.take(), placing.alone, placing.uid);
        match (alone, result) {
            (false, result) => placing.end = Some(result),
            (true, result) => {
                self.store.placings.remove(&number);
                result.unwrap_or_else(|error| self.failed(None, uid, "put", "ctl", &error));
            }
        }
        self.unpin_put(no);
        self.parked.notify(On::Put(number));
    }

    fn unpin_put(&mut self, no: Option<u64>) {
        if let Some(entry) = no.and_then(|no| self.store.entries.get_mut(&no)) {
            entry.pins -= 1;
        }
    }

    /// How a `put` went, once it is over; that is told once.
    pub(crate) fn put_over(&mut self, number: u64) -> Option<Result<()>> {
        match self.store.placings.get(&number) {
            None => Some(Err(Errno::CANCELED.into())),
            Some(placing) => {
                placing.end.as_ref()?;
                self.store.placings.remove(&number)?.end
            }
        }
    }

    /// Nobody will ask how it went; it goes on.
    pub(crate) fn leave_put(&mut self, number: u64) {
        if let Some(placing) = self.store.placings.get_mut(&number) {
            placing.alone = true;
        }
    }

    /// Nobody waits for it any more. What is at the host is done all the same, whole or not at all.
    pub(crate) fn drop_put(&mut self, number: u64) {
        self.store.put_asked.remove(&number);
        if let Some(placing) = self.store.placings.remove(&number) {
            self.unpin_put(placing.no);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_put_are_understood_or_refused() {
        let hash = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262-0";
        let check = |line: &str| parse(&words::split(line.replace('H', hash).as_bytes()).unwrap());
        let (putting, from) = check("H '/tmp/a b' from=n1 mode=751 mtime=1249473600.5").unwrap();
        assert_eq!((putting.path.as_str(), from.as_deref()), ("/tmp/a b", Some("n1")));
        assert_eq!((putting.mode, putting.mtime), (Some(0o751), Some(Wall(1_249_473_600_500_000_000))));
        for wrong in [
            "",
            "H",
            "x /tmp/a",
            "H tmp/a",
            "H /a mode=1777",
            "H /a mode=9",
            "H /a mode=",
            "H /a mtime=",
            "H /a mtime=1.1234567890",
            "H /a mtime=-1",
            "H /a mtime=99999999999999999999",
            "H /a from=",
            "H /a frob=1",
            "H /a /b",
        ] {
            assert_eq!(check(wrong).unwrap_err().errno, Errno::INVAL, "{wrong}");
        }
    }
}
