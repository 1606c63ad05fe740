//! All that came of a program, however it hides, where no control group says it.
//!
//! The family is the program's process tree, and those of the orphans that fell to us (the node and the keeper
//! are child subreapers) whose session number or environment (`UEM_SESSION`) names it. A process that leaves
//! the tree, makes a session of its own *and* clears its environment is not found: only a control group holds
//! such a one. That is the limit of systems on which we may make none.

use rustix::process::{Pid, Signal};
use std::collections::BTreeSet;
use std::fs;

/// One process, as /proc tells of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stat {
    pub(super) state: u8,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    pub(super) start: u64,
    /// Of a zombie: its status as wait(2) packs it.
    pub(super) exit: i32,
}

/// Reads /proc/PID/stat (proc(5)); the name in brackets may hold anything, so what follows its last bracket.
pub(super) fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(text.get(end + 2..)?).ok()?;
    let fields: Vec<&str> = text.trim_end().split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<i64>().ok();
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        parent: i32::try_from(number(1)?).ok()?,
        group: i32::try_from(number(2)?).ok()?,
        session: i32::try_from(number(3)?).ok()?,
        start: u64::try_from(number(19)?).ok()?,
        exit: number(49).and_then(|status| i32::try_from(status).ok()).unwrap_or(0),
    })
}

/// The children of all threads of a process.
pub(super) fn children(pid: i32) -> Vec<i32> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        all.extend(text.split(' ').filter_map(|word| word.parse::<i32>().ok()));
    }
    all
}

/// Whose families these are, and where orphans fall to.
pub(super) struct Kin<'a> {
    /// Node and keeper.
    pub(super) reapers: &'a [i32],
    /// Whether this child of theirs is a program that was started, or one of them: no orphan.
    pub(super) is_known: &'a dyn Fn(i32) -> bool,
}

impl Kin<'_> {
    /// The orphans that fell to node and keeper.
    pub(super) fn orphans(&self) -> Vec<i32> {
        let fallen = self.reapers.iter().flat_map(|reaper| children(*reaper));
        fallen.filter(|pid| !(self.is_known)(*pid)).collect()
    }

    /// The living family of a program, itself included; `tag` is what its environment says.
    pub(super) fn family(&self, program: i32, alive: bool, tag: &str) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        let mut ahead: Vec<i32> = if alive { vec![program] } else { Vec::new() };
        ahead.extend(self.orphans().into_iter().filter(|orphan| belongs(*orphan, program, tag)));
        while let Some(pid) = ahead.pop() {
            if found.insert(pid) {
                ahead.extend(children(pid));
            }
        }
        found
    }
}

/// Whether an orphan came of this program.
pub(super) fn belongs(orphan: i32, program: i32, tag: &str) -> bool {
    stat(orphan).is_some_and(|stat| stat.session == program) || tag_of(orphan).as_deref() == Some(tag)
}

/// What the environment of a process says of its session.
pub(super) fn tag_of(pid: i32) -> Option<String> {
    let text = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mark = format!("{}=", crate::keeper::SESSION);
    let tag = text.split(|byte| *byte == 0).find_map(|line| line.strip_prefix(mark.as_bytes()))?;
    Some(String::from_utf8_lossy(tag).into_owned())
}

/// A process and all that came of it, as far as nobody has left it.
pub(super) fn tree(root: i32) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut ahead = vec![root];
    while let Some(pid) = ahead.pop() {
        if found.insert(pid) {
            ahead.extend(children(pid));
        }
    }
    found
}

/// Kills all that came of a process or fell to it, but not itself: nobody can leave the tree of a child subreaper. What is forked
/// meanwhile, or falls to it when its parent dies, is there when this is called again; false when there was nothing.
pub(crate) fn kill_below(reaper: i32) -> bool {
    let mut below = tree(reaper);
    below.remove(&reaper);
    below.iter().for_each(|pid| kill(*pid, libc::SIGKILL));
    !below.is_empty()
}

/// Sends a signal to one process; it may be gone.
pub(super) fn kill(pid: i32, signal: i32) {
    send(pid, signal, false);
}

/// Sends a signal to a process group.
pub(super) fn kill_group(group: i32, signal: i32) {
    send(group, signal, true);
}

fn send(number: i32, signal: i32, group: bool) {
    // Never 0, 1 or -1: those mean many more than one.
    let Some(pid) = Pid::from_raw(number).filter(|_| number > 1) else { return };
    let Some(signal) = (1..=64).contains(&signal).then(|| {
        // SAFETY: a number that the kernel knows as a signal.
        unsafe { Signal::from_raw_unchecked(signal) }
    }) else {
        return;
    };
    let _is_gone = if group {
        rustix::process::kill_process_group(pid, signal)
    } else {
        rustix::process::kill_process(pid, signal)
    };
}
