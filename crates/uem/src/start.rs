//! Starting a local node: the words of its command line, the keeper in the background, and the wait until its
//! socket answers.
//!
//! ```text
//!   uem up ──▶ uem keeper FLAGS ──▶ uem node FLAGS ──▶ programs
//! ```

use crate::at::is_absent;
use crate::failure::Failure;
use host::client::Connection;
use host::dial::Addr;
use std::ffi::OsString;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a node may take until its socket answers.
const READY: Duration = Duration::from_secs(10);
/// How often the socket is tried.
const TRY: Duration = Duration::from_millis(2);
/// How much of the log is shown when a node does not come up.
const TAIL: usize = 12;

/// What a node is started with; `uem up`, `uem keeper` and `uem node` understand the same flags.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct NodeArgs {
    /// The node's name in the tree [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Where to mount the tree [default: ~/uem]
    #[arg(long, value_name = "DIR", conflicts_with = "no_mount")]
    pub(crate) mount: Option<PathBuf>,
    /// Do not mount the tree
    #[arg(long)]
    pub(crate) no_mount: bool,
    /// Speak 9P here too: tcp!localhost!PORT, or unix!/path (repeatable)
    #[arg(long, value_name = "ADDR")]
    pub(crate) ninep: Vec<String>,
    /// Listen here for other nodes and for users with certificates: tls!*!PORT, tls!host!port, or none
    /// [default: where it did before]
    #[arg(long, value_name = "ADDR")]
    pub(crate) link: Option<String>,
    /// Where to look for a parent: tls!host!port, ssh!host, or auto for the local network; several are tried in order
    /// (repeatable) [default: those it joined with]
    #[arg(long, value_name = "ADDR")]
    pub(crate) parent: Vec<String>,
    /// Where the machine stands, as site/room/rack: its place under phys/
    #[arg(long, value_name = "PATH")]
    pub(crate) loc: Option<String>,
    /// Offer this machine's files under fs/, to each user with his own rights
    #[arg(long)]
    pub(crate) fs: bool,
    /// How much its store/ keeps of what programs are given: 4G, 500M [default: 4G, or a tenth of what the disk has left]
    #[arg(long, value_name = "SIZE")]
    pub(crate) store: Option<String>,
    /// An attribute of the node, shown in its info (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Seconds between heartbeats on links, for tests
    #[arg(long, value_name = "SECONDS", hide = true)]
    pub(crate) beat: Option<String>,
    /// Speak 9P on standard input and output as well; the node stays in the foreground and has no keeper
    #[arg(long)]
    pub(crate) stdio: bool,
    /// The state directory; filled in from the options that every subcommand has.
    #[arg(skip)]
    pub(crate) dir: PathBuf,
}

/// A node that is up, in words: name, mount, socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Up {
    pub(crate) name: String,
    pub(crate) mount: Option<String>,
    pub(crate) addr: Addr,
}

impl fmt::Display for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.name)?;
        match &self.mount {
            Some(dir) => write!(f, "mounted on {dir}, ")?,
            None => f.write_str("not mounted, ")?,
        }
        write!(f, "at {}", self.addr)
    }
}

/// The socket in a state directory.
pub(crate) fn socket(state: &Path) -> PathBuf {
    state.join("uem.sock")
}

impl NodeArgs {
    /// The same for the state directory that is meant.
    pub(crate) fn of(self, common: &crate::at::Common) -> NodeArgs {
        NodeArgs { dir: common.state_dir(), ..self }
    }

    /// A local node as it is without any flags.
    pub(crate) fn local(dir: PathBuf) -> NodeArgs {
        NodeArgs { dir, ..NodeArgs::default() }
    }

    /// The command line of a `keeper` or a `node` with these flags.
    pub(crate) fn words(&self, role: &str) -> std::io::Result<Vec<OsString>> {
        let mut words = vec![std::env::current_exe()?.into_os_string(), role.into()];
        words.extend(["--state".into(), self.dir.clone().into()]);
        words.extend(self.flags());
        Ok(words)
    }

    /// The flags, but for the state directory.
    pub(crate) fn flags(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        let mut flag = |name: &str, value: OsString| words.extend([name.into(), value]);
        let one = [
            ("--name", &self.name),
            ("--link", &self.link),
            ("--loc", &self.loc),
            ("--beat", &self.beat),
            ("--store", &self.store),
        ];
        for (name, value) in one {
            value.iter().for_each(|value| flag(name, value.into()));
        }
        self.mount.iter().for_each(|dir| flag("--mount", dir.into()));
        let many = [("--ninep", &self.ninep), ("--parent", &self.parent), ("--label", &self.label)];
        for (name, values) in many {
            values.iter().for_each(|value| flag(name, value.into()));
        }
        let set = [("--no-mount", self.no_mount), ("--fs", self.fs), ("--stdio", self.stdio)];
        words.extend(set.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).into()));
        words
    }

    /// Where the tree is to be mounted, made sure of by mounting there once. What was asked for must work; what
    /// is only the default is left out if it does not, and why is said.
    pub(crate) fn choose_mount(&mut self) -> Result<Option<String>, Failure> {
        let asked = self.mount.take();
        if self.no_mount {
            return Ok(None);
        }
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let Some(dir) = asked.clone().or_else(|| home.map(|home| Path::new(&home).join("uem"))) else {
            return Ok(Some("there is no $HOME to mount the tree in (see --mount)".into()));
        };
        match fuse::Mount::new(&dir) {
            Ok(mount) => self.mount = Some(mount.dir().to_path_buf()),
            Err(error) if asked.is_some() => {
                return Err(
                    Failure::new(error.to_string()).hint("--no-mount goes without; uem doctor tells more")
                );
            }
            Err(error) => {
                return Ok(Some(format!("{error} (--no-mount goes without, --mount DIR elsewhere)")));
            }
        }
        Ok(None)
    }
}

