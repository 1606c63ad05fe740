//! What a trust domain promises, through its public face and real files.
#![expect(clippy::unwrap_used, reason = "what a test unwraps is what it tests")]

use link::identity::{Home, Kind, Token, Who};
use std::{fs, time::Duration};
use tempfile::TempDir;

mod files;

const HOUR: Duration = Duration::from_secs(3600);

struct Node {
    home: Home,
    dir: TempDir,
}

fn node() -> Node {
    let dir = tempfile::tempdir().unwrap();
    Node { home: Home::open(dir.path()).unwrap(), dir }
}

fn founded(name: &str) -> Node {
    let mut node = node();
    node.home.found(name).unwrap();
    node
}

/// Joins a node as the wire would: a body there, a body back.
fn join(authority: &mut Home, new: &mut Home, token: &Token, name: &str) -> Result<Who, String> {
    let grant = authority.answer(&new.join(token, name));
    new.accept(token, &grant)
}

fn joined(authority: &mut Node, name: &str) -> Node {
    let mut new = node();
    let token = authority.home.invite(Kind::Node, HOUR).unwrap();
    join(&mut authority.home, &mut new.home, &token, name).unwrap();
    new
}

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn a_node_joins_with_a_token_and_is_known_from_then_on() {
    let mut one = founded("one");
    let two = joined(&mut one, "two");
    assert_eq!(two.home.who(), Some(Who::Node { id: two.home.id(), name: "two".into() }));
    assert_eq!(two.home.domain(), one.home.domain());
    assert!(one.home.is_authority() && !two.home.is_authority());
    let again = Home::open(two.dir.path()).unwrap();
    assert_eq!((again.who(), again.id()), (two.home.who(), two.home.id()));
}

#[test]
fn a_user_is_called_what_he_was_invited_as() {
    let (mut one, mut ann) = (founded("one"), node());
    let token = one.home.invite(Kind::User("ann".into()), HOUR).unwrap();
    assert!(token.for_user());
    let who = join(&mut one.home, &mut ann.home, &token, "root").unwrap();
    assert_eq!(who, Who::User { name: "ann".into() });
    assert!(one.home.invite(Kind::User("a b".into()), HOUR).unwrap_err().contains("space"));
}

#[test]
fn a_replayed_token_is_refused_whoever_shows_it_and_whichever_process_is_asked() {
    let (mut one, mut two, mut three) = (founded("one"), node(), node());
    let token = one.home.invite(Kind::Node, HOUR).unwrap();
    join(&mut one.home, &mut two.home, &token, "two").unwrap();
    let mut same = Home::open(one.dir.path()).unwrap();
    for authority in [&mut one.home, &mut same] {
        for other in [&mut two.home, &mut three.home] {
            let why = join(authority, other, &token, "three").unwrap_err();
            assert!(why.starts_with("this token was used already, or never given"), "{why}");
        }
    }
    assert_eq!(one.home.members().unwrap().len(), 2);
}

#[test]
fn an_expired_token_is_refused_and_forgotten() {
    let (mut one, mut two) = (founded("one"), node());
    let token = one.home.invite(Kind::Node, HOUR).unwrap();
    let waits =
        || fs::read_dir(one.dir.path().join("trust/invites")).unwrap().flatten().next().map(|f| f.path());
    let file = waits().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let (expires, rest) = text.split_once(' ').unwrap();
    let expires = expires.parse::<u64>().unwrap() - 2 * 3600;
    fs::write(&file, format!("{expires} {rest}")).unwrap();
    let grant = Home::open(one.dir.path()).unwrap().answer(&two.home.join(&token, "two"));
    let why = two.home.accept(&token, &grant).unwrap_err();
    assert!(why.starts_with("this token expired 60 min ago"), "{why}");
    assert_eq!(waits(), None);
    assert_eq!(one.home.members().unwrap().len(), 1);
}

#[test]
fn tokens_that_expired_make_room_and_the_number_of_those_that_wait_has_an_end() {
    let mut one = founded("one");
    one.home.invite(Kind::Node, HOUR).unwrap();
    let invites = one.dir.path().join("trust/invites");
    for number in 0..1023 {
        fs::write(invites.join(format!("{number:064x}")), format!("{} 60", u64::MAX)).unwrap();
    }
    assert!(one.home.invite(Kind::Node, HOUR).unwrap_err().contains("1024 tokens wait"));
    for number in 0..1023 {
        fs::write(invites.join(format!("{number:064x}")), "1 60").unwrap();
    }
    one.home.invite(Kind::Node, HOUR).unwrap();
    assert_eq!(fs::read_dir(&invites).unwrap().count(), 2);
}

