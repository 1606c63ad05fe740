//! What an identity promises, where a test has to look behind its public face; and certificates that no authority would
//! give, for the tests of TLS.

use super::{
    certificate::{Claim, Point, certify, serial},
    join::Join,
    *,
};
use rustls::{
    crypto::ring::sign::any_ecdsa_type,
    pki_types::{PrivateKeyDer, UnixTime},
    sign::CertifiedKey,
};

/// What a forger would like an authority to sign, and the key that he has.
pub(crate) struct Forged<'a> {
    pub(crate) who: Who,
    /// Whose key the certificate names.
    pub(crate) named: &'a Home,
    /// Whose key he signs with.
    pub(crate) held: &'a Home,
    pub(crate) from: u64,
    pub(crate) until: u64,
}

impl Forged<'_> {
    pub(crate) fn by(&self, authority: &Home) -> CertifiedKey {
        let domain = authority.of_domain().unwrap();
        let (who, key) = (&self.who, &Point::of(&self.named.key).unwrap());
        let claim = Claim { who, key, serial: serial().unwrap(), from: self.from, until: self.until };
        let certificate = certify(domain.authority_key.as_ref().unwrap(), &claim).unwrap();
        let key = PrivateKeyDer::Pkcs8(self.held.key.serialized_der().into());
        CertifiedKey::new(
            vec![certificate, domain.authority.certificate.clone()],
            any_ecdsa_type(&key).unwrap(),
        )
    }
}

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    (dir, home)
}

#[test]
fn a_crash_between_redeeming_and_granting_costs_the_token_and_nothing_else() {
    let ((dir, mut authority), (_other, node)) = (home(), home());
    authority.found("one").unwrap();
    let token = authority.invite(Kind::Node, Duration::from_secs(60)).unwrap();
    let join = node.join(&token, "two");
    let lock = authority.lock().unwrap();
    authority.redeem(&lock, &Join::read(&join).unwrap()).unwrap();
    drop((lock, authority));

    let mut authority = Home::open(dir.path()).unwrap();
    let refused = String::from_utf8(authority.answer(&join)[2..].to_vec()).unwrap();
    assert!(refused.contains("used already, or never given"), "{refused}");
    assert_eq!(authority.members().unwrap().len(), 1, "nobody but the authority");
    let token = authority.invite(Kind::Node, Duration::from_secs(60)).unwrap();
    assert_eq!(authority.answer(&node.join(&token, "two"))[..2], [1, 1]);
}

#[test]
fn a_crash_after_the_domain_was_replaced_leaves_nothing_of_the_old_one_in_force() {
    let ((_a, mut other), (dir, mut node)) = (home(), home());
    other.found("other").unwrap();
    node.found("alone").unwrap();
    let kept: Vec<_> = ["authority-key", "members"].map(|name| (name, node.folder.read(name, 9999))).into();
    let token = other.invite(Kind::Node, Duration::from_secs(60)).unwrap();
    let grant = other.answer(&node.join(&token, "alone"));
    node.accept(&token, &grant).unwrap();
    assert!(!node.folder.path("authority-key").exists());
    // As if it had been killed before it removed them.
    for (name, bytes) in kept {
        node.folder.write(name, &bytes.unwrap().unwrap(), false).unwrap();
    }
    let mut node = Home::open(dir.path()).unwrap();
    assert_eq!(node.domain(), other.domain());
    assert!(!node.is_authority() && node.members().unwrap().is_empty());
    assert!(node.invite(Kind::Node, Duration::from_secs(60)).unwrap_err().contains("not the authority"));
}

#[test]
fn a_line_of_members_that_a_crash_has_cut_costs_no_other() {
    let (_dir, mut authority) = home();
    authority.found("one").unwrap();
    let path = authority.folder.path("members");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole, b"node 12ab".as_slice()].concat()).unwrap();
    let (_other, node) = home();
    let token = authority.invite(Kind::Node, Duration::from_secs(60)).unwrap();
    authority.answer(&node.join(&token, "two"));
    let names: Vec<String> = authority.members().unwrap().into_iter().map(|member| member.name).collect();
    assert_eq!(names, ["one", "two"]);
}

#[test]
fn a_certificate_is_good_as_long_as_its_invitation_said() {
    let ((_a, mut authority), (_b, mut node)) = (home(), home());
    authority.found("one").unwrap();
    for (lifetime, good) in [(LIFETIME, LIFETIME), (Duration::from_secs(600), Duration::from_secs(600))] {
        let token = authority.invite_for(Kind::Node, Duration::from_secs(60), lifetime).unwrap();
        let grant = authority.answer(&node.join(&token, "two"));
        node.accept(&token, &grant).unwrap();
        let domain = node.of_domain().unwrap();
        let at = |seconds: i64| {
            let time =
                UnixTime::since_unix_epoch(Duration::from_secs(now().checked_add_signed(seconds).unwrap()));
            domain.authority.judge(None, &domain.shown.cert[0], &[], time, Part::Dialled)
        };
        let good = good.as_secs() as i64;
        assert!(at(good - 60).is_ok());
        assert!(matches!(at(good + 60), Err(Flaw::Expired(_))));
        // By a clock that is a day behind.
        assert!(at(-23 * 3600).is_ok());
        assert!(matches!(at(-25 * 3600), Err(Flaw::TooEarly(_))));
    }
}

#[test]
fn only_what_uem_would_write_is_read_as_who_somebody_is() {
    let id = NodeId(0x12);
    for name in ["a", "böse", "x%y", "~a.b-c_d", "0a"] {
        for who in [Who::Node { id, name: name.into() }, Who::User { name: name.into() }] {
            let uri = certificate::uri(&who);
            assert!(uri.is_ascii());
            assert_eq!(certificate::of_uri(&uri), Some(who), "{uri}");
        }
    }
    for uri in [
        "uem://node/12/a",
        "uem://node/00000000000000000000000000000012/",
        "uem://node/00000000000000000000000000000012/12",
        "uem://node/0000000000000000000000000000001X/a",
        "uem://node/00000000000000000000000000000012/a/b",
        "uem://node/+0000000000000000000000000000012/a",
        "uem://user/a%2fb",
        "uem://user/%61",
        "uem://user/a%2",
        "uem://user/%ff",
        "uem://user/a b",
        "uem://user",
        "uem://root/a",
        "https://user/a",
    ] {
        assert_eq!(certificate::of_uri(uri), None, "{uri}");
    }
}

#[test]
fn names_are_one_path_element_and_no_number() {
    for good in ["a", "node01", "1a", "ann.lee", "böse", "-", &"n".repeat(NAME_BYTES)] {
        assert_eq!(check_name(good), Ok(()));
    }
    for bad in
        ["", "12", "a/b", "a b", "a\nb", "a\u{7f}", "..", ".", "...", "a\u{a0}b", &"n".repeat(NAME_BYTES + 1)]
    {
        assert!(check_name(bad).is_err(), "{bad:?}");
    }
}
