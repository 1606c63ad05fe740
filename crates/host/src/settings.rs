//! What a node is told when it starts.

use crate::dial::Addr;
use std::path::PathBuf;

/// A node's settings, complete; the command makes them from its flags.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name in the tree: one path element.
    pub name: String,
    /// Its state directory: journal, spools, socket, lock.
    pub state: PathBuf,
    /// Where to mount the tree; `None` for nowhere.
    pub mount: Option<PathBuf>,
    /// Further 9P doors: loopback TCP, or Unix sockets.
    pub ninep: Vec<Addr>,
    /// Attributes of its own, shown in `info`.
    pub labels: Vec<(String, String)>,
    /// What programs get in their environment.
    pub env: Vec<Vec<u8>>,
    /// Serve 9P on these descriptors of its own as well: standard input and output.
    pub stdio: bool,
}

impl Settings {
    /// The socket that `uem` looks for.
    pub fn socket(&self) -> PathBuf {
        self.state.join("uem.sock")
    }
}

/// Where a node keeps its state unless told otherwise: `$UEM_STATE`, else `$XDG_STATE_HOME/uem`, else
/// `~/.local/state/uem`.
pub fn default_state() -> PathBuf {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("UEM_STATE")
        .or_else(|| var("XDG_STATE_HOME").map(|dir| dir.join("uem")))
        .or_else(|| var("HOME").map(|home| home.join(".local/state/uem")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/uem"))
}
