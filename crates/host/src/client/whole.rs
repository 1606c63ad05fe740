//! Whole files by their paths: opened, read, written, listed.

use super::{Connection, READ, WRITE};
use op::{Access, Entry, Errno, Error, Fid, Op, Reply, Result, Stat};

impl Connection {
    /// Walks to a path and opens it.
    ///
    /// # Errors
    /// What the node says.
    pub fn open(&mut self, path: &str, access: Access) -> Result<Fid> {
        let (base, rest) = self.near(path)?;
        let (fid, walked) = self.walk(base, &rest);
        let opened = self.send(Op::Open { fid, access });
        let walked = self.wait_for(walked);
        let opened = self.wait_for(opened);
        let opened = match walked {
            Err(error) => Err(error),
            Ok(Reply::Walked(qids)) if qids.len() < steps(&rest) => {
                Err(self.why_not(base, &rest, qids.len()))
            }
            Ok(_) => opened.inspect_err(|_| self.clunk(fid)),
        };
        self.leave(base);
        opened.map(|_| fid)
    }

    /// Walks to a path, whatever its length.
    ///
    /// # Errors
    /// What the node says.
    pub fn go(&mut self, path: &str) -> Result<Fid> {
        let (base, rest) = self.near(path)?;
        let (fid, walked) = self.walk(base, &rest);
        let walked = match self.wait_for(walked) {
            Ok(Reply::Walked(qids)) if qids.len() < steps(&rest) => {
                Err(self.why_not(base, &rest, qids.len()))
            }
            other => other,
        };
        self.leave(base);
        walked.map(|_| fid)
    }

    /// So far along a path that what is left of it is one walk: the fid there, and the rest.
    fn near(&mut self, path: &str) -> Result<(Fid, String)> {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let (mut base, mut left) = (self.root, &names[..]);
        while left.len() > ninep::MAXWELEM {
            let (now, later) = left.split_at(ninep::MAXWELEM);
            let now = now.join("/");
            let (fid, walked) = self.walk(base, &now);
            let walked = match self.wait_for(walked) {
                Ok(Reply::Walked(qids)) if qids.len() < ninep::MAXWELEM => {
                    Err(self.why_not(base, &now, qids.len()))
                }
                other => other,
            };
            self.leave(base);
            walked?;
            (base, left) = (fid, later);
        }
        Ok((base, left.join("/")))
    }

    /// Gives back what [`near`](Connection::near) has made.
    fn leave(&mut self, base: Fid) {
        if base != self.root {
            self.clunk(base);
        }
    }

    /// Why a walk went no further than so many steps: 9P says that only of the first step, so that is made the one that
    /// fails.
    fn why_not(&mut self, base: Fid, path: &str, went: usize) -> Error {
        let names: Vec<String> = path.split('/').filter(|n| !n.is_empty()).map(String::from).collect();
        let (before, at, last) = (self.new_fid(), self.new_fid(), went.min(names.len().saturating_sub(1)));
        let there = self.send(Op::Walk { fid: base, newfid: before, names: names[..last].to_vec() });
        let failing = self.send(Op::Walk { fid: before, newfid: at, names: names[last..=last].to_vec() });
        let (there, failing) = (self.wait_for(there), self.wait_for(failing));
        if there.is_ok() {
            self.clunk(before);
        }
        match failing {
            Err(error) => error,
            Ok(_) => {
                // It is there by now.
                self.clunk(at);
                Errno::NOENT.into()
            }
        }
    }

    /// Reads a file from its start to its end; waits at the end of what waits there.
    ///
    /// # Errors
    /// What the node says.
    pub fn read_file(&mut self, path: &str) -> Result<Vec<u8>> {
        let fid = self.open(path, READ)?;
        let all = self.read_all(fid);
        self.clunk(fid);
        all
    }

    fn read_all(&mut self, fid: Fid) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let op = Op::Read { fid, offset: all.len() as u64, count: self.max_io(), wait: true };
            match self.call(op)? {
                Reply::Data(data) if data.is_empty() => return Ok(all),
                Reply::Data(data) => all.extend(data),
                _ => return Err(Errno::PROTO.into()),
            }
        }
    }

    /// Writes all of `data` to a file.
    ///
    /// # Errors
    /// What the node says.
    pub fn write_file(&mut self, path: &str, data: &[u8]) -> Result<()> {
        let fid = self.open(path, WRITE)?;
        let result = self.write(fid, data);
        self.clunk(fid);
        result
    }

    /// Writes all of `data` to an open fid.
    ///
    /// # Errors
    /// What the node says.
    pub fn write(&mut self, fid: Fid, data: &[u8]) -> Result<()> {
        let mut offset = 0;
        for part in data.chunks(self.max_io() as usize) {
            self.call(Op::Write { fid, offset, data: part.to_vec() })?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// All entries of a directory.
    ///
    /// # Errors
    /// What the node says.
    pub fn list(&mut self, path: &str) -> Result<Vec<Entry>> {
        let fid = self.open(path, READ)?;
        let all = self.list_all(fid);
        self.clunk(fid);
        all
    }

    fn list_all(&mut self, fid: Fid) -> Result<Vec<Entry>> {
        let mut all: Vec<Entry> = Vec::new();
        loop {
            let cookie = all.last().map_or(0, |e| e.cookie);
            match self.call(Op::List { fid, cookie, count: 1024 })? {
                Reply::Listed(entries) if entries.is_empty() => return Ok(all),
                Reply::Listed(entries) => all.extend(entries),
                _ => return Err(Errno::PROTO.into()),
            }
        }
    }

    /// A file's attributes.
    ///
    /// # Errors
    /// What the node says.
    pub fn stat(&mut self, path: &str) -> Result<Stat> {
        let (base, rest) = self.near(path)?;
        let (fid, walked) = self.walk(base, &rest);
        let stated = self.send(Op::Stat { fid });
        let walked = self.wait_for(walked);
        let stated = self.wait_for(stated);
        let stated = match walked {
            Err(error) => Err(error),
            Ok(Reply::Walked(qids)) if qids.len() < steps(&rest) => {
                Err(self.why_not(base, &rest, qids.len()))
            }
            Ok(_) => {
                self.clunk(fid);
                stated
            }
        };
        self.leave(base);
        match stated? {
            Reply::Stat(stat) => Ok(stat),
            _ => Err(Errno::PROTO.into()),
        }
    }
}

/// Names in a path.
fn steps(path: &str) -> usize {
    path.split('/').filter(|n| !n.is_empty()).count()
}
