//! What is written to a new session to start a program in it: `env`, and the lines of `ctl`. Pure text.

use super::Args;
use crate::failure::Failure;
use kernel::{join, quote};
use op::WinSize;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Bytes of output that a node keeps for a reader in the foreground, who has what is before.
const WINDOW: &str = "limit output=64M";
/// How long another node keeps what came of a program whose end we could not see, since a link broke: a day. It is not
/// `killonclose`, since there a link that breaks is a close; we free it ourselves.
const CUT_OFF: &str = "lease 86400";

/// What of our own surroundings goes along.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    /// Where we are; `None` if that means nothing to the node.
    pub(super) dir: Option<PathBuf>,
    pub(super) env: Vec<(OsString, OsString)>,
    /// Of our terminal, for `-t`.
    pub(super) size: Option<WinSize>,
    /// The program runs on the node that we talk to: no link is between it and us.
    pub(super) near: bool,
}

impl Surroundings {
    /// For a program on this machine: as if we had started it.
    pub(super) fn here(size: Option<WinSize>) -> Surroundings {
        let dir = std::env::current_dir().ok();
        Surroundings { dir, env: std::env::vars_os().collect(), size, near: true }
    }

    /// For a program on another machine: our directory, our `PATH` and our secrets mean nothing there, or the wrong thing.
    /// What says how a person wants to be spoken to goes along, as with ssh.
    pub(super) fn elsewhere(size: Option<WinSize>, near: bool) -> Surroundings {
        let of_language = |name: &str| name == "LANG" || name.starts_with("LC_");
        let of_terminal = |name: &str| size.is_some() && matches!(name, "TERM" | "COLORTERM");
        let goes = |name: &OsString| name.to_str().is_some_and(|name| of_language(name) || of_terminal(name));
        let env = std::env::vars_os().filter(|(name, _)| goes(name)).collect();
        Surroundings { dir: None, env, size, near }
    }
}

/// The text of `env`: the caller's variables, then those of `--env`. Each ends in a NUL, since a value may have
/// newlines in it (a function that bash exports).
pub(super) fn env(args: &Args, around: &Surroundings) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    for (name, value) in &around.env {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        if !name.is_empty() && name != b"UEM_SESSION" {
            push_variable(&mut text, &[name, b"=", value].concat());
        }
    }
    for set in &args.env {
        let line = set.as_bytes();
        let named = line.iter().position(|byte| *byte == b'=').is_some_and(|at| at > 0);
        if !named {
            return Err(Failure::misuse(format!("--env {}: it must be NAME=VALUE", set.display())));
        }
        push_variable(&mut text, line);
    }
    if text.len() > kernel::limits::TEXT {
        let most = kernel::limits::TEXT;
        return Err(Failure::new(format!(
            "the environment has {} bytes, and a node takes {most}",
            text.len()
        ))
        .hint("env -i uem run --env NAME=VALUE … sends only what is named"));
    }
    Ok(text)
}

/// The lines of `ctl`. They go in one write, of which nothing is run after a line that fails: a program never
/// starts with half of what was asked for it.
pub(super) fn ctl(args: &Args, around: &Surroundings) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    if !args.detach && around.near {
        push_line(&mut text, b"killonclose");
    }
    if !args.detach {
        push_line(&mut text, b"roll");
        push_line(&mut text, WINDOW.as_bytes());
    }
    push_setup(&mut text, args, around);
    if args.detach {
        push_line(&mut text, b"close stdin");
    }
    push_words(&mut text, "exec", args.command.iter().map(OsString::as_os_str));
    // Not before: what could not be started is not kept.
    match (args.detach, around.near) {
        (true, _) => push_line(&mut text, b"keep"),
        (false, false) => push_line(&mut text, CUT_OFF.as_bytes()),
        (false, true) => {}
    }
    Ok(text)
}

/// What the program is to be like, on one node or on many.
fn push_setup(text: &mut Vec<u8>, args: &Args, around: &Surroundings) {
    if let Some(dir) = args.dir.as_ref().or(around.dir.as_ref().filter(|_| args.put.is_empty())) {
        push_words(text, "dir", [dir.as_os_str()]);
    }
    if args.tty {
        let WinSize { rows, cols } = around.size.unwrap_or(WinSize { rows: 24, cols: 80 });
        push_line(text, format!("tty {rows} {cols}").as_bytes());
    }
    if let Some(nice) = args.nice {
        push_line(text, format!("nice {nice}").as_bytes());
    }
    if !args.limit.is_empty() {
        push_words(text, "limit", args.limit.iter().map(OsStr::new));
    }
    let job = args.job.as_ref().map(|job| format!("job={job}"));
    let tags: Vec<&String> = args.attr.iter().chain(&job).collect();
    if !tags.is_empty() {
        push_words(text, "tag", tags.iter().map(OsStr::new));
    }
}

