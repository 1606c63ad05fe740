//! What a share is told: how its members are to be run, which ranks are where; and the lines of `wait`, written and read.

use super::{End, Group, line_of, share::Line};
use crate::{
    Kernel,
    ranks::RankSet,
    record::{Format, Record},
    session::{Session, how_word},
    show::{add_exit, secs},
    words::{digits, hundredths},
};
use alloc::{collections::BTreeMap, format, string::ToString, sync::Arc, vec::Vec};
use core::time::Duration;
use op::{How, SessionId, Usage, format_size, parse_size};

/// The lines that make a session elsewhere like a group here.
pub(super) struct Setup {
    pub(super) lines: Vec<u8>,
    /// One of them may have to wait for a user to be looked up.
    pub(super) as_user: bool,
}

/// Everything that a member inherits from its group: a line each. What a session can be told before `exec` has its line here.
pub(super) fn setup_lines(k: &Kernel, session: &Session) -> Setup {
    let mut lines: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut say = |words: &[&[u8]]| lines.push(words.iter().map(|w| w.to_vec()).collect());
    // Nobody would find one that is kept and whose number was never heard: `keep` is said when that is known.
    say(&[b"killonclose"]);
    say(&[b"lease", format!("{}ms", session.life.lease.as_millis()).as_bytes()]);
    match k.time_left(session) {
        Some(left) => say(&[b"until", left.as_bytes()]),
        None => say(&[b"until"]),
    }
    for (key, value) in &session.tags {
        say(&[b"tag", format!("{key}={value}").as_bytes()]);
    }
    let mut as_user = false;
    if let Some(setup) = session.live.as_ref().map(|live| &live.setup) {
        if setup.user.uid != session.owner {
            as_user = true;
            say(&[b"user", k.user(setup.user.uid).name.as_bytes()]);
        }
        if let Some(dir) = &setup.dir {
            say(&[b"dir", dir]);
        }
        if setup.nice != 0 {
            say(&[b"nice", setup.nice.to_string().as_bytes()]);
        }
        if let Some(size) = setup.tty {
            say(&[b"tty", size.rows.to_string().as_bytes(), size.cols.to_string().as_bytes()]);
        }
        for variable in crate::edit::variables(&setup.env) {
            say(&[b"env", variable]);
        }
        for line in crate::store::lines(&setup.ns).unwrap_or_default() {
            let words = line.words();
            say(&[&[&b"ns"[..]], &words.iter().map(Vec::as_slice).collect::<Vec<_>>()[..]].concat());
        }
        for word in crate::acts::limit_words(&setup.limits) {
            say(&[b"limit", word.as_bytes()]);
        }
    }
    if session.live.as_ref().is_some_and(|live| live.roll) {
        say(&[b"roll"]);
    }
    let flow = match &session.flow {
        Some(flow) => flow.share_lines(),
        None => crate::flow::Flow::default().share_lines(),
    };
    let lines = lines.iter().flat_map(|words| [line_of(words), b"\n".to_vec()].concat());
    let lines = lines.chain(flow.into_iter().flat_map(|line| [line, b"\n".to_vec()].concat())).collect();
    Setup { lines, as_user }
}

impl Group {
    /// `member size=N … RANKS NODE … [-- prog arg…]`.
    pub(super) fn member_line(&self, who: &[(Arc<str>, RankSet)]) -> Vec<u8> {
        let mut words = alloc::vec![b"member".to_vec(), format!("size={}", self.size).into_bytes()];
        let mut said = 0;
        for (node, ranks) in who {
            // Ranks that were made before are told with how often.
            let mut by_try: BTreeMap<u32, RankSet> = BTreeMap::new();
            if self.tries.is_empty() {
                by_try.insert(0, ranks.clone());
            } else {
                for rank in ranks.iter() {
                    by_try.entry(self.again(rank)).or_default().insert(rank);
                }
            }
            for (again, ranks) in by_try {
                if again != said {
                    words.push(format!("again={again}").into_bytes());
                    said = again;
                }
                words.extend([ranks.to_string().into_bytes(), node.as_bytes().to_vec()]);
            }
        }
        if self.runs {
            words.push(b"--".to_vec());
            words.extend(self.words.iter().cloned());
        }
        line_of(&words)
    }
}

impl Kernel {
    /// A share that was cut off is told again whom it is to have: what it has already it leaves as it is. Not by a group that is cut off
    /// itself, since where its machine has started again nobody knows for how long: what is made may be counted as lost above already.
    pub(super) fn tell_again(&mut self, id: SessionId, no: u64) {
        self.free_leaving(id, no, None);
        if self.is_cut_off(id) {
            return;
        }
        let Some(group) = self.group(id) else { return };
        let Some(share) = group.shares.get(&no) else { return };
        let ranks = group.active.intersection(&share.ranks);
        let mut by_node: BTreeMap<Arc<str>, RankSet> = BTreeMap::new();
        for rank in ranks.iter() {
            if let Some(node) = group.placed.get(&rank) {
                // One that has left with the share's node is not known here any more; there it is.
                let name = self.node_name(*node).unwrap_or_else(|| node.to_string().into());
                by_node.entry(name).or_default().insert(rank);
            }
        }
        if by_node.is_empty() {
            return;
        }
        let line = group.member_line(&by_node.into_iter().collect::<Vec<_>>());
        let replaced = group.replacing.intersection(&ranks);
        self.tell_share(id, no, line, Line::PLAIN);
        // They are to end before they are made anew, and it may not have heard of it.
        if !replaced.is_empty() {
            self.tell_share(id, no, format!("@{replaced} try kill").into_bytes(), Line::PLAIN);
        }
    }

