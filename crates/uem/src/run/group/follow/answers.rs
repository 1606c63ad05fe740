//! What comes of requests: how a group begins and ends, what it writes, who is where.

use super::{About, File, Follow, Want};
use crate::failure::{Failure, say};
use crate::on::On;
use crate::run::flight::Files;
use crate::run::group::frames::Frames;
use crate::run::group::labels::Labels;
use crate::run::group::tally;
use crate::run::{cannot_start, not_made, reply_text};
use crate::tree;
use op::{Errno, Error, Reply};
use std::time::SystemTime;

impl Follow<'_> {
    pub(super) fn answered(&mut self, want: Want, reply: Reply) -> Result<(), Failure> {
        if matches!(reply, Reply::Failed(_)) && self.node.gone().is_some() {
            return Ok(()); // not the node's word; see `come_back`
        }
        match (want, reply) {
            (Want::Setup | Want::Opened(_), Reply::Failed(error)) => {
                return Err(not_made(&mut self.node, &On::here(), error));
            }
            (Want::Id, reply) => self.id = Some(reply_text(reply)).filter(|id| !id.is_empty()),
            // They had been started before the node died.
            (Want::Exec, Reply::Failed(error)) if error.errno == Errno::BUSY => self.have_started(),
            // Some could not be started: that is how they ended.
            (Want::Exec, Reply::Failed(error)) => self.read(About::Size(error)),
            (Want::Exec, _) => self.have_started(),
            (Want::Opened(at), Reply::Opened(qid, _)) => self.opened(at, qid.version),
            (Want::Out(at), _) if self.outputs[at].over => {}
            (Want::Out(at), Reply::Data(data)) => self.got_output(at, data)?,
            (Want::Wait, Reply::Data(data)) => self.got_wait(&data)?,
            // What came before it is shown, and it is said at the end.
            (Want::Out(at), Reply::Failed(error)) if self.plan.reduces(at) => {
                self.outputs[at].over = true;
                self.flawed = Some(error);
            }
            (Want::Out(_) | Want::Wait, Reply::Failed(error)) => return Err(error.into()),
            (Want::File(mut file), Reply::Data(data)) if !data.is_empty() => {
                file.text.extend(data);
                self.read_on(file);
            }
            (Want::File(file), reply) => {
                self.node.clunk(file.fid);
                self.got_file(file, matches!(reply, Reply::Failed(_)))?;
            }
            (Want::Fed(bytes), reply) => self.fed(bytes, matches!(reply, Reply::Failed(_))),
            (Want::Out(_) | Want::Wait, _) => return Err(Errno::PROTO.into()),
            (Want::Setup | Want::Opened(_) | Want::Told, _) => {}
        }
        Ok(())
    }

    /// The path of the group, once it is known.
    pub(super) fn session(&self) -> Option<String> {
        self.id.as_ref().map(|id| On::here().session(id))
    }

    pub(super) fn have_started(&mut self) {
        self.started = true;
        if self.files.is_none() {
            let mut setup = Vec::new();
            let files = Files::open(&mut self.node, self.ctl, &mut setup);
            self.wants.extend(setup.into_iter().map(|tag| (tag, Want::Setup)));
            self.wants.extend((0..2).map(|at| (files.opened[at], Want::Opened(at))));
            self.files = Some(files);
            self.read_wait();
        }
    }

    pub(super) fn got_file(&mut self, file: File, failed: bool) -> Result<(), Failure> {
        let record = || tree::record(&file.text);
        match file.about {
            About::Size(error) => {
                let state = record().map(|record| tree::text(&record, "state")).unwrap_or_default();
                if !matches!(state.as_str(), "running" | "ended") {
                    return Err(cannot_start(error, self.args));
                }
                self.have_started();
            }
            About::Topology => {
                self.asked_names = false;
                if !failed {
                    for record in tree::records(&file.text)? {
                        let rank = tree::number(&record, "rank") as u32;
                        let path = tree::text(&record, "path").trim_start_matches("net/").to_string();
                        self.name(rank, path.split('/').next().unwrap_or_default());
                        self.paths.insert(path, rank);
                    }
                }
                for out in &self.outputs {
                    out.held.iter().for_each(|frame| self.unnamed.union_with(&frame.ranks));
                }
                (0..2).try_for_each(|at| self.make(at))?;
                if std::mem::take(&mut self.asked_who) {
                    self.read(About::Status);
                }
            }
            About::Info => {
                self.asked_info = false;
                self.running = record().map_or(0.0, |record| tree::number(&record, "active")) as usize;
            }
            About::Status => {
                self.progress.hide();
                say("run", &tally::who_runs(&tree::records(&file.text)?, &self.paths, &self.labels));
                // Not before: it would be said of nobody any more.
                self.tell("kill");
            }
        }
        Ok(())
    }

    pub(super) fn name(&mut self, rank: u32, node: &str) {
        if let Labels::Nodes(nodes) = &mut self.labels
            && !node.is_empty()
        {
            nodes.insert(rank, node.into());
        }
    }

    /// What comes of a node that was started again may have another order: it is not put behind what is shown already. The group is kept
    /// then, so that all of it can be had.
    fn opened(&mut self, at: usize, life: u32) {
        let has_order = self.plan.modes[at].has_order();
        let out = &mut self.outputs[at];
        let same = out.life.replace(life).is_none_or(|before| before == life);
        if same || has_order || out.over || out.offset == 0 {
            return;
        }
        out.over = true;
        if let Some((frames, _)) = &mut out.made {
            *frames = Frames::default();
        }
        let name = ["stdout", "stderr"][at];
        let id = self.id.clone().unwrap_or_default();
        let cause = format!(
            "the node was started again, and collects {name} anew, where records may have another order: what is shown of it ends in the middle. All of it: uem logs {id}; the group is kept until `free` is written to its ctl"
        );
        self.flawed = Some(Error::new(Errno::STALE, cause));
        self.tell("keep");
    }

    pub(super) fn got_output(&mut self, at: usize, data: Vec<u8>) -> Result<(), Failure> {
        let out = &mut self.outputs[at];
        out.reading = false;
        out.over = data.is_empty();
        out.offset += data.len() as u64;
        match &mut out.made {
            _ if data.is_empty() => {}
            None => out.outlet.push(data),
            Some((frames, _)) => {
                frames.push(&data);
                self.make(at)?;
            }
        }
        Ok(())
    }

    /// Makes text of the frames that are here, as far as they have names.
    pub(super) fn make(&mut self, at: usize) -> Result<(), Failure> {
        let out = &mut self.outputs[at];
        let Some((frames, layout)) = &mut out.made else { return Ok(()) };
        let mut text = Vec::new();
        let mut nameless = false;
        loop {
            let frame = match out.held.take() {
                Some(frame) => frame,
                None => match frames.next()? {
                    Some(frame) => frame,
                    None => break,
                },
            };
            let known =
                || self.labels.know(&frame.ranks) || frame.ranks.iter().all(|r| self.unnamed.contains(r));
            if layout.names_early() && !known() {
                out.held = Some(frame);
                nameless = true;
                break;
            }
            layout.frame(&frame, &self.labels, &mut text)?;
        }
        out.outlet.push(text);
        if nameless && !std::mem::replace(&mut self.asked_names, true) {
            self.read(About::Topology);
        }
        Ok(())
    }

    pub(super) fn got_wait(&mut self, data: &[u8]) -> Result<(), Failure> {
        if data.is_empty() {
            self.ended = true;
            if let Some(feed) = &mut self.feed {
                feed.close();
            }
            return Ok(());
        }
        self.waited += data.len() as u64;
        self.line.extend(data);
        let whole = self.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = self.line.split_off(whole);
        let lines = std::mem::replace(&mut self.line, rest);
        for record in tree::records(&lines)? {
            let done = tally::done(&record)?;
            // Told again by a node that was started again.
            if self.tally.ended.contains(done.rank) {
                continue;
            }
            let late = self.args.timeout.is_some_and(|span| done.was_ended_after(span));
            self.name(done.rank, &done.node);
            self.tally.add(&done, late);
            if let Some(log) = &mut self.log {
                log.write(&done, SystemTime::now())?;
            }
        }
        self.read_wait();
        Ok(())
    }

    pub(super) fn fed(&mut self, bytes: usize, failed: bool) {
        let Some(feed) = &mut self.feed else { return };
        feed.taken(bytes);
        match failed {
            true => feed.close(),
            false => self.close_stdin(),
        }
    }
}
