//! A program on each of many nodes, all statuses back; and how that, and a look at all of them, grows with their number.

use crate::cloud::{Cloud, text};
use crate::cost::Meter;
use crate::floor::{Program, spawn_loop};
use crate::remote::figure;
use crate::ssh::Ssh;
use crate::table::{Better, Outcome, Racer, Sample, Who, race};
use crate::world::uem;
use crate::{Run, members, peers};
use host::client::{BOTH, Connection, READ, ROOT};
use op::{Op, Reply};
use std::cell::OnceCell;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Children of a node.
const FAN: usize = 10;

/// Everything in one flight from one client: a session on each node. Milliseconds until all statuses are here; what ends the
/// sessions comes after that.
fn everywhere(c: &mut Connection, names: &[String]) -> Outcome<f64> {
    let begun = Instant::now();
    let mut asked = Vec::with_capacity(names.len());
    for name in names {
        let (ctl, _) = c.walk(ROOT, &format!("net/{name}/clone"));
        c.send(Op::Open { fid: ctl, access: BOTH });
        c.send(Op::Write { fid: ctl, offset: 0, data: b"exec /bin/true\n".to_vec() });
        let (wait, _) = c.walk(ctl, "../wait");
        c.send(Op::Open { fid: wait, access: READ });
        let status = c.send(Op::Read { fid: wait, offset: 0, count: 4096, wait: true });
        asked.push((ctl, wait, status));
    }
    for (name, (_, _, status)) in names.iter().zip(&asked) {
        match c.wait_for(*status) {
            Ok(Reply::Data(line)) if line.windows(8).any(|part| part == b" exit=0 ") => {}
            Ok(other) => return Err(format!("{name}: {other:?}").into()),
            Err(error) => return Err(format!("{name}: {error}").into()),
        }
    }
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let mut frees = Vec::with_capacity(asked.len());
    for (ctl, ..) in &asked {
        frees.push(c.send(Op::Write { fid: *ctl, offset: 0, data: b"free\n".to_vec() }));
    }
    for free in frees {
        c.wait_for(free).map_err(|error| error.to_string())?;
    }
    asked.iter().flat_map(|(ctl, wait, _)| [*wait, *ctl]).for_each(|fid| c.clunk(fid));
    while let Some((_, reply)) = c.next() {
        if let Reply::Failed(error) = reply {
            return Err(error.to_string().into());
        }
    }
    Ok(took)
}

fn us<'a>(name: &str, cloud: &'a Cloud, at: usize) -> Racer<'a> {
    let mut connection = None;
    Racer::new(Who::Us, name, move || {
        if connection.is_none() {
            let mut c = cloud.connect(at)?;
            // What is made once is made: users are known, lanes are there.
            everywhere(&mut c, &cloud.names())?;
            connection = Some(c);
        }
        let c = connection.as_mut().ok_or("there is no connection")?;
        let meter = Meter::start(&cloud.pids());
        let took = everywhere(c, &cloud.names())?;
        Ok(figure(took, meter.cpu_us(cloud.count)))
    })
}

/// One group, with one member on each node.
fn one_group<'a>(name: &str, cloud: &'a Cloud, at: usize) -> Racer<'a> {
    let mut connection = None;
    Racer::new(Who::Us, name, move || {
        if connection.is_none() {
            let mut c = cloud.connect(at)?;
            members::group(&mut c, "run each -- /bin/true\n", false)?;
            connection = Some(c);
        }
        let c = connection.as_mut().ok_or("there is no connection")?;
        let meter = Meter::start(&cloud.pids());
        let over = members::group(c, "run each -- /bin/true\n", false)?;
        match over.worked {
            n if n == cloud.count => Ok(figure(over.took, meter.cpu_us(cloud.count))),
            n => Err(format!("{n} of {} worked", cloud.count).into()),
        }
    })
}

/// A command that does it on hosts h0 to hN of ssh.
fn peer<'a>(
    name: &'a str,
    program: &'a str,
    package: &str,
    count: usize,
    ssh: &'a OnceCell<Ssh>,
    command: impl Fn(&mut Command, &Ssh) + 'a,
) -> Racer<'a> {
    let missing = peers::find(program).is_none().then(|| peers::absent(package));
    if let Some(why) = missing.or_else(Ssh::missing) {
        return Racer::absent(Who::Peer, name, why);
    }
    Racer::new(Who::Peer, name, move || {
        if ssh.get().is_none() {
            let _first = ssh.set(Ssh::start(count)?);
        }
        let ssh = ssh.get().ok_or("there is no ssh")?;
        let mut line = Command::new(program);
        command(&mut line, ssh);
        let meter = Meter::start(&ssh.pids());
        peers::run(line.stdin(Stdio::null()).stdout(Stdio::null()))?;
        Ok(figure(meter.seconds() * 1e3, meter.cpu_us(count)))
    })
}

