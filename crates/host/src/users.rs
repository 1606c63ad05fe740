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
    /// Users of other machines, who have no account here: they are kept as long as the node lives.
    foreign: BTreeMap<Uid, Arc<User>>,
    /// When the files that were read had last changed.
    read: Option<[Option<SystemTime>; 2]>,
}

/// Foreign users that are told apart; whoever comes after them is `nobody`.
const FOREIGN: usize = 65_536;
/// Characters of a foreign user's name.
const NAME: usize = 64;

const FILES: [&str; 2] = ["/etc/passwd", "/etc/group"];

impl Users {
    /// Some users that are known whatever this machine says of them.
    pub fn with(fixed: Vec<Arc<User>>) -> Users {
        Users { fixed, ..Users::default() }
    }

    /// Who a number is, and whether that is news since it was last asked.
    pub(crate) fn by_uid(&mut self, uid: Uid) -> (Arc<User>, bool) {
        if let Some(user) = self.known.get(&uid).or_else(|| self.foreign.get(&uid)) {
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

    /// Who another node means by a name: the account of that name, else somebody who is known by it alone. A name of
    /// digits would be taken for a number, whose owner at the other node nobody here knows.
    pub(crate) fn admit(&mut self, name: &str) -> Arc<User> {
        let number = name.bytes().all(|b| b.is_ascii_digit());
        let account = if number { None } else { self.by_name(name) };
        match account {
            Some(user) if *user.name == *name && !user.uid.is_foreign() => user,
            Some(_) | None => self.foreign(name),
        }
    }

    /// A user without an account: his number is made of his name, so that it mostly stays the same.
    fn foreign(&mut self, name: &str) -> Arc<User> {
        let plain = |c: char| !c.is_control() && !matches!(c, ':' | '/' | '\n');
        let name: String = name.chars().filter(|c| plain(*c)).take(NAME).collect();
        let full = self.foreign.len() >= FOREIGN;
        let name = if name.is_empty() || full { "nobody".into() } else { name };
        // FNV-1a, as wide as the space.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let space = u32::MAX - 2 - Uid::FOREIGN.0;
        for step in 0..=space {
            let uid = Uid(Uid::FOREIGN.0 + ((hash % u64::from(space)) as u32).wrapping_add(step) % space);
            match self.foreign.get(&uid) {
                Some(user) if *user.name == *name => return user.clone(),
                Some(_) => {}
                None => {
                    let user = Arc::new(User { name: name.as_str().into(), ..unknown(uid) });
                    self.foreign.insert(uid, user.clone());
                    return user;
                }
            }
        }
        unreachable!("there are more numbers than foreign users")
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
    fn who_has_no_account_has_a_number_of_his_own_that_stays() {
        let mut users = Users::default();
        assert_eq!(users.admit("root").uid, Uid(0));
        let ann = users.admit("no-such-ann");
        assert!(ann.uid.is_foreign() && &*ann.name == "no-such-ann");
        assert_eq!(users.admit("no-such-ann").uid, ann.uid);
        assert_eq!(Users::default().admit("no-such-ann").uid, ann.uid, "at the next start too");
        assert_ne!(users.admit("no-such-bob").uid, ann.uid);
        users.refresh();
        assert_eq!(users.by_uid(ann.uid).0.name, ann.name, "files that change do not make him somebody else");
    }

    #[test]
    fn a_number_is_nobodys_name_between_nodes() {
        let mut users = Users::default();
        for name in ["0", "1000", "", ":", "\n"] {
            assert!(users.admit(name).uid.is_foreign(), "{name:?}");
        }
    }

    #[test]
    fn however_many_come_the_table_is_bounded() {
        let mut users = Users::default();
        (0..FOREIGN).for_each(|n| drop(users.foreign(&format!("u{n}"))));
        assert_eq!(users.foreign.len(), FOREIGN);
        assert_eq!(&*users.foreign("one more").name, "nobody");
        assert_eq!(&*users.foreign("another").name, "nobody");
        assert!(users.foreign.len() <= FOREIGN + 1);
    }

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
