//! Reads of what the node's store has.

use super::Node;
use crate::provider::Provider;
use op::{Content, Errno, Error, Reply};

impl<P: Provider> Node<P> {
    pub(super) fn read_content(&mut self, content: Content, offset: u64, count: u32) -> Reply {
        let mut data = vec![0; count as usize];
        let mut done = 0;
        while done < data.len() {
            match self.store.read(content, offset + done as u64, &mut data[done..]) {
                Ok(0) => return Reply::Failed(Error::new(Errno::IO, format!("{content} broke off"))),
                Ok(n) => done += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Reply::Failed(Error::new(Errno::IO, format!("{content}: {error}"))),
            }
        }
        Reply::Data(data)
    }
}
