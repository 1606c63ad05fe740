//! Control groups: made for a session only when a limit or a freeze needs one, where we may make them.
//!
//! Limits are kept by version 2 if its controllers are delegated to us, else by the version 1 hierarchies of
//! memory, pids and cpu; freezing and killing by version 2 wherever it is mounted, else by the version 1
//! freezer. Each group stands below the node's own, so that the node's own limits hold for all.
//! (cgroups(7), Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.)

use op::{Limits, SessionId};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The hierarchies that this machine has and lets us use.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    /// `uem-NODE-` and digits of its state directory: two nodes of one name on a machine have groups of their own.
    name: String,
    searched: bool,
    v2: Option<PathBuf>,
    /// Version 2 keeps limits, not only freezes and kills.
    v2_limits: bool,
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
    cpu: Option<PathBuf>,
    freezer: Option<PathBuf>,
    /// This process is in `cpu` itself, and with it the programs.
    joined: bool,
    /// Directories that were still busy when their session was freed.
    leftover: Vec<PathBuf>,
}

/// A session's groups.
#[derive(Debug, Default)]
pub(super) struct Group {
    v2: Option<PathBuf>,
    freezer: Option<PathBuf>,
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
    cpu: Option<PathBuf>,
    v2_limits: bool,
}

/// Which limits a group keeps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    pub(super) cpu: bool,
    pub(super) mem: bool,
    pub(super) pids: bool,
    pub(super) by: &'static str,
}

impl Cgroups {
    pub(super) fn new(node: &str, state: &Path) -> Cgroups {
        let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let state = fs::canonicalize(state).unwrap_or_else(|_| state.to_owned());
        let mut cgroups = Cgroups::default();
        let node: String = node.chars().map(safe).collect();
        cgroups.name = format!("uem-{node}-{:08x}", digits(state.as_os_str().as_encoded_bytes()));
        cgroups
    }

    /// Takes this process, and so all that it will start, into one group for the processor, where programs would
    /// else each be put into one by the kernel: with autogroups (sched(7)) on, setsid(2) makes a group of the
    /// scheduler for what is in none. A program that starts is then a newcomer that waits its turn behind all
    /// that the machine does, and its starter with it: on two busy processors 900 programs were started a second,
    /// and 3,200 in one group. The group weighs as many sessions as there are processors.
    ///
    /// Only the calling thread goes, by `tasks`, and it must be the only one: `cgroup.procs` would wait for a grace
    /// period of the whole machine (10 ms, half of what a node's start may take).
    ///
    /// Done where the cpu hierarchy is version 1, ours to write, and we are at its root. Elsewhere a service has
    /// a group already (systemd, containers), or none can be made.
    pub(super) fn settle_in(&mut self) {
        let autogroup = fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled").unwrap_or_default();
        if autogroup.trim() != "1" {
            return;
        }
        self.search();
        let Some(base) = self.cpu.as_ref().filter(|base| base.parent().is_some_and(is_root)) else { return };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        self.joined = fs::create_dir_all(base).is_ok()
            && fs::write(base.join("cpu.shares"), (1024 * processors).to_string()).is_ok()
            && fs::write(base.join("tasks"), "0").is_ok();
    }

    /// The contrary, at the end; programs that stay keep the group.
    pub(super) fn leave(&mut self) {
        if let (true, Some(base)) = (std::mem::take(&mut self.joined), &self.cpu) {
            let _stays = base.parent().map(|root| fs::write(root.join("tasks"), "0"));
            let _still_used = fs::remove_dir(base);
        }
    }

    /// A group that keeps as much of these limits as can be.
    pub(super) fn for_limits(&mut self, session: SessionId, limits: &Limits) -> (Group, Kept) {
        self.search();
        let mut group = Group::default();
        if self.v2_limits {
            group.v2 = make(self.v2.as_deref(), session);
            group.v2_limits = group.v2.is_some();
        }
        if !group.v2_limits {
            group.memory = limits.mem.and_then(|_| make(self.memory.as_deref(), session));
            group.pids = limits.pids.and_then(|_| make(self.pids.as_deref(), session));
            group.cpu = limits.cpu.and_then(|_| make(self.cpu.as_deref(), session));
        }
        let kept = group.limit(limits);
        (group, kept)
    }

