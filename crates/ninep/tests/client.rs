//! What the client's side promises, a test a promise; the server is written by hand.
#![expect(clippy::unwrap_used, reason = "what a test unwraps is what it tests")]

mod common;

use common::{frames, tree};
use ninep::client::Client;
use ninep::wire::{Cause, NUname, Qid, Qids, Rmsg, Tmsg, tag_of};
use ninep::{Dialect, NOFID, NOTAG};
use op::{Access, Errno, Error, Fid, Op, Reply, Tag};

fn hear(client: &mut Client, tag: u16, message: Rmsg<'_>) {
    let mut bytes = Vec::new();
    message.encode(tag, client.dialect().unwrap_or(Dialect::Plain), &mut bytes);
    client.receive(&bytes).unwrap();
}

/// What the client sent since, as type bytes and tags.
fn sent(client: &mut Client) -> Vec<(u8, u16)> {
    let sent = frames(client.output()).map(|frame| (frame[4], tag_of(frame))).collect();
    client.consume(client.output().len());
    sent
}

fn types(client: &mut Client) -> Vec<u8> {
    sent(client).into_iter().map(|(number, _)| number).collect()
}

fn agreed(dialect: Dialect) -> Client {
    let mut client = Client::new(dialect, 8192);
    sent(&mut client);
    hear(&mut client, NOTAG, Rmsg::Version { msize: 8192, version: dialect.name() });
    client
}

fn walk(newfid: u32) -> Op {
    Op::Walk { fid: Fid(0), newfid: Fid(newfid), names: vec!["x".into()] }
}

fn one_qid() -> [op::Qid; 1] {
    [tree::qid_of(1, false)]
}

#[test]
fn lesser_dialects_are_tried() {
    let check = |wish: Dialect, answers: &[&str], met: Option<Dialect>| {
        let mut client = Client::new(wish, 8192);
        let mut broke = false;
        for version in answers {
            let mut bytes = Vec::new();
            Rmsg::Version { msize: 4096, version }.encode(NOTAG, Dialect::Plain, &mut bytes);
            assert_eq!(types(&mut client), [100]);
            broke = client.receive(&bytes).is_err();
        }
        assert_eq!((client.dialect(), broke), (met, met.is_none()), "{answers:?}");
        assert!(types(&mut client).is_empty());
    };
    check(Dialect::Uem, &["9P2000.uem"], Some(Dialect::Uem));
    check(Dialect::Uem, &["9P2000", "9P2000.L"], Some(Dialect::L));
    check(Dialect::Uem, &["unknown", "9P2000.L"], Some(Dialect::L));
    check(Dialect::Uem, &["9P2000", "9P2000"], Some(Dialect::Plain));
    check(Dialect::Uem, &["unknown", "unknown", "9P2000"], Some(Dialect::Plain));
    check(Dialect::L, &["unknown", "unknown"], None);
    check(Dialect::L, &["9P2000"], Some(Dialect::Plain));
    check(Dialect::Plain, &["9P2000.L"], None);
}

#[test]
fn an_error_to_tversion_is_an_unknown_version() {
    let mut client = Client::new(Dialect::L, 8192);
    sent(&mut client);
    let mut bytes = Vec::new();
    Rmsg::Lerror { ecode: 5, cause: Cause("") }.encode(NOTAG, Dialect::L, &mut bytes);
    client.receive(&bytes).unwrap();
    assert_eq!(types(&mut client), [100]);
}

#[test]
fn a_whole_file_leaves_in_one_flight() {
    let mut client = Client::new(Dialect::Uem, 8192);
    client.request(Op::Attach { fid: Fid(0), user: String::new(), tree: String::new() });
    client.read_path(Fid(0), vec!["x".into()], 100);
    assert_eq!(types(&mut client), [100]);
    hear(&mut client, NOTAG, Rmsg::Version { msize: 8192, version: "9P2000.uem" });
    assert_eq!(types(&mut client), [104, 110, 12, 116, 120]);
}

