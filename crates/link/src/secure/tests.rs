//! What TLS between nodes promises: both ends in memory, with certificates good and forged.

mod noise;

use super::*;
use crate::identity::{Kind, tests::Forged};
use rustls::sign::CertifiedKey;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

const DAY: u64 = 86_400;

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

fn joined(authority: &mut Node, kind: Kind) -> Node {
    let mut new = node();
    let token = authority.home.invite(kind, Duration::from_secs(60)).unwrap();
    let grant = authority.home.answer(&new.home.join(&token, "two"));
    new.home.accept(&token, &grant).unwrap();
    new
}

/// An authority, "one", and a node, "two".
fn domain() -> (Node, Node) {
    let mut one = founded("one");
    let two = joined(&mut one, Kind::Node);
    (one, two)
}

fn node_of(home: &Home, name: &str) -> Who {
    Who::Node { id: home.id(), name: name.into() }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A good certificate, to be made bad by changing one thing.
fn forged<'a>(home: &'a Home, name: &str) -> Forged<'a> {
    Forged { who: node_of(home, name), named: home, held: home, from: now() - DAY, until: now() + DAY }
}

fn dial_with(shown: CertifiedKey, domain: &Home) -> Secure {
    let domain = domain.of_domain().unwrap();
    let expected = Expected::Of { authority: domain.authority.clone(), revoked: None };
    Secure::client(expected, Some(SingleCertAndKey::from(shown)))
}

fn accept_with(shown: CertifiedKey, domain: &Home) -> Secure {
    let domain = domain.of_domain().unwrap();
    let expected = Expected::Of { authority: domain.authority.clone(), revoked: None };
    Secure::server(expected, SingleCertAndKey::from(shown))
}

type Heard = Result<Vec<u8>, String>;

/// Carries everything both have to say, `piece` bytes at a time, until neither has. What each has received, the one that
/// dialled first, or why it gave up.
fn talk_in(piece: usize, dialled: &mut Secure, answered: &mut Secure) -> (Heard, Heard) {
    let (mut first, mut second) = (Ok(Vec::new()), Ok(Vec::new()));
    for _ in 0..100 {
        if dialled.output().is_empty() && answered.output().is_empty() {
            return (first, second);
        }
        carry(piece, dialled, answered, &mut second);
        carry(piece, answered, dialled, &mut first);
    }
    panic!("they talk without an end");
}

fn carry(piece: usize, from: &mut Secure, to: &mut Secure, heard: &mut Heard) {
    let bytes = from.output().to_vec();
    from.consume(bytes.len());
    for piece in bytes.chunks(piece) {
        let mut plain = Vec::new();
        match (to.receive(piece, &mut plain), heard.as_mut()) {
            (Ok(()), Ok(all)) => all.extend(plain),
            (Err(why), Ok(_)) => *heard = Err(why),
            (result, Err(why)) => assert_eq!(result.as_ref(), Err(&*why), "what has failed stays so"),
        }
    }
}

fn talk(dialled: &mut Secure, answered: &mut Secure) -> (Heard, Heard) {
    talk_in(usize::MAX, dialled, answered)
}

/// Both refuse: who dialled says `first`, who answered `second`, and neither has heard or known anything.
fn refused(mut dialled: Secure, mut answered: Secure, first: &str, second: &str) {
    dialled.send(b"to nobody");
    let (a, b) = talk(&mut dialled, &mut answered);
    let (a, b) = (a.unwrap_err(), b.unwrap_err());
    assert!(a.contains(first), "who dialled says: {a}");
    assert!(b.contains(second), "who answered says: {b}");
    assert_eq!(answered.peer(), None);
    for secure in [&mut dialled, &mut answered] {
        secure.send(b"more");
        assert!(secure.output().is_empty());
        assert!(secure.receive(b"\x17\x03\x03", &mut Vec::new()).is_err());
    }
}

#[test]
fn two_nodes_of_a_domain_know_each_other_and_are_heard_however_the_bytes_come() {
    let (one, two) = domain();
    for piece in [1, 2, 7, 1000, usize::MAX] {
        let (mut child, mut parent) = (Secure::dial(&two.home).unwrap(), Secure::accept(&one.home).unwrap());
        assert!(child.handshaking() && parent.handshaking());
        child.send(b"hello");
        assert_eq!(talk_in(piece, &mut child, &mut parent), (Ok(vec![]), Ok(b"hello".to_vec())));
        assert!(!child.handshaking() && !parent.handshaking());
        assert_eq!(child.peer(), Some(&node_of(&one.home, "one")));
        assert_eq!(parent.peer(), Some(&node_of(&two.home, "two")));
        let much: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        parent.send(&much);
        child.send(b"");
        assert_eq!(talk_in(piece, &mut child, &mut parent), (Ok(much), Ok(vec![])));
    }
}

