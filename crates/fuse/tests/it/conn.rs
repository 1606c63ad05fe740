//! The protocol, request by request: messages made by hand, a tree in memory, and an interrupt at every point.

use crate::common::wire::{Call, names, u32_at, u64_at};
use crate::common::world::World;
use op::{Errno, Error, Op, Reply, Uid};

/// A world after `INIT`.
fn begun() -> World {
    let mut world = World::new();
    world.send(&Call::Init.message(2, 0, 0));
    world.run_all();
    assert_eq!(world.answers.pop_front().unwrap().result(), Ok(()));
    world
}

/// Sends a request, lets the tree do all of it, and gives the answer's body.
fn ask(world: &mut World, node: u64, call: &Call) -> Result<Vec<u8>, Errno> {
    world.send(&call.message(1000, node, 7));
    world.run_all();
    let answer = world.answers.pop_front().expect("it is answered");
    assert_eq!((answer.unique(), world.answers.len()), (1000, 0));
    answer.result().map(|()| answer.body().to_vec())
}

fn lookup(world: &mut World, node: u64, name: &str) -> u64 {
    u64_at(&ask(world, node, &Call::Lookup(name.into())).unwrap(), 0)
}

fn open(world: &mut World, node: u64, flags: u32) -> (u64, u32) {
    let body = ask(world, node, &Call::Open(flags)).unwrap();
    (u64_at(&body, 0), u32_at(&body, 8))
}

#[test]
fn init_attaches_then_agrees_on_what_is_wanted() {
    let mut world = World::new();
    world.send(&Call::Init.message(2, 0, 0));
    assert!(world.answers.is_empty());
    assert!(matches!(&world.held[..], [(_, Uid(0), Op::Attach { tree, .. })] if tree.is_empty()));
    world.run_all();
    let answer = world.answers.pop_front().unwrap();
    let body = answer.body();
    assert_eq!(body.len(), 64);
    assert_eq!((u32_at(body, 0), u32_at(body, 4)), (7, 38));
    assert_eq!(u32_at(body, 12), 1 | 1 << 3 | 1 << 5 | 1 << 15 | 1 << 18 | 1 << 22, "flags");
    assert_eq!(u32_at(body, 20), 1 << 20, "largest write");
    assert_eq!(u32_at(body, 28), 256, "pages, and no alignment");
    world.end();
}

#[test]
fn files_are_renamed_and_links_made() {
    let mut world = begun();
    let many = lookup(&mut world, 1, "many");
    let rename = |name: &str, dir: u64, to: &str, flags: u32| Call::Rename {
        name: name.into(),
        dir,
        to: to.into(),
        flags,
    };
    ask(&mut world, 1, &rename("hello", many, "moved", 0)).unwrap();
    assert_eq!(ask(&mut world, 1, &Call::Lookup("hello".into())), Err(Errno::NOENT));
    lookup(&mut world, many, "moved");
    assert_eq!(ask(&mut world, many, &rename("moved", many, "file001", 1)), Err(Errno::EXIST));
    let back = Call::OldRename { name: "moved".into(), dir: 1, to: "hello".into() };
    ask(&mut world, many, &back).unwrap();
    assert_eq!(ask(&mut world, 1, &rename("hello", many, "file001", 2)), Err(Errno::INVAL), "an exchange");
    assert_eq!(ask(&mut world, 1, &rename("hello", many, "x/y", 0)), Err(Errno::INVAL));
    assert_eq!(ask(&mut world, 1, &rename("hello", 4242, "x", 0)), Err(Errno::STALE));
    let link = Call::Symlink { name: "new".into(), target: "../x/y".into() };
    let node = u64_at(&ask(&mut world, 1, &link).unwrap(), 0);
    assert_eq!(ask(&mut world, node, &Call::ReadLink).unwrap(), b"../x/y");
    assert_eq!(node, lookup(&mut world, 1, "new"));
    world.end();
}

#[test]
fn a_kernel_of_another_major_is_answered_as_fuse_says() {
    for (major, minor, error) in [(8, 0, Ok(())), (6, 9, Err(Errno::PROTO)), (7, 30, Err(Errno::PROTO))] {
        let mut world = World::new();
        let (opcode, mut body) = Call::Init.body();
        body[..4].copy_from_slice(&u32::to_ne_bytes(major));
        body[4..8].copy_from_slice(&u32::to_ne_bytes(minor));
        world.send(&crate::common::wire::message(opcode, 2, 0, 0, &body));
        assert_eq!(world.answers.pop_front().unwrap().result(), error);
        world.send(&Call::Init.message(4, 0, 0));
        world.run_all();
        assert_eq!(world.answers.pop_front().unwrap().result(), Ok(()), "the next one is as usual");
        world.end();
    }
}

