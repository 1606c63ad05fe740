//! Byte streams to what dial strings name.

use super::Addr;
use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// A byte stream to a node.
#[derive(Debug)]
pub enum Wire {
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
    /// Through ssh.
    Ssh(Ssh),
}

/// The program at our end of `ssh!host`. It ends with the stream.
#[derive(Debug)]
pub struct Ssh {
    child: Child,
    stream: UnixStream,
    errors: UnixStream,
}

/// What is run there. `uem join ssh!HOST` puts uem into ~/.local/bin, which is not in the `PATH` of every ssh(1).
const BRIDGE: &str = r#"exec sh -c 'PATH="$PATH:$HOME/.local/bin"; exec uem bridge'"#;
const BRIDGE_LINK: &str = r#"exec sh -c 'PATH="$PATH:$HOME/.local/bin"; exec uem bridge --link'"#;

/// Bytes that are kept of what ssh said on its standard error.
const SAID: usize = 4096;

impl Addr {
    /// Connects to where 9P is spoken, and waits for that: of `tls!host!port`, what TLS goes through; of `ssh!host`, the
    /// socket of the node there.
    ///
    /// # Errors
    /// What the system says.
    pub fn dial(&self) -> io::Result<Wire> {
        Ok(match self {
            Addr::Unix(path) => Wire::Unix(UnixStream::connect(path)?),
            Addr::Tcp(host, port) | Addr::Tls(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port))?;
                stream.set_nodelay(true)?;
                Wire::Tcp(stream)
            }
            Addr::Ssh(host) => Wire::Ssh(Ssh::run(host, BRIDGE)?),
        })
    }
}

impl Ssh {
    /// To the link port of the node on that host; TLS goes through.
    ///
    /// # Errors
    /// What the system says to starting ssh(1).
    pub fn link(host: &str) -> io::Result<Ssh> {
        Ssh::run(host, BRIDGE_LINK)
    }

    /// Runs ssh(1), or what `$UEM_SSH` names, which asks nobody anything.
    fn run(host: &str, command: &str) -> io::Result<Ssh> {
        let program = std::env::var_os("UEM_SSH").filter(|p| !p.is_empty()).unwrap_or_else(|| "ssh".into());
        let (stream, theirs) = UnixStream::pair()?;
        let (errors, their_errors) = UnixStream::pair()?;
        let child = Command::new(&program)
            .args(["-o", "BatchMode=yes", host, command])
            .stdin(Stdio::from(OwnedFd::from(theirs.try_clone()?)))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::from(OwnedFd::from(their_errors)))
            // The terminal's ^C is not for it.
            .process_group(0)
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", program.display())))?;
        errors.set_nonblocking(true)?;
        Ok(Ssh { child, stream, errors })
    }
}

impl Wire {
    /// What ssh said last of what is wrong, if it is ssh and said something.
    pub fn complaint(&self) -> Option<String> {
        let Wire::Ssh(ssh) = self else { return None };
        let mut said = [0; SAID];
        let n = (&ssh.errors).read(&mut said).ok()?;
        let text = String::from_utf8_lossy(&said[..n]).into_owned();
        let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
        Some(format!("ssh: {}", line.replace(char::is_control, " ")))
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Wire::Unix(stream) => stream.as_fd(),
            Wire::Tcp(stream) => stream.as_fd(),
            Wire::Ssh(ssh) => ssh.stream.as_fd(),
        }
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        // A killed child is reaped at once; one that somebody has reaped already is none of ours any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
