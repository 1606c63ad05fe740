//! What the files promise: whose they are, and who sees them change.

use super::*;
use std::{os::unix::fs::PermissionsExt, time::SystemTime};

#[test]
fn what_another_process_changes_is_seen_once() {
    let mut one = node();
    let mut same = Home::open(one.dir.path()).unwrap();
    assert_eq!(same.refresh(), Ok(false));
    one.home.found("one").unwrap();
    assert_eq!(same.refresh(), Ok(true));
    assert_eq!(same.refresh(), Ok(false));
    assert!(same.is_authority());
    let token = one.home.invite(Kind::Node, HOUR).unwrap();
    join(&mut same, &mut node().home, &token, "two").unwrap();
    one.home.revoke("two").unwrap();
    assert_eq!(same.refresh(), Ok(true));
    assert_eq!(same.revoked(), one.home.revoked());
}

#[test]
fn nothing_is_read_while_nothing_has_changed() {
    let mut one = founded("one");
    let trust = fs::File::open(one.dir.path().join("trust")).unwrap();
    // As if the last change was long ago.
    trust.set_modified(SystemTime::now() - HOUR).unwrap();
    assert_eq!(one.home.refresh(), Ok(false));
    // This is no way to change a file there: only who reads it can know.
    fs::write(one.dir.path().join("trust/domain"), b"garbage").unwrap();
    assert_eq!(one.home.refresh(), Ok(false));
    trust.set_modified(SystemTime::now() - HOUR / 2).unwrap();
    assert!(one.home.refresh().is_err());
    assert!(one.home.is_authority(), "what was known is kept");
}

#[test]
fn a_change_is_seen_though_the_clock_of_files_has_not_moved() {
    let mut one = founded("one");
    joined(&mut one, "two");
    let mut same = Home::open(one.dir.path()).unwrap();
    let trust = fs::File::open(one.dir.path().join("trust")).unwrap();
    // Younger than any moment at which it is looked at, however slow this machine is.
    let changed = SystemTime::now() + HOUR;
    trust.set_modified(changed).unwrap();
    assert_eq!(same.refresh(), Ok(false));
    one.home.revoke("two").unwrap();
    trust.set_modified(changed).unwrap();
    assert_eq!(same.refresh(), Ok(true));
    assert_eq!(same.revoked(), one.home.revoked());
}

#[test]
fn a_process_that_holds_the_lock_is_not_waited_for_without_an_end() {
    let mut one = founded("one");
    let path = one.dir.path().join("trust/lock");
    let other = fs::File::open(&path).unwrap();
    other.lock().unwrap();
    let why = one.home.invite(Kind::Node, HOUR).unwrap_err();
    assert!(why.contains("another process has held") && why.contains(path.to_str().unwrap()), "{why}");
    assert_eq!(one.home.answer(b"garbage")[..2], [1, 0], "what needs no files is answered");
    other.unlock().unwrap();
    one.home.invite(Kind::Node, HOUR).unwrap();
}

#[test]
fn what_is_in_the_directory_is_its_owners_alone() {
    let mut one = founded("one");
    joined(&mut one, "two");
    one.home.invite(Kind::Node, HOUR).unwrap();
    one.home.revoke("two").unwrap();
    one.home.set_listen("tls!*!4711").unwrap();
    let trust = one.dir.path().join("trust");
    let mut seen = 0;
    let mut todo = vec![trust.clone()];
    while let Some(path) = todo.pop() {
        let metadata = fs::metadata(&path).unwrap();
        let want = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, want, "{}", path.display());
        if metadata.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
        }
        seen += 1;
    }
    assert!(seen >= 10, "{seen}");
    fs::set_permissions(trust.join("key"), fs::Permissions::from_mode(0o640)).unwrap();
    let why = Home::open(one.dir.path()).unwrap_err();
    assert!(why.contains("can be read by others (mode 640)"), "{why}");
}

#[test]
fn keys_and_secrets_are_in_no_output_for_debugging() {
    let mut one = founded("one");
    let token = one.home.invite(Kind::Node, HOUR).unwrap();
    let key = fs::read(one.dir.path().join("trust/key")).unwrap();
    let shown = format!("{:?} {token:?} {:?}", one.home, one.home.members());
    let word = token.to_string();
    assert!(!shown.contains(&word[word.len() - 40..]));
    // The private number of a PKCS #8 key of P-256 is at 36.
    let hex: String = key[36..68].iter().map(|byte| format!("{byte:02x}")).collect();
    let list: String = key[36..44].iter().map(|byte| format!("{byte}, ")).collect();
    assert!(!shown.contains(&hex) && !shown.contains(&list), "{shown}");
}

#[test]
fn a_file_that_is_none_of_ours_is_an_error_that_names_it() {
    for (file, bytes) in [("key", b"garbage".as_slice()), ("domain", b"garbage"), ("domain", &[0x30; 4096])] {
        let one = founded("one");
        let path = one.dir.path().join("trust").join(file);
        fs::write(&path, bytes).unwrap();
        let why = Home::open(one.dir.path()).unwrap_err();
        assert!(why.contains(path.to_str().unwrap()) && why.contains("remove it"), "{why}");
    }
    // A list that cannot be read is no list: the next one that comes is taken.
    let one = founded("one");
    fs::write(one.dir.path().join("trust/revoked"), b"garbage").unwrap();
    assert_eq!(Home::open(one.dir.path()).unwrap().revoked(), None);
}

#[test]
fn addresses_are_kept() {
    let mut one = node();
    assert_eq!((one.home.parents(), one.home.listen()), (Ok(vec![]), Ok(None)));
    let parents = vec!["tls!a!1".to_owned(), "tls!b!2".to_owned()];
    one.home.set_parents(&parents).unwrap();
    one.home.set_listen("tls!*!4711").unwrap();
    let same = Home::open(one.dir.path()).unwrap();
    assert_eq!((same.parents(), same.listen()), (Ok(parents), Ok(Some("tls!*!4711".into()))));
    assert!(one.home.set_listen("a\nb").is_err());
    assert!(one.home.set_parents(&vec!["x".to_owned(); 33]).unwrap_err().contains("32"));
}
