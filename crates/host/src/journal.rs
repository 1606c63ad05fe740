//! The journal's file: lines appended, read once at the start, written anew when it has grown.
//!
//! A line counts when its newline is written. Lines go to the page cache before anything they promise is answered,
//! so they outlive the node; a machine that loses power may lose the last seconds.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes that are written and whole.
    len: u64,
    waiting: Vec<u8>,
    /// The last write failed.
    pub(crate) full: bool,
}

impl Journal {
    /// Opens it, making it if need be; gives its lines. A last line without its newline is dropped.
    pub(crate) fn open(state: &Path) -> io::Result<(Journal, Vec<Vec<u8>>)> {
        let path = state.join("journal");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(whole);
        file.set_len(whole as u64)?;
        let lines = bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(<[u8]>::to_vec).collect();
        Ok((Journal { path, file, len: whole as u64, waiting: Vec::new(), full: false }, lines))
    }

    pub(crate) fn append(&mut self, line: &[u8]) {
        self.waiting.extend(line);
        self.waiting.push(b'\n');
    }

    /// Whether there is something to write, and reason to think that it can be.
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty() && !self.full
    }

    /// Puts new contents in place of all, at once.
    pub(crate) fn rewrite(&mut self, lines: &[u8]) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(lines)?;
        std::fs::rename(&new, &self.path)?;
        self.waiting.clear();
        self.len = lines.len() as u64;
        self.file = file;
        Ok(())
    }

    /// Writes what waits. What fails is tried again with the next; a part that was written is written over.
    pub(crate) fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        self.full = self.file.write_all_at(&self.waiting, self.len).is_err();
        if !self.full {
            self.len += self.waiting.len() as u64;
            self.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_last_line_is_dropped_and_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, lines) = Journal::open(dir.path()).unwrap();
        assert!(lines.is_empty());
        journal.append(b"one");
        journal.append(b"two");
        journal.flush();
        let whole = std::fs::read(dir.path().join("journal")).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(dir.path().join("journal"), &whole[..cut]).unwrap();
            let (mut journal, lines) = Journal::open(dir.path()).unwrap();
            assert_eq!(lines.len(), whole[..cut].iter().filter(|b| **b == b'\n').count());
            journal.append(b"three");
            journal.flush();
            let (_, again) = Journal::open(dir.path()).unwrap();
            assert_eq!(again.last().unwrap(), b"three");
            assert_eq!(again.len(), lines.len() + 1);
        }
    }

    #[test]
    fn a_rewrite_replaces_all() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        journal.append(b"one");
        journal.flush();
        journal.rewrite(b"two\n").unwrap();
        journal.append(b"three");
        journal.flush();
        let (_, lines) = Journal::open(dir.path()).unwrap();
        assert_eq!(lines, [b"two".to_vec(), b"three".to_vec()]);
    }
}