/// Starts a node in the background, or wakes the keeper that waits for one, and waits until it answers.
pub(crate) fn start(args: &NodeArgs) -> Result<Up, Failure> {
    let mut args = args.clone();
    let not_mounted = args.choose_mount()?;
    make_state(&args.dir)?;
    let words = args.words("node")?;
    let bytes: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    let mut keeper = match provide::keeper::wake(&args.dir, &bytes) {
        Ok(true) => None,
        Ok(false) => Some(spawn_keeper(&args)?),
        Err(error) => return Err(Failure::new(format!("the keeper does not answer: {error}"))),
    };
    if let Some(why) = not_mounted {
        crate::failure::say("up", &format!("going on without a mount: {why}"));
    }
    wait_until_up(&args.dir, keeper.as_mut())
}

pub(crate) fn make_state(dir: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| {
        Failure::new(format!("the state directory {} cannot be made: {error}", dir.display()))
            .hint("choose another: --state DIR or $UEM_STATE")
    })
}

/// The keeper makes itself a session of its own; see `role`.
fn spawn_keeper(args: &NodeArgs) -> Result<Child, Failure> {
    let log = log(&args.dir)?;
    let words = args.words("keeper")?;
    let child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/")
        .spawn();
    child.map_err(|error| Failure::new(format!("the keeper cannot be started: {error}")))
}

/// The log of the node that is started now; the one before it is forgotten.
fn log(dir: &Path) -> Result<File, Failure> {
    let path = dir.join("log");
    let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path);
    let file = file.map_err(|error| Failure::from(error).about(path.display()))?;
    // Keeper and nodes write to it in turns, each at its end.
    drop(file);
    OpenOptions::new().append(true).open(&path).map_err(|error| Failure::from(error).about(path.display()))
}

fn wait_until_up(dir: &Path, mut keeper: Option<&mut Child>) -> Result<Up, Failure> {
    let addr = Addr::Unix(socket(dir));
    let until = Instant::now() + READY;
    loop {
        let why = match Connection::dial(&addr) {
            Ok(mut node) => return describe(&mut node, addr),
            Err(error) if is_absent(error.errno) => String::new(),
            Err(error) => error.to_string(),
        };
        let ended = keeper.as_mut().and_then(|keeper| keeper.try_wait().ok().flatten());
        if Instant::now() >= until || ended.is_some() {
            let tail = tail(&dir.join("log"));
            let cause = match (tail.is_empty(), why.is_empty()) {
                (false, _) => format!("the node did not come up:\n{tail}"),
                (true, false) => format!("the node did not come up: {why}"),
                (true, true) => format!("the node did not come up within {} s", READY.as_secs()),
            };
            return Err(Failure::new(cause).hint("uem doctor tells what may be missing"));
        }
        std::thread::sleep(TRY);
    }
}

/// What is to be said of the node at the other end.
pub(crate) fn describe(node: &mut Connection, addr: Addr) -> Result<Up, Failure> {
    Ok(up_of(&crate::tree::record(&node.read_file("self/info.json")?)?, addr))
}

/// The same from its `info`.
pub(crate) fn up_of(info: &crate::tree::Record, addr: Addr) -> Up {
    let text = |key: &str| info.get(key).and_then(|value| value.as_str()).map(String::from);
    Up { name: text("node").unwrap_or_default(), mount: text("mount"), addr }
}

/// The end of the log.
fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_gets_the_flags_that_up_got() {
        let args = NodeArgs {
            name: Some("n".into()),
            mount: Some("/m".into()),
            ninep: vec!["tcp!localhost!1".into()],
            label: vec!["a=b".into(), "c=d e".into()],
            link: Some("tls!*!0".into()),
            parent: vec!["tls!gw!7".into(), "auto".into()],
            loc: Some("s/r".into()),
            beat: Some("0.1".into()),
            store: Some("1G".into()),
            fs: true,
            dir: "/s".into(),
            ..NodeArgs::default()
        };
        let words = args.words("node").unwrap();
        let words: Vec<&str> = words[1..].iter().filter_map(|word| word.to_str()).collect();
        let expected = "node --state /s --name n --link tls!*!0 --loc s/r --beat 0.1 --store 1G --mount /m --ninep \
                        tcp!localhost!1 --parent tls!gw!7 --parent auto --label a=b --label c=d e --fs";
        assert_eq!(words.join(" "), expected);
        assert!(words.contains(&"c=d e"), "a word stays one");
        let here = NodeArgs { mount: None, no_mount: true, stdio: true, ..NodeArgs::default() };
        assert_eq!(here.flags(), ["--no-mount", "--stdio"]);
    }
}
