//! What a node is told when it starts.

use crate::dial::Addr;
use std::path::PathBuf;
use std::time::Duration;

/// A node's settings, complete; the command makes them from its flags.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name in the tree: one path element.
    pub name: String,
    /// Its state directory: journal, spools, socket, lock, trust.
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
    /// Where children may link, and users with certificates connect; `None`: what `trust/listen` says, if anything. With
    /// port 0, the port that was given once is taken again.
    pub link: Option<Addr>,
    /// Parents to look for, best first; empty: those that `trust/parents` names.
    pub parents: Vec<Addr>,
    /// Look for a parent of the same trust domain on the local network.
    pub parent_auto: bool,
    /// Something is said on every link at least this often; twice as long a silence is the end of it.
    pub beat: Duration,
    /// Offer this machine's files under `fs/`.
    pub fs: bool,
    /// Bytes of contents that its store keeps at most; `None`: 4 GiB, or a tenth of what the disk has left if that is less.
    pub store: Option<u64>,
    /// Where the machine stands, as `hall/rack/slot`: the label `loc`.
    pub loc: Option<String>,
}

impl Settings {
    /// A node of that name with nothing but its state directory and the socket in it.
    pub fn new(name: impl Into<String>, state: impl Into<PathBuf>) -> Settings {
        Settings {
            name: name.into(),
            state: state.into(),
            mount: None,
            ninep: Vec::new(),
            labels: Vec::new(),
            env: Vec::new(),
            stdio: false,
            link: None,
            parents: Vec::new(),
            parent_auto: false,
            beat: Duration::from_secs(1),
            fs: false,
            store: None,
            loc: None,
        }
    }

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