/// The lines of `ctl` that make a group of the session: what all members are like, and the words of `run`.
pub(super) fn group(args: &Args, around: &Surroundings, own: &[Vec<u8>], run: &[String]) -> Vec<u8> {
    let mut text = Vec::new();
    // Before, since what is elsewhere of a group is told how it lives when it is made.
    push_line(&mut text, if args.detach { b"keep" } else { b"killonclose" });
    push_setup(&mut text, args, around);
    if let Some(span) = args.timeout {
        push_line(&mut text, format!("limit wall={}ms", span.as_millis()).as_bytes());
    }
    own.iter().for_each(|line| push_line(&mut text, line));
    let words = run.iter().map(OsStr::new).chain([OsStr::new("--")]);
    push_words(&mut text, "run", words.chain(args.command.iter().map(OsString::as_os_str)));
    text
}

fn push_variable(text: &mut Vec<u8>, variable: &[u8]) {
    text.extend(variable);
    text.push(0);
}

fn push_line(text: &mut Vec<u8>, line: &[u8]) {
    text.extend(line);
    text.push(b'\n');
}

fn push_words<'a>(text: &mut Vec<u8>, verb: &str, words: impl IntoIterator<Item = &'a OsStr>) {
    text.extend(verb.as_bytes());
    for word in words {
        text.push(b' ');
        quote(word.as_bytes(), text);
    }
    text.push(b'\n');
}

/// Words as one line, for messages.
pub(super) fn shown(words: &[OsString]) -> String {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    String::from_utf8_lossy(&join(&words)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Args {
        Args { command: words.iter().map(OsString::from).collect(), ..Args::default() }
    }

    #[test]
    fn everything_asked_for_is_said_before_exec() {
        let around = Surroundings {
            dir: Some("/a b".into()),
            size: Some(WinSize { rows: 5, cols: 6 }),
            near: true,
            ..Default::default()
        };
        let check = |args: &Args, expected: &str| {
            assert_eq!(String::from_utf8(ctl(args, &around).unwrap()).unwrap(), expected);
        };
        check(
            &args(&["sh", "-c", "echo 'x'"]),
            "killonclose\nroll\nlimit output=64M\ndir '/a b'\nexec sh -c 'echo '\\''x'\\'''\n",
        );
        let far = Surroundings { near: false, ..Surroundings::default() };
        let expected = "roll\nlimit output=64M\nexec x\nlease 86400\n";
        assert_eq!(ctl(&args(&["x"]), &far).unwrap(), expected.as_bytes());
        let full = Args {
            tty: true,
            nice: Some(-3),
            limit: vec!["mem=1G".into(), "pids=9".into()],
            attr: vec!["a=b c".into()],
            job: Some("j".into()),
            dir: Some("/d".into()),
            detach: true,
            ..args(&["x"])
        };
        check(
            &full,
            "dir /d\ntty 5 6\nnice -3\nlimit mem=1G pids=9\ntag 'a=b c' job=j\nclose stdin\nexec x\nkeep\n",
        );
    }

    #[test]
    fn the_callers_environment_goes_along() {
        let pair = |(name, value): (&str, &str)| (name.into(), value.into());
        let env_of = [("A", "1"), ("UEM_SESSION", "x"), ("F", "two\nlines"), ("B", "=")].map(pair).into();
        let around = Surroundings { env: env_of, ..Default::default() };
        let set = Args { env: vec!["A=2".into()], ..args(&["x"]) };
        assert_eq!(env(&set, &around).unwrap(), b"A=1\0F=two\nlines\0B==\0A=2\0");
        for wrong in ["A", "=x"] {
            let set = Args { env: vec![wrong.into()], ..args(&["x"]) };
            assert_eq!(env(&set, &around).unwrap_err().status, crate::failure::MISUSE, "{wrong:?}");
        }
    }
}
