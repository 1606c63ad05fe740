//! The node that a subcommand talks to: `--at ADDR`, else `$UEM_AT`, else the local node's socket.

use crate::failure::{Failure, say};
use crate::start;
use host::client::Connection;
use host::dial::Addr;
use op::Errno;
use std::path::PathBuf;

/// Options that every subcommand understands.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Common {
    /// The node to talk to: unix!/path, tls!host!port, ssh!host, tcp!host!port or host:port [default: $UEM_AT, else the
    /// local node]
    #[arg(long, global = true, value_name = "ADDR")]
    pub(crate) at: Option<String>,
    /// Where the local node keeps its state [default: $UEM_STATE, else ~/.local/state/uem]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// Where a node is, or would be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct At {
    pub(crate) addr: Addr,
    /// The state directory, if it is the local node that is meant.
    pub(crate) state: Option<PathBuf>,
    /// The state directory whose certificate says who we are, to nodes of other machines.
    identity: PathBuf,
}

impl Common {
    /// The local node's state directory, absolute.
    pub(crate) fn state_dir(&self) -> PathBuf {
        let dir = self.state.clone().unwrap_or_else(host::default_state);
        std::path::absolute(&dir).unwrap_or(dir)
    }

    /// The node that is meant.
    pub(crate) fn at(&self) -> Result<At, Failure> {
        let told = self.at.clone().or_else(|| {
            let var = std::env::var("UEM_AT").ok().filter(|at| !at.is_empty());
            var.filter(|_| self.state.is_none())
        });
        match told {
            Some(text) => {
                let addr = Addr::parse(&text).map_err(Failure::misuse)?;
                Ok(At { addr, state: None, identity: self.state_dir() })
            }
            None => Ok(At::local(self.state_dir())),
        }
    }

    /// A connection to the node that is meant.
    pub(crate) fn connect(&self) -> Result<Connection, Failure> {
        self.at()?.connect()
    }
}

impl At {
    /// The local node of a state directory.
    pub(crate) fn local(state: PathBuf) -> At {
        At { addr: Addr::Unix(start::socket(&state)), identity: state.clone(), state: Some(state) }
    }

    /// Whether the node shares our files, so that our directory and paths mean the same to it.
    pub(crate) fn is_here(&self) -> bool {
        match &self.addr {
            Addr::Unix(_) => true,
            Addr::Tcp(host, _) => host == "localhost" || host.starts_with("127.") || host == "::1",
            Addr::Tls(..) | Addr::Ssh(_) => false,
        }
    }

    /// Connects, as who we are.
    pub(crate) fn dial(&self) -> op::Result<Connection> {
        Connection::dial_as(&self.addr, &self.identity)
    }

    /// Connects to a node that must be there.
    pub(crate) fn connect(&self) -> Result<Connection, Failure> {
        self.dial().map_err(|error| {
            let nobody = is_absent(error.errno);
            let failure = Failure::from(error);
            match (nobody, &self.state) {
                (true, Some(_)) => {
                    Failure::new(format!("no node is up at {}", self.addr)).hint("start one: uem up")
                }
                (true, None) => failure.hint("is a node up there? see --at and $UEM_AT"),
                (false, _) => failure,
            }
        })
    }

    /// Connects, and starts a local node in the background if there is none.
    pub(crate) fn connect_or_start(&self, command: &str) -> Result<Connection, Failure> {
        match (self.dial(), &self.state) {
            (Ok(connection), _) => Ok(connection),
            (Err(error), Some(state)) if is_absent(error.errno) => {
                let up = start::start(&start::NodeArgs::local(state.clone()))?;
                say(command, &format!("no node was up here; {up} is now (uem down ends it)"));
                self.connect()
            }
            (Err(_), _) => self.connect(),
        }
    }
}

/// Whether an error of connecting means that nobody is there.
pub(crate) fn is_absent(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::CONNREFUSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_counts_before_state() {
        let common = |at: Option<&str>| Common { at: at.map(String::from), state: Some("/s".into()) };
        let local = common(None).at().unwrap();
        assert_eq!((local.addr, local.state), (Addr::Unix("/s/uem.sock".into()), Some("/s".into())));
        let told = common(Some("localhost:564")).at().unwrap();
        assert!(told.state.is_none() && told.is_here());
        assert_eq!(common(Some("nonsense")).at().unwrap_err().status, crate::failure::MISUSE);
    }
}
