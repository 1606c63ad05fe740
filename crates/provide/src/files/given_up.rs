//! Requests that are given up: by whoever asked, or because nothing comes back.

use super::job::Job;
use super::{Files, limits};
use op::{Errno, Error, Op, Reply, Tag, Uid};
use std::time::Instant;

impl Files {
    /// Gives a request up: it is never answered.
    pub(super) fn flush(&mut self, tag: Tag) {
        let Some(number) = self.tags.remove(&tag) else {
            return self.answers.retain(|(answered, _)| *answered != tag);
        };
        let slot = self.slots.get_mut(&number).expect("requests are where they are said to be");
        if let Some(flight) = slot.flight.as_mut().filter(|flight| flight.tag == Some(tag)) {
            flight.tag = None;
            let (thread, makes, uid) = (flight.thread, flight.makes, slot.user.uid);
            self.users.entry(uid).or_default().requests -= 1;
            // It may succeed all the same: then what it has found is closed at once.
            let attach = (!slot.attached).then_some(number);
            self.crew.give_up(thread);
            self.orphan(makes.or(attach));
            return self.arm();
        }
        let job = slot.withdraw(tag).expect("a request is flying, queued or parked");
        self.release(number, &job);
        if job.makes.is_some() {
            self.born(job.makes, None);
        }
        if matches!(job.task.op, Op::Remove { .. }) {
            self.close(number);
        }
        self.settle(number);
    }

    /// A slot that nobody has heard of.
    fn orphan(&mut self, makes: Option<u64>) {
        if let Some(number) = makes
            && self.slots.contains_key(&number)
        {
            self.detach(number);
            self.close(number);
        }
    }

    /// Has a slot's file closed when all else is done.
    fn close(&mut self, number: u64) {
        let slot = self.slots.get_mut(&number).expect("just found");
        slot.queue.push_back(Job::closing());
        self.ready(number);
    }

    /// All threads that this user may have are held, and none comes back: what waits for one is refused, so that nothing
    /// waits silently. What only closes files goes on waiting.
    pub(super) fn refuse_waiting(&mut self, uid: Uid) {
        let Some(share) = self.users.get_mut(&uid) else { return };
        share.stirred = Instant::now();
        let (waiting, held): (Vec<u64>, usize) = (share.ready.iter().copied().collect(), share.running);
        for number in waiting {
            let Some(slot) = self.slots.get_mut(&number) else { continue };
            let jobs: Vec<Job> = slot.queue.drain(..).collect();
            let (kept, refused) = jobs.into_iter().partition::<Vec<_>, _>(|job| job.tag.is_none());
            slot.queue.extend(kept);
            for job in refused {
                let whose = if held > 0 { "of this user" } else { "of other users" };
                let cause = format!(
                    "requests {whose} to files of this machine have not come back for {} s, and no more are begun; \
                     a file system does not answer, or programs do not open the other end of a pipe",
                    limits::STUCK.as_secs()
                );
                self.finish(number, &job, Reply::Failed(Error::new(Errno::TIMEDOUT, cause)));
                self.born(job.makes, None);
                if matches!(job.task.op, Op::Remove { .. }) {
                    self.close(number);
                }
            }
            self.unlist(number);
            self.settle(number);
        }
    }
}
