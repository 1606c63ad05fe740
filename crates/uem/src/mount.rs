//! `uem mount`: the tree of any node that can be dialled, mounted here. This process stands between the two: the
//! kernel's FUSE requests become requests of a 9P connection, and its answers theirs.

use crate::at::Common;
use crate::failure::{Failure, Outcome};
use fuse::{Config, Conn, Incoming, Mount, Step};
use host::client::Connection;
use op::{Op, Reply, Tag, Uid};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Mount a node's tree: the local one's, or that of --at ADDR
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Stay in the foreground; ^C unmounts
    #[arg(long)]
    foreground: bool,
    /// Where; made if it is not there
    dir: PathBuf,
}

/// How long the process in the background may take.
const READY: Duration = Duration::from_secs(10);

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let node = common.connect()?;
    if args.foreground {
        let _is_a_leader = rustix::process::setsid();
        let mount = Mount::new(&args.dir)?;
        return Bridge::new(node, mount).serve();
    }
    drop((node, Mount::new(&args.dir)?)); // what is wrong is said here
    let at = common.at()?;
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .args(["mount", "--foreground", "--at", &at.addr.to_string(), "--state"])
        .arg(common.state_dir())
        .arg("--")
        .arg(std::path::absolute(&args.dir)?)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let until = Instant::now() + READY;
    while !crate::umount::is_ours(&args.dir) {
        if child.try_wait()?.is_some() || Instant::now() >= until {
            let cause = format!("{} was not mounted", args.dir.display());
            return Err(Failure::new(cause).hint("uem mount --foreground tells why"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(0)
}

/// What stands between.
struct Bridge {
    node: Connection,
    mount: Mount,
    conn: Conn,
    steps: VecDeque<Step>,
    /// The connection's tags to the mount's, and back for what can still be given up.
    asked: BTreeMap<Tag, Tag>,
    tags: BTreeMap<Tag, Tag>,
    over: bool,
}

impl Bridge {
    fn new(node: Connection, mount: Mount) -> Bridge {
        let uid = Uid(rustix::process::geteuid().as_raw());
        let conn = Conn::new(Config { uid, tree: "links".into(), ..Config::default() });
        Bridge {
            node,
            mount,
            conn,
            steps: VecDeque::new(),
            asked: BTreeMap::new(),
            tags: BTreeMap::new(),
            over: false,
        }
    }

    fn serve(mut self) -> Outcome {
        let mut buffer = vec![0; fuse::limits::BUFFER];
        loop {
            self.carry_out()?;
            if self.over {
                return Ok(0);
            }
            if let Some(error) = self.node.gone() {
                return Err(error.clone().into());
            }
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, self.node.wants_write());
            let mut fds = [
                PollFd::from_borrowed_fd(self.node.fd(), flags),
                PollFd::from_borrowed_fd(self.mount.fd(), PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(std::io::Error::from(errno).into()),
            }
            let mounted = !fds[1].revents().is_empty();
            self.node.receive();
            while let Some((tag, reply)) = self.node.next() {
                if let Some(tag) = self.asked.remove(&tag) {
                    self.tags.remove(&tag);
                    self.conn.answer(tag, reply, &mut self.steps);
                }
            }
            if mounted {
                match self.mount.read(&mut buffer)? {
                    Incoming::Message(length) => self.conn.receive(&buffer[..length], &mut self.steps),
                    Incoming::Empty => {}
                    Incoming::Unmounted => self.conn.hang_up(&mut self.steps),
                }
            }
        }
    }

    fn carry_out(&mut self) -> Result<(), Failure> {
        while let Some(step) = self.steps.pop_front() {
            match step {
                Step::Ask { tag, op, .. } => self.ask(tag, op),
                Step::Send(answer) => self.mount.send(&answer)?,
                Step::Unmounted => self.over = true,
            }
        }
        self.node.flush();
        Ok(())
    }

    /// The mount's own fids count up from 1, and the connection's root is at the other end: they do not meet.
    fn ask(&mut self, tag: Tag, op: Op) {
        let op = match op {
            Op::Flush { tag: victim } => match self.tags.remove(&victim) {
                Some(theirs) => {
                    // Not answered any more, unless it is on its way; then nobody waits for it.
                    self.asked.remove(&theirs);
                    Op::Flush { tag: theirs }
                }
                None => return self.conn.answer(tag, Reply::Done, &mut self.steps),
            },
            Op::Read { fid, offset, count, wait } => {
                Op::Read { fid, offset, count: count.min(self.node.max_io()), wait }
            }
            op @ (Op::Attach { .. }
            | Op::Walk { .. }
            | Op::Open { .. }
            | Op::Create { .. }
            | Op::Write { .. }
            | Op::List { .. }
            | Op::Stat { .. }
            | Op::SetStat { .. }
            | Op::ReadLink { .. }
            | Op::Symlink { .. }
            | Op::Rename { .. }
            | Op::Remove { .. }
            | Op::Clunk { .. }) => op,
        };
        let theirs = self.node.send(op);
        self.asked.insert(theirs, tag);
        self.tags.insert(tag, theirs);
    }
}
