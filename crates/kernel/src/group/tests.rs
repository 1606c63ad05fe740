//! What is beyond a neighbour, with a far end that is a script: this node is `a`, `b` is below it and `c` below that, and on `c` there was
//! session 5.

use super::*;
use crate::{
    Clock, Effect, Event, LinkId, Node, Peer,
    place::{Subject, View},
};
use alloc::{sync::Arc, vec, vec::Vec};
use op::{FileKind, Op, Qid, Reply, Tag, Uid, User, Wall};

const A: NodeId = NodeId(7);
const B: NodeId = NodeId(8);
const C: NodeId = NodeId(9);
const LINK: LinkId = LinkId(1);

/// The kernel of `a`, and what it asks over its only link.
struct Far {
    kernel: Kernel,
    at: u64,
    asked: Vec<(Tag, Op)>,
    journal: Vec<Vec<u8>>,
    /// `b` knows of `c`.
    knows: bool,
    /// The session is there.
    there: bool,
    answers: BTreeMap<Tag, Reply>,
}

impl Far {
    fn new() -> Far {
        let (env, attrs, groups) = (Vec::new(), Vec::new(), vec![(0, "root".into())]);
        let owner =
            User { uid: Uid(0), name: "root".into(), groups, home: "/root".into(), shell: "/bin/sh".into() };
        let node = Node {
            id: A,
            name: "a".into(),
            owner: Arc::new(owner),
            env,
            attrs,
            started: Wall(0),
            fs: false,
            store: 0,
        };
        Far {
            kernel: Kernel::new(node),
            at: 0,
            asked: Vec::new(),
            journal: Vec::new(),
            knows: true,
            there: false,
            answers: BTreeMap::new(),
        }
    }

    fn event(&mut self, event: Event) {
        let clock = Clock { mono: Mono(self.at), wall: Wall(self.at) };
        let mut done = Vec::new();
        self.kernel.handle(clock, event, &mut done);
        self.kernel.check();
        for effect in done {
            match effect {
                Effect::Ask { tag, op, .. } => self.asked.push((tag, op)),
                Effect::Answer(_, tag, reply) => drop(self.answers.insert(tag, reply)),
                Effect::Journal(line) => self.journal.push(line),
                _ => {}
            }
        }
    }

    /// The journal is read.
    fn recall(&mut self, lines: &[Vec<u8>]) {
        lines.iter().for_each(|line| self.event(Event::Recall(line.clone())));
        self.event(Event::Recalled);
    }

    /// The journal is read, and the link comes.
    fn begin(&mut self, lines: &[Vec<u8>]) {
        self.recall(lines);
        self.event(Event::Linked { link: LINK, peer: Peer { id: B, name: "b".into(), above: false } });
        self.news();
    }

    /// `b` says again who there is.
    fn news(&mut self) {
        let news = format!("node {B} b {A} 1 up 0 ''\nnode {C} c {B} 1 up 0 ''\n");
        self.event(Event::News(LINK, news.into_bytes()));
    }

    /// Answers what has been asked by now, in its order; not what is asked after that.
    fn answer(&mut self) {
        for (tag, op) in core::mem::take(&mut self.asked) {
            let reply = self.reply(&op);
            self.event(Event::Answered { link: LINK, tag, reply });
        }
    }

    fn reply(&self, op: &Op) -> Reply {
        let walked = |n: usize| Reply::Walked(vec![Qid { kind: FileKind::Dir, version: 0, path: 1 }; n]);
        let node = if self.knows { 2 } else { 1 };
        match op {
            Op::Attach { .. } => Reply::Attached(Qid { kind: FileKind::Dir, version: 0, path: 0 }),
            Op::Walk { names, .. } if names[0] == "net" => walked(node),
            Op::Walk { names, .. } if self.there => walked(names.len()),
            Op::Walk { .. } if self.knows => {
                Reply::Failed(Error::new(Errno::NOENT, "no session 5 on c: it was freed"))
            }
            Op::Clunk { .. } | Op::Flush { .. } => Reply::Done,
            _ => Reply::errno(Errno::BADF),
        }
    }

    /// The numbers of what is remembered of freed groups.
    fn behind(&self) -> Vec<u64> {
        self.kernel.groups.behind.keys().copied().collect()
    }

    fn share(&self, id: SessionId) -> &Share {
        &self.kernel.group(id).expect("it is a group").shares[&1]
    }

    /// A group of one member, which is in session 5 of `c`; its journal is that of a node that was started again.
    fn with_share(life: Duration) -> (Far, SessionId) {
        let mut far = Far::new();
        let id = far.kernel.clone_in(Uid(0), Subject::Node(View::Net)).unwrap();
        let lease = format!("{}s", life.as_secs());
        let group = far.kernel.group_mut(id).unwrap();
        group.recall_share(1, &[&format!("{C}"), "c", "5", "down", &lease]).unwrap();
        (group.size, group.runs) = (1, true);
        group.active.insert(0);
        group.placed.insert(0, C);
        group.shares.get_mut(&1).unwrap().ranks.insert(0);
        far.kernel.groups.held.insert(C, 1);
        far.begin(&[]);
        (far, id)
    }
}

/// The line of the journal about session 5 of `c`, left behind at this time.
fn behind(since: u64) -> Vec<u8> {
    format!("behind 1 {C} c 5 root {since}").into_bytes()
}

