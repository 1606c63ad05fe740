//! One command, on this machine: clone, exec, stdout, wait. How long from asking to having both.

use crate::cost::Meter;
use crate::floor::{Program, reap};
use crate::ssh::Ssh;
use crate::table::{Better, Outcome, Racer, Sample, Who, quantile, race};
use crate::world::{self, Kind, NAME, NodeUnderTest, folder, pin, uem, wait_until, where_};
use crate::{Run, peers};
use host::client::{BOTH, Connection, READ, ROOT};
use op::{Fid, Op, Reply};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Milliseconds of each of `count` rounds, as p50 and p99.
pub(crate) fn rounds(
    count: usize,
    others: &[u32],
    mut round: impl FnMut() -> Outcome<()>,
) -> Outcome<Sample> {
    let meter = Meter::start(others);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        round()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let values = vec![quantile(&times, 0.5), quantile(&times, 0.99)];
    Ok(Sample { values, cpu_us: meter.cpu_us(count) })
}

/// Everything in one flight: walk to clone, open, exec, walk to stdout, open, read, walk to wait, open, read; then what
/// ends it, whose answers nobody waits for here (they come with the next). `ended` is the ctl of the round before, kept open
/// so far: a clunk gives up a write that another node has not answered.
pub(crate) fn library(c: &mut Connection, base: Fid, ended: &mut Option<Fid>) -> Outcome<()> {
    let (ctl, _) = c.walk(base, "clone");
    c.send(Op::Open { fid: ctl, access: BOTH });
    c.send(Op::Write { fid: ctl, offset: 0, data: b"exec /bin/true\n".to_vec() });
    let (out, _) = c.walk(ctl, "../stdout");
    c.send(Op::Open { fid: out, access: READ });
    let output = c.send(Op::Read { fid: out, offset: 0, count: 65536, wait: true });
    let (wait, _) = c.walk(ctl, "../wait");
    c.send(Op::Open { fid: wait, access: READ });
    let status = c.send(Op::Read { fid: wait, offset: 0, count: 4096, wait: true });
    let status = c.wait_for(status).map_err(|error| error.to_string())?;
    let output = c.wait_for(output).map_err(|error| error.to_string())?;
    match (&status, &output) {
        (Reply::Data(line), Reply::Data(output)) if output.is_empty() && line.ends_with(b"\n") => {}
        other => return Err(format!("it came to {other:?}").into()),
    }
    c.send(Op::Write { fid: ctl, offset: 0, data: b"free\n".to_vec() });
    [Some(wait), Some(out), ended.replace(ctl)].into_iter().flatten().for_each(|fid| c.clunk(fid));
    while let Some((_, reply)) = c.next() {
        if let Reply::Failed(error) = reply {
            return Err(error.to_string().into());
        }
    }
    Ok(())
}

fn ours<'a>(
    kind: Kind,
    name: &str,
    mounted: bool,
    mut run: impl FnMut(&NodeUnderTest) -> Outcome<Sample> + 'a,
) -> Racer<'a> {
    if let (Kind::Uem, Err(why)) = (kind, uem()) {
        return Racer::absent(Who::Us, name, why);
    }
    if let (true, Err(why)) = (mounted, world::can_mount()) {
        return Racer::absent(Who::Us, name, why);
    }
    let mut node = None;
    Racer::new(Who::Us, name, move || {
        if node.is_none() {
            node = Some(NodeUnderTest::start(kind, mounted)?);
        }
        run(node.as_ref().ok_or("there is no node")?)
    })
}

fn by_library<'a>(name: &str, kind: Kind, count: usize) -> Racer<'a> {
    let mut connection = None;
    ours(kind, name, false, move |node| {
        if connection.is_none() {
            let mut c = node.connect()?;
            let (base, walked) = c.walk(ROOT, &format!("net/{NAME}"));
            c.wait_for(walked).map_err(|error| error.to_string())?;
            connection = Some((c, base, None));
        }
        let (c, base, ended) = connection.as_mut().ok_or("there is no connection")?;
        rounds(count, &node.pids(), || library(c, *base, ended))
    })
}

fn ssh<'a>(count: usize) -> Racer<'a> {
    let name = format!("ssh over a connection kept open, {count} runs");
    if let Some(why) = Ssh::missing() {
        return Racer::absent(Who::Peer, name, why);
    }
    let mut ssh = None;
    Racer::new(Who::Peer, name, move || {
        if ssh.is_none() {
            ssh = Some(Ssh::start(1)?);
        }
        let ssh = ssh.as_ref().ok_or("there is no ssh")?;
        rounds(count, &ssh.pids(), || ssh.run(true))
    })
}

