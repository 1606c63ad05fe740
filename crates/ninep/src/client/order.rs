//! Which requests may be in flight together.
//!
//! A server may run the messages of a connection in any order, as diod does on its threads: it finds no fid in a
//! `Tlopen` that overtook the `Twalk`. So what makes, opens or clunks a fid goes alone among all that is about
//! that fid; reads, writes and walks from it go together. 9P2000.uem promises order, and there all leave at once.

use super::{Client, Kind};
use crate::{Dialect, NOFID};
use alloc::vec::Vec;
use op::{Fid, Op};

/// The fids of a request, each with whether nothing else may be under way about it.
pub(super) type Uses = [(u32, bool); 2];

/// Of a request about no fid.
pub(super) const NO_USES: Uses = [(NOFID, false); 2];

pub(super) fn uses(op: &Op) -> Uses {
    let (fid, alone): (Fid, bool) = match *op {
        Op::Walk { fid, newfid, .. } if fid != newfid => return [(fid.0, false), (newfid.0, true)],
        Op::Rename { fid, dir, .. } => return [(fid.0, false), (dir.0, false)],
        Op::Attach { fid, .. }
        | Op::Walk { fid, .. }
        | Op::Open { fid, .. }
        | Op::Create { fid, .. }
        | Op::Clunk { fid }
        | Op::Remove { fid } => (fid, true),
        Op::Read { fid, .. }
        | Op::Write { fid, .. }
        | Op::List { fid, .. }
        | Op::Stat { fid }
        | Op::SetStat { fid, .. }
        | Op::Symlink { fid, .. }
        | Op::ReadLink { fid } => (fid, false),
        Op::Flush { .. } => return NO_USES,
    };
    [(fid.0, alone), (NOFID, false)]
}

fn clash(one: Uses, other: Uses) -> bool {
    one.iter().any(|(fid, alone)| {
        *fid != NOFID && other.iter().any(|(same, lonely)| fid == same && (*alone || *lonely))
    })
}

impl Client {
    /// Sends what may be sent.
    pub(super) fn send_waiting(&mut self) {
        let mut held: Vec<Uses> = Vec::new();
        let mut at = 0;
        while self.agreed && !self.closed && self.flights.len() < self.window {
            let Some((_, op)) = self.waiting.get(at) else { return };
            let uses = uses(op);
            let under_way = |client: &Client| {
                client
                    .flights
                    .find(|flight| !matches!(flight.kind, Kind::Over) && clash(flight.uses, uses))
                    .is_some()
            };
            let ordered = self.dialect == Dialect::Uem;
            if !ordered && (held.iter().any(|earlier| clash(*earlier, uses)) || under_way(self)) {
                held.push(uses);
                at += 1;
            } else if let Some((tag, op)) = self.waiting.remove(at) {
                self.send(tag, &op);
            }
        }
    }
}
