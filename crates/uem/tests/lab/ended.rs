//! Programs that run on a host of the lab: what they say, when, and how they end; and waiting, which has an end.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take.
pub(crate) const LONG: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);

/// How something ended, and what it wrote.
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Something that runs; what it writes is read as it comes.
pub(crate) struct Running {
    pub(crate) child: Child,
    out: Stream,
    err: Stream,
}

struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    end: Receiver<()>,
}

impl Stream {
    fn new(from: Option<impl Read + Send + 'static>) -> Stream {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (ended, end) = channel();
        let into = bytes.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            let mut from = from.unwrap();
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                into.lock().unwrap().extend(&buffer[..count]);
            }
            let _nobody_waits = ended.send(());
        });
        Stream { bytes, end }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// All of it. Something in the background may hold it open for ever.
    fn all(&self) -> String {
        let _somebody_holds_it_open = self.end.recv_timeout(Duration::from_secs(5));
        self.text()
    }
}

impl Running {
    pub(crate) fn new(command: &mut Command) -> Running {
        let mut child = command.spawn().unwrap();
        let (out, err) = (Stream::new(child.stdout.take()), Stream::new(child.stderr.take()));
        Running { child, out, err }
    }

    pub(crate) fn out(&self) -> String {
        self.out.text()
    }

    /// Waits until it has written this to stdout.
    pub(crate) fn says(&self, text: &str) {
        assert!(within(LONG, || self.out().contains(text)), "never said: {text:?}; {:?}", self.err.text());
    }

    /// Waits until it has written this to stderr, and not for longer than that.
    pub(crate) fn complains(&self, text: &str, most: Duration) -> Duration {
        let begun = Instant::now();
        let said = within(most, || self.err.text().contains(text));
        assert!(said, "not within {most:?}: {text:?} in {:?}", self.err.text());
        begun.elapsed()
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Ended {
        let until = Instant::now() + LONG;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                self.child.kill().unwrap();
                panic!("it did not end within {LONG:?}: {:?}\n{}", self.child, self.err.text());
            }
            std::thread::sleep(LOOK);
        };
        let status = status.code().unwrap_or_else(|| -status.signal().unwrap());
        Ended { status, out: self.out.all(), err: self.err.all() }
    }
}

/// Whether something becomes so in that time.
pub(crate) fn within(most: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + most;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits until something is so, and not for ever.
pub(crate) fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    assert!(within(LONG, is_so), "never: {what}");
}
