//! `uem kill`: a signal to sessions, or the polite end; and giving back what has ended.

use crate::at::Common;
use crate::failure::{Failure, Outcome};
use crate::id::Id;

/// End sessions: TERM, and after 5 s KILL for all that came of them
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Only this signal, by name or number
    #[arg(short, long, value_name = "SIG")]
    signal: Option<String>,
    /// Give everything back: what runs is killed, output and status are forgotten
    #[arg(long, conflicts_with = "signal")]
    free: bool,
    /// Sessions; a signal's name may follow the last
    #[arg(required = true, value_name = "ID")]
    sessions: Vec<String>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let (ids, signal) = understand(args)?;
    let line = match (&signal, args.free) {
        (_, true) => "free\n".to_string(),
        (Some(signal), _) => format!("kill {signal}\n"),
        (None, _) => "kill\n".to_string(),
    };
    let mut node = common.connect()?;
    let mut first = None;
    for id in ids {
        if let Err(error) = node.write_file(&id.file("ctl"), line.as_bytes()) {
            let failure = id.failed(error);
            if let Some(earlier) = first.replace(failure) {
                earlier.tell("kill");
            }
        }
    }
    first.map_or(Ok(0), Err)
}

/// `uem kill 56 57 INT`: what is no session at the end is a signal.
fn understand(args: &Args) -> Result<(Vec<Id>, Option<String>), Failure> {
    let (mut names, mut signal) = (&args.sessions[..], args.signal.clone());
    if let (None, false, [rest @ .., last]) = (&signal, args.free, names)
        && !rest.is_empty()
        && is_signal(last)
    {
        (names, signal) = (rest, Some(last.clone()));
    }
    if let Some(word) = signal.as_ref().filter(|word| !is_signal(word) && word.parse::<u8>().is_err()) {
        return Err(Failure::misuse(format!("{word:?} is no signal; write INT, TERM, 9 or the like")));
    }
    let ids = names.iter().map(|name| Id::parse(name)).collect::<Result<Vec<_>, _>>();
    Ok((ids.map_err(Failure::misuse)?, signal))
}

fn is_signal(word: &str) -> bool {
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    kernel::manual::SIGNALS.iter().any(|(known, _)| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_may_follow_the_sessions() {
        let args = |words: &[&str], signal: Option<&str>| Args {
            signal: signal.map(String::from),
            free: false,
            sessions: words.iter().map(ToString::to_string).collect(),
        };
        let check = |words: &[&str], flag, count, signal: Option<&str>| {
            let (ids, found) = understand(&args(words, flag)).unwrap();
            assert_eq!((ids.len(), found.as_deref()), (count, signal), "{words:?}");
        };
        check(&["1"], None, 1, None);
        check(&["1", "n/2", "sigint"], None, 2, Some("sigint"));
        check(&["1", "2"], Some("9"), 2, Some("9"));
        assert!(understand(&args(&["1", "bogus"], None)).is_err());
        assert!(understand(&args(&["1"], Some("bogus"))).is_err());
    }
}
