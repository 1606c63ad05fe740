//! What is said is understood, nonsense is not, and the choice of a parent is one.

use super::*;

fn about(id: u128, auto: bool, loc: &str) -> About {
    let loc = (!loc.is_empty()).then(|| loc.to_string());
    About { id: NodeId(id), name: format!("n{id}"), domain: Some(pin().short()), loc, auto }
}

fn pin() -> Pin {
    let dir = tempfile::tempdir().unwrap();
    let mut home = crate::identity::Home::open(dir.path()).unwrap();
    home.found("a").unwrap();
    home.domain().unwrap()
}

#[test]
fn what_a_node_says_of_itself_is_understood() {
    for about in [
        About { id: NodeId(7), name: "a".into(), domain: None, loc: None, auto: false },
        About {
            id: NodeId(u128::MAX),
            name: "grün".into(),
            domain: Some("0123456789ab".into()),
            loc: Some("site/rack 3".into()),
            auto: true,
        },
    ] {
        let txt = about.to_txt();
        let get = |key: &str| txt.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_str());
        assert_eq!(About::from_txt(get), Some(about.clone()));
    }
}

#[test]
fn what_is_no_node_is_not_seen() {
    let good = [("v", "1"), ("id", "0000000000000000000000000000000a"), ("name", "a")];
    let read = |key: &str, value: Option<&'static str>| {
        About::from_txt(
            |asked| if asked == key { value } else { good.iter().find(|g| g.0 == asked).map(|g| g.1) },
        )
    };
    assert!(read("none", None).is_some());
    for (key, value) in [
        ("v", Some("2")),
        ("v", None),
        ("id", None),
        ("id", Some("a")),
        ("id", Some("+000000000000000000000000000000a")),
        ("name", Some("")),
        ("name", Some("a/b")),
        ("name", Some("..")),
        ("name", Some("a\nb")),
    ] {
        assert_eq!(read(key, value), None, "{key}={value:?}");
    }
    assert_eq!(read("domain", Some("not hex")).unwrap().domain, None);
}

#[test]
fn a_parent_is_of_the_domain_and_never_oneself_and_the_choice_is_one() {
    let pin = pin();
    let node = |id, auto, loc: &str| {
        let about = About { domain: Some(pin.short()), ..about(id, auto, loc) };
        Neighbour { about, addrs: vec!["192.0.2.1:1".parse().unwrap()] }
    };
    let mut other = node(1, false, "");
    other.about.domain = Some("ffffffffffff".into());
    let mut none = node(2, false, "");
    none.about.domain = None;
    let me = node(50, true, "s/r1").about;
    let all = vec![
        other,
        none,
        node(50, false, ""),
        node(60, true, "s/r1"),
        node(40, true, "s/r1"),
        node(30, true, "s"),
        node(90, false, ""),
        node(80, false, "t"),
        node(99, false, "s/r2"),
    ];
    let mut backwards: Vec<Neighbour> = all.iter().rev().cloned().collect();
    let mut forwards = all;
    choose(&me, &pin, &mut forwards);
    choose(&me, &pin, &mut backwards);
    assert_eq!(forwards, backwards);
    let ids: Vec<u128> = forwards.iter().map(|node| node.about.id.0).collect();
    assert_eq!(ids, [99, 80, 90, 40, 30]);
}

#[test]
fn nodes_that_look_for_each_other_make_no_circle() {
    let pin = pin();
    let nodes: Vec<Neighbour> = (1..=20u128)
        .map(|id| {
            let place = ["", "a", "a/b", "c"][(id * 7 % 4) as usize];
            Neighbour {
                about: About { domain: Some(pin.short()), ..about(id, true, place) },
                addrs: Vec::new(),
            }
        })
        .collect();
    let parent = |id: u128| {
        let mut others = nodes.clone();
        choose(&nodes[id as usize - 1].about, &pin, &mut others);
        others.first().map(|node| node.about.id.0)
    };
    for id in 1..=20 {
        let (mut at, mut steps) = (id, 0);
        while let Some(above) = parent(at) {
            (at, steps) = (above, steps + 1);
            assert!(steps < 20, "a circle at {id}");
        }
        assert_eq!(at, 1, "one root");
    }
}

#[test]
fn addresses_become_what_is_dialled() {
    let addrs = vec!["192.0.2.7:99".parse().unwrap(), "[2001:db8::1]:99".parse().unwrap()];
    let node = Neighbour { about: about(1, false, ""), addrs };
    let dialled: Vec<String> = node.dial().iter().map(ToString::to_string).collect();
    assert_eq!(dialled, ["tls!192.0.2.7!99", "tls!2001:db8::1!99"]);
    for text in dialled {
        assert!(Addr::parse_link(&text).is_ok(), "{text}");
    }
}

#[test]
fn what_nobody_could_reach_is_not_announced() {
    let refused = Announce::new(&about(1, false, ""), "127.0.0.1:9".parse().unwrap());
    assert!(refused.is_err_and(|why| why.contains("this machine only")));
}

#[test]
fn addresses_that_are_likely_to_work_come_first_and_have_a_bound() {
    let sorted = ["192.0.2.7:9", "[2001:db8::1]:9", "169.254.1.1:9", "[fe80::1%3]:9", "127.0.0.1:9"];
    let mut addrs: Vec<SocketAddr> = sorted.iter().rev().map(|addr| addr.parse().unwrap()).collect();
    daemon::by_likelihood(&mut addrs);
    assert_eq!(addrs.iter().map(ToString::to_string).collect::<Vec<_>>(), sorted);
    let mut many: Vec<SocketAddr> = (1..=200).map(|n| SocketAddr::from(([10, 0, 0, n], 9))).collect();
    daemon::by_likelihood(&mut many);
    assert_eq!(many.len(), ADDRESSES);
}
