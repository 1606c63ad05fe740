//! Dial strings: `unix!/path`, `tcp!host!port`, `tls!host!port`, `ssh!host`; `host:port` and a path are understood.

mod wire;

pub use wire::{Ssh, Wire};

use std::fmt;
use std::path::PathBuf;

/// Where a node can be talked to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Addr {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP in the clear, of this machine only; the name is resolved when it is dialled.
    Tcp(String, u16),
    /// TLS over TCP; the name is resolved when it is dialled.
    Tls(String, u16),
    /// A program on that host, reached by ssh(1), whose standard input and output are the stream. What stands here is
    /// what `ssh` is given: `host` or `user@host`.
    Ssh(String),
}

/// Bytes of a host's name in DNS, and of `user@` before it.
const HOST: usize = 255 + 64;

impl Addr {
    /// Understands a dial string of a node that is to be talked to; `host:port` is `tcp!host!port`.
    ///
    /// # Errors
    /// A sentence that names what is wrong and what is understood.
    pub fn parse(text: &str) -> Result<Addr, String> {
        Addr::parse_as(text, Addr::Tcp)
    }

    /// Understands a dial string of a link (where to listen for children, or which parent to dial); `host:port` is
    /// `tls!host!port`, since nothing else goes between machines.
    ///
    /// # Errors
    /// A sentence that names what is wrong and what is understood.
    pub fn parse_link(text: &str) -> Result<Addr, String> {
        match Addr::parse_as(text, Addr::Tls)? {
            addr @ (Addr::Tls(..) | Addr::Ssh(_)) => Ok(addr),
            Addr::Unix(_) | Addr::Tcp(..) => {
                Err(format!("{text:?}: nodes are linked over tls!host!port or ssh!host only"))
            }
        }
    }

    fn parse_as(text: &str, bare: fn(String, u16) -> Addr) -> Result<Addr, String> {
        let bad = || {
            format!(
                "{text:?} is no address; write unix!/path, tcp!host!port, tls!host!port, ssh!host or host:port"
            )
        };
        let host_port = |rest: &str, sep: char, make: fn(String, u16) -> Addr| {
            let (host, port) = rest.rsplit_once(sep).ok_or_else(bad)?;
            let host = host.trim_matches(['[', ']']);
            let fine = is_host(host) && !host.contains(['!', '/', '@']);
            let port = port.parse::<u16>().map_err(|_| bad())?;
            if fine { Ok(make(host.into(), port)) } else { Err(bad()) }
        };
        if text.starts_with(['/', '.']) {
            return Ok(Addr::Unix(text.into()));
        }
        match text.split_once('!') {
            Some(("unix", "")) => Err(bad()),
            Some(("unix", path)) => Ok(Addr::Unix(path.into())),
            Some(("tcp", rest)) => host_port(rest, '!', Addr::Tcp),
            Some(("tls", rest)) => host_port(rest, '!', Addr::Tls),
            // What begins with a dash would be an option to ssh.
            Some(("ssh", host)) if is_host(host) && !host.starts_with('-') => Ok(Addr::Ssh(host.into())),
            Some(("ssh", _)) => Err(bad()),
            Some((kind, _)) => Err(format!(
                "{text:?}: this uem cannot dial {kind}!…; write unix!/path, tcp!host!port, tls!host!port or ssh!host"
            )),
            None => host_port(text, ':', bare),
        }
    }
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.len() <= HOST && !text.contains(|c: char| c.is_control() || c.is_whitespace())
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Unix(path) => write!(f, "unix!{}", path.display()),
            Addr::Tcp(host, port) => write!(f, "tcp!{host}!{port}"),
            Addr::Tls(host, port) => write!(f, "tls!{host}!{port}"),
            Addr::Ssh(host) => write!(f, "ssh!{host}"),
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
            ("tls!gw.example!7", Ok(Addr::Tls("gw.example".into(), 7))),
            ("ssh!me@gw", Ok(Addr::Ssh("me@gw".into()))),
        ] {
            assert_eq!(Addr::parse(text), addr, "{text}");
        }
        for text in [
            "",
            "localhost",
            "tcp!x",
            "tcp!x!y",
            ":564",
            "a:99999",
            "tls!a",
            "unix!",
            "ssh!",
            "ssh!-oProxyCommand=x",
            "ssh!a b",
            "quic!a!1",
            "tcp!!1",
            "tls!a!b!1",
            "a\n:1",
        ] {
            assert!(Addr::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_displayed_is_understood_again() {
        for text in ["unix!/run/uem", "tcp!localhost!1", "tls!::1!2", "ssh!me@gw"] {
            assert_eq!(Addr::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn links_go_over_tls_or_ssh_only() {
        assert_eq!(Addr::parse_link("gw:7"), Ok(Addr::Tls("gw".into(), 7)));
        assert_eq!(Addr::parse_link("tls!gw!7"), Ok(Addr::Tls("gw".into(), 7)));
        assert_eq!(Addr::parse_link("ssh!gw"), Ok(Addr::Ssh("gw".into())));
        for text in ["tcp!gw!7", "unix!/x", "/x", "gw"] {
            assert!(Addr::parse_link(text).is_err(), "{text}");
        }
    }
}
