//! The sum of what test programs say of themselves.

use crate::run::Result;

/// Tests that passed and failed so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Lines of single tests since the last sum: a program that prints no sum is counted by them.
    lines: (u64, u64),
}

impl Tally {
    /// Takes one line of output. `test result: …` is libtest's sum, `test NAME … ok` one test.
    pub(crate) fn hear(&mut self, line: &str) {
        let line = line.trim();
        if let Some(sum) = line.strip_prefix("test result: ") {
            let (passed, failed) = (before(sum, " passed"), before(sum, " failed"));
            // What was heard beyond the sum came from a program before it.
            self.passed += passed + self.lines.0.saturating_sub(passed);
            self.failed += failed + self.lines.1.saturating_sub(failed);
            self.lines = (0, 0);
        } else if let Some((name, verdict)) = line.strip_prefix("test ").and_then(|l| l.split_once(" ... "))
            && !name.is_empty()
        {
            match verdict.split(' ').next() {
                Some("ok") => self.lines.0 += 1,
                Some("FAILED") => self.lines.1 += 1,
                _ => {}
            }
        }
    }

    /// One check of our own.
    pub(crate) fn verdict(&mut self, what: &str, result: Result<()>) {
        match result {
            Ok(()) => {
                println!("check {what} ... ok");
                self.passed += 1;
            }
            Err(error) => {
                println!("check {what} ... FAILED: {error}");
                self.failed += 1;
            }
        }
    }

    /// The end of a command, which says itself whether it was a success: one that was not, without a test that
    /// failed, is a failure by itself.
    pub(crate) fn end(&mut self, success: bool, failed_before: u64) {
        let (passed, failed) = std::mem::take(&mut self.lines);
        self.passed += passed;
        self.failed += failed;
        if !success && self.failed == failed_before {
            self.failed += 1;
        }
    }
}

/// The number that stands before a word.
fn before(text: &str, word: &str) -> u64 {
    let head = text.find(word).map_or("", |at| &text[..at]);
    let digits = head.rfind(|c: char| !c.is_ascii_digit()).map_or(head, |at| &head[at + 1..]);
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str, success: bool) -> (u64, u64) {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.hear(line));
        tally.end(success, 0);
        (tally.passed, tally.failed)
    }

    #[test]
    fn sums_and_single_lines_are_counted_once() {
        let sum = "test a ... ok\ntest b ... FAILED\n\
                   test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out";
        assert_eq!(heard(sum, false), (1, 1));
        let no_sum = "test lab_one ... ok (1.2ms)\ntest lab_two ... FAILED (3s)\n";
        assert_eq!(heard(no_sum, false), (1, 1));
        assert_eq!(heard(&format!("{no_sum}{sum}"), false), (2, 2));
        assert_eq!(heard(&format!("{sum}\n{no_sum}"), false), (2, 2));
    }

    #[test]
    fn a_command_that_fails_without_a_failed_test_is_a_failure() {
        assert_eq!(heard("test result: ok. 5 passed; 0 failed; 0 ignored", true), (5, 0));
        assert_eq!(heard("test result: ok. 5 passed; 0 failed; 0 ignored", false), (5, 1));
        assert_eq!(heard("", false), (0, 1));
        assert_eq!(heard("no tests here", true), (0, 0));
    }
}
