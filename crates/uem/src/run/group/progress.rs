//! A line on a terminal that says how far many have come, while it lasts: shown after a second, changed in place, gone at the end.

use std::io::Write;
use std::time::{Duration, Instant};

/// What does not last so long has no line.
pub(super) const AFTER: Duration = Duration::from_secs(1);
/// How often it is made anew.
pub(super) const EVERY: Duration = Duration::from_millis(500);

/// To the beginning of the line, and nothing after it (ECMA-48, EL).
const CLEAR: &str = "\r\x1b[K";

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub(super) size: usize,
    pub(super) running: usize,
    pub(super) ended: usize,
    pub(super) failed: usize,
}

/// The line.
pub(super) struct Progress {
    began: Instant,
    /// When it is due again; `None`: there is no terminal.
    due: Option<Instant>,
    shown: bool,
}

impl Progress {
    pub(super) fn new(began: Instant, wanted: bool) -> Progress {
        Progress { began, due: wanted.then(|| began + AFTER), shown: false }
    }

    /// When it wants to be shown.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn show(&mut self, counts: Counts, now: Instant) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = Some(now + EVERY);
        self.shown = true;
        let width = crate::console::terminal::size().map_or(80, |size| usize::from(size.cols));
        let text = text(counts, now.saturating_duration_since(self.began));
        let text: String = text.chars().take(width.saturating_sub(1)).collect();
        put(&format!("{CLEAR}{text}"));
    }

    /// Makes room for something else; the line comes back when it is due.
    pub(super) fn hide(&mut self) {
        if std::mem::take(&mut self.shown) {
            put(CLEAR);
        }
    }
}

fn put(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _nobody_looks = stderr.write_all(text.as_bytes());
}

/// `12 of 64 done (1 failed), 4 running, 48 queued, 00:03; about 00:12 left`.
fn text(counts: Counts, since: Duration) -> String {
    let Counts { size, running, ended, failed } = counts;
    let mut text = format!("{ended} of {size} done");
    if failed > 0 {
        text.push_str(&format!(" ({failed} failed)"));
    }
    let left = size.saturating_sub(ended);
    let queued = left.saturating_sub(running);
    for (count, word) in [(running, "running"), (queued, "queued")] {
        if count > 0 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    text.push_str(&format!(", {}", clock(since)));
    if ended > 0 && left > 0 {
        let rest = since.as_secs_f64() / ended as f64 * left as f64;
        text.push_str(&format!("; about {} left", clock(Duration::from_secs_f64(rest))));
    }
    text
}

/// `03:10`, `1:03:10`.
fn clock(span: Duration) -> String {
    let secs = span.as_secs();
    let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{secs:02}") } else { format!("{minutes:02}:{secs:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_the_time_that_is_left_are_shown() {
        let of = |size, running, ended, failed| Counts { size, running, ended, failed };
        let check =
            |counts, secs, expected: &str| assert_eq!(text(counts, Duration::from_secs(secs)), expected);
        check(of(64, 4, 0, 0), 1, "0 of 64 done, 4 running, 60 queued, 00:01");
        check(of(64, 4, 16, 1), 4, "16 of 64 done (1 failed), 4 running, 44 queued, 00:04; about 00:12 left");
        check(of(4, 2, 2, 0), 3600, "2 of 4 done, 2 running, 1:00:00; about 1:00:00 left");
        check(of(4, 0, 4, 4), 10, "4 of 4 done (4 failed), 00:10");
    }

    #[test]
    fn what_is_short_has_no_line() {
        let began = Instant::now();
        let mut progress = Progress::new(began, true);
        progress.show(Counts::default(), began + AFTER / 2);
        assert!(!progress.shown);
        assert_eq!(Progress::new(began, false).due(), None);
    }
}