#[test]
fn a_node_with_a_token_dials_without_a_certificate_and_knows_whom_it_dials() {
    let mut one = founded("one");
    let token = one.home.invite(Kind::Node, Duration::from_secs(60)).unwrap();
    let (mut child, mut parent) = (Secure::dial_pinned(token.pin()), Secure::accept(&one.home).unwrap());
    child.send(b"join");
    assert_eq!(talk(&mut child, &mut parent), (Ok(vec![]), Ok(b"join".to_vec())));
    assert_eq!(child.peer(), Some(&node_of(&one.home, "one")));
    assert_eq!(parent.peer(), None, "nobody knows who that is");
}

#[test]
fn a_token_joins_no_other_domain() {
    let (mut one, other) = (founded("one"), founded("other"));
    let token = one.home.invite(Kind::Node, Duration::from_secs(60)).unwrap();
    let foreign = format!("another trust domain ({})", other.home.domain().unwrap().short());
    let answered = Secure::accept(&other.home).unwrap();
    refused(Secure::dial_pinned(token.pin()), answered, &foreign, "another trust domain");
}

#[test]
fn a_certificate_of_another_domain_is_refused_on_both_sides() {
    let ((one, two), other) = (domain(), founded("other"));
    let foreign = format!("another trust domain ({})", other.home.domain().unwrap().short());
    // The dialled one's is seen first.
    refused(
        Secure::dial(&two.home).unwrap(),
        Secure::accept(&other.home).unwrap(),
        &foreign,
        "who dialled says that this node's certificate is of another trust domain",
    );
    // One that takes any answer: then his own is seen.
    let shown = forged(&other.home, "other").by(&other.home);
    let mut dialled = dial_with(shown, &one.home);
    let mut answered = Secure::accept(&one.home).unwrap();
    let (a, b) = talk(&mut dialled, &mut answered);
    assert!(b.unwrap_err().contains(&foreign));
    let said =
        "the other end says that this node's certificate is of another trust domain: join its own with";
    assert!(a.unwrap_err().contains(said));
    assert_eq!(answered.peer(), None);
}

#[test]
fn a_certificate_whose_time_is_over_or_not_yet_come_is_refused_on_both_sides() {
    let (one, two) = domain();
    let other = "has expired, or is not good yet, by the clock there";
    for (from, until, why) in [
        (now() - 2 * DAY, now() - 60, "its certificate expired on 20"),
        (now() + 2 * DAY, now() + 3 * DAY, "one of the two clocks is wrong"),
    ] {
        let shown = Forged { from, until, ..forged(&two.home, "two") }.by(&one.home);
        refused(dial_with(shown, &one.home), Secure::accept(&one.home).unwrap(), other, why);
        let shown = Forged { from, until, ..forged(&one.home, "one") }.by(&one.home);
        refused(Secure::dial(&two.home).unwrap(), accept_with(shown, &one.home), why, other);
    }
    // Clocks that differ by less than a day do not matter.
    let shown = Forged { from: now() - 60, ..forged(&two.home, "two") }.by(&one.home);
    let (mut a, mut b) = (dial_with(shown, &one.home), Secure::accept(&one.home).unwrap());
    assert_eq!(talk(&mut a, &mut b), (Ok(vec![]), Ok(vec![])));
}

#[test]
fn an_expired_node_says_so_itself_instead_of_dialling() {
    let (one, two) = domain();
    let shown = Forged { until: now() - 60, ..forged(&two.home, "two") }.by(&one.home);
    std::fs::write(two.dir.path().join("trust/domain"), [shown.cert[0].as_ref(), &shown.cert[1]].concat())
        .unwrap();
    let home = Home::open(two.dir.path()).unwrap();
    assert_eq!(home.who(), Some(node_of(&two.home, "two")));
    for result in [Secure::dial(&home), Secure::accept(&home)] {
        let why = result.unwrap_err();
        assert!(why.starts_with("this node cannot show who it is: its certificate expired on 20"), "{why}");
    }
}

