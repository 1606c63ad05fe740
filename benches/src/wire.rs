//! Small requests: 9P over a Unix socket against a bare echo and against diod, with the same client; and the mount
//! against an empty FUSE file system.

use crate::cost::Meter;
use crate::table::{Better, Outcome, Racer, Sample, Who, race};
use crate::world::{self, Kind, NodeUnderTest, Server, folder, pin, wait_until, where_};
use crate::{Run, peers};
use ninep::Dialect;
use ninep::client::Client;
use op::{Access, Fid, Op, Reply};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A blocking client of 9P: one request, one answer.
struct Caller {
    stream: UnixStream,
    client: Client,
    buffer: Vec<u8>,
    file: Fid,
}

impl Caller {
    /// Attaches, walks to a file and opens it.
    fn open(socket: &Path, dialect: Dialect, tree: &str, path: &str) -> Outcome<Caller> {
        let stream = UnixStream::connect(socket)?;
        let client = Client::new(dialect, 64 << 10).with_user("root", Some(0));
        let mut this = Caller { stream, client, buffer: vec![0; 64 << 10], file: Fid(0) };
        let (root, file) = (this.client.new_fid(), this.client.new_fid());
        this.file = file;
        this.call(Op::Attach { fid: root, user: String::new(), tree: tree.into() })?;
        let names = path.split('/').map(String::from).collect();
        this.call(Op::Walk { fid: root, newfid: file, names })?;
        this.call(Op::Open { fid: file, access: Access { read: true, ..Access::default() } })?;
        Ok(this)
    }

    fn ask(&mut self, op: Op) -> Outcome<()> {
        self.client.request(op);
        self.send()
    }

    fn send(&mut self) -> Outcome<()> {
        let output = self.client.output();
        self.stream.write_all(output)?;
        let sent = output.len();
        self.client.consume(sent);
        Ok(())
    }

    fn answer(&mut self) -> Outcome<Reply> {
        loop {
            match self.client.next_reply() {
                Some((_, Reply::Failed(error))) => return Err(error.to_string().into()),
                Some((_, reply)) => return Ok(reply),
                None => {}
            }
            let n = self.stream.read(&mut self.buffer)?;
            if n == 0 {
                return Err("the server hung up".into());
            }
            self.client.receive(&self.buffer[..n]).map_err(|broken| broken.to_string())?;
            self.send()?;
        }
    }

    fn call(&mut self, op: Op) -> Outcome<Reply> {
        self.ask(op)?;
        self.answer()
    }
}

/// What is asked again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ask {
    Stat,
    Read,
}

impl Ask {
    fn op(self, fid: Fid) -> Op {
        match self {
            Ask::Stat => Op::Stat { fid },
            Ask::Read => Op::Read { fid, offset: 0, count: 100, wait: true },
        }
    }

    /// Bytes of question and answer in 9P2000.L.
    fn sizes(self) -> (usize, usize) {
        match self {
            Ask::Stat => (19, 160),
            Ask::Read => (23, 17),
        }
    }
}

/// Each of `callers` asks, then each takes its answer; `count` questions in all.
fn rounds(callers: &mut [Caller], ask: Ask, count: usize, pids: &[u32]) -> Outcome<Sample> {
    let turns = count / callers.len();
    let meter = Meter::start(pids);
    for _ in 0..turns {
        for caller in callers.iter_mut() {
            caller.ask(ask.op(caller.file))?;
        }
        for caller in callers.iter_mut() {
            match caller.answer()? {
                Reply::Data(data) if data.is_empty() => return Err("a read came back empty".into()),
                _ => {}
            }
        }
    }
    let done = turns * callers.len();
    Ok(Sample { values: vec![meter.seconds() * 1e6 / done as f64], cpu_us: meter.cpu_us(done) })
}

