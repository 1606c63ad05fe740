//! The requests that start a program: a flight that makes the session ready, and `exec`.
//!
//! ```text
//!   walk clone · open (it is the new session's ctl now) · read: the id
//!   walk ctl/../env · open · write
//!   walk ctl/../stdout, stderr, wait.json, stdin · open
//!   ── all answered ──
//!   write ctl: …, exec
//! ```
//!
//! A server keeps the order of what is asked of one fid, not of several, so `exec` must not leave before `env` is
//! answered. That costs one more round trip, and buys that whoever started a program knows its id.

use crate::on::On;
use host::client::{BOTH, Connection, READ, ROOT, WRITE};
use op::{Access, Fid, Op, Tag};

/// A session's open files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files {
    pub(super) ctl: Fid,
    pub(super) stdin: Fid,
    /// stdout and stderr.
    pub(super) out: [Fid; 2],
    /// What is answered to their opening says in which life each is.
    pub(super) opened: [Tag; 2],
    pub(super) wait: Fid,
}

/// A flight under way.
#[derive(Debug)]
pub(super) struct Flight {
    /// `None` if nothing but the start is wanted.
    pub(super) files: Option<Files>,
    /// Then, what `info.json` says before the start.
    pub(super) info: Option<Tag>,
    /// What must work, and says nothing else.
    pub(super) setup: Vec<Tag>,
    pub(super) id: Tag,
    pub(super) ctl: Fid,
}

impl Flight {
    /// Clones a session in a place and makes it ready. With `alone`, nothing of it is opened but `ctl`.
    pub(super) fn send(node: &mut Connection, place: &On, env: &[u8], alone: bool) -> Flight {
        let mut setup = Vec::new();
        let (ctl, _) = open(node, ROOT, &[&place.dir, "clone"], BOTH, &mut setup);
        let id = node.send(Op::Read { fid: ctl, offset: 0, count: 256, wait: true });
        let mut flight = Flight { files: None, info: None, setup, id, ctl };
        let setup = &mut flight.setup;
        if !env.is_empty() {
            let (file, _) = open(node, ctl, &["..", "env"], WRITE, setup);
            let piece = node.max_io() as usize;
            for (at, data) in env.chunks(piece).enumerate() {
                let offset = (at * piece) as u64;
                setup.push(node.send(Op::Write { fid: file, offset, data: data.to_vec() }));
            }
            // It stays open: a clunk would give up a write that another node has not answered yet.
        }
        if alone {
            let (fid, _) = open(node, ctl, &["..", "info.json"], READ, setup);
            let count = node.max_io();
            flight.info = Some(node.send(Op::Read { fid, offset: 0, count, wait: true }));
        } else {
            flight.files = Some(Files::open(node, ctl, setup));
        }
        node.flush();
        flight
    }
}

/// Writes the lines of `ctl`; the last piece is answered when the program has started.
pub(super) fn exec(node: &mut Connection, ctl: Fid, lines: &[u8]) -> Tag {
    let piece = node.max_io() as usize;
    let mut last = None;
    for data in lines.chunks(piece) {
        last = Some(node.send(Op::Write { fid: ctl, offset: 0, data: data.to_vec() }));
    }
    last.expect("there is a line with exec in it")
}

impl Files {
    /// Opens the files of the session whose `ctl` is open.
    pub(super) fn open(node: &mut Connection, ctl: Fid, setup: &mut Vec<Tag>) -> Files {
        let mut file = |name, access| open(node, ctl, &["..", name], access, setup);
        let [(out, opened), (err, err_opened)] = [file("stdout", READ), file("stderr", READ)];
        let ((wait, _), (stdin, _)) = (file("wait.json", READ), file("stdin", WRITE));
        Files { ctl, out: [out, err], opened: [opened, err_opened], wait, stdin }
    }

    /// Opens the files of a session that was started over an earlier connection.
    pub(super) fn again(node: &mut Connection, session: &str, setup: &mut Vec<Tag>) -> Files {
        let (ctl, _) = open(node, ROOT, &[session, "ctl"], BOTH, setup);
        Files::open(node, ctl, setup)
    }
}

fn open(
    node: &mut Connection,
    from: Fid,
    names: &[&str],
    access: Access,
    setup: &mut Vec<Tag>,
) -> (Fid, Tag) {
    let (fid, walked) = node.walk(from, &names.join("/"));
    let opened = node.send(Op::Open { fid, access });
    setup.extend([walked, opened]);
    (fid, opened)
}
