//! Nodes that find each other, on a network of their own: two network namespaces and a cable, which the test makes and removes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use link::discovery::{About, Announce, Browse, Neighbour, Seen, find, list};
use link::identity::{Home, Pin};
use op::NodeId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

/// Two namespaces with a cable between them.
struct Lab {
    names: [String; 2],
}

fn ip(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output().map_err(|e| format!("ip: {e}"))?;
    let said = || format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said()) }
}

impl Lab {
    /// `None`, and a printed reason, where nobody may make namespaces.
    fn new(test: &str, cable: bool) -> Option<Lab> {
        let name = |end: &str| format!("uem-{test}-{}-{end}", std::process::id());
        let lab = Lab { names: [name("a"), name("b")] };
        match lab.make(cable) {
            Ok(()) => Some(lab),
            Err(why) => {
                println!("not tried: {why}");
                None
            }
        }
    }

    fn make(&self, cable: bool) -> Result<(), String> {
        let [a, b] = [&self.names[0], &self.names[1]];
        ip(&["netns", "add", a])?;
        ip(&["netns", "add", b])?;
        if cable {
            ip(&["-n", a, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b])?;
            for (name, address) in [(a, "10.99.0.1/24"), (b, "10.99.0.2/24")] {
                ip(&["-n", name, "addr", "add", address, "dev", "eth0"])?;
                ip(&["-n", name, "link", "set", "lo", "up"])?;
                ip(&["-n", name, "link", "set", "eth0", "up"])?;
            }
            // A cable is not used before the kernel says that it is plugged in, a moment later.
            self.wait(a, "state UP")?;
            self.wait(b, "state UP")?;
        }
        Ok(())
    }

    fn wait(&self, name: &str, state: &str) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            let output = Command::new("ip").args(["-n", name, "link", "show", "eth0"]).output();
            if String::from_utf8_lossy(&output.map_err(|e| e.to_string())?.stdout).contains(state) {
                return Ok(());
            }
        }
        Err(format!("the cable of {name} is not in {state}"))
    }

    /// Does something at one end, in a thread of that namespace (and so are the threads that it makes).
    fn at<T: Send>(&self, end: usize, act: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.names[end])).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            inside.join().unwrap()
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in &self.names {
            let _not_made = ip(&["netns", "del", name]);
        }
    }
}

fn pin() -> Pin {
    let dir = tempfile::tempdir().unwrap();
    let mut home = Home::open(dir.path()).unwrap();
    home.found("a").unwrap();
    home.domain().unwrap()
}

/// Ids are random from their first digit on, and so are these.
fn node_id(id: u128) -> NodeId {
    NodeId(id.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
}

fn about(id: u128, name: &str, domain: Option<&Pin>) -> About {
    About {
        id: node_id(id),
        name: name.into(),
        domain: domain.map(Pin::short),
        loc: Some("s/r".into()),
        auto: false,
    }
}

/// A port of this namespace that is listened on.
fn port() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Listens until something was seen that is wanted; fails after a minute.
fn until<T>(browse: &mut Browse, mut wanted: impl FnMut(Seen) -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < deadline, "it was not seen");
        let mut fds = [PollFd::from_borrowed_fd(browse.poll_fd(), PollFlags::IN)];
        // Nothing is heard that the descriptor has not told of.
        if poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })).unwrap() == 0 {
            continue;
        }
        let mut seen = Vec::new();
        browse.turn(&mut seen);
        if let Some(found) = seen.into_iter().find_map(&mut wanted) {
            return found;
        }
    }
}

#[test]
fn a_node_is_found_over_the_cable_with_its_address_and_gone_when_it_says_goodbye() {
    let Some(lab) = Lab::new("found", true) else { return };
    let (own, other) = (pin(), pin());
    let me = about(9, "me", Some(&own));
    let (_listener, listen) = lab.at(0, port);
    let announce = |about: &About| lab.at(0, || Announce::new(about, listen).unwrap());
    let first = announce(&about(0xabc, "first", Some(&own)));
    let second = announce(&about(0xdef, "second", Some(&other)));
    let third = announce(&about(0x123, "third", None));
    let itself = announce(&me);

    let mut browse = lab.at(1, || Browse::new().unwrap());
    let node: Neighbour = until(&mut browse, |seen| match seen {
        Seen::There(node) if node.about.name == "first" => Some(node),
        Seen::There(_) | Seen::Gone(_) => None,
    });
    assert_eq!(node.about, about(0xabc, "first", Some(&own)));
    assert_eq!(node.addrs[0], SocketAddr::new("10.99.0.1".parse().unwrap(), listen.port()));
    assert!(node.addrs.iter().all(|addr| !addr.ip().is_loopback()), "{:?}", node.addrs);
    assert_eq!(node.dial()[0].to_string(), format!("tls!10.99.0.1!{}", listen.port()));

    // Everybody is listed; of one's own domain is one, and oneself is not.
    let began = Instant::now();
    let names: Vec<String> =
        lab.at(1, || list(Duration::from_millis(1500)).unwrap()).into_iter().map(|n| n.about.name).collect();
    assert_eq!(names, ["first", "me", "second", "third"]);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let found = lab.at(1, || find(&me, &own, Duration::from_millis(1500)).unwrap());
    assert_eq!(found.iter().map(|node| node.about.name.as_str()).collect::<Vec<_>>(), ["first"]);

    first.stop();
    until(&mut browse, |seen| (seen == Seen::Gone(node_id(0xabc))).then_some(()));
    drop(second);
    until(&mut browse, |seen| (seen == Seen::Gone(node_id(0xdef))).then_some(()));
    drop((third, itself));
}

#[test]
fn two_nodes_of_one_name_are_two() {
    let Some(lab) = Lab::new("names", true) else { return };
    let own = pin();
    let (_listener, listen) = lab.at(0, port);
    let (_other, elsewhere) = lab.at(1, port);
    let _one = lab.at(0, || Announce::new(&about(1, "same", Some(&own)), listen).unwrap());
    let _two = lab.at(1, || Announce::new(&about(2, "same", Some(&own)), elsewhere).unwrap());
    let all = lab.at(1, || list(Duration::from_secs(2)).unwrap());
    let ids: Vec<NodeId> = all.iter().map(|node| node.about.id).collect();
    let mut both = [node_id(1), node_id(2)];
    both.sort();
    assert_eq!(ids, both);
}

#[test]
fn without_a_network_nobody_is_seen_and_nothing_fails() {
    let Some(lab) = Lab::new("alone", false) else { return };
    let own = pin();
    lab.at(0, || {
        let (_listener, listen) = port();
        let announce = Announce::new(&about(5, "alone", Some(&own)), listen).unwrap();
        assert_eq!(list(Duration::from_millis(300)).unwrap(), vec![]);
        announce.stop();
    });
}

#[test]
fn a_network_that_comes_later_is_used() {
    let Some(lab) = Lab::new("later", true) else { return };
    let own = pin();
    ip(&["-n", &lab.names[0], "link", "set", "eth0", "down"]).unwrap();
    lab.wait(&lab.names[0], "state DOWN").unwrap();
    let (_listener, listen) = lab.at(0, port);
    let _announce = lab.at(0, || Announce::new(&about(6, "late", Some(&own)), listen).unwrap());
    let mut browse = lab.at(1, || Browse::new().unwrap());
    ip(&["-n", &lab.names[0], "link", "set", "eth0", "up"]).unwrap();
    until(&mut browse, |seen| match seen {
        Seen::There(node) if node.about.name == "late" => Some(()),
        Seen::There(_) | Seen::Gone(_) => None,
    });
}