#[test]
fn a_root_that_cannot_be_attached_fails_the_mount() {
    let mut world = World::new();
    world.send(&Call::Init.message(2, 0, 0));
    let (tag, _, _) = world.held.pop().unwrap();
    world.reply(tag, Reply::Failed(Error::new(Errno::ACCES, "not yours")));
    assert_eq!(world.answers.pop_front().unwrap().result(), Err(Errno::ACCES));
    assert_eq!(ask(&mut world, 1, &Call::GetAttr(None)), Err(Errno::STALE));
    world.end();
}

#[test]
fn lookups_count_and_forgets_clunk() {
    let mut world = begun();
    let first = lookup(&mut world, 1, "hello");
    assert_eq!(lookup(&mut world, 1, "hello"), first);
    assert_eq!((world.conn.nodes(), world.tree.fids()), (2, 2), "the second fid is clunked at once");
    world.send(&Call::Forget(1).message(0, first, 0));
    assert!(world.held.is_empty());
    world.send(&Call::BatchForget(vec![(first, 1), (77, 1), (1, 5)]).message(0, 0, 0));
    world.run_all();
    assert_eq!((world.conn.nodes(), world.tree.fids(), world.tree.strays), (1, 1, 0));
    assert_eq!(ask(&mut world, first, &Call::GetAttr(None)), Err(Errno::STALE));
    assert_ne!(lookup(&mut world, 1, "hello"), first, "a node's number is used once");
    assert_eq!(ask(&mut world, 1, &Call::Lookup("nothing".into())), Err(Errno::NOENT));
    world.end();
}

#[test]
fn an_entry_says_what_the_file_is() {
    let mut world = begun();
    let body = ask(&mut world, 1, &Call::Lookup("hello".into())).unwrap();
    assert_eq!(body.len(), 128);
    assert_eq!((u64_at(&body, 16), u64_at(&body, 24)), (0, 0), "nothing is believed for long");
    assert_eq!(
        (u64_at(&body, 40), u64_at(&body, 48), u64_at(&body, 56)),
        (101, 13, 1),
        "inode, size, blocks"
    );
    assert_eq!(u64_at(&body, 72), 1_000_000_000, "time");
    assert_eq!((u32_at(&body, 100), u32_at(&body, 104)), (0o100_666, 1), "mode, links");
    let body = ask(&mut world, 1, &Call::GetAttr(None)).unwrap();
    assert_eq!((body.len(), u64_at(&body, 16)), (104, 1));
    assert_eq!((u32_at(&body, 76), u32_at(&body, 80)), (0o040_755, 2));
    let link = lookup(&mut world, 1, "link");
    assert_eq!(ask(&mut world, link, &Call::ReadLink).unwrap(), b"hello");
    world.end();
}

#[test]
fn open_read_write_release() {
    let mut world = begun();
    let node = lookup(&mut world, 1, "hello");
    let (fh, flags) = open(&mut world, node, 2);
    assert_eq!(flags, 1 | 1 << 6, "direct, writes in parallel");
    let read = Call::Read { fh, offset: 7, size: 100, flags: 0 };
    assert_eq!(ask(&mut world, node, &read).unwrap(), b"world\n");
    let wrote = ask(&mut world, node, &Call::Write { fh, data: b"HELLO".to_vec() }).unwrap();
    assert_eq!(u32_at(&wrote, 0), 5);
    assert_eq!(ask(&mut world, node, &Call::Release(fh)).unwrap(), b"");
    assert_eq!(ask(&mut world, node, &read), Err(Errno::BADF));
    let (fh, _) = open(&mut world, node, 0o1001);
    let body = ask(&mut world, node, &Call::GetAttr(Some(fh))).unwrap();
    assert_eq!(u64_at(&body, 24), 0, "opening with O_TRUNC empties");
    let size = ask(&mut world, node, &Call::Truncate(9)).unwrap();
    assert_eq!(u64_at(&size, 24), 9);
    assert_eq!(u32_at(&ask(&mut world, node, &Call::Chmod(0o100_600)).unwrap(), 76), 0o100_600);
    ask(&mut world, node, &Call::Touch).unwrap();
    world.end();
}

