//! Transcripts of many nodes. Nothing takes time in them but what says so: what is asked over a link is answered in
//! the same moment, and `@ advance` is all that passes.
//!
//! | line | what happens |
//! |---|---|
//! | `@ node NAME [below PARENT] [as=NICK] [loc=PATH] [files] [only=USER,USER]` | a node is started; `as`: what it is called here, where two have the same name; `only`: whoever has an account there |
//! | `@ NAME below PARENT` | it gets another parent |
//! | `@ kill NAME` · `@ start NAME` | its process is killed · started again |
//! | `@ stop NAME` · `@ go NAME` | its process is stopped where it is · goes on |
//! | `@ cut NAME` · `@ pull NAME` | the link above it breaks: both ends know · nobody does |
//! | `@ block NAME NAME` · `@ heal` | no way leads from one to the other · every way is open again |

use super::{Cloud, Plan, Wrap, faults::Cut};
use crate::{
    calls::{Calls, Wire},
    driver::{Able, Asked, Conn, Node},
};
use kernel::Event;
use op::{Op, Reply, SessionId, Stream, Tag, Tell, Wall};
use std::{rc::Rc, time::Duration};

/// A cloud to play in.
pub struct Stage {
    cloud: Cloud,
    /// Of which node there is talk.
    at: usize,
}

impl Stage {
    /// Without nodes yet.
    pub fn driver() -> Calls<Stage> {
        Stage::driver_of(Rc::new(|kernel| Box::new(kernel)))
    }

    /// The same, with kernels wrapped like this.
    pub fn driver_of(wrap: Wrap) -> Calls<Stage> {
        let mut cloud = Cloud::of(0, wrap);
        cloud.latency = (Duration::ZERO, Duration::ZERO);
        Calls::over(Stage { cloud, at: 0 })
    }

    fn find(&self, name: &str) -> Result<usize, String> {
        let found = self.cloud.hosts.iter().position(|host| host.nick == name);
        found.ok_or_else(|| format!("there is no node {name}"))
    }

    fn start(&mut self, words: &[&str]) -> Result<(), String> {
        let mut plan = Plan { runs: false, fs: false, ..Plan::named(words[0]) };
        let mut nick = words[0];
        let mut parent = None;
        let mut rest = words[1..].iter();
        while let Some(word) = rest.next() {
            match word.split_once('=') {
                None if *word == "below" => {
                    parent = Some(self.find(rest.next().ok_or("below whom?")?)?);
                }
                None if *word == "files" => plan.fs = true,
                Some(("loc", path)) => plan.loc = path.into(),
                Some(("as", other)) => nick = other,
                Some(("only", users)) => plan.users.retain(|user| users.split(',').any(|only| only == *user)),
                _ => return Err(format!("{word} is nothing that a node has")),
            }
        }
        let at = self.cloud.add(plan);
        self.cloud.hosts[at].nick = nick.into();
        if let Some(parent) = parent {
            self.cloud.set_parents(at, vec![parent]);
        }
        Ok(())
    }
}

impl Wire for Stage {
    fn able(&self) -> Able {
        Able { restart: false, ..Able::ALL }
    }

    fn connect(&mut self, _: &str) -> Conn {
        unreachable!("a client says at which node it is")
    }

    fn ask(&mut self, conn: Conn, op: Op) -> Tag {
        self.cloud.ask(conn.0, op)
    }

    fn reply(&mut self, conn: Conn, tag: Tag) -> Option<Reply> {
        self.cloud.reply(conn.0, tag)
    }

    fn hangup(&mut self, conn: Conn) {
        self.cloud.hang_up(conn.0);
    }

    fn settle(&mut self) {
        self.cloud.settle();
    }

    fn node(&mut self) -> &mut dyn Node {
        self
    }

    fn nodes(&self) -> Vec<String> {
        self.cloud.hosts.iter().map(|host| host.nick.clone()).collect()
    }

    fn connect_at(&mut self, node: &str, user: &str) -> Result<Conn, String> {
        let at = self.find(node)?;
        if !self.cloud.is_up(at) {
            return Err(format!("{node} is not up"));
        }
        Ok(Conn(self.cloud.connect(at, user)))
    }

    fn node_at(&mut self, node: &str) -> Result<&mut dyn Node, String> {
        self.at = self.find(node)?;
        Ok(self)
    }

    fn happens(&mut self, what: &str) -> Result<(), String> {
        let words: Vec<&str> = what.split(' ').collect();
        match words[..] {
            ["node", _, ..] => self.start(&words[1..])?,
            [node, "below", parent] => {
                let (node, parent) = (self.find(node)?, self.find(parent)?);
                self.cloud.move_below(node, parent);
            }
            ["kill", node] => self.cloud.kill(self.find(node)?),
            ["start", node] => self.cloud.restart(self.find(node)?),
            ["stop", node] => self.cloud.freeze(self.find(node)?),
            ["go", node] => self.cloud.thaw(self.find(node)?),
            ["cut", node] => drop(self.cloud.cut(self.find(node)?, Cut::Reset)),
            ["pull", node] => drop(self.cloud.cut(self.find(node)?, Cut::Silent)),
            ["block", one, other] => self.cloud.block(self.find(one)?, self.find(other)?),
            ["heal"] => self.cloud.heal(),
            _ => return Err(format!("not something that happens: {what}")),
        }
        Ok(())
    }

    fn is_gone(&self, conn: Conn) -> bool {
        self.cloud.is_gone(conn.0)
    }
}

impl Node for Stage {
    fn asked(&mut self) -> Vec<Asked> {
        let host = &mut self.cloud.hosts[self.at];
        let mut asked: Vec<Asked> = host.asked.drain(..).map(Asked::Act).collect();
        asked.extend(host.world.downed().map(|keep| Asked::Down { keep }));
        asked
    }

    fn tell(&mut self, tell: Tell) {
        if self.cloud.is_up(self.at) {
            self.cloud.event(self.at, Event::Told(tell));
        } else {
            self.cloud.hosts[self.at].world.provider.telling(&tell);
        }
    }

    fn output(&mut self, session: SessionId, stream: Stream, data: &[u8]) {
        let tell = self.cloud.hosts[self.at].world.provider.output(session, stream, data);
        self.tell(tell);
    }

    fn now(&self) -> Wall {
        self.cloud.clock.wall
    }

    fn advance(&mut self, span: Duration) {
        self.cloud.run(span);
    }

    fn restart(&mut self) {
        self.cloud.kill(self.at);
        self.cloud.restart(self.at);
    }
}
