//! A home for one test: a state directory with a node in it that ends with the test, however that ends.

use std::io::Write;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A directory, and perhaps a node.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
}

/// How something ended, and what it wrote.
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Home {
    /// Without a node.
    pub(crate) fn empty() -> Home {
        Home { dir: tempfile::Builder::new().prefix("uem").tempdir().unwrap() }
    }

    /// With a node that is called `n`.
    pub(crate) fn up() -> Home {
        let home = Home::empty();
        let up = home.run(&["up", "--no-mount", "--name", "n"]);
        assert_eq!(up.status, 0, "{}", up.err);
        home
    }

    /// With a node of that name, whose links notice soon when the other end is silent.
    pub(crate) fn node(name: &str, flags: &[&str]) -> Home {
        Home::node_of("0.2", name, flags)
    }

    /// The same, whose links notice later; for what keeps the machine busy.
    pub(crate) fn busy_node(name: &str, flags: &[&str]) -> Home {
        Home::node_of("1", name, flags)
    }

    fn node_of(beat: &str, name: &str, flags: &[&str]) -> Home {
        let home = Home::empty();
        let up = home.run(&[&["up", "--no-mount", "--beat", beat, "--name", name], flags].concat());
        assert_eq!(up.status, 0, "{}", up.err);
        home
    }

    /// Makes it a child of another node.
    pub(crate) fn join(&self, parent: &Home) {
        let command = parent.run(&["invite"]).out;
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let joined = self.run(&words);
        assert_eq!(joined.status, 0, "{}{}", joined.out, joined.err);
    }

    /// Makes it a child of the node that listens there, with a token of whoever has the trust domain.
    pub(crate) fn join_at(&self, addr: &str, authority: &Home) {
        let token = authority.run(&["invite", "--token-only"]).out;
        let joined = self.run(&["join", addr, token.trim()]);
        assert_eq!(joined.status, 0, "{}{}", joined.out, joined.err);
    }

    /// The process of its node.
    pub(crate) fn pid(&self) -> u32 {
        self.info("self/info.json", "pid").parse().unwrap()
    }

    /// The command, with nothing on its stdin.
    pub(crate) fn uem(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uem"));
        self.settle(&mut command);
        command.args(args);
        command
    }

    /// A shell, in which `$uem` is the command.
    pub(crate) fn sh(&self, script: &str) -> Ended {
        let mut command = Command::new("sh");
        self.settle(&mut command);
        ended(command.env("uem", env!("CARGO_BIN_EXE_uem")).args(["-c", script]).spawn().unwrap())
    }

    pub(crate) fn settle(&self, command: &mut Command) {
        command.env("UEM_STATE", self.dir.path().join("s")).env("HOME", self.dir.path()).env_remove("UEM_AT");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        ended(self.uem(args).spawn().unwrap())
    }

    /// The same, with something on stdin.
    pub(crate) fn feed(&self, args: &[&str], input: &[u8]) -> Ended {
        let mut child = self.uem(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let ended = ended(child);
        let _closed_early = writer.join().unwrap();
        ended
    }

    /// What a file of the tree says.
    pub(crate) fn cat(&self, path: &str) -> String {
        let ended = self.run(&["cat", path]);
        assert_eq!(ended.status, 0, "{path}: {}", ended.err);
        ended.out
    }

    /// A field of an info file.
    pub(crate) fn info(&self, path: &str, key: &str) -> String {
        let info: serde_json::Value = serde_json::from_str(&self.cat(path)).unwrap();
        info[key].to_string().trim_matches('"').to_string()
    }

    /// The number of the one session that runs, when it does.
    pub(crate) fn session(&self) -> String {
        let mut id = String::new();
        eventually("a session runs", || {
            let ps = self.run(&["ps", "--json"]).out;
            let first = ps.lines().find(|line| line.contains("\"running\""));
            let record: Option<serde_json::Value> = first.and_then(|line| serde_json::from_str(line).ok());
            id = record
                .map(|r| r["path"].as_str().unwrap().trim_start_matches("n/").to_string())
                .unwrap_or_default();
            !id.is_empty()
        });
        id
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.dir.path().join("s").exists() {
            let _was_down = self.uem(&["down"]).output();
        }
    }
}

/// Waits for the end, and not for ever.
pub(crate) fn ended(mut child: Child) -> Ended {
    // Both are read from threads, or a full pipe would hold it up.
    let mut out = child.stdout.take();
    let mut err = child.stderr.take();
    let read = |from: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut all = Vec::new();
            from.map(|mut from| from.read_to_end(&mut all));
            String::from_utf8_lossy(&all).into_owned()
        })
    };
    let out = read(out.take().map(|out| Box::new(out) as _));
    let err = read(err.take().map(|err| Box::new(err) as _));
    let status = status(&mut child);
    Ended { status, out: out.join().unwrap(), err: err.join().unwrap() }
}

/// Waits for the exit status, and not for ever.
pub(crate) fn status(child: &mut Child) -> i32 {
    let mut found: Option<ExitStatus> = None;
    let until = Instant::now() + LONG;
    while found.is_none() {
        found = child.try_wait().unwrap();
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("it did not end within {LONG:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    use std::os::unix::process::ExitStatusExt;
    let status = found.unwrap();
    status.code().unwrap_or_else(|| -status.signal().unwrap())
}

/// Waits until something is so, and not for ever.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal.
pub(crate) fn signal(pid: u32, signal: &str) {
    let killed: Output =
        Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).output().unwrap();
    assert!(killed.status.success(), "{}", String::from_utf8_lossy(&killed.stderr));
}
