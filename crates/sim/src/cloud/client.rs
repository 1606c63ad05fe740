//! Clients of a cloud, for tests: each is at one node, and asks. What takes several requests is one call here, and
//! time passes until it is answered.

use super::{Cloud, Life};
use kernel::ClientId;
use op::{Access, Fid, FileKind, Op, Reply, Result, SessionId, Tag, Uid};
use std::time::Duration;

/// A client's number.
pub type Who = usize;

/// A client of one node.
#[derive(Debug)]
pub(crate) struct Client {
    pub(super) node: usize,
    id: ClientId,
    uid: Uid,
    user: String,
    next_fid: u32,
    /// It hung up, or its node died.
    pub(super) gone: bool,
}

/// Nothing is waited for longer than this, of the cloud's time.
pub const PATIENCE: Duration = Duration::from_secs(60);

const READ: Access = Access { read: true, write: false, truncate: false };
const WRITE: Access = Access { read: false, write: true, truncate: false };
/// For reading and writing.
pub const BOTH: Access = Access { read: true, write: true, truncate: false };

/// The steps of a path.
pub fn names(path: &str) -> Vec<String> {
    path.split('/').filter(|name| !name.is_empty()).map(String::from).collect()
}

impl Cloud {
    /// A client of a node that is up, attached to the root with fid 0. A node that is to die in its next event dies in
    /// what is asked after that.
    pub fn connect(&mut self, node: usize, user: &str) -> Who {
        self.enter(node, user, true)
    }

    /// The same for a client of plain 9P2000, which is shown what a link leads to in its place.
    pub fn connect_plain(&mut self, node: usize, user: &str) -> Who {
        self.enter(node, user, false)
    }

    fn enter(&mut self, node: usize, user: &str, links: bool) -> Who {
        let host = &mut self.hosts[node];
        assert!(matches!(host.life, Life::Up), "a client finds its node up");
        host.world.clock = self.clock;
        let crash = host.world.put_off_crash();
        let uid = host.world.uid(user);
        let (id, done) = host.world.enter(links);
        self.carry_out(node, done);
        self.clients.push(Client { node, id, uid, user: user.into(), next_fid: 1, gone: false });
        let who = self.clients.len() - 1;
        let attach = Op::Attach { fid: Fid(0), user: String::new(), tree: String::new() };
        let reply = self.call(who, attach);
        assert!(matches!(reply, Reply::Attached(_)), "{reply:?}");
        if let Some(effects) = crash {
            self.crash(node, effects);
        }
        who
    }

    /// Whether the client's node has died, or it hung up.
    pub fn is_gone(&self, who: Who) -> bool {
        self.clients[who].gone
    }

    /// At which node a client is.
    pub fn node_of(&self, who: Who) -> usize {
        self.clients[who].node
    }

    /// Who a client is.
    pub(crate) fn user_of(&self, who: Who) -> &str {
        &self.clients[who].user
    }

    /// A fid that the client has not used before.
    pub fn new_fid(&mut self, who: Who) -> Fid {
        self.clients[who].next_fid += 1;
        Fid(self.clients[who].next_fid - 1)
    }

    /// A client asks; its answer is taken by [`Cloud::reply`]. At a node that was stopped, that may take a while.
    pub fn ask(&mut self, who: Who, op: Op) -> Tag {
        let Client { node, id, uid, gone, .. } = self.clients[who];
        assert!(!gone, "a client that is gone asks nothing");
        let host = &mut self.hosts[node];
        host.world.clock = self.clock;
        let (tag, done) = host.world.ask(id, uid, op);
        self.carry_out(node, done);
        tag
    }

    /// The answer to a request, once, when it is there.
    pub fn reply(&mut self, who: Who, tag: Tag) -> Option<Reply> {
        let Client { node, id, .. } = self.clients[who];
        self.hosts[node].world.reply(id, tag)
    }

    /// Whether a request is neither answered nor flushed.
    pub fn waits(&self, who: Who, tag: Tag) -> bool {
        let Client { node, id, gone, .. } = self.clients[who];
        !gone && self.hosts[node].world.waits(id, tag)
    }

    /// The client is gone.
    pub fn hang_up(&mut self, who: Who) {
        if std::mem::replace(&mut self.clients[who].gone, true) {
            return;
        }
        let Client { node, id, .. } = self.clients[who];
        self.hosts[node].world.clock = self.clock;
        let done = self.hosts[node].world.hangup(id);
        self.carry_out(node, done);
    }

    /// Everybody is.
    pub fn hang_up_all(&mut self) {
        (0..self.clients.len()).for_each(|who| self.hang_up(who));
    }

    /// Asks, and lets time pass until the answer is there.
    ///
    /// # Panics
    /// If that takes longer than anything may.
    pub fn call(&mut self, who: Who, op: Op) -> Reply {
        let until = self.clock.mono + PATIENCE;
        // Put into words only if it comes to that; what is written may be long.
        let said = match &op {
            Op::Write { fid, offset, .. } => Op::Write { fid: *fid, offset: *offset, data: Vec::new() },
            op => op.clone(),
        };
        let tag = self.ask(who, op);
        loop {
            if let Some(reply) = self.reply(who, tag) {
                return reply;
            }
            let at = &self.hosts[self.clients[who].node].plan.name;
            assert!(!self.clients[who].gone, "the node {at} died before it answered {said:?}");
            assert!(self.clock.mono < until, "{at} has not answered in {PATIENCE:?}: {said:?}");
            self.step(until);
        }
    }