#[test]
fn a_token_of_another_domain_is_told_as_such() {
    let (mut one, mut other, mut two) = (founded("one"), founded("other"), node());
    let token = other.home.invite(Kind::Node, HOUR).unwrap();
    let why = join(&mut one.home, &mut two.home, &token, "two").unwrap_err();
    assert!(why.contains("this token is of another trust domain"), "{why}");
    assert!(why.contains(&one.home.domain().unwrap().short()), "{why}");
    // A grant of one's own authority does not pass for the token's either.
    let ours = one.home.invite(Kind::Node, HOUR).unwrap();
    let grant = one.home.answer(&two.home.join(&ours, "two"));
    let why = two.home.accept(&token, &grant).unwrap_err();
    assert!(why.contains("another trust domain than the token"), "{why}");
    assert_eq!(two.home.who(), None);
}

#[test]
fn a_join_that_was_changed_on_the_way_is_refused_and_costs_no_token() {
    let (mut one, mut two) = (founded("one"), node());
    let token = one.home.invite(Kind::Node, HOUR).unwrap();
    let body = two.home.join(&token, "two");
    for at in 0..body.len() {
        let mut changed = body.clone();
        changed[at] ^= 1;
        assert_eq!(one.home.answer(&changed)[1], 0, "byte {at}");
        assert_eq!(one.home.answer(&body[..at])[1], 0, "cut at {at}");
    }
    let why = two.home.accept(&token, &one.home.answer(&two.home.join(&token, "12"))).unwrap_err();
    assert!(why.contains("all digits"), "{why}");
    let grant = one.home.answer(&body);
    two.home.accept(&token, &grant).unwrap();
}

#[test]
fn a_grant_that_was_changed_on_the_way_is_refused() {
    let (mut one, mut two) = (founded("one"), node());
    let gone = joined(&mut one, "gone");
    one.home.revoke("gone").unwrap();
    let gone_list = one.home.revoked().unwrap().len();
    let token = one.home.invite(Kind::Node, HOUR).unwrap();
    let grant = one.home.answer(&two.home.join(&token, "two"));
    for at in 0..grant.len() {
        let mut changed = grant.clone();
        changed[at] ^= 0x10;
        assert!(two.home.accept(&token, &changed).is_err(), "byte {at}");
        // Without the list it is whole again.
        let cut = two.home.accept(&token, &grant[..at]);
        assert!(cut.is_err() || at == grant.len() - gone_list, "cut at {at}");
    }
    two.home.accept(&token, &grant).unwrap();
    // Somebody else's grant is of no use.
    let mut three = node();
    assert!(three.home.accept(&token, &grant).unwrap_err().contains("another key"));
    assert_eq!(three.home.who(), None);
    assert_eq!(Home::open(three.dir.path()).unwrap().who(), None);
    assert!(gone.home.who().is_some());
}

#[test]
fn a_name_that_another_has_is_granted_and_replaces_nobody() {
    let mut one = founded("one");
    let (first, second) = (joined(&mut one, "same"), joined(&mut one, "same"));
    assert_ne!(first.home.id(), second.home.id());
    let members = one.home.members().unwrap();
    assert_eq!(members.iter().filter(|member| member.name == "same" && !member.revoked).count(), 2);
}

#[test]
fn revoking_needs_to_know_whom() {
    let mut one = founded("one");
    let (first, second) = (joined(&mut one, "same"), joined(&mut one, "same"));
    let why = one.home.revoke("same").unwrap_err();
    assert!(
        why.contains(&first.home.id().to_string()) && why.contains(&second.home.id().to_string()),
        "{why}"
    );
    assert_eq!(one.home.revoked(), None, "nothing was revoked by that");
    one.home.revoke(&first.home.id().to_string()).unwrap();
    one.home.revoke("same").unwrap();
    assert!(one.home.revoke("same").unwrap_err().contains("revoked already"));
    assert!(one.home.revoke("nobody").unwrap_err().contains("nobody"));
    assert!(one.home.revoke("one").unwrap_err().contains("authority itself"));
    let revoked = one.home.members().unwrap().into_iter().filter(|member| member.revoked).count();
    assert_eq!(revoked, 2);
    let mut two = first;
    assert!(two.home.revoke("one").unwrap_err().contains("not the authority"));
}