    /// What a node is called here.
    pub(super) fn node_name(&self, id: op::NodeId) -> Option<Arc<str>> {
        if id == self.node.id {
            return Some(self.node.name.clone());
        }
        self.node_no(id).and_then(|no| self.cloud.known(no)).map(|known| known.name.clone())
    }
}

impl End {
    /// Its line of `wait` in a group.
    pub(crate) fn write(&self, format: Format, out: &mut Vec<u8>) {
        self.line(true, format, out);
    }

    /// A line of `wait`; with its rank, if it was a member.
    pub(crate) fn line(&self, member: bool, format: Format, out: &mut Vec<u8>) {
        if format == Format::Text {
            return self.text(member, out);
        }
        let (usage, real) = (&self.usage, self.real.as_secs_f64());
        let (user, sys) = (secs(usage.user_us), secs(usage.sys_us));
        let mut r = Record::default();
        r.text("path", &*self.path).int("pid", self.pid.into());
        add_exit(&mut r, self.how);
        r.real("user", user).real("sys", sys).real("real", real).size("maxrss", usage.maxrss_kib << 10);
        if member {
            r.int("rank", self.rank.into());
        }
        if self.again > 0 {
            r.int("again", self.again.into());
        }
        r.write("wait", format, out);
    }

    /// Written without `format!`: of a big group there are as many as it has members.
    fn text(&self, member: bool, out: &mut Vec<u8>) {
        let usage = &self.usage;
        out.extend_from_slice(self.path.as_bytes());
        out.push(b' ');
        digits(self.pid.into(), out);
        match self.how {
            How::Code(code) => number(" exit=", code.into(), out),
            how => out.extend([b" ", how_word(how).as_bytes()].concat()),
        }
        let real = self.real.as_micros().try_into().unwrap_or(u64::MAX);
        for (key, micros) in [(" user=", usage.user_us), (" sys=", usage.sys_us), (" real=", real)] {
            out.extend_from_slice(key.as_bytes());
            hundredths(micros, out);
        }
        match usage.maxrss_kib {
            0 => out.extend_from_slice(b" maxrss=0"),
            kib => out.extend([b" maxrss=", format_size(kib << 10).as_bytes()].concat()),
        }
        if member {
            number(" rank=", self.rank.into(), out);
        }
        if self.again > 0 {
            number(" again=", self.again.into(), out);
        }
        if self.untold {
            out.extend_from_slice(b" untold=1");
        }
        out.push(b'\n');
    }
}

fn number(key: &str, value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    digits(value, out);
}

/// A line of a group's `wait`, understood; `None` if it is none.
pub(super) fn read_end(line: &str) -> Option<End> {
    let mut words = line.split(' ');
    let (path, pid, how) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let how = match how.split_once('=')? {
        ("exit", code) => How::Code(code.parse().ok()?),
        ("signal", signal) => How::Signal(signal.parse().ok()?),
        ("lost", _) => How::Lost,
        _ => return None,
    };
    let mut end = End {
        rank: u32::MAX,
        again: 0,
        path: path.into(),
        untold: false,
        pid,
        how,
        usage: Usage::default(),
        real: Duration::ZERO,
    };
    for word in words {
        let (key, value) = word.split_once('=')?;
        let micros = || Some((value.parse::<f64>().ok().filter(|s| (0.0..1e12).contains(s))? * 1e6) as u64);
        match key {
            "user" => end.usage.user_us = micros()?,
            "sys" => end.usage.sys_us = micros()?,
            "real" => end.real = Duration::from_micros(micros()?),
            "maxrss" => end.usage.maxrss_kib = parse_size(value)? >> 10,
            "rank" => end.rank = value.parse().ok()?,
            "again" => end.again = value.parse().ok()?,
            "untold" => end.untold = true,
            _ => {}
        }
    }
    (end.rank != u32::MAX).then_some(end)
}

/// Where ranks wait that were not made: a line in `status`.
pub(super) fn queued_line(ranks: &RankSet, why: &str, format: Format, out: &mut Vec<u8>) {
    if ranks.is_empty() {
        return;
    }
    if format == Format::Text {
        return out.extend(format!("- queued {ranks} {why}\n").bytes());
    }
    let mut r = Record::default();
    r.text("path", "-").text("state", "queued").text("ranks", ranks.to_string()).text("why", why);
    r.write("session", format, out);
}