#[test]
fn how_a_file_behaves_is_told_when_it_is_opened() {
    let mut world = begun();
    for (name, flags) in [("block", 1 | 1 << 2 | 1 << 4 | 1 << 6), ("spool", 1 | 1 << 6), ("big", 1 | 1 << 6)]
    {
        let node = lookup(&mut world, 1, name);
        assert_eq!(open(&mut world, node, 0).1, flags, "{name}");
    }
    assert_eq!(u32_at(&ask(&mut world, 1, &Call::OpenDir).unwrap(), 8), 0);
    world.end();
}

#[test]
fn each_open_of_clone_is_a_file_of_its_own() {
    let mut world = begun();
    let first = lookup(&mut world, 1, "clone");
    let (one, _) = open(&mut world, first, 2);
    let second = lookup(&mut world, 1, "clone");
    assert_ne!(first, second, "else writes to one session would wait for writes to another");
    let (two, _) = open(&mut world, second, 2);
    let read = |fh| Call::Read { fh, offset: 0, size: 100, flags: 0 };
    assert_ne!(ask(&mut world, first, &read(one)), ask(&mut world, second, &read(two)));
    for (node, fh) in [(first, one), (second, two)] {
        let body = ask(&mut world, node, &Call::GetAttr(Some(fh))).unwrap();
        assert_ne!(u64_at(&body, 16), u64_at(&ask(&mut world, node, &Call::GetAttr(None)).unwrap(), 16));
        ask(&mut world, node, &Call::Release(fh)).unwrap();
        world.send(&Call::Forget(1).message(0, node, 0));
    }
    world.run_all();
    assert_eq!(world.tree.fids(), 1);
    world.end();
}

#[test]
fn a_directory_is_listed_in_pieces_of_any_size() {
    for size in [64, 100, 1000, 4096, 1 << 20] {
        let mut world = begun();
        let node = lookup(&mut world, 1, "many");
        let fh = u64_at(&ask(&mut world, node, &Call::OpenDir).unwrap(), 0);
        let (mut seen, mut offset) = (Vec::new(), 0);
        loop {
            let body = ask(&mut world, node, &Call::ReadDir { fh, offset, size }).unwrap();
            assert!(body.len() <= size as usize);
            let part = names(&body);
            let Some((_, last)) = part.last() else { break };
            offset = *last;
            seen.extend(part.into_iter().map(|(name, _)| name));
        }
        assert_eq!(seen.len(), 302);
        assert_eq!((&*seen[0], &*seen[1], &*seen[2], &*seen[301]), (".", "..", "file000", "file299"));
        let tiny = Call::ReadDir { fh, offset: 0, size: 16 };
        assert_eq!(ask(&mut world, node, &tiny), Err(Errno::INVAL));
        ask(&mut world, node, &Call::ReleaseDir(fh)).unwrap();
        world.end();
    }
}

#[test]
fn files_are_made_and_removed() {
    let mut world = begun();
    let body = ask(&mut world, 1, &Call::Create { name: "new".into(), flags: 0o101 }).unwrap();
    assert_eq!(body.len(), 144);
    let (node, fh) = (u64_at(&body, 0), u64_at(&body, 128));
    ask(&mut world, node, &Call::Write { fh, data: b"data".to_vec() }).unwrap();
    assert_eq!(u64_at(&ask(&mut world, node, &Call::GetAttr(None)).unwrap(), 24), 4);
    assert_eq!(lookup(&mut world, 1, "new"), node);
    assert_eq!(ask(&mut world, 1, &Call::Create { name: "new".into(), flags: 0o101 }), Err(Errno::EXIST));
    ask(&mut world, node, &Call::Release(fh)).unwrap();
    ask(&mut world, 1, &Call::Unlink("new".into())).unwrap();
    assert_eq!(ask(&mut world, 1, &Call::Lookup("new".into())), Err(Errno::NOENT));
    assert_eq!(ask(&mut world, 1, &Call::Unlink("new".into())), Err(Errno::NOENT));
    let node = u64_at(&ask(&mut world, 1, &Call::Mknod("plain".into())).unwrap(), 0);
    assert_eq!(u32_at(&ask(&mut world, node, &Call::GetAttr(None)).unwrap(), 76), 0o100_644);
    let node = u64_at(&ask(&mut world, 1, &Call::Mkdir("dir".into())).unwrap(), 0);
    assert_eq!(u32_at(&ask(&mut world, node, &Call::GetAttr(None)).unwrap(), 76), 0o040_755);
    assert_eq!(ask(&mut world, 1, &Call::Mkdir("dir".into())), Err(Errno::EXIST));
    assert_eq!(world.tree.strays, 0);
    world.end();
}

