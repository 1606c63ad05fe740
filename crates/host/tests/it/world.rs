//! A real node whose provider, clock and users are a transcript's.

use host::{Around, Node, Provider, Settings, Users};
use kernel::{Attr, Gauges};
use op::{Act, Clock, SessionId, Stream, Tell, Uid, Usage, Wall};
use sim::driver::Asked;
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// What transcript and node share.
pub(crate) struct Shared {
    programs: sim::provider::Provider,
    asked: Vec<Asked>,
    telling: Vec<Tell>,
    clock: Clock,
    wake: UnixStream,
}

/// A provider that does as it is told.
pub(crate) struct Scripted {
    shared: Rc<RefCell<Shared>>,
    woken: UnixStream,
}

impl Provider for Scripted {
    fn poll_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }

    fn act(&mut self, act: Act, tells: &mut Vec<Tell>) {
        let mut shared = self.shared.borrow_mut();
        shared.programs.asked(&act);
        if let Act::Append { session, stream, offset, data } = &act {
            let (session, stream, len) = (*session, *stream, offset + data.len() as u64);
            tells.push(Tell::Grew { session, stream, len });
        }
        shared.asked.push(Asked::Act(act));
    }

    fn turn(&mut self, tells: &mut Vec<Tell>) {
        let _as_many_as_there_are = self.woken.read(&mut [0; 64]);
        tells.append(&mut self.shared.borrow_mut().telling);
    }

    fn recalled(&mut self, _: &mut Vec<Tell>) {}

    fn settle(&mut self) {}

    fn read_spool(
        &self,
        session: SessionId,
        stream: Stream,
        offset: u64,
        buf: &mut [u8],
    ) -> io::Result<usize> {
        let data = self.shared.borrow().programs.read(session, stream, offset, buf.len() as u32);
        buf[..data.len()].copy_from_slice(&data);
        Ok(data.len())
    }

    fn usage(&self, _: SessionId, _: u32) -> Option<Usage> {
        sim::world::USAGE
    }

    fn stop(&mut self, keep: bool) {
        self.shared.borrow_mut().asked.push(Asked::Down { keep });
    }
}

/// The machine that every transcript happens on.
struct Elsewhere {
    shared: Rc<RefCell<Shared>>,
    owner: Uid,
    users: Users,
}

impl Around for Elsewhere {
    fn now(&self) -> Clock {
        self.shared.borrow().clock
    }

    fn owner(&self) -> Uid {
        self.owner
    }

    fn id(&self, _: op::NodeId) -> op::NodeId {
        sim::machine::node().id
    }

    fn attributes(&self, _: &Path) -> Vec<(String, Attr)> {
        sim::machine::node().attrs
    }

    fn gauges(&self, _: &Path) -> Gauges {
        sim::world::gauges()
    }

    fn users(&mut self) -> &mut Users {
        &mut self.users
    }
}

/// A node in a directory of its own, and its transcript's side.
pub(crate) struct World {
    pub(crate) node: Node<Scripted>,
    pub(crate) shared: Rc<RefCell<Shared>>,
    pub(crate) socket: PathBuf,
    pub(crate) dir: tempfile::TempDir,
    down: bool,
}

impl World {
    /// `mount` is a directory below the world's own.
    pub(crate) fn new(mount: Option<&str>) -> World {
        let dir = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(dir.path(), open).unwrap();
        let (wake, woken) = UnixStream::pair().unwrap();
        woken.set_nonblocking(true).unwrap();
        let shared = Rc::new(RefCell::new(Shared {
            programs: sim::provider::Provider::default(),
            asked: Vec::new(),
            telling: Vec::new(),
            clock: sim::machine::EPOCH,
            wake,
        }));
        // Root can be anybody; another user is the only one there is, and called as the transcripts call theirs.
        let root = rustix::process::geteuid().is_root();
        let mut users = sim::machine::users();
        let mut owner = op::User::clone(&users[1]);
        if mount.is_some() || !root {
            owner.uid = Uid(rustix::process::geteuid().as_raw());
            owner.groups = vec![(rustix::process::getegid().as_raw(), owner.name.clone())];
            users = vec![owner.clone().into()];
        }
        let around = Elsewhere { shared: shared.clone(), owner: owner.uid, users: Users::with(users) };
        let settings = Settings {
            mount: mount.map(|m| dir.path().join(m)),
            env: sim::machine::node().env,
            // As in every transcript, whatever the disk has.
            store: Some(1 << 30),
            ..Settings::new("n1", dir.path().join("state"))
        };
        let socket = settings.socket();
        let provider = Scripted { shared: shared.clone(), woken };
        let node = Node::open_in(settings, provider, Box::new(around)).unwrap();
        World { node, shared, socket, dir, down: false }
    }

    /// Lets the node do what it can do now.
    pub(crate) fn turn(&mut self, most: Duration) {
        if !self.down {
            self.down = self.node.turn(Some(most)).unwrap().is_some();
        }
    }
}

impl sim::driver::Node for World {
    fn asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.borrow_mut().asked)
    }

    fn tell(&mut self, tell: Tell) {
        let mut shared = self.shared.borrow_mut();
        shared.programs.telling(&tell);
        shared.telling.push(tell);
        shared.wake.write_all(b".").unwrap();
    }

    fn output(&mut self, session: SessionId, stream: Stream, data: &[u8]) {
        let tell = self.shared.borrow_mut().programs.output(session, stream, data);
        self.tell(tell);
    }

    fn now(&self) -> Wall {
        self.shared.borrow().clock.wall
    }

    fn advance(&mut self, span: Duration) {
        {
            let clock = &mut self.shared.borrow_mut().clock;
            clock.mono = clock.mono + span;
            clock.wall.0 += span.as_nanos() as u64;
        }
        self.turn(Duration::ZERO);
    }

    fn restart(&mut self) {
        unreachable!("this driver is not able to");
    }
}
