//! The files of a group whose members are elsewhere: a part from each share.

use super::{Over, Part, Parts};
use crate::{
    Kernel, LinkId, Who,
    files::{Kind, RowId},
    limits,
    record::Format,
};
use alloc::format;
use op::{Fid, SessionId};

impl Kernel {
    /// The parts of a group's file that its shares have. How its members ended is known here, and what it is itself.
    pub(super) fn gather_shares(
        &mut self,
        who: Who,
        fid: Fid,
        id: SessionId,
        row: RowId,
        format: Format,
    ) -> Option<Parts> {
        let name = row.row().name;
        if !matches!(name, "status" | "topology" | "events" | "error") {
            return None;
        }
        let file = format!("{name}{}", format.suffix());
        let (there, lost) = self.share_parts(id, &file);
        if there.is_empty() && lost.is_empty() {
            return None;
        }
        let once = matches!(row.row().kind, Kind::Text { .. });
        let mut all = Parts { user: self.user(who.uid).name.clone(), once, ..Parts::default() };
        if once || matches!(row.row().kind, Kind::Failures) {
            let at = self.clock.mono + self.part_time(limits::PART);
            all.deadline = Some(at);
            self.part_timers.insert((at, who.client, fid));
        }
        for (name, error) in lost {
            all.parts.push(Part::new(all.next, LinkId::FILES, name, Over::Broken(error)));
            all.next += 1;
        }
        for (link, name, names) in there {
            self.add_part(&mut all, who.client, fid, (link, name), &names, 0);
        }
        Some(all)
    }
}