    /// A group that can be frozen, made now for a session whose processes the caller moves into it.
    pub(super) fn for_freeze(&mut self, session: SessionId, group: &mut Group) {
        self.search();
        if group.v2.is_none() {
            group.v2 = make(self.v2.as_deref(), session).filter(|dir| dir.join("cgroup.freeze").exists());
        }
        if group.v2.is_none() && group.freezer.is_none() {
            group.freezer = make(self.freezer.as_deref(), session);
        }
    }

    /// The groups that an earlier node made for this session.
    pub(super) fn again(&mut self, session: SessionId) -> Option<Group> {
        self.search();
        let there = |base: &Option<PathBuf>| {
            base.as_ref().map(|base| base.join(session.0.to_string())).filter(|dir| dir.exists())
        };
        let (v2, freezer) = (there(&self.v2), there(&self.freezer));
        let (memory, pids, cpu) = (there(&self.memory), there(&self.pids), there(&self.cpu));
        let group = Group { v2_limits: self.v2_limits && v2.is_some(), v2, freezer, memory, pids, cpu };
        (!group.is_empty()).then_some(group)
    }

    /// Removes a session's groups, now or when the last process is gone.
    pub(super) fn remove(&mut self, group: &Group) {
        self.leftover.extend(group.dirs().map(Path::to_owned));
        self.tidy();
    }

    /// Tries again to remove what was busy; whether something is left.
    pub(super) fn tidy(&mut self) -> bool {
        self.leftover
            .retain(|dir| fs::remove_dir(dir).is_err_and(|error| error.kind() != io::ErrorKind::NotFound));
        !self.leftover.is_empty()
    }

    /// Removes the groups of sessions that nobody knows, with all that runs in them.
    pub(super) fn clear(&mut self, known: impl Fn(SessionId) -> bool) {
        // Without a directory of our own there is nothing to clear, and no need to look for the mounts.
        self.search();
        let bases = [&self.v2, &self.memory, &self.pids, &self.cpu, &self.freezer].map(Clone::clone);
        for base in bases.iter().flatten() {
            for entry in fs::read_dir(base).into_iter().flatten().flatten() {
                let id = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(SessionId);
                if id.is_some_and(|id| !known(id)) {
                    let dir = entry.path();
                    let _not_version_2 = fs::write(dir.join("cgroup.kill"), "1");
                    let _not_a_freezer = fs::write(dir.join("freezer.state"), "THAWED");
                    for pid in pids(&dir) {
                        super::family::kill(pid, libc::SIGKILL);
                    }
                    self.leftover.push(dir);
                }
            }
        }
        self.tidy();
    }

    /// Finds the hierarchies, once.
    fn search(&mut self) {
        if std::mem::replace(&mut self.searched, true) {
            return;
        }
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for line in own.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let Some(dir) = mounted(&mounts, controllers, path) else { continue };
            let base = dir.join(&self.name);
            let has = |name: &str| controllers.split(',').any(|one| one == name);
            if controllers.is_empty() {
                // Fails unless the controllers are delegated to us and we are not among the group's processes.
                self.v2_limits = fs::write(dir.join("cgroup.subtree_control"), "+cpu +memory +pids").is_ok()
                    && fs::create_dir_all(&base).is_ok()
                    && fs::write(base.join("cgroup.subtree_control"), "+cpu +memory +pids").is_ok();
                self.v2 = Some(base);
            } else if has("memory") {
                self.memory = Some(base);
            } else if has("pids") {
                self.pids = Some(base);
            } else if has("cpu") {
                self.cpu = Some(base);
            } else if has("freezer") {
                self.freezer = Some(base);
            }
        }
    }
}

/// The same for the same bytes, in every life of a node: FNV-1a of 32 bits (Fowler, Noll, Vo).
fn digits(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.leave();
        for base in [&self.v2, &self.memory, &self.pids, &self.cpu, &self.freezer].into_iter().flatten() {
            let _still_used = fs::remove_dir(base);
        }
    }
}

