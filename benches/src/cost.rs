//! What a run costs: wall time, and CPU time of this process, the children it has waited for, and processes that
//! live on (with the children that they have waited for), as getrusage(2) and proc(5) tell.

use std::time::{Duration, Instant};

/// Begun before the work, ended after it.
pub(crate) struct Meter {
    begun: Instant,
    own: Duration,
    others: Vec<(u32, Duration)>,
}

impl Meter {
    /// Counts this process and `others`.
    pub(crate) fn start(others: &[u32]) -> Meter {
        let others = others.iter().map(|pid| (*pid, of(*pid))).collect();
        Meter { own: own(), others, begun: Instant::now() }
    }

    /// Seconds so far.
    pub(crate) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Microseconds of CPU so far, for each of `count` pieces of work.
    pub(crate) fn cpu_us(&self, count: usize) -> f64 {
        let own = own().saturating_sub(self.own);
        let others: Duration = self.others.iter().map(|(pid, was)| of(*pid).saturating_sub(*was)).sum();
        (own + others).as_secs_f64() * 1e6 / count as f64
    }

    /// The same of the others alone.
    pub(crate) fn others_us(&self, count: usize) -> f64 {
        let others: Duration = self.others.iter().map(|(pid, was)| of(*pid).saturating_sub(*was)).sum();
        others.as_secs_f64() * 1e6 / count as f64
    }
}

fn own() -> Duration {
    let of = |who| {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: fills one rusage, which is zeroed before.
        let usage = unsafe {
            libc::getrusage(who, usage.as_mut_ptr());
            usage.assume_init()
        };
        let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
        time(usage.ru_utime) + time(usage.ru_stime)
    };
    of(libc::RUSAGE_SELF) + of(libc::RUSAGE_CHILDREN)
}

/// In ticks of 10 ms, which is fine for runs of a second.
fn of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 = (11..15).filter_map(|at| fields.get(at)?.parse::<u64>().ok()).sum();
    Duration::from_micros(ticks * 1_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

/// Resident bytes of a process.
pub(crate) fn resident(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// A process and all that came of it and still lives.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (child, parent)));
    }
    let mut all = vec![pid];
    let mut at = 0;
    while at < all.len() {
        let now = all[at];
        all.extend(parents.iter().filter(|(_, parent)| *parent == now).map(|(child, _)| *child));
        at += 1;
    }
    all
}
