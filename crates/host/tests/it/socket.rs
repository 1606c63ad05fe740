//! Transcripts through a Unix socket, as the command talks to a node.

use crate::world::World;
use host::client::{Connection, ROOT};
use host::dial::Addr;
use op::{Fid, Op, Reply, Tag};
use sim::calls::{Calls, Wire};
use sim::driver::{Able, Conn, Node};
use std::collections::BTreeMap;
use std::time::Duration;

/// A node, and connections to it.
pub(crate) struct Socket {
    world: World,
    conns: Vec<Option<Connection>>,
    replies: BTreeMap<(usize, Tag), Reply>,
}

/// A fresh node behind a fresh socket.
pub(crate) fn driver() -> Calls<Socket> {
    Calls::over(Socket { world: World::new(None), conns: Vec::new(), replies: BTreeMap::new() })
}

/// The connection's own root is fid 1; the driver's is 0.
const DRIVERS_ROOT: Fid = Fid(0);

impl Wire for Socket {
    fn able(&self) -> Able {
        // There is one user behind all connections, and this dialect is shown directories for links.
        Able { users: false, restart: false, links: false, owners: false, ..Able::ALL }
    }

    fn connect(&mut self, _: &str) -> Conn {
        let addr = Addr::Unix(self.world.socket.clone());
        let (mut conn, attached) = Connection::begin(&addr).unwrap();
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
