//! What must hold of everything that a machine wants done, whatever it is asked: seen from outside, effect by
//! effect. A broken promise panics, and says which.

use kernel::{ClientId, Effect};
use op::{Act, Op, Reply, SessionId, Tag};
use std::collections::{BTreeMap, BTreeSet};

/// What is remembered of a request that is not answered.
#[derive(Clone, Debug)]
struct Sent {
    name: &'static str,
    flushes: Option<Tag>,
}

/// What a session's last line in the journal says, as far as it is relied on.
#[derive(Clone, Debug, Default)]
struct Promised {
    starting: bool,
    trimmed: [u64; 2],
}

/// Sees every event and every effect of one node.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    clients: BTreeSet<ClientId>,
    sent: BTreeMap<(ClientId, Tag), Sent>,
    journaled: BTreeMap<SessionId, Promised>,
    /// An answer of this batch went out.
    answered: bool,
}

impl Watch {
    /// A client is there.
    pub fn connected(&mut self, client: ClientId) {
        self.clients.insert(client);
    }

    /// A client is gone: none of its requests may be answered any more.
    pub fn gone(&mut self, client: ClientId) {
        self.clients.remove(&client);
        self.sent.retain(|(of, _), _| *of != client);
    }

    /// Nobody is there any more: the node was started again. What the journal says stays.
    pub fn restarted(&mut self) {
        self.clients.clear();
        self.sent.clear();
        self.journaled.clear();
    }

    /// A client asks.
    pub fn asked(&mut self, client: ClientId, tag: Tag, op: &Op) {
        let flushes = if let Op::Flush { tag } = op { Some(*tag) } else { None };
        let sent = Sent { name: op_name(op), flushes };
        assert!(self.sent.insert((client, tag), sent).is_none(), "the test used {tag:?} twice at once");
    }

    /// A batch of effects begins.
    pub fn batch(&mut self) {
        self.answered = false;
    }