pub(crate) fn hq<'a>(count: usize) -> Racer<'a> {
    let name = format!("HyperQueue, until it has run, {count} runs");
    match peers::hyperqueue() {
        Err(why) => Racer::absent(Who::Peer, name, why),
        Ok(python) => Racer::new(Who::Peer, name, move || {
            let told = peers::hq_run(&python, "latency", count, &[])?;
            let times: Vec<f64> =
                told["ms"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64).collect();
            let cpu_us = told["cpu_us"].as_f64().unwrap_or(f64::NAN);
            Ok(Sample { values: vec![quantile(&times, 0.5), quantile(&times, 0.99)], cpu_us })
        }),
    }
}

/// posix_spawn and wait, and three times over a socket to another process and back.
fn floor<'a>(count: usize, program: &'a Program) -> Racer<'a> {
    let mut echo = None;
    Racer::new(Who::Floor, "spawn, wait, 3 socket round trips", move || {
        if echo.is_none() {
            let folder = folder()?;
            let socket = folder.path().join("echo");
            let words = [OsStr::new("role-echo"), socket.as_os_str(), OsStr::new("100"), OsStr::new("100")];
            let server = world::role(&words)?;
            wait_until("the echo server", || UnixStream::connect(&socket).is_ok())?;
            echo = Some((server, UnixStream::connect(&socket)?, folder));
        }
        let (server, stream, _) = echo.as_mut().ok_or("there is no echo")?;
        let mut buffer = [0; 100];
        rounds(count, &[server.pid()], || {
            for _ in 0..3 {
                stream.write_all(&buffer)?;
                stream.read_exact(&mut buffer)?;
            }
            reap(program.spawn(None)?).map(drop)
        })
    })
}

/// One command.
pub(crate) fn local(run: &Run) -> Outcome<()> {
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
    let script = format!(
        "cd \"$0/net/{NAME}\"; id=$(cat clone); echo exec /bin/true > $id/ctl; cat $id/stdout; cat $id/wait; echo free > $id/ctl"
    );
    let racers = vec![
        by_library("library, to uem up", Kind::Uem, count),
        by_library("library, to a node without a keeper", Kind::Solo, count),
        ours(Kind::Uem, "uem run -- true", false, |node| {
            let uem = uem()?;
            rounds(few, &node.pids(), || {
                let mut command = Command::new(&uem);
                command.arg("--state").arg(node.dir()).args(["run", "--", "/bin/true"]).stdin(Stdio::null());
                peers::run(&mut command)
            })
        }),
        ours(Kind::Solo, "sh through the mount, sh's own start included", true, |node| {
            rounds(few, &node.pids(), || {
                let mut command = Command::new("/bin/sh");
                command.args(["-e", "-c", &script]).arg(&node.mount);
                peers::run(command.stdin(Stdio::null()).stdout(Stdio::null()))
            })
        }),
        Racer::new(Who::Floor, "sh that does the same with plain files", || {
            let folder = folder()?;
            for name in ["clone", "ctl", "stdout", "wait"] {
                std::fs::write(folder.path().join(name), "1\n")?;
            }
            let script = "cd \"$0\"; id=$(cat clone); echo exec /bin/true > ctl; /bin/true; cat stdout; cat wait; echo free > ctl";
            rounds(few, &[], || {
                let mut command = Command::new("/bin/sh");
                command.args(["-e", "-c", script]).arg(folder.path());
                peers::run(command.stdin(Stdio::null()).stdout(Stdio::null()))
            })
        }),
        floor(count, &program),
        ssh(few),
        hq(run.count(50, 3)).most(2),
    ];
    let columns = [("p50 ms", Better::Less), ("p99 ms", Better::Less)];
    let title =
        format!("true: clone, exec, stdout, wait; {count} runs (the slow ones {few}); {}", where_(pinned));
    let mut table = race("local", title, &columns, run.repeats, racers);
    for (words, name, most) in [
        ("library ≤ 1 ms", "library, to uem up", 1.0),
        ("uem run ≤ 4 ms", "uem run", 4.0),
        ("sh through the mount ≤ 6 ms", "sh through", 6.0),
    ] {
        let figure = table.value(name, 0);
        table.promise(words, figure, |x| x <= most);
    }
    for (words, peer, least) in
        [("≥ 4 × warm ssh", "ssh over", 4.0), ("≥ 15 × HyperQueue", "HyperQueue", 15.0)]
    {
        let figure = table.value(peer, 0) / table.value("library, to uem up", 0);
        table.promise(words, figure, |x| x >= least);
    }
    table.show(run.smoke)
}
