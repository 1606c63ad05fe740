//! The files of this machine, which `fs/` shows: asked like a link.

use super::{FILES, Node};
use crate::provider::Provider;
use kernel::{Event, LinkId, Putting};
use op::{Errno, Error, Op, Reply, Tag};

pub(super) use provide::files::{Files, Put};

impl<P: Provider> Node<P> {
    pub(super) fn ask_files(&mut self, tag: Tag, op: Op) {
        if let Err(error) = self.open_files() {
            let error = Error::new(Errno::IO, format!("files cannot be served: {error}"));
            let reply = Reply::Failed(error);
            return self.events.push_back(Event::Answered { link: LinkId::FILES, tag, reply });
        }
        let user = match &op {
            Op::Attach { user, .. } => Some(self.around.users().admit(user)),
            _ => None,
        };
        if let Some(files) = &mut self.files {
            files.ask(tag, op, user.as_ref());
        }
        self.files_ready();
    }

    /// A content of the store becomes a file of the machine.
    pub(super) fn put_file(&mut self, tag: Tag, user: &str, putting: Putting) {
        let Putting { content, path, mode, mtime } = putting;
        let opened = self.open_files().and_then(|()| self.store.open_whole(content));
        match opened {
            Ok(from) => {
                let user = self.around.users().admit(user);
                if let Some(files) = &mut self.files {
                    files.put(tag, Put { from, size: content.size, path, mode, mtime }, &user);
                }
                self.files_ready();
            }
            Err(error) => {
                let reply =
                    Reply::Failed(Error::new(Errno::IO, format!("{path} cannot be written: {error}")));
                self.events.push_back(Event::Answered { link: LinkId::FILES, tag, reply });
            }
        }
    }

    /// Made when it is first asked: most nodes never are.
    fn open_files(&mut self) -> std::io::Result<()> {
        if self.files.is_none() {
            let files = Files::new()?;
            self.poll.add(files.poll_fd(), FILES, true, false)?;
            self.files = Some(files);
        }
        Ok(())
    }

    pub(super) fn files_ready(&mut self) {
        let Some(files) = &mut self.files else { return };
        let mut answers = Vec::new();
        files.turn(&mut answers);
        let answered = |(tag, reply)| Event::Answered { link: LinkId::FILES, tag, reply };
        self.events.extend(answers.into_iter().map(answered));
    }
}
