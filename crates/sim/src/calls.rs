//! A [`Driver`] out of [`Op`]s: each call of a program becomes the operations that a file system client would make
//! of it, in order, over any [`Wire`].

use crate::driver::{Able, Answer, Call, CallNo, Conn, Driver, FileNo, Node};
use op::{Access, Entry, Errno, Error, Fid, FileKind, Op, Reply, SetStat, Tag};
use std::collections::{BTreeMap, VecDeque};

/// Carries operations to a node and replies back.
pub trait Wire {
    /// What survives on it.
    fn able(&self) -> Able;
    /// A new client, with `Fid(0)` attached to the root.
    fn connect(&mut self, user: &str) -> Conn;
    /// Sends a request; [`Op::Flush`] too.
    fn ask(&mut self, conn: Conn, op: Op) -> Tag;
    /// The reply to a request, once, when it is there.
    fn reply(&mut self, conn: Conn, tag: Tag) -> Option<Reply>;
    /// The client is gone.
    fn hangup(&mut self, conn: Conn);
    /// Lets everything happen that can.
    fn settle(&mut self);
    /// What is behind.
    fn node(&mut self) -> &mut dyn Node;
    /// As [`Driver::nodes`].
    fn nodes(&self) -> Vec<String> {
        vec![String::new()]
    }
    /// As [`Driver::connect_at`].
    ///
    /// # Errors
    /// If there is no such node, or it is not up.
    fn connect_at(&mut self, node: &str, user: &str) -> Result<Conn, String> {
        if node.is_empty() { Ok(self.connect(user)) } else { Err(format!("there is no node {node} here")) }
    }
    /// As [`Driver::node_at`].
    ///
    /// # Errors
    /// If there is no such node.
    fn node_at(&mut self, node: &str) -> Result<&mut dyn Node, String> {
        if node.is_empty() { Ok(self.node()) } else { Err(format!("there is no node {node} here")) }
    }
    /// As [`Driver::happens`].
    ///
    /// # Errors
    /// If it is nothing of that kind.
    fn happens(&mut self, what: &str) -> Result<(), String> {
        Err(format!("not something that happens: {what}"))
    }
    /// As [`Driver::is_gone`].
    fn is_gone(&self, _: Conn) -> bool {
        false
    }
}

/// Calls over a wire.
pub struct Calls<W> {
    wire: W,
    files: BTreeMap<FileNo, (Conn, Fid)>,
    calls: BTreeMap<CallNo, Running>,
    next: usize,
}

/// A call under way.
struct Running {
    conn: Conn,
    call: Call,
    fid: Fid,
    /// What is left to ask.
    plan: VecDeque<Op>,
    /// What is asked.
    tag: Option<(Tag, Op)>,
    /// What the call comes to.
    answer: Option<Answer>,
    entries: Vec<Entry>,
    /// The fid is there, and to be clunked at the end.
    walked: bool,
}

impl<W: Wire> Calls<W> {
    /// Over this wire.
    pub fn over(wire: W) -> Calls<W> {
        Calls { wire, files: BTreeMap::new(), calls: BTreeMap::new(), next: 0 }
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// Takes a call as far as it goes.
    fn step(&mut self, no: CallNo) {
        while let Some(run) = self.calls.get_mut(&no) {
            if let Some((tag, op)) = run.tag.take() {
                match self.wire.reply(run.conn, tag) {
                    Some(reply) => run.take(&op, reply),
                    None => {
                        run.tag = Some((tag, op));
                        return;
                    }
                }
            }
            let Some(op) = run.plan.pop_front() else { return };
            if self.wire.is_gone(run.conn) {
                return;
            }
            let tag = self.wire.ask(run.conn, op.clone());
            run.tag = Some((tag, op));
            self.wire.settle();
        }
    }
}

const READ_ONLY: Access = Access { read: true, write: false, truncate: false };

/// The steps of a path.
fn names(path: &str) -> Vec<String> {
    path.split('/').filter(|name| !name.is_empty()).map(String::from).collect()
}

impl Call {
    fn path(&self) -> Option<&str> {
        match self {
            Call::Open(path, _)
            | Call::List(path)
            | Call::Stat(path)
            | Call::Chmod(path, _)
            | Call::Chgrp(path, _)
            | Call::Truncate(path, _)
            | Call::ReadLink(path)
            | Call::Remove(path)
            | Call::Mkdir(path) => Some(path),
            Call::Read { .. } | Call::Write { .. } | Call::Close(_) => None,
        }
    }

