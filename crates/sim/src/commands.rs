//! The commands of a transcript's clients: a small shell. Each becomes the calls that the real command would make.
//!
//! | command | what it does |
//! |---|---|
//! | `3<>PATH` `3<PATH` `3>PATH` `3>&-` | opens a descriptor, closes it |
//! | `read [-n] 3 [COUNT]` | one read where the descriptor stands; `-n` does not wait |
//! | `seek 3 OFFSET` · `wc 3 [COUNT]` | moves it · reads so much (or to the end) and says how much that was |
//! | `echo [-n] WORDS > 3\|PATH` · `printf TEXT > 3\|PATH` | one write; a path is opened, emptied and closed |
//! | `cat 3\|PATH` · `wc PATH` | reads to the end |
//! | `ls [-l] PATH` · `find PATH` · `stat PATH` · `readlink PATH` | looks |
//! | `chmod MODE PATH` · `chgrp GID PATH` · `truncate SIZE PATH` | changes attributes |
//! | `rmdir PATH` · `rm PATH` · `mkdir PATH` | what they say |

use crate::{
    driver::{Call, FileNo},
    script::{text, words},
};
use op::Access;
use std::collections::VecDeque;

/// One thing to do for a command.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A call as it stands.
    Call(Call),
    /// Opens for the command itself, which closes it again.
    Open(String, Access),
    /// Opens as this descriptor.
    Keep(u32, String, Access),
    /// Closes a descriptor.
    Drop(u32),
    /// Reads once.
    Read { count: u32, wait: bool },
    /// Reads to the end, or so much.
    Drain { left: u64, print: bool },
    /// Writes.
    Write(Vec<u8>),
    /// Moves the descriptor.
    Seek(u64),
    /// Lists everything below.
    Find(String),
}

/// A command, understood.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// As the shell would name what failed: `cat: self/0/wait`.
    pub(crate) name: String,
    /// The descriptor that it reads or writes, if it opens nothing.
    pub(crate) on: Option<u32>,
    pub(crate) steps: VecDeque<Step>,
    /// How entries and attributes are shown.
    pub(crate) long: bool,
    pub(crate) background: bool,
}

const R: Access = Access { read: true, write: false, truncate: false };
const W: Access = Access { read: false, write: true, truncate: true };
const RW: Access = Access { read: true, write: true, truncate: false };

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("{word} is not a number"))
}

/// Understands a command.
pub(crate) fn parse(line: &str) -> Result<Command, String> {
    let raw = words(line)?;
    let all: Vec<String> = raw.iter().map(|w| text(w)).collect();
    let mut shown: Vec<&str> = all.iter().map(String::as_str).collect();
    let background = shown.last() == Some(&"&");
    if background {
        shown.pop();
    }
    let mut command =
        Command { name: String::new(), on: None, steps: VecDeque::new(), long: false, background };
    let call = |c: &mut Command, call: Call| c.steps.push_back(Step::Call(call));
    // A descriptor's number, or a path to open.
    let open = |c: &mut Command, place: &str, access: Access| match place.parse() {
        Ok(descriptor) => c.on = Some(descriptor),
        Err(_) => c.steps.push_back(Step::Open(place.into(), access)),
    };
    let whole = u64::MAX;
    match shown[..] {
        [one] if redirection(one, &mut command)? => {}
        ["read", d] => read(&mut command, d, "65536", true)?,
        ["read", "-n", d] => read(&mut command, d, "65536", false)?,
        ["read", "-n", d, count] => read(&mut command, d, count, false)?,
        ["read", d, count] => read(&mut command, d, count, true)?,
        ["seek", d, to] => {
            command.on = Some(number(d)?);
            command.steps.push_back(Step::Seek(number(to)?));
        }
        ["wc", from] => {
            open(&mut command, from, R);
            command.steps.push_back(Step::Drain { left: whole, print: false });
        }
        ["wc", from, count] => {
            open(&mut command, from, R);
            command.steps.push_back(Step::Drain { left: number(count)?, print: false });
        }
        ["cat", from] => {
            open(&mut command, from, R);
            command.steps.push_back(Step::Drain { left: whole, print: true });
        }
        ["echo", ref said @ .., ">", to] => {
            open(&mut command, to, W);
            let (end, from) = if said.first() == Some(&"-n") { ("", 1) } else { ("\n", 0) };
            let said = &raw[1 + from..1 + said.len()];
            let mut data = said.join(&b' ');
            data.extend(end.bytes());
            command.steps.push_back(Step::Write(data));
        }
        ["printf", _, ">", to] => {
            open(&mut command, to, W);
            command.steps.push_back(Step::Write(raw[1].clone()));
        }
        ["ls", path] => call(&mut command, Call::List(path.into())),
        ["ls", "-l", path] => {
            command.long = true;
            call(&mut command, Call::List(path.into()));
        }
        ["find", path] => command.steps.push_back(Step::Find(path.into())),
        ["stat", path] => call(&mut command, Call::Stat(path.into())),
        ["readlink", path] => call(&mut command, Call::ReadLink(path.into())),
        ["chmod", mode, path] => {
            let mode = u32::from_str_radix(mode, 8).map_err(|_| format!("{mode} is not a mode"))?;
            call(&mut command, Call::Chmod(path.into(), mode));
        }
        ["chgrp", gid, path] => call(&mut command, Call::Chgrp(path.into(), number(gid)?)),
        ["truncate", size, path] => call(&mut command, Call::Truncate(path.into(), number(size)?)),
        ["rmdir" | "rm", path] => call(&mut command, Call::Remove(path.into())),
        ["mkdir", path] => call(&mut command, Call::Mkdir(path.into())),
        _ => return Err(format!("not a command here: {line}")),
    }
    if command.name.is_empty() {
        let what = match shown[..] {
            [name, .., ">", to] => [name, to],
            [name, "-n", what, ..] | [name, what] | [name @ ("read" | "seek" | "wc"), what, ..] => {
                [name, what]
            }
            [name, .., what] => [name, what],
            [..] => ["", ""],
        };
        command.name = what.join(": ");
    }
    Ok(command)
}

fn read(command: &mut Command, d: &str, count: &str, wait: bool) -> Result<(), String> {
    command.on = Some(number(d)?);
    command.steps.push_back(Step::Read { count: number(count)?, wait });
    Ok(())
}

fn redirection(word: &str, command: &mut Command) -> Result<bool, String> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = word.split_at(digits);
    let Ok(descriptor) = number.parse() else { return Ok(false) };
    let (path, access) = if let Some(path) = rest.strip_prefix("<>") {
        (path, RW)
    } else if rest == ">&-" {
        command.steps.push_back(Step::Drop(descriptor));
        command.name = format!("sh: {descriptor}");
        return Ok(true);
    } else if let Some(path) = rest.strip_prefix('>') {
        (path, W)
    } else if let Some(path) = rest.strip_prefix('<') {
        (path, R)
    } else {
        return Ok(false);
    };
    command.name = format!("sh: {path}");
    command.steps.push_back(Step::Keep(descriptor, path.into(), access));
    Ok(true)
}

/// A client's descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    pub(crate) file: FileNo,
    pub(crate) offset: u64,
}
