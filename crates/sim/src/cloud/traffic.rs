//! What goes over each link: messages and their bytes, counted as they are sent.

use super::{
    Cloud,
    link::{Frame, LANES, lane_no},
};
use op::{Op, Reply, Stat};
use std::ops::AddAssign;

/// What one end of a link has said.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Said {
    /// Requests and answers.
    pub messages: u64,
    /// Their bytes, as 9P2000.uem has them; within a few, since some answers are shorter or longer there.
    pub bytes: u64,
    /// What one kernel tells the other of who there is and how it does.
    pub news: u64,
    /// Their bytes.
    pub news_bytes: u64,
}

impl AddAssign for Said {
    fn add_assign(&mut self, other: Said) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.news += other.news;
        self.news_bytes += other.news_bytes;
    }
}

/// Size, type and tag.
const HEADER: usize = 7;
/// A qid.
const QID: usize = 13;

impl Said {
    /// One more of them.
    pub(super) fn count(&mut self, frame: &Frame) {
        let bytes = |body: usize| (HEADER + body) as u64;
        match frame {
            Frame::Ask(_, op) => {
                self.messages += 1;
                self.bytes += bytes(asked(op));
            }
            Frame::Reply(_, reply) => {
                self.messages += 1;
                self.bytes += bytes(answered(reply));
            }
            Frame::News(news) => {
                self.news += 1;
                self.news_bytes += bytes(news.len());
            }
            Frame::Up | Frame::Bye { .. } => {}
        }
    }
}

fn asked(op: &Op) -> usize {
    let text = |text: &str| 2 + text.len();
    match op {
        Op::Attach { user, tree, .. } => 12 + text(user) + text(tree),
        Op::Walk { names, .. } => 10 + names.iter().map(|name| text(name)).sum::<usize>(),
        Op::Open { .. } => 8,
        Op::Create { name, .. } => 16 + text(name),
        Op::Read { .. } | Op::List { .. } => 16,
        Op::Write { data, .. } => 16 + data.len(),
        Op::Stat { .. } => 12,
        Op::SetStat { .. } => 60,
        Op::ReadLink { .. } | Op::Remove { .. } | Op::Clunk { .. } => 4,
        Op::Symlink { name, target, .. } => 8 + text(name) + text(target),
        Op::Rename { name, to, .. } => 8 + text(name) + text(to),
        Op::Flush { .. } => 2,
    }
}

fn answered(reply: &Reply) -> usize {
    let stat = |stat: &Stat| 60 + stat.name.len() + stat.user.len() + stat.group.len();
    match reply {
        Reply::Attached(_) | Reply::Made(_) => QID,
        Reply::Walked(qids) => 2 + QID * qids.len(),
        Reply::Opened(..) => QID + 5,
        Reply::Data(data) => 4 + data.len(),
        Reply::Wrote(_) => 4,
        Reply::Listed(entries) => 4 + entries.iter().map(|entry| 8 + stat(&entry.stat)).sum::<usize>(),
        Reply::Stat(of) => stat(of),
        Reply::Linked(target) => 2 + target.len(),
        Reply::Done => 0,
        Reply::Failed(error) => 6 + error.cause.len(),
    }
}

impl Cloud {
    /// What the link above a node has carried since that was last forgotten: what the node said, and what its parent did.
    pub fn said(&self, child: usize) -> [Said; 2] {
        let link = self.hosts[child].links.values().find(|(_, end)| *end == 0);
        link.map_or_else(Default::default, |(link, _)| {
            [0, 1].map(|end| {
                let mut all = Said::default();
                LANES.iter().for_each(|lane| all += self.links[*link].ends[end].said[lane_no(*lane)]);
                all
            })
        })
    }

    /// From now on what is said is counted anew.
    pub fn forget_said(&mut self) {
        for link in &mut self.links {
            link.ends.iter_mut().for_each(|end| end.said = Default::default());
        }
    }
}
