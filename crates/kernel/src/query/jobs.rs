//! `logical/<user>/<job>/<rank>`: sessions by owner and job. A directory there is a query under another path; what is
//! listed in it, who has the sessions must be asked for.
//!
//! ```text
//!   logical             user~*               a directory a user
//!   logical/me          user==me             a directory a job; `-` has those without one
//!   logical/me/nightly  user==me/job==nightly   a link a session: its rank, or rank.node.id
//! ```

use super::{Query, Set, natural};
use crate::{
    ClientId, Kernel, Who, files,
    gather::Parts,
    limits,
    park::On,
    place::{Link, Place, Subject},
    record::Format,
    session::Session,
    show,
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use op::{Errno, Error, Fid, Result, Tag};

/// The job of sessions that have none.
const NO_JOB: &str = "-";

/// Who asks for what a walk must know; its fids are looks.
pub(crate) const LOOKS: ClientId = ClientId(u64::MAX);

/// A set that a walk looked into, and what it waits for, if it still does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    set: u32,
    waits: Option<Fid>,
}

impl Look {
    pub(crate) fn waits_for(&self, look: Fid) -> bool {
        self.waits == Some(look)
    }
}

/// One entry of a directory.
pub(super) struct Listed {
    /// What it stands for: a user, a job, `node/id`.
    pub(super) leaf: Arc<str>,
    /// What it is listed as.
    pub(super) name: Arc<str>,
    /// What else leads there.
    pub(super) also: Option<Arc<str>>,
}

/// Whether a job can be called so: the name is that of a directory.
pub(crate) fn job_name(name: &str) -> Result<()> {
    let file = files::find(Subject::Set(super::LOGICAL), name).is_some();
    let plain = !name.contains(|c: char| c == '/' || c == '|' || c.is_control());
    if plain && !file && !matches!(name, "" | "." | ".." | "...") && name.len() <= limits::NAME {
        return Ok(());
    }
    let cause = format!(
        "job={name:?}: a job's name is that of a directory in logical/: no / or | in it, not empty, and not a file's like status"
    );
    Err(Error::new(Errno::INVAL, cause))
}

impl Session {
    /// The job that it belongs to.
    pub(crate) fn job(&self) -> &str {
        let tag = self.tags.iter().find(|(key, _)| key == "job").map(|(_, job)| job.as_str());
        tag.filter(|job| job_name(job).is_ok()).unwrap_or(NO_JOB)
    }

    pub(crate) fn rank(&self) -> u32 {
        self.member_of.map_or(0, |(_, rank)| rank)
    }
}

impl Set {
    /// The set that a path of `logical/` is.
    pub(crate) fn logical(path: &str) -> Set {
        let keys = ["user", "job"].into_iter().zip(path.split('/'));
        let terms = keys.map(|(key, value)| match value {
            "" => format!("{key}~*"),
            value => format!("{key}=={value}"),
        });
        let query = terms.fold(Query::default(), |query, term| query.with(&term).unwrap_or(query));
        Set::Logical(path.into(), Arc::new(query))
    }
}

/// What is in a directory of `logical/`, of what was told of its sessions: lines `rank node/id user job`.
pub(super) fn listed(path: &str, told: &str) -> Vec<Listed> {
    let lines = told.lines().map(|line| line.splitn(4, ' ').collect::<Vec<_>>());
    let mut rows: Vec<Vec<&str>> = lines.filter(|row| row.len() == 4).collect();
    let column = match path.split('/').filter(|name| !name.is_empty()).count() {
        0 => 2,
        1 => 3,
        _ => {
            rows.sort_by(|a, b| natural(a[1], b[1]));
            let mut ranks: BTreeMap<&str, usize> = BTreeMap::new();
            rows.iter().for_each(|row| *ranks.entry(row[0]).or_default() += 1);
            let entry = |row: &Vec<&str>| {
                let long: Arc<str> = long_name(row[0], row[1]).into();
                let (name, also) = match ranks[row[0]] {
                    1 => (row[0].into(), Some(long)),
                    _ => (long, None),
                };
                Listed { leaf: row[1].into(), name, also }
            };
            return rows.iter().map(entry).collect();
        }
    };
    let names: BTreeSet<&str> = rows.iter().map(|row| row[column]).collect();
    names.into_iter().map(|name| Listed { leaf: name.into(), name: name.into(), also: None }).collect()
}

/// What a session is called in its job's directory, however many of its rank there are.
fn long_name(rank: &str, leaf: &str) -> String {
    format!("{rank}.{}", leaf.replace('/', "."))
}

impl Kernel {
    /// Where a session stands in `logical/`: names from the root.
    pub(crate) fn logical_path(&self, s: &Session) -> Vec<String> {
        let leaf = format!("{}/{}", self.node.name, s.id.0);
        let user = String::from(&*self.user(s.owner).name);
        alloc::vec!["logical".into(), user, s.job().into(), long_name(&s.rank().to_string(), &leaf)]
    }

