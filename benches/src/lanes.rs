//! Sessions in numbers over one connection: `width` under way at a time, each in one flight of requests (walk to
//! clone, open, write, walk to `../wait`, open, read), its status checked, then freed or kept.

use crate::table::Outcome;
use crate::world::NAME;
use host::client::{BOTH, Connection, READ, ROOT};
use op::{Fid, Op, Reply, Tag};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::HashMap;

/// What becomes of a session whose status was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    Free,
    /// The lines must say `keep`.
    Keep,
}

/// Where requests begin: a connection, and a fid of the node's directory.
pub(crate) struct Lanes {
    pub(crate) connection: Connection,
    base: Fid,
}

struct Lane {
    ctl: Fid,
    wait: Fid,
    id: Option<Tag>,
}

impl Lanes {
    pub(crate) fn new(mut connection: Connection) -> Outcome<Lanes> {
        let (base, walked) = connection.walk(ROOT, &format!("net/{NAME}"));
        connection.wait_for(walked).map_err(|error| error.to_string())?;
        Ok(Lanes { connection, base })
    }

    /// Runs `count` sessions; `lines` is written to each one's ctl. Gives the ids if they are kept.
    pub(crate) fn run(
        &mut self,
        count: usize,
        width: usize,
        lines: &str,
        after: After,
    ) -> Outcome<Vec<String>> {
        let mut lanes: HashMap<Tag, Lane> = HashMap::new();
        let mut names: HashMap<Tag, ()> = HashMap::new();
        let mut ids = Vec::new();
        let (mut begun, mut over) = (0, 0);
        while over < count || self.connection.outstanding() > 0 {
            while begun < count && lanes.len() < width {
                begun += 1;
                let (tag, lane) = self.begin(lines, after);
                names.extend(lane.id.map(|id| (id, ())));
                lanes.insert(tag, lane);
            }
            self.exchange()?;
            while let Some((tag, reply)) = self.connection.next() {
                let data = match reply {
                    Reply::Failed(error) => return Err(error.to_string().into()),
                    Reply::Data(data) => data,
                    _ => continue,
                };
                if names.remove(&tag).is_some() {
                    ids.push(String::from_utf8_lossy(&data).trim().to_string());
                } else if let Some(lane) = lanes.remove(&tag) {
                    if !data.windows(8).any(|part| part == b" exit=0 ") {
                        return Err(format!("a session ended so: {}", String::from_utf8_lossy(&data)).into());
                    }
                    self.end(&lane, after);
                    over += 1;
                }
            }
        }
        Ok(ids)
    }

    fn begin(&mut self, lines: &str, after: After) -> (Tag, Lane) {
        let c = &mut self.connection;
        let (ctl, _) = c.walk(self.base, "clone");
        c.send(Op::Open { fid: ctl, access: BOTH });
        c.send(Op::Write { fid: ctl, offset: 0, data: lines.into() });
        let id =
            (after == After::Keep).then(|| c.send(Op::Read { fid: ctl, offset: 0, count: 32, wait: true }));
        let (wait, _) = c.walk(ctl, "../wait");
        c.send(Op::Open { fid: wait, access: READ });
        let tag = c.send(Op::Read { fid: wait, offset: 0, count: 4096, wait: true });
        (tag, Lane { ctl, wait, id })
    }

    fn end(&mut self, lane: &Lane, after: After) {
        let c = &mut self.connection;
        if after == After::Free {
            c.send(Op::Write { fid: lane.ctl, offset: 0, data: b"free\n".to_vec() });
        }
        c.send(Op::Clunk { fid: lane.wait });
        c.send(Op::Clunk { fid: lane.ctl });
    }

    /// Sends what waits, and waits for something to come.
    fn exchange(&mut self) -> Outcome<()> {
        self.connection.flush();
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, self.connection.wants_write());
        poll(&mut [PollFd::from_borrowed_fd(self.connection.fd(), flags)], None)?;
        self.connection.receive();
        match self.connection.gone() {
            Some(error) => Err(error.to_string().into()),
            None => Ok(()),
        }
    }

    /// Reads the whole stdout of each session, `width` at a time.
    pub(crate) fn read_all(&mut self, ids: &[String], width: usize) -> Outcome<Vec<Vec<u8>>> {
        let mut outputs: Vec<Vec<u8>> = vec![Vec::new(); ids.len()];
        let mut reads: HashMap<Tag, (usize, Fid)> = HashMap::new();
        let (mut begun, mut over) = (0, 0);
        while over < ids.len() || self.connection.outstanding() > 0 {
            while begun < ids.len() && reads.len() < width {
                let c = &mut self.connection;
                let (fid, _) = c.walk(self.base, &format!("{}/stdout", ids[begun]));
                c.send(Op::Open { fid, access: READ });
                reads.insert(c.send(Op::Read { fid, offset: 0, count: 4096, wait: true }), (begun, fid));
                begun += 1;
            }
            self.exchange()?;
            while let Some((tag, reply)) = self.connection.next() {
                match (reply, reads.remove(&tag)) {
                    (Reply::Failed(error), _) => return Err(error.to_string().into()),
                    (Reply::Data(data), Some((_, fid))) if data.is_empty() => {
                        self.connection.send(Op::Clunk { fid });
                        over += 1;
                    }
                    (Reply::Data(data), Some((at, fid))) => {
                        outputs[at].extend(data);
                        let offset = outputs[at].len() as u64;
                        let tag = self.connection.send(Op::Read { fid, offset, count: 4096, wait: true });
                        reads.insert(tag, (at, fid));
                    }
                    _ => {}
                }
            }
        }
        Ok(outputs)
    }

    /// Frees all sessions of the node.
    pub(crate) fn free_all(&mut self) -> Outcome<()> {
        let path = format!("net/{NAME}/ctl");
        Ok(self.connection.write_file(&path, b"free\n").map_err(|error| error.to_string())?)
    }
}
