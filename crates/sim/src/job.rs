//! One command of a transcript, on its way: which call comes next, what it has printed, how it stands.

use crate::{
    commands::{Command, Descriptor, Step},
    driver::{Able, Answer, Call, CallNo, Conn, FileNo},
    script::{failure, shown},
};
use op::{Errno, Error, FileKind, Stat};
use std::collections::BTreeMap;

/// Who types.
pub(crate) struct Client {
    pub(crate) conn: Conn,
    pub(crate) descriptors: BTreeMap<u32, Descriptor>,
}

/// A command that runs.
pub(crate) struct Job {
    pub(crate) number: usize,
    pub(crate) client: String,
    pub(crate) command: Command,
    /// What it opened for itself.
    pub(crate) file: Option<FileNo>,
    pub(crate) offset: u64,
    pub(crate) call: Option<(CallNo, Step)>,
    pub(crate) printed: Vec<u8>,
    pub(crate) lines: Vec<String>,
    pub(crate) error: Option<Error>,
    pub(crate) counted: u64,
    pub(crate) announced: bool,
}

impl Job {
    pub(crate) fn fail(&mut self, error: Error) {
        self.command.steps.clear();
        self.error = Some(error);
        self.close();
    }

    /// Closes what it opened, last of all.
    fn close(&mut self) {
        if let Some(file) = self.file.take() {
            self.command.steps.push_back(Step::Call(Call::Close(file)));
        }
    }

    fn file(&self, client: &Client) -> Result<FileNo, Error> {
        let of_descriptor = self.command.on.and_then(|d| client.descriptors.get(&d)).map(|d| d.file);
        self.file.or(of_descriptor).ok_or_else(|| Errno::BADF.into())
    }

    /// The call for a step; `None` if it needs none.
    pub(crate) fn call_of(&mut self, step: &Step, client: &mut Client) -> Result<Option<Call>, Error> {
        Ok(Some(match step {
            Step::Call(call) => call.clone(),
            Step::Open(path, access) | Step::Keep(_, path, access) => Call::Open(path.clone(), *access),
            Step::Drop(d) => Call::Close(client.descriptors.remove(d).ok_or(Errno::BADF)?.file),
            Step::Read { count, wait } => {
                Call::Read { file: self.file(client)?, offset: self.offset, count: *count, wait: *wait }
            }
            Step::Drain { left, .. } => {
                let count = (*left).min(65_536) as u32;
                Call::Read { file: self.file(client)?, offset: self.offset, count, wait: true }
            }
            Step::Write(data) => {
                Call::Write { file: self.file(client)?, offset: self.offset, data: data.clone() }
            }
            Step::Seek(to) => {
                let d = self.command.on.and_then(|d| client.descriptors.get_mut(&d)).ok_or(Errno::BADF)?;
                d.offset = *to;
                return Ok(None);
            }
            Step::Find(path) => Call::List(path.clone()),
        }))
    }

    fn moved(&mut self, by: usize, client: &mut Client) {
        self.offset += by as u64;
        if let Some(d) = self.command.on.and_then(|d| client.descriptors.get_mut(&d)) {
            d.offset = self.offset;
        }
    }

    pub(crate) fn take(&mut self, step: Step, answer: Answer, client: &mut Client) {
        match (step, answer) {
            (Step::Call(Call::Close(_)), _) => {}
            (_, Answer::Failed(error)) => self.fail(error),
            (Step::Keep(d, ..), Answer::File(file)) => {
                client.descriptors.insert(d, Descriptor { file, offset: 0 });
            }
            (_, Answer::File(file)) => self.file = Some(file),
            (Step::Drain { left, print }, Answer::Data(data)) => {
                self.moved(data.len(), client);
                self.counted += data.len() as u64;
                let left = left - data.len() as u64;
                if !data.is_empty() && left > 0 {
                    self.command.steps.push_front(Step::Drain { left, print });
                } else {
                    if !print {
                        self.lines.push(self.counted.to_string());
                    }
                    self.close();
                }
                if print {
                    self.printed.extend(data);
                }
            }
            (_, Answer::Data(data)) => {
                self.moved(data.len(), client);
                if data.is_empty() {
                    self.lines.push("(end)".into());
                }
                self.printed.extend(data);
            }
            (_, Answer::Wrote(n)) => {
                self.moved(n as usize, client);
                self.close();
            }
            (Step::Find(path), Answer::Entries(found)) => {
                for stat in found.iter().rev().filter(|s| s.qid.kind == FileKind::Dir) {
                    self.command.steps.push_front(Step::Find(format!("{path}/{}", stat.name)));
                }
                let names: Vec<&str> = found.iter().map(|s| s.name.as_str()).collect();
                self.lines.push(format!("{path}: {}", names.join(" ")));
            }
            (_, Answer::Entries(found)) if self.command.long => {
                self.lines.extend(found.iter().map(long));
            }
            (_, Answer::Entries(found)) => {
                self.lines.push(found.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(" "));
            }
            (_, Answer::Stat(stat)) => self.lines.push(long(&stat)),
            (_, Answer::Linked(to)) => self.lines.push(to),
            (_, Answer::Done) => {}
        }
    }

    /// Writes down what it printed, and how it stands.
    pub(crate) fn write(&mut self, came: &mut Vec<String>, over: bool, able: Able) {
        let prefix = if self.number > 0 { format!("[{}] ", self.number) } else { String::new() };
        shown(&prefix, &std::mem::take(&mut self.printed), came);
        came.extend(self.lines.drain(..).map(|line| format!("{prefix}{line}")));
        match (&self.error, over) {
            (Some(error), true) => came.push(format!("{prefix}{}", failure(&self.command.name, error, able))),
            (None, true) if self.number > 0 => came.push(format!("{prefix}done")),
            (None, false) if self.number > 0 && !self.announced => came.push(format!("{prefix}waits")),
            _ => {}
        }
        self.announced = true;
    }
}

/// As `ls -l` has it.
fn long(stat: &Stat) -> String {
    let kind = match stat.qid.kind {
        FileKind::Dir => 'd',
        FileKind::File => '-',
        FileKind::Link => 'l',
    };
    let mut mode = String::new();
    for (i, letter) in "rwxrwxrwx".chars().enumerate() {
        mode.push(if stat.mode & (0o400 >> i) != 0 { letter } else { '-' });
    }
    format!("{kind}{mode} {} {} {}", stat.user, stat.group, stat.name)
}
