//! Byte streams that never wait: TCP, and a program whose standard input and output reach the other end.

use link::dial::{Ssh, Wire};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A byte stream to another machine.
#[derive(Debug)]
pub(super) struct Stream(Wire);

impl Stream {
    /// One that was accepted.
    pub(super) fn tcp(stream: TcpStream) -> io::Result<Stream> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Stream(Wire::Tcp(stream)))
    }

    /// Begins to connect: writable when that is over, one way or the other; see [`connected`](Stream::connected).
    pub(super) fn connect(addr: SocketAddr) -> io::Result<Stream> {
        let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        match rustix::net::connect(&fd, &addr) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Stream(Wire::Tcp(fd.into()))),
            Err(error) => Err(error.into()),
        }
    }

    /// Through ssh, to the link port of the node there.
    pub(super) fn ssh(host: &str) -> io::Result<Stream> {
        let wire = Wire::Ssh(Ssh::link(host)?);
        rustix::io::ioctl_fionbio(&wire, true)?;
        Ok(Stream(wire))
    }

    /// Whether connecting worked.
    pub(super) fn connected(&self) -> io::Result<()> {
        match &self.0 {
            Wire::Tcp(stream) => Ok(sockopt::socket_error(stream)??),
            Wire::Unix(_) | Wire::Ssh(_) => Ok(()),
        }
    }

    /// The descriptor alone, for a door; only of TCP.
    pub(super) fn into_fd(self) -> Option<OwnedFd> {
        match self.0 {
            Wire::Tcp(stream) => Some(stream.into()),
            Wire::Unix(_) | Wire::Ssh(_) => None,
        }
    }

    /// Reads once; `None` if there is nothing now, and 0 at the end.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::read(&self.0, buffer) {
            Ok(n) => Ok(Some(n)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what it takes now; `None` if that is nothing.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        match rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL) {
            Ok(n) => Ok(Some(n)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Nothing more will be written.
    pub(super) fn end(&self) {
        // It may be gone already.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Write);
    }

    /// What ssh said of what is wrong, if it is ssh and said something.
    pub(super) fn complaint(&self) -> Option<String> {
        self.0.complaint()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
