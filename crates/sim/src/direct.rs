//! The shortest way to a node's files: a [`World`], with nothing between.

use crate::{
    calls::{Calls, Wire},
    driver::{Able, Asked, Conn, Node},
    world::World,
};
use kernel::ClientId;
use op::{Fid, Op, Reply, SessionId, Stream, Tag, Tell, Uid, Wall};
use std::time::Duration;

/// Operations go straight to the kernel.
pub struct Direct {
    world: World,
    clients: Vec<(ClientId, Uid)>,
}

impl Direct {
    /// A fresh node.
    pub fn driver() -> Calls<Direct> {
        Calls::over(Direct { world: World::new(), clients: Vec::new() })
    }
}

impl World {
    /// The number of a user by name; panics where there is none.
    pub fn uid(&self, name: &str) -> Uid {
        self.users.iter().find(|u| &*u.name == name).unwrap_or_else(|| panic!("there is no user {name}")).uid
    }
}

impl Wire for Direct {
    fn able(&self) -> Able {
        Able::ALL
    }

    fn connect(&mut self, user: &str) -> Conn {
        let uid = self.world.uid(user);
        let client = self.world.connect(true);
        self.world.attach(client, uid, Fid(0));
        self.clients.push((client, uid));
        Conn(self.clients.len() - 1)
    }

    fn ask(&mut self, conn: Conn, op: Op) -> Tag {
        let (client, uid) = self.clients[conn.0];
        self.world.ask(client, uid, op).0
    }

    fn reply(&mut self, conn: Conn, tag: Tag) -> Option<Reply> {
        self.world.reply(self.clients[conn.0].0, tag)
    }

    fn hangup(&mut self, conn: Conn) {
        let (client, _) = self.clients[conn.0];
        self.world.hangup(client);
    }

    fn settle(&mut self) {
        self.world.pay_all();
    }

    fn node(&mut self) -> &mut dyn Node {
        &mut self.world
    }
}

impl Node for World {
    fn asked(&mut self) -> Vec<Asked> {
        let mut asked: Vec<Asked> = World::asked(self).into_iter().map(Asked::Act).collect();
        asked.extend(self.downed().map(|keep| Asked::Down { keep }));
        asked
    }

    fn tell(&mut self, tell: Tell) {
        World::tell(self, tell);
    }

    fn output(&mut self, session: SessionId, stream: Stream, data: &[u8]) {
        let tell = self.provider.output(session, stream, data);
        World::tell(self, tell);
    }

    fn now(&self) -> Wall {
        self.clock.wall
    }

    fn advance(&mut self, span: Duration) {
        World::advance(self, span);
    }

    fn restart(&mut self) {
        World::restart(self, None);
    }
}
