//! What this machine is and how it does, read from where Linux says it (proc(5)).

mod gpus;

use kernel::{Attr, Gauges};
use op::Usage;
use std::fs::read_to_string;
use std::path::Path;

/// The host's name, without its domain.
pub fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    let short = name.split('.').next().unwrap_or_default();
    let plain: String = short.chars().map(|c| if c == '/' || c.is_control() { '-' } else { c }).collect();
    if plain.is_empty() { "localhost".into() } else { plain }
}

/// What the machine is: attributes that seldom change while the node runs. `state` is the node's state directory; files of the
/// system are below `root`, which is `/` but in tests.
pub(crate) fn attributes(root: &Path, state: &Path) -> Vec<(String, Attr)> {
    let uname = rustix::system::uname();
    let text = |s: &std::ffi::CStr| Attr::Text(s.to_string_lossy().into_owned());
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut gpus = gpus::models(root);
    let count = gpus.len() as u64;
    gpus.dedup();
    let disk = rustix::fs::statvfs(state).map_or(0, |s| s.f_blocks * s.f_frsize);
    let model = (!gpus.is_empty()).then(|| ("gpu", Attr::Text(gpus.join(","))));
    [
        ("arch", text(uname.machine())),
        ("os", Attr::Text("linux".into())),
        ("kernel", text(uname.release())),
        ("cpus", Attr::Int(cpus)),
        ("mem", Attr::Size(meminfo("MemTotal:"))),
        ("disk", Attr::Size(disk)),
        ("gpus", Attr::Int(count)),
        ("pid", Attr::Int(u64::from(std::process::id()))),
        ("version", Attr::Text(env!("CARGO_PKG_VERSION").into())),
    ]
    .into_iter()
    .chain(model)
    .map(|(key, value)| (key.into(), value))
    .collect()
}

/// What changes.
pub(crate) fn gauges(state: &Path) -> Gauges {
    let mut load = [0.0; 3];
    let loadavg = read_to_string("/proc/loadavg").unwrap_or_default();
    for (slot, word) in load.iter_mut().zip(loadavg.split(' ')) {
        *slot = word.parse().unwrap_or(0.0);
    }
    let uptime = read_to_string("/proc/uptime").unwrap_or_default();
    let up_secs = uptime.split('.').next().and_then(|s| s.parse().ok()).unwrap_or(0);
    let disk_free = rustix::fs::statvfs(state).map_or(0, |s| s.f_bavail * s.f_frsize);
    Gauges {
        up_secs,
        users: logged_in(),
        load,
        mem_free: meminfo("MemAvailable:"),
        disk_free,
        own: usage(std::process::id()).map(Box::new),
    }
}

/// What a process has used so far, with the children it has waited for; its resident size now.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name in parentheses, may contain anything.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 2..].split(' ').collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    let micros = 1_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let page_kib = rustix::param::page_size() as u64 / 1024;
    Some(Usage {
        user_us: (ticks(11) + ticks(13)) * micros,
        sys_us: (ticks(12) + ticks(14)) * micros,
        maxrss_kib: ticks(21) * page_kib,
    })
}

fn meminfo(key: &str) -> u64 {
    let text = read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Logins in utmp(5): records of 384 bytes that begin with their type, of which 7 is a user's.
fn logged_in() -> u32 {
    const RECORD: usize = 384;
    let utmp = std::fs::read("/var/run/utmp").unwrap_or_default();
    utmp.chunks_exact(RECORD).filter(|r| r[..2] == 7i16.to_ne_bytes()).count() as u32
}