impl Group {
    fn dirs(&self) -> impl Iterator<Item = &Path> {
        [&self.v2, &self.freezer, &self.memory, &self.pids, &self.cpu]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }

    /// No hierarchy has it.
    pub(super) fn is_empty(&self) -> bool {
        self.dirs().next().is_none()
    }

    /// The files through which a process joins.
    pub(super) fn doors(&self) -> io::Result<Vec<fs::File>> {
        self.dirs().map(|dir| fs::OpenOptions::new().write(true).open(dir.join("cgroup.procs"))).collect()
    }

    /// Moves a process into all of them.
    pub(super) fn join(&self, pid: i32) {
        for dir in self.dirs() {
            let _is_gone = fs::write(dir.join("cgroup.procs"), pid.to_string());
        }
    }

    /// The processes in it.
    pub(super) fn pids(&self) -> Vec<i32> {
        self.dirs().next().map(pids).unwrap_or_default()
    }

    /// Sets limits; says which are now kept.
    pub(super) fn limit(&self, limits: &Limits) -> Kept {
        let number = |n: Option<u64>, none: &str| n.map_or(none.to_owned(), |n| n.to_string());
        let put = |dir: &Option<PathBuf>, file: &str, text: String| {
            dir.as_ref().is_some_and(|dir| fs::write(dir.join(file), text).is_ok())
        };
        if self.v2_limits {
            let cpu = limits.cpu.map_or("max 100000".to_owned(), |milli| format!("{} 100000", quota(milli)));
            return Kept {
                mem: put(&self.v2, "memory.max", number(limits.mem, "max")),
                pids: put(&self.v2, "pids.max", number(limits.pids, "max")),
                cpu: put(&self.v2, "cpu.max", cpu),
                by: "cgroup2",
            };
        }
        // With swap the limit must never be below that without: set before where it grows, after where it shrinks.
        let with_swap = || put(&self.memory, "memory.memsw.limit_in_bytes", number(limits.mem, "-1"));
        let _shrinks = with_swap();
        let kept = Kept {
            mem: put(&self.memory, "memory.limit_in_bytes", number(limits.mem, "-1")),
            pids: put(&self.pids, "pids.max", number(limits.pids, "max")),
            cpu: put(&self.cpu, "cpu.cfs_quota_us", limits.cpu.map_or("-1".into(), |m| quota(m).to_string())),
            by: "cgroup1",
        };
        let _no_swap_accounting = with_swap();
        kept
    }

    /// Stops or lets go all that is in it; `false` if it cannot.
    pub(super) fn freeze(&self, on: bool) -> bool {
        if let Some(dir) = &self.v2 {
            return fs::write(dir.join("cgroup.freeze"), if on { "1" } else { "0" }).is_ok();
        }
        let Some(dir) = &self.freezer else { return false };
        fs::write(dir.join("freezer.state"), if on { "FROZEN" } else { "THAWED" }).is_ok()
    }

    /// Kills all that is in it at once, where the kernel can (version 2, Linux 5.14).
    pub(super) fn kill(&self) {
        if let Some(dir) = &self.v2 {
            let _older_kernel = fs::write(dir.join("cgroup.kill"), "1");
        }
    }
}

/// Whether this directory is the root of a version 1 hierarchy: only there is this file.
fn is_root(dir: &Path) -> bool {
    dir.join("release_agent").exists()
}

/// Microseconds of 100 ms.
fn quota(milli: u32) -> u64 {
    (u64::from(milli) * 100).max(1000)
}

fn make(base: Option<&Path>, session: SessionId) -> Option<PathBuf> {
    let dir = base?.join(session.0.to_string());
    fs::create_dir_all(&dir).ok()?;
    Some(dir)
}

fn pids(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Where the group `path` of these controllers (none: version 2) is in the file system: proc(5), mountinfo.
fn mounted(mounts: &str, controllers: &str, path: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let fits = match controllers {
            "" => kind == "cgroup2",
            some => kind == "cgroup" && some.split(',').all(|one| options.split(',').any(|it| it == one)),
        };
        let inside = path.strip_prefix(root.trim_end_matches('/'))?;
        fits.then(|| Path::new(point).join(inside.trim_start_matches('/')))
    })
}
