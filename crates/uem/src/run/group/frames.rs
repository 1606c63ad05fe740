//! Frames: what several members wrote, in one stream. A header `RANKS LEN`, a newline, then LEN bytes that each of these ranks
//! wrote. With ` +` in the header, the record goes on in their next frame; with ` .`, these have said all.

use crate::failure::Failure;
use kernel::RankSet;

/// Most bytes of a header, which may name every second of all ranks, and of what follows it.
const HEADER: usize = 1 << 20;
const BYTES: usize = 64 << 20;

/// A stream that is cut into frames as it comes.
#[derive(Default)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    /// Bytes of it that were given out.
    given: usize,
}

/// What one or several members wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    pub(super) ranks: RankSet,
    pub(super) data: Vec<u8>,
    /// The record goes on in the next frame of these ranks.
    pub(super) more: bool,
}

impl Frames {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.given > 0 {
            self.buffer.drain(..std::mem::take(&mut self.given));
        }
        self.buffer.extend(bytes);
    }

    /// The next that is whole.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Failure> {
        let bytes = &self.buffer[self.given..];
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            return if bytes.len() > HEADER { Err(broken(bytes)) } else { Ok(None) };
        };
        let header = std::str::from_utf8(&bytes[..end]).map_err(|_| broken(bytes))?;
        let words: Vec<&str> = header.split(' ').collect();
        let (ranks, length, more) = match words[..] {
            [ranks, length] => (ranks, length, false),
            [ranks, length, "+"] => (ranks, length, true),
            [ranks, length, "."] => (ranks, length, false),
            _ => return Err(broken(bytes)),
        };
        let ranks = RankSet::parse(ranks).map_err(|_| broken(bytes))?;
        let length: usize =
            length.parse().ok().filter(|length| *length <= BYTES).ok_or_else(|| broken(bytes))?;
        let Some(data) = bytes.get(end + 1..end + 1 + length) else { return Ok(None) };
        let data = data.to_vec();
        self.given += end + 1 + length;
        Ok(Some(Frame { ranks, data, more }))
    }

    /// Nothing is left that is not whole.
    pub(super) fn is_empty(&self) -> bool {
        self.given == self.buffer.len()
    }
}

fn broken(bytes: &[u8]) -> Failure {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
    Failure::new(format!("the node sent no frame, but {start:?}"))
        .hint("is it of the same version? uem --version")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(frames: &mut Frames) -> Vec<(String, String, bool)> {
        let text = |data| String::from_utf8(data).unwrap();
        std::iter::from_fn(|| frames.next().unwrap())
            .map(|frame| (frame.ranks.to_string(), text(frame.data), frame.more))
            .collect()
    }

    #[test]
    fn frames_are_whole_however_they_come() {
        let bytes = b"3 2\na\n0-3,7 5 .\nb\nc\nd0 0\n9 1 +\nx9 2\ny\n";
        let expected = [
            ("3", "a\n", false),
            ("0-3,7", "b\nc\nd", false),
            ("0", "", false),
            ("9", "x", true),
            ("9", "y\n", false),
        ]
        .map(|(ranks, data, more)| (ranks.to_string(), data.to_string(), more));
        for cut in 0..=bytes.len() {
            let mut frames = Frames::default();
            frames.push(&bytes[..cut]);
            let mut got = all(&mut frames);
            frames.push(&bytes[cut..]);
            got.extend(all(&mut frames));
            assert_eq!(got, expected, "cut at {cut}");
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn what_is_no_frame_is_said_to_be_none() {
        for wrong in ["x 1\n", "1\n", "1 x\n", "1 1 -\n", "1 99999999999\n", "\n", " 1 1\n", "1 1 + \n"] {
            let mut frames = Frames::default();
            frames.push(wrong.as_bytes());
            assert!(frames.next().is_err(), "{wrong:?}");
        }
        let mut endless = Frames::default();
        endless.push(&vec![b'1'; HEADER + 1]);
        assert!(endless.next().is_err());
    }
}
