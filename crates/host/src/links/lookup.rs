//! Names of hosts to addresses, each in a short-lived thread: the C library asks name servers, and waits.

use super::limits;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};

/// An answer: of which question, and what came of it.
pub(super) type Found = (u64, Result<Vec<SocketAddr>, String>);

/// Questions under way.
#[derive(Debug)]
pub(crate) struct Lookup {
    found: Receiver<Found>,
    tell: Sender<Found>,
    woken: UnixStream,
    wake: UnixStream,
    running: usize,
    next: u64,
}

impl Lookup {
    pub(super) fn new() -> io::Result<Lookup> {
        let (found, (woken, wake)) = (channel(), UnixStream::pair()?);
        woken.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        Ok(Lookup { found: found.1, tell: found.0, woken, wake, running: 0, next: 0 })
    }

    /// Asks; a number is its own address and is found at once. The question's number otherwise.
    pub(super) fn ask(&mut self, host: &str, port: u16) -> Result<Result<Vec<SocketAddr>, u64>, String> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(Ok(vec![SocketAddr::new(ip, port)]));
        }
        if self.running >= limits::LOOKUPS {
            return Err("too many names are being looked up".into());
        }
        self.next += 1;
        let (number, host, tell) = (self.next, host.to_owned(), self.tell.clone());
        let mut wake = self.wake.try_clone().map_err(|e| e.to_string())?;
        let look = move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            // The node may be gone, and so nobody interested.
            let _ = tell.send((number, found.map_err(|e| e.to_string())));
            let _ = wake.write(&[0]);
        };
        let thread = std::thread::Builder::new().name("lookup".into()).stack_size(256 << 10);
        thread.spawn(look).map_err(|e| e.to_string())?;
        self.running += 1;
        Ok(Err(number))
    }

    /// The next answer that has come.
    pub(super) fn next(&mut self) -> Option<Found> {
        let mut bytes = [0; 16];
        let _how_often_does_not_matter = (&self.woken).read(&mut bytes);
        let found = self.found.try_recv().ok()?;
        self.running -= 1;
        Some(found)
    }
}

impl AsFd for Lookup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}
