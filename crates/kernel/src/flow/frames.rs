//! Frames: bytes that say whose they are. Between the levels of a group, and for programs that ask for `frames`.
//!
//! ```text
//!   frame  = RANKS " " LEN [" +" | " ."] "\n" and LEN bytes
//!   RANKS  = 3 | 0-3,7 | *          "*": all members
//! ```
//! A frame has whole records, one or more. With `+` it has a part of one record, which goes on in the next frame; nothing
//! of other ranks comes between. With `.` these ranks have said all: what the frame has is a last record without its end.

use crate::{limits, ranks::RankSet};
use alloc::{format, vec::Vec};
use op::{Errno, Error, Result};

/// Whose a frame's bytes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Whose {
    All,
    Ranks(RankSet),
}

/// What a frame has of its last record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Whole,
    /// It goes on in the next frame.
    More,
    /// Nothing comes after it.
    End,
}

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    pub(crate) whose: Whose,
    pub(crate) data: Vec<u8>,
    pub(crate) mark: Mark,
}

/// Appends a frame.
pub(crate) fn encode(whose: &Whose, data: &[u8], mark: Mark, out: &mut Vec<u8>) {
    head(whose, data.len(), mark, out);
    out.extend_from_slice(data);
}

/// Appends what stands before so many bytes.
pub(crate) fn head(whose: &Whose, len: usize, mark: Mark, out: &mut Vec<u8>) {
    let mark = match mark {
        Mark::Whole => "",
        Mark::More => " +",
        Mark::End => " .",
    };
    let head = match whose {
        Whose::All => format!("* {len}{mark}\n"),
        Whose::Ranks(ranks) => format!("{ranks} {len}{mark}\n"),
    };
    out.extend_from_slice(head.as_bytes());
}

/// Reads frames from bytes as they come.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Of a header that is not whole, or of the frame's bytes.
    kept: Vec<u8>,
    head: Option<(Whose, usize, Mark)>,
}

impl Decoder {
    /// Takes bytes, and appends the frames that are whole now. After an error nothing more can be read.
    pub(crate) fn push(&mut self, mut bytes: &[u8], frames: &mut Vec<Frame>) -> Result<()> {
        loop {
            match self.head.take() {
                None => {
                    let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
                        self.keep(bytes)?;
                        return Ok(());
                    };
                    self.keep(&bytes[..end])?;
                    bytes = &bytes[end + 1..];
                    self.head = Some(header(&core::mem::take(&mut self.kept))?);
                }
                Some((whose, len, mark)) => {
                    let (now, rest) = bytes.split_at(bytes.len().min(len - self.kept.len()));
                    if self.kept.is_empty() {
                        self.kept.reserve_exact(len);
                    }
                    self.kept.extend_from_slice(now);
                    bytes = rest;
                    if self.kept.len() < len {
                        self.head = Some((whose, len, mark));
                        return Ok(());
                    }
                    frames.push(Frame { whose, data: core::mem::take(&mut self.kept), mark });
                }
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<()> {
        if self.kept.len() + bytes.len() > limits::FRAME_HEAD {
            return Err(broken("a header without an end", bytes));
        }
        self.kept.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether a frame has begun that is not whole.
    pub(crate) fn inside(&self) -> bool {
        self.head.is_some() || !self.kept.is_empty()
    }
}

fn header(line: &[u8]) -> Result<(Whose, usize, Mark)> {
    let wrong = || broken("no header", line);
    let text = core::str::from_utf8(line).map_err(|_| wrong())?;
    let mut words = text.split(' ');
    let (whose, len, mark) = (words.next(), words.next(), words.next());
    let whose = match whose.ok_or_else(wrong)? {
        "*" => Whose::All,
        ranks => Whose::Ranks(RankSet::parse(ranks).map_err(|_| wrong())?),
    };
    let digits = |len: &&str| len.bytes().all(|b| b.is_ascii_digit());
    let len = len.filter(digits).and_then(|len| len.parse().ok()).ok_or_else(wrong)?;
    let mark = match (mark, words.next()) {
        (None, _) => Mark::Whole,
        (Some("+"), None) => Mark::More,
        (Some("."), None) => Mark::End,
        _ => return Err(wrong()),
    };
    if len > limits::FRAME {
        return Err(broken("more bytes than a frame may have", line));
    }
    Ok((whose, len, mark))
}

fn broken(what: &str, line: &[u8]) -> Error {
    let shown = crate::words::lossy(&line[..line.len().min(60)]);
    let cause = format!(
        "{what}: {shown:?}; a frame is a line `RANKS LEN`, perhaps with + or . behind it, then at most {} bytes",
        limits::FRAME
    );
    Error::new(Errno::PROTO, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(whose: &str, data: &[u8], mark: Mark) -> Frame {
        let whose = if whose == "*" { Whose::All } else { Whose::Ranks(RankSet::parse(whose).unwrap()) };
        Frame { whose, data: data.into(), mark }
    }

    #[test]
    fn what_is_encoded_is_decoded_wherever_it_is_torn() {
        let frames = [
            frame("3", b"a\nb\n", Mark::Whole),
            frame("0-3,7", b"", Mark::End),
            frame("*", b"x 1\n\n", Mark::More),
            frame("*", b"\n", Mark::Whole),
            frame("65535", b"0 0\n", Mark::End),
        ];
        let mut bytes = Vec::new();
        for frame in &frames {
            encode(&frame.whose, &frame.data, frame.mark, &mut bytes);
        }
        assert!(bytes.starts_with(b"3 4\na\nb\n0-3,7 0 .\n* 5 +\n"));
        for a in 0..=bytes.len() {
            for b in a..=bytes.len() {
                let (mut decoder, mut got) = (Decoder::default(), Vec::new());
                for piece in [&bytes[..a], &bytes[a..b], &bytes[b..]] {
                    decoder.push(piece, &mut got).unwrap();
                }
                assert_eq!(got, frames, "torn at {a} and {b}");
                assert!(!decoder.inside());
            }
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for wrong in
            ["\n", "3\n", "3 \n", " 3 4\n", "3 4 \n", "3 4 x\n", "3 4 + .\n", "x 4\n", "3 -1\n", "3 +1\n"]
        {
            let error = Decoder::default().push(wrong.as_bytes(), &mut Vec::new()).unwrap_err();
            assert_eq!(error.errno, Errno::PROTO, "{wrong:?}");
        }
        let large = format!("3 {}\n", limits::FRAME + 1);
        assert!(Decoder::default().push(large.as_bytes(), &mut Vec::new()).is_err());
        let endless = alloc::vec![b'1'; limits::FRAME_HEAD + 1];
        assert!(Decoder::default().push(&endless, &mut Vec::new()).is_err());
    }
}
