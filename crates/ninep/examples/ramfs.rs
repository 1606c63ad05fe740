//! A file server in memory, over TCP: `cargo run -p ninep --example ramfs [ADDRESS]` prints where it listens.
//!
//! One thread a connection, and a tree of its own for each, so that the example stays short. Try it with
//! `cargo run -p ninep --example ls ADDRESS`, or mount it: `mount -t 9p -o trans=tcp,port=PORT,version=9p2000.L 127.0.0.1 /mnt`.

use ninep::server::{Config, Conn};
use op::{Entry, Errno, Fid, FileKind, Op, Qid, Reply, Shape, Stat, Tag, Wall};
use std::collections::{HashMap, VecDeque};
use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::{env, thread};

fn main() -> Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:0".into());
    let listener = TcpListener::bind(address)?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || serve(stream).unwrap_or_else(|error| eprintln!("{error}")));
    }
    Ok(())
}

/// Bytes in, operations answered, bytes out, until the client goes.
fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut conn, mut ram) = (Conn::new(Config::default()), Ram::new());
    let mut asks: VecDeque<(Tag, Op)> = VecDeque::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let heard = conn.receive(&buffer[..count], &mut asks);
        while let Some((tag, op)) = asks.pop_front() {
            let reply = ram.answer(op).unwrap_or_else(Reply::errno);
            conn.answer(tag, reply, &mut asks);
        }
        stream.write_all(conn.output())?;
        conn.consume(conn.output().len());
        if let Err(broken) = heard {
            eprintln!("hanging up: {broken}");
            return Ok(());
        }
    }
}

struct Node {
    name: String,
    parent: usize,
    is_dir: bool,
    mode: u32,
    data: Vec<u8>,
    removed: bool,
}

/// The tree (nodes are never reused: a node's number is its qid), and where each fid is.
struct Ram {
    nodes: Vec<Node>,
    fids: HashMap<Fid, usize>,
}

impl Ram {
    fn new() -> Ram {
        let mut ram = Ram { nodes: Vec::new(), fids: HashMap::new() };
        ram.add("/", 0, true, 0o755);
        let hello = ram.add("hello", 0, false, 0o644);
        ram.nodes[hello].data = b"Hello, 9P.\n".to_vec();
        ram
    }

    fn add(&mut self, name: &str, parent: usize, is_dir: bool, mode: u32) -> usize {
        self.nodes.push(Node { name: name.into(), parent, is_dir, mode, data: Vec::new(), removed: false });
        self.nodes.len() - 1
    }

    fn children(&self, dir: usize) -> impl Iterator<Item = usize> {
        (1..self.nodes.len()).filter(move |&at| self.nodes[at].parent == dir && !self.nodes[at].removed)
    }

    fn qid(&self, at: usize) -> Qid {
        let kind = if self.nodes[at].is_dir { FileKind::Dir } else { FileKind::File };
        Qid { kind, version: 0, path: at as u64 }
    }

    fn stat(&self, at: usize) -> Stat {
        let Node { name, mode, data, .. } = &self.nodes[at];
        let (name, size) = (name.clone(), data.len() as u64);
        let (user, group) = ("ram".into(), "ram".into());
        Stat { name, qid: self.qid(at), mode: *mode, uid: 0, gid: 0, user, group, size, mtime: Wall(0) }
    }

    fn answer(&mut self, op: Op) -> std::result::Result<Reply, Errno> {
        let at = |fid: Fid| self.fids.get(&fid).copied().ok_or(Errno::BADF);
        Ok(match op {
            Op::Attach { fid, .. } => {
                self.fids.insert(fid, 0);
                Reply::Attached(self.qid(0))
            }
            Op::Walk { fid, newfid, names } => {
                let (mut here, mut qids) = (at(fid)?, Vec::new());
                for name in &names {
                    let up = (name == "..").then_some(self.nodes[here].parent);
                    let next = up.or_else(|| self.children(here).find(|&at| self.nodes[at].name == *name));
                    let Some(next) = next else {
                        return if qids.is_empty() { Err(Errno::NOENT) } else { Ok(Reply::Walked(qids)) };
                    };
                    here = next;
                    qids.push(self.qid(here));
                }
                self.fids.insert(newfid, here);
                Reply::Walked(qids)
            }
            Op::Open { fid, access } => {
                let at = at(fid)?;
                if access.truncate {
                    self.nodes[at].data.clear();
                }
                Reply::Opened(self.qid(at), Shape::Text)
            }
            Op::Create { fid, name, mode, .. } => {
                let dir = at(fid)?;
                if self.children(dir).any(|at| self.nodes[at].name == name) {
                    return Err(Errno::EXIST);
                }
                let made = self.add(&name, dir, mode & 0o170_000 == 0o040_000, mode & 0o777);
                self.fids.insert(fid, made);
                Reply::Opened(self.qid(made), Shape::Text)
            }
            Op::Read { fid, offset, count, .. } => {
                let data = self.nodes[at(fid)?].data.iter().skip(offset as usize).take(count as usize);
                Reply::Data(data.copied().collect())
            }
            Op::Write { fid, offset, data } => {
                let (at, start) = (at(fid)?, offset as usize);
                let end = start.checked_add(data.len()).filter(|end| *end <= 64 << 20).ok_or(Errno::FBIG)?;
                let file = &mut self.nodes[at].data;
                file.resize(file.len().max(end), 0);
                file[start..end].copy_from_slice(&data);
                Reply::Wrote(data.len() as u32)
            }
            Op::List { fid, cookie, count } => {
                let left = self.children(at(fid)?).filter(|&at| at as u64 > cookie).take(count as usize);
                Reply::Listed(left.map(|at| Entry { cookie: at as u64, stat: self.stat(at) }).collect())
            }
            Op::Stat { fid } => Reply::Stat(self.stat(at(fid)?)),
            Op::SetStat { fid, set } => {
                let at = at(fid)?;
                self.nodes[at].mode = set.mode.unwrap_or(self.nodes[at].mode);
                let size = set.size.unwrap_or(self.nodes[at].data.len() as u64).min(64 << 20);
                self.nodes[at].data.resize(size as usize, 0);
                Reply::Done
            }
            Op::Remove { fid } => {
                let at = self.fids.remove(&fid).ok_or(Errno::BADF)?;
                if at == 0 || self.children(at).next().is_some() {
                    return Err(Errno::NOTEMPTY);
                }
                self.nodes[at].removed = true;
                Reply::Done
            }
            Op::Clunk { fid } => self.fids.remove(&fid).map(|_| Reply::Done).ok_or(Errno::BADF)?,
            Op::ReadLink { .. } => return Err(Errno::INVAL),
            Op::Symlink { .. } | Op::Rename { .. } => return Err(Errno::OPNOTSUPP),
            // Everything is answered at once, so nothing is left to give up.
            Op::Flush { .. } => Reply::Done,
        })
    }
}
