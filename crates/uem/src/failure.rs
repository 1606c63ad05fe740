//! How a subcommand ends: the status that it exits with, or a failure with its cause and a hint.

use op::Errno;
use std::fmt;
use std::io::{self, Write};

/// What a subcommand comes to.
pub(crate) type Outcome = Result<u8, Failure>;

/// Exit status for a command line that cannot be understood.
pub(crate) const MISUSE: u8 = 2;
/// Exit status when the time of `--timeout` is over, as timeout(1) has it.
pub(crate) const TIMED_OUT: u8 = 124;
/// Exit status for failures of uem's own.
pub(crate) const OURS: u8 = 125;
/// Exit status when a program is there and cannot be run, as in sh.
pub(crate) const CANNOT_RUN: u8 = 126;
/// Exit status when a program is not found, as in sh.
pub(crate) const NOT_FOUND: u8 = 127;
/// What a shell says of a program that wrote to a closed pipe.
pub(crate) const BROKEN_PIPE: u8 = 128 + 13;

/// Why a subcommand failed, for a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    pub(crate) status: u8,
    /// Empty: there is nothing to say and nobody to hear it.
    pub(crate) cause: String,
    /// What to do about it; may be empty.
    pub(crate) hint: String,
}

impl Failure {
    /// A failure of uem's own.
    pub(crate) fn new(cause: impl Into<String>) -> Failure {
        Failure { status: OURS, cause: cause.into(), hint: String::new() }
    }

    /// A command line that cannot be understood.
    pub(crate) fn misuse(cause: impl Into<String>) -> Failure {
        Failure { status: MISUSE, ..Failure::new(cause) }
    }

    /// The same with what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = hint.into();
        self
    }

    /// The same about something: `name: cause`.
    pub(crate) fn about(mut self, name: impl fmt::Display) -> Failure {
        if !self.cause.is_empty() {
            self.cause = format!("{name}: {}", self.cause);
        }
        self
    }

    /// Says it on stderr, as `uem run: cause (hint)`.
    pub(crate) fn tell(&self, command: &str) {
        if !self.cause.is_empty() {
            say(command, &self.to_string());
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, " ({})", self.hint) }
    }
}

impl From<op::Error> for Failure {
    fn from(error: op::Error) -> Failure {
        Failure::new(error.to_string())
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Failure::new(errno.text())
    }
}

/// A sentence from another room, which has its way out in it.
impl From<String> for Failure {
    fn from(cause: String) -> Failure {
        Failure::new(cause)
    }
}

/// Nobody reads our output any more: we end as a local program would, without a word.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure { status: BROKEN_PIPE, ..Failure::new("") },
            _ => Failure::new(error.to_string()),
        }
    }
}

/// Says something on stderr, if anybody is there.
pub(crate) fn say(command: &str, text: &str) {
    let _nobody_listens = writeln!(io::stderr(), "uem {command}: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_subject_cause_and_hint() {
        let failure = Failure::from(Errno::NOENT).about("/no/such").hint("is it on this node?");
        assert_eq!(failure.to_string(), "/no/such: No such file or directory (is it on this node?)");
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).status, BROKEN_PIPE);
    }
}
