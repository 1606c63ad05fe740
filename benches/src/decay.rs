//! What history costs: the launch rate with many ended sessions kept; and what a node costs that does nothing.

use crate::Run;
use crate::cost::{Meter, resident};
use crate::floor::{Program, spawn_loop};
use crate::lanes::{After, Lanes};
use crate::table::{Better, Outcome, Racer, Sample, Who, race};
use crate::world::{Kind, NodeUnderTest, folder, noop, uem};
use std::time::Duration;

/// What there is to measure: the command, or the loop alone where that is not built.
fn kind() -> Kind {
    if uem().is_ok() { Kind::Uem } else { Kind::Solo }
}

/// Launch rate with history, then an idle node.
pub(crate) fn decay(run: &Run) -> Outcome<()> {
    history(run)?;
    idle(run)
}

fn history(run: &Run) -> Outcome<()> {
    let place = folder()?;
    let program = noop(place.path());
    let floor = Program::new(&program, &[])?;
    let (line, kept) =
        (format!("exec {}\n", program.display()), format!("keep\nexec {}\n", program.display()));
    let count = run.count(2_000, 20);
    let marks = if run.smoke { [10, 20, 30] } else { [1_000, 16_000, 256_000] };
    let mut nodes = Vec::new();
    for mark in marks {
        let node = NodeUnderTest::start(kind(), false)?;
        let mut lanes = Lanes::new(node.connect()?)?;
        let before = resident(node.node_pid());
        lanes.run(mark, 4, &kept, After::Keep)?;
        let bytes = resident(node.node_pid()).saturating_sub(before) as f64 / mark as f64;
        nodes.push((mark, node, lanes, bytes));
    }
    let mut racers = vec![Racer::new(Who::Floor, "posix_spawn loop, two at a time", || {
        let meter = Meter::start(&[]);
        spawn_loop(&floor, count)?;
        Ok(Sample { values: vec![count as f64 / meter.seconds(), f64::NAN], cpu_us: meter.cpu_us(count) })
    })];
    for (mark, node, lanes, bytes) in &mut nodes {
        let line = &line;
        racers.push(Racer::new(Who::Us, format!("{mark} ended sessions kept"), move || {
            let meter = Meter::start(&node.pids());
            lanes.run(count, 2, line, After::Free)?;
            Ok(Sample { values: vec![count as f64 / meter.seconds(), *bytes], cpu_us: meter.cpu_us(count) })
        }));
    }
    let columns = [("runs/s", Better::More), ("B of RSS each", Better::Less)];
    let title = format!("{count} launches with history, {:?} nodes", kind());
    let mut table = race("decay", title, &columns, run.repeats, racers);
    let rate = |mark: usize, table: &crate::table::Table| table.value(&format!("{mark} ended"), 0);
    let figure = rate(marks[2], &table) / rate(marks[0], &table);
    table.promise(&format!("rate at {} ≥ 0.9 of that at {}", marks[2], marks[0]), figure, |x| x >= 0.9);
    table.show(run.smoke)
}

fn idle(run: &Run) -> Outcome<()> {
    let seconds = run.count(10, 1) as u64;
    let start = |kind: Kind, name: &'static str| {
        if let (Kind::Uem, Err(why)) = (kind, uem()) {
            return Racer::absent(Who::Us, name, why);
        }
        Racer::new(Who::Us, name, move || {
            let node = NodeUnderTest::start(kind, false)?;
            let pids = node.pids();
            let meter = Meter::start(&pids);
            std::thread::sleep(Duration::from_secs(seconds));
            let cpu_us = meter.others_us(1);
            let megabytes = |pid: u32| resident(pid) as f64 / f64::from(1 << 20);
            let keeper = if pids.len() > 1 { megabytes(pids[0]) } else { f64::NAN };
            Ok(Sample {
                values: vec![node.ready.as_secs_f64() * 1e3, megabytes(node.node_pid()), keeper],
                cpu_us,
            })
        })
    };
    let racers =
        vec![start(Kind::Uem, "uem up --foreground --no-mount"), start(Kind::Solo, "node without a keeper")];
    let columns = [("ready ms", Better::Less), ("node MB", Better::Less), ("keeper MB", Better::Less)];
    let title = format!("a node that does nothing; CPU µs of {seconds} s");
    let mut table = race("decay", title, &columns, run.repeats, racers);
    let (ready, node) = (table.value("uem up", 0), table.value("uem up", 1));
    table.promise("ready ≤ 20 ms", ready, |x| x <= 20.0);
    table.promise("node ≤ 10 MB", node, |x| x <= 10.0);
    table.show(run.smoke)
}
