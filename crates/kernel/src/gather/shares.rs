//! The files of a group whose members are elsewhere: a part from each share.

use super::{Over, Part, Parts};
use crate::{
    Kernel, LinkId, Who,
    files::{Kind, RowId},
    limits,
    place::Subject,
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
        let file = match name {
            "status" | "topology" | "events" | "error" => format!("{name}{}", format.suffix()),
            // How many wait, and for what, is known where the group is planned; whatever the format, lines are read of it.
            "info" if self.is_planned_above(id) => name.into(),
            _ => return None,
        };
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

    /// What the share above said of those that wait, if this is `info` of a group that is planned there. True if it is.
    pub(crate) fn told_above(&mut self, who: Who, fid: Fid, subject: Subject, row: RowId) -> bool {
        let Subject::Session(id) = subject else { return false };
        if row.row().name != "info" {
            return false;
        }
        let Some(all) = self.parts_mut(who.client, fid) else { return false };
        let (broken, text) = (all.broken().is_some(), core::mem::take(&mut all.text));
        // Read again, the file says the same.
        if broken || !text.is_empty() {
            self.heard_above(id, (!broken).then_some(&text));
        }
        true
    }
}