    fn follows(&self) -> bool {
        matches!(
            self,
            Call::Open(..) | Call::List(_) | Call::Chmod(..) | Call::Chgrp(..) | Call::Truncate(..)
        )
    }

    /// What is asked of `fid` once it is walked to.
    fn main(&self, fid: Fid) -> VecDeque<Op> {
        let set = |set| Op::SetStat { fid, set };
        VecDeque::from(match self {
            Call::Open(_, access) => vec![Op::Open { fid, access: *access }],
            Call::List(_) => {
                vec![Op::Open { fid, access: READ_ONLY }, Op::List { fid, cookie: 0, count: 7 }]
            }
            Call::Stat(_) => vec![Op::Stat { fid }],
            Call::Chmod(_, mode) => vec![set(SetStat { mode: Some(*mode), ..SetStat::default() })],
            Call::Chgrp(_, gid) => vec![set(SetStat { gid: Some(*gid), ..SetStat::default() })],
            Call::Truncate(_, size) => vec![set(SetStat { size: Some(*size), ..SetStat::default() })],
            Call::ReadLink(_) => vec![Op::ReadLink { fid }],
            Call::Remove(_) => vec![Op::Remove { fid }],
            Call::Mkdir(path) => {
                let name = names(path).pop().unwrap_or_default();
                vec![Op::Create { fid, name, mode: 0o755, access: READ_ONLY }]
            }
            Call::Read { .. } | Call::Write { .. } | Call::Close(_) => Vec::new(),
        })
    }
}

impl Running {
    fn fail(&mut self, error: Error) {
        self.plan.clear();
        self.answer = Some(Answer::Failed(error));
        if self.walked {
            self.walked = false;
            self.plan.push_back(Op::Clunk { fid: self.fid });
        }
    }

    fn done(&mut self, answer: Answer) {
        self.answer = Some(answer);
        if self.plan.is_empty() && self.walked {
            self.walked = false;
            self.plan.push_back(Op::Clunk { fid: self.fid });
        }
    }

    fn take(&mut self, op: &Op, reply: Reply) {
        // What the last clunk says changes nothing.
        if self.answer.is_some() {
            return;
        }
        match (op, reply) {
            (Op::Remove { .. }, reply) => {
                self.walked = false;
                match reply {
                    Reply::Failed(error) => self.fail(error),
                    _ => self.done(Answer::Done),
                }
            }
            (_, Reply::Failed(error)) => self.fail(error),
            (Op::Walk { names, .. }, Reply::Walked(qids)) => {
                if qids.len() < names.len() {
                    // It stopped there; asked for a step alone, the node says why. What is far away may have gone
                    // further than that.
                    let (there, rest) = names.split_at(qids.len());
                    self.plan.clear();
                    self.plan.push_back(Op::Walk { fid: Fid(0), newfid: self.fid, names: there.to_vec() });
                    for step in rest {
                        let names = vec![step.clone()];
                        self.plan.push_back(Op::Walk { fid: self.fid, newfid: self.fid, names });
                    }
                    self.plan.extend(self.call.main(self.fid));
                    return;
                }
                let link = qids.last().is_some_and(|qid| qid.kind == FileKind::Link);
                let over = self.plan.iter().all(|op| !matches!(op, Op::Walk { .. }));
                if link && over && self.call.follows() && names.last().is_none_or(|n| n != ".") {
                    // A step that stays goes through the link.
                    let on = Op::Walk { fid: self.fid, newfid: self.fid, names: vec![".".into()] };
                    self.plan.push_front(on);
                }
                self.walked = true;
                if self.plan.is_empty() {
                    self.done(Answer::Done);
                }
            }
            (Op::Open { .. }, Reply::Opened(..)) => {
                if let Call::Open(..) = self.call {
                    self.walked = false;
                    self.done(Answer::File(FileNo(0)));
                }
            }
            (Op::List { fid, count, .. }, Reply::Listed(entries)) => match entries.last() {
                Some(last) => {
                    let again = Op::List { fid: *fid, cookie: last.cookie, count: *count };
                    self.entries.extend(entries);
                    self.plan.push_front(again);
                }
                None => {
                    let stats = self.entries.drain(..).map(|e| e.stat).collect();
                    self.done(Answer::Entries(stats));
                }
            },
            (_, Reply::Data(data)) => self.done(Answer::Data(data)),
            (_, Reply::Wrote(n)) => self.done(Answer::Wrote(n)),
            (_, Reply::Stat(stat)) => self.done(Answer::Stat(stat)),
            (_, Reply::Linked(text)) => self.done(Answer::Linked(text)),
            (_, _) => self.done(Answer::Done),
        }
    }
}

impl<W: Wire> Driver for Calls<W> {
    fn able(&self) -> Able {
        self.wire.able()
    }