#[test]
fn a_share_that_its_own_node_says_is_gone_is_not_looked_for_again_whatever_news_come_meanwhile() {
    let (mut far, id) = Far::with_share(Duration::from_secs(60));
    assert!(!far.asked.is_empty(), "it is looked for");
    for _ in 0..10 {
        // Before the answers are there, something is heard that makes it worth another try.
        far.at += 1_000_000_000;
        far.news();
        far.answer();
    }
    let refused = far.share(id).refused.clone().expect("it is known to be gone");
    assert!(refused.cause.contains("no session 5 on c"), "{refused}");
    assert!(far.kernel.group(id).unwrap().is_over(), "its rank has ended");
    far.at += 1_000_000_000;
    far.news();
    assert_eq!(far.asked, [], "and nobody asks for it");
}

#[test]
fn ranks_that_leave_and_of_which_the_share_is_not_known_any_more_are_waited_for_by_whoever_frees_them_again()
{
    let (mut far, id) = Far::with_share(Duration::from_secs(60));
    let group = far.kernel.group_mut(id).unwrap();
    // A journal that was written anew says that 0 leaves, and no more who has it.
    group.active.remove(0);
    let share = group.shares.get_mut(&1).unwrap();
    share.ranks.remove(0);
    share.leaving.insert(0);
    assert!(
        far.kernel.free_ranks(id, &[0].into_iter().collect()).is_some(),
        "c has not said that it is gone"
    );
    assert_eq!(far.kernel.free_ranks(id, &[1].into_iter().collect()), None, "nobody has 1");
}

#[test]
fn who_does_not_know_the_node_of_a_share_says_nothing_of_what_is_there() {
    let (mut far, id) = Far::with_share(Duration::from_secs(60));
    // When it was asked first, it knew; when it was asked why, it did not any more.
    far.answer();
    far.knows = false;
    for _ in 0..10 {
        far.answer();
    }
    assert_eq!(far.share(id).refused, None, "it may run there");
    assert!(!far.kernel.group(id).unwrap().is_over());
    far.at += (Duration::from_secs(60) + limits::LOST).as_nanos() as u64;
    far.event(Event::Tick);
    assert!(far.share(id).refused.is_some(), "it has its time, and no more");
}

#[test]
fn a_kept_share_of_a_freed_group_is_not_forgotten_since_somebody_does_not_know_its_node() {
    let mut far = Far::new();
    far.knows = false;
    far.begin(&[behind(0)]);
    assert!(!far.asked.is_empty(), "it is told");
    for _ in 0..5 {
        far.answer();
    }
    assert_eq!(far.behind(), [1], "it may run there");
    // It is told again after a while, and not before.
    far.knows = true;
    far.at += limits::BEHIND_AGAIN.as_nanos() as u64 - 1;
    far.event(Event::Tick);
    assert_eq!(far.asked, []);
    far.at += 1;
    far.event(Event::Tick);
    assert!(!far.asked.is_empty());
    for _ in 0..5 {
        far.answer();
    }
    assert!(far.behind().is_empty(), "its own node says that it is gone");
}

#[test]
fn of_more_kept_shares_of_freed_groups_than_are_remembered_the_last_ones_are_also_after_a_restart() {
    let mut far = Far::new();
    far.recall(&[]);
    let most = limits::BEHIND as u64;
    for no in 0..most + 3 {
        assert_eq!(far.behind().len() as u64, no.min(most));
        let id = far.kernel.clone_in(Uid(0), Subject::Node(View::Net)).unwrap();
        let group = far.kernel.group_mut(id).unwrap();
        group.recall_share(no, &[&format!("{C}"), "c", &format!("{no}"), "down", "keep"]).unwrap();
        far.kernel.free(id);
        far.event(Event::Tick);
    }
    let last: Vec<u64> = (3..most + 3).collect();
    assert_eq!(far.behind(), last);
    let mut again = Far::new();
    again.at = far.at;
    again.recall(&far.journal);
    assert_eq!(again.behind(), last);
}

#[test]
fn what_a_freed_group_left_behind_is_remembered_for_its_time_and_no_longer() {
    let since = 1_000;
    let end = since + limits::BEHIND_FOR.as_nanos() as u64;
    let mut far = Far::new();
    far.at = end;
    far.recall(&[behind(since)]);
    assert_eq!(far.behind(), [1]);
    far.at += 1;
    far.event(Event::Tick);
    assert!(far.behind().is_empty());
    assert!(far.journal.contains(&b"nobehind 1".to_vec()), "nor is it after a restart");
}

#[test]
fn what_is_there_when_it_is_asked_why_it_was_not_is_not_said_to_be_gone() {
    let mut far = Far::new();
    far.begin(&[]);
    let client = crate::ClientId(1);
    far.event(Event::Connect { client, links: true });
    let ask = |far: &mut Far, tag: u64, op: Op| {
        far.event(Event::Request { client, tag: Tag(tag), uid: Uid(0), op });
    };
    let walk = |fid: u32, newfid: u32, names: &[&str]| {
        let names = names.iter().map(|name| String::from(*name)).collect();
        Op::Walk { fid: op::Fid(fid), newfid: op::Fid(newfid), names }
    };
    ask(&mut far, 1, Op::Attach { fid: op::Fid(0), user: String::new(), tree: String::new() });
    ask(&mut far, 2, walk(0, 1, &["net", "c"]));
    far.answer();
    // No way leads from `b` to `c` while it is walked, and one does again when it is asked what was wrong.
    ask(&mut far, 3, walk(1, 2, &["5"]));
    far.answer();
    far.there = true;
    (0..3).for_each(|_| far.answer());
    let Some(Reply::Failed(error)) = far.answers.get(&Tag(3)) else { panic!("{:?}", far.answers) };
    assert_eq!(error.errno, Errno::AGAIN, "{error}");
}
