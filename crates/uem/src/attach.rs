//! `uem attach`: the console of a session, until it ends or ^] leaves it.

use crate::at::Common;
use crate::console::feed::{Fed, Feed};
use crate::console::outlet::Outlet;
use crate::console::signals::{Came, Signals};
use crate::console::terminal::{self, Raw};
use crate::console::wait::wait;
use crate::failure::{Failure, Outcome, say};
use crate::id::Id;
use crate::tree;
use host::client::{BOTH, Connection, READ, WRITE};
use op::{Fid, Op, Reply, Tag};
use std::collections::BTreeMap;

/// Take part in a session: see what it writes, type what it reads; ^] leaves it running
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// A session
    #[arg(value_name = "ID", value_parser = Id::parse)]
    session: Id,
}

/// ^], as in telnet(1).
const LEAVE: u8 = 0x1d;

/// What is under way.
struct Console {
    node: Connection,
    stdio: Fid,
    wait: Fid,
    ctl: Fid,
    read: Option<Tag>,
    waited: Tag,
    /// Writes that are not taken, with their bytes.
    fed: BTreeMap<Tag, usize>,
    offset: u64,
    out: Outlet,
    feed: Feed,
    signals: Signals,
    tty: bool,
    raw: Option<Raw>,
    status: Option<u8>,
    left: bool,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let mut node = common.connect()?;
    let id = &args.session;
    let info = node.read_file(&id.file("info.json")).map_err(|error| id.failed(&mut node, error))?;
    let info = tree::record(&info)?;
    let mut open = |name, access| {
        let opened = node.open(&id.file(name), access);
        opened.map_err(|error| id.failed(&mut node, error))
    };
    let (ctl, stdio, wait) = (open("ctl", WRITE)?, open("stdio", BOTH)?, open("wait.json", READ)?);
    let waited = node.send(Op::Read { fid: wait, offset: 0, count: 4096, wait: true });
    let tty = info.contains_key("tty");
    let mut console = Console {
        node,
        stdio,
        wait,
        ctl,
        read: None,
        waited,
        fed: BTreeMap::new(),
        offset: 0,
        out: Outlet::new(rustix::stdio::stdout()),
        feed: Feed::new(),
        signals: Signals::catch()?,
        tty,
        raw: if tty { Raw::enter() } else { None },
        status: None,
        left: false,
    };
    if tty {
        console.resize();
    }
    let followed = console.follow();
    // The terminal first, so that lines are lines again.
    console.raw = None;
    let status = followed.map_err(|broken| match broken {
        Broken::Ours(failure) => failure,
        Broken::Theirs(error) => id.failed(&mut console.node, error),
    })?;
    drop(console);
    match status {
        Some(status) => Ok(status),
        None => {
            say("attach", "left; it goes on");
            Ok(0)
        }
    }
}

/// Why it cannot be followed any more.
enum Broken {
    Ours(Failure),
    /// The node's word.
    Theirs(op::Error),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Broken {
        Broken::Ours(failure)
    }
}

impl Console {
    /// Its status, or `None` if it was left.
    fn follow(&mut self) -> Result<Option<u8>, Broken> {
        let mut over = false;
        loop {
            while let Some((tag, reply)) = self.node.next() {
                over |= self.answered(tag, reply)?;
            }
            if let Some(error) = self.node.gone() {
                return Err(Broken::Theirs(error.clone()));
            }
            self.out.drain().map_err(Failure::from)?;
            if self.left {
                return Ok(None);
            }
            if let (Some(status), true, 0) = (self.status, over, self.out.waiting()) {
                return Ok(Some(status));
            }
            if self.read.is_none() && !over && self.out.waiting() == 0 {
                let count = self.node.max_io();
                self.read = Some(self.node.send(Op::Read { fid: self.stdio, offset: 0, count, wait: true }));
            }
            self.node.flush();
            self.wait_for_something()?;
        }
    }

    /// Whether that was the end of the output.
    fn answered(&mut self, tag: Tag, reply: Reply) -> Result<bool, Broken> {
        if let Some(bytes) = self.fed.remove(&tag) {
            self.feed.taken(bytes);
            if let Reply::Failed(_) = reply {
                self.feed.close();
            }
            return Ok(false);
        }
        let ours = self.read == Some(tag);
        match reply {
            Reply::Data(data) if ours => {
                self.read = None;
                let end = data.is_empty();
                self.out.push(data);
                return Ok(end);
            }
            Reply::Data(data) if tag == self.waited => {
                self.status = Some(tree::status(&tree::record(&data)?).unwrap_or(crate::failure::OURS));
            }
            Reply::Failed(error) if ours || tag == self.waited => return Err(Broken::Theirs(error)),
            _ => {}
        }
        Ok(false)
    }

    fn wait_for_something(&mut self) -> Result<(), Failure> {
        let feed = Some(&self.feed).filter(|_| self.status.is_none());
        let ready = wait(&mut self.node, &self.signals, feed, [&self.out], None)?;
        if ready.signals {
            self.take_signals();
        }
        if ready.stdin {
            self.take_stdin();
        }
        Ok(())
    }

    /// The end of our stdin is not the end of the session's: others may type too.
    fn take_stdin(&mut self) {
        let Fed::Data(mut data) = self.feed.take() else { return };
        let bytes = data.len();
        if let Some(at) = data.iter().position(|byte| *byte == LEAVE).filter(|_| self.raw.is_some()) {
            self.left = true;
            data.truncate(at);
        }
        let offset = self.offset;
        self.offset += data.len() as u64;
        let tag = self.node.send(Op::Write { fid: self.stdio, offset, data });
        self.fed.insert(tag, bytes);
        self.node.flush();
    }

    fn take_signals(&mut self) {
        for came in self.signals.take() {
            match came {
                // To leave is all that a signal to us can mean: the session is not ours alone.
                Came::Signal(..) | Came::Stop => self.left = true,
                Came::Resized if self.tty => self.resize(),
                Came::Resized => {}
            }
        }
    }

    fn resize(&mut self) {
        if let Some(size) = terminal::size() {
            let data = format!("winsize {} {}\n", size.rows, size.cols).into_bytes();
            let _no_matter = self.node.send(Op::Write { fid: self.ctl, offset: 0, data });
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.raw = None;
        self.node.clunk(self.wait);
    }
}