#[test]
fn a_certificate_that_is_revoked_is_refused_in_the_handshake_on_both_sides() {
    let (mut one, two) = domain();
    let three = joined(&mut one, Kind::Node);
    one.home.revoke(&two.home.id().to_string()).unwrap();
    refused(
        Secure::dial(&two.home).unwrap(),
        Secure::accept(&one.home).unwrap(),
        "this node's certificate is revoked: join again with a new token",
        "its certificate is revoked",
    );
    // Who has heard of it does not dial it either; who has not, does.
    let answered = || Secure::accept(&two.home).unwrap();
    let (mut unknowing, mut two_answers) = (Secure::dial(&three.home).unwrap(), answered());
    assert_eq!(talk(&mut unknowing, &mut two_answers), (Ok(vec![]), Ok(vec![])));
    let mut three = three;
    three.home.learn_revoked(one.home.revoked().unwrap()).unwrap();
    assert!(unknowing.peer_revoked(&three.home), "and an open link is seen to be one of those");
    let why = "who dialled says that this node's certificate is revoked";
    refused(Secure::dial(&three.home).unwrap(), answered(), "its certificate is revoked", why);
}

#[test]
fn an_open_link_is_known_to_be_revoked_the_moment_that_the_list_comes() {
    let (mut one, two) = domain();
    let mut three = joined(&mut one, Kind::Node);
    let (mut child, mut parent) = (Secure::dial(&two.home).unwrap(), Secure::accept(&three.home).unwrap());
    talk(&mut child, &mut parent).0.unwrap();
    assert!(!parent.peer_revoked(&three.home));
    one.home.revoke(&two.home.id().to_string()).unwrap();
    assert_eq!(three.home.learn_revoked(one.home.revoked().unwrap()), Ok(true));
    assert!(parent.peer_revoked(&three.home));
    assert!(!child.peer_revoked(&one.home), "three is not");
}

#[test]
fn who_is_revoked_and_knows_it_says_so_instead_of_dialling() {
    let (mut one, mut two) = domain();
    one.home.revoke("two").unwrap();
    two.home.learn_revoked(one.home.revoked().unwrap()).unwrap();
    let why = Secure::dial(&two.home).unwrap_err();
    assert!(why.contains("this node cannot show who it is: its certificate is revoked"), "{why}");
}

#[test]
fn an_id_that_is_not_the_keys_is_refused_even_if_the_authority_signed_it() {
    let (one, two) = domain();
    let shown = Forged { who: node_of(&one.home, "one"), ..forged(&two.home, "two") }.by(&one.home);
    let why = "its certificate names an id that is not the id of its key";
    refused(dial_with(shown, &one.home), Secure::accept(&one.home).unwrap(), "cannot be understood", why);
}

#[test]
fn a_certificate_without_its_key_is_of_no_use() {
    let (one, two) = domain();
    let shown = Forged { held: &two.home, ..forged(&one.home, "one") }.by(&one.home);
    let why = "could not sign with the certificate's key";
    refused(dial_with(shown.clone(), &one.home), Secure::accept(&one.home).unwrap(), "", why);
    refused(Secure::dial(&two.home).unwrap(), accept_with(shown, &one.home), why, "");
}

#[test]
fn a_user_is_told_from_a_node() {
    let mut one = founded("one");
    let ann = joined(&mut one, Kind::User("ann".into()));
    let (mut client, mut server) = (Secure::dial(&ann.home).unwrap(), Secure::accept(&one.home).unwrap());
    client.send(b"ls");
    assert_eq!(talk(&mut client, &mut server), (Ok(vec![]), Ok(b"ls".to_vec())));
    assert_eq!(server.peer(), Some(&Who::User { name: "ann".into() }));
    // And cannot be dialled, whatever he does.
    assert!(Secure::accept(&ann.home).unwrap_err().contains("the user ann"));
    let shown = Forged { who: Who::User { name: "ann".into() }, ..forged(&ann.home, "ann") }.by(&one.home);
    let why = "its certificate is a user's, and a node's is wanted here";
    refused(Secure::dial(&one.home).unwrap(), accept_with(shown, &one.home), why, "is a user's");
}

#[test]
fn who_is_of_no_domain_neither_dials_nor_answers() {
    let node = node();
    for result in [Secure::dial(&node.home), Secure::accept(&node.home)] {
        assert!(result.unwrap_err().contains("of no trust domain yet"));
    }
}