    /// What has a name in a directory of `logical/`, as it was last looked into.
    pub(crate) fn step_in_logical(&mut self, no: u32, path: &str, name: &str) -> Result<Place> {
        if !is_job(path) {
            let path = if path.is_empty() { name.into() } else { format!("{path}/{name}") };
            return Ok(Place::Dir(Subject::Set(self.set_no(Set::logical(&path)))));
        }
        let matches = self.matches(no);
        if let Some(number) = matches.and_then(|matches| matches.by_name.get(name)) {
            return Ok(Place::Link(Link::Match(no, *number)));
        }
        let rank = format!("{name}.");
        let same = matches.into_iter().flat_map(|m| m.names.values()).filter(|long| long.starts_with(&rank));
        let (user, job) = path.split_once('/').unwrap_or((path, NO_JOB));
        let cause = match same.clone().count() {
            0 if matches.is_some_and(|matches| matches.lost.is_some()) => {
                let why = matches.and_then(|matches| matches.lost.clone()).unwrap_or(Errno::NOENT.into());
                let cause = format!("job {job} of {user} has no session {name} where it can be asked: {why}");
                return Err(Error::new(why.errno, cause));
            }
            0 => format!("job {job} of {user} has no session {name}"),
            n => {
                let first: Vec<&str> = same.take(3).map(|long| &**long).collect();
                let more = if n > first.len() { " …" } else { "" };
                format!("{n} sessions of job {job} have rank {name}: {}{more}; say which", first.join(", "))
            }
        };
        Err(Error::new(Errno::NOENT, cause))
    }

    /// The name of an entry that was numbered, in a directory of `logical/`.
    pub(crate) fn match_name(&self, no: u32, number: u32) -> String {
        let name = self.matches(no).and_then(|matches| matches.names.get(&number));
        name.map_or_else(|| number.to_string(), |name| String::from(&**name))
    }

    /// Before a walk steps by a name into a job's directory, it must know the job's sessions: what it waits for, if it must.
    pub(crate) fn look(&mut self, who: Who, place: Place, name: &str, looks: &mut Vec<Look>) -> Option<On> {
        let Place::Dir(subject @ Subject::Set(no)) = place else { return None };
        let Set::Logical(path, _) = self.set(no) else { return None };
        if !is_job(path) || matches!(name, "." | "..") || files::find(subject, name).is_some() {
            return None;
        }
        let parts = match looks.iter_mut().find(|look| look.set == no) {
            Some(Look { waits: None, .. }) => return None,
            Some(Look { waits: Some(fid), .. }) if self.looks.get(fid).is_some_and(|all| !all.over()) => {
                return Some(On::Parts(LOOKS, *fid));
            }
            Some(look) => look.waits.take().and_then(|fid| self.looks.remove(&fid)),
            None => {
                self.next_look = self.next_look.wrapping_add(1);
                let fid = Fid(self.next_look);
                let (row, format) = files::find(subject, "topology").expect("a set has one");
                let asks = Who { client: LOOKS, tag: Tag(0), ..who };
                let parts = self.gather(asks, fid, subject, row, format).map(Box::new);
                if parts.as_ref().is_some_and(|parts| !parts.over()) {
                    self.looks.extend(parts.map(|parts| (fid, parts)));
                    looks.push(Look { set: no, waits: Some(fid) });
                    return Some(On::Parts(LOOKS, fid));
                }
                looks.push(Look { set: no, waits: None });
                parts
            }
        };
        let mut told = show::topology(self, subject, Format::Text);
        let lost = parts.as_ref().and_then(|parts| parts.broken().cloned());
        if let Some(parts) = parts {
            told.extend_from_slice(&parts.text);
            self.drop_parts(*parts);
        }
        self.renumber(no, Some(&told));
        if let Some(why) = lost {
            self.lost(no, why);
        }
        None
    }

    /// A walk is given up: nobody needs to know any longer.
    pub(crate) fn drop_looks(&mut self, looks: &[Look]) {
        for look in looks.iter().filter_map(|look| look.waits) {
            if let Some(parts) = self.looks.remove(&look) {
                self.drop_parts(*parts);
            }
        }
    }

    /// What other nodes say to a walk.
    pub(crate) fn look_mut(&mut self, fid: Fid) -> Option<&mut Parts> {
        self.looks.get_mut(&fid).map(|parts| &mut **parts)
    }
}

fn is_job(path: &str) -> bool {
    path.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, told: &str) -> Vec<String> {
        listed(path, told).iter().map(|entry| entry.name.to_string()).collect()
    }

    #[test]
    fn a_directory_has_users_or_jobs_or_sessions() {
        let told = "0 n10/3 me nightly run\n0 n2/3 me -\n1 n2/4 you -\n";
        assert_eq!(names("", told), ["me", "you"]);
        assert_eq!(names("me", told), ["-", "nightly run"]);
    }

    #[test]
    fn a_session_is_its_rank_where_that_is_one() {
        let told = "0 n10/3 me j\n0 n2/3 me j\n1 n2/4 me j\n";
        assert_eq!(names("me/j", told), ["0.n2.3", "1", "0.n10.3"]);
        let one = listed("me/j", "7 n2.site/4 me j\n");
        assert_eq!((&*one[0].name, one[0].also.as_deref()), ("7", Some("7.n2.site.4")));
    }

    #[test]
    fn a_job_is_called_like_a_directory() {
        for name in ["nightly", "a b", "7", "-", "ü"] {
            assert!(job_name(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "...", "a/b", "a|b", "a\nb", "status", "wait.json", "ctl"] {
            assert!(job_name(name).is_err(), "{name}");
        }
    }
}
