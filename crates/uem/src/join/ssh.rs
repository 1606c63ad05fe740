//! `uem join ssh!HOST…`: uem is copied to each host, started there and joined to this node, many hosts at a time.
//!
//! ```text
//!   ssh HOST: uname -m ──▶ the program for that kind of machine
//!   ssh HOST: a script; its stdin is the token, and after it the program ──▶ ~/.local/bin/uem join ADDR… -
//! ```
//! The token goes through ssh's standard input: a command line can be read by everybody on the machine.

use super::Args;
use crate::at::Common;
use crate::failure::{Failure, Outcome, say};
use crate::invite::Authority;
use crate::start::NodeArgs;
use link::dial::Addr;
use link::identity::Kind;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// How long one host may take for one of the two steps.
const LONGEST: Duration = Duration::from_secs(300);
/// How long a token for a host is good.
const TOKEN: Duration = Duration::from_secs(900);
/// How often an ssh that runs is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Most of what a host says that is kept.
const SAID: u64 = 64 << 10;

/// Puts the program in its place whole, so that one that runs is not disturbed, and joins with it. `printf` is the shell's
/// own, so the token is in no command line. Words are shown as the login shell there reads them.
const SCRIPT: &str = r#"set -e
IFS= read -r token
dir="$HOME/.local/bin"
mkdir -p "$dir"
trap "rm -f \"$dir/.uem.$$\"" EXIT
cat > "$dir/.uem.$$"
chmod 755 "$dir/.uem.$$"
mv -f "$dir/.uem.$$" "$dir/uem"
printf "%s\n" "$token" | "$dir/uem" join "$@" -"#;

