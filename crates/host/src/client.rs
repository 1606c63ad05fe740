//! A connection to a node, for whoever uses the tree without a mount: the command, tests, benches.
//!
//! Requests are sent without waiting for answers: [`Connection::send`] as many as you like, [`flush`] once, and
//! take answers as they come with [`receive`] and [`next`]. [`call`] does all that for one request, and what is
//! built on it ([`read_file`], [`write_file`], [`list`]) for a whole file.
//!
//! [`flush`]: Connection::flush
//! [`receive`]: Connection::receive
//! [`next`]: Connection::next
//! [`call`]: Connection::call
//! [`read_file`]: Connection::read_file
//! [`write_file`]: Connection::write_file
//! [`list`]: Connection::list

mod whole;

use crate::dial::{Addr, Wire};
use crate::users::Users;
use link::identity::{Home, Who};
use link::secure::Secure;
use ninep::{Dialect, client::Client};
use op::{Access, Errno, Error, Fid, Op, Reply, Result, Tag};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno as Os;
use rustix::net::SendFlags;
use std::collections::{BTreeSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// The root of the tree, attached when the connection is made: the highest number that is a fid.
pub const ROOT: Fid = Fid(ninep::NOFID - 1);

/// To read.
pub const READ: Access = Access { read: true, write: false, truncate: false };
/// To write from the start.
pub const WRITE: Access = Access { read: false, write: true, truncate: true };
/// Both.
pub const BOTH: Access = Access { read: true, write: true, truncate: false };

/// A connection to a node.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    /// What all goes through, over `tls!`.
    secure: Option<Box<Secure>>,
    client: Client,
    /// Answers that somebody else waits for.
    replies: VecDeque<(Tag, Reply)>,
    /// Requests whose answers nobody waits for.
    ignored: BTreeSet<Tag>,
    buffer: Vec<u8>,
    gone: Option<Error>,
    /// Where paths begin.
    root: Fid,
}

impl Connection {
    /// Connects and attaches.
    ///
    /// # Errors
    /// What the system says to connecting, with the address.
    pub fn dial(addr: &Addr) -> Result<Connection> {
        let (mut this, attached) = Connection::begin(addr)?;
        this.wait_for(attached)?;
        Ok(this)
    }

    /// The same as who a state directory makes us: over `tls!`, its certificate is shown. [`dial`](Connection::dial) takes
    /// the usual one.
    ///
    /// # Errors
    /// As [`dial`](Connection::dial), and that there is no certificate.
    pub fn dial_as(addr: &Addr, state: &Path) -> Result<Connection> {
        let (mut this, attached) = Connection::begin_as(Dialect::Uem, addr, Some(state))?;
        this.wait_for(attached)?;
        Ok(this)
    }

    /// Connects, and asks to attach; the answer to that comes under the tag, and may be waited for with others.
    ///
    /// # Errors
    /// As [`dial`](Connection::dial).
    pub fn begin(addr: &Addr) -> Result<(Connection, Tag)> {
        Connection::begin_in(Dialect::Uem, addr)
    }

    /// The same in a dialect of one's choice, which loses some of what a node says: see [`ninep::client`].
    ///
    /// # Errors
    /// As [`dial`](Connection::dial).
    pub fn begin_in(dialect: Dialect, addr: &Addr) -> Result<(Connection, Tag)> {
        Connection::begin_as(dialect, addr, None)
    }

    fn begin_as(dialect: Dialect, addr: &Addr, state: Option<&Path>) -> Result<(Connection, Tag)> {
        let failed = |e: std::io::Error| {
            let errno = e.raw_os_error().and_then(|n| u16::try_from(n).ok()).map_or(Errno::IO, Errno);
            Error::new(errno, format!("{addr}: {e}"))
        };
        let mut client = Client::new(dialect, ninep::MSIZE_MAX);
        let mut secure = None;
        if let Addr::Tls(..) = addr {
            let refused = |why: String| Error::new(Errno::ACCES, format!("{addr}: {why}"));
            let home = match state {
                Some(state) => Home::open(state),
                None => Home::open(&crate::default_state()),
            };
            let home = home.map_err(refused)?;
            secure = Some(Box::new(Secure::dial(&home).map_err(refused)?));
            if let Some(Who::Node { .. }) = home.who() {
                // A node is believed about who asks; and who can read its key can ask as anybody.
                let uid = op::Uid(rustix::process::geteuid().as_raw());
                client = client.with_user(&Users::default().by_uid(uid).0.name, None);
            }
        }
        let wire = addr.dial().map_err(failed)?;
        rustix::io::ioctl_fionbio(&wire, true).map_err(|e| failed(e.into()))?;
        let (replies, ignored, buffer) = (VecDeque::new(), BTreeSet::new(), vec![0; 256 << 10]);
        let mut this = Connection { wire, secure, client, replies, ignored, buffer, gone: None, root: ROOT };
        let attached = this.send(Op::Attach { fid: ROOT, user: String::new(), tree: String::new() });
        Ok((this, attached))
    }

    /// From here on paths are walked through the tree that shows symbolic links as links: a path with one in its middle
    /// leads nowhere, and whoever wants to can follow it.
    ///
    /// # Errors
    /// What the node says.
    pub fn see_links(&mut self) -> Result<()> {
        let fid = self.new_fid();
        self.call(Op::Attach { fid, user: String::new(), tree: "links".into() })?;
        self.root = fid;
        Ok(())
    }

    /// Where paths begin: [`ROOT`], or what [`see_links`](Connection::see_links) has attached.
    pub fn root(&self) -> Fid {
        self.root
    }

