//! The contents that a node's host keeps, in memory: asserts what a kernel may ask of it.

use op::{Content, Errno, Error};
use std::collections::BTreeMap;

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Store {
    whole: BTreeMap<Content, Vec<u8>>,
    /// With the receipt's number.
    parts: BTreeMap<Content, (u64, Vec<u8>)>,
    /// What was used last, last.
    order: Vec<Content>,
    /// The disk takes no more than this.
    pub room: Option<usize>,
}

/// What bytes are called.
pub fn content(data: &[u8]) -> Content {
    Content { hash: *blake3::hash(data).as_bytes(), size: data.len() as u64 }
}

impl Store {
    /// Bytes of a content that were said to be kept; `None` if it broke off since.
    pub(crate) fn read(&self, content: Content, offset: u64, count: u32) -> Option<Vec<u8>> {
        let kept = self.whole.get(&content).or_else(|| self.parts.get(&content).map(|(_, part)| part));
        let data = kept?;
        assert!(count > 0, "a read is of something");
        Some(data[offset as usize..offset as usize + count as usize].to_vec())
    }

    /// A whole content.
    pub(crate) fn bytes_of(&self, content: Content) -> Option<&[u8]> {
        self.whole.get(&content).map(Vec::as_slice)
    }

    /// More of it.
    pub(crate) fn keep(
        &mut self,
        receipt: u64,
        content: Content,
        offset: u64,
        data: &[u8],
    ) -> Result<u64, Error> {
        assert!(!self.whole.contains_key(&content), "{content} is whole");
        let full = self.room.is_some_and(|room| self.bytes() + data.len() > room);
        let (number, part) = self.parts.entry(content).or_insert_with(|| (receipt, Vec::new()));
        if *number != receipt {
            assert!(*number < receipt, "an earlier receipt is over");
            (*number, *part) = (receipt, Vec::new());
        }
        assert_eq!(offset, part.len() as u64, "bytes come in order");
        part.extend(data);
        let have = part.len() as u64;
        assert!(have <= content.size, "no more than there are");
        if full {
            self.parts.remove(&content);
            return Err(Error::new(Errno::NOSPC, "the disk is full"));
        }
        if have == content.size {
            let (_, data) = self.parts.remove(&content).expect("just added to");
            if self::content(&data) != content {
                return Err(Error::new(Errno::BADMSG, "it is not what its name says"));
            }
            self.whole.insert(content, data);
            self.order.push(content);
        }
        Ok(have)
    }

    pub(crate) fn used(&mut self, content: Content) {
        assert!(self.whole.contains_key(&content), "what is used is there");
        self.order.retain(|of| *of != content);
        self.order.push(content);
    }

    pub(crate) fn drop(&mut self, content: Content) {
        self.whole.remove(&content);
        self.parts.remove(&content);
        self.order.retain(|of| *of != content);
    }

    /// What is there when a node starts: what was whole, in the order of use.
    pub(crate) fn restarted(&mut self) -> Vec<Content> {
        self.parts.clear();
        self.order.clone()
    }

    /// Whether all of it is there.
    pub fn whole(&self, content: Content) -> bool {
        self.whole.contains_key(&content)
    }

    /// Changes a kept content behind the node's back.
    pub fn spoil(&mut self, content: Content) {
        if let Some(byte) = self.whole.get_mut(&content).and_then(|data| data.first_mut()) {
            *byte ^= 1;
        }
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.whole.values().map(Vec::len).sum::<usize>()
            + self.parts.values().map(|(_, part)| part.len()).sum::<usize>()
    }
}
