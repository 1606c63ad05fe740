//! Who a user is: `/etc/passwd` and `/etc/group`, and `getent` for what is kept elsewhere (LDAP, sssd): the
//! binary is static, and cannot load the C library's own modules for that.

use op::{Uid, User};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::SystemTime;

/// Users of this machine, as far as they were asked for.
#[derive(Debug, Default)]
pub struct Users {
    known: BTreeMap<Uid, Arc<User>>,
    /// Known from the start, whatever the files say.
    fixed: Vec<Arc<User>>,
    /// When the files that were read had last changed.
    read: Option<[Option<SystemTime>; 2]>,
}

const FILES: [&str; 2] = ["/etc/passwd", "/etc/group"];

impl Users {
    /// Some users that are known whatever this machine says of them.
    pub fn with(fixed: Vec<Arc<User>>) -> Users {
        Users { fixed, ..Users::default() }
    }

    /// Who a number is, and whether that is news since it was last asked.
    pub(crate) fn by_uid(&mut self, uid: Uid) -> (Arc<User>, bool) {
        if let Some(user) = self.known.get(&uid) {
            return (user.clone(), false);
        }
        if let Some(user) = self.fixed.iter().find(|u| u.uid == uid) {
            self.known.insert(uid, user.clone());
            return (user.clone(), true);
        }
        let entry = find("/etc/passwd", |f| f.get(2).is_some_and(|n| *n == uid.0.to_string()))
            .or_else(|| getent("passwd", &uid.0.to_string()));
        let user = Arc::new(entry.as_deref().and_then(user).unwrap_or_else(|| unknown(uid)));
        self.known.insert(uid, user.clone());
        (user, true)
    }

    /// The user of that login name or number.
    pub(crate) fn by_name(&mut self, name: &str) -> Option<Arc<User>> {
        if name.is_empty() || name.contains([':', '\n']) {
            return None;
        }
        if let Some(user) = self.fixed.iter().find(|u| *u.name == *name || u.uid.0.to_string() == name) {
            self.known.insert(user.uid, user.clone());
            return Some(user.clone());
        }
        let entry = find("/etc/passwd", |f| f.first() == Some(&name) || f.get(2) == Some(&name))
            .or_else(|| getent("passwd", name));
        let user = Arc::new(entry.as_deref().and_then(user)?);
        self.known.insert(user.uid, user.clone());
        Some(user)
    }

    /// Forgets what it knows if the files have changed since; to be called when somebody connects.
    pub(crate) fn refresh(&mut self) {
        let now = FILES.map(|path| std::fs::metadata(path).and_then(|m| m.modified()).ok());
        if self.read != Some(now) {
            self.read = Some(now);
            self.known.clear();
        }
    }
}

fn find(path: &str, wanted: impl Fn(&[&str]) -> bool) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find(|line| wanted(&line.split(':').collect::<Vec<_>>())).map(String::from)
}

fn getent(base: &str, key: &str) -> Option<String> {
    let out =
        Command::new("getent").arg(base).arg(key).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    out.status.success().then(|| text.lines().next().map(String::from)).flatten()
}

/// A user from his line in passwd(5).
fn user(entry: &str) -> Option<User> {
    let f: Vec<&str> = entry.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = f[..] else { return None };
    let gid: u32 = gid.parse().ok()?;
    let mut groups = vec![(gid, group_name(gid))];
    let text = std::fs::read_to_string("/etc/group").unwrap_or_default();
    for line in text.lines() {
        if let [group, _, number, members] = line.split(':').collect::<Vec<_>>()[..]
            && members.split(',').any(|m| m == name)
            && let Ok(number) = number.parse()
            && number != gid
        {
            groups.push((number, group.into()));
        }
    }
    let shell = if shell.is_empty() { "/bin/sh" } else { shell };
    Some(User {
        uid: Uid(uid.parse().ok()?),
        name: name.into(),
        groups,
        home: home.into(),
        shell: shell.into(),
    })
}

fn group_name(gid: u32) -> Arc<str> {
    let entry = find("/etc/group", |f| f.get(2).is_some_and(|n| *n == gid.to_string()));
    match entry.as_deref().and_then(|e| e.split(':').next()) {
        Some(name) => name.into(),
        None => gid.to_string().into(),
    }
}

fn unknown(uid: Uid) -> User {
    let name: Arc<str> = uid.0.to_string().into();
    User { uid, groups: vec![(uid.0, name.clone())], name, home: "/".into(), shell: "/bin/sh".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_a_nobody_without_a_name() {
        let mut users = Users::default();
        let (root, news) = users.by_uid(Uid(0));
        assert!(news && &*root.name == "root" && root.groups[0].0 == 0);
        assert!(!users.by_uid(Uid(0)).1);
        assert_eq!(&*users.by_uid(Uid(3_999_999)).0.name, "3999999");
        assert_eq!(users.by_name("root").unwrap().uid, Uid(0));
        assert_eq!(users.by_name("no such user"), None);
    }
}