#[test]
fn what_is_not_tls_is_told_as_what_it_is() {
    let (one, two) = domain();
    for (bytes, why) in [
        (b"GET / HTTP/1.1\r\n\r\n".as_slice(), "this is not TLS: it begins with \"GET / HTTP/1.1\\r\\n\""),
        (b"\x13\0\0\0\x64\xff\xff\0\0\x01\0\x06\09P2000", "it looks like 9P in the clear: dial tls!"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "an ssh server is there"),
        (b"HTTP/1.1 400 Bad Request\r\n", "a web server is there"),
        (b"\0", "this is not TLS"),
        (b"\x16\x05", "this is not TLS"),
    ] {
        for mut secure in [Secure::accept(&one.home).unwrap(), Secure::dial(&two.home).unwrap()] {
            let mut plain = Vec::new();
            let said = secure.receive(bytes, &mut plain).unwrap_err();
            assert!(said.contains(why), "{said}");
            assert!(plain.is_empty() && secure.peer().is_none());
            assert_eq!(secure.hung_up(), said);
        }
    }
    // TLS, but none that we speak: the head of a ClientHello of 1.0 without the extension that says more.
    let mut old = vec![0x16, 3, 1, 0, 47, 1, 0, 0, 43, 3, 1];
    old.extend([7; 32]);
    old.extend([0, 0, 4, 0, 0x2f, 0, 0xff, 1, 0]);
    let mut secure = Secure::accept(&one.home).unwrap();
    let why = secure.receive(&old, &mut Vec::new()).unwrap_err();
    assert!(why.contains("who dialled speaks another TLS than uem, which speaks 1.3"), "{why}");
    assert!(!secure.output().is_empty(), "an alert tells the other end");
}

#[test]
fn no_session_is_offered_to_be_resumed() {
    let (one, two) = domain();
    let (mut child, mut parent) = (Secure::dial(&two.home).unwrap(), Secure::accept(&one.home).unwrap());
    let mut heard = Ok(Vec::new());
    carry(usize::MAX, &mut child, &mut parent, &mut heard);
    carry(usize::MAX, &mut parent, &mut child, &mut heard);
    carry(usize::MAX, &mut child, &mut parent, &mut heard);
    assert!(parent.peer().is_some() && heard.is_ok());
    assert!(parent.output().is_empty(), "a ticket would be here");
}

#[test]
fn what_is_said_before_the_other_end_is_known_waits() {
    let (one, two) = domain();
    let (mut child, mut parent) = (Secure::dial(&two.home).unwrap(), Secure::accept(&one.home).unwrap());
    let greeting = child.output().len();
    child.send(b"not yet");
    assert_eq!(child.output().len(), greeting);
    parent.send(b"neither");
    assert!(parent.output().is_empty());
    assert_eq!(talk(&mut child, &mut parent), (Ok(b"neither".to_vec()), Ok(b"not yet".to_vec())));
}

#[test]
fn what_was_taken_is_not_kept_though_there_is_always_something_to_send() {
    let (one, two) = domain();
    let (mut child, mut parent) = (Secure::dial(&two.home).unwrap(), Secure::accept(&one.home).unwrap());
    talk(&mut child, &mut parent).0.unwrap();
    child.send(&[1; 1000]);
    for _ in 0..1000 {
        child.send(&[1; 1000]);
        let bytes = child.output()[..1000].to_vec();
        child.consume(1000);
        parent.receive(&bytes, &mut Vec::new()).unwrap();
    }
    // Each record is 22 bytes longer than what is in it: that is left.
    assert!(child.output().len() < 30_000, "{}", child.output().len());
    assert!(child.output.capacity() < 100_000, "{}", child.output.capacity());
    talk(&mut child, &mut parent).1.unwrap();
    child.send(&vec![1; 1 << 20]);
    talk(&mut child, &mut parent).1.unwrap();
    assert!(child.output.capacity() > KEPT, "kept for the next megabyte");
    child.send(b"beat");
    talk(&mut child, &mut parent).1.unwrap();
    assert!(child.output.capacity() <= KEPT, "until there is none");
}

#[test]
fn an_end_that_closes_is_heard_to_the_last_byte() {
    let (one, two) = domain();
    let (mut child, mut parent) = (Secure::dial(&two.home).unwrap(), Secure::accept(&one.home).unwrap());
    talk(&mut child, &mut parent).0.unwrap();
    child.send(b"bye");
    child.close();
    assert_eq!(talk(&mut child, &mut parent), (Ok(vec![]), Ok(b"bye".to_vec())));
    assert_eq!(parent.hung_up(), "who dialled hung up");
    parent.receive(b"and more", &mut Vec::new()).unwrap();
}

#[test]
fn nothing_secret_is_shown_to_who_debugs() {
    let (one, two) = domain();
    let shown = format!("{:?} {:?}", Secure::dial(&two.home), Secure::accept(&one.home));
    assert_eq!(shown, "Ok(Secure(None, handshaking)) Ok(Secure(None, handshaking))");
}
