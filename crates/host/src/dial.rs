//! Dial strings: `unix!/path`, `tcp!host!port`; `host:port` and a path are understood.

use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Where a node can be talked to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Addr {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP; the name is resolved when it is dialled.
    Tcp(String, u16),
}

impl Addr {
    /// Understands a dial string.
    ///
    /// # Errors
    /// A sentence that names what is wrong and what is understood.
    pub fn parse(text: &str) -> Result<Addr, String> {
        let bad = || format!("{text:?} is no address; write unix!/path, tcp!host!port or host:port");
        let port = |text: &str| text.parse::<u16>().map_err(|_| bad());
        if let Some(path) = text.strip_prefix("unix!") {
            return if path.is_empty() { Err(bad()) } else { Ok(Addr::Unix(path.into())) };
        }
        if text.starts_with(['/', '.']) {
            return Ok(Addr::Unix(text.into()));
        }
        if let Some((host, p)) = text.strip_prefix("tcp!").and_then(|rest| rest.rsplit_once('!')) {
            return Ok(Addr::Tcp(host.trim_matches(['[', ']']).into(), port(p)?));
        }
        if let Some((kind, _)) = text.split_once('!') {
            return Err(format!(
                "{text:?}: this uem cannot dial {kind}!…; write unix!/path or tcp!host!port"
            ));
        }
        match text.rsplit_once(':') {
            Some((host, p)) if !host.is_empty() => {
                Ok(Addr::Tcp(host.trim_matches(['[', ']']).into(), port(p)?))
            }
            _ => Err(bad()),
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub fn dial(&self) -> std::io::Result<Wire> {
        Ok(match self {
            Addr::Unix(path) => Wire::Unix(UnixStream::connect(path)?),
            Addr::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port))?;
                stream.set_nodelay(true)?;
                Wire::Tcp(stream)
            }
        })
    }

    /// Listens on a TCP address, which must be of this machine only: what is not encrypted goes no further.
    pub(crate) fn listen_tcp(host: &str, port: u16) -> Result<TcpListener, String> {
        let addrs: Vec<SocketAddr> =
            (host, port).to_socket_addrs().map_err(|e| format!("tcp!{host}!{port}: {e}"))?.collect();
        if let Some(addr) = addrs.iter().find(|a| !a.ip().is_loopback()) {
            return Err(format!(
                "tcp!{host}!{port}: {} is not loopback, and 9P is not encrypted; use 127.0.0.1 or localhost",
                addr.ip()
            ));
        }
        TcpListener::bind(&addrs[..]).map_err(|e| format!("tcp!{host}!{port}: {e}"))
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Unix(path) => write!(f, "unix!{}", path.display()),
            Addr::Tcp(host, port) => write!(f, "tcp!{host}!{port}"),
        }
    }
}

/// A byte stream to a node.
#[derive(Debug)]
pub enum Wire {
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
}

impl std::os::fd::AsFd for Wire {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Wire::Unix(stream) => stream.as_fd(),
            Wire::Tcp(stream) => stream.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let tcp = |host: &str, port| Ok(Addr::Tcp(host.into(), port));
        for (text, addr) in [
            ("unix!/run/uem", Ok(Addr::Unix("/run/uem".into()))),
            ("/run/uem", Ok(Addr::Unix("/run/uem".into()))),
            ("./x", Ok(Addr::Unix("./x".into()))),
            ("tcp!localhost!564", tcp("localhost", 564)),
            ("tcp!::1!564", tcp("::1", 564)),
            ("127.0.0.1:564", tcp("127.0.0.1", 564)),
            ("[::1]:564", tcp("::1", 564)),
        ] {
            assert_eq!(Addr::parse(text), addr, "{text}");
        }
        for text in ["", "localhost", "tcp!x", "tcp!x!y", ":564", "a:99999", "tls!a!1", "unix!"] {
            assert!(Addr::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_but_loopback_listens_in_the_clear() {
        assert!(Addr::listen_tcp("0.0.0.0", 0).is_err_and(|e| e.contains("not loopback")));
        assert!(Addr::listen_tcp("127.0.0.1", 0).is_ok());
    }
}