/// A server with connections to it, made at the first run.
fn ninep<'a>(
    who: Who,
    name: &str,
    ask: Ask,
    clients: usize,
    count: usize,
    start: impl Fn() -> Outcome<(Vec<u32>, Box<dyn std::any::Any>, Vec<Caller>)> + 'a,
) -> Racer<'a> {
    let mut made = None;
    Racer::new(who, name, move || {
        if made.is_none() {
            made = Some(start()?);
        }
        let (pids, _, callers) = made.as_mut().ok_or("there is no server")?;
        rounds(&mut callers[..clients], ask, count, pids)
    })
}

type Started = (Vec<u32>, Box<dyn std::any::Any>, Vec<Caller>);

fn node(dialect: Dialect, clients: usize) -> Outcome<Started> {
    let node = NodeUnderTest::start(Kind::Solo, false)?;
    let callers: Outcome<Vec<Caller>> =
        (0..clients).map(|_| Caller::open(&node.socket(), dialect, "", "ctl")).collect();
    Ok((node.pids(), Box::new(node), callers?))
}

fn diod(clients: usize) -> Outcome<Started> {
    let folder = tempfile::Builder::new().prefix("uem-bench-").tempdir_in("/dev/shm")?;
    let export = folder.path().join("export");
    std::fs::create_dir(&export)?;
    std::fs::write(export.join("ctl"), "bench\n")?;
    let socket = folder.path().join("sock");
    let mut command = Command::new(peers::find("diod").ok_or("diod is gone")?);
    command.args(["-f", "-n", "-L", "stderr", "-c", "/dev/null", "-l"]).arg(&socket).arg("-e").arg(&export);
    let server = Server::spawn(command.stdin(Stdio::null()).stderr(Stdio::null()))?;
    wait_until("diod", || UnixStream::connect(&socket).is_ok())?;
    let tree = export.display().to_string();
    let callers: Outcome<Vec<Caller>> =
        (0..clients).map(|_| Caller::open(&socket, Dialect::L, &tree, "ctl")).collect();
    Ok((vec![server.pid()], Box::new((server, folder)), callers?))
}

/// The same bytes to and fro, and nothing else.
fn echo<'a>(ask: Ask, clients: usize, count: usize) -> Racer<'a> {
    let mut made = None;
    Racer::new(Who::Floor, "raw socket echo of as many bytes", move || {
        let (question, answer) = ask.sizes();
        if made.is_none() {
            let folder = folder()?;
            let socket = folder.path().join("echo");
            let sizes = [question.to_string(), answer.to_string()];
            let words =
                ["role-echo".as_ref(), socket.as_os_str(), OsStr::new(&sizes[0]), OsStr::new(&sizes[1])];
            let server = world::role(&words)?;
            wait_until("the echo server", || UnixStream::connect(&socket).is_ok())?;
            let streams: Result<Vec<_>, _> = (0..clients).map(|_| UnixStream::connect(&socket)).collect();
            made = Some((server, streams?, folder));
        }
        let (server, streams, _) = made.as_mut().ok_or("there is no echo")?;
        let (question, mut answer) = (vec![0; question], vec![0; answer]);
        let turns = count / clients;
        let meter = Meter::start(&[server.pid()]);
        for _ in 0..turns {
            for stream in streams.iter_mut() {
                stream.write_all(&question)?;
            }
            for stream in streams.iter_mut() {
                stream.read_exact(&mut answer)?;
            }
        }
        let done = turns * clients;
        Ok(Sample { values: vec![meter.seconds() * 1e6 / done as f64], cpu_us: meter.cpu_us(done) })
    })
}

/// Small reads and stats.
pub(crate) fn wire(run: &Run) -> Outcome<()> {
    for pinned in [true, false] {
        pin(pinned)?;
        for (ask, clients) in [(Ask::Stat, 1), (Ask::Read, 1), (Ask::Stat, 8), (Ask::Read, 8)] {
            over_9p(run, pinned, ask, clients)?;
        }
        over_fuse(run, pinned)?;
    }
    Ok(())
}

