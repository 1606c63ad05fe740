//! Who is busy still answers: how long a look at all nodes takes while ten thousand members of a group start and end.

use crate::cloud::{Cloud, text};
use crate::cost::Meter;
use crate::floor::{Program, spawn_loop};
use crate::table::{Better, Outcome, Racer, Sample, Who, quantile, race};
use crate::world::{folder, role, wait_until};
use crate::{Run, members};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const NODES: usize = 8;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks again and again while `work` goes on beside it. Milliseconds: p50, p99, the longest.
fn looks(
    pids: &[u32],
    mut look: impl FnMut() -> Outcome<()>,
    work: impl FnOnce() -> Result<(), String> + Send,
) -> Outcome<Sample> {
    let over = AtomicBool::new(false);
    let meter = Meter::start(pids);
    let mut took = Vec::new();
    std::thread::scope(|scope| -> Outcome<()> {
        let worker = scope.spawn(|| {
            let done = work();
            over.store(true, Ordering::Release);
            done
        });
        let mut looked = Ok(());
        while looked.is_ok() && !over.load(Ordering::Acquire) {
            let begun = Instant::now();
            looked = look();
            took.push(begun.elapsed().as_secs_f64() * 1e3);
            std::thread::sleep(PAUSE);
        }
        worker.join().map_err(|_| "the work panicked")??;
        looked
    })?;
    let values = [0.5, 0.99, 1.0].map(|part| quantile(&took, part)).to_vec();
    Ok(Sample { values, cpu_us: meter.cpu_us(took.len().max(1)) })
}

fn us<'a>(name: &str, cloud: &'a Cloud, at: usize, members: usize) -> Racer<'a> {
    Racer::new(Who::Us, name, move || {
        let mut eye = cloud.connect(at)?;
        let mut hand = cloud.connect(0)?;
        members::group(&mut hand, "run each -- true\n", false)?;
        let look = || match text(&mut eye, "status")?.lines().count() {
            NODES => Ok(()),
            rows => Err(format!("status has {rows} rows").into()),
        };
        let work = move || match members {
            0 => {
                std::thread::sleep(Duration::from_secs(2));
                Ok(())
            }
            count => {
                let line = format!("run {count} width=64 -- true\n");
                let over = members::group(&mut hand, &line, false).map_err(|error| error.to_string())?;
                match over.worked == count {
                    true => Ok(()),
                    false => Err(format!("{} of {count} worked", over.worked)),
                }
            }
        };
        looks(&cloud.pids(), look, work)
    })
}

/// One byte to and fro with a process that does nothing else, beside as many spawns.
fn echo<'a>(count: usize) -> Racer<'a> {
    Racer::new(Who::Floor, "a byte to and fro beside as many spawns", move || {
        let program = Program::new(&crate::peers::find("true").ok_or("there is no true")?, &[])?;
        let folder = folder()?;
        let socket = folder.path().join("echo");
        let server = role(&["role-echo".as_ref(), socket.as_os_str(), OsStr::new("1"), OsStr::new("1")])?;
        wait_until("the echo server", || UnixStream::connect(&socket).is_ok())?;
        let mut stream = UnixStream::connect(&socket)?;
        let look = || {
            stream.write_all(b"x")?;
            Ok(stream.read_exact(&mut [0])?)
        };
        looks(&[server.pid()], look, || spawn_loop(&program, count).map_err(|error| error.to_string()))
    })
}

/// `status` during a storm.
pub(crate) fn deaf(run: &Run) -> Outcome<()> {
    let count = run.count(10_000, 40);
    let cloud = Cloud::of_daemons(NODES, NODES)?;
    let racers = vec![
        us("status at the root, members starting", &cloud, 0, count),
        us("status at a leaf, members starting", &cloud, NODES - 1, count),
        us("status at the root, nothing else", &cloud, 0, 0),
        echo(count),
    ];
    let columns = [("p50 ms", Better::Less), ("p99 ms", Better::Less), ("max ms", Better::Less)];
    let title = format!("status of {NODES} daemons while {count} members of one group start");
    let mut table = race("deaf", title, &columns, run.repeats, racers);
    let figure = table.value("status at the root, members", 1);
    table.promise("≤ 50 ms at the root (p99)", figure, |x| x <= 50.0);
    table.show(run.smoke)
}
