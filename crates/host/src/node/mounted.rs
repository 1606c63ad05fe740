//! The mount: requests of the machine's kernel, and its answers.

use super::{Ask, MOUNT, Node, TURN_REQUESTS};
use crate::provider::Provider;
use kernel::{ClientId, Event};
use op::Uid;
use std::collections::VecDeque;

/// The mount, and what is under way on it.
pub(super) struct Mounted {
    pub(super) mount: fuse::Mount,
    pub(super) conn: fuse::Conn,
    pub(super) client: ClientId,
    pub(super) steps: VecDeque<fuse::Step>,
    /// Answers for the kernel's FUSE, kept back until the journal is written.
    pub(super) answers: Vec<fuse::Answer>,
    pub(super) over: bool,
}

impl<P: Provider> Node<P> {
    pub(super) fn open_mount(&mut self) -> Result<(), String> {
        let Some(dir) = self.settings.mount.clone() else { return Ok(()) };
        let mount = fuse::Mount::new(&dir).map_err(|e| format!("mounting on {}: {e}", dir.display()))?;
        self.poll.add(mount.fd(), MOUNT, true, false).map_err(|e| format!("the mount: {e}"))?;
        let client = self.new_client();
        self.events.push_back(Event::Connect { client, links: true });
        let uid = Uid(rustix::process::geteuid().as_raw());
        let conn = fuse::Conn::new(fuse::Config { uid, ..fuse::Config::default() });
        let (steps, answers) = (VecDeque::new(), Vec::new());
        self.mount = Some(Mounted { mount, conn, client, steps, answers, over: false });
        self.pump();
        Ok(())
    }

    /// Each request is answered before the next is read: who waited asks again at once, if the answer wakes him on
    /// this CPU, and `epoll` need not be asked in between.
    pub(super) fn mount_ready(&mut self) {
        for _ in 0..TURN_REQUESTS {
            let Some(m) = &mut self.mount else { return };
            match m.mount.read(&mut self.buffer) {
                Ok(fuse::Incoming::Message(n)) => m.conn.receive(&self.buffer[..n], &mut m.steps),
                Ok(fuse::Incoming::Empty) => return,
                Ok(fuse::Incoming::Unmounted) => {
                    m.conn.hang_up(&mut m.steps);
                    m.over = true;
                }
                Err(error) => {
                    eprintln!("uem: reading from the mount: {error}");
                    return;
                }
            }
            self.take_steps();
            self.pump();
            self.settle();
        }
    }

    pub(super) fn take_steps(&mut self) {
        let Some(m) = &mut self.mount else { return };
        while let Some(step) = m.steps.pop_front() {
            match step {
                fuse::Step::Ask { tag, uid, op } => {
                    self.asks.push_back(Ask::Op { client: m.client, tag, uid, op })
                }
                fuse::Step::Send(answer) => m.answers.push(answer),
                fuse::Step::Unmounted => m.over = true,
            }
        }
    }

    pub(super) fn send_to_mount(&mut self) {
        let Some(m) = &mut self.mount else { return };
        for answer in m.answers.drain(..) {
            if let Err(error) = m.mount.send(&answer) {
                eprintln!("uem: answering the mount: {error}");
            }
        }
        if m.over {
            self.poll.remove(m.mount.fd());
            let client = m.client;
            self.mount = None;
            self.handle(Event::Hangup(client));
        }
    }
}
