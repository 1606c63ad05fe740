//! What a clock that jumps does to a node among others: nothing.

use kernel::{Effect, Event, Kernel, LinkId, Node, Peer};
use op::{Clock, Mono, NodeId, Uid, User, Wall};
use std::sync::Arc;

fn node() -> Kernel {
    let groups = vec![(0, "root".into())];
    let owner =
        User { uid: Uid(0), name: "root".into(), groups, home: "/root".into(), shell: "/bin/sh".into() };
    Kernel::new(Node {
        id: NodeId(7),
        name: "b".into(),
        owner: Arc::new(owner),
        env: Vec::new(),
        attrs: Vec::new(),
        started: Wall(0),
        fs: false,
        store: 0,
    })
}

/// A kernel and what it would have to be told again after a restart.
struct World {
    kernel: Kernel,
    journal: Vec<Vec<u8>>,
    mono: u64,
}

impl World {
    fn new(journal: Vec<Vec<u8>>) -> World {
        let mut this = World { kernel: node(), journal: Vec::new(), mono: 0 };
        for line in journal {
            this.event(0, Event::Recall(line));
        }
        this.event(0, Event::Recalled);
        this
    }

    fn event(&mut self, wall_secs: u64, event: Event) -> Vec<Effect> {
        self.mono += 1_000_000_000;
        let clock = Clock { mono: Mono(self.mono), wall: Wall(wall_secs * 1_000_000_000) };
        let mut effects = Vec::new();
        self.kernel.handle(clock, event, &mut effects);
        for effect in &effects {
            if let Effect::Journal(line) = effect {
                self.journal.push(line.clone());
            } else if let Effect::Rewrite(lines) = effect {
                let lines = lines.split(|b| *b == b'\n').filter(|line| !line.is_empty());
                self.journal = lines.map(<[u8]>::to_vec).collect();
            }
        }
        effects
    }

    /// Takes a parent at this time of its clock, loses it again, and gives the term that it told.
    fn link(&mut self, link: u64, wall_secs: u64) -> u64 {
        let peer = Peer { id: NodeId(1), name: "a".into(), above: true };
        let effects = self.event(wall_secs, Event::Linked { link: LinkId(link), peer });
        self.event(wall_secs, Event::Unlinked { link: LinkId(link), why: "a test".into(), left: false });
        let news = effects.iter().find_map(|effect| match effect {
            Effect::News(_, text) => String::from_utf8(text.clone()).ok(),
            _ => None,
        });
        let news = news.expect("it tells its parent of itself");
        let line = news.lines().find(|line| line.starts_with("node ")).expect("a line about itself");
        line.split(' ').nth(4).expect("a term").parse().expect("a number")
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_make_its_word_an_old_one() {
    let mut world = World::new(Vec::new());
    let first = world.link(1, 2_000_000_000);
    let second = world.link(2, 1_000);
    assert!(second > first, "{second} after {first}");
    // Nor does a restart with a clock that has lost everything.
    let third = World::new(world.journal).link(1, 0);
    assert!(third > second, "{third} after {second}");
}