    fn must(&mut self, who: Who, op: Op) -> Result<Reply> {
        match self.call(who, op) {
            Reply::Failed(error) => Err(error),
            reply => Ok(reply),
        }
    }

    /// Walks to a path, following a link at its end; the new fid.
    ///
    /// # Errors
    /// Of the step that failed.
    pub fn walk(&mut self, who: Who, path: &str) -> Result<Fid> {
        let fid = self.new_fid(who);
        let steps = names(path);
        let reply = self.must(who, Op::Walk { fid: Fid(0), newfid: fid, names: steps.clone() })?;
        let Reply::Walked(qids) = reply else { unreachable!("a walk is answered as one") };
        if qids.len() < steps.len() {
            // Asked for a step alone, the node says why; or it works by now.
            let (there, rest) = steps.split_at(qids.len());
            self.must(who, Op::Walk { fid: Fid(0), newfid: fid, names: there.to_vec() })?;
            for step in rest {
                let reply = self.must(who, Op::Walk { fid, newfid: fid, names: vec![step.clone()] });
                if let Err(error) = reply {
                    self.call(who, Op::Clunk { fid });
                    return Err(error);
                }
            }
        }
        if qids.last().is_some_and(|qid| qid.kind == FileKind::Link) {
            self.must(who, Op::Walk { fid, newfid: fid, names: vec![".".into()] })?;
        }
        Ok(fid)
    }

    /// Opens a path; the fid.
    ///
    /// # Errors
    /// Of walking or opening.
    pub fn open(&mut self, who: Who, path: &str, access: Access) -> Result<Fid> {
        let fid = self.walk(who, path)?;
        match self.must(who, Op::Open { fid, access }) {
            Ok(_) => Ok(fid),
            Err(error) => {
                self.call(who, Op::Clunk { fid });
                Err(error)
            }
        }
    }

    /// Reads an open fid from this offset to its end.
    ///
    /// # Errors
    /// Of a read.
    pub fn read_on(&mut self, who: Who, fid: Fid, mut offset: u64) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            match self.must(who, Op::Read { fid, offset, count: 65_536, wait: true })? {
                Reply::Data(data) if data.is_empty() => return Ok(all),
                Reply::Data(data) => {
                    offset += data.len() as u64;
                    all.extend(data);
                }
                reply => unreachable!("a read is answered with {reply:?}"),
            }
        }
    }

    /// Reads a file to its end.
    ///
    /// # Errors
    /// Of the step that failed.
    pub fn read(&mut self, who: Who, path: &str) -> Result<Vec<u8>> {
        let fid = self.open(who, path, READ)?;
        let data = self.read_on(who, fid, 0);
        self.call(who, Op::Clunk { fid });
        data
    }

    /// Reads a file of text to its end.
    ///
    /// # Errors
    /// Of the step that failed.
    pub fn cat(&mut self, who: Who, path: &str) -> Result<String> {
        self.read(who, path).map(|data| String::from_utf8_lossy(&data).into_owned())
    }

    /// Writes to a file, at once.
    ///
    /// # Errors
    /// Of the step that failed.
    pub fn write(&mut self, who: Who, path: &str, text: &str) -> Result<()> {
        let fid = self.open(who, path, WRITE)?;
        let reply = self.must(who, Op::Write { fid, offset: 0, data: text.as_bytes().to_vec() });
        self.call(who, Op::Clunk { fid });
        reply.map(drop)
    }

    /// The names in a directory.
    ///
    /// # Errors
    /// Of the step that failed.
    pub fn ls(&mut self, who: Who, path: &str) -> Result<Vec<String>> {
        let fid = self.open(who, path, READ)?;
        let (mut all, mut cookie) = (Vec::new(), 0);
        let listed = loop {
            match self.must(who, Op::List { fid, cookie, count: 256 }) {
                Err(error) => break Err(error),
                Ok(Reply::Listed(entries)) => match entries.last() {
                    None => break Ok(all),
                    Some(last) => {
                        cookie = last.cookie;
                        all.extend(entries.into_iter().map(|entry| entry.stat.name));
                    }
                },
                Ok(reply) => unreachable!("a listing is answered with {reply:?}"),
            }
        };
        self.call(who, Op::Clunk { fid });
        listed
    }

    /// Starts a program where a `clone` is; the session keeps. Its canonical name, and the open `ctl`.
    ///
    /// # Errors
    /// Of the step that failed.
    pub fn start(&mut self, who: Who, clone: &str, command: &str) -> Result<(String, Fid)> {
        let fid = self.open(who, clone, BOTH)?;
        let id = match self.must(who, Op::Read { fid, offset: 0, count: 256, wait: true })? {
            Reply::Data(id) => String::from_utf8_lossy(&id).trim().to_string(),
            reply => unreachable!("a read is answered with {reply:?}"),
        };
        let text = format!("keep\nexec {command}\n");
        self.must(who, Op::Write { fid, offset: 0, data: text.into_bytes() })?;
        Ok((id, fid))
    }

    /// What a program of a node has written.
    pub fn written(&self, node: usize, session: u64) -> &[u8] {
        &self.hosts[node].world.provider.programs[&SessionId(session)].spool[0]
    }
}
