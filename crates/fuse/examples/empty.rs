//! What the protocol costs: an empty FUSE file system with one file, answered straight in the loop, and the same file
//! through [`fuse::Conn`] with a tree that does as little as a tree can.
//!
//! ```text
//! taskset -c 0 cargo run --release -p fuse --example empty [ROUNDS] [TTL_NS]
//! ```
//!
//! Both servers are threads of this program, and so is the client; on one CPU the figures mean the work, not the wake-ups.
//! Rounds of the two alternate; the median and the spread of five are printed, in microseconds a round.

use fuse::{Config, Conn, Incoming, Mount, Step, limits};
use op::{Fid, FileKind, Op, Qid, Reply, Shape, Stat, Wall};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const DATA: &[u8; 100] = &[b'x'; 100];

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let number = |at| std::env::args().nth(at).and_then(|word| word.parse::<u64>().ok());
    let (rounds, ttl) = (number(1).unwrap_or(10_000), Duration::from_nanos(number(2).unwrap_or(0)));
    let base = std::env::temp_dir().join(format!("uem-fuse-empty-{}", std::process::id()));
    let (bare, through) = (base.join("bare"), base.join("conn"));
    let mounts = (Mount::new(&bare)?, Mount::new(&through)?);
    let servers = [
        std::thread::spawn(move || serve_bare(mounts.0, ttl).expect("the bare server works")),
        std::thread::spawn(move || serve_conn(mounts.1, ttl).expect("the server works")),
    ];
    println!("{:28}{:>26}{:>26}{:>8}", "µs, median (spread) of 5", "bare", "Conn", "ratio");
    report("stat+open+read+close", [&bare, &through], |dir| files(dir, rounds))?;
    report("stat", [&bare, &through], |dir| stats(dir, rounds))?;
    report("read of an open file", [&bare, &through], |dir| reads(dir, rounds))?;
    for dir in [&bare, &through] {
        std::process::Command::new("umount").arg(dir).status()?;
    }
    servers.into_iter().for_each(|server| server.join().expect("the server ended well"));
    Ok(std::fs::remove_dir_all(base)?)
}

/// One line of the table.
fn report(what: &str, dirs: [&Path; 2], round: impl Fn(&Path) -> Outcome<f64>) -> Outcome<()> {
    let mut figures = [Vec::new(), Vec::new()];
    for turn in 0..10 {
        figures[turn % 2].push(round(dirs[turn % 2])?);
    }
    let cell = |list: &mut Vec<f64>| {
        list.sort_by(f64::total_cmp);
        (list[2], format!("{:.1} ({:.1}..{:.1})", list[2], list[0], list[4]))
    };
    let [(bare, bare_cell), (conn, conn_cell)] = figures.each_mut().map(cell);
    println!("{what:28}{bare_cell:>26}{conn_cell:>26}{:8.2}", conn / bare);
    Ok(())
}

fn files(dir: &Path, rounds: u64) -> Outcome<f64> {
    let file = dir.join("file");
    let start = Instant::now();
    for _ in 0..rounds {
        rustix::fs::stat(&file)?;
        let fd = rustix::fs::open(&file, OFlags::RDONLY, Mode::empty())?;
        assert_eq!(rustix::io::read(&fd, &mut [0; 4096])?, DATA.len());
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / rounds as f64)
}

fn stats(dir: &Path, rounds: u64) -> Outcome<f64> {
    let file = dir.join("file");
    let start = Instant::now();
    for _ in 0..rounds {
        rustix::fs::stat(&file)?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / rounds as f64)
}

fn reads(dir: &Path, rounds: u64) -> Outcome<f64> {
    let fd = rustix::fs::open(dir.join("file"), OFlags::RDONLY, Mode::empty())?;
    let start = Instant::now();
    for _ in 0..rounds {
        assert_eq!(rustix::io::pread(&fd, &mut [0; 4096], 0)?, DATA.len());
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / rounds as f64)
}

