//! Many programs, as a person at a terminal sees them: how far they are, ^C, what is left of it all when the client is killed.

use crate::home::{Home, ended, eventually, signal, status};
use crate::terminal::Terminal;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What a member does: it ends when the file of its rank is there, with what that says.
const GATED: &str =
    "until read status < go{rank}; do sleep .02; done 2>/dev/null; echo {rank} >> ran; exit $status";

/// A node with room for four.
fn home() -> Home {
    Home::node("n", &["--label", "slots=4"])
}

fn open(home: &Home, rank: usize, status: u8) {
    let (new, file) = (home.dir.path().join("new"), home.dir.path().join(format!("go{rank}")));
    std::fs::write(&new, format!("{status}\n")).unwrap();
    std::fs::rename(new, file).unwrap();
}

fn ran(home: &Home) -> Vec<usize> {
    let text = std::fs::read_to_string(home.dir.path().join("ran")).unwrap_or_default();
    let mut ranks: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    ranks.sort_unstable();
    ranks
}

#[test]
fn a_line_shows_how_far_many_are_and_is_gone_at_the_end() {
    let home = home();
    let dir = home.dir.path().to_str().unwrap();
    let words = ["run", "-n", "6", "--width", "2", "--dir", dir, "--", "sh", "-c", GATED];
    let mut terminal = Terminal::new(&home, &words);
    terminal.shows("\r\x1b[K0 of 6 done, 2 running, 4 queued, 00:0");
    open(&home, 0, 0);
    terminal.shows("1 of 6 done, 2 running, 3 queued, 00:0");
    terminal.shows("; about 00:");
    open(&home, 1, 3);
    terminal.shows("2 of 6 done (1 failed), 2 running, 2 queued, 00:0");
    (2..6).for_each(|rank| open(&home, rank, 1));
    assert_eq!(status(&mut terminal.child), 3, "the worst");
    terminal.shows("uem run: 5 of 6 failed: ");
    let (_, last) = terminal.seen.rsplit_once("\x1b[K").unwrap();
    assert!(last.starts_with("uem run: 5 of 6 failed: "), "the line is gone before: {last:?}");
}

#[test]
fn who_has_no_terminal_is_told_no_progress() {
    let ended = home().run(&["run", "-n", "3", "--width", "1", "--", "sleep", ".6"]);
    assert_eq!((ended.status, ended.out.as_str(), ended.err.as_str()), (0, "", ""));
}

#[test]
fn the_first_interrupt_says_who_runs_and_the_second_kills() {
    let home = home();
    let stubborn = "trap '' TERM; echo begun {rank}; while :; do sleep .05; done";
    let mut terminal = Terminal::new(&home, &["run", "-n", "6", "--width", "2", "--", "sh", "-c", stubborn]);
    terminal.shows("begun 0");
    terminal.shows("begun 1");
    let begun = Instant::now();
    terminal.type_in("\x03");
    terminal.shows(
        "2 still run: [0-1] on n; 4 wait and will not be run; they are told to end (^C again: killed)",
    );
    terminal.type_in("\x03");
    assert_eq!(status(&mut terminal.child), 130);
    // Else it was KILL after the grace of the first.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    terminal.shows("6 of 6 failed: ");
    assert!(terminal.seen.contains("signal=9 (KILL)"), "{:?}", terminal.seen);
    assert!(!terminal.seen.contains("begun 2"), "who waits is not run");
    eventually("nothing is left behind", || home.info("self/info.json", "sessions") == "0");
}

#[test]
fn who_awaits_what_never_comes_gives_up_with_an_interrupt() {
    let home = home();
    let mut terminal = Terminal::new(&home, &["cat", "await/colour=red/clone"]);
    eventually("it waits", || home.info("self/info.json", "waiting") == "1");
    terminal.type_in("\x03");
    assert_eq!(status(&mut terminal.child), -2, "the signal itself");
    assert_eq!(home.info("self/info.json", "sessions"), "0");
}

#[test]
fn who_awaits_more_than_there_is_room_for_has_it_when_there_is() {
    let home = home();
    assert_eq!(home.run(&["write", "self/ctl", "label slots=2 colour=red"]).status, 0);
    // One that matches is not enough, nor are two slots.
    let child = home.uem(&["cat", "await/red/num=3/clone"]).stdout(Stdio::piped()).spawn().unwrap();
    eventually("it waits", || home.info("self/info.json", "waiting") == "1");
    let late = home.run(&["cat", "await/red/num=3/timeout=300ms/clone"]);
    assert_eq!((late.status, late.out.as_str()), (125, ""));
    assert!(late.err.contains("there was no room; 2 of 2 slots are free"), "{}", late.err);
    assert_eq!(home.info("self/info.json", "sessions"), "0", "and nothing is left of that");
    assert_eq!(home.run(&["write", "self/ctl", "label slots=3"]).status, 0);
    let had = ended(child);
    assert_eq!(had.status, 0, "{}", had.err);
    assert_eq!(home.info("self/info.json", "sessions"), "4", "a group and its three members");
    assert_eq!(home.run(&["cat", "await/red/num=1/timeout=10ms/clone"]).status, 125, "all are taken");
}

#[test]
fn what_a_killed_client_left_undone_is_done_with_resume() {
    let home = home();
    let dir = home.dir.path().to_str().unwrap();
    let log = home.dir.path().join("log");
    let words = ["run", "-n", "8", "--width", "3", "--dir", dir, "--joblog", log.to_str().unwrap()];
    let program = ["--", "sh", "-c", GATED];
    let mut child = home.uem(&[&words[..], &program].concat()).spawn().unwrap();
    (0..3).for_each(|rank| open(&home, rank, (rank == 1).into()));
    let logged = || std::fs::read_to_string(&log).unwrap_or_default().lines().count();
    eventually("three ends are logged", || logged() == 1 + 3);
    signal(child.id(), "KILL");
    assert_eq!(status(&mut child), -9);
    eventually("the others end with it", || home.info("self/info.json", "sessions") == "0");
    assert_eq!(ran(&home), [0, 1, 2]);
    (0..8).for_each(|rank| open(&home, rank, 0));
    let resumed = home.run(&[&words[..], &["--resume"], &program].concat());
    assert_eq!((resumed.status, resumed.err.as_str()), (0, ""));
    assert_eq!(ran(&home), [0, 1, 1, 2, 3, 4, 5, 6, 7], "what had failed, and what had not ended");
    assert_eq!(logged(), 1 + 3 + 6);
    let nothing = home.run(&[&words[..], &["--resume"], &program].concat());
    assert!(nothing.status == 0 && nothing.err.contains("all have ended with 0 already"), "{}", nothing.err);
}
