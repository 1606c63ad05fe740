//! Doors: descriptors on which 9P is spoken, and who is behind each.

use crate::dial::{Addr, listen_tcp};
use link::secure::Secure;
use ninep::{
    Dialect,
    server::{Config, Conn},
};
use op::{Op, Tag, Uid};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// Somewhere to connect to.
#[derive(Debug)]
pub(crate) enum Listener {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

impl Listener {
    /// Listens. A Unix socket that a dead node left is replaced; a live one's is not.
    pub(crate) fn new(addr: &Addr) -> Result<Listener, String> {
        let said = |e: io::Error| format!("{addr}: {e}");
        let listener = match addr {
            Addr::Unix(path) => {
                if std::os::unix::net::UnixStream::connect(path).is_ok() {
                    return Err(format!("{addr}: something listens there already"));
                }
                let _nothing_was_there = std::fs::remove_file(path);
                let listener = UnixListener::bind(path).map_err(said)?;
                // Who may do what is decided by who he is; the directory decides who may come.
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(said)?;
                listener.set_nonblocking(true).map_err(said)?;
                Listener::Unix(listener, path.clone())
            }
            Addr::Tcp(host, port) => {
                let listener = listen_tcp(host, *port)?;
                listener.set_nonblocking(true).map_err(said)?;
                Listener::Tcp(listener)
            }
            Addr::Tls(..) | Addr::Ssh(_) => {
                return Err(format!("{addr}: this is no door; 9P over TLS goes to the link port (--link)"));
            }
        };
        Ok(listener)
    }

    /// Where it listens; of port 0, the port that was given.
    pub(crate) fn addr(&self) -> Option<Addr> {
        match self {
            Listener::Unix(_, path) => Some(Addr::Unix(path.clone())),
            Listener::Tcp(listener) => {
                listener.local_addr().ok().map(|a| Addr::Tcp(a.ip().to_string(), a.port()))
            }
        }
    }

    /// The next connection; `None` if there is none now.
    pub(crate) fn accept(&self) -> io::Result<Option<Wired>> {
        let accepted = match self {
            Listener::Unix(listener, _) => listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                let peer = rustix::net::sockopt::socket_peercred(&stream)?;
                Ok(Wired::new(stream.into(), None, Uid(peer.uid.as_raw())))
            }),
            Listener::Tcp(listener) => listener.accept().and_then(|(stream, peer)| {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let uid = tcp_uid(&stream, peer).ok_or_else(|| {
                    io::Error::new(
                        io::ErrorKind::PermissionDenied,
                        format!("nobody here owns the socket at {peer}"),
                    )
                })?;
                Ok(Wired::new(stream.into(), None, uid))
            }),
        };
        match accepted {
            Ok(wired) => Ok(Some(wired)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Unix(listener, _) => listener.as_fd(),
            Listener::Tcp(listener) => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            let _gone_already = std::fs::remove_file(path);
        }
    }
}

/// Whose the other end of a loopback connection is: proc(5) lists every socket of this machine with its owner.
fn tcp_uid(stream: &TcpStream, peer: SocketAddr) -> Option<Uid> {
    let local = stream.local_addr().ok()?;
    let (table, ours, theirs) = match (local, peer) {
        (SocketAddr::V4(l), SocketAddr::V4(p)) => {
            let hex = |a: std::net::SocketAddrV4| {
                format!("{:08X}:{:04X}", u32::from_ne_bytes(a.ip().octets()), a.port())
            };
            ("/proc/net/tcp", hex(l), hex(p))
        }
        (SocketAddr::V6(l), SocketAddr::V6(p)) => {
            let hex = |a: std::net::SocketAddrV6| {
                let words = a.ip().octets();
                let words = words.chunks(4).map(|w| u32::from_ne_bytes([w[0], w[1], w[2], w[3]]));
                format!("{}:{:04X}", words.map(|w| format!("{w:08X}")).collect::<String>(), a.port())
            };
            ("/proc/net/tcp6", hex(l), hex(p))
        }
        _ => return None,
    };
    let text = std::fs::read_to_string(table).ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let found = fields.get(1) == Some(&theirs.as_str()) && fields.get(2) == Some(&ours.as_str());
        found.then(|| fields.get(7)?.parse().ok().map(Uid)).flatten()
    })
}

/// A connection and its protocol.
#[derive(Debug)]
pub(crate) struct Wired {
    input: OwnedFd,
    /// Where answers go, if not the same way.
    output: Option<OwnedFd>,
    /// What it all goes through, of somebody with a certificate.
    pub(crate) secure: Option<Box<Secure>>,
    pub(crate) conn: Conn,
    pub(crate) uid: Uid,
    /// It is a node of the trust domain, and says in each attach for whom it asks.
    pub(crate) believed: bool,
    /// What the kernel was told of it.
    pub(crate) links: Option<bool>,
    /// What it is polled for.
    pub(crate) polled: (bool, bool),
    /// It broke the protocol, or hung up; what is left is sent.
    pub(crate) over: bool,
}

impl Wired {
    pub(crate) fn new(input: OwnedFd, output: Option<OwnedFd>, uid: Uid) -> Wired {
        let fids = kernel::limits::FIDS_PER_CLIENT;
        let conn = Conn::new(Config { fids, eager: true, ..Config::default() });
        let (secure, believed, links, polled) = (None, false, None, (false, false));
        Wired { input, output, secure, conn, uid, believed, links, polled, over: false }
    }

    pub(crate) fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    /// The descriptor to write to, if it is another one.
    pub(crate) fn other_output(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }

    /// Whether this client understands links: 9P2000.L has Treadlink, and its users expect links.
    pub(crate) fn understands_links(&self) -> bool {
        self.conn.dialect() == Some(Dialect::L)
    }

    /// Reads once; `None` if nothing has come, and 0 at the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::read(&self.input, buffer) {
            Ok(n) => Ok(Some(n)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes in what was read.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence: the client is to be hung up.
    pub(crate) fn receive(&mut self, bytes: &[u8], asks: &mut VecDeque<(Tag, Op)>) -> Result<(), String> {
        let broken = |broken: ninep::Broken| broken.0.into_owned();
        let Some(secure) = &mut self.secure else { return self.conn.receive(bytes, asks).map_err(broken) };
        let mut plain = Vec::new();
        secure.receive(bytes, &mut plain)?;
        self.conn.receive(&plain, asks).map_err(broken)
    }

    /// Whether something waits to be sent.
    pub(crate) fn wants_output(&self) -> bool {
        let encrypted = self.secure.as_ref().is_some_and(|secure| !secure.output().is_empty());
        encrypted || !self.conn.output().is_empty()
    }

    /// Sends what it takes now.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        while self.wants_output() {
            if let Some(secure) = &mut self.secure
                && secure.output().is_empty()
            {
                let part = self.conn.output();
                let part = &part[..part.len().min(AHEAD)];
                secure.send(part);
                let count = part.len();
                self.conn.consume(count);
            }
            let bytes = self.secure.as_ref().map_or(self.conn.output(), |secure| secure.output());
            let sent = match &self.output {
                Some(fd) => rustix::io::write(fd, bytes),
                None => rustix::net::send(&self.input, bytes, rustix::net::SendFlags::NOSIGNAL),
            };
            match (sent, &mut self.secure) {
                (Ok(n), Some(secure)) => secure.consume(n),
                (Ok(n), None) => self.conn.consume(n),
                (Err(Errno::INTR), _) => {}
                (Err(Errno::AGAIN), _) => break,
                (Err(error), _) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Bytes that are encrypted ahead of being taken.
const AHEAD: usize = 256 << 10;