#[test]
fn a_file_that_vanishes_as_it_is_made_leaves_no_fid() {
    for (before, fids) in [(2, 1), (3, 1)] {
        let mut world = begun();
        world.send(&Call::Create { name: "new".into(), flags: 2 }.message(10, 1, 7));
        (0..before).for_each(|_| world.run(0, false));
        let (tag, _, op) = world.held.pop().unwrap();
        assert!(matches!((before, op), (2, Op::Walk { .. }) | (3, Op::Stat { .. })));
        world.reply(tag, Reply::errno(Errno::STALE));
        world.run_all();
        assert_eq!(world.answers.pop_front().unwrap().result(), Err(Errno::STALE));
        assert_eq!((world.tree.fids(), world.conn.fids(), world.tree.strays), (fids, fids, 0));
        world.end();
    }
}

#[test]
fn one_request_too_many_is_refused() {
    let mut world = begun();
    let node = lookup(&mut world, 1, "block");
    let (fh, _) = open(&mut world, node, 0);
    let read = Call::Read { fh, offset: 0, size: 10, flags: 0 };
    for number in 0..fuse::limits::REQUESTS as u64 {
        world.send(&read.message(10_000 + number * 2, node, 7));
    }
    assert_eq!((world.answers.len(), world.waiting()), (0, fuse::limits::REQUESTS));
    world.send(&read.message(10, node, 7));
    assert_eq!(world.answers.pop_front().unwrap().result(), Err(Errno::NOMEM));
}

#[test]
fn a_fid_that_went_stale_is_replaced_by_the_next_lookup() {
    let mut world = begun();
    let node = lookup(&mut world, 1, "hello");
    world.send(&Call::GetAttr(None).message(10, node, 0));
    let (tag, _, op) = world.held.pop().unwrap();
    let Op::Stat { fid: old } = op else { panic!("{op:?}") };
    world.reply(tag, Reply::errno(Errno::STALE));
    assert_eq!(world.answers.pop_front().unwrap().result(), Err(Errno::STALE));
    assert_eq!(lookup(&mut world, 1, "hello"), node);
    world.send(&Call::GetAttr(None).message(10, node, 0));
    assert!(matches!(world.held[..], [(_, _, Op::Stat { fid })] if fid != old));
    world.run_all();
    assert_eq!(world.answers.pop_front().unwrap().result(), Ok(()));
    world.end();
}

#[test]
fn what_is_not_here_is_answered_so() {
    let mut world = begun();
    assert_eq!(ask(&mut world, 1, &Call::Flush(1)), Err(Errno::NOSYS));
    assert_eq!(ask(&mut world, 1, &Call::StatFs).unwrap().len(), 80);
    for (opcode, result) in [
        (20, Ok(())),
        (30, Ok(())),
        (34, Err(38)),
        (39, Err(25)),
        (40, Err(38)),
        (46, Err(38)),
        (99, Err(38)),
    ] {
        world.send(&crate::common::wire::message(opcode, 4, 1, 0, &[0; 64]));
        assert_eq!(world.answers.pop_front().unwrap().result(), result.map_err(Errno), "opcode {opcode}");
    }
    world.send(&crate::common::wire::message(15, 4, 1, 0, &[0; 3]));
    assert_eq!(world.answers.pop_front().unwrap().result(), Err(Errno::INVAL), "cut short");
    world.send(&crate::common::wire::message(1, 4, 1, 0, &[b'x'; 300]));
    assert_eq!(world.answers.pop_front().unwrap().result(), Err(Errno::INVAL), "no end");
    let long = [&[b'x'; 300][..], &[0]].concat();
    world.send(&crate::common::wire::message(1, 4, 1, 0, &long));
    assert_eq!(world.answers.pop_front().unwrap().result(), Err(Errno::NAMETOOLONG));
    world.send(&crate::common::wire::message(1, 4, 1, 0, &[0xff, 0]));
    assert_eq!(world.answers.pop_front().unwrap().result(), Err(Errno::NOENT));
    world.end();
}

#[test]
fn a_reader_that_gives_up_is_answered() {
    let mut world = begun();
    let node = lookup(&mut world, 1, "block");
    let (fh, _) = open(&mut world, node, 0);
    let read = |flags| Call::Read { fh, offset: 0, size: 4096, flags };
    world.send(&read(0).message(10, node, 7));
    world.send(&read(0).message(12, node, 7));
    world.run_all();
    assert_eq!((world.waiting(), world.tree.parked()), (2, 2));
    assert_eq!(ask(&mut world, node, &read(0o4000)), Err(Errno::AGAIN), "O_NONBLOCK");
    world.send(&Call::Interrupt(10).message(11, 0, 0));
    world.send(&Call::Interrupt(10).message(11, 0, 0));
    assert!(matches!(world.held[..], [(_, Uid(7), Op::Flush { .. })]), "once");
    world.run_all();
    let answer = world.answers.pop_front().unwrap();
    assert_eq!((answer.unique(), answer.result()), (10, Err(Errno::INTR)));
    for (tag, reply) in world.tree.grow("block", b"at last") {
        world.reply(tag, reply);
    }
    let answer = world.answers.pop_front().unwrap();
    assert_eq!((answer.unique(), answer.body()), (12, &b"at last"[..]));
    world.end();
}

