//! What a node costs that has children and nothing to do.

use crate::Run;
use crate::cloud::Cloud;
use crate::cost::{Meter, resident};
use crate::table::{Better, Outcome, Racer, Sample, Who, race};
use crate::world::uem;
use std::time::Duration;

/// An idle root with 0, 1, 10 and 100 children.
pub(crate) fn idle(run: &Run) -> Outcome<()> {
    let seconds = run.count(10, 1) as u64;
    let counts: &[usize] = if run.smoke { &[0, 3] } else { &[0, 1, 10, 100] };
    uem()?;
    let racers = counts
        .iter()
        .map(|&children| {
            Racer::new(Who::Us, format!("{children} children"), move || {
                // All of them children of the root.
                let cloud = Cloud::of_threads(children + 1, children.max(1))?;
                let pids = cloud.root_pids();
                let (keeper, node) = (pids[0], *pids.get(1).ok_or("there is no node below its keeper")?);
                let meter = Meter::start(&[node]);
                std::thread::sleep(Duration::from_secs(seconds));
                let cpu_us = meter.others_us(1);
                let megabytes = |pid: u32| resident(pid) as f64 / f64::from(1 << 20);
                let descriptors = std::fs::read_dir(format!("/proc/{node}/fd"))?.count() as f64;
                let percent = cpu_us / (seconds as f64 * 1e4);
                Ok(Sample { values: vec![megabytes(node), megabytes(keeper), percent, descriptors], cpu_us })
            })
        })
        .collect();
    let columns = [
        ("node MB", Better::Less),
        ("keeper MB", Better::Less),
        ("CPU %", Better::Less),
        ("descriptors", Better::Less),
    ];
    let title = format!("a root that does nothing, with children linked over TLS, for {seconds} s");
    let mut table = race("idle", title, &columns, run.repeats.min(3), racers);
    let megabytes = table.value("100 children", 0);
    table.promise("node with 100 children ≤ 10 MB", megabytes, |x| x <= 10.0);
    table.show(run.smoke)
}
