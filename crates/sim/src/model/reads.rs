//! What reading comes to in the model: texts, outputs, ends.

use super::{Expect, Model, Name, State, files::FRESH};
use crate::provider::Provider;
use kernel::{ClientId, quote, split};
use op::{Errno, Fid, How, Stream, format_size, format_span};
use std::time::Duration;

impl Model {
    /// Whether a fid's file is measured before it is read.
    pub(super) fn measures(&self, client: ClientId, fid: Fid) -> bool {
        match self.opened(client, fid, false) {
            Ok((None, Name::Status | Name::Info) | (Some(_), Name::Info)) => true,
            Ok(_) | Err(_) => false,
        }
    }

    pub(crate) fn read(
        &mut self,
        client: ClientId,
        fid: Fid,
        offset: u64,
        count: u32,
        p: &Provider,
    ) -> Expect {
        let (id, name) = match self.opened(client, fid, false) {
            Ok(found) => found,
            Err(errno) => return Expect::Errno(errno),
        };
        let now = self.clock.mono;
        let fresh = |at: Option<op::Mono>| at.is_some_and(|at| now.since(at) < FRESH);
        let text = match (id, name) {
            (_, Name::Ctl | Name::Clone) => {
                let text = id.map_or("n1\n".into(), |id| format!("{id}\n"));
                return Expect::Data(cut(text.as_bytes(), offset, count));
            }
            (None, Name::Status | Name::Info) if !fresh(self.gauges) => return Expect::Waits,
            (None, Name::Status) => "n1 up 10:35, 4 users, load average: 1.08\n".into(),
            (None, Name::Info) => return says(format!("running={}\n", self.sessions().1), offset),
            (Some(id), Name::Info) => {
                let session = &self.sessions[&id];
                if matches!(session.state, State::Running { .. }) && !fresh(session.gauged) {
                    return Expect::Waits;
                }
                return says(format!("\nid={id}\n"), offset);
            }
            (Some(id), Name::Status) => self.status(id),
            (Some(id), Name::Args) => self.args(id),
            (_, Name::Wait) => return self.read_wait(client, fid, id, offset, count),
            (Some(id), Name::Stdout) => return self.read_output(id, Stream::Out, offset, count, p),
            (Some(id), Name::Stderr) => return self.read_output(id, Stream::Err, offset, count, p),
            (Some(id), Name::Stdio) => return self.read_console(client, fid, id, count, p),
            (_, Name::Stdin | Name::Args | Name::Stdout | Name::Stderr | Name::Stdio) => {
                return Expect::Errno(Errno::BADF);
            }
        };
        let Some(state) = self.fids.get_mut(&(client, fid)) else { return Expect::Errno(Errno::BADF) };
        // It is made when it is read from the start, and goes on as it was made.
        if offset == 0 || state.snapshot.is_none() {
            state.snapshot = Some(text);
        }
        Expect::Data(cut(state.snapshot.as_deref().unwrap_or_default(), offset, count))
    }

    fn line_of(&self, id: u64) -> Vec<u8> {
        let s = &self.sessions[&id];
        let now = self.clock.wall;
        let (state, real) = match s.state {
            State::Fresh => ("fresh".into(), Duration::ZERO),
            State::Starting => ("starting".into(), Duration::ZERO),
            State::Running { stopped: false, at, .. } => ("running".into(), now.since(at)),
            State::Running { stopped: true, at, .. } => ("stopped".into(), now.since(at)),
            State::Ended { exit, at, .. } => (how(exit.how), exit.at.since(at)),
        };
        let command = String::from_utf8_lossy(&s.command).replace('\n', "\\n");
        let line = format!("n1/{id} {state} {} {} {command}", format_span(real), self.user(s.owner).name);
        format!("{}\n", line.trim_end()).into_bytes()
    }

    fn status(&self, id: u64) -> Vec<u8> {
        match &self.sessions[&id].members {
            none if none.is_empty() => self.line_of(id),
            members => members.values().flat_map(|member| self.line_of(*member)).collect(),
        }
    }

