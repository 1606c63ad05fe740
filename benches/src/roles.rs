//! What this program is when it starts itself again: a node of the loop alone, a node of null sessions, an echo
//! server, an empty FUSE file system.

use crate::table::Outcome;
use fuse::{Incoming, limits};
use host::{Local, Node, Provider, Settings};
use op::{Act, Exit, How, SessionId, Stream, Tell, Usage};
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

fn settings(state: &Path, mount: Option<PathBuf>) -> Settings {
    Settings { mount, env: environment(), ..Settings::new(crate::world::NAME, state) }
}

/// What `uem up` gives to programs as well.
fn environment() -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let shared = |name: &str| matches!(name, "PATH" | "LANG" | "TZ" | "TMPDIR") || name.starts_with("LC_");
    let all = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(shared));
    all.map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()).collect()
}

/// The node's loop with the provider of processes, without a keeper.
pub(crate) fn solo(state: &Path, mount: Option<PathBuf>) -> Outcome<()> {
    // As the node of `uem` does.
    provide::keep_memory();
    let config =
        provide::process::Config { state: state.into(), node: crate::world::NAME.into(), keeper: None };
    let processes = provide::process::Processes::new(config)?;
    Node::open(settings(state, mount), Local { processes, keeper: Vec::new(), alone: true })?.run()?;
    Ok(())
}

/// The node's loop with a provider that runs nothing.
pub(crate) fn null(state: &Path, mount: Option<PathBuf>) -> Outcome<()> {
    provide::keep_memory();
    Node::open(settings(state, mount), Null::new()?)?.run()?;
    Ok(())
}

/// Says of everything that is started that it ran and ended, at once.
pub(crate) struct Null {
    never: UnixStream,
    _other: UnixStream,
}

impl Null {
    pub(crate) fn new() -> Outcome<Null> {
        let (never, _other) = UnixStream::pair()?;
        Ok(Null { never, _other })
    }
}

/// What is told of a null session.
pub(crate) fn tell(session: SessionId, tells: &mut Vec<Tell>) {
    let exit = Exit { how: How::Code(0), usage: Usage::default(), at: host::now().wall };
    tells.push(Tell::Started { session, pid: 4711, mark: "0".into(), limits_by: "none".into() });
    tells.push(Tell::Closed { session, stream: Stream::Out });
    tells.push(Tell::Closed { session, stream: Stream::Err });
    tells.push(Tell::Exited { session, exit });
}

impl Provider for Null {
    fn poll_fd(&self) -> BorrowedFd<'_> {
        self.never.as_fd()
    }

    fn act(&mut self, act: Act, tells: &mut Vec<Tell>) {
        if let Act::Start(launch) = act {
            tell(launch.session, tells);
        }
    }

    fn turn(&mut self, _: &mut Vec<Tell>) {}

    fn recalled(&mut self, _: &mut Vec<Tell>) {}

    fn settle(&mut self) {}

    fn read_spool(&self, _: SessionId, _: Stream, _: u64, _: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }

    fn usage(&self, _: SessionId, _: u32) -> Option<Usage> {
        None
    }

    fn stop(&mut self, _: bool) {}
}

/// Answers every `ask` bytes with `answer` bytes, whoever sends them.
pub(crate) fn echo(socket: &Path, ask: usize, answer: usize) -> Outcome<()> {
    let listener = UnixListener::bind(socket)?;
    let mut clients: Vec<(UnixStream, usize)> = Vec::new();
    let (mut buffer, reply) = (vec![0; 64 << 10], vec![b'x'; answer]);
    loop {
        let mut polled = vec![PollFd::new(&listener, PollFlags::IN)];
        polled.extend(clients.iter().map(|(client, _)| PollFd::new(client, PollFlags::IN)));
        poll(&mut polled, None)?;
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut gone = Vec::new();
        for (at, (client, waiting)) in clients.iter_mut().enumerate().filter(|(at, _)| ready[at + 1]) {
            let n = client.read(&mut buffer)?;
            *waiting += n;
            while *waiting >= ask {
                *waiting -= ask;
                client.write_all(&reply)?;
            }
            if n == 0 {
                gone.push(at);
            }
        }
        for at in gone.into_iter().rev() {
            clients.remove(at);
        }
        if ready[0] {
            clients.push((listener.accept()?.0, 0));
        }
    }
}

/// An empty FUSE file system: one file, `ctl`, of 6 bytes; nothing is looked up, nothing is remembered, nothing may be
/// cached, as in ours. One buffer, one write an answer.
pub(crate) fn empty(dir: &Path) -> Outcome<()> {
    let mut mount = fuse::Mount::new(dir).map_err(|error| error.to_string())?;
    let mut buffer = vec![0; limits::BUFFER];
    let mut out = Vec::with_capacity(4096);
    let word =
        |bytes: &[u8], at: usize| bytes[at..].first_chunk().map_or(0, |word| u32::from_ne_bytes(*word));
    let put = |out: &mut Vec<u8>, words: &[u32]| words.iter().for_each(|word| out.extend(word.to_ne_bytes()));
    let attributes = |out: &mut Vec<u8>, dir: bool| {
        put(out, &[if dir { 1 } else { 2 }, 0, 0, 0, 0, 0]);
        put(out, &[0; 9]);
        put(out, &[if dir { 0o040_755 } else { 0o100_644 }, 1, 0, 0, 0, 4096, 0]);
    };
    loop {
        let length = match mount.read(&mut buffer)? {
            Incoming::Message(length) => length,
            Incoming::Empty => {
                poll(&mut [PollFd::from_borrowed_fd(mount.fd(), PollFlags::IN)], None)?;
                continue;
            }
            Incoming::Unmounted => return Ok(()),
        };
        let request = &buffer[..length];
        let mut error = 0i32;
        out.clear();
        put(&mut out, &[0, 0, word(request, 8), word(request, 12)]);
        match word(request, 4) {
            1 if request.get(40..43) == Some(b"ctl") => {
                put(&mut out, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                attributes(&mut out, false);
            }
            1 => error = -2,
            3 => {
                put(&mut out, &[0, 0, 0, 0]);
                attributes(&mut out, word(request, 16) == 1);
            }
            14 => put(&mut out, &[7, 0, 1, 0]),
            15 => out.extend_from_slice(b"bench\n"),
            18 => {}
            26 => {
                put(&mut out, &[7, 38, 65536, 1 | 1 << 3 | 1 << 5 | 1 << 18, u32::MAX, 1 << 20, 1]);
                put(&mut out, &[0; 9]);
            }
            2 => continue,
            _ => error = -38,
        }
        if error != 0 {
            out.truncate(16);
        }
        let length = out.len() as u32;
        out[..4].copy_from_slice(&length.to_ne_bytes());
        out[4..8].copy_from_slice(&error.to_ne_bytes());
        rustix::io::write(mount.fd(), &out)?;
    }
}