#[test]
fn servers_without_order_are_asked_in_order() {
    let mut client = agreed(Dialect::L);
    let access = Access { read: true, ..Access::default() };
    client.request(walk(1));
    client.request(Op::Open { fid: Fid(1), access });
    for offset in 0..2 {
        client.request(Op::Read { fid: Fid(1), offset, count: 1, wait: true });
    }
    client.request(Op::Clunk { fid: Fid(1) });
    client.request(walk(2));
    let qid = Qid { ty: 0, version: 0, path: 1 };
    assert_eq!(sent(&mut client), [(110, 0), (110, 1)], "another fid does not wait");
    hear(&mut client, 0, Rmsg::Walk { qids: Qids::Write(&one_qid()) });
    assert_eq!(sent(&mut client), [(12, 0)]);
    hear(&mut client, 0, Rmsg::Lopen { qid, iounit: 0, shape: ninep::wire::ShapeCode(0) });
    assert_eq!(sent(&mut client), [(116, 0), (116, 2)]);
    hear(&mut client, 0, Rmsg::Read { data: b"a" });
    assert_eq!(sent(&mut client), []);
    hear(&mut client, 2, Rmsg::Read { data: b"b" });
    assert_eq!(types(&mut client), [120]);
}

#[test]
fn a_flushed_walk_is_clunked_for_it_may_have_succeeded() {
    let mut client = agreed(Dialect::L);
    let walking = client.request(walk(1));
    let flushing = client.request(Op::Flush { tag: walking });
    assert_eq!(sent(&mut client), [(110, 0), (108, 1)]);
    hear(&mut client, 1, Rmsg::Flush {});
    assert_eq!(client.next_reply(), Some((flushing, Reply::Done)));
    assert_eq!(types(&mut client), [120], "the orphan");
    assert_eq!(client.outstanding(), 1);
}

#[test]
fn an_answer_before_the_rflush_counts_and_its_tag_is_kept_until_then() {
    let mut client = agreed(Dialect::L);
    let walking = client.request(walk(1));
    let flushing = client.request(Op::Flush { tag: walking });
    sent(&mut client);
    hear(&mut client, 0, Rmsg::Walk { qids: Qids::Write(&one_qid()) });
    assert_eq!(client.next_reply(), Some((walking, Reply::Walked(one_qid().to_vec()))));
    client.request(walk(2));
    assert_eq!(sent(&mut client), [(110, 2)], "tag 0 is not free yet");
    hear(&mut client, 1, Rmsg::Flush {});
    assert_eq!(client.next_reply(), Some((flushing, Reply::Done)));
    client.request(walk(3));
    assert!(sent(&mut client)[0].1 < 2, "now it is");
    let mut late = Vec::new();
    Rmsg::Clunk {}.encode(9, Dialect::L, &mut late);
    assert!(client.receive(&late).is_err(), "an answer to nothing");
}

