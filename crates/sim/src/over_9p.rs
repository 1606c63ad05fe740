//! The way through 9P, in memory: a client, a connection's server side, and the kernel behind it. Every byte is
//! encoded and decoded; there is no socket.

use crate::{
    calls::{Calls, Wire},
    driver::{Able, Conn, Node},
    world::World,
};
use kernel::{ClientId, Effect, Event};
use ninep::{Dialect, MSIZE_MAX, client, server};
use op::{Fid, Op, Reply, Tag, Uid};
use std::collections::{BTreeMap, VecDeque};

/// A node that is talked to in 9P.
pub struct Over9p {
    world: World,
    dialect: Dialect,
    lines: Vec<Line>,
}

/// One connection, both ends.
struct Line {
    id: ClientId,
    uid: Uid,
    client: client::Client,
    server: server::Conn,
    /// What the server has asked the kernel and not been answered.
    open: Vec<Tag>,
    replies: BTreeMap<Tag, Reply>,
    up: bool,
}

impl Over9p {
    /// A fresh node, and clients that speak this dialect.
    pub fn driver(dialect: Dialect) -> Calls<Over9p> {
        Calls::over(Over9p { world: World::new(), dialect, lines: Vec::new() })
    }

    /// Moves bytes and answers until nothing moves.
    fn pump(&mut self) {
        loop {
            let mut moved = false;
            for at in 0..self.lines.len() {
                moved |= self.pump_line(at);
            }
            if !moved {
                return;
            }
        }
    }

    fn pump_line(&mut self, at: usize) -> bool {
        let line = &mut self.lines[at];
        if !line.up {
            return false;
        }
        let mut asks = VecDeque::new();
        let sent = line.client.output().to_vec();
        line.client.consume(sent.len());
        line.server.receive(&sent, &mut asks).expect("our own client keeps to the protocol");
        let mut moved = !sent.is_empty();
        loop {
            let answered: Vec<(Tag, Reply)> =
                line.open.iter().filter_map(|tag| Some((*tag, self.world.reply(line.id, *tag)?))).collect();
            line.open.retain(|tag| self.world.waits(line.id, *tag));
            for (tag, reply) in answered {
                moved = true;
                line.server.answer(tag, reply, &mut asks);
            }
            if asks.is_empty() {
                break;
            }
            while let Some((tag, op)) = asks.pop_front() {
                moved = true;
                line.open.push(tag);
                self.world.ask_as(line.id, line.uid, tag, op);
            }
        }
        let said = line.server.output().to_vec();
        line.server.consume(said.len());
        line.client.receive(&said).expect("our own server keeps to the protocol");
        while let Some((tag, reply)) = line.client.next_reply() {
            line.replies.insert(tag, reply);
        }
        moved || !said.is_empty()
    }
}

impl World {
    /// Asks under a name of the caller's; see [`World::ask`].
    pub fn ask_as(&mut self, client: ClientId, uid: Uid, tag: Tag, op: Op) -> Vec<Effect> {
        self.introduce(uid);
        self.event(Event::Request { client, tag, uid, op })
    }
}

impl Wire for Over9p {
    fn able(&self) -> Able {
        match self.dialect {
            Dialect::Uem => Able::ALL,
            Dialect::L => Able { cause: false, owners: false, nowait: false, ..Able::ALL },
            Dialect::Plain => Able { errno: false, links: false, nowait: false, chmod: false, ..Able::ALL },
        }
    }

    fn connect(&mut self, user: &str) -> Conn {
        let uid = self.world.uid(user);
        let id = self.world.connect(self.dialect != Dialect::Plain);
        let mut client = client::Client::new(self.dialect, MSIZE_MAX).with_user(user, Some(uid.0));
        let attach = client.request(Op::Attach { fid: Fid(0), user: String::new(), tree: String::new() });
        let server = server::Conn::new(server::Config::default());
        let line = Line { id, uid, client, server, open: Vec::new(), replies: BTreeMap::new(), up: true };
        self.lines.push(line);
        self.pump();
        let line = self.lines.last_mut().expect("just pushed");
        assert_eq!(line.server.claim().map(|c| c.uname.as_str()), Some(user), "the client says who it is");
        let reply = line.replies.remove(&attach);
        assert!(matches!(reply, Some(Reply::Attached(_))), "{reply:?}");
        Conn(self.lines.len() - 1)
    }

    fn ask(&mut self, conn: Conn, op: Op) -> Tag {
        self.lines[conn.0].client.request(op)
    }

    fn reply(&mut self, conn: Conn, tag: Tag) -> Option<Reply> {
        self.pump();
        self.lines[conn.0].replies.remove(&tag)
    }

    fn hangup(&mut self, conn: Conn) {
        let line = &mut self.lines[conn.0];
        line.up = false;
        self.world.hangup(line.id);
    }

    fn settle(&mut self) {
        loop {
            self.pump();
            if self.world.due.is_empty() {
                return;
            }
            self.world.pay_all();
        }
    }

    fn node(&mut self) -> &mut dyn Node {
        &mut self.world
    }
}
