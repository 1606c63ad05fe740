//! Whom another node asks for is what the host says of the name, and nothing that the name looks like.

use kernel::{ClientId, Effect, Event, Kernel, LinkId, Node, Peer};
use op::{Access, Clock, Fid, NodeId, Op, Reply, Tag, Uid, User, Wall};
use std::sync::Arc;

fn user(uid: u32, name: &str) -> Arc<User> {
    let groups = vec![(uid, name.into())];
    Arc::new(User { uid: Uid(uid), name: name.into(), groups, home: "/".into(), shell: "/bin/sh".into() })
}

const CALLER: ClientId = ClientId(5);
const HERE: ClientId = ClientId(6);

/// A kernel that a child's node may ask.
fn called() -> Kernel {
    let mut kernel = Kernel::new(Node {
        id: NodeId(7),
        name: "b".into(),
        owner: user(0, "root"),
        env: Vec::new(),
        attrs: Vec::new(),
        started: Wall(0),
        fs: false,
        store: 0,
    });
    let link = LinkId(1);
    let peer = Peer { id: NodeId(8), name: "c".into(), above: false };
    event(&mut kernel, Event::Recalled);
    event(&mut kernel, Event::Linked { link, peer });
    event(&mut kernel, Event::Caller { link, client: CALLER });
    kernel
}

fn event(kernel: &mut Kernel, event: Event) -> Vec<Effect> {
    let mut effects = Vec::new();
    kernel.handle(Clock::default(), event, &mut effects);
    kernel.check();
    effects
}

fn ask(kernel: &mut Kernel, client: ClientId, uid: u32, op: Op) -> Vec<Effect> {
    event(kernel, Event::Request { client, tag: Tag(1), uid: Uid(uid), op })
}

fn attach(user: &str) -> Op {
    Op::Attach { fid: Fid(1), user: user.into(), tree: String::new() }
}

fn answers(effects: &[Effect]) -> Vec<&Reply> {
    let replies = effects.iter().filter_map(|effect| match effect {
        Effect::Answer(_, _, reply) => Some(reply),
        _ => None,
    });
    replies.collect()
}

#[test]
fn a_name_that_cannot_be_one_here_is_answered_all_the_same() {
    for name in ["", "a/b", "somebody with a very long name"] {
        let mut kernel = called();
        let asked = ask(&mut kernel, CALLER, 0, attach(name));
        assert!(asked.contains(&Effect::Admit(name.into())), "{asked:?}");
        let told = event(&mut kernel, Event::Admitted(name.into(), user(Uid::FOREIGN.0 + 3, "nobody")));
        assert!(matches!(answers(&told)[..], [Reply::Attached(_)]), "{name:?}: {told:?}");
        assert_eq!(kernel.waiting(), 0);
    }
}

#[test]
fn a_number_of_another_machine_is_nobodys_here() {
    let mut kernel = called();
    // Somebody of this machine who has no name, and a session of his.
    event(&mut kernel, Event::User(user(4711, "4711")));
    event(&mut kernel, Event::Connect { client: HERE, links: false });
    let both = Access { read: true, write: true, truncate: false };
    ask(&mut kernel, HERE, 4711, attach(""));
    ask(&mut kernel, HERE, 4711, Op::Walk { fid: Fid(1), newfid: Fid(2), names: vec!["clone".into()] });
    ask(&mut kernel, HERE, 4711, Op::Open { fid: Fid(2), access: both });
    // The other node's 4711 is somebody else.
    let asked = ask(&mut kernel, CALLER, 4711, attach("4711"));
    assert!(asked.contains(&Effect::Admit("4711".into())), "{asked:?}");
    event(&mut kernel, Event::Admitted("4711".into(), user(Uid::FOREIGN.0 + 3, "4711")));
    let names = ["net", "b", "0", "ctl"].map(String::from).to_vec();
    ask(&mut kernel, CALLER, 4711, Op::Walk { fid: Fid(1), newfid: Fid(2), names });
    let opened = ask(&mut kernel, CALLER, 4711, Op::Open { fid: Fid(2), access: both });
    assert!(
        matches!(answers(&opened)[..], [Reply::Failed(error)] if error.errno == op::Errno::ACCES),
        "{opened:?}"
    );
}
