//! Real nodes in threads of this process, in one trust domain, linked over loopback; each can be stopped like a machine.

use host::client::{BOTH, Connection};
use host::dial::Addr;
use host::{Node, Provider, Settings};
use link::identity::{Home, Kind};
use op::{Act, SessionId, Stream, Tell, Usage};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Heartbeats of these nodes: short, but longer than a busy machine keeps a thread waiting.
pub(crate) const BEAT: Duration = Duration::from_millis(300);
/// What takes longer than this never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A provider of nothing.
struct Nothing(UnixStream);

impl Provider for Nothing {
    fn poll_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn act(&mut self, _: Act, _: &mut Vec<Tell>) {}

    fn turn(&mut self, _: &mut Vec<Tell>) {}

    fn recalled(&mut self, _: &mut Vec<Tell>) {}

    fn settle(&mut self) {}

    fn read_spool(&self, _: SessionId, _: Stream, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn usage(&self, _: SessionId, _: u32) -> Option<Usage> {
        None
    }

    fn stop(&mut self, _: bool) {}
}

/// What can be seen of a node from outside its thread.
#[derive(Clone, Default, Debug)]
pub(crate) struct Seen {
    pub(crate) conns: usize,
    pub(crate) links: usize,
    pub(crate) refusals: Vec<String>,
    pub(crate) addrs: Vec<Addr>,
}

const RUN: u8 = 0;
const FROZEN: u8 = 1;
const DEAD: u8 = 2;

/// A node that runs in a thread.
pub(crate) struct Running {
    pub(crate) state: PathBuf,
    order: Arc<AtomicU8>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

/// A directory for all nodes, removed at the end.
pub(crate) struct Cloud {
    pub(crate) dir: tempfile::TempDir,
}

impl Cloud {
    pub(crate) fn new() -> Cloud {
        Cloud { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn state(&self, name: &str) -> PathBuf {
        let state = self.dir.path().join(name);
        std::fs::create_dir_all(&state).unwrap();
        state
    }

    /// The identity of a node that makes the trust domain.
    pub(crate) fn found(&self, name: &str) -> Home {
        let mut home = Home::open(&self.state(name)).unwrap();
        home.found(name).unwrap();
        home
    }

    /// The identity of a node that is of the domain of that authority.
    pub(crate) fn member(&self, authority: &mut Home, name: &str) -> Home {
        self.granted(authority, name, Kind::Node)
    }

    /// A user's.
    pub(crate) fn user(&self, authority: &mut Home, name: &str) -> Home {
        self.granted(authority, name, Kind::User(name.into()))
    }

    fn granted(&self, authority: &mut Home, name: &str, kind: Kind) -> Home {
        let mut home = Home::open(&self.state(name)).unwrap();
        let token = authority.invite(kind, Duration::from_secs(60)).unwrap();
        let grant = authority.answer(&home.join(&token, name));
        home.accept(&token, &grant).unwrap();
        home
    }

    /// The settings of a node that listens at a port of its own.
    pub(crate) fn settings(&self, name: &str, parents: &[Addr]) -> Settings {
        Settings {
            link: Some(Addr::Tls("127.0.0.1".into(), 0)),
            parents: parents.to_vec(),
            beat: BEAT,
            ..Settings::new(name, self.state(name))
        }
    }

    /// Starts it.
    pub(crate) fn up(&self, name: &str, parents: &[Addr]) -> Running {
        Running::start(self.settings(name, parents))
    }
}

impl Running {
    pub(crate) fn start(settings: Settings) -> Running {
        let (order, seen) = (Arc::new(AtomicU8::new(RUN)), Arc::new(Mutex::new(Seen::default())));
        let state = settings.state.clone();
        let (orders, show) = (order.clone(), seen.clone());
        let run = move || {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let mut node = Node::open(settings, Nothing(ours)).unwrap();
            loop {
                let (conns, links) = node.linked();
                let refusals = node.refusals().map(String::from).collect();
                *show.lock().unwrap() = Seen { conns, links, refusals, addrs: node.addrs() };
                match orders.load(Ordering::SeqCst) {
                    RUN => {
                        if node.turn(Some(Duration::from_millis(10))).unwrap().is_some() {
                            return;
                        }
                    }
                    FROZEN => std::thread::park_timeout(Duration::from_millis(5)),
                    _ => return,
                }
            }
        };
        let this = Running { state, order, seen, thread: Some(std::thread::spawn(run)) };
        this.until("it is up", |seen| !seen.addrs.is_empty());
        this
    }

    /// Where links are listened for.
    pub(crate) fn link(&self) -> Addr {
        let is_link = |addr: &&Addr| matches!(addr, Addr::Tls(..));
        self.seen().addrs.iter().find(is_link).unwrap().clone()
    }

    pub(crate) fn port(&self) -> u16 {
        let Addr::Tls(_, port) = self.link() else { panic!("it listens for links") };
        port
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until something is so; how long that took.
    pub(crate) fn until(&self, what: &str, is: impl Fn(&Seen) -> bool) -> Duration {
        let begin = Instant::now();
        loop {
            let seen = self.seen();
            if is(&seen) {
                return begin.elapsed();
            }
            let died = self.thread.as_ref().is_some_and(JoinHandle::is_finished);
            assert!(begin.elapsed() < PATIENCE && !died, "never: {what}; {seen:?}");
            std::thread::yield_now();
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// As SIGSTOP does, and a machine that hangs.
    pub(crate) fn freeze(&self) {
        self.order.store(FROZEN, Ordering::SeqCst);
    }

    pub(crate) fn thaw(&self) {
        self.order.store(RUN, Ordering::SeqCst);
    }

    /// As SIGKILL does: nothing is said to anybody.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.order.store(DEAD, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::dial(&Addr::Unix(socket(&self.state))).unwrap()
    }

    /// What a file says there.
    pub(crate) fn cat(&self, path: &str) -> op::Result<String> {
        self.connect().read_file(path).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    /// Waits until a file says it.
    pub(crate) fn until_cat(
        &self,
        path: &str,
        is: impl Fn(&op::Result<String>) -> bool,
    ) -> op::Result<String> {
        let begin = Instant::now();
        loop {
            let said = self.cat(path);
            if is(&said) {
                return said;
            }
            assert!(begin.elapsed() < PATIENCE, "{path} never says it; it says {said:?}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    pub(crate) fn write(&self, path: &str, line: &str) -> op::Result<()> {
        let mut conn = self.connect();
        let fid = conn.open(path, BOTH)?;
        conn.write(fid, line.as_bytes())
    }

    /// Names in a directory.
    pub(crate) fn ls(&self, path: &str) -> Vec<String> {
        self.connect().list(path).unwrap().into_iter().map(|entry| entry.stat.name).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn socket(state: &Path) -> PathBuf {
    state.join("uem.sock")
}