#[test]
fn a_list_of_what_is_revoked_is_learned_when_it_is_newer_and_rightly_signed() {
    let mut one = founded("one");
    let (mut two, _three, _four) =
        (joined(&mut one, "two"), joined(&mut one, "three"), joined(&mut one, "four"));
    one.home.revoke("three").unwrap();
    let first = one.home.revoked().unwrap().to_vec();
    assert_eq!(two.home.learn_revoked(&first), Ok(true));
    assert_eq!(two.home.learn_revoked(&first), Ok(false));
    one.home.revoke("four").unwrap();
    let second = one.home.revoked().unwrap().to_vec();
    for at in 0..second.len() {
        let mut changed = second.clone();
        changed[at] ^= 1;
        assert_ne!(two.home.learn_revoked(&changed), Ok(true), "byte {at}");
    }
    assert_eq!(two.home.learn_revoked(&second), Ok(true));
    assert_eq!(two.home.learn_revoked(&first), Ok(false), "an older one takes nothing back");
    assert_eq!(Home::open(two.dir.path()).unwrap().revoked(), Some(second.as_slice()));

    let mut other = founded("other");
    let why = other.home.learn_revoked(&second).unwrap_err();
    assert!(why.contains("not signed by the authority"), "{why}");
    // Who joins later knows it from the start.
    assert_eq!(joined(&mut one, "five").home.revoked(), Some(second.as_slice()));
}

#[test]
fn a_node_that_was_revoked_may_be_invited_again() {
    let mut one = founded("one");
    let mut two = joined(&mut one, "two");
    one.home.revoke("two").unwrap();
    let token = one.home.invite(Kind::Node, HOUR).unwrap();
    join(&mut one.home, &mut two.home, &token, "two").unwrap();
    let granted: Vec<bool> =
        one.home.members().unwrap().iter().filter(|m| m.name == "two").map(|m| m.revoked).collect();
    assert_eq!(granted, [true, false]);
}

#[test]
fn a_domain_is_left_for_another_only_by_who_was_alone_in_it() {
    let mut other = founded("other");
    let mut one = founded("one");
    let id = one.home.id();
    let token = other.home.invite(Kind::Node, HOUR).unwrap();
    let mut two = joined(&mut one, "two");
    for (home, why) in [(&mut one.home, "1 more members"), (&mut two.home, "as node two")] {
        assert!(home.may_join(&token, "x").unwrap_err().contains(why));
        let grant = other.home.answer(&home.join(&token, "x"));
        let refused = home.accept(&token, &grant).unwrap_err();
        assert!(refused.contains(why) || refused.contains("used already"), "{refused}");
    }
    assert_ne!(one.home.domain(), other.home.domain());
    one.home.revoke("two").unwrap();
    let token = other.home.invite(Kind::Node, HOUR).unwrap();
    assert_eq!(join(&mut other.home, &mut one.home, &token, "one"), Ok(Who::Node { id, name: "one".into() }));
    assert_eq!((one.home.domain(), one.home.is_authority()), (other.home.domain(), false));
    assert!(one.home.found("one").unwrap_err().contains("not the authority"));
    let token = other.home.invite(Kind::Node, HOUR).unwrap();
    assert!(other.home.may_join(&token, "x").unwrap_err().contains("the authority of that"));
}

#[test]
fn bytes_from_anywhere_are_refused_in_a_sentence() {
    let mut one = founded("one");
    let mut two = joined(&mut one, "two");
    let token = one.home.invite(Kind::Node, HOUR).unwrap();
    let good = [two.home.join(&token, "two"), one.home.answer(b""), {
        one.home.revoke("two").unwrap();
        one.home.revoked().unwrap().to_vec()
    }];
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..2_000 {
        let mut bytes = good[(random(&mut seed) % 3) as usize].clone();
        for _ in 0..random(&mut seed) % 8 {
            let at = random(&mut seed) as usize % bytes.len();
            match random(&mut seed) % 3 {
                0 => bytes[at] = random(&mut seed) as u8,
                1 => bytes.truncate(at + 1),
                _ => bytes.insert(at, random(&mut seed) as u8),
            }
        }
        if good.contains(&bytes) {
            continue;
        }
        let answer = one.home.answer(&bytes);
        assert!(answer.starts_with(&[1, 0]) && std::str::from_utf8(&answer[2..]).is_ok());
        assert!(two.home.accept(&token, &bytes).is_err());
        assert_ne!(two.home.learn_revoked(&bytes), Ok(true));
    }
    assert!(one.home.answer(&vec![1; 1 << 20]).starts_with(&[1, 0]));
}