    fn args(&self, id: u64) -> Vec<u8> {
        let session = &self.sessions[&id];
        if session.state == State::Fresh {
            return session.command.clone();
        }
        let mut out = Vec::new();
        for word in split(&session.command).unwrap_or_default() {
            quote(&word, &mut out);
            out.push(b'\n');
        }
        out
    }

    fn wait_line(&self, id: u64) -> Vec<u8> {
        let State::Ended { pid, at, exit, .. } = self.sessions[&id].state else { return Vec::new() };
        let (user, sys) = (exit.usage.user_us as f64 / 1e6, exit.usage.sys_us as f64 / 1e6);
        let (real, rss) = (exit.at.since(at).as_secs_f64(), format_size(exit.usage.maxrss_kib << 10));
        let how = how(exit.how);
        let rank = self.sessions[&id].group.map_or(String::new(), |(_, rank)| format!(" rank={rank}"));
        format!("n1/{id} {pid} {how} user={user:.2} sys={sys:.2} real={real:.2} maxrss={rss}{rank}\n")
            .into_bytes()
    }

    fn read_wait(&mut self, client: ClientId, fid: Fid, id: Option<u64>, offset: u64, count: u32) -> Expect {
        let key = (client, fid);
        let from = self.fids[&key].next;
        let here = |of: u64| match id {
            None => true,
            Some(id) => of == id || self.sessions[&of].group.is_some_and(|(group, _)| group == id),
        };
        let new: Vec<u8> = self
            .ends
            .range(from..)
            .filter(|(_, of)| here(**of))
            .flat_map(|(_, of)| self.wait_line(*of))
            .collect();
        let all = match id {
            None => !self.sessions.values().any(|s| s.runs()),
            Some(id) => match &self.sessions[&id] {
                s if s.is_group() => s.members.values().all(|m| self.sessions[m].ended()),
                s => s.ended(),
            },
        };
        let next = self.next_end;
        let Some(state) = self.fids.get_mut(&key) else { return Expect::Errno(Errno::BADF) };
        state.text.extend(new);
        state.next = next;
        match cut(&state.text, offset, count) {
            data if data.is_empty() && !all && count > 0 => Expect::Waits,
            data => Expect::Data(data),
        }
    }

    fn read_output(&self, id: u64, stream: Stream, offset: u64, count: u32, p: &Provider) -> Expect {
        let session = &self.sessions[&id];
        let told = session.told[stream as usize];
        if offset < told {
            return Expect::Data(cut(&self.spool(p, id, stream)[..told as usize], offset, count));
        }
        if session.closed[stream as usize] || session.ended() {
            return Expect::Data(Vec::new());
        }
        Expect::Waits
    }

    fn read_console(&mut self, client: ClientId, fid: Fid, id: u64, count: u32, p: &Provider) -> Expect {
        let session = &self.sessions[&id];
        let (told, over) = (session.told, session.ended() || session.closed == [true; 2]);
        let seen = self.fids[&(client, fid)].seen;
        for stream in [Stream::Out, Stream::Err] {
            let (at, told) = (seen[stream as usize], told[stream as usize]);
            if at < told && count > 0 {
                let data = cut(&self.spool(p, id, stream)[..told as usize], at, count);
                if let Some(state) = self.fids.get_mut(&(client, fid)) {
                    state.seen[stream as usize] = at + data.len() as u64;
                }
                return Expect::Data(data);
            }
        }
        if over || count == 0 { Expect::Data(Vec::new()) } else { Expect::Waits }
    }
}

fn how(how: How) -> String {
    match how {
        How::Code(code) => format!("exit={code}"),
        How::Signal(signal) => format!("signal={signal}"),
        How::Lost => "lost=node".into(),
    }
}

fn says(text: String, offset: u64) -> Expect {
    Expect::Says(if offset == 0 { text } else { String::new() })
}

fn cut(text: &[u8], offset: u64, count: u32) -> Vec<u8> {
    let from = (offset as usize).min(text.len());
    text[from..].iter().take(count as usize).copied().collect()
}