#[test]
fn what_was_not_sent_is_flushed_here() {
    let mut client = Client::new(Dialect::L, 8192);
    let walking = client.request(walk(1));
    let flushing = client.request(Op::Flush { tag: walking });
    let nobody = client.request(Op::Flush { tag: Tag(77) });
    assert_eq!(client.next_reply(), Some((flushing, Reply::Done)));
    assert_eq!(client.next_reply(), Some((nobody, Reply::Done)));
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn what_a_dialect_cannot_say_fails_at_once() {
    let check = |dialect: Dialect, op: Op, errno: Errno| {
        let mut client = agreed(dialect);
        let tag = client.request(op.clone());
        match client.next_reply() {
            Some((answered, Reply::Failed(error))) => assert_eq!((answered, error.errno), (tag, errno)),
            other => panic!("{op:?}: {other:?}"),
        }
        assert!(client.output().is_empty() && client.outstanding() == 0);
    };
    let names = |count| vec!["n".to_string(); count];
    let fid = Fid(0);
    check(Dialect::L, Op::Read { fid, offset: 0, count: 1, wait: false }, Errno::OPNOTSUPP);
    check(Dialect::Plain, Op::ReadLink { fid }, Errno::OPNOTSUPP);
    let rename = |replace| Op::Rename { fid, name: "a".into(), dir: fid, to: "b".into(), replace };
    check(Dialect::Plain, rename(true), Errno::OPNOTSUPP);
    check(Dialect::L, rename(false), Errno::OPNOTSUPP);
    check(Dialect::Plain, Op::Symlink { fid, name: "a".into(), target: "b".into() }, Errno::OPNOTSUPP);
    check(Dialect::L, Op::Walk { fid, newfid: Fid(1), names: names(17) }, Errno::NAMETOOLONG);
    check(Dialect::L, Op::Walk { fid, newfid: Fid(1), names: vec!["a/b".into()] }, Errno::INVAL);
    check(Dialect::L, Op::Write { fid, offset: 0, data: vec![0; 8192 - 23] }, Errno::INVAL);
    check(Dialect::L, Op::Attach { fid, user: String::new(), tree: "x".repeat(9000) }, Errno::TOOBIG);
}

#[test]
fn errors_come_with_what_the_dialect_tells() {
    let check = |dialect: Dialect, message: Rmsg<'_>, error: Error| {
        let mut client = agreed(dialect);
        let tag = client.request(Op::Clunk { fid: Fid(0) });
        hear(&mut client, 0, message);
        assert_eq!(client.next_reply(), Some((tag, Reply::Failed(error))));
    };
    let told = "no node matches arch=vax: file does not exist";
    check(Dialect::Plain, Rmsg::Error { ename: told }, Error::new(Errno::NOENT, told));
    check(Dialect::L, Rmsg::Lerror { ecode: 2, cause: Cause("") }, Errno::NOENT.into());
    check(Dialect::Uem, Rmsg::Lerror { ecode: 2, cause: Cause(told) }, Error::new(Errno::NOENT, told));
}

#[test]
fn everything_is_answered_when_the_server_is_gone() {
    let mut client = agreed(Dialect::Uem).with_window(1);
    let tags = [client.request(walk(1)), client.request(walk(2))];
    let flush = client.request(Op::Flush { tag: tags[0] });
    client.hang_up(&Errno::PIPE.into());
    let late = client.request(walk(3));
    let mut answered: Vec<Tag> = std::iter::from_fn(|| client.next_reply()).map(|(tag, _)| tag).collect();
    answered.sort();
    assert_eq!(answered, [tags[0], tags[1], flush, late]);
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn who_asks_is_told() {
    let mut client = agreed(Dialect::L).with_user("ken", Some(3));
    client.request(Op::Attach { fid: Fid(0), user: String::new(), tree: "t".into() });
    let told = Tmsg::decode(client.output(), Dialect::L).unwrap();
    let attach = Tmsg::Attach { fid: 0, afid: NOFID, uname: "ken", aname: "t", n_uname: NUname(3) };
    assert_eq!(told, (0, attach));
}

#[test]
fn dots_are_not_listed_and_not_taken_for_the_end() {
    let dirent = |offset: u8, name: &str| {
        let mut bytes = vec![0; 13];
        bytes.extend([offset, 0, 0, 0, 0, 0, 0, 0, 4, name.len() as u8, 0]);
        bytes.extend(name.as_bytes());
        bytes
    };
    let mut client = agreed(Dialect::L);
    let tag = client.request(Op::List { fid: Fid(0), cookie: 0, count: 2 });
    assert_eq!(types(&mut client), [40]);
    hear(&mut client, 0, Rmsg::Readdir { data: &[dirent(1, "."), dirent(2, "..")].concat() });
    assert_eq!(client.next_reply(), None);
    let asked = Tmsg::decode(client.output(), Dialect::L).unwrap().1;
    assert!(matches!(asked, Tmsg::Readdir { offset: 2, .. }), "{asked:?}");
    hear(&mut client, 0, Rmsg::Readdir { data: &dirent(3, "a") });
    match client.next_reply() {
        Some((answered, Reply::Listed(entries))) => {
            assert_eq!((answered, entries.len(), entries[0].cookie), (tag, 1, 3));
        }
        other => panic!("{other:?}"),
    }
}