fn over_9p(run: &Run, pinned: bool, ask: Ask, clients: usize) -> Outcome<()> {
    let count = run.count(20_000, 64);
    let diod = match peers::find("diod") {
        Some(_) => ninep(Who::Peer, "diod, a file in tmpfs, 9P2000.L", ask, clients, count, || diod(clients)),
        None => Racer::absent(Who::Peer, "diod", peers::absent("diod")),
    };
    let racers = vec![
        ninep(Who::Us, "node, 9P2000.L", ask, clients, count, || node(Dialect::L, clients)),
        ninep(Who::Us, "node, 9P2000.uem", ask, clients, count, || node(Dialect::Uem, clients)),
        diod,
        echo(ask, clients, count),
    ];
    let what = if ask == Ask::Stat { "getattr" } else { "read of 6 bytes" };
    let title = format!("{what}, clients: {clients}; {}", where_(pinned));
    let mut table = race("wire", title, &[("µs each", Better::Less)], run.repeats, racers);
    let ours = table.value("node, 9P2000.L", 0);
    let (echo, diod) = (ours / table.value("raw", 0), table.value("diod", 0) / ours);
    table.promise("≤ 1.5 × the raw echo", echo, |x| x <= 1.5);
    table.promise("≥ diod's rate", diod, |x| x >= 1.0);
    table.show(run.smoke)
}

/// A mounted server and its directory.
type Mounted = (Box<dyn std::any::Any>, Vec<u32>, PathBuf);

fn our_mount() -> Outcome<Mounted> {
    let node = NodeUnderTest::start(Kind::Solo, true)?;
    let (pids, mount) = (node.pids(), node.mount.clone());
    Ok((Box::new(node), pids, mount))
}

/// Unmounts before its server ends.
struct Empty {
    dir: PathBuf,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl Drop for Empty {
    fn drop(&mut self) {
        let _gone_already = Command::new("umount").arg(&self.dir).stderr(Stdio::null()).status();
    }
}

fn empty_mount() -> Outcome<Mounted> {
    let folder = folder()?;
    let dir = folder.path().join("mnt");
    let server = world::role(&["role-empty".as_ref(), dir.as_os_str()])?;
    wait_until("the empty file system", || dir.join("ctl").exists())?;
    let pids = vec![server.pid()];
    Ok((Box::new(Empty { dir: dir.clone(), _server: server, _folder: folder }), pids, dir))
}

fn over_fuse(run: &Run, pinned: bool) -> Outcome<()> {
    let count = run.count(5_000, 20);
    let racer = |who: Who, name: &str, start: fn() -> Outcome<Mounted>, open: bool| {
        if let Err(why) = world::can_mount() {
            return Racer::absent(who, name, why);
        }
        let mut made = None;
        Racer::new(who, name, move || {
            if made.is_none() {
                made = Some(start()?);
            }
            let (_, pids, dir) = made.as_ref().ok_or("there is no mount")?;
            let path = dir.join("ctl");
            let mut buffer = [0; 100];
            let file = std::fs::File::open(&path)?;
            let meter = Meter::start(pids);
            for _ in 0..count {
                let n = if open {
                    file.read_at(&mut buffer, 0)?
                } else {
                    std::fs::metadata(&path)?;
                    std::fs::File::open(&path)?.read(&mut buffer)?
                };
                assert_eq!(n, 6, "the file has its bytes");
            }
            Ok(Sample { values: vec![meter.seconds() * 1e6 / count as f64], cpu_us: meter.cpu_us(count) })
        })
    };
    for (what, open) in [("stat, open, read, close", false), ("reads of an open file", true)] {
        let racers = vec![
            racer(Who::Us, "node's mount", our_mount, open),
            racer(Who::Floor, "empty FUSE file system", empty_mount, open),
        ];
        let title = format!("FUSE: {what}; {}", where_(pinned));
        let mut table = race("wire", title, &[("µs each", Better::Less)], run.repeats, racers);
        let figure = table.value("node's", 0) / table.value("empty", 0);
        table.promise("≤ 1.5 × an empty FUSE file system", figure, |x| x <= 1.5);
        table.show(run.smoke)?;
    }
    Ok(())
}
