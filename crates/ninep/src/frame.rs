//! Frames: a stream of bytes, cut anywhere, to whole messages; and what waits to be sent.

use alloc::{borrow::Cow, format, vec::Vec};
use core::fmt;

/// The other side broke the protocol in a way that no answer mends: hang up, and log this sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken(pub Cow<'static, str>);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Broken {}

/// Size, type and tag.
pub(crate) const HEADER: usize = 7;

/// Bytes that came and are not a whole message yet. Never longer than one message: memory is taken as bytes
/// arrive, not as a size field claims.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    partial: Vec<u8>,
}

impl Inbox {
    /// Gives each whole message of what came before and `bytes` to `each`, which returns the limit of the next.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut limit: u32,
        mut each: impl FnMut(&[u8]) -> Result<u32, Broken>,
    ) -> Result<(), Broken> {
        while !self.partial.is_empty() {
            let whole = size(&self.partial, limit)?.unwrap_or(4);
            let missing = (whole - self.partial.len()).min(bytes.len());
            let (head, tail) = bytes.split_at(missing);
            self.partial.extend_from_slice(head);
            bytes = tail;
            if size(&self.partial, limit)? == Some(self.partial.len()) {
                limit = each(&self.partial)?;
                self.partial.clear();
            } else if bytes.is_empty() {
                return Ok(());
            }
        }
        // The usual case copies nothing: whole messages are read where they lie.
        while let Some(whole) = size(bytes, limit)?
            && whole <= bytes.len()
        {
            let (frame, tail) = bytes.split_at(whole);
            bytes = tail;
            limit = each(frame)?;
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

/// The size of the message that begins here, if four bytes of it are there.
fn size(bytes: &[u8], limit: u32) -> Result<Option<usize>, Broken> {
    let Some(field) = bytes.first_chunk::<4>() else { return Ok(None) };
    let size = u32::from_le_bytes(*field);
    if size < HEADER as u32 || size > limit {
        return Err(Broken(
            format!("a message of {size} bytes, where {HEADER} to {limit} are allowed").into(),
        ));
    }
    Ok(Some(size as usize))
}

/// Bytes that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// What to send next.
    pub(crate) fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Where to append.
    pub(crate) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The first `count` are sent.
    pub(crate) fn consume(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.sent, "no more is sent than was waiting");
        self.sent += count;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        } else if self.sent > 64 << 10 && self.sent > self.bytes.len() / 2 {
            // Moves each byte at most once on average; a slow reader does not keep what it has read.
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 4];
        frame.extend_from_slice(&[120, 1, 0]);
        frame.extend_from_slice(body);
        let size = frame.len() as u32;
        frame[..4].copy_from_slice(&size.to_le_bytes());
        frame
    }

    #[test]
    fn frames_come_out_whole_wherever_the_stream_is_cut() {
        let stream = [frame(b"one"), frame(b""), frame(b"three")].concat();
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let (mut inbox, mut got) = (Inbox::default(), Vec::new());
                for part in [&stream[..first], &stream[first..second], &stream[second..]] {
                    inbox
                        .feed(part, 100, |frame| {
                            got.push(frame.to_vec());
                            Ok(100)
                        })
                        .unwrap();
                }
                assert_eq!(got, [frame(b"one"), frame(b""), frame(b"three")], "{first} {second}");
            }
        }
    }

    #[test]
    fn sizes_out_of_bounds_break_at_once() {
        for size in [0u32, 6, 101, u32::MAX] {
            assert!(Inbox::default().feed(&size.to_le_bytes(), 100, |_| Ok(100)).is_err(), "{size}");
        }
    }

    #[test]
    fn what_is_sent_is_forgotten() {
        let mut out = Outbox::default();
        out.end().extend_from_slice(&vec![7; 200_000]);
        out.consume(150_000);
        assert_eq!((out.waiting().len(), out.bytes.len()), (50_000, 50_000));
        out.consume(50_000);
        assert!(out.waiting().is_empty());
    }
}
