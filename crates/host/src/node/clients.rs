//! The doors: clients that connect, what they ask, and what they are answered.

use super::{Ask, CLIENTS, Node, TURN_BYTES};
use crate::{
    door::Wired,
    links::{self, Guest},
    provider::Provider,
};
use kernel::{ClientId, Event};
use link::identity::Who;
use op::{Op, Reply, Tag, Uid};
use std::collections::VecDeque;

impl<P: Provider> Node<P> {
    pub(super) fn open_stdio(&mut self) -> std::io::Result<()> {
        let input = rustix::stdio::stdin().try_clone_to_owned()?;
        let output = rustix::stdio::stdout().try_clone_to_owned()?;
        for fd in [&input, &output] {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        let uid = Uid(rustix::process::getuid().as_raw());
        let _it_cannot_be_polled_if_none = self.admit(Wired::new(input, Some(output), uid));
        Ok(())
    }

    pub(super) fn accept(&mut self, at: usize) {
        loop {
            match self.listeners[at].accept() {
                Ok(Some(wired)) => {
                    if self.clients.len() < kernel::limits::CLIENTS {
                        self.around.users().refresh();
                        let _none_if_it_is_gone = self.admit(wired);
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    eprintln!("uem: a connection was not accepted: {error}");
                    return;
                }
            }
        }
    }

    pub(super) fn new_client(&mut self) -> ClientId {
        self.next_client += 1;
        ClientId(self.next_client)
    }

    pub(super) fn admit(&mut self, mut wired: Wired) -> Option<ClientId> {
        let client = self.new_client();
        let token = CLIENTS + client.0;
        self.poll.add(wired.input(), token, true, false).ok()?;
        if let Some(output) = wired.other_output() {
            // Only polled while it is full; a file can't be polled and never is.
            let _never_full = self.poll.add(output, token, false, false);
        }
        wired.polled = (true, false);
        self.clients.insert(client, wired);
        self.touched.insert(client);
        Some(client)
    }

    pub(super) fn client_ready(&mut self, client: ClientId) {
        let Some(wired) = self.clients.get_mut(&client) else { return };
        self.touched.insert(client);
        if wired.over || !wired.conn.wants_input() {
            return;
        }
        match wired.read(&mut self.buffer[..TURN_BYTES]) {
            Ok(None) => {}
            Ok(Some(0)) | Err(_) => wired.over = true,
            Ok(Some(n)) => {
                let mut asks = VecDeque::new();
                if let Err(why) = wired.receive(&self.buffer[..n], &mut asks) {
                    eprintln!("uem: a client of uid {} was hung up: {why}", wired.uid.0);
                    wired.over = true;
                }
                self.ask(client, asks);
            }
        }
    }

    /// Somebody with a certificate speaks 9P at the link port: a user is who he says, a node says for whom it asks.
    pub(super) fn admit_guest(&mut self, guest: Guest) {
        if self.clients.len() >= kernel::limits::CLIENTS {
            return;
        }
        self.around.users().refresh();
        let user = self.around.users().admit(guest.who.name());
        let mut wired = Wired::new(guest.fd, None, user.uid);
        self.events.push_back(Event::User(user));
        wired.believed = matches!(guest.who, Who::Node { .. });
        let mut asks = VecDeque::new();
        // What is wrong with it is found again when more comes, and said then.
        wired.over = wired.conn.receive(&guest.said, &mut asks).is_err();
        wired.secure = Some(guest.secure);
        if let Some(client) = self.admit(wired) {
            self.ask(client, asks);
        }
    }

    /// Hangs up those whose certificates were revoked.
    pub(super) fn hang_up_revoked(&mut self) {
        let home = &self.links.home;
        let is_revoked =
            |wired: &Wired| wired.secure.as_ref().is_some_and(|secure| secure.peer_revoked(home));
        let revoked: Vec<ClientId> =
            self.clients.iter().filter(|(_, wired)| is_revoked(wired)).map(|(client, _)| *client).collect();
        revoked.into_iter().for_each(|client| self.hang_up(client));
    }

    pub(super) fn ask(&mut self, client: ClientId, asks: VecDeque<(Tag, Op)>) {
        let Some(wired) = self.clients.get_mut(&client) else { return };
        for (tag, op) in asks {
            if let Op::Attach { user, .. } = &op {
                if wired.believed {
                    let user = self.around.users().admit(user);
                    wired.uid = user.uid;
                    self.events.push_back(Event::User(user));
                }
                // Which dialect is spoken is known now; a client that begins anew has clunked everything.
                let links = wired.understands_links();
                if wired.links != Some(links) {
                    wired.links = Some(links);
                    self.asks.push_back(Ask::Connect { client, links });
                }
            }
            self.asks.push_back(Ask::Op { client, tag, uid: wired.uid, op });
        }
    }

    pub(super) fn answer(&mut self, client: ClientId, tag: Tag, reply: Reply) {
        if let Some(m) = self.mount.as_mut().filter(|m| m.client == client) {
            m.conn.answer(tag, reply, &mut m.steps);
            return self.take_steps();
        }
        if links::is_caller(client) {
            return self.answer_peer(client, tag, reply);
        }
        let Some(wired) = self.clients.get_mut(&client) else { return };
        let mut asks = VecDeque::new();
        wired.conn.answer(tag, reply, &mut asks);
        self.touched.insert(client);
        self.ask(client, asks);
    }

    pub(super) fn send_to(&mut self, client: ClientId) {
        let Some(wired) = self.clients.get_mut(&client) else { return };
        let broken = wired.send().is_err();
        let left = wired.wants_output();
        if broken || (wired.over && !left) {
            return self.hang_up(client);
        }
        let wants = (!wired.over && wired.conn.wants_input(), left);
        if wants != wired.polled {
            wired.polled = wants;
            let token = CLIENTS + client.0;
            let same_way = wired.other_output().is_none();
            let changed = self.poll.change(wired.input(), token, wants.0, wants.1 && same_way);
            if let Some(output) = wired.other_output() {
                let _never_full = self.poll.change(output, token, false, wants.1);
            }
            if changed.is_err() {
                self.hang_up(client);
            }
        }
    }

    pub(super) fn hang_up(&mut self, client: ClientId) {
        let Some(wired) = self.clients.remove(&client) else { return };
        self.poll.remove(wired.input());
        if let Some(output) = wired.other_output() {
            self.poll.remove(output);
        }
        self.asks.retain(|ask| ask.client() != client);
        self.handle(Event::Hangup(client));
    }
}
