//! One command on another node, over TLS on loopback: clone, exec, stdout, wait. How long from asking to having both.

use crate::cloud::Cloud;
use crate::floor::{Program, reap};
use crate::local::{hq, library, rounds};
use crate::ssh::Ssh;
use crate::table::{Better, Outcome, Racer, Sample, Who, race};
use crate::world::{can_mount, pin, uem, where_};
use crate::{Run, peers};
use host::client::{Connection, ROOT};
use op::Fid;
use std::cell::OnceCell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

/// The node where things are run, and the one that we are at: its child.
const THERE: usize = 0;
const HERE: usize = 1;

fn base(mut connection: Connection) -> Outcome<(Connection, Fid)> {
    let (base, walked) = connection.walk(ROOT, &format!("net/{}", crate::cloud::name(THERE)));
    connection.wait_for(walked).map_err(|error| error.to_string())?;
    Ok((connection, base))
}

fn by_library<'a>(
    name: &str,
    count: usize,
    cloud: &'a Cloud,
    dial: impl Fn(&Cloud) -> Outcome<Connection> + 'a,
) -> Racer<'a> {
    let mut connection = None;
    Racer::new(Who::Us, name, move || {
        if connection.is_none() {
            let (c, base) = base(dial(cloud)?)?;
            connection = Some((c, base, None));
        }
        let (c, base, ended) = connection.as_mut().ok_or("there is no connection")?;
        rounds(count, &cloud.pids(), || library(c, *base, ended))
    })
}

/// A mount of the tree of the node that we are at.
struct Mounted<'a> {
    dir: tempfile::TempDir,
    _cloud: &'a Cloud,
}

impl Mounted<'_> {
    fn new(cloud: &Cloud) -> Outcome<Mounted<'_>> {
        let dir = crate::world::folder()?;
        let mut command = Command::new(uem()?);
        command.arg("--state").arg(cloud.dir(HERE)).arg("mount").arg(dir.path());
        peers::run(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
        Ok(Mounted { dir, _cloud: cloud })
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Ok(uem) = uem() {
            let _was_not_mounted = Command::new(uem).arg("umount").arg(self.dir.path()).status();
        }
    }
}

fn by_shell<'a>(count: usize, cloud: &'a Cloud) -> Racer<'a> {
    let name = "sh through the mount, sh's own start included";
    if let Err(why) = can_mount() {
        return Racer::absent(Who::Us, name, why);
    }
    let script = format!(
        "cd \"$0/net/{}\"; id=$(cat clone); echo exec /bin/true > $id/ctl; cat $id/stdout; cat $id/wait; echo free > $id/ctl",
        crate::cloud::name(THERE)
    );
    let mounted = OnceCell::new();
    Racer::new(Who::Us, name, move || {
        if mounted.get().is_none() {
            let _first = mounted.set(Mounted::new(cloud)?);
        }
        let mounted = mounted.get().ok_or("there is no mount")?;
        rounds(count, &cloud.pids(), || {
            let mut command = Command::new("/bin/sh");
            command.args(["-e", "-c", &script]).arg(mounted.dir.path());
            peers::run(command.stdin(Stdio::null()).stdout(Stdio::null()))
        })
    })
}

fn by_ssh<'a>(name: &str, count: usize, warm: bool, ssh: &'a OnceCell<Ssh>) -> Racer<'a> {
    let name = format!("{name}, {count} runs");
    if let Some(why) = Ssh::missing() {
        return Racer::absent(Who::Peer, name, why);
    }
    Racer::new(Who::Peer, name, move || {
        if ssh.get().is_none() {
            let _first = ssh.set(Ssh::start(1)?);
        }
        let ssh = ssh.get().ok_or("there is no ssh")?;
        rounds(count, &ssh.pids(), || ssh.run(warm))
    })
}

/// posix_spawn and wait, and three times over TCP to another thread and back, in the clear.
fn floor<'a>(count: usize, program: &'a Program) -> Racer<'a> {
    let mut echo = None;
    Racer::new(Who::Floor, "spawn, wait, 3 TCP round trips in the clear", move || {
        if echo.is_none() {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let stream = TcpStream::connect(listener.local_addr()?)?;
            let (mut other, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            other.set_nodelay(true)?;
            std::thread::spawn(move || {
                let mut buffer = [0; 100];
                while other.read_exact(&mut buffer).and_then(|()| other.write_all(&buffer)).is_ok() {}
            });
            echo = Some(stream);
        }
        let stream = echo.as_mut().ok_or("there is no echo")?;
        let mut buffer = [0; 100];
        rounds(count, &[], || {
            for _ in 0..3 {
                stream.write_all(&buffer)?;
                stream.read_exact(&mut buffer)?;
            }
            reap(program.spawn(None)?).map(drop)
        })
    })
}

/// One command on another node.
pub(crate) fn remote(run: &Run) -> Outcome<()> {
    for pinned in [true, false] {
        pin(pinned)?;
        one(run, pinned)?;
    }
    Ok(())
}

fn one(run: &Run, pinned: bool) -> Outcome<()> {
    let count = run.count(2_000, 20);
    let few = run.count(200, 3);
    let program = Program::new("/bin/true".as_ref(), &[])?;
    let cloud = Cloud::of_daemons(2, 1)?;
    let ssh = OnceCell::new();
    let racers = vec![
        by_library("library, through this node's link", count, &cloud, |cloud| cloud.connect(HERE)),
        by_library("library, tls! to the node itself", count, &cloud, |cloud| {
            let addr = cloud.link(THERE)?;
            Ok(Connection::dial_as(&addr, &cloud.dir(HERE)).map_err(|error| error.to_string())?)
        }),
        Racer::new(Who::Us, "uem run --on", || {
            let uem = uem()?;
            rounds(few, &cloud.pids(), || {
                let mut command = Command::new(&uem);
                command.arg("--state").arg(cloud.dir(HERE)).args(["run", "--on", &crate::cloud::name(THERE)]);
                peers::run(command.args(["--", "/bin/true"]).stdin(Stdio::null()))
            })
        }),
        by_shell(few, &cloud),
        floor(count, &program),
        by_ssh("ssh over a connection kept open", few, true, &ssh),
        by_ssh("ssh, cold", run.count(20, 1), false, &ssh),
        hq(run.count(50, 3)).most(2),
    ];
    let columns = [("p50 ms", Better::Less), ("p99 ms", Better::Less)];
    let title = format!(
        "true on another node: clone, exec, stdout, wait; {count} runs (the slow ones {few}); {}",
        where_(pinned)
    );
    let mut table = race("remote", title, &columns, run.repeats, racers);
    for (words, name, most) in [
        ("library through the link ≤ 1 ms", "library, through", 1.0),
        ("library to the node itself ≤ 1 ms", "library, tls!", 1.0),
        ("uem run ≤ 4 ms", "uem run", 4.0),
        ("sh through the mount ≤ 6 ms", "sh through", 6.0),
    ] {
        let figure = table.value(name, 0);
        table.promise(words, figure, |x| x <= most);
    }
    for (words, peer, least) in
        [("≥ 4 × warm ssh", "ssh over", 4.0), ("≥ 15 × HyperQueue", "HyperQueue", 15.0)]
    {
        let figure = table.value(peer, 0) / table.value("library, through", 0);
        table.promise(words, figure, |x| x >= least);
    }
    table.show(run.smoke)
}

/// A sample of one figure.
pub(crate) fn figure(value: f64, cpu_us: f64) -> Sample {
    Sample { values: vec![value], cpu_us }
}