    fn connect(&mut self, user: &str) -> Conn {
        self.wire.connect(user)
    }

    fn begin(&mut self, conn: Conn, call: Call) -> CallNo {
        let no = CallNo(self.number());
        let mut fid = Fid(no.0 as u32);
        let mut plan = VecDeque::new();
        match (&call, call.path()) {
            (_, Some(path)) => {
                let mut steps = names(path);
                if let Call::Mkdir(_) = call {
                    steps.pop();
                }
                plan.push_back(Op::Walk { fid: Fid(0), newfid: fid, names: steps });
                plan.extend(call.main(fid));
            }
            (Call::Read { file, .. } | Call::Write { file, .. } | Call::Close(file), None) => {
                fid = self.files.get(file).map_or(Fid(u32::MAX - 1), |(_, fid)| *fid);
                plan.push_back(match &call {
                    Call::Read { offset, count, wait, .. } => {
                        Op::Read { fid, offset: *offset, count: *count, wait: *wait }
                    }
                    Call::Write { offset, data, .. } => {
                        Op::Write { fid, offset: *offset, data: data.clone() }
                    }
                    _ => Op::Clunk { fid },
                });
            }
            (_, None) => unreachable!("every other call has a path"),
        }
        let (tag, answer, entries, walked) = (None, None, Vec::new(), false);
        self.calls.insert(no, Running { conn, call, fid, plan, tag, answer, entries, walked });
        self.step(no);
        no
    }

    fn poll(&mut self, no: CallNo) -> Option<Answer> {
        self.step(no);
        let run = self.calls.get(&no)?;
        if run.tag.is_some() || !run.plan.is_empty() {
            return None;
        }
        let run = self.calls.remove(&no)?;
        let mut answer = run.answer.unwrap_or(Answer::Done);
        if let Answer::File(file) = &mut answer {
            *file = FileNo(self.number());
            self.files.insert(*file, (run.conn, run.fid));
        }
        if let Call::Close(file) = run.call {
            self.files.remove(&file);
        }
        Some(answer)
    }

    fn interrupt(&mut self, no: CallNo) {
        self.step(no);
        let Some(run) = self.calls.get_mut(&no) else { return };
        let Some((tag, op)) = run.tag.take() else { return };
        let conn = run.conn;
        let flush = self.wire.ask(conn, Op::Flush { tag });
        self.wire.settle();
        let flushed = self.wire.reply(conn, flush);
        assert_eq!(flushed, Some(Reply::Done), "a flush is answered at once");
        let reply = self.wire.reply(conn, tag).unwrap_or(Reply::errno(Errno::INTR));
        if let Some(run) = self.calls.get_mut(&no) {
            run.take(&op, reply);
        }
        self.step(no);
    }

    fn hangup(&mut self, conn: Conn) {
        self.calls.retain(|_, run| run.conn != conn);
        self.files.retain(|_, (of, _)| *of != conn);
        self.wire.hangup(conn);
    }

    fn settle(&mut self) {
        self.wire.settle();
    }

    fn node(&mut self) -> &mut dyn Node {
        self.wire.node()
    }

    fn nodes(&self) -> Vec<String> {
        self.wire.nodes()
    }

    fn connect_at(&mut self, node: &str, user: &str) -> Result<Conn, String> {
        self.wire.connect_at(node, user)
    }

    fn node_at(&mut self, node: &str) -> Result<&mut dyn Node, String> {
        self.wire.node_at(node)
    }

    fn happens(&mut self, what: &str) -> Result<(), String> {
        self.wire.happens(what)
    }

    fn is_gone(&self, conn: Conn) -> bool {
        self.wire.is_gone(conn)
    }
}
