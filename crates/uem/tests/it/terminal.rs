//! What needs a terminal: `run -t`, `attach`, `top`.

use crate::home::{Home, LONG, eventually, status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::Instant;

/// A terminal with the command in it.
pub(crate) struct Terminal {
    master: OwnedFd,
    slave: File,
    pub(crate) child: Child,
    pub(crate) seen: String,
}

impl Terminal {
    pub(crate) fn new(home: &Home, args: &[&str]) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        resize(&master, 33, 99);
        let slave = || File::options().read(true).write(true).open(&name).unwrap();
        // setsid(1) makes it the controlling terminal, from which ^C and a new size come.
        let mut command = Command::new("setsid");
        home.settle(&mut command);
        command.args(["-c", "-w", env!("CARGO_BIN_EXE_uem")]).args(args).env("TERM", "xterm");
        let child = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
        Terminal { master, slave: slave(), child, seen: String::new() }
    }

    pub(crate) fn type_in(&self, keys: &str) {
        rustix::io::write(&self.master, keys.as_bytes()).unwrap();
    }

    /// Waits until it shows something.
    pub(crate) fn shows(&mut self, text: &str) {
        let until = Instant::now() + LONG;
        while !self.seen.contains(text) {
            let end: String = self.seen.chars().take(500).collect();
            assert!(Instant::now() < until, "never shown: {text:?} in {end:?}");
            self.look();
        }
    }

    /// Takes what it shows within a moment.
    fn look(&mut self) {
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 })).unwrap() > 0 {
            let mut buffer = [0; 4096];
            let n = rustix::io::read(&self.master, &mut buffer).unwrap_or(0);
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ICANON)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _has_ended = self.child.kill();
    }
}

fn resize(master: &OwnedFd, rows: u16, cols: u16) {
    tcsetwinsize(master, Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

#[test]
fn a_program_gets_a_terminal_its_size_and_every_key() {
    let home = Home::up();
    let script = "trap 'echo caught' INT; stty size; while :; do read w && echo got $w; stty size; [ \"$w\" = end ] && exit 6; done";
    let mut terminal = Terminal::new(&home, &["run", "-t", "--", "bash", "-c", script]);
    terminal.shows("33 99");
    assert!(terminal.is_raw());
    resize(&terminal.master, 44, 111);
    eventually("the new size has come through", || {
        terminal.type_in("word\r");
        terminal.shows("got word\r\n");
        let after = terminal.seen.split_off(terminal.seen.find("got word").unwrap() + 8);
        terminal.seen = after;
        terminal.shows("\r\n");
        terminal.look();
        terminal.seen.contains("44 111")
    });
    terminal.type_in("\x03");
    terminal.shows("caught");
    terminal.type_in("end\r");
    assert_eq!(status(&mut terminal.child), 6);
    assert!(!terminal.is_raw(), "it was given back as it was");
}

#[test]
fn without_t_a_terminal_gives_lines_and_control_c() {
    let home = Home::up();
    let mut terminal = Terminal::new(&home, &["run", "--", "sh", "-c", "read l; echo got $l; exec sleep 60"]);
    home.session();
    terminal.type_in("line\n");
    terminal.shows("got line");
    assert!(!terminal.is_raw());
    terminal.type_in("\x03");
    assert_eq!(status(&mut terminal.child), 130);
}

#[test]
fn attach_takes_part_and_leaves() {
    let home = Home::up();
    let id = home.cat("clone");
    let id = id.trim();
    let ctl = format!("self/{id}/ctl");
    home.run(&["write", &ctl, "tty"]);
    home.run(&["write", &ctl, "exec sh -c 'while read w; do echo got $w; [ $w = end ] && exit 3; done'"]);
    let mut first = Terminal::new(&home, &["attach", id]);
    eventually("it is raw", || first.is_raw());
    first.type_in("one\r");
    first.shows("got one");
    first.type_in("\x1d");
    assert_eq!(status(&mut first.child), 0);
    assert!(!first.is_raw());
    let mut second = Terminal::new(&home, &["attach", id]);
    second.shows("got one");
    second.type_in("end\r");
    assert_eq!(status(&mut second.child), 3);
}

#[test]
fn top_shows_what_runs_and_ends_what_is_chosen() {
    let home = Home::up();
    let id = home.run(&["run", "--detach", "sleep", "60"]).out;
    let mut terminal = Terminal::new(&home, &["top", "--every", "50ms"]);
    // Words are apart on the wire: only cells that change are sent.
    terminal.shows("sleep");
    // Down, and k; another key takes it back.
    terminal.type_in("\x1b[Bkn");
    terminal.type_in("ky");
    assert_eq!(home.run(&["wait", id.trim()]).status, 143);
    terminal.type_in("q");
    assert_eq!(status(&mut terminal.child), 0);
}

#[test]
fn a_program_on_another_node_gets_a_terminal_too() {
    let cloud = crate::cloud::Cloud::up();
    let script = "trap 'echo caught' INT; stty size; while :; do read w; echo got $w; [ \"$w\" = end ] && exit 6; done";
    let mut terminal = Terminal::new(&cloud.a, &["run", "-t", "--on", "b", "--", "bash", "-c", script]);
    terminal.shows("33 99");
    assert!(terminal.is_raw());
    terminal.type_in("\x03");
    terminal.shows("caught");
    terminal.type_in("end\r");
    assert_eq!(status(&mut terminal.child), 6);
    assert!(!terminal.is_raw());
}

#[test]
fn who_is_down_is_red() {
    let cloud = crate::cloud::Cloud::up();
    assert_eq!(cloud.b.run(&["down"]).status, 0);
    eventually("its row says down", || cloud.a.run(&["status"]).out.contains("b down since"));
    let mut terminal = Terminal::new(&cloud.a, &["status"]);
    terminal.shows("\x1b[31mb down since");
    assert_eq!(status(&mut terminal.child), 0);
}