/// As little as a FUSE server can do: one buffer, one write an answer, nothing looked up.
fn serve_bare(mut mount: Mount, ttl: Duration) -> Outcome<()> {
    let mut buffer = vec![0; limits::BUFFER];
    let mut out = Vec::with_capacity(4096);
    let word = |bytes: &[u8], at: usize| {
        u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let put = |out: &mut Vec<u8>, words: &[u32]| words.iter().for_each(|word| out.extend(word.to_ne_bytes()));
    let attributes = |out: &mut Vec<u8>, dir: bool| {
        put(out, &[if dir { 1 } else { 2 }, 0, if dir { 0 } else { 100 }, 0, 1, 0]);
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
            1 if &request[40..44] == b"file" => {
                put(&mut out, &[2, 0, 0, 0, 0, 0, 0, 0, 0, ttl.subsec_nanos()]);
                attributes(&mut out, false);
            }
            1 => error = -2,
            3 => {
                put(&mut out, &[0, 0, ttl.subsec_nanos(), 0]);
                attributes(&mut out, word(request, 16) == 1);
            }
            14 => put(&mut out, &[7, 0, 1, 0]),
            15 => out.extend_from_slice(DATA),
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

/// The same through `Conn`.
fn serve_conn(mut mount: Mount, ttl: Duration) -> Outcome<()> {
    let mut conn = Conn::new(Config { attr_ttl: ttl, ..Config::default() });
    let (mut buffer, mut steps, mut tree) = (vec![0; limits::BUFFER], VecDeque::new(), Tree::default());
    loop {
        match mount.read(&mut buffer)? {
            Incoming::Message(length) => conn.receive(&buffer[..length], &mut steps),
            Incoming::Empty => drop(poll(&mut [PollFd::from_borrowed_fd(mount.fd(), PollFlags::IN)], None)?),
            Incoming::Unmounted => conn.hang_up(&mut steps),
        }
        while let Some(step) = steps.pop_front() {
            match step {
                Step::Ask { tag, op, .. } => conn.answer(tag, tree.reply(op), &mut steps),
                Step::Send(answer) => mount.send(&answer)?,
                Step::Unmounted => return Ok(()),
            }
        }
    }
}

/// A root and a file.
#[derive(Default)]
struct Tree {
    fids: BTreeMap<Fid, bool>,
    name: Arc<str>,
}

impl Tree {
    fn reply(&mut self, op: Op) -> Reply {
        let qid = |dir| Qid {
            kind: if dir { FileKind::Dir } else { FileKind::File },
            version: 0,
            path: 10 + u64::from(dir),
        };
        match op {
            Op::Attach { fid, .. } => {
                self.fids.insert(fid, true);
                Reply::Attached(qid(true))
            }
            Op::Walk { fid, newfid, names } => match names.first() {
                Some(name) if name != "file" => Reply::errno(op::Errno::NOENT),
                Some(_) => {
                    self.fids.insert(newfid, false);
                    Reply::Walked(vec![qid(false)])
                }
                None => {
                    self.fids.insert(newfid, self.fids[&fid]);
                    Reply::Walked(Vec::new())
                }
            },
            Op::Open { fid, .. } => Reply::Opened(qid(self.fids[&fid]), Shape::Text),
            Op::Read { .. } => Reply::Data(DATA.to_vec()),
            Op::Stat { fid } => {
                let (user, group) = (Arc::clone(&self.name), Arc::clone(&self.name));
                let (name, qid) = ("file".to_owned(), qid(self.fids[&fid]));
                Reply::Stat(Stat {
                    name,
                    qid,
                    mode: 0o644,
                    uid: 0,
                    gid: 0,
                    user,
                    group,
                    size: 100,
                    mtime: Wall(0),
                })
            }
            Op::Clunk { fid } => {
                self.fids.remove(&fid);
                Reply::Done
            }
            Op::Flush { .. } => Reply::Done,
            Op::Create { .. }
            | Op::Write { .. }
            | Op::List { .. }
            | Op::SetStat { .. }
            | Op::ReadLink { .. }
            | Op::Symlink { .. }
            | Op::Rename { .. } => Reply::errno(op::Errno::PERM),
            Op::Remove { .. } => Reply::errno(op::Errno::PERM),
        }
    }
}