fn pdsh<'a>(name: &'a str, warm: bool, count: usize, ssh: &'a OnceCell<Ssh>) -> Racer<'a> {
    peer(name, "pdsh", "pdsh", count, ssh, move |line, ssh| {
        line.env("PDSH_SSH_ARGS", format!("-a -x -F {} %h", ssh.config(warm).display()));
        line.args(["-S", "-R", "ssh", "-f", "100", "-w", &format!("h[0-{}]", count - 1), "true"]);
    })
}

fn clush<'a>(name: &'a str, warm: bool, count: usize, ssh: &'a OnceCell<Ssh>) -> Racer<'a> {
    peer(name, "clush", "clustershell", count, ssh, move |line, ssh| {
        line.args(["-S", "-q", "-f", "100", "-o", &format!("-F {}", ssh.config(warm).display())]);
        line.args(["-w", &format!("h[0-{}]", count - 1), "true"]);
    })
}

/// `true` on 100 daemons.
pub(crate) fn fanout(run: &Run) -> Outcome<()> {
    hundred(run)?;
    scale(run)
}

fn hundred(run: &Run) -> Outcome<()> {
    let count = run.count(100, 4);
    let program = Program::new("/bin/true".as_ref(), &[])?;
    let cloud = Cloud::of_daemons(count, FAN)?;
    let ssh = OnceCell::new();
    let racers = vec![
        us("one client at the root, all in one flight", &cloud, 0),
        us("one client at a leaf", &cloud, count - 1),
        one_group("one group (`run each`) at the root", &cloud, 0),
        one_group("one group at a leaf", &cloud, count - 1),
        Racer::new(Who::Floor, "as many spawns, two at a time", || {
            let meter = Meter::start(&[]);
            spawn_loop(&program, count)?;
            Ok(figure(meter.seconds() * 1e3, meter.cpu_us(count)))
        }),
        pdsh("pdsh, connections kept open", true, count, &ssh),
        clush("clush, connections kept open", true, count, &ssh),
        pdsh("pdsh, cold", false, count, &ssh).most(2),
        clush("clush, cold", false, count, &ssh).most(2),
    ];
    let title = format!("true on {count} daemons in a tree of fan-out {FAN}, all statuses back");
    let mut table = race("fanout", title, &[("ms", Better::Less)], run.repeats, racers);
    let figure = table.value("one group (`run each`) at the root", 0);
    table.promise("100 daemons ≤ 70 ms", figure, |x| x <= 70.0);
    let ratio = table.value("pdsh, connections", 0) / figure;
    table.promise("≥ 13 × warm pdsh", ratio, |x| x >= 13.0);
    table.show(run.smoke)
}

/// What 1, 10, 100 and 1,000 nodes cost, without programs: their nodes are threads that run nothing.
fn scale(run: &Run) -> Outcome<()> {
    let mut racers = Vec::new();
    let counts: &[usize] = if run.smoke { &[1, 12] } else { &[1, 10, 100, 1_000] };
    if let Err(why) = uem() {
        return Err(why.into());
    }
    for &count in counts {
        let mut cloud = None;
        racers.push(Racer::new(Who::Us, format!("{count} nodes"), move || {
            if cloud.is_none() {
                let made = Cloud::of_threads(count, FAN)?;
                let (mut root, mut leaf) = (made.connect(0)?, made.connect(count - 1)?);
                everywhere(&mut root, &made.names())?;
                text(&mut leaf, "status")?;
                cloud = Some((root, leaf, made));
            }
            let (root, leaf, made) = cloud.as_mut().ok_or("there is no cloud")?;
            let meter = Meter::start(&made.pids());
            let took = everywhere(root, &made.names())?;
            let cpu_us = meter.cpu_us(count);
            let timed = |node: &mut Connection, list: bool| -> Outcome<f64> {
                let begun = Instant::now();
                let rows = match list {
                    true => node.list("net").map_err(|error| error.to_string())?.len(),
                    false => text(node, "status")?.lines().count(),
                };
                let took = begun.elapsed().as_secs_f64() * 1e3;
                if rows == count { Ok(took) } else { Err(format!("{rows} rows").into()) }
            };
            let values =
                vec![took, timed(root, false)?, timed(leaf, false)?, timed(root, true)?, timed(leaf, true)?];
            Ok(Sample { values, cpu_us })
        }));
    }
    let columns = [
        ("each: ms", Better::Less),
        ("status", Better::Less),
        ("at a leaf", Better::Less),
        ("ls net", Better::Less),
        ("at a leaf", Better::Less),
    ];
    let title = format!("a null session on each node; status and net of all; fan-out {FAN}");
    race("fanout", title, &columns, run.repeats, racers).show(run.smoke)
}