    /// Sees an effect as it is carried out.
    pub fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Answer(client, tag, reply) => self.answer(*client, *tag, Some(reply)),
            Effect::AnswerSpool { client, tag, .. } => self.answer(*client, *tag, None),
            Effect::Journal(line) => self.journal(line),
            Effect::Rewrite(lines) => {
                self.journaled.clear();
                let lines = lines.strip_suffix(b"\n").expect("the last line has its end");
                lines.split(|b| *b == b'\n').for_each(|line| self.journal(line));
            }
            Effect::Act(act) => self.act(act),
            Effect::AnswerContent { client, tag, .. } => self.answer(*client, *tag, None),
            Effect::Keep { .. } | Effect::Used { .. } | Effect::Drop(_) => {}
            Effect::WakeAt(_)
            | Effect::Measure
            | Effect::Gauge(..)
            | Effect::Fetch { .. }
            | Effect::FindUser(_)
            | Effect::Admit(_)
            | Effect::Ask { .. }
            | Effect::Put { .. }
            | Effect::News(..)
            | Effect::Unlink(..)
            | Effect::Leave
            | Effect::Down { .. } => {}
        }
    }

    fn answer(&mut self, client: ClientId, tag: Tag, reply: Option<&Reply>) {
        self.answered = true;
        assert!(self.clients.contains(&client), "an answer to {client:?}, who is gone: {reply:?}");
        let sent = self.sent.remove(&(client, tag)).unwrap_or_else(|| {
            panic!("{client:?} {tag:?} is answered but was not asked, or was answered or flushed before: {reply:?}")
        });
        assert!(answers(sent.name, reply), "a {} is answered with {reply:?}", sent.name);
        if let Some(old) = sent.flushes {
            self.sent.remove(&(client, old));
        }
    }

    fn journal(&mut self, line: &[u8]) {
        assert!(!self.answered, "an answer went out before this line of the journal");
        assert!(!line.contains(&b'\n'), "a line of the journal is one line");
        let text = String::from_utf8_lossy(line);
        let mut words = text.split(' ');
        let number = |word: Option<&str>| word.and_then(|w| w.parse().ok()).map(SessionId);
        match words.next() {
            // Numbers that were given out, and other nodes that are known.
            Some("next" | "node" | "nonode" | "label" | "drained" | "term") => {}
            // What groups have elsewhere.
            Some(
                "group" | "nogroup" | "queue" | "left" | "pin" | "share" | "place" | "again" | "try"
                | "replace" | "freed" | "unshare" | "ended" | "flow" | "behind" | "nobehind",
            ) => {}
            Some("free") => drop(number(words.next()).and_then(|id| self.journaled.remove(&id))),
            first => {
                let is = first == Some("is");
                let id = number(if is { words.next() } else { first })
                    .unwrap_or_else(|| panic!("a line of the journal names its session: {text}"));
                let mut promised = Promised::default();
                for word in words {
                    match word.split_once('=') {
                        Some(("state", state)) => promised.starting = state == "starting",
                        Some(("trim1", at)) => promised.trimmed[0] = at.parse().unwrap_or(0),
                        Some(("trim2", at)) => promised.trimmed[1] = at.parse().unwrap_or(0),
                        _ => {}
                    }
                }
                self.journaled.insert(id, promised);
            }
        }
    }

    /// What is done is in the journal before.
    fn act(&self, act: &Act) {
        let line = self.journaled.get(&crate::provider::session_of(act));
        match act {
            Act::Start(_) => assert!(line.is_some_and(|l| l.starting), "not in the journal: {act:?}"),
            Act::Free(_) => assert!(line.is_none(), "not in the journal: {act:?}"),
            Act::Trim { stream, offset, .. } => {
                assert!(
                    line.is_none_or(|l| l.trimmed[*stream as usize] == *offset),
                    "not in the journal: {act:?}"
                );
            }
            Act::Adopt { .. }
            | Act::Signal { .. }
            | Act::Freeze(_)
            | Act::Thaw(_)
            | Act::Feed { .. }
            | Act::Unfeed(_)
            | Act::CloseStdin(_)
            | Act::Resize { .. }
            | Act::Append { .. }
            | Act::Limit { .. } => {}
        }
    }

    /// Requests that are neither answered nor flushed.
    pub fn outstanding(&self) -> impl Iterator<Item = (ClientId, Tag)> {
        self.sent.keys().copied()
    }

    /// Whether this one is neither answered nor flushed.
    pub fn is_outstanding(&self, client: ClientId, tag: Tag) -> bool {
        self.sent.contains_key(&(client, tag))
    }

    /// How many sessions a node would remember that was started from the journal now.
    pub fn journaled(&self) -> usize {
        self.journaled.len()
    }
}

/// Whether that can be the answer to an operation of this name.
pub(crate) fn answers(name: &str, reply: Option<&Reply>) -> bool {
    match reply {
        None | Some(Reply::Data(_)) => name == "read",
        Some(Reply::Failed(_)) => name != "flush",
        Some(Reply::Attached(_)) => name == "attach",
        Some(Reply::Walked(_)) => name == "walk",
        Some(Reply::Opened(..)) => matches!(name, "open" | "create"),
        Some(Reply::Wrote(_)) => name == "write",
        Some(Reply::Listed(_)) => name == "list",
        Some(Reply::Stat(_)) => name == "stat",
        Some(Reply::Linked(_)) => name == "readlink",
        Some(Reply::Made(_)) => name == "symlink",
        Some(Reply::Done) => matches!(name, "setstat" | "rename" | "remove" | "clunk" | "flush"),
    }
}

/// An operation's name, as in a sentence.
pub fn op_name(op: &Op) -> &'static str {
    match op {
        Op::Attach { .. } => "attach",
        Op::Walk { .. } => "walk",
        Op::Open { .. } => "open",
        Op::Create { .. } => "create",
        Op::Read { .. } => "read",
        Op::Write { .. } => "write",
        Op::List { .. } => "list",
        Op::Stat { .. } => "stat",
        Op::SetStat { .. } => "setstat",
        Op::ReadLink { .. } => "readlink",
        Op::Symlink { .. } => "symlink",
        Op::Rename { .. } => "rename",
        Op::Remove { .. } => "remove",
        Op::Clunk { .. } => "clunk",
        Op::Flush { .. } => "flush",
    }
}