#[test]
fn an_interrupt_that_comes_too_early_is_put_back() {
    let mut world = begun();
    world.send(&Call::Interrupt(10).message(11, 0, 0));
    let answer = world.answers.pop_front().unwrap();
    assert_eq!((answer.unique(), answer.result()), (11, Err(Errno::AGAIN)));
    world.end();
}

/// Every request of several steps, interrupted before every step, with every order of what follows.
#[test]
fn an_interrupt_at_any_point_leaves_nothing_behind() {
    let mut endings = [0; 3];
    let calls = [
        (1, Call::Lookup("hello".into())),
        (1, Call::GetAttr(None)),
        (1, Call::Chmod(0o700)),
        (1, Call::OpenDir),
        (1, Call::Create { name: "new".into(), flags: 0o102 }),
        (1, Call::Mknod("new".into())),
        (1, Call::Unlink("big".into())),
        (2, Call::Open(2)),
        (2, Call::GetAttr(None)),
    ];
    for (node, call) in &calls {
        for (before, order) in (0..5).flat_map(|before| (0..3).map(move |order| (before, order))) {
            let mut world = begun();
            lookup(&mut world, 1, "hello");
            world.send(&call.message(10, *node, 7));
            for _ in 0..before {
                if world.answers.is_empty() {
                    world.run(0, false);
                }
            }
            if !world.answers.is_empty() {
                continue; // it has fewer steps
            }
            world.send(&Call::Interrupt(10).message(11, 0, 0));
            assert!(matches!(world.held[..], [_, (_, Uid(7), Op::Flush { .. })]));
            match order {
                0 => {}                   // the ask is answered, then the flush
                1 => world.run(1, false), // the flush is answered, and the ask never done
                _ => world.run(1, true),  // the flush is answered, and the ask was done
            }
            world.run_all();
            let answer = world.answers.pop_front().expect("it is answered");
            assert!(world.answers.is_empty());
            match (order, answer.result()) {
                (0, Ok(())) => endings[0] += 1,
                (0, Err(Errno::INTR)) => endings[1] += 1,
                (_, Err(Errno::INTR)) => endings[2] += 1,
                (_, result) => panic!("{call:?} {before} {order}: {result:?}"),
            }
            if answer.result().is_err() {
                assert_eq!(world.tree.fids(), 2, "{call:?} {before} {order}: the root and hello");
            }
            world.end();
        }
    }
    assert!(endings.iter().all(|count| *count >= 8), "{endings:?}");
}

/// The mount ends at any point of any request.
#[test]
fn a_hang_up_at_any_point_leaves_nothing_behind() {
    for call in [Call::Lookup("hello".into()), Call::OpenDir, Call::Create { name: "new".into(), flags: 1 }] {
        for before in 0..5 {
            let mut world = begun();
            world.send(&call.message(10, 1, 7));
            (0..before).for_each(|_| {
                if !world.held.is_empty() {
                    world.run(0, false)
                }
            });
            world.end();
        }
    }
    let mut world = begun();
    world.send(&Call::Destroy.message(10, 0, 0));
    world.run_all();
    assert!(world.unmounted);
    world.end();
}

#[test]
fn a_reply_of_the_wrong_kind_is_an_error_of_the_protocol() {
    let mut world = begun();
    for reply in [Reply::Done, Reply::Wrote(1), Reply::Data(Vec::new()), Reply::Walked(Vec::new())] {
        world.send(&Call::GetAttr(None).message(10, 1, 7));
        let (tag, _, _) = world.held.pop().unwrap();
        world.reply(tag, reply);
        assert_eq!(world.answers.pop_front().unwrap().result(), Err(Errno::PROTO));
    }
    world.end();
}

#[test]
#[should_panic(expected = "each ask is answered once")]
fn a_second_answer_is_a_bug() {
    let mut world = begun();
    world.send(&Call::GetAttr(None).message(10, 1, 7));
    let (tag, _, _) = world.held[0];
    world.run_all();
    world.reply(tag, Reply::Done);
}