/// What is said of a host.
enum Told {
    Begins(usize, &'static str),
    Ended(usize, Result<String, String>),
}

pub(super) fn join(common: &Common, args: &Args, node: &NodeArgs) -> Outcome {
    let hosts = hosts(&args.words)?;
    if node.name.is_some() && hosts.len() > 1 {
        return Err(Failure::misuse("--name is for one host").hint("hosts are called by their own names"));
    }
    let mut authority = Authority::here(common, "join")?;
    let parents: Vec<String> = match node.parent.is_empty() {
        true => authority.addresses.iter().map(Addr::to_string).collect(),
        false => node.parent.clone(),
    };
    let mut words: Vec<Vec<u8>> = NodeArgs { parent: Vec::new(), ..node.clone() }
        .flags()
        .iter()
        .map(|word| word.as_bytes().to_vec())
        .collect();
    words.extend(parents.into_iter().map(String::into_bytes));
    // All tokens before the first host is asked: the files of the domain are not for many threads.
    let tokens =
        hosts.iter().map(|_| authority.home.invite(Kind::Node, TOKEN).map(|token| token.to_string()));
    let tokens = tokens.collect::<Result<Vec<String>, String>>()?;
    let work = Mutex::new(hosts.iter().zip(&tokens).enumerate());
    let programs = Programs { more: args.binaries.clone() };
    let (tell, told) = channel();
    let failed = std::thread::scope(|scope| {
        for _ in 0..args.at_once.clamp(1, 256).min(hosts.len()) {
            let (tell, work, programs, words) = (tell.clone(), &work, &programs, &words);
            scope.spawn(move || {
                loop {
                    let next = work.lock().map_or(None, |mut work| work.next());
                    let Some((at, (host, token))) = next else { return };
                    let ended =
                        bring(host, token, programs, words, |what| tell_of(&tell, Told::Begins(at, what)));
                    tell_of(&tell, Told::Ended(at, ended));
                }
            });
        }
        drop(tell);
        Report::new(&hosts).follow(told)
    })?;
    match failed {
        0 => Ok(0),
        _ if hosts.len() == 1 => Err(Failure::new("")), // it was said
        n => Err(Failure::new(format!("{n} of {} hosts have not joined", hosts.len()))),
    }
}

fn tell_of(tell: &Sender<Told>, told: Told) {
    let _nobody_listens = tell.send(told);
}

/// The hosts, each once.
fn hosts(words: &[String]) -> Result<Vec<String>, Failure> {
    let mut hosts = Vec::new();
    for word in words {
        for name in crate::names::expand(word).map_err(Failure::misuse)? {
            let Addr::Ssh(host) = Addr::parse_link(&name).map_err(Failure::misuse)? else {
                return Err(Failure::misuse(format!("{name:?} is no ssh!HOST")));
            };
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    Ok(hosts)
}

/// Programs for machines of several kinds.
struct Programs {
    more: Option<PathBuf>,
}

impl Programs {
    /// The one for what `uname -m` says.
    fn of(&self, machine: &str) -> Result<PathBuf, String> {
        if machine == std::env::consts::ARCH {
            return std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"));
        }
        let plain =
            machine.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !machine.is_empty();
        let file = self.more.as_ref().filter(|_| plain).map(|dir| dir.join(format!("uem-{machine}")));
        match file {
            Some(file) if file.is_file() => Ok(file),
            Some(file) => Err(format!("it is a {machine}, for which there is no {}", file.display())),
            None => Err(format!(
                "it is a {machine}, and this is uem for {}: with --binaries DIR, DIR/uem-{machine} is taken",
                std::env::consts::ARCH
            )),
        }
    }
}

/// Brings one host in; what it said of it, or why not.
fn bring(
    host: &str,
    token: &str,
    programs: &Programs,
    words: &[Vec<u8>],
    mut begins: impl FnMut(&'static str),
) -> Result<String, String> {
    begins("asked");
    let machine = ssh(host, b"uname -m", |_| Ok(()))?;
    let program = programs.of(machine.trim())?;
    begins("copying");
    let mut line = b"exec sh -c ".to_vec();
    kernel::quote(SCRIPT.as_bytes(), &mut line);
    line.extend(b" sh");
    for word in words {
        line.push(b' ');
        kernel::quote(word, &mut line);
    }
    let said = ssh(host, &line, |stdin| {
        writeln!(stdin, "{token}")?;
        copy(&program, stdin)
    })?;
    Ok(said.lines().last().unwrap_or("it said nothing").into())
}

fn copy(program: &Path, to: &mut impl Write) -> io::Result<()> {
    io::copy(&mut File::open(program)?, to).map(drop)
}

/// Runs a command there, by ssh(1) or what `$UEM_SSH` names, to its end; its output, or the last that it said of why it failed.
fn ssh(
    host: &str,
    command: &[u8],
    feed: impl FnOnce(&mut ChildStdin) -> io::Result<()> + Send,
) -> Result<String, String> {
    let program = std::env::var_os("UEM_SSH").filter(|program| !program.is_empty());
    let mut child = Command::new(program.unwrap_or_else(|| "ssh".into()))
        .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-T", host])
        .arg(OsStr::from_bytes(command))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("ssh cannot be started: {error}"))?;
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        // Whoever ends early reads no more, and says on stderr why.
        let fed = scope.spawn(move || stdin.map_or(Ok(()), |mut stdin| feed(&mut stdin)));
        let out = scope.spawn(move || out.map(said).unwrap_or_default());
        let err = scope.spawn(move || err.map(said).unwrap_or_default());
        let status = end(&mut child)?;
        let joined = |thread: std::thread::ScopedJoinHandle<'_, String>| thread.join().unwrap_or_default();
        let (fed, out, err) = (fed.join(), joined(out), joined(err));
        let last = |text: &str| text.lines().rfind(|line| !line.trim().is_empty()).map(str::to_string);
        match (status, fed) {
            (0, Ok(Ok(()))) => Ok(out),
            (0, Ok(Err(error))) => Err(format!("uem could not be copied: {error}")),
            (255, _) => Err(last(&err).unwrap_or_else(|| "ssh failed".into())),
            (status, _) => {
                let why = last(&err).or_else(|| last(&out));
                Err(why.unwrap_or_else(|| format!("a command there failed with status {status}")))
            }
        }
    })
}

/// All that is said, and what is too much is read and forgotten.
fn said(mut from: impl Read) -> String {
    let mut text = Vec::new();
    let _what_came = from.by_ref().take(SAID).read_to_end(&mut text);
    let _rest = io::copy(&mut from, &mut io::sink());
    String::from_utf8_lossy(&text).into_owned()
}

/// Its exit status; it is not waited for for ever.
fn end(child: &mut Child) -> Result<i32, String> {
    let until = Instant::now() + LONGEST;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.code().unwrap_or(255)),
            Ok(None) if Instant::now() < until => std::thread::sleep(LOOK),
            Ok(None) => {
                let _it_ends_now = child.kill();
                let _status = child.wait();
                return Err(format!("it has not answered within {} s", LONGEST.as_secs()));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// What is shown of all this: a line a host that is done, and in a terminal one that says how far the others are.
struct Report<'a> {
    hosts: &'a [String],
    doing: Vec<Option<&'static str>>,
    joined: usize,
    failed: usize,
    terminal: bool,
}

impl<'a> Report<'a> {
    fn new(hosts: &'a [String]) -> Report<'a> {
        let terminal = io::stderr().is_terminal();
        Report { hosts, doing: vec![None; hosts.len()], joined: 0, failed: 0, terminal }
    }

    /// How many have failed.
    fn follow(mut self, told: impl IntoIterator<Item = Told>) -> Result<usize, Failure> {
        for told in told {
            self.wipe();
            match told {
                Told::Begins(at, what) => self.doing[at] = Some(what),
                Told::Ended(at, ended) => {
                    self.doing[at] = None;
                    match ended {
                        Ok(said) => {
                            self.joined += 1;
                            writeln!(io::stdout(), "{}: {said}", self.hosts[at])?;
                        }
                        Err(why) => {
                            self.failed += 1;
                            say(
                                "join",
                                &format!("{}: {}", self.hosts[at], why.trim_start_matches("uem join: ")),
                            );
                        }
                    }
                }
            }
            self.show();
        }
        self.wipe();
        Ok(self.failed)
    }

    fn wipe(&self) {
        if self.terminal {
            let _nobody_looks = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn show(&self) {
        if self.terminal {
            let busy: Vec<String> = self
                .doing
                .iter()
                .zip(self.hosts)
                .filter_map(|(doing, host)| doing.map(|doing| format!("{host} {doing}")))
                .take(3)
                .collect();
            let done = format!("{} of {} joined, {} failed", self.joined, self.hosts.len(), self.failed);
            let _nobody_looks = write!(io::stderr(), "{done}  {}", busy.join(", "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_named_once_and_in_sets() {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(hosts(&words(&["ssh!n[1-2]", "ssh!me@gw", "ssh!n2"])).unwrap(), ["n1", "n2", "me@gw"]);
        for wrong in ["ssh!-oProxyCommand=x", "ssh!", "tls!a!1", "ssh!n["] {
            assert!(hosts(&words(&[wrong])).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_machine_of_another_kind_needs_another_program() {
        let none = Programs { more: None };
        assert!(none.of(std::env::consts::ARCH).is_ok());
        let why = none.of("riscv64").unwrap_err();
        assert!(why.contains("--binaries") && why.contains("riscv64"), "{why}");
        let dir = tempfile::tempdir().unwrap();
        let some = Programs { more: Some(dir.path().into()) };
        assert!(some.of("riscv64").is_err());
        std::fs::write(dir.path().join("uem-riscv64"), "").unwrap();
        assert_eq!(some.of("riscv64").unwrap(), dir.path().join("uem-riscv64"));
        assert!(some.of("../x").is_err());
    }
}
