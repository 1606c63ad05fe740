//! Groups: 2,048 programs over 64 daemons, their output collected; and sessions that run nothing, through one group.

use crate::cloud::Cloud;
use crate::cost::Meter;
use crate::floor::{Program, spawn_loop};
use crate::remote::figure;
use crate::table::{Better, Outcome, Racer, Who, race};
use crate::{Run, peers};
use host::client::{BOTH, Connection, READ, ROOT, WRITE};
use op::{Fid, Op, Reply};
use std::time::Instant;

/// Children of a node.
const FAN: usize = 8;

/// A line, written to a file.
pub(crate) fn tell(c: &mut Connection, path: &str, line: &str) -> Outcome<()> {
    let (fid, _) = c.walk(ROOT, path);
    c.send(Op::Open { fid, access: WRITE });
    let said = c.send(Op::Write { fid, offset: 0, data: line.as_bytes().to_vec() });
    let reply = c.wait_for(said);
    c.clunk(fid);
    match reply {
        Ok(Reply::Wrote(_)) => Ok(()),
        other => Err(format!("{line:?} to {path}: {other:?}").into()),
    }
}

/// A group that is told these lines: its `ctl` and its `wait`, opened.
pub(crate) fn begun(c: &mut Connection, lines: &str) -> Outcome<(Fid, Fid)> {
    let (ctl, _) = c.walk(ROOT, "clone");
    c.send(Op::Open { fid: ctl, access: BOTH });
    let said = c.send(Op::Write { fid: ctl, offset: 0, data: lines.as_bytes().to_vec() });
    let (wait, _) = c.walk(ctl, "../wait");
    let opened = c.send(Op::Open { fid: wait, access: READ });
    match c.wait_for(said) {
        Ok(Reply::Wrote(_)) => {}
        other => return Err(format!("{lines:?}: {other:?}").into()),
    }
    c.wait_for(opened).map_err(|error| error.to_string())?;
    Ok((ctl, wait))
}

/// What became of a group.
pub(crate) struct Over {
    /// Milliseconds from the clone until its `wait` had ended, and all output was here; what frees it comes after that.
    pub(crate) took: f64,
    /// How many ended well.
    pub(crate) worked: usize,
    pub(crate) output: Vec<u8>,
}

/// A group of one write, and what its files of output gave where `collect`.
pub(crate) fn group(c: &mut Connection, lines: &str, collect: bool) -> Outcome<Over> {
    let began = Instant::now();
    let (ctl, wait) = begun(c, lines)?;
    let (out, _) = c.walk(ctl, "../stdout");
    let output = if collect { whole(c, out)? } else { Vec::new() };
    let ends = read(c, wait)?;
    let took = began.elapsed().as_secs_f64() * 1e3;
    let free = c.send(Op::Write { fid: ctl, offset: 0, data: b"free\n".to_vec() });
    c.wait_for(free).map_err(|error| error.to_string())?;
    [wait, out, ctl].into_iter().for_each(|fid| c.clunk(fid));
    let worked = String::from_utf8_lossy(&ends).lines().filter(|line| line.contains(" exit=0 ")).count();
    Ok(Over { took, worked, output })
}

fn whole(c: &mut Connection, fid: Fid) -> Outcome<Vec<u8>> {
    let opened = c.send(Op::Open { fid, access: READ });
    c.wait_for(opened).map_err(|error| error.to_string())?;
    read(c, fid)
}

/// All of a file, until it ends.
pub(crate) fn read(c: &mut Connection, fid: Fid) -> Outcome<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let count = c.max_io();
        let asked = c.send(Op::Read { fid, offset: all.len() as u64, count, wait: true });
        match c.wait_for(asked) {
            Ok(Reply::Data(data)) if data.is_empty() => return Ok(all),
            Ok(Reply::Data(data)) => all.extend(data),
            other => return Err(format!("{other:?}").into()),
        }
    }
}

/// 2,048 × `date` over 64 daemons in a tree, output collected.
pub(crate) fn members(run: &Run) -> Outcome<()> {
    let (nodes, count) = (run.count(64, 3), run.count(2_048, 12));
    let program = Program::new(&peers::find("date").ok_or("there is no date")?, &[])?;
    let cloud = Cloud::of_daemons(nodes, FAN)?;
    let us = |name: &str, at: usize, line: String, collect: bool| {
        let (cloud, mut connection) = (&cloud, None);
        Racer::new(Who::Us, name, move || {
            if connection.is_none() {
                let mut c = cloud.connect(at)?;
                // Users are known and lanes are there after the first.
                group(&mut c, "run each -- true\n", false)?;
                connection = Some(c);
            }
            let c = connection.as_mut().ok_or("there is no connection")?;
            let meter = Meter::start(&cloud.pids());
            let Over { took, worked, output } = group(c, &line, collect)?;
            if worked != count {
                return Err(format!("{worked} of {count} worked").into());
            }
            let lines = output.iter().filter(|byte| **byte == b'\n').count();
            if collect && lines != count {
                return Err(format!("{lines} lines of {count}").into());
            }
            Ok(figure(took, meter.cpu_us(count)))
        })
    };
    let racers = vec![
        us("one group at the root, lines collected", 0, format!("stdout lines\nrun {count} -- date\n"), true),
        us("in the order of ranks", 0, format!("stdout rank\nrun {count} -- date\n"), true),
        us("at a leaf, lines collected", nodes - 1, format!("stdout lines\nrun {count} -- date\n"), true),
        us("statuses only", 0, format!("run {count} -- date\n"), false),
        Racer::new(Who::Floor, "as many spawns, two at a time", || {
            let meter = Meter::start(&[]);
            spawn_loop(&program, count)?;
            Ok(figure(meter.seconds() * 1e3, meter.cpu_us(count)))
        }),
    ];
    let title = format!("{count} × date on {nodes} daemons in a tree of fan-out {FAN}, output collected");
    let mut table = race("members", title, &[("ms", Better::Less)], run.repeats, racers);
    let ratio = table.value("one group at the root", 0) / table.value("as many spawns", 0);
    table.promise("≤ 1.5 × as many spawns", ratio, |x| x <= 1.5);
    table.show(run.smoke)
}