    /// Most bytes of one read or write.
    pub fn max_io(&self) -> u32 {
        self.client.max_io()
    }

    /// A fid that is not in use.
    pub fn new_fid(&mut self) -> Fid {
        self.client.new_fid()
    }

    /// Asks; the bytes leave with the next [`flush`](Connection::flush).
    pub fn send(&mut self, op: Op) -> Tag {
        self.client.request(op)
    }

    /// Walks from `from` along a path to a new fid; the walk is sent, not answered.
    pub fn walk(&mut self, from: Fid, path: &str) -> (Fid, Tag) {
        let newfid = self.new_fid();
        let names = path.split('/').filter(|n| !n.is_empty()).map(String::from).collect();
        (newfid, self.send(Op::Walk { fid: from, newfid, names }))
    }

    /// For poll(2): readable when [`receive`](Connection::receive) has something to do.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }

    /// Whether bytes wait to be sent: poll for writing too.
    pub fn wants_write(&self) -> bool {
        let encrypted = self.secure.as_ref().is_some_and(|secure| !secure.output().is_empty());
        encrypted || !self.client.output().is_empty()
    }

    /// Requests that are not answered yet.
    pub fn outstanding(&self) -> usize {
        self.client.outstanding()
    }

    /// Sends what the connection takes now.
    pub fn flush(&mut self) {
        loop {
            if let Some(secure) = &mut self.secure {
                let count = self.client.output().len().min(AHEAD.saturating_sub(secure.output().len()));
                secure.send(&self.client.output()[..count]);
                self.client.consume(count);
            }
            let bytes = self.secure.as_ref().map_or(self.client.output(), |secure| secure.output());
            if bytes.is_empty() || self.gone.is_some() {
                return;
            }
            match (rustix::net::send(&self.wire, bytes, SendFlags::NOSIGNAL), &mut self.secure) {
                (Ok(n), Some(secure)) => secure.consume(n),
                (Ok(n), None) => self.client.consume(n),
                (Err(Os::INTR), _) => {}
                (Err(Os::AGAIN), _) => return,
                (Err(error), _) => return self.broke(&error),
            }
        }
    }

    /// Takes what has arrived. When the node is gone, everything that waits is answered with an error.
    pub fn receive(&mut self) {
        while self.gone.is_none() {
            match rustix::io::read(&self.wire, &mut self.buffer[..]) {
                Ok(0) => self.lost("the node closed the connection: it was stopped, or died"),
                Ok(n) => {
                    if let Err(why) = self.take(n) {
                        self.lost(&why);
                    }
                    if n < self.buffer.len() {
                        break;
                    }
                }
                Err(Os::INTR) => {}
                Err(Os::AGAIN) => break,
                Err(error) => self.broke(&error),
            }
        }
        while let Some((tag, reply)) = self.client.next_reply() {
            if !self.ignored.remove(&tag) {
                self.replies.push_back((tag, reply));
            }
        }
        self.flush();
    }

    /// Gives the first bytes of the buffer to whoever makes answers of them.
    fn take(&mut self, n: usize) -> std::result::Result<(), String> {
        let unexpected = |broken: ninep::Broken| format!("the node does not speak as expected: {}", broken.0);
        let Some(secure) = &mut self.secure else {
            return self.client.receive(&self.buffer[..n]).map_err(unexpected);
        };
        let mut plain = Vec::new();
        let received = secure.receive(&self.buffer[..n], &mut plain);
        self.client.receive(&plain).map_err(unexpected)?;
        received
    }

    fn broke(&mut self, error: &Os) {
        self.lost(&format!("the connection broke: {error}"));
    }

    fn lost(&mut self, cause: &str) {
        let said = self.wire.complaint();
        let error = Error::new(Errno::STALE, said.as_deref().unwrap_or(cause));
        self.client.hang_up(&error);
        self.gone = Some(error);
    }

    /// Whether the node is gone, and why.
    pub fn gone(&self) -> Option<&Error> {
        self.gone.as_ref()
    }

    /// The next answer that has come.
    #[expect(clippy::should_implement_trait, reason = "more answers may come after a None")]
    pub fn next(&mut self) -> Option<(Tag, Reply)> {
        self.replies.pop_front()
    }

    /// Waits for the answer to one request; others stay for [`next`](Connection::next).
    ///
    /// # Errors
    /// What the node says, or that it is gone.
    pub fn wait_for(&mut self, tag: Tag) -> Result<Reply> {
        loop {
            if let Some(at) = self.replies.iter().position(|(t, _)| *t == tag) {
                return match self.replies.remove(at) {
                    Some((_, Reply::Failed(error))) => Err(error),
                    Some((_, reply)) => Ok(reply),
                    None => Err(Errno::IO.into()),
                };
            }
            if let Some(error) = &self.gone {
                return Err(error.clone());
            }
            self.flush();
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, self.wants_write());
            match poll(&mut [PollFd::new(&self.wire, flags)], None) {
                Ok(_) | Err(Os::INTR) => {}
                Err(error) => self.lost(&format!("poll: {error}")),
            }
            self.receive();
        }
    }

    /// Asks one thing and waits for its answer.
    ///
    /// # Errors
    /// What the node says.
    pub fn call(&mut self, op: Op) -> Result<Reply> {
        let tag = self.send(op);
        self.wait_for(tag)
    }

    /// Forgets a fid; nobody waits for the answer.
    pub fn clunk(&mut self, fid: Fid) {
        let tag = self.send(Op::Clunk { fid });
        self.ignored.insert(tag);
        self.flush();
    }
}

/// Bytes that are encrypted ahead of being taken.
const AHEAD: usize = 256 << 10;
