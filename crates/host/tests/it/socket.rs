//! Transcripts through a Unix socket, as the command talks to a node.

use crate::world::World;
use host::client::{Connection, ROOT};
use host::dial::Addr;
use ninep::Dialect;
use op::{Fid, Op, Reply, Tag};
use sim::calls::{Calls, Wire};
use sim::driver::{Able, Conn, Node};
use std::collections::BTreeMap;
use std::time::Duration;

/// A node, and connections to it.
pub(crate) struct Socket {
    world: World,
    dialect: Dialect,
    conns: Vec<Option<Connection>>,
    replies: BTreeMap<(usize, Tag), Reply>,
}

/// A fresh node behind a fresh socket.
pub(crate) fn driver(dialect: Dialect) -> Calls<Socket> {
    let (world, conns, replies) = (World::new(None), Vec::new(), BTreeMap::new());
    Calls::over(Socket { world, dialect, conns, replies })
}

/// Connects as a user: what the node sees is the uid that the connecting thread had.
fn connect_as(uid: u32, dialect: Dialect, addr: Addr) -> (Connection, Tag) {
    let connect = move || {
        if rustix::process::geteuid().is_root() {
            // SAFETY: the system call alone changes this thread only, which ends below.
            let changed = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
            assert_eq!(changed, 0);
        }
        Connection::begin_in(dialect, &addr).unwrap()
    };
    std::thread::spawn(connect).join().unwrap()
}

/// The connection's own root is fid 1; the driver's is 0.
const DRIVERS_ROOT: Fid = Fid(0);

impl Wire for Socket {
    fn able(&self) -> Able {
        let able = Able { users: rustix::process::geteuid().is_root(), restart: false, ..Able::ALL };
        match self.dialect {
            // Its users are shown directories for links.
            Dialect::Uem | Dialect::Plain => Able { links: false, ..able },
            Dialect::L => Able { cause: false, owners: false, nowait: false, ..able },
        }
    }

    fn connect(&mut self, user: &str) -> Conn {
        let addr = Addr::Unix(self.world.socket.clone());
        let users = sim::machine::users();
        let uid = users.iter().find(|u| &*u.name == user).map(|u| u.uid.0).unwrap();
        let (mut conn, attached) = connect_as(uid, self.dialect, addr);
        let walked = conn.send(Op::Walk { fid: ROOT, newfid: DRIVERS_ROOT, names: vec![] });
        self.conns.push(Some(conn));
        self.settle();
        let at = self.conns.len() - 1;
        for tag in [attached, walked] {
            let reply = self.replies.remove(&(at, tag));
            assert!(!matches!(reply, None | Some(Reply::Failed(_))), "{reply:?}");
        }
        Conn(at)
    }

    fn ask(&mut self, conn: Conn, op: Op) -> Tag {
        self.conns[conn.0].as_mut().unwrap().send(op)
    }

    fn reply(&mut self, conn: Conn, tag: Tag) -> Option<Reply> {
        self.replies.remove(&(conn.0, tag))
    }

    fn hangup(&mut self, conn: Conn) {
        self.conns[conn.0] = None;
        self.settle();
    }

    /// Bytes on a Unix socket are there as soon as they are written, so it is over when two rounds in a row have
    /// brought nothing and every request that is not answered is one that the node lets wait.
    fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 2 {
            let mut news = false;
            self.world.turn(Duration::ZERO);
            for (at, conn) in self.conns.iter_mut().enumerate() {
                let Some(conn) = conn else { continue };
                news |= conn.wants_write();
                conn.flush();
                conn.receive();
                while let Some((tag, reply)) = conn.next() {
                    self.replies.insert((at, tag), reply);
                    news = true;
                }
            }
            quiet = if news { 0 } else { quiet + 1 };
        }
        let outstanding: usize = self.conns.iter().flatten().map(Connection::outstanding).sum();
        assert_eq!(outstanding, self.world.node.waiting(), "what is not answered waits");
    }

    fn node(&mut self) -> &mut dyn Node {
        &mut self.world
    }
}
